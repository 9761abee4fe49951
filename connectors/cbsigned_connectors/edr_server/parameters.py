"""Parameters of a request, from the query string or a JSON body, each bare or as a list.

References:
    - cb-edr-api §2.1: a POST body may hold every value as a list whose first element counts; `q` may be several
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from cbsigned_connectors.edr_server.answer import Refused, json_answer

__all__ = ["MAX_BODY", "Parameters", "of_body", "of_query"]

MAX_BODY = 4 * 1024 * 1024
"""Longest body that is read, in bytes."""
_MAX_FIELDS = 10_000
_MAX_NUMBER = 2**31 - 1


class Parameters:
    """What a request asks by; names that nobody reads are passed over, as the real server does."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """Return the first value."""
        found = self._values.get(name)
        return found[0] if found else default

    def texts(self, name: str) -> list[str]:
        """Return all values that are not empty."""
        return [value for value in self._values.get(name, ()) if value]

    def prefixed(self, prefix: str) -> dict[str, str]:
        """Return what begins with `prefix`, by the rest of its name."""
        return {name[len(prefix) :]: found[0] for name, found in self._values.items() if name.startswith(prefix)}

    def flag(self, *names: str) -> bool:
        """Whether one of these is `true` or `1`."""
        return any(self.text(name).strip().lower() in ("true", "1") for name in names)

    def number(self, name: str, default: int) -> int:
        """Return a count, 0 or more.

        Raises:
            Refused: 400, where it is anything else.
        """
        text = self.text(name).strip()
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 12:
            raise Refused(json_answer({"reason": "invalid_parameter", "parameter": name}, 400))
        return min(int(text), _MAX_NUMBER)


def of_query(query: bytes) -> Parameters:
    """Return the parameters of a query string.

    Raises:
        Refused: 400, where it has more than 10,000 of them.
    """
    values: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refused(json_answer({"reason": "too_many_parameters"}, 400)) from None
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return Parameters(values)


def of_body(body: bytes) -> Parameters:
    """Return the parameters of a JSON body, or of a form.

    Raises:
        Refused: 400, where it is neither.
    """
    if not body.strip():
        return Parameters({})
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        if b"=" in body and not body.lstrip().startswith((b"{", b"[")):
            return of_query(body)
        raise Refused(json_answer({"reason": "malformed_json"}, 400)) from None
    if not isinstance(document, dict):
        raise Refused(json_answer({"reason": "malformed_json"}, 400))
    return Parameters({name: _texts(value) for name, value in document.items()})


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [_text(item) for item in items if isinstance(item, (str, int, float))]


def _text(value: object) -> str:
    """Return a value as text that SQLite can hold: half of a surrogate pair becomes a question mark."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")
