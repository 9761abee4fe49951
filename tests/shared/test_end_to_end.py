"""From alerts to enrichments, on the real recordings and over a real HTTP server with faults."""

from __future__ import annotations

import csv
import gzip
import json
import math
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned import Caches, Cause, EdrSettings, Enrichment, Settings, Sources, enrich
from cbsigned.edr import connect
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from edr_server import EdrServer, Fault
from recording import guid_of, md5_of
from support import real_data

TOKEN = "f" * 40


@pytest.fixture(scope="module")
def splunk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSource]:
    """Return the Splunk recording, both files, as a source."""
    path = tmp_path_factory.mktemp("splunk") / "s.db"
    ingest(path, [real_data("cb-response-splunk-app")])
    with StoreSource(path) as source:
        yield source


def rows() -> list[dict[str, Any]]:
    """Return every event of both files."""
    csv.field_size_limit(2**24)
    found = []
    for name in ("events", "alerts"):
        with gzip.open(real_data("cb-response-splunk-app") / f"{name}.csv.gz", "rt", newline="") as stream:
            found += [json.loads(row["_raw"]) for row in csv.DictReader(stream)]
    return found


def recorded_statuses(events: list[dict[str, Any]]) -> dict[str, str]:
    """Return MD5 → status as the data itself says, read without any of our code."""
    found = {}
    for event in events:
        for doc in event.get("docs", []):
            if "digsig_result" in doc:
                found[doc["md5"].lower()] = doc["digsig_result"]
        if event["type"] == "ingress.event.module":
            found[event["md5"].lower()] = event["digsig"]["result"]
    return found


def test_all_real_hits_are_answered_with_the_datas_own_status(splunk: StoreSource) -> None:
    events = rows()
    truth = recorded_statuses(events)
    hits = [event for event in events if ".hit." in event["type"]]

    found = list(enrich(hits, Sources(splunk, splunk, splunk)))

    kinds = [event["type"].rsplit(".", 1)[1] for event in hits]
    assert (kinds.count("process"), kinds.count("binary")) == (1654, 490)
    assert [e.record for e in found] == hits
    for hit, enrichment in zip(hits, found):
        md5 = (hit["docs"][0].get("process_md5") or hit["docs"][0]["md5"]).lower()
        signature = enrichment.subjects[0].signature
        assert signature.hash == md5
        assert signature.status.value == truth.get(md5, "Unknown")
        assert signature.reason
        assert signature.cause is (Cause.RECORD if md5 in truth else Cause.NOT_FOUND)


def test_every_node_of_every_real_lineage_has_a_status_equal_to_its_record(splunk: StoreSource) -> None:
    events = rows()
    truth = recorded_statuses(events)
    hits = [event for event in events if event["type"].endswith("hit.process")]

    for enrichment in enrich(hits, Sources(splunk, splunk)):
        subject = enrichment.subjects[0]
        assert subject.lineage is not None
        for node in subject.lineage.nodes:
            if node.process.md5:
                assert subject.signatures[node.process.md5].status.value == truth.get(node.process.md5, "Unknown")


