"""Frames and bodies of search command protocol version 2, as splunkd writes and reads them.

Written from the recorded bytes alone, and apart from the code under test: re-encoding each recorded body gives the
recorded bytes (`test_splunkd_standin.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

__all__ = [
    "BadFrame",
    "Cell",
    "Table",
    "body_of",
    "frame",
    "parse_body",
    "parse_frame",
    "read_table",
    "text_of",
    "values_of",
]

Cell = Union[bytes, tuple[bytes, ...]]
"""What one event has in one field: its bytes, or a tuple of two values or more."""

_START = re.compile(rb"chunked\s+1\.0\s*,\s*(\d{1,12})\s*,\s*(\d{1,12})\s*\n")
_PLAIN = re.compile(rb"[0-9A-Za-z]*").fullmatch
_VALUE = re.compile(r"\$((?:[^$]|\$\$)*)\$(?:;|\Z)", re.DOTALL)


class BadFrame(Exception):
    """What came is no frame, or its body no table; the text says what was seen."""


@dataclass(frozen=True)
class Table:
    """Rows under a header; every row has as many cells as there are names.

    Attributes:
        several: In what was read, the names that had a `__mv_` column beside them.
    """

    names: tuple[bytes, ...]
    rows: Sequence[tuple[Cell, ...]]
    several: frozenset[bytes] = frozenset()

    def column(self, name: bytes) -> list[Cell]:
        """Return the cells of one column."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]


def frame(metadata: Optional[dict[str, Any]], body: bytes = b"") -> bytes:
    """Return a frame; JSON without blanks and in ASCII, as splunkd's is."""
    head = b"" if metadata is None else json.dumps(metadata, separators=(",", ":")).encode()
    return b"chunked 1.0,%d,%d\n%s%s" % (len(head), len(body), head, body)


def parse_frame(data: Union[bytes, bytearray], start: int = 0) -> Optional[tuple[dict[str, Any], bytes, int]]:
    """Return metadata, body and where the next frame begins; None where the frame is not whole yet.

    Raises:
        BadFrame: It does not begin as a frame does, or its metadata is no JSON object.
    """
    match = _START.match(data, start)
    if match is None:
        line = bytes(data[start : start + 120])
        if b"\n" in line or len(line) == 120 or not b"chunked 1.0,".startswith(line[:12]):
            raise BadFrame(f"not the beginning of a frame: {line!r}")
        return None
    size, length = int(match.group(1)), int(match.group(2))
    middle, end = match.end() + size, match.end() + size + length
    if len(data) < end:
        return None
    try:
        metadata = json.loads(bytes(data[match.end() : middle]) or b"{}")
    except ValueError as exc:
        raise BadFrame(f"metadata is no JSON ({exc}): {bytes(data[match.end() : middle])[:200]!r}") from exc
    if not isinstance(metadata, dict):
        raise BadFrame(f"metadata is no object: {metadata!r:.200}")
    return metadata, bytes(data[middle:end]), end


def body_of(table: Table) -> bytes:
    """Return a body as splunkd writes it: plain columns, then a `__mv_` column of each, rows ended by LF."""
    names = [*table.names, *(b"__mv_" + name for name in table.names)]
    known: dict[Cell, bytes] = {}
    lines = [b",".join(map(_quoted, names))]
    singles = b"," * len(table.names)
    for row in table.rows:
        cells = []
        for cell in row:
            ready = known.get(cell)
            if ready is None:
                ready = known[cell] = _quoted(cell if isinstance(cell, bytes) else b"\n".join(cell))
                if len(known) > 100_000:
                    known.clear()
            cells.append(ready)
        plain = b",".join(cells)
        if any(type(cell) is tuple for cell in row):
            lines.append(plain + b"," + b",".join(_quoted(_several(cell)) for cell in row))
        else:
            lines.append(plain + singles)
    lines.append(b"")
    return b"\n".join(lines)


def parse_body(body: bytes) -> tuple[tuple[bytes, ...], list[tuple[bytes, ...]]]:
    """Return header and rows as they stand, `__mv_` columns included; nothing for an empty body.

    Raises:
        BadFrame: A row has another number of cells than the header, or the quoting is broken.
    """
    if not body:
        return (), []
    text = body.decode("latin-1")  # one byte is one character: nothing is lost, nothing is guessed
    csv.field_size_limit(2**31 - 1)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) if "\0" not in text else _with_nul(text)
    except csv.Error as exc:
        raise BadFrame(f"the body is no CSV: {exc}") from exc
    lengths = {len(row) for row in rows}
    if lengths != {len(rows[0])}:
        number = next(n for n, row in enumerate(rows) if len(row) != len(rows[0]))
        raise BadFrame(f"row {number} has {len(rows[number])} cells under {len(rows[0])} names: {rows[number]!r:.300}")
    packed = [tuple(cell.encode("latin-1") for cell in row) for row in rows]
    if len(set(packed[0])) != len(packed[0]):
        raise BadFrame(f"a column is named twice: {packed[0]!r:.500}")
    return packed[0], packed[1:]


def read_table(body: bytes) -> Table:
    """Return the table of a body, its `__mv_` columns folded into the cells.

    Raises:
        BadFrame: As `parse_body`; or a `__mv_` cell is not `$…$;$…$`.
    """
    names, rows = parse_body(body)
    plain = [(at, name) for at, name in enumerate(names) if not name.startswith(b"__mv_")]
    several = {name: names.index(b"__mv_" + name) for _, name in plain if b"__mv_" + name in names}
    pairs = [(at, several.get(name)) for at, name in plain]
    return Table(
        tuple(name for _, name in plain),
        [tuple(_folded(row[at], row[mv] if mv is not None else b"") for at, mv in pairs) for row in rows],
        frozenset(several),
    )


def text_of(cell: Cell) -> str:
    """Return a cell as text, values of a list joined by LF."""
    return (cell if isinstance(cell, bytes) else b"\n".join(cell)).decode()


def values_of(cell: bytes) -> tuple[bytes, ...]:
    """Return the values of a `__mv_` cell.

    Raises:
        BadFrame: It is not `$…$;$…$`.
    """
    text = cell.decode("latin-1")
    found, at = [], 0
    while at < len(text):
        match = _VALUE.match(text, at)
        if match is None:
            raise BadFrame(f"not a multi-value cell: {cell[:200]!r}")
        found.append(match.group(1).replace("$$", "$").encode("latin-1"))
        at = match.end()
    return tuple(found)


def _folded(plain: bytes, several: bytes) -> Cell:
    return values_of(several) if several else plain


def _quoted(cell: bytes) -> bytes:
    return cell if _PLAIN(cell) else b'"' + cell.replace(b'"', b'""') + b'"'


def _several(cell: Cell) -> bytes:
    if isinstance(cell, bytes):
        return b""
    return b";".join(b"$" + value.replace(b"$", b"$$") + b"$" for value in cell)


def _with_nul(text: str) -> list[list[str]]:
    """Read a body with NUL characters, which the csv module refuses before Python 3.11."""
    stand_in = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    rows: Iterable[list[str]] = csv.reader(io.StringIO(text.replace("\0", stand_in), newline=""), strict=True)
    return [[cell.replace(stand_in, "\0") for cell in row] for row in rows]
