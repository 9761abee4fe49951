"""Alerts in, enrichments out, within the deadline: from the caches at once, else in a bounded pool of threads.

What the caches know is answered in the event loop. Everything else waits for one of a few worker threads; while
all of them are at work, what piles up is taken in one window by the next that is free, so that load makes
questions bigger, not more. Whoever has gone, or has run out of time, is passed over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, TypeVar, Union

from cbsigned.alert import Alert
from cbsigned.enrichment import Caches, Enrichment, Sources, enrich
from cbsigned.errors import AlertError, SourceError, SourceTimeout
from cbsigned.lineage import Relatives
from cbsigned.settings import Settings
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline

__all__ = ["Reading", "Responder", "TooBusy"]

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_K = TypeVar("_K")
_INLINE = 16
"""Most alerts that are answered in the event loop: more would hold up everybody else."""
_MOST_TOGETHER = 500
_SPARE_SHARE, _MOST_SPARE_S = 0.1, 0.5
"""Of the deadline, what is kept for writing the answer."""


@dataclass(frozen=True)
class Reading:
    """One record of a body: as it came, and as it was read or why it could not be.

    Attributes:
        ignored: On purpose not looked at, so that nothing is wrong.
    """

    record: Mapping[str, Any]
    alert: Union[Alert, AlertError]
    ignored: bool = False


class TooBusy(Exception):
    """More is waiting than can be answered in time.

    Attributes:
        retry_after_s: When to come again.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many alerts are waiting. Send them again in {retry_after_s} s, or in larger batches.")
        self.retry_after_s = retry_after_s


class _Miss(Exception):
    """The caches do not know it."""


class _Unasked:
    """Stands where a source would: raises `_Miss`, or answers everything with an error."""

    def __init__(self, name: str, error: Optional[SourceError] = None) -> None:
        self.name = name
        self._error = error

    def _answers(self, items: Sequence[_K]) -> dict[_K, SourceError]:
        if self._error is None:
            raise _Miss
        return dict.fromkeys(items, self._error)

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        return self._answers(hashes)

    def processes(self, guids: Sequence[str], deadline: Deadline) -> Mapping[str, SourceError]:
        return self._answers(guids)

    def candidates(self, sightings: Sequence[Sighting], deadline: Deadline) -> Mapping[Sighting, SourceError]:
        return self._answers(sightings)

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        return self._answers(guids)

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        return self._answers(pairs)


