"""What an action answers: the same for every platform, and how it is shown to a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Union

from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.markdown import escape_markdown, markdown_card
from cbsigned.render.rows import rows_table
from cbsigned_playbooks.definition import Action, View

__all__ = ["Fact", "Outcome", "values_at"]

Fact = Union[str, int, bool]

_MOST_CHARS = 30_000
_MOST_ROWS = 100
_MOST_CELL = 300
_MARKS = {True: "ok", False: "no", None: "?"}


@dataclass(frozen=True)
class Outcome:
    """What came of one action.

    Attributes:
        action: Which.
        ok: False where nothing at all could be answered: inputs that cannot be used, a source that refused, failed or
            does not know the one process asked for.
        message: For people, one or two sentences: what came out, or what happened, why, and what to do.
        rows: JSON types, with the members that the action's outputs name.
        summary: Counts and other single values: `asked`, `answered`, `complete`, and a count for each status.
        complete: False where a look-up failed that may succeed later; the rows have the reasons.
        failures: The first reasons of what failed, each once; the rows have all.
        documents: Enrichment documents to draw cards of, where the action has any.
        notes: What the user should know of the answer besides; the message has them too.
    """

    action: Action
    ok: bool
    message: str
    rows: list[Document] = field(default_factory=list)
    summary: Mapping[str, Fact] = field(default_factory=dict)
    complete: bool = True
    failures: tuple[str, ...] = ()
    documents: tuple[Document, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The answer as Markdown, at most 30,000 characters; values from outside are escaped."""
        if not self.rows:
            return f"{escape_markdown(self.message)}\n"
        if self.documents:
            return _joined((markdown_card(one, _MOST_CHARS) for one in self.documents), len(self.documents))
        columns, rows = self.table()
        more = _more(len(self.rows) - _MOST_ROWS, "row")
        table = rows_table(columns, rows, "markdown", 0) + (f"\n_{more}_\n" if more else "")
        return _joined([f"{escape_markdown(self.message)}\n\n{table}"], 1)

    @property
    def html(self) -> str:
        """The answer as an HTML fragment with its own style, light and dark; no script, nothing from elsewhere.

        Raises:
            ConfigError: Jinja2 is not installed, and there is a card to draw.
        """
        from cbsigned.render.html import html_card  # here, where Jinja2 may be missing

        if self.documents:
            cards = [html_card(one, style=number == 0) for number, one in enumerate(self.documents[:_MOST_CARDS])]
            more = _more(len(self.documents) - _MOST_CARDS, "alert")
            return "".join(cards) + (f"<p>{more}</p>\n" if more else "")
        told = f"<p>{escape(clean(self.message))}</p>\n"
        more = _more(len(self.rows) - _MOST_ROWS, "row")
        told += (_html(*self.table()) if self.rows else "") + (f"<p>{more}</p>\n" if more else "")
        return f'{_TABLE_STYLE}<div class="cbsigned-table">{told}</div>\n'

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and the first 100 rows of the most important values."""
        shown = [output for output in self.action.outputs if output.column is not None]
        source = self.rows[:_MOST_ROWS]
        if self.action.view is View.LINEAGE:
            source = [
                {**row, "lineage": {**row["lineage"], "nodes": [node]}}
                for row in source
                for node in (row["lineage"] or {"nodes": []})["nodes"]
            ]
        cells = [[_cell(list(values_at(row, output.path))) for output in shown] for row in source]
        return [str(output.column) for output in shown], cells


_MOST_CARDS = 20
_TABLE_STYLE = """<style>
.cbsigned-table { container-type: inline-size; font: 14px/1.4 system-ui, sans-serif; }
.cbsigned-table table { border-collapse: collapse; width: 100%; }
.cbsigned-table th, .cbsigned-table td { border: 1px solid #8888; padding: .3em .5em; text-align: left; }
.cbsigned-table th { white-space: nowrap; }
.cbsigned-table td { vertical-align: top; overflow-wrap: anywhere; min-width: 5em; unicode-bidi: isolate; }
@container (max-width: 60em) {
  .cbsigned-table thead { display: none; }
  .cbsigned-table tr { display: block; border: 1px solid #8888; margin: 0 0 .6em; padding: .3em .6em; }
  .cbsigned-table td { display: block; border: 0; padding: .1em 0; }
  .cbsigned-table td::before { content: attr(data-label) ": "; opacity: .7; }
}
</style>
"""


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that becomes a list of labelled values where there is no room for its columns."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>"
        + "".join(f'<td data-label="{escape(n)}">{escape(clean(text))}</td>' for n, text in zip(columns, row))
        + "</tr>\n"
        for row in ([text or "–" for text in row] for row in rows)
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def values_at(row: Any, path: str) -> Iterator[Any]:
    """Yield what stands at an output's path in a row: nothing where a part of the way is null.

    Args:
        path: As in `Output.path`.
    """
    name, _dot, rest = path.partition(".")
    many = name.endswith("[]")
    value = row.get(name[:-2] if many else name) if isinstance(row, Mapping) else None
    for item in (value or ()) if many else (value,):
        if rest:
            yield from values_at(item, rest) if item is not None else ()
        else:
            yield item


def _cell(values: Sequence[Any]) -> str:
    texts = [_MARKS[value] if isinstance(value, bool) else str(value) for value in values if value is not None]
    text = ", ".join(dict.fromkeys(texts))
    return text if len(text) <= _MOST_CELL else text[: _MOST_CELL - 1] + "…"


def _more(number: int, what: str) -> str:
    """Return the sentence on what is left out of a picture; empty where nothing is."""
    if number <= 0:
        return ""
    return f"{number:,} more {what} is in the data." if number == 1 else f"{number:,} more {what}s are in the data."


def _joined(cards: Iterable[str], number_of: int) -> str:
    """Return cards one below the other as far as they have room, whole ones, and say how many are left out."""
    kept: list[str] = []
    size = 0
    for number, card in enumerate(cards):
        if kept and size + len(card) > _MOST_CHARS - 200:
            kept.append(f"_{_more(number_of - number, 'alert')}_\n")
            break
        kept.append(card if card.endswith("\n") else card + "\n")
        size += len(card)
    text = "\n".join(kept)
    if len(text) <= _MOST_CHARS:
        return text
    lines = text[: _MOST_CHARS - 200].splitlines()[:-1]
    return "\n".join(lines) + "\n\n_The rest is in the data._\n"
