"""The error that points at the character."""

from __future__ import annotations

from cbsigned.errors import CbSignedError

__all__ = ["QueryError"]

_WINDOW = 60


class QueryError(CbSignedError):
    """A query that cannot be read or answered; the text has a line of the query and a caret below it.

    Attributes:
        message: What is wrong and what to write instead, one or two sentences.
        position: Offset of the character in the query, 0 or more; its length where the end came too soon.
        excerpt: The part of the query around it, and the caret line, without control characters.
    """

    def __init__(self, message: str, query: str, position: int) -> None:
        self.message = message
        self.position = min(max(position, 0), len(query))
        self.excerpt = _excerpt(query, self.position)
        super().__init__(f"{message}\n{self.excerpt}" if query else message)


def _excerpt(query: str, position: int) -> str:
    first = max(0, position - _WINDOW // 2)
    part = query[first : first + _WINDOW]
    shown = "".join(c if c.isprintable() else " " for c in part)
    before, after = "…" if first else "", "…" if first + _WINDOW < len(query) else ""
    return f"  {before}{shown}{after}\n  {' ' * (position - first + len(before))}^"
