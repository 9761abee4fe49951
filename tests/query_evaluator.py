"""A slow evaluator of queries over plain dictionaries, written to be obviously right: what engines are compared with.

A process is a dictionary of what a document says (names as fields are named) plus its events: `modloads` and
`filemods` as (path, md5) pairs, `regmods` as paths, `netconns` as (address, port, domain), and `parent`, `children` as
processes. A binary is a dictionary of its document. Every field gives a list of values; a clause holds where one of
them matches. Nothing here is shared with the code under test but the tree and the tokenizer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from cbsigned.query.fields import Join, Search, Type
from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.tokens import (
    cmdline_words,
    domain_labels,
    extensions,
    folded_registry_path,
    legacy_cmdline_words,
    sub_paths,
    text_words,
)
from cbsigned.query.tree import (
    And,
    Bare,
    Between,
    Clause,
    During,
    Equals,
    Everything,
    Exists,
    Is,
    Labels,
    Matcher,
    Node,
    Not,
    Or,
    Place,
    SubPath,
    Within,
    Words,
)

__all__ = ["World", "like", "matches"]

Document = Mapping[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class World:
    """Documents to be searched.

    Args:
        processes: Each with `parent` (or None) and `children`.
        binaries: By MD5, those that have a record.
    """

    def __init__(self, processes: Sequence[Document], binaries: Mapping[str, Document]) -> None:
        self.processes, self.binaries = processes, binaries

    def find(self, tree: Node, search: Search) -> list[Document]:
        """Return every document that the tree holds for."""
        documents = self.processes if search is Search.PROCESS else list(self.binaries.values())
        return [document for document in documents if matches(self, document, tree, search)]


def matches(world: World, document: Document, node: Node, search: Search) -> bool:
    """Whether the tree holds for one document."""
    if isinstance(node, And):
        return all(matches(world, document, part, search) for part in node.parts)
    if isinstance(node, Or):
        return any(matches(world, document, part, search) for part in node.parts)
    if isinstance(node, Bare):
        return any(matches(world, document, part, search) for part in node.clauses)
    if isinstance(node, Not):
        return not matches(world, document, node.part, search)
    if isinstance(node, Everything):
        return True
    return any(_holds(node.field.field.type, node.matcher, value) for value in _values(world, document, node, search))


def _values(world: World, document: Document, clause: Clause, search: Search) -> list[Any]:
    name, join = clause.field.field.name, clause.field.join
    if join is not Join.NONE:
        joined = [world.binaries[md5] for md5 in _images(document, join) if md5 in world.binaries]
        return [value for binary in joined for value in _listed(binary.get(name))]
    if search is Search.BINARY:
        return _listed(document.get(name))
    reader = _EVENTS.get(name)
    return _listed(document.get(name)) if reader is None else [value for value in reader(document) if value]


def _images(process: Document, join: Join) -> list[str]:
    return {
        Join.IMAGE: lambda: [process.get("process_md5")],
        Join.PARENT: lambda: [process["parent"].get("process_md5")] if process["parent"] else [],
        Join.CHILD: lambda: [child.get("process_md5") for child in process["children"]],
        Join.MODLOAD: lambda: [md5 for _path, md5 in process["modloads"]],
        Join.FILEWRITE: lambda: [md5 for _path, md5 in process["filemods"]],
    }[join]()


def _parent(name: str) -> Any:
    return lambda process: [process["parent"].get(name)] if process["parent"] else []


_EVENTS: dict[str, Any] = {
    "parent_id": _parent("process_id"),
    "parent_name": _parent("process_name"),
    "parent_md5": _parent("process_md5"),
    "childproc_name": lambda process: [child.get("process_name") for child in process["children"]],
    "childproc_md5": lambda process: [child.get("process_md5") for child in process["children"]],
    "filewrite_md5": lambda process: _images(process, Join.FILEWRITE),
    "md5": lambda process: [md5 for join in Join if join is not Join.NONE for md5 in _images(process, join)],
    "filemod": lambda process: [path for path, _md5 in process["filemods"]],
    "modload": lambda process: [path for path, _md5 in process["modloads"]],
    "regmod": lambda process: process["regmods"],
    "domain": lambda process: [domain for _ip, _port, domain in process["netconns"]],
    "ipaddr": lambda process: [ip for ip, _port, _domain in process["netconns"]],
    "ipv6addr": lambda process: [ip for ip, _port, _domain in process["netconns"]],
    "ipport": lambda process: [port for _ip, port, _domain in process["netconns"]],
}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _holds(type_: Type, matcher: Matcher, value: Any) -> bool:
    if isinstance(matcher, Exists):
        return type_ not in (Type.IPV4, Type.IPV6) or _version(value) == {Type.IPV4: 4, Type.IPV6: 6}[type_]
    if isinstance(matcher, Equals):
        return like(matcher.value, value.lower())
    if isinstance(matcher, Is):
        return bool(value) == matcher.value
    if isinstance(matcher, Between):
        return (matcher.low is None or value >= matcher.low) and (matcher.high is None or value <= matcher.high)
    if isinstance(matcher, During):
        moment = _EPOCH + timedelta(milliseconds=value)
        return (matcher.earliest is None or moment >= matcher.earliest) and (
            matcher.latest is None or moment <= matcher.latest
        )
    if isinstance(matcher, Within):
        return ipaddress.ip_address(value) in matcher.network
    if isinstance(matcher, SubPath):
        path = folded_registry_path(value) if type_ is Type.REGISTRY else value
        return any(like(matcher.path, part) for part in sub_paths(path))
    if isinstance(matcher, Labels):
        return _has_labels(matcher, domain_labels(value))
    return _has_words(type_, matcher, value)


def _version(value: str) -> int:
    return ipaddress.ip_address(value).version


def _has_words(type_: Type, matcher: Words, value: str) -> bool:
    if type_ is Type.TEXT:
        words, beside = text_words(value), []
    elif matcher.legacy:
        words, beside = legacy_cmdline_words(value), []
    else:
        words = cmdline_words(value)
        beside = extensions(words)
    if matcher.together:
        return _neighbours(matcher.words, words) != []
    return all(any(like(wanted, word) for word in [*words, *beside]) for wanted in matcher.words)


def _has_labels(matcher: Labels, labels: list[str]) -> bool:
    last = len(labels) - len(matcher.labels)
    for place in _neighbours(matcher.labels, labels):
        if (
            matcher.place is Place.ANYWHERE
            or (matcher.place is Place.FIRST and place == 0)
            or (matcher.place is Place.LAST and place == last)
            or (matcher.place is Place.MIDDLE and 0 < place < last)
        ):
            return True
    return False


def _neighbours(wanted: Sequence[Glob], words: Sequence[str]) -> list[int]:
    """Return every place from which the words are the wanted ones, one after the other."""
    places = []
    for place in range(len(words)):
        here = words[place : place + len(wanted)]
        if len(here) == len(wanted) and all(like(glob, word) for glob, word in zip(wanted, here)):
            places.append(place)
    return places


def like(glob: Glob, text: str) -> bool:
    """Whether a whole text matches a pattern, by trying everything: a table of which beginnings match which."""
    reach: Optional[set[int]] = {0}
    for character in glob.text:
        assert reach is not None
        if character == MANY:
            reach = set(range(min(reach), len(text) + 1)) if reach else set()
        else:
            reach = {at + 1 for at in reach if at < len(text) and character in (ONE, text[at])}
    return reach is not None and len(text) in reach
