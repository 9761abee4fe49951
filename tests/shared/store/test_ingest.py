"""Taking in: once and twice, in any order, with faults, beside readers, and through kill -9."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cbsigned.errors import SourceUnavailable
from cbsigned.store import ingest as ingest_module
from cbsigned.store.ingest import ingest
from shared.store.telemetry import MD5, PARENT_MD5, Take, content, event, guid_of, load, rows, start, write_lines
from support import PROJECT

MIXED: list[dict[str, Any]] = [
    start(), start(md5=""), start(command_line="other", parent_process_guid=guid_of(9)), load(), load(at=1618925700),
    load(1832, md5="0C03FB91E17987EED93F60"), event("procend", path="c:\\x.exe", command_line="", at=1618925900),
    event("filemod", path="c:\\a", actiontype=8, file_md5=PARENT_MD5),
    event("childproc", 1832, child_process_guid=guid_of(3364), created=True, path="c:\\y.exe", md5=MD5),
    event("childproc", 1832, child_process_guid=guid_of(3364), created=True, path="c:\\z.exe", md5=PARENT_MD5),
    event("crossprocopen", target_process_guid=guid_of(77), target_md5=MD5, target_path="c:\\t", requested_access=1),
    event("netconn", direction="outbound", protocol=6, remote_ip="10.0.0.1", remote_port=80, domain="a.test"),
    event("module", digsig={"result": "Signed"}), event("module", digsig={"result": "Unsigned"}, at=1618925999),
    event("regmod", path="\\registry\\x", actiontype=2, computer_name="OTHER", md5=PARENT_MD5),
    {"type": "watchlist.hit.process", "timestamp": 1.6e9, "docs": [{"id": guid_of(3364), "process_name": "hit.exe"}]},
    {"type": "binaryinfo.host.observed", "md5": MD5, "hostname": "LAB", "sensor_id": 1, "timestamp": 1.6e9},
]  # fmt: skip


def taken(records: list[dict[str, Any]], folder: Path, batch: int = 20_000) -> Path:
    """Take records into a new store."""
    write_lines(folder / "in.jsonl", records)
    ingest(folder / "lab.db", [folder / "in.jsonl"], batch=batch)
    return folder / "lab.db"


def test_second_delivery_changes_nothing(take: Take) -> None:
    store, first = take(*MIXED)
    before = content(store)

    _, second = take(*MIXED)

    assert (first.read, second.read, second.new, second.duplicate) == (len(MIXED), len(MIXED), 0, len(MIXED))
    assert content(store) == before


def test_start_reported_twice_counts_once_and_fills_what_was_open(take: Take) -> None:
    store, report = take(start(md5=""), start())

    assert (report.read, report.new, report.kinds["ingress.event.procstart"]) == (2, 1, 1)
    assert content(store)["process"][1][4] == MD5.upper()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(MIXED), again=st.lists(st.sampled_from(MIXED), max_size=6), batch=st.integers(1, 9))
def test_order_repeats_and_batches_do_not_change_the_store(
    order: list[dict[str, Any]], again: list[dict[str, Any]], batch: int
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        assert content(taken(order + again, Path(one), batch)) == content(taken(MIXED, Path(two)))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (load(process_guid="7"), "process_guid is not a process guid"),
        (load(process_guid=["a"]), "process_guid is not a process guid"),
        (load(timestamp="yesterday"), "timestamp is not a time"),
        (load(timestamp=10**400), "timestamp is not a time"),
        (load(path=""), "no path"),
        (load(path={"a": 1}), "no path"),
        (event("childproc", child_process_guid="x"), "child_process_guid is not a process guid"),
        ({"type": "watchlist.hit.process", "docs": []}, "the hit names no process"),
        ({"type": "watchlist.hit.binary", "docs": [{"md5": "x"}]}, "the hit names no binary"),
        ({"results": [{"results": [{"results": [{"results": [{"results": []}]}]}]}]}, "answers inside answers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_record_without_what_its_kind_needs_is_malformed(take: Take, record: dict[str, Any], reason: str) -> None:
    _, report = take(load(), record, start())

    assert (report.read, report.new, report.malformed) == (2, 2, 1)
    assert reason in report.problems[0]
    assert ".jsonl:2:" in report.problems[0]


def test_malformed_line_is_kept_aside_with_its_place_and_bounded_text(take: Take, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(load()) + "\n{" + "x" * 9000 + "\n")

    store, _ = take()
    report = ingest(store, [file])
    again = ingest(store, [file])

    kept = rows(store, "SELECT i.path, m.line, length(m.text) FROM malformed m JOIN ingested i ON i.id = m.ingested_id")
    assert (report.malformed, again.malformed) == (1, 1)
    assert kept == [(str(file), 2, 2000)]


@pytest.mark.parametrize(
    "record",
    [
        load(path="c:\\\ud800.dll"), load(path="c:\\a\x00b.dll"), load(path="'; DROP TABLE process; --"),
        start(command_line="\udfff" * 3, username="' OR 1=1"), load(sensor_id=2**80),
        load(computer_name={"a": 1}, cb_server=[1]), event("filemod", path="c:\\a", actiontype=2**70, filetype=-1),
        event("netconn", remote_ip="999.1.1.1", remote_port=2**40, protocol="x", local_port=None),
        {"type": "ingress.event.module", "md5": MD5, "digsig": {"result": "\ud800"}, "host_count": 2**70},
        {"type": "feed.synchronized", "feed_name": "\ud800", "timestamp": float("nan")},
    ],
    ids=["surrogate", "nul", "sql", "texts", "sensor", "host", "action", "net", "record", "message"],
)  # fmt: skip
def test_hostile_values_neither_stop_the_run_nor_change_the_store_s_structure(
    take: Take, record: dict[str, Any]
) -> None:
    store, report = take(record, start(99))

    assert (report.read, report.malformed) == (2, 0)
    assert rows(store, "PRAGMA integrity_check") == [("ok",)]
    assert len(rows(store, "SELECT 1 FROM sqlite_master WHERE name = 'process'")) == 1


def test_kind_that_is_not_known_is_skipped_by_name(take: Take) -> None:
    _, report = take({"type": "ingress.event.teleport", "timestamp": 1}, {"a": 1}, {"results": []})

    assert report.skipped == {"ingress.event.teleport": 1, "unrecognised document": 1, "empty answer": 1}
    assert (report.read, report.malformed) == (0, 0)


def test_progress_reaches_the_size_of_the_input(tmp_path: Path) -> None:
    seen: list[int] = []
    files = [write_lines(tmp_path / f"{n}.jsonl", [load(at=1_600_000_000 + i) for i in range(50)]) for n in range(3)]

    ingest(tmp_path / "lab.db", files, progress=lambda done, _note: seen.append(done), batch=10)

    assert seen == sorted(seen)
    assert (len(seen) > 10, seen[-1]) == (True, sum(file.stat().st_size for file in files))


def test_bodies_bound_a_batch_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "_MAX_WEIGHT", 10_000)
    seen: list[str] = []
    hits = [{"type": "feed.synchronized", "feed_name": f"{n}" + "x" * 3000, "timestamp": 1.6e9} for n in range(12)]

    ingest(
        tmp_path / "lab.db", [write_lines(tmp_path / "a.jsonl", hits)], progress=lambda _done, note: seen.append(note)
    )

    assert len(seen) == 4


def test_two_writers_in_turn_give_one_consistent_store(tmp_path: Path) -> None:
    files = [write_lines(tmp_path / f"{n}.jsonl", [load(n, at=1_600_000_000 + i) for i in range(40)]) for n in (1, 2)]
    store = tmp_path / "lab.db"

    ingest(store, [files[0]], batch=5, progress=lambda _done, _note: ingest(store, [files[1]]) and None)

    assert rows(store, "SELECT count(*) FROM modload") == [(80,)]
    assert len(content(store)["modload"]) == 80


# Other processes: readers beside a writer, kill -9, full disk.

CHILD = """
import sys
from pathlib import Path
from cbsigned.store.ingest import ingest
store, file, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def tell(done, note):
    if note.endswith(" events"):  # the others tell of words that are indexed at the end
        print(note.split()[1].replace(",", ""), flush=True)
