"""JSON texts from outside, read within bounds: levels and values are counted before anything is built."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Optional

__all__ = ["MAX_LEVELS", "MAX_VALUES", "TooDeep", "TooMany", "bounded", "load", "load_all"]

MAX_LEVELS = 64
"""How deep JSON may nest; real alerts have fewer than fifteen levels."""
MAX_VALUES = 1_000_000
"""How many values one text may hold."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BETWEEN = re.compile(r"[ \t\r\n,\x1e]*")
_BRACES = str.maketrans("{}", "[]")
_MOST_FAULTS = 20


class TooDeep(ValueError):
    """The text nests deeper than is allowed."""


class TooMany(ValueError):
    """The text holds more values than are allowed."""


def load(text: str, *, levels: int = MAX_LEVELS, values: int = MAX_VALUES) -> Any:
    """Return the one value of a JSON text; NaN and numbers beyond any float come back as None.

    Half characters, which no file, database or terminal can take, are replaced.

    Raises:
        TooDeep: More than `levels`.
        TooMany: More than `values`.
        ValueError: No JSON, or something follows it.
    """
    bounded(text, levels, values)
    start = _BETWEEN.match(text, 0)
    value, end = _DECODER.raw_decode(text, start.end() if start else 0)
    if text[end:].strip():
        raise ValueError("something follows the value")
    return _without_surrogates(value) if _SURROGATE.search(text) else value


def load_all(text: str) -> Iterator[tuple[int, Any, Optional[str]]]:
    """Yield (line, value, problem) for each value of a text: one, lines of them, or one after the other.

    After a value that cannot be read the next line is tried, a few times; what is then left is one problem.
    The text must have passed `bounded`.
    """
    clean = _without_surrogates if _SURROGATE.search(text) else _as_it_is
    at, line, counted, faults = 0, 1, 0, 0
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, at), at
        if at >= len(text):
            return
        try:
            value, at = _DECODER.raw_decode(text, at)
            yield line, clean(value), None
        except ValueError as exc:
            faults += 1
            told = exc.msg if isinstance(exc, json.JSONDecodeError) else "a number of too many digits"
            if faults > _MOST_FAULTS:
                yield line, None, f"{told}; the rest was not read"
                return
            yield line, None, told
            following = text.find("\n", at)
            at = len(text) if following < 0 else following


def bounded(text: str, levels: int = MAX_LEVELS, values: int = MAX_VALUES) -> None:
    """Raise where a text would nest too deeply or hold too much, without building any of it.

    The interpreter's own limit is no bound: near it, a finalizer that happens to run fails too.

    Raises:
        TooDeep: More than `levels`.
        TooMany: More than `values`.
    """
    openings = text.count("[") + text.count("{")
    if openings <= levels and text.count(",") + openings < values:
        return
    bare = _STRING.sub("", text)
    if bare.count(",") + bare.count("[") + bare.count("{") >= values:
        raise TooMany(f"more than {values} values")
    brackets = _NO_BRACKET.sub("", bare).translate(_BRACES)
    for _level in range(levels):
        left = brackets.replace("[]", "")  # takes the innermost level away
        if left == brackets:
            break
        brackets = left
    if brackets.count("[") > levels or "[]" in brackets:
        raise TooDeep(f"nested deeper than {levels} levels")


def _finite(text: str) -> Optional[float]:
    number = float(text)
    return number if math.isfinite(number) else None


def _nothing(_word: str) -> None:
    """Stand for NaN and Infinity, which are no JSON, and which no JSON may be made of again."""


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_nothing)


def _as_it_is(value: Any) -> Any:
    return value


def _without_surrogates(value: Any) -> Any:
    """Replace half characters; the levels are counted already."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
