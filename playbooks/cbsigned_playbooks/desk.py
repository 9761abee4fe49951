"""What the actions ask: an EDR server or the embedded store, with the same questions to both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Protocol

from cbsigned.cache import FileCache
from cbsigned.edr import connect
from cbsigned.edr.checks import Finding
from cbsigned.enrichment import Caches, Sources, process_cache, signature_cache
from cbsigned.errors import ConfigError, SourceError
from cbsigned.seen import Seen
from cbsigned.settings import Settings, expanded
from cbsigned.timing import Deadline

__all__ = ["Desk", "EdrDesk", "Page", "StoreDesk"]


@dataclass(frozen=True)
class Page:
    """One page of a search.

    Attributes:
        documents: With the EDR's own field names.
        total: How many match as far as the source tells.
        next: `start` of the next page, or None.
        notes: What the user should know of it, a sentence each.
        whole: False where the source gave up half-way.
    """

    documents: Sequence[Mapping[str, Any]]
    total: int
    next: Optional[int]
    notes: tuple[str, ...] = ()
    whole: bool = True


class Desk(Protocol):
    """Whoever answers the actions' questions; may be asked by several threads."""

    sources: Sources

    @property
    def name(self) -> str:
        """What the source calls itself: `edr:host` or `store:file`."""

    def processes(self, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        """Return the processes that a query finds; raises `SourceError`."""

    def binaries(self, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        """Return the binaries that a query finds; raises `SourceError`."""

    def seen(self, file_hash: str, rows: int, deadline: Deadline) -> Seen:
        """Return where a file was seen; what fails is a gap."""

    def check(self, deadline: Deadline) -> Sequence[Finding]:
        """Return what works and what does not."""

    def close(self) -> None:
        """Close what is open."""


class EdrDesk:
    """An EDR server, and answers kept in memory and, where the settings name one, in the cache file.

    Args:
        settings: With `edr`.

    Raises:
        ConfigError: There is no server in the settings, or its CA file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.edr is None:
            raise ConfigError("There is no server in the settings: name its url and the token.")
        self._edr = connect(settings.edr)
        durable = FileCache(expanded(settings.cache_file), settings.cache_max_bytes) if settings.cache_file else None
        kept = Caches(signature_cache(durable), process_cache(durable))
        self.sources = Sources(self._edr, self._edr, self._edr, kept)

    @property
    def name(self) -> str:
        """`edr:` and the server."""
        return self._edr.name

    def processes(self, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        """Return one page of the server's process search."""
        page = self._edr.search_processes(query, start=start, rows=rows, sort=sort, deadline=deadline)
        return Page(page.rows, page.total, page.next, page.notes, not page.incomplete)

    def binaries(self, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        """Return one page of the server's binary search."""
        page = self._edr.search_binaries(query, start=start, rows=rows, sort=sort, deadline=deadline)
        return Page(page.rows, page.total, page.next, page.notes, not page.incomplete)

    def seen(self, file_hash: str, rows: int, deadline: Deadline) -> Seen:
        """Ask the server where a file was seen."""
        return self._edr.seen(file_hash, rows, deadline)

    def check(self, deadline: Deadline) -> Sequence[Finding]:
        """Try the server."""
        return self._edr.check(deadline)

    def close(self) -> None:
        """Close the connections."""
        self._edr.close()


class StoreDesk:
    """An embedded store; nothing of it is kept, since it may be written meanwhile.

    Args:
        path: The store.

    Raises:
        ConfigError: There is no such store.
        SourceError: It cannot be read just now.
    """

    def __init__(self, path: Path) -> None:
        from cbsigned.store.source import StoreSource  # bundles for a platform leave the store out

        self._path, self._store = path, StoreSource(path)
        self.sources = Sources(self._store, self._store, self._store)

    @property
    def name(self) -> str:
        """`store:` and the file's name."""
        return self._store.name

    def processes(self, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        """Return one page of the store's process search."""
        return self._page("process", query, start, rows, sort, deadline)

    def binaries(self, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        """Return one page of the store's binary search."""
        return self._page("binary", query, start, rows, sort, deadline)

    def _page(self, kind: str, query: str, start: int, rows: int, sort: Optional[str], deadline: Deadline) -> Page:
        from cbsigned.query.fields import Search
        from cbsigned.store.search_command import search_answer

        which = Search.PROCESS if kind == "process" else Search.BINARY
        page, _rows = search_answer(self._path, which, query, deadline.remaining(), start=start, rows=rows, sort=sort)
        following = start + len(page.documents)
        more = following if page.documents and following < page.total else None
        return Page(page.documents, page.total, more, page.notes, not page.incomplete)

    def seen(self, file_hash: str, rows: int, deadline: Deadline) -> Seen:
        """Ask the store where a file was seen."""
        return self._store.seen(file_hash, rows, deadline)

    def check(self, deadline: Deadline) -> Sequence[Finding]:
        """Try the store with one question."""
        answer = self._store.binaries([f"{1:032x}"], deadline)[f"{1:032x}"]
        failed = isinstance(answer, SourceError)
        return (Finding("store", not failed, str(answer) if failed else f"{self._path.name} answers."),)

    def close(self) -> None:
        """Close the file."""
        self._store.close()
