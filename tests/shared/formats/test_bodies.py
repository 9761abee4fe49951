from __future__ import annotations

import base64
import gzip
import json
import sys
import time
import zlib
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.errors import AlertError
from cbsigned.formats import BodyError, Fault, Limits, key_of, parse_alert, read_body
from cbsigned.formats.jsontext import TooDeep, TooMany, bounded, load
from shared.formats.examples import CASES, EVENT, FORWARDER, MD5

ONE, TWO = {"md5": MD5, "n": 1}, {"md5": MD5, "n": 2}
TEXT = json.dumps(ONE)
JSON = {"Content-Type": "application/json; charset=utf-8"}
BASE64 = base64.b64encode(TEXT.encode()).decode()


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (TEXT, JSON, [ONE]),
        (TEXT, {}, [ONE]),
        (f"\n {TEXT} \n", {"content-type": "text/plain"}, [ONE]),
        (f"[{TEXT}, {json.dumps(TWO)}]", JSON, [ONE, TWO]),
        (f"{TEXT}\n{json.dumps(TWO)}\n", {"CONTENT-TYPE": "application/x-ndjson"}, [ONE, TWO]),
        (f"{TEXT}\r\n\r\n{json.dumps(TWO)}", JSON, [ONE, TWO]),
        (json.dumps(ONE, indent=1) + json.dumps(TWO, indent=1), JSON, [ONE, TWO]),
        (f"\x1e{TEXT}\n\x1e{json.dumps(TWO)}\n", {"Content-Type": "application/json-seq"}, [ONE, TWO]),
        (f"[{TEXT}]\n[{json.dumps(TWO)}]", JSON, [ONE, TWO]),
        ("[]", JSON, []),
        (urlencode({"payload": TEXT, "x": "1"}), {"Content-Type": "application/x-www-form-urlencoded"}, [ONE]),
        (TEXT, {"Content-Type": "application/x-www-form-urlencoded"}, [ONE]),
        (TEXT, {"Content-Type": "application/vnd.acme+json"}, [ONE]),
        (json.dumps({"filename": "f", "service": "carbonblack", "alerts": [ONE, TWO]}), JSON, [ONE, TWO]),
        (json.dumps({"service": "carbonblack", "alerts": []}), JSON, []),
        (json.dumps({"alerts": [BASE64, TEXT, {"EventText": BASE64}]}), JSON, [ONE, ONE, ONE]),
        (json.dumps({"context": {"alerts": [ONE]}, "rule": {"id": 1}}), JSON, [ONE]),
        (json.dumps({"alerts": [ONE, TWO], "rule": {"id": 1}}), JSON, [ONE, TWO]),
        (json.dumps({"alerts": [TWO], "process": ONE}), JSON, [{"alerts": [TWO], "process": ONE}]),
        (json.dumps({"context": {"alerts": ONE}}), JSON, [{"context": {"alerts": ONE}}]),
        (json.dumps({"md5": MD5, "alerts": [TWO]}), JSON, [{"md5": MD5, "alerts": [TWO]}]),
    ],
)
def test_a_body_gives_its_alerts_however_they_are_put_together(body: str, headers: Any, expected: Any) -> None:
    assert read_body(body.encode(), headers).records == expected


@pytest.mark.parametrize(
    ("body", "headers", "many"),
    [
        (TEXT, JSON, False),
        (f"[{TEXT}]", JSON, True),
        (f"[{TEXT}]", {"Content-Type": "application/cloudevents+json"}, True),
        (TEXT, {"Content-Type": "application/x-ndjson"}, True),
        (f"{TEXT}\n", {"Content-Type": "application/jsonlines; charset=utf-8"}, True),
        (TEXT, {"Content-Type": "text/json"}, False),
        (json.dumps([EVENT]), {"Content-Type": "application/cloudevents-batch+json"}, True),
        (json.dumps(EVENT), {"Content-Type": "application/cloudevents+json"}, False),
        (json.dumps({**EVENT, "data": [ONE]}), JSON, True),
        (f"[{TEXT}]", {"ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"}, True),
        (json.dumps({"service": "carbonblack", "alerts": [ONE]}), JSON, True),
        (json.dumps({"context": {"alerts": [TEXT]}}), JSON, False),
        (json.dumps({"EventText": BASE64}), JSON, False),
        (urlencode({"payload": TEXT}), {"Content-Type": "application/x-www-form-urlencoded"}, False),
        (urlencode({"payload": f"[{TEXT}]"}), {"Content-Type": "application/x-www-form-urlencoded"}, True),
        (f"{TEXT}\noops", JSON, True),
    ],
)
def test_a_list_of_one_is_a_list_whatever_carries_it(body: str, headers: Any, many: bool) -> None:
    read = read_body(gzip.compress(body.encode()), {**headers, "Content-Encoding": "gzip"})

    assert read.many is many


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (TEXT.encode("utf-8-sig"), JSON),
        (TEXT.encode("utf-16"), {"Content-Type": "application/json"}),
        (TEXT.encode("utf-16-le"), {"Content-Type": "application/json; charset=UTF-16LE"}),
        (gzip.compress(TEXT.encode()), {**JSON, "Content-Encoding": "gzip"}),
        (gzip.compress(TEXT.encode()), JSON),
        (gzip.compress(TEXT[:9].encode()) + gzip.compress(TEXT[9:].encode()), {**JSON, "Content-Encoding": "x-gzip"}),
        (gzip.compress(TEXT.encode()) + b"\0" * 40, JSON),
        (zlib.compress(TEXT.encode()), {**JSON, "Content-Encoding": "deflate"}),
    ],
)
def test_a_body_is_unpacked_and_decoded(body: bytes, headers: Any) -> None:
    assert read_body(body, headers).records == [ONE]


