"""What a store knows beside processes and binaries: sensors, watchlists and feeds that had hits, how common a file is.

References:
    - cb-edr-api §3.4 (host count), §8 (sensors, watchlists, feeds)
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from cbsigned.store.activity_reader import address

__all__ = [
    "Extent",
    "Prevalence",
    "Sensor",
    "Subscription",
    "extent_of",
    "feeds",
    "first_start",
    "prevalence",
    "sensors",
    "watchlists",
]

_MAX_ADDRESSES = 8
_WITHOUT_SENSOR = 1_000_000
_SENSORS = f"""
SELECT sensor_id, host_id, value, server FROM (
    SELECT s.sensor_id, h.id AS host_id, h.value, s.server FROM sensor s JOIN host h ON h.id = s.host_id
    UNION ALL SELECT {_WITHOUT_SENSOR} + h.id, h.id, h.value, '' FROM host h
        WHERE NOT EXISTS (SELECT 1 FROM sensor s WHERE s.host_id = h.id))
WHERE ?1 IS NULL OR sensor_id = ?1 ORDER BY sensor_id, value
"""  # noqa: S608 (our own number)
_SEEN = """
SELECT min(at), max(at) FROM (
    SELECT min(first) AS at FROM bin_host WHERE host_id = ?1 AND first > 0
    UNION ALL SELECT max(last) FROM bin_host WHERE host_id = ?1
    UNION ALL SELECT min(started) FROM process WHERE host_id = ?1
    UNION ALL SELECT max(started) FROM process WHERE host_id = ?1)
"""
_ADDRESSES = """
SELECT DISTINCT e.local_ip FROM process p JOIN netconn e ON e.process_id = p.id
WHERE p.host_id = ? AND e.local_ip != x'' LIMIT ?
"""
_SYSTEM = """
SELECT w.value FROM process p JOIN word w ON w.id = p.os_id WHERE p.host_id = ? LIMIT 1
"""
_WINDOWS = (
    "SELECT 1 FROM process p JOIN path f ON f.id = p.path_id WHERE p.host_id = ? AND f.value LIKE '_:\\%' LIMIT 1"
)
_HITS = "SELECT k.name, m.at, m.body FROM kind k JOIN message m ON m.kind_id = k.id WHERE k.name LIKE ? ORDER BY m.id"
_VALUES = {
    **dict.fromkeys(("process_name", "parent_name", "childproc_name"), "SELECT value FROM name"),
    "path": "SELECT value FROM path",
    "hostname": "SELECT value FROM host",
    "username": "SELECT value FROM account",
    "domain": "SELECT value FROM domain",
    "digsig_result": "SELECT DISTINCT word AS value FROM binary_record",
    "digsig_publisher": "SELECT DISTINCT publisher AS value FROM binary_record",
    "digsig_issuer": "SELECT DISTINCT issuer AS value FROM binary_record",
    "digsig_subject": "SELECT DISTINCT subject AS value FROM binary_record",
    "digsig_prog_name": "SELECT DISTINCT program_name AS value FROM binary_record",
}


@dataclass(frozen=True)
class Sensor:
    """One sensor, as far as its events tell of it.

    Attributes:
        host: Empty where only process guids name the sensor.
        first_at, last_at: Of its events, in milliseconds since 1970; None without any.
        addresses: Its own IP addresses, from connections.
        system: `windows`, `linux`, `osx`, or empty.
    """

    number: int
    host: str
    server: str
    first_at: Optional[int]
    last_at: Optional[int]
    addresses: tuple[str, ...]
    system: str


@dataclass
class Subscription:
    """A watchlist or a feed that had hits.

    Attributes:
        modules: Its hits are binaries, not processes.
        hits, tags: Hits reported by the server, and documents that it tagged.
        first_at, last_at: Of the hits, in milliseconds since 1970.
    """

    number: str
    name: str
    modules: bool = False
    hits: int = 0
    tags: int = 0
    first_at: Optional[int] = None
    last_at: Optional[int] = None


@dataclass(frozen=True)
class Prevalence:
    """How common a binary is: hosts that had it, processes that ran it, processes in all."""

    hosts: int
    processes: int
    all_processes: int


@dataclass(frozen=True)
class Extent:
    """How much a store holds, and of which time (milliseconds since 1970)."""

    processes: int
    bytes: int
    first_at: Optional[int]
    last_at: Optional[int]


def sensors(db: sqlite3.Connection, number: Optional[int] = None) -> list[Sensor]:
    """Return all sensors by number, or the one of a number; of several hosts with one number the last seen."""
    found: dict[int, Sensor] = {}
    for sensor_id, host_id, host, server in db.execute(_SENSORS, (number,)).fetchall():
        first, last = db.execute(_SEEN, (host_id,)).fetchone()
        packed = [row[0] for row in db.execute(_ADDRESSES, (host_id, _MAX_ADDRESSES))]
        known = found.get(sensor_id)
        if known is None or (known.last_at or 0) < (last or 0):
            own = tuple(text for text in map(address, packed) if text)
            found[sensor_id] = Sensor(sensor_id, host, server, first, last, own, _system(db, host_id))
    if number is not None and number not in found and _in_guids(db, number):
        found[number] = Sensor(number, "", "", None, None, (), "")
    return [found[sensor_id] for sensor_id in sorted(found)]


def sensor_number(db: sqlite3.Connection, host: str) -> Optional[int]:
    """Return the number of a host's sensor; one that only other products watch has a number over a million."""
    row = db.execute(
        "SELECT coalesce((SELECT min(s.sensor_id) FROM sensor s WHERE s.host_id = h.id), ? + h.id) FROM host h"
        " WHERE h.value = ?",
        (_WITHOUT_SENSOR, host),
    ).fetchone()
    return None if row is None else int(row[0])


