"""Sources in front of a source, for a process with many askers at the same time.

Each asks in a thread of its own. What one of them is asking right now, the others wait for (`SharedSource`); what
they ask within some milliseconds of each other goes out as one question (`BatchingSource`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar, Union

from cbsigned.binary import BinaryRecord
from cbsigned.errors import SourceError, SourceTimeout
from cbsigned.gaps import Cause
from cbsigned.lineage import ProcessAnswers, ProcessSource, Relatives
from cbsigned.process import Process
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers, BinarySource, JointSource
from cbsigned.timing import Deadline

__all__ = ["BatchingSource", "Front", "SharedSource", "WholeSource", "asked_of"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")
_MOST_LINGERING = 20_000
_PATIENCE = 0.5
"""Of the time left, what is spent on waiting for one asker; then the waiter asks itself. One hash that is also among
ten thousand of another search would else run out of time behind them."""
_SHORTEST_WAIT_S = 0.05
_OF_HASTE = (Cause.TIMEOUT, Cause.NOT_ASKED)
_FULL = 200
"""Items that the EDR is asked for in one request: so many need not wait for more."""
_MOST_UNDER_WAY = 4
_GATHERED_SHARE, _LONGEST_GATHER_S = 0.2, 0.2
"""Of the time of the last answer, what the next question may gather: a slow source is worth the wait."""


class WholeSource(BinarySource, ProcessSource, JointSource, Protocol):
    """A source that answers all the questions of the core, as the EDR does."""


_Ask = Callable[[Sequence[_K], Deadline], Mapping[_K, Union[_V, SourceError]]]


class _Askers(Protocol[_K, _V]):
    """Those who ask questions of one kind."""

    def answers(self, items: Iterable[_K], deadline: Deadline, ask: _Ask[_K, _V]) -> dict[_K, Union[_V, SourceError]]:
        """Return the answers of all items, in order."""


class Front:
    """A source in front of another; each question goes through those who ask questions of its kind.

    Args:
        source: The one behind.
        askers: Kind of question → who asks it; they have `answers(items, deadline, ask)`.

    Attributes:
        source: The one behind, for what goes past.
    """

    def __init__(self, source: WholeSource, askers: Callable[[str], Any]) -> None:
        self.source = source
        self._binaries: _Askers[str, tuple[BinaryRecord, ...]] = askers("binaries")
        self._processes: _Askers[str, Process] = askers("processes")
        self._candidates: _Askers[Sighting, tuple[Process, ...]] = askers("candidates")
        self._children: _Askers[tuple[str, int], Relatives] = askers("children")
        self._joint: _Askers[tuple[str, str], bool] = askers("joint")

    @property
    def name(self) -> str:
        """Who it is: the source behind, so that evidence and cache keys stay the same."""
        return self.source.name

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        """Return the binary records of every hash; see `BinarySource`."""
        return self._binaries.answers(hashes, deadline, self.source.binaries)

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        """Return the process of every guid; see `ProcessSource`."""
        return self._processes.answers(guids, deadline, self.source.processes)

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return the processes that every sighting can mean; see `ProcessSource`."""
        return self._candidates.answers(sightings, deadline, self.source.candidates)

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return the children of every guid, at most `limit` of each; see `ProcessSource`."""
        found = self._children.answers([(guid, limit) for guid in guids], deadline, self._children_of)
        return {guid: answer for (guid, _limit), answer in found.items()}

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every (md5, program name) whether the joint query finds anything; see `JointSource`."""
        return self._joint.answers(pairs, deadline, self.source.joint_hits)

    def _children_of(
        self, items: Sequence[tuple[str, int]], deadline: Deadline
    ) -> Mapping[tuple[str, int], Union[Relatives, SourceError]]:
        """Ask once for each limit; nearly always all askers have the same."""
        found: dict[tuple[str, int], Union[Relatives, SourceError]] = {}
        for limit in dict.fromkeys(limit for _guid, limit in items):
            answers = self.source.children([guid for guid, own in items if own == limit], limit, deadline)
            found.update({(guid, limit): answer for guid, answer in answers.items()})
        return found


