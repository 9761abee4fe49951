"""What the store remembers of each file: how far it was read, what came of it, and what was put aside."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from cbsigned.store.owner import mark
from cbsigned.store.sniff import NOT_TELEMETRY
from cbsigned.store.streams import CUT

__all__ = ["Aside", "Counts", "Ledger", "State", "disown"]

_INGESTED = """
INSERT INTO ingested (id, path, size, changed, position, finished, read, new, malformed, skipped, at, owner)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    size = excluded.size, changed = excluded.changed, position = excluded.position, finished = excluded.finished,
    read = excluded.read, new = excluded.new, malformed = excluded.malformed, skipped = excluded.skipped,
    at = excluded.at, owner = excluded.owner
"""


class State(IntEnum):
    """How far a file has come; the number is `ingested.finished`."""

    BEGUN = 0
    WHOLE = 1
    CUT_OFF = 2
    NOT_TELEMETRY = 3
    EMPTY = 4
    UNREADABLE = 5


class Aside(NamedTuple):
    """One thing that could not be read."""

    member: str
    line: int
    reason: str
    text: str


@dataclass
class Counts:
    """What came of a file, over all runs that took it in.

    Attributes:
        position: Items passed, of whatever kind.
        read: Records taken in, new ones and duplicates.
        malformed: Those that could not be read.
        cut_off: Places where more should follow: the file itself, or members of an archive.
        skipped: What is sound but not taken in, by reason.
    """

    position: int = 0
    read: int = 0
    new: int = 0
    malformed: int = 0
    cut_off: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def state(self) -> State:
        """Return what the file is, now that it was read to its end."""
        if self.cut_off:
            return State.CUT_OFF
        if self.read or self.malformed or not NOT_TELEMETRY.issuperset(self.skipped):
            return State.WHOLE
        return State.NOT_TELEMETRY if self.skipped else State.EMPTY


class Ledger:
    """The store's record of one file.

    Args:
        db: Open for writing.
        path: The file; it is known again by its absolute path, its size and its time.
    """

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        stat = path.stat()
        self._db = db
        self.size = stat.st_size
        self._name = os.path.abspath(path).encode("utf-8", "replace").decode()
        self._changed = stat.st_mtime_ns
        self._id = 0
        self._owner = mark()
        self._afresh = True

    def resume(self) -> Counts:
        """Return what an interrupted ingest of this very file has committed; all zero where there was none."""
        columns = "id, size, changed, finished, position, read, new, malformed"
        row = self._db.execute(f"SELECT {columns} FROM ingested WHERE path = ?", (self._name,)).fetchone()  # noqa: S608
        if row is None:
            return Counts()
        self._id = int(row[0])
        if tuple(row[1:4]) != (self.size, self._changed, State.BEGUN):
            return Counts()
        self._afresh = False
        cut = "SELECT count(*) FROM malformed WHERE ingested_id = ? AND substr(reason, 1, ?) = ?"
        cut_off = int(self._db.execute(cut, (self._id, len(CUT), CUT)).fetchone()[0])
        skipped = self._db.execute("SELECT reason, records FROM skipped WHERE ingested_id = ?", (self._id,))
        position, read, new, malformed = (int(value) for value in row[4:])
        return Counts(position, read, new, malformed, cut_off, Counter(dict(skipped)))

    def note(self, state: State, counts: Counts, aside: list[Aside]) -> None:
        """Write how far the file has come; call it inside the transaction that writes its records."""
        if not self._id:
            self._id = int(self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM ingested").fetchone()[0])
        owner = self._owner if state is State.BEGUN else ""
        self._db.execute(_INGESTED, (
            self._id, self._name, self.size, self._changed, counts.position, int(state), counts.read, counts.new,
            counts.malformed, sum(counts.skipped.values()), int(time.time() * 1000), owner,
        ))  # fmt: skip
        if self._afresh:
            self._db.execute("DELETE FROM malformed WHERE ingested_id = ?", (self._id,))
            self._db.execute("DELETE FROM skipped WHERE ingested_id = ?", (self._id,))
            self._afresh = False
        self._db.executemany("INSERT OR REPLACE INTO malformed VALUES (?,?,?,?,?)", [(self._id, *a) for a in aside])
        reasons = [(self._id, _storable(reason), count) for reason, count in counts.skipped.items()]
        self._db.executemany("INSERT OR REPLACE INTO skipped VALUES (?,?,?)", reasons)


def disown(db: sqlite3.Connection) -> None:
    """Leave the files that this process has begun, so that they count as interrupted at once."""
    db.execute("PRAGMA busy_timeout = 500")
    db.execute("UPDATE ingested SET owner = '' WHERE owner = ?", (mark(),))


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
