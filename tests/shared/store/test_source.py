"""The store as a source: the core's questions and what it answers, failures included."""

from __future__ import annotations

import os
import sqlite3
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cbsigned.errors import ConfigError, SourceError, SourceTimeout
from cbsigned.gaps import Cause
from cbsigned.lineage import EndedBy, Relatives, lineages
from cbsigned.process import Process
from cbsigned.sighting import Sighting, locate
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from shared.store.telemetry import MD5, PARENT_MD5, Take, event, guid_of, load, start, write_lines

STARTED = datetime(2021, 4, 20, 13, 33, 21, 512000, tzinfo=timezone.utc)
SECOND = 10_000_000  # FILETIME ticks
FIRST = 0x01D735E9BB340680


def later(pid: int, seconds: int) -> str:
    """Return the guid of a process of the same pid that started later."""
    return guid_of(pid, FIRST + seconds * SECOND)


def test_name_is_the_file_s(take: Take) -> None:
    store, _ = take()

    with StoreSource(store) as source:
        assert source.name == "store:lab.db"


def test_thousands_of_hashes_and_guids_are_each_answered(tmp_path: Path) -> None:
    records = [event("module", md5=f"{n + 1:032x}", digsig={"result": "Signed"}) for n in range(2500)]
    records += [start(n + 1) for n in range(2500)]
    ingest(tmp_path / "lab.db", [write_lines(tmp_path / "a.jsonl", records)])

    with StoreSource(tmp_path / "lab.db") as source:
        binaries = source.binaries([f"{n + 1:032x}" for n in range(3000)], Deadline(60))
        processes = source.processes([guid_of(n + 1) for n in range(3000)], Deadline(60))

    assert sum(answer != () for answer in binaries.values()) == 2500
    assert (len(binaries), len(processes)) == (3000, 3000)
    assert sum(isinstance(answer, Process) for answer in processes.values()) == 2500


def test_lineage_walks_the_store_to_a_parent_that_was_only_mentioned(take: Take) -> None:
    store, _ = take(start(3, 2), start(2, 1))

    with StoreSource(store) as source:
        chain = lineages(source, [guid_of(3)], Deadline(60))[guid_of(3)]

    assert [node.process.pid for node in chain.nodes] == [3, 2, 1]
    assert [node.gap.cause if node.gap else None for node in chain.nodes] == [None, None, Cause.START_NOT_RECORDED]
    assert chain.ended_by is EndedBy.START_NOT_RECORDED


def test_children_come_oldest_first_with_total_and_gap(take: Take) -> None:
    store, _ = take(*(start(process_guid=later(9, n), pid=9) for n in (3, 1, 2)))

    with StoreSource(store) as source:
        found = source.children([guid_of(1832), guid_of(5)], 2, Deadline(60))

    children, unknown = found[guid_of(1832)], found[guid_of(5)]
    assert isinstance(children, Relatives)
    assert isinstance(unknown, Relatives)
    assert [node.guid for node in children.nodes] == [later(9, 1), later(9, 2)]
    assert (children.total, children.gap and children.gap.cause) == (3, Cause.CUT)
    assert (unknown.total, unknown.gap and unknown.gap.cause) == (0, Cause.NOT_FOUND)


@pytest.mark.parametrize("host", ["LAB-WS-07", "lab-ws-07", "lab-ws-07.example.test"])
def test_host_is_compared_without_case_and_domain(take: Take, host: str) -> None:
    store, _ = take(start())
    sighting = Sighting(host, pid=3364, started_at=STARTED)

    with StoreSource(store) as source:
        found = locate(source, [sighting], Deadline(60))[sighting]

    assert isinstance(found, Process)
    assert found.guid == guid_of(3364)


def test_reused_pid_is_the_latest_that_had_started(take: Take) -> None:
    store, _ = take(*(start(process_guid=later(3364, s)) for s in (0, 600, 7200)))
    sighting = Sighting("lab-ws-07", pid=3364, seen_at=STARTED + timedelta(hours=1))

    with StoreSource(store) as source:
        found = locate(source, [sighting], Deadline(60))[sighting]

    assert isinstance(found, Process)
    assert found.guid == later(3364, 600)


@pytest.mark.parametrize(
    "sighting",
    [
        Sighting("lab-ws-07", pid=3364, started_at=STARTED + timedelta(seconds=6)),
        Sighting("lab-ws-07", pid=3365, started_at=STARTED),
        Sighting("other", pid=3364, started_at=STARTED),
        Sighting("lab-ws-07", file_hash=PARENT_MD5, started_at=STARTED),
        Sighting("lab-ws-07", pid=3364, seen_at=STARTED - timedelta(seconds=1)),
        Sighting("lab-ws-07", pid=3364, seen_at=STARTED + timedelta(hours=25)),
        Sighting("lab-ws-07", pid=3364),
    ],
    ids=["6 s off", "other pid", "other host", "other hash", "seen before", "a day later", "no time"],
)
def test_process_outside_host_window_or_hash_is_no_candidate(take: Take, sighting: Sighting) -> None:
    store, _ = take(start())

    with StoreSource(store) as source:
        assert source.candidates([sighting], Deadline(60)) == {sighting: ()}


