"""Process starts that carry no process id of their own: Windows Security 4688 and Linux auditd → rows.

Their processes get an id made of host, pid and time. `created.join_created` then finds the Sysmon start that a
4688 repeats, and the parents that a pid and a name tell.

References:
    - Microsoft, event 4688: `NewProcessId`, `ProcessId` (the creator's) and `ParentProcessName`, pids as `0x…`, no hash
    - Linux Audit, record types SYSCALL and EXECVE; Security-Datasets sh_arp_cache.zip
"""

from __future__ import annotations

import json
import re
import shlex
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

from cbsigned.observables import parse_pid
from cbsigned.store.events import keep, milliseconds, text_of
from cbsigned.store.ids import made_id
from cbsigned.store.records import moment
from cbsigned.store.rows import Batch, Described, MalformedRecord, Origin, ProcessFact, Rank
from cbsigned.store.windows import WindowsEvent
from cbsigned.timing import format_time, parse_time

__all__ = ["AUDITD", "CREATED", "audit_groups", "is_audit_line", "take_auditd", "take_created"]

CREATED = "windows.4688"
"""Kind under which the store counts Windows' own process starts."""
AUDITD = "auditd"
"""Member that holds the lines of one audit event."""

_LINE = re.compile(
    r"(?:node=(\S{1,255}) )?type=(\w{1,40}) msg=audit\((\d{1,12}\.\d{1,9}):(\d{1,20})\): ?(.*)", re.DOTALL
)
_FIELD = re.compile(r"""(\w[\w-]{0,40})=("[^"]*"|'[^']*'|\S*)""")
_ARGUMENT = re.compile(r"a\d{1,5}")
_MOST_OPEN = 64
_MOST_ARGUMENTS = 2000
_KEPT = (
    "NewProcessId", "NewProcessName", "ProcessId", "ParentProcessName", "CommandLine", "SubjectUserSid",
    "SubjectUserName", "SubjectDomainName", "SubjectLogonId", "TargetUserSid", "TargetUserName", "TargetDomainName",
    "TargetLogonId", "TokenElevationType", "MandatoryLabel",
)  # fmt: skip


def take_created(event: WindowsEvent, batch: Batch) -> None:
    """Add a process start that Windows itself logged; its record is kept, and counted apart from Sysmon's.

    Raises:
        MalformedRecord: It names no process, or not when.
    """
    pid, path = event.number_of("NewProcessId"), event.text("NewProcessName")
    if pid is None or path is None or event.logged is None:
        missing = "NewProcessId" if pid is None else "NewProcessName" if path is None else "time of the log"
        raise MalformedRecord(f"no {missing}")
    guid = made_id(event.host, pid, event.logged)
    told = {name: event.text(name) for name in _KEPT}
    record = {name: value for name, value in told.items() if value is not None}
    keep({**record, "timestamp": format_time(moment(event.logged)), "computer_name": event.host}, CREATED, batch, guid)
    users = ((told[f"{who}DomainName"], told[f"{who}UserName"]) for who in ("Target", "Subject"))
    user = next(("\\".join(part for part in pair if part) for pair in users if pair[1]), None)
    above = {"parent_pid": event.number_of("ProcessId"), "parent_path": event.text("ParentProcessName")}
    batch.facts.append(ProcessFact(
        guid, Rank.START, Described.START, path=path, cmdline=event.text("CommandLine"), user=user,
        origin=event.origin, os_type="windows", reported=event.logged, extra=_extra(above), pid=pid,
        started=event.logged,
    ))  # fmt: skip


def is_audit_line(line: bytes) -> bool:
    """Whether a line is one of auditd's."""
    return _LINE.match(line[:400].decode("utf-8", "replace").strip()) is not None


def audit_groups(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Optional[dict[str, Any]], str]]:
    """Yield audit events: the number of the first line, the event, and an unreadable line's text in place of it.

    Lines of one event share its id and may stand among those of others; at most 64 are kept open.
    """
    open_events: OrderedDict[tuple[Optional[str], str, str], tuple[int, dict[str, Any]]] = OrderedDict()
    for number, line in lines:
        match = _LINE.fullmatch(line.strip())
        if match is None:
            yield number, None, line
            continue
        node, kind, time, serial, rest = match.groups()
        first, event = open_events.setdefault((node, time, serial), (number, {AUDITD: {"time": time, "node": node}}))
        if kind not in event[AUDITD] and len(event[AUDITD]) < _MOST_OPEN:
            event[AUDITD][kind] = rest
        if len(open_events) > _MOST_OPEN:
            first, event = open_events.popitem(last=False)[1]
            yield first, event, ""
    for first, event in open_events.values():
        yield first, event, ""


def take_auditd(record: Mapping[str, Any], batch: Batch) -> bool:
    """Add a program start of Linux auditd; False for an event that is none.

    Raises:
        MalformedRecord: It lacks process id or time.
    """
    event = record[AUDITD]
    if not isinstance(event, Mapping) or "EXECVE" not in event or "SYSCALL" not in event:
        return False
    call = _fields(event["SYSCALL"])
    pid, at = parse_pid(call.get("pid")), milliseconds(parse_time(event.get("time")))
    if pid is None or at is None:
        raise MalformedRecord("no pid" if pid is None else "no time")
    host = text_of(event.get("node"))
    batch.under("auditd.execve").starts.append(ProcessFact(
        made_id(host, pid, at), Rank.START, Described.START, path=call.get("exe"), cmdline=_command(event["EXECVE"]),
        user=call.get("UID") or call.get("uid"), origin=Origin(host, None, None), os_type="linux", reported=at,
        extra=_extra({"parent_pid": parse_pid(call.get("ppid")), "session": call.get("ses")}), pid=pid, started=at,
    ))  # fmt: skip
    return True


def _fields(text: object) -> dict[str, str]:
    """Return `name=value` pairs, unquoted; what is `(null)` is not there."""
    pairs = _FIELD.findall(str(text).replace("\x1d", " "))
    return {name: value.strip("\"'") for name, value in pairs if value not in ("(null)", "", '""')}


def _command(text: object) -> Optional[str]:
    """Return the arguments as a shell would take them; those with odd characters are written in hex, unquoted."""
    found: list[str] = []
    for name, value in _FIELD.findall(str(text)):
        if _ARGUMENT.fullmatch(name) and len(found) < _MOST_ARGUMENTS:
            found.append(value[1:-1] if value[:1] == '"' else _unhex(value))
    return shlex.join(found) if found else None


def _unhex(value: str) -> str:
    try:
        return bytes.fromhex(value).decode("utf-8", "backslashreplace")
    except ValueError:
        return value


def _extra(members: dict[str, Any]) -> Optional[str]:
    told = {name: value for name, value in members.items() if value is not None}
    return json.dumps(told, sort_keys=True, separators=(",", ":")) if told else None
