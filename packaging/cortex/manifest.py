"""Flavors and report templates of the Cortex analyzers and the responder, made of the definition of the actions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manifests import environment, measured, pascal, span

from cbsigned import Cause, SigningStatus, __version__
from cbsigned.render.marks import mark
from cbsigned_playbooks.catalogue import ACTIONS
from cbsigned_playbooks.cortex import DRAWN, RESPONDER_TYPES, data_types, remembered, settings
from cbsigned_playbooks.definition import Action, Kind, Output, Parameter, View

HERE = Path(__file__).resolve().parent
NAME = "CBSigned"
AUTHOR = "cbsigned"
URL = "https://github.com/TheHive-Project/Cortex-Analyzers/issues/55"  # the request; flavors must have an address
LICENSE = "Apache-2.0"
_TYPES = {Kind.SWITCH: "boolean", Kind.INTEGER: "number", Kind.NUMBER: "number"}
_LIMITS = {"check_tlp": True, "max_tlp": 2, "check_pap": True, "max_pap": 2}  # amber, as most analyzers
_LABELS = {"signed": "success", "invalid": "danger", "unsigned": "warning", "unknown": "default"}
_TRUSTED = {
    "name": "trusted_publishers",
    "description": "Publishers, as Carbon Black writes them, whose signed files are shown as safe. Empty: none is.",
    "type": "string",
    "multi": True,
    "required": False,
}
_TAGS = {
    "name": "add_tags",
    "description": "Write the short report to the observable's tags too.",
    "type": "boolean",
    "multi": False,
    "required": False,
    "defaultValue": True,
}
_FIELD = {
    "name": "custom_field",
    "description": "Custom field of the case, of type string, that gets the signing status. Empty: none does.",
    "type": "string",
    "multi": False,
    "required": False,
}


def files() -> dict[str, str]:
    """Return every generated file by its path below this folder."""
    made = {f"analyzers/{NAME}/{flavor_name(action)}.json": _json(_analyzer(action)) for action in ACTIONS}
    made[f"responders/{NAME}/{NAME}_Tag.json"] = _json(_responder())
    made["analyzers.json"] = _json([_in_container(_analyzer(action), "analyzer") for action in ACTIONS])
    made["responders.json"] = _json([_in_container(_responder(), "responder")])
    templates = environment(HERE)
    templates.globals.update(labels=_by_status(_LABELS), symbols=_by_status({}), claim=Cause.CLAIM.value)
    for action in ACTIONS:
        folder = f"thehive-templates/{flavor_name(action)}_{__version__.replace('.', '_')}"
        made[f"{folder}/short.html"] = (HERE / "short.html").read_text("utf-8")
        below = "subjects[]." if action.view is View.CARD else ""
        made[f"{folder}/long.html"] = templates.get_template("long.html.j2").render(
            action=action, table=_table(action), values=_values(action, below), lists=_lists(action, below)
        )
    return made


def flavor_name(action: Action) -> str:
    """Return what Cortex calls an action: `CBSigned_SigningStatus`."""
    return f"{NAME}_{pascal(action.name)}"


def _analyzer(action: Action) -> dict[str, Any]:
    items = [_item(one) for one in (*settings(), *remembered(action))]
    return {
        **_common(f"{action.summary} {action.description}"),
        "name": flavor_name(action),
        "dataTypeList": list(data_types(action)),
        "command": f"{NAME}/cbsigned_analyzer.py",
        "config": {"service": action.name, **_LIMITS},
        "configurationItems": [*items, _TRUSTED, _TAGS],
    }


def _responder() -> dict[str, Any]:
    return {
        **_common("Tag a case, an alert or an observable with the signing status of what it names."),
        "name": f"{NAME}_Tag",
        "dataTypeList": list(RESPONDER_TYPES),
        "command": f"{NAME}/cbsigned_responder.py",
        "config": {"service": "tag", **_LIMITS},
        "configurationItems": [*map(_item, settings()), _FIELD],
    }


def _common(description: str) -> dict[str, Any]:
    return {
        "name": "",
        "version": __version__,
        "author": AUTHOR,
        "url": URL,
        "license": LICENSE,
        "description": description,
        "dataTypeList": [],
        "command": "",
        "baseConfig": NAME,
    }


def _item(one: Parameter) -> dict[str, Any]:
    told = span(one)
    item = {
        "name": one.name,
        "description": one.description + (f" {told[0].upper()}{told[1:]}." if told else ""),
        "type": _TYPES.get(one.kind, "string"),
        "multi": False,
        "required": one.required,
    }
    return item if one.default is None else {**item, "defaultValue": one.default}


def _in_container(flavor: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a flavor as a catalogue has it, for Cortex installations that run everything in containers."""
    without = {name: value for name, value in flavor.items() if name != "command"}
    return {**without, "dockerImage": f"cbsigned/cortex-{kind}:{__version__}"}


def _table(action: Action) -> list[dict[str, str]]:
    """Return the columns of a table: heading, expression, how it is shown; the status early, long ids last."""
    shown = [one for one in action.outputs if one.column is not None and "[]" not in one.path]
    shown.sort(key=lambda one: "carbon black process id" in one.contains)
    first = shown[:1]
    shown = first + sorted((one for one in shown if one not in first), key=lambda one: one.path != "status")
    return [
        {"heading": str(one.column), "expression": _expression("thing", one.path), "kind": _shown(one)} for one in shown
    ]


def _values(action: Action, below: str) -> list[dict[str, str]]:
    """Return every single value, and every list of them, right below a place of the answer."""
    return [
        {"name": rest, "about": measured(one), "expression": _expression("thing", rest)}
        for one, rest in _rests(action, below)
        if "[]." not in rest and rest not in DRAWN
    ]


def _lists(action: Action, below: str) -> list[dict[str, Any]]:
    """Return every list of objects right below a place of the answer, with the values of each object."""
    found: dict[str, list[dict[str, str]]] = {}
    for one, rest in _rests(action, below):
        place, _, inside = rest.partition("[].")
        if inside and "[]." not in inside:
            told = {"name": inside, "about": measured(one), "expression": _expression("item", inside)}
            found.setdefault(place, []).append(told)
    return [{"name": place, "expression": f"thing.{place}", "values": inside} for place, inside in found.items()]


def _rests(action: Action, below: str) -> Iterator[tuple[Output, str]]:
    return ((one, one.path[len(below) :]) for one in action.outputs if one.path.startswith(below))


def _expression(scope: str, path: str) -> str:
    """Return AngularJS's expression for a value of the answer."""
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*(\[\])?", path):
        raise ValueError(f"{path} cannot be an expression of a template")
    return f"{scope}.{path[:-2]}.join(', ')" if path.endswith("[]") else f"{scope}.{path}"


def _by_status(texts: Mapping[str, str]) -> str:
    """Return an expression's object: signing status → its label's class or, without texts, its symbol."""
    looks = {one.value: mark(one.value) for one in SigningStatus}
    pairs = (f"'{name}':'{texts.get(one.tone, '') if texts else one.symbol}'" for name, one in looks.items())
    return "{" + ",".join(pairs) + "}"


def _shown(one: Output) -> str:
    return "status" if one.path.rpartition(".")[2] == "status" else "switch" if one.kind is Kind.SWITCH else "text"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
