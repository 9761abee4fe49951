"""The alert action as splunkd runs it: gzip results in, events over TLS out, and a record of every row's outcome."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cbsigned_connectors.splunk.alert_events import EVENT_FIELDS, event_line
from connectors.splunk.alerting import GIT, KEY, PROCMON, Action, Port


def test_each_alert_row_gets_one_event_with_status_lineage_and_its_ids(action: Action, port: Port) -> None:
    rows = [
        {"process_guid": GIT, "orig_sid": "s7", "orig_rid": "3", "rid": "9", "event_id": "A@@notable@@b"},
        {"process_md5": PROCMON, "dest": "SDL-DEV"},
    ]

    outcome = action(rows)

    assert outcome.code == 0, outcome.stderr
    first, second = port.events
    assert first["cbsigned_status"] == "Unsigned"
    assert first["cbsigned_signed"] == "false"
    assert first["cbsigned_lineage"].startswith("git.exe (Unsigned) <- ")
    assert first["cbsigned_lineage_statuses"][0] == "Unsigned"
    assert len(first["cbsigned_lineage_names"]) == first["cbsigned_lineage_depth"] + 1
    assert {n: first[n] for n in ("orig_sid", "orig_rid", "rid", "event_id")} == {
        "orig_sid": "s7", "orig_rid": "3", "rid": "9", "event_id": "A@@notable@@b",
    }  # fmt: skip
    assert first["sid"] == "scheduler__ana__search__RMD5_at_1448_12"
    assert first["process_name"] == "git.exe"
    assert second["cbsigned_status"] == "Signed"
    assert second["cbsigned_signed"] == "true"
    assert second["cbsigned_publisher"] == "Microsoft Corporation"
    assert second["rid"] == "1"
    assert "orig_sid" not in second


def test_events_say_where_they_belong(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON}])

    told, text = port.received[0]
    assert told == {
        "index": "cbsigned",
        "sourcetype": "cbsigned:enrichment",
        "source": "cbsigned_enrich",
        "host": "sh1",
    }
    assert len(text.splitlines()) == 1
    assert list(port.events[0]) == [name for name in EVENT_FIELDS if name in port.events[0]]


def test_long_values_stand_behind_what_splunk_must_find() -> None:
    """A command line of 8,000 characters stood before guid, MD5 and host; how far Splunk reads JSON is limited."""
    names = ("name", "path", "pid", "process_guid", "md5", "sha256", "host", "user")
    subject: dict[str, Any] = dict.fromkeys(names, "x")
    subject.update(cmdline="y" * 20_000, reason="z", lineage=None, gaps=[])
    document = {
        "status": "Signed", "reason": "z", "complete": True, "enriched_at": "2026-11-22T01:02:03Z",
        "subjects": [subject], "gaps": [], "alert": None,
    }  # fmt: skip

    line = event_line(document, {"sid": "1", "rid": "0", "enrichment_id": "a" * 32}).decode()

    assert len(line) > 8_192
    for name in (
        "process_guid",
        "process_md5",
        "process_sha256",
        "dest",
        "user",
        "cbsigned_status",
        "cbsigned_complete",
    ):
        assert line.index(f'"{name}":') < 5_000


def test_every_key_that_is_sent_is_the_session_key(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON}])

    assert set(port.keys) == {f"Splunk {KEY}"}


def test_the_run_is_recorded_as_es_expects(action: Action) -> None:
    outcome = action([{"process_guid": GIT, "orig_sid": "s7", "orig_rid": "3"}, {"process_md5": PROCMON}])

    lines = outcome.log.splitlines()
    assert [("Invoking modular action" in line) for line in lines] == [True, True, False, False]
    assert outcome.statuses == ["success", "success"]
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\+0000 INFO sendmodaction - worker="sh1" signature="Unsigned: [^"]+" '
        r'action_name="cbsigned_enrich" search_name="Rare and unsigned" sid="scheduler__ana__search__RMD5_at_1448_12" '
        r'orig_sid="s7" rid="0" orig_rid="3" app="search" user="ana" digest_mode="1" action_mode="saved" '
        r'action_status="success"',
        lines[2],
    )


def test_a_run_for_one_result_looks_that_one_up_and_not_the_whole_file(action: Action, port: Port) -> None:
    outcome = action([{"process_md5": PROCMON}] * 5, result={"process_guid": GIT}, result_id="4")

    assert outcome.code == 0
    assert [event["process_guid"] for event in port.events] == [GIT]
    assert port.events[0]["rid"] == "4"
    assert outcome.log.count('digest_mode="0"') == 2


def test_without_a_results_file_the_payloads_own_row_is_looked_up(action: Action, port: Port) -> None:
    assert action(result={"process_md5": PROCMON, "__mv_process_md5": ""}).code == 0
    assert port.events[0]["cbsigned_status"] == "Signed"


def test_no_results_at_all_is_no_failure(action: Action, port: Port) -> None:
    outcome = action()

    assert (outcome.code, port.asked, outcome.log) == (0, [], "")
    assert outcome.stderr == "INFO There is nothing left to look up.\n"


def test_multi_value_cells_reach_the_handler_as_lists(action: Action, port: Port) -> None:
    action([{"process_hash": [f"MD5={PROCMON}", "note=a$b;$c"], "host": "SDL-DEV"}])

    assert port.asked[0]["alerts"] == [{"process_hash": [f"MD5={PROCMON}", "note=a$b;$c"], "host": "SDL-DEV"}]
    assert port.events[0]["cbsigned_status"] == "Signed"


def test_a_row_with_nothing_to_look_up_gets_its_event_with_the_reason(action: Action, port: Port) -> None:
    outcome = action([{"src": "192.0.2.1"}])

    assert outcome.code == 0
    assert port.events[0]["cbsigned_status"] == "Unknown"
    assert "nothing to look up" in port.events[0]["cbsigned_why"]
    assert "cbsigned_signed" not in port.events[0]


def test_without_lineage_none_is_asked_for_and_none_written(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON, "process_guid": GIT}], configuration={"index": "x", "lineage": "false"})

    assert port.asked[0]["lineage"] is False
    assert not [name for name in port.events[0] if "lineage" in name]


def test_only_the_first_rows_are_looked_up_and_what_is_cut_is_said(action: Action, port: Port) -> None:
    outcome = action([{"process_md5": PROCMON, "n": str(n)} for n in range(7)], configuration={"max_rows": "3"})

    assert outcome.code == 0
    assert [alert["n"] for alert in port.asked[0]["alerts"]] == ["0", "1", "2"]
    assert "WARN The search has 7 results, and the first 3 are looked up: param.max_rows is 3" in outcome.stderr
    assert "INFO 3 of 3 result events are in index main.\n" in outcome.stderr


def test_a_slow_look_up_is_asked_for_again_by_its_job(action: Action, port: Port) -> None:
    question = {"alerts": [{"process_md5": PROCMON}]}
    port.answers = [(200, {"job": "j1"}), (200, {"job": "j1"}), (200, port.enriched(question))]

    assert action([{"process_md5": PROCMON}]).code == 0
    assert [asked.get("job") for asked in port.asked] == [None, "j1", "j1"]
    assert len(port.events) == 1


def test_a_job_that_a_restarted_handler_lost_is_asked_from_the_start(action: Action, port: Port) -> None:
    question = {"alerts": [{"process_md5": PROCMON}]}
    port.answers = [(200, {"job": "j1"}), (404, {"error": "There is no job j1."}), (200, port.enriched(question))]

    assert action([{"process_md5": PROCMON}]).code == 0
    assert ["alerts" in asked for asked in port.asked] == [True, False, True]


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_handler_that_is_busy_or_gone_for_a_moment_is_asked_again(action: Action, port: Port, status: int) -> None:
    question = {"alerts": [{"process_md5": PROCMON}]}
    port.answers = [(status, {}), (status, {}), (200, port.enriched(question))]

    assert action([{"process_md5": PROCMON}]).code == 0
    assert action.pauses == [3.0, 3.0]


def test_a_handler_that_stays_busy_is_asked_four_times(action: Action, port: Port) -> None:
    port.answers = [(429, {"error": "The handler of cbsigned is busy."})]

    assert action([{"process_md5": PROCMON}]).code == 3
    assert len(port.asked) == 4


# --- called again


def test_the_same_call_again_writes_nothing_twice(action: Action, port: Port) -> None:
    rows = [{"process_md5": PROCMON}, {"process_guid": GIT}]
    action(rows)

    outcome = action(rows)

    assert outcome.code == 0
    assert len(port.received) == 2
    assert len(port.asked) == 1
    assert "INFO 2 rows were written by an earlier call for this job.\n" in outcome.stderr


def test_a_second_call_with_other_rows_writes_those(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON}])
    action([{"process_guid": GIT}])

    assert len({event["enrichment_id"] for event in port.events}) == 2


def test_after_a_failure_only_the_missing_rows_are_written(action: Action, port: Port) -> None:
    rows = [{"process_md5": PROCMON}, {"process_guid": GIT}, {"process_md5": PROCMON, "n": "2"}]
    port.refusals = [200, 503, 200]

    first = action(rows)
    second = action(rows)

    assert (first.code, second.code) == (4, 0)
    assert sorted(event["rid"] for event in port.events) == ["0", "1", "2"]
    assert len(port.asked[1]["alerts"]) == 1


def test_where_nothing_can_be_remembered_the_event_has_the_same_id(
    action: Action, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    (action.file.parent / "cbsigned_enrich.written").mkdir()

    assert action([{"process_md5": PROCMON}]).code == 0
    assert action([{"process_md5": PROCMON}]).code == 0
    assert len({event["enrichment_id"] for event in port.events}) == 1
    assert len(port.events) == 2


@pytest.mark.parametrize("path", ["", "results.csv.gz", "/", "/not/there/results.csv.gz"])
def test_nothing_is_remembered_outside_the_folder_of_a_job(
    action: Action, port: Port, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    outcome = action(results_file=path, result={"process_md5": PROCMON}, result_id="0")

    assert outcome.code == 0
    assert len(port.received) == 1
    assert list((tmp_path / "here").iterdir()) == []


# --- as a process


def test_the_process_ends_with_the_exit_code_and_says_why_on_standard_error(action: Action, port: Port) -> None:
    code = "from cbsigned_connectors.splunk.alert_action import main; main()"
    payload = json.dumps(action.payload([{"process_guid": GIT}])).encode()

    done = subprocess.run(
        [sys.executable, "-c", code, "--execute"], input=payload, capture_output=True, timeout=60, check=False
    )
    wrong = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"INFO 1 of 1 result events are in index cbsigned.\n"
    assert port.events[0]["cbsigned_status"] == "Unsigned"
    assert (wrong.returncode, wrong.stdout) == (1, b"")
