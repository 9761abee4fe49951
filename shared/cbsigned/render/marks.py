"""How each answer looks: a word, a shape and a colour, never a colour alone; and which answer is the more serious.

Decided here once for every output, so that they agree: what only the alert says never looks like what a record says,
and an alert that could not be read is no *Unknown*.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from cbsigned.gaps import Cause
from cbsigned.render.document import Document

__all__ = ["CLAIMED", "MARKS", "NOT_READ", "Mark", "look", "mark", "ordered", "severity", "word", "worst"]

CLAIMED, NOT_READ = "claimed", "not read"


@dataclass(frozen=True)
class Mark:
    """The look of an answer.

    Attributes:
        tone: Names the CSS class and the shape in drawings.
        symbol: One character, one terminal cell.
        ascii: The same where only ASCII can be shown.
        ansi: SGR number of its colour.
    """

    tone: str
    symbol: str
    ascii: str
    ansi: int


MARKS = {
    "signed": Mark("signed", "✓", "+", 32),
    "invalid": Mark("invalid", "▲", "!", 31),
    "unsigned": Mark("unsigned", "◆", "x", 33),
    "claimed": Mark("claimed", "◇", "~", 35),
    "unknown": Mark("unknown", "○", "?", 90),
    "unread": Mark("unread", "⊘", "#", 90),
}


def look(part: Document) -> str:
    """Return what decides the look of an alert, a subject or a process: its status, `CLAIMED` or `NOT_READ`.

    Args:
        part: A whole document, which looks like its worst subject, one of its subjects, a signature, or a node of a
            lineage.
    """
    if "subjects" in part:
        found = worst(part)
        unread = found is None and part["alert"] is None
        return look(found) if found is not None else NOT_READ if unread else str(part["status"])
    cause = part["signature"]["cause"] if "signature" in part else part["cause"]
    return CLAIMED if cause == Cause.CLAIM.value else str(part["status"])


def word(part: Document) -> str:
    """Return the status in one word or two: `Signed`, `Signed?` where only the alert says so, `Not read`.

    A whole document has the word of its worst subject.
    """
    found = worst(part) if "subjects" in part else None
    if found is not None:
        return word(found)
    looks = look(part)
    if looks == NOT_READ:
        return "Not read"
    return f"{part['status']}?" if looks == CLAIMED else str(part["status"])


def mark(looks: object) -> Mark:
    """Return the look of a status word, `CLAIMED` or `NOT_READ`; what is none of these looks like *Unknown*."""
    return MARKS[_TONES.get(str(looks), "unknown")]


_TONES = {
    "Signed": "signed",
    "Unsigned": "unsigned",
    **dict.fromkeys(
        ("Expired", "Bad Signature", "Invalid Signature", "Invalid Chain", "Untrusted Root", "Explicit Distrust"),
        "invalid",
    ),
    CLAIMED: "claimed",
    NOT_READ: "unread",
}
_LESS_TRUSTED = (  # the order in which `cbsigned.status` trusts a file less
    "Explicit Distrust", "Bad Signature", "Invalid Signature", "Unsigned", "Untrusted Root", "Invalid Chain", "Expired",
)  # fmt: skip
_ORDER = (*_LESS_TRUSTED, *(f"{status}?" for status in (*_LESS_TRUSTED, "Signed")), "Not read", "Unknown", "Signed")
_PLACES = {text: place for place, text in enumerate(_ORDER)}


def worst(document: Document) -> Optional[Document]:
    """Return the subject that is trusted least, the first among equals; None where the alert names nothing."""
    return min(document["subjects"], key=lambda subject: _place(word(subject)), default=None)


def severity(document: Document) -> tuple[int, bool, bool]:
    """Return how serious an alert is, the smaller the more; for sorting.

    What a record calls unsigned or not valid comes first, then what only an alert says, then what could not be read
    or looked up, then *Unknown*, then *Signed*. The worst subject counts; a note or a failed look-up goes first
    among equals.
    """
    noted = any(subject["verdict"]["notes"] for subject in document["subjects"])
    return _place(word(document)), document["complete"], not noted


def ordered(words: Iterable[str]) -> list[str]:
    """Return distinct words as `word` returns them, the most serious first."""
    return sorted(set(words), key=_place)


def _place(text: str) -> int:
    return _PLACES.get(text, len(_PLACES))
