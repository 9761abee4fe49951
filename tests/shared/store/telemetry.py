"""Telemetry made for one test, stores made from it, and what a store holds apart from its numbering."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cbsigned.store.ingest import IngestReport

Event = dict[str, Any]

SENSOR = 7
MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"
PARENT_MD5 = "c3d2e1f0a9b8c7d65f2b7c0d9e1a4b6f"
AT = 1618925601


def guid_of(pid: int, started: int = 0x01D735E9BB340680) -> str:
    """Return a guid of sensor 7, as the EDR composes it."""
    time = f"{started:016x}"
    return f"{SENSOR:08x}-{pid >> 16:04x}-{pid & 0xFFFF:04x}-{time[:4]}-{time[4:]}"


def event(kind: str, pid: int = 3364, at: int = AT, **members: Any) -> Event:
    """Return a forwarder event as it is written to a file."""
    return {
        "type": f"ingress.event.{kind}", "timestamp": at, "cb_server": "cbserver", "computer_name": "LAB-WS-07",
        "sensor_id": SENSOR, "process_guid": guid_of(pid), "pid": pid, "md5": MD5.upper(),
        "link_process": "https://cbserver/#analyze/x/1", **members,
    }  # fmt: skip


def start(pid: int = 3364, parent: int = 1832, **members: Any) -> Event:
    """Return a process start."""
    given = {
        "path": "c:\\program files\\acme\\updater.exe", "command_line": '"updater.exe" /check', "username": "SYSTEM",
        "event_type": "proc", "parent_process_guid": guid_of(parent), **members,
    }  # fmt: skip
    return event("procstart", pid, **given)


def load(pid: int = 3364, path: str = "c:\\windows\\system32\\ntdll.dll", **members: Any) -> Event:
    """Return an image load."""
    return event("moduleload", pid, **{"path": path, "event_type": "modload", **members})


def write_lines(path: Path, records: Iterable[object]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


Take = Callable[..., tuple[Path, IngestReport]]


def rows(store: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query finds in a store."""
    db = sqlite3.connect(store)
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.close()


_CONTENT = {
    "process": (
        "SELECT hex(p.guid), hex(q.guid), n.value, a.value, hex(b.md5), hex(b.sha256), c.value, u.value, h.value,"
        " o.value, x.value, p.reported, p.ended, p.described, p.flags FROM process p"
        " LEFT JOIN process q ON q.id = p.parent_id"
        " LEFT JOIN name n ON n.id = p.name_id LEFT JOIN path a ON a.id = p.path_id"
        " LEFT JOIN binary b ON b.id = p.binary_id LEFT JOIN cmdline c ON c.id = p.cmdline_id"
        " LEFT JOIN account u ON u.id = p.account_id LEFT JOIN host h ON h.id = p.host_id"
        " LEFT JOIN word o ON o.id = p.os_id LEFT JOIN extra x ON x.id = p.extra_id"
    ),
    "modload": (
        "SELECT hex(p.guid), a.value, hex(b.md5), e.at, x.value FROM modload e JOIN process p ON p.id = e.process_id"
        " JOIN file f ON f.id = e.file_id JOIN path a ON a.id = f.path_id LEFT JOIN binary b ON b.id = f.binary_id"
        " LEFT JOIN extra x ON x.id = e.extra_id"
    ),
    "filemod": (
        "SELECT hex(p.guid), a.value, e.at, e.action, hex(b.md5), e.filetype, x.value FROM filemod e"
        " JOIN process p ON p.id = e.process_id JOIN path a ON a.id = e.path_id"
        " LEFT JOIN binary b ON b.id = e.binary_id LEFT JOIN extra x ON x.id = e.extra_id"
    ),
    "regmod": (
        "SELECT hex(p.guid), a.value, e.at, e.action, x.value FROM regmod e JOIN process p ON p.id = e.process_id"
        " JOIN regpath a ON a.id = e.regpath_id LEFT JOIN extra x ON x.id = e.extra_id"
    ),
    "netconn": (
        "SELECT hex(p.guid), e.at, outbound, protocol, hex(remote_ip), remote_port, hex(local_ip), local_port, d.value,"
        " x.value FROM netconn e JOIN process p ON p.id = e.process_id LEFT JOIN domain d ON d.id = e.domain_id"
        " LEFT JOIN extra x ON x.id = e.extra_id"
    ),
    "childproc": (
        "SELECT hex(p.guid), hex(q.guid), e.at, e.created, a.value, hex(b.md5), x.value FROM childproc e"
        " JOIN process p ON p.id = e.process_id JOIN process q ON q.id = e.child_id"
        " LEFT JOIN file f ON f.id = e.file_id LEFT JOIN path a ON a.id = f.path_id"
        " LEFT JOIN binary b ON b.id = f.binary_id"
        " LEFT JOIN extra x ON x.id = e.extra_id"
    ),
    "crossproc": (
        "SELECT hex(p.guid), hex(q.guid), e.at, w.value, e.access, e.is_target, a.value, hex(b.md5), x.value"
        " FROM crossproc e JOIN process p ON p.id = e.process_id LEFT JOIN process q ON q.id = e.target_id"
        " JOIN word w ON w.id = e.word_id LEFT JOIN file f ON f.id = e.file_id LEFT JOIN path a ON a.id = f.path_id"
        " LEFT JOIN binary b ON b.id = f.binary_id LEFT JOIN extra x ON x.id = e.extra_id"
    ),
    "message": (
        "SELECT k.name, m.at, hex(p.guid), hex(b.md5), m.body FROM message m JOIN kind k ON k.id = m.kind_id"
        " LEFT JOIN process p ON p.id = m.process_id LEFT JOIN binary b ON b.id = m.binary_id"
    ),
    "record": (
        "SELECT hex(b.md5), hex(b.sha256), r.kind, r.word, r.code_text, r.code, r.publisher, r.issuer, r.subject,"
        " r.program_name, r.signed, r.recorded, r.host_count, r.paths, hex(r.digest)"
        " FROM binary_record r JOIN binary b ON b.id = r.binary_id"
    ),
    "seen": (
        "SELECT hex(b.md5), h.value, s.first, s.last FROM bin_host s JOIN binary b ON b.id = s.binary_id"
        " JOIN host h ON h.id = s.host_id"
    ),
    "sensor": "SELECT s.server, s.sensor_id, h.value FROM sensor s JOIN host h ON h.id = s.host_id",
    "kind": "SELECT name, events FROM kind WHERE events > 0",
}


def content(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return everything that a store says, without the numbers it gave."""
    return {name: sorted(rows(store, sql), key=repr) for name, sql in _CONTENT.items()}
