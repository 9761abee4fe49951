"""What writing costs beside bare SQLite, and how large the store becomes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench_ingest import EVENT_TABLES, generated, interned, same_schema, translated, written
from store_fill import opened, reading_time
from store_world import World

from cbsigned.store.rows import Batch

__all__ = ["sizes", "writes"]

_ROUNDS = 3


def writes(folder: Path, processes: int, scale: int = 1) -> list[str]:
    """Return a Markdown table: our writer against `executemany` of the rows that it makes, same schema and indexes.

    Args:
        folder: Where there is room.
        processes: How many of the large store's world; their batches and rows are held in memory.
        scale: Of that world.
    """
    mixes = {
        "a sensor's mix: 50 events of each process": translated([*generated(processes)]),
        "this store's: starts with two loads and what they wrote": [*World(processes, scale=scale).batches()],
    }
    lines = [
        f"Best of {_ROUNDS}, into an empty file.",
        "",
        "| telemetry | event rows | our writer, words indexed, rows/s | `executemany`, rows/s | ours / bare | floor |",
        "|---|---|---|---|---|---|",
    ]
    for name, batches in mixes.items():
        total, ours, bare = _raced(folder, batches)
        rates = f"{total / ours:,.0f} | {total / bare:,.0f} | {bare / ours:.2f}"
        lines.append(f"| {name} | {total:,} | {rates} | ≥ 0.4 |")
    return [*lines, "", _WHY]


_WHY = """\
The rate counts rows of events. In the second mix every third of them is a process's start, which costs most: names,
paths, command lines and their words, host, parent, and the hosts of its image."""


def _raced(folder: Path, batches: list[Batch]) -> tuple[int, float, float]:
    """Return how many event rows there are, and the seconds that our writer and bare SQLite took."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        written(Path(made), batches)
        rows = interned(Path(made) / "ours.db")
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(_ROUNDS):
        for times, run in ((ours, lambda into: written(into, batches)), (bare, lambda into: same_schema(into, rows))):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                times.append(reading_time(lambda: run(Path(place))))  # noqa: B023 (called at once)
    return sum(len(rows[table]) for table in EVENT_TABLES), min(ours), min(bare)


def sizes(store: Path) -> list[str]:
    """Return a Markdown table of the store's size and of one module load's.

    What loads take is what the file would get back without them: their table with its index, as it was filled.
    """
    with opened(store) as db:
        (rows,) = db.execute("SELECT count(*) FROM modload").fetchone()
        (processes,) = db.execute("SELECT count(*) FROM process").fetchone()
        page, pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in _PAGES)
        db.execute("BEGIN")
        db.execute("DROP TABLE modload")
        (freed,) = db.execute("PRAGMA freelist_count").fetchone()
        db.execute("ROLLBACK")
    return [
        "| | | floor |",
        "|---|---|---|",
        f"| the store: bytes per process, everything included | {page * pages / processes:,.0f} | |",
        f"| bytes per module load, index included, of {rows:,} | {page * (freed - free) / rows:.1f} | ≤ 50 |",
    ]


_PAGES = ("page_size", "page_count", "freelist_count")
