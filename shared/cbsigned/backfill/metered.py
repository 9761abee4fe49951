"""The source as a back-fill asks it: in batches at a bounded rate, within a budget, and not on and on when it fails."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Callable, Optional, TypeVar, Union

from cbsigned.binary import BinaryRecord
from cbsigned.edr.query import MAX_CLAUSES
from cbsigned.errors import SourceError, SourceUnavailable
from cbsigned.gaps import Cause
from cbsigned.lineage import ProcessSource, Relatives, Sighting
from cbsigned.process import Process
from cbsigned.signing import BinarySource
from cbsigned.timing import Deadline

__all__ = ["Meter", "MeteredSource", "NotAsked"]

_MAX_FAILURES = 5
_SLICE_S = 0.5
_V = TypeVar("_V")


class NotAsked(SourceError):
    """The question was not put: the budget is spent, or the source kept failing."""

    cause = Cause.NOT_ASKED


class Meter:
    """How much may be asked, and how fast.

    One request is one batch of a search, of at most `MAX_CLAUSES` hashes or guids. That a request is tried again, and
    the one for the server's version, are not counted.

    Args:
        rate: Requests a second.
        budget: Most requests, or None.
        together: Requests handed to the source at once.
        clock, sleep: Monotonic seconds, and waiting for some.

    Attributes:
        requests: Put so far.
        failed: Groups of them without any answer.
        refused: Questions not put because the budget is spent.
    """

    def __init__(
        self, rate: float, budget: Optional[int] = None, together: int = 1,
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.requests = self.failed = self.refused = 0
        self._rate, self._budget, self._together = rate, budget, together
        self._clock, self._sleep = clock, sleep
        self._free_at = clock()
        self._failures = 0
        self._why = ""

    @property
    def stopped(self) -> bool:
        """Whether nothing more is asked."""
        return bool(self._why) or self.spent

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self._budget is not None and self.requests >= self._budget

    def turns(self, keys: Sequence[str]) -> Iterator[tuple[Sequence[str], Optional[NotAsked]]]:
        """Yield keys in groups, each when it may be asked, or with why it is not."""
        at = 0
        while at < len(keys):
            if self.stopped:
                self.refused += len(keys) - at
                yield keys[at:], self._refusal()
                return
            left = self._together if self._budget is None else min(self._together, self._budget - self.requests)
            group = keys[at : at + left * MAX_CLAUSES]
            count = math.ceil(len(group) / MAX_CLAUSES)
            self._wait()
            self._free_at = max(self._free_at, self._clock()) + count / self._rate
            self.requests += count
            yield group, None
            at += len(group)

    def note(self, answers: Iterable[object]) -> None:
        """Count the answers to one group; where nothing but failures comes several times in a row, asking ends."""
        why = ""
        for answer in answers:
            if not isinstance(answer, SourceError) or not answer.cause.failed:
                self._failures = 0
                return
            why = str(answer)
        self.failed += 1
        self._failures += 1
        if self._failures >= _MAX_FAILURES:
            self._why = why

    def _wait(self) -> None:
        while (left := self._free_at - self._clock()) > 0:
            self._sleep(min(left, _SLICE_S))

    def _refusal(self) -> NotAsked:
        if self._why:
            return NotAsked(
                f"Not asked, because the source had failed {_MAX_FAILURES} times in a row: {self._why} "
                "Run the same back-fill again when it answers."
            )
        return NotAsked(
            f"Not asked: the budget of {self._budget:,} requests was spent. Run the same back-fill again to go on."
        )


class MeteredSource:
    """A source behind a meter: a `BinarySource` and `ProcessSource`.

    Args:
        deadline_s: For one group of questions; the waiting in between is not counted.
    """

    def __init__(self, binaries: BinarySource, processes: Optional[ProcessSource], meter: Meter, deadline_s: float):
        self.name = binaries.name
        self._binaries, self._processes = binaries, processes
        self._meter, self._deadline_s = meter, deadline_s

    def binaries(
        self, hashes: Sequence[str], _deadline: Deadline
    ) -> Mapping[str, Union[tuple[BinaryRecord, ...], SourceError]]:
        """Return an answer for every hash; see `BinarySource`."""
        return self._asked(hashes, self._binaries.binaries)

    def processes(self, guids: Sequence[str], _deadline: Deadline) -> Mapping[str, Union[Process, SourceError]]:
        """Return an answer for every guid; see `ProcessSource`."""
        return self._asked(guids, self._source().processes)

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return children; a back-fill asks for none."""
        return self._source().children(guids, limit, deadline)

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return candidates; a back-fill asks for none."""
        return self._source().candidates(sightings, deadline)

    def _source(self) -> ProcessSource:
        if self._processes is None:
            raise SourceUnavailable("This source has no processes to ask for. Use --no-lineage.")
        return self._processes

    def _asked(
        self, keys: Sequence[str], ask: Callable[[Sequence[str], Deadline], Mapping[str, Union[_V, SourceError]]]
    ) -> dict[str, Union[_V, SourceError]]:
        answers: dict[str, Union[_V, SourceError]] = {}
        for group, refusal in self._meter.turns(keys):
            if refusal is not None:
                answers.update(dict.fromkeys(group, refusal))
                continue
            try:
                found = dict(ask(group, Deadline(self._deadline_s)))
            except SourceError as exc:  # a source should return it as a value
                found = dict.fromkeys(group, exc)
            self._meter.note(found.values())
            answers.update(found)
        return answers
