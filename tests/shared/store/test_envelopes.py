"""Telemetry in what other programs put around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbsigned.store.ingest import ingest
from shared.store.telemetry import Take, load, start, write_lines

RAW = json.dumps(load())


@pytest.mark.parametrize(
    "record",
    [
        {"preview": False, "offset": 0, "result": {"_raw": RAW, "_time": "x", "host": "h"}},
        {"preview": False, "result": {"_raw": RAW}, "lastrow": True},
        {"preview": False, "init_offset": 0, "messages": [], "results": [{"_raw": RAW, "_serial": "0"}]},
        {"result": load(), "preview": True},
        {"_raw": RAW, "_time": "2021-04-20"},
        {"alert": load(), "enrichment": {"status": "Signed"}},
        {"alert": {"_raw": RAW}, "enrichment": {}},
    ],
    ids=["export", "last", "answer", "fields", "row", "ours", "ours around a row"],
)
def test_event_in_a_wrapper_is_the_event(take: Take, record: dict[str, Any]) -> None:
    _, report = take(record, load())

    assert (report.read, report.new, report.kinds) == (2, 1, {"ingress.event.moduleload": 1})


def test_pretty_answer_of_a_search_head_is_read(tmp_path: Path) -> None:
    answer = {"preview": False, "results": [{"_raw": RAW}, {"_raw": json.dumps(start())}]}
    (tmp_path / "a.json").write_text(json.dumps(answer, indent=2))

    report = ingest(tmp_path / "lab.db", [tmp_path / "a.json"])

    assert (report.read, report.new, report.complete) == (2, 2, True)


def test_bad_row_does_not_cost_the_others_of_its_answer(take: Take) -> None:
    _, report = take({"results": [{"_raw": "{broken"}, {"_raw": RAW}, {"_raw": "[1]"}, {"_raw": "LEEF:1.0|CB|x"}]})

    assert (report.read, report.malformed) == (1, 1)
    assert report.problems[0].endswith("_raw is no JSON")
    assert sorted(report.skipped) == [
        "_raw is LEEF: let the event forwarder write JSON (output_format=json)", "_raw is plain text",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            {"preview": False, "result": {"count": "5", "_time": "x"}},
            "Splunk result without _raw: export the raw events",
        ),
        ({"preview": False, "offset": 9, "lastrow": True}, "empty answer"),
        ({"alert": {"a": 1}, "enrichment": {}}, "unrecognised document"),
        ({"alert": "red"}, "unrecognised document"),
    ],
    ids=["no _raw", "last line", "row of ours", "other"],
)
def test_wrapper_without_telemetry_is_skipped_with_the_reason(take: Take, record: dict[str, Any], reason: str) -> None:
    _, report = take(record)

    assert (dict(report.skipped), report.malformed) == ({reason: 1}, 0)


def test_wrappers_inside_wrappers_end(tmp_path: Path) -> None:
    record: dict[str, Any] = load()
    for _ in range(50):
        record = {"alert": record, "enrichment": {}}

    report = ingest(tmp_path / "lab.db", [write_lines(tmp_path / "a.jsonl", [record])])

    assert report.problems[0].endswith("wrappers inside wrappers, more than 6 deep")
