"""Which alerts of a report get a card: one for each thing that alerts are about, the most serious first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from cbsigned.render.document import Document
from cbsigned.render.facts import alert_unknowns, unknowns
from cbsigned.render.marks import ordered, severity, word

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """The cards of a report.

    Attributes:
        groups: For each card the places of its alerts in the input, from 0, in order; the first is the one told.
        left_out: The same for what gets no card.
        summary: What is left out, and why, as a sentence for the page and for standard error; None for nothing.
    """

    groups: tuple[tuple[int, ...], ...]
    left_out: tuple[tuple[int, ...], ...]
    summary: Optional[str]


def choose(documents: Sequence[Document], max_cards: int) -> Choice:
    """Return which alerts get a card.

    Alerts about the same processes and files with the same answers share one. Unsigned and not valid go first, then
    what only an alert says, then what could not be read or looked up, then *Unknown*, then *Signed*.

    Args:
        documents: From `enrichment_document`.
        max_cards: Most cards, 0 or more.
    """
    groups: dict[Any, list[int]] = {}
    for at, document in enumerate(documents):
        groups.setdefault(_key(at, document), []).append(at)
    by_severity = sorted(groups.values(), key=lambda places: (severity(documents[places[0]]), places[0]))
    kept = tuple(map(tuple, by_severity[:max_cards]))
    rest = tuple(map(tuple, by_severity[max_cards:]))
    return Choice(kept, rest, _summary(documents, kept, rest) if rest else None)


def _key(at: int, document: Document) -> Any:
    """Return what a document is about, equal for equal things; what cannot be told apart for sure stays alone."""
    subjects = tuple(_subject_key(subject) for subject in document["subjects"])
    told = (subjects, document["complete"], *alert_unknowns(document))
    return told if subjects and all(subjects) else at


def _subject_key(subject: Document) -> Optional[tuple[Any, ...]]:
    same: Optional[tuple[Any, ...]] = None
    if subject["process_guid"]:
        same = ("guid", subject["process_guid"])
    elif subject["md5"] or subject["sha256"]:
        same = ("file", subject["md5"] or subject["sha256"], subject["path"] or subject["name"], subject["host"])
    if same is None:
        return None
    hashes, notes = (subject["md5"], subject["sha256"]), tuple(subject["verdict"]["notes"])
    return (subject["role"], word(subject), *same, *hashes, subject["reason"], notes, *unknowns(subject))


def _summary(documents: Sequence[Document], kept: Sequence[Sequence[int]], rest: Sequence[Sequence[int]]) -> str:
    words = Counter(word(documents[places[0]]) for places in rest)
    told = ", ".join(f"{words[text]:,} {text}" for text in ordered(words))
    alerts = sum(map(len, rest))
    return (
        f"The report draws {len(kept):,} of {len(kept) + len(rest):,} cards, the most serious first; left out: {told} "
        f"({alerts:,} alerts). The table above the cards has every alert, and the JSON output every detail."
    )
