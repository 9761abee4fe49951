"""The file of the jobs: written in batches that share one flush of the disk, read beside that."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Generic, Optional, TypeVar, cast

from cbsigned.errors import ConfigError
from cbsigned.store.database import refuse_network
from cbsigned_connectors.webhook.job_model import JobsError, JobsUnavailable

__all__ = ["JobFile", "free_bytes", "used_bytes"]

_T = TypeVar("_T")
_BUSY_TIMEOUT_S = 5.0
_APPLICATION_ID = 0x63627765  # "cbwe"
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE job (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, sender TEXT NOT NULL,"
    " key BLOB NOT NULL, digest BLOB NOT NULL, state TEXT NOT NULL, own INTEGER NOT NULL, request BLOB NOT NULL,"
    " callback TEXT, answer BLOB, reason TEXT, tries INTEGER NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 0,"
    " accepted_at REAL NOT NULL, finished_at REAL, expires_at REAL, owner TEXT, lease TEXT, lease_until REAL,"
    " call_at REAL, UNIQUE (sender, key))",
    "CREATE INDEX job_turn ON job (state, seq)",
    "CREATE INDEX job_call ON job (call_at) WHERE call_at IS NOT NULL",
    "CREATE INDEX job_expiry ON job (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE TABLE beat (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL)",
    f"PRAGMA application_id={_APPLICATION_ID}",
    f"PRAGMA user_version={_VERSION}",
)


class JobFile:
    """One SQLite file in WAL mode, made where it is missing, that its owner alone can read.

    Args:
        path: The file; its folder is made where it is missing.

    Attributes:
        trouble: Why the last write failed; None after one that did not.

    Raises:
        ConfigError: It cannot be used: no right, another user's, on a network, another program's.
        JobsUnavailable: It cannot be opened just now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: Optional[str] = None
        self._turns: list[_Turn[Any]] = []
        self._turns_lock, self._db_lock, self._reader_lock = threading.Lock(), threading.Lock(), threading.Lock()
        _take_ownership(path)
        with self._advised(), contextlib.ExitStack() as opened:
            self._db = opened.enter_context(contextlib.closing(_connect(path)))
            _prepare(self._db, path)
            self._reader = _connect(path)
            opened.pop_all()

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query.

        Raises:
            JobsUnavailable: It cannot be read.
        """
        with self._reader_lock, self._advised():
            return self._reader.execute(query, values).fetchall()

    def write(self, work: Callable[[sqlite3.Connection], _T], *, durable: bool = False) -> _T:
        """Do something in a transaction, together with what other threads want to do just now.

        Args:
            work: Raises a `JobsError` only before it writes.
            durable: It is on the disk when this returns, and not only safe from the death of this process.

        Raises:
            JobsUnavailable: Nothing was written.
            JobsError: As `work` raised it.
        """
        turn = _Turn(work, durable)
        with self._turns_lock:
            self._turns.append(turn)
        with self._db_lock:
            if not turn.ended:  # else another thread has taken it along
                with self._turns_lock:
                    turns, self._turns = self._turns, []
                self._commit(turns)
        return turn.result()

    def used_bytes(self) -> int:
        """Return the size of what is kept."""
        with self._reader_lock, self._advised():
            return used_bytes(self._reader)

    def close(self) -> None:
        """Close the file."""
        with self._db_lock, self._reader_lock:
            self._reader.close()
            self._db.close()

    def _commit(self, turns: list[_Turn[Any]]) -> None:
        failure = "The write was interrupted. Try again."
        try:
            with self._advised():
                self._db.execute(f"PRAGMA synchronous={'FULL' if any(turn.durable for turn in turns) else 'NORMAL'}")
                self._db.execute("BEGIN IMMEDIATE")
                for turn in turns:
                    turn.run(self._db)
                self._db.execute("COMMIT")
            failure = ""
        except JobsUnavailable as exc:
            failure = str(exc)
        finally:
            if failure:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            for turn in turns:
                turn.end(failure)
            self.trouble = failure or None

    @contextlib.contextmanager
    def _advised(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, with what to do."""
        try:
            yield
        except sqlite3.Error as exc:
            raise JobsUnavailable(_advice(self.path, str(exc))) from exc


class _Turn(Generic[_T]):
    """What one thread wants done in a transaction."""

    def __init__(self, work: Callable[[sqlite3.Connection], _T], durable: bool) -> None:
        self._work, self.durable = work, durable
        self.ended = False
        self._result: Optional[_T] = None
        self._error: Optional[JobsError] = None

    def run(self, db: sqlite3.Connection) -> None:
        try:
            self._result = self._work(db)
        except JobsError as exc:  # a refusal: nothing was written
            self._error = exc

    def end(self, failure: str) -> None:
        if failure:
            self._error = JobsUnavailable(failure)
        self.ended = True

    def result(self) -> _T:
        if self._error is not None:
            raise self._error
        return cast(_T, self._result)


def free_bytes(folder: Path) -> int:
    """Return the space left for us on the disk of a folder."""
    return shutil.disk_usage(folder).free


def used_bytes(db: sqlite3.Connection) -> int:
    """Return the size of what a database holds, without the pages that are free to be used again."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return (pages - free) * size


def _take_ownership(path: Path) -> None:
    """Make the file where it is missing; make sure that it is ours alone."""
    refuse_network(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or (os.name == "posix" and status.st_uid != os.geteuid()):
                raise ConfigError(
                    f"{path} is not a file of the user that the service runs as. Name another in jobs.path."
                )
            if os.name == "posix":
                os.fchmod(handle, 0o600)  # jobs name users, hosts and command lines
        finally:
            os.close(handle)
    except OSError as exc:
        raise ConfigError(
            f"Cannot write the jobs {path}: {exc.strerror}. Give jobs.path in a folder that you may write to."
        ) from exc


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        application, version, tables = (
            int(db.execute(query).fetchone()[0])
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if (application, version) != (_APPLICATION_ID, _VERSION):
            if tables:
                raise ConfigError(f"{path} is not a file of jobs of this version. Name another in jobs.path.")
            for statement in _SCHEMA:
                db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _advice(path: Path, text: str) -> str:
    if "locked" in text or "busy" in text:
        return f"The jobs {path} were locked for {_BUSY_TIMEOUT_S:g} s: another process is writing. Try again."
    if "full" in text or "disk I/O" in text:
        return f"The jobs {path} cannot grow ({text}): the disk is full, or a quota is reached. Make room."
    if "readonly" in text or "unable to open" in text:
        return f"The jobs {path} cannot be written ({text}). Check the rights of the file and of its folder."
    return (
        f"The jobs {path} cannot be used ({text}). Stop the service, move the file away and start again; "
        "`sqlite3 FILE .recover` reads what is left of it."
    )
