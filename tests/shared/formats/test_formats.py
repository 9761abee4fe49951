from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cbsigned import formats
from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.enrichment import Sources, enrich
from cbsigned.errors import AlertError
from cbsigned.formats import FORMATS, AlertIgnored, UnknownFormat, key_of, parse_alert
from cbsigned.formats.fields import full_path, get, ids_of
from recording import Recording
from shared.formats.examples import (
    CASES,
    CHAINSAW,
    CLOUD,
    CLOUD_ALERT,
    DEFENDER,
    ELASTIC,
    EVENT,
    FORWARDER,
    GUID,
    LOOK_ALIKE,
    MD5,
    MD5_B,
    SENTINEL_ALERT,
    SHA256,
    SPLUNK,
    SYSMON,
    THEHIVE,
    Case,
)

IDS = [case.name for case in CASES]


def told(found: ObservableSet) -> dict[str, Any]:
    """Return a set's fields that are not empty, the claim by its word."""
    shown = {
        f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("process", "started_at", "origins")
    }
    shown["claimed"] = found.claimed.word if found.claimed is not None else None
    shown["role"] = found.role.value
    return {name: value for name, value in shown.items() if value not in (None, ())}


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_format_gives_its_sets_when_it_is_detected(case: Case) -> None:
    alert = parse_alert(case.record)

    assert case.sets == [told(s) for s in alert.sets]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_format_gives_its_sets_when_it_is_named(case: Case) -> None:
    alert = parse_alert(case.record, case.source)

    assert case.sets == [told(s) for s in alert.sets]


SHAPES = (  # Carbon Black's own, each told by one field alone
    {"unique_id": GUID, "process_name": "a.exe"}, {"id": GUID, "segment_id": 1}, {"md5": MD5, "digsig_result": "x"},
    {"md5": MD5, "observed_filename": ["a.exe"]}, {"md5": MD5, "orig_mod_len": 7}, {"md5": MD5, "scores": {}},
    {"md5": MD5, "compressed_size": 7}, {"md5": MD5, "watchlist_id": 7}, {"md5": MD5, "feed_id": 7},
    {"docs": [{"md5": MD5}]}, {"type": "ingress.event.procstart"}, {"alert_type": "watchlist.hit.query.binary"},
)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_record_of_a_format_has_one_of_its_signs(name: str) -> None:
    form = formats._TABLE[name]
    for whole in (*(case.record for case in CASES), *SHAPES):
        for record in ({k: v for k, v in whole.items() if k != left_out} for left_out in ("", *whole)):
            read = form.read(record) if form.matches(record) else None

            assert read is None or form.signs is None or not form.signs.isdisjoint(record), record


def test_every_format_has_an_example_and_a_description() -> None:
    assert set(FORMATS) - {"generic"} == {case.source for case in CASES}
    assert all(about and "\n" not in about for about in FORMATS.values())


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_platforms_alert_has_the_name_of_its_format(case: Case) -> None:
    expected = "cb-forwarder" if case.source == "carbon-black" else case.source

    assert parse_alert(case.record).format == expected


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_an_unknown_field_changes_nothing(case: Case) -> None:
    alert = parse_alert({**case.record, "zz_unheard_of": "x", "zz_number": 7})

    if case.name != "forwarder bundle of one":
        assert case.sets == [told(s) for s in alert.sets]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (SPLUNK, ("Suspicious child", "https://splunk.example.test:8000/app/search/@go?sid=scheduler")),
        (DEFENDER, ("Odd", "https://security.example.test/alerts/da637")),
        (CLOUD_ALERT, ("A watchlist hit", "https://cbc.example.test/alerts?x")),
        (ELASTIC, ("Odd parent", None)),
        (CHAINSAW, ("Odd child", None)),
    ],
    ids=["splunk", "defender", "cloud", "elastic", "chainsaw"],
)
def test_title_and_link_are_the_platforms(record: dict[str, Any], expected: object) -> None:
    alert = parse_alert(record)

    assert (alert.title, alert.link) == expected
    assert alert.at is not None
    assert alert.at.tzinfo is not None


def test_an_unknown_format_is_refused_with_the_list() -> None:
    with pytest.raises(UnknownFormat, match="thehive"):
        parse_alert(FORWARDER, "the-hive\n")


def test_a_named_format_reads_nothing_else() -> None:
    with pytest.raises(AlertError, match="read as sentinel"):
        parse_alert(FORWARDER, "sentinel")


@pytest.mark.parametrize(
    "change",
    [
        {"action": "update", "details": {"tags": ["CB:Signature=signed"], "_updatedAt": 1}},
        {"action": "update", "details": {"reports": {"CB": {"taxonomies": []}}}},
        {"action": "delete"},
        {"_createdBy": "cbsigned@soc.example"},
    ],
    ids=["tags", "report", "deleted", "our account"],
)
def test_thehive_events_that_our_answer_causes_are_ignored(change: dict[str, Any]) -> None:
    record = {**THEHIVE, **change}

    for given_record in (record, {**EVENT, "data": record}):
        with pytest.raises(AlertIgnored):
            parse_alert(given_record)


