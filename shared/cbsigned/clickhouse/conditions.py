"""A query's matchers → conditions in ClickHouse's SQL with bound values; never NULL, so that NOT may stand before any.

Texts were folded and cut into words by our own tokenizer when they were copied, so that what is compared here is
what the embedded store compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from cbsigned.clickhouse.server import Value
from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.tree import Between, During, Equals, Exists, Labels, Matcher, Place, SubPath, Within, Words
from cbsigned.store.events import milliseconds

__all__ = ["Values", "address", "equals", "labels", "number", "path", "words"]


class Values:
    """The values of one statement, by the names of their marks."""

    def __init__(self) -> None:
        self.by_name: dict[str, Value] = {}
        self._names: dict[str, str] = {}

    def mark(self, value: Value) -> str:
        """Return the mark for a value; an equal one has one mark."""
        key = repr(value)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"v{len(self._names)}"
            self.by_name[name] = value
        return f"{{{name}}}"


def glob(values: Values, text: str, wanted: Glob) -> str:
    """Return whether a folded text, an expression, is as wanted, whole."""
    if wanted.literal:
        return f"{text} = {values.mark(wanted.text)}"
    if wanted.is_prefix:
        return f"startsWith({text}, {values.mark(wanted.prefix)})"
    return f"{text} LIKE {values.mark(_pattern(wanted.text))}"


def equals(values: Values, text: str, matcher: Matcher) -> str:
    """Return the condition of a keyword on its folded text, which may be NULL."""
    if isinstance(matcher, Exists):
        return f"({text} IS NOT NULL)"
    assert isinstance(matcher, Equals)  # noqa: S101 (by the field's type)
    return f"ifNull({glob(values, text, matcher.value)}, 0)"


def words(values: Values, tokens: str, count: str, matcher: Words, *, indexed: bool = False) -> str:
    """Return the condition of words on an array of them.

    Args:
        tokens: The array: the words in order, then tokens that have no place in the order.
        count: How many of them are words.
        indexed: The array has an index of tokens; without one its function would cut them again.
    """
    literal = [word.text for word in matcher.words if word.literal]
    has = "hasAllTokens" if indexed else "hasAll"
    parts = [f"{has}({tokens}, {values.mark(list(dict.fromkeys(literal)))})"] if literal else []
    if matcher.together and len(matcher.words) > 1:
        return f"({' AND '.join([*parts, _run(values, tokens, count, matcher.words, Place.ANYWHERE)])})"
    inside = f"arraySlice({tokens}, 1, {count})" if matcher.together else tokens
    if matcher.together and literal:
        parts.append(f"has({inside}, {values.mark(literal[0])})")
    for word in matcher.words:
        if not word.literal:
            parts.append(f"arrayExists(t -> {glob(values, 't', word)}, {inside})")
    return f"({' AND '.join(parts)})"


def labels(values: Values, column: str, matcher: Labels) -> str:
    """Return the condition of a domain's labels on their array."""
    return _run(values, column, f"length({column})", matcher.labels, matcher.place)


def path(values: Values, folded: str, matcher: SubPath) -> str:
    """Return the condition of a path on its folded form, which begins with a backslash, or is empty for none."""
    wanted = matcher.path
    if wanted.literal:
        return f"endsWith({folded}, {values.mark(f'{_SEPARATOR}{wanted.text}')})"
    if wanted.is_prefix:
        return f"position({folded}, {values.mark(f'{_SEPARATOR}{wanted.prefix}')}) > 0"
    return f"{folded} LIKE {values.mark('%' + _pattern(_SEPARATOR + wanted.text))}"


def number(values: Values, value: str, matcher: Matcher) -> str:
    """Return the condition of a number or a time, which may be NULL."""
    low, high = bounds(matcher)
    parts = [f"{value} >= {values.mark(low)}"] if low is not None else []
    parts += [f"{value} <= {values.mark(high)}"] if high is not None else []
    return f"ifNull({' AND '.join(parts)}, 0)" if parts else f"({value} IS NOT NULL)"


def bounds(matcher: Matcher) -> tuple[Optional[int], Optional[int]]:
    """Return the ends of a range, None where it is open; numbers beyond 64 bits are cut to them."""
    if isinstance(matcher, During):
        return milliseconds(matcher.earliest), milliseconds(matcher.latest)
    if isinstance(matcher, Between):
        return _cut(matcher.low), _cut(matcher.high)
    assert isinstance(matcher, Exists)  # noqa: S101 (nothing else is a matcher of numbers)
    return None, None


def address(values: Values, column: str, matcher: Matcher, size: int) -> str:
    """Return the condition of an address, hexadecimal text, on one of 4 or 16 bytes."""
    sized = f"length({column}) = {2 * size}"
    if not isinstance(matcher, Within):
        return f"({sized})"
    first, last = matcher.network.network_address.packed, matcher.network.broadcast_address.packed
    return f"({sized} AND {column} BETWEEN {values.mark(first.hex())} AND {values.mark(last.hex())})"


_SEPARATOR = "\\"


def _pattern(text: str) -> str:
    """Return a pattern for LIKE, every sign of its own taken literally."""
    return "".join({MANY: "%", ONE: "_", "%": "\\%", "_": "\\_", "\\": "\\\\"}.get(c, c) for c in text)


def _run(values: Values, column: str, count: str, wanted: Sequence[Glob], place: Place) -> str:
    """Return whether the wanted ones stand next to each other, at that place."""
    last = f"toInt64({count}) - {len(wanted) - 1}"
    first, end = {
        Place.ANYWHERE: ("1", last), Place.FIRST: ("1", f"least(1, {last})"),
        Place.LAST: (f"greatest(1, {last})", last), Place.MIDDLE: ("2", f"{last} - 1"),
    }[place]  # fmt: skip
    each = " AND ".join(glob(values, f"{column}[i + {at}]", one) for at, one in enumerate(wanted))
    return f"arrayExists(i -> {each}, range({first}, greatest({first}, {end} + 1)))"


def _cut(value: Optional[int]) -> Optional[int]:
    return None if value is None else max(-(2**63) + 1, min(2**63 - 1, value))
