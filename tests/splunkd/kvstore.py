"""KV store collections in memory: the queries and limits of `storage/collections/data` that the app may use."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Callable

__all__ = ["Collection", "KvError"]

_MOST_SAVED, _MOST_FOUND = 1000, 50_000
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda own, other: own > other,
    "$gte": lambda own, other: own >= other,
    "$lt": lambda own, other: own < other,
    "$lte": lambda own, other: own <= other,
    "$ne": lambda own, other: own != other,
}
_TYPES: dict[str, tuple[type, ...]] = {"number": (int, float), "string": (str,), "bool": (bool,), "time": (int, float)}


class KvError(Exception):
    """What splunkd refuses, with its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Collection:
    """Documents by `_key`.

    Args:
        types: Field → `number`, `string`, `bool`; enforced where `enforce` says so.

    Attributes:
        calls: How often each operation was called.
    """

    def __init__(self, types: Mapping[str, str], enforce: bool) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, int] = {}
        self._types, self._enforce = types, enforce
        self._lock = threading.Lock()

    def find(
        self, query: Any = None, *, skip: int = 0, limit: int = 0, fields: str = "", sort: str = ""
    ) -> list[dict[str, Any]]:
        """Return the documents that a query matches, all without one."""
        with self._lock:
            self._count("find")
            found = [dict(d) for d in self._candidates(query) if query is None or _matches(query, d)]
        for part in reversed([part for part in sort.split(",") if part]):
            name, _, direction = part.partition(":")
            found.sort(key=lambda d: (d.get(name) is not None, d.get(name)), reverse=direction == "-1")
        found = found[skip : skip + (limit or _MOST_FOUND)]
        wanted = [part.partition(":")[0] for part in fields.split(",") if part and not part.endswith(":0")]
        return [{k: v for k, v in d.items() if k in wanted} for d in found] if wanted else found

    def save(self, documents: Any) -> list[str]:
        """Insert or replace documents, as `batch_save` does; return their keys."""
        if not isinstance(documents, list) or not all(isinstance(d, dict) for d in documents):
            raise KvError(400, "JSON in the request is invalid: an array of documents is expected")
        if len(documents) > _MOST_SAVED:
            raise KvError(400, f"The request exceeds the API limit of {_MOST_SAVED} documents per batch_save")
        checked = [self._checked(d) for d in documents]
        with self._lock:
            self._count("save")
            self.documents.update((d["_key"], d) for d in checked)
        return [d["_key"] for d in checked]

    def remove(self, query: Any = None) -> int:
        """Delete what a query matches, everything without one; return how many."""
        with self._lock:
            self._count("remove")
            gone = [key for key, d in self.documents.items() if query is None or _matches(query, d)]
            for key in gone:
                del self.documents[key]
        return len(gone)

    def _candidates(self, query: Any) -> Iterable[dict[str, Any]]:
        """Return the documents that a query may match: by their keys where it names nothing else."""
        parts = query.get("$or") if isinstance(query, dict) and list(query) == ["$or"] else [query]
        if isinstance(parts, list) and all(isinstance(p, dict) and isinstance(p.get("_key"), str) for p in parts):
            return [self.documents[p["_key"]] for p in parts if p["_key"] in self.documents]
        return self.documents.values()

    def _count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1

    def _checked(self, document: dict[str, Any]) -> dict[str, Any]:
        key = document.get("_key") or uuid.uuid4().hex
        if not isinstance(key, str) or len(key) > 1024:
            raise KvError(400, "_key is not a text of up to 1024 characters")
        for name, value in document.items():
            if name.startswith("$") or "." in name:
                raise KvError(400, f"field {name} cannot be stored")
            allowed = _TYPES.get(self._types.get(name, ""))
            if self._enforce and value is not None and allowed and not isinstance(value, allowed):
                raise KvError(400, f"field {name} is not a {self._types[name]}")
        return {"_user": "nobody", **document, "_key": key}


def _matches(query: Any, document: Mapping[str, Any]) -> bool:
    if not isinstance(query, dict):
        raise KvError(400, "the query is not an object")
    return all(_clause(name, wanted, document) for name, wanted in query.items())


def _clause(name: str, wanted: Any, document: Mapping[str, Any]) -> bool:
    if name in ("$or", "$and"):
        if not isinstance(wanted, list) or not wanted:
            raise KvError(400, f"{name} needs a list that is not empty")
        return (any if name == "$or" else all)(_matches(part, document) for part in wanted)
    if name.startswith("$"):
        raise KvError(400, f"unknown operator {name}")
    own = document.get(name)
    if not isinstance(wanted, dict):
        return bool(own == wanted)
    for operator, other in wanted.items():
        if operator not in _COMPARE:
            raise KvError(400, f"unknown operator {operator}")
        comparable = isinstance(own, str) == isinstance(other, str) and own is not None
        if not comparable or not _COMPARE[operator](own, other):
            return False
    return True
