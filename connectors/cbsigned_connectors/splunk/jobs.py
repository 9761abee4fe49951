"""Questions that take longer than one request of the handler may: worked on in threads, asked for again by id."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter, OrderedDict, deque
from typing import Any, Callable, Optional

__all__ = ["Job", "Jobs", "TooBusy", "UnknownJob"]

log = logging.getLogger(__name__)
_RUNNING = 16
_WAITING = 64
_KEPT_S = 120.0
_MOST_KEPT = 128
_MOST_FETCHED = 4
"""Answers kept after they went out, for whoever lost one on the way; one of 10,000 rows takes 20 MB and more."""


class TooBusy(Exception):
    """So many jobs run and wait, of all users or of this one, that no other is taken."""


class UnknownJob(Exception):
    """There is no such job of this user's: another user's, one no longer kept, or another process's."""


class Job:
    """One question under way.

    Attributes:
        id: What its user asks again by; not to be guessed.
        done: Set when it has an answer or has failed.
        fetched: Whether its answer went out.
    """

    def __init__(self, user: str, work: Callable[[], Any]) -> None:
        self.id = secrets.token_hex(16)
        self.user = user
        self.done = threading.Event()
        self.ended_at: Optional[float] = None
        self.fetched = False
        self._work: Optional[Callable[[], Any]] = work
        self._answer: Any = None
        self._failure: Optional[BaseException] = None

    def run(self) -> None:
        """Do the work; whatever it raises is kept for `answer`."""
        try:
            if self._work is not None:
                self._answer = self._work()
        except BaseException as exc:  # noqa: BLE001 (a worker must not die of one job; `answer` raises it)
            self._failure = exc
        finally:
            self._work = None  # with all that the question held

    def answer(self) -> Any:
        """Return what the work returned, or raise what it raised; only once `done` is set."""
        self.fetched = True
        if self._failure is not None:
            raise self._failure
        return self._answer


class Jobs:
    """A bounded number of threads over a bounded queue.

    The threads are daemons: when splunkd ends the process, none of them holds it back.

    Args:
        running: Most jobs at the same time.
        waiting: Most that wait for their turn.
        of_one: Most of one user that run and wait, so that the rest of the places is for others; None for no bound.
        kept_s: How long a job is kept after it ended, for whoever asks for it.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(
        self, running: int = _RUNNING, waiting: int = _WAITING, kept_s: float = _KEPT_S,
        clock: Callable[[], float] = time.monotonic, of_one: Optional[int] = None,
    ) -> None:  # fmt: skip
        self._most_running, self._most_waiting, self._kept_s, self._clock = running, waiting, kept_s, clock
        self._most_of_one = of_one
        self._queue: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running = 0
        self._under_way: Counter[str] = Counter()
        self._at_work: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def running(self) -> int:
        """How many are worked on."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    def start(self, user: str, work: Callable[[], Any]) -> Job:
        """Take a question on.

        Args:
            user: Who may ask for its answer.
            work: Called once, in another thread; it must end by itself.

        Raises:
            TooBusy: As many as may are running and waiting, in all or of this user, or there is no thread to be had.
        """
        job = Job(user, work)
        with self._lock:
            self._forget()
            if self._running >= self._most_running and len(self._queue) >= self._most_waiting:
                raise TooBusy(f"{self._running} look-ups are running and {len(self._queue)} are waiting")
            mine = self._under_way[user]
            if self._most_of_one is not None and mine >= self._most_of_one:
                raise TooBusy(
                    f"{mine} look-ups of your own are running or waiting, as many as one user may have. "
                    "Run fewer searches at the same time"
                )
            self._under_way[user] += 1
            self._jobs[job.id] = job
            self._queue.append(job)
            another = self._running < self._most_running
            self._running += 1 if another else 0
        if another:
            self._begin(job)
        return job

    def find(self, user: str, job_id: str) -> Job:
        """Return a job of this user's.

        Raises:
            UnknownJob: There is none.
        """
        with self._lock:
            self._forget()
            job = self._jobs.get(job_id)
        if job is None or job.user != user:
            raise UnknownJob(job_id)
        return job

    def drop(self, job: Job) -> None:
        """Forget a job that nobody will ask for: its answer went out at once."""
        with self._lock:
            self._jobs.pop(job.id, None)

    def _begin(self, job: Job) -> None:
        """Start a thread; where the system gives none, the job is left to those that run, or refused."""
        try:
            threading.Thread(target=self._work, name="cbsigned-job", daemon=True).start()
        except RuntimeError as exc:
            with self._lock:
                self._running -= 1
                if self._running or job not in self._queue:
                    return
                self._queue.remove(job)
                _less(self._under_way, job.user)
                del self._jobs[job.id]
            raise TooBusy(f"the system gives it no thread ({exc})") from None

    def _work(self) -> None:
        """Run jobs until none waits."""
        while True:
            with self._lock:
                if not self._queue:
                    self._running -= 1
                    return
                job = self._next()
            job.run()
            with self._lock:
                _less(self._under_way, job.user)
                _less(self._at_work, job.user)
            job.ended_at = self._clock()
            job.done.set()
            del job

    def _next(self) -> Job:
        """Take the job whose turn it is: of the user for whom the fewest are worked on, the first that came."""
        job = min(self._queue, key=lambda job: self._at_work[job.user])
        self._queue.remove(job)
        self._at_work[job.user] += 1
        return job

    def _forget(self) -> None:
        """Drop what ended long ago, and the oldest of what ended, or was fetched, where too much is kept."""
        now = self._clock()
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        fetched = [job for job in ended if job.fetched]
        surplus = {*ended[:-_MOST_KEPT], *fetched[:-_MOST_FETCHED]}
        for job in ended:
            if job in surplus or (job.ended_at or 0.0) + self._kept_s <= now:
                del self._jobs[job.id]


def _less(counts: Counter[str], user: str) -> None:
    counts[user] -= 1
    if not counts[user]:
        del counts[user]
