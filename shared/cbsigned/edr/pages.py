"""Free searches: a user's own query in the EDR's language, one page of flat rows at a time.

The query goes out as it was typed. Our own parser never refuses one: it knows fewer fields than the server may. What
it says is told where the server refuses the query, and as a note where the server takes it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from cbsigned.edr.query import Unsearchable
from cbsigned.edr.search import BINARY, PROCESS, ServerVersion, envelope
from cbsigned.edr.transport import EdrClient, Parameter
from cbsigned.errors import SourceQueryError
from cbsigned.observables import printable
from cbsigned.query import Policy, QueryError, parse
from cbsigned.query.fields import Search
from cbsigned.timing import Deadline

__all__ = ["MAX_QUERY", "MAX_ROWS", "QueryRefused", "Row", "SearchPage", "Value", "flat_row", "search_page"]

MAX_QUERY = 65_536
"""Longest query, in characters."""
MAX_ROWS = 1_000
"""Most rows of one page: what the EDR's own console asks for at most."""
_MAX_START = 10_000_000
_SORT = re.compile(r"[a-z][a-z0-9_]{0,63} (?:asc|desc)", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,127}", re.ASCII)
_UNSAFE = {"Cc", "Cs"}  # control characters, lone surrogates
_ADDRESSES = ("comms_ip", "interface_ip")
_SHOWN = 40

Value = Union[str, int, list[str]]
Row = dict[str, Value]
"""One document: the EDR's own field names → text, whole number, or texts."""


@dataclass(frozen=True)
class SearchPage:
    """One page of what a free search found.

    Attributes:
        total: How many match as far as the server tells; it may over-estimate.
        rows: In the server's order.
        next: `start` of the next page, or None where this is the last one.
        notes: What the user should know of this answer, a sentence each.
        incomplete: The server gave up half-way; a note says so.
    """

    total: int
    rows: list[Row]
    next: Optional[int]
    notes: tuple[str, ...] = ()
    incomplete: bool = False


class QueryRefused(SourceQueryError):
    """The server refused a user's query, and we can say where.

    Attributes:
        position: Offset of the character in the query, 0 or more.
        excerpt: The part of the query around it, and below it a line with a caret.
    """

    def __init__(self, message: str, position: int, excerpt: str) -> None:
        super().__init__(message)
        self.position, self.excerpt = position, excerpt


def search_page(
    client: EdrClient,
    route: str,
    query: str,
    version: ServerVersion,
    deadline: Deadline,
    *,
    start: int = 0,
    rows: int = 500,
    sort: Optional[str] = None,
) -> SearchPage:
    """Return one page of what a user's query finds.

    From 6.0 on there is one row for each process; before, one for each of its segments.

    Args:
        route: `BINARY` or `PROCESS`.
        query: As typed, up to `MAX_QUERY` characters; empty finds everything.
        version: Of the server.
        start: Of the page, in rows, 0 or more.
        rows: Of the page, 1 to `MAX_ROWS`; 0 asks for the total alone.
        sort: `start desc`, for example; None leaves it to the server: newest first.

    Raises:
        Unsearchable: The query is too long or has control characters, or `sort` is none; nothing was asked.
        QueryRefused: The server refused the query, and we know where it is wrong.
        SourceError: It could not be asked, or refused the query for another reason.

    References:
        - cb-edr-api §2.1, §2.2, §5.1
    """
    _check(query, start, rows, sort)
    kind = Search.BINARY if route == BINARY else Search.PROCESS
    parameters: dict[str, Parameter] = {"q": query} if query.strip() else {}
    parameters.update({"rows": rows, "start": start, "cb.urlver": "1"})
    parameters.update({"facet": "false"} if version.facets else {})
    parameters.update({"sort": sort} if sort else {})
    if version.groups and route == PROCESS:
        parameters.update({"cb.group": "id", "cb.comprehensive_search": "true"})
    try:
        document = client.ask(route, deadline, parameters).document
    except SourceQueryError as exc:
        wrong = _misread(query, kind, version, Policy.of_version(version))
        if wrong is None:
            raise
        refused = str(exc).partition(": ")[0]
        raise QueryRefused(f"{refused}: {_pointed(wrong, query)}", wrong.position, wrong.excerpt) from exc
    found, total, incomplete, _facets = envelope(document, client.host)
    notes = []
    if incomplete:
        notes.append(f"{client.host} ended the search at its own time limit: only a part was searched. Narrow it.")
    unknown = _misread(query, kind, version, Policy())
    if unknown is not None:
        notes.append(f"The query was sent as typed, but it may not mean what was meant: {_pointed(unknown, query)}")
    following = start + len(found)
    more = following if found and following < total else None
    return SearchPage(total, [flat_row(one) for one in found], more, tuple(notes), incomplete)


def flat_row(document: Mapping[str, Any]) -> Row:
    """Return a document as a row: names as the EDR's, values as texts, whole numbers and lists of texts.

    True and false become texts; objects, also within lists, their JSON; null and empty texts and lists are left
    out. `comms_ip` and `interface_ip`, signed numbers in a document, are written with dots.
    """
    row: Row = {}
    for name, value in document.items():
        if not _NAME.fullmatch(name):
            continue
        if name in _ADDRESSES and isinstance(value, int) and -(2**31) <= value < 2**32:
            row[name] = str(ipaddress.IPv4Address(value & 0xFFFFFFFF))
        elif isinstance(value, list):
            texts = [str(text) for text in map(_scalar, value) if text not in (None, "")]
            row.update({name: texts} if texts else {})
        else:
            made = _scalar(value)
            row.update({name: made} if made not in (None, "") else {})  # type: ignore[dict-item]
    return row


def _scalar(value: object) -> Union[str, int, None]:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):  # read at another depth than here
        return None


def _check(query: str, start: int, rows: int, sort: Optional[str]) -> None:
    if len(query) > MAX_QUERY:
        raise Unsearchable(f"The query has {len(query):,} characters, more than {MAX_QUERY:,}. Split it into several.")
    for index, character in enumerate(query):
        if unicodedata.category(character) in _UNSAFE and character not in "\t\r\n":
            raise Unsearchable(f"Character {index + 1} of the query is a control character. Take it out.")
    if not (0 <= start <= _MAX_START and 0 <= rows <= MAX_ROWS):
        raise Unsearchable(f"start is {start} and rows is {rows}: expected 0 to {_MAX_START:,} and 0 to {MAX_ROWS:,}.")
    if sort is not None and not _SORT.fullmatch(sort):
        raise Unsearchable(
            f'sort is {printable(sort, _SHOWN)}: expected a field and asc or desc, such as "start desc". '
            "Leave it out for the newest first."
        )


def _misread(query: str, kind: Search, version: ServerVersion, policy: Policy) -> Optional[QueryError]:
    """Return what our parser says against a query, or None where it can be read."""
    try:
        parse(query, kind, version=version, policy=policy)
    except QueryError as exc:
        return exc
    return None


def _pointed(wrong: QueryError, query: str) -> str:
    """Return what is wrong and where, in one line."""
    rest = query[wrong.position :]
    place = f"at character {wrong.position + 1}, {printable(rest, _SHOWN)}" if rest else "at its end"
    return f"{place}: {wrong.message}"
