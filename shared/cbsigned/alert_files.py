"""Alerts from files and pipes: everything the store's readers take, and CSV with a header line."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, Union, cast

from cbsigned.errors import AlertError, ConfigError
from cbsigned.store.readers import files_of, read_items

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
                unpacked = _peekable(cast("IO[bytes]", inner))
                if _is_csv(unpacked):
                    yield from _rows(path, unpacked)
                else:
                    yield from _items(Path(path.name.removesuffix(".gz")), path, unpacked)
        except (EOFError, OSError) as exc:
            yield AlertError(f"{path} cannot be read to its end: {type(exc).__name__}. Copy the file again.")
    elif _is_csv(stream):
        yield from _rows(path, stream)
    else:
        yield from _items(path, path, stream)


def _items(name: Path, path: Path, stream: IO[bytes]) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    for item in read_items(name, cast("IO[bytes]", _Available(stream))):
        if item.record is not None:
            yield item.record
        else:
            place = f"{path}{'!' + item.member if item.member else ''}, line {item.line}"
            problem = (item.problem or "").removeprefix("skipped: ")
            yield AlertError(f"{place} holds no alert: {problem}. Expected JSON objects, one a line.")


def _rows(path: Path, stream: IO[bytes]) -> Iterator[Union[Mapping[str, Any], AlertError]]:
    """Yield one record a CSV row, its columns by name; empty cells are left out."""
    csv.field_size_limit(_MAX_FIELD)
    reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=""))
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield AlertError(f"{path}, line {reader.line_num} is no CSV: {exc}.")
            continue
        if None in row:
            yield AlertError(f"{path}, line {reader.line_num} has more cells than the header names.")
            continue
        yield {column: cell for column, cell in row.items() if cell}


def _is_csv(stream: io.BufferedReader) -> bool:
    """Whether the first line names columns: it has a comma (or a known single column) and begins no JSON."""
    head = stream.peek(_PEEK)[:_PEEK].lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].strip()
    if head[:1] in (b"{", b"[", b"") or b"\x00" in head:
        return False
    return b"," in head or head.lower() in (b"md5", b"sha256", b"hash", b"process_guid", b"process_md5")


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
