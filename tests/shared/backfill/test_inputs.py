"""Which files, formats and columns a back-fill reads, and what it says where it cannot."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Optional

import pytest

from cbsigned.backfill.answers import hash_of
from cbsigned.backfill.inputs import Column, Columns, chosen, csv_dialect, files_of, format_of, json_columns
from cbsigned.errors import ConfigError
from cbsigned.formats import parse_alert

MD5, SHA256 = "d" * 31 + "1", "e" * 63 + "1"


def names(*texts: str) -> list[Column]:
    return [(text,) for text in texts]


@pytest.mark.parametrize(
    ("columns", "hashes", "guid"),
    [
        (names("time", "process_md5", "md5", "process_guid"), ("process_md5",), "process_guid"),
        (names("SHA256", "MD5", "host"), ("MD5", "SHA256"), None),
        (names("Process-Hash"), ("Process-Hash",), None),
        (names("Hashes", "ProcessGuid"), ("Hashes",), "ProcessGuid"),
        (names("file_md5", "parent_md5"), ("file_md5",), None),
        (names("process_guid"), (), "process_guid"),
    ],
)
def test_usual_names_are_found_one_file_at_a_time(
    columns: list[Column], hashes: tuple[str, ...], guid: Optional[str]
) -> None:
    found = chosen(columns, [], None, lineage=True)

    assert found == Columns(tuple((name,) for name in hashes), (guid,) if guid else None)


@pytest.mark.parametrize("name", ["process_md5", "process_sha256", "process_hash", "md5", "sha256", "hashes", "hash"])
def test_names_of_hashes_are_those_of_the_row_reader(name: str) -> None:
    value = SHA256 if "sha256" in name else MD5

    alert = parse_alert({name: value, "process_guid": "00000001-0000-0a1c-01d5-0c2d1f3e5a7b"})

    assert alert.sets[0].file_hash == value
    assert chosen(names(name, "process_guid"), [], None, lineage=True) == Columns(((name,),), ("process_guid",))


def test_named_columns_go_before_usual_ones_and_may_be_nested() -> None:
    columns = [("md5",), ("a.b",), ("p", "hash")]

    assert chosen(columns, ["a.b", "p.hash"], None, lineage=False).hashes == (("a.b",), ("p", "hash"))
    assert chosen(columns, ["x.y"], None, lineage=False, sampled=True).hashes == (("x", "y"),)


def test_no_lineage_is_looked_up_where_it_is_not_wanted() -> None:
    assert chosen(names("md5", "process_guid"), [], None, lineage=False).guid is None


@pytest.mark.parametrize(
    ("columns", "hashes", "message"),
    [
        (names("a", "b"), [], 'no column with a usual name of a hash ("a", "b")'),
        (names("md5"), ["MD6"], 'no column "MD6". It has "md5".'),
        ([], [], "(none)"),
    ],
)
def test_what_is_missing_is_named(columns: list[Column], hashes: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(columns, hashes, None, lineage=True)

    assert message in str(caught.value)


def test_files_folders_and_patterns_are_read_once_and_hidden_ones_not(tmp_path: Path) -> None:
    for name in ("a.csv", "b/c.csv.gz", "b/notes.txt", "b/_cbsigned/run.csv", ".d.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    found = files_of([str(tmp_path), str(tmp_path / "*.csv"), str(tmp_path / "a.csv")])

    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.csv", "b/c.csv.gz"]
    assert format_of(found) == "csv"
    with pytest.raises(ConfigError, match="names no file"):
        files_of([str(tmp_path / "*.parquet")])


@pytest.mark.parametrize("name", ["a.txt", "a", "a.parquet.gz", "a.csv.zst"])
def test_other_files_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="expected names ending in"):
        format_of([Path(name)])


def test_two_formats_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="csv and ndjson"):
        format_of([Path("a.csv"), Path("b.jsonl.gz")])


def test_the_header_line_tells_how_csv_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('\ufeff"md5";"a;b,c"\r\n'.encode())
    with gzip.open(tmp_path / "b.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write('md5;"a;b,c"\n')

    dialect = csv_dialect([tmp_path / "a.csv", tmp_path / "b.csv.gz"])

    assert (dialect.delimiter, dialect.names) == (";", ("md5", "a;b,c"))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [("md5,a\n", "md5,b\n", "another header"), ("md5,MD5\n", "", "two of one name"), ("\n", "", "no header line")],
)
def test_header_lines_that_do_not_fit_are_refused(tmp_path: Path, first: str, second: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(first)
    (tmp_path / "b.csv").write_text(second)

    with pytest.raises(ConfigError, match=message):
        csv_dialect([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_fields_of_json_are_found_in_depth_and_broken_lines_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('oops\n{"a": {"b": {"c": 1}}, "d": []}\n[1]\n{"a": 2}\n')

    assert json_columns([tmp_path / "a.ndjson"]) == [("a", "b", "c"), ("d",), ("a",)]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (MD5.upper(), MD5),
        (f"\x1f{SHA256}", SHA256),
        (f"junk\x1f{SHA256}\x1f{MD5}", MD5),
        (f'["{MD5}", "{SHA256}"]', MD5),
        (f"SHA1={'a' * 40},MD5={MD5},IMPHASH={'b' * 32}", MD5),
        ("0" * 32, None),
        ("a" * 40, None),
        ("", None),
        ("[]", None),
    ],
)
def test_the_hash_of_a_row_is_read_as_in_alerts(key: str, found: Optional[str]) -> None:
    assert hash_of(key) == found
