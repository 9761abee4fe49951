"""A field's value as written → a typed part of the tree, or why it cannot be one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Optional

from cbsigned.observables import parse_guid, parse_md5, parse_sha256
from cbsigned.query.fields import FieldRef, Type
from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.tokens import (
    cmdline_words,
    domain_labels,
    folded_path,
    folded_registry_path,
    legacy_cmdline_words,
    text_words,
)
from cbsigned.query.tree import (
    Between,
    Clause,
    During,
    Equals,
    Exists,
    Is,
    Labels,
    Matcher,
    Node,
    Or,
    Place,
    SubPath,
    Within,
    Words,
)
from cbsigned.status import SigningStatus
from cbsigned.timing import parse_time

__all__ = ["MAX_WORDS", "NEW_CMDLINE", "Raw", "Reading", "Unfit", "clause_of", "leads_with_wildcard", "range_of"]

NEW_CMDLINE = (6, 3)
"""First version that cuts command lines by the new scheme, and knows `?`."""

MAX_WORDS = 128
"""Most words of one value."""

_MILLISECOND = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_FIRST_YEAR = 1601  # what is before means "no time" to parse_time
_RELATIVE = re.compile(r"-(\d{1,9})([a-z]+)", re.ASCII)
_UNITS = {"h": 3600, "m": 60, "s": 1}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dt\d\d:\d\d(:\d\d(\.\d{1,9})?)?z?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_SIGNS = {s.value.lower() for s in SigningStatus} | {"(unknown)"}


class Unfit(ValueError):
    """This value cannot be searched in this field; the text says why and what to write."""


@dataclass(frozen=True)
class Raw:
    """A value as written, escapes resolved and wildcards marked.

    Attributes:
        quoted: It was in quotes, so it has no wildcards.
    """

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Reading:
    """What a value's meaning depends on beside itself."""

    version: tuple[int, ...]
    now: datetime


def clause_of(ref: FieldRef, raw: Raw, reading: Reading) -> Node:
    """Return the clause of one field and one value.

    Raises:
        Unfit: The value cannot be searched in this field.
    """
    if not raw.text.strip():
        raise Unfit(f"Empty value for {ref.name}. Write {ref.name}:* for any value at all.")
    if raw.text == MANY:
        counted = ref.field.type is Type.COUNT
        return Clause(ref, Between(1, None) if counted else Exists())
    if ref.field.type is Type.CMDLINE:
        return _cmdline(ref, raw, reading)
    return Clause(ref, _READERS[ref.field.type](ref, raw, reading))


def range_of(ref: FieldRef, low: str, high: str, reading: Reading) -> Clause:
    """Return the clause of a range; `*` is an open end.

    Raises:
        Unfit: The field has no ranges, or an end is unreadable.
    """
    kind = ref.field.type
    if kind in (Type.INTEGER, Type.COUNT):
        first, last = (None if end == "*" else _integer_in(ref, end) for end in (low, high))
        _ordered(ref, first is not None and last is not None and first > last)
        return Clause(ref, Between(first, last))
    if kind is Type.DATETIME:
        begin = None if low == "*" else _span(ref, low, reading, point=True)[0]
        end = None if high == "*" else _span(ref, high, reading, point=True)[1]
        _ordered(ref, begin is not None and end is not None and begin > end)
        return Clause(ref, During(begin, end))
    raise Unfit(f"{ref.name} is a {kind.value} and has no ranges. Put a value that begins with [ into quotes.")


def _ordered(ref: FieldRef, wrong: bool) -> None:
    if wrong:
        raise Unfit(f"The range of {ref.name} ends before it begins. Write the smaller end first.")


