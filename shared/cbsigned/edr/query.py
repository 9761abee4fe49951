"""Queries for process and binary search, built from typed parts and never pasted.

Every value is quoted and escaped, or is plain enough to need neither, so no value can close a clause, open
another, or become an operator. `Query` texts come from these functions alone.

References:
    - cb-edr-api §4.1 (grammar, safe recipe), §4.2 (field types), §1 (clause limit)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Optional

from cbsigned.errors import SourceQueryError
from cbsigned.gaps import Cause
from cbsigned.observables import parse_guid, parse_md5, parse_sha256

__all__ = [
    "MAX_CLAUSES",
    "MAX_VALUE",
    "Query",
    "Unsearchable",
    "all_of",
    "any_of",
    "between",
    "clause",
    "guid_clause",
    "hash_clause",
    "moved",
    "prefix_clause",
    "without",
]

MAX_CLAUSES = 200
"""Most clauses in one query: a stock index refuses more than 1,024, and 100 to 200 are known to work."""
MAX_VALUE = 4096
"""Longest value, in characters."""

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", re.ASCII)
_OPERATORS = {"and", "or", "not", "to"}
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, lone surrogates, line and paragraph separators


class Unsearchable(SourceQueryError, ValueError):
    """The value, sound or not, cannot be put into a query of this server."""

    cause = Cause.UNSEARCHABLE


@dataclass(frozen=True)
class Query:
    """A query, or a part of one.

    Attributes:
        text: As the server reads it; empty finds everything.
        clauses: How many clauses it has, for the limit of one query.
        operator: `or` or `and` where the outermost level has several parts.
    """

    text: str
    clauses: int
    operator: str = ""

    def __str__(self) -> str:
        return self.text


def clause(field: str, value: str) -> Query:
    """Return `field:value`, the value quoted and escaped where it is more than one plain word.

    Args:
        field: A field of the query language; ours to choose, never from outside.
        value: Anything, up to `MAX_VALUE` characters.

    Raises:
        Unsearchable: The value is empty, too long, or has control characters.
    """
    _check(field, value)
    if _PLAIN.fullmatch(value) and value.lower() not in _OPERATORS:
        return Query(f"{_field(field)}:{value}", 1)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return Query(f'{_field(field)}:"{escaped}"', 1)


def prefix_clause(field: str, value: str) -> Query:
    """Return `field:value*`: everything that begins with a plain word.

    Raises:
        Unsearchable: The value has characters that would need quotes, in which `*` is not a wildcard.
    """
    _check(field, value)
    if not _PLAIN.fullmatch(value):
        raise Unsearchable(f"{_shown(value)} cannot be searched as the beginning of {field}: only letters, digits, _.-")
    return Query(f"{_field(field)}:{value}*", 1)


def hash_clause(file_hash: str, *, of: str = "") -> Query:
    """Return `md5:…` or `sha256:…` by the length of the hash.

    Args:
        file_hash: 32 or 64 hex digits in any case.
        of: Empty for binary search; `process` for the image of a process.

    Raises:
        Unsearchable: It is no MD5 and no SHA-256.
    """
    prefix = f"{of}_" if of else ""
    for name, parse in (("md5", parse_md5), ("sha256", parse_sha256)):
        parsed = parse(file_hash)
        if parsed is not None:
            return Query(f"{_field(prefix + name)}:{parsed}", 1)
    raise Unsearchable(f"{_shown(file_hash)} is no MD5 (32 hex digits) and no SHA-256 (64). Check the alert's field.")


def guid_clause(field: str, guid: str) -> Query:
    """Return `field:guid`.

    Raises:
        Unsearchable: It is no process guid.
    """
    parsed = parse_guid(guid)
    if parsed is None:
        raise Unsearchable(f"{_shown(guid)} is no process guid (36 characters). Check the alert's field.")
    return Query(f"{_field(field)}:{parsed}", 1)


def between(field: str, earliest: Optional[datetime], latest: Optional[datetime]) -> Query:
    """Return `field:[earliest TO latest]`, widened to whole seconds; None leaves that side open.

    Args:
        earliest, latest: Aware; written in UTC without a zone, the one form that vendor and clients document.
            The ends of the calendar stay what they are.
    """
    low = "*" if earliest is None else _seconds(earliest)
    high = "*" if latest is None else _seconds(moved(latest, timedelta(microseconds=999_999)))
    return Query(f"{_field(field)}:[{low} TO {high}]", 1)


def moved(moment: datetime, by: timedelta) -> datetime:
    """Return `moment` + `by` in UTC, and the first or last moment of the calendar where that lies beyond it."""
    try:
        return moment.astimezone(timezone.utc) + by
    except OverflowError:
        end = datetime.min if moment.year < 5000 else datetime.max
        return end.replace(tzinfo=timezone.utc)


def any_of(parts: Iterable[Query]) -> Query:
    """Return what finds everything that one part finds; parts of several clauses go into parentheses."""
    return _join("or", parts)


def all_of(parts: Iterable[Query]) -> Query:
    """Return what finds only what every part finds."""
    return _join("and", parts)


def without(part: Query) -> Query:
    """Return what finds everything that `part`, one clause, does not find; for use within `all_of`.

    Raises:
        ValueError: The part has several clauses, or is negated already.

    References:
        - cb-edr-api §4.1 (`-` before a clause)
    """
    if part.operator or part.text.startswith("-"):
        raise ValueError(f"{part.text[:60]} is not one plain clause")
    return Query(f"-{part.text}", part.clauses)


def _join(operator: str, parts: Iterable[Query]) -> Query:
    given = list(parts)
    if not given:
        raise ValueError(f"no parts to join by {operator}: the empty query would find everything")
    if len(given) == 1:
        return given[0]
    between_parts = " or " if operator == "or" else " "
    text = between_parts.join(f"({part})" if part.operator not in ("", operator) else part.text for part in given)
    return Query(text, sum(part.clauses for part in given), operator)


def _field(name: str) -> str:
    if not _FIELD.fullmatch(name):
        raise ValueError(f"{name!r} is not a field name")
    return name


def _check(field: str, value: str) -> None:
    if not value.strip():
        raise Unsearchable(f"An empty value cannot be searched in {field}.")
    if len(value) > MAX_VALUE:
        raise Unsearchable(f"{_shown(value)} is too long to search in {field}: {len(value)} of at most {MAX_VALUE}.")
    if any(unicodedata.category(character) in _UNSAFE for character in value):
        raise Unsearchable(f"{_shown(value)} has control characters, so it cannot be searched in {field}.")


def _seconds(moment: datetime) -> str:
    return moved(moment, timedelta(0)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def _shown(value: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in value[:41])
    return f'"{clean[:40]}…"' if len(clean) > 40 else f'"{clean}"'
