"""The filters and tests of templates, each of which pays for its work out of one budget.

A value that is not known is null. A filter takes null for nothing: the empty text, the empty list; a test says no.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context as Names
from jinja2.tests import TESTS as STOCK

from cbsigned.query.globs import MANY, ONE, Glob

__all__ = ["BUDGET", "FILTERS", "TESTS", "Budget", "of_path", "spend", "text_of"]

BUDGET = "*budget"  # no name that a template could write
_WORK = 1_000_000
_TIME_S = 5.0
_MOST_TEXT = 64 * 1024
_MOST_DIGITS = 30
_MOST_PATTERNS = 200


class Budget:
    """What one evaluation may cost.

    Args:
        clock: In seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._left = _WORK
        self._clock = clock
        self._end = clock() + _TIME_S

    def spend(self, work: int) -> None:
        """Take some of it: about one unit for each item or for a hundred characters.

        Raises:
            ValueError: Nothing is left, or it has taken too long.
        """
        self._left -= work
        if self._left < 0 or self._clock() > self._end:
            raise ValueError("it is too much work for a template; use fewer rows, or a platform's own playbooks")


def spend(context: Names, work: int) -> None:
    """Take some of the budget of the evaluation that is under way."""
    context[BUDGET].spend(work)


def text_of(context: Names, item: Any, most: int = _MOST_TEXT) -> str:
    """Return a value as text; objects and lists as JSON.

    Raises:
        ValueError: It is null, or longer than `most` characters.
    """
    if isinstance(item, Undefined):
        str(item)  # raises, and says what is missing
    if item is None:
        raise ValueError("null cannot be written into a text; say what stands for it: |default('unknown')")
    if isinstance(item, str):
        kept = item
    else:
        size, pieces = 0, []
        for piece in _JSON.iterencode(item):
            size += len(piece)
            pieces.append(piece)
            if size > most:
                break
        kept = "".join(pieces)
    if len(kept) > most:
        raise ValueError(f"a value is longer than {most:,} characters; cut it: |truncate(200)")
    spend(context, 1 + len(kept) // 100)
    return kept


_JSON = json.JSONEncoder(ensure_ascii=False, default=lambda _item: "?")


def of_path(item: Any, path: str) -> Iterator[Any]:
    """Yield what stands at a path of the catalogue, `subjects[].lineage.nodes[].md5`; nulls on the way give nothing.

    Raises:
        LookupError: An object has no such member.
    """
    if isinstance(item, (list, tuple)):
        for one in item:
            yield from of_path(one, path)
        return
    if item is None:
        return
    if not path:
        yield item
        return
    name, _dot, rest = path.partition(".")
    name = name[:-2] if name.endswith("[]") else name
    if not isinstance(item, Mapping):
        raise LookupError(f'there is no member "{name[:60]}" in a text or number')
    if name not in item:
        there = ", ".join(str(key)[:40] for key in list(item)[:12])
        raise LookupError(f'there is no "{name[:60]}" on the path; there are {there}')
    yield from of_path(item[name], rest)


def _items(context: Names, items: Any) -> list[Any]:
    """Return a list, paid for; null is the empty one."""
    if isinstance(items, Undefined):
        str(items)
    if items is None:
        return []
    if not isinstance(items, (list, tuple)):
        raise TypeError("a list is expected before this filter")
    spend(context, len(items))
    return list(items)


@pass_context
def _default(_context: Names, item: Any, instead: Any = "") -> Any:
    return instead if item is None or isinstance(item, Undefined) else item


@pass_context
def _length(context: Names, item: Any) -> int:
    return len(item) if isinstance(item, (str, Mapping)) else len(_items(context, item))


@pass_context
def _lower(context: Names, item: Any) -> str:
    return "" if item is None else text_of(context, item).lower()


@pass_context
def _upper(context: Names, item: Any) -> str:
    return "" if item is None else text_of(context, item).upper()


@pass_context
def _trim(context: Names, item: Any) -> str:
    return "" if item is None else text_of(context, item).strip()


@pass_context
def _truncate(context: Names, item: Any, length: int = 200) -> str:
    kept = "" if item is None else item if isinstance(item, str) else text_of(context, item)
    spend(context, 1)
    most = max(1, int(length))
    return kept if len(kept) <= most else f"{kept[:most]}…"


@pass_context
def _first(context: Names, items: Any) -> Any:
    return next(iter(_items(context, items)[:1]), None)


@pass_context
def _last(context: Names, items: Any) -> Any:
    return next(iter(_items(context, items)[-1:]), None)


@pass_context
def _join(context: Names, items: Any, between: Any = ", ") -> str:
    mark, size, kept = str(between), 0, []
    for item in _items(context, items):
        piece = "" if item is None else text_of(context, item)
        size += len(piece) + len(mark)
        if size > _MOST_TEXT:
            raise ValueError(f"join makes more than {_MOST_TEXT:,} characters")
        kept.append(piece)
    return mark.join(kept)


@pass_context
def _unique(context: Names, items: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for item in _items(context, items):
        found.setdefault(text_of(context, [item]), item)
    return list(found.values())


@pass_context
def _values(context: Names, item: Any, path: str) -> list[Any]:
    found = []
    for one in of_path(item, str(path)):
        spend(context, 1)
        found.append(one)
    return found


def _passing(context: Names, items: Any, path: str, test: str, given: tuple[Any, ...]) -> Iterator[tuple[Any, bool]]:
    if test and test not in TESTS:
        raise LookupError(f'there is no test "{test[:40]}"; there are {", ".join(sorted(TESTS))}')
    for item in _items(context, items):
        found = list(of_path(item, path))
        spend(context, len(found) + sum(len(g) for g in given if isinstance(g, (list, str))))
        one = found[0] if found else None
        yield item, bool(TESTS[test](one, *given)) if test else bool(one)


@pass_context
def _selectattr(context: Names, items: Any, path: str, test: str = "", *given: Any) -> list[Any]:
    return [item for item, passed in _passing(context, items, path, test, given) if passed]


@pass_context
def _rejectattr(context: Names, items: Any, path: str, test: str = "", *given: Any) -> list[Any]:
    return [item for item, passed in _passing(context, items, path, test, given) if not passed]


@pass_context
def _tojson(context: Names, item: Any) -> str:
    return text_of(context, [item])[1:-1]


@pass_context
def _number(context: Names, item: Any, instead: float = 0) -> float:
    """Return a number that may be written as a text, as the numbers of many alerts are."""
    kept = "" if item is None or isinstance(item, bool) else text_of(context, item).strip()
    try:
        found = float(kept) if len(kept) <= _MOST_DIGITS else instead
    except ValueError:
        return instead
    return found if math.isfinite(found) else instead


def _like(item: Any, pattern: Any) -> bool:
    """Whether a text fits one of some patterns with `*` and `?`, letters of either case."""
    if isinstance(item, Undefined):
        str(item)
    if item is None:
        return False
    folded = str(item).lower()
    patterns: Sequence[Any] = pattern if isinstance(pattern, (list, tuple)) else [pattern]
    if len(patterns) > _MOST_PATTERNS or len(folded) > _MOST_TEXT:
        raise ValueError(f"like takes up to {_MOST_PATTERNS} patterns and texts of {_MOST_TEXT:,} characters")
    return any(_glob(str(one)).matches(folded) for one in patterns)


def _glob(pattern: str) -> Glob:
    return Glob(pattern.lower().replace(MANY, "").replace(ONE, "").replace("*", MANY).replace("?", ONE))


def _in(item: Any, items: Any) -> bool:
    return items is not None and item in items


FILTERS: Mapping[str, Callable[..., Any]] = {
    "default": _default, "first": _first, "join": _join, "last": _last, "length": _length, "lower": _lower,
    "number": _number, "rejectattr": _rejectattr, "selectattr": _selectattr, "tojson": _tojson, "trim": _trim,
    "truncate": _truncate, "unique": _unique, "upper": _upper, "values": _values,
}  # fmt: skip

_STOCK: Mapping[str, Any] = STOCK
TESTS: Mapping[str, Callable[..., Any]] = {
    **{name: _STOCK[name] for name in ("defined", "undefined", "none", "string", "number", "mapping", "sequence")},
    **{name: _STOCK[name] for name in ("eq", "ne", "lt", "le", "gt", "ge", "true", "false")},
    "in": _in,
    "like": _like,
}
