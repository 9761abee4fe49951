"""Answers the core's questions from the embedded store: binaries, processes, and the joint query of 2017."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable, Optional, TypeVar, Union

from cbsigned.binary import BinaryRecord
from cbsigned.errors import ProcessNotFound, SourceError, SourceTimeout
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import ProcessAnswers, Relatives
from cbsigned.observables import is_foreign, short_host
from cbsigned.process import Process
from cbsigned.seen import Seen
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.store.database import open_reader, readable_error
from cbsigned.store.events import milliseconds
from cbsigned.store.ids import pack
from cbsigned.store.records import PROCESS_SQL, RECORD_SQL, process_of, record_of
from cbsigned.store.seen import seen_in
from cbsigned.timing import Deadline

__all__ = ["MAX_CANDIDATES", "MAX_PATHS", "StoreSource", "phrase", "window"]

_CHUNK = 400
MAX_CANDIDATES = 1000
MAX_PATHS = 20
_STEPS = 20_000
_START_SLACK = timedelta(seconds=5)
_DAY = timedelta(days=1)
_WORD = re.compile(r"[^\W_]+")

_INHERITED: list[Optional[sqlite3.Connection]] = []  # of the parent of a fork: closing one here would touch its file
_PROGRAM_NAMES = """
SELECT DISTINCT b.md5, r.program_name FROM binary b JOIN binary_record r ON r.binary_id = b.id
WHERE r.program_name IS NOT NULL AND EXISTS (SELECT 1 FROM process p WHERE p.binary_id = b.id)
"""

_T = TypeVar("_T")
_K = TypeVar("_K")


class StoreSource:
    """One store, read by any thread; satisfies `BinarySource`, `ProcessSource` and `JointSource`.

    Args:
        path: The store's file.

    Raises:
        ConfigError: There is no such store, or it is not one.
        SourceError: It cannot be read just now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._db: Optional[sqlite3.Connection] = open_reader(path)
        self._owner = os.getpid()

    @property
    def name(self) -> str:
        """`store:` and the file's name."""
        return f"store:{self._path.name}"

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        with self._lock:
            if self._db is not None and self._owner != os.getpid():
                _INHERITED.append(self._db)
            elif self._db is not None:
                self._db.close()
            self._db = None

    def __enter__(self) -> StoreSource:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_db"):
            self.close()

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        """Return for every hash its records, `()` where the store has none, or why it could not answer.

        Records of one binary that differ in kind, word or code are separate. Where a record does not say on how
        many hosts and under which paths the file was seen, the store's own telemetry does.
        """
        return self._in_chunks(hashes, deadline, self._binaries)

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        """Return for every guid its process, or `ProcessNotFound`.

        `start_recorded` is True only where a start event or a REST document describes it; a process that is only
        mentioned by other events or by a hit is a process all the same.
        """
        return self._in_chunks(guids, deadline, self._processes)

    def known(self, guids: Sequence[str], deadline: Deadline) -> frozenset[str]:
        """Return which of these ids, other products' among them, the store has a process for; none where it fails."""
        answers = self.processes(guids, deadline)
        return frozenset(guid for guid, answer in answers.items() if isinstance(answer, Process))

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return for every sighting the processes on its host that started in its window, at most 1,000."""
        return self._in_chunks(sightings, deadline, lambda db, part: {s: self._candidates(db, s) for s in part}, 1)

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return for every guid its children, oldest first, at most `limit` of each, with the total."""
        return self._in_chunks(guids, deadline, lambda db, part: {g: self._children(db, g, limit) for g in part}, 1)

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every (md5, name) whether a process has that image, and its program name has the words of `name`.

        Text is split at white space and punctuation and compared in lower case; the words must stand together.

        References:
            - cb-edr-api §4.2 (text), §4.7 (join), §6
        """
        return self._in_chunks(pairs, deadline, self._joint_hits)

    def seen(self, file_hash: str, rows: int, deadline: Deadline) -> Seen:
        """Return where a file was seen; a question that fails is a gap, and nothing raises.

        Args:
            file_hash: Lower-case MD5 or SHA-256.
            rows: Most hosts and paths, and most processes of each relation, 1 or more.
        """
        return seen_in(self._path, file_hash, rows, deadline)

    def _in_chunks(
        self, keys: Sequence[_K], deadline: Deadline,
        ask: Callable[[sqlite3.Connection, Sequence[_K]], Mapping[_K, _T]], size: int = _CHUNK,
    ) -> dict[_K, Union[_T, SourceError]]:  # fmt: skip
        """Ask in chunks of `size`; what fails, or is not asked before the deadline, maps to the error."""
        found: dict[_K, Union[_T, SourceError]] = {}
        with self._lock:
            for start in range(0, len(keys), size):
                part = keys[start : start + size]
                try:
                    with self._reading(deadline) as db:
                        found.update(ask(db, part))
                except SourceError as exc:
                    found.update(dict.fromkeys(part, exc))
        return found

    @contextlib.contextmanager
    def _reading(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
        """Give the open file, interrupted at the deadline; SQLite's errors become ours."""
        if deadline.passed:
            raise self._late(deadline)
        if self._db is None or self._owner != os.getpid():  # closed, or inherited by fork: never use the parent's
            _INHERITED.append(self._db)
            self._db = open_reader(self._path)
            self._owner = os.getpid()
        db = self._db
        db.set_progress_handler(lambda: int(deadline.passed), _STEPS)
        try:
            yield db
        except sqlite3.Error as exc:
            if "interrupted" in str(exc):
                raise self._late(deadline) from exc
            raise readable_error(self._path, exc) from exc
        finally:
            db.set_progress_handler(None, 0)

    def _late(self, deadline: Deadline) -> SourceTimeout:
        return SourceTimeout(
            f"The store {self._path.name} gave no whole answer within {deadline.seconds:g} s. "
            "Ask for less, or raise the time limit (deadline_s)."
        )

    def _binaries(self, db: sqlite3.Connection, hashes: Sequence[str]) -> dict[str, tuple[BinaryRecord, ...]]:
        found: dict[str, list[BinaryRecord]] = {file_hash: [] for file_hash in hashes}
        for column, length in (("md5", 32), ("sha256", 64)):
            wanted = [bytes.fromhex(h) for h in hashes if len(h) == length]
            if wanted:
                sql = f"{RECORD_SQL} WHERE b.{column} IN ({_marks(wanted)})"
                rows = db.execute(sql, wanted).fetchall()
                paths = _paths_of(db, [row[14] for row in rows if row[13] == "[]"])
                for row in rows:
                    found[row[0 if length == 32 else 1].hex()].append(record_of(row, paths.get(row[14], ())))
        return {file_hash: tuple(records) for file_hash, records in found.items()}

    def _processes(self, db: sqlite3.Connection, guids: Sequence[str]) -> dict[str, Union[Process, SourceError]]:
        found = self._by_guid(db, guids)
        others = [f"{{{guid}}}" for guid in guids if guid not in found and not is_foreign(guid)]
        if others:  # GUIDs of another product that were named without their braces
            found.update(self._by_guid(db, others))
        return {guid: found.get(guid) or found.get(f"{{{guid}}}") or self._not_found(guid) for guid in guids}

    def _by_guid(self, db: sqlite3.Connection, guids: Sequence[str]) -> dict[str, Process]:
        blobs = [pack(guid) for guid in guids]
        rows = db.execute(f"{PROCESS_SQL} WHERE p.guid IN ({_marks(blobs)})", blobs)
        return {process.guid: process for process in map(process_of, rows)}

    def _not_found(self, guid: str) -> ProcessNotFound:
        return ProcessNotFound(f"Process {guid} is unknown to {self.name}: no event that was ingested names it.")

    def _candidates(self, db: sqlite3.Connection, sighting: Sighting) -> tuple[Process, ...]:
        bounds = window(sighting)
        if bounds is None:
            return ()
        first, last = map(milliseconds, bounds)
        hosts = [row[0] for row in db.execute("SELECT id FROM host WHERE short = ?", (short_host(sighting.host),))]
        if not hosts:
            return ()
        where, values = f"p.host_id IN ({_marks(hosts)}) AND p.started BETWEEN ? AND ?", [*hosts, first, last]
        if sighting.pid is not None:
            where += " AND p.pid = ?"
            values.append(sighting.pid)
        elif sighting.file_hash is not None:
            where += f" AND b.{'md5' if len(sighting.file_hash) == 32 else 'sha256'} = ?"
            values.append(bytes.fromhex(sighting.file_hash))
        sql = f"{PROCESS_SQL} WHERE {where} ORDER BY p.started DESC LIMIT {MAX_CANDIDATES}"
        return tuple(map(process_of, db.execute(sql, values)))

    def _children(self, db: sqlite3.Connection, guid: str, limit: int) -> Relatives:
        row = db.execute("SELECT id FROM process WHERE guid = ?", (pack(guid),)).fetchone()
        if row is None:
            return Relatives((), 0, self._not_found(guid).gap(f"children of {guid}"))
        total = int(db.execute("SELECT count(*) FROM process WHERE parent_id = ?", row).fetchone()[0])
        sql = f"{PROCESS_SQL} WHERE p.parent_id = ? ORDER BY p.started, p.guid LIMIT ?"
        nodes = tuple(map(process_of, db.execute(sql, (row[0], max(0, limit)))))
        gap = None
        if len(nodes) < total:
            reason = f"{len(nodes)} of {total} children shown; ask for more to see the others."
            gap = Gap(f"children of {guid}", Cause.CUT, reason)
        return Relatives(nodes, total, gap)

    def _joint_hits(self, db: sqlite3.Connection, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        blobs = list({bytes.fromhex(md5) for md5, _name in pairs})
        rows = db.execute(f"{_PROGRAM_NAMES} AND b.md5 IN ({_marks(blobs)})", blobs)
        names: dict[str, list[str]] = defaultdict(list)
        for md5, program_name in rows:
            names[md5.hex()].append(phrase(program_name))
        return {
            (md5, name): _WORD.search(name) is not None and any(phrase(name) in text for text in names.get(md5, ()))
            for md5, name in pairs
        }


def _paths_of(db: sqlite3.Connection, binaries: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return the paths under which telemetry saw each binary, the first 20."""
    sql = f"SELECT p.value FROM file f JOIN path p ON p.id = f.path_id WHERE f.binary_id = ? LIMIT {MAX_PATHS}"  # noqa: S608
    return {
        number: tuple(sorted({row[0].lower() for row in db.execute(sql, (number,)) if row[0]}))
        for number in dict.fromkeys(binaries)
    }


def window(sighting: Sighting) -> Optional[tuple[datetime, datetime]]:
    """Return between when a process must have started to be the one that was sighted; None where no time is told."""
    moment = sighting.started_at or sighting.seen_at
    if moment is None:
        return None
    exact = sighting.started_at is not None
    return _moved(moment, -(_START_SLACK if exact else _DAY)), _moved(moment, _START_SLACK if exact else timedelta(0))


def _moved(moment: datetime, by: timedelta) -> datetime:
    """Return `moment` + `by`, and the first or last moment of the calendar where that lies beyond it."""
    try:
        return moment.astimezone(timezone.utc) + by
    except OverflowError:
        return (datetime.min if moment.year < 5000 else datetime.max).replace(tzinfo=timezone.utc)


def phrase(text: str) -> str:
    """Return the words of a text so that one phrase holds another as a substring; two blanks where there is none."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
