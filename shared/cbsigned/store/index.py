"""The indexes behind searches: words of distinct texts, and facts that kept messages tell.

Words are indexed in bulk, behind the batches that bring the texts: `indexed` says up to which number a table's texts
are in, and a search scans the few behind it, so that an answer never waits for the index nor misses a text. The facts
of messages are written with each batch. Where SQLite has no FTS5, or a store was filled by one that has none, every
distinct text is scanned.

References:
    - store.md §2, §4 (why distinct texts, why our own words); https://sqlite.org/fts5.html
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Union

from cbsigned.query.tokens import cmdline_words, extensions, folded_path, folded_registry_path, text_words
from cbsigned.store.traits import Trait, traits_of

__all__ = [
    "END", "TABLES", "TextTable", "backlog", "catch_up", "has_fts5", "index_messages", "indexed_up_to", "open_index",
    "touch", "touch_new",
]  # fmt: skip

END = "\x01"
"""Token after a path's last part, and between the words of a command line and their extensions."""
MESSAGES = "message"

_CHUNK = 20_000
_MESSAGE_CHUNK = 2_000
_ASCII = "".join(map(chr, range(1, 128)))
_OWN_TABLES = {True: ("process", "process_text", "process_number"), False: ("binary", "binary_text", "binary_number")}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TextTable:
    """One table of distinct texts and its index.

    Attributes:
        name: The table, with `id` and `value`.
        tokens: What of a text is indexed, ready for the index's own tokenizer, which only cuts at `separator`.
    """

    name: str
    tokens: Callable[[str], str]
    separator: str

    @property
    def index(self) -> str:
        """The index's table."""
        return f"{self.name}_fts"

    @property
    def ddl(self) -> str:
        """What makes the index: without a copy of the text, and cut at nothing but the separator."""
        kept = _ASCII.replace(self.separator, "").replace("'", "''")
        tokenizer = f"ascii tokenchars '{kept}'".replace('"', '""').replace("'", "''")
        return (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {self.index} USING fts5(words, content='', columnsize=0, "
            f"tokenize='{tokenizer}')"
        )


def _cmdline_tokens(line: str) -> str:
    words = cmdline_words(line)
    return " ".join((*words, END, *extensions(words)))


TABLES = {
    table.name: table
    for table in (
        TextTable("cmdline", _cmdline_tokens, " "),
        TextTable("path", lambda path: f"{folded_path(path)}\\{END}", "\\"),
        TextTable("regpath", lambda path: f"{folded_registry_path(path)}\\{END}", "\\"),
        TextTable("text", lambda text: " ".join(text_words(text)), " "),
    )
}
"""The tables whose texts are indexed."""


def has_fts5(db: sqlite3.Connection) -> bool:
    """Whether this SQLite has the full-text module."""
    return bool(db.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0])


def open_index(db: sqlite3.Connection) -> bool:
    """Make the indexes of words where they are missing, and return whether there can be any.

    Args:
        db: Open for writing.
    """
    if not has_fts5(db):
        return False
    for table in TABLES.values():
        db.execute(table.ddl)
    return True


