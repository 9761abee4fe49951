"""Answers kept between questions: in memory, and in one SQLite file that processes share.

A cache is never a reason to fail: a full disk, a locked or a broken file costs speed and one warning.

References:
    - Only answers are kept, never failures; for how long is the caller's choice (`Settings`)
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import (
    Callable,
    Generic,
    Optional,
    Protocol,
    TypeVar,
)

__all__ = ["Cache", "FileCache", "MemoryCache", "TieredCache"]

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_KEYS_PER_SELECT = 500
_BUSY_TIMEOUT_S = 2.0
_BROKEN = re.compile(r"not a database|malformed|corrupt|unsupported file format")


class Cache(Protocol):
    """Where texts are kept under keys for a time. A shared server's cache satisfies it as well as a file."""

    def get_many(self, keys: Sequence[str]) -> Mapping[str, tuple[str, float]]:
        """Return what is there and not expired, each with the seconds it has left; never raises for a broken cache."""

    def put_many(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Keep each value for its life in seconds; never raises for a broken cache."""


class MemoryCache(Generic[_T]):
    """The last used answers of this process, as objects.

    Args:
        max_entries: The least recently used is dropped beyond this many.
        clock: Seconds; tests pass their own.
    """

    def __init__(self, max_entries: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._entries: OrderedDict[str, tuple[_T, float]] = OrderedDict()
        self._max_entries = max_entries
        self._clock = clock
        self._lock = threading.Lock()

    def get_many(self, keys: Iterable[str]) -> dict[str, _T]:
        """Return what is there and not expired."""
        now, found, entries = self._clock(), {}, self._entries
        with self._lock:
            for key in keys:
                entry = entries.get(key)
                if entry is None:
                    continue
                if entry[1] <= now:
                    del entries[key]
                    continue
                entries.move_to_end(key)
                found[key] = entry[0]
        return found

    def put_many(self, items: Mapping[str, tuple[_T, float]]) -> None:
        """Keep each value for its life in seconds."""
        now = self._clock()
        with self._lock:
            for key, (value, life_s) in items.items():
                self._entries[key] = (value, now + life_s)
                self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)


class FileCache:
    """A `Cache` in one SQLite file that any number of processes may use at once.

    A file that SQLite cannot read is set aside as `NAME.corrupt-TIME` and made anew. The file holds command
    lines and host names, so only its owner may read it.

    Args:
        path: The file; its folder is made where it is missing.
        max_bytes: The oldest answers go beyond this size.
        clock: Seconds; tests pass their own.
    """

    def __init__(self, path: Path, max_bytes: int = 256 * 1024 * 1024, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: Optional[sqlite3.Connection] = None
        self._owner: Optional[tuple[int, int]] = None  # process id, inode
        self._warned = False

    def get_many(self, keys: Sequence[str]) -> Mapping[str, tuple[str, float]]:
        """Return what is there and not expired, each with the seconds it has left."""
        found: dict[str, tuple[str, float]] = {}
        now = self._clock()

        def read(db: sqlite3.Connection) -> None:
            for start in range(0, len(keys), _KEYS_PER_SELECT):
                part = keys[start : start + _KEYS_PER_SELECT]
                marks = ",".join("?" * len(part))
                rows = db.execute(
                    f"SELECT key, value, expires_at FROM answer WHERE key IN ({marks}) AND expires_at > ?",  # noqa: S608 (marks only)
                    (*part, now),
                )
                found.update((key, (value, expires_at - now)) for key, value, expires_at in rows)

        self._guarded(read)
        return found

    def put_many(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Keep each value for its life in seconds; all of them or none."""
        if not items:
            return
        now = self._clock()
        rows = [(key, value, now, now + life_s) for key, (value, life_s) in items.items()]

        def write(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)", rows)
            self._bound(db, now)

        self._guarded(write)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._owner is not None and self._owner[0] == os.getpid():
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = self._owner = None

    def _guarded(self, use: Callable[[sqlite3.Connection], None]) -> None:
        """Run `use` on the open file; set a broken file aside and try once more; anything else is a miss."""
        with self._lock:
            for attempt in (1, 2):
                try:
                    use(self._open())
                    return
                except sqlite3.OperationalError as exc:  # locked, full, read-only: not this file's fault
                    self._warn(exc)
                    self.close()
                    return
                except sqlite3.DatabaseError as exc:
                    if attempt == 2 or not _BROKEN.search(str(exc)):
                        self._warn(exc)
                        return
                    self._set_aside(exc)
                except (OSError, UnicodeError) as exc:
                    self._warn(exc)
                    return

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner is not None and self._owner[0] == os.getpid():
            return self._connection
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._owner = (os.getpid(), self.path.stat().st_ino)
        db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self._connection = db
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, value TEXT NOT NULL,"
            " stored_at REAL NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID"
        )
        db.execute("CREATE INDEX IF NOT EXISTS answer_stored ON answer (stored_at)")
        return db

    def _bound(self, db: sqlite3.Connection, now: float) -> None:
        """Drop what has expired, then the oldest, when the file has grown past its bound."""
        if self._used_bytes(db) <= self._max_bytes:
            return
        with _transaction(db):
            db.execute("DELETE FROM answer WHERE expires_at <= ?", (now,))
            while self._used_bytes(db) > self._max_bytes * 9 // 10:
                gone = db.execute(
                    "DELETE FROM answer WHERE key IN (SELECT key FROM answer ORDER BY stored_at LIMIT"
                    " (SELECT 1 + count(*) / 8 FROM answer))"
                ).rowcount
                if gone <= 0:
                    break
        db.execute("PRAGMA incremental_vacuum").fetchall()

    @staticmethod
    def _used_bytes(db: sqlite3.Connection) -> int:
        pages, free, size = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _set_aside(self, exc: Exception) -> None:
        """Rename a broken file, unless another process has done so already."""
        opened = self._owner
        self.close()
        with contextlib.suppress(OSError):
            if opened is not None and self.path.stat().st_ino != opened[1]:
                return
            aside = f"{self.path}.corrupt-{int(self._clock())}"
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm"):
                with contextlib.suppress(OSError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            log.warning("Cache %s cannot be read (%s); it is kept as %s and made anew.", self.path, exc, aside)

    def _warn(self, exc: Exception) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        log.log(level, "Cache %s is not used for now (%s). Answers are right, only slower.", self.path, exc)
        self._warned = True


class TieredCache(Generic[_T]):
    """Objects in memory over texts in a `Cache`; what the core uses.

    Args:
        encode, decode: Object to text and back. A text that cannot be decoded is a miss.
        durable: The shared cache below, or None for memory alone.
        memory: The cache above.
    """

    def __init__(
        self,
        encode: Callable[[_T], str],
        decode: Callable[[str], _T],
        durable: Optional[Cache] = None,
        memory: Optional[MemoryCache[_T]] = None,
        memory_life_s: float = 300.0,
    ) -> None:
        self._encode, self._decode = encode, decode
        self._durable = durable
        self._memory: MemoryCache[_T] = memory if memory is not None else MemoryCache()
        self._memory_life_s = memory_life_s

    def get_many(self, keys: Sequence[str]) -> dict[str, _T]:
        """Return what is known and not expired."""
        found = self._memory.get_many(keys)
        if self._durable is None or len(found) == len(keys):
            return found
        lifted: dict[str, tuple[_T, float]] = {}
        missing: list[str] = [key for key in keys if key not in found]
        for key, (text, left_s) in self._durable.get_many(missing).items():
            try:
                lifted[key] = (self._decode(text), min(left_s, self._memory_life_s))
            except (ValueError, KeyError, TypeError, AttributeError):
                log.debug("Cached answer %s cannot be decoded; asking again.", key)
        self._memory.put_many(lifted)
        found.update({key: value for key, (value, _life) in lifted.items()})
        return found

    def put_many(self, items: Mapping[str, tuple[_T, float]]) -> None:
        """Keep each value for its life in seconds, in memory and below."""
        if not items:
            return
        lives = {key: (value, min(life_s, self._memory_life_s)) for key, (value, life_s) in items.items()}
        self._memory.put_many(lives if self._durable is not None else items)
        if self._durable is not None:
            self._durable.put_many({key: (self._encode(value), life_s) for key, (value, life_s) in items.items()})


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
