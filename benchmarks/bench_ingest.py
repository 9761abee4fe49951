"""How fast telemetry goes into the store, against bare SQLite in the same run; prints Markdown.

    python benchmarks/bench_ingest.py [EVENTS]

The floor is `executemany` of the same events, already parsed, into one plain table of texts with one index. The
second peer parses the JSON first. The third writes the very rows that our store ends up with, numbers already
given and words cut, into the very same tables and indexes; it is compared with our writer alone, parsing excluded.
Best of three each; every run begins with an empty file.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "shared"))

from cbsigned.store.database import open_writer  # noqa: E402
from cbsigned.store.documents import translate  # noqa: E402
from cbsigned.store.index import TABLES, open_index  # noqa: E402
from cbsigned.store.ingest import BATCH, ingest  # noqa: E402
from cbsigned.store.readers import files_of, read_items  # noqa: E402
from cbsigned.store.rows import Batch  # noqa: E402
from cbsigned.store.writer import Writer  # noqa: E402

COLUMNS = ("type", "timestamp", "computer_name", "process_guid", "md5", "path", "rest")
EVENT_TABLES = ("modload", "filemod", "regmod", "netconn", "childproc", "crossproc", "process", "message")
BEGAN = 1_600_000_000


def generated(events: int) -> Iterator[dict[str, Any]]:
    """Yield about `events` events of 200 hosts in the mix of the real recording; the same ones in every run."""
    dice = random.Random(20210420)
    files = [(f"{dice.getrandbits(128):032X}", f"c:\\windows\\system32\\{n:05d}.dll") for n in range(3000)]
    made = 0
    while made < events:
        sensor, pid = dice.randint(1, 200), dice.randrange(4, 60000, 4)
        at = BEGAN + made // 40
        ticks = (at + 11_644_473_600) * 10_000_000 + dice.randrange(9_000_000)
        guid = f"{sensor:08x}-{pid >> 16:04x}-{pid & 65535:04x}-{ticks >> 48:04x}-{ticks & (1 << 48) - 1:012x}"
        base = {
            "cb_server": "cbserver", "computer_name": f"HOST-{sensor:03d}", "sensor_id": sensor, "process_guid": guid,
            "pid": pid, "timestamp": at, "link_process": f"https://cbserver/#analyze/{guid}/1",
        }  # fmt: skip
        image, path = files[dice.randrange(300)]
        parent = f"{sensor:08x}-0000-{dice.randrange(4, 400, 4):04x}-01d6-8a3b00000000"
        command = f'"{path}" /job {dice.randrange(2000)} /user {dice.randrange(50)}'
        yield {**base, "type": "ingress.event.procstart", "event_type": "proc", "md5": image, "path": path,
               "command_line": command, "username": "SYSTEM", "parent_process_guid": parent}  # fmt: skip
        for number in sorted({min(int(dice.paretovariate(0.35)) - 1, 2999) for _ in range(60)})[:28]:
            md5, name = files[number]
            yield {**base, "type": "ingress.event.moduleload", "event_type": "modload", "md5": md5, "path": name}
        for _ in range(11):
            name = f"c:\\users\\u{sensor}\\appdata\\local\\temp\\{dice.randrange(20000)}.tmp"
            yield {**base, "type": "ingress.event.filemod", "event_type": "filemod", "md5": image, "path": name,
                   "action": "write", "actiontype": 2}  # fmt: skip
        for _ in range(10):
            name = f"\\registry\\machine\\software\\vendor\\key{dice.randrange(8000)}"
            yield {**base, "type": "ingress.event.regmod", "event_type": "regmod", "md5": image, "path": name,
                   "action": "writeval", "actiontype": 2}  # fmt: skip
        made += 50  # a few loads fewer, where a popular file was drawn twice


def plain(record: dict[str, Any]) -> tuple[object, ...]:
    """Return an event as one row of texts."""
    rest = {name: value for name, value in record.items() if name not in COLUMNS}
    return (*(record.get(name) for name in COLUMNS[:-1]), json.dumps(rest))


def bare(folder: Path, rows: list[tuple[object, ...]]) -> None:
    """Write rows of texts into one table with one index, as many to a transaction as ingest writes."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(f"CREATE TABLE event ({', '.join(COLUMNS)})")
    db.execute("CREATE INDEX event_guid ON event (process_guid)")
    for start in range(0, len(rows), BATCH):
        db.execute("BEGIN")
        db.executemany("INSERT INTO event VALUES (?,?,?,?,?,?,?)", rows[start : start + BATCH])
        db.execute("COMMIT")
    db.close()


