"""What one process did, as one list in order of time: the process-analysis page, a page at a time.

Only the rows of a page are made; the others are counted and sorted as numbers, whatever a process did in a year.

References:
    - cb-edr-api §3.3 (event lists, actions, file types)
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from cbsigned.observables import parse_md5
from cbsigned.store.activity_reader import address
from cbsigned.store.ids import unpack
from cbsigned.store.reading import in_parts

__all__ = ["KINDS", "ActivityPage", "Entry", "activity_page"]

_KEY = 7
"""Columns of a sort row behind time and kind."""
_TABLES = {
    "filemod": "path_id, action, binary_id, filetype, 0, 0, extra_id FROM filemod",
    "regmod": "regpath_id, action, 0, 0, 0, 0, extra_id FROM regmod",
    "modload": "file_id, 0, 0, 0, 0, 0, extra_id FROM modload",
    "netconn": "remote_ip, remote_port, domain_id, outbound, protocol, local_port, extra_id FROM netconn",
    "childproc": "child_id, created, file_id, 0, 0, 0, extra_id FROM childproc",
    "crossproc": "target_id, word_id, access, is_target, file_id, 0, extra_id FROM crossproc",
}
_FROM_BLOCKS = "message m JOIN kind k ON k.id = m.kind_id"
KINDS = (*_TABLES, "block")
"""Kinds of events, in the order in which those of one millisecond are listed."""

_FILE_ACTIONS = {1: "created", 2: "wrote", 4: "deleted", 8: "finished writing"}
_REG_ACTIONS = {1: "created key", 2: "wrote value", 4: "deleted key", 8: "deleted value"}
_CROSS_ACTIONS = {
    "open_process": ("opened", "was opened by"),
    "open_thread": ("opened a thread of", "had a thread opened by"),
    "remote_thread": ("made a thread in", "was given a thread by"),
}
_FILE_TYPES = {
    1: "PE", 2: "ELF", 3: "Mach-O", 8: "EICAR", 16: "DOC", 17: "DOCX", 48: "PDF", 64: "ZIP", 65: "LZH", 66: "LZW",
    67: "RAR", 68: "TAR", 69: "7ZIP",
}  # fmt: skip
_PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}
_DIRECTIONS = {0: "from", 1: "to"}
_TEXTS = {
    name: f"SELECT id, value FROM {name} WHERE id IN ({{}})"  # noqa: S608 (our own names)
    for name in ("path", "regpath", "domain", "word", "extra")
}
_FILES = """
SELECT f.id, p.value, b.md5, b.sha256 FROM file f JOIN path p ON p.id = f.path_id
LEFT JOIN binary b ON b.id = f.binary_id WHERE f.id IN ({})"""
_BINARIES = "SELECT id, md5, sha256 FROM binary WHERE id IN ({})"
_OTHERS = """
SELECT p.id, p.guid, p.pid, n.value, a.value, b.md5, b.sha256 FROM process p LEFT JOIN name n ON n.id = p.name_id
LEFT JOIN path a ON a.id = p.path_id LEFT JOIN binary b ON b.id = p.binary_id WHERE p.id IN ({})"""
_MESSAGES = "SELECT id, body FROM message WHERE id IN ({})"


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        at: Milliseconds since 1970.
        kind: One of `KINDS`.
        action: What was done, in a word or two.
        what: To what: a path, an address, another process.
        md5, sha256: Of the file that was loaded, written, started or opened; None where the event names none.
        guid: Of the other process.
        extra: Members of the event that have no place of their own.
    """

    at: int
    kind: str
    action: str
    what: str
    md5: Optional[str] = None
    sha256: Optional[str] = None
    guid: Optional[str] = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ActivityPage:
    """One page of a process's events.

    Attributes:
        entries: Oldest first.
        counts: How many there are of each kind that was asked for, in the time that was asked for.
    """

    entries: list[Entry]
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(self.counts.values())


