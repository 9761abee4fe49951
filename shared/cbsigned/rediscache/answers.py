"""What a source answers, as text and back: so that one host's answer is another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Callable, Optional

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.codec import decode_process, encode
from cbsigned.errors import BinaryNotFound, NotFound, ProcessNotFound, SourceError
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import Relatives
from cbsigned.timing import parse_time

__all__ = ["WRITINGS", "Writing", "digest_of"]

_RECORD_FIELDS = {field.name for field in fields(BinaryRecord)}


@dataclass(frozen=True)
class Writing:
    """How the answers to one question are written.

    Attributes:
        write, read: An answer as JSON types, and back; `read` raises `ValueError`, `KeyError` or `TypeError`.
        missing: What a source says where it has no such thing.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    missing: type[NotFound] = ProcessNotFound

    def text_of(self, answer: object) -> Optional[str]:
        """Return an answer as text; None for a failure, which is nobody else's."""
        if isinstance(answer, SourceError):
            return json.dumps({"missing": str(answer)}) if isinstance(answer, NotFound) else None
        return json.dumps({"answer": self.write(answer)}, separators=(",", ":"))

    def answer_of(self, text: bytes) -> Any:
        """Return the answer that a text holds.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It holds none, another version's perhaps.
        """
        data = json.loads(text)
        return self.missing(str(data["missing"])) if "missing" in data else self.read(data["answer"])


def digest_of(item: object) -> str:
    """Return a short name for what is asked for; a sighting holds host names, which need not be in a key."""
    return hashlib.sha256(repr(item).encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _plain(record: object) -> Any:
    return json.loads(encode(record))


def _record(data: Any) -> BinaryRecord:
    known = {name: value for name, value in data.items() if name in _RECORD_FIELDS}
    known["kind"] = RecordKind(known["kind"])
    for name in ("signed_at", "recorded_at"):
        known[name] = parse_time(known.get(name))
    known["paths"] = tuple(known.get("paths", ()))
    return BinaryRecord(**known)


def _process(data: Any) -> Any:
    return decode_process(json.dumps(data))


def _all(write: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda items: [write(item) for item in items]


def _tuple(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda items: tuple(read(item) for item in items)


def _relatives(data: Any) -> Relatives:
    gap = data["gap"]
    found = Gap(gap["about"], Cause(gap["cause"]), gap["reason"]) if gap is not None else None
    return Relatives(_tuple(_process)(data["nodes"]), int(data["total"]), found)


def _relatives_written(found: Relatives) -> dict[str, Any]:
    gap = _plain(found.gap) if found.gap is not None else None
    return {"nodes": _all(_plain)(found.nodes), "total": found.total, "gap": gap}


WRITINGS = {
    "binaries": Writing(_all(_plain), _tuple(_record), BinaryNotFound),
    "processes": Writing(_plain, _process),
    "candidates": Writing(_all(_plain), _tuple(_process)),
    "children": Writing(_relatives_written, _relatives),
    "joint": Writing(bool, bool),
}
"""By question, named as in `Front`."""