def test_thehive_events_of_others_are_not_ignored() -> None:
    record = {**THEHIVE, "action": "update", "details": {"tags": [], "message": "look again"}}

    assert parse_alert(record).sets[0].md5 == MD5


def test_an_empty_bundle_is_ignored_and_one_of_several_is_not_mixed() -> None:
    with pytest.raises(AlertIgnored, match="empty"):
        parse_alert({"service": "carbonblack", "filename": "f", "alerts": []})
    with pytest.raises(AlertError, match="2 alerts"):
        parse_alert({"service": "carbonblack", "alerts": [FORWARDER, {**FORWARDER, "md5": MD5_B}]})


@pytest.mark.parametrize(
    ("group", "word"),
    [
        ({"exists": True, "trusted": True}, "Signed"),
        ({"exists": "true", "trusted": "true"}, "Signed"),
        ({"exists": True, "trusted": True, "status": "errorExpired"}, "Expired"),
        ({"exists": True, "trusted": False, "status": "errorUntrustedRoot"}, "Untrusted Root"),
        ({"exists": True, "trusted": False, "status": "errorCode_endpoint"}, "errorCode_endpoint"),
        ({"exists": True, "trusted": False}, "not trusted"),
        ({"exists": True, "status": "trusted"}, None),
        ({"exists": False}, "Unsigned"),
        ({"exists": True, "subject_name": "Acme"}, None),
        ({"subject_name": "Acme", "trusted": True}, None),
        ({}, None),
        (None, None),
        ("null", None),
    ],
)
def test_an_ecs_group_claims_only_what_it_says(group: object, word: object) -> None:
    process = {"entity_id": "x", "hash": {"md5": MD5}, "code_signature": group}

    found = parse_alert({"event.kind": "alert", "process": process}).sets[0]

    assert (found.claimed.word if found.claimed else None) == word


def test_dotted_signature_keys_are_read_too() -> None:
    record = {
        "event.kind": "alert",
        "process.entity_id": "x",
        "process.hash.md5": MD5,
        "process.code_signature.exists": False,
        "process.pid": [7],
    }

    found = parse_alert(record).sets[0]

    assert told(found) == {"role": "process", "md5": MD5, "foreign_id": "x", "pid": 7, "claimed": "Unsigned"}


@pytest.mark.parametrize(
    ("states", "word"),
    [
        (["FILE_SIGNATURE_STATE_SIGNED", "FILE_SIGNATURE_STATE_VERIFIED"], "Signed"),
        (["FILE_SIGNATURE_STATE_SIGNED"], "SIGNED not VERIFIED"),
        (["FILE_SIGNATURE_STATE_NOT_SIGNED"], "Unsigned"),
        (["FILE_SIGNATURE_STATE_NOT_SIGNED", "FILE_SIGNATURE_STATE_SIGNED"], None),
        ([], None),
        ("null", None),
        (None, None),
    ],
)
def test_a_cloud_publisher_needs_its_state(states: object, word: object) -> None:
    found = parse_alert({**CLOUD_ALERT, "process_publisher_state": states}).sets[0]

    assert (found.claimed.word if found.claimed else None) == word


@pytest.mark.parametrize(
    ("state", "word"), [(1, "Signed"), (7, "Explicit Distrust"), (3, "Revoked"), (5, None), (0, None), (None, None)]
)
def test_an_ocsf_state_is_said_in_words(state: object, word: object) -> None:
    file = {"hashes": [{"algorithm_id": 1, "value": MD5}], "signature": {"state_id": state}}
    record = {"class_uid": 1007, "metadata": {"version": "1.5.0"}, "process": {"file": file}}

    found = parse_alert(record).sets[0]

    assert (found.claimed.word if found.claimed else None) == word


@pytest.mark.parametrize(
    ("event", "roles"),
    [
        (1, [("process", MD5)]),
        (7, [("process", None), ("module", MD5)]),
        (23, [("process", None), ("target file", MD5)]),
        (29, [("process", None), ("target file", MD5)]),
    ],
)
def test_the_hash_of_a_sysmon_event_is_that_of_the_file_that_it_is_about(event: int, roles: object) -> None:
    data = {"Image": "C:\\a.exe", "ImageLoaded": "C:\\b.dll", "TargetFilename": "C:\\c.exe", "Hashes": f"MD5={MD5}",
            "ProcessGuid": SYSMON}  # fmt: skip
    flat = {"EventID": event, "Computer": "WS01", **data}
    chainsaw = {"group": "g", "document": {"data": {"Event": {"System": {"EventID": event}, "EventData": data}}}}
    if event == 1:  # as Sysmon logs it
        flat = {name: value for name, value in flat.items() if name not in ("ImageLoaded", "TargetFilename")}

    assert [[(s.role.value, s.md5) for s in parse_alert(r).sets] for r in (flat, chainsaw)] == [roles, roles]


