"""Real recordings: every alert-like record is read, and its sets are what its documents say."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from cbsigned.alert import Alert
from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from cbsigned.formats.walker import read as walk
from cbsigned.observables import parse_guid, parse_md5
from support import real_data

csv.field_size_limit(1 << 24)


def hits() -> list[dict[str, Any]]:
    """Return the 2,048 watchlist hits."""
    with gzip.open(real_data("cb-response-splunk-app") / "alerts.csv.gz", "rt") as file:
        return [json.loads(row["_raw"]) for row in csv.DictReader(file)]


def bus_messages() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (routing key, message) of the event forwarder's test data."""
    with tarfile.open(real_data("cb-event-forwarder") / "raw_data.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".json") else None
            if file is not None:
                yield member.name.split("/")[-2], json.load(file)


def sysmon_events(name: str) -> list[dict[str, Any]]:
    """Return Sysmon's own events of one recording."""
    with zipfile.ZipFile(real_data("security-datasets") / name) as archive:
        data = archive.read(archive.namelist()[0])
    events = [json.loads(line) for line in io.BytesIO(data)]
    return [event for event in events if "Sysmon" in str(event.get("Channel"))]


def hashes(alert: Alert) -> set[str]:
    """Return all hashes of an alert."""
    return {h for s in alert.sets for h in (s.md5, s.sha256) if h}


def test_all_watchlist_hits_give_what_their_documents_say() -> None:
    records = hits()

    for record in records:
        alert = parse_alert(record)
        told = []
        for doc in record["docs"] if isinstance(record["docs"], list) else [record["docs"]]:
            guid = parse_guid(doc.get("unique_id"))
            told.append((parse_md5(doc.get("process_md5") if guid else doc.get("md5")), guid))
        assert told == [(s.md5, s.process_guid) for s in alert.sets]
        assert alert.format == "cb-forwarder"

    assert len(records) == 2048


def test_the_walker_finds_the_same_in_all_watchlist_hits() -> None:
    for record in hits():
        alert, found = parse_alert(record), walk({"anything": record})
        assert found is not None
        assert hashes(alert) <= hashes(found)
        assert {s.process_guid for s in alert.sets} - {None} <= {s.process_guid for s in found.sets}


def test_no_hit_claims_a_word_that_its_document_does_not_have() -> None:
    for record in hits():
        words = {str(doc.get("digsig_result")) for doc in _documents(record)}
        claimed = {s.claimed.word for s in parse_alert(record).sets if s.claimed is not None}
        assert claimed <= words


def _documents(record: dict[str, Any]) -> list[dict[str, Any]]:
    docs = record["docs"]
    return docs if isinstance(docs, list) else [docs]


def test_every_bus_message_that_names_a_file_or_process_is_read() -> None:
    read: Counter[tuple[str, bool]] = Counter()

    for kind, message in bus_messages():
        try:
            read[kind, bool(parse_alert(message).sets)] += 1
        except AlertError:
            read[kind, False] += 1

    assert {kind for kind, found in read if not found} == {"cmd.feed.synchronize", "feed.synchronized"}
    assert sum(read.values()) > 2500


def test_one_event_of_each_kind_is_read() -> None:
    text = (real_data("elastic-integrations") / "cb_edr.ndjson.log").read_text()
    unread = []
    for line in text.splitlines():
        try:
            parse_alert(json.loads(line))
        except AlertError:
            unread.append(json.loads(line))

    assert len(unread) <= 1
    assert not any("md5" in record or "process_guid" in record for record in unread)


def test_alert_and_process_of_the_edr_7_are_read() -> None:
    data = json.loads((real_data("demisto-content") / "edr_excerpt.json").read_text())

    alert, process = parse_alert(data["alert"]), parse_alert(data["process_search_result"])

    assert [s.md5 for s in alert.sets] == ["b7f884c1b74a263f746ee12a5f7c9f6a"]
    assert alert.sets[0].process_guid == "0000002c-0000-1218-01d9-ad301d276ff2"
    assert [(s.md5, s.process_guid) for s in process.sets] == [
        ("8698e468bc379e30383a72ce63da7972", "00000018-0000-164c-01d5-9ed472b33472")
    ]


def test_every_binary_document_is_read_with_its_word() -> None:
    paths = sorted((real_data("cb-integration") / "binary_metadata").glob("*.json"))

    for path in paths:
        found = parse_alert(json.loads(path.read_text())).sets[0]
        assert found.md5 == path.stem
        assert found.claimed is not None
        assert found.claimed.word == "Signed"

    assert len(paths) == 475


@pytest.mark.parametrize(
    "name",
    ["cmd_process_herpaderping_mimiexplorer.zip", "psh_mavinject_dll_notepad.zip", "cmd_netsh_fw_mod_open_ports.zip"],
)
def test_sysmons_events_never_give_one_files_hash_to_another(name: str) -> None:
    events = [event for event in sysmon_events(name) if event.get("Hashes")]

    for event in events:
        wrapped = {
            "group": "Sigma",
            "document": {"data": {"Event": {"System": {"EventID": event["EventID"]}, "EventData": event}}},
        }
        for record in (event, wrapped):
            alert = parse_alert(record)
            if event["EventID"] == 24:
                assert hashes(alert) == set()  # of a text on the clipboard
                continue
            holder = next(s for s in alert.sets if s.md5)
            path = event["Image"] if event["EventID"] == 1 else event.get("ImageLoaded") or event["TargetFilename"]
            pairs = dict(pair.split("=") for pair in event["Hashes"].lower().split(","))
            assert holder.path == path
            assert hashes(alert) == {pairs["md5"], pairs["sha256"]}
            assert all(s.process_guid is None for s in alert.sets)

    assert events


def test_processes_of_all_recordings_that_the_walker_sees_are_told_where() -> None:
    folder = real_data("cbinterface2")
    record = json.loads(next(folder.glob("00007c6f-*.json")).read_text())

    alert, found = parse_alert(record), walk({"x": record})

    assert found is not None
    assert hashes(alert) <= hashes(found)
    assert all(s.origins for s in found.sets)
