"""What a platform or a playbook gives an action, read and checked before anything is asked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Callable, Optional, Union

from cbsigned.errors import CbSignedError
from cbsigned.observables import printable
from cbsigned.timing import format_time, parse_time
from cbsigned_playbooks.definition import Action, Kind, Parameter

__all__ = ["InputError", "Value", "read_inputs"]

Value = Union[None, str, int, float, bool, datetime, list[str], Mapping[str, Any], list[Any]]

_SHOWN = 60
_MOST_TEXT = 4 * 1024 * 1024
_PARTS = re.compile(r"[,;\s]+")
_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class InputError(CbSignedError):
    """An input of an action is missing or cannot be used; the text says which, and what is expected."""


def read_inputs(action: Action, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every parameter, its default where nothing is given.

    None, empty texts and empty lists are *not given*, in lists too. Texts are read as the parameter's kind, since
    several platforms know no other type. What a list holds besides texts and whole numbers is written out as one text,
    so that it cannot fail the others.

    Args:
        action: Whose parameters.
        given: Name → value, as the platform has it.

    Returns:
        Name → text, whole number, number, switch, aware UTC time, list of texts, or for `json` an object or a list.

    Raises:
        InputError: A name that the action does not have, a required one that is missing, or a value of another kind.
    """
    known = [one.name for one in action.parameters]
    strange = next((name for name in given if name not in known), None)
    if strange is not None:
        near = get_close_matches(str(strange), known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}."
        raise InputError(f"{action.title} has no input {printable(str(strange), _SHOWN)}. {hint}")
    return {one.name: _read(action, one, given.get(one.name)) for one in action.parameters}


def _read(action: Action, parameter: Parameter, value: Any) -> Any:
    if value is None or (isinstance(value, str) and not value.strip()) or value in ([], {}, ()):
        empty = parameter.kind is Kind.TEXT and not parameter.many and isinstance(value, str)
        return parameter.default if empty else _absent(action, parameter)
    if parameter.many:
        return _texts(action, parameter, value) or _absent(action, parameter)
    return _READERS[parameter.kind](action, parameter, value)


def _absent(action: Action, parameter: Parameter) -> Any:
    if parameter.required:
        raise InputError(f"{action.title} needs {parameter.name}: {_expected(parameter)}{_example(parameter)}")
    return parameter.default


def _texts(action: Action, parameter: Parameter, value: Any) -> list[str]:
    items = value if isinstance(value, (list, tuple, set)) else [value]
    if isinstance(value, str) and value.lstrip().startswith("["):  # a list as a text: what templates give
        listed = _from_json(value)
        items = items if listed is None else listed
    items = [item for item in items if item is not None]
    if items and not any(isinstance(item, (str, int)) and not isinstance(item, bool) for item in items):
        raise _wrong(action, parameter, value)
    return list(dict.fromkeys(part for item in items for part in _parts(item) if part))


def _parts(item: Any) -> list[str]:
    return _PARTS.split(item) if isinstance(item, str) else [_written(item)]


def _from_json(text: str) -> Optional[list[Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _text(action: Action, parameter: Parameter, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(action, parameter, value)
    text = _written(value).strip()
    if parameter.choices and text not in parameter.choices:
        raise _wrong(action, parameter, value)
    return text


def _integer(action: Action, parameter: Parameter, value: Any) -> int:
    number = _number(action, parameter, value)
    if number != int(number):
        raise _wrong(action, parameter, value)
    return int(number)


def _number(action: Action, parameter: Parameter, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(action, parameter, value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _wrong(action, parameter, value) from None
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    if not math.isfinite(number) or not low <= number <= high:
        raise _wrong(action, parameter, value)
    return number


def _switch(action: Action, parameter: Parameter, value: Any) -> bool:
    found = value if isinstance(value, bool) else _SWITCH.get(_written(value).strip().lower())
    if found is None:
        raise _wrong(action, parameter, value)
    return found


def _time(action: Action, parameter: Parameter, value: Any) -> datetime:
    found = parse_time(value)
    if found is None:
        raise _wrong(action, parameter, value)
    return found


def _json(action: Action, parameter: Parameter, value: Any) -> Union[Mapping[str, Any], Sequence[Any]]:
    if isinstance(value, str):
        if len(value) > _MOST_TEXT:
            raise InputError(f"{parameter.name} has {len(value):,} characters, more than {_MOST_TEXT:,}. Split it.")
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong(action, parameter, value) from None
    if not isinstance(value, (Mapping, list, tuple)):
        raise _wrong(action, parameter, value)
    return value


_READERS: Mapping[Kind, Callable[[Action, Parameter, Any], Any]] = {
    Kind.TEXT: _text,
    Kind.SECRET: _text,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.SWITCH: _switch,
    Kind.TIME: _time,
    Kind.JSON: _json,
}


def _wrong(action: Action, parameter: Parameter, value: Any) -> InputError:
    shown = printable(_written(value), _SHOWN)
    return InputError(f"{parameter.name} of {action.title} is {shown}: {_expected(parameter)}{_example(parameter)}")


def _written(value: Any) -> str:
    """Return any value as a text; Python writes out no number of thousands of digits and no endless nesting."""
    try:
        return str(format_time(value) if isinstance(value, datetime) else value)
    except (ValueError, RecursionError):
        return f"{type(value).__name__} too long to write out"


def _expected(parameter: Parameter) -> str:
    if parameter.choices:
        return f"expected one of {', '.join(parameter.choices)}."
    unit = f" of {parameter.unit}" if parameter.unit else ""
    if parameter.low is not None and parameter.high is not None and parameter.kind in (Kind.INTEGER, Kind.NUMBER):
        whole = "a whole number" if parameter.kind is Kind.INTEGER else "a number"
        return f"expected {whole}{unit}, {parameter.low:,g} to {parameter.high:,.0f}."
    return f"expected {_WORDS[parameter.kind]}. {parameter.description}"


_WORDS = {
    Kind.TEXT: "a text",
    Kind.SECRET: "a text",
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.SWITCH: "true or false",
    Kind.TIME: "a time",
    Kind.JSON: "JSON",
}


def _example(parameter: Parameter) -> str:
    return f" Example: {parameter.example}" if parameter.example is not None else ""
