from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from cbsigned.formats.keys import words_of
from cbsigned.formats.walker import MAX_LEVELS, MAX_NODES, read
from shared.formats.examples import CASES, CLOUD, GUID, LOOK_ALIKE, MD5, MD5_B, SHA1, SHA256, SYSMON, Case

LOOK_ALIKES = (
    "imphash", "impHash", "imp_hash", "IMPHASH", "pehash", "pe.hash", "authentihash", "thumbprint", "cert_thumbprint",
    "thumbprint_md5", "certificate.md5", "cert.sha256", "fingerprint", "fingerprints", "serial", "serialNumber",
    "certificate_serial_number", "ssdeep", "etag", "ETag", "session", "session_id", "sessionHash", "trace", "trace.id",
    "traceId", "span_id", "event_id", "eventId", "uuid", "alert_uuid", "ja3", "tls.client.ja3.hash", "nthash",
    "request_id", "id", "api_key", "code_signature.digest", "signature.hash", "vhash", "trace.md5", "session.sha256",
)  # fmt: skip


def everything(alert: Any) -> set[str]:
    """Return all hashes and ids of an alert's sets."""
    return {v for s in alert.sets for v in (s.md5, s.sha1, s.sha256, s.process_guid, s.foreign_id) if v}


def found_in(record: dict[str, Any]) -> set[str]:
    """Return what the walker finds."""
    alert = read(record)
    return everything(alert) if alert is not None else set()


OPEN = [case for case in CASES if "data_base64" not in case.record]  # to unpack that is the format's


@pytest.mark.parametrize("case", OPEN, ids=[case.name for case in OPEN])
def test_without_the_format_the_same_hashes_and_guids_are_found(case: Case) -> None:
    sets = parse_alert(case.record).sets
    expected = {v for s in sets for v in (s.md5, s.sha1, s.sha256, s.process_guid, s.foreign_id) if v}

    found = found_in(case.record)

    assert expected <= found
    assert {v for v in found if len(v) in (32, 40, 64)} == {v for v in expected if len(v) in (32, 40, 64)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_walker_puts_no_two_files_together(case: Case) -> None:
    known = [{s.get("md5"), s.get("sha1"), s.get("sha256")} for s in case.sets]
    alert = read(case.record)

    for s in alert.sets if alert is not None else ():
        assert any({h for h in (s.md5, s.sha1, s.sha256) if h} <= hashes for hashes in known)


@pytest.mark.parametrize("key", LOOK_ALIKES)
@pytest.mark.parametrize("value", [LOOK_ALIKE, "0badc0de" * 8], ids=["md5", "sha256"])
def test_a_look_alike_is_never_a_files_hash(key: str, value: str) -> None:
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}

    for record in ({key: value}, nested, {"process": nested}, {"a": [nested]}, {"a": json.dumps(nested)}):
        assert value not in found_in(record)


@pytest.mark.parametrize("name", ["type", "algorithm", "kind", "name"])
def test_a_look_alike_that_is_named_beside_its_value_is_none_either(name: str) -> None:
    assert found_in({"a": [{name: "imphash", "value": LOOK_ALIKE}, {name: "md5", "value": MD5}]}) == {MD5}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"x": {"y": MD5}}, {MD5}),
        ({"x": {"fileHashMd5": MD5.upper()}}, {MD5}),
        ({"ioc_value": SHA256}, {SHA256}),
        ({"x": [{"sha1": SHA1}]}, {SHA1}),
        ({"note": f"seen MD5={MD5}, IMPHASH={LOOK_ALIKE}"}, {MD5}),
        ({"x": {"unique_id": f"{GUID}-0178ef7c49a8"}}, {GUID}),
        ({"x": {"anything": GUID}}, {GUID}),
        ({"x": {"ProcessGuid": SYSMON.upper()}}, {SYSMON}),
        ({"x": {"process_guid": CLOUD}}, {CLOUD}),
        ({"x": {"alert_id": "c02c7a6a-1b2c-4d5e-8f90-a1b2c3d4e5f6"}}, set()),
        ({"md5": "0" * 32}, set()),
        ({"md5": MD5[:-1]}, set()),
        ({"sha512": "ab" * 64}, set()),
    ],
)
def test_values_are_found_by_key_and_by_pattern(record: dict[str, Any], expected: set[str]) -> None:
    assert found_in(record) == expected


