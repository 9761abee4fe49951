"""All 2,048 recorded watchlist hits, posted to the real service in front of the real data; and every format once."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cbsigned.edr import connect
from cbsigned.settings import EdrSettings
from cbsigned.store.ingest import ingest
from connectors.edr_server.serving import TOKEN as EDR_TOKEN
from connectors.edr_server.serving import serving as edr_serving
from connectors.webhook.process import Service, serve_process
from connectors.webhook.serving import Client, serving
from edr_server import EdrServer
from shared.formats.examples import CASES, LOOK_ALIKE, MD5, MD5_B, SHA256, SYSMON, Case
from support import real_data

Record = dict[str, Any]
KINDS = {
    "watchlist.hit.process": 780, "watchlist.storage.hit.process": 780, "watchlist.hit.binary": 244,
    "watchlist.storage.hit.binary": 244,
}  # fmt: skip


def events(name: str) -> Iterator[Record]:
    csv.field_size_limit(1 << 24)
    with gzip.open(real_data("cb-response-splunk-app") / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield json.loads(row["_raw"])


def documents(record: Record) -> list[Record]:
    docs = record.get("docs", [])
    return docs if isinstance(docs, list) else [docs]


@pytest.fixture(scope="module")
def hits() -> list[Record]:
    return list(events("alerts"))


@pytest.fixture(scope="module")
def told(hits: list[Record]) -> dict[str, str]:
    """Return what the data itself says of each file, read without anything of ours."""
    found: dict[str, set[str]] = {}
    for event in (*hits, *events("events")):
        for doc in (event, *documents(event)):
            word = doc.get("digsig_result") or (doc.get("digsig") or {}).get("result")
            if word:
                found.setdefault(doc["md5"].lower(), set()).add(word)
    assert all(len(words) == 1 for words in found.values())
    return {md5: words.pop() for md5, words in found.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / "real.db"
    ingest(path, [real_data("cb-response-splunk-app")])
    return path


@pytest.fixture(scope="module")
def before_an_edr(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service whose source is an EDR server that has the data."""
    with edr_serving(store) as edr:
        environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": EDR_TOKEN}
        with serve_process(tmp_path_factory.mktemp("state"), environ) as service:
            yield service


