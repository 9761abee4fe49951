"""A circuit breaker: after several requests in a row without an answer, none is made for a while."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional

__all__ = ["Breaker"]


class Breaker:
    """Counts requests without an answer; says when not to ask.

    Closed at first. After `limit` failures in a row it is open for `pause_s`; then one request is let through
    as a trial, whose outcome closes it or opens it again. Any answer counts as success, a refusal too. Requests that
    are made without leave (tries that follow a first one) count in the same way. Thread-safe.

    Args:
        limit: Failures in a row that open it, 1 or more.
        pause_s: Seconds.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(self, limit: int = 5, pause_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._pause_s, self._clock = limit, pause_s, clock
        self._failures = 0
        self._open_until: Optional[float] = None
        self._trying = False
        self._lock = threading.Lock()

    def wait_s(self) -> Optional[float]:
        """Take leave to ask: None where it is given, else the seconds until the next trial.

        Whoever gets None must call one of `answered`, `failed`, `undecided` afterwards.
        """
        with self._lock:
            if self._open_until is None:
                return None
            left = self._open_until - self._clock()
            if left > 0:
                return left
            if self._trying:
                return 0.0
            self._trying = True
            return None

    def answered(self) -> None:
        """Note an answer: the breaker closes."""
        with self._lock:
            self._failures, self._open_until, self._trying = 0, None, False

    def failed(self) -> bool:
        """Note a request without an answer; return whether this opened the breaker."""
        with self._lock:
            self._failures += 1
            if not self._trying and self._failures < self._limit:
                return False
            was_closed = self._open_until is None or self._trying
            self._open_until, self._trying = self._clock() + self._pause_s, False
            return was_closed

    def undecided(self) -> None:
        """Note a request that says nothing of the server: it was never sent, or given no time."""
        with self._lock:
            self._trying = False
