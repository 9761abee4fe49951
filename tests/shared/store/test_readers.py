"""Files of every format, whole and broken."""

from __future__ import annotations

import gzip
import io
import json
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


def test_what_is_no_telemetry_is_skipped_and_not_malformed(tmp_path: Path) -> None:
    found = items(made(tmp_path, "README.md", b"# Title\n\nSome text.\n"))

    assert [item.problem for item in found] == ["skipped: plain text"]


def test_folders_are_read_through_in_order_and_each_file_once(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "a/1.jsonl", "0.jsonl"):
        made(tmp_path / "in", name, LINES)

    found = files_of([tmp_path / "in", tmp_path / "in" / "0.jsonl"])

    assert [str(path.relative_to(tmp_path / "in")) for path in found] == ["0.jsonl", "a/1.jsonl", "b/2.jsonl"]


def test_missing_path_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not there"):
        files_of([tmp_path / "nowhere"])
