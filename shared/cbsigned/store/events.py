"""Sensor events of the event forwarder → rows. This is the hot path of ingest: tens of thousands a second.

References:
    - cb-edr-api §10.1, §10.2; recordings cb-response-splunk-app and elastic-integrations
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Callable, Optional

from cbsigned.binary import RecordKind, parse_binary
from cbsigned.observables import is_unknown_parent, parse_guid, parse_md5, parse_pid, parse_sha256
from cbsigned.store.rows import (
    Batch,
    BinaryFact,
    Described,
    Flag,
    MalformedRecord,
    MessageRow,
    Origin,
    ProcessFact,
    Rank,
)
from cbsigned.timing import parse_time

__all__ = ["HANDLERS", "keep", "milliseconds", "origin_of", "packed_ip", "small", "text_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
_COMMON = frozenset({
    "type", "timestamp", "event_timestamp", "cb_server", "computer_name", "hostname", "sensor_id", "process_guid",
    "pid", "md5", "event_type", "link_process", "link_sensor", "process_path",
})  # fmt: skip
_LOAD = _COMMON | {"path", "sha256"}
_FILEMOD = _COMMON | {"path", "action", "actiontype", "filetype", "filetype_name", "file_md5", "file_sha256"}
_REGMOD = _COMMON | {"path", "action", "actiontype"}
_NETCONN = _COMMON | {
    "direction", "domain", "protocol", "remote_ip", "remote_port", "local_ip", "local_port", "ipv4", "port",
}  # fmt: skip
_CHILD = _COMMON | {
    "child_process_guid", "created", "link_child", "path", "child_command_line", "child_username", "child_suppressed",
}  # fmt: skip
_TARGET = {"target_process_guid", "target_md5", "target_pid", "target_create_time"}
_CROSS = (
    _COMMON
    | {"cross_process_type", "requested_acces", "requested_access", "target_path", "link_target", "is_target"}
    | _TARGET
)
_PROC = _COMMON | {
    "path", "command_line", "username", "parent_process_guid", "link_parent", "parent_path", "parent_pid", "parent_md5",
    "parent_sha256", "sha256",
}  # fmt: skip
_FILE_ACTIONS = {"create": 1, "write": 2, "delete": 4, "lastwrite": 8}
_REG_ACTIONS = {"createkey": 1, "writeval": 2, "delkey": 4, "delval": 8}

_guid: Callable[[str], Optional[str]] = lru_cache(maxsize=65536)(parse_guid)
_md5: Callable[[str], Optional[str]] = lru_cache(maxsize=65536)(parse_md5)


def moduleload(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one image load; `md5` is the module's."""
    raw = record.get("md5")
    md5 = _md5(raw) if type(raw) is str else None
    extra = None
    if not record.keys() <= _LOAD or (md5 is None and raw):
        extra = _leftover(record, _LOAD, md5=None if md5 else raw)
    if md5 and "sha256" in record:
        _pair(record.get("sha256"), md5, batch)
    batch.loads.append((_process(record), origin_of(record), _at(record), md5, _path(record), extra))