def world(count: int = 1000, hashes: int = 450) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return binary and process documents; each process's parent is a fourth of its number."""
    binaries = [{"md5": md5_of(n).upper(), "digsig_result": "Signed", "digsig_result_code": "0"} for n in range(hashes)]
    processes = [
        {
            "id": guid_of(n), "unique_id": f"{guid_of(n)}-0178ef7c49a8", "process_name": f"p{n}.exe",
            "hostname": "WS01", "process_md5": md5_of(n % hashes),
            "parent_id": guid_of(n // 4) if n else "00000001-ffff-ffff-0000-000000000000",
        }
        for n in range(count)
    ]  # fmt: skip
    return binaries, processes


def enriched(server: EdrServer, alerts: list[dict[str, Any]], **settings: Any) -> list[Enrichment]:
    with connect(EdrSettings(url=server.url, token=TOKEN, retries=0, timeout_s=1)) as edr:
        return list(enrich(alerts, Sources(edr, edr, edr, Caches()), Settings(**settings)))


@pytest.mark.parametrize("version", ["6.2.0.171114.1158", "7.3.0.200609.1533"])
def test_a_window_costs_no_more_requests_than_its_batches(version: str) -> None:
    binaries, processes = world()
    alerts = [{"process_guid": guid_of(n % 1000), "dest": "WS01"} for n in range(10_000)]
    with EdrServer(binaries, processes, token=TOKEN, version=version) as server:
        found = enriched(server, alerts, deadline_s=60)

        generations = [{*range(1000)}]
        known = set(generations[0])
        while fresh := {n // 4 for n in generations[-1] if n} - known:
            generations.append(fresh)
            known |= fresh
        bound = math.ceil(450 / 200) + sum(math.ceil(len(g) / 200) for g in generations) + 2
        assert len(server.requests) <= bound

    assert len(found) == 10_000
    assert all(e.complete and e.subjects[0].signature.status.value == "Signed" for e in found)


FAULTS = {
    "401": (Fault(401, b"<html>401 Unauthorized</html>"), Cause.REFUSED),
    "403": (Fault(403, b"forbidden", "text/plain"), Cause.REFUSED),
    "404": (Fault(404), Cause.UNREADABLE),
    "429": (Fault(429, headers={"Retry-After": "600"}), Cause.RATE_LIMITED),
    "500": (Fault(500, b"Unhandled exception. Check logs for details.", "text/plain"), Cause.UNAVAILABLE),
    "502": (Fault(502, b"<html>bad gateway</html>"), Cause.UNAVAILABLE),
    "HTML": (Fault(200, b"<html>log in</html>"), Cause.UNREADABLE),
    "truncated JSON": (Fault(200, b'{"results": [{"md5": "AB', "application/json"), Cause.UNREADABLE),
    "wrong content type": (Fault(200, b'{"results": []}', "text/plain"), Cause.UNREADABLE),
    "nothing": (Fault(mode="silent"), Cause.TIMEOUT),
    "a byte a second": (Fault(200, b'{"results": []}', "application/json", mode="drip_body"), Cause.TIMEOUT),
    "a header byte a second": (Fault(mode="drip_headers"), Cause.TIMEOUT),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_alert_comes_out_of_a_faulty_server_with_its_reason_within_the_deadline(name: str) -> None:
    fault, cause = FAULTS[name]
    binaries, processes = world(50, 50)
    alerts = [{"process_guid": guid_of(n), "md5": md5_of(n), "dest": "WS01", "n": n} for n in range(50)]
    with EdrServer(binaries, processes, token=TOKEN) as server:
        server.fail("*", fault)
        started = time.monotonic()
        found = enriched(server, alerts, deadline_s=2.0)
        took = time.monotonic() - started

    assert took < 3.0
    assert [e.record for e in found] == alerts
    for enrichment in found:
        signature = enrichment.subjects[0].signature
        assert (signature.status.value, signature.cause) == ("Unknown", cause)
        assert not enrichment.complete
        assert TOKEN not in repr(enrichment)


def test_a_server_that_fails_only_for_processes_still_gives_every_status() -> None:
    binaries, processes = world(50, 50)
    alerts = [{"process_guid": guid_of(n), "md5": md5_of(n)} for n in range(50)]
    with EdrServer(binaries, processes, token=TOKEN) as server:
        server.fail("process", Fault(403))
        found = enriched(server, alerts, deadline_s=5.0)

    assert {e.subjects[0].signature.status.value for e in found} == {"Signed"}
    assert {g.cause for e in found for g in e.gaps} == {Cause.REFUSED}


def test_real_documents_over_http_give_the_same_as_the_store(splunk: StoreSource) -> None:
    hits = [event for event in rows() if event["type"].startswith("watchlist.hit.")]
    binaries = {d["md5"]: d for e in hits for d in e["docs"] if "digsig_result" in d}
    processes = {d["unique_id"]: d for e in hits for d in e["docs"] if "process_md5" in d}
    wanted = [h for h in hits if h["type"] == "watchlist.hit.process"][:300]
    with EdrServer(list(binaries.values()), list(processes.values()), token=TOKEN) as server:
        over_http = enriched(server, wanted)

    for there, here in zip(over_http, enrich(wanted, Sources(splunk, splunk))):
        mine, its = here.subjects[0].signature, there.subjects[0].signature
        if its.status.value != "Unknown" or its.hash.upper() in binaries:
            assert (its.status, its.publisher) == (mine.status, mine.publisher)


@pytest.mark.parametrize(
    ("folder", "count"), [("cb-event-forwarder", 767), ("cb-integration", 475)], ids=["bus messages", "REST summaries"]
)
def test_every_binary_of_the_other_recordings_has_its_own_status(folder: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    ingest(path, [real_data(folder)])
    truth = _summaries() if folder == "cb-integration" else _bus_statuses()

    with StoreSource(path) as source:
        found = list(enrich([{"md5": md5} for md5 in truth], Sources(source, source)))

    assert len(truth) == count
    assert {e.subjects[0].signature.hash: e.subjects[0].signature.status.value for e in found} == truth


def _summaries() -> dict[str, str]:
    files = (real_data("cb-integration") / "binary_metadata").glob("*.json")
    docs = [json.loads(file.read_text()) for file in files]
    return {doc["md5"].lower(): doc["digsig_result"] for doc in docs}


def _bus_statuses() -> dict[str, str]:
    found = {}
    with tarfile.open(real_data("cb-event-forwarder") / "raw_data.tar.gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".json") else None
            if stream is not None:
                message = json.loads(stream.read())
                for doc in [message, *message.get("docs", [])]:
                    if "digsig_result" in doc:
                        found[doc["md5"].lower()] = doc["digsig_result"]
    return found
