"""Hashes and process guids: the one place where a value from outside becomes one we may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Optional

from cbsigned.timing import from_filetime

__all__ = [
    "GuidParts",
    "Hashes",
    "guid_parts",
    "is_unknown_parent",
    "parse_guid",
    "parse_md5",
    "parse_pid",
    "parse_sha256",
    "read_hashes",
    "short_host",
    "split_path",
]

_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_GUID = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:-(?:[0-9a-f]{12}|[0-9a-f]{8}))?",
    re.ASCII | re.IGNORECASE,
)
_ABSENT = {"", "-", "none", "null", "(unknown)", "unknown", "n/a"}
_ALGORITHM = re.compile(r"\s*([A-Za-z0-9_\-]+)\s*[=:]\s*(.*?)\s*", re.DOTALL)
_LENGTHS = {32: "md5", 40: "sha1", 64: "sha256"}
_MAX_TEXT = 4096


@dataclass(frozen=True)
class Hashes:
    """The hashes of one file, lower-case hex, and what could not be taken for one.

    Attributes:
        problems: One sentence for each value that was given and is not a hash.
    """

    md5: Optional[str] = None
    sha1: Optional[str] = None
    sha256: Optional[str] = None
    problems: tuple[str, ...] = ()


class GuidParts(NamedTuple):
    """What a process guid tells by itself."""

    sensor_id: int
    pid: int
    started_at: Optional[datetime]


def parse_md5(value: object) -> Optional[str]:
    """Return an MD5 as 32 lower-case hex digits, or None for anything else, all zeros included.

    References:
        - cb-edr-api §10.2: MD5s cut at the first zero byte and `parent_md5` of 30 zeros occur in real data
    """
    return _parse_hash(value, 32)


def parse_sha256(value: object) -> Optional[str]:
    """Return a SHA-256 as 64 lower-case hex digits, or None for anything else, all zeros included."""
    return _parse_hash(value, 64)


def read_hashes(value: object) -> Hashes:
    """Return the hashes in a value as platforms write them, each kind at most once.

    Args:
        value: Plain hex, `MD5=…,SHA256=…,IMPHASH=…` (IMPHASH and other kinds are passed over, although
            an IMPHASH has an MD5's length), or a list of either. The first of a kind counts.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for part in _hash_texts(value):
        match = _ALGORITHM.fullmatch(part)
        named = match.group(1).lower().replace("-", "") if match else None
        text = match.group(2) if match else part
        if named is not None and named not in _LENGTHS.values():
            continue
        if text.strip().lower() in _ABSENT or (text and not text.strip("0")):
            continue
        kind = _LENGTHS.get(len(text)) if _HEX.fullmatch(text) else None
        if kind is None or (named is not None and named != kind):
            problems.append(f"{_clip(text)} is not {_article(named)}: {_why_not(text, named)}.")
        else:
            found.setdefault(kind, text.lower())
    return Hashes(found.get("md5"), found.get("sha1"), found.get("sha256"), tuple(problems))


def parse_guid(value: object) -> Optional[str]:
    """Return a Carbon Black process guid as 36 lower-case characters, its segment suffix split off, or None.

    Sysmon's `{GUID}` in braces is a foreign id and gives None.

    References:
        - cb-edr-api §2.4: suffix of 8 decimal digits (5.x) or 12 hex digits (6.x and later)
    """
    if not isinstance(value, str) or len(value) > 64:
        return None
    match = _GUID.fullmatch(value.strip())
    return match.group(1).lower() if match else None


def guid_parts(guid: str) -> GuidParts:
    """Return sensor id, pid and start time, which a process guid encodes.

    Args:
        guid: As `parse_guid` returns it.

    References:
        - cb-edr-api §2.4: 938 of 938 recorded process starts agree
    """
    digits = guid.replace("-", "")
    return GuidParts(int(digits[:8], 16), int(digits[8:16], 16), from_filetime(int(digits[16:], 16)))


def is_unknown_parent(guid: str) -> bool:
    """Whether a parent guid is the EDR's way of writing that the sensor never knew the parent.

    References:
        - cb-edr-api §2.5: pid -1; cb-event-forwarder, childproc/30.protobuf: pid 0, created at 0
    """
    return guid[9:18] == "ffff-ffff" or not guid[9:].replace("-", "").strip("0")


def parse_pid(value: object) -> Optional[int]:
    """Return a process id from an int, decimal text or `0x…` text; None for anything else and for -1."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text, re.ASCII):
            value = int(text, 16)
        elif re.fullmatch(r"\d{1,10}", text, re.ASCII):
            value = int(text)
    return value if isinstance(value, int) and 0 <= value <= 0xFFFFFFFF else None


def short_host(name: str) -> str:
    """Return a host name for comparing: lower case, without its domain; an IP address stays whole."""
    text = name.strip().lower()
    return text if re.fullmatch(r"[\d.]+|.*:.*", text) else text.split(".", 1)[0]


def split_path(path: str) -> str:
    """Return the last part of a Windows or POSIX path."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _parse_hash(value: object, length: int) -> Optional[str]:
    if not isinstance(value, str):
        return None
    text = value.strip()
    if len(text) != length or not _HEX.fullmatch(text) or not text.strip("0"):
        return None
    return text.lower()


def _hash_texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return [part.strip() for part in re.split(r"[,;\s]+(?=[A-Za-z0-9])", value.strip()[:_MAX_TEXT]) if part.strip()]
    if isinstance(value, (list, tuple)):
        return [text for item in value[:64] for text in _hash_texts(item)]
    return [] if value is None or isinstance(value, bool) else [str(value)[:_MAX_TEXT]]


def _article(named: Optional[str]) -> str:
    return f"an {named.upper()}" if named == "md5" else f"a {named.upper()}" if named else "a hash"


def _why_not(text: str, named: Optional[str]) -> str:
    if not _HEX.fullmatch(text):
        return "it has characters other than 0-9 and a-f"
    wanted = next((str(length) for length, kind in _LENGTHS.items() if kind == named), "32, 40 or 64")
    return f"it has {len(text)} hex digits, expected {wanted}"


def _clip(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return f'"{clean[:40]}…"' if len(clean) > 40 else f'"{clean}"'
