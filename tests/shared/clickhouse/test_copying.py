"""Copies to ClickHouse: whole, resumed after a kill, refused where they would mix what does not belong together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import pytest

from cbsigned.clickhouse.address import Address, address_of
from cbsigned.clickhouse.copying import check_schema, copy_store
from cbsigned.clickhouse.rows import PARTS
from cbsigned.clickhouse.schema import TABLES
from cbsigned.clickhouse.server import Server
from cbsigned.errors import ConfigError, SourceAuthError, SourceError, SourceResponseError, SourceUnavailable
from cbsigned.store.ingest import ingest
from shared.clickhouse.nodes import CLUSTER, drop
from shared.clickhouse.world import EVENTS
from shared.store.telemetry import start, write_lines


@pytest.fixture
def target(nodes: list[str]) -> Iterator[Address]:
    """Give a database of two shards that is not there yet."""
    address = address_of(f"clickhouse://{','.join(nodes)}/fresh?cluster={CLUSTER}")
    yield address
    drop(address)


@contextlib.contextmanager
def asked(address: Address) -> Iterator[Server]:
    with contextlib.closing(Server(address)) as server:
        yield server


def test_every_table_has_what_fills_it() -> None:
    assert {*PARTS, "copied"} == set(TABLES)


def test_both_shards_hold_a_part_of_the_processes_and_all_of_the_binaries(two: Address) -> None:
    with asked(two) as server:
        counts = [
            [server.rows(f"SELECT count() FROM {table}_local", node=node)[0][0] for node in (0, 1)]
            for table in ("process", "binary", "bin_host", "path")
        ]

    processes, *whole = counts
    assert sum(processes) == 240
    assert min(processes) > 0
    assert all(left == right > 0 for left, right in whole)


def test_events_are_where_their_process_is(two: Address) -> None:
    with asked(two) as server:
        for table in ("modload", "filemod", "regmod", "netconn"):
            sql = f"SELECT count(), countIf(process_id NOT IN (SELECT id FROM process_local)) FROM {table}_local"
            rows = [server.rows(sql, node=node)[0] for node in (0, 1)]
            assert sum(count for count, _astray in rows) > 0
            assert [astray for _count, astray in rows] == [0, 0]


def test_copying_again_sends_nothing(file: Path, two: Address) -> None:
    done = copy_store(file, two)

    assert (done.sent, done.resumed) == (0, True)


def test_copy_that_ended_at_any_moment_goes_on_and_nothing_is_there_twice(file: Path, target: Address) -> None:
    for stop in (1, 3, 5, 8, 13):  # the server has the range, its note is not written
        with pytest.raises(_Ended):
            copy_store(file, target, progress=_ending_after(stop))
        with asked(target) as server:
            server.run("TRUNCATE TABLE copied_local SETTINGS mutations_sync = 2")

    done = copy_store(file, target)  # compares the counts itself

    assert done.sent == done.rows


def test_copy_goes_on_behind_what_is_noted(file: Path, target: Address) -> None:
    with pytest.raises(_Ended):
        copy_store(file, target, progress=_ending_after(4))

    done = copy_store(file, target)

    assert done.resumed
    assert 0 < done.sent < done.rows


def test_copy_that_is_killed_goes_on(tmp_path: Path, target: Address) -> None:
    """kill -9 of the whole command, wherever it is."""
    store = tmp_path / "big.db"
    ingest(store, [write_lines(tmp_path / "a.jsonl", [start(n, n - 1, command_line=f"a {n}") for n in range(2, 9000)])])
    hosts = ",".join(node.partition("://")[2] for node in target.nodes)
    command = [
        sys.executable, "-m", "cbsigned.cli", "store", "copy", str(store), f"clickhouse://{hosts}/fresh?cluster={CLUSTER}",
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with asked(target) as server:
        while running.poll() is None:
            with contextlib.suppress(ConfigError, SourceError):
                if server.rows("SELECT count() FROM process_local")[0][0]:
                    os.kill(running.pid, signal.SIGKILL)
                    break
        running.wait()

    copy_store(store, target)

    with asked(target) as server:
        assert server.rows("SELECT count(), uniqExact(id) FROM process")[0] == [8999, 8999]


def test_unfinished_copy_is_not_asked(file: Path, target: Address) -> None:
    with pytest.raises(_Ended):
        copy_store(file, target, progress=_ending_after(4))

    with asked(target) as server, pytest.raises(ConfigError, match="not finished"):
        check_schema(server)


def test_store_that_has_grown_needs_a_new_database(tmp_path: Path, target: Address) -> None:
    store = tmp_path / "lab.db"
    ingest(store, [write_lines(tmp_path / "a.jsonl", [start(3)])])
    copy_store(store, target)
    ingest(store, [write_lines(tmp_path / "b.jsonl", [start(4)])])

    with pytest.raises(ConfigError, match="earlier state"):
        copy_store(store, target)


def test_rows_that_are_missing_at_the_end_are_told(file: Path, target: Address) -> None:
    copy_store(file, target)
    with asked(target) as server:
        server.run("DELETE FROM process_local WHERE pid = 1003 SETTINGS mutations_sync = 2", node=0)
        server.run("DELETE FROM process_local WHERE pid = 1003 SETTINGS mutations_sync = 2", node=1)

    with pytest.raises(SourceResponseError, match="the store has 240 rows of process"):
        copy_store(file, target)


def test_cluster_of_other_servers_is_refused(file: Path, nodes: list[str]) -> None:
    address = address_of(f"clickhouse://{nodes[0]}/fresh?cluster={CLUSTER}")
    try:
        with pytest.raises(ConfigError, match="has 2 shards"):
            copy_store(file, address)
    finally:
        drop(address)


def test_hostile_texts_arrive_as_they_are(tmp_path: Path, target: Address) -> None:
    lines = ["a\tb\\n\nc\r\0'x'\"{y:String}", "\\", "'", "\\N", "\u2028é\U0001f600", "a\x01b\x02", "[1,'2']", " x "]
    store = tmp_path / "lab.db"
    ingest(
        store, [write_lines(tmp_path / "a.jsonl", [start(n + 5, command_line=line) for n, line in enumerate(lines)])]
    )

    copy_store(store, target)

    with asked(target) as server:
        found = [row[0] for row in server.rows("SELECT cmdline FROM process WHERE cmdline IS NOT NULL ORDER BY pid")]
        assert found == lines
        assert all(server.rows("SELECT {text} = {text}, {text}", {"text": line}) == [[1, line]] for line in lines)
        assert server.rows("SELECT {texts}", {"texts": lines}) == [[lines]]


def test_nothing_there_is_unavailable_with_the_address(file: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        copy_store(file, address_of("clickhouse://127.0.0.1:1/db"))


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        (516, "Code: 516. DB::Exception: no", SourceAuthError, "refused the user me"),
        (403, "<html>", SourceAuthError, "refused"),
        (500, "Code: 164. DB::Exception: readonly", SourceAuthError, "readonly = 2"),
        (200, "<html>login</html>", SourceResponseError, "answered no table"),
        (302, "", SourceResponseError, "answered HTTP 302"),
        (500, "Code: 241. DB::Exception: memory", SourceUnavailable, "too little memory"),
        (500, "Code: 243. DB::Exception: disk", SourceUnavailable, "no space"),
        (500, "Code: 62. DB::Exception: SELECT s3cret", SourceResponseError, "its error 62"),
    ],
)
def test_failures_are_told_in_words_and_without_the_password(
    status: int, body: str, error: type[SourceError], told: str
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = address_of(f"clickhouse://me@127.0.0.1:{http.server_address[1]}/db", None, "s3cret")
        with asked(address) as server, pytest.raises(error, match=told) as failure:
            server.rows("SELECT 1")
        http.shutdown()

    assert "s3cret" not in str(failure.value)


class _Ended(Exception):
    """Our process ends here."""


def _ending_after(calls: int) -> Callable[[int, int], None]:
    left = [calls]

    def progress(_done: int, _total: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise _Ended

    return progress


def test_the_world_is_on_several_sensors() -> None:
    assert len({event["sensor_id"] for event in EVENTS if "sensor_id" in event}) == 4
