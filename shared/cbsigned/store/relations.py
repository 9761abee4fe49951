"""What processes had to do with a file: who ran, loaded, wrote and deleted it, and where it came from.

Files are told by hash where an event names one: the image of a process, a loaded module, the last write of a file.
First writes and deletions name no hash. They count where path and host are the file's own and nothing else was
written there in between, and say so: `how` is then `path`.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

from cbsigned.store.reading import in_parts

__all__ = [
    "MOST_PATHS", "Contact", "Newest", "Relation", "binaries_of", "contacts_of_binaries", "history_contacts",
    "paths_by_number",
]  # fmt: skip

MOST_PATHS = 1_000
"""Paths of one file that are looked at for writes and deletions without a hash."""

_RAN_PATHS = 10_000
_ORDER = {1: 0, 2: 1, 8: 2, 4: 3}
_DELETE = 4


class Relation(str, Enum):
    """What a process had to do with a file, a name or an address."""

    WROTE = "wrote"
    RAN = "ran"
    LOADED = "loaded"
    DELETED = "deleted"
    CONNECTED = "connected"


@dataclass(frozen=True)
class Contact:
    """One process that had to do with something, all events of one kind together.

    Attributes:
        process: The process's number in the store.
        path: Number of the path, 0 for none.
        events: How many there were.
        first, last: Milliseconds since 1970, 0 where no time is known.
        how: `hash`, `path`, `name`, `ip` or `domain`: by what the event names it.
    """

    relation: Relation
    process: int
    path: int
    events: int
    first: int
    last: int
    how: str


class Newest:
    """Keeps the newest of many contacts by key, and counts all.

    Args:
        most: How many to keep of each key.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[Any, list[tuple[int, int, int, Contact]]] = defaultdict(list)
        self.totals: dict[Any, int] = defaultdict(int)

    def add(self, key: Any, contact: Contact) -> None:
        """Take one in."""
        self.totals[key] += 1
        kept = self._kept[key]
        entry = (contact.last, contact.process, self.totals[key], contact)
        if len(kept) < self._most:
            heapq.heappush(kept, entry)
        elif self._most:
            heapq.heappushpop(kept, entry)

    def of(self, key: Any) -> list[Contact]:
        """Return what was kept of a key, newest first."""
        return [entry[-1] for entry in sorted(self._kept.get(key, ()), reverse=True)]


_RAN = """
SELECT p.binary_id, p.id, coalesce(p.path_id, 0), 1, coalesce(p.started, p.reported, 0),
       coalesce(p.started, p.reported, 0)
FROM process p WHERE p.binary_id IN ({})"""
_WROTE = """
SELECT e.binary_id, e.process_id, e.path_id, count(*), min(e.at), max(e.at)
FROM binary b CROSS JOIN filemod e INDEXED BY filemod_written ON e.binary_id = b.id AND e.binary_id > 0
WHERE b.id IN ({}) GROUP BY e.binary_id, e.process_id, e.path_id"""
_LOADED = """
SELECT f.binary_id, m.process_id, f.path_id, count(*), min(m.at), max(m.at)
FROM file f CROSS JOIN modload m ON m.file_id = f.id CROSS JOIN process p ON p.id = m.process_id
WHERE f.binary_id IN ({}) AND p.binary_id IS NOT f.binary_id GROUP BY f.binary_id, m.process_id, f.path_id"""
_OF_BINARIES = {Relation.WROTE: _WROTE, Relation.RAN: _RAN, Relation.LOADED: _LOADED}

_BY_MD5 = "SELECT id, md5, sha256 FROM binary WHERE md5 IN ({})"
_BY_SHA256 = "SELECT id, md5, sha256 FROM binary WHERE sha256 IS NOT NULL AND sha256 IN ({})"
_PATHS = (
    "SELECT path_id FROM file WHERE binary_id = ?1 LIMIT ?2",
    "SELECT DISTINCT path_id FROM filemod WHERE binary_id > 0 AND binary_id = ?1 LIMIT ?2",
    f"SELECT DISTINCT path_id FROM (SELECT path_id FROM process WHERE binary_id = ?1 LIMIT {_RAN_PATHS}) LIMIT ?2",  # noqa: S608
)
_SPELLINGS = "SELECT o.id, o.value FROM path p JOIN path o ON o.name_id = p.name_id WHERE p.id IN ({})"
_HISTORY = """
SELECT e.path_id, p.host_id, e.at, e.action, e.binary_id, e.process_id
FROM filemod e CROSS JOIN process p ON p.id = e.process_id WHERE e.path_id IN ({})"""
_SEEN = """
SELECT host_id, min(first), max(last) FROM (
    SELECT host_id, nullif(first, 0) AS first, last FROM bin_host WHERE binary_id = ?1
    UNION ALL
    SELECT p.host_id, e.at, e.at FROM filemod e CROSS JOIN process p ON p.id = e.process_id
    WHERE e.binary_id > 0 AND e.binary_id = ?1) WHERE host_id IS NOT NULL GROUP BY host_id"""
