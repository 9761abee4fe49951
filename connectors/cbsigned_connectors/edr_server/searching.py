"""Process and binary search: parameters → a query of the store → the recorded envelope.

References:
    - cb-edr-api §2.1 (parameters), §2.2 (envelope), §2.6 (facets), §4.8 (blocked searches), §5.1
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Callable

from cbsigned.query import Policy, Query, QueryError, parse
from cbsigned.query.fields import Search
from cbsigned.query.tree import And, Everything
from cbsigned.store.facets import BINARY_FACETS, PROCESS_FACETS
from cbsigned.store.search import Page, search_binaries, search_processes
from cbsigned.timing import Deadline, format_time, parse_time
from cbsigned_connectors.edr_server.access import Right
from cbsigned_connectors.edr_server.answer import Answer, Refused, json_answer
from cbsigned_connectors.edr_server.binaries import partition_number
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint
from cbsigned_connectors.edr_server.processes import presented

__all__ = ["ENDPOINTS"]

_MAX_ROWS = 10_000
_ROWS = 10
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def process_search(desk: Desk, ask: Ask) -> Answer:
    """Answer with a page of processes. The store keeps a process whole, so there is one row of each in any case."""
    began = time.monotonic()
    joins_blocked = desk.options.block_joins or ask.struck("block-joins") is not None
    query = _query(desk, ask, Search.PROCESS, joins_blocked)
    page = _page(desk, ask, query, search_processes, _facets(ask, PROCESS_FACETS))
    with desk.reading() as db:
        documents = [presented(desk, db, document) for document in page.documents]
    envelope = _envelope(ask, page, documents, began)
    envelope.update(tagged_pids={}, filtered={})
    if desk.dialect.modern:
        envelope.update(comprehensive_search=True, all_segments=True, incomplete_results=page.incomplete)
    return json_answer(envelope)


def binary_search(desk: Desk, ask: Ask) -> Answer:
    """Answer with a page of binaries."""
    began = time.monotonic()
    page = _page(desk, ask, _query(desk, ask, Search.BINARY, False), search_binaries, _facets(ask, BINARY_FACETS))
    with desk.reading() as db:
        partition = partition_number(db)
    documents = [desk.dialect.binary_document(document, partition) for document in page.documents]
    return json_answer(_envelope(ask, page, documents, began))


def _query(desk: Desk, ask: Ask, search: Search, joins_blocked: bool) -> Query:
    """Return the query that the parameters make together.

    Raises:
        Refused: 400 with a reason, where it cannot be read or is blocked.
    """
    wildcards_blocked = desk.blocks_leading_wildcards or ask.struck("block-leading-wildcards") is not None
    policy = Policy(leading_wildcards=not wildcards_blocked, joins=not joins_blocked)
    try:
        parts = [parse(text, search, version=desk.dialect.numbers, policy=policy) for text in _texts(ask, search)]
    except QueryError as exc:
        raise Refused(_bad(exc)) from exc
    if len(parts) == 1:
        return parts[0]
    terms = tuple(term for part in parts for term in part.terms)
    return Query(And(tuple(part.tree for part in parts)) if parts else Everything(), terms, search)


def _texts(ask: Ask, search: Search) -> list[str]:
    """Return `q`, which may come several times, and the restrictions of other parameters; all must be met.

    Raises:
        Refused: 400, where a parameter names no field.
    """
    parts = [text for text in ask.parameters.texts("q") if text.strip()]
    for prefix in ("cb.q.", "cb.fq."):
        for field, value in ask.parameters.prefixed(prefix).items():
            if not _FIELD.fullmatch(field):
                raise Refused(json_answer({"reason": "invalid_parameter", "parameter": prefix + field[:64]}, 400))
            parts.append(f"{field}:({value})")
    if search is Search.PROCESS:
        parts += [_span(ask, name) for name in ("last_update", "last_server_update")]
    return [part for part in parts if part]


def _span(ask: Ask, name: str) -> str:
    """Return `cb.min_…` and `cb.max_…` as a range, or nothing.

    Raises:
        Refused: 400, where one is no time.
    """
    bounds = []
    for end in ("min", "max"):
        text = ask.parameters.text(f"cb.{end}_{name}").strip()
        moment = parse_time(text) if text and text != "*" else None
        if text not in ("", "*") and moment is None:
            raise Refused(json_answer({"reason": "invalid_parameter", "parameter": f"cb.{end}_{name}"}, 400))
        bounds.append(format_time(moment) or "*")
    return "" if bounds == ["*", "*"] else f"{name}:[{bounds[0]} TO {bounds[1]}]"


def _page(desk: Desk, ask: Ask, query: Query, search: Callable[..., Page], facets: Sequence[str]) -> Page:
    """Ask the store.

    Raises:
        Refused: 400 with a reason, where it has nothing for a field, a sort or a facet.
    """
    deadline = Deadline(desk.options.request_timeout_s)
    rows = min(ask.parameters.number("rows", _ROWS), _MAX_ROWS)
    try:
        with desk.reading(deadline) as db:
            return search(
                db, query, start=ask.parameters.number("start", 0), rows=rows,
                sort=ask.parameters.text("sort").strip() or None, facets=facets, deadline=deadline,
            )  # fmt: skip
    except QueryError as exc:
        raise Refused(_bad(exc)) from exc


def _facets(ask: Ask, known: Iterable[str]) -> list[str]:
    """Return the facets that are asked for: the named ones, or all."""
    if not ask.parameters.flag("facet"):
        return []
    return ask.parameters.texts("facet.field") or list(known)


def _envelope(ask: Ask, page: Page, documents: list[dict[str, Any]], began: float) -> dict[str, Any]:
    fault = ask.struck("over-estimate")
    return {
        "terms": list(page.terms), "results": documents, "elapsed": time.monotonic() - began,
        "total_results": page.total + (fault.extra if fault else 0), "highlights": [], "facets": page.facets,
        "start": ask.parameters.number("start", 0),
    }  # fmt: skip


def _bad(exc: QueryError) -> Answer:
    """Return 400 with the reason that the official client knows, and what is wrong in words."""
    told = {"reason": "query_malformed_syntax", "message": exc.message, "position": exc.position}
    return json_answer(told, 400)


ENDPOINTS = [
    Endpoint("/api/v1/process", process_search, Right.SEARCH, methods=("GET", "POST")),
    Endpoint("/api/v1/binary", binary_search, Right.SEARCH, methods=("GET", "POST")),
]
