"""What a store holds, for people: events by kind, binaries by status, hosts, time span, files, malformed lines."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from cbsigned.binary import read_signature
from cbsigned.status import SigningStatus
from cbsigned.store.database import advice, open_reader, open_writer
from cbsigned.store.index import backlog, has_fts5
from cbsigned.store.records import RECORD_SQL, moment, record_of
from cbsigned.store.schema import version_of
from cbsigned.store.writer import Writer
from cbsigned.timing import format_time, utc_now

__all__ = ["Row", "contents", "vacuum"]

Row = dict[str, object]
"""`section`, `name`, `value`."""

_LISTS = {
    "hosts": "SELECT h.value, count(*) || ' processes' FROM process p JOIN host h ON h.id = p.host_id"
    " GROUP BY h.id ORDER BY count(*) DESC, h.value",
    "files": "SELECT path, CASE finished WHEN 1 THEN 'whole, ' ELSE 'interrupted, ' END || read || ' records'"
    " FROM ingested ORDER BY path",
    "malformed": "SELECT i.path || CASE m.member WHEN '' THEN '' ELSE '!' || m.member END || ':' || m.line, m.reason"
    " FROM malformed m JOIN ingested i ON i.id = m.ingested_id ORDER BY i.path, m.member, m.line",
}
_SPAN = """
SELECT min(first), max(last) FROM (
    SELECT min(first) AS first, max(last) AS last FROM bin_host WHERE first > 0
    UNION ALL SELECT min(at), max(at) FROM message
    UNION ALL SELECT min(reported), max(coalesce(ended, reported)) FROM process
    UNION ALL SELECT min(at), max(at) FROM netconn)
"""


def contents(path: Path, *, most: int = 50) -> Iterator[Row]:
    """Yield what a store holds, section by section.

    Args:
        path: The store's file.
        most: Most hosts, files and malformed lines to list; a last row says how many there are in all.

    Raises:
        ConfigError: There is no such store, or it is not one.
        SourceError: It cannot be read just now.
    """
    db = open_reader(path)
    try:
        with advice(path):
            yield from _store(db, path)
            for kind, events in db.execute("SELECT name, events FROM kind WHERE events > 0 ORDER BY events DESC, name"):
                yield _row("events", kind, events)
            yield from _processes(db)
            for status, count in sorted(_statuses(db).items(), key=lambda item: (-item[1], item[0])):
                yield _row("binaries", status, count)
            yield from _listed(db, most)
    finally:
        db.close()


def vacuum(path: Path) -> tuple[int, int]:
    """Bring a store up to date, give unused space back, and return its size before and after, in bytes.

    Raises:
        ConfigError: There is no such store, or it cannot be written.
        SourceUnavailable: Another process is using it, or the disk is full.
    """
    open_reader_or_older(path)
    db = open_writer(path)
    try:
        with advice(path):
            before = _size(db)
            Writer(db).finish()
            db.execute("VACUUM")
            db.execute("ANALYZE")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return before, _size(db)
    finally:
        db.close()


def open_reader_or_older(path: Path) -> None:
    """Check that a store is there, of whatever age, so that nothing is made by mistake.

    Raises:
        ConfigError: It is not.
    """
    if not path.is_file() or not path.stat().st_size:
        open_reader(path).close()  # says what is missing


def _store(db: sqlite3.Connection, path: Path) -> Iterator[Row]:
    yield _row("store", "path", str(path))
    yield _row("store", "schema version", version_of(db))
    yield _row("store", "bytes", _size(db))
    yield _row("store", "search", _search(db))
    first, last = db.execute(_SPAN).fetchone()
    yield _row("store", "first event", format_time(moment(first)))
    yield _row("store", "last event", format_time(moment(last)))


def _search(db: sqlite3.Connection) -> str:
    if not has_fts5(db):
        return "scans every distinct text: this Python's SQLite has no FTS5"
    waiting = backlog(db)
    return f"indexed, but for {waiting:,} texts: cbsigned store vacuum indexes them" if waiting else "indexed"


def _processes(db: sqlite3.Connection) -> Iterator[Row]:
    described = "SELECT count(*), sum(described & 3 != 0), sum(described = 0) FROM process"
    total, recorded, mentioned = db.execute(described).fetchone()
    yield _row("processes", "known", total)
    yield _row("processes", "with their start", recorded or 0)
    yield _row("processes", "only mentioned by others", mentioned or 0)


def _statuses(db: sqlite3.Connection) -> Counter[str]:
    counts: Counter[str] = Counter()
    now = utc_now()
    rows = db.execute(f"{RECORD_SQL} ORDER BY b.id")
    for _binary, records in groupby(rows, key=lambda row: row[14]):
        signature = read_signature("", [record_of(row) for row in records], "", now)
        unknown = signature.status is SigningStatus.UNKNOWN
        counts[f"{signature.status.value} ({signature.cause.value})" if unknown else signature.status.value] += 1
    bare = "SELECT count(*) FROM binary b WHERE NOT EXISTS (SELECT 1 FROM binary_record r WHERE r.binary_id = b.id)"
    counts["no record"] = int(db.execute(bare).fetchone()[0])
    return counts


def _listed(db: sqlite3.Connection, most: int) -> Iterator[Row]:
    for section, sql in _LISTS.items():
        total = int(db.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0])  # noqa: S608 (our own text)
        for name, value in db.execute(f"{sql} LIMIT ?", (most,)):
            yield _row(section, name, value)
        if total > most:
            yield _row(section, f"… {total - most:,} more", "")


def _size(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA page_count").fetchone()[0]) * int(db.execute("PRAGMA page_size").fetchone()[0])


def _row(section: str, name: str, value: object) -> Row:
    return {"section": section, "name": name, "value": value}