_PATH_TEXTS = "SELECT id, value FROM path WHERE id IN ({})"


def binaries_of(db: sqlite3.Connection, hashes: Iterable[str]) -> dict[str, list[int]]:
    """Return the store's numbers of the files of each hash; a hash that nothing names is not in it.

    Args:
        hashes: Lower-case MD5 or SHA-256; several files may have one SHA-256, where only one came with its MD5.
    """
    found: dict[str, list[int]] = defaultdict(list)
    wanted = list(hashes)
    for sql, length, column in ((_BY_MD5, 32, 1), (_BY_SHA256, 64, 2)):
        for row in in_parts(db, sql, [bytes.fromhex(text) for text in wanted if len(text) == length]):
            found[row[column].hex()].append(row[0])
    return dict(found)


def contacts_of_binaries(
    db: sqlite3.Connection, relation: Relation, binaries: Sequence[int]
) -> Iterator[tuple[int, Contact]]:
    """Yield who ran, loaded or wrote files, told by hash: the file's number and the contact, in no order.

    A process that loads its own image has not loaded it: it ran it.
    """
    for number, process, path, events, first, last in in_parts(db, _OF_BINARIES[relation], binaries):
        yield number, Contact(relation, process, path, events, first, last, "hash")


def history_contacts(db: sqlite3.Connection, binary: int) -> list[Contact]:
    """Return who deleted a file, and who wrote it without a hash of what was written, told by path and host."""
    paths = _own_paths(db, binary)
    seen = {host: (first, last) for host, first, last in db.execute(_SEEN, (binary,))}
    files: dict[tuple[str, int], list[tuple[int, int, int, int, int]]] = defaultdict(list)
    for path, host, at, action, written, process in in_parts(db, _HISTORY, list(paths)):
        if host in seen:
            files[(paths[path], host)].append((at, _ORDER.get(action, 9), path, written, process))
    told: list[Contact] = []
    for (_path, host), events in files.items():
        told += _File(binary, *seen[host]).contacts(sorted(events))
    return _together(told)


def paths_by_number(db: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, str]:
    """Return the texts of paths."""
    return dict(in_parts(db, _PATH_TEXTS, [number for number in numbers if number]))


class _File:
    """What happened at one path of one host, event by event: which file lay there when."""

    def __init__(self, binary: int, first: Optional[int], last: Optional[int]) -> None:
        self._binary, self._first, self._last = binary, first, last
        self._lies: Optional[int] = None  # the file that was written last, None where nothing tells
        self._open: dict[int, tuple[int, int, int, int]] = {}  # process → path, events, first and last write
        self._told: list[Contact] = []

    def contacts(self, events: Iterable[tuple[int, int, int, int, int]]) -> list[Contact]:
        """Return the writes and deletions that were this file's."""
        for at, order, path, written, process in events:
            if order == _ORDER[_DELETE]:
                self._deleted(at, path, process)
            elif written:
                self._open.clear()
                self._lies = written
            else:
                known = self._open.get(process, (path, 0, at, at))
                self._open[process] = (known[0], known[1] + 1, known[2], at)
        self._close(None)
        return self._told

    def _deleted(self, at: int, path: int, process: int) -> None:
        own = self._lies == self._binary and not self._open
        unsure = (self._lies is None or self._open) and self._first is not None and self._first <= at
        if own or unsure:
            self._told.append(Contact(Relation.DELETED, process, path, 1, at, at, "path"))
        self._close(at)
        self._lies = None

    def _close(self, until: Optional[int]) -> None:
        """Count writes without a hash as this file's where it was seen on the host after them."""
        for process, (path, events, first, last) in self._open.items():
            before = self._last is not None and first <= self._last
            if before and (until is None or self._first is None or self._first <= until):
                self._told.append(Contact(Relation.WROTE, process, path, events, first, last, "path"))
        self._open.clear()


def _own_paths(db: sqlite3.Connection, binary: int) -> dict[int, str]:
    """Return the numbers of all spellings of the paths where a file was seen → the path in lower case."""
    numbers: dict[int, None] = {}
    for sql in _PATHS:
        numbers.update((row[0], None) for row in db.execute(sql, (binary, MOST_PATHS)) if row[0])
    own = list(numbers)[:MOST_PATHS]
    folded = {text.lower() for text in paths_by_number(db, own).values() if text}
    return {number: text.lower() for number, text in in_parts(db, _SPELLINGS, own) if text.lower() in folded}


def _together(contacts: Iterable[Contact]) -> list[Contact]:
    """Return contacts with those of one process, path and kind made one."""
    found: dict[tuple[Relation, int, int], Contact] = {}
    for one in contacts:
        key = (one.relation, one.process, one.path)
        had = found.get(key)
        found[key] = one if had is None else Contact(
            one.relation, one.process, one.path, had.events + one.events, min(had.first, one.first),
            max(had.last, one.last), one.how,
        )  # fmt: skip
    return list(found.values())