def test_every_observable_says_where_it_was() -> None:
    alert = read({"device": {"hostname": "WS01"}, "ev": [{"process": {"hash": {"md5": MD5}, "pid": 7}}]})

    assert alert is not None
    assert dict(alert.sets[0].origins) == {
        "md5": "ev[0].process.hash.md5",
        "pid": "ev[0].process.pid",
        "host": "device.hostname",
    }


def test_a_parents_hash_stays_the_parents() -> None:
    alert = read({"a": {"process_md5": MD5, "parent_md5": MD5_B, "parent": {"process": {"sha256": SHA256}}}})

    assert alert is not None
    assert [(s.role.value, s.md5, s.sha256) for s in alert.sets] == [
        ("process", MD5, None),
        ("parent", MD5_B, None),
        ("parent", None, SHA256),
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"files": [{"md5": MD5}, {"sha256": SHA256}]},
        {"file": [{"md5": MD5}, {"sha256": SHA256}]},
        {"hashes": [{"md5": MD5}, {"sha256": SHA256}]},
        {"hashes": [MD5, SHA256]},
        {"original_md5": MD5, "new_sha256": SHA256},
        {"process_md5": MD5, "sha256": SHA256},
    ],
)
def test_what_may_be_two_files_is_never_one(record: dict[str, Any]) -> None:
    alert = read(record)

    assert alert is not None
    assert sorted((s.md5 or "", s.sha256 or "") for s in alert.sets) == [("", SHA256), (MD5, "")]


def test_hosts_that_contradict_each_other_are_no_host() -> None:
    alert = read({"a": {"hostname": "WS01", "md5": MD5}, "b": {"hostname": "WS02"}})

    assert alert is not None
    assert alert.sets[0].host is None


def test_the_walk_ends_at_its_limits_and_says_so() -> None:
    deep: Any = {"md5": MD5}
    for _level in range(MAX_LEVELS + 1):
        deep = {"a": deep}
    wide = {"a": [0] * (2 * MAX_NODES), "z": {"md5": MD5}}

    for record, word in ((deep, "levels"), (wide, "values")):
        alert = read(record)
        assert alert is not None
        assert (alert.sets, word in alert.problems[0]) == ((), True)


def test_long_keys_neither_fill_the_memory_nor_mix_files() -> None:
    long = "k" * 1_000_000
    record = {
        long: {str(n): {"note": n} for n in range(5_000)},
        f"{long}a": {"md5": MD5},
        f"{long}b": {"sha256": SHA256},
    }

    alert = read(record)

    assert alert is not None
    assert [(s.md5, s.sha256) for s in alert.sets] == [(MD5, None), (None, SHA256)]
    assert all(len(path) < 200 for s in alert.sets for _field, path in s.origins)


def test_more_files_than_anybody_reads_are_counted() -> None:
    alert = read({"list": [{"md5": f"{number:032x}"} for number in range(1, 151)]})

    assert alert is not None
    assert (len(alert.sets), "50 of 150" in alert.problems[0]) == (100, True)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("fileHashMd5", ("file", "hash", "md5")),
        ("PGUID", ("pguid",)),
        ("ParentPGUID", ("parent", "pguid")),
        ("SHA256", ("sha256",)),
        ("sha_256", ("sha256",)),
        ("imp-hash", ("imphash",)),
        ("", ()),
    ],
)
def test_a_key_is_taken_apart_into_words(key: str, words: tuple[str, ...]) -> None:
    assert words_of(key) == words


def test_the_walker_is_the_last_that_is_asked() -> None:
    assert parse_alert({"x": {"y": {"md5": MD5}}}).format == "generic"
    with pytest.raises(AlertError, match="nothing to look up"):
        parse_alert({"x": {"y": {"imphash": LOOK_ALIKE}}})


def _hexes(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _hexes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _hexes(item)
    elif isinstance(value, str):
        yield value.lower()


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.sampled_from([MD5, MD5_B, SHA256, GUID, SYSMON, "x", 7, None]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["md5", "process", "parent", "imphash", "hashes", "a.b", ""]), inner)
        ),
        max_leaves=15,
    )
)
def test_the_walker_finds_nothing_that_is_not_there(value: Any) -> None:
    assert found_in({"x": value}) <= set(_hexes(value))


@pytest.mark.parametrize("key", ["]", "a]", "[", "a[", "[]", "a[x]"])
def test_a_key_may_be_made_of_brackets(key: str) -> None:
    """A key that ends like a list's index ended in a ValueError; found by the test of any JSON."""
    alert = parse_alert({"file": {key: MD5}})

    assert [s.md5 for s in alert.sets] == [MD5]
