"""Platforms' records → alerts: an explicit table of formats, the first that finds something to look up wins.

Read here: Carbon Black event forwarder messages and their raw bus form (watchlist, feed and alert hits,
binaryinfo, sensor events), plain process and binary documents, and flat key/value rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable, Optional

from cbsigned.alert import Alert
from cbsigned.errors import AlertError
from cbsigned.formats import carbon_black, row
from cbsigned.gaps import Cause
from cbsigned.observables import printable

__all__ = ["parse_alert"]

_FORMATS: tuple[Callable[[Mapping[str, Any]], Optional[Alert]], ...] = (carbon_black.read, row.read)


def parse_alert(record: object) -> Alert:
    """Return an alert's observable sets, whatever of the known shapes it has.

    Args:
        record: A JSON object. A Splunk row whose `_raw` holds an alert is read through it, a line of Splunk's JSON
            export through its `result`, and a line of our own output through its `alert`.

    Raises:
        AlertError: Not an object, or nothing in it can be looked up; the text says which fields would help.

    References:
        - cb-edr-api §9 and §10.3; alert-formats §1, §3.7
    """
    if not isinstance(record, Mapping):
        raise AlertError(f"The alert is {_kind_of(record)}, expected a JSON object with named fields.")
    seen: Optional[Alert] = None
    for candidate in (*_inside(record), record):
        for read in _FORMATS:
            alert = read(candidate)
            if alert is not None and alert.sets:
                return alert
            seen = seen or alert
    told = f"Alert {printable(seen.id, 80)}" if seen is not None and seen.id else "The alert"
    raise AlertError(
        f"{told} has no md5, sha256 or process guid, so there is nothing to look up. Fields that help: "
        "md5, process_hash, process_guid, or host with pid and time.",
        Cause.NO_OBSERVABLE,
    )


def _inside(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records that this one merely carries."""
    found = []
    if isinstance(record.get("result"), Mapping) and ("preview" in record or "search_name" in record):
        found += [*_inside(record["result"]), record["result"]]
    if isinstance(record.get("alert"), Mapping) and isinstance(record.get("enrichment"), Mapping):
        found.append(record["alert"])
    raw = record.get("_raw")
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        try:
            inner = json.loads(raw)
        except (ValueError, RecursionError):
            return found
        found += [inner] if isinstance(inner, Mapping) else []
    return found


def _kind_of(record: object) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a switch", type(None): "empty"}
    return names.get(type(record), "no object")
