"""`cbsigned store copy`: a store's file into ClickHouse, in ranges of rows, going on where it was interrupted.

A range that was sent and not noted is sent again under the same token, which the server then passes over. The file
must be the same from the first run to the last.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbsigned.clickhouse.address import Address
from cbsigned.clickhouse.rows import PARTS, Part, lines_of, shard_key, span
from cbsigned.clickhouse.schema import SCHEMA_VERSION, TABLES, distributed_ddl, local_ddl
from cbsigned.clickhouse.server import Server
from cbsigned.errors import ConfigError, SourceResponseError
from cbsigned.store.index import backlog
from cbsigned.store.reading import reading

__all__ = ["Copied", "check_schema", "copy_store"]

OLDEST_SERVER = (26, 2)
"""The first release whose index of tokens is no experiment."""
_ROWS = 100_000
_SHARDED = {name for name, table in TABLES.items() if table.sharded}
_DONE = "done"


@dataclass(frozen=True)
class Copied:
    """What a copy did.

    Attributes:
        rows: In the store, over all tables; a row that is on every shard counts once.
        sent: In this run.
        resumed: An earlier run had begun it.
    """

    rows: int
    sent: int
    resumed: bool
    seconds: float


def copy_store(path: Path, address: Address, progress: Callable[[int, int], None] = lambda _d, _t: None) -> Copied:
    """Copy a store's file, and compare how many rows are on both sides.

    Args:
        path: The store; it is read as it is when the copy begins.
        address: Where to; the database is made where there is none.
        progress: Called with rows done and rows in all.

    Raises:
        ConfigError: No such store, a server that is too old, or a database that holds something else.
        SourceError: A side failed; the same command goes on from there. Or the counts differ at the end.
    """
    began = time.monotonic()
    server = Server(address)
    try:
        with reading(path) as db:
            if backlog(db, messages=True):
                raise ConfigError(
                    f"Messages of {path} are not indexed yet. Index them: cbsigned store vacuum --store {path}"
                )
            _make(server)
            copy = _Copy(db, server, _print_of(db), progress)
            copy.run()
            return Copied(copy.total, copy.sent, copy.resumed, time.monotonic() - began)
    finally:
        server.close()


def check_schema(server: Server) -> None:
    """Refuse a database that no copy has been finished to.

    Raises:
        ConfigError: It is none, or of another version.
        SourceError: It cannot be asked.
    """
    rows = server.rows("SELECT part, max(upto) FROM copied_local GROUP BY part")
    parts = dict(map(tuple, rows))
    version = parts.get("version")
    if version is not None and version != SCHEMA_VERSION:
        raise ConfigError(
            f"{server.address.shown} has schema version {version}, and this cbsigned knows {SCHEMA_VERSION}. "
            "Copy the store again into a new database."
        )
    if _DONE not in parts:
        raise ConfigError(
            f"The copy to {server.address.shown} is not finished. Run the same cbsigned store copy again."
        )


def _make(server: Server) -> None:
    """Make what is missing, on every node.

    Raises:
        ConfigError: A server is too old.
    """
    database, cluster = server.address.database, server.address.cluster
    for node in range(len(server.address.nodes)):
        server.run(f"CREATE DATABASE IF NOT EXISTS {database}", node=node, database=False)
        version = str(server.rows("SELECT version()", node=node)[0][0])
        numbers = re.findall(r"\d+", version)[:2]
        if tuple(map(int, numbers)) < OLDEST_SERVER:
            raise ConfigError(
                f"ClickHouse at {server.address.nodes[node].partition('://')[2]} is {version[:20]}; "
                f"{'.'.join(map(str, OLDEST_SERVER))} or newer is needed, for its index of tokens. Upgrade it."
            )
        for name in TABLES:
            server.run(local_ddl(name), node=node)
    if cluster:
        _check_cluster(server, cluster)
        for node in range(len(server.address.nodes)):
            for name in sorted(_SHARDED):
                server.run(distributed_ddl(name, database, cluster), node=node)


def _check_cluster(server: Server, cluster: str) -> None:
    """Refuse a cluster that has other shards than the address names: rows would be missing.

    Raises:
        ConfigError: It has.
    """
    sql = "SELECT uniqExact(shard_num), count() FROM system.clusters WHERE cluster = {cluster}"
    for node in range(len(server.address.nodes)):
        shards, replicas = server.rows(sql, {"cluster": cluster}, node=node)[0]
        if shards != len(server.address.nodes) or replicas != shards:
            raise ConfigError(
                f"The cluster {cluster} has {shards} shards and {replicas} servers, and the store's address names "
                f"{len(server.address.nodes)}. Name one server of every shard; replicas are not supported."
            )


class _Copy:
    """One run over one snapshot of the file."""

    def __init__(
        self, db: sqlite3.Connection, server: Server, source: str, progress: Callable[[int, int], None]
    ) -> None:
        self._db, self._server, self._source, self._progress = db, server, source, progress
        self._nodes = len(server.address.nodes)
        self._counts = {name: int(db.execute(span(part)[1]).fetchone()[0]) for name, part in PARTS.items()}
        self.total = sum(self._counts.values())
        self._noted = self._read_notes()
        self.resumed = bool(self._noted)
        self.sent = self._passed = 0
        self._shard_of = array("H")

    def run(self) -> None:
        """Send what is missing, compare, and note that it is whole."""
        self._note("version", SCHEMA_VERSION, 0)
        self._shard_of = self._shards()
        for name, part in PARTS.items():
            self._fill(name, part)
        self._compare()
        self._note(_DONE, 1, self.total)

    def _read_notes(self) -> dict[str, tuple[int, int]]:
        rows = self._server.rows("SELECT source, part, max(upto), sum(rows) FROM copied_local GROUP BY source, part")
        if any(source != self._source for source, *_rest in rows):
            raise ConfigError(
                f"{self._server.address.shown} holds another store, or an earlier state of this one. "
                "Name a new database: what two states of a store say of one process cannot be joined there."
            )
        return {part: (upto, count) for _source, part, upto, count in rows}

    def _note(self, part: str, upto: int, rows: int) -> None:
        if part in self._noted and self._noted[part][0] >= upto:
            return
        line = "\t".join([self._source, part, str(upto), str(rows), str(int(time.time() * 1000))]) + "\n"
        self._server.insert(0, "copied_local", [line], {})

    def _shards(self) -> array[int]:
        """Return the shard of every process, by its number."""
        last = int(self._db.execute("SELECT coalesce(max(id), 0) FROM process").fetchone()[0])
        shards = array("H", bytes(2 * (last + 1)))
        if self._nodes > 1:
            sql = "SELECT p.id, p.guid, h.short FROM process p LEFT JOIN host h ON h.id = p.host_id"
            for number, guid, host in self._db.execute(sql):
                shards[number] = shard_key(guid, host) % self._nodes
        return shards

    def _fill(self, name: str, part: Part) -> None:
        last = int(self._db.execute(span(part)[0]).fetchone()[0])
        first, passed = self._noted.get(name, (0, 0))
        self._passed += passed
        step = max(1, _ROWS * max(1, last) // max(_ROWS, self._counts[name]))
        while first < last:
            upto = min(last, first + step)
            rows = self._db.execute(part.sql, (first, upto)).fetchall()
            if rows:
                self._send(name, part, rows, upto)
            self.sent += len(rows)
            self._passed += len(rows)
            self._note(name, upto, len(rows))
            self._progress(self._passed, self.total)
            first = upto

    def _send(self, name: str, part: Part, rows: Sequence[Sequence[Any]], upto: int) -> None:
        for node, lines in self._divided(name, part, rows):
            token = f"{self._source}:{name}:{upto}"
            self._server.insert(node, f"{name}_local", lines, {
                "insert_deduplication_token": token, "insert_deduplicate": "1", "max_insert_block_size": "10000000",
                "min_insert_block_size_rows": "10000000", "min_insert_block_size_bytes": str(2**32),
                "input_format_parallel_parsing": "0",
            })  # fmt: skip

    def _divided(self, name: str, part: Part, rows: Sequence[Sequence[Any]]) -> list[tuple[int, Sequence[str]]]:
        """Return for each node its lines; of a table that is complete everywhere, the same for all."""
        lines = list(lines_of(part, rows))
        if name not in _SHARDED:
            return [(node, lines) for node in range(self._nodes)]
        found: list[list[str]] = [[] for _node in range(self._nodes)]
        for row, line in zip(rows, lines):  # a row's second value is its process
            found[self._shard_of[row[1]]].append(line)
        return [(node, lines) for node, lines in enumerate(found) if lines]

    def _compare(self) -> None:
        for name, wanted in self._counts.items():
            sql = f"SELECT count() FROM {name}_local"  # noqa: S608 (our own names)
            counts = [int(self._server.rows(sql, node=node)[0][0]) for node in range(self._nodes)]
            good = sum(counts) == wanted if name in _SHARDED else set(counts) == {wanted}
            if not good:
                raise SourceResponseError(
                    f"The copy is not whole: the store has {wanted:,} rows of {name}, {self._server.address.shown} has "
                    f"{', '.join(f'{count:,}' for count in counts)}. Copy it again into a new database."
                )


def _print_of(db: sqlite3.Connection) -> str:
    """Return what tells one state of a store from all others."""
    queries = (
        "SELECT max(id), sum(described), max(updated) FROM process", "SELECT max(id) FROM message",
        "SELECT count(*), max(at), sum(position), sum(read) FROM ingested", "SELECT sum(events) FROM kind",
        "SELECT max(id) FROM binary", "SELECT max(id) FROM path",
    )  # fmt: skip
    told = [db.execute(sql).fetchone() for sql in queries]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]
