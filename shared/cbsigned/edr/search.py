"""What both searches share: versions, the envelope, pages, and batches side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional, TypeVar

from cbsigned.edr.query import Query
from cbsigned.edr.transport import EdrClient, Parameter
from cbsigned.errors import SourceError, SourceResponseError, SourceTimeout
from cbsigned.timing import Deadline

__all__ = [
    "BINARY",
    "PROCESS",
    "Found",
    "ServerVersion",
    "envelope",
    "in_chunks",
    "parse_version",
    "search",
    "side_by_side",
]

BINARY = "/api/v1/binary"
PROCESS = "/api/v1/process"
_MAX_PAGES = 40
_A = TypeVar("_A")
_B = TypeVar("_B")


class ServerVersion(NamedTuple):
    """Version of an EDR server, and what depends on it.

    References:
        - cb-edr-api §1.4
    """

    major: int
    minor: int
    patch: int

    @property
    def groups(self) -> bool:
        """Whether a search can give one row per process; before, it gives one per segment."""
        return self >= (6, 0, 0)

    @property
    def sha256(self) -> bool:
        """Whether files can be searched by SHA-256."""
        return self >= (6, 3, 0)

    @property
    def facets(self) -> bool:
        """Whether the `facet` parameter is safe; on 5.1.0 it ends in a 504."""
        return self >= (5, 1, 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: object) -> Optional[ServerVersion]:
    """Return the first three numbers of `6.2.0.171114.1158`, or None where there are none."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d])", text, re.ASCII) if isinstance(text, str) else None
    return ServerVersion(*(int(number or 0) for number in match.groups())) if match else None


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        documents: In the server's order.
        total: How many match as far as the server tells; it may over-estimate.
        missing: Why some are missing, or None where these are all.
        facets: By facet name, name → count; names in lower case.
    """

    documents: list[dict[str, Any]]
    total: int
    missing: Optional[SourceError] = None
    facets: Optional[Mapping[str, Mapping[str, int]]] = None


def search(
    client: EdrClient,
    route: str,
    query: Optional[Query],
    deadline: Deadline,
    *,
    rows: int,
    more: Optional[Mapping[str, Parameter]] = None,
    at_most: Optional[int] = None,
) -> Found:
    """Return what matches, page after page where the server gives fewer rows than there are.

    Args:
        route: `BINARY` or `PROCESS`.
        query: None finds everything.
        rows: Rows of one page; 0 asks for the total alone.
        more: Further parameters.
        at_most: Stop when this many rows are here; None reads all, up to a bound.

    Raises:
        SourceError: Any page could not be had.
    """
    documents: list[dict[str, Any]] = []
    seen: set[str] = set()
    repeated = False
    key = "id" if (more or {}).get("cb.group") == "id" else "unique_id"
    while True:
        parameters: dict[str, Parameter] = {"q": query.text} if query else {}
        parameters.update({"rows": rows, "start": len(documents), "cb.urlver": "1", **(more or {})})
        page, total, incomplete, facets = envelope(client.ask(route, deadline, parameters).document, client.host)
        here = {repr(document.get(key) or document.get("md5") or document) for document in page}
        news = here - seen
        repeated = repeated or news != here
        seen |= news
        documents += page
        if incomplete:
            text = f"{client.host} ended the search at its own time limit: only a part was searched. Try again later."
            return Found(documents, total, SourceTimeout(text), facets)
        if not page or len(documents) >= total or not rows:
            shifted = repeated and len(seen) < total
            return Found(documents, total, _shifted(client.host, len(seen), total) if shifted else None, facets)
        if at_most is not None and len(documents) >= at_most:
            return Found(documents, total, _cut(client.host, len(documents), total), facets)
        if not news or len(documents) >= _MAX_PAGES * rows:
            return Found(documents, total, _cut(client.host, len(documents), total), facets)


def in_chunks(items: Sequence[_A], size: int) -> list[Sequence[_A]]:
    """Return the items in order, in chunks of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def side_by_side(client: EdrClient, work: Callable[[_A], _B], items: Sequence[_A]) -> list[_B]:
    """Return `work` of every item, in order, as many at a time as the client allows.

    Args:
        work: Bounded by a deadline of its own, and raising nothing that is expected.
    """
    if len(items) < 2 or client.parallel < 2:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(min(client.parallel, len(items)), thread_name_prefix="cbsigned-edr")
    futures = [pool.submit(work, item) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        while wait(futures, timeout=0.1).not_done:  # again and again: one may have been about to ask
            client.interrupt()
        raise
    finally:
        pool.shutdown()


def _cut(host: str, here: int, total: int) -> SourceResponseError:
    return SourceResponseError(
        f"{host} gave {here} of {total} rows, so this answer is not whole. Narrow the question, or raise its limit."
    )


def _shifted(host: str, here: int, total: int) -> SourceResponseError:
    return SourceResponseError(
        f"{host} changed between pages: they hold {here} of {total} rows, some of them twice. Ask again."
    )


def envelope(
    document: Mapping[str, Any], host: str
) -> tuple[list[dict[str, Any]], int, bool, Mapping[str, Mapping[str, int]]]:
    """Return rows, total, whether the server gave up half-way, and facets.

    Raises:
        SourceResponseError: It is no search answer.

    References:
        - cb-edr-api §2.2, §2.6
    """
    rows, total = document.get("results"), document.get("total_results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _wrong_shape(host, "results is no list of documents")
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise _wrong_shape(host, "total_results is no number")
    given = document.get("facets")
    facets = {
        name: {str(e["name"]).lower(): e["value"] for e in entries if _is_entry(e)}
        for name, entries in (given.items() if isinstance(given, dict) else ())
        if isinstance(entries, list)
    }
    return rows, total, document.get("incomplete_results") is True, facets


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and "name" in entry and isinstance(entry.get("value"), int)


def _wrong_shape(host: str, what: str) -> SourceResponseError:
    return SourceResponseError(
        f"{host} sent a search answer of another shape: {what}. Check that url names a Carbon Black EDR server."
    )