class _Ask:
    """One request that waits for a worker."""

    def __init__(
        self, readings: Sequence[Reading], deadline: Deadline, finish: Callable[[list[Enrichment]], Any],
        answer: asyncio.Future[Any],
    ) -> None:  # fmt: skip
        self.readings, self.deadline, self.finish, self.answer = readings, deadline, finish, answer
        self.loop = answer.get_loop()
        self.given_up = False

    def tell(self, value: Any = None, error: Optional[BaseException] = None) -> None:
        """Hand the answer to the event loop, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self._set, value, error)
        except RuntimeError:  # the loop has ended; nobody waits
            log.debug("An answer came after the end.")

    def _set(self, value: Any, error: Optional[BaseException]) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(value)


class Responder:
    """Answers requests from any number of callers; made and used in one event loop.

    Args:
        sources: Who is asked, in worker threads.
        settings: Depth, strategy and so on; window and deadline come with each request.
        hot: What the caches of `sources` hold in memory, to be looked into without waiting; None where there are none.
        workers: Threads at most.
        most_waiting: Alerts that may wait for a worker; more are refused.
    """

    def __init__(
        self, sources: Sources, settings: Settings, hot: Optional[Caches] = None, *, workers: int = 16,
        most_waiting: int = 20_000,
    ) -> None:  # fmt: skip
        self._sources, self._settings, self._hot = sources, settings, hot
        self._workers, self._most_waiting = workers, most_waiting
        self._nobody, self._inline = self._unasked(None), replace(settings, window=_INLINE)
        self._pool = ThreadPoolExecutor(workers, "webhook")
        self._lock = threading.Lock()
        self._waiting: deque[_Ask] = deque()
        self._waiting_alerts = 0
        self._busy = 0

    @property
    def keeps(self) -> bool:
        """Whether answers may be kept at all: those of a store, which may be written at any time, are not."""
        return self._sources.caches is not None

    @property
    def waiting(self) -> int:
        """How many alerts wait for a worker."""
        return self._waiting_alerts

    async def answer(
        self, readings: Sequence[Reading], deadline: Deadline, finish: Callable[[list[Enrichment]], _T]
    ) -> _T:
        """Return what `finish` makes of the enrichments, in time whatever the source does.

        Args:
            readings: 0 or more records.
            deadline: Of the caller. What is not known by then is a gap with its reason.
            finish: Runs in a worker thread or in the event loop; must not block.

        Raises:
            TooBusy: More is waiting than may.
        """
        if self._hot is not None and len(readings) <= _INLINE:
            try:
                return finish(self._enriched(readings, self._nobody, self._inline))
            except _Miss:
                pass
        ask = _Ask(readings, deadline, finish, asyncio.get_running_loop().create_future())
        self._enqueue(ask)
        try:
            return await asyncio.wait_for(ask.answer, max(0.0, deadline.remaining() - _spare_s(deadline) / 2))
        except asyncio.TimeoutError:
            late = SourceTimeout(
                f"{self._sources.binaries.name} did not answer within {deadline.seconds:g} s. Ask again later."
            )
            return finish(self._enriched(readings, self._unasked(late), self._within(readings, 1.0)))
        finally:
            ask.given_up = True

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._pool.shutdown()

    def _unasked(self, error: Optional[SourceError]) -> Sources:
        nobody = _Unasked(self._sources.binaries.name, error)
        return Sources(
            nobody, nobody if self._sources.processes is not None else None,
            nobody if self._sources.joint is not None else None, self._hot,
        )  # fmt: skip

    def _within(self, readings: Sequence[Reading], seconds: float) -> Settings:
        """Return the settings for one window with all readings."""
        return replace(self._settings, window=max(1, len(readings)), deadline_s=seconds)

    @staticmethod
    def _enriched(readings: Sequence[Reading], sources: Sources, settings: Settings) -> list[Enrichment]:
        return list(enrich([(reading.record, reading.alert) for reading in readings], sources, settings))

    def _enqueue(self, ask: _Ask) -> None:
        with self._lock:
            if self._waiting and self._waiting_alerts + len(ask.readings) > self._most_waiting:
                raise TooBusy(max(1, math.ceil(ask.deadline.seconds / 2)))
            self._waiting.append(ask)
            self._waiting_alerts += len(ask.readings)
            start = self._busy < self._workers
            self._busy += start
        if start:
            self._pool.submit(self._work)

    def _work(self) -> None:
        """Answer what waits until nothing does."""
        while True:
            with self._lock:
                asks = self._taken()
                if not asks:
                    self._busy -= 1
                    return
            try:
                self._answered(asks)
            except BaseException as exc:  # noqa: BLE001 (each caller gets it as a 500, with its traceback in the log)
                for ask in asks:
                    ask.tell(error=exc)

    def _taken(self) -> list[_Ask]:
        """Take one worker's share of what waits: one request where others are free, everything where none is."""
        free = self._workers - self._busy + 1
        share = math.ceil(len(self._waiting) / free)
        taken: list[_Ask] = []
        size = 0
        while self._waiting and (not taken or (len(taken) < share and size < _MOST_TOGETHER)):
            ask = self._waiting.popleft()
            self._waiting_alerts -= len(ask.readings)
            if not ask.given_up and not ask.deadline.passed:
                taken.append(ask)
                size += len(ask.readings)
        return taken

    def _answered(self, asks: Sequence[_Ask]) -> None:
        longest = max((ask.deadline for ask in asks), key=lambda deadline: deadline.remaining())
        readings = [reading for ask in asks for reading in ask.readings]
        seconds = max(0.0, longest.remaining() - _spare_s(longest))
        found = self._enriched(readings, self._sources, self._within(readings, seconds))
        at = 0
        for ask in asks:
            own = found[at : at + len(ask.readings)]
            at += len(ask.readings)
            try:
                ask.tell(ask.finish(own))
            except Exception as exc:  # noqa: BLE001 (one caller's answer; the others get theirs)
                ask.tell(error=exc)


def _spare_s(deadline: Deadline) -> float:
    return min(_MOST_SPARE_S, deadline.seconds * _SPARE_SHARE)
