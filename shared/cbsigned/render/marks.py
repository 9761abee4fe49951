"""How each signing status looks: a word, a shape and a colour, never a colour alone."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MARKS", "Mark", "mark"]


@dataclass(frozen=True)
class Mark:
    """The look of a status.

    Attributes:
        tone: `signed`, `invalid`, `unsigned` or `unknown`; names the CSS class and the shape in drawings.
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
    "unknown": Mark("unknown", "○", "?", 90),
}


def mark(status: object) -> Mark:
    """Return the look of a signing status word; what is no status looks like *Unknown*, grey and not red."""
    if status == "Signed":
        return MARKS["signed"]
    if status == "Unsigned":
        return MARKS["unsigned"]
    return MARKS["invalid" if status in _INVALID else "unknown"]


_INVALID = frozenset((
    "Expired", "Bad Signature", "Invalid Signature", "Invalid Chain", "Untrusted Root", "Explicit Distrust",
))  # fmt: skip