def interned(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of a finished store in the order in which events came (by time)."""
    db = sqlite3.connect(store)
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {
        n: db.execute(f"SELECT * FROM {n}").fetchall() for n in names if not n.startswith("sqlite") and "_fts" not in n
    }
    for name, table in TABLES.items():  # the words of distinct texts, cut already
        rows[table.index] = [(number, table.tokens(value)) for number, value, *_rest in rows[name]]
    for name in EVENT_TABLES[:3]:
        rows[name].sort(key=lambda row: row[2])
    db.close()
    return rows


def same_schema(folder: Path, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    """Write finished rows into the same tables and indexes."""
    db = open_writer(folder / "same.db")
    open_index(db)
    for name, table in rows.items():
        into = f"{name} (rowid, words)" if name.endswith("_fts") else name
        marks = ",".join("?" * len(table[0])) if table else ""
        for start in range(0, len(table), BATCH):
            db.execute("BEGIN")
            db.executemany(f"INSERT OR IGNORE INTO {into} VALUES ({marks})", table[start : start + BATCH])
            db.execute("COMMIT")
    db.close()


def written(folder: Path, batches: list[Batch]) -> None:
    """Write translated batches with our writer."""
    db = open_writer(folder / "ours.db")
    writer = Writer(db)
    for batch in batches:
        writer.write(batch)
    writer.finish()
    db.close()


def translated(records: list[dict[str, Any]]) -> list[Batch]:
    """Return the batches that ingest would write."""
    batches = []
    for start in range(0, len(records), BATCH):
        batches.append(Batch())
        for record in records[start : start + BATCH]:
            translate(record, None, batches[-1])
    return batches


def best(run: Callable[[Path], object], times: int = 3) -> float:
    """Return the shortest of some runs, in seconds, each in an empty folder."""
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            run(Path(folder))
            found.append(time.perf_counter() - began)
    return min(found)


def measure(name: str, files: list[Path], scratch: Path) -> None:
    """Print the rows of one data set."""
    records: list[dict[str, Any]] = []
    for file in files_of(files):
        with open(file, "rb", buffering=0) as raw:
            records += [item.record for item in read_items(file, raw) if item.record is not None]
    lines = scratch / "lines.jsonl"
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = [plain(record) for record in records]
    ours = best(lambda folder: ingest(folder / "ours.db", files))
    ours_lines = best(lambda folder: ingest(folder / "ours.db", [lines]))
    floor = best(lambda folder: bare(folder, rows))
    parsing = best(lambda folder: bare(folder, [plain(json.loads(line)) for line in lines.open()]))
    store = scratch / f"{len(records)}.db"
    ingest(store, files)
    finished = interned(store)
    total = sum(len(finished[table]) for table in EVENT_TABLES)
    same = best(lambda folder: same_schema(folder, finished))
    batches = translated(records)
    writer = best(lambda folder: written(folder, batches))
    print(f"| {name} | {len(records):,} | | |")
    for label, seconds, peer in (
        ("our ingest of the files as they are", ours, floor),
        ("our ingest of JSON lines", ours_lines, floor),
        ("bare `executemany`, one table of texts, one index (floor)", floor, floor),
        ("the same after `json.loads`", parsing, floor),
        ("our ingest of JSON lines, against the row above", ours_lines, parsing),
        (f"our writer alone (parsing excluded; {total:,} rows)", writer, same),
        ("`executemany` of the finished rows, same schema and indexes", same, same),
    ):
        print(f"| {label} | | {len(records) / seconds:,.0f} | {peer / seconds:.2f} |")
    _sizes(store, records)


def _sizes(store: Path, records: list[dict[str, Any]]) -> None:
    db = sqlite3.connect(store)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = store.stat().st_size
    text = sum(len(json.dumps(record)) for record in records)
    print(f"| store: {size:,} bytes; JSON: {text:,} bytes | | | {size / text:.2f} |")
    try:
        sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('modload', 'modload_file')"
        loads = db.execute("SELECT count(*) FROM modload").fetchone()[0]
        print(f"| bytes per module load, index included | | {db.execute(sql).fetchone()[0] / loads:.1f} | |")
    except sqlite3.OperationalError:
        print("| bytes per module load: this SQLite has no dbstat | | | |")
    db.close()


def main() -> None:
    """Measure the real recording, where it is there, and the generated set."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    print("| | events | events/s | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        real = PROJECT.parent / "shared" / "data" / "cb-response-splunk-app"
        if real.is_dir():
            measure("**real: cb-response-splunk-app**", [real / "alerts.csv.gz", real / "events.csv.gz"], scratch)
        file = scratch / "generated.jsonl"
        with file.open("w") as out:
            out.writelines(json.dumps(record) + "\n" for record in generated(events))
        measure("**generated**", [file], scratch)


if __name__ == "__main__":
    main()
