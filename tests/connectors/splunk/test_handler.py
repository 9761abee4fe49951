"""The handler over a real server of ours: what it answers, whatever is asked and whatever the EDR does."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.samples import sample_path
from cbsigned.status import SigningStatus
from cbsigned.store.ingest import ingest
from cbsigned_connectors.splunk import logs
from cbsigned_connectors.splunk.handler import Handler, start
from cbsigned_connectors.splunk.jobs import Jobs
from connectors.edr_server.serving import serving
from connectors.splunk.handling import SESSION_KEY, SYSTEM_TOKEN, SmallSplunkd, ask, request_of
from edr_server import LOGIN_PAGE, TOKEN, EdrServer, Fault

MD5 = "0" * 31
GUID = "00000001-0000-0a1c-01d1-000000000001"
BINARIES = [
    {
        "md5": f"{MD5}{number:X}", "digsig_result": status.value, "digsig_publisher": "Example Ltd",
        "digsig_issuer": "Example CA", "digsig_sign_time": "2016-03-16T04:06:00Z",
    }
    for number, status in enumerate(SigningStatus, 1)
    if status is not SigningStatus.UNKNOWN
]  # fmt: skip
SIGNING = {"status", "signed", "publisher", "issuer", "sign_time", "why", "source", "age_s", "certainty"}
LINEAGE = {"text", "json", "depth", "root", "ended_by", "why", "names", "statuses", "guid"}


def md5(number: int) -> str:
    return f"{MD5}{number:x}"


def rows(*hashes: str, **more: Any) -> dict[str, Any]:
    return {"fields": ["process_md5"], "rows": [[text] for text in hashes], "wait_s": 10, **more}


@contextlib.contextmanager
def handling(url: str, *, token: str = TOKEN, jobs: Any = None, **edr: str) -> Iterator[tuple[Handler, str]]:
    """Yield a handler whose settings name an EDR, and the address of its splunkd."""
    with SmallSplunkd({"edr": {"url": url, "retries": "0", **edr}}, token) as splunkd:
        handler = Handler(jobs=jobs)
        try:
            yield handler, splunkd.uri
        finally:
            store = handler.store()
            assert store is None or store.flush()


@pytest.fixture(scope="module")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "samples.db"
    ingest(path, [sample_path("telemetry")])
    return path


@pytest.fixture(scope="module")
def over_samples(sample_store: Path) -> Iterator[tuple[Handler, str]]:
    with serving(sample_store) as client, handling(client.url) as found:
        yield found


def some_process(handler: Handler, uri: str) -> dict[str, Any]:
    """Return a process of the samples that has a parent, as the search gives it."""
    found = ask(handler, uri, "search", {"query": "process_name:powershell.exe", "rows": 50})[1]["rows"]
    process: dict[str, Any] = next(row for row in found if row.get("parent_name"))
    return process


# rows


def test_every_row_gets_the_status_of_its_hash_in_order() -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        status, answer = ask(handler, uri, "rows", rows(*map(md5, range(8, 0, -1))))

    assert status == 200
    told = [one["signing"]["status"] for one in answer["answers"]]
    assert told == [status.value for status in SigningStatus if status is not SigningStatus.UNKNOWN][::-1]


def test_a_signed_row_in_full() -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        _status, answer = ask(handler, uri, "rows", rows(md5(1)))

        assert answer == {
            "answers": [
                {
                    "failed": False,
                    "signing": {
                        "status": "Signed", "signed": "true", "publisher": "Example Ltd", "issuer": "Example CA",
                        "sign_time": "2016-03-16T04:06:00Z",
                        "why": "Signed by Example Ltd: the signature was accepted.",
                        "source": f"edr:{edr.url[7:]}", "certainty": "stated", "age_s": "0",
                    },
                    "lineage": None,
                }
            ],
            "warnings": [],
        }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        pytest.param("", "nothing to look up", id="empty"),
        pytest.param("not a hash", "not a hash", id="no hash"),
        pytest.param("d" * 32, "Unknown, not Unsigned", id="unknown to the EDR"),
        pytest.param("x" * 8_192, "", id="longest"),
        pytest.param("\ud800" * 32, "", id="lone surrogates"),
        pytest.param('" OR *:*', "", id="query syntax"),
    ],
)
def test_a_row_without_an_answer_is_unknown_and_says_why(cell: str, says: str) -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        status, answer = ask(handler, uri, "rows", rows(cell, md5(1)))

    (nothing, signed) = answer["answers"]
    assert (status, nothing["signing"]["status"], nothing["failed"]) == (200, "Unknown", False)
    assert says in nothing["signing"]["why"]
    assert nothing["signing"]["why"]
    assert signed["signing"]["status"] == "Signed"
    assert answer["warnings"] == []


def test_the_first_field_with_a_hash_is_asked_and_lists_are_read() -> None:
    document = {
        "fields": ["process_md5", "md5", "process_hash"],
        "rows": [["", md5(2), ""], ["", "", ["SHA1=abc", f"MD5={md5(1).upper()}"]], [md5(3), md5(1), []]],
        "wait_s": 10,
    }
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        _status, answer = ask(handler, uri, "rows", document)

    assert [one["signing"]["status"] for one in answer["answers"]] == ["Unsigned", "Signed", "Expired"]


def test_every_value_is_a_text_or_a_list_of_texts(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    process = some_process(handler, uri)
    document = {"fields": ["process_guid"], "rows": [[process["unique_id"]], [""]], "lineage": True, "wait_s": 10}
    _status, answer = ask(handler, uri, "rows", document)

    for one in answer["answers"]:
        assert (set(one["signing"]), set(one["lineage"])) == (SIGNING, LINEAGE)
        for value in [*one["signing"].values(), *one["lineage"].values()]:
            assert all(isinstance(text, str) for text in (value if isinstance(value, list) else [value]))


def test_lineage_is_told_newest_first_with_the_status_of_every_image(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    process = some_process(handler, uri)
    document = {"fields": ["process_guid"], "rows": [[process["unique_id"]]], "lineage": True, "wait_s": 10}
    _status, answer = ask(handler, uri, "rows", document)

    lineage = answer["answers"][0]["lineage"]
    assert lineage["names"][:2] == [process["process_name"], process["parent_name"]]
    pairs = zip(lineage["names"], lineage["statuses"])
    assert lineage["text"] == " <- ".join(f"{name} ({status})" for name, status in pairs)
    assert lineage["guid"] == process["unique_id"][:36]
    assert lineage["depth"] == str(len(lineage["names"]) - 1)
    assert lineage["root"] == lineage["names"][-1]
    nodes = json.loads(lineage["json"])["nodes"]
    assert [node["name"] or f"pid {node['pid']}" for node in nodes] == lineage["names"]
    assert [node["status"] for node in nodes] == lineage["statuses"]
    assert lineage["ended_by"]
    assert lineage["why"]


def test_a_row_without_a_process_says_why_it_has_no_lineage() -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        _status, answer = ask(handler, uri, "rows", rows(md5(1), "", lineage=True))

    first, second = (one["lineage"] for one in answer["answers"])
    assert (first["text"], first["names"]) == ("", [])
    assert "neither a process guid nor a host" in first["why"]
    assert "nothing to look up" in second["why"]


def test_depth_is_bounded_by_the_question(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    guid = some_process(handler, uri)["unique_id"]
    document = {"fields": ["process_guid"], "rows": [[guid]], "lineage": True, "max_depth": 0, "wait_s": 10}
    _status, answer = ask(handler, uri, "rows", document)

    assert answer["answers"][0]["lineage"]["depth"] == "0"


def test_known_answers_ask_nobody() -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        first = ask(handler, uri, "rows", rows(md5(1), "d" * 32))
        asked = len(edr.requests)
        second = ask(handler, uri, "rows", rows(md5(1), "d" * 32))

        assert second == first
        assert len(edr.requests) == asked


def test_without_the_cache_the_edr_is_asked_and_its_answer_kept() -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        edr.fail("binary", Fault(body=b'{"results": [], "total_results": 0}', kind="application/json"))
        old = ask(handler, uri, "rows", rows(md5(1)))[1]
        edr.heal()
        edr.counts.clear()
        fresh = ask(handler, uri, "rows", rows(md5(1), cache=False))[1]
        kept = ask(handler, uri, "rows", rows(md5(1)))[1]

        assert [one["answers"][0]["signing"]["status"] for one in (old, fresh, kept)] == ["Unknown", "Signed", "Signed"]
        assert edr.counts == {"binary": 1}


def test_twenty_searches_for_the_same_hashes_cause_one_request() -> None:
    with EdrServer(BINARIES, latency_s=0.2) as edr, handling(edr.url) as (handler, uri):
        began = threading.Barrier(20)

        def search(number: int) -> Any:
            began.wait(10)
            document = rows(*map(md5, range(1, 9)), wait_s=0)
            status, answer = ask(handler, uri, "rows", document, user=f"analyst{number}")
            while "job" in answer:
                again = {"job": answer["job"], "wait_s": 10}
                status, answer = ask(handler, uri, "rows", again, user=f"analyst{number}")
            return status, [one["signing"]["status"] for one in answer["answers"]]

        with ThreadPoolExecutor(20) as pool:
            found = list(pool.map(search, range(20)))

        expected = [status.value for status in SigningStatus if status is not SigningStatus.UNKNOWN]
        assert found == [(200, expected)] * 20
        assert edr.counts["binary"] == 1


# what the EDR may do


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(Fault(status=500), "500", id="500"),
        pytest.param(Fault(status=429, headers={"Retry-After": "3600"}), "wait", id="429"),
        pytest.param(Fault(status=401), "token", id="token refused"),
        pytest.param(Fault(status=403), "403", id="right missing"),
        pytest.param(Fault(body=LOGIN_PAGE), "HTML", id="login page"),
        pytest.param(Fault(body=b'{"results": [', kind="application/json"), "", id="cut json"),
        pytest.param(Fault(mode="close"), "", id="connection closed"),
        pytest.param(Fault(mode="silent"), "no whole answer", id="no answer in time"),
    ],
)
def test_a_failing_edr_costs_the_answers_and_one_warning(fault: Fault, says: str) -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        edr.fail("*", fault)
        status, answer = ask(handler, uri, "rows", rows(md5(1), md5(2), "", timeout_s=1))

    assert status == 200
    assert [one["failed"] for one in answer["answers"]] == [True, True, False]
    assert {one["signing"]["status"] for one in answer["answers"]} == {"Unknown"}
    (warning,) = answer["warnings"]
    assert says in warning
    assert answer["answers"][0]["signing"]["why"] == warning


def test_a_dead_edr() -> None:
    with EdrServer() as edr:
        url = edr.url
    with handling(url) as (handler, uri):
        status, answer = ask(handler, uri, "rows", rows(md5(1)))
        health = ask(handler, uri, "health", {})[1]

    assert (status, answer["answers"][0]["failed"]) == (200, True)
    assert health["last_failure"] == answer["warnings"][0]
    assert health["gaps"] == {"unavailable": 1}


def test_failures_are_not_kept() -> None:
    with EdrServer(BINARIES) as edr, handling(edr.url) as (handler, uri):
        edr.fail("binary", Fault(status=500))
        failed = ask(handler, uri, "rows", rows(md5(1)))[1]
        edr.heal()
        healed = ask(handler, uri, "rows", rows(md5(1)))[1]

    assert (failed["answers"][0]["failed"], healed["answers"][0]["failed"]) == (True, False)


# time slices


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


def test_time_spent_waiting_for_a_turn_counts() -> None:
    with EdrServer(BINARIES, latency_s=0.5) as edr, handling(edr.url, jobs=Jobs(running=1)) as (handler, uri):
        ask(handler, uri, "rows", rows(md5(1), wait_s=0))
        _status, answer = ask(handler, uri, "rows", rows(md5(2), timeout_s=0.1))
        while "job" in answer:
            _status, answer = ask(handler, uri, "rows", {"job": answer["job"], "wait_s": 10})

    assert answer["answers"][0]["failed"]


# other routes


def test_alerts_are_enriched_as_by_the_core(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    guid = some_process(handler, uri)["unique_id"]
    alerts = [{"process_guid": guid}, {"nothing": "known"}]
    status, answer = ask(handler, uri, "enrich", {"alerts": alerts, "wait_s": 10})

    assert status == 200
    assert [one["schema"] for one in answer["enrichments"]] == ["cbsigned.enrichment/1"] * 2
    assert answer["enrichments"][0]["subjects"][0]["lineage"]["nodes"]


def test_ancestors_are_not_asked_for_where_the_alert_action_wants_none(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    alerts = [{"process_guid": some_process(handler, uri)["unique_id"]}]
    _status, answer = ask(handler, uri, "enrich", {"alerts": alerts, "lineage": False, "wait_s": 10})

    assert answer["enrichments"][0]["subjects"][0]["lineage"] is None


def test_a_search_comes_page_by_page(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    whole = ask(handler, uri, "search", {"kind": "process", "query": "", "rows": 1000})[1]
    found, start = [], 0
    while start is not None:
        page = ask(handler, uri, "search", {"kind": "process", "query": "", "rows": 7, "start": start})[1]
        found += page["rows"]
        start = page["next"]

    assert len(found) == whole["total"] > 7
    assert [row["unique_id"] for row in found] == [row["unique_id"] for row in whole["rows"]]


def test_binaries_are_searched_too(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    md5_of_one = some_process(handler, uri)["process_md5"]
    status, answer = ask(handler, uri, "search", {"kind": "binary", "query": f"md5:{md5_of_one}"})

    assert (status, [row["md5"] for row in answer["rows"]]) == (200, [md5_of_one.upper()])


def test_a_wrong_query_is_pointed_at(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    status, answer = ask(handler, uri, "search", {"query": "process_name:(cmd.exe"})

    assert status == 400
    assert "character" in answer["error"] or "end" in answer["error"]
    assert answer["position"] <= len("process_name:(cmd.exe")


def test_a_process_with_its_lineage_and_links(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    found = some_process(handler, uri)
    status, answer = ask(handler, uri, "process", {"guid": found["unique_id"]})

    assert status == 200
    assert answer["process"]["name"] == found["process_name"]
    assert answer["process"]["md5"] == found["process_md5"].lower()
    assert answer["process"]["status"] in {status.value for status in SigningStatus}
    assert answer["lineage"][0]["relation"] == "self"
    assert {row["relation"] for row in answer["lineage"]} >= {"self", "ancestor"}
    assert found["unique_id"][:36] in answer["links"]["process"]


def test_what_a_process_did(over_samples: tuple[Handler, str]) -> None:
    handler, uri = over_samples
    guid = some_process(handler, uri)["unique_id"]
    status, answer = ask(handler, uri, "activity", {"guid": guid, "rows": 5})

    assert status == 200
    assert answer["total"] == sum(answer["counts"].values()) >= len(answer["rows"]) > 0
    assert all({"time", "kind", "text"} <= set(row) for row in answer["rows"])


@pytest.mark.parametrize("route", ["process", "activity"])
def test_a_guid_that_is_none(over_samples: tuple[Handler, str], route: str) -> None:
    status, answer = ask(*over_samples, route, {"guid": "4711 OR *"})

    assert status == 400
    assert "expected a process guid" in answer["error"]


def test_an_unknown_process_has_no_activity(over_samples: tuple[Handler, str]) -> None:
    status, answer = ask(*over_samples, "activity", {"guid": GUID})

    assert (status, "no events of process" in answer["error"]) == (404, True)


def test_a_search_of_a_failing_edr_is_an_error() -> None:
    with EdrServer() as edr, handling(edr.url) as (handler, uri):
        edr.fail("*", Fault(status=500))
        status, answer = ask(handler, uri, "search", {"query": "cmd.exe"})

    assert status == 502
    assert "500" in answer["error"]


# requests from anywhere


@pytest.mark.parametrize(
    ("route", "document"),
    [
        pytest.param("rows", [], id="a list"),
        pytest.param("rows", {}, id="nothing"),
        pytest.param("rows", {"fields": [], "rows": []}, id="no fields"),
        pytest.param("rows", {"fields": "md5", "rows": []}, id="fields a text"),
        pytest.param("rows", {"fields": ["md5", "md5"], "rows": []}, id="a field twice"),
        pytest.param("rows", {"fields": [""], "rows": []}, id="a field without a name"),
        pytest.param("rows", {"fields": [1], "rows": []}, id="a field that is no text"),
        pytest.param("rows", {"fields": [["md5"]], "rows": []}, id="a field that is a list"),
        pytest.param("rows", {"fields": ["md5"], "rows": [["a", "b"]]}, id="too many cells"),
        pytest.param("rows", {"fields": ["md5"], "rows": ["a"]}, id="a row that is a text"),
        pytest.param("rows", {"fields": ["md5"], "rows": [[None]]}, id="null"),
        pytest.param("rows", {"fields": ["md5"], "rows": [[{"a": "b"}]]}, id="an object"),
        pytest.param("rows", {"fields": ["md5"], "rows": [["x" * 8_193]]}, id="a long cell"),
        pytest.param("rows", {"fields": ["md5"], "rows": [[["x"] * 1_001]]}, id="a long list"),
        pytest.param("rows", {"fields": ["md5"], "rows": [["x"]] * 10_001}, id="too many rows"),
        pytest.param("rows", rows("x", timeout_s=0), id="no time"),
        pytest.param("rows", rows("x", timeout_s=601), id="too much time"),
        pytest.param("rows", rows("x", timeout_s=float("nan")), id="time is no number"),
        pytest.param("rows", rows("x", timeout_s=True), id="time is a switch"),
        pytest.param("rows", rows("x", wait_s=11), id="too long a wait"),
        pytest.param("rows", rows("x", cache="yes"), id="cache is a text"),
        pytest.param("rows", rows("x", lineage=1), id="lineage is a number"),
        pytest.param("rows", rows("x", max_depth=501), id="too deep"),
        pytest.param("enrich", {"alerts": [1]}, id="an alert that is a number"),
        pytest.param("enrich", {"alerts": [{}] * 1_001}, id="too many alerts"),
        pytest.param("search", {"kind": "sensor", "query": ""}, id="another kind"),
        pytest.param("search", {"query": 1}, id="a query that is a number"),
        pytest.param("search", {"query": "x" * 65_537}, id="a long query"),
        pytest.param("search", {"query": "a\x00b"}, id="a control character in the query"),
        pytest.param("search", {"query": "\ud800"}, id="half a character in the query"),
        pytest.param("search", {"query": "", "sort": "start desc; x"}, id="a strange sort"),
        pytest.param("search", {"query": "", "sort": 1}, id="a sort that is a number"),
        pytest.param("activity", {"guid": GUID, "kinds": ["x"]}, id="another kind of event"),
        pytest.param("activity", {"guid": GUID, "kinds": [{}]}, id="a kind that is an object"),
    ],
)  # fmt: skip
def test_a_request_out_of_bounds_is_refused_in_words(route: str, document: Any) -> None:
    with EdrServer() as edr, handling(edr.url) as (handler, uri):
        status, answer = ask(handler, uri, route, document)

        assert status == 400
        assert answer["error"].endswith((".", "…"))
        assert edr.counts["process"] + edr.counts["binary"] == 0


@pytest.mark.parametrize(
    "in_string",
    ["", "null", "[]", "{", "[" * 100_000, '{"rest_path": 7}', '{"rest_path": "/cbsigned/rows"}', b"\xff\x00", b"{}"],
    ids=["empty", "null", "list", "cut", "deep", "number", "path alone", "no text", "object"],
)  # fmt: skip
def test_splunkds_own_part_may_be_anything(in_string: Any) -> None:
    reply = Handler(connect=None).handle(in_string)

    assert reply["status"] in (400, 404)
    assert json.loads(reply["payload"])["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "fields",
        "rows",
        "alerts",
        "job",
        "wait_s",
        "timeout_s",
        "guid",
        "query",
        "kind",
        "kinds",
        "start",
        "cache",
        "_raw",
    ]
)
ROUTES = st.sampled_from(["rows", "enrich", "search", "process", "activity", "health", "nothing"])


@pytest.fixture(scope="module")
def over_nothing() -> Iterator[tuple[Handler, str]]:
    with EdrServer() as edr, handling(edr.url) as found:
        yield found


@settings(max_examples=150)
@given(route=ROUTES, document=st.dictionaries(NAMES, JSON, max_size=6))
def test_whatever_is_asked_there_is_an_answer(over_nothing: tuple[Handler, str], route: str, document: Any) -> None:
    status, _answer = ask(*over_nothing, route, document)

    assert status in (200, 400, 404)


@settings(max_examples=60)
@given(alerts=st.lists(st.dictionaries(st.sampled_from(["md5", "_raw", "docs", "type", "pid", "host", "_time"]), JSON)))
def test_whatever_the_alerts_are_each_has_an_enrichment(over_nothing: tuple[Handler, str], alerts: Any) -> None:
    status, answer = ask(*over_nothing, "enrich", {"alerts": alerts, "wait_s": 10})

    assert (status, len(answer["enrichments"])) == (200, len(alerts))


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
