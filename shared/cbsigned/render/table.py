"""Many enrichments as a table for a terminal: widths chosen from the first rows, wide characters counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Optional

from cbsigned.render.clean import pad, width
from cbsigned.render.document import Document
from cbsigned.render.facts import lineage_names, why
from cbsigned.render.marks import mark
from cbsigned.render.style import Style

__all__ = ["table"]

_LOOK_AHEAD = 200  # rows read before the widths are chosen; the others are printed as they come
_GAP = 2
_BOLD, _DIM = 1, 2


@dataclass(frozen=True)
class _Column:
    """One column; the one with the highest `rank` is left out first where room is short, 0 never.

    Attributes:
        least, most: Terminal cells.
    """

    title: str
    least: int
    most: int
    rank: int = 0


@dataclass(frozen=True)
class _Row:
    cells: Sequence[str]
    colours: Mapping[int, int]


_ALERTS = (
    _Column("status", 19, 19),
    _Column("process", 12, 28),
    _Column("hash", 8, 12, 4),
    _Column("publisher", 10, 24, 5),
    _Column("host", 8, 16, 2),
    _Column("user", 8, 18, 6),
    _Column("lineage", 16, 48, 3),
    _Column("why", 20, 10_000),
)


def table(documents: Iterable[Document], style: Optional[Style] = None) -> Iterator[str]:
    """Yield the lines of a table, one row per alert: is it signed, what is it, where did it come from, why.

    Rows come as the documents do. An alert with several subjects shows the first and counts the others. On narrow
    terminals the less important columns are left out.

    Args:
        documents: From `enrichment_document`.
        style: Width, colour, ASCII.
    """
    style = style or Style()
    return _lines(_ALERTS, (_alert_row(document, style) for document in documents), style)


def _alert_row(document: Document, style: Style) -> _Row:
    subjects = document["subjects"]
    first = subjects[0] if subjects else {}
    signature = first.get("signature") or {}
    name = first.get("name") or first.get("role") or (document["alert"] or {}).get("title")
    more = f" +{len(subjects) - 1}" if len(subjects) > 1 else ""
    cells = [
        _status(document["status"], style),
        style.value(name) + more,
        style.value(first.get("md5") or first.get("sha256"))[:12],
        style.value(signature.get("publisher")),
        style.value(first.get("host")),
        style.value(first.get("user")),
        _ancestors(first.get("lineage"), style),
        style.value(why(document)),
    ]
    return _Row(cells, {0: mark(document["status"]).ansi, 1: _BOLD})


def _ancestors(lineage: Optional[Document], style: Style) -> str:
    """Return the ancestors alone: the process has a column of its own."""
    return " ".join(f"{style.own('←')} {style.value(name)}" for name in lineage_names(lineage)[1:])


def _status(status: object, style: Style) -> str:
    return f"{style.mark(status)} {style.value(status)}"


def _lines(columns: Sequence[_Column], rows: Iterable[_Row], style: Style) -> Iterator[str]:
    rest = iter(rows)
    first = list(islice(rest, _LOOK_AHEAD))
    natural = [max([width(c.title), *(width(row.cells[at]) for row in first)]) for at, c in enumerate(columns)]
    widths = _widths(columns, natural, style.width)
    yield _line(_Row([c.title for c in columns], dict.fromkeys(range(len(columns)), _DIM)), widths, style)
    yield style.own((" " * _GAP).join("─" * w for w in widths.values()))
    for row in chain(first, rest):
        yield _line(row, widths, style)


def _line(row: _Row, widths: Mapping[int, int], style: Style) -> str:
    last = max(widths)
    cells = []
    for at, cells_wide in widths.items():
        text = style.clip(row.cells[at], cells_wide)
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
