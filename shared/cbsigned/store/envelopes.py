"""Telemetry inside what other programs put around it: Splunk's JSON export, and our own output.

A search head exports `{"preview": false, "result": {…}}` a line, or `{"results": […]}`; the event itself is the
text in `_raw`. `cbsigned enrich` writes `{"alert": {…}, "enrichment": {…}}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

from cbsigned.store.documents import UnknownKind, expand
from cbsigned.store.kinds import kind_of
from cbsigned.store.rows import MalformedRecord
from cbsigned.store.sniff import format_of

__all__ = ["opened"]

Opened = Union[Mapping[str, Any], MalformedRecord, UnknownKind]

_MAX_DEPTH = 6
_DECODER = json.JSONDecoder(parse_constant=lambda _word: None)
_SPLUNK = {"preview", "result", "offset", "lastrow", "init_offset"}


def opened(record: Mapping[str, Any], depth: int = 0) -> Iterator[Opened]:
    """Yield the records that one JSON object holds, whatever is around them; mostly the object itself.

    In place of one that cannot be had there is `MalformedRecord`, or `UnknownKind` where it is no telemetry, so that
    one bad row does not cost the others of its answer.
    """
    try:
        if depth > _MAX_DEPTH:
            raise MalformedRecord(f"wrappers inside wrappers, more than {_MAX_DEPTH} deep")
        inside = _inside(record)
        parts = expand(record) if inside is None else [inside]
    except (MalformedRecord, UnknownKind) as exc:
        yield exc
        return
    if inside is None and _SPLUNK.issuperset(record) and "result" not in record:
        return  # Splunk's last line: {"preview": false, "offset": 9, "lastrow": true}
    for part in parts:
        if part is record:
            yield part
        else:
            yield from opened(part, depth + 1)


def _inside(record: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """Return what a wrapper holds, None where the record is none."""
    if isinstance(record.get("type"), str):
        return None
    result, alert = record.get("result"), record.get("alert")
    if "preview" in record and isinstance(result, Mapping):
        return result
    if isinstance(alert, Mapping) and isinstance(record.get("enrichment"), Mapping):
        return alert
    raw = record.get("_raw")
    if isinstance(raw, str):
        return _parsed(raw)
    if ("_time" in record or "_serial" in record) and kind_of(record) is None:
        raise UnknownKind("Splunk result without _raw: export the raw events")
    return None


def _parsed(raw: str) -> Mapping[str, Any]:
    if raw.lstrip()[:1] != "{":
        raise UnknownKind(f"_raw is {format_of(raw[:2000].encode('utf-8', 'replace'))}")
    try:
        value = _DECODER.decode(raw.strip())
    except (ValueError, RecursionError):
        raise MalformedRecord("_raw is no JSON") from None
    if not isinstance(value, dict):
        raise MalformedRecord("_raw is not a JSON object")
    return value
