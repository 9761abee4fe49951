"""ECS: `exists: false` only from an Unsigned record, no group where nothing is known, nothing null."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cbsigned.alert import Role
from cbsigned.gaps import Cause
from cbsigned.render.document import enrichment_document, signature_document
from cbsigned.render.ecs import ecs_code_signature, ecs_fields
from cbsigned.status import SigningStatus
from shared.render.factory import claim, enrichment, guid, kinds, signature, subject

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}
GROUPS = {  # exists, valid, trusted, status; None is absent
    SigningStatus.SIGNED: (True, True, True, "trusted"),
    SigningStatus.UNSIGNED: (False, None, None, None),
    SigningStatus.EXPIRED: (True, None, False, "errorExpired"),
    SigningStatus.BAD_SIGNATURE: (True, False, False, "errorBadDigest"),
    SigningStatus.INVALID_SIGNATURE: (True, False, False, None),
    SigningStatus.INVALID_CHAIN: (True, True, False, "errorChaining"),
    SigningStatus.UNTRUSTED_ROOT: (True, True, False, "errorUntrustedRoot"),
    SigningStatus.EXPLICIT_DISTRUST: (True, True, False, None),
    SigningStatus.UNKNOWN: (None, None, None, None),
}


def groups(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every `code_signature` in some fields."""
    if isinstance(part, dict):
        yield from ([part["code_signature"]] if "code_signature" in part else [])
        for value in part.values():
            yield from groups(value)
    elif isinstance(part, list):
        for value in part:
            yield from groups(value)


def nulls(part: Any, path: str = "") -> Iterator[str]:
    """Yield where a null or an empty object stands."""
    if part is None or part == {}:
        yield path
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        yield from nulls(value, f"{path}.{key}")


@pytest.mark.parametrize("status", SigningStatus)
def test_each_status_has_its_group(status: SigningStatus) -> None:
    group = ecs_code_signature(signature_document(signature(status)))

    assert tuple(group.get(key) for key in ("exists", "valid", "trusted", "status")) == GROUPS[status]


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.RECORD])
@pytest.mark.parametrize("status", [SigningStatus.SIGNED, SigningStatus.UNSIGNED])
def test_only_a_record_says_that_a_signature_exists_or_does_not(status: SigningStatus, cause: Cause) -> None:
    assert ecs_code_signature(signature_document(replace(signature(status), cause=cause))) == {}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_kind_is_json_without_nulls_and_denies_no_signature_without_a_record(name: str) -> None:
    document = DOCUMENTS[name]

    fields = ecs_fields(document)

    assert json.loads(json.dumps(fields)) == fields
    assert list(nulls(fields)) == []
    denied = [group for group in groups(fields) if group["exists"] is False]
    nodes = [node for s in document["subjects"] if s["lineage"] for node in s["lineage"]["nodes"]]
    records = [p for p in (*nodes, *(s["signature"] for s in document["subjects"])) if p["cause"] == "record"]
    assert not denied or any(record["status"] == "Unsigned" for record in records)


def test_a_process_has_hash_signature_and_parent() -> None:
    process = ecs_fields(DOCUMENTS["signed"])["process"]

    assert process == {
        "name": "procmon64.exe",
        "executable": "c:\\tools\\procmon64.exe",
        "pid": 10,
        "command_line": "procmon64.exe /accepteula",
        "start": "2016-04-01T09:20:00Z",
        "user": {"name": "SDL-DEV\\jo"},
        "hash": {"md5": "b0a3ecc9eaa2521ddea2fc067785b84e"},
        "code_signature": {
            "exists": True,
            "valid": True,
            "trusted": True,
            "status": "trusted",
            "subject_name": "Microsoft Corporation",
            "timestamp": "2015-02-26T09:30:00Z",
        },
        "entity_id": guid(10),
        "parent": {
            "name": "explorer.exe",
            "executable": "c:\\bin\\p11.exe",
            "pid": 11,
            "command_line": "p11.exe /run",
            "start": "2016-04-01T09:19:00Z",
            "user": {"name": "SDL-DEV\\jo"},
            "hash": {"md5": f"{11:032x}"},
            "code_signature": {"exists": False},
            "entity_id": guid(11),
        },
    }


@pytest.mark.parametrize(("role", "name"), [(Role.TARGET_FILE, "file"), (Role.MODULE, "dll")])
def test_files_and_modules_have_fields_of_their_own(role: Role, name: str) -> None:
    made = subject(SigningStatus.EXPIRED)
    told = replace(made, observables=replace(made.observables, role=role), lineage=None)

    fields = ecs_fields(enrichment_document(enrichment(told)))

    assert list(fields) == [name, "cbsigned"]
    assert fields[name]["code_signature"]["status"] == "errorExpired"
    assert fields[name]["hash"] == {"md5": made.signature.hash}


def test_a_parent_that_only_the_alert_names_is_the_parent() -> None:
    made = subject()
    parent = replace(made, observables=replace(made.observables, role=Role.PARENT, name="cmd.exe"), lineage=None)

    process = ecs_fields(enrichment_document(enrichment(parent)))["process"]

    assert list(process) == ["parent"]
    assert process["parent"]["name"] == "cmd.exe"
    assert process["parent"]["code_signature"]["exists"] is True


def test_the_first_of_several_processes_gives_the_fields_and_all_are_listed() -> None:
    fields = ecs_fields(DOCUMENTS["two"])

    assert fields["process"]["name"] == "procmon64.exe"
    assert [s["name"] for s in fields["cbsigned"]["subjects"]] == ["procmon64.exe", "driver.sys"]
    assert fields["cbsigned"]["complete"] is False


def test_another_products_entity_id_stays() -> None:
    theirs = "2fix5xRi6Ty5vy+JmI07Jw"

    fields = ecs_fields(enrichment_document(enrichment(subject(foreign_id=theirs))))

    assert fields["process"]["entity_id"] == theirs
    assert fields["cbsigned"]["subjects"][0]["process_guid"] == guid(10)


def test_a_claim_of_the_alert_makes_no_group() -> None:
    assert ecs_code_signature(signature_document(claim(signature()))) == {}


def test_an_alert_that_names_nothing_has_its_reason_alone() -> None:
    fields = ecs_fields(DOCUMENTS["nothing"])

    assert list(fields) == ["cbsigned"]
    assert fields["cbsigned"]["status"] == "Unknown"
    assert "nothing to look up" in fields["cbsigned"]["reason"]
