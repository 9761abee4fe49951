"""What writing costs beside bare SQLite, and how large the store becomes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench_ingest import EVENT_TABLES, interned, same_schema, written
from store_fill import opened, reading_time
from store_world import World

__all__ = ["sizes", "writes"]

_ROUNDS = 3


def writes(folder: Path, processes: int, scale: int = 1) -> list[str]:
    """Return a Markdown table: our writer against `executemany` of the rows that it makes, same schema and indexes.

    Args:
        folder: Where there is room.
        processes: How many; their batches and rows are held in memory.
        scale: Of their world.
    """
    batches = [*World(processes, scale=scale).batches()]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        written(Path(made), batches)
        rows = interned(Path(made) / "ours.db")
    total = sum(len(rows[table]) for table in EVENT_TABLES)
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(_ROUNDS):
        for times, run in ((ours, lambda into: written(into, batches)), (bare, lambda into: same_schema(into, rows))):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                times.append(reading_time(lambda: run(Path(place))))  # noqa: B023 (called at once)
    ratio = min(bare) / min(ours)
    return [
        f"Best of {_ROUNDS}, into an empty file: {processes:,} processes with what they loaded and wrote.",
        "",
        "| | event rows/s | ours / bare | floor |",
        "|---|---|---|---|",
        f"| our writer: batches of telemetry, words indexed | {total / min(ours):,.0f} | {ratio:.2f} | ≥ 0.4 |",
        f"| `executemany` of the finished rows, same schema and indexes | {total / min(bare):,.0f} | 1.00 | |",
    ]


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
