"""Windows event log records, and Sysmon for Linux, in the shapes that collectors give them → one shape.

Which fields a shape has is told by its structure; nothing is taken from a file's name.

References:
    - Security-Datasets, README "Shapes": NXLog (flat), Winlogbeat 6, Log Analytics, Sysmon for Linux
    - the PyPI package `evtx`: `Event.System`, `Event.EventData`; Winlogbeat 7: `winlog`
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional

from cbsigned.observables import parse_pid, parse_process_id
from cbsigned.store.events import milliseconds
from cbsigned.store.rows import MalformedRecord, Origin
from cbsigned.timing import parse_time

__all__ = ["WindowsEvent", "is_windows", "windows_event"]

_NOTHING = {"", "-", "(unknown)"}
_UNKNOWN = re.compile(r"(?:<|&lt;?)\s*unknown process\s*(?:>|&gt;?)\s*", re.IGNORECASE)
_QUARTER = timedelta(minutes=15)
_TAG = re.compile(r"<(EventID|Channel|Computer)>([^<]*)</\1>")
_CREATED = re.compile(r'<TimeCreated SystemTime="([^"<]*)"')
_DATA = re.compile(r'<Data Name="(\w{1,64})">(.*?)</Data>', re.DOTALL)
_MAX_XML = 1 << 20


@dataclass(frozen=True)
class WindowsEvent:
    """One record of an event log.

    Attributes:
        channel: In lower case: `microsoft-windows-sysmon/operational`.
        number: Which event of that channel.
        logged: When the log took it, milliseconds UTC; None where no time of it can be read.
        data: The event's own fields; values are texts, or what JSON made of them.
        message: The same as text, where the collector added it; some shapes lose fields that only it has.
    """

    channel: str
    number: int
    host: Optional[str]
    logged: Optional[int]
    data: Mapping[str, Any]
    message: str = ""

    @property
    def sysmon(self) -> bool:
        """Whether Sysmon logged it, on Windows or Linux."""
        return "sysmon" in self.channel

    @property
    def os_type(self) -> str:
        """`windows` or `linux`, as Carbon Black names them."""
        return "linux" if self.channel.startswith("linux") else "windows"

    @property
    def origin(self) -> Origin:
        """Its host; there is no sensor and no server."""
        return Origin(self.host, None, None)

    def text(self, name: str) -> Optional[str]:
        """Return a field as text, or None where it says nothing; `-` and `<unknown process>` are nothing."""
        value = self.data.get(name)
        if value is None or isinstance(value, (Mapping, list)):
            return None
        text = value if isinstance(value, str) else str(value)
        return None if text.strip().lower() in _NOTHING or _UNKNOWN.fullmatch(text.strip()) else text

    def switch(self, name: str) -> Optional[bool]:
        """Return a field that says true or false, in any case, or None."""
        return {"true": True, "false": False}.get(str(self.data.get(name)).strip().lower())

    def number_of(self, name: str) -> Optional[int]:
        """Return a field as a number: decimal or `0x…`."""
        return parse_pid(self.data.get(name))

    def guid(self, name: str) -> Optional[str]:
        """Return a process GUID as `{…}`, or None where it is missing, no GUID, or all zeros: an unknown process."""
        text = self.text(name)
        return None if text is None else parse_process_id(f"{{{text.strip().strip('{}')}}}")

    def pid(self) -> Optional[int]:
        """Return the subject's process id; where the collector's own field of that name took its place, the text's."""
        found = self.number_of("ProcessId")
        return self.told("ProcessId", r"\d{1,10}", parse_pid) if found is None and self.message else found

    def told(self, name: str, pattern: str, read: Any = str) -> Any:
        """Return a field out of the message text, read by `read`, or None."""
        match = re.search(rf"^{name}: ({pattern})\s*$", self.message[:20_000], re.MULTILINE)
        return read(match.group(1)) if match else None

    def at(self) -> int:
        """Return when it happened: Sysmon's own time, else when it was logged.

        Raises:
            MalformedRecord: It says neither.
        """
        at = milliseconds(parse_time(self.text("UtcTime")))
        at = self.logged if at is None else at
        if at is None:
            raise MalformedRecord("no UtcTime and no time of the log")
        return at


