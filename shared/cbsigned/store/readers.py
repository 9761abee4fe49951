"""Files → records: JSON, JSON lines, Splunk's CSV export, bus protobuf, each also gzipped, folders, tar and zip.

Text is UTF-8, Latin-1 or UTF-16; columns are separated by comma, semicolon, tab or bar.

Archives are read in place; nothing is unpacked to disk, so a member's path can do no harm. One bad line or
member never ends the run: it comes out as an item with a problem.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Optional

from cbsigned.errors import ConfigError
from cbsigned.store.audit import audit_groups, is_audit_line
from cbsigned.store.eventlog import EVTX_MAGIC, EventLogError, records_of
from cbsigned.store.kinds import normal_kind
from cbsigned.store.protobuf import events_in, is_protobuf
from cbsigned.store.sniff import begins_json, delimiter_of, encoding_of, format_of
from cbsigned.store.streams import BROKEN, CUT, PEEK, Chained, Gunzip, Recoded, broken_reason, peekable
from cbsigned.store.wire import WireError

__all__ = ["Item", "files_of", "read_items"]

MAX_LINE = 16 * 1024 * 1024
MAX_MEMBER = 1024 * 1024 * 1024
MAX_WHOLE = 64 * 1024 * 1024
MAX_EVTX = 256 * 1024 * 1024
_CLIP = 2000
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder(parse_constant=lambda _word: None)


class Item(NamedTuple):
    """One thing found in a file.

    Attributes:
        member: Path inside the archive, or empty.
        line: Line in the file or member, counted from 1; the element's number in a JSON array or bundle; 0 for what
            concerns all of it.
        record: The JSON object, or None where there is none.
        problem: Why there is no record; begins with `skipped:` where nothing is wrong with it, and with `cut off:`
            where more should follow.
        text: What could not be read, cut to 2,000 characters.
        hint: Kind that the folder names.
    """

    member: str
    line: int
    record: Optional[dict[str, Any]]
    problem: Optional[str] = None
    text: str = ""
    hint: Optional[str] = None


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the files that paths name, folders read through, sorted within each; links to folders are not followed.

    Raises:
        ConfigError: A path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (Path(folder) / name for folder, _dirs, names in os.walk(path) for name in names)
            found.extend(sorted(file for file in inside if file.is_file()))
        elif path.is_file():
            found.append(path)
        else:
            raise ConfigError(f"{path} is not there, or is neither file nor folder. Check the path.")
    return list(dict.fromkeys(found))


def read_items(path: Path, raw: IO[bytes]) -> Generator[Item, None, None]:
    """Yield what a file holds.

    Args:
        path: Its name, for the format and for the kind that its folder names.
        raw: The file, open for reading without a buffer; closed at the end.
    """
    with peekable(raw) as stream:
        yield from _stream(stream, path.name, "", _hint(path.parent.name), 0)


def _stream(stream: io.BufferedReader, name: str, member: str, hint: Optional[str], depth: int) -> Iterator[Item]:
    """Yield the items of one stream, whatever its format; a broken one ends with a problem."""
    try:
        head = stream.peek(PEEK)[:PEEK]
        if head[:2] == b"\x1f\x8b":
            if depth >= 3:
                yield Item(member, 1, None, "compressed more than three times", hint=hint)
                return
            gunzip = Gunzip(stream)
            with peekable(gunzip) as inner:
                items = _stream(inner, _without(name, ".gz"), member, hint, depth + 1)
                yield from _to_its_end(items, gunzip, member, hint)
        elif head[257:262] == b"ustar":
            yield from _tar(stream, member)
        elif head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            yield from _zip(stream, member)
        elif head[: len(EVTX_MAGIC)] == EVTX_MAGIC:
            yield from _evtx(stream, member, hint)
        elif encoding := encoding_of(head):
            with peekable(Recoded(stream, encoding)) as inner:
                yield from _text(inner, inner.peek(PEEK)[:PEEK], member, hint)
        elif is_protobuf(head):
            yield from _protobuf(stream, member, hint)
        else:
            yield from _text(stream, head, member, hint)
    except BROKEN as exc:
        yield Item(member, 0, None, broken_reason(exc), hint=hint)


def _to_its_end(items: Iterator[Item], gunzip: Gunzip, member: str, hint: Optional[str]) -> Iterator[Item]:
    """Yield what a gzip file holds; where it breaks, that is said once, in place of the half line there."""
    held: Optional[Item] = None
    line = 0
    for item in items:
        if held is not None and _is_cut(held) and _is_cut(item):
            continue  # a member and then its archive
        if held is not None:
            yield held
            held = None
        if item.member == member:
            line = item.line
        if item.record is None and gunzip.failure is not None:
            held = item
        else:
            yield item
    if gunzip.failure is None:
        return
    reason = broken_reason(gunzip.failure)
    if held is not None and (held.member == member or _is_cut(held)):
        yield held._replace(problem=reason)
        return
    if held is not None:
        yield held
    yield Item(member, line + 1 if line else 0, None, reason, "", hint)


def _is_cut(item: Item) -> bool:
    return (item.problem or "").startswith(CUT)


def _tar(stream: io.BufferedReader, member: str) -> Iterator[Item]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isreg() else None
            if file is not None:
                yield from _member(file, entry.name, entry.size, member)


def _zip(stream: io.BufferedReader, member: str) -> Iterator[Item]:
    if member:
        yield Item(member, 1, None, "skipped: archive in an archive")
        return
    with zipfile.ZipFile(stream) as archive:
        for entry in sorted(archive.infolist(), key=lambda e: e.filename):
            if not entry.is_dir():
                with archive.open(entry) as file:
                    yield from _member(file, entry.filename, entry.file_size, member)


def _member(file: IO[bytes], name: str, size: int, outer: str) -> Iterator[Item]:
    folder, _slash, last = name.replace("\\", "/").rpartition("/")
    label = f"{outer}!{name}" if outer else name
    hint = _hint(folder.rpartition("/")[2])
    if size > MAX_MEMBER:
        yield Item(label, 1, None, f"larger than {MAX_MEMBER:,} bytes", hint=hint)
    else:
        with peekable(file) as stream:
            yield from _stream(stream, last, label, hint, 1)


def _evtx(stream: io.BufferedReader, member: str, hint: Optional[str]) -> Iterator[Item]:
    """Read an event log, in place where it is a file; one inside an archive is held in memory."""
    file: IO[bytes] = stream
    if member or not stream.seekable():
        data = stream.read(MAX_EVTX + 1)
        if len(data) > MAX_EVTX:
            yield Item(
                member, 1, None, f"an event log larger than {MAX_EVTX:,} bytes in an archive: unpack it", "", hint
            )
            return
        file = io.BytesIO(data)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    for number, record in enumerate(records_of(file, size), 1):
        if isinstance(record, EventLogError):
            yield Item(member, number, None, str(record), "", hint)
        else:
            yield Item(member, number, record, None, "", hint)


def _protobuf(stream: io.BufferedReader, member: str, hint: Optional[str]) -> Iterator[Item]:
    data = stream.read(MAX_WHOLE + 1)
    if len(data) > MAX_WHOLE:
        yield Item(member, 1, None, f"longer than {MAX_WHOLE:,} bytes", hint=hint)
        return
    number = 0
    try:
        for number, event in enumerate(events_in(data), 1):
            yield Item(member, number, event, None, "", hint)
    except WireError as exc:
        yield Item(member, number + 1, None, f"no sensor message: {exc}", data[:100].hex(), hint)


def _text(stream: io.BufferedReader, head: bytes, member: str, hint: Optional[str]) -> Iterator[Item]:
    if head[:3] == codecs.BOM_UTF8:
        stream.read(3)
        head = head[3:]
    if not head.strip():
        return
    first, *more = head.split(b"\n", 50)
    delimiter = delimiter_of(first) if b"_raw" in first and first.strip()[:1] not in (b"{", b"[") else None
    if is_audit_line(first):
        yield from _audit(stream, member, hint)
    elif delimiter is not None:
        yield from _csv(stream, member, hint, delimiter)
    elif not begins_json(head) and not any(isinstance(_decoded(line), dict) for line in more):
        yield Item(member, 0, None, f"skipped: {format_of(head)}", hint=hint)
    elif first.lstrip()[:1] == b"[" or (first.lstrip()[:1] in (b"{", b"") and _decoded(first) is None):
        yield from _whole(stream, member, hint)
    else:
        yield from _lines(stream, member, hint)


def _whole(stream: io.BufferedReader, member: str, hint: Optional[str]) -> Iterator[Item]:
    """Read a file that is one JSON value; where it is none, read it as lines."""
    data = stream.read(MAX_WHOLE + 1)
    value = _decoded(data) if len(data) <= MAX_WHOLE else None
    begun = _elements(data) if value is None and data.lstrip()[:1] == b"[" else []
    if value is None and not begun:
        with peekable(Chained(data, stream)) as rest:
            yield from _lines(rest, member, hint)
        return
    number = 0
    for number, record in enumerate(begun or (value if isinstance(value, list) else [value]), 1):
        if isinstance(record, dict):
            yield Item(member, number, record, None, "", hint)
        else:
            yield Item(member, number, None, "not a JSON object", str(record)[:_CLIP], hint)
    if begun:
        yield Item(member, number + 1, None, f"{CUT} the JSON array has no end, or is broken here", "", hint)


def _elements(data: bytes) -> list[Any]:
    """Return the elements of a JSON array up to where it breaks; nothing where it is no array that breaks."""
    text, at = _text_of(data), 1
    found: list[Any] = []
    while not found or text[at : at + 1] == ",":
        try:
            value, at = _DECODER.raw_decode(text, _after_space(text, at + 1 if found else at))
        except (ValueError, RecursionError):
            break
        found.append(value)
        at = _after_space(text, at)
    return found if found and isinstance(found[0], dict) and text[at : at + 1] != "]" else []


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _lines(stream: io.BufferedReader, member: str, hint: Optional[str]) -> Iterator[Item]:
    number = 0
    while True:
        try:
            line = stream.readline(MAX_LINE)
        except BROKEN as exc:
            yield Item(member, number + 1, None, broken_reason(exc), "", hint)
            return
        if not line:
            return
        number += 1
        if len(line) >= MAX_LINE and line[-1:] != b"\n":
            while line and line[-1:] != b"\n":
                line = stream.readline(MAX_LINE)
            yield Item(member, number, None, f"longer than {MAX_LINE:,} bytes", "", hint)
        elif line.strip():
            item = _item(_text_of(line), member, number, hint)
            if item.record is None and line[-1:] != b"\n" and line.lstrip()[:1] == b"{":
                item = item._replace(problem=f"{CUT} the last line has no end")
            yield item


def _audit(stream: io.BufferedReader, member: str, hint: Optional[str]) -> Iterator[Item]:
    lines = ((number, _text_of(line)) for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1))
    for number, event, text in audit_groups((number, line) for number, line in lines if line):
        yield Item(member, number, event, None if event else "no line of auditd", text[:_CLIP], hint)


def _csv(stream: io.BufferedReader, member: str, hint: Optional[str], delimiter: str) -> Iterator[Item]:
    """Read Splunk's export: the column `_raw` holds one JSON object. Raises csv's limit for the whole process."""
    csv.field_size_limit(MAX_LINE)
    with io.TextIOWrapper(stream, encoding="utf-8", errors=LATIN1, newline="") as text:
        rows = csv.reader(text, delimiter=delimiter)
        column = [name.strip() for name in next(rows)].index("_raw")
        while True:
            try:
                row = next(rows, None)
            except csv.Error as exc:
                yield Item(member, rows.line_num, None, f"no CSV: {exc}", "", hint)
                continue
            if row is None:
                return
            if len(row) > column:
                yield _item(row[column], member, rows.line_num, hint)
            elif row:
                yield Item(member, rows.line_num, None, "no column _raw in this row", ",".join(row)[:_CLIP], hint)


def _item(text: str, member: str, line: int, hint: Optional[str]) -> Item:
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        return Item(member, line, None, "nested too deeply", text[:_CLIP], hint)
    except ValueError as exc:
        return Item(member, line, None, f"no JSON: {exc}"[:200], text[:_CLIP], hint)
    if isinstance(value, dict):
        return Item(member, line, value, None, "", hint)
    return Item(member, line, None, "not a JSON object", text[:_CLIP], hint)


def _decoded(data: bytes) -> Any:
    """Return the JSON value, or None where there is none."""
    try:
        return _DECODER.decode(_text_of(data))
    except (ValueError, RecursionError):
        return None


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", LATIN1).strip()


def _latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


LATIN1 = "cbsigned-latin-1"
codecs.register_error(LATIN1, _latin1)


def _hint(folder: str) -> Optional[str]:
    return normal_kind(folder)


def _without(name: str, suffix: str) -> str:
    return name[: -len(suffix)] if name.lower().endswith(suffix) else name
