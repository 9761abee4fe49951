"""Opens the store's file, for one writer or any number of readers, and turns SQLite's errors into ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from cbsigned.errors import ConfigError, SourceError, SourceResponseError, SourceUnavailable
from cbsigned.store import schema

__all__ = ["open_reader", "open_writer", "readable_error", "transaction"]

BUSY_TIMEOUT_S = 10.0
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "glusterfs", "fuse.glusterfs",
    "fuse.sshfs", "davfs", "fuse.davfs",
}  # fmt: skip
_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 8_000  # 32 MB: a page that many batches change is copied back once


def open_writer(path: Path) -> sqlite3.Connection:
    """Open a store for writing, making it or bringing it up to date where needed.

    The file is readable by its owner alone: telemetry names users, hosts and command lines.

    Args:
        path: The store; its folder must exist.

    Raises:
        ConfigError: No such folder, not writable, a network file system, not a store, or a newer one.
        SourceUnavailable: Another process has been writing for longer than we wait, or the disk is full.
    """
    refuse_network(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as exc:
        raise ConfigError(
            f"Cannot write the store {path}: {exc.strerror}. Name a file in a folder that you may write to."
        ) from exc
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        with advice(path):
            schema.check_version(schema.version_of(db))
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            schema.migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a store for reading; works beside a writer, and on a file and folder that cannot be written.

    Where the folder cannot be written, the reader sees the store as it was when it was opened: open it again after
    its owner has taken more in.

    Raises:
        ConfigError: There is no such store, it is not ours, newer, or too old to be read without an upgrade.
        SourceError: It cannot be read just now.
    """
    if not path.is_file():
        raise ConfigError(f"There is no store {path}. Make one: cbsigned store ingest --store {path} FILE…")
    refuse_network(path)
    with advice(path):
        db = _connect_reader(path)
        try:
            version = schema.version_of(db)
            schema.check_version(version)
            if version == 0:
                raise ConfigError(f"{path} is empty. Fill it: cbsigned store ingest --store {path} FILE…")
            if version < schema.SCHEMA_VERSION:
                raise ConfigError(
                    f"The store {path} has schema version {version}, older than {schema.SCHEMA_VERSION}. "
                    f"Bring it up to date: cbsigned store vacuum --store {path}"
                )
        except BaseException:
            db.close()
            raise
    return db


def _connect_reader(path: Path) -> sqlite3.Connection:
    """Connect in the first way that works; only a reader that may write can take `-wal` and `-shm` away again."""
    ways = ["mode=ro"]
    if _is_ours(path) and os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK):
        ways.insert(0, "mode=rw")
    if not _size(f"{path}-wal"):
        ways.append("mode=ro&immutable=1")  # WAL needs a shared-memory file, which a read-only folder cannot hold
    failure: Optional[sqlite3.Error] = None
    for way in ways:
        try:
            return _connected(path, way)
        except sqlite3.OperationalError as exc:
            if not any(word in str(exc) for word in ("readonly", "read-only", "unable to open")):
                raise
            failure = exc
    if _size(f"{path}-wal"):
        raise ConfigError(
            f"The store {path} cannot be read here: its writer has not finished, {path.name}-wal holds the newest "
            f"part, and you may not write beside it. Let its owner run: cbsigned store vacuum --store {path}"
        ) from failure
    raise failure or sqlite3.OperationalError("unable to open")


def _connected(path: Path, way: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?{way}"
    db = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA query_only=ON")
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _is_ours(path: Path) -> bool:
    """Whether the header names us: a database of another program is not even tidied up."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(72)[68:] == schema.APPLICATION_ID.to_bytes(4, "big")
    return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Do all of it or none of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def advice(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with what to do."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _our_error(path, exc) from exc


def readable_error(path: Path, exc: sqlite3.Error) -> SourceError:
    """Return an SQLite error as the `SourceError` that stands for it where errors are values."""
    ours = _our_error(path, exc)
    return ours if isinstance(ours, SourceError) else SourceResponseError(str(ours))


def _our_error(path: Path, exc: sqlite3.Error) -> Exception:
    text = str(exc)
    if "not a database" in text:
        return ConfigError(f"{path} is not a store: it is no SQLite database. Name another file.")
    if "locked" in text or "busy" in text:
        return SourceUnavailable(
            f"The store {path} was locked for {BUSY_TIMEOUT_S:g} s: another process is writing. "
            "Try again when it is done."
        )
    if "full" in text or "disk I/O" in text:
        return SourceUnavailable(
            f"The store {path} cannot grow ({text}): the disk is full, or a quota is reached. What was committed "
            "is kept; free some space and run the same command again."
        )
    if "readonly" in text or "read-only" in text:
        return ConfigError(f"The store {path} cannot be written ({text}). Give yourself the right, or copy it.")
    if "unable to open" in text:
        return ConfigError(f"Cannot open the store {path} ({text}). Check that the folder exists and is readable.")
    return SourceResponseError(
        f"The store {path} cannot be read ({type(exc).__name__}: {text}). If it is damaged, ingest into a new file."
    )


def refuse_network(path: Path, mounts: Optional[str] = None) -> None:
    """Refuse a store on a network file system, where SQLite's locks and shared memory do not work.

    Args:
        path: The store, existing or not.
        mounts: Text as of `/proc/mounts`; read from there when None, and nothing is refused where it is missing.

    Raises:
        ConfigError: The file system is one of the network kinds.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
    kind = _file_system(os.path.realpath(path), mounts)
    if kind in _NETWORK:
        raise ConfigError(
            f"The store {path} is on a network file system ({kind}), where SQLite cannot lock safely. "
            "Name a file on a local disk."
        )


def _file_system(path: str, mounts: str) -> str:
    best, found = "", ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, parts[2]
    return found
