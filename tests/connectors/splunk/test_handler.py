"""The handler over a real server of ours: its time slices, what it takes from splunkd, and what nobody may see."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cbsigned_connectors.splunk import logs
from cbsigned_connectors.splunk.handler import Handler, start
from cbsigned_connectors.splunk.jobs import Jobs
from connectors.splunk.handling import (
    BINARIES,
    SESSION_KEY,
    SYSTEM_TOKEN,
    SmallSplunkd,
    ask,
    handling,
    md5,
    request_of,
    rows,
)
from edr_server import TOKEN, EdrServer, Fault


def test_a_slow_look_up_is_a_job_that_answers_later() -> None:
    with EdrServer(BINARIES, latency_s=0.3) as edr, handling(edr.url) as (handler, uri):
        began = time.monotonic()
        status, first = ask(handler, uri, "rows", rows(md5(1), wait_s=0.05))
        took_s = time.monotonic() - began
        stranger = ask(handler, uri, "rows", {"job": first["job"], "wait_s": 0}, user="somebody else")
        _status, last = ask(handler, uri, "rows", {"job": first["job"], "wait_s": 10})
        again = ask(handler, uri, "rows", {"job": first["job"], "wait_s": 0})

    assert (status, list(first)) == (200, ["job"])
    assert took_s < 0.3
    assert stranger[0] == 404
    assert "Ask again" in stranger[1]["error"]
    assert last["answers"][0]["signing"]["status"] == "Signed"
    assert again == (200, last)


@pytest.mark.parametrize("job", ["0" * 32, "x", "", 7, None, ["0" * 32]])
def test_a_job_that_is_none(job: Any) -> None:
    with EdrServer() as edr, handling(edr.url) as (handler, uri):
        status, answer = ask(handler, uri, "rows", {"job": job})

    assert status in (400, 404)
    assert answer["error"]


def test_too_many_look_ups_are_refused_in_words() -> None:
    with (
        EdrServer(BINARIES, latency_s=0.4) as edr,
        handling(edr.url, jobs=Jobs(running=1, waiting=0)) as (handler, uri),
    ):
        first = ask(handler, uri, "rows", rows(md5(1), wait_s=0))
        second = ask(handler, uri, "rows", rows(md5(2), wait_s=0))
        ask(handler, uri, "rows", {"job": first[1]["job"], "wait_s": 10})
        third = ask(handler, uri, "rows", rows(md5(2)))

    assert second[0] == 429
    assert "busy" in second[1]["error"]
    assert third[1]["answers"][0]["signing"]["status"] == "Unsigned"


def test_one_user_cannot_take_all_places() -> None:
    """One user's dashboards took all 80 places, and everybody else's searches were refused."""
    go = threading.Event()
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        busy = [handler._jobs.start("ana", lambda: go.wait(20)) for _ in range(40)]
        refused = ask(handler, uri, "rows", rows(md5(1)), user="ana")
        other = ask(handler, uri, "rows", rows(md5(1), wait_s=0), user="ben")
        go.set()
        _status, answer = ask(handler, uri, "rows", {"job": other[1]["job"], "wait_s": 10}, user="ben")
        assert all(job.done.wait(10) for job in busy)
        again = ask(handler, uri, "rows", rows(md5(1)), user="ana")

    assert refused == (
        429,
        {
            "error": "The handler of cbsigned is busy: 40 look-ups of your own are running or waiting, as many as one "
            "user may have. Run fewer searches at the same time. Try again in a minute."
        },
    )
    assert answer["answers"][0]["signing"]["status"] == "Signed"
    assert again[0] == 200


def test_time_spent_waiting_for_a_turn_counts() -> None:
    with EdrServer(BINARIES, latency_s=0.5) as edr, handling(edr.url, jobs=Jobs(running=1)) as (handler, uri):
        ask(handler, uri, "rows", rows(md5(1), wait_s=0))
        _status, answer = ask(handler, uri, "rows", rows(md5(2), timeout_s=0.1))
        while "job" in answer:
            _status, answer = ask(handler, uri, "rows", {"job": answer["job"], "wait_s": 10})

    assert answer["answers"][0]["failed"]


# requests from anywhere


@pytest.mark.parametrize(
    "in_string",
    ["", "null", "[]", "{", "[" * 100_000, '{"rest_path": 7}', '{"rest_path": "/cbsigned/rows"}', b"\xff\x00", b"{}"],
    ids=["empty", "null", "list", "cut", "deep", "number", "path alone", "no text", "object"],
)  # fmt: skip
def test_splunkds_own_part_may_be_anything(in_string: Any) -> None:
    reply = Handler(connect=None).handle(in_string)

    assert reply["status"] in (400, 404)
    assert json.loads(reply["payload"])["error"]


@pytest.mark.parametrize("path", ["cbsigned/nothing", "cbsigned", "cbsigned_admin/rows", "other/rows", "cbsigned/test"])
def test_there_are_no_other_routes(path: str) -> None:
    with EdrServer() as edr, handling(edr.url) as (handler, uri):
        status, answer = ask(handler, uri, path if "/" in path else f"{path}/", {})

    assert status == 404
    assert "rows, enrich" in answer["error"]


@pytest.mark.parametrize("method", ["GET", "DELETE", None])
def test_questions_are_posted(method: Any) -> None:
    request = request_of("http://127.0.0.1:1", "cbsigned/health", {}, method=method)

    reply = Handler(connect=None).handle(json.dumps(request))

    assert (reply["status"], "POST" in reply["payload"]) == (400, True)


def test_a_route_is_not_reached_through_another_stanza() -> None:
    """Each stanza of restmap.conf has a capability of its own; `match` is a prefix."""
    conf = {"name": "script:cbsigned", "conf": {"match": "/cbsigned"}}
    request = request_of("http://127.0.0.1:1", "cbsigned_admin/test", {"settings": {}}, restmap=conf)

    reply = Handler(connect=None).handle(json.dumps(request))

    assert reply["status"] == 404


def test_without_the_systems_authority_it_says_what_is_missing() -> None:
    request = request_of("http://127.0.0.1:1", "cbsigned/rows", rows("x"), system_authtoken=None)

    reply = Handler(connect=None).handle(json.dumps(request))

    assert (reply["status"], "passSystemAuth" in reply["payload"]) == (409, True)


# what nobody may see


def test_no_secret_is_in_any_answer_log_or_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        for fault in (None, Fault(status=401), Fault(status=500), Fault(body=TOKEN.encode()), Fault(mode="close")):
            edr.heal()
            if fault is not None:
                edr.fail("*", fault)
            told += [ask(handler, uri, "rows", rows(md5(3), cache=False, timeout_s=2))]
            told += [ask(handler, uri, route, {"query": "a", "guid": "x"}) for route in ("search", "process", "health")]
            told += [ask(handler, uri, "cbsigned_admin/test", {"settings": {"edr": {"url": edr.url}}, "token": TOKEN})]
        told += [repr(handler), repr(vars(handler))]

    everything = repr(told) + caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    for secret in (TOKEN, SESSION_KEY, SYSTEM_TOKEN):
        assert secret not in everything


class Broken:
    """Settings whose reading is a bug."""

    def settings(self, splunkd: Any) -> Any:
        raise RuntimeError(f"header {splunkd.token!r} of {SESSION_KEY}")


def test_a_bug_is_one_sentence_outside_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler(Broken(), connect=None)  # type: ignore[arg-type]
    status, answer = ask(handler, "http://127.0.0.1:1", "rows", rows(md5(1)))

    assert (status, "bug" in answer["error"], "header" in answer["error"]) == (500, True, False)
    assert "RuntimeError: header" in caplog.text
    assert SYSTEM_TOKEN not in caplog.text
    assert SESSION_KEY not in caplog.text


def test_a_bug_in_a_job_reads_the_same(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_more: Any) -> Any:
        raise RuntimeError(f"of {TOKEN}")

    with EdrServer() as edr, handling(edr.url) as (handler, uri):
        monkeypatch.setattr("cbsigned_connectors.splunk.service.enrich", broken)
        status, answer = ask(handler, uri, "rows", rows(md5(1)))

    assert (status, "bug" in answer["error"]) == (500, True)
    assert "RuntimeError: of …" in caplog.text
    assert TOKEN not in caplog.text + repr(answer)


def test_what_others_wrote_comes_back_as_ascii_json() -> None:
    with EdrServer() as edr, handling(edr.url) as (handler, uri):
        document = rows("\ud800 and 🔏")
        reply = handler.handle(json.dumps(request_of(uri, "cbsigned/rows", document)))

    why = json.loads(reply["payload"])["answers"][0]["signing"]["why"]
    assert reply["payload"].isascii()
    assert why.encode()


def test_the_handler_that_splunkd_starts_writes_to_the_apps_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "var" / "log" / "splunk").mkdir(parents=True)
    monkeypatch.setenv("SPLUNK_HOME", str(tmp_path))
    handler = start()
    try:
        with SmallSplunkd({"edr": {"url": "https://cb.example.test"}}, TOKEN) as splunkd:
            splunkd.status["configs"] = 503
            status, _answer = ask(handler, splunkd.uri, "rows", rows(md5(1)))
    finally:
        for name in ("cbsigned", "cbsigned_connectors"):
            logger = logging.getLogger(name)
            logger.setLevel(logging.NOTSET)
            for own in [h for h in logger.handlers if isinstance(h, logs.LineHandler)]:
                logger.removeHandler(own)

    written = (tmp_path / "var" / "log" / "splunk" / "cbsigned.log").read_text()
    assert status == 500
    assert "ERROR" in written
    assert "Cannot read the settings of cbsigned from splunkd: it answered 503" in written
    assert SYSTEM_TOKEN not in written
