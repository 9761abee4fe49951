"""Processes of the store as the EDR's process documents, and their relatives.

A document is made of the process's row, of counts over its events, and of what kept documents and hits say besides
(group, addresses, feed hits). What nobody reported is left out, never made up.

References:
    - cb-edr-api §2.3 (fields), §2.5 (unknown parents); recording cb-response-splunk-app, watchlist hits
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from cbsigned.observables import parse_guid
from cbsigned.store.ids import pack
from cbsigned.store.kinds import PROCESS_DOCUMENT
from cbsigned.store.records import PROCESS_SQL, moment, process_of
from cbsigned.store.rows import Described
from cbsigned.timing import format_time, parse_time

__all__ = [
    "COUNTED", "Segment", "children_of", "iso", "kept_documents", "process_document", "process_documents",
    "process_number", "segments_of", "siblings_of", "signed_address",
]  # fmt: skip

COUNTED = ("modload", "regmod", "filemod", "netconn", "childproc", "crossproc")
"""Event tables with a count of their own in a document."""

_CHUNK = 400
_NO_MD5 = "0" * 30  # as recorded, whatever the parent
_WITH_START = Described.START | Described.DOCUMENT | Described.HIT
_WINDOWS = re.compile(r"([a-z]:)?\\", re.IGNORECASE)
_TEXTS = {"group", "host_type", "emet_config", "uid", "last_server_update", "process_sha256"}
_NUMBERS = {"emet_count", "processblock_count", "fileless_scriptload_count", "logon_type"}
_ADDRESSES = {"comms_ip", "interface_ip"}
_ALLIANCE = re.compile(r"alliance_(score|data|link|updated)_[a-z0-9_]{1,64}", re.ASCII)
_KEPT_SQL = """
SELECT m.process_id, p.guid, m.body
FROM message m JOIN kind k ON k.id = m.kind_id JOIN process p ON p.id = m.process_id
WHERE m.process_id IN ({}) AND (k.name = ? OR k.name LIKE '%.hit.process') ORDER BY m.at, m.id
"""


@dataclass(frozen=True)
class Segment:
    """A numbered slice of a process's events, as a kept document tells of it.

    Attributes:
        number: As the server gave it: small and counted before 6.0, milliseconds since 1970 later.
        until: Its last update, in milliseconds since 1970; None where that is not told.
    """

    number: int
    until: Optional[int]


def process_number(db: sqlite3.Connection, guid: str) -> Optional[int]:
    """Return the store's number of a process, or None for one that no event named.

    Args:
        guid: As `parse_process_id` returns it.
    """
    row = db.execute("SELECT id FROM process WHERE guid = ?", (pack(guid),)).fetchone()
    return None if row is None else int(row[0])


def children_of(db: sqlite3.Connection, number: int, limit: int) -> list[int]:
    """Return the numbers of a process's children, oldest first, at most `limit`."""
    sql = "SELECT id FROM process WHERE parent_id = ? ORDER BY started, guid LIMIT ?"
    return [int(row[0]) for row in db.execute(sql, (number, limit))]


def siblings_of(db: sqlite3.Connection, number: int, limit: int) -> list[int]:
    """Return the numbers of the other children of a process's parent, oldest first, at most `limit`."""
    sql = (
        "SELECT s.id FROM process p JOIN process s ON s.parent_id = p.parent_id AND s.id != p.id "
        "WHERE p.id = ? ORDER BY s.started, s.guid LIMIT ?"
    )
    return [int(row[0]) for row in db.execute(sql, (number, limit))]


