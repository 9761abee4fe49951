"""OCSF: what a record says is said, what nobody knows is left out, and an event keeps what it has."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from cbsigned.alert import Role
from cbsigned.render.document import enrichment_document, signature_document
from cbsigned.render.ocsf import ocsf_enrichments, ocsf_event, ocsf_signature
from cbsigned.status import SigningStatus
from shared.render.factory import claim, enrichment, kinds, signature, subject

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}
MD5 = DOCUMENTS["signed"]["subjects"][0]["md5"]
STATES = {  # alert-formats §8, read backwards
    SigningStatus.SIGNED: (1, "Valid"),
    SigningStatus.UNSIGNED: None,
    SigningStatus.EXPIRED: (2, "Expired"),
    SigningStatus.BAD_SIGNATURE: (9, "Bad"),
    SigningStatus.INVALID_SIGNATURE: (10, "Broken"),
    SigningStatus.INVALID_CHAIN: (6, "Untrusted"),
    SigningStatus.UNTRUSTED_ROOT: (6, "Untrusted"),
    SigningStatus.EXPLICIT_DISTRUST: (7, "Distrusted"),
    SigningStatus.UNKNOWN: None,
}


def event(version: str = "1.7.0", **file: Any) -> dict[str, Any]:
    """Return a process activity whose file has the MD5 that was looked up, in upper case."""
    hashes = [{"algorithm_id": 2, "value": "0" * 40}, {"algorithm_id": 1, "value": MD5.upper()}]
    return {
        "class_uid": 1007, "metadata": {"version": version}, "process": {"file": {"hashes": hashes, **file}},
    }  # fmt: skip


@pytest.mark.parametrize("status", SigningStatus)
def test_each_status_has_its_state(status: SigningStatus) -> None:
    found = ocsf_signature(signature_document(signature(status)), (1, 7))

    assert (found and (found["state_id"], found["state"])) == STATES[status]


@pytest.mark.parametrize("status", [s for s, state in STATES.items() if state and state[0] > 5])
def test_states_that_an_older_schema_lacks_are_written_as_other(status: SigningStatus) -> None:
    found = ocsf_signature(signature_document(signature(status)), (1, 6))

    assert found is not None
    assert (found["state_id"], found["state"]) == (99, status.value)


def test_a_signature_names_certificate_and_time() -> None:
    assert ocsf_signature(DOCUMENTS["signed"]["subjects"][0]["signature"]) == {
        "algorithm_id": 4,
        "algorithm": "Authenticode",
        "state_id": 1,
        "state": "Valid",
        "created_time": 1424943000000,
        "certificate": {"subject": "Microsoft Corporation", "issuer": "Microsoft Code Signing PCA"},
    }


def test_a_claim_of_the_alert_becomes_no_signature() -> None:
    assert ocsf_signature(signature_document(claim(signature()))) is None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_entry_has_what_the_schema_requires(name: str) -> None:
    entries = ocsf_enrichments(DOCUMENTS[name])

    assert json.loads(json.dumps(entries)) == entries
    assert entries
    for entry in entries:
        assert {"name", "value", "data", "type", "provider", "created_time", "short_desc"} <= set(entry)
        assert set(entry) <= {"name", "value", "data", "type", "provider", "created_time", "short_desc", "src_url"}
        assert isinstance(entry["value"], str)
        assert entry["value"]
        assert entry["created_time"] == 1459503000000


def test_status_and_lineage_are_entries_of_their_own_with_the_consoles_pages() -> None:
    signing, lineage = ocsf_enrichments(DOCUMENTS["edr"])

    assert (signing["name"], signing["value"], signing["type"]) == ("process.file.hashes.value", MD5, "code signature")
    assert signing["provider"] == "edr:cb.example.test"
    assert signing["src_url"] == f"https://cb.example.test/#/binary/{MD5.upper()}"
    assert signing["data"]["status"] == "Signed"
    assert (lineage["name"], lineage["type"]) == ("process.uid", "process lineage")
    assert lineage["src_url"].startswith("https://cb.example.test/#analyze/")
    assert lineage["short_desc"] == lineage["data"]["reason"]


@pytest.mark.parametrize(
    ("role", "place"),
    [
        (Role.PARENT, "process.parent_process.file.hashes.value"),
        (Role.TARGET_FILE, "file.hashes.value"),
        (Role.MODULE, "module.file.hashes.value"),
    ],
)
def test_each_role_has_its_place(role: Role, place: str) -> None:
    made = subject()
    told = replace(made, observables=replace(made.observables, role=role), lineage=None)

    entries = ocsf_enrichments(enrichment_document(enrichment(told)))

    assert [entry["name"] for entry in entries] == [place]


def test_an_alert_that_names_nothing_says_so() -> None:
    (entry,) = ocsf_enrichments(DOCUMENTS["nothing"])

    assert (entry["name"], entry["value"]) == ("metadata.uid", "none")
    assert entry["data"]["status"] == "Unknown"
    assert "nothing to look up" in entry["short_desc"]


def test_an_event_gets_a_signature_where_it_has_none_and_is_itself_left_alone() -> None:
    given = event()
    before = copy.deepcopy(given)

    found = ocsf_event(DOCUMENTS["signed"], given)

    assert given == before
    assert found["process"]["file"]["signature"]["state_id"] == 1
    assert found["process"]["file"]["hashes"] == before["process"]["file"]["hashes"]
    assert len(found["enrichments"]) == 2


def test_newer_schemas_have_a_list_of_signatures() -> None:
    found = ocsf_event(DOCUMENTS["signed"], event("1.8.0"))["process"]["file"]

    assert [s["state_id"] for s in found["signatures"]] == [1]
    assert "signature" not in found


def test_what_an_event_says_of_a_signature_stays() -> None:
    theirs = {"state_id": 3, "certificate": {"subject": "Mallory"}}

    found = ocsf_event(DOCUMENTS["signed"], event(signature=theirs))

    assert found["process"]["file"]["signature"] == theirs


@pytest.mark.parametrize("name", ["unsigned", "unknown", "claim", "claimed", "failed"])
def test_a_file_without_a_record_of_a_signature_gets_none(name: str) -> None:
    assert DOCUMENTS[name]["subjects"][0]["md5"] == MD5

    found = ocsf_event(DOCUMENTS[name], event())["process"]["file"]

    assert "signature" not in found


def test_files_are_found_wherever_they_stand_and_no_other_file_is_signed() -> None:
    other = {"hashes": [{"algorithm_id": 1, "value": "f" * 32}]}
    same_digits = {"hashes": [{"algorithm_id": 3, "value": MD5}, {"algorithm_id": 1, "value": 7}, "x"]}
    given = {**event(), "class_uid": 2004, "evidences": [{"process": event()["process"]}, {"file": other}, same_digits]}

    found = ocsf_event(DOCUMENTS["signed"], given)["evidences"]

    assert found[0]["process"]["file"]["signature"]["state_id"] == 1
    assert found[1:] == [{"file": other}, same_digits]


def test_an_events_own_enrichments_come_first() -> None:
    own = {"name": "device.ip", "value": "192.0.2.7", "data": {}}

    assert ocsf_event(DOCUMENTS["signed"], {**event(), "enrichments": [own]})["enrichments"][0] == own
    assert len(ocsf_event(DOCUMENTS["signed"], {**event(), "enrichments": "x"})["enrichments"]) == 2


@pytest.mark.parametrize("given", [None, {"process_md5": MD5}])
def test_an_alert_of_another_kind_gives_the_entries_alone(given: Any) -> None:
    assert list(ocsf_event(DOCUMENTS["signed"], given)) == ["enrichments"]


@pytest.mark.parametrize("metadata", [None, {}, {"version": "newest"}, {"version": "1"}, {"version": "9" * 5000}])
def test_a_version_that_cannot_be_read_is_taken_for_an_old_one(metadata: Any) -> None:
    document = DOCUMENTS["bad-signature"]

    found = ocsf_event(document, {**event(), "metadata": metadata})["process"]["file"]

    assert found["signature"]["state_id"] == 99


def test_an_event_nested_beyond_reason_is_given_back() -> None:
    deep: dict[str, Any] = event()["process"]
    for _ in range(400):
        deep = {"process": deep}

    assert ocsf_event(DOCUMENTS["signed"], {**event(), "actor": deep})["actor"] == deep
