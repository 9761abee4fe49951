"""Searches on ClickHouse: the numbers of a page, the total, facets; then the documents of the page alone.

Order, paging, totals and facets are those of `cbsigned.store.search`, and so are the names to sort and count by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from cbsigned.clickhouse.conditions import Values
from cbsigned.clickhouse.documents import binary_documents, process_documents
from cbsigned.clickhouse.server import Server, Value
from cbsigned.clickhouse.translator import translated
from cbsigned.errors import SourceTimeout
from cbsigned.query.fields import Search
from cbsigned.query.parser import Query
from cbsigned.store.facets import checked_facet, facet_entries, facet_order
from cbsigned.store.search import Page, sorting
from cbsigned.timing import Deadline

__all__ = ["numbers_of", "searched"]

_COUNTS = ("childproc", "crossproc", "filemod", "modload", "netconn", "regmod")
_PROCESS_SORTS = {
    "last_update": "p.updated", "last_server_update": "p.updated", "start": "p.started", "process_pid": "p.pid",
    "process_name": "p.name", "path": "lower(p.path)", "cmdline": "lower(p.cmdline)", "username": "lower(p.user)",
    "hostname": "lower(p.host)", "process_md5": "p.md5", "parent_name": "p.parent_name", "sensor_id": "p.sensor_id",
    **{f"{name}_count": "ifNull(k.n, 0)" for name in _COUNTS},
}  # fmt: skip
_RECORD = "SELECT binary_id AS id, max({}) AS n FROM binary_record_local GROUP BY binary_id"
_BINARY_SORTS = {
    "server_added_timestamp": _RECORD.format("recorded"), "timestamp": _RECORD.format("recorded"),
    "last_seen": "SELECT binary_id AS id, max(last) AS n FROM bin_host_local GROUP BY binary_id",
    "host_count": "SELECT binary_id AS id, count() AS n FROM bin_host_local GROUP BY binary_id",
    "md5": "SELECT id, md5 AS n FROM binary_local", "digsig_result": _RECORD.format("word"),
    "digsig_publisher": _RECORD.format("publisher"), "digsig_sign_time": _RECORD.format("signed"),
}  # fmt: skip
_HAS_RECORD = "b.md5 IS NOT NULL AND b.id IN (SELECT binary_id FROM binary_record_local)"
_DAY = "formatDateTime(fromUnixTimestamp64Milli({}, 'UTC'), '%Y-%m-%dT00:00:00Z')"
_PROCESS_FACETS = {
    "process_md5": "p.md5", "hostname": "p.host", "path_full": "p.path", "parent_name": "p.parent_name",
    "process_name": "p.name", "username_full": "p.user", "hour_of_day": "intDiv(p.started, 3600000) % 24",
    "day_of_week": "(intDiv(p.started, 86400000) + 4) % 7", "start": _DAY.format("p.started"),
}  # fmt: skip
_BINARY_FACETS = {
    "digsig_result": ("x.word", "binary_record_local", "x.word != ''"),
    "digsig_publisher_facet": ("x.publisher", "binary_record_local", "1"),
    "observed_filename_facet": ("lower(x.path)", "file_local", "x.path != ''"),
    "hostname": ("x.host", "bin_host_local", "1"),
    "digsig_sign_time": (_DAY.format("x.signed"), "binary_record_local", "1"),
    "server_added_timestamp": (_DAY.format("x.recorded"), "binary_record_local", "x.recorded > 0"),
}


def searched(
    server: Server, query: Query, *, start: int = 0, rows: int = 10, sort: Optional[str] = None,
    facets: Sequence[str] = (), deadline: Optional[Deadline] = None, count: bool = True,
) -> Page:  # fmt: skip
    """Return one page of what a query finds, as `search_processes` and `search_binaries` do.

    Args:
        server: The store.
        start, rows, sort, facets, deadline, count: As of `cbsigned.store.search.search_processes`.

    Raises:
        QueryError: There is nothing for a field, a sort or a facet; the text names it.
        ConfigError, SourceError: The store cannot be asked.
    """
    name, descending = sorting(sort, query.search)
    for facet in facets:
        checked_facet(query.search, facet)
    run = _Search(server, query, deadline)
    made: list[dict[str, Any]] = []
    numbers: list[int] = []
    found: dict[str, list[dict[str, Any]]] = {}
    total = 0
    documents = process_documents if query.search is Search.PROCESS else binary_documents
    try:
        numbers = run.page(name, descending, max(0, start), max(0, rows)) if rows > 0 else []
        total = max(0, start) + len(numbers) if numbers else 0
        made = documents(server, numbers, deadline)
        total = run.total() if count else total
        for facet in facets:
            found[facet] = facet_entries(facet, run.facet(facet))
    except SourceTimeout:
        late = "The search was stopped at its deadline. Narrow it: a time, a host, a name or a hash."
        return Page(made, total, query.terms, found, numbers, True, (late,))
    return Page(made, total, query.terms, found, numbers)


def numbers_of(server: Server, query: Query, deadline: Optional[Deadline] = None) -> set[int]:
    """Return the store's numbers of everything that a query finds.

    Raises:
        QueryError: There is nothing for a field.
        ConfigError, SourceError: The store cannot be asked, or was late.
    """
    return _Search(server, query, deadline).every()


class _Search:
    """One query on one store."""

    def __init__(self, server: Server, query: Query, deadline: Optional[Deadline]) -> None:
        self._server, self._deadline = server, deadline
        self._values = Values()
        self._binary = query.search is Search.BINARY
        where = translated(self._values, query.search, query.tree)
        self._where = f"{_HAS_RECORD} AND {where}" if self._binary else where
        # binaries are complete on every shard: one is asked
        self._home = "binary_local AS b" if self._binary else f"{server.every('process')} AS p"
        self._root = "b.id" if self._binary else "p.id"

    def every(self) -> set[int]:
        """Return the numbers of all that is found."""
        sql = f"SELECT {self._root} FROM {self._home} WHERE {self._where}"  # noqa: S608 (our own names)
        return {int(row[0]) for row in self._rows(sql)}

    def page(self, name: str, descending: bool, start: int, rows: int) -> list[int]:
        """Return the numbers of one page."""
        way, home = "DESC" if descending else "ASC", self._home
        if self._binary:
            value = "k.n"
            home += f" LEFT JOIN ({_BINARY_SORTS[name]}) AS k ON k.id = b.id"
            value = f"ifNull({value}, 0)" if name == "host_count" else value
        else:
            value = _PROCESS_SORTS[name]
            if name.endswith("_count"):
                home += (
                    f" LEFT JOIN (SELECT process_id, count() AS n FROM {name[:-6]}_local GROUP BY process_id) AS k"  # noqa: S608
                    " ON k.process_id = p.id"
                )
        sql = (
            f"SELECT {self._root} AS number FROM {home} WHERE {self._where} "  # noqa: S608
            f"ORDER BY {value} IS NULL, {value} {way}, {self._root} {way} LIMIT {int(rows)} OFFSET {int(start)}"
        )
        return [int(row[0]) for row in self._rows(sql)]

    def total(self) -> int:
        """Return how many there are in all."""
        return int(self._rows(f"SELECT count() FROM {self._home} WHERE {self._where}")[0][0])  # noqa: S608

    def facet(self, name: str) -> list[tuple[Any, int]]:
        """Return the values of a facet with how often each occurs, in the facet's order."""
        value, counted, home, more = self._facet_tables(name)
        sql = (
            f"SELECT {value} AS name, {counted} AS number FROM {home} WHERE {self._where}{more} "  # noqa: S608
            f"GROUP BY name HAVING name IS NOT NULL {facet_order(name)}"
        )
        return [(row[0], int(row[1])) for row in self._rows(sql)]

    def _facet_tables(self, name: str) -> tuple[str, str, str, str]:
        """Return what is counted, how, in which tables, and what else must hold."""
        own = _BINARY_FACETS if self._binary else _PROCESS_FACETS
        if not self._binary and name in _PROCESS_FACETS:
            return _PROCESS_FACETS[name], "count()", self._home, ""
        distinct = f"count(DISTINCT {self._root})"
        if name == "host_count":
            hosts = "SELECT binary_id, count() AS n FROM bin_host_local GROUP BY binary_id"
            return "ifNull(k.n, 0)", distinct, f"{self._home} LEFT JOIN ({hosts}) AS k ON k.binary_id = b.id", ""
        if name in own:
            value, table, more = _BINARY_FACETS[name]
            return value, distinct, f"{self._home} INNER JOIN {table} AS x ON x.binary_id = b.id", f" AND {more}"
        owner = "binary" if self._binary else "process"
        field = self._values.mark(name.replace("_facet", ""))
        home = f"{self._home} INNER JOIN {owner}_text_local AS x ON x.{owner}_id = {self._root}"
        return "x.value", distinct, home, f" AND x.field = {field}"

    def _rows(self, sql: str) -> list[list[Any]]:
        values: dict[str, Value] = self._values.by_name
        return self._server.rows(sql, values, self._deadline)
