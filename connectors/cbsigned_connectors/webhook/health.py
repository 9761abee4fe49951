"""Whether the service can do its work: each source, the store of jobs with its disk, and the cache that hosts share."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Callable, Optional

from cbsigned.errors import SourceBusy, SourceError
from cbsigned.gaps import Cause
from cbsigned.rediscache.server import RedisServer
from cbsigned.signing import BinarySource
from cbsigned.timing import Deadline, format_time, utc_now
from cbsigned_connectors.webhook.job_model import Jobs, JobsError
from cbsigned_connectors.webhook.views import SourceState

__all__ = ["Health"]

_FRESH_S = 15.0
_PROBE_S = 3.0
_LONGEST_PAUSE_S = 86_400.0
_CACHE = "cache"
_NO_FILE = "00000000000000000000000000000001"
_HARMLESS = frozenset({Cause.NOT_FOUND, Cause.UNSEARCHABLE, Cause.NOT_ASKED})


class Health:
    """What is known of the source and the jobs; thread-safe.

    Args:
        source: Is tried where nobody asked it lately.
        jobs: The store of jobs, where there is one.
        cache: The server that hosts share, where there is one. The service does its work without it, only slower.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(
        self, source: BinarySource, jobs: Optional[Jobs] = None, cache: Optional[RedisServer] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._source, self._jobs, self._cache, self._clock = source, jobs, cache, clock
        self._lock = threading.Lock()
        self._failure: Optional[str] = None
        self._known_at: Optional[float] = None
        self._at: Optional[datetime] = None
        self._busy_until = 0.0
        self._probe: Optional[asyncio.Task[None]] = None

    def note(self, failure: Optional[SourceError]) -> None:
        """Remember how a question to the source went: None for an answer."""
        failed = failure is not None and failure.cause not in _HARMLESS
        with self._lock:
            self._failure = str(failure) if failed else None
            if failure is None:
                self._busy_until = 0.0
            elif isinstance(failure, SourceBusy):
                self._busy_until = self._clock() + min(failure.retry_after_s or 0.0, _LONGEST_PAUSE_S)
            self._known_at, self._at = self._clock(), utc_now()

    def pause_s(self) -> int:
        """Return for how many seconds more the source asked to be left alone: at most a day, 0 where it did not."""
        with self._lock:
            return max(0, math.ceil(self._busy_until - self._clock()))

    def source(self) -> SourceState:
        """Return whether the source answers, as last known; asks nobody."""
        with self._lock:
            works = None if self._known_at is None else self._failure is None
            told = {None: "It has not been asked yet.", True: "It answers."}.get(works) or self._failure or ""
            return SourceState(self._source.name, works, told, self._at)

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether all is well, and a document that says what is not.

        The source is tried where nothing was heard of it for 15 s, at most once at a time, for 3 s.
        """
        if self._known_at is None or self._clock() - self._known_at > _FRESH_S:
            if self._probe is None or self._probe.done():
                self._probe = asyncio.ensure_future(asyncio.to_thread(self._try))
            await asyncio.wait([self._probe], timeout=_PROBE_S + 1)
        source = self.source()
        parts = [
            {
                "name": source.name, "ok": bool(source.works), "detail": source.told,
                "checked_at": format_time(source.checked_at),
            }
        ]  # fmt: skip
        if self._jobs is not None:
            trouble = await asyncio.to_thread(self._trouble_of_jobs, self._jobs)
            parts.append({
                "name": "jobs", "ok": trouble is None, "detail": trouble or "Jobs are accepted and kept.",
                "checked_at": format_time(utc_now()),
            })  # fmt: skip
        if self._cache is not None:
            trouble = await asyncio.to_thread(self._cache.check)
            poorer = f"{trouble} Answers come from this host's own cache and from the source meanwhile."
            parts.append({
                "name": _CACHE, "ok": trouble is None, "detail": poorer if trouble else f"{self._cache.shown} answers.",
                "checked_at": format_time(utc_now()),
            })  # fmt: skip
        ready = all(part["ok"] for part in parts if part["name"] != _CACHE)
        return ready, {"ready": ready, "parts": parts}

    def sources(self) -> Sequence[SourceState]:
        """Return the same for the analyst's page."""
        return [self.source()]

    def _try(self) -> None:
        """Ask for a file that nobody has."""
        try:
            answer = self._source.binaries([_NO_FILE], Deadline(_PROBE_S)).get(_NO_FILE)
        except SourceError as exc:
            answer = exc
        self.note(answer if isinstance(answer, SourceError) else None)

    @staticmethod
    def _trouble_of_jobs(jobs: Jobs) -> Optional[str]:
        try:
            return jobs.check()
        except JobsError as exc:
            return str(exc)
