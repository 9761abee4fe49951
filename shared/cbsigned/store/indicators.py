"""Lists of indicators: plain text, CSV or a STIX 2.1 bundle → what a store can be asked for.

What cannot be asked for is counted by name, and what cannot be read is named with its place; nothing is just dropped.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Optional, Union

from cbsigned.errors import ConfigError
from cbsigned.observables import parse_md5, parse_sha256, printable
from cbsigned.store.stix import comparisons

__all__ = ["Indicator", "IndicatorList", "Kind", "indicator_of", "read_indicators"]

MAX_BYTES = 256 * 1024 * 1024
_MOST_TEXT = 4096


class Kind(str, Enum):
    """What a store can be asked for; the value is also what may stand before it: `domain:example.com`."""

    MD5 = "md5"
    SHA256 = "sha256"
    IP = "ip"
    DOMAIN = "domain"
    NAME = "name"
    PATH = "path"


@dataclass(frozen=True)
class Indicator:
    """One thing to look for, in lower case."""

    kind: Kind
    value: str


@dataclass
class IndicatorList:
    """What lists gave.

    Attributes:
        labels: Indicator → what its list calls it, in the order of the lists; None where it has no name.
        unsupported: What cannot be asked for, by name, and how often: `SHA-1`, `url`.
        problems: What could not be read, each with its place.
    """

    labels: dict[Indicator, Optional[str]] = field(default_factory=dict)
    unsupported: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, text: str, place: str, word: Optional[str] = None, label: Optional[str] = None) -> None:
        """Take one in.

        Args:
            text: As the list has it, defanged or not.
            place: For messages: `iocs.txt:17`.
            word: What the list says it is; None to find out.
            label: What the list calls it.
        """
        if word is not None and word not in _WORDS:
            self.unsupported[printable(word, 40)[1:-1]] += 1
            return
        found = indicator_of(text, _WORDS[word] if word is not None else None)
        if isinstance(found, Indicator):
            self.labels.setdefault(found, label)
            self.labels[found] = self.labels[found] or label
        elif found is not None:
            self.unsupported[found] += 1
        else:
            called = f"no {word}" if word else "no hash, address, domain, file name or path"
            self.problems.append(f"{place}: {printable(text, 60)} is {called}")


_WORDS: Mapping[str, Optional[str]] = {
    **dict.fromkeys(("md5", "filehash-md5", "hash_md5", "md5_hash", "hash-md5", "file_md5", "file hash md5"), "md5"),
    **dict.fromkeys(
        ("sha256", "sha-256", "filehash-sha256", "hash_sha256", "sha256_hash", "hash-sha256", "file_sha256"), "sha256"
    ),
    **dict.fromkeys(("sha1", "sha-1", "filehash-sha1", "hash_sha1", "sha1_hash", "hash-sha1", "file_sha1"), "sha1"),
    **dict.fromkeys(("hash", "file_hash", "filehash", "file hash"), "hash"),
    **dict.fromkeys(
        ("ip", "ipv4", "ipv6", "ip-dst", "ip-src", "ipv4-addr", "ipv6-addr", "ip_address", "ipaddress", "ip address",
         "address", "addr"), "ip",
    ),
    **dict.fromkeys(("domain", "domain-name", "domain_name", "hostname", "fqdn", "host"), "domain"),
    **dict.fromkeys(("name", "filename", "file_name", "file-name", "file name", "file"), "name"),
    **dict.fromkeys(("path", "file_path", "filepath", "file-path", "file path"), "path"),
    **dict.fromkeys(("indicator", "value", "ioc", "observable", "indicator_value", "ioc_value", "ioc value")),
}  # fmt: skip
"""How lists call what they hold → what it is, None where that has to be found out."""
_TYPES = ("type", "kind", "indicator_type", "ioc_type", "observable_type", "ioc type")
_LABELS = ("label", "description", "comment", "title", "threat", "malware")
_LENGTHS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{1,59}})", re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://", re.IGNORECASE)
_PREFIX = re.compile(r"(md5|sha256|sha1|ip|domain|name|path):(?!//)\s*(.+)", re.IGNORECASE)
_NO_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]')
_FANGS = ((re.compile(r"\s*[\[({]\s*(?:\.|dot)\s*[\])}]\s*", re.IGNORECASE), "."), (re.compile(r"\[:\]"), ":"))
_FILES = frozenset((
    "exe", "dll", "sys", "scr", "bat", "cmd", "ps1", "psm1", "vbs", "vbe", "js", "jse", "wsf", "wsh", "hta", "jar",
    "msi", "msp", "cpl", "ocx", "drv", "efi", "lnk", "pif", "doc", "docx", "docm", "xls", "xlsx", "xlsm", "ppt",
    "pptx", "pptm", "rtf", "pdf", "zip", "rar", "7z", "gz", "tar", "iso", "img", "vhd", "vhdx", "cab", "chm", "inf",
    "ini", "dat", "bin", "tmp", "log", "txt", "xml", "json", "php", "asp", "aspx", "jsp", "elf", "so", "dylib", "pyc",
    "py", "sh",
))  # fmt: skip
"""What a word ends in that is taken for a file, although some of these are domains too."""


def read_indicators(data: bytes, name: str, into: IndicatorList) -> None:
    """Read one list, whichever of the three formats it has.

    Args:
        data: The whole file; UTF-8, or UTF-16 with its mark.
        name: For messages.
        into: Takes what is read.

    Raises:
        ConfigError: It is JSON, but no STIX bundle, or too long.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name} is longer than {MAX_BYTES // 1024 // 1024} MiB. Split it.")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding, "replace")
    if text.lstrip()[:1] in ("{", "["):
        document = _json(text)
        if document is not None:
            _read_stix(document, name, into)
            return
        if text.lstrip()[:1] == "{":
            raise ConfigError(
                f"{name} begins like JSON and is none. Give a STIX 2.1 bundle, CSV, or one indicator a line."
            )
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
    if lines and _header(lines[0][1]) is not None:
        _read_csv(lines, name, into)
    else:
        for number, line in lines:
            into.add(_first(line), f"{name}:{number}")


def indicator_of(text: str, word: Optional[str] = None) -> Union[Indicator, str, None]:
    """Return the indicator of a text, the name of what cannot be asked for, or None for what is nothing.

    Args:
        text: As people write it: `evil[.]example`, in quotes, `name:cmd.exe`.
        word: What it is said to be: a `Kind`'s value, `sha1` or `hash`; None to find out.

    A word that could be a domain and a file name is a file name where it ends like one (`run.exe`), else a domain.
    """
    value = text.strip().strip("\"'").strip()
    prefix = _PREFIX.fullmatch(value) if word is None else None
    if prefix is not None:
        word, value = prefix.group(1).lower(), prefix.group(2)
    for pattern, plain in _FANGS:
        value = pattern.sub(plain, value)
    if not value or len(value) > _MOST_TEXT:
        return None
    if word is None:
        return _guessed(value)
    return _READERS[word](value)


def _guessed(value: str) -> Union[Indicator, str, None]:
    if _HEX.fullmatch(value) and len(value) in _LENGTHS:
        return _hash(value)
    if _URL.match(value):
        return "url"
    address = _ip(value)
    if address is not None:
        return address
    if "*" in value:
        return "wildcard"
    if value.lower().startswith(("hklm\\", "hkcu\\", "hkey_", "\\registry\\")):
        return "registry key"
    if "\\" in value or value.startswith("/"):
        return _path(value)
    if "@" in value and _DOMAIN.fullmatch(value.rpartition("@")[2].lower()):
        return "email address"
    lowered = value.lower().rstrip(".")
    if _DOMAIN.fullmatch(lowered) and lowered.rpartition(".")[2] not in _FILES:
        return Indicator(Kind.DOMAIN, lowered)
    return _name(value)


def _hash(value: str, kind: Optional[str] = None) -> Union[Indicator, str, None]:
    found = _LENGTHS.get(len(value)) if _HEX.fullmatch(value) else None
    if found is None or (kind is not None and found != kind):
        return None
    if found in ("sha1", "sha512"):
        return f"SHA-{found[3:]}"
    known = parse_md5(value) if found == "md5" else parse_sha256(value)
    return None if known is None else Indicator(Kind(found), known)


def _ip(value: str) -> Union[Indicator, str, None]:
    try:
        return Indicator(Kind.IP, str(ipaddress.ip_address(value)))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(value, strict=False) if "/" in value else None
    except ValueError:
        return None
    if network is None:
        return "address and port" if re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}:\d{1,5}", value, re.ASCII) else None
    return Indicator(Kind.IP, str(network.network_address)) if network.num_addresses == 1 else "address range"


