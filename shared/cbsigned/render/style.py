"""How text is set for one stream: its width, its colours, and whether it can hold more than ASCII."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from cbsigned.render.clean import clean, clip, clip_left, clip_middle, isolate, width, wrap
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

    def lines(self, value: object, cells: int, most: int = 4) -> list[str]:
        """Return a value from outside as 1 to `most` lines of at most `cells` cells; a cut says how much it cuts."""
        whole = str(value)
        head = whole[: 4 * cells * most]
        text = self.own(clean(head)) if self.ascii_only else clean(head)
        found = wrap(text, cells, len(text) + 1)
        if len(found) > most or len(head) < len(whole):
            found, end = found[:most], 0
            for line in found[:-1]:
                end = text.index(line, end) + len(line)
            found[-1] = self._noted(text[end:].lstrip(), len(whole) - len(head), cells)
        return found if self.ascii_only else [isolate(line) for line in found]

    def _noted(self, rest: str, more: int, cells: int) -> str:
        """Return the beginning of a text, and after it how many characters are left out."""
        room = cells - width(self.own(f"… ({len(rest) + more:,} more characters)"))
        if room <= 0:
            return clip(rest, cells - 3, "") + self.own("…")
        kept = clip(rest, room, "")
        return kept + self.own(f"… ({len(rest) - len(kept) + more:,} more characters)")

    def own(self, text: str) -> str:
        """Return a text of ours in characters that the stream can hold."""
        if not self.ascii_only or text.isascii():
            return text
        return "".join(c if c.isascii() else _ASCII.get(c, f"<U+{ord(c):04X}>") for c in text)

    def clip(self, text: str, cells: int) -> str:
        """Return a text cut to `cells` terminal cells."""
        return clip(text, cells, self.own("…"))

    def clip_left(self, text: str, cells: int) -> str:
        """Return a text cut to `cells` terminal cells at its beginning."""
        return clip_left(text, cells, self.own("…"))

    def clip_middle(self, text: str, cells: int) -> str:
        """Return a text cut to `cells` terminal cells in its middle."""
        return clip_middle(text, cells, self.own("…"))

    def wrap(self, text: str, cells: int, most: int = 4) -> list[str]:
        """Return a text as 1 to `most` lines of at most `cells` terminal cells."""
        return wrap(self.own(text), cells, most, self.own("…"))

    def paint(self, text: str, code: int) -> str:
        """Return a text in an ANSI colour, where colours are wanted; 0 is no colour."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text.strip() else text

    def mark(self, looks: object) -> str:
        """Return the one-cell mark of an answer; see `cbsigned.render.marks.look`."""
        return mark(looks).ascii if self.ascii_only else mark(looks).symbol


def can_draw(encoding: Optional[str]) -> bool:
    """Return whether a stream's encoding holds what is drawn and whatever may stand in a name."""
    try:
        "─│└├←◄…✓▲◆◇○⊘א中\U0001f600".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
