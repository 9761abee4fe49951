"""Make the manifests of every platform from the one definition of the actions.

`python packaging/manifests.py` writes what has changed, `--check` only says so and ends with 1. Each platform has a
`manifest.py` in its folder with a function `files() -> dict[str, str]`: path below that folder → text. Templates lie
beside it, `*.j2`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cbsigned_playbooks.definition import Output, Parameter

HERE = Path(__file__).resolve().parent
PLATFORMS = ("soar", "xsoar", "cortex", "stackstorm", "n8n", "playbook")


def environment(folder: Path) -> Environment:
    """Return what renders the templates of one platform: undefined names are errors, nothing is escaped by itself.

    Filters: `json` (one line, safe as YAML too), `pascal` (`signing_status` → `SigningStatus`), `dashed`.
    """
    made = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (JSON, YAML and Python, quoted by the json filter; values are our own)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.filters["pascal"] = pascal
    made.filters["dashed"] = lambda name: name.replace("_", "-")
    return made


def pascal(name: str) -> str:
    """Return a name of the catalogue as a class's: `signing_status` → `SigningStatus`."""
    return "".join(part.title() for part in name.split("_"))


def span(one: Parameter) -> str:
    """Return range and unit of a value, `1 to 600 s`, for platforms that have no other place for them."""
    bounds = "" if one.low is None or one.high is None else f"{one.low:,} to {one.high:,}"
    return " ".join(part for part in (bounds, one.unit) if part)


def measured(one: Output) -> str:
    """Return the description of an output, with its unit where the description alone does not tell it."""
    return f"{one.description} In {one.unit}." if one.unit == "s" else one.description


def manifest(platform: str) -> Any:
    """Return the module that makes one platform's files."""
    path = HERE / platform / "manifest.py"
    spec = importlib.util.spec_from_file_location(f"manifest_of_{platform}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    sys.path.insert(0, str(HERE))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(HERE))
    return module


def stale(platform: str) -> dict[str, tuple[str, str]]:
    """Return what is not current: path below the platform's folder → what is there, and what should be."""
    found = {}
    for name, text in manifest(platform).files().items():
        path = HERE / platform / name
        there = path.read_text("utf-8") if path.is_file() else ""
        if there != text:
            found[name] = (there, text)
    return found


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write or check the manifests; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"default: {' '.join(PLATFORMS)}")
    parser.add_argument("--check", action="store_true", help="write nothing; show what is not current, and end with 1")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.platforms) - set(PLATFORMS))
    if unknown:
        parser.error(f"{unknown[0]} is no platform: expected some of {', '.join(PLATFORMS)}.")
    changed = False
    for platform in given.platforms or PLATFORMS:
        for name, (there, text) in stale(platform).items():
            changed = True
            path = HERE / platform / name
            if given.check:
                lines = difflib.unified_diff(
                    there.splitlines(), text.splitlines(), str(path), "as defined", lineterm=""
                )
                print("\n".join(lines))
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
                print(f"wrote {path.relative_to(HERE.parent)}")
    if given.check and changed:
        print("Not current. Run: python packaging/manifests.py", file=sys.stderr)
    return int(given.check and changed)


if __name__ == "__main__":
    sys.exit(main())