@pytest.mark.parametrize("end", [datetime.min, datetime.max], ids=["first", "last"])
@pytest.mark.parametrize("name", ["started_at", "seen_at"])
def test_window_ends_with_the_calendar(take: Take, name: str, end: datetime) -> None:
    store, _ = take(start())
    moment = end.replace(tzinfo=timezone.utc)
    sighting = Sighting("lab-ws-07", pid=3364, **{name: moment})  # type: ignore[arg-type]

    with StoreSource(store) as source:
        assert source.candidates([sighting], Deadline(60)) == {sighting: ()}


def test_hash_finds_the_candidate_without_a_pid(take: Take) -> None:
    store, _ = take(start(), start(5, md5=PARENT_MD5))
    sighting = Sighting("lab-ws-07", file_hash=MD5, seen_at=STARTED + timedelta(minutes=1))

    with StoreSource(store) as source:
        found = source.candidates([sighting], Deadline(60))[sighting]

    assert not isinstance(found, SourceError)
    assert [process.guid for process in found] == [guid_of(3364)]


@pytest.mark.parametrize(
    ("program_name", "name", "hit"),
    [
        ("Acme updater.exe", "Updater.EXE", True),
        ("acme UPDATER exe tool", "updater.exe", True),
        ("updater", "updater.exe", False),
        ("exe updater", "updater.exe", False),
        ("updater big exe", "updater.exe", False),
        ("updater.exes", "updater.exe", False),
        (None, "updater.exe", False),
        ("anything", "...", False),
    ],
)
def test_joint_query_wants_all_words_of_the_name_together(take: Take, program_name: str, name: str, hit: bool) -> None:
    store, _ = take(start(), event("module", digsig={"result": "Signed", "program_name": program_name}))

    with StoreSource(store) as source:
        assert source.joint_hits([(MD5, name)], Deadline(60)) == {(MD5, name): hit}


def test_joint_query_wants_a_process_and_not_only_a_binary(take: Take) -> None:
    store, _ = take(load(md5=MD5), event("module", digsig={"result": "Signed", "program_name": "updater.exe"}))

    with StoreSource(store) as source:
        assert source.joint_hits([(MD5, "updater.exe")], Deadline(60)) == {(MD5, "updater.exe"): False}


def test_spent_deadline_is_a_value_for_every_question(take: Take) -> None:
    store, _ = take(start())
    spent, sighting = Deadline(0), Sighting("h", pid=1, started_at=STARTED)

    with StoreSource(store) as source:
        answers = [
            *source.binaries([MD5], spent).values(), *source.processes([guid_of(1)], spent).values(),
            *source.children([guid_of(1)], 1, spent).values(), *source.candidates([sighting], spent).values(),
            *source.joint_hits([(MD5, "x")], spent).values(),
        ]  # fmt: skip

    assert [type(answer) for answer in answers] == [SourceTimeout] * 5


def test_query_that_runs_past_the_deadline_is_interrupted(take: Take) -> None:
    store, _ = take(start())
    ticks = iter([0.0, 0.0, *[9.0] * 1_000_000])
    slow = Deadline(1, clock=lambda: next(ticks))

    with StoreSource(store) as source:
        source._binaries = lambda db, _hashes: dict(  # type: ignore[assignment, method-assign]
            db.execute("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, x FROM c")
        )
        answer = source.binaries([MD5], slow)[MD5]

    assert isinstance(answer, SourceTimeout)
    assert "within 1 s" in str(answer)


def test_broken_store_is_a_value_with_advice(take: Take) -> None:
    store, _ = take(start())

    with StoreSource(store) as source:
        db = sqlite3.connect(store)
        db.execute("DROP TABLE binary_record")
        db.close()
        answer = source.binaries([MD5], Deadline(60))[MD5]

    assert isinstance(answer, SourceError)
    assert "ingest into a new file" in str(answer)


def test_one_source_serves_many_threads(take: Take) -> None:
    store, _ = take(*(start(n) for n in range(1, 200)))
    failures: list[object] = []

    def ask(source: StoreSource) -> None:
        for answer in source.processes([guid_of(n) for n in range(1, 200)], Deadline(60)).values():
            if not isinstance(answer, Process):
                failures.append(answer)

    with StoreSource(store) as source:
        threads = [threading.Thread(target=ask, args=(source,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failures == []


def test_source_works_after_close_and_in_a_forked_child(take: Take) -> None:
    store, _ = take(start())
    source = StoreSource(store)
    source.close()

    child = os.fork()
    if child == 0:
        found = source.processes([guid_of(3364)], Deadline(60))[guid_of(3364)]
        os._exit(0 if isinstance(found, Process) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert isinstance(source.processes([guid_of(3364)], Deadline(60))[guid_of(3364)], Process)
    source.close()


def test_store_is_read_while_its_file_and_folder_cannot_be_written(take: Take) -> None:
    store, _ = take(start())
    store.chmod(0o444)
    store.parent.chmod(0o555)

    with StoreSource(store) as source:
        answer = source.processes([guid_of(3364)], Deadline(60))[guid_of(3364)]

    store.parent.chmod(0o700)
    assert isinstance(answer, Process)


def test_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no store .*lab\.db\. Make one: cbsigned store ingest"):
        StoreSource(tmp_path / "lab.db")