def test_latin_1_is_read_where_a_body_is_no_utf_8() -> None:
    body = '{"user": "J\xf6rg"}'.encode("latin-1")

    assert read_body(body, JSON) == read_body(body, {"Content-Type": "text/plain; charset=iso-8859-1"})
    assert read_body(body).records == [{"user": "Jörg"}]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/cloudevents+json"}, {**EVENT, "data": ONE}),
        ({"Content-Type": "application/cloudevents-batch+json"}, [{**EVENT, "data": ONE}]),
        ({"ce-id": "1", "CE-Source": "/siem", "ce-type": "com.acme.alert", "ce-specversion": "1.0", **JSON,
          "ce-time": EVENT["time"]}, ONE),
    ],
    ids=["structured", "batch", "binary"],
)  # fmt: skip
def test_a_cloudevent_is_the_same_in_all_three_modes(headers: dict[str, str], body: Any) -> None:
    records = read_body(json.dumps(body).encode(), headers).records

    assert records == [{**EVENT, "data": ONE}]
    assert key_of(records[0]) == "/siem 1"
    assert parse_alert(records[0]).sets[0].md5 == MD5


def test_an_events_list_of_alerts_is_taken_apart() -> None:
    headers = {"ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"}
    body = f"{TEXT}\n{json.dumps(TWO)}"

    records = read_body(body.encode(), headers).records

    assert [r["data"] for r in records if not isinstance(r, AlertError)] == [ONE, TWO]
    bundle = read_body(json.dumps({**EVENT, "data": {"alerts": [FORWARDER]}}).encode())
    assert (bundle.records, bundle.many) == ([{**EVENT, "data": FORWARDER}], True)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_format_comes_through_a_body_unchanged(case: Any) -> None:
    records = read_body(gzip.compress(json.dumps(case.record).encode()), {"Content-Encoding": "gzip", **JSON}).records

    assert len(records) == 1
    assert parse_alert(records[0]).sets == parse_alert(case.record).sets


def test_a_bad_line_costs_no_other_alert() -> None:
    records = read_body(f"{TEXT}\n{{bad\n7\n{json.dumps(TWO)}\n".encode()).records

    assert [r for r in records if not isinstance(r, AlertError)] == [ONE, TWO]
    assert [str(r)[:6] for r in records if isinstance(r, AlertError)] == ["Line 2", "Line 3"]


@pytest.mark.parametrize(
    ("body", "headers", "limits", "fault"),
    [
        (b"", {}, {}, Fault.MALFORMED),
        (b"\xef\xbb\xbf \n", JSON, {}, Fault.MALFORMED),
        (b"hello", JSON, {}, Fault.MALFORMED),
        (b'{"a": 1', JSON, {}, Fault.MALFORMED),
        (b"<html>", {"Content-Type": "text/html"}, {}, Fault.UNSUPPORTED),
        (b"{}", {"Content-Type": "multipart/form-data; boundary=x"}, {}, Fault.UNSUPPORTED),
        (b"{}", {"Content-Type": "application/json; charset=ebcdic"}, {}, Fault.UNSUPPORTED),
        (b"{}", {"Content-Type": "\x00\r\n;;;=", }, {}, Fault.UNSUPPORTED),
        (b"{}", {"Content-Encoding": "br"}, {}, Fault.UNSUPPORTED),
        (b"{}", {"Content-Encoding": "gzip, gzip"}, {}, Fault.UNSUPPORTED),
        (b"{}", {"Content-Encoding": "gzip"}, {}, Fault.MALFORMED),
        (gzip.compress(TEXT.encode())[:-9], JSON, {}, Fault.MALFORMED),
        (TEXT.encode(), JSON, {"body_bytes": 10}, Fault.TOO_LARGE),
        (TEXT.encode(), JSON, {"unpacked_bytes": 10}, Fault.TOO_LARGE),
        (b"[" + b"0," * 50 + b"0]", JSON, {"values": 20}, Fault.TOO_LARGE),
        (b"[{},{},{}]", JSON, {"records": 2}, Fault.TOO_LARGE),
        (b'{"alerts": [{},{},{}]}', JSON, {"records": 2}, Fault.TOO_LARGE),
        (b"7", JSON, {}, Fault.UNUSABLE),
        (b'"text"', JSON, {}, Fault.UNUSABLE),
        (b"[1, null]", JSON, {}, Fault.UNUSABLE),
        (b'{"a":' * 65 + b"1" + b"}" * 65, JSON, {}, Fault.UNUSABLE),
        (b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}, {}, Fault.UNUSABLE),
        (b"&".join([b"x=1"] * 200), {"Content-Type": "application/x-www-form-urlencoded"}, {}, Fault.TOO_LARGE),
        (b"[" + b"9" * 5000 + b"]", JSON, {}, Fault.MALFORMED if sys.version_info >= (3, 9, 14) else Fault.UNUSABLE),
    ],
)  # fmt: skip
def test_what_is_no_body_of_alerts_says_in_which_way(body: bytes, headers: Any, limits: Any, fault: Fault) -> None:
    with pytest.raises(BodyError) as caught:
        read_body(body, headers, Limits(**limits))

    assert caught.value.fault is fault
    assert len(str(caught.value)) < 300


