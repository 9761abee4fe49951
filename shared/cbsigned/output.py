"""How the command line writes: progress, lines of JSON, files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, TextIO

__all__ = ["Progress", "json_line", "write_output"]

_UNSEEN = re.compile(
    "[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)  # commands to a terminal, and marks that hide


class Progress:
    """A line on standard error that says how far a long run is; silent where nobody watches.

    Args:
        total: Steps in all, or None where that is not known.
        in_bytes: The steps are bytes of input.
    """

    def __init__(
        self, stream: TextIO, label: str, total: Optional[int], shown: bool, *, in_bytes: bool = False
    ) -> None:
        self._stream, self._label, self._total, self._shown, self._in_bytes = stream, label, total, shown, in_bytes
        self._started = self._drawn = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Draw, at most ten times a second."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < 0.1:
            return
        self._drawn = now
        rate = done / max(now - self._started, 0.001)
        share = f"{done / self._total:4.0%} " if self._total else ""
        amount = f"{done / 1e6:,.1f} MB ({rate / 1e6:,.1f} MB/s)" if self._in_bytes else f"{done:,} ({rate:,.0f}/s)"
        self._stream.write(f"\r\x1b[K{self._label} {share}{amount} {note[:40]}")
        self._stream.flush()

    def done(self) -> None:
        """Wipe the line."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def json_line(row: object, encoding: Optional[str]) -> str:
    """Return a row as one line of JSON with its line end.

    What JSON has no word for (an infinite number) is written as text; characters that command a terminal or hide
    are written as escapes.

    Args:
        row: JSON types.
        encoding: Of the stream; other than UTF-8 gets ASCII alone.
    """
    ascii_only = (encoding or "").lower().replace("-", "") != "utf8"
    try:
        line = json.dumps(row, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(row), ensure_ascii=ascii_only)
    return (line if line.isascii() else _UNSEEN.sub(_escaped, line)) + "\n"


def write_output(name: str, text: str) -> None:
    """Write a file whole or not at all: a full disk leaves what was there before.

    Raises:
        OSError: It cannot be written; names the file.
    """
    path = Path(name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OSError(exc.errno, exc.strerror, name) from exc


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
