"""Facets: how often each value occurs among what a search found.

References:
    - cb-edr-api §2.6 (process search), §5.6 (binary search)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from cbsigned.query.errors import QueryError
from cbsigned.query.fields import Search
from cbsigned.store.sql import Sql

__all__ = [
    "BINARY_FACETS", "DEFAULT_FACETS", "FACETS", "PROCESS_FACETS", "checked_facet", "facet", "facet_entries",
    "facet_order",
]  # fmt: skip

_MOST = 200
_DAY = "strftime('%Y-%m-%dT00:00:00Z', {} / 1000, 'unixepoch')"


def _fact(owner: str, name: str) -> str:
    """Return the tables behind a text that messages told."""
    return (
        f"{{found}} JOIN {owner}_text x ON x.{owner}_id = {owner[0]}.id"
        f" JOIN word w ON w.id = x.word_id AND w.value = '{name}' JOIN text t ON t.id = x.text_id"
    )


PROCESS_FACETS: Mapping[str, tuple[str, str]] = {
    "process_md5": ("lower(hex(b.md5))", "{found} JOIN binary b ON b.id = p.binary_id AND b.md5 IS NOT NULL"),
    "hostname": ("s.value", "{found} JOIN host s ON s.id = p.host_id"),
    "group": ("t.value", _fact("process", "group")),
    "path_full": ("s.value", "{found} JOIN path s ON s.id = p.path_id"),
    "parent_name": ("s.value", "{found} JOIN process c ON c.id = p.parent_id JOIN name s ON s.id = c.name_id"),
    "process_name": ("s.value", "{found} JOIN name s ON s.id = p.name_id"),
    "host_type": ("t.value", _fact("process", "host_type")),
    "username_full": ("s.value", "{found} JOIN account s ON s.id = p.account_id"),
    "hour_of_day": ("CAST(strftime('%H', p.started / 1000, 'unixepoch') AS INTEGER)", "{found}"),
    "day_of_week": ("CAST(strftime('%w', p.started / 1000, 'unixepoch') AS INTEGER)", "{found}"),
    "start": (_DAY.format("p.started"), "{found}"),
}
"""Name → what is counted, and in which tables."""

BINARY_FACETS: Mapping[str, tuple[str, str]] = {
    "digsig_result": ("r.word", "{found} JOIN binary_record r ON r.binary_id = b.id AND r.word != ''"),
    "digsig_publisher_facet": ("r.publisher", "{found} JOIN binary_record r ON r.binary_id = b.id"),
    "company_name_facet": ("t.value", _fact("binary", "company_name")),
    "product_name_facet": ("t.value", _fact("binary", "product_name")),
    "file_version_facet": ("t.value", _fact("binary", "file_version")),
    "observed_filename_facet": (
        "lower(s.value)", "{found} JOIN file f ON f.binary_id = b.id JOIN path s ON s.id = f.path_id AND s.value != ''",
    ),
    "hostname": ("s.value", "{found} JOIN bin_host h ON h.binary_id = b.id JOIN host s ON s.id = h.host_id"),
    "group": ("t.value", _fact("binary", "group")),
    "host_count": ("(SELECT count(*) FROM bin_host h WHERE h.binary_id = b.id)", "{found}"),
    "digsig_sign_time": (_DAY.format("r.signed"), "{found} JOIN binary_record r ON r.binary_id = b.id"),
    "server_added_timestamp": (
        _DAY.format("r.recorded"), "{found} JOIN binary_record r ON r.binary_id = b.id AND r.recorded > 0",
    ),
}  # fmt: skip
"""The same for binaries."""

FACETS = {Search.PROCESS: PROCESS_FACETS, Search.BINARY: BINARY_FACETS}
DEFAULT_FACETS = {search: tuple(facets) for search, facets in FACETS.items()}
"""What is counted where a search asks for facets and names none."""

_HISTOGRAMS = {"hour_of_day", "day_of_week", "start", "digsig_sign_time", "server_added_timestamp"}


def facet(db: sqlite3.Connection, search: Search, name: str, found: Sql) -> list[dict[str, Any]]:
    """Return the values of one facet: terms by frequency with shares, histograms in order; at most 200.

    Args:
        db: Open.
        search: What was searched.
        name: The facet's.
        found: A condition on what was found, on `p` or `b`.

    Raises:
        QueryError: There is no such facet; the text names those there are.
    """
    value, tables = checked_facet(search, name)
    home = "process p" if search is Search.PROCESS else "binary b"
    owner = "p.id" if search is Search.PROCESS else "b.id"
    sql = (
        f"SELECT {value} AS name, count(DISTINCT {owner}) AS number FROM {tables.format(found=home)}"  # noqa: S608
        f" WHERE {found.text} GROUP BY 1 HAVING name IS NOT NULL {facet_order(name)}"
    )
    return facet_entries(name, db.execute(sql, found.values).fetchall())


def checked_facet(search: Search, name: str) -> tuple[str, str]:
    """Return what a facet counts, and in which tables.

    Raises:
        QueryError: There is no such facet; the text names those there are.
    """
    facets = FACETS[search]
    if name not in facets:
        raise QueryError(
            f"There is no facet {name[:60]} in {search.value} search. There are: {', '.join(facets)}.", "", 0
        )
    return facets[name]


def facet_order(name: str) -> str:
    """Return how the counted values of a facet are ordered, the value in the first column, and bounded."""
    return f"ORDER BY {'1' if name in _HISTOGRAMS else '2 DESC, 1'} LIMIT {_MOST}"


def facet_entries(name: str, rows: Sequence[tuple[Any, int]]) -> list[dict[str, Any]]:
    """Return counted values, in order, as entries: plain ones of histograms, with shares those of terms."""
    if name in _HISTOGRAMS:
        return [{"name": str(key), "value": count} for key, count in rows]
    most, total = (max((count for _key, count in rows), default=1), sum(count for _key, count in rows) or 1)
    return [
        {"name": str(key), "value": count, "percent": 100.0 * count / most, "ratio": f"{100.0 * count / total:.1f}"}
        for key, count in rows
    ]
