"""The body of a chunk: which cells of a row are asked about, and the same rows with the new columns behind them.

Input is never written anew: a reply row is the bytes that came and ready-made bytes behind them. Three ways, quickest
first, and all with the same outcome:

- *selected*: the header names nothing but what was asked for. A row is then `cells,_chunked_idx,,,`, and all before
  the number is what makes it one of the distinct rows: no cell is looked at in a row like one seen before.
- *spliced*: a row's cells are stepped over with one pattern up to the wanted ones.
- *replaced*: an output column is there already. Its cells, and those of its `__mv_` column, are left out.

Bytes are split at commas and line ends only where every part has an even number of quotes: then, and only then, none
of these lies within quotes. The csv module has no part in it: it has limits (NUL, 10 MB cells) and costs far more.

References:
    - splunk §2 (execute), §3 (splice)
"""

from __future__ import annotations

import re
from operator import itemgetter

from cbsigned_connectors.splunk.protocol import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Optional, Union

    Key = Union[bytes, tuple[bytes, ...]]
    Text = Union[str, tuple[str, ...]]

__all__ = ["Asked", "Chunk", "Layout", "cell", "cell_text", "cell_texts", "header_of", "multi_cell", "split_cells"]

INDEX = "_chunked_idx"
MULTI = "__mv_"
_QUOTED = rb'"[^"]*(?:""[^"]*)*"'
_SKIP = rb'(?:[^",]*,|' + _QUOTED + rb",)"
_CELL = rb"(" + _QUOTED + rb'|[^",]*)'
_CELLS = re.compile(_CELL + rb",")
_VALUES = re.compile(r"\$((?:[^$]|\$\$)*)\$(?:;|\Z)")
_GUID = re.compile(
    rb'"?[0-9a-f]{8}-00[0-9a-f]{2}-[0-9a-f]{4}-01[b-f][0-9a-f]-[0-9a-f]{12}(?:-[0-9a-f]{1,12})?"?', re.IGNORECASE
)


class Asked:
    """Which columns make the question of a row.

    Rows share a question only while it has no time in it. So what merely helps to find a process is left out of one
    that has a process guid of Carbon Black's, and of one that names nothing to look up.

    Args:
        names: Columns, in the order in which they are asked.
        needs: Of these at least one must have something; else nothing is asked. All by default.
        guid: The column that makes others needless.
        enough: What is asked beside `guid` where that has a guid.
    """

    def __init__(
        self, names: Sequence[str], needs: Collection[str] = (), guid: str = "", enough: Collection[str] = ()
    ) -> None:
        self.names = tuple(names)
        self.needs = frozenset(needs or names)
        self.guid = guid
        self.enough = frozenset([*enough, guid])
        self.narrows = bool(guid) or len(self.needs) < len(self.names)


class Chunk:
    """The rows of one body.

    Attributes:
        keys: For each row what makes it one of the distinct rows of its layout; `Layout.texts` reads it.
        ready: For each row the new cells where they are known, else None; to be filled in.
        columns: What the reply has before the new cells of each row, in parts.
    """

    def __init__(self, layout: Layout, keys: Sequence[Key], columns: Sequence[Sequence[bytes]]) -> None:
        self.layout, self.keys, self.columns = layout, keys, columns
        self.ready: list[Optional[bytes]] = list(map(layout.known.get, keys))

    def pieces(self) -> list[bytes]:
        """Return the body of the reply; every row must be `ready`."""
        step = len(self.columns) + 1
        pieces: list[Optional[bytes]] = [self.layout.header] * (1 + step * len(self.keys))
        for at, column in enumerate((*self.columns, self.ready)):
            pieces[1 + at :: step] = column
        return pieces  # type: ignore[return-value]