def process_documents(db: sqlite3.Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return the documents of processes, in the order asked; a number that there is not is passed over.

    `unique_id` and `parent_unique_id` are left to the caller, since their form depends on the server's version, as is
    `segment_id` where no kept document tells it. `start` is missing where no record describes the process itself.
    """
    found: dict[int, dict[str, Any]] = {}
    wanted = list(dict.fromkeys(numbers))
    for first in range(0, len(wanted), _CHUNK):
        part = wanted[first : first + _CHUNK]
        marks = ",".join("?" * len(part))
        events = _event_counts(db, part, marks)
        kept = _kept(db, part, marks)
        sql = PROCESS_SQL.replace("SELECT ", "SELECT p.id, p.reported, ", 1)
        for number, reported, *row in db.execute(f"{sql} WHERE p.id IN ({marks})", part):
            found[number] = process_document(row, reported, events[number], kept.get(number, []))
    return [found[number] for number in numbers if number in found]


def segments_of(db: sqlite3.Connection, number: int) -> list[Segment]:
    """Return the segments that kept documents tell of, in order; none where the store knows the whole alone."""
    latest: dict[int, Optional[int]] = {}
    for document in _kept(db, [number], "?").get(number, []):
        segment = document.get("segment_id")
        if isinstance(segment, int) and _is_segment(segment):
            latest[segment] = _milliseconds(document.get("last_update"))
    return [Segment(segment, until) for segment, until in sorted(latest.items())]


def iso(milliseconds: Optional[int]) -> Optional[str]:
    """Return a time of the store as documents write it: `2021-04-20T13:33:23.24Z`, zeros at the end cut."""
    text = format_time(moment(milliseconds))
    return text if text is None or "." not in text else text[:-1].rstrip("0") + "Z"


def process_document(
    row: Sequence[Any], reported: Optional[int], events: Mapping[str, tuple[int, int]],
    kept: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Return one document.

    Args:
        row: Of `PROCESS_SQL`.
        reported: When its start was reported, in milliseconds.
        events: By table of `COUNTED`: how many, and when the last was.
        kept: What kept documents and hits say of it, oldest first.
    """
    process = process_of(row)
    started, ended, described = row[11], row[12], row[16]
    last = max((at for at in (reported, ended, *(at for _count, at in events.values())) if at), default=started)
    updates = [at for at in (_milliseconds(document.get("last_update")) for document in kept) if at is not None]
    last = max([*updates, *([last] if last is not None else [])], default=None)
    segments = [int(d["segment_id"]) for d in kept if _is_segment(d.get("segment_id"))]
    made: dict[str, Any] = {
        "id": process.guid, "segment_id": max(segments, default=None), "process_name": process.name,
        "path": process.path, "process_md5": process.md5, "process_sha256": process.sha256,
        "process_pid": process.pid, "cmdline": process.cmdline, "username": process.user,
        "hostname": process.host, "sensor_id": process.sensor_id, "os_type": process.os_type or _os_of(process.path),
        "start": iso(started) if described & _WITH_START else None, "last_update": iso(last),
        "last_server_update": iso(last), "terminated": bool(process.terminated),
        "parent_md5": _NO_MD5, "watchlists": [], "is_suppressed": True if process.suppressed else None,
        **_parent(process.guid, process.parent_guid, process.parent_name, process.parent_pid, process.parent_unknown),
        **{f"{name}_count": events.get(name, (0, 0))[0] for name in COUNTED},
        "emet_count": 0, "processblock_count": 0, "fileless_scriptload_count": 0,
    }  # fmt: skip
    for document in kept:
        made.update(_besides(document, made))
    return {name: value for name, value in made.items() if value is not None}


def _parent(guid: str, parent: Optional[str], name: Optional[str], pid: Optional[int], unknown: bool) -> dict[str, Any]:
    if parent is not None:
        return {"parent_id": parent, "parent_name": name or "(unknown)", "parent_pid": pid}
    if unknown:
        return {"parent_id": f"{guid[:8]}-ffff-ffff-0000-000000000000", "parent_name": "(unknown)", "parent_pid": -1}
    return {}


def _besides(document: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a kept document adds: fields that the store has no column for, and counts that are higher."""
    added: dict[str, Any] = {}
    for name, value in document.items():
        if name in _ADDRESSES:
            added[name] = signed_address(value)
        elif (name in _TEXTS and isinstance(value, str) and (value or name == "emet_config")) or (
            name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool)
        ):
            added[name] = value
        elif name.endswith("_count") and name[:-6] in COUNTED and isinstance(value, int):
            added[name] = max(value, made[name])
        elif name == "filtering_known_dlls" and isinstance(value, bool):
            added[name] = value
        elif name == "watchlists" and isinstance(value, list):
            added[name] = [entry for entry in value if isinstance(entry, dict)]
        elif _ALLIANCE.fullmatch(name):
            added[name] = [value] if name.startswith("alliance_data_") and isinstance(value, str) else value
        elif name == "start" and made.get("start") and parse_time(value):
            added[name] = value
    return {name: value for name, value in added.items() if value is not None}


def signed_address(value: object) -> Optional[int]:
    """Return an IPv4 address as documents write it, a signed number of 32 bits, or None for none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**31) <= value < 2**31 else None
    try:
        return int(struct.unpack(">i", socket.inet_aton(value))[0]) if isinstance(value, str) and value else None
    except OSError:
        return None


def _event_counts(
    db: sqlite3.Connection, numbers: Sequence[int], marks: str
) -> defaultdict[int, dict[str, tuple[int, int]]]:
    """Return for each process and event table how many events there are, and when the last was."""
    found: defaultdict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
    for table in COUNTED:
        sql = f"SELECT process_id, count(*), max(at) FROM {table} WHERE process_id IN ({marks}) GROUP BY process_id"  # noqa: S608
        for number, count, last in db.execute(sql, numbers):
            found[number][table] = (count, last)
    return found


def _kept(db: sqlite3.Connection, numbers: Sequence[int], marks: str) -> dict[int, list[dict[str, Any]]]:
    """Return the kept documents of each process, oldest first."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, guid, body in db.execute(_KEPT_SQL.format(marks), [*numbers, PROCESS_DOCUMENT]):
        found[number] += kept_documents(guid, [body])
    return found


def kept_documents(guid: bytes, bodies: Iterable[str]) -> list[dict[str, Any]]:
    """Return the documents of one process that kept messages hold, in the messages' order."""
    found: list[dict[str, Any]] = []
    for body in bodies:
        record = json.loads(body)
        listed = record.get("docs", record)
        for document in listed if isinstance(listed, list) else [listed]:
            if isinstance(document, dict) and _guid_of(document) == guid.hex():
                found.append(document)
    return found


def _guid_of(document: Mapping[str, Any]) -> Optional[str]:
    names = ("id", "process_guid", "process_id", "unique_id")
    guid = next((found for found in map(parse_guid, map(document.get, names)) if found), None)
    return None if guid is None else guid.replace("-", "")


def _is_segment(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**47


def _milliseconds(value: object) -> Optional[int]:
    at = parse_time(value)
    return None if at is None else round(at.timestamp() * 1000)


def _os_of(path: Optional[str]) -> Optional[str]:
    return "windows" if path is not None and _WINDOWS.match(path) else None
