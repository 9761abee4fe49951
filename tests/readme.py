"""Keep the README's outputs real: run the command named above each block and compare, or write it anew.

    python tests/readme.py            compare; exit code 1 and a diff where they differ
    python tests/readme.py --write    paste what the commands print

A block is a fenced text below `<!-- output of: COMMAND -->`. Commands run in the folder of the samples with a store
made of them (`CBSIGNED_STORE`). What changes from day to day (ages, times of asking) is not compared.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
_BLOCK = re.compile(r"(<!-- output of: (?P<command>.+?) -->\n```\w*\n)(?P<output>.*?)(```)", re.DOTALL)
_CHANGING = (
    (re.compile(r"\b\d+(\.\d+)? (second|minute|hour|day|month|year)s?\b"), "N days"),
    (re.compile(r'"(age_s|read_at|enriched_at)": ("[^"]*"|\d+)'), r'"\1": N'),
    (re.compile(r"\bread \d{4}-[\dT:.-]+Z"), "read NOW"),
    (re.compile(r"\bbytes +\d+"), "bytes N"),
    (re.compile(r"\d[\d,]*(\.\d+)? ?(KiB|MiB|kB|MB|bytes|/s|s)\b"), "N bytes"),
)


def environment(store: Path) -> dict[str, str]:
    """Return the environment of a user who has installed cbsigned and named a store."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CBSIGNED_")}
    return {
        **kept,
        "PATH": path,
        "CBSIGNED_STORE": str(store),
        "XDG_CONFIG_HOME": str(store.parent),
        "LC_ALL": "C.UTF-8",
    }


def run(command: str, store: Path) -> str:
    """Return what a command prints, both streams, as it stands in the README."""
    from cbsigned.samples import sample_path

    done = subprocess.run(
        ["sh", "-c", command], cwd=sample_path("."), env=environment(store), timeout=120, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.stdout.replace(str(store), "sample.db").replace(f"{sample_path('.')}/", "")


def rendered(text: str) -> str:
    """Return the README with every output block made anew."""
    with tempfile.TemporaryDirectory(prefix="cb") as folder:  # a short path: tables clip long ones
        store = Path(folder) / "sample.db"
        run(f"cbsigned store ingest --store {store} telemetry", store)
        return _BLOCK.sub(
            lambda m: f"{m.group(1)}$ {m.group('command')}\n{run(m.group('command'), store)}{m.group(4)}", text
        )


def unchanging(text: str) -> list[str]:
    """Return lines without what differs from day to day."""
    for pattern, placeholder in _CHANGING:
        text = pattern.sub(placeholder, text)
    return [" ".join(line.split()) for line in text.splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="paste instead of comparing")
    options = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    after = rendered(before)
    if options.write:
        README.write_text(after, encoding="utf-8")
        return 0
    diff = list(difflib.unified_diff(unchanging(before), unchanging(after), "README.md", "real output", lineterm=""))
    print("\n".join(diff))
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