class Layout:
    """What one header means; chunks with the same header share it, and what is known of their rows.

    Args:
        header: The header row without its line end.
        eol: `\\n` or `\\r\\n`.
        outputs: Columns that are added. Each has an `__mv_` column too, so that values of an older one are replaced.

    Attributes:
        header: Of the reply, with its line end.
        known: New cells by key, as `Chunk.ready` has them; filled and kept small by the caller.
    """

    def __init__(self, header: bytes, eol: bytes, asked: Asked, outputs: Sequence[str]) -> None:
        self.eol, self.asked = eol, asked
        self.known: dict[Key, bytes] = {}
        cells = split_cells(header)
        names = [cell_text(raw) for raw in cells]
        added = [*outputs, *(MULTI + name for name in outputs)]
        self._kept = [place for place, name in enumerate(names) if name not in added]
        self.header = b",".join([*(cells[place] for place in self._kept), *map(cell, added)]) + eol
        self._width, half = len(names), len(names) // 2
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        self._single = _Places(places, asked.names)
        self._several = _Places(places, [MULTI + name for name in asked.names])
        self._all = _Places(places, [*asked.names, *(MULTI + name for name in asked.names)])
        paired = names[half:] == [MULTI + name for name in names[:half]]
        self._empty = b"," * half if paired else None  # what a row ends with that has no multi-value cell
        self._selected = (
            paired
            and half > 1
            and not asked.narrows
            and names[half - 1] == INDEX
            and {*names[: half - 1]} <= {*asked.names, *outputs}
        )
        self._heads = names[: half - 1]
        self._narrowed = _Narrowing(self._single.names, asked) if asked.narrows else None

    def chunk(self, body: bytes, start: int) -> Chunk:
        """Return the rows of a body.

        Args:
            start: Where its first row begins.

        Raises:
            ProtocolError: A quote is not closed, or a row has more cells than the header.
        """
        chunk = self._selected_chunk(body[start:]) if self._selected else None
        return chunk or self._any_chunk(_split_rows(body, start, self.eol))

    def texts(self, key: Key) -> tuple[Text, ...]:
        """Return the cells behind a key in the order of `Asked.names`; one with several values is a tuple."""
        told: dict[str, Text]
        if isinstance(key, bytes):
            told = dict(zip(self._heads, map(cell_text, split_cells(key))))
        else:
            told = dict(zip(self._single.names, map(cell_text, key)))
            several = zip(self._several.names, key[len(self._single.names) :])
            told.update((name[len(MULTI) :], found) for name, raw in several if (found := cell_texts(raw)))
        return tuple(told.get(name, "") for name in self.asked.names)

    def _selected_chunk(self, rows: bytes) -> Optional[Chunk]:
        """Return the rows of a selected body, or None where a cell has several values, a comma or a line end."""
        end = (self._empty or b"") + self.eol
        lines = rows.split(end)
        if lines.pop() or rows.count(b"\n") != len(lines):
            return None
        parts = [line.rpartition(b",") for line in lines]
        heads = [part[0] for part in parts]
        lead = [b"," * (1 + sum(place > len(self._heads) for place in self._kept))] * len(lines)
        if b'"' in rows and b'"' in b"".join([part[2] for part in parts]):
            return None
        chunk = Chunk(self, heads, (lines, lead))
        if None in chunk.ready and not all(map(self._is_head, {*heads} - self.known.keys())):
            return None
        if len(self._kept) < self._width:
            bare = {head: self._bare_head(head) for head in {*heads}}
            chunk.columns = ([bare[head] for head in heads], [part[2] for part in parts], lead)
        return chunk

    def _is_head(self, head: bytes) -> bool:
        cells = head.split(b",")
        return len(cells) == len(self._heads) and not any(raw.count(b'"') & 1 for raw in cells)

    def _bare_head(self, head: bytes) -> bytes:
        """Return the cells before the number without those of outputs, a comma behind each."""
        cells = head.split(b",")
        return b"".join([cells[place] + b"," for place in self._kept if place < len(cells)])

    def _any_chunk(self, rows: list[bytes]) -> Chunk:
        keys = self._keys(rows)
        if len(self._kept) < self._width:
            for at, row in enumerate(rows):  # in place: two copies of a large body are enough
                rows[at] = self._without_outputs(row)
        return Chunk(self, keys, (rows, [b"," if self._kept else b""] * len(rows)))

    def _keys(self, rows: list[bytes]) -> Sequence[Key]:
        match, several, empty = self._single.match, self._several_key, self._empty
        keys: list[tuple[bytes, ...]]
        if not self._several.names:
            keys = [(m.groups() if (m := match(row)) else several(row)) for row in rows]
        elif empty is None:
            keys = [several(row) for row in rows]
        else:
            keys = [(m.groups() if row.endswith(empty) and (m := match(row)) else several(row)) for row in rows]
        narrowed = self._narrowed
        return [*map(narrowed, keys)] if narrowed else keys

    def _several_key(self, row: bytes) -> tuple[bytes, ...]:
        """Return the key of a row with multi-value cells somewhere: that of a plain row if the asked ones are plain."""
        match = self._all.match(row)
        if match is None:
            raise _uneven(self._width)
        found: dict[str, bytes] = dict(zip(self._all.names, match.groups()))
        single = tuple([found[name] for name in self._single.names])
        several = tuple([found[name] for name in self._several.names])
        return (*single, *several) if any(several) else single

    def _without_outputs(self, row: bytes) -> bytes:
        cells = split_cells(row)
        if len(cells) != self._width:
            raise _uneven(self._width)
        return b",".join([cells[place] for place in self._kept])