@pytest.fixture(scope="module")
def before_a_store(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service that reads the data itself."""
    with serve_process(tmp_path_factory.mktemp("state"), {}, ["--store", str(store)]) as service:
        yield service


def packed(records: list[Record]) -> bytes:
    return gzip.compress("\n".join(map(json.dumps, records)).encode(), 1)


def posted_as_lines(service: Service, records: list[Record]) -> list[Record]:
    """Post records in parts, packed, one on each line; return their enrichments."""
    found = []
    for at in range(0, len(records), 512):
        answer = service.post(packed(records[at : at + 512]), headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 200, answer.text
        found += answer.json()["enrichments"]
    return found


def check(hits: list[Record], enrichments: list[Record], told: Mapping[str, str]) -> None:
    """Hold every enrichment against its alert and the records in the data."""
    for hit, enrichment in zip(hits, enrichments):
        wanted = [_named(doc) for doc in documents(hit)]
        assert wanted == [(subject["md5"], subject["process_guid"]) for subject in enrichment["subjects"]]
        for subject in enrichment["subjects"]:
            assert subject["status"] == told.get(subject["md5"], "Unknown")
        for file in _with_status(enrichment):
            assert file["status"] == told.get(file["md5"], "Unknown")
        assert enrichment["complete"]
    assert len(hits) == len(enrichments) == 2048


def _named(doc: Record) -> tuple[str, Any]:
    guid = doc.get("unique_id")
    return (doc["process_md5"].lower(), guid[:36].lower()) if guid else (doc["md5"].lower(), None)


def _with_status(part: Any) -> Iterator[Record]:
    """Yield everything in an enrichment that has an MD5 and a status: subjects, their signatures, lineages' nodes."""
    if isinstance(part, list):
        for item in part:
            yield from _with_status(item)
    elif isinstance(part, dict):
        if part.get("md5") and "status" in part:
            yield part
        for value in part.values():
            yield from _with_status(value)


def test_the_recording_is_the_one_that_is_meant(hits: list[Record]) -> None:
    assert Counter(hit["type"] for hit in hits) == KINDS


def test_all_hits_one_by_one_before_an_edr(before_an_edr: Service, hits: list[Record], told: dict[str, str]) -> None:
    replies = before_an_edr.flood([json.dumps(hit).encode() for hit in hits], 16)

    assert Counter(reply.status for reply in replies) == {200: 2048}
    check(hits, [reply.json() for reply in replies], told)
    unsigned = [file for reply in replies for file in _with_status(reply.json()) if file["status"] == "Unsigned"]
    assert unsigned
    assert {told[file["md5"]] for file in unsigned} == {"Unsigned"}


def test_all_hits_as_packed_lines_before_an_edr_are_the_same(
    before_an_edr: Service, hits: list[Record], told: dict[str, str]
) -> None:
    check(hits, posted_as_lines(before_an_edr, hits), told)


def test_all_hits_before_a_store(before_a_store: Service, hits: list[Record], told: dict[str, str]) -> None:
    check(hits, posted_as_lines(before_a_store, hits), told)


def test_an_edr_that_knows_no_file_leaves_the_alerts_own_word_or_unknown(tmp_path: Path, hits: list[Record]) -> None:
    with EdrServer() as edr:
        environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": edr.token}
        with serve_process(tmp_path, environ) as service:
            found = posted_as_lines(service, hits)

    for hit, enrichment in zip(hits, found):
        words = [doc.get("digsig_result", "Unknown") for doc in documents(hit)]
        assert words == [subject["status"] for subject in enrichment["subjects"]]
        for file in _with_status(enrichment):
            assert file["status"] in ("Unknown", *words)
    assert len(found) == 2048


# Every format of alert-formats §3.

BINARIES = [
    {"md5": MD5.upper(), "sha256": SHA256, "digsig_result": "Expired", "digsig_publisher": "Acme"},
    {"md5": MD5_B.upper(), "digsig_result": "Unsigned"},
]
STATUSES = {MD5: "Expired", SHA256: "Expired", MD5_B: "Unsigned"}


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Client, EdrServer]]:
    with (
        EdrServer(BINARIES) as edr,
        connect(EdrSettings(edr.url, edr.token)) as source,
        serving(source, cached=True) as client,
    ):
        yield client, edr


@pytest.mark.parametrize("named", [False, True], ids=["detected", "named"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_format_over_http(lab: tuple[Client, EdrServer], case: Case, named: bool) -> None:
    client, _edr = lab

    answer = client.post(f"/v1/alerts/{case.source}" if named else "/v1/alerts", case.record)

    assert answer.status_code == 200, answer.text
    (enrichment,) = answer.json().get("enrichments", [answer.json()])  # a bundle of one is a list too
    subjects = enrichment["subjects"]
    wanted = [{name: value for name, value in given.items() if name != "claimed"} for given in case.sets]
    assert wanted == [{name: found[name] for name in given} for given, found in zip(wanted, subjects)]
    assert len(wanted) == len(subjects)
    for subject in subjects:
        file = subject["md5"] or subject["sha256"]
        if file in STATUSES:
            assert subject["status"] == STATUSES[file]


def test_no_look_alike_and_no_foreign_id_was_asked_for(lab: tuple[Client, EdrServer]) -> None:
    client, edr = lab
    for case in CASES:
        client.post("/v1/alerts", {"anything": {"at": ["all", case.record]}})

    queries = " ".join(request.parameters.get("q", "") for request in edr.requests).lower()

    assert MD5 in queries
    assert SHA256 in queries
    for never in (LOOK_ALIKE, "ef" * 32, SYSMON.strip("{}").lower(), "f" * 64):
        assert never not in queries
