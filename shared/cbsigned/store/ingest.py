"""Takes telemetry files into a store: reads, translates, writes in batches, and says what came of it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Callable, Optional

from cbsigned.store.database import advice, open_writer, transaction
from cbsigned.store.documents import UnknownKind, translate
from cbsigned.store.envelopes import opened
from cbsigned.store.ledger import Aside, Counts, Ledger, State, disown
from cbsigned.store.readers import Item, files_of, read_items
from cbsigned.store.rows import Batch, MalformedRecord
from cbsigned.store.sniff import NOT_TELEMETRY
from cbsigned.store.streams import CUT
from cbsigned.store.writer import Writer

__all__ = ["MOST_NAMED", "IngestReport", "ingest"]

log = logging.getLogger(__name__)

BATCH = 20_000
_MAX_WEIGHT = 32 * 1024 * 1024
MOST_NAMED = 20
_MAX_REASONS = 100
_LARGE = 1024 * 1024  # bytes; a file that takes longer than a blink is entered before its first batch
_SKIPPED = "skipped:"


@dataclass
class IngestReport:
    """What came of an ingest.

    Attributes:
        read: Records that were taken in, new ones and duplicates.
        new: Those that the store had not held before.
        malformed: Lines or members that could not be read; kept aside in the store.
        malformed_before: Those of the part that an interrupted ingest had committed.
        cut_off: Files and members that end before their content does; what was there is taken in.
        resumed: Items passed over, because an interrupted ingest of the same file had committed them.
        not_telemetry: Files and members of a format that holds none, as licences and read-me files.
        skipped: What is sound but no telemetry we take in, by kind.
        kinds: New records by kind.
        problems: The first 20 places where something was malformed or cut off, as `file:line: reason`.
        passed_over: The first 20 files of which something was skipped, as `file: number skipped: reason`.
        empty: Files that hold nothing.
    """

    files: int = 0
    read: int = 0
    new: int = 0
    malformed: int = 0
    malformed_before: int = 0
    cut_off: int = 0
    resumed: int = 0
    not_telemetry: int = 0
    seconds: float = 0.0
    skipped: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    @property
    def duplicate(self) -> int:
        """Records that the store held already."""
        return self.read - self.new

    @property
    def complete(self) -> bool:
        """Whether every line of every file could be read."""
        return not (self.malformed or self.malformed_before or self.cut_off)


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
            writer.finish(_indexing(progress, done))
            db.execute("PRAGMA analysis_limit = 400")
            db.execute("PRAGMA optimize")
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            disown(db)
        raise
    finally:
        db.close()
        report.seconds = clock() - began
    log.info(
        "%s: %d records read from %d files, %d new, %d malformed, %d cut off, %.1f s",
        store, report.read, report.files, report.new, report.malformed, report.cut_off, report.seconds,
    )  # fmt: skip
    return report


def _indexing(progress: Optional[Callable[[int, str], None]], done: int) -> Optional[Callable[[int, int], None]]:
    """Return what tells of texts that are indexed after the last byte was read."""
    if progress is None:
        return None
    tell = progress
    return lambda texts, of: tell(done, f"indexing words: {texts:,} of {of:,} texts")


class _FileRun:
    """One file on its way into the store."""

    def __init__(
        self, writer: Writer, path: Path, report: IngestReport, size: int,
        progress: Optional[Callable[[int, str], None]], before: int,
    ) -> None:  # fmt: skip
        self._writer, self._path, self._report, self._size = writer, path, report, max(1, size)
        self._progress, self._before = progress, before
        self._ledger = Ledger(writer.db, path)
        self._counts = Counts()
        self._batch = Batch()
        self._records = self._waiting = 0
        self._aside: list[Aside] = []

    def run(self) -> None:
        """Read the file to its end; what was committed stays, whatever happens."""
        self._counts = self._ledger.resume()
        start, already = self._counts.position, Counter(self._counts.skipped)
        self._counts.position = 0
        self._report.resumed += start
        self._report.malformed_before += self._counts.malformed + self._counts.cut_off
        if self._ledger.size >= _LARGE:
            with transaction(self._writer.db):
                self._ledger.note(State.BEGUN, replace(self._counts, position=start), [])
        readable = True
        try:
            raw = open(self._path, "rb", buffering=0)  # noqa: SIM115 (read_items closes it)
        except OSError as exc:
            readable = False
            self._reject(Item("", 0, None), f"cannot be opened: {exc.strerror}", "")
        else:
            with contextlib.closing(read_items(self._path, raw)) as items:
                self._read_on(self._after(start, items), raw)
        ended = replace(self._counts, read=self._counts.read + self._records).state()
        self._commit(ended if readable else State.UNREADABLE)
        self._report_skipped(self._counts.skipped - already)
        if ended is State.EMPTY:
            self._report.empty.append(str(self._path))
        self._tell(self._ledger.size)

    def _read_on(self, items: Iterator[Item], raw: IO[bytes]) -> None:
        for item in items:
            self._counts.position += 1
            self._waiting += 1
            self._take(item)
            if self._waiting >= self._size or self._batch.weight > _MAX_WEIGHT:
                self._commit(State.BEGUN)
                self._tell(0 if raw.closed else raw.tell())

    def _after(self, start: int, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            if self._counts.position < start:
                self._counts.position += 1
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
        if "type" in record:
            self._translate(item, record)
            return
        empty = True
        for part in opened(record):
            empty = False
            if isinstance(part, MalformedRecord):
                self._reject(item, str(part), repr(record))
            elif isinstance(part, UnknownKind):
                self._skip(str(part))
            else:
                self._translate(item, part)
        if empty:
            self._skip("empty answer")

    def _translate(self, item: Item, record: Mapping[str, Any]) -> None:
        try:
            translate(record, item.hint, self._batch)
            self._records += 1
        except MalformedRecord as exc:
            self._reject(item, str(exc), repr(record))
        except UnknownKind as exc:
            self._skip(str(exc))

    def _skip(self, kind: str) -> None:
        skipped = self._counts.skipped
        skipped[kind if kind in skipped or len(skipped) < _MAX_REASONS else "of many other kinds"] += 1

    def _report_skipped(self, skipped: Counter[str]) -> None:
        """Add what this run skipped to the report."""
        for kind, count in skipped.most_common():
            if kind in NOT_TELEMETRY:
                self._report.not_telemetry += count
                continue
            self._report.skipped[kind] += count
            if len(self._report.passed_over) < MOST_NAMED:
                self._report.passed_over.append(f"{self._path}: {count:,} skipped: {kind}")

    def _reject(self, item: Item, reason: str, text: str) -> None:
        if reason.startswith(CUT):
            self._counts.cut_off += 1
            self._report.cut_off += 1
            reason = f"{reason}, after {self._counts.read + self._records:,} records"
        else:
            self._counts.malformed += 1
            self._report.malformed += 1
        text = text[:2000].encode("utf-8", "replace").decode()
        self._aside.append(Aside(item.member, item.line, reason, text))
        if len(self._report.problems) < MOST_NAMED:
            place = f"{self._path}{f'!{item.member}' if item.member else ''}{f':{item.line}' if item.line else ''}"
            self._report.problems.append(f"{place}: {reason}")

    def _commit(self, state: State) -> None:
        """Write the batch, with the position it brings the file to."""
        batch, counts, aside = self._batch, self._counts, self._aside
        counts.read += self._records
        self._batch, self._aside = Batch(), []

        def beside(new: Counter[str]) -> None:
            fresh = sum(count for kind, count in new.items() if not kind.endswith(" (derived)"))
            self._ledger.note(state, replace(counts, new=counts.new + fresh), aside)

        new = self._writer.write(batch, beside)
        counts.new += sum(new.values())
        self._report.read += self._records
        self._report.new += sum(new.values())
        self._report.kinds.update({kind: count for kind, count in new.items() if count})
        self._records = self._waiting = 0

    def _tell(self, bytes_done: int) -> None:
        if self._progress is not None:
            note = f"{self._path.name}: {self._report.read:,} events"
            self._progress(self._before + bytes_done, note)
