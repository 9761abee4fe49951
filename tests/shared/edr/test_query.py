from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.edr.query import (
    MAX_VALUE,
    Query,
    Unsearchable,
    all_of,
    any_of,
    between,
    clause,
    guid_clause,
    hash_clause,
    prefix_clause,
)
from cbsigned.gaps import Cause

MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"
GUID = "00000007-0000-0d24-01d7-35e9bb340680"


def read(query: str) -> list[tuple[str, ...]]:
    """Read a query as the reference's grammar says (§4.1), character by character, sharing nothing with the builder."""
    tokens: list[tuple[str, ...]] = []
    at = 0
    while at < len(query):
        if query[at] == " ":
            at += 1
        elif query[at] in "()":
            tokens.append((query[at],))
            at += 1
        else:
            field, value, at = read_clause(query, at)
            operator = field is None and value.lower() in ("or", "and", "not")
            tokens.append((value.lower(),) if operator else ("clause", field or "", value))
    return tokens


def read_clause(query: str, at: int) -> tuple[str | None, str, int]:
    field, value = None, ""
    while at < len(query) and query[at] not in ' ()"':
        if query[at] == "\\":
            value, at = value + query[at + 1 : at + 2], at + 2
        elif query[at] == ":" and field is None:
            field, value, at = value, "", at + 1
            if query[at : at + 1] == '"':
                value, at = read_phrase(query, at + 1)
                return field, value, at
            if query[at : at + 1] == "[":
                end = query.index("]", at)
                return field, query[at : end + 1], end + 1
        else:
            value, at = value + query[at], at + 1
    if at < len(query) and query[at] == '"' and not value:
        value, at = read_phrase(query, at + 1)
    return field, value, at


def read_phrase(query: str, at: int) -> tuple[str, int]:
    value = ""
    while query[at] != '"':
        if query[at] == "\\":
            at += 1
        value, at = value + query[at], at + 1
    return value, at + 1


def claim_one_clause(value: str) -> None:
    try:
        built = clause("hostname", value)
    except Unsearchable:
        return
    other = hash_clause(MD5)
    own, neighbour = ("clause", "hostname", value), ("clause", "md5", MD5)

    assert [own] == read(built.text)
    assert [own, ("or",), neighbour] == read(any_of([built, other]).text)
    assert ["(", own, neighbour, ")", "or", neighbour] == [
        token[0] if len(token) == 1 else token for token in read(any_of([all_of([built, other]), other]).text)
    ]


@given(st.text(max_size=200))
def test_any_text_is_read_back_as_one_clause_with_that_value(value: str) -> None:
    claim_one_clause(value)


@given(st.text(alphabet="ab01\\\"()[]{}:*?-+~^/&|! orANDnotTO,'\u00e9\u2028\u0000\n", max_size=40))
def test_any_text_of_syntax_is_read_back_as_one_clause_with_that_value(value: str) -> None:
    claim_one_clause(value)


def test_ten_thousand_hostile_strings_are_read_back_as_one_clause_each() -> None:
    syntax = ['"', "\\", '\\"', "(", ")", " or ", " OR md5:", "*:*", " -", ":", "[* TO *]", "&&", "||", "not "]
    others = ["'", ";", "--", "%00", "a", "1", "é", "\u202e", "😀", "*", "?", " ", "{", "}", "/", "\t", "\n", "\x7f"]
    parts = syntax + others
    chance = random.Random(20260)

    for _ in range(10_000):
        claim_one_clause("".join(chance.choices(parts, k=chance.randint(1, 12))))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("lab-ws-07", "hostname:lab-ws-07"),
        ("or", 'hostname:"or"'),
        ("AND", 'hostname:"AND"'),
        ("-x", 'hostname:"-x"'),
        ("a b", 'hostname:"a b"'),
        ('a" or md5:*', 'hostname:"a\\" or md5:*"'),
        ("c:\\x\\", 'hostname:"c:\\\\x\\\\"'),
        ("a*", 'hostname:"a*"'),
    ],
)
def test_value_becomes_text(value: str, text: str) -> None:
    assert text == clause("hostname", value).text


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "a\x00", "\x7f", "\ud800", "\u2028", "x" * (MAX_VALUE + 1)])
def test_value_that_cannot_be_searched_is_refused(value: str) -> None:
    with pytest.raises(Unsearchable) as refused:
        clause("hostname", value)

    assert Cause.UNSEARCHABLE is refused.value.cause
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()


def test_value_of_the_greatest_length_is_searched() -> None:
    assert f"hostname:{'x' * MAX_VALUE}" == clause("hostname", "x" * MAX_VALUE).text


@pytest.mark.parametrize("field", ["", "a b", "md5:x or y", "Md5", "-md5"])
def test_field_is_never_free_text(field: str) -> None:
    with pytest.raises(ValueError, match="not a field name"):
        clause(field, "x")


def test_prefix_ends_in_a_wildcard() -> None:
    assert prefix_clause("hostname", "lab-ws-07.").text == "hostname:lab-ws-07.*"


@pytest.mark.parametrize("value", ["a b", 'a"', "*", "é", ""])
def test_prefix_of_other_characters_is_refused(value: str) -> None:
    with pytest.raises(Unsearchable):
        prefix_clause("hostname", value)


def test_hash_is_asked_by_its_length() -> None:
    assert [f"md5:{MD5}", f"process_sha256:{'ab' * 32}"] == [
        hash_clause(MD5.upper()).text,
        hash_clause("AB" * 32, of="process").text,
    ]


@pytest.mark.parametrize("value", ["", "x", MD5 + " or md5:*", MD5[:-1], "0" * 32, "g" * 32])
def test_hash_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(Unsearchable, match=r"no MD5 \(32 hex digits\)"):
        hash_clause(value)


def test_guid_loses_its_segment() -> None:
    assert f"process_id:{GUID}" == guid_clause("process_id", f"{GUID}-0178ef7c49a8").text


@pytest.mark.parametrize("value", ["", "1 or 2", GUID + ")", "{" + GUID + "}"])
def test_guid_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(Unsearchable, match="no process guid"):
        guid_clause("process_id", value)


def test_range_widens_to_whole_seconds_in_utc() -> None:
    berlin = timezone(timedelta(hours=2))
    moment = datetime(2021, 4, 20, 15, 33, 21, 512_000, berlin)

    assert between("start", moment, moment).text == "start:[2021-04-20T13:33:21 TO 2021-04-20T13:33:22]"


@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_range_ends_with_the_calendar(hours: int) -> None:
    first, last = (end.replace(tzinfo=timezone(timedelta(hours=hours))) for end in (datetime.min, datetime.max))
    low, high = between("start", first, last).text[7:-1].split(" TO ")

    assert low.startswith("0001-01-01T")
    assert high.startswith("9999-12-31T")


def test_range_may_be_open() -> None:
    assert between("start", None, None).text == "start:[* TO *]"


def test_joining_counts_clauses_and_adds_only_needed_parentheses() -> None:
    either = any_of([clause("a", "1"), clause("b", "2")])

    assert Query("(a:1 or b:2) c:3", 3, "and") == all_of([either, clause("c", "3")])
    assert any_of([either, clause("c", "3")]).text == "a:1 or b:2 or c:3"


def test_joining_nothing_is_refused_since_it_would_find_everything() -> None:
    with pytest.raises(ValueError, match="would find everything"):
        any_of([])
