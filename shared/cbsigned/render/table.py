"""Many enrichments as a table for a terminal: widths chosen from the first rows, wide characters counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Optional

from cbsigned.render.clean import pad, width
from cbsigned.render.document import Document
from cbsigned.render.facts import INCOMPLETE, lineage_names, publisher, why, worse
from cbsigned.render.marks import look, mark, word
from cbsigned.render.style import Style

__all__ = ["table"]

_LOOK_AHEAD = 200  # rows read before the widths are chosen; the others are printed as they come
_GAP = 2
_BOLD, _DIM = 1, 2
_SHORT_HASH, _LONG_HASH = 12, 32
_ROOM_FOR_ALERT, _ROOM_FOR_LONG_HASH = 120, 160


@dataclass(frozen=True)
class _Column:
    """One column; the one with the highest `rank` is left out first where room is short, 0 never.

    Attributes:
        least, most: Terminal cells.
        room: Cells of the whole line from which on it is shown.
        clip: How what is too long is cut.
    """

    title: str
    least: int
    most: int
    rank: int = 0
    room: int = 0
    clip: Callable[[Style, str, int], str] = Style.clip


@dataclass(frozen=True)
class _Row:
    cells: Sequence[str]
    colours: Mapping[int, int]


_WORSE = re.compile(r"(\S) .*? (\+\d+ \S .+)")


def _clip_status(style: Style, text: str, cells: int) -> str:
    """Return a status that fits: the first subject's word goes before anything of the worst's does."""
    parts = _WORSE.fullmatch(text)
    if width(text) <= cells or parts is None:
        return style.clip(text, cells)
    first, worst_of = parts.groups()
    return next((t for t in (f"{first} {worst_of}", worst_of) if width(t) <= cells), style.clip(worst_of, cells))


_ALERTS = (
    _Column("#", 7, 7),
    _Column("time", 16, 16, room=_ROOM_FOR_ALERT),
    _Column("alert", 10, 28, room=_ROOM_FOR_ALERT),
    _Column("status", 24, 48, clip=_clip_status),
    _Column("process", 12, 28, clip=Style.clip_middle),
    _Column("hash", _SHORT_HASH, _LONG_HASH, 1),
    _Column("publisher", 10, 24, 4),
    _Column("host", 8, 16, 3, clip=Style.clip_middle),
    _Column("user", 8, 18, 5, clip=Style.clip_left),
    _Column("lineage", 12, 48, 2),
    _Column("why", 16, 10_000),
)
_LEAST_WHY = 20
_UNCUT = {"#": 6, "status": 24}  # cells for a million rows and `✓ +1 ▲ Explicit Distrust`
_MAX_NAMED = 20


def table(documents: Iterable[Document], style: Optional[Style] = None) -> Iterator[str]:
    """Yield the lines of a table, one row per alert: is it signed, what is it, where did it come from, why.

    Rows come as the documents do, numbered from 1. An alert with several subjects shows the first and counts the
    others; where one of them is worse, its status stands beside the first's: `✓ Signed +1 ▲ Explicit Distrust`. On
    narrow terminals the less important columns are left out. Last comes which rows are incomplete, where any are.

    Args:
        documents: From `enrichment_document`.
        style: Width, colour, ASCII.
    """
    style = style or Style()
    incomplete: list[int] = []

    def rows() -> Iterator[_Row]:
        for number, document in enumerate(documents, 1):
            if not document["complete"]:
                incomplete.append(number)
            yield _alert_row(number, document, style)

    yield from _lines(_columns(style.width), rows(), style)
    if incomplete:
        yield from style.wrap(_incomplete(incomplete), style.width)


def _columns(room: int) -> list[_Column]:
    """Return the columns that a line of so many cells may show; the wide ones have room for a whole MD5."""
    columns = [column for column in _ALERTS if room >= column.room]
    if room >= _ROOM_FOR_ALERT:
        columns[-1] = replace(columns[-1], least=_LEAST_WHY if room < _ROOM_FOR_LONG_HASH else _LONG_HASH)
    if room >= _ROOM_FOR_LONG_HASH:
        columns = [replace(c, least=_LONG_HASH) if c.title == "hash" else c for c in columns]
    return columns


def _alert_row(number: int, document: Document, style: Style) -> _Row:
    subjects, alert = document["subjects"], document["alert"] or {}
    first = subjects[0] if subjects else {}
    more = f" +{len(subjects) - 1}" if len(subjects) > 1 else ""
    found_hash = style.value(first.get("md5") or first.get("sha256"))
    looks = look(document)
    raised = [style.value(_minute(alert.get("at"))), style.value(alert.get("title") or alert.get("kind"))]
    cells = [
        str(number),
        *(raised if style.width >= _ROOM_FOR_ALERT else ()),
        _status(document, style),
        style.value(first.get("name") or first.get("role")) + more,
        found_hash if style.width >= _ROOM_FOR_LONG_HASH else found_hash[:_SHORT_HASH],
        style.value(publisher(document)),
        style.value(first.get("host")),
        style.value(first.get("user")),
        _ancestors(first.get("lineage"), style),
        style.value(why(document)),
    ]
    status = 1 if len(cells) < len(_ALERTS) else 3
    return _Row(cells, {0: _DIM, status: mark(looks).ansi, status + 1: _BOLD})


def _status(document: Document, style: Style) -> str:
    """Return mark and word of the first subject, and of the worst where that is another: `✓ Signed +1 ○ Unknown`."""
    found = worse(document)
    first = document if found is None else document["subjects"][0]
    told = f"{style.mark(look(first))} {style.value(word(first))}"
    if found is None:
        return told
    more = len(document["subjects"]) - 1
    return f"{told} +{more} {style.mark(look(found))} {style.value(word(found))}"


def _incomplete(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _MAX_NAMED:,} more" if len(numbers) > _MAX_NAMED else ""
    named = ", ".join(str(number) for number in numbers[:_MAX_NAMED])
    return f"{INCOMPLETE} Row{'' if len(numbers) == 1 else 's'}: {named}{more}."


def _minute(moment: Optional[str]) -> str:
    """Return `2016-03-16 04:06` of a document's time."""
    return moment[:16].replace("T", " ") if moment else ""


