"""Patterns with `*` and `?`, matched in time that grows only with the text, whatever the pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["MANY", "ONE", "Glob"]

MANY = "\x01"
"""Stands for `*` in `Glob.text`; control characters are refused in queries, so no literal text holds it."""
ONE = "\x02"
"""Stands for `?`."""

_WILD = re.compile(f"[{MANY}{ONE}]")


@dataclass(frozen=True)
class Glob:
    """A lower-case text that may hold wildcards.

    Attributes:
        text: Literal text with `MANY` and `ONE` in the places of wildcards.
    """

    text: str

    @property
    def literal(self) -> bool:
        """Whether it has no wildcard, so that only `text` itself matches."""
        return _WILD.search(self.text) is None

    @property
    def leading(self) -> bool:
        """Whether it begins with a wildcard, so that no index helps to find it."""
        return self.text[:1] in (MANY, ONE)

    @property
    def prefix(self) -> str:
        """What everything that matches begins with."""
        return _WILD.split(self.text, maxsplit=1)[0]

    @property
    def is_prefix(self) -> bool:
        """Whether its only wildcard is one `*` at its end."""
        return self.text.endswith(MANY) and _WILD.search(self.text[:-1]) is None

    def matcher(self) -> Callable[[str], bool]:
        """Return a test of whole folded texts."""
        return _matcher(self.text)

    def matches(self, text: str) -> bool:
        """Whether a whole folded text matches."""
        return _matcher(self.text)(text)


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> Callable[[str], bool]:
    if MANY not in pattern:
        whole = _part(pattern)
        return lambda text: whole.fullmatch(text) is not None
    first, *middle, last = pattern.split(MANY)
    head, tail = _part(first), _part(last)
    inner = [_part(part) for part in middle if part]

    def test(text: str) -> bool:
        if not head.match(text):
            return False
        at, end = len(first), len(text) - len(last)
        for part in inner:  # the leftmost place of each part is always good enough
            found = part.search(text, at, max(at, end))
            if found is None:
                return False
            at = found.end()
        return at <= end and tail.fullmatch(text, end) is not None

    return test


def _part(text: str) -> re.Pattern[str]:
    return re.compile("".join("." if c == ONE else re.escape(c) for c in text), re.DOTALL)
