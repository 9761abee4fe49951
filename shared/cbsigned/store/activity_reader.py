"""What one process did, read back from the store: loads, file, registry and network events, children, cross processes.

The counterpart of `activity`, which takes the same events in.
"""

from __future__ import annotations

import json
import socket
import sqlite3
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from cbsigned.store.ids import unpack
from cbsigned.store.rows import Described, Flag

__all__ = [
    "Activity", "ChildProc", "CrossProc", "FileMod", "ModLoad", "NetConn", "RegMod", "activity_of", "address",
]  # fmt: skip

Extra = dict[str, Any]
"""Members of an event that have no column."""


class ModLoad(NamedTuple):
    """One image load."""

    at: int
    md5: Optional[str]
    sha256: Optional[str]
    path: str
    extra: Extra


class FileMod(NamedTuple):
    """One change of a file; `action` 1 created, 2 first write, 4 deleted, 8 last write."""

    at: int
    action: int
    path: str
    md5: Optional[str]
    filetype: int
    extra: Extra


class RegMod(NamedTuple):
    """One change of the registry; `action` 1 key made, 2 value written, 4 key deleted, 8 value deleted."""

    at: int
    action: int
    path: str
    extra: Extra


class NetConn(NamedTuple):
    """One connection; addresses are 4 or 16 bytes, or none; `outbound` None where the event does not tell."""

    at: int
    outbound: Optional[bool]
    protocol: int
    remote_ip: bytes
    remote_port: int
    local_ip: bytes
    local_port: int
    domain: Optional[str]
    extra: Extra


class ChildProc(NamedTuple):
    """A child's start or end; `created` None where the event does not tell."""

    at: int
    guid: str
    pid: Optional[int]
    created: Optional[bool]
    md5: Optional[str]
    sha256: Optional[str]
    path: Optional[str]
    cmdline: Optional[str]
    user: Optional[str]
    started: Optional[int]
    ended: Optional[int]
    suppressed: bool
    extra: Extra


class CrossProc(NamedTuple):
    """An opened process or thread, or a thread made in another process; `guid` None where it is not told.

    `word` is `open_process`, `open_thread`, `remote_thread` or what the sensor wrote instead.
    """

    at: int
    word: str
    guid: Optional[str]
    md5: Optional[str]
    sha256: Optional[str]
    path: Optional[str]
    access: int
    is_target: bool
    extra: Extra


@dataclass
class Activity:
    """All events of one process, each kind in order of time; times are milliseconds since 1970.

    Attributes:
        blocks: Messages of processes that were blocked, as kept.
        binaries: Numbers of the image, and of loaded and written files.
    """

    modloads: list[ModLoad] = field(default_factory=list)
    filemods: list[FileMod] = field(default_factory=list)
    regmods: list[RegMod] = field(default_factory=list)
    netconns: list[NetConn] = field(default_factory=list)
    childprocs: list[ChildProc] = field(default_factory=list)
    crossprocs: list[CrossProc] = field(default_factory=list)
    blocks: list[tuple[int, Extra]] = field(default_factory=list)
    binaries: list[int] = field(default_factory=list)


