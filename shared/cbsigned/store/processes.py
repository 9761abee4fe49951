"""Processes as they become known: each record fills in or corrects fields, whatever order the records come in.

A field keeps the statement of the highest rank; of two that are equally good it keeps the lesser value, so that the
same set of records gives the same store in any order.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Optional

from cbsigned.observables import guid_parts
from cbsigned.store.events import milliseconds
from cbsigned.store.ids import pack
from cbsigned.store.rows import Origin, ProcessFact, Rank
from cbsigned.store.strings import Binaries, Hosts, Paths, Strings, name_in

__all__ = ["Processes"]

_COLUMNS = (
    "id", "guid", "sensor_id", "pid", "started", "reported", "ended", "parent_id", "name_id", "path_id", "binary_id",
    "cmdline_id", "account_id", "host_id", "os_id", "extra_id", "described", "flags", "ranks",
)  # fmt: skip
_AT = {name: index for index, name in enumerate(_COLUMNS)}
_REPORTED, _ENDED, _PARENT, _NAME, _PATH, _BINARY = (
    _AT[n] for n in ("reported", "ended", "parent_id", "name_id", "path_id", "binary_id")
)
_CMDLINE, _ACCOUNT, _HOST, _OS, _EXTRA = (_AT[n] for n in ("cmdline_id", "account_id", "host_id", "os_id", "extra_id"))
_DESCRIBED, _FLAGS, _RANKS = _AT["described"], _AT["flags"], _AT["ranks"]
_SHIFT = {column: 3 * index for index, column in enumerate(range(_PARENT, _EXTRA + 1))}
_REMEMBERED = 400_000
_PID, _STARTED = _AT["pid"], _AT["started"]
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM process WHERE guid = ?"  # noqa: S608 (our own names)
_INSERT = f"INSERT INTO process ({', '.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))})"  # noqa: S608
_UPDATE = f"UPDATE process SET {', '.join(f'{n} = ?' for n in _COLUMNS[3:])} WHERE id = ?"  # noqa: S608

Mention = tuple[str, Optional[str], Origin]


class Processes:
    """The process table during one writing session."""

    def __init__(self, db: sqlite3.Connection, binaries: Binaries, names: Strings) -> None:
        self._db = db
        self.names, self.binaries = names, binaries
        self.hosts = Hosts(db, "host")
        self.paths = Paths(db, names)
        self.cmdlines, self.accounts = Strings(db, "cmdline"), Strings(db, "account")
        self.words, self.extras = Strings(db, "word"), Strings(db, "extra")
        self._tables: dict[int, Strings] = {
            _NAME: names, _PATH: self.paths, _CMDLINE: self.cmdlines, _ACCOUNT: self.accounts, _HOST: self.hosts,
            _OS: self.words, _EXTRA: self.extras,
        }  # fmt: skip
        self.mentioned: dict[Mention, int] = {}
        self._ids: dict[str, int] = {}
        self._touched: dict[str, list[Any]] = {}
        self._new: set[int] = set()
        self._sensors: set[Origin] = set()
        self._known_sensors: set[Origin] = set()
        self._next = 0
        self._whole = False
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered: another process has written, or a batch was rolled back."""
        for memory in (self.mentioned, self._ids, self._touched):
            memory.clear()
        for seen in (self._new, self._sensors, self._known_sensors):
            seen.clear()
        last = self._db.execute("SELECT max(id) FROM process").fetchone()[0]
        self._next = (last or 0) + 1
        self._whole = last is None
        for table in self._tables.values():
            table.forget()

    def id(self, guid: str) -> int:
        """Return a process's number, making a row for one that was never mentioned."""
        found = self._ids.get(guid)
        return int(self._row(guid)[0]) if found is None else found

    def mention(self, guid: str, md5: Optional[str], origin: Origin) -> int:
        """Return the number of a process that one of its own events names, with its host and image."""
        number = self.mentioned.get((guid, md5, origin))
        if number is None:
            row = self._row(guid)
            number = int(row[0])
            self._place(row, origin, Rank.MENTION)
            if md5 is not None:
                self._put(row, _BINARY, Rank.MENTION, self.binaries.id(md5))
            self.mentioned[(guid, md5, origin)] = number
        return number

    def take(self, fact: ProcessFact) -> bool:
        """Take in what a record says of a process, and return whether this kind of record is the first of it."""
        row = self._row(fact.guid)
        rank = fact.rank
        if fact.origin is not None:
            self._place(row, fact.origin, rank)
        if fact.path is not None:
            path = self.paths.id(fact.path)
            self._put(row, _PATH, rank, path)
            self._put(row, _NAME, rank, self.names.id(name_in(fact.path)))
        elif fact.name is not None:
            self._put(row, _NAME, rank, self.names.id(fact.name.lower()))
        if fact.md5 is not None or fact.sha256 is not None:
            self._put(row, _BINARY, rank, self.binaries.id(fact.md5, fact.sha256))
        if fact.parent_guid is not None:
            self._put(row, _PARENT, rank, self.id(fact.parent_guid))
        for column, table, value in (
            (_CMDLINE, self.cmdlines, fact.cmdline), (_ACCOUNT, self.accounts, fact.user),
            (_OS, self.words, fact.os_type), (_EXTRA, self.extras, fact.extra),
        ):  # fmt: skip
            if value is not None:
                self._put(row, column, rank, table.id(value))
        for column, number in ((_PID, fact.pid), (_STARTED, fact.started)):
            if number is not None:
                row[column] = number if row[column] is None else min(row[column], number)
        if fact.reported is not None:
            row[_REPORTED] = fact.reported if row[_REPORTED] is None else min(row[_REPORTED], fact.reported)
        if fact.ended is not None:
            row[_ENDED] = fact.ended if row[_ENDED] is None else max(row[_ENDED], fact.ended)
        row[_FLAGS] |= int(fact.flags)
        first = not row[_DESCRIBED] & int(fact.described)
        row[_DESCRIBED] |= int(fact.described)
        return first

    def flush(self) -> None:
        """Write what is new or changed, and the strings before it."""
        for table in (self.paths, *self._tables.values()):  # paths give names
            table.flush()
        rows = self._touched.values()
        self._db.executemany(_INSERT, [row for row in rows if row[0] in self._new])
        self._db.executemany(_UPDATE, [(*row[3:], row[0]) for row in rows if row[0] not in self._new])
        self._db.executemany(
            "INSERT OR IGNORE INTO sensor VALUES (?, ?, ?)",
            [
                (origin.server or "", origin.sensor_id, self.hosts.id(origin.host))
                for origin in self._sensors
                if origin.sensor_id is not None and origin.host is not None
            ],
        )
        self._touched.clear()
        self._new.clear()
        self._known_sensors |= self._sensors
        self._sensors.clear()
        if len(self._ids) > _REMEMBERED or len(self.mentioned) > _REMEMBERED:
            self._ids.clear()
            self.mentioned.clear()
            self._whole = False

    def _row(self, guid: str) -> list[Any]:
        """Return a process's row for changing; it is written with the batch."""
        row = self._touched.get(guid)
        if row is None:
            row = self._load(guid) or self._make(guid)
            self._touched[guid] = row
            self._ids[guid] = row[0]
        return row

    def _load(self, guid: str) -> Optional[list[Any]]:
        if self._whole and guid not in self._ids:
            return None
        found = self._db.execute(_SELECT, (pack(guid),)).fetchone()
        return None if found is None else list(found)

    def _make(self, guid: str) -> list[Any]:
        parts = guid_parts(guid)
        row = [self._next, pack(guid), parts.sensor_id, parts.pid]
        row += [milliseconds(parts.started_at), *[None] * (_DESCRIBED - 5), 0, 0, 0]
        self._new.add(self._next)
        self._next += 1
        return row

    def _place(self, row: list[Any], origin: Origin, rank: Rank) -> None:
        if origin.host is not None:
            self._put(row, _HOST, rank, self.hosts.id(origin.host))
            if origin not in self._known_sensors:
                self._sensors.add(origin)

    def _put(self, row: list[Any], column: int, rank: Rank, value: int) -> None:
        shift, old = _SHIFT[column], row[column]
        had = row[_RANKS] >> shift & 7
        if old is None or rank > had or (rank == had and value != old and self._lesser(column, value, old)):
            row[column] = value
            if rank > had:
                row[_RANKS] += (rank - had) << shift

    def _lesser(self, column: int, value: int, old: int) -> bool:
        if column == _PARENT:
            guids = {number: bytes(row[1]) for row in self._touched.values() for number in (row[0],)}
            return self._guid(value, guids) < self._guid(old, guids)
        if column == _BINARY:
            return self.binaries.md5(value) < self.binaries.md5(old)
        table = self._tables[column]
        return table.text(value) < table.text(old)

    def _guid(self, number: int, touched: dict[int, bytes]) -> bytes:
        known = touched.get(number)
        if known is not None:
            return known
        row = self._db.execute("SELECT guid FROM process WHERE id = ?", (number,)).fetchone()
        return bytes(row[0])