def _domain(value: str) -> Union[Indicator, str, None]:
    lowered = value.lower().rstrip(".")
    return Indicator(Kind.DOMAIN, lowered) if _DOMAIN.fullmatch(lowered) else None


def _name(value: str) -> Optional[Indicator]:
    fits = len(value) <= 255 and not _NO_NAME.search(value)
    return Indicator(Kind.NAME, value.lower()) if fits else None


def _path(value: str) -> Optional[Indicator]:
    return Indicator(Kind.PATH, value.lower()) if re.search(r"[\\/][^\\/]+$", value) else None


_READERS: Mapping[str, Callable[[str], Union[Indicator, str, None]]] = {
    "md5": lambda value: _hash(value, "md5"), "sha1": lambda value: _hash(value, "sha1"),
    "sha256": lambda value: _hash(value, "sha256"), "hash": _hash, "ip": _ip, "domain": _domain, "name": _name,
    "path": _path,
}  # fmt: skip


def _first(line: str) -> str:
    """Return what a line of a plain list is about: `md5sum` writes a name behind the hash, others a comment."""
    words = re.split(r"[\s,;]+", line.strip(), maxsplit=1)
    head = words[0].strip("\"'")
    return head if len(words) > 1 and _HEX.fullmatch(head) and len(head) in _LENGTHS else re.split(r"\s#", line)[0]


