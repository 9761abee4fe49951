"""One enrichment for a terminal: the card. Its lineage is drawn by `cbsigned.render.tree`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from cbsigned.render.document import Document
from cbsigned.render.facts import (
    INCOMPLETE,
    alert_link,
    card_unknowns,
    console,
    counts,
    facts,
    headline,
    unknowns,
    verdict_word,
    worse_sentence,
)
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
    foot = "".join(f"{line}\n" for line in _foot(document, style))
    return "\n\n".join(parts or ["\n".join(_nothing(document, style))]) + "\n" + foot


def _subject(document: Document, subject: Document, style: Style) -> Iterator[str]:
    looks = look(subject)
    head = f"{style.mark(looks)} {verdict_word(subject)}"
    title = style.clip(style.own(f"{head} — ") + style.value(headline(document, subject)), style.width)
    yield style.paint(title[: len(head)], mark(looks).ansi) + style.paint(title[len(head) :], _BOLD)
    yield from _indented(style.value(subject["reason"]), 2, style)
    told = worse_sentence(document) if subject is document["subjects"][0] else None
    for note in [f"Note: {note}" for note in subject["verdict"]["notes"]] + ([told] if told else []):
        yield from _indented(style.value(note), 2, style)
    for label, value in [*facts(document, subject), *console(subject)]:
        yield from _labelled(label, value, style)
    lineage = subject["lineage"]
    if lineage is not None:
        yield style.paint("  Lineage, oldest first", _DIM)
        narrower = Style(max(40, style.width - 4), style.colour, style.ascii_only)
        yield from (f"    {line}" for line in lineage_text(lineage, narrower, own=False).split("\n"))
    if counts(subject):
        yield from _labelled("Counts", style.own(" · ").join(counts(subject)), style)
    yield from _unknown(card_unknowns(document, subject), style)


def _nothing(document: Document, style: Style) -> Iterator[str]:
    """Return the card of an alert that names nothing to look up, or could not be read."""
    looks = look(document)
    head = style.own(f"{style.mark(looks)} {word(document)} — ")
    yield style.clip(head + style.value(headline(document)), style.width)
    yield from _indented(style.value(document["reason"]), 2, style)
    yield from _unknown(unknowns(document), style)


def _foot(document: Document, style: Style) -> Iterator[str]:
    """Return what is true of the alert as a whole: that look-ups failed, and where to follow it."""
    link = alert_link(document)
    if not document["complete"]:
        yield from _indented(INCOMPLETE, 2, style)
    if link is not None:
        yield from _indented(style.value(f"{link[0]}: {link[1]}"), 2, style)


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
