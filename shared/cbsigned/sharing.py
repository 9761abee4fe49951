"""One request for all who ask the same at the same time: a source in front of a source.

A persistent process serves many searches; each asks in a thread of its own, and many ask for the same hashes. What
one of them is asking right now, the others wait for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Callable, Generic, Protocol, TypeVar, Union

from cbsigned.binary import BinaryRecord
from cbsigned.errors import SourceError, SourceTimeout
from cbsigned.gaps import Cause
from cbsigned.lineage import ProcessAnswers, ProcessSource, Relatives
from cbsigned.process import Process
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers, BinarySource, JointSource
from cbsigned.timing import Deadline

__all__ = ["SharedSource", "WholeSource"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")
_MOST_LINGERING = 20_000
_PATIENCE = 0.5
"""Of the time left, what is spent on waiting for one asker; then the waiter asks itself. One hash that is also among
ten thousand of another search would else run out of time behind them."""
_SHORTEST_WAIT_S = 0.05
_OF_HASTE = (Cause.TIMEOUT, Cause.NOT_ASKED)


class WholeSource(BinarySource, ProcessSource, JointSource, Protocol):
    """A source that answers all the questions of the core, as the EDR does."""


class SharedSource:
    """A source whose concurrent askers share requests; it answers as the one behind it does.

    An item (hash, guid, sighting) that another thread is asking for is waited for, at most half of the time that
    the waiter has left, and asked again only then. Answers stay for `linger_s` after they came, for an asker who
    looked into a cache before they were put there; failures do not stay. A failure is shared with those who
    waited for it, unless it came of the asker's own short deadline: then who has time left asks again.

    Args:
        source: Is asked, in the threads of the callers.
        linger_s: How long answers stay, 0 or more; at most 20,000 items of each question do.
        clock: Monotonic seconds, for `linger_s`; tests pass their own.

    Attributes:
        source: The one behind, for what is not shared.
    """

    def __init__(self, source: WholeSource, linger_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._binaries: _Flights[str, tuple[BinaryRecord, ...]] = _Flights(source.name, linger_s, clock)
        self._processes: _Flights[str, Process] = _Flights(source.name, linger_s, clock)
        self._candidates: _Flights[Sighting, tuple[Process, ...]] = _Flights(source.name, linger_s, clock)
        self._children: _Flights[tuple[str, int], Relatives] = _Flights(source.name, linger_s, clock)
        self._joint: _Flights[tuple[str, str], bool] = _Flights(source.name, linger_s, clock)

    @property
    def name(self) -> str:
        """Who it is: the source behind, so that evidence and cache keys stay the same."""
        return self.source.name

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        """Return the binary records of every hash; see `BinarySource`."""
        return self._binaries.answers(hashes, deadline, lambda items: self.source.binaries(items, deadline))

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        """Return the process of every guid; see `ProcessSource`."""
        return self._processes.answers(guids, deadline, lambda items: self.source.processes(items, deadline))

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return the processes that every sighting can mean; see `ProcessSource`."""
        return self._candidates.answers(sightings, deadline, lambda items: self.source.candidates(items, deadline))

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return the children of every guid, at most `limit` of each; see `ProcessSource`."""

        def ask(items: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Union[Relatives, SourceError]]:
            found = self.source.children([guid for guid, _limit in items], limit, deadline)
            return {(guid, limit): answer for guid, answer in found.items()}

        found = self._children.answers([(guid, limit) for guid in guids], deadline, ask)
        return {guid: answer for (guid, _limit), answer in found.items()}

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every (md5, program name) whether the joint query finds anything; see `JointSource`."""
        return self._joint.answers(pairs, deadline, lambda items: self.source.joint_hits(items, deadline))


class _Flight(Generic[_K, _V]):
    """One call of the source that is under way, or has just ended.

    Attributes:
        done: Set when `answers` is final, however the call ended.
        died: It raised something that is no answer.
        hurried: The time of who asked was over when it ended.
        ended_at: By the clock of `linger_s`; 0 before.
    """

    def __init__(self, items: list[_K]) -> None:
        self.items = items
        self.done = threading.Event()
        self.answers: Mapping[_K, Union[_V, SourceError]] = {}
        self.died = True
        self.hurried = False
        self.ended_at = 0.0


