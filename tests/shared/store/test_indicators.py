"""Lists of indicators as people and feeds write them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.errors import ConfigError
from cbsigned.store.indicators import Indicator, IndicatorList, Kind, indicator_of, read_indicators
from cbsigned.store.stix import comparisons

MD5, SHA1, SHA256 = "ab" * 16, "cd" * 20, "ef" * 32


def read(data: str | bytes) -> IndicatorList:
    found = IndicatorList()
    read_indicators(data.encode() if isinstance(data, str) else data, "list", found)
    return found


def bundle(*indicators: dict[str, Any]) -> str:
    objects = [{"type": "indicator", "pattern_type": "stix", **one} for one in indicators]
    return json.dumps({"type": "bundle", "id": "bundle--1", "objects": [{"type": "identity", "id": "x"}, *objects]})


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (MD5.upper(), Kind.MD5, MD5),
        (f' "{SHA256}" ', Kind.SHA256, SHA256),
        ("192[.]0.2.1", Kind.IP, "192.0.2.1"),
        ("192.0.2.1/32", Kind.IP, "192.0.2.1"),
        ("2001:DB8::0:1", Kind.IP, "2001:db8::1"),
        ("Evil[.]Example", Kind.DOMAIN, "evil.example"),
        ("evil(dot)example.", Kind.DOMAIN, "evil.example"),
        ("procexp.exe", Kind.NAME, "procexp.exe"),
        ("My Tool.exe", Kind.NAME, "my tool.exe"),
        ("mimikatz", Kind.NAME, "mimikatz"),
        ("domain:run.py", Kind.DOMAIN, "run.py"),
        ("name:command.com", Kind.NAME, "command.com"),
        ("C:\\Windows\\Temp\\a.sys", Kind.PATH, "c:\\windows\\temp\\a.sys"),
        ("/usr/bin/Git", Kind.PATH, "/usr/bin/git"),
    ],
)
def test_text_is_read_as_what_it_is(text: str, kind: Kind, value: str) -> None:
    assert indicator_of(text) == Indicator(kind, value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (SHA1, "SHA-1"),
        ("00" * 64, "SHA-512"),
        ("hxxp://evil.example/a", "url"),
        ("10.0.0.0/8", "address range"),
        ("192.0.2.1:443", "address and port"),
        ("a@evil.example", "email address"),
        ("evil*.exe", "wildcard"),
        ("HKLM\\Software\\Run", "registry key"),
    ],
)
def test_what_a_store_cannot_be_asked_for_has_a_name(text: str, name: str) -> None:
    assert indicator_of(text) == name


@pytest.mark.parametrize("text", ["", " ", "0" * 32, "a:b?c", "domain:..", "md5:zz", "x" * 5000, "c:\\folder\\"])
def test_what_is_nothing_is_no_indicator(text: str) -> None:
    assert indicator_of(text) is None


def test_plain_list_has_comments_and_names_behind_hashes() -> None:
    found = read(f"# a list\n\n{MD5}  procexp.exe\n{SHA256},from a report\n192.0.2.1 # seen in May\n{MD5}\n")

    assert list(found.labels) == [
        Indicator(Kind.MD5, MD5),
        Indicator(Kind.SHA256, SHA256),
        Indicator(Kind.IP, "192.0.2.1"),
    ]
    assert found.problems == []


def test_line_that_cannot_be_read_is_named_with_its_place() -> None:
    found = read(f"{MD5}\n\n<script>\n")

    assert [problem.split(" is ")[0] for problem in found.problems] == ['list:3: "<script>"']


def test_list_in_utf_16_is_read() -> None:
    assert list(read(f"{MD5}\r\n".encode("utf-16")).labels) == [Indicator(Kind.MD5, MD5)]


def test_csv_with_typed_columns_takes_each_of_them() -> None:
    found = read(f"md5,sha1,filename,description\n{MD5},{SHA1},run.exe,first\n,,two.exe,\n")

    assert found.labels == {
        Indicator(Kind.MD5, MD5): "first",
        Indicator(Kind.NAME, "run.exe"): "first",
        Indicator(Kind.NAME, "two.exe"): None,
    }
    assert found.unsupported == Counter({"SHA-1": 1})


def test_csv_with_type_and_value_believes_the_type() -> None:
    found = read("type;value\ndomain;run.exe\nfilename;evil.example\nmutex;abc\nurl;http://x\nip;not-an-ip\n")

    assert list(found.labels) == [Indicator(Kind.DOMAIN, "run.exe"), Indicator(Kind.NAME, "evil.example")]
    assert found.unsupported == Counter({"mutex": 1, "url": 1})
    assert [problem.split(":")[1] for problem in found.problems] == ["6"]


def test_stix_bundle_gives_its_indicators_with_their_names() -> None:
    found = read(
        bundle(
            {"name": "tool", "pattern": f"[file:hashes.MD5 = '{MD5}' OR file:hashes.'SHA-256' = '{SHA256}']"},
            {"pattern": "[ipv4-addr:value = '192.0.2.1'] OR [domain-name:value = 'evil.example']"},
            {"pattern": "[file:name = 'it\\'s.exe']"},
        )
    )

    assert found.labels == {
        Indicator(Kind.MD5, MD5): "tool",
        Indicator(Kind.SHA256, SHA256): "tool",
        Indicator(Kind.IP, "192.0.2.1"): None,
        Indicator(Kind.DOMAIN, "evil.example"): None,
        Indicator(Kind.NAME, "it's.exe"): None,
    }


@pytest.mark.parametrize(
    ("indicator", "name"),
    [
        ({"pattern": f"[file:hashes.'SHA-1' = '{SHA1}']"}, "SHA-1"),
        ({"pattern": "[url:value = 'http://x/']"}, "url:value"),
        ({"pattern": "[file:name = 'a.exe' AND file:size = 5]"}, "AND in a pattern"),
        ({"pattern": "[file:name LIKE 'a%']"}, "operator LIKE"),
        ({"pattern": "[ipv4-addr:value ISSUBSET '10.0.0.0/8']"}, "operator ISSUBSET"),
        ({"pattern": "[file:name != 'a.exe']"}, "operator !="),
        ({"pattern": "[ipv4-addr:value = '10.0.0.0/8']"}, "address range"),
        ({"pattern": "[file:name = 'a.exe'] FOLLOWEDBY [file:name = 'b.exe']"}, "FOLLOWEDBY in a pattern"),
        ({"pattern": "[file:name = 'a.exe'] REPEATS 5 TIMES"}, "REPEATS in a pattern"),
        ({"pattern": "[file:name = "}, "pattern that cannot be read"),
        ({"pattern": "rule x {}", "pattern_type": "yara"}, "yara pattern"),
        ({"pattern": "[file:name = 'a.exe']", "revoked": True}, "revoked indicator"),
    ],
)
def test_stix_pattern_that_is_not_simple_is_counted_by_name(indicator: dict[str, Any], name: str) -> None:
    found = read(bundle(indicator))

    assert found.unsupported == Counter({name: 1})
    assert found.labels == {}


@pytest.mark.parametrize("data", ['{"a": 1}', "[1, 2]", '{"objects": 5}', "{nothing"])
def test_json_that_is_no_bundle_is_refused_with_what_to_give(data: str) -> None:
    with pytest.raises(ConfigError, match=r"STIX 2\.1 bundle"):
        read(data)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    found = IndicatorList()
    try:
        read_indicators(data, "list", found)
    except ConfigError:
        return

    assert all(one.value == one.value.lower() and one.value for one in found.labels)


@given(st.text(alphabet="[]()'\\=:.<> ORANDabfile-nm3", max_size=80))
def test_no_pattern_breaks_the_reader_and_every_one_gives_something(pattern: str) -> None:
    assert comparisons(pattern)


@given(st.text(min_size=1, max_size=60).filter(lambda text: text.strip()))
def test_quoted_stix_value_comes_back_as_it_was(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")

    assert comparisons(f"[file:name = '{quoted}']") == [("name", text)]
