"""What the handlers of requests work with: the store, the dialect spoken, and how routes are written down."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from cbsigned.errors import SourceTimeout
from cbsigned.store.database import open_reader, readable_error
from cbsigned.timing import Deadline
from cbsigned_connectors.edr_server.access import Grants, Right
from cbsigned_connectors.edr_server.answer import Answer
from cbsigned_connectors.edr_server.dialect import Dialect
from cbsigned_connectors.edr_server.faults import Fault
from cbsigned_connectors.edr_server.parameters import Parameters

__all__ = ["Ask", "Desk", "Endpoint", "Handler", "Options"]

_STEPS = 20_000
_IDLE = 8


@dataclass(frozen=True)
class Options:
    """What a server is started with.

    Attributes:
        store: The embedded store that is served.
        files: Folder with binaries, each named by its MD5, for downloads; None serves none.
        request_timeout_s: Longest work on one request, in seconds; the real server's default for a search is 30.
        block_joins: Refuse searches of processes by properties of binaries.
        block_leading_wildcards: Refuse them; None does as the version does.
    """

    store: Path
    grants: Grants
    dialect: Dialect
    files: Optional[Path] = None
    request_timeout_s: float = 30.0
    block_joins: bool = False
    block_leading_wildcards: Optional[bool] = None


class Desk:
    """The store behind a server, read by any number of threads at once.

    Raises:
        ConfigError: There is no such store, or it is not one.
        SourceError: It cannot be read just now.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.dialect = options.dialect
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_IDLE)
        self._idle.put(open_reader(options.store))

    @property
    def blocks_leading_wildcards(self) -> bool:
        """Whether searches with a wildcard in front are refused."""
        chosen = self.options.block_leading_wildcards
        return self.dialect.blocks_leading_wildcards if chosen is None else chosen

    @contextlib.contextmanager
    def reading(self, deadline: Optional[Deadline] = None) -> Iterator[sqlite3.Connection]:
        """Give the open store for one request, interrupted at the deadline.

        Raises:
            SourceTimeout: The deadline passed.
            SourceError: The store cannot be read.
        """
        deadline = deadline or Deadline(self.options.request_timeout_s)
        db = self._take()
        db.set_progress_handler(lambda: int(deadline.passed), _STEPS)
        try:
            db.execute("BEGIN")  # one answer is made of one state of the store
            yield db
        except sqlite3.Error as exc:
            if "interrupted" in str(exc):
                raise SourceTimeout(
                    f"The store gave no whole answer within {deadline.seconds:g} s. Ask for less."
                ) from exc
            raise readable_error(self.options.store, exc) from exc
        finally:
            self._give_back(db)

    def close(self) -> None:
        """Close the store."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return open_reader(self.options.store)

    def _give_back(self, db: sqlite3.Connection) -> None:
        db.set_progress_handler(None, 0)
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._idle.put_nowait(db)
        except (queue.Full, sqlite3.Error):
            db.close()


@dataclass(frozen=True)
class Ask:
    """One request that may be answered.

    Attributes:
        path: The variable parts of its path.
        rights: What its token may do.
        faults: Those of the fault mode that strike it.
    """

    path: Mapping[str, str]
    parameters: Parameters
    rights: frozenset[Right]
    faults: tuple[Fault, ...] = ()

    def struck(self, kind: str) -> Optional[Fault]:
        """Return the fault of a kind that strikes this request, if one does."""
        return next((fault for fault in self.faults if fault.fault == kind), None)


Handler = Callable[[Desk, Ask], Answer]


@dataclass(frozen=True)
class Endpoint:
    """A route: its path, the right it needs, and who answers.

    Attributes:
        path: With `{name}` for the parts that vary.
        since, until: First version that has the route, and first that has it no more.
    """

    path: str
    handler: Handler
    right: Optional[Right] = None
    methods: tuple[str, ...] = ("GET",)
    since: tuple[int, ...] = ()
    until: tuple[int, ...] = (99,)