class _Places:
    """Some columns of a header in the order in which they stand there, and the pattern that finds their cells."""

    def __init__(self, places: dict[str, int], names: Sequence[str]) -> None:
        self.names = sorted((name for name in names if name in places), key=places.__getitem__)
        parts, at = [], 0
        for name in self.names:
            parts.append(b"%b{%d}%b" % (_SKIP, places[name] - at, _CELL))
            at = places[name] + 1
        self.match: Callable[[bytes], Optional[re.Match[bytes]]]
        self.match = re.compile(b",".join(parts) + rb"(?=,|\Z)" if parts else b"").match


class _Narrowing:
    """Leaves out of a key what `Asked` says is needless."""

    def __init__(self, names: Sequence[str], asked: Asked) -> None:
        self._nothing = (b"",) * len(names)
        self._guid = names.index(asked.guid) if asked.guid in names else None
        self._needs = itemgetter(*(at for at, name in enumerate(names) if name in asked.needs), -1, -1)
        self._enough = itemgetter(*(at if name in asked.enough else -1 for at, name in enumerate(names)), -1, -1)

    def __call__(self, key: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if len(key) != len(self._nothing):
            return key
        if self._guid is not None and key[self._guid] and _GUID.fullmatch(key[self._guid]):
            enough: tuple[bytes, ...] = self._enough((*key, b""))
            return enough[:-2]
        return key if any(self._needs((*key, b""))) else self._nothing


def header_of(body: bytes) -> tuple[bytes, bytes, int]:
    """Return the header row of a body, its line end, and where the first row begins.

    Raises:
        ProtocolError: The header does not end.
    """
    end = body.find(b"\n")
    while end >= 0 and body.count(b'"', 0, end) & 1:  # a column's name may have a line end in it
        end = body.find(b"\n", end + 1)
    if end < 0:
        raise ProtocolError("The body of a chunk has a header row without an end.")
    eol = b"\r\n" if body[end - 1 : end] == b"\r" else b"\n"
    return body[: end + 1 - len(eol)], eol, end + 1


def _split_rows(body: bytes, start: int, eol: bytes) -> list[bytes]:
    """Return the rows of a body without their line ends."""
    lines = body.split(eol)
    del lines[: body.count(eol, 0, start)]
    if not lines[-1]:
        lines.pop()
    odd = [at for at, line in enumerate(lines) if line.count(b'"') & 1] if body.find(b'"', start) >= 0 else []
    if len(odd) & 1:
        raise ProtocolError("The body of a chunk ends within a quoted cell.")
    rows, done = (lines, len(lines)) if not odd else ([], 0)
    for first, last in zip(odd[::2], odd[1::2]):  # a line end within quotes
        rows += lines[done:first]
        rows.append(eol.join(lines[first : last + 1]))
        done = last + 1
    return rows + lines[done:] if odd else rows


def split_cells(row: bytes) -> list[bytes]:
    """Return the cells of a row as they are, quotes included.

    Raises:
        ProtocolError: A cell is quoted in part.
    """
    if b'"' not in row:
        return row.split(b",")
    cells: list[bytes] = _CELLS.findall(row + b",")
    if sum(map(len, cells)) + len(cells) != len(row) + 1:
        raise ProtocolError("A row of a chunk has quotes within an unquoted cell.")
    return cells


def cell_text(raw: bytes) -> str:
    """Return what a cell says; bytes that are not UTF-8 become U+FFFD."""
    if raw[:1] == b'"':
        raw = raw[1:-1].replace(b'""', b'"')
    return raw.decode("utf-8", "replace")


def cell_texts(raw: bytes) -> tuple[str, ...]:
    """Return the values of an `__mv_` cell, `$a$;$b$`."""
    return tuple([value.replace("$$", "$") for value in _VALUES.findall(cell_text(raw))])


def cell(text: str) -> bytes:
    """Return a cell as splunkd writes it: quoted as soon as anything but an ASCII letter or digit is in it."""
    if not text or (text.isascii() and text.isalnum()):
        return text.encode("ascii")
    return b'"' + text.encode("utf-8", "replace").replace(b'"', b'""') + b'"'


def multi_cell(values: Sequence[str]) -> bytes:
    """Return the `__mv_` cell of several values; that of one value, or none, is empty."""
    return cell(";".join(["$" + value.replace("$", "$$") + "$" for value in values])) if len(values) > 1 else b""


def _uneven(width: int) -> ProtocolError:
    return ProtocolError(f"A row of a chunk does not have the {width} cells that its header names.")
