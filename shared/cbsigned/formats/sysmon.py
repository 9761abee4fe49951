"""Windows events that Sigma tools quote: whose `Hashes` are depends on the event; ids are never Carbon Black's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.formats.claims import sysmon_claim
from cbsigned.formats.fields import NO_HASHES, Record, described, kept
from cbsigned.formats.values import first, first_time, hashes_of

__all__ = ["FILE_EVENTS", "matches", "read", "sets_of"]

FILE_EVENTS = {
    6: (Role.MODULE, "ImageLoaded"),
    7: (Role.MODULE, "ImageLoaded"),
    15: (Role.TARGET_FILE, "TargetFilename"),
    23: (Role.TARGET_FILE, "TargetFilename"),
    26: (Role.TARGET_FILE, "TargetFilename"),
    27: (Role.TARGET_FILE, "TargetFilename"),
    28: (Role.TARGET_FILE, "TargetFilename"),
    29: (Role.TARGET_FILE, "TargetFilename"),
}
"""Sysmon's events whose hashes are another file's than the process's, and where its path stands."""

_CLIPBOARD = 24  # its hash is that of the text that was copied: no file's

_IMAGES = ("Image", "NewProcessName", "SourceImage", "ProcessName")
_GUIDS = ("ProcessGuid", "SourceProcessGuid", "SourceProcessGUID")


def matches(record: Record) -> bool:
    """Whether this is one event, flat, whose hashes are not its process's; others are read well as rows."""
    if "EventID" not in record or not ("Hashes" in record or "Hash" in record):
        return False
    number = event_number(record.get("EventID"))
    event = FILE_EVENTS.get(number or 0)
    return number == _CLIPBOARD or (event is not None and event[1] in record)


def read(record: Record) -> Optional[Alert]:
    """Return the alert of one flat event."""
    host = first(record, "Hostname", "Computer", "ComputerName", "host", "dest")
    return Alert(
        format="windows-event",
        kind=f"event {event_number(record.get('EventID'))}",
        title=first(record, "RuleTitle", "RuleName", "search_name"),
        at=first_time(record, "UtcTime", "TimeCreated", "_time", "@timestamp"),
        sets=tuple(sets_of(event_number(record.get("EventID")), record, host)),
    )


def event_number(value: object) -> Optional[int]:
    """Return an event's number from a number, a text, or the object that XML readers make (`{"#text": 1}`)."""
    if isinstance(value, Mapping):
        value = value.get("#text")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7 else None


def sets_of(number: Optional[int], data: Mapping[str, Any], host: Optional[str]) -> list[ObservableSet]:
    """Return the process of an event, and its parent or the file that the event is about.

    Args:
        number: Sysmon's or Windows' event number, None where it is not given.
        data: The event's own fields, under the names that Windows gives them.
        host: Where it was logged.
    """
    hashes = hashes_of(data.get("Hashes"), data.get("Hash"))
    file = FILE_EVENTS.get(number or 0)
    path = first(data, *_IMAGES)
    new = data.get("NewProcessId")
    own = NO_HASHES if file or number == _CLIPBOARD else hashes
    acting = described(
        Role.PROCESS, own, id=first(data, *_GUIDS), own=False, path=path,
        pid=new if new is not None else first(data, "ProcessId", "SourceProcessId"), host=host,
        user=first(data, "User", "SourceUser", "TargetUserName", "SubjectUserName"),
        cmdline=first(data, "CommandLine"),
        started_at=first_time(data, "UtcTime") if number == 1 else None,
        claimed=None if file else _claim(data),
    )  # fmt: skip
    parent = described(
        Role.PARENT, id=first(data, "ParentProcessGuid"), own=False, path=first(data, "ParentImage"),
        pid=data.get("ParentProcessId"), host=host, user=first(data, "ParentUser"),
        cmdline=first(data, "ParentCommandLine"),
    )  # fmt: skip
    found = [acting] if acting.usable else []
    if file is not None:
        role, where = file
        other = described(role, hashes, path=first(data, where), host=host, claimed=_claim(data))
        found += [other] if kept(other) else []
    return found + ([parent] if kept(parent) else [])


def _claim(data: Mapping[str, Any]) -> Any:
    return sysmon_claim(data.get("Signed"), data.get("Signature"), data.get("SignatureStatus"))
