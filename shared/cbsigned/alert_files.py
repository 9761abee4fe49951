"""Alerts from files and pipes: everything the store's readers take, and CSV with a header line."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, Union, cast

from cbsigned.errors import AlertError, ConfigError
from cbsigned.formats.bundles import records_of
from cbsigned.gaps import Cause
from cbsigned.store.readers import LATIN1, files_of, read_items

__all__ = ["read_alerts"]

_PEEK = 64 * 1024
_MAX_FIELD = 16 * 1024 * 1024


def read_alerts(name: str, stdin: BinaryIO) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    """Yield the records of one file or folder lazily, and an error in place of each that cannot be read.

    Args:
        name: A path, or `-` for standard input.
        stdin: Read when `name` is `-`.

    Raises:
        ConfigError: The path does not exist.
        OSError: It cannot be opened.
    """
    if name == "-":
        yield from _records(Path("standard input"), stdin)
        return
    for path in files_of([Path(name)]):
        with open(path, "rb") as file:
            yield from _records(path, file)


def _records(path: Path, file: IO[bytes]) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    stream = _peekable(file)
    if stream.peek(2)[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=stream) as inner:
                yield from _plain(Path(path.name.removesuffix(".gz")), path, _peekable(cast("IO[bytes]", inner)))
        except (EOFError, OSError, zlib.error):
            text = f"{path} is cut off or damaged; what follows is missing. Copy the file again."
            yield AlertError(text, Cause.UNREADABLE)
    else:
        yield from _plain(path, path, stream)


def _plain(name: Path, path: Path, stream: io.BufferedReader) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    encoding, delimiter = _csv_form(stream.peek(_PEEK)[:_PEEK])
    if delimiter:
        yield from _rows(path, stream, encoding, delimiter)
        return
    for item in read_items(name, cast("IO[bytes]", _Available(stream))):
        if item.record is not None:
            yield from _unpacked(item.record)
        else:
            place = f"{path}{'!' + item.member if item.member else ''}{f', line {item.line}' if item.line else ''}"
            problem = (item.problem or "").removeprefix("skipped: ")
            text = f"{place} holds no alert: {problem}. Expected JSON objects, one a line."
            yield AlertError(text, record={"_raw": item.text})


def _unpacked(record: Mapping[str, Any]) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    """Yield the alerts of a bundle and the results of a Splunk answer one by one, anything else as it is."""
    results = record.get("results")
    if isinstance(results, list) and "md5" not in record and all(isinstance(row, Mapping) for row in results):
        yield from results
    else:
        yield from records_of(record)


def _rows(
    path: Path, stream: IO[bytes], encoding: str, delimiter: str
) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    """Yield one record a CSV row, its columns by name; cells that no column names stand in a list under `_more`."""
    csv.field_size_limit(_MAX_FIELD)
    text = io.TextIOWrapper(stream, encoding=encoding, errors=LATIN1, newline="")
    reader = csv.DictReader(text, delimiter=delimiter, restkey="_more")
    while True:
        try:
            yield {column: cell for column, cell in next(reader).items() if cell is not None}
        except StopIteration:
            return
        except csv.Error as exc:
            yield AlertError(f"{path}, line {reader.line_num} is no CSV: {exc}.")


def _csv_form(head: bytes) -> tuple[str, str]:
    """Return encoding and delimiter of a file whose first line names columns; no delimiter where it is no CSV."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    first = head.decode(encoding, "replace").splitlines()[:1]
    line = first[0].strip() if first else ""
    if line[:1] in ("{", "[", "") or (not line.isprintable() and "\t" not in line):
        return encoding, ""
    delimiter = max(",;\t", key=line.count)
    single = line.lower() in ("md5", "sha256", "hash", "process_guid", "process_md5")
    return encoding, delimiter if delimiter in line or single else ""


class _Available(io.RawIOBase):
    """A stream that gives what is there instead of waiting for a full buffer, so that a pipe can be followed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: Any = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._file.read1 if hasattr(self._file, "read1") else self._file.read
        part = read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _peekable(file: IO[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Available(file), _PEEK)


def check_exists(name: str) -> None:
    """Raise where a named file is not there, before anything is asked.

    Raises:
        ConfigError: It is not there.
    """
    if name != "-" and not Path(name).exists():
        raise ConfigError(f"{name} is not there. Check the path, or use - for standard input.")
