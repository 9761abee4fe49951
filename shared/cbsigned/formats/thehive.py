"""TheHive 5: what its webhook says of an observable; events that our own answers cause are ignored."""

from __future__ import annotations

from typing import Optional

from cbsigned.alert import Alert, Role
from cbsigned.formats.faults import AlertIgnored
from cbsigned.formats.fields import Record, described, items_of, object_of, text_at
from cbsigned.formats.values import first, first_time, hashes_of
from cbsigned.observables import printable

__all__ = ["OWN_ACCOUNT", "matches", "read"]

OWN_ACCOUNT = "cbsigned"
"""Name, before any `@`, of the account that our answers are written with; its events are ignored."""

_OURS = ("tags", "addTags", "removeTags", "reports")


def matches(record: Record) -> bool:
    """Whether the record is an entry of the audit trail."""
    return record.get("_type") == "Audit" and "objectType" in record


def read(record: Record) -> Optional[Alert]:
    """Return the alert of an observable that was made or changed.

    Raises:
        AlertIgnored: Our own account did it, only tags or reports changed, or the object is gone.

    References:
        - alert-formats §3.9: an analyzer's report is itself an update
    """
    _not_ours(record)
    thing = object_of(record.get("object"))
    things = [thing, *items_of(thing.get("observables"))]
    hashes = [hashes_of(item.get("data")) for item in things if item.get("dataType") == "hash"]
    return Alert(
        format="thehive",
        kind=f"{first(record, 'objectType')} {first(record, 'action') or ''}".strip(),
        id=first(record, "requestId"),
        title=text_at(thing, "title", "case.title"),
        at=first_time(record, "_createdAt"),
        sets=tuple(dict.fromkeys(described(Role.TARGET_FILE, found) for found in hashes)),
    )


def _not_ours(record: Record) -> None:
    action = first(record, "action")
    if action == "delete":
        raise AlertIgnored("TheHive says that an object was deleted, so there is nothing to look up.")
    author = first(record, "_createdBy") or ""
    if author.partition("@")[0].lower() == OWN_ACCOUNT:
        raise AlertIgnored(f"The event was caused by our own account {printable(author, 80)}; answering it would loop.")
    details = object_of(record.get("details"))
    changed = [name for name in details if isinstance(name, str) and not name.startswith("_")]
    if action == "update" and changed and all(name in _OURS for name in changed):
        raise AlertIgnored("Only tags or reports changed, as they do after every answer; answering would loop.")
