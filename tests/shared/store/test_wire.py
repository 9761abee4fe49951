"""Protobuf's wire format: every wire type, and bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.store.protobuf import events_in, is_protobuf
from cbsigned.store.wire import Message, WireError
from shared.store.protobytes import BUNDLES, message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"\x08\x96\x01", 150, id="varint of two bytes"),
        pytest.param(b"\x08" + b"\xff" * 9 + b"\x01", 2**64 - 1, id="minus one"),
        pytest.param(b"\x09" + (7).to_bytes(8, "little"), 7, id="64-bit"),
        pytest.param(b"\x0d" + (9).to_bytes(4, "little"), 9, id="32-bit"),
        pytest.param(b"\x08\x01\x08\x02", 2, id="the last of two counts"),
    ],
)
def test_numbers_of_every_wire_type_are_read(data: bytes, expected: int) -> None:
    assert expected == Message(data).number(1)


def test_a_negative_32_bit_number_is_its_unsigned_twin() -> None:
    assert Message(b"\x08" + b"\xff" * 9 + b"\x01").unsigned32(1) == 0xFFFFFFFF


def test_a_field_of_another_type_than_asked_for_is_absent() -> None:
    found = Message(message({1: 5, 2: b"abc"}))

    assert (found.text(1), found.number(2), found.part(1), found.parts(9)) == (None, None, None, [])


def test_a_text_that_is_no_utf8_stays_visible() -> None:
    assert Message(message({1: b"caf\xe9"})).text(1) == "caf\\xe9"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x05ab", id="cut off in bytes"),
        pytest.param(b"\x08\x80", id="cut off in a number"),
        pytest.param(b"\x08" + b"\x80" * 11, id="number without end"),
        pytest.param(b"\x0b", id="group"),
        pytest.param(b"\x00\x01", id="field number 0"),
        pytest.param(b"\x09\x01", id="cut off in 64 bits"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="length of 4 GB"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Message(data)


@given(st.binary(max_size=300))
def test_random_bytes_give_a_message_or_wire_error(data: bytes) -> None:
    try:
        found = Message(data)
    except WireError:
        return
    assert (found.number(1) is None) or (found.data(1) is None)


@given(st.binary(max_size=200), st.sampled_from(BUNDLES), st.integers(0, 400), st.booleans())
def test_bytes_damaged_anywhere_give_events_or_wire_error(junk: bytes, whole: bytes, at: int, cut: bool) -> None:
    data = whole[:at] + junk + (b"" if cut else whole[at:])

    is_protobuf(data)
    try:
        events = list(events_in(data))
    except WireError:
        return
    assert all(event["type"].startswith("ingress.event.") for event in events)
