"""The StackStorm pack's files that follow from the catalogue: metadata, parameters, output schemas, shims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle
import manifests
import yaml

from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION
from cbsigned_playbooks.definition import Action, Kind, Output, Parameter

HERE = Path(__file__).resolve().parent
_SPARE_S = 60  # the action's own deadline passes first, and gives what is known
_TYPES = {
    Kind.TEXT: "string",
    Kind.TIME: "string",
    Kind.SECRET: "string",
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.SWITCH: "boolean",
    Kind.JSON: "object",
}


def files() -> dict[str, str]:
    """Return the generated files: path below this folder → text."""
    templates = manifests.environment(HERE)
    given = {"actions": ACTIONS, "version": bundle.version(), "configuration": CONFIGURATION}
    made = {"pack/pack.yaml": templates.get_template("pack.yaml.j2").render(given)}
    made["pack/config.schema.yaml"] = _yaml({one.name: _setting(one) for one in CONFIGURATION})
    made["pack/cbsigned.yaml.example"] = templates.get_template("cbsigned.yaml.example.j2").render(given)
    for action in ACTIONS:
        made[f"pack/actions/{action.name}.yaml"] = _yaml(metadata(action))
        made[f"pack/actions/{action.name}.py"] = templates.get_template("action.py.j2").render(action=action)
    return made


def metadata(action: Action) -> dict[str, Any]:
    """Return what StackStorm is told of an action."""
    parameters = {one.name: _parameter(one, place) for place, one in enumerate(action.parameters)}
    longest = max((one.high for one in action.parameters if one.name == "deadline_s" and one.high), default=None)
    if longest is not None:
        # the runner's own limit of time, which is 600 s unless told otherwise
        parameters["timeout"] = {"default": int(longest) + _SPARE_S}
    return {
        "name": action.name,
        "pack": "cbsigned",
        "description": f"{action.summary} {action.description}",
        "runner_type": "python-script",
        "entry_point": f"{action.name}.py",
        "enabled": True,
        "parameters": parameters,
        "output_schema": output_schema(action),
    }


def _parameter(one: Parameter, place: int) -> dict[str, Any]:
    return {**_setting(one), "position": place}


def _setting(one: Parameter) -> dict[str, Any]:
    """Return one parameter; lists are texts with commas, because a rule's template can give nothing else safely."""
    unit = f" In {one.unit}." if one.unit else ""
    many = " Several with commas between them." if one.many else ""
    example = f" Example: {one.example}" if one.example is not None else ""
    kind = "string" if one.many else _TYPES[one.kind]
    found: dict[str, Any] = {"type": kind, "description": f"{one.description}{unit}{many}{example}"}
    if one.required:
        found["required"] = True
    if one.kind is Kind.SECRET:
        found["secret"] = True
    more = {"default": one.default, "enum": list(one.choices) or None, "minimum": one.low, "maximum": one.high}
    return {**found, **{name: value for name, value in more.items() if value is not None}}


def output_schema(action: Action) -> dict[str, Any]:
    """Return the JSON schema of an action's result, `required` as StackStorm has it: beside the type."""
    row = _tree(action.outputs)
    row["description"] = action.rows
    members = {
        "message": {"type": "string", "description": "What was found, or why nothing was and what to do."},
        "complete": {"type": "boolean", "description": "False where a look-up failed that may succeed later."},
        "rows": {"type": "array", "items": row},
        "summary": {"type": "object", "description": "Counts; total and next of a search."},
        "failures": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why look-ups failed, the first reasons.",
        },
        "card": {"type": "string", "description": "The answer for people, Markdown."},
    }
    return {"type": "object", "properties": {name: {**one, "required": True} for name, one in members.items()}}


def _tree(outputs: tuple[Output, ...]) -> dict[str, Any]:
    """Return outputs as nested objects: `lineage.nodes[].guid` is a text of an object of a list of an object."""
    branches: dict[str, list[Output]] = {}
    for one in outputs:
        branches.setdefault(one.path.split(".")[0], []).append(one)
    return {"type": "object", "properties": {n.removesuffix("[]"): _member(n, of) for n, of in branches.items()}}


def _member(name: str, outputs: list[Output]) -> dict[str, Any]:
    first = outputs[0]
    if "." not in first.path:
        kind: dict[str, Any] = {"type": _TYPES[first.kind]}
        found = {"type": "array", "items": kind} if name.endswith("[]") else _or_null(kind, first.optional)
        return {**found, "description": manifests.measured(first), "required": True}
    inside = _tree(tuple(_inner(one) for one in outputs))
    if name.endswith("[]"):
        return {"type": "array", "items": inside, "required": True}
    return {**_or_null(inside, True), "required": True}


def _inner(one: Output) -> Output:
    return replace(one, path=one.path.partition(".")[2])


def _or_null(schema: dict[str, Any], nullable: bool) -> dict[str, Any]:
    # a list of types is refused by StackStorm's own schema of schemas
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def _yaml(value: dict[str, Any]) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)
    return "---\n# Made from playbooks/cbsigned_playbooks/catalogue.py by packaging/manifests.py\n" + text


class _Dumper(yaml.SafeDumper):
    """Writes equal objects twice, where PyYAML would write an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is an alias."""
        return True