def filemod(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one change of a file; `md5` is the process image's, `file_md5` (newer) the written file's."""
    own, extra = _own_md5(record, _FILEMOD)
    written = parse_md5(record.get("file_md5"))
    if written:
        _pair(record.get("file_sha256"), written, batch)
    action = small(record.get("actiontype")) or _FILE_ACTIONS.get(str(record.get("action")), 0)
    batch.filemods.append((
        _process(record), own, origin_of(record), _at(record), _path(record), action, written,
        small(record.get("filetype")), extra,
    ))  # fmt: skip


def regmod(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one change of the registry; `md5` is the process image's."""
    own, extra = _own_md5(record, _REGMOD)
    action = small(record.get("actiontype")) or _REG_ACTIONS.get(str(record.get("action")), 0)
    batch.regmods.append((_process(record), own, origin_of(record), _at(record), _path(record), action, extra))


def netconn(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one network connection; addresses may be empty."""
    own, extra = _own_md5(record, _NETCONN)
    outbound = {"outbound": 1, "inbound": 0}.get(str(record.get("direction")).lower(), 2)
    batch.netconns.append((
        _process(record), own, origin_of(record), _at(record), outbound, small(record.get("protocol")),
        packed_ip(record.get("remote_ip") or record.get("ipv4")), small(record.get("remote_port", record.get("port"))),
        packed_ip(record.get("local_ip")), small(record.get("local_port")), text_of(record.get("domain")), extra,
    ))  # fmt: skip


def childproc(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in the start or end of a child; `md5` is the child's, sometimes cut at its first zero byte."""
    parent, origin, at = _process(record), origin_of(record), _at(record)
    raw = record.get("child_process_guid")
    child = _guid(raw) if type(raw) is str else None
    if child is None:
        raise MalformedRecord("child_process_guid is not a process guid")
    md5, path = parse_md5(record.get("md5")), text_of(record.get("path"))
    extra = _leftover(record, _CHILD, md5=None if md5 else record.get("md5"))
    created = record.get("created")
    batch.children.append(
        (parent, origin, at, child, int(created) if isinstance(created, bool) else 2, md5, path, extra)
    )
    batch.facts.append(ProcessFact(
        child, Rank.MENTION, parent_guid=None if is_unknown_parent(parent) else parent, path=path, md5=md5,
        origin=origin,
        cmdline=text_of(record.get("child_command_line")), user=text_of(record.get("child_username")),
        flags=Flag.SUPPRESSED if record.get("child_suppressed") is True else 0,
    ))  # fmt: skip


def crossprocopen(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one opened process or thread."""
    _cross(record, batch, batch.opens, "open_process")


def remotethread(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one thread made in another process."""
    _cross(record, batch, batch.threads, "remote_thread")


def procstart(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one process start. A second start of the same process only fills what the first left open."""
    origin, at = origin_of(record), _at(record)
    fact = _proc(record, origin)._replace(rank=Rank.START, described=Described.START, reported=at)
    batch.starts.append(fact)
    if fact.parent_guid is not None:
        batch.facts.append(ProcessFact(
            fact.parent_guid, Rank.MENTION, path=text_of(record.get("parent_path")),
            md5=parse_md5(record.get("parent_md5")), sha256=parse_sha256(record.get("parent_sha256")), origin=origin,
        ))  # fmt: skip


def procend(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in one process end; it repeats path and MD5 of the start, with an empty command line."""
    fact = _proc(record, origin_of(record))
    batch.ends.append(
        fact._replace(described=Described.END, ended=_at(record), flags=fact.flags | Flag.TERMINATED, extra=None)
    )


def module(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in what the sensor found out of a binary, its signature among it."""
    facts = parse_binary(record, RecordKind.BINARY_INFO_EVENT)
    if facts.md5 is None and facts.sha256 is None:
        raise MalformedRecord("no md5 or sha256")
    message = keep(record, "ingress.event.module", batch, md5=facts.md5)
    batch.binaries.append(BinaryFact(facts, message.digest))
    host, path = origin_of(record).host, text_of(record.get("path") or record.get("utf8_on_disk_filename"))
    if facts.md5 and host and message.at is not None:
        batch.seen.append((facts.md5, host, message.at))
    if facts.md5 and path:
        batch.observed.append((facts.md5, path))


def sensor_message(kind: str) -> Callable[[Mapping[str, Any], Batch], None]:
    """Return a handler that keeps a rare sensor event whole and notes its process."""

    def handler(record: Mapping[str, Any], batch: Batch) -> None:
        raw = record.get("process_guid")
        guid = _guid(raw) if type(raw) is str else None
        _at(record)
        message = keep(record, kind, batch, guid=guid, md5=parse_md5(record.get("md5")))
        if guid is not None:
            own = message.md5 if kind != "ingress.event.processblock" else None
            batch.facts.append(ProcessFact(guid, Rank.MENTION, md5=own, origin=origin_of(record)))

    return handler


HANDLERS: dict[str, Callable[[Mapping[str, Any], Batch], None]] = {
    "ingress.event.moduleload": moduleload,
    "ingress.event.filemod": filemod,
    "ingress.event.regmod": regmod,
    "ingress.event.netconn": netconn,
    "ingress.event.childproc": childproc,
    "ingress.event.crossprocopen": crossprocopen,
    "ingress.event.remotethread": remotethread,
    "ingress.event.procstart": procstart,
    "ingress.event.procend": procend,
    "ingress.event.module": module,
    **{
        kind: sensor_message(kind)
        for kind in (
            "ingress.event.processblock",
            "ingress.event.emetmitigation",
            "ingress.event.tamper",
            "ingress.event.filelessscriptload",
        )
    },
}


def keep(
    record: Mapping[str, Any], kind: str, batch: Batch, guid: Optional[str] = None, md5: Optional[str] = None
) -> MessageRow:
    """Keep a message whole and return its row; the digest of its canonical JSON tells a re-delivery."""
    body = json.dumps(record, sort_keys=True, separators=(",", ":"))
    moment = next(
        (t for t in map(parse_time, map(record.get, ("timestamp", "event_timestamp", "created_time"))) if t), None
    )
    at = milliseconds(moment)
    row = MessageRow(kind, blake2b(f"{kind}\n{body}".encode(), digest_size=16).digest(), at, guid, md5, body)
    batch.messages.append(row)
    batch.weight += len(body)
    return row


def milliseconds(moment: Optional[datetime]) -> Optional[int]:
    """Return a time as the store writes it."""
    return None if moment is None else (moment - _EPOCH) // _MILLISECOND


def origin_of(record: Mapping[str, Any]) -> Origin:
    """Return host, sensor and server of a record."""
    host = record.get("computer_name") or record.get("hostname")
    sensor, server = record.get("sensor_id"), record.get("cb_server")
    plain = type(sensor) is int and type(host) is str and (server is None or type(server) is str)
    if not plain:
        host, server, sensor = text_of(host), text_of(server), parse_pid(sensor)
    return _origin(host, sensor, server)


@lru_cache(maxsize=4096)
def _origin(host: Optional[str], sensor: Optional[int], server: Optional[str]) -> Origin:
    return Origin(text_of(host), parse_pid(sensor), text_of(server))


def text_of(value: object) -> Optional[str]:
    """Return a text with something in it, or None; `(unknown)` is the vendor's way of writing nothing."""
    if type(value) is not str or not value.strip() or value.strip().lower() == "(unknown)":
        return None
    return value


def small(value: object) -> int:
    """Return a number below 2³², as an int or decimal text, else 0."""
    return parse_pid(value) or 0


def packed_ip(value: object) -> bytes:
    """Return an address packed into 4 or 16 bytes, or nothing for no address; ints are the server's signed form."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value & 0xFFFFFFFF).to_bytes(4, "big") if -(2**31) <= value < 2**32 else b""
    if not isinstance(value, str) or not value:
        return b""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)
    except (OSError, ValueError):
        return b""


def _process(record: Mapping[str, Any]) -> str:
    raw = record.get("process_guid")
    guid = _guid(raw) if type(raw) is str else None
    if guid is None:
        raise MalformedRecord("process_guid is not a process guid")
    return guid


def _at(record: Mapping[str, Any]) -> int:
    value = record.get("timestamp")
    if type(value) is int and 0 < value < 10_000_000_000:
        return value * 1000
    at = milliseconds(parse_time(record.get("event_timestamp") if value is None else value))
    if at is None:
        raise MalformedRecord("timestamp is not a time")
    return at


def _path(record: Mapping[str, Any]) -> str:
    path = record.get("path")
    if type(path) is not str or not path:
        raise MalformedRecord("no path")
    return path


def _own_md5(record: Mapping[str, Any], known: frozenset[str]) -> tuple[Optional[str], Optional[str]]:
    """Return the process image's MD5, and the members without a column as JSON."""
    raw = record.get("md5")
    md5 = _md5(raw) if type(raw) is str else None
    if (md5 is not None or not raw) and record.keys() <= known:
        return md5, None
    return md5, _leftover(record, known, md5=None if md5 else raw)


def _leftover(record: Mapping[str, Any], known: frozenset[str], md5: object = None) -> Optional[str]:
    rest = {name: value for name, value in record.items() if name not in known}
    if md5:
        rest["md5"] = md5
    return json.dumps(rest, sort_keys=True, separators=(",", ":")) if rest else None


def _pair(sha256: object, md5: str, batch: Batch) -> None:
    parsed = parse_sha256(sha256)
    if parsed:
        batch.hashes.append((md5, parsed))


def _cross(record: Mapping[str, Any], batch: Batch, rows: list[Any], default: str) -> None:
    own, extra = _own_md5(record, _CROSS)
    guid, origin, at = _process(record), origin_of(record), _at(record)
    raw = record.get("target_process_guid")
    target = _guid(raw) if type(raw) is str else None
    md5, path = parse_md5(record.get("target_md5")), text_of(record.get("target_path"))
    if target is None or (md5 is None and record.get("target_md5")):
        extra = _leftover(record, _CROSS - _TARGET, md5=None if own else record.get("md5"))
    access = record.get("requested_access", record.get("requested_acces"))
    reverse = record.get("is_target")
    rows.append((
        guid, own, origin, at, text_of(record.get("cross_process_type")) or default, target, small(access),
        int(reverse) if isinstance(reverse, bool) else 2, md5, path, extra,
    ))  # fmt: skip
    if target is not None:
        batch.facts.append(ProcessFact(target, Rank.MENTION, path=path, md5=md5, origin=origin))


def _proc(record: Mapping[str, Any], origin: Origin) -> ProcessFact:
    """Read what start and end have in common."""
    raw = record.get("parent_process_guid")
    parent = _guid(raw) if type(raw) is str else None
    unknown = parent is not None and is_unknown_parent(parent)
    own, extra = _own_md5(record, _PROC)
    return ProcessFact(
        _process(record), Rank.END, parent_guid=None if unknown else parent, path=text_of(record.get("path")),
        md5=own, sha256=parse_sha256(record.get("sha256")), cmdline=text_of(record.get("command_line")),
        user=text_of(record.get("username")), origin=origin, flags=Flag.PARENT_UNKNOWN if unknown else 0, extra=extra,
    )  # fmt: skip
