"""Splunk: what its webhook alert action posts, one result row in an envelope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from cbsigned.alert import Alert
from cbsigned.formats.fields import Record, object_of
from cbsigned.formats.values import first, first_time

__all__ = ["carried", "matches", "read"]


def matches(record: Record) -> bool:
    """Whether the record has a search id, a link to the results and a result."""
    return "sid" in record and "results_link" in record and "result" in record


def read(record: Record) -> Optional[Alert]:
    """Return what the envelope says; the row within gives the sets.

    References:
        - alert-formats §3.1: `search_name` may be null, all values are texts
    """
    row = object_of(record.get("result"))
    return Alert(
        format="splunk",
        kind=first(row, "alert_type", "type"),
        id=first(row, "event_id", "alert_id") or first(record, "sid"),
        title=first(record, "search_name") or first(row, "search_name", "rule_name"),
        at=first_time(row, "_time"),
        link=first(record, "results_link"),
    )


def carried(record: Record) -> Sequence[Record]:
    """Return the result row."""
    row = object_of(record.get("result"))
    return [row] if row else []