def activity_page(
    db: sqlite3.Connection, number: int, *, kinds: Sequence[str] = KINDS, since: Optional[int] = None,
    until: Optional[int] = None, start: int = 0, rows: int = 100,
) -> ActivityPage:  # fmt: skip
    """Return one page of what a process did, oldest first.

    Args:
        db: As `open_reader` gives it.
        number: The process's, in the store.
        kinds: Of `KINDS`.
        since, until: Milliseconds since 1970; `until` itself is not in it.
        start, rows: Which page, from 0; no rows only counts.

    Raises:
        sqlite3.Error: The store cannot be read.
    """
    span = (number, since if since is not None else -(2**62), until if until is not None else 2**62)
    wanted = [kind for kind in KINDS if kind in kinds]
    counts = {kind: int(db.execute(_count_sql(kind), span).fetchone()[0]) for kind in wanted}
    parts = " UNION ALL ".join(_rows_sql(kind) for kind in wanted if counts[kind])
    if not parts or not rows:
        return ActivityPage([], counts)
    columns = ", ".join(str(place) for place in range(1, _KEY + 3))
    sql = f"SELECT * FROM ({parts}) ORDER BY {columns} LIMIT ?4 OFFSET ?5"  # noqa: S608 (our own names)
    return ActivityPage(_Maker(db, db.execute(sql, (*span, rows, start)).fetchall()).entries(), counts)


def _count_sql(kind: str) -> str:
    return f"SELECT count(*) FROM {_FROM_BLOCKS if kind == 'block' else kind} WHERE {_within(kind)}"  # noqa: S608


def _rows_sql(kind: str) -> str:
    place = KINDS.index(kind)
    columns = f"m.id, 0, 0, 0, 0, 0, 0 FROM {_FROM_BLOCKS}" if kind == "block" else _TABLES[kind]
    return f"SELECT at, {place}, {columns} WHERE {_within(kind)}"


def _within(kind: str) -> str:
    span = "process_id = ?1 AND at >= ?2 AND at < ?3"
    return f"{span} AND k.name = 'ingress.event.processblock'" if kind == "block" else span


