"""One reader of the store for one question: opened, held to the deadline, closed, errors turned into ours."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cbsigned.errors import SourceTimeout
from cbsigned.process import Process
from cbsigned.store.database import open_reader, readable_error
from cbsigned.store.records import PROCESS_SQL, process_of
from cbsigned.timing import Deadline

__all__ = ["bounded", "in_parts", "marks", "processes_of", "reading"]

_PART = 400
_STEPS = 10_000


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Give the store open for reading, all of it as it is at one moment.

    Raises:
        ConfigError: There is no such store, or it is not one.
        SourceError: It cannot be read just now.
    """
    db = open_reader(path)
    try:
        db.execute("BEGIN")
        yield db
    except sqlite3.Error as exc:
        raise readable_error(path, exc) from exc
    finally:
        db.close()


@contextlib.contextmanager
def bounded(db: sqlite3.Connection, deadline: Deadline) -> Iterator[None]:
    """Interrupt what runs inside at the deadline.

    Raises:
        SourceTimeout: It has passed.
    """
    late = SourceTimeout(
        f"Not everything was looked at within {deadline.seconds:g} s. Ask for less, or give more time: --deadline."
    )
    if deadline.passed:
        raise late
    db.set_progress_handler(lambda: int(deadline.passed), _STEPS)
    try:
        yield
    except sqlite3.OperationalError as exc:
        if "interrupt" not in str(exc):
            raise
        raise late from exc
    finally:
        db.set_progress_handler(None, 0)


def in_parts(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query whose one `IN ({})` takes any number of values, 400 at a time."""
    distinct = list(dict.fromkeys(values))
    for first in range(0, len(distinct), _PART):
        part = distinct[first : first + _PART]
        yield from db.execute(sql.format(marks(part)), part)


def marks(values: Sequence[object]) -> str:
    """Return a question mark for each value."""
    return ",".join("?" * len(values))


def processes_of(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Process]:
    """Return processes by their number in the store."""
    sql = PROCESS_SQL.replace("SELECT ", "SELECT p.id, ", 1) + " WHERE p.id IN ({})"
    return {row[0]: process_of(row[1:]) for row in in_parts(db, sql, numbers)}
