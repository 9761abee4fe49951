"""The n8n package's files that follow from the catalogue: the node, its credentials, package.json.

The node asks the webhook responder, which has three of the actions. What the responder is told once (deadline, depth)
is not asked again here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bundle
import manifests

from cbsigned_playbooks.catalogue import action_named
from cbsigned_playbooks.definition import Kind, Parameter

HERE = Path(__file__).resolve().parent
ROUTES: dict[str, tuple[str, dict[str, str]]] = {
    # action: address of the responder, and parameter of the catalogue -> where it goes in the request; what is the
    # whole body is sent by the template, because n8n merges bodies and would make an object of a list
    "enrich_alert": ("/v1/alerts", {"alert": "body", "format": "path"}),
    "signing_status": ("/v1/signed", {"hashes": "body.hashes"}),
    "process_lineage": (
        "/v1/lineage",
        {"guid": "body.guid", "host": "body.host", "pid": "body.pid", "at": "body.time"},
    ),
}
TOLD_TO_THE_RESPONDER = ("lineage", "max_depth", "relatives", "deadline_s")
_CARDS = {
    "displayName": "Card",
    "name": "card",
    "type": "options",
    "noDataExpression": True,
    "default": "none",
    "description": "Put the answer for people into the data, to be posted into a ticket or a chat",
    "options": [
        {"name": name, "value": value}
        for name, value in (("None", "none"), ("Markdown", "markdown"), ("HTML", "html"), ("Both", "both"))
    ],
    "routing": {"send": {"type": "query", "property": "card"}},
}
_GIVEN = "={{ $value === '' ? undefined : $value }}"
_LISTED = "={{ Array.isArray($value) ? $value : String($value).split(/[\\s,;]+/).filter((one) => one !== '') }}"
_TYPES = {Kind.INTEGER: "number", Kind.NUMBER: "number", Kind.SWITCH: "boolean", Kind.JSON: "json", Kind.TIME: "string"}


def files() -> dict[str, str]:
    """Return the generated files: path below this folder → text."""
    templates = manifests.environment(HERE)
    given = {"operations": operations(), "fields": fields(), "version": bundle.version()}
    names = {
        "CbSigned.node.js.j2": "package/nodes/CbSigned/CbSigned.node.js",
        "CbSignedApi.credentials.js.j2": "package/credentials/CbSignedApi.credentials.js",
        "package.json.j2": "package/package.json",
    }
    return {name: templates.get_template(template).render(given) for template, name in names.items()}


def operations() -> str:
    """Return the options of the field *Operation*, as JavaScript."""
    found = []
    for name, (path, places) in ROUTES.items():
        action = action_named(name)
        source = next((one for one, place in places.items() if place == "path"), None)
        part = f"$parameter.{source}"
        url = path if source is None else f'={path}{{{{ {part} ? "/" + encodeURIComponent({part}) : "" }}}}'
        found.append(
            {
                "name": action.title.title(),
                "value": name,
                "action": action.title.capitalize(),
                "description": action.summary,
                "routing": {"request": {"method": "POST", "url": url}},
            }
        )
    return _script(found)


def fields() -> str:
    """Return the fields of every operation, as JavaScript."""
    found = []
    for name, (_path, places) in ROUTES.items():
        for one in action_named(name).parameters:
            if one.name in places:
                found.append(_field(name, one, places[one.name]))
            elif one.name not in TOLD_TO_THE_RESPONDER:
                raise ValueError(f"{name} has {one.name}: say in ROUTES where it goes, or that the responder is told")
    cards = [name for name, (path, _places) in ROUTES.items() if path != "/v1/signed"]
    found.append({**_CARDS, "displayOptions": {"show": {"operation": cards}}})
    return _script(found)


def _field(action: str, one: Parameter, place: str) -> dict[str, Any]:
    kind = _TYPES.get(one.kind, "string")
    found: dict[str, Any] = {
        "displayName": one.title,
        "name": one.name,
        "type": kind,
        "default": {"number": "", "boolean": False, "json": "={{ $json.body ?? $json }}"}.get(kind, ""),
        "description": one.description.rstrip("."),
        "displayOptions": {"show": {"operation": [action]}},
    }
    if one.required:
        found["required"] = True
    if one.example is not None and kind != "json":
        found["placeholder"] = f"e.g. {one.example}"
    if one.many:
        found["typeOptions"] = {"rows": 3}
        found["description"] += ". Several with commas, blanks or line ends between them, or a list."
    if place.startswith("body."):
        value = _LISTED if one.many else _GIVEN
        found["routing"] = {"send": {"type": "body", "property": place.partition(".")[2], "value": value}}
    return found


def _script(value: Any) -> str:
    return json.dumps(value, indent="\t", ensure_ascii=False)
