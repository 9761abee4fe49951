from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.errors import AlertError, ConfigError
from cbsigned.formats import parse_alert, parse_mappings
from cbsigned.formats.mapping import find, parse_path
from shared.formats.examples import GUID, LOOK_ALIKE, MD5, MD5_B, SHA256, SPLUNK

RECORD = {
    "ev": {"h": MD5.upper(), "p.id": "0x10", "when": "2026-01-20T15:38:39Z", "guid": GUID},
    "dev": [{"n": "WS01"}, {"n": "WS02"}],
    "dropped": [{"md5": MD5_B}, {"md5": None, "sha": SHA256}, {"md5": LOOK_ALIKE, "path": "c:\\x\\d.exe"}],
}


def test_fields_are_read_where_the_user_says() -> None:
    mappings = parse_mappings({
        "acme": {"md5": ["nope.x", "ev.h"], "pid": "ev.p.id", "host": "dev[1].n", "process_guid": ["ev.guid"],
                 "started_at": "ev.when", "alert.title": "dev[0].n", "file.md5": ["dropped[].md5"],
                 "file.sha256": ["dropped[].sha"], "file.path": ["dropped[].path"]},
    })  # fmt: skip

    alert = parse_alert(RECORD, "acme", mappings=mappings)

    assert (alert.format, alert.title) == ("acme", "WS01")
    assert [(s.role.value, s.md5, s.sha256, s.pid, s.host, s.path) for s in alert.sets] == [
        ("process", MD5, None, 16, "WS02", None),
        ("target file", MD5_B, None, None, "WS02", None),
        ("target file", LOOK_ALIKE, None, None, "WS02", "c:\\x\\d.exe"),
        ("target file", None, SHA256, None, "WS02", None),
    ]
    assert alert.sets[0].process_guid == GUID
    assert ("md5", "ev.h") in alert.sets[0].origins
    assert ("md5", "dropped[2].md5") in alert.sets[2].origins


def test_a_mapping_goes_before_the_format_of_its_name_and_leaves_it_the_rest() -> None:
    mappings = parse_mappings({"splunk": {"md5": ["result.my_field"]}})

    mapped = parse_alert({**SPLUNK, "result": {"my_field": MD5_B}}, "splunk", mappings=mappings)
    plain = parse_alert(SPLUNK, "splunk", mappings=mappings)

    assert (mapped.sets[0].md5, plain.sets[0].md5) == (MD5_B, MD5)


def test_a_mapping_without_a_format_falls_back_to_what_the_record_looks_like() -> None:
    assert parse_alert(SPLUNK, "acme", mappings=parse_mappings({"acme": {"md5": "x"}})).format == "splunk"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([], "mappings:"),
        ({"Bad Name": {"md5": "a"}}, '"Bad Name"'),
        ({7: {"md5": "a"}}, '"7"'),
        ({"a": []}, "mappings.a:"),
        ({"a": {}}, "mappings.a:"),
        ({"a": {"mdfive": "x"}}, '"mdfive"'),
        ({"a": {None: "x"}}, '"None"'),
        ({"a": {"md5": []}}, "mappings.a.md5:"),
        ({"a": {"md5": ["b", 7]}}, "mappings.a.md5[1]:"),
        ({"a": {"md5": ["b."]}}, "mappings.a.md5[0]:"),
        ({"a": {"md5": "b[x]"}}, "from character 2"),
        ({"a": {"md5": ".b"}}, "from character 1"),
        ({"a": {"md5": ""}}, "it is empty"),
        ({"a": {"md5": "x" * 500}}, "more than 400"),
        ({"a": {"md5": ["x"] * 21}}, "1 to 20"),
    ],
)
def test_a_mapping_that_cannot_be_used_names_the_place(data: object, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mappings(data)

    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b c.d-e", ("a", "b c", "d-e")),
        ("a[].b", ("a", None, "b")),
        ("a[0][12].b", ("a", 0, 12, "b")),
        ("[].md5", (None, "md5")),
        ("@x.$y", ("@x", "$y")),
    ],
)
def test_a_path_is_keys_items_and_all_items(text: str, path: object) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("record", "values"),
    [
        ({"a": {"b": 1}}, [1]),
        ({"a.b": 1}, [1]),
        ({"a": [{"b": 1}]}, []),
        ({"a": 1}, []),
        ([], []),
        (None, []),
    ],
)
def test_a_path_leads_to_what_is_there(record: object, values: list[int]) -> None:
    assert [found.value for found in find(record, parse_path("a.b"))] == values


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab.[]01 -\n", max_size=12), st.sampled_from([RECORD, {}, {"a": {"b": [[MD5]]}}]))
def test_any_text_is_a_path_or_told_not_to_be(text: str, record: dict[str, Any]) -> None:
    with suppress(ConfigError, AlertError):
        parse_alert(record, "x", mappings=parse_mappings({"x": {"md5": text, "file.hash": [text]}}))
