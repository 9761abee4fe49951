"""Every question uses indexes: no statement reads a whole table of events, processes or files."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any, Callable

import pytest

from cbsigned.samples import sample_path
from cbsigned.store import reading as reading_module
from cbsigned.store import source as source_module
from cbsigned.store.binary_command import binary
from cbsigned.store.database import open_reader
from cbsigned.store.ingest import ingest
from cbsigned.store.process_command import process
from cbsigned.store.related_command import related
from cbsigned.store.sweep_command import sweep_list
from shared.store.asking import ask

PROCMON64 = "b0a3ecc9eaa2521ddea2fc067785b84e"
LARGE = {
    "process", "modload", "filemod", "regmod", "netconn", "childproc", "crossproc", "message", "file", "path", "name",
    "binary", "binary_record", "bin_host", "regpath", "cmdline", "extra", "account", "binary_text", "process_text",
}  # fmt: skip
"""Tables that grow with what is recorded. `domain` is read whole on purpose, once a sweep, and is not among them."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "sample.db"
    ingest(path, [sample_path("telemetry")])
    return path


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is asked of any store from now on."""
    asked: list[str] = []

    def traced(path: Path) -> sqlite3.Connection:
        db = open_reader(path)
        db.set_trace_callback(asked.append)
        return db

    monkeypatch.setattr(reading_module, "open_reader", traced)
    monkeypatch.setattr(source_module, "open_reader", traced)
    return asked


def whole_tables_read(store: Path, sql: str) -> set[str]:
    """Return which large tables a statement reads from end to end."""
    db = sqlite3.connect(store)
    try:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    finally:
        db.close()
    names = {alias: table for table, alias in re.findall(r"(?:FROM|JOIN|,)\s+(\w+)\s+(?:AS\s+)?(\w+)", sql)}
    whole = re.compile(
        r"SCAN (?:TABLE )?(\w+)|SEARCH (?:TABLE )?(\w+) USING [^(]*\(\w+[<>]"
    )  # a span may be everything
    scanned = {match.group(1) or match.group(2) for match in map(whole.match, plan) if match}
    return {names.get(alias, alias) for alias in scanned} & LARGE


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (related, ["related", PROCMON64]),
        (related, ["related", "ef" * 32]),
        (binary, ["binary", PROCMON64]),
        (process, ["process", "00000001-0000-0f40-01d2-e4ee910d2930"]),
        (process, ["process", "00000001-0000-0f40-01d2-e4ee910d2930", "--kind", "block", "--since", "2017-06-14"]),
        (sweep_list, ["sweep", "-"]),
    ],
    ids=["related md5", "related sha256", "binary", "process", "process kind", "sweep"],
)
def test_no_question_reads_a_whole_table(
    store: Path, statements: list[str], command: Callable[[Any], None], argv: list[str]
) -> None:
    listed = "\n".join(
        [PROCMON64, "ef" * 32, "203.0.113.24", "example.test", "procmon64.exe", "c:\\windows\\explorer.exe"]
    )

    code, _, _ = ask(command, store, *argv, stdin=listed.encode())

    asked = [sql for sql in statements if re.match(r"\s*(SELECT|WITH)\b", sql)]
    assert code == 0
    assert asked
    assert {sql: tables for sql in asked if (tables := whole_tables_read(store, sql))} == {}


def test_a_whole_read_would_be_seen(store: Path) -> None:
    assert whole_tables_read(store, "SELECT e.at FROM filemod e JOIN process p ON p.id = e.process_id") == {"filemod"}
    assert whole_tables_read(store, "SELECT * FROM modload WHERE at > 5") == {"modload"}
    written = "SELECT e.at FROM filemod e INDEXED BY filemod_written WHERE e.binary_id > 0"
    assert whole_tables_read(store, written) == {"filemod"}
