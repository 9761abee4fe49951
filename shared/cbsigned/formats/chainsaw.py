"""Chainsaw: what a Sigma rule hit, each hit with the Windows events that made it."""

from __future__ import annotations

from typing import Optional

from cbsigned.alert import Alert
from cbsigned.formats.fields import Record, get, items_of, object_of, text_at
from cbsigned.formats.sysmon import event_number, sets_of
from cbsigned.formats.values import first, first_time

__all__ = ["matches", "read"]


def matches(record: Record) -> bool:
    """Whether the record has a group and quotes one document or several."""
    if "group" not in record:
        return False
    return bool(get(record, "document.data.Event")) or isinstance(record.get("documents"), list)


def read(record: Record) -> Optional[Alert]:
    """Return the alert; the sets of all events that it quotes.

    References:
        - alert-formats §3.11
    """
    found = []
    for document in [*items_of(record.get("document")), *items_of(record.get("documents"))]:
        event = object_of(get(document, "data.Event"))
        data = object_of(event.get("EventData"))
        number = event_number(get(event, "System.EventID"))
        found += sets_of(number, data, text_at(event, "System.Computer"))
    return Alert(
        format="chainsaw",
        kind=first(record, "kind"),
        id=first(record, "id"),
        title=first(record, "name"),
        at=first_time(record, "timestamp"),
        sets=tuple(dict.fromkeys(found)),
    )
