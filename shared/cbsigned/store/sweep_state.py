"""What a sweep has answered so far, in a small file of its own: each indicator once, whatever interrupts the run."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional

from cbsigned.errors import ConfigError
from cbsigned.store.indicators import Indicator
from cbsigned.store.sweep import Answer

__all__ = ["SweepState"]

_APPLICATION_ID = 0x63627377  # "cbsw"
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answered (
    kind TEXT NOT NULL, value TEXT NOT NULL, total INTEGER NOT NULL, rows TEXT NOT NULL, PRIMARY KEY (kind, value))
    WITHOUT ROWID;
"""


class SweepState:
    """Answers by indicator; in a file, or in memory.

    Answers are kept by the batch, all of a batch or none: a run that is killed goes on where the last batch ended.

    Args:
        path: The file, made where there is none, readable by its owner alone; None to keep nothing.
        about: What the answers depend on: `store`, `most`. Of another run they must be the same.

    Raises:
        ConfigError: The file is something else, cannot be written, or belongs to another question.
    """

    def __init__(self, path: Optional[Path], about: Mapping[str, str]) -> None:
        self._path = path
        self._db = self._opened(about)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> SweepState:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def extent(self) -> Optional[str]:
        """How much the store held when the first answer was given; None before that."""
        row = self._db.execute("SELECT value FROM about WHERE name = 'extent'").fetchone()
        return None if row is None else str(row[0])

    def missing(self, indicators: Iterable[Indicator]) -> list[Indicator]:
        """Return those that have no answer yet, in order."""
        known = set(self._db.execute("SELECT kind, value FROM answered"))
        return [one for one in indicators if (one.kind.value, one.value) not in known]

    def put(self, answers: Mapping[Indicator, Answer], extent: str) -> None:
        """Keep the answers of a batch.

        Raises:
            ConfigError: The disk is full, or the file cannot be written.
        """
        rows = [(i.kind.value, i.value, answer.total, json.dumps(answer.rows)) for i, answer in answers.items()]
        try:
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO about VALUES ('extent', ?)", (extent,))
                self._db.executemany("INSERT OR IGNORE INTO answered VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as exc:
            raise ConfigError(
                f"The state {self._path} cannot be written ({exc}). Free some space, or name another."
            ) from exc

    def get(self, indicator: Indicator) -> Optional[Answer]:
        """Return the answer of one, or None."""
        key = (indicator.kind.value, indicator.value)
        row = self._db.execute("SELECT rows, total FROM answered WHERE kind = ? AND value = ?", key).fetchone()
        return None if row is None else Answer(json.loads(row[0]), row[1])

    def _opened(self, about: Mapping[str, str]) -> sqlite3.Connection:
        if self._path is None:
            db = sqlite3.connect(":memory:")
            db.executescript(_TABLES)
            return db
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as exc:
            raise ConfigError(f"Cannot write the state {self._path}: {exc.strerror}. Name another file.") from exc
        db = sqlite3.connect(self._path)
        try:
            self._prepare(db, about)
        except sqlite3.DatabaseError as exc:
            db.close()
            raise ConfigError(f"{self._path} is no state of a sweep ({exc}). Name another file.") from exc
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection, about: Mapping[str, str]) -> None:
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        if owner != _APPLICATION_ID and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ConfigError(f"{self._path} is a database of another program. Name another file for the state.")
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.executescript(_TABLES)
        with db:
            db.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
        kept = dict(db.execute("SELECT name, value FROM about"))
        for name, value in about.items():
            if kept.get(name) != value:
                raise ConfigError(
                    f"The state {self._path} is of a sweep with {name} {kept.get(name)}, not {value}. "
                    "Name another file, or remove this one to ask again."
                )
