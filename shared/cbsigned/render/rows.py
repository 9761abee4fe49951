"""Rows of named cells as a terminal table, a Markdown table or an HTML table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cbsigned.render.clean import clean, clip, clip_left, clip_middle, pad
from cbsigned.render.clean import width as cells
from cbsigned.render.markdown import escape_markdown

__all__ = ["rows_table"]

_LEAST = 12
_PLACES = frozenset(("path", "file", "value"))
_HOSTS = frozenset(("host", "name", "process"))


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[str]], form: str, width: int) -> str:
    """Return a table as text that ends with a newline; a column that is empty in every row is left out.

    Args:
        columns: Headings.
        rows: Each with one text per column; control characters and the form's own markup are neutralised here.
        form: `markdown`, `html`, or anything else for a terminal.
        width: Cells in a terminal line; the widest columns are clipped to fit, paths at their beginning.
    """
    shown = [i for i in range(len(columns)) if not rows or any(row[i] for row in rows)]
    names = [columns[i] for i in shown]
    tidy = [[clean(row[i]) for i in shown] for row in rows]
    if form == "markdown":
        return _markdown(names, tidy)
    if form == "html":
        return _html(names, tidy)
    return _terminal(names, tidy, width)


def _terminal(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    widths = [max([cells(name), *(cells(row[i]) for row in rows)]) for i, name in enumerate(columns)]
    while widths and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _LEAST:
        widest = widths.index(max(widths))
        others = sum(widths) - widths[widest] + 2 * (len(widths) - 1)
        second = max([w for i, w in enumerate(widths) if i != widest] or [0])
        widths[widest] = max(_LEAST, min(widths[widest] - 1, max(width - others, second)))
    lines = [
        [name.upper() for name in columns],
        *([_clipped(*cell) for cell in zip(columns, row, widths)] for row in rows),
    ]
    return "".join("  ".join(pad(clip(text, w), w) for text, w in zip(line, widths)).rstrip() + "\n" for line in lines)


def _clipped(column: str, text: str, room: int) -> str:
    """Return a cell cut to its column: a path keeps its end, a host or a file name both ends."""
    if column in _PLACES and ("/" in text or "\\" in text):
        return clip_left(text, room)
    return clip_middle(text, room) if column in _HOSTS else clip(text, room)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(escape_markdown(text, 0) for text in texts) + " |\n"

    return line(columns) + "|" + " --- |" * len(columns) + "\n" + "".join(map(line, rows))


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
