"""Look-ups through the product, in a large store and a small one, against bare SELECTs by primary key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from store_fill import ANCESTORS, Sample, micros, opened, reading_time, sample

from cbsigned.lineage import Relatives, lineages
from cbsigned.process import Process
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline

__all__ = ["lookups"]

_CHUNK = 50
_LIMIT = 50
_BINARY = "SELECT * FROM binary WHERE id = ?"
_RECORD = "SELECT * FROM binary_record WHERE binary_id = ?"
_PROCESS = "SELECT * FROM process WHERE id = ?"
_CHILDREN = "SELECT id FROM process WHERE parent_id = ? ORDER BY started LIMIT ?"

Steps = Sequence[tuple[str, int]]
"""Bare statements, each with the primary key that it reads."""


class _Store:
    """One store, to be asked through the product and through bare SQLite.

    Args:
        path: Filled.
        count: How often each kind of question is asked.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, count: int) -> None:
        self._source, self._db, self._forever = StoreSource(path), db, Deadline(1e9)
        self._sample: Sample = sample(path, count)
        self.product: dict[str, list[float]] = {name: [] for name in _KINDS}
        self.bare: dict[str, list[float]] = {name: [] for name in _KINDS}
        self.steps: dict[str, list[int]] = {name: [] for name in _KINDS}

    def close(self) -> None:
        """Close the store."""
        self._source.close()

    def questions(self, kind: str) -> list[tuple[Callable[[], object], Steps]]:
        """Return what is asked, each with the rows that its answer consists of."""
        found, numbers = self._sample, self._sample.numbers
        if kind == "hash":
            return [(partial(self._binary, md5), [(_BINARY, n), (_RECORD, n)]) for md5, n in found.hashes]
        if kind == "guid":
            return [(partial(self._process, guid), _processes(numbers[guid][:1])) for guid in found.guids]
        if kind == "children":
            families = [(guid, self._family(numbers[guid][0])) for guid in found.parents]
            return [(partial(self._children, guid), _processes(family)) for guid, family in families]
        return [(partial(self._chain, guid), _processes(numbers[guid])) for guid in found.deep]

    def ask(self, kind: str, part: Sequence[tuple[Callable[[], object], Steps]]) -> None:
        """Ask some of the questions, of the product and bare in turn."""
        for place, (run, steps) in enumerate(part):
            ways = [(self.product, run), (self.bare, lambda: self._read(steps))]  # noqa: B023 (called at once)
            for times, way in ways if place % 2 else reversed(ways):
                times[kind].append(reading_time(way))
            self.steps[kind].append(len(steps))

    def _read(self, steps: Steps) -> None:
        execute = self._db.execute
        for sql, number in steps:
            execute(sql, (number,)).fetchone()

    def _family(self, parent: int) -> list[int]:
        return [parent, *(int(row[0]) for row in self._db.execute(_CHILDREN, (parent, _LIMIT)))]

    def _binary(self, md5: str) -> None:
        assert md5 in self._source.binaries([md5], self._forever)

    def _process(self, guid: str) -> None:
        assert isinstance(self._source.processes([guid], self._forever)[guid], Process)

    def _children(self, guid: str) -> None:
        answer = self._source.children([guid], _LIMIT, self._forever)[guid]
        assert isinstance(answer, Relatives)
        assert answer.nodes

    def _chain(self, guid: str) -> None:
        chain = lineages(self._source, [guid], self._forever, max_depth=ANCESTORS)[guid]
        assert len(chain.nodes) == ANCESTORS + 1


def _read_through(path: Path) -> None:
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def _processes(numbers: Sequence[int]) -> Steps:
    return [(_PROCESS, number) for number in numbers]


_KINDS = {
    "hash": "binary by hash", "guid": "process by guid", "children": f"children, at most {_LIMIT}",
    "ancestors": f"{ANCESTORS} ancestors",
}  # fmt: skip


def lookups(small: Path, large: Path, count: int = 1000) -> list[str]:
    """Return a Markdown table: p50 in both stores, and what bare SQLite takes for the rows of the same answers.

    Both files are read once before: what is measured is the store, not the disk.
    """
    with opened(small) as small_db, opened(large) as large_db:
        stores = [_Store(small, small_db, count), _Store(large, large_db, count)]
        for kind in _KINDS:
            for path in (small, large):
                _read_through(path)
            asked = [store.questions(kind) for store in stores]
            for start in range(0, count, _CHUNK):
                for store, questions in zip(stores, asked):
                    store.ask(kind, questions[start : start + _CHUNK])
        for store in stores:
            store.close()
    few, many = stores
    lines = [
        "| look-up, through `StoreSource` and `lineages` | p50 small, µs | p50 large, µs | large / small | floor |"
        " steps (p50) | bare SELECTs, p50 µs | product / bare | floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, label in _KINDS.items():
        was, now, bare = (micros(times) for times in (few.product[kind], many.product[kind], many.bare[kind]))
        steps = sorted(many.steps[kind])[len(many.steps[kind]) // 2]
        ratios = f"{now / was:.2f} | ≤ 2 | {steps} | {bare:.0f} | {now / bare:.2f} | ≤ 5"
        lines.append(f"| {label} | {was:.0f} | {now:.0f} | {ratios} |")
    return lines