def _keyword(_ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    return Equals(Glob(raw.text.lower()))


def _hash(parse: Callable[[object], Optional[str]], digits: int) -> Callable[[FieldRef, Raw, Reading], Matcher]:
    def read(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
        found = parse(raw.text)
        if found is None:
            raise Unfit(f"{ref.name} takes a whole hash of {digits} hex digits, or * for any.")
        return Equals(Glob(found))

    return read


def _guid(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    found = parse_guid(raw.text.strip("{}"))
    if found is None:
        raise Unfit(f"{ref.name} takes a process guid of 36 characters, for example as a document's id gives it.")
    return Equals(Glob(found))


def _sign(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    glob = Glob(" ".join(raw.text.lower().split()))
    if glob.literal and glob.text not in _SIGNS:
        words = ", ".join(f'"{s.value}"' for s in SigningStatus if s is not SigningStatus.UNKNOWN)
        raise Unfit(f'{ref.name} takes one of {words} or "(Unknown)"; two words need quotes.')
    return Equals(Glob("(unknown)") if glob.text == "unknown" else glob)


def _words(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    return _words_of(ref, text_words(raw.text, wild=True), raw, legacy=False)


def _words_of(ref: FieldRef, words: list[str], raw: Raw, *, legacy: bool) -> Matcher:
    if not words:
        raise Unfit(f"No word is left of this value: {ref.name} is cut at white space and punctuation.")
    if len(words) > MAX_WORDS:
        raise Unfit(f"More than {MAX_WORDS} words for {ref.name}. Search for fewer; each of them must be there.")
    together = raw.quoted and len(words) > 1
    return Words(tuple(map(Glob, words)), together, legacy)


def _cmdline(ref: FieldRef, raw: Raw, reading: Reading) -> Node:
    r"""Read a part of a command line; `/usr/bin/x` is `/usr` in the middle of one and `usr` at its start."""
    if reading.version < NEW_CMDLINE:
        return Clause(ref, _words_of(ref, legacy_cmdline_words(raw.text, wild=True), raw, legacy=True))
    words = cmdline_words(raw.text, wild=True, switch=True)
    found = Clause(ref, _words_of(ref, words, raw, legacy=False))
    head = raw.text.split(maxsplit=1)[0]
    if not head.startswith("/") or "/" not in head.strip("/"):
        return found
    as_path = cmdline_words(raw.text, wild=True)
    return Or((found, Clause(ref, _words_of(ref, as_path, raw, legacy=False)))) if as_path != words else found


def _path(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    fold = folded_registry_path if ref.field.type is Type.REGISTRY else folded_path
    path = fold(raw.text, wild=True)
    if not path:
        raise Unfit(f"No part of a path is left of this value for {ref.name}. Write at least one folder or file name.")
    return SubPath(Glob(path))


def _domain(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    labels = domain_labels(raw.text, wild=True)
    if not labels:
        raise Unfit(f"{ref.name} takes labels of a domain name: example.com, or .com for the last label.")
    text = raw.text.strip()
    after, before = text.startswith("."), text.endswith(".")
    place = Place.MIDDLE if after and before else Place.LAST if after else Place.FIRST if before else Place.ANYWHERE
    return Labels(tuple(map(Glob, labels)), place)


def _ipv4(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    try:
        return Within(ipaddress.IPv4Network(raw.text.strip(), strict=False))
    except ValueError:
        raise Unfit(f"{ref.name} takes an IPv4 address or a network: 10.1.2.3 or 10.0.0.0/8.") from None


def _ipv6(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    try:
        if "%" in raw.text:  # a scope is accepted by newer versions of Python only
            raise ValueError
        return Within(ipaddress.IPv6Network(raw.text.strip(), strict=False))
    except ValueError:
        raise Unfit(f"{ref.name} takes an IPv6 address or a network: 2001:db8::1 or 2001:db8::/32.") from None


def _number(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    number = _integer_in(ref, raw.text)
    return Between(number, number)


def _integer_in(ref: FieldRef, text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise Unfit(f"{ref.name} takes a whole number, or a range such as [1 TO 10] or [10 TO *].")
    return int(text)


def _bool(ref: FieldRef, raw: Raw, _reading: Reading) -> Matcher:
    if raw.text.lower() not in ("true", "false"):
        raise Unfit(f"{ref.name} takes true or false.")
    return Is(raw.text.lower() == "true")


def _time(ref: FieldRef, raw: Raw, reading: Reading) -> Matcher:
    earliest, latest = _span(ref, raw.text, reading, point=False)
    return During(earliest, latest)


def _span(ref: FieldRef, text: str, reading: Reading, *, point: bool) -> tuple[datetime, Optional[datetime]]:
    """Return what a time stands for: a day, the following 24 hours, since; or with `point` the moment itself.

    A day stays a day as an end of a range: its first millisecond as the lower, its last as the upper end.
    """
    text = text.strip().lower()
    relative = _RELATIVE.fullmatch(text)
    try:
        if relative:
            back = _back(ref, relative, reading)
            if back.year < _FIRST_YEAR:
                raise OverflowError
            return back, back if point else None
        moment = parse_time(text) if _DATE.fullmatch(text) is None else parse_time(f"{text}t00:00:00")
        if moment is None or not (_DATE.fullmatch(text) or _MOMENT.fullmatch(text)):
            raise Unfit(f"{ref.name} takes {_TIMES}, of the years 1601 to 9998.")
        moment -= timedelta(microseconds=moment.microsecond % 1000)
        return moment, moment if point and not _DATE.fullmatch(text) else moment + _DAY - _MILLISECOND
    except OverflowError:
        raise Unfit(f"{ref.name}: no calendar reaches that far. It takes {_TIMES}.") from None


_TIMES = "a day (2021-04-20), a time in UTC (2021-04-20T09:00:00), or hours, minutes or seconds back (-24h, -30m, -90s)"


def _back(ref: FieldRef, match: re.Match[str], reading: Reading) -> datetime:
    amount, unit = match.groups()
    if unit not in _UNITS:
        hint = f" {amount} days are -{int(amount) * 24}h." if unit in ("d", "day", "days") else ""
        raise Unfit(f"{ref.name} counts back in h, m or s, not in {unit[:20]}.{hint}")
    back = reading.now.astimezone(timezone.utc) - timedelta(seconds=int(amount) * _UNITS[unit])
    return back - timedelta(microseconds=back.microsecond % 1000)


_READERS: dict[Type, Callable[[FieldRef, Raw, Reading], Matcher]] = {
    Type.KEYWORD: _keyword,
    Type.MD5: _hash(parse_md5, 32),
    Type.SHA256: _hash(parse_sha256, 64),
    Type.TEXT: _words,
    Type.PATH: _path,
    Type.REGISTRY: _path,
    Type.DOMAIN: _domain,
    Type.IPV4: _ipv4,
    Type.IPV6: _ipv6,
    Type.INTEGER: _number,
    Type.COUNT: _number,
    Type.DATETIME: _time,
    Type.BOOL: _bool,
    Type.SIGN: _sign,
    Type.GUID: _guid,
}


def leads_with_wildcard(raw: Raw) -> bool:
    """Whether a value, or one of its words, begins with a wildcard and is more than `*` alone."""
    return raw.text != MANY and any(word[:1] in (MANY, ONE) for word in raw.text.split())
