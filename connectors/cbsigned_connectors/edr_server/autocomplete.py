"""Completion of a query as it is typed: names of fields, then values that the store holds.

The vendor's console has such a route and documents none, so path and answer are ours.
"""

from __future__ import annotations

from typing import Callable

from cbsigned.query.fields import FIELDS
from cbsigned.store.inventory import values_of
from cbsigned_connectors.edr_server.access import Right
from cbsigned_connectors.edr_server.answer import Answer, json_answer
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint

__all__ = ["ENDPOINTS"]

_MOST = 20
_LONGEST = 1000


def completed(kind: str) -> Callable[[Desk, Ask], Answer]:
    """Return what answers with ways to go on with the last word of `q`.

    Args:
        kind: `process` or `binary`.
    """

    def answer(desk: Desk, ask: Ask) -> Answer:
        text = ask.parameters.text("q")[-_LONGEST:]
        word = text.replace("(", " ").rsplit(" ", 1)[-1].lstrip("-")
        name, colon, value = word.partition(":")
        if not colon:
            known = sorted(field.name for field in FIELDS.values() if getattr(field, kind))
            found = [f"{one}:" for one in known if one.startswith(name.lower())][:_MOST]
        else:
            with desk.reading() as db:
                found = [f"{name}:{_quoted(one)}" for one in values_of(db, name.lower(), value.strip('"'), _MOST)]
        return json_answer({"q": text, "suggestions": found})

    return answer


def _quoted(value: str) -> str:
    plain = all(character not in value for character in ' "()\\')
    return value if plain else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


ENDPOINTS = [
    Endpoint("/api/v1/process/autocomplete", completed("process"), Right.SEARCH),
    Endpoint("/api/v1/binary/autocomplete", completed("binary"), Right.SEARCH),
]
