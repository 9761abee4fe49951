"""A process's events in the encodings of the event routes v1 to v4.

References:
    - cb-edr-api §3.3
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Optional, Union

from cbsigned.store.activity_reader import Activity, ChildProc, CrossProc, FileMod, ModLoad, NetConn, RegMod, address
from cbsigned.store.records import moment
from cbsigned_connectors.edr_server.dialect import Dialect

__all__ = ["LISTS", "Entry", "entries", "event_time", "lists"]

LISTS = (
    "filemod_complete", "regmod_complete", "modload_complete", "netconn_complete", "childproc_complete",
    "crossproc_complete", "processblock_complete",
)  # fmt: skip

Encoded = Union[str, dict[str, Any]]
Entry = tuple[int, str, Encoded]
"""When, in which list, and the event as it is written there."""

_WORDS = {
    "open_process": ("ProcessOpen", "1"),
    "open_thread": ("ProcessOpen", "2"),
    "remote_thread": ("RemoteThread", "0"),
}


def entries(activity: Activity, version: int, dialect: Dialect) -> list[Entry]:
    """Return all events as a version of the route writes them, in order of time.

    Args:
        activity: What the process did.
        version: Of the event route, 1 to 4.
        dialect: Gives the form of unique ids.
    """
    return sorted(_entries(activity, version, dialect), key=lambda entry: entry[0])


def lists(found: Iterable[Entry]) -> dict[str, list[Encoded]]:
    """Return the events by list; a kind without events has an empty list."""
    made: dict[str, list[Encoded]] = {name: [] for name in LISTS}
    for _at, name, encoded in found:
        made[name].append(encoded)
    return made


def event_time(milliseconds: Optional[int]) -> str:
    """Return a time as events write it, `2016-03-16 04:06:00.061000`, or an empty text for none."""
    at = moment(milliseconds)
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _entries(activity: Activity, version: int, dialect: Dialect) -> Iterator[Entry]:
    yield from ((e.at, "filemod_complete", _filemod(e)) for e in activity.filemods)
    yield from ((e.at, "regmod_complete", _regmod(e)) for e in activity.regmods)
    yield from ((e.at, "modload_complete", _modload(e)) for e in activity.modloads)
    netconn = _netconn_text if version == 1 else _netconn_numbers if version < 4 else _netconn
    yield from ((e.at, "netconn_complete", netconn(e)) for e in activity.netconns)
    for child in activity.childprocs:
        yield child.at, "childproc_complete", _child_text(child, dialect) if version < 3 else _child(child, dialect)
    yield from ((e.at, "crossproc_complete", _crossproc(e, dialect)) for e in activity.crossprocs)
    yield from ((at, "processblock_complete", _block(at, block)) for at, block in activity.blocks)


def _filemod(e: FileMod) -> str:
    parts = [str(e.action), event_time(e.at), e.path, _md5(e.md5, e.extra), str(e.filetype) if e.filetype else ""]
    return "|".join([*parts, _flag(_tampered(e.extra))])


def _modload(e: ModLoad) -> str:
    return "|".join([event_time(e.at), _md5(e.md5, e.extra), e.path, *([e.sha256] if e.sha256 else [])])


def _regmod(e: RegMod) -> str:
    return "|".join([str(e.action), event_time(e.at), e.path, _flag(_tampered(e.extra))])


def _netconn_text(e: NetConn) -> str:
    parts = [event_time(e.at), str(_number(e.remote_ip)), str(e.remote_port), str(e.protocol), e.domain or ""]
    return "|".join([*parts, _flag(e.outbound is not False)])


def _netconn(e: NetConn) -> dict[str, Any]:
    more = {name: value for name, value in e.extra.items() if name in ("ja3", "ja3s", "proxy_ip", "proxy_port")}
    return {
        "timestamp": event_time(e.at), "direction": _flag(e.outbound is not False), "domain": e.domain or "",
        "proto": e.protocol, "remote_ip": address(e.remote_ip), "remote_port": e.remote_port,
        "local_ip": address(e.local_ip), "local_port": e.local_port, "proxy_ip": "", "proxy_port": 0, **more,
    }  # fmt: skip


def _netconn_numbers(e: NetConn) -> dict[str, Any]:
    made = _netconn(e)
    made.update(remote_ip=_number(e.remote_ip), local_ip=_number(e.local_ip), proxy_ip=0)
    return made


def _child_text(e: ChildProc, dialect: Dialect) -> str:
    parts = [event_time(e.at), dialect.unique_id(e.guid, 1), _md5(e.md5, e.extra), e.path or "", str(e.pid or 0)]
    return "|".join([*parts, _flag(e.created is not False), _flag(_tampered(e.extra))])


def _child(e: ChildProc, dialect: Dialect) -> dict[str, Any]:
    ended = e.created is False
    return {
        "processId": dialect.unique_id(e.guid, 1), "md5": _md5(e.md5, e.extra), "sha256": e.sha256 or "",
        "path": e.path or "", "pid": e.pid, "type": "end" if ended else "start",
        "start": event_time(e.started if ended and e.started else e.at), "end": event_time(e.at if ended else e.ended),
        "is_suppressed": e.suppressed, "is_tampered": _tampered(e.extra), "commandLine": e.cmdline or "",
        "userName": e.user or "",
    }  # fmt: skip


def _crossproc(e: CrossProc, dialect: Dialect) -> str:
    kind, subtype = _WORDS.get(e.word, ("ProcessOpen", "1"))
    raw = e.extra.get("target_process_guid")
    other = dialect.unique_id(e.guid, 1) if e.guid else raw if isinstance(raw, str) else ""
    told = e.extra.get("subtype")
    return "|".join([
        kind, event_time(e.at), other, _md5(e.md5, e.extra), e.path or "",
        told if isinstance(told, str) and told.isdigit() else subtype, str(e.access), _flag(_tampered(e.extra)),
        _flag(e.is_target), e.sha256 or "",
    ])  # fmt: skip


def _block(at: int, e: dict[str, Any]) -> str:
    """Return a block as JSON text; the bus and the REST answer name its members differently."""
    names = {
        "block_type": "blocked_reason", "block_event": "blocked_event", "block_result": "blocked_result",
        "block_error": "blocked_error", "blocked_md5": "md5", "blocked_path": "path",
        "blocked_cmdline": "command_line", "blocked_uid": "uid", "blocked_username": "username",
    }  # fmt: skip
    return json.dumps({"timestamp": event_time(at), **{ours: e.get(ours, e.get(bus)) for ours, bus in names.items()}})


def _number(packed: bytes) -> int:
    """Return an IPv4 address as a signed number, 0 for none and for IPv6."""
    return int.from_bytes(packed, "big", signed=True) if len(packed) == 4 else 0


def _md5(md5: Optional[str], extra: dict[str, Any]) -> str:
    raw = extra.get("md5")
    return md5 or (raw if isinstance(raw, str) else "")


def _tampered(extra: dict[str, Any]) -> bool:
    return extra.get("tamper") == "true" or extra.get("is_tampered") is True


def _flag(value: bool) -> str:
    return "true" if value else "false"
