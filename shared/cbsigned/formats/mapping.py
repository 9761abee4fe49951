"""Users' own mappings: which paths of a sender's records hold which field, as plain data.

::

    {"crowd": {"md5": ["event.FileMD5"], "host": ["device.name", "device.ip"],
               "parent.sha256": ["event.parents[0].sha256"], "file.md5": ["event.dropped[].md5"]}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, Optional, Union

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.errors import ConfigError
from cbsigned.formats.fields import Record, described
from cbsigned.formats.values import hashes_of, text_of
from cbsigned.observables import printable
from cbsigned.timing import parse_time

__all__ = ["FIELDS", "FieldMapping", "Path", "find", "parse_mappings", "parse_path"]

Path = tuple[Union[str, int, None], ...]
"""Keys, indexes, and None for *every item*."""

_HASHES = ("md5", "sha1", "sha256", "hash")
_PLAIN = ("process_guid", "name", "path", "pid", "host", "user", "cmdline", "started_at")
_ALERT = ("id", "title", "at", "link")
_ROLES = {"file": Role.TARGET_FILE, "module": Role.MODULE, "child": Role.CHILD, "parent": Role.PARENT}
FIELDS = (
    *_HASHES, *_PLAIN, *(f"alert.{name}" for name in _ALERT),
    *(f"{role}.{name}" for role in _ROLES for name in (*_HASHES, *_PLAIN)),
)  # fmt: skip
"""What can be mapped; `hash` takes `MD5=…,SHA256=…`, and a prefix says whose field it is."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
_PART = re.compile(r"([^\[\].]+)|\[(\d{0,6})\]")
_MAX_PATH = 400
_MAX_PATHS = 20
_MAX_FOUND = 100


class _Found(NamedTuple):
    """One value, where it stands, and the item of a list that it belongs to."""

    place: str
    item: str
    value: Any


@dataclass(frozen=True)
class FieldMapping:
    """One sender's mapping, checked; `read` applies it."""

    source: str
    fields: Mapping[str, tuple[tuple[str, Path], ...]]

    def read(self, record: Record) -> Optional[Alert]:
        """Return the alert that the mapped fields give; without sets where they hold nothing to look up."""
        host = self._one(record, "host")
        found = [
            *self._sets(record, "", Role.PROCESS, host),
            *(s for prefix, role in _ROLES.items() for s in self._sets(record, f"{prefix}.", role, host)),
        ]
        told = {name: self._one(record, f"alert.{name}") for name in _ALERT}
        return Alert(
            format=self.source,
            id=text_of(told["id"]),
            title=text_of(told["title"]),
            at=parse_time(told["at"]),
            link=text_of(told["link"]),
            sets=tuple(s for s in found if s.usable),
        )

    def _sets(self, record: Record, prefix: str, role: Role, host: Any) -> Iterator[ObservableSet]:
        """Yield a set for each item of a list that paths with `[]` lead to, and one for what stands alone.

        Values of two items are never put together, and a value that stands alone belongs to no item.
        """
        items: dict[str, dict[str, _Found]] = {}
        for name in (*_HASHES, *_PLAIN):
            for found in self._values(record, f"{prefix}{name}"):
                items.setdefault(found.item, {}).setdefault(name, found)
        for named in items.values():
            if prefix and set(named) == {"host"}:
                continue
            value = {name: found.value for name, found in named.items()}
            given = described(
                role, hashes_of(*(value.get(name) for name in _HASHES)), id=value.get("process_guid"),
                name=text_of(value.get("name")), path=text_of(value.get("path")), pid=value.get("pid"),
                host=text_of(value.get("host", host)), user=text_of(value.get("user")),
                cmdline=text_of(value.get("cmdline")), started_at=parse_time(value.get("started_at")),
            )  # fmt: skip
            yield replace(given, origins=tuple((name, found.place) for name, found in named.items()))

    def _values(self, record: Record, field: str) -> list[_Found]:
        """Return what the first path that finds anything finds."""
        for _text, path in self.fields.get(field, ()):
            found = list(islice((f for f in find(record, path) if f.value is not None), _MAX_FOUND))
            if found:
                return found
        return []

    def _one(self, record: Record, field: str) -> Any:
        return next((found.value for found in self._values(record, field)), None)


