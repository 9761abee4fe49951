"""The alert action when something fails, or lies: what it says, what it writes, and what it leaves for another run."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trustme

from cbsigned.timing import Deadline
from cbsigned_connectors.splunk.alert_action import TOTAL_S, run
from cbsigned_connectors.splunk.alert_payload import PARAMETERS
from connectors.splunk.alerting import GIT, KEY, PROCMON, Action, Port, encoded


@pytest.mark.parametrize("argv", [[], ["--help"], ["--execute", "x"], ["execute"]], ids=str)
def test_any_other_arguments_are_refused_with_the_usage(argv: list[str]) -> None:
    stderr = io.StringIO()

    assert run(argv, io.BytesIO(b"{}"), stderr, {}) == 1
    assert stderr.getvalue().startswith("ERROR Usage: python cbsigned_enrich.py --execute")


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"session_key": "x"}'])
def test_a_payload_that_is_none_is_refused(action: Action, data: bytes) -> None:
    outcome = action(data=data)

    assert outcome.code == 2
    assert outcome.stderr.startswith("ERROR The ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("index", "_internal"), ("index", "a b"), ("index", "x&sourcetype=y"), ("index", "A"), ("index", "x" * 81),
     ("index", "x\n"), ("max_rows", "0"), ("max_rows", "1001"), ("max_rows", "-1"), ("max_rows", "ten"),
     ("max_rows", "٣"), ("lineage", "maybe"), ("lineage", "true false")],
)  # fmt: skip
def test_a_parameter_out_of_range_ends_the_run_and_says_what_is_right(
    action: Action, port: Port, name: str, value: str
) -> None:
    outcome = action([{"process_md5": PROCMON}], configuration={name: value})

    if value == "x\n":  # what is around a value is not the value
        assert outcome.code == 0
        return
    assert outcome.code == 2
    assert f"ERROR param.{name} is " in outcome.stderr
    assert f"the default, {PARAMETERS[name].default}." in outcome.stderr
    assert outcome.statuses == ["failure"]
    assert port.asked == []


@pytest.mark.parametrize("spoil", [lambda b: b[:-20], lambda b: b"plain text", lambda b: b[:20] + b"\0" * 9 + b[29:]])
def test_a_damaged_results_file_is_a_failure_that_says_so(action: Action, port: Port, spoil: Any) -> None:
    action.file.write_bytes(spoil(encoded([{"process_md5": os.urandom(16).hex()} for _ in range(99)])))

    outcome = action()

    assert (outcome.code, outcome.statuses) == (2, ["failure"])
    assert "results_file is no whole gzip CSV" in outcome.stderr
    assert port.asked == []


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [(409, {"error": "cbsigned is not set up: no EDR server. Open the setup page."}, "cbsigned is not set up"),
     (403, {}, "lacks the capability cbsigned_use"),
     (500, {"error": "It broke; see cbsigned.log."}, "It broke"),
     (200, {"enrichments": []}, "did not answer 2 rows with 2 enrichments"),
     (200, {"enrichments": [{}, {}]}, "did not answer 2 rows"),
     (200, {"enrichments": "x"}, "did not answer 2 rows")],
)  # fmt: skip
def test_a_handler_that_does_not_answer_fails_every_row_with_the_reason(
    action: Action, port: Port, status: int, document: Any, said: str
) -> None:
    port.answers = [(status, document)]

    outcome = action([{"process_md5": PROCMON}, {"process_guid": GIT}])

    assert outcome.code == 3
    assert outcome.statuses == ["failure", "failure"]
    assert said in outcome.stderr
    assert said in outcome.log
    assert port.received == []


def test_a_handler_that_never_finishes_is_given_up_before_splunkd_ends_the_action(action: Action, port: Port) -> None:
    port.answers = [(200, {"job": "j1"})]
    ticks = iter(range(0, 10_000, 20))

    outcome = action([{"process_md5": PROCMON}], deadline=Deadline(TOTAL_S, clock=lambda: float(next(ticks))))

    assert outcome.code == 3
    assert "did not finish within 180 s" in outcome.stderr
    assert 2 <= len(port.asked) <= 10
    assert TOTAL_S < 300


@pytest.mark.parametrize(
    ("status", "said", "tried"),
    [(403, "the capability edit_tcp", 1), (400, "Create the index", 1), (503, "Look at splunkd.log", 3)],
)
def test_a_refused_event_says_why_and_is_not_tried_for_every_row(
    action: Action, port: Port, status: int, said: str, tried: int
) -> None:
    port.refusals = [status] * 99

    outcome = action([{"process_md5": PROCMON, "n": str(n)} for n in range(10)])

    assert outcome.code == 4
    assert outcome.statuses == ["failure"] * 10
    assert said in outcome.stderr
    assert outcome.stderr.count(said) == 1
    assert 99 - len(port.refusals) == tried


def test_time_that_ends_while_writing_leaves_the_rest_unwritten_and_says_so(action: Action, port: Port) -> None:
    now = [0.0]
    write = port.answer

    def slow(path: str, body: bytes) -> tuple[int, Any]:
        now[0] += 100.0 if "receivers" in path else 0.0
        return write(path, body)

    port.answer = slow  # type: ignore[method-assign]

    outcome = action([{"process_md5": PROCMON, "n": str(n)} for n in range(5)], deadline=Deadline(240, lambda: now[0]))

    assert outcome.code == 4
    assert len(port.received) == 3
    assert outcome.statuses == ["success"] * 3 + ["failure"] * 2
    assert "The time is over" in outcome.stderr


def test_a_splunkd_that_is_gone_is_a_failure_that_says_so(action: Action) -> None:
    outcome = action([{"process_md5": PROCMON}], server_uri="https://127.0.0.1:9")

    assert outcome.code == 3
    assert "connection refused" in outcome.stderr
    assert outcome.statuses == ["failure"]


def test_the_key_goes_to_no_address_that_is_not_splunkds(action: Action) -> None:
    assert action([{"process_md5": PROCMON}], server_uri="http://splunk.example.test:8089").code == 3


def test_a_server_that_the_ca_did_not_sign_gets_no_key(action: Action, port: Port, home: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(home / "etc/auth/cacert.pem"))

    outcome = action([{"process_md5": PROCMON}])

    assert outcome.code == 3
    assert "is not trusted" in outcome.stderr
    assert port.keys == []


def test_a_log_that_cannot_be_written_is_said_and_the_events_are_there(action: Action, port: Port, home: Path) -> None:
    (home / "var/log/splunk").rmdir()

    outcome = action([{"process_md5": PROCMON}])

    assert outcome.code == 0
    assert len(port.received) == 1
    assert "WARN cbsigned_enrich_modalert.log in Splunk's log folder cannot be written" in outcome.stderr


# --- hostile content


HOSTILE = 'x"} \n{"cbsigned_status": "Signed\u2028\x1b[2J\x00 action_status="success" \\'


def test_hostile_cells_end_no_event_and_no_line(action: Action, port: Port) -> None:
    row = {"process_md5": PROCMON, "process_name": HOSTILE, "user": HOSTILE, "orig_sid": HOSTILE, "dest": "$a$;$b$"}

    outcome = action([row], search_name=HOSTILE, app=HOSTILE)

    assert outcome.code == 0
    text = port.received[0][1]
    assert len(text.splitlines()) == 1
    assert port.events[0]["cbsigned_status"] == "Signed"
    assert port.events[0]["dest"] == "$a$;$b$"
    assert "orig_sid" in port.events[0]
    assert len(outcome.log.splitlines()) == 2
    assert 'action_status="success"' not in outcome.log.splitlines()[0]


def test_names_in_any_script_stay_searchable(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON, "process_name": "отчёт.exe"}])

    assert "отчёт.exe" in port.received[0][1]


def test_long_cells_are_cut_before_they_are_sent(action: Action, port: Port) -> None:
    raw = json.dumps({"process_md5": PROCMON, "padding": "x" * 20_000})

    action([{"cmdline": "y" * 300_000, "_raw": raw, "many": ["z"] * 500}])

    (sent,) = port.asked[0]["alerts"]
    assert len(sent["cmdline"]) == 8_192
    assert sent["_raw"] == raw
    assert len(sent["many"]) == 64
    assert len(port.received[0][1]) < 100_000


def test_many_long_rows_go_in_several_questions(action: Action, port: Port) -> None:
    rows = [{"process_md5": PROCMON, "n": str(n), **{f"f{i}": "x" * 8_000 for i in range(8)}} for n in range(150)]

    assert action(rows, configuration={"max_rows": "150"}).code == 0
    assert len(port.asked) == 3
    assert [event["rid"] for event in port.events] == [str(n) for n in range(150)]


def test_the_session_key_is_in_no_output(action: Action, port: Port) -> None:
    row = {"process_md5": PROCMON}
    outcomes = [action([row])]
    port.refusals = [503, 403]
    outcomes += [action([{**row, "n": "1"}]), action([{**row, "n": "2"}])]
    port.answers = [(500, {"error": f"Refused {KEY}"})]
    outcomes += [action([{**row, "n": "3"}]), action([row], configuration={"index": KEY})]

    for outcome in outcomes:
        assert KEY not in outcome.stderr
        assert KEY not in outcome.log
    assert all(KEY not in text for _told, text in port.received)
    for path in action.home.rglob("*"):
        assert not path.is_file() or path.suffix == ".gz" or KEY.encode() not in path.read_bytes()
