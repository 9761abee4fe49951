"""What the store costs at five million processes, against 100,000 and against bare SQLite; prints Markdown.

    python benchmarks/bench_store.py                   20 minutes, 4 GB in the temporary folder
    python benchmarks/bench_store.py --small          seconds: 15,000 processes against 1,500
    python benchmarks/bench_store.py --folder stores   keeps the stores there and uses them again

Every number is to be read beside the other of its row: both sides ran on the same machine, in the same run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / name) for name in ("shared", "connectors")]

from store_fill import fill  # noqa: E402
from store_http import calls  # noqa: E402
from store_lookups import lookups  # noqa: E402
from store_searches import scans, words  # noqa: E402
from store_writes import sizes, writes  # noqa: E402

SIZES = {False: (100_000, 5_000_000, 1), True: (1_500, 15_000, 20)}
"""Processes of the two stores, and the scale of their world."""
HEAD = """# The embedded store at {large:,} processes

Written by `make bench-store` (`{command}`). This run: {python}, SQLite {sqlite}, {cores} cores, {system}. *Small* is
the same telemetry's first {small:,} processes. Ratios are of one run on one machine, which others may have been using;
their floors are those of the issue.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small stores, for trying the benchmark itself")
    parser.add_argument("--folder", type=Path, help="where the stores are kept, and used again if they are there")
    parser.add_argument("--output", type=Path, help="Markdown file to write, instead of standard output")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        text = report(options.folder, small=options.small)
    else:
        with tempfile.TemporaryDirectory() as folder:
            text = report(Path(folder), small=options.small)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


def report(folder: Path, *, small: bool) -> str:
    """Return everything that is measured, as Markdown."""
    few, many, scale = SIZES[small]
    stores = [_filled(folder, number, scale) for number in (few, many)]
    count = 200 if small else 1000
    parts: dict[str, Callable[[], list[str]]] = {
        "Look-ups": lambda: lookups(*stores, count=count),
        "Searches for words in command lines, ten rows": lambda: words(stores[1]),
        "Searches that must scan distinct texts": lambda: scans(stores[1]),
        "Many hashes in one call": lambda: calls(stores[1], count=count),
        "Writing, parsing excluded": lambda: writes(folder, few, scale),
        "Size": lambda: sizes(stores[1]),
    }
    head = HEAD.format(
        large=many, small=few, command="benchmarks/bench_store.py" + (" --small" if small else ""),
        python=f"Python {platform.python_version()}", sqlite=sqlite3.sqlite_version, cores=os.cpu_count(),
        system=platform.system(),
    )  # fmt: skip
    text = [head]
    for title, run in parts.items():
        began = time.monotonic()
        text += [f"## {title}\n", *run(), ""]
        print(f"{title}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return "\n".join(text)


def _filled(folder: Path, processes: int, scale: int) -> Path:
    path, half = folder / f"{processes}.db", folder / f"{processes}.filling.db"
    if not path.exists():
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{half}{suffix}").unlink(missing_ok=True)
        began = time.monotonic()
        fill(half, processes, scale)
        half.rename(path)
        print(f"{path.name}: filled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