ingest(store, [file], batch=batch, progress=tell)
"""
READER = """
import sys
from pathlib import Path
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
guids = sys.argv[2].split(",")
with StoreSource(Path(sys.argv[1])) as source:
    print("ready", flush=True)
    reads = 0
    while not Path(sys.argv[3]).exists() or reads == 0:
        answers = source.processes(guids, Deadline(30))
        errors = [a for a in answers.values() if isinstance(a, Exception) and type(a).__name__ != "ProcessNotFound"]
        assert not errors, errors
        loads = source._db.execute("SELECT count(*) FROM modload").fetchone()[0]
        assert loads % 100 == 0, loads
        reads += 1
print(reads)
"""


def child(script: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "shared")}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 loads of 60 processes."""
    records = [load(1 + n % 60, f"c:\\{n % 50}.dll", at=1_600_000_000 + n) for n in range(6000)]
    return write_lines(tmp_path_factory.mktemp("many") / "many.jsonl", records)


def test_readers_in_other_processes_see_whole_batches_while_one_writes(tmp_path: Path, many: Path) -> None:
    store, done = tmp_path / "lab.db", tmp_path / "done"
    ingest(store, [])
    guids = ",".join(guid_of(n) for n in range(1, 61))
    readers = [child(READER, store, guids, done) for _ in range(2)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"

    report = ingest(store, [many], batch=100)
    done.touch()

    answers = [reader.communicate(timeout=60) for reader in readers]
    assert report.new == 6000
    assert [(reader.returncode, errors) for reader, (_, errors) in zip(readers, answers)] == [(0, ""), (0, "")]
    assert all(int(reads) > 0 for reads, _ in answers)


def kill_and_complete(store: Path, many: Path, moment: float, commits: int) -> None:
    """Kill an ingest after some commits and a random moment more; check what is left, and complete it."""
    writer = child(CHILD, store, many, 50)
    assert writer.stdout is not None
    acknowledged = 0
    for _ in range(commits):
        acknowledged = int(writer.stdout.readline() or acknowledged)
    try:
        writer.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    acknowledged = max([acknowledged, *map(int, rest.split())])

    held = rows(store, "SELECT count(*) FROM modload")[0][0]
    assert rows(store, "PRAGMA integrity_check") == [("ok",)]
    assert held >= acknowledged
    report = ingest(store, [many])
    assert rows(store, "SELECT count(*) FROM modload") == [(6000,)]
    assert report.new == 6000 - held
    assert rows(store, "SELECT events FROM kind") == [(6000,)]


@pytest.mark.parametrize("seed", range(8))
def test_kill_9_loses_no_committed_batch(tmp_path: Path, many: Path, seed: int) -> None:
    dice = random.Random(seed)

    kill_and_complete(tmp_path / "lab.db", many, dice.uniform(0, 0.05), dice.randint(1, 100))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(50))
