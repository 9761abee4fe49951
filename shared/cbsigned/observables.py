"""Hashes and process guids: the one place where a value from outside becomes one we may ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Optional

from cbsigned.errors import ConfigError
from cbsigned.timing import from_filetime

__all__ = [
    "MADE",
    "GuidParts",
    "Hashes",
    "guid_parts",
    "is_foreign",
    "is_unknown_parent",
    "parse_guid",
    "parse_md5",
    "parse_pid",
    "parse_process_id",
    "parse_sha256",
    "printable",
    "process_id_of",
    "read_hashes",
    "short_host",
    "split_path",
]

_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_GUID = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:-[0-9a-f]{1,12})?",
    re.ASCII | re.IGNORECASE,
)
MADE = "log:"
"""What an id begins with that the store made from host, pid and time; no product gave it."""
_ABSENT = {"", "-", "none", "null", "(unknown)", "unknown", "n/a"}
_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_\-]{1,15})\s*[=:]\s*([^\s,;=:]*)")
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
    """What a process guid tells by itself; None is *it does not*."""

    sensor_id: Optional[int]
    pid: Optional[int]
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
    if isinstance(value, str) and len(value) in _LENGTHS and _HEX.fullmatch(value) and value.strip("0"):
        md5, sha1, sha256 = (value.lower() if len(value) == length else None for length in _LENGTHS)
        return Hashes(md5, sha1, sha256)  # as nearly all of them come
    found: dict[str, str] = {}
    problems: list[str] = []
    for named, text in _hash_texts(value):
        if named is not None and named not in _LENGTHS.values():
            continue
        if text.lower() in _ABSENT or not text.strip("0"):
            continue
        kind = _LENGTHS.get(len(text)) if _HEX.fullmatch(text) else None
        if kind is None or (named is not None and named != kind):
            problems.append(f"{printable(text, 40)} is not {_article(named)}: {_why_not(text, named)}.")
        else:
            found.setdefault(kind, text.lower())
    return Hashes(found.get("md5"), found.get("sha1"), found.get("sha256"), tuple(problems))


def parse_guid(value: object) -> Optional[str]:
    """Return a Carbon Black process guid as 36 lower-case characters, its segment suffix split off, or None.

    Sysmon's `{GUID}` in braces is a foreign id and gives None.

    References:
        - cb-edr-api §2.4: suffix of 8 decimal digits (5.x) or 12 hex digits (6.x and later); §9: 6.1 cuts it short
    """
    if not isinstance(value, str) or len(value) > 64:
        return None
    match = _GUID.fullmatch(value.strip())
    return match.group(1).lower() if match else None


def parse_process_id(value: object) -> Optional[str]:
    """Return any process id that we can look up, in one spelling, or None.

    Carbon Black's guids come back as `parse_guid` returns them. Another product's GUID, in braces or with parts
    that no Carbon Black guid has, comes back as `{…}`: it can be looked up in a store of that product's
    telemetry, and Carbon Black is never asked for it.

    References:
        - Security-Datasets: `{AD4B5C3E-…}` in either case; EVTX-ATTACK-SAMPLES, read by `evtx`: without braces
    """
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip().lower()
    if text.startswith(MADE):
        return text if _GUID.fullmatch(text[len(MADE) :]) and len(text) == len(MADE) + 36 else None
    if len(text) == 38 and text[0] == "{" and text[-1] == "}":
        return text if _GUID.fullmatch(text[1:-1]) and text.strip("{}0-") else None
    guid = parse_guid(text)
    if guid is None or guid == text[:36] != text:  # only Carbon Black's have a suffix
        return guid
    plausible = guid[9:11] == "00" and guid[19:21] == "01" and guid[21] >= "b"  # pid below 2²⁴, start 1990 to 2050
    return guid if plausible or is_unknown_parent(guid) else f"{{{guid}}}"


def is_foreign(guid: str) -> bool:
    """Whether a process id, as `parse_process_id` returns it, is not Carbon Black's."""
    return guid[:1] == "{" or guid.startswith(MADE)


def guid_parts(guid: str) -> GuidParts:
    """Return sensor id, pid and start time, which a process guid encodes.

    Args:
        guid: As `parse_process_id` returns it. What another product's GUID encodes is not documented: nothing is
            taken from it.

    References:
        - cb-edr-api §2.4: 938 of 938 recorded process starts agree
    """
    if guid[:1] == "{":
        return GuidParts(None, None, None)
    if guid.startswith(MADE):
        return GuidParts(None, int(guid[len(MADE) :].replace("-", "")[8:16], 16), None)
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


def process_id_of(text: str) -> str:
    """Return the process id that a user typed, or pasted as a link of the EDR's console.

    Raises:
        ConfigError: There is none in it.
    """
    link = re.search(r"#/?analyze/([0-9a-fA-F-]{36})(?:[/?]|$)", text)
    guid = parse_process_id(link.group(1) if link else text)
    if guid is None:
        raise ConfigError(
            f"{printable(text, 60)} is no process guid: expected 36 characters such as "
            "00000009-0000-082c-01d1-7f392625197c, or a link of the console that holds them."
        )
    return guid


def printable(text: str, most: int) -> str:
    """Return a text from outside in quotes, cut to `most` characters, fit for a message."""
    if len(text) <= most and text.isprintable():
        return f'"{text}"'
    clean = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return f'"{clean[:most]}…"' if len(clean) > most else f'"{clean}"'


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


def _hash_texts(value: object) -> list[tuple[Optional[str], str]]:
    """Return the (name of the algorithm or None, text) pairs of a value; lists are read one level deep."""
    items = value[:64] if isinstance(value, (list, tuple)) else [value]
    pairs: list[tuple[Optional[str], str]] = []
    for item in items:
        if item is None or isinstance(item, (bool, list, tuple, dict)):
            continue
        text = str(item)[:_MAX_TEXT]
        pairs += [(m.group(1).lower().replace("-", ""), m.group(2)) for m in _NAMED.finditer(text)]
        pairs += [(None, word) for word in re.split(r"[,;\s]+", _NAMED.sub(" ", text)) if word]
    return pairs


def _article(named: Optional[str]) -> str:
    return f"an {named.upper()}" if named == "md5" else f"a {named.upper()}" if named else "a hash"


def _why_not(text: str, named: Optional[str]) -> str:
    if not _HEX.fullmatch(text):
        return "it has characters other than 0-9 and a-f"
    wanted = next((str(length) for length, kind in _LENGTHS.items() if kind == named), "32, 40 or 64")
    return f"it has {len(text)} hex digits, expected {wanted}"
