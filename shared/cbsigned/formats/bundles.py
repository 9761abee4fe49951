"""Envelopes around several alerts: the event forwarder's bundles, Kibana's lists, answers of search APIs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Optional, Union

from cbsigned.errors import AlertError
from cbsigned.formats import cloudevents
from cbsigned.formats.fields import Record, get
from cbsigned.formats.jsontext import load

__all__ = ["carries_list", "is_bundle", "records_of"]

_LISTS = ("alerts", "context.alerts", "results", "value", "entries")
_BESIDE = ("rule", "context", "comments", "customTags", "systemTags", "metadata")
_OF_TEXTS = ("alerts", "entries")
_TEXTS = ("EventText", "eventText", "event_text", "logText")
_OWN = ("md5", "docs", "process_guid", "cef", "artifacts", "evidence", "Entities", "object", "class_uid", "alert_type")


def is_bundle(record: Record) -> bool:
    """Whether a record only carries a list of alerts, which may be empty."""
    return _list(record) is not None


def carries_list(record: Record) -> bool:
    """Whether a record is a bundle, or a CloudEvent whose data are a bundle or a list."""
    data = record.get("data") if cloudevents.matches(record) else record
    return isinstance(data, list) or (isinstance(data, Mapping) and is_bundle(data))


def records_of(record: Record) -> list[Union[Mapping[str, Any], AlertError]]:
    """Return the alerts that a record carries, or the record itself; an empty bundle gives none.

    The forwarder's `EventText`, which may be base64, is unpacked. In place of what is no alert stands the error.

    References:
        - alert-formats §3.7: empty bundles are sent by default; §3.5: alerts stand in `context.alerts`
        - cb-event-forwarder `newUploadEvent`: base64 of the event's JSON
    """
    items = _list(record)
    if items is None:
        return _event_data(record)
    return [_item(item, number) for number, item in enumerate(items, 1)]


def _list(record: Record) -> Optional[list[Any]]:
    if any(name in record for name in _OWN) or cloudevents.matches(record):
        return None
    for path in _LISTS:
        items = get(record, path)
        if not isinstance(items, list) or ("." not in path and not _alone(items, record)):
            continue
        if all(isinstance(item, (Mapping, str) if path in _OF_TEXTS else Mapping) for item in items):
            return items
    return None


def _alone(items: list[Any], record: Record) -> bool:
    """Whether a list is the only thing in a record that can hold anything, but for what says how it came about."""
    others = [n for n, value in record.items() if isinstance(value, (Mapping, list)) and value is not items]
    return all(name in _BESIDE for name in others)


def _event_data(record: Record) -> list[Union[Mapping[str, Any], AlertError]]:
    """Return one event for each of its data, where they are a list or a bundle."""
    if not cloudevents.matches(record):
        return [_item(record, 1)]
    data = record.get("data")
    inner = _list(data) if isinstance(data, Mapping) else data
    if not isinstance(inner, list):
        return [record]
    items = [_item(item, number) for number, item in enumerate(inner, 1)]
    return [item if isinstance(item, AlertError) else {**record, "data": item} for item in items]


def _item(item: object, number: int) -> Union[Mapping[str, Any], AlertError]:
    text: object = item
    if isinstance(item, Mapping):
        text = next((item[name] for name in _TEXTS if isinstance(item.get(name), str)), None)
        if text is None:
            return item
    unpacked = _unpacked(text) if isinstance(text, str) else None
    if unpacked is not None:
        return unpacked
    return item if isinstance(item, Mapping) else AlertError(f"Item {number} of the body is no JSON object.")


def _unpacked(text: str) -> Optional[Mapping[str, Any]]:
    """Return the object of a JSON text, plain or base64."""
    try:
        if not text.lstrip().startswith("{"):
            text = base64.b64decode(text, validate=True).decode("utf-8")
        value = load(text)
    except (binascii.Error, ValueError):
        return None
    return value if isinstance(value, Mapping) else None