def test_a_sysmon_guid_that_looks_like_one_of_the_edrs_is_never_taken_for_it() -> None:
    event = {"System": {"EventID": 1}, "EventData": {"ProcessGuid": GUID, "Image": "a"}}

    found = parse_alert({"group": "g", "document": {"data": {"Event": event}}}).sets[0]

    assert (found.process_guid, found.foreign_id) == (None, f"{{{GUID}}}")


def test_links_between_sentinels_entities_may_loop() -> None:
    looped = {
        "$id": "2",
        "Type": "process",
        "ProcessId": "1",
        "ParentProcess": {"$ref": "2"},
        "ImageFile": {"$ref": "9"},
    }
    record = {**SENTINEL_ALERT, "Entities": [*SENTINEL_ALERT["Entities"], looped, {"$ref": "2"}]}  # type: ignore[misc]

    assert MD5 in [s.md5 for s in parse_alert(record).sets]


def test_an_events_key_is_its_source_and_id() -> None:
    assert key_of({**EVENT, "data": {}}) == "/siem 1"
    assert key_of({"id": "1"}) is None
    assert key_of([]) is None


def test_a_row_that_names_only_a_pid_does_not_hide_a_nested_hash() -> None:
    record = {"host": "WS01", "pid": 7, "details": {"process": {"md5": MD5}}}

    assert MD5 in [s.md5 for s in parse_alert(record).sets]


def test_paths_are_reached_nested_dotted_and_half_and_half() -> None:
    for record in (
        {"a": {"b": {"c": 1}}},
        {"a.b.c": 1},
        {"a.b": {"c": 1}},
        {"a": {"b.c": 1}},
        {"a": {}, "a.b": {"c": 1}},
    ):
        assert get(record, "a.b.c") == 1
    assert get({"a": 1}, "a.b") is None
    assert get([], "a") is None


@pytest.mark.parametrize(
    ("folder", "name", "path"),
    [
        ("C:\\a", "b.exe", "C:\\a\\b.exe"),
        ("C:\\a\\", "b.exe", "C:\\a\\b.exe"),
        ("/usr/bin", "b", "/usr/bin/b"),
        ("C:\\a\\B.exe", "b.exe", "C:\\a\\B.exe"),
        (None, "b.exe", None),
    ],
)
def test_folder_and_name_make_a_path(folder: str, name: str, path: str) -> None:
    assert full_path(folder, name) == path


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (f"{GUID}-0178ef7c49a8", (GUID, None)),
        (SYSMON.upper(), (None, SYSMON)),
        (CLOUD, (None, CLOUD)),
        ("{00000000-0000-0000-0000-000000000000}", (None, None)),
        ("x" * 300, (None, None)),
        (None, (None, None)),
        ({}, (None, None)),
    ],
)
def test_an_id_is_carbon_blacks_or_a_foreign_one(value: object, ids: object) -> None:
    assert ids_of(value) == ids


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([MD5, SHA256, GUID, SYSMON]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=25,
)
PLACES = sorted({key for case in CASES for key in case.record} | {"_raw", "docs", "cef", "process", "evidences"})


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(PLACES) | st.text(), JSON, max_size=8), st.sampled_from([None, *FORMATS]))
def test_any_json_gives_an_alert_or_the_reason_why_not(record: dict[str, Any], source: object) -> None:
    with suppress(AlertError):
        alert = parse_alert(record, source)  # type: ignore[arg-type]
        assert isinstance(alert, Alert)
        assert alert.sets
        assert all(isinstance(s.role, Role) for s in alert.sets)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_format_whose_fields_hold_anything_at_all_ends_in_no_other_error(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    record = _spoilt(case.record, data)

    for source in (None, case.source, "generic"):
        with suppress(AlertError):
            assert parse_alert(record, source).sets


def _spoilt(value: Any, data: st.DataObject) -> Any:
    """Return an example with some of its values replaced by anything."""
    if data.draw(st.integers(0, 15)) == 0:
        return data.draw(JSON)
    if isinstance(value, dict):
        return {key: _spoilt(item, data) for key, item in value.items()}
    return [_spoilt(item, data) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_source_is_asked_for_its_own_guids_and_the_sets_hashes_alone(case: Case) -> None:
    source = Recording()

    (enrichment,) = enrich([case.record], Sources(source, source))

    asked = {hash_ for call in source.hash_calls for hash_ in call}
    assert asked == {s.get("md5") or s["sha256"] for s in case.sets if "md5" in s or "sha256" in s}
    assert {guid for call in source.guid_calls for guid in call} <= {GUID}
    assert len(case.sets) == len(enrichment.subjects)


def test_a_claim_is_told_as_the_alerts_own() -> None:
    source = Recording()

    (enrichment,) = enrich([ELASTIC], Sources(source, source))

    assert [s.verdict.text for s in enrichment.subjects] == ["claimed: signed", "claimed: unsigned", "unknown"]


def test_the_look_alike_of_the_examples_is_in_no_set() -> None:
    assert all(LOOK_ALIKE not in (s.md5 or "") for case in CASES for s in parse_alert(case.record).sets)