def watchlists(db: sqlite3.Connection) -> list[Subscription]:
    """Return the watchlists whose hits the store holds, by number."""
    found: dict[str, Subscription] = {}
    for kind, at, record in _hits(db, "%watchlist.%hit.%"):
        if str(record.get("feed_id", -1)) == "-1":
            _count(found, kind, at, record.get("watchlist_id"), record.get("watchlist_name"))
    return sorted(found.values(), key=lambda one: (len(one.number), one.number))


def feeds(db: sqlite3.Connection) -> list[Subscription]:
    """Return the feeds whose hits the store holds, by number."""
    found: dict[str, Subscription] = {}
    for kind, at, record in _hits(db, "feed.%hit.%"):
        _count(found, kind, at, record.get("feed_id"), record.get("feed_name"))
    return sorted(found.values(), key=lambda one: (len(one.number), one.number))


def prevalence(db: sqlite3.Connection, binary: Optional[int]) -> Prevalence:
    """Return how common a binary is.

    Args:
        binary: Its number, or None for one that nothing names.
    """
    hosts = db.execute("SELECT count(*) FROM bin_host WHERE binary_id = ?", (binary,)).fetchone()[0]
    ran = db.execute("SELECT count(*) FROM process WHERE binary_id = ?", (binary,)).fetchone()[0]
    return Prevalence(int(hosts), int(ran), int(db.execute("SELECT count(*) FROM process").fetchone()[0]))


def values_of(db: sqlite3.Connection, field: str, prefix: str, limit: int) -> list[str]:
    """Return the values of a field of the query language that begin with a text, in any case, sorted.

    Fields whose values are not kept as a list of their own have none.
    """
    if field not in _VALUES:
        return []
    escaped = re.sub(r"([\\%_])", r"\\\1", prefix)
    sql = f"SELECT value FROM ({_VALUES[field]}) WHERE value LIKE ? ESCAPE '\\' ORDER BY value LIMIT ?"  # noqa: S608
    return [str(row[0]) for row in db.execute(sql, (f"{escaped}%", limit)) if row[0]]


def extent_of(db: sqlite3.Connection) -> Extent:
    """Return how much the store holds."""
    processes, last = db.execute("SELECT (SELECT count(*) FROM process), (SELECT max(started) FROM process)").fetchone()
    pages, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    return Extent(int(processes), pages * size, first_start(db), last)


def first_start(db: sqlite3.Connection) -> Optional[int]:
    """Return when the first process started (milliseconds since 1970), or None in a store without any."""
    first: Optional[int] = db.execute("SELECT min(started) FROM process").fetchone()[0]  # alone it is one index step
    return first


def _hits(db: sqlite3.Connection, kinds: str) -> Iterator[tuple[str, Optional[int], dict[str, Any]]]:
    for kind, at, body in db.execute(_HITS, (kinds,)):
        yield kind, at, json.loads(body)


def _count(found: dict[str, Subscription], kind: str, at: Optional[int], number: object, name: object) -> None:
    if not isinstance(number, (int, str)) or not str(number):
        return
    one = found.setdefault(str(number), Subscription(str(number), str(name or number)))
    one.modules = one.modules or kind.endswith(".binary")
    one.hits += not kind.startswith("alert.") and ".storage." not in kind
    one.tags += ".storage." in kind
    if at is not None:
        one.first_at = at if one.first_at is None else min(one.first_at, at)
        one.last_at = at if one.last_at is None else max(one.last_at, at)


def _system(db: sqlite3.Connection, host_id: int) -> str:
    row = db.execute(_SYSTEM, (host_id,)).fetchone()
    if row is not None:
        return str(row[0]).lower()
    return "windows" if db.execute(_WINDOWS, (host_id,)).fetchone() else ""


def _in_guids(db: sqlite3.Connection, number: int) -> bool:
    """Whether a process guid begins with the sensor's number."""
    if not 0 <= number < 2**32 - 1:
        return False
    span = (number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big"))
    return db.execute("SELECT 1 FROM process WHERE guid >= ? AND guid < ? LIMIT 1", span).fetchone() is not None
