"""One back-fill from beginning to end: distinct keys, answers for those that have none, and the rows part by part."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Protocol

from cbsigned.backfill.answers import Answers, Row, hash_of
from cbsigned.backfill.metered import Meter
from cbsigned.backfill.state import Folder, read_rows
from cbsigned.backfill.work import BAD_LINE, NOTHING, Engine, Part, Shape, Tables
from cbsigned.enrichment import Sources
from cbsigned.errors import ConfigError
from cbsigned.observables import parse_process_id
from cbsigned.output import Progress
from cbsigned.settings import Settings

__all__ = ["Run", "Sizes"]

_MOST_REASONS = 5
_KINDS = ("hash", "guid")


class _Watching(Protocol):
    def __call__(self, label: str, total: Optional[int] = None) -> Progress: ...


@dataclass(frozen=True)
class Sizes:
    """How many keys are looked up and kept together: what is lost at most where a run is killed."""

    batch: int


class Run:
    """A back-fill that may have begun earlier.

    Args:
        folder: Held by this process.
        sources: Who is asked; for an EDR within its rate and budget.
        progress: (label, total) → a progress line.

    Attributes:
        asked, failed: Keys that were looked up in this run, and those that got no answer.
    """

    def __init__(
        self, folder: Folder, engine: Engine, shape: Shape, files: Sequence[Path], sources: Sources,
        settings: Settings, prefix: str, sizes: Sizes, progress: _Watching,
    ) -> None:  # fmt: skip
        self.folder, self.engine, self.shape, self.files = folder, engine, shape, list(files)
        self.sources, self.settings, self.sizes = sources, settings, sizes
        self._answers = Answers(sources, settings, shape.format, prefix)
        self._prefix, self._progress = prefix, progress
        self.asked = self.failed = 0

    @property
    def reasons(self) -> list[str]:
        """Why look-ups of this run failed, the first few."""
        return list(self._answers.failures)[:_MOST_REASONS]

    def begin(self, engine: str) -> None:
        """Note what is read and how; see `Folder.begin`."""
        columns = self.shape.columns
        self.folder.begin({
            "version": 1,
            "input": [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in self.files],
            "hash columns": [list(column) for column in columns.hashes],
            "guid column": list(columns.guid) if columns.guid else None,
            "prefix": self._prefix,
            "source": self.sources.binaries.name,
            "depth": self.settings.max_depth if columns.guid else None,
            "engine": engine,
        })  # fmt: skip

    def plan(self, meter: Meter) -> dict[str, Any]:
        """Return what the look-ups would take; nothing is asked, and nothing but the distinct keys is kept.

        Args:
            meter: The sources' own, with a budget of 0.
        """
        found: dict[str, Any] = {"files": len(self.files), "events": 0}
        for kind in self._kinds():
            usable = rows_usable = 0
            last: Optional[str] = None
            before = meter.refused
            for number, batch in enumerate(read_rows(self._keys(kind), self.sizes.batch), 1):
                self._batch(kind, number, _asked_keys(batch), write=False)
                for row in batch:
                    named = hash_of(row["k"]) if kind == "hash" else parse_process_id(row["k"])
                    rows_usable += row["n"] if named else 0
                    usable += named is not None and named != last  # other spellings follow one another
                    last = named
                found["events"] += sum(row["n"] for row in batch) if kind == "hash" else 0
            name = "hash" if kind == "hash" else "guid"
            found[f"events_with_a_{name}"] = rows_usable
            found[f"distinct_{name}es" if kind == "hash" else "distinct_guids"] = usable
            found[f"{name}es_to_ask" if kind == "hash" else "guids_to_ask"] = meter.refused - before
        return found

    def make(self) -> dict[str, Any]:
        """Look up what has no answer, write the parts that are not there or can be better, and return the counts.

        Raises:
            ConfigError: The rows cannot be read or written, or not as many were written as read.
        """
        statuses: Counter[str] = Counter()
        events = open_values = 0
        for kind in self._kinds():
            told, waiting = self._look_up(kind)
            open_values += waiting
            if kind == "hash":
                statuses, events = told, sum(told.values())
        parts = self.engine.parts(self.files, self.shape)
        rows, open_rows = self._write(parts, waiting=open_values > 0)
        if rows != events:
            raise ConfigError(
                f"{rows:,} rows were written, but {events:,} read at first: INPUT was changed meanwhile. "
                "Back-fill it anew into another folder."
            )
        return {
            "events": events, "parts": len(parts), "statuses": dict(statuses.most_common()),
            "looked_up": self.asked, "open_values": open_values, "open_rows": open_rows,
        }  # fmt: skip

    def _kinds(self) -> tuple[str, ...]:
        return _KINDS if self.shape.lineage else _KINDS[:1]

    def _keys(self, kind: str) -> Path:
        there = self.folder.keys(kind)
        if there is not None:
            return there
        with _Wiped(self._progress(f"distinct {'hashes' if kind == 'hash' else 'guids'}", 100)) as line:
            keys = self.engine.keys(self.files, self.shape, kind, lambda share: line.update(int(share * 100)))
            return self.folder.write_keys(kind, keys)

    def _look_up(self, kind: str) -> tuple[Counter[str], int]:
        """Complete the answers of a kind; return the rows of each status, and how many keys are open."""
        path = self._keys(kind)
        self._write_answers(self.folder.answer_file(kind, 0), self._answers.constants(kind, guid=self.shape.lineage))
        statuses: Counter[str] = Counter()
        waiting = done = 0
        with _Wiped(self._progress("looked up")) as line:
            for number, batch in enumerate(read_rows(path, self.sizes.batch), 1):
                answers = {row["k"]: row for row in self._batch(kind, number, _asked_keys(batch), write=True)}
                waiting += sum(row["open"] for row in answers.values())
                for row in batch:
                    statuses[answers[row["k"]]["status"] if row["k"] in answers else "without a hash"] += row["n"]
                done += len(batch)
                line.update(done, f"{waiting:,} without an answer" if waiting else "")
        return statuses, waiting

    def _batch(self, kind: str, number: int, keys: Sequence[str], *, write: bool) -> list[Row]:
        """Return the answers of a batch: those that are kept, and new ones for what is open or missing."""
        path = self.folder.answer_file(kind, number)
        kept: dict[str, Row] = {}
        if path.exists():
            kept = {row["k"]: row for rows in read_rows(path, self.sizes.batch) for row in rows}
        missing = [key for key in keys if key not in kept or kept[key]["open"]]
        if not missing:
            return list(kept.values())
        new = self._answers.of_hashes(missing) if kind == "hash" else self._answers.of_guids(missing)
        self.asked += len(new)
        failed = [row for row in new if row["open"]]
        self.failed += len(failed)
        kept.update((row["k"], row) for row in new)
        if write:
            self._write_answers(path, list(kept.values()))
        return list(kept.values())

    def _write_answers(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        text = "".join([json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows])
        data = text.encode("utf-8", "replace")  # half a character of a record would make the whole file unreadable
        if path.exists() and path.read_bytes() == data:
            return
        temporary = self.folder.scratch / path.name
        temporary.write_bytes(data)
        os.replace(temporary, path)

    def _write(self, parts: Sequence[Part], *, waiting: bool) -> tuple[int, int]:
        """Write what is not there or can be better; return the rows of all parts, and those with an open answer."""
        version = self.folder.version()
        loaded = False
        rows = open_rows = 0
        with _Wiped(self._progress("parts written", len(parts))) as line:
            for at, part in enumerate(parts):
                noted = self.folder.done(part)
                if noted is None or (noted["open"] and noted["answers"] != version):
                    if not loaded:
                        self.engine.load(self.shape, Tables(self.folder.answers("hash"), self.folder.answers("guid")))
                        loaded = True
                    noted = self._part(part, version, line, at, waiting=waiting)
                rows += noted["rows"]
                open_rows += noted["open"]
                line.update(at + 1, f"{rows:,} rows")
        return rows, open_rows

    def _part(self, part: Part, version: str, line: Progress, at: int, *, waiting: bool) -> dict[str, Any]:
        written = self.folder.scratch / f"{part.name}.tmp"
        rows = self.engine.join(part, self.shape, written, lambda share: line.update(at, f"{part.name} {share:.0%}"))
        noted = {
            "rows": rows,
            "open": self.engine.open_rows(part, self.shape) if waiting else 0,
            "answers": version,
            "input": list(part.paths),
        }
        self.folder.finish(part, self.engine.suffix(part, self.shape), written, noted)
        return noted


class _Wiped:
    """A progress line that is wiped at the end, whatever happens."""

    def __init__(self, line: Progress) -> None:
        self._line = line

    def __enter__(self) -> Progress:
        return self._line

    def __exit__(self, *_exc: object) -> None:
        self._line.done()


def _asked_keys(batch: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["k"] for row in batch if row["k"] not in (NOTHING, BAD_LINE)]
