"""CloudEvents 1.0: an envelope around any other alert; what arrives in headers or batches is brought into this form."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Optional
from urllib.parse import unquote

from cbsigned.alert import Alert
from cbsigned.formats.fields import Record, items_of
from cbsigned.formats.jsontext import load
from cbsigned.formats.values import first, first_time

__all__ = ["carried", "from_headers", "key_of", "matches", "read"]

_NEEDED = ("specversion", "type", "source", "id")


def matches(record: Record) -> bool:
    """Whether the record has the four attributes that every event has."""
    return all(name in record for name in _NEEDED)


def read(record: Record) -> Optional[Alert]:
    """Return what the envelope says; its data give the sets.

    References:
        - alert-formats §3.12
    """
    return Alert(
        format="cloudevents",
        kind=first(record, "type"),
        id=first(record, "id"),
        title=first(record, "subject"),
        at=first_time(record, "time"),
    )


def carried(record: Record) -> Sequence[Record]:
    """Return the event's data, from `data` or `data_base64`."""
    data = record.get("data")
    if data is None and isinstance(record.get("data_base64"), str):
        try:
            data = base64.b64decode(record["data_base64"], validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return []
    if isinstance(data, str):
        try:
            data = load(data)
        except ValueError:
            return []
    return items_of(data)


def key_of(record: object) -> Optional[str]:
    """Return what makes an event the same as another, its source and id; None for what is no event."""
    if not isinstance(record, Mapping) or not matches(record):
        return None
    source, identity = first(record, "source"), first(record, "id")
    return f"{source} {identity}" if source and identity else None


def from_headers(headers: Mapping[str, str], data: object) -> Optional[dict[str, Any]]:
    """Return the event that binary mode spreads over `ce-` headers and the body, or None where it is none.

    Args:
        headers: By lower-case name.
        data: The body, read.
    """
    found: dict[str, Any] = {
        name[3:]: unquote(value.strip().strip('"')) for name, value in headers.items() if name.startswith("ce-")
    }
    return {**found, "data": data} if matches(found) else None
