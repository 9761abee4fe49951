"""Cortex XSOAR: its generic incident, with the alert itself inside `raw_json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from cbsigned.alert import Alert
from cbsigned.formats.fields import Record, items_of, object_of
from cbsigned.formats.jsontext import load
from cbsigned.formats.values import first, first_time

__all__ = ["carried", "matches", "read"]

_RAW = ("raw_json", "rawJSON")
_OWN = (*_RAW, "labels", "CustomFields", "id", "name", "type")


def matches(record: Record) -> bool:
    """Whether the record has a raw alert, and a name or a type."""
    return any(name in record for name in _RAW) and ("name" in record or "type" in record)


def read(record: Record) -> Optional[Alert]:
    """Return what the incident says; what it carries gives the sets.

    References:
        - alert-formats §3.10
    """
    return Alert(
        format="xsoar",
        kind=first(record, "type"),
        id=first(record, "id"),
        title=first(record, "name"),
        at=first_time(record, "occurred", "created"),
    )


def carried(record: Record) -> Sequence[Record]:
    """Return the raw alert; without one, the incident's custom fields, labels and own fields as one row."""
    for name in _RAW:
        raw = record.get(name)
        if isinstance(raw, str):
            try:
                raw = load(raw)
            except ValueError:
                continue
        if isinstance(raw, (Mapping, list)):
            return items_of(raw)
    row: dict[str, Any] = {name: value for name, value in record.items() if name not in _OWN}
    for label in items_of(record.get("labels")):
        row.setdefault(str(label.get("type")), label.get("value"))
    row.update(object_of(record.get("CustomFields")))
    return [row] if row else []
