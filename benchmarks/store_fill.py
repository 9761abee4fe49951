"""Stores of two sizes for `bench_store.py`, filled by the product's own writer, and what to ask them for."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from store_world import World

from cbsigned.store.database import open_writer
from cbsigned.store.ids import unpack
from cbsigned.store.writer import Writer

__all__ = ["Sample", "fill", "micros", "opened", "reading_time", "sample"]

BATCH = 100_000
ANCESTORS = 8
_PRAGMAS = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000")
"""While a store is filled nobody reads it, and it need not survive a crash: its pages are written once."""
_CHAIN = """
WITH RECURSIVE up(id, parent_id, depth) AS (
    SELECT id, parent_id, 0 FROM process WHERE id = ?
    UNION ALL SELECT p.id, p.parent_id, depth + 1 FROM up JOIN process p ON p.id = up.parent_id LIMIT 9)
SELECT id FROM up ORDER BY depth
"""


@dataclass(frozen=True)
class Sample:
    """What a store is asked for, and the numbers of what the answers are made of.

    Attributes:
        hashes: MD5s, each with the number of its binary; half of them as often as they are met, half any.
        guids: Of any processes.
        parents: Of any processes that have children.
        deep: Of processes with eight ancestors.
        numbers: By guid, the numbers of the processes in the answer to a chain, the process first.
    """

    hashes: list[tuple[str, int]]
    guids: list[str]
    parents: list[str]
    deep: list[str]
    numbers: dict[str, list[int]]


def fill(path: Path, processes: int, scale: int = 1) -> float:
    """Fill a new store, and return the seconds that the writer took; tells on stderr how far it is."""
    world, wrote, began = World(processes, BATCH, scale), 0.0, time.monotonic()
    with contextlib.closing(open_writer(path)) as db:
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}").fetchall()
        writer, done = Writer(db), 0
        for part in itertools.chain(world.documents(), world.batches()):
            started = time.monotonic()
            writer.write(part)
            wrote += time.monotonic() - started
            done += len(part.starts)
            _tell(f"{path.name}: {done:,} of {processes:,} processes, {time.monotonic() - began:,.0f} s")
        started = time.monotonic()
        writer.finish()
        for pragma in ("analysis_limit=400", "optimize", "journal_mode=WAL"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        wrote += time.monotonic() - started
    _tell("\n")
    return wrote


def sample(path: Path, count: int) -> Sample:
    """Return what to ask a store for, the same in every run.

    Args:
        path: A filled store.
        count: Of each kind; fewer chains where the store has few that are long enough.
    """
    dice = random.Random(7)
    with opened(path) as db:
        last = int(db.execute("SELECT max(id) FROM process").fetchone()[0])
        binaries = int(db.execute("SELECT max(id) FROM binary").fetchone()[0])
        met = [_one(db, "SELECT binary_id FROM process WHERE id = ?", dice.randint(1, last)) for _ in range(count // 2)]
        any_ = [dice.randint(1, binaries) for _ in range(count - count // 2)]
        hashes = [(bytes(_value(db, "SELECT md5 FROM binary WHERE id = ?", n)).hex(), n) for n in (*met, *any_)]
        dice.shuffle(hashes)
        numbers: dict[str, list[int]] = {}
        guids = [_noted(db, numbers, [dice.randint(1, last)]) for _ in range(count)]
        parents: list[str] = []
        deep: list[str] = []
        for _ in range(100 * count):
            chain = [int(row[0]) for row in db.execute(_CHAIN, (dice.randint(1, last),))]
            if len(chain) > 1 and len(parents) < count:
                parents.append(_noted(db, numbers, chain[1:2]))
            if len(chain) == ANCESTORS + 1 and len(deep) < count:
                deep.append(_noted(db, numbers, chain))
            if len(deep) == len(parents) == count:
                break
    return Sample(hashes, guids, parents, deep, numbers)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store as plain SQLite, without any setting of the product."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def reading_time(run: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def micros(times: Sequence[float]) -> float:
    """Return the median of some seconds, in microseconds."""
    return median(times) * 1e6


def _noted(db: sqlite3.Connection, numbers: dict[str, list[int]], chain: list[int]) -> str:
    guid = unpack(bytes(_value(db, "SELECT guid FROM process WHERE id = ?", chain[0])))
    if len(chain) > len(numbers.get(guid, ())):
        numbers[guid] = chain
    return guid


def _one(db: sqlite3.Connection, sql: str, number: int) -> int:
    return int(db.execute(sql, (number,)).fetchone()[0])


def _value(db: sqlite3.Connection, sql: str, number: int) -> bytes:
    return bytes(db.execute(sql, (number,)).fetchone()[0])


def _tell(text: str) -> None:
    """Say how far it is: on a terminal in one line, elsewhere once a million."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
    elif text != "\n":
        print(text, file=sys.stderr, flush=True)
