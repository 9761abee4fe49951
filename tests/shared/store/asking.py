"""Commands that question a store, as they are typed, without a process of their own."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any, Callable

from cbsigned.cli import Context

Answered = tuple[int, str, str]


def ask(command: Callable[[Any], None], store: Path, *argv: object, stdin: bytes = b"") -> Answered:
    """Run a command and return its exit code and what it wrote on both streams."""
    parser = argparse.ArgumentParser(prog="cbsigned")
    command(parser.add_subparsers())
    args = parser.parse_args([*map(str, argv), "--store", str(store)])
    out, err = io.StringIO(), io.StringIO()
    context = _Context(args, out, err, {"COLUMNS": "200"})
    context.given = stdin
    code = args.run(args, context)
    context.close()
    return code, out.getvalue(), err.getvalue()


def ask_json(command: Callable[[Any], None], store: Path, *argv: object) -> Any:
    """Run a command and return its JSON lines; it must succeed."""
    code, out, err = ask(command, store, *argv)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


class _Context(Context):
    given: bytes = b""

    @property
    def stdin(self) -> io.BytesIO:  # type: ignore[override]
        return io.BytesIO(self.given)
