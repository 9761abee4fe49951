"""Process and binary search over HTTP: paging, sorting, facets, envelope, what is refused and why."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from cbsigned_connectors.edr_server.faults import Fault, Faults
from connectors.edr_server.serving import Client, serving

ROUTES = ["process", "binary"]
ENVELOPE = {"terms", "results", "elapsed", "total_results", "highlights", "facets", "start"}


@pytest.fixture(scope="module")
def real(real_store: Path) -> Iterator[Client]:
    with serving(real_store) as client:
        yield client


def ids(answer: Any) -> list[str]:
    return [document.get("id") or document["md5"] for document in answer.json()["results"]]


@pytest.mark.parametrize(("route", "total"), [("process", 1579), ("binary", 278)])
def test_no_rows_give_the_total_alone(real: Client, route: str, total: int) -> None:
    told = real.get(f"/api/v1/{route}", rows=0).json()

    assert (told["results"], told["terms"], told["total_results"]) == ([], [], total)


@pytest.mark.parametrize("route", ROUTES)
def test_pages_follow_each_other_without_gap_or_repetition(real: Client, route: str) -> None:
    whole = ids(real.get(f"/api/v1/{route}", rows=100))

    pages = [ids(real.get(f"/api/v1/{route}", rows=25, start=start)) for start in (0, 25, 50, 75)]

    assert [one for page in pages for one in page] == whole
    assert len(set(whole)) == 100


@pytest.mark.parametrize("route", ROUTES)
def test_a_page_beyond_the_end_is_empty_with_the_true_total(real: Client, route: str) -> None:
    told = real.get(f"/api/v1/{route}", start=100_000).json()

    assert told["results"] == []
    assert told["total_results"] > 0


def test_ten_rows_come_where_none_are_asked_for(real: Client) -> None:
    assert len(ids(real.get("/api/v1/process"))) == 10


@pytest.mark.parametrize("route", ROUTES)
def test_post_answers_as_get_with_values_bare_or_in_lists(real: Client, route: str) -> None:
    query = "hostname:WIN-IA9NQ1GN8OI"
    bare = {"q": query, "rows": 5, "start": 5, "facet": False, "cb.urlver": 1}
    listed = {"q": [query], "rows": 5, "start": 5, "facet": ["false", "false"], "cb.urlver": ["1"]}

    answers = [real.get(f"/api/v1/{route}", **bare), *(real.post(f"/api/v1/{route}", body) for body in (bare, listed))]

    assert len(ids(answers[0])) == 5
    assert ids(answers[0]) == ids(answers[1]) == ids(answers[2])


def test_sorting_by_start_runs_both_ways(real: Client) -> None:
    query = {"q": "hostname:WIN-IA9NQ1GN8OI cmdline:*", "rows": 1000}

    up, down = (real.get("/api/v1/process", sort=f"start {way}", **query).json()["results"] for way in ("asc", "desc"))

    starts = [document["start"] for document in up if "start" in document]
    assert len(starts) > 300
    assert starts == sorted(starts)
    assert [document["id"] for document in up] == [document["id"] for document in down][::-1]


def test_a_hash_is_found_in_either_case_and_written_as_each_route_writes_it(real: Client) -> None:
    md5 = "c8a299bb91912d446f19ea4bd4d135c7"

    processes = real.get("/api/v1/process", q=f"process_md5:{md5.upper()}", rows=1000).json()
    binaries = real.get("/api/v1/binary", q=f"md5:{md5}").json()

    assert processes["total_results"] == len(processes["results"]) == 29
    assert {document["process_md5"] for document in processes["results"]} == {md5}
    assert [document["md5"] for document in binaries["results"]] == [md5.upper()]


def test_a_thousand_hashes_fit_into_one_post(real: Client) -> None:
    known = ids(real.get("/api/v1/binary", rows=200))
    query = " or ".join(f"md5:{md5}" for md5 in [*known, *(f"{n:032x}" for n in range(1, 801))])

    told = real.post("/api/v1/binary", {"q": query, "rows": 1000}).json()

    assert {document["md5"] for document in told["results"]} == set(known)


def test_a_binary_field_joins_a_process_search(real: Client) -> None:
    signed, unsigned, both = (
        real.get("/api/v1/process", q=f"digsig_result:{word}", rows=0).json()["total_results"]
        for word in ("Signed", "Unsigned", "(Signed or Unsigned)")
    )

    assert signed == 74
    assert both == signed + unsigned


def test_several_queries_and_restrictions_must_all_be_met(real: Client) -> None:
    parts = {
        "q": ["process_name:chrome.exe", "hostname:WIN-IA9NQ1GN8OI or hostname:nowhere"],
        "cb.q.username": "WIN-IA9NQ1GN8OI*",
    }

    with_all = real.get("/api/v1/process", **parts, rows=0).json()
    narrowed = real.get("/api/v1/process", **{**parts, "cb.fq.process_name": "none.exe"}, rows=0).json()

    assert with_all["total_results"] > 0
    assert len(with_all["terms"]) == 4
    assert narrowed["total_results"] == 0


def test_the_times_of_partitions_bound_a_search(real: Client) -> None:
    noon = "2016-03-16T12:00:00Z"

    before, after, whole = (
        real.get("/api/v1/process", rows=0, **span).json()["total_results"]
        for span in ({"cb.max_last_update": noon}, {"cb.min_last_update": noon}, {})
    )

    assert 0 < before < whole
    assert before + after == whole


@pytest.mark.parametrize(
    ("route", "names"), [("process", ["process_name", "hostname", "day_of_week"]), ("binary", ["digsig_result"])]
)
def test_facets_count_what_was_found_in_the_recorded_form(real: Client, route: str, names: list[str]) -> None:
    told = real.get(f"/api/v1/{route}", rows=0, facet="true", **{"facet.field": names}).json()

    assert list(told["facets"]) == names
    first = told["facets"][names[0]][0]
    assert first.keys() == {"name", "value", "percent", "ratio"}
    assert (type(first["value"]), first["percent"], type(first["ratio"])) == (int, 100.0, str)


def test_facets_come_with_their_usual_names_where_none_is_named(real: Client) -> None:
    told = real.get("/api/v1/process", q="process_name:chrome.exe", rows=0, facet="true").json()

    assert {"process_md5", "hostname", "username_full", "start"} <= set(told["facets"])
    assert [one["name"] for one in told["facets"]["process_name"]] == ["chrome.exe"]


@pytest.mark.parametrize(
    ("version", "more"),
    [("5.2", set()), ("6.0", {"comprehensive_search", "all_segments", "incomplete_results"})],
)
def test_the_envelope_is_that_of_the_version(real_store: Path, version: str, more: set[str]) -> None:
    with serving(real_store, version) as client:
        process, binary = (client.get(f"/api/v1/{route}", rows=1).json() for route in ROUTES)

    assert process.keys() == ENVELOPE | {"tagged_pids", "filtered"} | more
    assert binary.keys() == ENVELOPE
    suffix = process["results"][0]["unique_id"][37:]
    assert len(suffix) == (12 if more else 8)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "bad", [{"q": "(foo"}, {"q": 'a:"b'}, {"q": "no_such_field:x"}, {"sort": "nothing asc"}, {"q": "a or"},
            {"facet": "true", "facet.field": "nothing"}],
    ids=lambda bad: next(iter(bad.values())),
)  # fmt: skip
def test_a_query_that_cannot_be_read_is_400_with_a_reason_in_words(
    real: Client, route: str, bad: dict[str, str]
) -> None:
    answer = real.get(f"/api/v1/{route}", **bad)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json()["reason"] == "query_malformed_syntax"
    assert len(answer.json()["message"]) > 20


@pytest.mark.parametrize("value", ["-1", "ten", "1.5"])
@pytest.mark.parametrize("name", ["rows", "start"])
def test_rows_and_start_are_numbers_or_400(real: Client, name: str, value: str) -> None:
    answer = real.get("/api/v1/process", **{name: value})

    assert (answer.status_code, answer.json()) == (400, {"reason": "invalid_parameter", "parameter": name})


@pytest.mark.parametrize("body", [b"{" * 50_000, b"[]", b'"x"', b"\xff\xfe", b"nothing"])
def test_a_body_that_is_no_object_is_400(real: Client, body: bytes) -> None:
    answer = real.session.post(f"{real.url}/api/v1/process", data=body, headers={"X-Auth-Token": str(real.token)})

    assert (answer.status_code, answer.json()) == (400, {"reason": "malformed_json"})


def test_a_body_over_the_limit_is_413(real: Client) -> None:
    assert real.post("/api/v1/process", {"q": "x" * (5 * 1024 * 1024)}).status_code == 413


@pytest.mark.parametrize(
    ("version", "options", "joins", "wildcards"),
    [
        ("6.2.2", {}, 200, 200),
        ("6.2.3", {}, 200, 400),
        ("7.3", {"block_leading_wildcards": False}, 200, 200),
        ("5.1", {"block_joins": True, "block_leading_wildcards": True}, 400, 400),
    ],
)
def test_joins_and_leading_wildcards_are_blocked_where_a_version_or_an_option_says_so(
    real_store: Path, version: str, options: dict[str, bool], joins: int, wildcards: int
) -> None:
    with serving(real_store, version, **options) as client:
        told = [client.get("/api/v1/process", q=q, rows=0).status_code for q in ("digsig_result:Signed", "path:*x.exe")]

    assert told == [joins, wildcards]


def test_faults_block_searches_and_over_estimate_totals(real_store: Path) -> None:
    faults = Faults(
        [Fault("/api/v1/process", "block-joins"), Fault("*", "block-leading-wildcards"),
         Fault("*", "over-estimate", extra=7)], 1,
    )  # fmt: skip
    with serving(real_store, "6.0", faults=faults) as client:
        told = [client.get("/api/v1/process", q=q, rows=0).status_code for q in ("digsig_result:Signed", "path:*x.exe")]
        total = client.get("/api/v1/process", rows=0).json()["total_results"]

    assert told == [400, 400]
    assert total == 1579 + 7


def test_a_search_that_takes_too_long_says_that_it_is_incomplete(real_store: Path) -> None:
    with serving(real_store, request_timeout_s=0.0) as client:
        answer = client.get("/api/v1/process", q="cmdline:e* or modload:c*", rows=100)

    assert answer.status_code == 504 or answer.json()["incomplete_results"] is True


def test_many_clients_at_once_are_answered_alike(real: Client) -> None:
    queries = ["process_name:chrome.exe", "digsig_result:Signed", "cmdline:e*", "modload:itss.dll", "(broken"] * 8

    def ask(query: str) -> tuple[int, object]:
        with requests.Session() as session:
            answer = Client(real.url, session).get("/api/v1/process", q=query, rows=5)
        return answer.status_code, answer.json().get("total_results")

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, queries))

    assert told == [ask(query) for query in queries[:5]] * 8
