"""Make the code of the Splunk SOAR app: typed parameters, typed outputs, and one function for each action.

The SDK makes its manifest of Python classes, so what is generated here is Python, inside what its lines 2.3 (pydantic
1, SOAR 6) and 7.0 (pydantic 2, SOAR 7 and newer) have in common.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from manifests import environment, pascal, span

from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION
from cbsigned_playbooks.definition import Action, Kind, Output, Parameter

HERE = Path(__file__).resolve().parent
TYPES = {Kind.INTEGER: "int", Kind.NUMBER: "float", Kind.SWITCH: "bool"}  # of the others: str, SOAR has no more
COUNTS = (("asked", 3), ("answered", 3), ("total", 40), ("next", 20))
SUMMARY = (("complete", "bool", True), *((name, "int", example) for name, example in COUNTS))
TAKEN = frozenset(("copy", "dict", "json", "schema", "fields", "construct", "validate"))  # names that pydantic uses


@dataclass
class Member:
    """A value, or an object with values, in what comes out.

    Attributes:
        depth: Lists around it, 0 or 1.
        output: Of a value; None for an object, whose values are `members`.
        kind: Class of an object, once it has a name.
    """

    name: str
    depth: int
    output: Optional[Output] = None
    members: dict[str, Member] = field(default_factory=dict)
    kind: str = ""


def files() -> dict[str, str]:
    """Return the generated modules by their path in the app."""
    made = environment(HERE)
    made.filters["python"] = python
    classes = list(output_classes(ACTIONS))
    return {
        "src/params.py": made.get_template("params.py.j2").render(
            actions=ACTIONS, asset=CONFIGURATION, arguments=arguments, type=type_of
        ),
        "src/outputs.py": made.get_template("outputs.py.j2").render(
            classes=classes, summary=SUMMARY, annotation=annotation, field=output_field, attribute=attribute
        ),
        "src/app.py": made.get_template("app.py.j2").render(actions=ACTIONS),
    }


def python(value: Any) -> str:
    """Return a value as Python source, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(python(one) for one in value)}]"
    return repr(value)


def type_of(kind: Kind) -> str:
    """Return the Python type of a kind of values."""
    return TYPES.get(kind, "str")


def arguments(one: Parameter, *, asset: bool = False) -> str:
    """Return what `Param` or `AssetField` is told of one value."""
    given: dict[str, Any] = {"description": described(one), "required": one.required}
    if one.default is not None:
        given["default"] = float(one.default) if one.kind is Kind.NUMBER else one.default
    elif one.required:
        given["default"] = ""  # so that the message about a missing one is ours; the SDK's shows the token
    if one.kind is Kind.SECRET:
        given["sensitive"] = True
    if one.choices:
        given["value_list"] = one.choices
    if not asset:
        given.update({"primary": True} if one.primary else {})
        given.update({"cef_types": one.contains} if one.contains else {})
        given.update({"allow_list": True} if one.many else {})
    return ", ".join(f"{name}={python(value)}" for name, value in given.items())


def described(one: Parameter) -> str:
    """Return the description of a value with its unit and range, which SOAR has no other place for."""
    told = span(one)
    return f"{one.title}: {one.description}" + (f" ({told})" if told else "")


def output_classes(actions: Iterable[Action]) -> Iterator[tuple[str, Sequence[Member]]]:
    """Yield class names and members, each class after those that it needs; equal blocks are one class."""
    known: dict[str, str] = {}
    for action in actions:
        root = Member(action.name, 0)
        for output in action.outputs:
            _put(root, output)
        yield from _named(root, (pascal(action.name),), known)


def _put(root: Member, output: Output) -> None:
    *inwards, last = output.path.split(".")
    for part in inwards:
        name = part.replace("[]", "")
        root = root.members.setdefault(name, Member(name, part.count("[]")))
    name = last.replace("[]", "")
    root.members[name] = Member(name, last.count("[]"), output)


def _named(one: Member, path: tuple[str, ...], known: dict[str, str]) -> Iterator[tuple[str, Sequence[Member]]]:
    """Give an object and what is in it their classes: the shortest end of the path that no other block has."""
    for member in one.members.values():
        if member.output is None:
            yield from _named(member, (*path, pascal(member.name)), known)
    shape = repr([(m.name, m.depth, m.kind, m.output and output_field(m.output)) for m in one.members.values()])
    if shape in known:
        one.kind = known[shape]
        return
    ends = ["".join(path[at:]) for at in range(len(path) - 1, -1, -1)]
    one.kind = known[shape] = next(name for name in ends if name not in known.values())
    yield one.kind, list(one.members.values())


def annotation(one: Member) -> str:
    """Return the type of a member: objects may be missing, lists never are."""
    bare = one.kind if one.output is None else type_of(one.output.kind)
    if one.depth:
        return f"list[{bare}]"
    return f"Optional[{bare}]" if one.output is None or one.output.optional else bare


def attribute(one: Member) -> str:
    """Return the name of a member in Python."""
    return f"{one.name}_" if one.name in TAKEN else one.name


def output_field(output: Output) -> str:
    """Return what `OutputField` is told of one value."""
    given: dict[str, Any] = {"cef_types": output.contains} if output.contains else {}
    given["example_values"] = [output.example]
    if output.column:
        given["column_name"] = output.column
    return ", ".join(f"{name}={python(value)}" for name, value in given.items())
