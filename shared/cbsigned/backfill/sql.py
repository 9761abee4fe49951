"""The SQL of both passes, written once for both engines; what they spell differently is a `Speech`.

Names of columns are quoted, values never stand in a statement: texts for rows without an answer are rows of the
tables too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cbsigned.backfill.answers import LINEAGE
from cbsigned.backfill.inputs import Column
from cbsigned.backfill.work import Shape

__all__ = ["LINE", "Speech", "answer_columns", "distinct", "joined", "open_counted"]

LINE = "line"
"""The one column of NDJSON as it is read."""
_NO_ANSWER = "'No answer was kept for this value.'"


class Speech(Protocol):
    """How an engine spells what is not the same in all SQL."""

    text: str
    """The type of texts."""
    hint: str
    """What follows SELECT where a small table is joined."""

    def name(self, name: str) -> str:
        """Return a quoted name."""

    def json_text(self, line: str, column: Column) -> str:
        """Return what reads a text out of a line of JSON; null where it is not there."""

    def is_object(self, line: str) -> str:
        """Return the condition that a line is a JSON object."""

    def wrapped(self, line: str, name: str) -> str:
        """Return what makes a JSON object of any text."""

    def shortened(self, text: str) -> str:
        """Return a text without its last character."""


def _key_of(shape: Shape, kind: str, speech: Speech, row: str) -> str:
    """Return the expression for a row's key: the text of one column, or of several with U+001F between them."""
    columns = _columns(shape, kind)
    if shape.format == "ndjson":
        line = f"{row}.{LINE}"
        texts = [speech.json_text(line, column) for column in columns]
        return f"CASE WHEN {speech.is_object(line)} THEN {_together(texts)} ELSE chr(30) END"
    return _together([f"CAST({_path(column, speech, row)} AS {speech.text})" for column in columns])


def distinct(shape: Shape, kind: str, speech: Speech, rows: str) -> str:
    """Return the statement for each distinct key with its number of rows; see `Engine.keys` for their order."""
    return (
        f"WITH f AS (SELECT {_key_of(shape, kind, speech, 'e')} k, count(*) n FROM {rows} e GROUP BY 1), "  # noqa: S608
        "g AS (SELECT k, n, lower(k) same, sum(n) OVER (PARTITION BY lower(k)) total FROM f) "
        "SELECT k, n FROM g ORDER BY total DESC, same, k"
    )


def answer_columns(shape: Shape, kind: str, speech: Speech) -> dict[str, str]:
    """Return column → type of a table of answers."""
    texts = {"k": speech.text, "open": "BOOLEAN"}
    if shape.format == "ndjson":
        return {**texts, "j": speech.text, **({"lj": speech.text} if kind == "guid" else {})}
    named = [field for _name, field in shape.outputs if kind == "guid" or field not in LINEAGE]
    types = {"signed": "BOOLEAN", "lineage_depth": "INTEGER"}
    return {**texts, **{field: types.get(field, speech.text) for field in named}}


def joined(shape: Shape, speech: Speech, rows: str, prefix: str) -> str:
    """Return the statement that gives every row once, with its answers.

    Args:
        rows: A table or subquery in parentheses.
        prefix: Of the column for a line that is no JSON object.
    """
    return f"SELECT {speech.hint}{_selected(shape, speech, prefix)} FROM {rows} e {_joins(shape, speech)}"  # noqa: S608


def open_counted(shape: Shape, speech: Speech, rows: str) -> str:
    """Return the statement that counts the rows whose answer is open."""
    which = "coalesce(s.open, true)" + (" OR coalesce(l.open, true)" if shape.lineage else "")
    return f"SELECT {speech.hint}count(*) FROM {rows} e {_joins(shape, speech)} WHERE {which}"  # noqa: S608


def _columns(shape: Shape, kind: str) -> Sequence[Column]:
    if kind == "hash":
        return shape.columns.hashes
    return (shape.columns.guid,) if shape.columns.guid else ()


def _together(texts: Sequence[str]) -> str:
    if not texts:
        return "''"
    return f"coalesce({texts[0]}, '')" if len(texts) == 1 else f"concat_ws(chr(31), {', '.join(texts)})"


def _path(column: Column, speech: Speech, row: str) -> str:
    return ".".join([row, *map(speech.name, column)])


def _joins(shape: Shape, speech: Speech) -> str:
    text = f"LEFT JOIN signatures s ON s.k = {_key_of(shape, 'hash', speech, 'e')}"
    if not shape.lineage:
        return text
    return f"{text} LEFT JOIN lineages l ON l.k = {_key_of(shape, 'guid', speech, 'e')}"


def _selected(shape: Shape, speech: Speech, prefix: str) -> str:
    if shape.format == "ndjson":
        return f"{_spliced(shape, speech, prefix)} AS {LINE}"
    made = [f"{_cell(shape, field)} AS {speech.name(name)}" for name, field in shape.outputs]
    return ", ".join(["e.*", *made])


def _cell(shape: Shape, field: str) -> str:
    if field in LINEAGE:
        return f"l.{field}"
    value = _own(shape, field)
    return {"status": f"coalesce({value}, 'Unknown')", "why": f"coalesce({value}, {_NO_ANSWER})"}.get(field, value)


def _own(shape: Shape, field: str) -> str:
    """Return a value about the row's file: by its hash, or where there is none, as its process's record has it."""
    return f"CASE WHEN s.k = '' THEN l.{field} ELSE s.{field} END" if shape.lineage else f"s.{field}"


def _spliced(shape: Shape, speech: Speech, prefix: str) -> str:
    line = f"TRIM(BOTH ' \t\r\n' FROM e.{LINE})"
    whole = (
        f"CASE WHEN {speech.is_object(f'e.{LINE}')} THEN {line} ELSE {speech.wrapped(f'e.{LINE}', prefix + 'line')} END"
    )
    begun = speech.shortened(whole)
    comma = f"CASE WHEN length({line}) < 64 AND TRIM(BOTH ' \t\r\n' FROM {begun}) = '{{' THEN '' ELSE ', ' END"
    own = f'coalesce({_own(shape, "j")}, \'"{prefix}status": "Unknown"\')'
    more = "coalesce(concat(', ', l.lj), '')" if shape.lineage else "''"
    return f"concat({begun}, {comma}, {own}, {more}, '}}')"
