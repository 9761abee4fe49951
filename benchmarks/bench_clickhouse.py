"""A store on ClickHouse beside the file that it was copied from, asked through the product; prints Markdown.

    python benchmarks/bench_clickhouse.py                           fills a store, copies it: half an hour, 8 GB
    python benchmarks/bench_clickhouse.py --small                   seconds: 15,000 processes
    python benchmarks/bench_clickhouse.py --store big.db --address 'clickhouse://…'    a finished copy of that file

Without --address two nodes from npm are started on the loopback. Both sides of a row ran on the same machine, in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / name) for name in ("shared", "tests")]

from store_fill import Sample, fill, sample  # noqa: E402

from cbsigned.clickhouse.address import Address, address_of  # noqa: E402
from cbsigned.clickhouse.copying import Copied, copy_store  # noqa: E402
from cbsigned.clickhouse.search import searched  # noqa: E402
from cbsigned.clickhouse.server import Server  # noqa: E402
from cbsigned.clickhouse.source import ClickHouseSource  # noqa: E402
from cbsigned.lineage import lineages  # noqa: E402
from cbsigned.query import parse  # noqa: E402
from cbsigned.store.database import open_reader  # noqa: E402
from cbsigned.store.records import moment  # noqa: E402
from cbsigned.store.search import Page, search_processes  # noqa: E402
from cbsigned.store.source import StoreSource  # noqa: E402
from cbsigned.timing import Deadline, format_time  # noqa: E402
from shared.clickhouse.nodes import CLUSTER, running  # noqa: E402

FAST, SLOW = "≥ 4 × faster", "≤ 20 × slower"
MONTH_MS = 30 * 86_400_000
HEAD = """# ClickHouse beside the embedded store