def test_nothing_of_a_body_stands_in_its_error() -> None:
    with pytest.raises(BodyError) as caught:
        read_body(b'{"password": "hunter2" oops', JSON)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_zip_bomb_is_bounded_while_it_is_unpacked() -> None:
    bomb = gzip.compress(b"[" + b"0," * 50_000_000)
    limits = Limits(unpacked_bytes=100_000)

    with pytest.raises(BodyError) as caught:
        read_body(bomb, {"Content-Encoding": "gzip"}, limits)

    assert caught.value.fault is Fault.TOO_LARGE


def test_a_body_of_ten_thousand_packed_parts_is_refused_soon() -> None:
    with pytest.raises(BodyError) as caught:
        read_body(gzip.compress(b"") * 10_000, {"Content-Encoding": "gzip"})

    assert caught.value.fault is Fault.TOO_LARGE


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'[{"a":[' * 200_000 + b'"' + b"]}]" * 200_000,
        b'{"_raw": "' + b'{\\"a\\":' * 100_000 + b'"}',
    ],
    ids=["open", "objects", "closed", "mixed", "in a text"],
)
def test_nesting_is_bounded_far_from_the_interpreters_limit(body: bytes) -> None:
    limit = sys.getrecursionlimit()
    depth = len(_frames())
    sys.setrecursionlimit(depth + 150)
    try:
        with pytest.raises(AlertError):
            parse_alert(read_body(body).records[0])
    finally:
        sys.setrecursionlimit(limit)


def _frames() -> list[object]:
    frame, found = sys._getframe(), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


@pytest.mark.parametrize(
    ("text", "levels", "fits"),
    [
        ("[[[]]]", 3, True),
        ("[[[]]]", 2, False),
        ('{"a": [{}]}', 3, True),
        ('{"a": [{}]}', 2, False),
        ("[[],[],[],[[]]]", 3, True),
        ('["[[[[[[", "\\"[[[[["]', 1, True),
        ("[[[[", 3, False),
        ("]]]]", 1, True),
    ],
)
def test_levels_are_counted_outside_of_texts(text: str, levels: int, fits: bool) -> None:
    if fits:
        bounded(text, levels)
    else:
        with pytest.raises(TooDeep):
            bounded(text, levels)


@given(
    st.recursive(st.none() | st.text(), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3))
)
def test_levels_are_counted_as_the_reader_meets_them(value: Any) -> None:
    text = json.dumps(value)
    depth = _depth(value)

    assert load(text, levels=max(depth, 1)) == value
    if depth > 1:
        with pytest.raises(TooDeep):
            load(text, levels=depth - 1)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def test_what_no_json_may_hold_is_nothing() -> None:
    text = '{"a": NaN, "b": 1e999, "c": -Infinity, "d": "\\ud800x", "e": "\\ud83d\\ude00"}'

    assert load(text) == {"a": None, "b": None, "c": None, "d": "?x", "e": "😀"}
    assert read_body(text.encode()).records == [load(text)]


def test_values_are_counted_before_they_are_built() -> None:
    with pytest.raises(TooMany):
        load("[" + "[]," * 500_000 + "0]", values=100_000)


def test_many_bad_lines_do_not_take_long() -> None:
    body = b"[[1],\n" + b"[1],\n" * 200_000
    started = time.process_time()

    with suppress(BodyError):
        read_body(body, limits=Limits(records=1_000_000))

    assert time.process_time() - started < 20


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=80) | st.text(max_size=40).map(str.encode) | st.sampled_from([TEXT.encode(), b"[]", b"{}"]),
    st.dictionaries(
        st.sampled_from(["Content-Type", "content-encoding", "ce-id", "ce-type", "ce-source", "ce-specversion"]),
        st.text(max_size=20) | st.sampled_from(["gzip", "deflate", "application/json", "application/cloudevents+json"]),
    ),
)
def test_any_bytes_give_records_or_a_fault(body: bytes, headers: dict[str, str]) -> None:
    with suppress(BodyError):
        assert isinstance(read_body(body, headers).records, list)
