from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.timing import Deadline, format_time, from_filetime, parse_time


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2016-03-16T04:06:00.061Z", "2016-03-16T04:06:00.061Z"),
        ("2021-04-20T13:33:23.24Z", "2021-04-20T13:33:23.240Z"),
        ("2018-02-01 16:00:47.863504-06:00", "2018-02-01T22:00:47.863Z"),
        ("2021-08-12T12:43:19.0772577Z", "2021-08-12T12:43:19.077Z"),
        ("2021-02-10 18:54:21", "2021-02-10T18:54:21Z"),
        (1458101405.63, "2016-03-16T04:10:05.630Z"),
        ("1458101405", "2016-03-16T04:10:05Z"),
        (1795300000000, "2026-11-21T22:26:40Z"),
        ("Aug 9, 2014 5:27:56 PM", "2014-08-09T17:27:56Z"),
        ("2:46 PM 9/29/2015", "2015-09-29T14:46:00Z"),
    ],
)
def test_every_way_of_writing_a_time_is_read_as_utc(value: object, expected: str) -> None:
    assert format_time(parse_time(value)) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "yesterday",
        0,
        -1,
        10**400,
        float("nan"),
        float("inf"),
        "2016-13-45T00:00:00Z",
        {},
        "12",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
    ids=str,
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert parse_time(value) is None


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none()))
def test_reading_a_time_never_fails(value: object) -> None:
    found = parse_time(value)

    assert found is None or found.tzinfo is timezone.utc


@given(st.datetimes(datetime(1601, 1, 1), datetime(9000, 1, 1), timezones=st.just(timezone.utc)))
def test_a_written_time_is_read_back_to_the_millisecond(moment: datetime) -> None:
    found = parse_time(format_time(moment))

    assert found is not None
    assert timedelta(0) <= moment - found < timedelta(milliseconds=1)


def test_filetime_zero_is_no_time() -> None:
    assert from_filetime(0) is None
    assert from_filetime(2**63) is None


def test_a_deadline_never_gives_less_than_nothing() -> None:
    now = [0.0]
    deadline = Deadline(5, lambda: now[0])

    now[0] = 4.0
    left = deadline.remaining()
    now[0] = 9.0

    assert (left, deadline.remaining(), deadline.passed) == (1.0, 0.0, True)
