"""The samples: written by their script alone, true to the layouts, and answered as their README says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from cbsigned.binary import parse_binary
from cbsigned.enrichment import Sources, enrich
from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from cbsigned.lineage import EndedBy
from cbsigned.observables import guid_parts, parse_guid
from cbsigned.process import parse_process
from cbsigned.render.document import Document, enrichment_document
from cbsigned.samples import sample_path
from cbsigned.settings import Settings
from cbsigned.status import SigningStatus, status_of_code, status_of_word
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from cbsigned.timing import parse_time
from shared.make_samples import files
from shared.sample_alerts import Sample, samples
from shared.sample_story import GIT_HR, GIT_MAC, PROCMON23, PROCMON64, STATUSES, tell

SAMPLES = samples(tell())
IDS = [f"{number}-{sample.shape}" for number, sample in enumerate(SAMPLES, 1)]


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sample_path(name).read_text(encoding="utf-8").splitlines()]


def read_results(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(sample_path(name).read_text(encoding="utf-8"))["results"]
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """The sample alerts enriched from a store of the sample telemetry, relatives included."""
    store = tmp_path_factory.mktemp("samples") / "samples.db"
    report = ingest(store, [sample_path("telemetry")])
    assert report.malformed == 0, report.problems
    source = StoreSource(store)
    settings = replace(Settings(), relatives=20)
    return [
        enrichment_document(e) for e in enrich(read_lines("alerts.jsonl"), Sources(source, source, source), settings)
    ]


@pytest.mark.parametrize("name", files())
def test_sample_files_are_what_their_script_writes(name: str) -> None:
    """Run `python tests/shared/make_samples.py` after a change of the story."""
    assert files()[name] == sample_path(name).read_text(encoding="utf-8")


def test_every_sample_file_has_its_script() -> None:
    folder = sample_path()

    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert there - {"__init__.py"} == set(files())


@pytest.mark.parametrize("name", ["../cli.py", "/etc/passwd", "nothing.jsonl", "__init__.py"])
def test_sample_path_gives_samples_alone(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"Samples are telemetry, alerts\.jsonl and README\.md"):
        sample_path(name)


@pytest.mark.parametrize(("number", "sample"), list(enumerate(SAMPLES)), ids=IDS)
def test_every_alert_is_answered_as_the_readme_says(number: int, sample: Sample, answers: list[Document]) -> None:
    document = answers[number]

    subject = document["subjects"][0] if document["subjects"] else None
    chain = subject["lineage"] if subject else None
    assert (subject["status"] if subject else None, chain["ended_by"] if chain else None) == (
        sample.status, sample.ended,
    )  # fmt: skip
    assert document["reason"]


def test_every_status_and_every_other_answer_is_shown(answers: list[Document]) -> None:
    nodes = [node for d in answers for s in d["subjects"] if s["lineage"] for node in s["lineage"]["nodes"]]
    causes = {s["signature"]["cause"] for d in answers for s in d["subjects"]}

    assert {d["status"] for d in answers} == {status.value for status in SigningStatus}
    assert causes >= {
        "record", "claim", "not evaluated", "unknown word", "contradiction", "not found", "unsearchable",
        "bad observable",
    }  # fmt: skip
    assert {s["lineage"]["ended_by"] for d in answers for s in d["subjects"] if s["lineage"]} >= {
        EndedBy.ROOT.value, EndedBy.LOOP.value, EndedBy.REUSED_PID.value, EndedBy.UNKNOWN_PARENT.value,
        EndedBy.START_NOT_RECORDED.value,
    }  # fmt: skip
    assert any(node["gap"] and node["gap"]["cause"] == "start not recorded" for node in nodes)


def test_procmon_is_signed_from_the_driver_up_to_system(answers: list[Document]) -> None:
    chain = answers[0]["subjects"][0]["lineage"]

    assert [(node["name"], node["status"]) for node in chain["nodes"]] == [
        (name, "Signed")
        for name in (
            "procmon64.exe",
            "procmon.exe",
            "explorer.exe",
            "userinit.exe",
            "winlogon.exe",
            "smss.exe",
            "system",
        )
    ]
    assert chain["nodes"][0]["md5"] == PROCMON64
    assert (answers[2]["md5"], answers[2]["status"]) == (PROCMON23, "Signed")


def test_the_two_gits_are_told_apart(answers: list[Document]) -> None:
    mac, personnel = answers[4], answers[5]

    assert (mac["md5"], mac["status"]) == (GIT_MAC, "Signed")
    assert [n["name"] for n in mac["subjects"][0]["lineage"]["nodes"]] == ["git", "code helper", "electron", "launchd"]
    assert (personnel["md5"], personnel["status"]) == (GIT_HR, "Unsigned")
    assert [n["name"] for n in personnel["subjects"][0]["lineage"]["nodes"]][:2] == ["git.exe", "outlook.exe"]


def test_the_driver_is_written_loaded_by_system_and_deleted_in_that_order() -> None:
    steps = [
        (event["type"].rsplit(".", 1)[1], event.get("action"), event["pid"])
        for event in read_lines("telemetry/events.jsonl")
        if event.get("path", "").endswith("procmon23.sys")
    ]

    assert steps == [
        ("filemod", "create", 3904), ("filemod", "write", 3904), ("filemod", "lastwrite", 3904),
        ("moduleload", None, 4), ("filemod", "delete", 3904),
    ]  # fmt: skip


def test_no_program_name_of_the_first_story_is_a_file_name() -> None:
    told = [doc for doc in read_results("telemetry/binaries.json") if doc.get("digsig_prog_name")]

    assert {"Process Monitor", "procmon"} <= {doc["digsig_prog_name"] for doc in told}
    for doc in told:
        names = {path.replace("\\", "/").rsplit("/", 1)[-1] for path in doc["observed_filename"]}
        assert doc["digsig_prog_name"].lower() not in names


def test_the_agent_has_eight_children_and_each_tool_seven_siblings(answers: list[Document]) -> None:
    chains = {d["subjects"][0]["name"]: d["subjects"][0]["lineage"] for d in answers if d["subjects"]}

    assert chains["example-agent.exe"]["children"]["total"] == len(STATUSES)
    assert {node["status"] for node in chains["example-agent.exe"]["children"]["nodes"]} == {
        word for word, _code in STATUSES.values()
    }
    assert all(chains[f"{tool}.exe"]["siblings"]["total"] == 7 for tool in STATUSES)


def test_linux_has_twelve_ancestors(answers: list[Document]) -> None:
    chain = next(d["subjects"][0]["lineage"] for d in answers if d["subjects"] and d["subjects"][0]["name"] == "ld")

    assert len(chain["nodes"]) == 13


def test_one_pid_names_two_processes_by_time(answers: list[Document]) -> None:
    rows = [d for d in answers if d["alert"] and d["alert"]["id"] in ("row-first", "row-second")]

    first, second = (d["subjects"][0] for d in rows)
    assert (first["pid"], second["pid"]) == (2288, 2288)
    assert first["process_guid"] != second["process_guid"]
    assert [s["lineage"]["nodes"][0]["name"] for s in (first, second)] == ["notepad.exe", "calc.exe"]


def test_only_the_empty_row_cannot_be_read() -> None:
    unread = []
    for record in read_lines("alerts.jsonl"):
        try:
            parse_alert(record)
        except AlertError:
            unread.append(record["alert_id"])

    assert unread == ["row-empty"]


def test_events_agree_with_their_guids() -> None:
    starts = [e for e in read_lines("telemetry/events.jsonl") if e["type"] == "ingress.event.procstart"]

    for event in starts:
        parts = guid_parts(event["process_guid"])
        assert (parts.sensor_id, parts.pid) == (event["sensor_id"], event["pid"])
        assert parts.started_at is not None
        assert datetime.fromtimestamp(event["timestamp"], timezone.utc) == parts.started_at.replace(microsecond=0)


def test_documents_agree_with_their_guids_within_two_milliseconds() -> None:
    docs = read_results("telemetry/processes.json")
    docs += [doc for alert in read_lines("alerts.jsonl") for doc in alert.get("docs", ()) if "process_name" in doc]

    for doc in docs:
        process = parse_process(doc)
        assert process is not None
        parts = guid_parts(process.guid)
        start = parse_time(doc["start"])
        assert parts.pid == doc["process_pid"]
        assert parts.started_at is not None
        assert start is not None
        stored = ".000Z" in doc["start"]  # a stored hit cuts the fraction off
        assert abs((start - parts.started_at).total_seconds()) <= (1 if stored else 0.002)


def test_segments_stand_in_the_unique_id() -> None:
    docs = [doc for doc in read_results("telemetry/processes.json") if doc["process_name"] == "svchost.exe"]

    assert len({doc["id"] for doc in docs}) == 1
    assert len({doc["segment_id"] for doc in docs}) == 2
    for doc in docs:
        assert doc["unique_id"] == f"{doc['id']}-{doc['segment_id']:012x}"


def test_every_parent_in_the_events_has_a_guid_of_the_same_sensor() -> None:
    for event in read_lines("telemetry/events.jsonl"):
        parent = parse_guid(event.get("parent_process_guid", ""))
        if parent is not None:
            assert guid_parts(parent).sensor_id == event["sensor_id"]


def test_words_and_codes_of_the_eight_statuses_agree() -> None:
    for word, code in STATUSES.values():
        assert status_of_word(word) is status_of_code(code)


def test_hashes_are_upper_case_in_events_and_lower_case_in_process_documents() -> None:
    events, docs = read_lines("telemetry/events.jsonl"), read_results("telemetry/processes.json")

    assert all(event["md5"] == event["md5"].upper() for event in events)
    assert all(doc["process_md5"] == doc["process_md5"].lower() for doc in docs)
    assert all(parse_binary(doc).md5 == doc["md5"].lower() for doc in read_results("telemetry/binaries.json"))


def test_the_samples_are_as_large_as_a_person_can_follow() -> None:
    processes = {e["process_guid"] for e in read_lines("telemetry/events.jsonl") if "process_guid" in e}
    hosts = {e["computer_name"] for e in read_lines("telemetry/events.jsonl")}
    commands = [e.get("command_line", "") for e in read_lines("telemetry/events.jsonl")]

    assert 40 <= len(processes) <= 90
    assert len(hosts) == 9
    assert max(map(len, commands)) == 4000


def test_readme_has_a_row_for_every_alert() -> None:
    text = Path(sample_path("README.md")).read_text(encoding="utf-8")

    assert len(read_lines("alerts.jsonl")) == len(SAMPLES)
    assert [f"| {n} | {s.shape} |" for n, s in enumerate(SAMPLES, 1) if f"\n| {n} | {s.shape} |" not in text] == []
