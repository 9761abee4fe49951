"""Values of a record as texts, times and hashes, whatever a platform made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Optional

from cbsigned.observables import Hashes, read_hashes
from cbsigned.timing import parse_time

__all__ = ["first", "first_time", "hashes_of", "host_of", "merged", "text_of"]

_ABSENT = ("(unknown)", "unknown", "null", "none")


def text_of(value: object) -> Optional[str]:
    """Return a value as text, the first of a list; None for nothing, objects and the words that mean *not known*."""
    if isinstance(value, list) and value:
        value = value[0]
    if type(value) is str:  # as nearly all of them are
        text = value.strip()
        return text if text and text.lower() not in _ABSENT else None
    if value is None or isinstance(value, (Mapping, list, bool)):
        return None
    text = str(value).strip()
    return text if text and text.lower() not in _ABSENT else None


def first(record: Mapping[str, Any], *names: str) -> Optional[str]:
    """Return the first of these fields that has a text."""
    for name in names:  # a loop: most fields are not there, and every alert is asked for dozens of them
        if name in record:
            text = text_of(record[name])
            if text is not None:
                return text
    return None


def first_time(record: Mapping[str, Any], *names: str) -> Optional[datetime]:
    """Return the first of these fields that has a time."""
    for name in names:
        if name in record:
            moment = parse_time(record[name])
            if moment is not None:
                return moment
    return None


def host_of(record: Mapping[str, Any]) -> Optional[str]:
    """Return the host of a Carbon Black record."""
    return first(record, "hostname", "computer_name")


def hashes_of(*values: object) -> Hashes:
    """Return the hashes in several values of one file."""
    found = [read_hashes(value) for value in values if value is not None]
    return found[0] if len(found) == 1 else merged(found)


def merged(found: Sequence[Hashes]) -> Hashes:
    """Return the first hash of each kind, with all problems once."""
    return Hashes(
        next((h.md5 for h in found if h.md5), None),
        next((h.sha1 for h in found if h.sha1), None),
        next((h.sha256 for h in found if h.sha256), None),
        tuple(dict.fromkeys(problem for h in found for problem in h.problems)),
    )