def test_kill_9_fifty_times_loses_no_committed_batch(tmp_path: Path, many: Path, seed: int) -> None:
    dice = random.Random(1000 + seed)

    kill_and_complete(tmp_path / "lab.db", many, dice.uniform(0, 0.1), dice.randint(1, 110))


def test_interrupted_ingest_goes_on_where_it_was(tmp_path: Path, many: Path) -> None:
    store = tmp_path / "lab.db"

    def stop(_done: int, note: str) -> None:
        if "1,000" in note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(store, [many], batch=500, progress=stop)
    report = ingest(store, [many])

    assert (report.resumed, report.read, report.new) == (1000, 5000, 5000)


def test_changed_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    file, store = write_lines(tmp_path / "a.jsonl", [load()]), tmp_path / "lab.db"
    ingest(store, [file])

    write_lines(file, [load(), load(at=1_600_000_000)])
    report = ingest(store, [file])

    assert (report.resumed, report.read, report.new) == (0, 2, 1)


def test_file_that_cannot_be_opened_is_named_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut, fine = (write_lines(tmp_path / f"{name}.jsonl", [load()]) for name in ("a", "b"))

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path == shut:
            raise PermissionError(13, "Permission denied")
        return open(path, *args, **options)

    monkeypatch.setattr(ingest_module, "open", refuse, raising=False)
    report = ingest(tmp_path / "lab.db", [shut, fine])

    assert (report.read, report.malformed) == (1, 1)
    assert report.problems == [f"{shut}: cannot be opened: Permission denied"]


def test_lines_that_were_mended_are_no_longer_malformed(tmp_path: Path) -> None:
    file, store = tmp_path / "a.jsonl", tmp_path / "lab.db"
    file.write_text("{broken\n")
    ingest(store, [file])

    ingest(store, [write_lines(file, [load()])])

    assert rows(store, "SELECT count(*) FROM malformed") == [(0,)]


def test_full_disk_says_so_and_keeps_the_committed_batches(tmp_path: Path, many: Path) -> None:
    store = tmp_path / "lab.db"
    ingest(store, [])
    small = 400 * 1024

    writer = child(
        CHILD, store, many, 100, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))
    )
    printed, errors = writer.communicate(timeout=60)

    assert writer.returncode == 1
    assert "SourceUnavailable" in errors
    assert "the disk is full, or a quota is reached" in errors
    committed = int(printed.split()[-1])
    assert 0 < committed <= rows(store, "SELECT count(*) FROM modload")[0][0] < 6000
    assert ingest(store, [many]).read == 6000 - committed


def test_store_that_another_process_keeps_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "lab.db"
    ingest(store, [])
    monkeypatch.setattr("cbsigned.store.database.BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(SourceUnavailable, match="another process is writing"):
        ingest(store, [write_lines(tmp_path / "a.jsonl", [load()])])
    other.close()
