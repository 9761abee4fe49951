from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.observables import (
    guid_parts,
    is_unknown_parent,
    parse_guid,
    parse_md5,
    parse_pid,
    parse_sha256,
    read_hashes,
    short_host,
)

MD5 = "0f343b0931126a20f133d67c2b018a3b"
GUID = "00000007-0000-0d24-01d7-35e9bb340680"


@pytest.mark.parametrize("text", [MD5, MD5.upper(), f"  {MD5}\n"], ids=["lower", "upper", "spaces"])
def test_an_md5_is_lower_case_from_the_first_line_that_sees_it(text: str) -> None:
    assert parse_md5(text) == MD5


@pytest.mark.parametrize(
    "value",
    [None, 7, "", "0" * 32, "0" * 30, MD5[:22], MD5 + "a", "g" * 32, "٠" * 32, f"{MD5} or 1", b"x"],
    ids=["none", "number", "empty", "zeros", "30 zeros", "cut", "long", "no hex", "arabic digits", "query", "bytes"],
)
def test_anything_else_is_no_md5(value: object) -> None:
    assert parse_md5(value) is None


def test_an_imphash_is_never_taken_for_an_md5() -> None:
    hashes = read_hashes(f"IMPHASH={'a' * 32},SHA256={'b' * 64}")

    assert (hashes.md5, hashes.sha256, hashes.problems) == (None, "b" * 64, ())


def test_hash_lists_give_the_first_of_each_kind() -> None:
    hashes = read_hashes([f"MD5={MD5.upper()},SHA256={'B' * 64}", "c" * 32, "d" * 40])

    assert (hashes.md5, hashes.sha1, hashes.sha256) == (MD5, "d" * 40, "b" * 64)


def test_a_truncated_hash_is_a_problem_that_says_so() -> None:
    """The forwarder cuts child MD5s at the first zero byte: 7 of 1,869 in the recording."""
    problems = read_hashes("0C03FB91E17987EED93F60").problems

    assert problems == ('"0C03FB91E17987EED93F60" is not a hash: it has 22 hex digits, expected 32, 40 or 64.',)


@pytest.mark.parametrize("suffix", ["", "-00000012", "-0178ef7c49a8", "-178ef7"], ids=["bare", "5.x", "6.x", "6.1"])
def test_a_segment_suffix_is_split_off(suffix: str) -> None:
    assert parse_guid(GUID.upper() + suffix) == GUID


@pytest.mark.parametrize("value", [None, f"{{{GUID}}}", GUID[:-1], GUID + "-", f"{GUID} or process_id:*", 12])
def test_foreign_and_malformed_ids_are_no_guid(value: object) -> None:
    assert parse_guid(value) is None


def test_a_guid_tells_sensor_pid_and_start() -> None:
    parts = guid_parts(GUID)

    assert (parts.sensor_id, parts.pid) == (7, 3364)
    assert parts.started_at == datetime(2021, 4, 20, 13, 33, 21, 512000, timezone.utc)


def test_the_all_ones_parent_is_unknown() -> None:
    assert is_unknown_parent("00000018-ffff-ffff-0000-000000000000")
    assert not is_unknown_parent(GUID)


@pytest.mark.parametrize(
    ("value", "pid"),
    [
        (44, 44),
        ("44988", 44988),
        ("0x1f4", 500),
        (-1, None),
        ("-1", None),
        (True, None),
        ("4 or 5", None),
        (2**33, None),
    ],
)
def test_pids_arrive_as_numbers_and_texts(value: object, pid: object) -> None:
    assert parse_pid(value) == pid


@pytest.mark.parametrize(("name", "short"), [("WS01.corp.example", "ws01"), ("10.1.2.3", "10.1.2.3"), ("WS01", "ws01")])
def test_hosts_compare_without_case_and_domain(name: str, short: str) -> None:
    assert short_host(name) == short


@given(st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text()), st.binary()))
def test_hash_and_guid_parsing_never_fails_and_never_lets_anything_else_through(value: object) -> None:
    found = [parse_md5(value), parse_sha256(value), parse_guid(value), *_three(read_hashes(value))]

    for text in filter(None, found):
        assert set(text) <= set("0123456789abcdef-")
        assert len(text) in (32, 36, 40, 64)


@given(st.integers(1, 16**32 - 1))
def test_every_md5_survives_its_own_spelling(number: int) -> None:
    text = f"{number:032x}"

    assert parse_md5(text.upper()) == text == read_hashes(f"MD5={text}").md5


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**63))
def test_every_guid_gives_back_its_parts(sensor: int, pid: int, ticks: int) -> None:
    digits = f"{sensor:08x}{pid:08x}{ticks:016x}"
    guid = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    assert guid_parts(parse_guid(guid) or "")[:2] == (sensor, pid)


@pytest.mark.parametrize(
    ("guid", "unknown"),
    [
        ("00000007-ffff-ffff-0000-000000000000", True),
        ("00000007-0000-0000-0000-000000000000", True),
        ("00000000-0000-0000-0000-000000000000", True),
        ("00000007-0000-0000-01d1-2098154bfd3b", False),
    ],
    ids=["pid -1", "pid 0 created at 0", "zeros", "the idle process"],
)
def test_parents_that_the_sensor_never_knew_are_told_from_pid_0(guid: str, unknown: bool) -> None:
    assert is_unknown_parent(guid) is unknown


def _three(hashes: object) -> list[object]:
    return [getattr(hashes, name) for name in ("md5", "sha1", "sha256")]