def is_windows(record: Mapping[str, Any]) -> bool:
    """Whether a record is of an event log, in one of the shapes that are read."""
    if "EventID" in record:
        return "Channel" in record or "SourceName" in record
    if "event_id" in record:
        return "log_name" in record
    if "winlog" in record:
        return isinstance(record["winlog"], Mapping)
    if "SyslogMessage" in record:
        return "<Event>" in str(record["SyslogMessage"])[:100]
    inner = record.get("Event")
    return isinstance(inner, Mapping) and isinstance(inner.get("System"), Mapping)


def windows_event(record: Mapping[str, Any]) -> WindowsEvent:
    """Return a record of an event log.

    Raises:
        MalformedRecord: It has no event number, or what should hold its fields cannot be read.
    """
    if "event_id" in record:
        return _beat(record, record)
    if "winlog" in record:
        return _beat(record["winlog"], record)
    if "SyslogMessage" in record:
        return _xml(str(record["SyslogMessage"]))
    if "Event" in record:
        return _evtx(record["Event"])
    data = _inner(record["EventData"]) if isinstance(record.get("EventData"), str) else record
    return WindowsEvent(
        _channel(record.get("Channel") or record.get("SourceName")), _number(record.get("EventID")),
        _host(record, "Hostname", "Computer"), _logged(record), data, _words(record, "Message"),
    )  # fmt: skip


def _beat(fields: Mapping[str, Any], record: Mapping[str, Any]) -> WindowsEvent:
    data = fields.get("event_data")
    return WindowsEvent(
        _channel(fields.get("log_name") or fields.get("channel")), _number(fields.get("event_id")),
        _host(fields, "computer_name"), milliseconds(parse_time(record.get("@timestamp"))),
        data if isinstance(data, Mapping) else {}, _words(record, "message"),
    )  # fmt: skip


def _evtx(event: Mapping[str, Any]) -> WindowsEvent:
    system = event["System"]
    created = _attributes(system.get("TimeCreated"))
    data = event.get("EventData")
    return WindowsEvent(
        _channel(system.get("Channel")), _number(system.get("EventID")), _host(system, "Computer"),
        milliseconds(parse_time(created.get("SystemTime"))), data if isinstance(data, Mapping) else {},
    )  # fmt: skip


def _xml(text: str) -> WindowsEvent:
    """Read one event of Sysmon for Linux, which is XML in name only.

    Recorded ones have bare `&lt ` in them, and syslog cuts long ones off: an XML parser refuses them, so the flat
    fields are searched for, those before the cut too. Only the predefined entities are resolved: there is no
    document type to define others.
    """
    if len(text) > _MAX_XML:
        raise MalformedRecord(f"its XML is longer than {_MAX_XML:,} characters")
    head = dict(_TAG.findall(text.partition("<EventData>")[0]))
    created = _CREATED.search(text)
    data = {name: html.unescape(value) for name, value in _DATA.findall(text)}
    return WindowsEvent(
        _channel(head.get("Channel")), _number(head.get("EventID")), html.unescape(head.get("Computer", "")) or None,
        milliseconds(parse_time(created.group(1))) if created else None, data,
    )  # fmt: skip


def _inner(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, Mapping):
        raise MalformedRecord("its EventData is no JSON object")
    return data


def _logged(record: Mapping[str, Any]) -> Optional[int]:
    """Return when the log took a flat record; NXLog writes local time, whose zone its two receive times tell."""
    created = parse_time(record.get("TimeCreated"))
    local = parse_time(record.get("EventTime"))
    arrived = parse_time(record.get("@timestamp") or record.get("TimeGenerated"))
    if created is None and local is not None:
        received = parse_time(record.get("EventReceivedTime"))
        zone = round((arrived - received) / _QUARTER) * _QUARTER if arrived and received else timedelta(0)
        created = local + zone
    return milliseconds(created or arrived)


def _words(record: Mapping[str, Any], name: str) -> str:
    text = record.get(name)
    return text if isinstance(text, str) else ""


def _attributes(value: object) -> Mapping[str, Any]:
    inner = value.get("#attributes") if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _channel(value: object) -> str:
    return value.strip().lower()[:120] if isinstance(value, str) else ""


def _number(value: object) -> int:
    number = parse_pid(value.get("#text") if isinstance(value, Mapping) else value)
    if number is None:
        raise MalformedRecord("the event has no number")
    return number


def _host(record: Mapping[str, Any], *names: str) -> Optional[str]:
    values = (record.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), None)
