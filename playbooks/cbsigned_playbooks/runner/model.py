"""A playbook: read from its YAML file, checked against the schema and against the language of templates.

Every message names the file, the line and the place: `a.yaml line 12, steps[1].with.max_depth is "many": expected …`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from cbsigned.errors import ConfigError
from cbsigned.observables import printable
from cbsigned.yamlfile import Node, plain, read_yaml
from cbsigned_playbooks.catalogue import action_named
from cbsigned_playbooks.definition import Action, Parameter
from cbsigned_playbooks.runner.schema import is_query
from cbsigned_playbooks.runner.templates import Expression, Known, TemplateProblem, condition, query, text, value

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

__all__ = ["Input", "Playbook", "Rule", "Step", "examples", "read_playbook"]

Input = Union[Expression, None, bool, int, float, list[Any], dict[str, Any]]
"""A value with templates in the place of texts, also inside lists and mappings."""

_DEADLINE_S = 120.0
_MOST_BYTES = 1024 * 1024
_MOST_PROBLEMS = 10


@dataclass(frozen=True)
class Step:
    """One action that is asked for.

    Attributes:
        when: None: always.
    """

    id: str
    action: Action
    inputs: Mapping[str, Input]
    when: Optional[Expression] = None


@dataclass(frozen=True)
class Rule:
    """One outcome, and when it holds.

    Attributes:
        place: Where it stands in the file: `outcomes[0]`, or `otherwise`, which has no `when`.
    """

    place: str
    disposition: str
    note: Expression
    when: Optional[Expression] = None


@dataclass(frozen=True)
class Playbook:
    """One playbook, checked.

    Attributes:
        sha256: Of the file, so that a record says which wording was run.
        lists: What a site changes, by name.
        trigger: None: it is for every alert.
        deadline_s: For all steps of one alert.
    """

    name: str
    description: str
    file: str
    sha256: str
    lists: Mapping[str, Any]
    trigger: Optional[Expression]
    deadline_s: float
    steps: tuple[Step, ...]
    outcomes: tuple[Rule, ...]
    otherwise: Rule


def examples() -> dict[str, Path]:
    """Return the playbooks that are shipped: name → file."""
    folder = Path(str(resources.files("cbsigned_playbooks"))) / "examples"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_playbook(name: str) -> Playbook:
    """Return the playbook in a file.

    Args:
        name: A path; or, where there is no such file, the name of an example.

    Raises:
        ConfigError: It cannot be read or is no playbook; one line for each problem, up to 10.
    """
    path = Path(name)
    if not path.exists() and name in examples():
        path = examples()[name]
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        source = raw.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError(
            f"Cannot read the playbook {name}: {exc.strerror}. Name a file, or an example: {', '.join(examples())}."
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: byte {exc.start} is none of its. Save it as UTF-8.") from None
    return _Reader(str(path), read_yaml(source, str(path))).playbook(hashlib.sha256(raw).hexdigest())


class _Reader:
    """Turns the nodes of one file into a playbook, and collects what is wrong with it."""

    def __init__(self, file: str, root: Node) -> None:
        self._file, self._root = file, root
        self._problems: list[tuple[int, str]] = []

    def playbook(self, sha256: str) -> Playbook:
        """Return the playbook, or raise `ConfigError` with everything that is wrong."""
        given = plain(self._root)
        for error in _validator().iter_errors(given):
            self._add(*_told(error))
        self._end()
        lists = tuple(given.get("lists", ()))
        seen: list[str] = []
        steps = []
        for number, step in enumerate(given["steps"]):
            if step["id"] in seen:
                self._add(("steps", number, "id"), f'is "{step["id"]}", as of a step before it: expected another name')
            steps.append(self._step(step, ("steps", number), Known(tuple(seen), lists)))
            seen.append(step["id"])
        trigger = self._condition(given, ("trigger",), Known((), lists))
        after = Known(tuple(seen), lists)
        rules = [self._rule(rule, ("outcomes", i), after) for i, rule in enumerate(given["outcomes"])]
        otherwise = self._rule(given["otherwise"], ("otherwise",), after)
        self._end()
        return Playbook(
            given["name"], given["description"].strip(), self._file, sha256, given.get("lists", {}), trigger,
            float(given.get("deadline_s", _DEADLINE_S)), tuple(steps), tuple(rules), otherwise,
        )  # fmt: skip

    def _step(self, given: Mapping[str, Any], place: tuple[Any, ...], known: Known) -> Step:
        action = action_named(given["action"])
        parameters = {one.name: one for one in action.parameters}
        inputs = {
            name: self._input(item, (*place, "with", name), known, parameters[name])
            for name, item in given.get("with", {}).items()
        }
        return Step(given["id"], action, inputs, self._condition(given, (*place, "when"), known))

    def _input(self, item: Any, place: tuple[Any, ...], known: Known, parameter: Parameter) -> Any:
        if isinstance(item, str):
            return self._compiled(query if is_query(parameter) else value, item, place, known)
        if isinstance(item, list):
            return [self._input(one, (*place, number), known, parameter) for number, one in enumerate(item)]
        if isinstance(item, dict):
            return {name: self._input(one, (*place, name), known, parameter) for name, one in item.items()}
        return item

    def _rule(self, given: Mapping[str, Any], place: tuple[Any, ...], known: Known) -> Rule:
        note = self._compiled(text, given["note"].strip(), (*place, "note"), known)
        return Rule(_path(place), given["disposition"], note, self._condition(given, (*place, "when"), known))

    def _condition(self, given: Mapping[str, Any], place: tuple[Any, ...], known: Known) -> Optional[Expression]:
        source = given.get(place[-1])
        return None if source is None else self._compiled(condition, source.strip(), place, known)

    def _compiled(
        self, make: Callable[[str, Known], Expression], source: str, place: tuple[Any, ...],
        known: Known,
    ) -> Expression:  # fmt: skip
        try:
            return make(source, known)
        except TemplateProblem as exc:
            self._add(place, f"cannot be used: {exc}".rstrip("."))
            return text("", Known())

    def _add(self, place: tuple[Any, ...], what: str) -> None:
        line = _line(self._root, place)
        shown = _path(place) or "the file"
        self._problems.append((line, f"{self._file} line {line}, {shown} {what}."))

    def _end(self) -> None:
        if self._problems:
            lines = list(dict.fromkeys(told for _line, told in sorted(self._problems)))
            more = len(lines) - _MOST_PROBLEMS
            kept = lines[:_MOST_PROBLEMS] + ([f"… {more} more like these."] if more > 0 else [])
            raise ConfigError("\n".join(kept))


def _validator() -> Any:
    from jsonschema import Draft202012Validator

    schema = resources.files("cbsigned_playbooks.runner").joinpath("playbook.schema.json").read_text("utf-8")
    return Draft202012Validator(json.loads(schema))


def _told(error: ValidationError) -> tuple[tuple[Any, ...], str]:
    """Return where an error is, and what was expected there."""
    place: tuple[Any, ...] = tuple(error.absolute_path)
    schema: Any = error.schema
    given: Any = error.instance
    if error.validator == "additionalProperties":
        extra = next(name for name in given if name not in schema["properties"])
        return (*place, extra), f"is not known: the keys here are {', '.join(schema['properties'])}"
    if error.validator == "required":
        lacking = next(name for name in schema["required"] if name not in given)
        about = schema["properties"][lacking]["description"]
        return place, f"lacks {lacking}: expected {about}"
    if error.validator == "pattern" and "propertyNames" in error.absolute_schema_path:
        return (*place, given), f"is no name: expected {schema['description']}"
    if error.validator == "maxLength":
        return place, f"is {len(given):,} characters long: expected at most {schema['maxLength']:,}"
    if error.validator in ("maxItems", "minItems"):
        return place, f"has {len(given)} entries: expected {schema['description']}"
    return place, f"is {_shown(given)}: expected {schema.get('description', error.message)}"


def _shown(item: Any) -> str:
    if isinstance(item, str):
        return printable(item, 60)
    kinds = {dict: "a mapping", list: "a list", type(None): "empty"}
    return kinds.get(type(item)) or json.dumps(item)


def _path(place: Sequence[Any]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in place).lstrip(".")


def _key(name: str) -> str:
    return printable(name, 40)[1:-1]


def _line(root: Node, place: Sequence[Any]) -> int:
    """Return the line in which the value at a place begins, or the nearest around it."""
    node = root
    for part in place:
        inner = node.value
        if isinstance(inner, dict):
            node = inner.get(part, node)
        elif isinstance(inner, list):
            node = inner[part]
    return node.line
