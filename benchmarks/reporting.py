"""What is around a benchmark that writes one Markdown file: its options, where the text goes, and the exit code."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

MISSED = " (missed)"


def parser_of(document: str | None) -> argparse.ArgumentParser:
    """Return the options of every such benchmark, under the module's own text."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="little of everything, for trying the benchmark itself")
    parser.add_argument("--output", type=Path, help="Markdown file to write, instead of standard output")
    return parser


def written(report: Callable[[Path], str], output: Path | None) -> int:
    """Write what a report says, made in a folder of its own; return the exit code, 1 where a bound is missed."""
    with tempfile.TemporaryDirectory() as folder:
        text = report(Path(folder))
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    return 1 if MISSED in text else 0


def bold(value: float, holds: bool) -> str:
    """Return a number that has a bound, marked where it misses it: the exit code is 1 then."""
    return f"**{value:.{0 if isinstance(value, int) else 2 if value < 3 else 1}f}**" + ("" if holds else MISSED)