def _header(line: str) -> Optional[str]:
    """Return the delimiter of a CSV header that we can read, or None."""
    for delimiter in (",", ";", "\t"):
        cells = [cell.strip().strip('"').lower() for cell in line.split(delimiter)]
        if any(cell in _WORDS for cell in cells) and (len(cells) > 1 or cells[0] in ("indicator", "value", "ioc")):
            return delimiter
    return None


def _read_csv(lines: list[tuple[int, str]], name: str, into: IndicatorList) -> None:
    delimiter = _header(lines[0][1]) or ","
    rows = csv.reader(io.StringIO("\n".join(line for _number, line in lines)), delimiter=delimiter)
    try:
        header = [cell.strip().lower() for cell in next(rows)]
        kind = next((place for place, cell in enumerate(header) if cell in _TYPES), None)
        label = next((place for place, cell in enumerate(header) if cell in _LABELS), None)
        wanted = [(place, cell) for place, cell in enumerate(header) if cell in _WORDS]
        if kind is not None:
            wanted = [(place, cell) for place, cell in wanted if _WORDS[cell] is None] or wanted
        for number, row in enumerate(rows, 1):
            told = _told(row, label)
            place_of = f"{name}:{lines[min(number, len(lines) - 1)][0]}"
            for place, cell in wanted:
                if place < len(row) and row[place].strip():
                    said = row[kind].strip().lower() if kind is not None and kind < len(row) else None
                    into.add(row[place], place_of, said if said and _WORDS[cell] is None else cell, told)
    except csv.Error as exc:
        into.problems.append(f"{name}: this CSV cannot be read further ({exc})")


def _told(row: list[str], place: Optional[int]) -> Optional[str]:
    return row[place].strip()[:200] or None if place is not None and place < len(row) else None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_stix(document: object, name: str, into: IndicatorList) -> None:
    for number, found in enumerate(_stix_objects(document, name), 1):
        if found.get("type") != "indicator":
            continue
        place = f"{name}, indicator {number}"
        label = found.get("name")
        told = label[:200] if isinstance(label, str) and label else None
        if found.get("revoked") is True:
            into.unsupported["revoked indicator"] += 1
            continue
        language = found.get("pattern_type", "stix")
        pattern = found.get("pattern")
        if language != "stix" or not isinstance(pattern, str):
            into.unsupported[f"{printable(str(language), 20)[1:-1]} pattern"] += 1
            continue
        for word, value in comparisons(pattern):
            if word is None:
                into.unsupported[printable(value, 60)[1:-1]] += 1
            else:
                into.add(value, place, word, told)


def _stix_objects(document: object, name: str) -> Iterator[Mapping[str, Any]]:
    objects = document.get("objects") if isinstance(document, dict) else document
    if isinstance(document, dict) and document.get("type") == "indicator":
        objects = [document]
    if not isinstance(objects, list) or not all(isinstance(one, dict) and "type" in one for one in objects):
        raise ConfigError(
            f"{name} is JSON, but no STIX 2.1 bundle: expected an object with a list of objects. Give a bundle, CSV, "
            "or one indicator a line."
        )
    return iter(objects)
