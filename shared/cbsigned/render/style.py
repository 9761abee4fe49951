"""How text is set for one stream: its width, its colours, and whether it can hold more than ASCII."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from cbsigned.render.clean import clean, clip, isolate, wrap
from cbsigned.render.marks import mark

__all__ = ["Style", "can_draw"]

_MAX_VALUE = 4096
_ASCII = {
    "…": "...", "←": "<-", "◄": "<-", "·": "-", "—": "-", "↑": "^", "─": "-", "│": "|", "└": "`", "├": "|", "•": "*",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How text is set.

    Attributes:
        width: Terminal cells of a line, 40 or more.
        colour: Add ANSI colours; every colour stands beside a word and a mark.
        ascii_only: Nothing but ASCII, for streams that cannot hold more; see `can_draw`.
    """

    width: int = 120
    colour: bool = False
    ascii_only: bool = False

    def value(self, value: object) -> str:
        """Return a value from outside as one harmless line that the stream can hold."""
        text = clean(value, _MAX_VALUE)
        return self.own(text) if self.ascii_only else isolate(text)

    def own(self, text: str) -> str:
        """Return a text of ours in characters that the stream can hold."""
        if not self.ascii_only or text.isascii():
            return text
        return "".join(c if c.isascii() else _ASCII.get(c, f"<U+{ord(c):04X}>") for c in text)

    def clip(self, text: str, cells: int) -> str:
        """Return a text cut to `cells` terminal cells."""
        return clip(text, cells, self.own("…"))

    def wrap(self, text: str, cells: int, most: int = 4) -> list[str]:
        """Return a text as 1 to `most` lines of at most `cells` terminal cells."""
        return wrap(self.own(text), cells, most, self.own("…"))

    def paint(self, text: str, code: int) -> str:
        """Return a text in an ANSI colour, where colours are wanted; 0 is no colour."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text.strip() else text

    def mark(self, status: object) -> str:
        """Return the one-cell mark of a signing status."""
        return mark(status).ascii if self.ascii_only else mark(status).symbol


def can_draw(encoding: Optional[str]) -> bool:
    """Return whether a stream's encoding holds what is drawn and whatever may stand in a name."""
    try:
        "─│└├←◄…✓▲◆○א中\U0001f600".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
