"""The handler's other questions, and requests out of bounds: each is answered, or refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.status import SigningStatus
from cbsigned_connectors.splunk.handler import Handler
from connectors.splunk.handling import GUID, ask, handling, rows, some_process
from edr_server import EdrServer, Fault


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
        pytest.param("rows", rows("x", lineage=True, lineage_fields=[]), id="no field of the lineage"),
        pytest.param("rows", rows("x", lineage=True, lineage_fields=["text", "x"]), id="another field of the lineage"),
        pytest.param("rows", rows("x", lineage=True, lineage_fields=[{}]), id="a field that is an object"),
        pytest.param("rows", rows("x", lineage=True, lineage_fields="text"), id="fields of the lineage a text"),
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