class _Flights(Generic[_K, _V]):
    """The calls of one question, by item.

    Nobody waits while a call of their own is still to be made, so no two can wait for each other.
    """

    def __init__(self, name: str, linger_s: float, clock: Callable[[], float]) -> None:
        self._name, self._linger_s, self._clock = name, linger_s, clock
        self._lock = threading.Lock()
        self._by_item: dict[_K, _Flight[_K, _V]] = {}
        self._ended: deque[_Flight[_K, _V]] = deque()
        self._lingering = 0

    def answers(
        self,
        items: Iterable[_K],
        deadline: Deadline,
        ask: Callable[[Sequence[_K]], Mapping[_K, Union[_V, SourceError]]],
    ) -> dict[_K, Union[_V, SourceError]]:
        """Return the answers of all items, in order; those that nobody asks for now are asked here."""
        asked = list(dict.fromkeys(items))
        found: dict[_K, Union[_V, SourceError]] = {}
        wanted, given_up = asked, set[_Flight[_K, _V]]()
        while wanted:
            own, others = self._claim(wanted, given_up)
            if own.items:
                self._fly(own, deadline, ask)
                found.update(own.answers)
            wanted = []
            patience = Deadline(max(deadline.remaining() * _PATIENCE, min(_SHORTEST_WAIT_S, deadline.remaining())))
            for flight, waited in others.items():
                flight.done.wait(patience.remaining())
                again = self._land(flight, waited, deadline, found)
                given_up.update([flight] if again else [])
                wanted += again
        return {item: found[item] for item in asked if item in found}

    def _claim(
        self, wanted: Iterable[_K], given_up: set[_Flight[_K, _V]]
    ) -> tuple[_Flight[_K, _V], dict[_Flight[_K, _V], list[_K]]]:
        """Return a new flight of what nobody asks for, and the flights that have the others."""
        own: _Flight[_K, _V] = _Flight([])
        others: dict[_Flight[_K, _V], list[_K]] = {}
        with self._lock:
            self._forget()
            for item in wanted:
                flight = self._by_item.get(item)
                if flight is None or flight in given_up:
                    own.items.append(item)
                    self._by_item[item] = own
                else:
                    others.setdefault(flight, []).append(item)
        return own, others

    def _fly(
        self,
        own: _Flight[_K, _V],
        deadline: Deadline,
        ask: Callable[[Sequence[_K]], Mapping[_K, Union[_V, SourceError]]],
    ) -> None:
        try:
            own.answers = _asked(own.items, ask)
            own.died = False
        finally:  # whatever happened, those who wait must wake
            own.hurried = deadline.passed
            with self._lock:
                own.ended_at = self._clock()
                for item in own.items:
                    answer = own.answers.get(item)
                    if own.died or not self._linger_s or (isinstance(answer, SourceError) and answer.cause.failed):
                        self._drop(item, own)
                self._ended.append(own)
                self._lingering += len(own.items)
                self._forget()
            own.done.set()

    def _land(
        self,
        flight: _Flight[_K, _V],
        waited: Iterable[_K],
        deadline: Deadline,
        found: dict[_K, Union[_V, SourceError]],
    ) -> list[_K]:
        """Put the answers of another's flight to ours; return the items that are still to be asked."""
        done = flight.done.is_set()
        again: list[_K] = []
        for item in waited:
            answer = flight.answers.get(item) if done else None
            hasty = flight.hurried and isinstance(answer, SourceError) and answer.cause in _OF_HASTE
            if not done or flight.died or hasty:
                if not deadline.passed:
                    again.append(item)
                else:
                    found[item] = self._too_late(deadline)
            elif answer is not None:
                found[item] = answer
        return again

    def _forget(self) -> None:
        """Drop what has lingered long enough, and the oldest where there is too much."""
        now = self._clock()
        while self._ended and (self._ended[0].ended_at + self._linger_s <= now or self._lingering > _MOST_LINGERING):
            flight = self._ended.popleft()
            self._lingering -= len(flight.items)
            for item in flight.items:
                self._drop(item, flight)

    def _drop(self, item: _K, flight: _Flight[_K, _V]) -> None:
        if self._by_item.get(item) is flight:
            del self._by_item[item]

    def _too_late(self, deadline: Deadline) -> SourceTimeout:
        return SourceTimeout(
            f"{self._name} is being asked this by another search, and did not answer within {deadline.seconds:.1f} s. "
            "Ask again, or raise the time limit."
        )


def _asked(
    items: Sequence[_K], ask: Callable[[Sequence[_K]], Mapping[_K, Union[_V, SourceError]]]
) -> Mapping[_K, Union[_V, SourceError]]:
    try:
        return ask(items)
    except SourceError as exc:  # a source should return it as a value
        return dict.fromkeys(items, exc.with_traceback(None))