def indexed_up_to(db: sqlite3.Connection, name: str) -> int:
    """Return the number up to which texts of a table, or messages, are indexed; 0 where there is no index."""
    if name != MESSAGES and not has_fts5(db):
        return 0
    row = db.execute("SELECT upto FROM indexed WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def backlog(db: sqlite3.Connection, *, messages: bool = False) -> int:
    """Return how many texts are not indexed yet, which a search scans; or messages, whose facts it misses."""
    return sum(_last(db, name) - indexed_up_to(db, name) for name in ((MESSAGES,) if messages else TABLES))


def catch_up(db: sqlite3.Connection, *, least: int = 1, progress: Optional[Progress] = None) -> int:
    """Index the words of texts that are not in yet, and return how many were.

    Each chunk is a transaction of its own; another process may go on where this one ended.

    Args:
        db: Open for writing, outside a transaction.
        least: Leave a table alone that has fewer to do.
        progress: Called with texts done and texts in all.
    """
    open_ = {name: _last(db, name) - indexed_up_to(db, name) for name in TABLES}
    open_ = {name: count for name, count in open_.items() if count >= max(1, least)}
    if not open_ or not open_index(db):
        return 0
    done, total = 0, sum(open_.values())
    for name in open_:
        while True:
            count = _index_chunk(db, TABLES[name])
            if not count:
                break
            done += count
            if progress is not None:
                progress(min(done, total), total)
    return done


def _index_chunk(db: sqlite3.Connection, table: TextTable) -> int:
    db.execute("BEGIN IMMEDIATE")
    try:
        upto = indexed_up_to(db, table.name)
        select = f"SELECT id, value FROM {table.name} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 (our own names)
        rows = db.execute(select, (upto, _CHUNK)).fetchall()
        db.executemany(
            f"INSERT INTO {table.index} (rowid, words) VALUES (?, ?)",  # noqa: S608
            [(number, table.tokens(value)) for number, value in rows],
        )
        if rows:
            _note(db, table.name, rows[-1][0])
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return len(rows)


def index_messages(db: sqlite3.Connection, text_id: Callable[[str], int], word_id: Callable[[str], int]) -> None:
    """Write the facts of messages that are not indexed yet.

    Args:
        db: Inside the transaction that brought them; their processes and binaries are written.
        text_id, word_id: Give a text its number in `text`, and a fact's name its number in `word`.
    """
    upto = indexed_up_to(db, MESSAGES)
    while True:
        rows = db.execute(
            "SELECT m.id, k.name, m.at, m.body FROM message m JOIN kind k ON k.id = m.kind_id WHERE m.id > ?"
            " ORDER BY m.id LIMIT ?", (upto, _MESSAGE_CHUNK),
        ).fetchall()  # fmt: skip
        if not rows:
            return
        traits = [trait for _id, kind, at, body in rows for trait in traits_of(kind, json.loads(body), at)]
        _write_traits(db, list(dict.fromkeys(traits)), text_id, word_id)
        upto = rows[-1][0]
        _note(db, MESSAGES, upto)


def _write_traits(
    db: sqlite3.Connection, traits: list[Trait], text_id: Callable[[str], int], word_id: Callable[[str], int]
) -> None:
    owners: dict[tuple[str, bool], Optional[int]] = {}
    rows: dict[str, list[tuple[int, int, int]]] = {}
    updated: list[tuple[int, int]] = []
    for trait in traits:
        key = (trait.owner, trait.process)
        if key not in owners:
            owners[key] = _owner(db, *key)
        owner = owners[key]
        if owner is None:
            continue
        if trait.name == "last_update":
            updated.append((int(trait.value), owner))
            continue
        _table, texts, numbers = _OWN_TABLES[trait.process]
        value: Union[int, str] = trait.value
        if isinstance(value, str):
            rows.setdefault(texts, []).append((word_id(trait.name), text_id(value), owner))
        else:
            rows.setdefault(numbers, []).append((word_id(trait.name), value, owner))
    for table, found in rows.items():
        db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)", sorted(found))  # noqa: S608
    touch(db, updated)


def touch(db: sqlite3.Connection, updates: list[tuple[int, int]]) -> None:
    """Note when processes were last heard of.

    Args:
        db: Inside a transaction.
        updates: (milliseconds, process number); an earlier time than the one known changes nothing.
    """
    db.executemany("UPDATE process SET updated = ?1 WHERE id = ?2 AND (updated IS NULL OR updated < ?1)", updates)


def _owner(db: sqlite3.Connection, owner: str, process: bool) -> Optional[int]:
    blob = bytes.fromhex(owner.replace("-", ""))
    column = "guid" if process else "md5" if len(blob) == 16 else "sha256"
    sql = f"SELECT id FROM {_OWN_TABLES[process][0]} WHERE {column} = ?"  # noqa: S608 (our own names)
    row: Optional[tuple[Any, ...]] = db.execute(sql, (blob,)).fetchone()
    return None if row is None else int(row[0])


def touch_new(db: sqlite3.Connection, above: int) -> None:
    """Note for processes that no event has told a time of that their start is the last that was heard of them.

    Args:
        db: Inside a transaction.
        above: Number of the last process that was there before.
    """
    db.execute(
        "UPDATE process SET updated = started WHERE updated IS NULL AND id > ? AND started IS NOT NULL", (above,)
    )


def _last(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"SELECT coalesce(max(id), 0) FROM {name}").fetchone()[0])  # noqa: S608


def _note(db: sqlite3.Connection, name: str, upto: int) -> None:
    db.execute("INSERT INTO indexed VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET upto = excluded.upto", (name, upto))
