"""Process ids of other products: told from Carbon Black's, answered by a store, never asked of Carbon Black."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.cli import main
from cbsigned.edr.query import Unsearchable, guid_clause
from cbsigned.enrichment import Enrichment, Sources, enrich
from cbsigned.gaps import Cause
from cbsigned.lineage import ProcessAnswers
from cbsigned.observables import guid_parts, is_foreign, parse_guid, parse_process_id
from cbsigned.store.ids import made_id, pack, unpack
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from recording import Recording
from shared.store.eventlogs import GUID, PARENT, flat

EDR = "00000007-0000-0d24-01d7-35e9bb340680"
MADE = "log:5f2b7c0d-0000-0d24-01d7-35e9bb340680"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EDR.upper(), EDR),
        (f"{EDR}-0178ef7c49a8", EDR),
        ("00000007-ffff-ffff-0000-000000000000", "00000007-ffff-ffff-0000-000000000000"),
        (GUID, GUID.lower()),
        (GUID.strip("{}"), GUID.lower()),
        ("365ABB72-7C01-5CC4-0000-0010F9530C00", "{365abb72-7c01-5cc4-0000-0010f9530c00}"),
        (f" {GUID} ", GUID.lower()),
        (MADE.upper(), MADE),
        ("{00000000-0000-0000-0000-000000000000}", None),
        ("{" + EDR + "-0178ef7c49a8}", None),
        (GUID[:-1], None),
        ("log:x", None),
        (f"{MADE}-0178ef7c49a8", None),
        ("", None),
        (7, None),
        ("x" * 65, None),
    ],
)
def test_ids_come_back_in_one_spelling_or_not_at_all(text: object, expected: object) -> None:
    assert parse_process_id(text) == expected


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFF), st.integers(0x01B0 << 48, 0x01FF << 48))
def test_a_carbon_black_guid_is_never_taken_for_another_product_s(sensor: int, pid: int, ticks: int) -> None:
    digits = f"{sensor:08x}{pid:08x}{ticks:016x}"
    guid = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    assert parse_process_id(guid) == guid == parse_guid(guid)


@given(st.text(max_size=70))
def test_what_is_read_is_read_again_as_the_same(text: str) -> None:
    found = parse_process_id(text)

    assert found is None or parse_process_id(found) == found


@pytest.mark.parametrize("guid", [EDR, GUID.lower(), MADE], ids=["edr", "sysmon", "made"])
def test_an_id_is_the_same_after_the_store_s_bytes(guid: str) -> None:
    assert unpack(pack(guid)) == guid
    assert is_foreign(guid) is (guid != EDR)


def test_ids_that_differ_only_in_their_product_are_different_bytes() -> None:
    assert len({pack(EDR), pack(f"{{{EDR}}}"), pack(f"log:{EDR}")}) == 3


def test_a_foreign_guid_tells_nothing_and_a_made_one_its_pid() -> None:
    assert guid_parts(GUID.lower()) == (None, None, None)
    assert guid_parts(made_id("lab-ws-01", 4711, 1_623_456_789_000)) == (None, 4711, None)


def test_made_ids_of_one_host_agree_whether_it_is_named_with_its_domain() -> None:
    assert made_id("LAB-WS-01.example.test", 7, 1) == made_id("lab-ws-01", 7, 1) != made_id("lab-ws-02", 7, 1)


@pytest.mark.parametrize("guid", [GUID, GUID.lower(), MADE])
def test_a_query_to_carbon_black_cannot_hold_a_foreign_id(guid: str) -> None:
    with pytest.raises(Unsearchable):
        guid_clause("process_id", guid)


class Asked(Recording):
    """A source without foreign ids, which notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__({}, [])
        self.guids: list[str] = []

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        self.guids += guids
        return super().processes(guids, deadline)


def enriched(record: object, source: object) -> Enrichment:
    """Return the enrichment of one alert."""
    (found,) = enrich([record], Sources(source, source, source))  # type: ignore[list-item,arg-type]
    return found


@pytest.mark.parametrize("guid", [GUID, GUID.lower(), GUID.strip("{}")], ids=["braces", "lower case", "bare"])
def test_an_alert_with_a_sysmon_guid_has_its_lineage_in_a_store(tmp_path: Path, guid: str) -> None:
    file = tmp_path / "events.json"
    events = [flat(1), flat(1, ProcessGuid=PARENT, ProcessId="88"), flat(7)]
    file.write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    ingest(tmp_path / "lab.db", [file])

    with StoreSource(tmp_path / "lab.db") as source:
        subject = enriched({"ProcessGuid": guid, "Computer": "LAB-WS-01"}, source).subjects[0]

    assert subject.lineage is not None
    assert [node.process.pid for node in subject.lineage.nodes][:2] == [2164, 88]
    assert subject.signature.status.value == "Signed"


def test_carbon_black_is_never_asked_for_a_sysmon_guid() -> None:
    source = Asked()

    found = enriched({"ProcessGuid": GUID, "md5": "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"}, source)

    assert source.guids == []
    assert Cause.NO_OBSERVABLE in {gap.cause for gap in found.gaps}


@pytest.mark.parametrize(
    "record", [{"process_guid": GUID}, {"process_guid": GUID.strip("{}").lower(), "md5": "a" * 32}]
)
def test_a_foreign_id_alone_is_said_to_be_one(record: dict[str, str]) -> None:
    """Of an event with Sysmon's ProcessGuid alone it was said that it names no process guid."""
    (found,) = enrich([record], Sources(binaries=Recording(), processes=Recording()))

    reasons = [gap.reason for gap in found.gaps]
    assert any("process id is not one of Carbon Black's, and it names no host" in reason for reason in reasons)
    assert not any("names neither a process guid" in reason for reason in reasons)


def test_a_sysmon_guid_that_the_store_lacks_leaves_host_pid_and_time_to_find_the_process(tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_text(json.dumps(flat(1)), encoding="utf-8")
    ingest(tmp_path / "lab.db", [file])
    unknown = GUID.replace("0001", "0009")
    alert = {"ProcessGuid": unknown, "Computer": "LAB-WS-01", "ProcessId": "2164", "start": "2021-06-12T01:07:15.634Z"}

    with StoreSource(tmp_path / "lab.db") as source:
        subject = enriched(alert, source).subjects[0]

    assert subject.lineage is not None
    assert subject.lineage.nodes[0].process.guid == GUID.lower()


def test_the_command_shows_a_lineage_by_sysmon_guid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.json"
    file.write_text(json.dumps(flat(1)), encoding="utf-8")
    ingest(tmp_path / "lab.db", [file])

    code = main(["lineage", GUID, "--store", str(tmp_path / "lab.db"), "--output", "json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [node["name"] for node in found["nodes"]] == ["ping.exe", "explorer.exe"]
    assert found["nodes"][0]["guid"] == GUID.lower()