def _ancestors(lineage: Optional[Document], style: Style) -> str:
    """Return the ancestors alone: the process has a column of its own."""
    return " ".join(f"{style.own('←')} {style.value(name)}" for name in lineage_names(lineage)[1:])


def _lines(columns: Sequence[_Column], rows: Iterable[_Row], style: Style) -> Iterator[str]:
    rest = iter(rows)
    first = list(islice(rest, _LOOK_AHEAD))
    natural = [max([width(c.title), *(width(row.cells[at]) for row in first)]) for at, c in enumerate(columns)]
    if len(first) == _LOOK_AHEAD:  # what comes later may be longer, and neither a number nor a status is ever cut
        natural = [max(cells, _UNCUT.get(c.title, 0)) for cells, c in zip(natural, columns)]
    widths = _widths(columns, natural, style.width)
    yield _line(columns, _Row([c.title for c in columns], dict.fromkeys(range(len(columns)), _DIM)), widths, style)
    yield style.own((" " * _GAP).join("─" * w for w in widths.values()))
    for row in chain(first, rest):
        yield _line(columns, row, widths, style)


def _line(columns: Sequence[_Column], row: _Row, widths: Mapping[int, int], style: Style) -> str:
    last = max(widths)
    cells = []
    for at, cells_wide in widths.items():
        text = columns[at].clip(style, row.cells[at], cells_wide)
        cells.append(style.paint(text if at == last else pad(text, cells_wide), row.colours.get(at, 0)))
    return (" " * _GAP).join(cells).rstrip()


def _widths(columns: Sequence[_Column], natural: Sequence[int], room: int) -> dict[int, int]:
    """Return column number → cells: what each needs, shared fairly where the room is short."""
    wanted = {at: min(c.most, natural[at]) for at, c in enumerate(columns)}
    while True:
        widths = {at: min(columns[at].least, wanted[at]) for at in wanted}
        spare = room - sum(widths.values()) - _GAP * (len(widths) - 1)
        droppable = [at for at in wanted if columns[at].rank]
        if spare >= 0 or not droppable:
            break
        del wanted[max(droppable, key=lambda at: columns[at].rank)]
    while spare > 0:
        growing = [at for at in widths if widths[at] < wanted[at]][:spare]
        if not growing:
            break
        for at in growing:
            widths[at] += 1
        spare -= len(growing)
    return widths
