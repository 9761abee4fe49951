"""Says what a file is from its first bytes: its encoding, its separator, or what it is instead of telemetry."""

from __future__ import annotations

import codecs
import csv
import re
from typing import Optional

__all__ = ["NOT_TELEMETRY", "begins_json", "delimiter_of", "encoding_of", "format_of"]

_TEXT, _HTML, _IMAGE, _PROGRAM, _PDF = "plain text", "HTML", "an image", "a program", "PDF"
NOT_TELEMETRY = frozenset({_TEXT, _HTML, _IMAGE, _PROGRAM, _PDF})
"""Formats that nobody exports telemetry in: licences, read-me files, pictures."""

_MAGIC = (
    (b"ElfFile\x00", "Windows event log (EVTX)"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"PAR1", "Parquet: export JSON lines"),
    (b"\xfd7zXZ\x00", "xz: unpack it first"),
    (b"BZh", "bzip2: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip: unpack it first"),
    (b"Rar!", "RAR: unpack it first"),
    (b"%PDF", _PDF),
    (b"\x89PNG", _IMAGE),
    (b"\xff\xd8\xff", _IMAGE),
    (b"GIF8", _IMAGE),
    (b"MZ", _PROGRAM),
    (b"\x7fELF", _PROGRAM),
)
_BEGINS_JSON = re.compile(rb"\s*(\{|\[\s*([\[{\]]|$))")
_DELIMITERS = ",;\t|"
_RAW = "_raw"
_MOST_COLUMNS = 6


def encoding_of(head: bytes) -> Optional[str]:
    """Return the codec of UTF-16 text, with its byte order mark or without; None for all else."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    even, odd = head[0:16:2], head[1:16:2]
    if len(odd) < 2:
        return None
    if not any(odd) and _is_printable(even):
        return "utf-16-le"
    return "utf-16-be" if not any(even) and _is_printable(odd) else None


def begins_json(head: bytes) -> bool:
    """Whether the text begins as an object, or as an array of objects; `[INFO]` and `[link](…)` do not."""
    return _BEGINS_JSON.match(head) is not None


def delimiter_of(line: bytes) -> Optional[str]:
    """Return what separates the columns of a CSV header that names `_raw`, or None where it names none."""
    text = line.decode("utf-8", "replace").strip()
    return next((mark for mark in _DELIMITERS if _RAW in _columns(text, mark)), None)


def format_of(head: bytes) -> str:
    """Return what a file is that holds neither JSON nor a CSV with `_raw`, in a few words and with what to do."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if b"\x00" in head:
        return "binary data"
    lines = [line for line in head.splitlines()[:3] if line.strip()] or [b""]
    mark = re.search(rb"(?:^|\s)(LEEF|CEF):\d", lines[0])
    if mark is not None:
        return f"{mark[1].decode()}: let the event forwarder write JSON (output_format=json)"
    if re.match(rb"\s*<[a-z!?]", lines[0], re.IGNORECASE):
        return _HTML if re.match(rb"\s*<(!doctype html|html|h\d|p|div|img|!--)", lines[0], re.IGNORECASE) else "XML"
    if any(b'{"' in line for line in lines):
        return "lines of text with JSON in them: keep the JSON alone, one object a line"
    return _table_of(lines) or _TEXT


def _table_of(lines: list[bytes]) -> Optional[str]:
    """Name the columns of a table whose first lines have equally many."""
    header, *more = (line.decode("utf-8", "replace") for line in lines)
    for mark in _DELIMITERS[:3]:
        names = _columns(header, mark)
        if len(names) > 2 and more and all(len(_columns(line, mark)) == len(names) for line in more):
            told = ", ".join(name[:40] for name in names[:_MOST_COLUMNS])
            cut = ", …" if len(names) > _MOST_COLUMNS else ""
            return f"CSV without a column _raw (it has {told}{cut}): export the raw events"
    return None


def _columns(line: str, mark: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=mark), [])]
    except csv.Error:
        return []


def _is_printable(part: bytes) -> bool:
    return all(byte in (9, 10, 13) or 32 <= byte < 127 for byte in part)
