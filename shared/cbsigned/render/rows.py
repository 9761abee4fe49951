"""Rows of named cells as a terminal table, a Markdown table or an HTML table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cbsigned.render.clean import clean, clip, pad
from cbsigned.render.clean import width as cells

__all__ = ["rows_table"]

_LEAST = 12


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[str]], form: str, width: int) -> str:
    """Return a table as text that ends with a newline.

    Args:
        columns: Headings.
        rows: Each with one text per column; control characters are neutralised here.
        form: `markdown`, `html`, or anything else for a terminal.
        width: Cells in a terminal line; the widest columns are clipped to fit.
    """
    tidy = [[clean(text) for text in row] for row in rows]
    if form == "markdown":
        return _markdown(columns, tidy)
    if form == "html":
        return _html(columns, tidy)
    widths = [max([cells(name), *(cells(row[i]) for row in tidy)]) for i, name in enumerate(columns)]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _LEAST:
        widest = widths.index(max(widths))
        others = sum(widths) - widths[widest] + 2 * (len(widths) - 1)
        second = max([w for i, w in enumerate(widths) if i != widest] or [0])
        widths[widest] = max(_LEAST, min(widths[widest] - 1, max(width - others, second)))
    lines = [[name.upper() for name in columns], *tidy]
    return "".join("  ".join(pad(clip(text, w), w) for text, w in zip(line, widths)).rstrip() + "\n" for line in lines)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(escape(t, quote=False).replace("|", "\\|").replace("\n", " ") for t in texts) + " |\n"

    return line(columns) + "|" + " --- |" * len(columns) + "\n" + "".join(map(line, rows))


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
