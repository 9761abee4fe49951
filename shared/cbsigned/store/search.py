"""Process and binary search over the embedded store, in the EDR's query language.

A search begins with whatever finds few processes quickly: a hash, a rare word, a name. Where everything it asks for
is frequent, it walks back in time and looks at each process until a page is full; where that does not fill a page
soon, whole sets are computed. All ways give the same answer.

References:
    - cb-edr-api §2.1 (parameters), §2.6 (facets), §5.1; store.md §2 (two plans)
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from cbsigned.query.errors import QueryError
from cbsigned.query.fields import Search
from cbsigned.query.parser import Query
from cbsigned.query.tree import Everything
from cbsigned.store.binary_documents import binary_documents
from cbsigned.store.facets import facet
from cbsigned.store.index import backlog
from cbsigned.store.process_documents import process_documents
from cbsigned.store.sql import Context, Sql
from cbsigned.store.translator import Translator
from cbsigned.timing import Deadline

__all__ = [
    "BINARY_SORTS", "PROCESS_SORTS", "Page", "search_binaries", "search_numbers", "search_processes", "sorting",
]  # fmt: skip

_FEW = 4_000
_WALKS = (1_000, 5_000, 25_000)
_WALK_S = 0.2
_STEPS = 10_000

PROCESS_SORTS = {
    "last_update": "p.updated", "last_server_update": "p.updated", "start": "p.started", "process_pid": "p.pid",
    "process_name": "(SELECT value FROM name WHERE id = p.name_id)",
    "path": "(SELECT lower(value) FROM path WHERE id = p.path_id)",
    "cmdline": "(SELECT lower(value) FROM cmdline WHERE id = p.cmdline_id)",
    "username": "(SELECT lower(value) FROM account WHERE id = p.account_id)",
    "hostname": "(SELECT lower(value) FROM host WHERE id = p.host_id)",
    "process_md5": "(SELECT md5 FROM binary WHERE id = p.binary_id)",
    "parent_name": "(SELECT n.value FROM process c JOIN name n ON n.id = c.name_id WHERE c.id = p.parent_id)",
    "sensor_id": "p.sensor_id",
    **{
        f"{name}_count": f"(SELECT count(*) FROM {name} WHERE process_id = p.id)"  # noqa: S608 (our own names)
        for name in ("childproc", "crossproc", "filemod", "modload", "netconn", "regmod")
    },
}  # fmt: skip
"""What process searches can be sorted by."""

_RECORD = "(SELECT max({}) FROM binary_record WHERE binary_id = b.id)"
BINARY_SORTS = {
    "server_added_timestamp": _RECORD.format("recorded"),
    "timestamp": _RECORD.format("recorded"),
    "last_seen": "(SELECT max(last) FROM bin_host WHERE binary_id = b.id)",
    "host_count": "(SELECT count(*) FROM bin_host WHERE binary_id = b.id)",
    "md5": "b.md5",
    "digsig_result": _RECORD.format("word"),
    "digsig_publisher": _RECORD.format("publisher"),
    "digsig_sign_time": _RECORD.format("signed"),
}
"""What binary searches can be sorted by."""

_SORTS = {Search.PROCESS: PROCESS_SORTS, Search.BINARY: BINARY_SORTS}
_WALKED = {"p.updated": "process_updated", "p.started": "process_started"}
_DEFAULT_SORT = {Search.PROCESS: "last_update desc", Search.BINARY: "server_added_timestamp desc"}
_HAS_RECORD = "b.md5 IS NOT NULL AND EXISTS (SELECT 1 FROM binary_record q WHERE q.binary_id = b.id)"


@dataclass(frozen=True)
class Page:
    """What a search found.

    Attributes:
        documents: One page, as the EDR writes them; see `process_documents` and `binary_documents`.
        numbers: The store's numbers of the same, in the same order.
        total: How many there are in all; at least so many where `incomplete`.
        facets: By name.
        terms: The query's clauses.
        incomplete: The deadline passed before everything was looked at.
        notes: What to know about how it was found, in sentences.
    """

    documents: list[dict[str, Any]]
    total: int
    terms: tuple[str, ...] = ()
    facets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    incomplete: bool = False
    notes: tuple[str, ...] = ()


def search_processes(
    db: sqlite3.Connection, query: Query, *, start: int = 0, rows: int = 10, sort: Optional[str] = None,
    facets: Sequence[str] = (), deadline: Optional[Deadline] = None, count: bool = True,
) -> Page:  # fmt: skip
    """Return one page of the processes that a query finds, each once: the store keeps a process whole, unsegmented.

    Args:
        db: As `open_reader` gives it; one thread at a time.
        query: Of process search.
        start, rows: Which page, from 0; no rows only counts.
        sort: `field asc` or `field desc`, of `PROCESS_SORTS`; `last_update desc` when None.
        facets: Names of `cbsigned.store.facets.PROCESS_FACETS`.
        deadline: When to stop; what was found until then is an incomplete page. With None the caller's own
            progress handler decides, and is left as it is.
        count: Whether the total is asked for; without it, it is only known to be at least what the page shows.

    Raises:
        QueryError: The store has nothing for a field, a sort or a facet; the text names it.
        sqlite3.Error: The store cannot be read.
    """
    return _search(db, query, Search.PROCESS, process_documents, start, rows, sort, facets, deadline, count)


def search_binaries(
    db: sqlite3.Connection, query: Query, *, start: int = 0, rows: int = 10, sort: Optional[str] = None,
    facets: Sequence[str] = (), deadline: Optional[Deadline] = None, count: bool = True,
) -> Page:  # fmt: skip
    """Return one page of the binaries that a query finds: those with an MD5 and a record of their signature.

    Args:
        db, start, rows, facets, deadline, count: As of `search_processes`; facets of `BINARY_FACETS`.
        query: Of binary search.
        sort: Of `BINARY_SORTS`; `server_added_timestamp desc` when None.

    Raises:
        QueryError: The store has nothing for a field, a sort or a facet; the text names it.
        sqlite3.Error: The store cannot be read.
    """
    return _search(db, query, Search.BINARY, binary_documents, start, rows, sort, facets, deadline, count)


def search_numbers(db: sqlite3.Connection, query: Query, deadline: Optional[Deadline] = None) -> set[int]:
    """Return the store's numbers of everything that a query finds.

    Raises:
        QueryError: The store has nothing for a field.
        sqlite3.OperationalError: Interrupted, at the deadline.
    """
    with _reading(db, deadline):
        return set(_Search(db, query, query.search, []).every())


def _search(
    db: sqlite3.Connection, query: Query, search: Search,
    documents: Callable[[sqlite3.Connection, Sequence[int]], list[dict[str, Any]]], start: int, rows: int,
    sort: Optional[str], facets: Sequence[str], deadline: Optional[Deadline], count: bool,
) -> Page:  # fmt: skip
    if query.search is not search:
        raise ValueError(f"a query of {query.search.value} search was given to {search.value} search")
    order = _Order.of(sort, search)
    made: list[dict[str, Any]] = []
    found: dict[str, list[dict[str, Any]]] = {}
    numbers: list[int] = []
    notes: list[str] = []
    total, unread, late = 0, 0, False
    with _reading(db, deadline):
        try:
            unread = backlog(db, messages=True)
            run = _Search(db, query, search, notes)
            numbers = run.page(order, max(0, start), max(0, rows))
            made = documents(db, numbers)
            total = max(0, start) + len(numbers) if numbers else 0
            total = run.total() if count else total
            for name in facets:
                found[name] = facet(db, search, name, run.matching())
        except sqlite3.OperationalError as exc:
            if "interrupt" not in str(exc):
                raise
            late = True
            notes.append("The search was stopped at its deadline. Narrow it: a time, a host, a name or a hash.")
    if unread:
        notes.append(f"{unread:,} messages are not indexed yet. Index them: cbsigned store vacuum")
    return Page(made, total, query.terms, found, numbers, late or unread > 0, tuple(notes))


def sorting(sort: Optional[str], search: Search) -> tuple[str, bool]:
    """Return by what to sort, and whether descending.

    Raises:
        QueryError: It is none of what there is; the text names those.
    """
    sorts = _SORTS[search]
    name, _, direction = (sort or _DEFAULT_SORT[search]).strip().lower().partition(" ")
    direction = direction.strip() or "asc"
    if name not in sorts or direction not in ("asc", "desc"):
        raise QueryError(
            f"Cannot sort by {(sort or '')[:60]!r}: expected a field and asc or desc. Fields: {', '.join(sorts)}.",
            "",
            0,
        )
    return name, direction == "desc"


@dataclass(frozen=True)
class _Order:
    """How a page is sorted; unknown values come last, whatever the direction."""

    expression: str
    descending: bool

    @classmethod
    def of(cls, sort: Optional[str], search: Search) -> _Order:
        name, descending = sorting(sort, search)
        return cls(_SORTS[search][name], descending)

    def sql(self, root: str, *, nulls: bool = True) -> str:
        way = "DESC" if self.descending else "ASC"
        last = f"{self.expression} IS NULL, " if nulls else ""
        return f"ORDER BY {last}{self.expression} {way}, {root} {way}"


class _Search:
    """One query over one connection."""

    def __init__(self, db: sqlite3.Connection, query: Query, search: Search, notes: list[str]) -> None:
        self._db = db
        self._translator = Translator(Context(db, notes), search, query.tree)
        self._binary = search is Search.BINARY
        self._home, self._root = ("binary b", "b.id") if self._binary else ("process p", "p.id")
        self._everything = isinstance(query.tree, Everything)
        self._candidates: Optional[list[int]] = self._few()
        self._matched: Optional[list[int]] = None

    def page(self, order: _Order, start: int, rows: int) -> list[int]:
        """Return the numbers of one page."""
        if not rows:
            return []
        if self._candidates is not None:
            return self._sorted(self._among(), order)[start : start + rows]
        walked = self._walk(order, start, rows)
        if walked is not None:
            return walked
        where = self._where(self._translator.within())
        sql = f"SELECT {self._root} FROM {self._home} WHERE {where.text} {order.sql(self._root)} LIMIT ? OFFSET ?"  # noqa: S608
        return [int(row[0]) for row in self._db.execute(sql, (*where.values, rows, start))]

    def total(self) -> int:
        """Return how many there are in all."""
        if self._candidates is not None:
            return len(self._among())
        where = self._where(Sql("1") if self._everything else self._translator.within())
        sql = f"SELECT count(*) FROM {self._home} WHERE {where.text}"  # noqa: S608
        return int(self._db.execute(sql, where.values).fetchone()[0])

    def matching(self) -> Sql:
        """Return a condition for all that was found."""
        if self._candidates is not None:
            among = json.dumps(self._among())
            return Sql(f"{self._root} IN (SELECT value FROM json_each(?))", (among,))  # noqa: S608
        return self._where(self._translator.within())

    def every(self) -> list[int]:
        """Return the numbers of all that is found."""
        if self._candidates is not None:
            return self._among()
        where = self._where(self._translator.within())
        sql = f"SELECT {self._root} FROM {self._home} WHERE {where.text}"  # noqa: S608
        return [int(row[0]) for row in self._db.execute(sql, where.values)]

    def _few(self) -> Optional[list[int]]:
        """Return a few numbers among which all that matches is, or None where nothing asked for is rare."""
        best: Optional[set[int]] = None
        for driver in self._translator.drivers():
            if best is not None and (len(best) <= _FEW // 100 or driver.rank > 1):
                break
            sql = f"SELECT * FROM ({driver.ids.text}) LIMIT ?"  # noqa: S608
            rows = self._db.execute(sql, (*driver.ids.values, _FEW + 1))
            numbers = [int(row[0]) for row in rows if row[0] is not None]  # a process may have no known parent
            if len(numbers) < _FEW and (best is None or len(set(numbers)) < len(best)):
                best = set(numbers)
        return None if best is None else sorted(best)

    def _among(self) -> list[int]:
        """Return those of the candidates that match."""
        if self._matched is None:
            where = self._where(self._translator.probe())
            sql = (
                f"SELECT {self._root} FROM json_each(?) d CROSS JOIN {self._home} ON {self._root} = d.value"  # noqa: S608
                f" WHERE {where.text}"
            )
            values = (json.dumps(self._candidates), *where.values)
            self._matched = [int(row[0]) for row in self._db.execute(sql, values)]
        return self._matched

    def _sorted(self, numbers: Sequence[int], order: _Order) -> list[int]:
        sql = (
            f"SELECT {self._root} FROM json_each(?) d CROSS JOIN {self._home} ON {self._root} = d.value "  # noqa: S608
            f"{order.sql(self._root)}"
        )
        return [int(row[0]) for row in self._db.execute(sql, (json.dumps(numbers),))]

    def _walk(self, order: _Order, start: int, rows: int) -> Optional[list[int]]:
        """Look at one process after the other, in order; return None where that does not fill the page soon."""
        index = _WALKED.get(order.expression)
        if index is None:
            return None
        where = self._translator.probe()
        way, beyond = ("DESC", ">=") if order.descending else ("ASC", "<=")
        column, began = order.expression, time.monotonic()
        for steps in _WALKS:
            bound = self._db.execute(
                f"SELECT {column} FROM process p INDEXED BY {index} WHERE {column} IS NOT NULL"  # noqa: S608
                f" ORDER BY {column} {way} LIMIT 1 OFFSET ?",
                (steps,),
            ).fetchone()
            if bound is None:
                return None
            sql = (
                f"SELECT p.id FROM process p INDEXED BY {index} WHERE {column} {beyond} ? AND {where.text} "  # noqa: S608
                f"{order.sql(self._root, nulls=False)} LIMIT ? OFFSET ?"
            )
            found = self._db.execute(sql, (bound[0], *where.values, rows, start)).fetchall()
            if len(found) == rows:
                return [int(row[0]) for row in found]
            if time.monotonic() - began > _WALK_S:
                break
        return None

    def _where(self, found: Sql) -> Sql:
        return Sql(f"{_HAS_RECORD} AND {found.text}", found.values) if self._binary else found


@contextlib.contextmanager
def _reading(db: sqlite3.Connection, deadline: Optional[Deadline]) -> Iterator[None]:
    """Read one state of the store, interrupted at the deadline."""
    own = not db.in_transaction
    if deadline is not None:
        db.set_progress_handler(lambda: int(deadline.passed), _STEPS)
    try:
        if own:
            db.execute("BEGIN")
        yield
    finally:
        if deadline is not None:
            db.set_progress_handler(None, 0)
        if own and db.in_transaction:
            db.execute("ROLLBACK")
