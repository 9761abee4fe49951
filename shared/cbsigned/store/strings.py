"""Gives every distinct value a number: strings, binaries and files, each in a table of its own.

The numbers that were given or read in this session are remembered in memory; a value that is not there is looked
up once. All of it happens inside a write transaction, so no other process can give the same number.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Optional

from cbsigned.observables import short_host

__all__ = ["Binaries", "Files", "Hosts", "Paths", "Strings", "name_in"]

_REMEMBERED = 500_000


class Strings:
    """One table of distinct texts.

    Args:
        db: Open for writing.
        table: Its name, of our own.
    """

    columns = 2

    def __init__(self, db: sqlite3.Connection, table: str) -> None:
        self._db, self._table = db, table
        self.ids: dict[str, int] = {}
        self._pending: list[tuple[Any, ...]] = []
        self._next = 0
        self._whole = False
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered: another process has written, or a batch was rolled back."""
        self.ids.clear()
        self._pending.clear()
        last = self._db.execute(f"SELECT max(id) FROM {self._table}").fetchone()[0]  # noqa: S608 (our own name)
        self._next = (last or 0) + 1
        self._whole = last is None

    def id(self, value: str) -> int:
        """Return the number of a text, giving it one where it has none."""
        found = self.ids.get(value)
        return self._look_up(value) if found is None else found

    def text(self, number: int) -> str:
        """Return the text of a number."""
        self.flush()
        row = self._db.execute(f"SELECT value FROM {self._table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
        return str(row[0])

    def flush(self) -> None:
        """Write what is new."""
        if self._pending:
            marks = ",".join("?" * self.columns)
            self._db.executemany(f"INSERT INTO {self._table} VALUES ({marks})", self._pending)  # noqa: S608
            self._pending.clear()
        if len(self.ids) > _REMEMBERED:
            self.ids.clear()
            self._whole = False

    def _look_up(self, value: str) -> int:
        clean = _storable(value)
        number = None
        if not self._whole or clean is not value:
            number = self.ids.get(clean)
            if number is None:
                sql = f"SELECT id FROM {self._table} WHERE value = ?"  # noqa: S608
                row = self._db.execute(sql, (clean,)).fetchone()
                number = None if row is None else int(row[0])
        if number is None:
            number = self._next
            self._next += 1
            self._pending.append(self._row(number, clean))
            self.ids[clean] = number
        self.ids[value] = number
        return number

    def _row(self, number: int, value: str) -> tuple[Any, ...]:
        return (number, value)


class Hosts(Strings):
    """Host names, with the form in which they are compared."""

    columns = 3

    def _row(self, number: int, value: str) -> tuple[Any, ...]:
        return (number, value, short_host(value))


class Paths(Strings):
    """File paths, with the file name beside them."""

    columns = 3

    def __init__(self, db: sqlite3.Connection, names: Strings) -> None:
        super().__init__(db, "path")
        self._names = names

    def _row(self, number: int, value: str) -> tuple[Any, ...]:
        return (number, value, self._names.id(name_in(value)))


class Binaries:
    """Binaries by MD5, or by SHA-256 where no MD5 is known."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.ids: dict[str, int] = {}
        self._pending: dict[int, list[Any]] = {}
        self._hashed: dict[int, bytes] = {}
        self._next = 0
        self._whole = False
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered."""
        self.ids.clear()
        self._pending.clear()
        self._hashed.clear()
        last = self._db.execute("SELECT max(id) FROM binary").fetchone()[0]
        self._next = (last or 0) + 1
        self._whole = last is None

    def id(self, md5: Optional[str], sha256: Optional[str] = None) -> int:
        """Return the number of a binary, 0 for one without a hash.

        Args:
            md5, sha256: Lower-case hex. Where both are given, the SHA-256 is noted beside the MD5.
        """
        key = md5 or sha256
        if key is None:
            return 0
        number = self.ids.get(key)
        if number is None:
            number = self._look_up(key)
        if md5 is not None and sha256 is not None:
            self._note(number, bytes.fromhex(sha256))
        return number

    def md5(self, number: int) -> bytes:
        """Return the hash of a number, for comparing."""
        self.flush()
        row = self._db.execute("SELECT coalesce(md5, sha256) FROM binary WHERE id = ?", (number,)).fetchone()
        return bytes(row[0])

    def flush(self) -> None:
        """Write what is new."""
        self._db.executemany("INSERT INTO binary VALUES (?, ?, ?)", self._pending.values())
        self._pending.clear()
        self._db.executemany(  # the lesser of two, so that the order of events does not matter
            "UPDATE binary SET sha256 = ?1 WHERE id = ?2 AND (sha256 IS NULL OR sha256 > ?1)",
            [(sha256, number) for number, sha256 in self._hashed.items()],
        )
        self._hashed.clear()
        if len(self.ids) > _REMEMBERED:
            self.ids.clear()
            self._whole = False

    def _look_up(self, key: str) -> int:
        blob = bytes.fromhex(key)
        row = None
        if not self._whole:
            where = "md5 = ?" if len(key) == 32 else "md5 IS NULL AND sha256 = ?"
            row = self._db.execute(f"SELECT id FROM binary WHERE {where}", (blob,)).fetchone()  # noqa: S608
        if row is not None:
            number = int(row[0])
        else:
            number = self._next
            self._next += 1
            self._pending[number] = [number, blob, None] if len(key) == 32 else [number, None, blob]
        self.ids[key] = number
        return number

    def _note(self, number: int, sha256: bytes) -> None:
        row = self._pending.get(number)
        if row is not None:
            row[2] = sha256 if row[2] is None else min(row[2], sha256)
        else:
            known = self._hashed.get(number)
            self._hashed[number] = sha256 if known is None else min(known, sha256)


class Files:
    """Files: a path together with what was in it."""

    def __init__(self, db: sqlite3.Connection, paths: Paths, binaries: Binaries) -> None:
        self._db, self._paths, self._binaries = db, paths, binaries
        self.ids: dict[tuple[Optional[str], str], int] = {}
        self.binary_of: dict[int, int] = {}
        self._pending: list[tuple[int, int, int]] = []
        self._by_parts: dict[tuple[int, int], int] = {}
        self._next = 0
        self._whole = False
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered."""
        self.ids.clear()
        self.binary_of.clear()
        self._pending.clear()
        self._by_parts.clear()
        last = self._db.execute("SELECT max(id) FROM file").fetchone()[0]
        self._next = (last or 0) + 1
        self._whole = last is None

    def id(self, md5: Optional[str], path: str) -> int:
        """Return the number of a file; `binary_of` then knows its binary."""
        found = self.ids.get((md5, path))
        return self._look_up(md5, path) if found is None else found

    def flush(self) -> None:
        """Write what is new."""
        self._db.executemany("INSERT INTO file VALUES (?, ?, ?)", self._pending)
        self._pending.clear()
        if len(self.ids) > _REMEMBERED:
            self.ids.clear()
            self.binary_of.clear()
            self._whole = False
        if not self._whole:
            self._by_parts.clear()

    def _look_up(self, md5: Optional[str], path: str) -> int:
        parts = (self._paths.id(path), self._binaries.id(md5))
        number = self._by_parts.get(parts)
        if number is None and not self._whole:
            row = self._db.execute("SELECT id FROM file WHERE path_id = ? AND binary_id = ?", parts).fetchone()
            number = None if row is None else int(row[0])
        if number is None:
            number = self._next
            self._next += 1
            self._pending.append((number, *parts))
            self._by_parts[parts] = number
        self.ids[(md5, path)] = number
        self.binary_of[number] = parts[1]
        return number


def name_in(path: str) -> str:
    """Return the file name in a path, lower case; quicker than `split_path`, for the many."""
    return path.replace("/", "\\").rstrip("\\").rpartition("\\")[2].lower()


def _storable(value: str) -> str:
    """Return a text as SQLite can hold it: half of a surrogate pair, which JSON can carry, becomes a question mark."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