_MODLOADS = """
SELECT e.at, b.md5, b.sha256, p.value, x.value FROM modload e JOIN file f ON f.id = e.file_id
JOIN path p ON p.id = f.path_id LEFT JOIN binary b ON b.id = f.binary_id LEFT JOIN extra x ON x.id = e.extra_id
WHERE e.process_id = ? ORDER BY e.at, p.value"""
_FILEMODS = """
SELECT e.at, e.action, p.value, b.md5, e.filetype, x.value FROM filemod e JOIN path p ON p.id = e.path_id
LEFT JOIN binary b ON b.id = e.binary_id LEFT JOIN extra x ON x.id = e.extra_id
WHERE e.process_id = ? ORDER BY e.at, p.value, e.action"""
_REGMODS = """
SELECT e.at, e.action, p.value, x.value FROM regmod e JOIN regpath p ON p.id = e.regpath_id
LEFT JOIN extra x ON x.id = e.extra_id WHERE e.process_id = ? ORDER BY e.at, p.value, e.action"""
_NETCONNS = """
SELECT e.at, e.outbound, e.protocol, e.remote_ip, e.remote_port, e.local_ip, e.local_port, d.value, x.value
FROM netconn e LEFT JOIN domain d ON d.id = e.domain_id LEFT JOIN extra x ON x.id = e.extra_id
WHERE e.process_id = ? ORDER BY e.at, e.remote_ip, e.remote_port"""
_CHILDPROCS = """
SELECT e.at, c.guid, c.pid, e.created, coalesce(b.md5, cb.md5), coalesce(b.sha256, cb.sha256),
       coalesce(nullif(p.value, ''), cp.value), cl.value, a.value, c.started, c.ended, c.flags, c.described, x.value
FROM childproc e JOIN process c ON c.id = e.child_id
LEFT JOIN file f ON f.id = e.file_id LEFT JOIN path p ON p.id = f.path_id LEFT JOIN binary b ON b.id = f.binary_id
LEFT JOIN binary cb ON cb.id = c.binary_id LEFT JOIN path cp ON cp.id = c.path_id
LEFT JOIN cmdline cl ON cl.id = c.cmdline_id LEFT JOIN account a ON a.id = c.account_id
LEFT JOIN extra x ON x.id = e.extra_id WHERE e.process_id = ? ORDER BY e.at, c.guid, e.created DESC"""
_CROSSPROCS = """
SELECT e.at, w.value, t.guid, b.md5, b.sha256, p.value, e.access, e.is_target, x.value
FROM crossproc e JOIN word w ON w.id = e.word_id LEFT JOIN process t ON t.id = e.target_id
LEFT JOIN file f ON f.id = e.file_id LEFT JOIN path p ON p.id = f.path_id LEFT JOIN binary b ON b.id = f.binary_id
LEFT JOIN extra x ON x.id = e.extra_id WHERE e.process_id = ? ORDER BY e.at, t.guid, e.access"""
_BLOCKS = """
SELECT m.at, m.body FROM message m JOIN kind k ON k.id = m.kind_id
WHERE m.process_id = ? AND k.name = 'ingress.event.processblock' ORDER BY m.at, m.id"""
_BINARIES = """
SELECT binary_id FROM process WHERE id = ?1 AND binary_id > 0
UNION SELECT f.binary_id FROM modload e JOIN file f ON f.id = e.file_id WHERE e.process_id = ?1 AND f.binary_id > 0
UNION SELECT binary_id FROM filemod WHERE process_id = ?1 AND binary_id > 0"""


def activity_of(db: sqlite3.Connection, number: int) -> Activity:
    """Return everything that the store has of one process's events.

    Args:
        number: As `process_number` returns it.
    """

    def rows(sql: str) -> sqlite3.Cursor:
        return db.execute(sql, (number,))

    return Activity(
        [ModLoad(at, _hex(md5), _hex(sha256), path, _extra(x)) for at, md5, sha256, path, x in rows(_MODLOADS)],
        [FileMod(at, act, path, _hex(md5), kind, _extra(x)) for at, act, path, md5, kind, x in rows(_FILEMODS)],
        [RegMod(at, action, path, _extra(x)) for at, action, path, x in rows(_REGMODS)],
        [
            NetConn(at, _bool(out), protocol, remote, port, local, local_port, domain, _extra(x))
            for at, out, protocol, remote, port, local, local_port, domain, x in rows(_NETCONNS)
        ],
        [_child(row) for row in rows(_CHILDPROCS)],
        [
            CrossProc(at, word, _guid(guid), _hex(md5), _hex(sha256), path or None, access, target == 1, _extra(x))
            for at, word, guid, md5, sha256, path, access, target, x in rows(_CROSSPROCS)
        ],
        [(at or 0, _extra(body)) for at, body in rows(_BLOCKS)],
        [row[0] for row in rows(_BINARIES)],
    )


def address(packed: bytes) -> str:
    """Return a packed address as text, empty for none."""
    if len(packed) not in (4, 16):
        return ""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _child(row: tuple[Any, ...]) -> ChildProc:
    at, guid, pid, created, md5, sha256, path, cmdline, user, started, ended, flags, described, extra = row
    known = bool(described & (Described.START | Described.DOCUMENT))
    return ChildProc(
        at, _guid(guid) or "", pid, _bool(created), _hex(md5), _hex(sha256), path, cmdline, user, started, ended,
        bool(flags & Flag.SUPPRESSED) and not known, _extra(extra),
    )  # fmt: skip


def _bool(value: int) -> Optional[bool]:
    return {0: False, 1: True}.get(value)


def _hex(blob: Optional[bytes]) -> Optional[str]:
    return blob.hex() if blob else None


def _guid(blob: Optional[bytes]) -> Optional[str]:
    return unpack(blob) if blob else None


def _extra(text: Optional[str]) -> Extra:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
