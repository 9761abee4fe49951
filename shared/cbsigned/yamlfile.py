"""A YAML file as plain values, each with its line: no tags, no aliases, no key twice, bounded in size and depth.

The only module of the core that needs PyYAML; what reads such files imports it where it needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import yaml
from yaml.constructor import SafeConstructor

from cbsigned.errors import ConfigError
from cbsigned.observables import printable

__all__ = ["Node", "plain", "read_yaml", "read_yaml_file"]

_MOST_BYTES = 1024 * 1024
_MOST_NODES = 50_000
_DEEPEST = 20
_SCALARS = SafeConstructor()
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


@dataclass(frozen=True)
class Node:
    """A value and the line that it begins in, from 1."""

    value: Union[str, int, float, bool, list[Node], dict[str, Node], None]
    line: int


def read_yaml_file(path: Path) -> Node:
    """Return what a file holds; an empty one holds None.

    Raises:
        ConfigError: It cannot be read; the text names the file and the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"Cannot read {path}: {exc.strerror}.") from exc
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: byte {exc.start} is none of its. Save it as UTF-8.") from None
    return read_yaml(text, str(path))


def read_yaml(text: str, name: str) -> Node:
    """Return what a text holds.

    Args:
        name: Of the file, for messages.

    Raises:
        ConfigError: It is no YAML that we read; the text names the line.
    """
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"{name} is larger than {_MOST_BYTES} characters: this is no file of ours.")
    try:
        _check_events(text, name)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return Node(None, 1) if root is None else _node(root, name)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line} is no YAML: {exc.problem or exc.context}.") from None
    except yaml.YAMLError as exc:
        raise ConfigError(f"{name} is no YAML: {str(exc).splitlines()[0]}.") from None


def plain(node: Node) -> Any:
    """Return a node's value without lines."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def _check_events(text: str, name: str) -> None:
    """Refuse what could grow, or run, when it is read; before anything is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        place = f"{name} line {event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(f"{place}: anchors and aliases (& and *) are not read. Write the value out.")
        if getattr(event, "tag", None):
            raise ConfigError(f"{place}: tags (!) are not read. Write the plain value.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or count > _MOST_NODES:
            raise ConfigError(f"{place}: this is nested or long beyond any file of ours.")


def _node(node: yaml.Node, name: str) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return Node(dict(_pairs(node, name)), line)
    if isinstance(node, yaml.SequenceNode):
        return Node([_node(item, name) for item in node.value], line)
    if node.tag not in _PLAIN_TAGS:  # a date, for example
        return Node(str(node.value), line)
    try:
        return Node(_SCALARS.construct_object(node), line)  # type: ignore[no-untyped-call,unused-ignore]
    except (ValueError, OverflowError):
        return Node(str(node.value), line)


def _pairs(node: yaml.MappingNode, name: str) -> Iterator[tuple[str, Node]]:
    seen = set()
    for key_node, value_node in node.value:
        place = f"{name} line {key_node.start_mark.line + 1}"
        key = _node(key_node, name).value
        if not isinstance(key, str):
            raise ConfigError(
                f"{place}: a key is not a text. Put it in quotes: YAML reads on, off, yes and no as switches."
            )
        if key in seen:
            raise ConfigError(f"{place}: {printable(key, 40)} stands here a second time. Keep one of them.")
        seen.add(key)
        yield key, _node(value_node, name)
