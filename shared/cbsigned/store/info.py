"""What a store holds, for people: events by kind, binaries by status, hosts, time span, files, malformed lines."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Callable, Optional

from cbsigned.binary import read_signature
from cbsigned.status import SigningStatus
from cbsigned.store.database import advice, open_reader, open_writer
from cbsigned.store.index import backlog, has_fts5
from cbsigned.store.ledger import State
from cbsigned.store.owner import is_running
from cbsigned.store.records import RECORD_SQL, moment, record_of
from cbsigned.store.rows import Described
from cbsigned.store.schema import version_of
from cbsigned.store.sniff import NOT_TELEMETRY
from cbsigned.store.writer import Writer
from cbsigned.timing import format_time, utc_now

__all__ = ["Row", "contents", "vacuum"]

Row = dict[str, object]
"""`section`, `name`, `value`."""

_LISTS = {
    "hosts": "SELECT h.value, count(*) || ' processes' FROM process p JOIN host h ON h.id = p.host_id"
    " GROUP BY h.id ORDER BY count(*) DESC, h.value",
    "malformed": "SELECT i.path || CASE m.member WHEN '' THEN '' ELSE '!' || m.member END"
    " || CASE m.line WHEN 0 THEN '' ELSE ':' || m.line END, m.reason"
    " FROM malformed m JOIN ingested i ON i.id = m.ingested_id ORDER BY i.path, m.member, m.line",
}
_STATES = {
    State.WHOLE: "whole, {}", State.CUT_OFF: "cut off after {}",
    State.EMPTY: "empty", State.UNREADABLE: "could not be opened",
}  # fmt: skip
_MOST_REASONS = 5
_SPAN = """
SELECT min(first), max(last) FROM (
    SELECT min(first) AS first, max(last) AS last FROM bin_host WHERE first > 0
    UNION ALL SELECT min(at), max(at) FROM message
    UNION ALL SELECT min(reported), max(coalesce(ended, reported)) FROM process
    UNION ALL SELECT min(at), max(at) FROM netconn)
"""


_FILES = """
SELECT i.id, i.path, i.finished, i.read, i.malformed, i.owner, i.at FROM ingested i
WHERE i.finished != ? ORDER BY i.path
"""
_KNOWN = """
SELECT CASE WHEN described & :start THEN 1 WHEN described & :told THEN 2 WHEN described & :end THEN 3
    WHEN described THEN 4 ELSE 5 END AS how, count(*) FROM process GROUP BY how
"""
_PARTS = (
    "with their start", "described by a hit or document", "with their end alone", "described otherwise",
    "only mentioned by others",
)  # fmt: skip


def contents(path: Path, *, most: int = 50) -> Iterator[Row]:
    """Yield what a store holds, section by section.

    Args:
        path: The store's file.
        most: Most hosts, files and malformed lines to list; a last row says how many more there are.

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
            yield from _listed(db, "hosts", most)
            yield from _files(db, most)
            yield from _listed(db, "malformed", most)
    finally:
        db.close()


def vacuum(path: Path, progress: Optional[Callable[[int, int], None]] = None) -> tuple[int, int]:
    """Bring a store up to date, give unused space back, and return its size before and after, in bytes.

    Args:
        progress: Called with texts indexed and texts in all, where the store's words are behind.

    Raises:
        ConfigError: There is no such store, or it cannot be written.
        SourceUnavailable: Another process is using it, or the disk is full.
    """
    open_reader_or_older(path)
    db = open_writer(path)
    try:
        with advice(path):
            before = _size(db)
            Writer(db).finish(progress)
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
    """Yield how many processes are known, and how: the parts add up to the whole."""
    bits = {"start": int(Described.START), "told": int(Described.DOCUMENT | Described.HIT), "end": int(Described.END)}
    counts = dict(db.execute(_KNOWN, bits))
    yield _row("processes", "known", sum(counts.values()))
    for how, name in enumerate(_PARTS, 1):
        if how in counts or how == 1:
            yield _row("processes", name, counts.get(how, 0))


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


def _listed(db: sqlite3.Connection, section: str, most: int) -> Iterator[Row]:
    sql = _LISTS[section]
    total = int(db.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0])  # noqa: S608 (our own text)
    for name, value in db.execute(f"{sql} LIMIT ?", (most,)):
        yield _row(section, name, value)
    if total > most:
        yield _row(section, f"… {total - most:,} more", "")


def _files(db: sqlite3.Connection, most: int) -> Iterator[Row]:
    """Yield what came of each file, and in one line how many held no telemetry."""
    listed = db.execute(_FILES, (State.NOT_TELEMETRY,)).fetchall()
    reasons: dict[int, dict[str, int]] = {}
    for number, reason, count in db.execute("SELECT ingested_id, reason, records FROM skipped ORDER BY records DESC"):
        reasons.setdefault(number, {})[reason] = count
    now = int(utc_now().timestamp() * 1000)
    for number, path, state, read, malformed, owner, at in listed[:most]:
        records = f"{read:,} record{'' if read == 1 else 's'}"
        if state == State.BEGUN:
            told = [f"{'running' if is_running(owner, at, now) else 'interrupted'}, {records} so far"]
        else:
            told = [_STATES[State(state)].format(records)]
        told += [f"{malformed:,} malformed"] if malformed else []
        skipped = reasons.get(number, {})
        told += [f"{count:,} skipped: {why}" for why, count in skipped.items() if why not in NOT_TELEMETRY][
            :_MOST_REASONS
        ]
        yield _row("files", path, "; ".join(told))
    if len(listed) > most:
        yield _row("files", f"… {len(listed) - most:,} more", "")
    foreign = sum(count for kinds in reasons.values() for why, count in kinds.items() if why in NOT_TELEMETRY)
    if foreign:
        yield _row("files", "not telemetry", f"{foreign:,} file{'' if foreign == 1 else 's'}")


def _size(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA page_count").fetchone()[0]) * int(db.execute("PRAGMA page_size").fetchone()[0])


def _row(section: str, name: str, value: object) -> Row:
    return {"section": section, "name": name, "value": value}