Written by `make bench-clickhouse` (`benchmarks/bench_clickhouse.py{arguments}`). This run: Python {python}, SQLite
{sqlite}, ClickHouse {server} on {nodes} nodes of one machine with {cores} cores, which others may have been using: read
the ratios. {told} Times are medians of {rounds}, in ms, through the product on both sides, over HTTP for ClickHouse;
answers were compared.
"""


@dataclass(frozen=True)
class Question:
    """One thing that both are asked.

    Attributes:
        floor: What the issue demands, or nothing.
        ours, theirs: Ask the file, and ClickHouse.
    """

    label: str
    floor: str
    ours: Callable[[], object]
    theirs: Callable[[], object]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small store, for trying the benchmark itself")
    parser.add_argument("--store", type=Path, help="a filled store of benchmarks/bench_store.py")
    parser.add_argument("--address", help="where its copy is, finished or not")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--output", type=Path, help="Markdown file to write, instead of standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "store.db"
        if options.store is None:
            fill(store, 15_000 if options.small else 5_000_000, 20 if options.small else 1)
        with _address(Path(folder), options.address) as address:
            text = report(store, address, options.rounds, " --small" if options.small else "")
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


@contextlib.contextmanager
def _address(folder: Path, given: str | None) -> Iterator[Address]:
    if given is not None:
        yield address_of(given)
        return
    with running(folder) as nodes:
        yield address_of(f"clickhouse://{','.join(nodes)}/bench?cluster={CLUSTER}")


def report(store: Path, address: Address, rounds: int, arguments: str) -> str:
    """Return everything that is measured, as Markdown."""
    copied = copy_store(store, address)
    with (
        contextlib.closing(open_reader(store)) as db,
        contextlib.closing(Server(address)) as server,
        StoreSource(store) as ours,
        ClickHouseSource(address) as theirs,
    ):
        head = HEAD.format(
            arguments=arguments, python=platform.python_version(), sqlite=sqlite3.sqlite_version,
            server=server.rows("SELECT version()")[0][0], nodes=len(address.nodes), cores=os.cpu_count(),
            rounds=rounds, told=_told(store, server, copied),
        )  # fmt: skip
        lines = [head, "| question | SQLite | ClickHouse | ratio | floor | holds |", "|---|---|---|---|---|---|"]
        some = sample(store, 1000)
        for question in [*_searches(db, server), *_lookups(some, ours, theirs)]:
            lines.append(_row(question, rounds))
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join([*lines, ""])


def _told(store: Path, server: Server, copied: Copied) -> str:
    counts = {name: server.rows(f"SELECT count() FROM {server.every(name)}")[0][0] for name in ("process", "modload")}
    size = sum(
        int(server.rows("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = {db}",
                        {"db": server.address.database}, node=node)[0][0] or 0)
        for node in range(len(server.address.nodes))
    )  # fmt: skip
    told = (
        f"The store has {counts['process']:,} processes and {counts['modload']:,} module loads, {copied.rows:,} rows "
        f"in all: {store.stat().st_size / 2**20:,.0f} MiB in SQLite, {size / 2**20:,.0f} MiB on all nodes."
    )
    if copied.sent == copied.rows:
        told += f" The copy took {copied.seconds:,.0f} s, {copied.rows / copied.seconds:,.0f} rows/s."
    return told


def _searches(db: sqlite3.Connection, server: Server) -> list[Question]:
    last = int(db.execute("SELECT max(started) FROM process").fetchone()[0])
    month = f"start:[{format_time(moment(last - MONTH_MS))} TO {format_time(moment(last))}]"
    asked = [
        ("facet of process names over 30 days", FAST, month, {"facets": ["process_name"], "rows": 0, "count": False}),
        ("facets of names, hosts and hours over 30 days", "", month,
         {"facets": ["process_name", "hostname", "hour_of_day"], "rows": 0, "count": False}),
        ("count of a very frequent token", FAST, "cmdline:-session", {"rows": 0}),
        ("count of a frequent token", "", "cmdline:-servicehost", {"rows": 0}),
        ("ten newest of a very frequent token", "", "cmdline:-session", {"rows": 10, "count": False}),
        ("ten newest of a rare token", "", "cmdline:seldom", {"rows": 10, "count": False}),
        ("unanchored path", "", r"path:*ool01*\*7.exe", {"rows": 10}),
        ("unanchored module load", "", "modload:*l1012*", {"rows": 10}),
    ]  # fmt: skip
    return [
        Question(label, floor, partial(_page, search_processes, db, text, options),
                 partial(_page, searched, server, text, options))
        for label, floor, text, options in asked
    ]  # fmt: skip


def _page(find: Callable[..., Page], place: object, text: str, options: dict[str, object]) -> object:
    page = find(place, parse(text, "process"), deadline=Deadline(120), **options)
    assert not page.incomplete, text
    return page.numbers, page.total, page.facets


def _lookups(some: Sample, ours: StoreSource, theirs: ClickHouseSource) -> list[Question]:
    hashes = [md5 for md5, _number in some.hashes]
    asked: list[tuple[str, Callable[[StoreSource | ClickHouseSource], object]]] = [
        ("1,000 hashes at once", lambda source: source.binaries(hashes, Deadline(120))),
        ("1,000 process ids at once", lambda source: source.processes(some.guids, Deadline(120))),
        ("children of 200 processes", lambda source: source.children(some.parents[:200], 50, Deadline(120))),
        ("8 ancestors of 1,000 processes", lambda source: _chains(source, some.deep)),
    ]
    return [Question(label, SLOW, partial(ask, ours), partial(ask, theirs)) for label, ask in asked]


def _chains(source: StoreSource | ClickHouseSource, guids: list[str]) -> object:
    chains = lineages(source, guids, Deadline(120), max_depth=8)
    return {guid: [node.process.guid for node in chain.nodes] for guid, chain in chains.items()}


def _row(question: Question, rounds: int) -> str:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):  # the first warms both
        answers = []
        for name, ask in (("ours", question.ours), ("theirs", question.theirs)):
            began = time.perf_counter()
            answers.append(ask())
            if number:
                times[name].append((time.perf_counter() - began) * 1000)
    assert _same(*answers), question.label
    ours, theirs = median(times["ours"]), median(times["theirs"])
    faster = ours / theirs
    told = f"{faster:.1f} × faster" if faster >= 1 else f"{theirs / ours:.1f} × slower"
    holds = {FAST: faster >= 4, SLOW: theirs / ours <= 20}.get(question.floor)
    shown = "" if holds is None else "yes" if holds else "**no**"
    return f"| {question.label} | {ours:,.1f} | {theirs:,.1f} | {told} | {question.floor} | {shown} |"


def _same(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):  # records of one binary come in either order
        return {key: _plain(value) for key, value in ours.items()} == {k: _plain(v) for k, v in theirs.items()}
    return ours == theirs


def _plain(value: object) -> object:
    return sorted(map(repr, value)) if isinstance(value, tuple) else value


if __name__ == "__main__":
    sys.exit(main())
