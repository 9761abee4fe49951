"""Joins process starts without an id of their own: to the same start that Sysmon or an EDR told, and to their parents.

It runs at the end of an ingest, over all processes with a made id that are still alone, so that neither the order
of files nor where a batch ended matters.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from cbsigned.store.ids import MADE_MARK
from cbsigned.store.strings import name_in

__all__ = ["join_created"]

_SLACK_MS = 2000
_SQL = """
SELECT p.id, p.pid, n.value, p.started, p.reported, p.ended, p.described & 1, p.guid, p.parent_id, x.value
FROM process p JOIN host h ON h.id = p.host_id
LEFT JOIN name n ON n.id = p.name_id LEFT JOIN extra x ON x.id = p.extra_id
WHERE h.short = ? AND p.pid IS NOT NULL
"""
_HOSTS = """
SELECT DISTINCT h.short FROM process p JOIN host h ON h.id = p.host_id
WHERE p.guid >= ? AND p.guid < ? AND p.described & 1
"""


class _Start(NamedTuple):
    id: int
    pid: int
    name: Optional[str]
    started: Optional[int]
    reported: Optional[int]
    ended: Optional[int]
    recorded: int
    guid: bytes
    parent_id: Optional[int]
    extra: Optional[str]

    @property
    def made(self) -> bool:
        return len(self.guid) == 18 and self.guid[:2] == MADE_MARK

    @property
    def at(self) -> int:
        """When it started, by the log's own clock where that is known: one recording's UtcTime is hours off."""
        return self.started or 0 if self.reported is None else self.reported

    def apart(self, moment: int) -> int:
        """Return how far its start is from a moment, by whichever of its clocks is nearer."""
        return min(abs(time - moment) for time in (self.at, self.started or self.at))


def join_created(db: sqlite3.Connection) -> int:
    """Merge and link what can be told beyond doubt, and return how many processes were merged into another.

    The same start: host, pid and name equal, no more than 2 s apart. A parent: the latest process on that host
    with the creator's pid and name that had started by then and not ended; without a name (auditd) one of the
    same login session.

    Args:
        db: Inside a transaction.
    """
    merged = 0
    for (short,) in db.execute(_HOSTS, (MADE_MARK, MADE_MARK[:1] + bytes([MADE_MARK[1] + 1]))).fetchall():
        rows = [_Start(*row) for row in db.execute(_SQL, (short,))]
        by_pid: dict[int, list[_Start]] = defaultdict(list)
        for row in rows:
            by_pid[row.pid].append(row)
        alone = [row for row in rows if row.made and row.recorded]
        same = {row.id: twin for row in alone for twin in [_twin(row, by_pid[row.pid])] if twin is not None}
        for row in alone:
            if row.id in same:
                _merge(db, row, same[row.id])
        for row in alone:
            if row.id not in same and row.parent_id is None:
                parent = _parent(row, by_pid, same)
                if parent is not None:
                    db.execute("UPDATE process SET parent_id = ? WHERE id = ?", (parent, row.id))
        merged += len(same)
    return merged


def _twin(row: _Start, candidates: list[_Start]) -> Optional[_Start]:
    near = [
        other for other in candidates
        if other.recorded and not other.made and other.name == row.name and other.apart(row.at) <= _SLACK_MS
    ]  # fmt: skip
    return min(near, key=lambda other: (other.apart(row.at), other.guid), default=None)


def _parent(row: _Start, by_pid: Mapping[int, list[_Start]], same: Mapping[int, _Start]) -> Optional[int]:
    told = json.loads(row.extra) if row.extra else {}
    pid, path = told.get("parent_pid"), told.get("parent_path")
    if not isinstance(pid, int):
        return None
    fitting = [
        other for other in by_pid.get(pid, ())
        if other.id != row.id and (other.name == name_in(path) if path else _same_session(told, other))
        and other.at <= row.at and (other.ended is None or other.ended >= row.at - _SLACK_MS)
    ]  # fmt: skip
    timed = [other for other in fitting if other.at]
    if not timed and len(fitting) > 1:  # several that were running before the recording: none of them is sure
        return None
    found = max(timed or fitting, key=lambda other: (other.at, other.guid), default=None)
    if found is None:
        return None
    return same[found.id].id if found.id in same else found.id


def _same_session(told: Mapping[str, Any], other: _Start) -> bool:
    session = told.get("session")
    return session is not None and other.extra is not None and json.loads(other.extra).get("session") == session


def _merge(db: sqlite3.Connection, row: _Start, into: _Start) -> None:
    """Let one process stand for both; what it did not know, the other tells."""
    both = {"row": row.id, "into": into.id}
    for column in ("cmdline_id", "account_id", "path_id"):
        db.execute(
            f"UPDATE process SET {column} = (SELECT {column} FROM process WHERE id = :row)"  # noqa: S608 (our own names)
            f" WHERE id = :into AND {column} IS NULL",
            both,
        )
    db.execute("UPDATE process SET parent_id = :into WHERE parent_id = :row", both)
    db.execute("UPDATE message SET process_id = :into WHERE process_id = :row", both)
    db.execute("DELETE FROM process WHERE id = ?", (row.id,))
