"""Text from outside made harmless to look at: no control characters, no hidden ones, a known width.

Process names and command lines are written by whoever runs them. A terminal escape can repaint the line above, a
right-to-left override turns `gpj.exe` into `exe.jpg`, a zero-width space makes two names look like one.
"""

from __future__ import annotations

import textwrap
import unicodedata

__all__ = ["clean", "clip", "clip_left", "clip_middle", "isolate", "pad", "width", "wrap"]

_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0").union(  # letters that show nothing
    "\u034f\u180b\u180c\u180d\u180f",  # grapheme joiner, Mongolian variation selectors
    map(chr, range(0xFE00, 0xFE10)),  # variation selectors; an emoji written without its own is still readable
    map(chr, range(0xE0100, 0xE01F0)),
)
_OPEN, _CLOSE = "\u2066", "\u2069"  # left-to-right isolate, pop directional isolate; no terminal cells
_RIGHT_TO_LEFT = frozenset(("R", "AL", "AN"))


def clean(value: object, limit: int = 0) -> str:
    """Return a value as one visible line; what cannot be seen is written as `<U+202E>`, a tab as a space.

    Args:
        value: Anything; None gives the empty text.
        limit: Most characters of the value to read, 0 for all; a cut is marked by `…`.
    """
    text = "" if value is None else str(value)
    cut = bool(limit) and len(text) > limit
    text = text[:limit] if cut else text
    if not (text.isprintable() and _INVISIBLE.isdisjoint(text)):
        text = "".join(_visible(c) for c in text)
    return f"{text}…" if cut else text


def width(text: str) -> int:
    """Return how many terminal cells a text takes: wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_cells(c) for c in text)


def clip(text: str, cells: int, ellipsis: str = "…") -> str:
    """Return a text cut to at most `cells` terminal cells, the cut marked by `ellipsis`."""
    if width(text) <= cells:
        return text
    room = cells - width(ellipsis)
    if room < 0:
        return ellipsis[:cells]
    used, kept = 0, []
    for c in text:
        used += _cells(c)
        if used > room:
            break
        kept.append(c)
    text = "".join(kept) + ellipsis
    return text + _CLOSE * (text.count(_OPEN) - text.count(_CLOSE))


def clip_left(text: str, cells: int, ellipsis: str = "…") -> str:
    """Return a text cut to at most `cells` terminal cells at its beginning, for paths: `…\\temp\\git.exe`."""
    if width(text) <= cells:
        return text
    room = cells - width(ellipsis)
    if room < 0:
        return ellipsis[:cells]
    used, kept = 0, []
    for c in reversed(text):
        used += _cells(c)
        if used > room:
            break
        kept.append(c)
    end = "".join(reversed(kept))
    return ellipsis + _OPEN * (end.count(_CLOSE) - end.count(_OPEN)) + end


def clip_middle(text: str, cells: int, ellipsis: str = "…") -> str:
    """Return a text cut to at most `cells` terminal cells in its middle, for names that differ at both ends."""
    if width(text) <= cells:
        return text
    room = cells - width(ellipsis)
    if room < 4 or not text.isascii():
        return clip(text, cells, ellipsis)
    return text[: room - room // 2] + ellipsis + text[len(text) - room // 2 :]


def pad(text: str, cells: int) -> str:
    """Return a text followed by spaces up to `cells` terminal cells."""
    return text + " " * max(0, cells - width(text))


def isolate(text: str) -> str:
    """Return a text that cannot turn its neighbours round: right-to-left letters get an isolate of their own.

    Inside it reading begins at the left, so that `.exe` stays at the end of a name.
    """
    if text.isascii() or not any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text):
        return text
    return f"{_OPEN}{text}{_CLOSE}"


def wrap(text: str, cells: int, most: int, ellipsis: str = "…") -> list[str]:
    """Return a text as 1 to `most` lines of at most `cells` terminal cells, the rest cut with `ellipsis`."""
    letters = cells if width(text) <= len(text) else cells // 2
    return textwrap.wrap(text, max(8, letters), max_lines=most, placeholder=f" {ellipsis}", break_on_hyphens=False) or [
        ""
    ]


def _visible(c: str) -> str:
    if c == "\t":
        return " "
    return c if c.isprintable() and c not in _INVISIBLE else f"<U+{ord(c):04X}>"


def _cells(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1
