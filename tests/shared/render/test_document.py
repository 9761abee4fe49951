"""The one document: JSON types, validated against the published schema, in both directions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import cbsigned
from cbsigned.alert import Role
from cbsigned.binary import Certainty, RecordKind
from cbsigned.gaps import Cause
from cbsigned.lineage import EndedBy, Lineage, Node
from cbsigned.render.document import SCHEMA, enrichment_document, lineage_document, signature_document
from cbsigned.status import SigningStatus
from shared.render.factory import NOW, enrichment, kinds, lineage, process, signature, subject

SCHEMA_FILE = Path(cbsigned.__file__).parent / "enrichment.schema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def validator(schema: dict[str, Any], part: str = "") -> jsonschema.Draft202012Validator:
    whole = {"$defs": schema["$defs"], "$ref": f"#/$defs/{part}"} if part else schema
    return jsonschema.Draft202012Validator(whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("name", kinds())
def test_every_kind_of_enrichment_is_what_the_schema_says(name: str, schema: dict[str, Any]) -> None:
    document = enrichment_document(kinds()[name])

    validator(schema).validate(json.loads(json.dumps(document)))


def test_the_schema_is_a_valid_schema_of_this_version(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)

    assert schema["properties"]["schema"] == {"const": SCHEMA}


def test_the_schema_forbids_and_requires_exactly_the_keys_of_the_document(schema: dict[str, Any]) -> None:
    document = enrichment_document(kinds()["relatives"])
    document["origin"] = enrichment_document(kinds()["exported"])["origin"]
    first = enrichment_document(kinds()["claimed"])["subjects"][0]
    node = document["subjects"][0]["lineage"]["nodes"][0]

    parts = {
        "": document,
        "alert": document["alert"],
        "origin": document["origin"],
        "subject": document["subjects"][0],
        "verdict": document["subjects"][0]["verdict"],
        "signature": document["subjects"][0]["signature"],
        "evidence": document["subjects"][0]["signature"]["evidence"],
        "claimed": first["claimed"],
        "links": enrichment_document(kinds()["edr"])["subjects"][0]["links"],
        "lineage": document["subjects"][0]["lineage"],
        "node": node,
        "relatives": document["subjects"][0]["lineage"]["siblings"],
        "gap": document["subjects"][0]["lineage"]["siblings"]["gap"],
    }

    objects = {"": schema, **{name: part for name, part in schema["$defs"].items() if part.get("type") == "object"}}
    assert set(objects) == set(parts)
    for name, part in parts.items():
        assert objects[name]["additionalProperties"] is False, name
        assert objects[name]["required"] == list(part), name
        assert [key for key in objects[name]["properties"] if name or key != "record"] == list(part), name


@pytest.mark.parametrize("part", ["", "alert", "subject", "signature", "lineage", "node", "gap"])
def test_an_unknown_key_is_refused(part: str, schema: dict[str, Any]) -> None:
    document = enrichment_document(kinds()["orphan"])
    chain = document["subjects"][0]["lineage"]
    target = {
        "": document,
        "alert": document["alert"],
        "subject": document["subjects"][0],
        "signature": document["subjects"][0]["signature"],
        "lineage": chain,
        "node": chain["nodes"][0],
        "gap": chain["nodes"][-1]["gap"],
    }[part]
    target["surprise"] = 1

    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        validator(schema).validate(document)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("status",), SigningStatus),
        (("cause",), Cause),
        (("evidence", "properties", "certainty"), Certainty),
        (("claimed", "properties", "record"), RecordKind),
        (("lineage", "properties", "ended_by"), EndedBy),
        (("subject", "properties", "role"), Role),
    ],
    ids=lambda value: getattr(value, "__name__", "") or "-".join(value),
)
def test_the_schema_lists_every_word_of_the_code(path: tuple[str, ...], words: Any, schema: dict[str, Any]) -> None:
    part = schema["$defs"]
    for key in path:
        part = part[key]

    assert part["enum"] == [word.value for word in words]


def test_one_line_of_signed_is_a_signature_of_the_schema(schema: dict[str, Any]) -> None:
    line = signature_document(signature(SigningStatus.EXPIRED), NOW)

    validator(schema, "signature").validate(line)
    assert list(line)[:4] == ["md5", "sha256", "status", "reason"]


def test_a_sha256_is_not_shown_as_an_md5() -> None:
    line = signature_document(signature(md5="ab" * 32))

    assert (line["md5"], line["sha256"]) == (None, "ab" * 32)


def test_age_counts_from_the_record_to_the_enrichment() -> None:
    line = signature_document(signature(), NOW)

    assert line["evidence"]["age_s"] == 3 * 86_400


def test_a_lineage_is_newest_first_and_every_node_has_its_status(schema: dict[str, Any]) -> None:
    chain = lineage(("git", "code helper", "code"))
    known = {process(10).md5 or "": signature(SigningStatus.UNSIGNED)}

    document = lineage_document(chain, known)

    validator(schema, "lineage").validate(document)
    assert [node["name"] for node in document["nodes"]] == ["git", "code helper", "code"]
    assert [node["status"] for node in document["nodes"]] == ["Unsigned", "Unknown", "Unknown"]
    assert all(node["reason"] and "md5" in node for node in document["nodes"])


def test_a_node_without_a_hash_is_unknown_and_says_why() -> None:
    chain = Lineage((Node(process(10, md5=None), 0),), EndedBy.NO_PARENT, "The record names no parent.")

    node = lineage_document(chain, {})["nodes"][0]

    assert (node["status"], node["cause"]) == ("Unknown", "no observable")
    assert "No hash" in node["reason"]


def test_a_node_is_found_by_its_sha256_where_it_has_no_md5() -> None:
    chain = Lineage((Node(process(10, md5=None, sha256="cd" * 32), 0),), EndedBy.ROOT, "x")

    node = lineage_document(chain, {"cd" * 32: signature(md5="cd" * 32)})["nodes"][0]

    assert node["status"] == "Signed"


def test_an_alert_that_names_nothing_still_has_status_and_reason() -> None:
    document = enrichment_document(enrichment())

    assert (document["status"], document["md5"], document["subjects"]) == ("Unknown", None, [])
    assert "nothing to look up" in document["reason"]


def test_what_the_alert_leaves_out_is_filled_from_the_process() -> None:
    told = subject(md5=None, name=None, pid=None, host=None, user=None, process_guid=None)

    first = enrichment_document(enrichment(told))["subjects"][0]

    found = process(10)
    assert (found.md5, found.pid, found.host, found.guid) == (
        first["md5"], first["pid"], first["host"], first["process_guid"],
    )  # fmt: skip


def test_a_file_is_never_filled_from_a_process() -> None:
    told = subject(md5=None, host=None)
    told = replace(told, observables=replace(told.observables, role=Role.MODULE))

    first = enrichment_document(enrichment(told))["subjects"][0]

    assert (first["md5"], first["host"]) == (None, None)


def test_the_record_is_added_only_on_request(schema: dict[str, Any]) -> None:
    made = enrichment(subject())

    assert "record" not in enrichment_document(made)
    document = enrichment_document(made, with_record=True)
    validator(schema).validate(document)
    assert document["record"] == {"type": "watchlist.hit.process"}


def test_key_order_does_not_depend_on_what_is_known() -> None:
    full, bare = enrichment_document(kinds()["relatives"]), enrichment_document(kinds()["bare"])

    assert list(full) == list(bare)
    assert list(full["subjects"][0]) == list(bare["subjects"][0])


def test_a_splunk_row_is_named_as_in_the_export(schema: dict[str, Any]) -> None:
    document = enrichment_document(kinds()["exported"])

    validator(schema).validate(document)
    assert document["origin"] == {"serial": "300715", "time": "2016-03-16 00:10:05.000 EDT"}
    assert enrichment_document(kinds()["signed"])["origin"] is None


@pytest.mark.parametrize("value", [["x"], {"a": 1}, True, None], ids=lambda value: type(value).__name__)
def test_a_row_number_that_is_none_is_left_out(value: Any, schema: dict[str, Any]) -> None:
    document = enrichment_document(enrichment(subject(), record={"_serial": value}))

    assert document["origin"] is None


def test_a_process_known_from_its_guid_alone_says_so() -> None:
    nodes = enrichment_document(kinds()["orphan"])["subjects"][0]["lineage"]["nodes"]

    assert [node["from_guid"] for node in nodes] == [False, False, True]


@pytest.mark.parametrize(
    ("guid", "fits"),
    [
        ("00000009-0000-082c-01d1-7f392625197c", True),
        ("{ad4b5c3e-1234-5678-0000-001090a3b100}", True),
        ("log:00000009-0000-082c-01d1-7f392625197c", True),
        ("{00000009-0000-082c-01d1-7f392625197c", False),
        ("00000009-0000-082c-01d1-7f392625197c-00000001", False),
    ],
)
def test_the_schema_takes_every_spelling_of_a_process_id(guid: str, fits: bool, schema: dict[str, Any]) -> None:
    line = lineage_document(lineage(("git",)), {})
    line["nodes"][0]["guid"] = guid

    assert validator(schema, "lineage").is_valid(line) is fits
