"""The JSON schema of playbooks, made of the catalogue; `playbook.schema.json` is what it gives, published.

Every part has a `description` that reads on from *expected*: messages are made of them.
"""

from __future__ import annotations

import json
from typing import Any

from cbsigned_playbooks.catalogue import ACTIONS
from cbsigned_playbooks.definition import Action, Kind, Parameter

__all__ = ["DISPOSITIONS", "MOST_STEPS", "is_query", "playbook_schema", "schema_text"]

DISPOSITIONS = {
    "close": "nothing found that needs a person; a person still decides",
    "leave": "the playbook has nothing to say; the alert stays as it is",
    "review": "a person should look, in the order of the queue",
    "escalate": "a person should look now",
}
"""What an outcome can suggest. None of them is done by us."""
MOST_STEPS = 20

_TEMPLATE = r"\{[{%]"
_MOST_CONDITION, _MOST_TEMPLATE = 2_000, 10_000


def playbook_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://cbsigned.example.test/playbook.schema.json",
        "title": "cbsigned playbook",
        **_object(
            "a mapping with name, description, steps, outcomes and otherwise",
            {
                "name": _text("a short name of small letters, digits and dashes", 64, r"^[a-z0-9][a-z0-9-]*\Z"),
                "description": _text("what it is for, in whole sentences", _MOST_TEMPLATE),
                "lists": _lists(),
                "trigger": _condition("a condition on the alert, without braces; without it, it is for every alert"),
                "deadline_s": _number("seconds for all steps of one alert, 1 to 3600", "number", 1, 3600),
                "steps": _list("a list of steps, up to 20", _step(), MOST_STEPS, least=0),
                "outcomes": _list("a list of outcomes, of which the first that holds is taken", _outcome(), 50),
                "otherwise": _otherwise(),
            },
            ("name", "description", "steps", "outcomes", "otherwise"),
        ),
    }


def schema_text() -> str:
    """Return the schema as the text of its published file."""
    return json.dumps(playbook_schema(), indent=2, ensure_ascii=False) + "\n"


def is_query(parameter: Parameter) -> bool:
    """Whether a parameter is an EDR query, in which values from outside must be quoted."""
    return "carbon black query" in parameter.contains


def _step() -> dict[str, Any]:
    names = [action.name for action in ACTIONS]
    known = {
        "id": _text("a short name of small letters, digits and _, for steps.ID", 40, r"^[a-z][a-z0-9_]*\Z"),
        "action": {"description": f"one of {', '.join(names)}", "enum": names},
        "when": _condition("a condition without braces; the step is left out where it does not hold"),
        "with": {"description": "the inputs of the action", "type": "object"},
    }
    made = _object("a step: id, action, and with for its inputs", known, ("id", "action"))
    return {**made, "allOf": [_inputs_of(action) for action in ACTIONS]}


def _inputs_of(action: Action) -> dict[str, Any]:
    required = tuple(one.name for one in action.parameters if one.required)
    inputs = _object(
        f"the inputs of {action.name}: {', '.join(one.name for one in action.parameters)}",
        {one.name: _input(one) for one in action.parameters},
        required,
    )
    then = {"properties": {"with": inputs}, **({"required": ["with"]} if required else {})}
    return {"if": {"properties": {"action": {"const": action.name}}, "required": ["action"]}, "then": then}


def _input(parameter: Parameter) -> dict[str, Any]:
    about = parameter.description.rstrip(".")
    if parameter.kind in (Kind.INTEGER, Kind.NUMBER):
        kind = "integer" if parameter.kind is Kind.INTEGER else "number"
        word = "a whole number" if kind == "integer" else "a number"
        text = f"{word}, {parameter.low:g} to {parameter.high:g}, or a template {{{{ … }}}} ({about})"
        number = {"type": kind, "minimum": parameter.low, "maximum": parameter.high}
        return {"description": text, "anyOf": [number, _templated()]}
    if parameter.kind is Kind.SWITCH:
        text = f"true or false, or a template {{{{ … }}}} ({about})"
        return {"description": text, "anyOf": [{"type": "boolean"}, _templated()]}
    if parameter.kind is Kind.JSON:
        text = f"a mapping, a list, or a template such as {{{{ record }}}} ({about})"
        return {"description": text, "anyOf": [{"type": ["object", "array"]}, _templated()]}
    made: dict[str, Any] = _text(f"a text ({about})", _MOST_TEMPLATE)
    if parameter.many:
        several = {"type": "array", "minItems": 1, "maxItems": 1_000, "items": made}
        return {"description": f"a text or a list of texts ({about})", "anyOf": [made, several]}
    return made


def _lists() -> dict[str, Any]:
    one = {"type": ["string", "number", "boolean"]}
    several = {"description": "a text, a number, or a list of them", "anyOf": [one, {"type": "array", "items": one}]}
    return {
        "description": "a mapping of names (small letters, digits and _) to values and lists that templates know as "
        "lists.NAME: what a site changes", "type": "object", "additionalProperties": several,
        "propertyNames": {"description": "small letters, digits and _", "pattern": r"^[a-z][a-z0-9_]{0,39}\Z"},
    }  # fmt: skip


def _outcome() -> dict[str, Any]:
    known = {"when": _condition("a condition without braces"), "disposition": _disposition(*DISPOSITIONS), **_note()}
    return _object("an outcome: when, disposition and note", known, ("when", "disposition", "note"))


def _otherwise() -> dict[str, Any]:
    known = {"disposition": _disposition("leave", "review", "escalate"), **_note()}
    return _object("the outcome where none holds: disposition and note", known, ("disposition", "note"))


def _disposition(*words: str) -> dict[str, Any]:
    close = "" if "close" in words else "; what nobody foresaw is not closed"
    return {"description": f"one of {', '.join(words)}{close}", "enum": list(words)}


def _note() -> dict[str, Any]:
    return {"note": _text("the note for the analyst, a template", _MOST_TEMPLATE)}


def _object(text: str, known: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "description": text, "type": "object", "properties": known, "required": list(required),
        "additionalProperties": False,
    }  # fmt: skip


def _list(text: str, items: dict[str, Any], most: int, *, least: int = 1) -> dict[str, Any]:
    return {"description": text, "type": "array", "minItems": least, "maxItems": most, "items": items}


def _text(text: str, most: int, pattern: str = r"\S") -> dict[str, Any]:
    return {"description": text, "type": "string", "maxLength": most, "pattern": pattern}


def _condition(text: str) -> dict[str, Any]:
    return _text(text, _MOST_CONDITION)


def _number(text: str, kind: str, low: float, high: float) -> dict[str, Any]:
    return {"description": text, "type": kind, "minimum": low, "maximum": high}


def _templated() -> dict[str, Any]:
    return {"type": "string", "maxLength": _MOST_TEMPLATE, "pattern": _TEMPLATE}