class _Maker:
    """Makes the entries of one page; every table is asked once."""

    def __init__(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._paths = self._texts(db, "path", self._ids("filemod", 2))
        self._keys = self._texts(db, "regpath", self._ids("regmod", 2))
        self._domains = self._texts(db, "domain", self._ids("netconn", 4))
        self._words = self._texts(db, "word", self._ids("crossproc", 3))
        self._extras = self._texts(db, "extra", [row[-1] for row in rows])
        files = [*self._ids("modload", 2), *self._ids("childproc", 4), *self._ids("crossproc", 6)]
        self._files = {row[0]: row[1:] for row in in_parts(db, _FILES, files)}
        self._binaries = {row[0]: row[1:] for row in in_parts(db, _BINARIES, self._ids("filemod", 4))}
        others = [*self._ids("childproc", 2), *self._ids("crossproc", 2)]
        self._others = {row[0]: row[1:] for row in in_parts(db, _OTHERS, others)}
        self._messages = {row[0]: row[1] for row in in_parts(db, _MESSAGES, self._ids("block", 2))}

    def entries(self) -> list[Entry]:
        return [getattr(self, f"_{KINDS[row[1]]}")(row[0], self._extra(row), *row[2:-1]) for row in self._rows]

    def _ids(self, kind: str, column: int) -> list[Any]:
        place = KINDS.index(kind)
        return [row[column] for row in self._rows if row[1] == place]

    def _texts(self, db: sqlite3.Connection, table: str, ids: Sequence[int]) -> dict[int, str]:
        return dict(in_parts(db, _TEXTS[table], ids))

    def _extra(self, row: tuple[Any, ...]) -> dict[str, Any]:
        value = json.loads(self._extras.get(row[-1], "{}"))
        return value if isinstance(value, dict) else {}

    def _filemod(
        self, at: int, extra: dict[str, Any], path: int, action: int, binary: int, kind: int, *_: int
    ) -> Entry:
        md5, sha256 = _hashes(self._binaries.get(binary))
        told = {**({"filetype": _FILE_TYPES.get(kind, str(kind))} if kind else {}), **extra}
        verb = _FILE_ACTIONS.get(action, f"action {action}")
        return Entry(at, "filemod", verb, self._paths.get(path, ""), md5, sha256, extra=told)

    def _regmod(self, at: int, extra: dict[str, Any], path: int, action: int, *_: int) -> Entry:
        verb = _REG_ACTIONS.get(action, f"action {action}")
        return Entry(at, "regmod", verb, self._keys.get(path, ""), extra=extra)

    def _modload(self, at: int, extra: dict[str, Any], file: int, *_: int) -> Entry:
        path, *hashes = self._files.get(file, ("", None, None))
        return Entry(at, "modload", "loaded", path, *_hashes(hashes), extra=extra)

    def _netconn(
        self,
        at: int,
        extra: dict[str, Any],
        ip: bytes,
        port: int,
        domain: int,
        outbound: int,
        protocol: int,
        local: int,
    ) -> Entry:
        host, called = address(ip), self._domains.get(domain)
        if not host and called:
            return Entry(at, "netconn", "looked up", called, extra=extra)
        name = _PROTOCOLS.get(protocol, f"protocol {protocol}" if protocol else "")
        verb = f"{name} {_DIRECTIONS.get(outbound, 'with')}".strip()
        place = f"[{host}]:{port}" if ":" in host else f"{host or 'an address that is not told'}:{port}"
        into = f", to port {local} here" if outbound == 0 and local else ""
        return Entry(at, "netconn", verb, f"{place} ({called}){into}" if called else f"{place}{into}", extra=extra)

    def _childproc(self, at: int, extra: dict[str, Any], child: int, created: int, file: int, *_: int) -> Entry:
        guid, pid, name, path, *hashes = self._others.get(child, (None, None, None, None, None, None))
        own_path, *own = self._files.get(file, ("", None, None))
        verb = {0: "ended", 1: "started"}.get(created, "child")
        what = f"{own_path or path or name or 'a process'}{'' if pid is None else f' (pid {pid})'}"
        return Entry(at, "childproc", verb, what, *_hashes(own if any(own) else hashes), _guid(guid), extra)

    def _crossproc(
        self, at: int, extra: dict[str, Any], target: int, word: int, access: int, is_target: int, file: int, *_: int
    ) -> Entry:
        guid, pid, name, path, *hashes = self._others.get(target, (None, None, None, None, None, None))
        own_path, *own = self._files.get(file, ("", None, None))
        name_of = self._words.get(word, "")
        verb = _CROSS_ACTIONS.get(name_of, (name_of.replace("_", " "),) * 2)[is_target == 1]
        what = f"{own_path or path or name or 'a process'}{'' if pid is None else f' (pid {pid})'}"
        told = {**({"access": f"0x{access:08x}"} if access else {}), **extra}
        return Entry(at, "crossproc", verb, what, *_hashes(own if any(own) else hashes), _guid(guid), told)

    def _block(self, at: int, _extra: dict[str, Any], message: int, *_: int) -> Entry:
        body = json.loads(self._messages.get(message, "{}"))
        told: dict[str, Any] = body if isinstance(body, dict) else {}
        what = told.get("path") or told.get("blocked_path") or told.get("command_line") or "a process"
        md5 = parse_md5(told.get("md5") or told.get("blocked_md5"))
        return Entry(at, "block", "blocked", str(what), md5, extra=told)


def _hashes(row: Optional[Sequence[Any]]) -> tuple[Optional[str], Optional[str]]:
    md5, sha256 = row or (None, None)
    return md5.hex() if md5 else None, sha256.hex() if sha256 else None


def _guid(blob: Optional[bytes]) -> Optional[str]:
    return unpack(blob) if blob else None