class SharedSource(Front):
    """A source whose concurrent askers share requests; it answers as the one behind it does.

    An item (hash, guid, sighting) that another thread is asking for is waited for, at most half of the time that
    the waiter has left, and asked again only then. Answers stay for `linger_s` after they came, for an asker who
    looked into a cache before they were put there; failures do not stay. A failure is shared with those who
    waited for it, unless it came of the asker's own short deadline: then who has time left asks again.

    Args:
        source: Is asked, in the threads of the callers.
        linger_s: How long answers stay, 0 or more; at most 20,000 items of each question do.
        clock: Monotonic seconds, for `linger_s`; tests pass their own.
    """

    def __init__(self, source: WholeSource, linger_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(source, lambda _kind: _Flights(source.name, linger_s, clock))


class BatchingSource(Front):
    """A source whose concurrent askers are merged into few questions; it answers as the one behind it does.

    What is asked within `gather_s`, or within a fifth of what the last answer took, is one question. While a question
    is under way, the next one gathers until the answer comes, or until it is full, or until its first asker has waited
    for `patience_s`: load makes questions bigger, not more, and a slow one holds the others up for a moment only. At
    most four of a kind are under way.
    Each asker waits by its own deadline; the question has the longest of them, and is not put where all have
    passed. To ask for the same item once, put a `SharedSource` in front.

    Args:
        source: Is asked, in threads made for it.
        gather_s: How long the first asker waits for others; 0 for not at all, however slow the source is.
        patience_s: How long it waits at most for the answer to an earlier question.
    """

    def __init__(self, source: WholeSource, gather_s: float = 0.004, patience_s: float = 2.0) -> None:
        super().__init__(source, lambda _kind: _Gathering(source.name, gather_s, patience_s))


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

    def answers(self, items: Iterable[_K], deadline: Deadline, ask: _Ask[_K, _V]) -> dict[_K, Union[_V, SourceError]]:
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

    def _fly(self, own: _Flight[_K, _V], deadline: Deadline, ask: _Ask[_K, _V]) -> None:
        try:
            own.answers = asked_of(own.items, deadline, ask)
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


class _Batch(Generic[_K, _V]):
    """Items that go out together.

    Attributes:
        done: Set when `answers` is final, or `error` says what the source raised that is no answer.
    """

    def __init__(self) -> None:
        self.items: dict[_K, None] = {}
        self.deadlines: list[Deadline] = []
        self.begun_at = time.monotonic()
        self.done = threading.Event()
        self.answers: Mapping[_K, Union[_V, SourceError]] = {}
        self.error: Optional[BaseException] = None


class _Gathering(Generic[_K, _V]):
    """The questions of one kind: the one that gathers, and those under way."""

    def __init__(self, name: str, gather_s: float, patience_s: float) -> None:
        self._name, self._gather_s, self._patience_s = name, gather_s, patience_s
        self._changed = threading.Condition()
        self._open: Optional[_Batch[_K, _V]] = None
        self._under_way = 0
        self._landed_at = 0.0
        self._took_s = 0.0

    def answers(self, items: Iterable[_K], deadline: Deadline, ask: _Ask[_K, _V]) -> dict[_K, Union[_V, SourceError]]:
        """Return the answers of all items, in order, when the question that they go into is answered."""
        asked = list(dict.fromkeys(items))
        if not asked:
            return {}
        batch = self._joined(asked, deadline, ask)
        if not batch.done.wait(deadline.remaining()):
            return dict.fromkeys(asked, self._too_late(deadline.seconds))
        if batch.error is not None:
            raise batch.error
        return {item: batch.answers[item] for item in asked if item in batch.answers}

    def _joined(self, asked: Sequence[_K], deadline: Deadline, ask: _Ask[_K, _V]) -> _Batch[_K, _V]:
        """Put items into the question that gathers; who finds none begins one."""
        with self._changed:
            batch = self._open
            if batch is None:
                batch = _Batch()
                threading.Thread(target=self._fly, args=(batch, ask), name="batch", daemon=True).start()
                self._open = batch
            batch.items.update(dict.fromkeys(asked))
            batch.deadlines.append(deadline)
            if len(batch.items) >= _FULL:
                self._changed.notify_all()
        return batch

    def _fly(self, batch: _Batch[_K, _V], ask: _Ask[_K, _V]) -> None:
        """Wait until a question may go out, put it, and wake those who asked."""
        with self._changed:
            pause = self._pause(batch)
            while pause is None or pause > 0:
                self._changed.wait(pause)
                pause = self._pause(batch)
            self._open = None
            self._under_way += 1
        began_at = time.monotonic()
        items, left = list(batch.items), max(deadline.remaining() for deadline in batch.deadlines)
        try:
            late = dict.fromkeys(items, self._too_late(left))
            batch.answers = asked_of(items, Deadline(left), ask) if left > 0 else late
        except BaseException as exc:  # noqa: BLE001 (raised again by every asker, in a thread of its own)
            batch.error = exc
        finally:
            with self._changed:
                self._under_way -= 1
                self._landed_at = time.monotonic()
                self._took_s = self._landed_at - began_at
                self._changed.notify_all()
            batch.done.set()

    def _pause(self, batch: _Batch[_K, _V]) -> Optional[float]:
        """Return the seconds until a question may go out, 0 or less for now, None where an answer must come first."""
        if self._under_way >= _MOST_UNDER_WAY:
            return None
        if len(batch.items) >= _FULL:
            return 0.0
        if self._under_way:
            return batch.begun_at + self._patience_s - time.monotonic()
        gather_s = (
            max(self._gather_s, min(_LONGEST_GATHER_S, _GATHERED_SHARE * self._took_s)) if self._gather_s else 0.0
        )
        return max(batch.begun_at, self._landed_at) + gather_s - time.monotonic()

    def _too_late(self, seconds: float) -> SourceTimeout:
        return SourceTimeout(f"{self._name} did not answer within {seconds:.1f} s. Ask again, or raise the time limit.")


def asked_of(items: Sequence[_K], deadline: Deadline, ask: _Ask[_K, _V]) -> Mapping[_K, Union[_V, SourceError]]:
    """Return what is answered; an error that a source raises is the answer to every item."""
    try:
        return ask(items, deadline)
    except SourceError as exc:  # a source should return it as a value
        return dict.fromkeys(items, exc.with_traceback(None))
