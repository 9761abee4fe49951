"""Files of every format, whole and broken."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from cbsigned.errors import ConfigError
from cbsigned.store import readers
from cbsigned.store.readers import Item, files_of, read_items
from shared.store.telemetry import load, start

LINES = "".join(json.dumps(record) + "\n" for record in (start(), load())).encode()


def items(path: Path) -> list[Item]:
    with open(path, "rb", buffering=0) as raw:
        return list(read_items(path, raw))


def made(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tar_of(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def csv_of(*records: object) -> bytes:
    quoted = ['"{}"'.format(json.dumps(record).replace('"', '""')) for record in records]
    return ("_serial,_time,_raw,host\r\n" + "".join(f"{n},x,{text},h\r\n" for n, text in enumerate(quoted))).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.log", LINES.replace(b"\n", b"\r\n")),
        ("a", b"\xef\xbb\xbf" + LINES),
        ("a.txt", b"\n\n" + LINES + b"\n"),
        ("a.json", json.dumps([start(), load()]).encode()),
        ("pretty.json", json.dumps([start(), load()], indent=1).encode()),
        ("a.jsonl.gz", gzip.compress(LINES)),
        ("named-wrongly.json", gzip.compress(LINES)),
        ("a.csv", csv_of(start(), load())),
        ("a.csv.gz", gzip.compress(csv_of(start(), load()))),
        ("a.tar.gz", tar_of({"x/a.jsonl": LINES})),
        ("a.tar", tar_of({"x/a.jsonl": LINES}, "w")),
        ("a.zip", zip_of({"x/a.jsonl": LINES})),
        ("gz-in-a.zip", zip_of({"x/a.jsonl.gz": gzip.compress(LINES)})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_format_is_found_out_from_the_content(tmp_path: Path, name: str, data: bytes) -> None:
    found = items(made(tmp_path, name, data))

    assert [item.record for item in found] == [start(), load()]
    assert [item.problem for item in found] == [None, None]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("data", [LINES, csv_of(start(), load())], ids=["lines", "csv"])
def test_utf_16_is_read_with_byte_order_mark_and_without(tmp_path: Path, encoding: str, data: bytes) -> None:
    found = items(made(tmp_path, "a", data.decode().encode(encoding)))

    assert [item.record for item in found] == [start(), load()]


@pytest.mark.parametrize("mark", [";", "\t", "|"], ids=["semicolon", "tab", "bar"])
@pytest.mark.parametrize("before", ["", "\ufeff"], ids=["", "bom"])
def test_columns_are_separated_by_what_the_header_shows(tmp_path: Path, mark: str, before: str) -> None:
    quoted = '"{}"'.format(json.dumps(start()).replace('"', '""'))
    text = f'{before}"_time"{mark}"_raw"{mark}"host"\r\nx{mark}{quoted}{mark}h\r\n'

    found = items(made(tmp_path, "a.csv", text.encode()))

    assert [(item.line, item.record) for item in found] == [(2, start())]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"# Title\n\nSome text.\n", "plain text"),
        (b"[INFO] started\n[link](x)\n", "plain text"),
        (b"In _raw you find the event\n", "plain text"),
        (b"<!DOCTYPE html><p>", "HTML"),
        (b"<?xml version='1.0'?><Events>", "XML"),
        (b"%PDF-1.7", "PDF"),
        (b"MZ\x90\x00\x03", "a program"),
        (b"SQLite format 3\x00", "SQLite database"),
        (b"\xfd7zXZ\x00\x00", "xz: unpack it first"),
        (b"\x01\x02\x00\xff" * 9, "binary data"),
        (b"<13>Mar 16 10:00 cb LEEF:1.0|CB|CB|5.1|x|a=b\n", "LEEF: let the event forwarder write JSON"),
        (b'Mar 16 10:00 cb forwarder: {"type": "x"}\n', "lines of text with JSON in them"),
        (b"host,user,md5\na,b,c\n", "CSV without a column _raw (it has host, user, md5)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_format_is_named(tmp_path: Path, data: bytes, named: str) -> None:
    (item,) = items(made(tmp_path, "a", data))

    assert str(item.problem).startswith(f"skipped: {named}")


def test_one_pretty_printed_document_is_one_record(tmp_path: Path) -> None:
    found = items(made(tmp_path, "a.json", json.dumps(start(), indent=2).encode()))

    assert [item.record for item in found] == [start()]


def test_latin_1_bytes_are_tolerated(tmp_path: Path) -> None:
    found = items(made(tmp_path, "a.jsonl", '{"type": "x", "user": "Jürgen"}\n'.encode("latin-1")))

    assert [item.record for item in found] == [{"type": "x", "user": "Jürgen"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"type": "ingress.event.moduleload", "pa', "no JSON"),
        (b"[1, 2", "no JSON"),
        (b"7", "not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"' + b"x" * 3000, "no JSON"),
        (b"\x00\x01\x02", "no JSON"),
    ],
    ids=["cut", "open array", "number", "deep", "open text", "binary"],
)
def test_bad_line_is_named_and_the_others_are_read(tmp_path: Path, line: bytes, reason: str) -> None:
    first, second, _ = LINES.split(b"\n")

    found = items(made(tmp_path, "a.jsonl", b"\n".join([first, line, second, b""])))

    assert [item.record for item in found] == [start(), None, load()]
    assert found[1].problem is not None
    assert found[1].problem.startswith(reason)
    assert (found[1].line, len(found[1].text) <= 2000) == (2, True)


def test_bad_first_line_does_not_hide_the_others(tmp_path: Path) -> None:
    found = items(made(tmp_path, "a.jsonl", b'{"type": "x", \n' + LINES))

    assert [(item.line, item.record) for item in found if item.record] == [(2, start()), (3, load())]


def test_line_over_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE", 2000)

    found = items(made(tmp_path, "a.jsonl", LINES + b'{"a": "' + b"x" * 9000 + b'"}\n' + LINES))

    assert [item.record is not None for item in found] == [True, True, False, True, True]
    assert found[2].problem == "longer than 2,000 bytes"


def test_one_value_over_the_limit_is_read_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_WHOLE", 100)

    found = items(made(tmp_path, "a.jsonl", b'{"a": 1\n' + LINES))

    assert [item.record for item in found] == [None, start(), load()]


def test_csv_row_that_is_no_json_is_named_by_its_line(tmp_path: Path) -> None:
    data = csv_of(start()) + b'1,x,"{broken",h\r\n2,x\r\n' + csv_of(load()).split(b"\r\n")[1] + b"\r\n"

    found = items(made(tmp_path, "a.csv", data))

    assert [item.line for item in found] == [2, 3, 4, 5]
    assert [item.problem and item.problem[:7] for item in found] == [None, "no JSON", "no colu", None]


def test_truncated_gzip_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(json.dumps(load(at=1_600_000_000 + n)).encode() + b"\n" for n in range(5000)))

    found = items(made(tmp_path, "a.jsonl.gz", whole[: len(whole) // 2]))

    assert sum(item.record is not None for item in found) > 100
    assert found[-1].problem is not None
    assert (found[-1].problem, found[-1].line) == (
        "cut off: the data end too early, the rest cannot be read",
        len(found),
    )


def test_truncated_json_array_gives_the_elements_before_and_says_so(tmp_path: Path) -> None:
    data = json.dumps([start(), load(), load()], indent=1).encode()

    found = items(made(tmp_path, "a.json", data[:-40]))

    assert [item.record for item in found] == [start(), load(), None]
    assert str(found[-1].problem).startswith("cut off: the JSON array")


def test_half_a_last_line_is_cut_off(tmp_path: Path) -> None:
    found = items(made(tmp_path, "a.jsonl", LINES[:-30]))

    assert [(item.line, item.problem) for item in found] == [(1, None), (2, "cut off: the last line has no end")]


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_truncated_tar_gz_names_what_is_cut_once(tmp_path: Path, where: float) -> None:
    data = bytes(random.Random(1).choices(LINES, k=50_000))
    whole = tar_of({"x/a.jsonl": LINES, "x/b.txt": data, "x/c.txt": data})

    found = items(made(tmp_path, "a.tar.gz", whole[: int(len(whole) * where)]))

    assert [item.record for item in found[:2]] == [start(), load()]
    assert [str(item.problem)[:8] for item in found[2:] if "skipped" not in str(item.problem)] == ["cut off:"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(LINES)[:-8] + bytes(8), "cut off: damaged from here on, the rest cannot be read"),
        (zip_of({"a": LINES * 9})[:-30], "cut off: the list of its members, at its end, is missing"),
        (tar_of({"a": LINES}, "w")[:600], "cut off: the data end too early, the rest cannot be read"),
    ],
    ids=["checksum", "zip", "tar"],
)
def test_damage_is_told_without_the_library_s_words(tmp_path: Path, data: bytes, problem: str) -> None:
    assert items(made(tmp_path, "a", data))[-1].problem == problem


def test_bytes_after_a_gzip_file_are_passed_over(tmp_path: Path) -> None:
    found = items(made(tmp_path, "a.gz", gzip.compress(LINES) + b"trailing"))

    assert [item.record for item in found] == [start(), load()]


def test_bad_member_does_not_end_the_archive(tmp_path: Path) -> None:
    members = {
        "a/0.json": b'{"type": ',
        "a/1.json.gz": gzip.compress(LINES)[:30],
        "b/2.json": json.dumps(load()).encode(),
    }

    found = items(made(tmp_path, "a.tar.gz", tar_of(members)))

    assert [(item.member, item.record is not None) for item in found][-1] == ("b/2.json", True)
    assert {item.member for item in found if item.record is None} == {"a/0.json", "a/1.json.gz"}


def test_member_over_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_MEMBER", 100)

    found = items(made(tmp_path, "a.tar.gz", tar_of({"x/a.jsonl": LINES})))

    assert [item.problem for item in found] == ["larger than 100 bytes"]


def test_names_in_an_archive_write_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "inside"

    found = items(made(inside, "a.tar.gz", tar_of({"../../evil.jsonl": LINES, "/etc/evil": LINES})))

    assert len(found) == 4
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.tar.gz"]


def test_gzip_inside_gzip_inside_gzip_ends(tmp_path: Path) -> None:
    data = LINES
    for _ in range(5):
        data = gzip.compress(data)

    assert [item.problem for item in items(made(tmp_path, "a.gz", data))] == ["compressed more than three times"]


def test_folder_name_is_the_kind_s_hint(tmp_path: Path) -> None:
    member = tar_of({"raw/feed.24.ingress.hit.process/0.json": b'{"process_id": 1}'})

    plain = items(made(tmp_path, "watchlist.hit.process/0.json", b'{"docs": []}'))
    packed = items(made(tmp_path, "a.tar.gz", member))

    assert [item.hint for item in plain + packed] == ["watchlist.hit.process", "feed.ingress.hit.process"]


@pytest.mark.parametrize("data", [b"", b"\n\n", gzip.compress(b"")], ids=["empty", "blank", "empty gz"])
def test_empty_bundle_is_no_error(tmp_path: Path, data: bytes) -> None:
    assert items(made(tmp_path, "a.jsonl", data)) == []


def test_folders_are_read_through_in_order_and_each_file_once(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "a/1.jsonl", "0.jsonl"):
        made(tmp_path / "in", name, LINES)

    found = files_of([tmp_path / "in", tmp_path / "in" / "0.jsonl"])

    assert [str(path.relative_to(tmp_path / "in")) for path in found] == ["0.jsonl", "a/1.jsonl", "b/2.jsonl"]


def test_missing_path_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not there"):
        files_of([tmp_path / "nowhere"])
