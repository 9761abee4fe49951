"""The real recordings: how much is read, and that nothing the store says differs from them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned.gaps import Cause
from cbsigned.lineage import lineages
from cbsigned.process import Process
from cbsigned.signing import signing_statuses
from cbsigned.status import SigningStatus
from cbsigned.store.ingest import IngestReport, ingest
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from support import real_data


def forwarder_events() -> Iterator[dict[str, Any]]:
    """Yield all events of the Splunk export, read without the store's readers."""
    csv.field_size_limit(1 << 24)
    for name in ("alerts", "events"):
        with gzip.open(real_data("cb-response-splunk-app") / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield json.loads(row["_raw"])


@pytest.fixture(scope="module")
def splunk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IngestReport]:
    store = tmp_path_factory.mktemp("splunk") / "splunk.db"
    folder = real_data("cb-response-splunk-app")
    return store, ingest(store, [folder / "alerts.csv.gz", folder / "events.csv.gz"])


@pytest.fixture(scope="module")
def starts() -> dict[str, dict[str, Any]]:
    return {e["process_guid"]: e for e in forwarder_events() if e["type"] == "ingress.event.procstart"}


def test_splunk_export_gives_52048_events_of_which_51952_are_distinct(splunk: tuple[Path, IngestReport]) -> None:
    report = splunk[1]

    assert (report.read, report.new, report.duplicate, report.malformed) == (52_048, 51_952, 96, 0)


def test_every_kind_is_counted_as_the_data_has_it(splunk: tuple[Path, IngestReport]) -> None:
    expected: dict[str, int] = {}
    for text in {json.dumps(e, sort_keys=True) for e in forwarder_events()}:
        kind = json.loads(text)["type"]
        expected[kind] = expected.get(kind, 0) + 1

    assert expected == dict(splunk[1].kinds)


def test_all_938_starts_come_back_as_they_were_reported(
    splunk: tuple[Path, IngestReport], starts: dict[str, dict[str, Any]]
) -> None:
    with StoreSource(splunk[0]) as source:
        found = source.processes(list(starts), Deadline(60))

    assert len(starts) == 938
    for guid, event in starts.items():
        process = found[guid]
        assert isinstance(process, Process)
        assert process.start_recorded
        assert process.md5 == event["md5"].lower()
        assert process.path == event["path"]
        assert process.host == event["computer_name"]
        assert process.parent_guid == event["parent_process_guid"]
        assert process.cmdline == (event["command_line"] or None)
        assert process.pid == event["pid"]
        assert process.started_at is not None
        assert abs(process.started_at.timestamp() - event["timestamp"]) < 2


def test_832_parents_have_their_start_and_106_are_nodes_with_a_gap(
    splunk: tuple[Path, IngestReport], starts: dict[str, dict[str, Any]]
) -> None:
    with StoreSource(splunk[0]) as source:
        chains = lineages(source, starts, Deadline(60))

    parents = [chain.nodes[1] for chain in chains.values()]
    unrecorded = [node for node in parents if node.gap is not None]
    assert len(parents) == 938
    assert len(unrecorded) == 106
    assert {node.gap.cause for node in unrecorded if node.gap} == {Cause.START_NOT_RECORDED}
    assert all(node.process.guid and node.process.host and node.process.pid is not None for node in unrecorded)


def test_statuses_are_the_data_s_own_and_every_other_hash_is_unknown(splunk: tuple[Path, IngestReport]) -> None:
    told: dict[str, set[str]] = {}
    mentioned: set[str] = set()
    for event in forwarder_events():
        for doc in [event, *event.get("docs", [])]:
            result = doc.get("digsig_result") or (doc.get("digsig") or {}).get("result")
            for name in ("md5", "process_md5", "target_md5"):
                if len(doc.get(name) or "") == 32:
                    mentioned.add(doc[name].lower())
            if result:
                told.setdefault(doc["md5"].lower(), set()).add(result)

    with StoreSource(splunk[0]) as source:
        found = signing_statuses(source, mentioned, Deadline(60))

    assert len(told) == 278
    assert {md5: {found[md5].status.value} for md5 in told} == told
    others = {(found[md5].status, found[md5].cause) for md5 in mentioned - told.keys()}
    assert others == {(SigningStatus.UNKNOWN, Cause.NOT_FOUND)}


@pytest.mark.parametrize(
    ("folder", "inside", "binaries", "records"),
    [
        pytest.param("cb-event-forwarder", "raw_data.tar.gz", 767, 10_680, id="raw bus messages"),
        pytest.param("cb-integration", "binary_metadata", 475, 475, id="REST binary documents"),
    ],
)
def test_every_binary_of_a_recording_has_its_status(
    tmp_path: Path, folder: str, inside: str, binaries: int, records: int
) -> None:
    store = tmp_path / "lab.db"

    report = ingest(store, [real_data(folder) / inside])

    expected = _told(real_data(folder) / inside)
    with StoreSource(store) as source:
        found = signing_statuses(source, expected, Deadline(60))
    assert (report.read, report.malformed) == (records, 0)
    assert len(expected) == binaries
    assert {md5: signature.status.value for md5, signature in found.items()} == expected


def _told(path: Path) -> dict[str, str]:
    """Return each binary's status in a recording, read without the store's readers."""
    import tarfile

    texts: list[bytes] = []
    if path.is_dir():
        texts = [file.read_bytes() for file in path.iterdir()]
    else:
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(".json")]
            texts = [file.read() for file in map(archive.extractfile, members) if file is not None]
    told = {}
    for record in map(json.loads, texts):
        docs = record.get("docs", [])
        for doc in [record, *(docs if isinstance(docs, list) else [docs])]:
            if doc.get("digsig_result"):
                told[doc["md5"].lower()] = doc["digsig_result"]
    return told


def test_examples_without_a_type_are_recognised_by_their_structure(tmp_path: Path) -> None:
    report = ingest(tmp_path / "lab.db", [real_data("elastic-integrations") / "cb_edr.ndjson.log"])

    assert (report.read, report.new, report.malformed, sum(report.skipped.values())) == (21, 21, 0, 0)
    assert {kind: report.kinds[kind] for kind in ("feed.storage.hit.binary", "watchlist.hit.process")} == {
        "feed.storage.hit.binary": 1,
        "watchlist.hit.process": 1,
    }


def test_a_seven_x_process_document_is_a_recorded_start(tmp_path: Path) -> None:
    guid = "00007c6f-0000-0a28-01d6-ffde20451832"

    ingest(tmp_path / "lab.db", [real_data("cbinterface2") / f"{guid}.json"])

    with StoreSource(tmp_path / "lab.db") as source:
        process = source.processes([guid], Deadline(60))[guid]
    assert isinstance(process, Process)
    assert process.start_recorded
    assert process.sha256 == "da3ad32583644bd20116f0479c178f7c7c0b730728f4c02a438c0d19378c83d9"
    assert (process.name, process.parent_name, process.user) == ("wmic.exe", "wmiprvse.exe", "RETM5FS\\pickledude")