def parse_mappings(data: object) -> dict[str, FieldMapping]:
    """Return the mappings of a configuration by source.

    Args:
        data: `{source: {field: path or [paths]}}`; the first path that finds something counts. Paths are keys
            joined by dots, `[2]` is an item and `[]` each of them; a key with a dot of its own is found too.

    Raises:
        ConfigError: It has another shape; the text names the place.
    """
    if not isinstance(data, Mapping):
        raise ConfigError("mappings: expected sources with their fields, as {source: {field: [paths]}}.")
    found = {}
    for source, fields in data.items():
        if not isinstance(source, str) or not _NAME.fullmatch(source):
            raise ConfigError(f"mappings: {printable(str(source), 40)} is no name. Use a-z, 0-9, - and _, at most 40.")
        if not isinstance(fields, Mapping) or not fields:
            raise ConfigError(f"mappings.{source}: expected fields with their paths, as {{md5: [event.md5]}}.")
        found[source] = FieldMapping(source, {_field(source, n): _paths(f"{source}.{n}", p) for n, p in fields.items()})
    return found


def parse_path(text: str) -> Path:
    """Return a path's parts.

    Raises:
        ValueError: It cannot be read; the text says where.
    """
    if len(text) > _MAX_PATH:
        raise ValueError(f"it has more than {_MAX_PATH} characters")
    parts: list[Union[str, int, None]] = []
    at = 0
    while at < len(text):
        if text[at] == "." and 0 < at < len(text) - 1 and text[at + 1] not in ".[":
            at += 1
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"it cannot be read from character {at + 1} on")
        key, index = match.groups()
        parts.append(key if key is not None else int(index) if index else None)
        at = match.end()
    if not parts:
        raise ValueError("it is empty")
    return tuple(parts)


def find(value: Any, path: Path, place: str = "", item: str = "") -> Iterator[_Found]:
    """Yield all that a path leads to; a literal key with dots counts as nested ones."""
    if not path:
        yield _Found(place, item, value)
    elif isinstance(path[0], str):
        if not isinstance(value, Mapping):
            return
        for end in range(1, len(path) + 1):
            if not isinstance(path[end - 1], str):
                return
            key = ".".join(map(str, path[:end]))
            if key in value:
                yield from find(value[key], path[end:], f"{place}.{key}".lstrip("."), item)
                return
    elif isinstance(value, list):
        if path[0] is None:
            for index, inner in enumerate(value):
                here = f"{place}[{index}]"
                yield from find(inner, path[1:], here, here)
        elif path[0] < len(value):
            yield from find(value[path[0]], path[1:], f"{place}[{path[0]}]", item)


def _field(source: str, name: object) -> str:
    if not isinstance(name, str) or name not in FIELDS:
        raise ConfigError(
            f"mappings.{source}: there is no field {printable(str(name), 40)}. Fields: {', '.join(FIELDS[:16])}; "
            f"with file., module., child. or parent. before it where it is theirs."
        )
    return name


def _paths(place: str, given: object) -> tuple[tuple[str, Path], ...]:
    texts = given if isinstance(given, (list, tuple)) else [given]
    if not texts or len(texts) > _MAX_PATHS:
        raise ConfigError(f"mappings.{place}: expected 1 to {_MAX_PATHS} paths.")
    found = []
    for number, text in enumerate(texts):
        where = f"mappings.{place}[{number}]"
        if not isinstance(text, str):
            raise ConfigError(f"{where}: expected a path such as event.file.md5, got {type(text).__name__}.")
        try:
            found.append((text, parse_path(text)))
        except ValueError as exc:
            raise ConfigError(f"{where}: {printable(text, 60)} is no path: {exc}.") from exc
    return tuple(found)
