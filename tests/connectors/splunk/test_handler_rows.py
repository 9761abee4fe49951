"""What the rows of a search get from the handler over a real server of ours, whatever that does."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cbsigned.status import SigningStatus
from cbsigned_connectors.splunk.handler import Handler
from cbsigned_connectors.splunk.service import LINEAGE
from connectors.splunk.handling import BINARIES, ask, handling, md5, rows, some_process
from edr_server import LOGIN_PAGE, EdrServer, Fault

SIGNING = {"status", "signed", "publisher", "issuer", "sign_time", "why", "source", "age_s", "certainty"}


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
        assert (set(one["signing"]), set(one["lineage"])) == (SIGNING, set(LINEAGE))
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
