"""Takes telemetry files into a store: reads, translates, writes in batches, and says what came of it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Callable, Optional

from cbsigned.store.database import advice, open_writer
from cbsigned.store.documents import UnknownKind, expand, translate
from cbsigned.store.readers import Item, files_of, read_items
from cbsigned.store.rows import Batch, MalformedRecord
from cbsigned.store.writer import Writer

__all__ = ["IngestReport", "ingest"]

log = logging.getLogger(__name__)

BATCH = 20_000
_MAX_WEIGHT = 32 * 1024 * 1024
_MAX_NAMED = 20
_SKIPPED = "skipped:"


@dataclass
class IngestReport:
    """What came of an ingest.

    Attributes:
        read: Records that were taken in, new ones and duplicates.
        new: Those that the store had not held before.
        malformed: Lines or members that could not be read; kept aside in the store.
        resumed: Items passed over, because an interrupted ingest of the same file had committed them.
        skipped: What is sound but no telemetry we take in, by kind.
        kinds: New records by kind.
        problems: The first 20 malformed ones, as `file:line: reason`.
    """

    files: int = 0
    read: int = 0
    new: int = 0
    malformed: int = 0
    resumed: int = 0
    seconds: float = 0.0
    skipped: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def duplicate(self) -> int:
        """Records that the store held already."""
        return self.read - self.new


def ingest(
    store: Path,
    paths: Sequence[Path],
    *,
    progress: Optional[Callable[[int, str], None]] = None,
    batch: int = BATCH,
    clock: Callable[[], float] = time.monotonic,
) -> IngestReport:
    """Take files, folders and archives into a store, which is made where it does not exist.

    Each batch is one transaction, and the position in the file is committed with it: an ingest that was
    interrupted, even by kill -9, keeps every committed batch, and the same command completes it. A file that
    was taken in before may be given again; its records are duplicates and change nothing.

    Args:
        store: The store's file.
        paths: What to take in; folders are read through. Formats are found out from the content.
        progress: Called after each batch with the bytes of input done and a note.
        batch: Records written together, 1 or more.
        clock: Seconds, for the report.

    Raises:
        ConfigError: A path does not exist, or the store cannot be used.
        SourceUnavailable: The store is locked, or the disk is full; committed batches are kept.
    """
    files = files_of(paths)
    began = clock()
    report = IngestReport(files=len(files))
    db = open_writer(store)
    try:
        with advice(store):
            writer = Writer(db)
            done = 0
            for path in files:
                _FileRun(writer, path, report, batch, progress, done).run()
                done += path.stat().st_size
            writer.finish()
            db.execute("PRAGMA analysis_limit = 400")
            db.execute("PRAGMA optimize")
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        db.close()
        report.seconds = clock() - began
    log.info(
        "%s: %d records read from %d files, %d new, %d malformed, %.1f s",
        store, report.read, report.files, report.new, report.malformed, report.seconds,
    )  # fmt: skip
    return report


class _FileRun:
    """One file on its way into the store."""

    def __init__(
        self, writer: Writer, path: Path, report: IngestReport, size: int,
        progress: Optional[Callable[[int, str], None]], before: int,
    ) -> None:  # fmt: skip
        self._writer, self._path, self._report, self._size = writer, path, report, max(1, size)
        self._progress, self._before = progress, before
        self._batch = Batch()
        self._records = self._position = 0
        self._read = self._new = 0
        self._malformed: list[tuple[str, int, str, str]] = []
        self._bad = self._skipped = 0
        stat = path.stat()
        self._key = (os.path.abspath(path), stat.st_size, stat.st_mtime_ns)
        self._id = 0
        self._afresh = True

    def run(self) -> None:
        """Read the file to its end; what was committed stays, whatever happens."""
        start = self._resume()
        self._report.resumed += start
        self._afresh = start == 0
        try:
            raw = open(self._path, "rb", buffering=0)  # noqa: SIM115 (read_items closes it)
        except OSError as exc:
            self._reject(Item("", 0, None), f"cannot be opened: {exc.strerror}", "")
        else:
            with contextlib.closing(read_items(self._path, raw)) as items:
                self._read_on(self._after(start, items), raw)
        self._commit(finished=True)
        self._tell(self._key[1])

    def _read_on(self, items: Iterator[Item], raw: IO[bytes]) -> None:
        for item in items:
            self._position += 1
            self._take(item)
            if self._records >= self._size or self._batch.weight > _MAX_WEIGHT:
                self._commit(finished=False)
                self._tell(0 if raw.closed else raw.tell())

    def _after(self, start: int, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            if self._position < start:
                self._position += 1
            else:
                yield item

    def _take(self, item: Item) -> None:
        if item.record is None:
            problem = item.problem or "unreadable"
            if problem.startswith(_SKIPPED):
                self._skip(problem[len(_SKIPPED) :].strip())
            else:
                self._reject(item, problem, item.text)
            return
        record = item.record
        try:
            if "type" in record:
                translate(record, item.hint, self._batch)
                self._records += 1
                return
            parts = expand(record)
        except MalformedRecord as exc:
            self._reject(item, str(exc), repr(record))
            return
        except UnknownKind as exc:
            self._skip(str(exc))
            return
        if not parts:
            self._skip("empty answer")
        for part in parts:
            try:
                translate(part, item.hint, self._batch)
                self._records += 1
            except MalformedRecord as exc:
                self._reject(item, str(exc), repr(part))
            except UnknownKind as exc:
                self._skip(str(exc))

    def _skip(self, kind: str) -> None:
        self._skipped += 1
        self._report.skipped[kind] += 1

    def _reject(self, item: Item, reason: str, text: str) -> None:
        self._bad += 1
        self._malformed.append((item.member, item.line, reason, text[:2000].encode("utf-8", "replace").decode()))
        self._report.malformed += 1
        if len(self._report.problems) < _MAX_NAMED:
            member = f"!{item.member}" if item.member else ""
            self._report.problems.append(f"{self._path}{member}:{item.line}: {reason}")

    def _commit(self, finished: bool) -> None:
        """Write the batch, with the position it brings the file to."""
        batch, records = self._batch, self._records
        self._batch, self._records = Batch(), 0

        def beside(new: Counter[str]) -> None:
            fresh = sum(count for kind, count in new.items() if not kind.endswith(" (derived)"))
            self._note(finished, self._read + records, self._new + fresh)

        new = self._writer.write(batch, beside)
        self._malformed.clear()
        self._read += records
        self._new += sum(new.values())
        self._report.read += records
        self._report.new += sum(new.values())
        self._report.kinds.update({kind: count for kind, count in new.items() if count})

    def _resume(self) -> int:
        """Return how many items of this very file an interrupted ingest has committed."""
        sql = "SELECT id, size, changed, finished, position FROM ingested WHERE path = ?"
        row = self._writer.db.execute(sql, (self._name,)).fetchone()
        if row is None:
            return 0
        self._id = int(row[0])
        return int(row[4]) if (int(row[1]), int(row[2])) == self._key[1:] and not row[3] else 0

    @property
    def _name(self) -> str:
        return self._key[0].encode("utf-8", "replace").decode()

    def _note(self, finished: bool, read: int, new: int) -> None:
        db: sqlite3.Connection = self._writer.db
        values = (
            self._key[1], self._key[2], self._position, finished, read, new, self._bad, self._skipped,
            int(time.time() * 1000),
        )  # fmt: skip
        if not self._id:
            self._id = int(db.execute("SELECT coalesce(max(id), 0) + 1 FROM ingested").fetchone()[0])
        db.execute(
            "INSERT INTO ingested (id, path, size, changed, position, finished, read, new, malformed, skipped, at)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (path) DO UPDATE SET size = excluded.size,"
            " changed = excluded.changed, position = excluded.position, finished = excluded.finished,"
            " read = excluded.read, new = excluded.new, malformed = excluded.malformed, skipped = excluded.skipped,"
            " at = excluded.at",
            (self._id, self._name, *values),
        )
        if self._afresh:
            db.execute("DELETE FROM malformed WHERE ingested_id = ?", (self._id,))
            self._afresh = False
        db.executemany("INSERT OR REPLACE INTO malformed VALUES (?,?,?,?,?)", _keyed(self._id, self._malformed))

    def _tell(self, bytes_done: int) -> None:
        if self._progress is not None:
            note = f"{self._path.name}: {self._report.read:,} events"
            self._progress(self._before + bytes_done, note)


def _keyed(number: int, rows: Iterable[tuple[str, int, str, str]]) -> list[tuple[int, str, int, str, str]]:
    return [(number, *row) for row in rows]
