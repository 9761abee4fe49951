"""One enrichment for a terminal: the card. Its lineage is drawn by `cbsigned.render.tree`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from cbsigned.render.document import Document
from cbsigned.render.facts import counts, facts, headline, unknowns, verdict_word
from cbsigned.render.marks import look, mark, word
from cbsigned.render.style import Style
from cbsigned.render.tree import lineage_text

__all__ = ["card", "lineage_text"]

_BOLD, _DIM = 1, 2
_LABEL = 14


def card(document: Document, style: Optional[Style] = None) -> str:
    """Return one alert with everything found out, as text: verdict, evidence, lineage, what is not known.

    Args:
        document: From `enrichment_document`.
        style: Width, colour, ASCII. Long values are cut to four lines and say how much is cut.
    """
    style = style or Style()
    parts = ["\n".join(_subject(document, subject, style)) for subject in document["subjects"]]
    return "\n\n".join(parts or ["\n".join(_nothing(document, style))]) + "\n"


def _subject(document: Document, subject: Document, style: Style) -> Iterator[str]:
    looks = look(subject)
    head = f"{style.mark(looks)} {verdict_word(subject)}"
    title = style.clip(style.own(f"{head} — ") + style.value(headline(document, subject)), style.width)
    yield style.paint(title[: len(head)], mark(looks).ansi) + style.paint(title[len(head) :], _BOLD)
    yield from _indented(style.value(subject["reason"]), 2, style)
    for note in subject["verdict"]["notes"]:
        yield from _indented(style.value(f"Note: {note}"), 2, style)
    for label, value in facts(document, subject):
        yield from _labelled(label, value, style)
    lineage = subject["lineage"]
    if lineage is not None:
        yield style.paint("  Lineage, oldest first", _DIM)
        narrower = Style(max(40, style.width - 4), style.colour, style.ascii_only)
        yield from (f"    {line}" for line in lineage_text(lineage, narrower, own=False).split("\n"))
    if counts(subject):
        yield from _labelled("Counts", style.own(" · ").join(counts(subject)), style)
    yield from _unknown(unknowns(subject), style)


def _nothing(document: Document, style: Style) -> Iterator[str]:
    """Return the card of an alert that names nothing to look up, or could not be read."""
    looks = look(document)
    head = style.own(f"{style.mark(looks)} {word(document)} — ")
    yield style.clip(head + style.value(headline(document)), style.width)
    yield from _indented(style.value(document["reason"]), 2, style)
    yield from _unknown(unknowns(document), style)


def _unknown(sentences: list[str], style: Style) -> Iterator[str]:
    if sentences:
        yield style.paint("  Not known", _DIM)
    for sentence in sentences:
        lines = style.wrap(style.value(sentence), style.width - 6)
        yield from (f"    {'-' if at == 0 else ' '} {line}" for at, line in enumerate(lines))


def _indented(text: str, cells: int, style: Style) -> Iterator[str]:
    yield from (" " * cells + line for line in style.wrap(text, style.width - cells))


def _labelled(label: str, text: str, style: Style) -> Iterator[str]:
    for at, line in enumerate(style.lines(text, style.width - _LABEL - 3)):
        yield f"  {style.paint((label if at == 0 else '').ljust(_LABEL), _DIM)} {line}"
