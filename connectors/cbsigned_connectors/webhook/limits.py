"""How much a sender may send: requests by a token bucket of its own, bodies by size, number and time."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Callable, Optional

from cbsigned.errors import CbSignedError
from cbsigned_connectors.webhook.credentials import SenderSettings

__all__ = ["Bodies", "BodyLimits", "BodyRefused", "RateLimits"]


class RateLimits:
    """One token bucket for each sender, which begins full.

    Args:
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # what is in it, and when that was so
        self._lock = threading.Lock()

    def take(self, sender: SenderSettings) -> float:
        """Take one request out of a sender's bucket.

        Returns:
            0.0 when there was one, else the seconds until there is: refuse with 429 and `Retry-After`.
        """
        per_s = sender.per_minute / 60.0
        with self._lock:
            now = self._clock()
            left, at = self._buckets.get(sender.name, (float(sender.burst), now))
            left = min(float(sender.burst), left + max(0.0, now - at) * per_s)
            granted = left >= 1.0
            self._buckets[sender.name] = (left - 1.0 if granted else left, now)
        return 0.0 if granted else (1.0 - left) / per_s


@dataclass(frozen=True)
class BodyLimits:
    """What a body may be, before it is known who sends it.

    Attributes:
        max_bytes: As received, packed or not.
        max_unpacked_bytes: After unpacking; for who unpacks it.
        at_once: Bodies that are being read at the same time.
        timeout_s: From the first to the last byte.
    """

    max_bytes: int = 1024 * 1024
    max_unpacked_bytes: int = 10 * 1024 * 1024
    at_once: int = 1_000
    timeout_s: float = 20.0


class BodyRefused(CbSignedError):
    """A body is not read to its end.

    Attributes:
        status: 400, 408, 413 or 503.
        retry_after_s: None where the same body will not do later either.
    """

    def __init__(self, status: int, message: str, retry_after_s: Optional[int] = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class _Watch:
    """Cancels each task that is at something for longer than some seconds, with one timer for all of them.

    All have the same time, so the first that began is the first that is late. A timer for each would cost as much as
    reading a body that is there already, as nearly all are.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: dict[asyncio.Task[Any], float] = {}  # in this order
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: Optional[asyncio.TimerHandle] = None

    def __len__(self) -> int:
        return len(self._began)

    def begin(self) -> asyncio.Task[Any]:
        """Watch the present task until it ends what it begins now."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a body is read by a task")
        loop = task.get_loop()
        self._began[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look)
        return task

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Watch a task no more; return whether it was cancelled from here, and then it no longer is."""
        self._began.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        if sys.version_info >= (3, 11):  # which count
            task.uncancel()
        return True

    def _look(self) -> None:
        """Cancel who is late, and look again when the next will be."""
        self._timer = None
        for task, began_at in list(self._began.items()):
            left_s = began_at + self._seconds - task.get_loop().time()
            if left_s > 0:
                self._timer = task.get_loop().call_later(left_s, self._look)
                return
            del self._began[task]
            self._late.add(task)
            task.cancel()


class Bodies:
    """Reads the bodies of requests, in one event loop.

    Args:
        limits: What they may be.
    """

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self._watch = _Watch(limits.timeout_s)

    async def read(self, chunks: AsyncIterator[bytes], declared: Optional[str] = None) -> bytes:
        """Return a body, no byte changed.

        Args:
            chunks: As they arrive; `Request.stream()`.
            declared: `Content-Length`; a body that declares too much is not begun.

        Raises:
            BodyRefused: Too large, too slow, or too many at once.
        """
        most = self.limits.max_bytes
        if declared is not None and not (declared.isascii() and declared.isdigit() and len(declared) < 20):
            raise BodyRefused(400, "Content-Length is not a number of bytes.")
        if declared is not None and int(declared) > most:
            raise self._too_large(most)
        if len(self._watch) >= self.limits.at_once:
            raise BodyRefused(503, f"{len(self._watch)} bodies are being read, as many as may. Send it again.", 1)
        task = self._watch.begin()
        try:
            return await self._read(chunks, most)
        except asyncio.CancelledError:
            if not self._watch.end(task):
                raise
            raise BodyRefused(
                408, f"The body did not arrive within {self.limits.timeout_s:g} s. Send it faster, or less of it.", 1
            ) from None
        finally:
            self._watch.end(task)

    def check(self, sender: SenderSettings, size: int) -> None:
        """Refuse a body that is too large for its sender, now that it is known.

        Raises:
            BodyRefused: 413.
        """
        if sender.max_body_bytes is not None and size > sender.max_body_bytes:
            raise self._too_large(sender.max_body_bytes)

    async def _read(self, chunks: AsyncIterator[bytes], most: int) -> bytes:
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise self._too_large(most)
        return bytes(body)

    @staticmethod
    def _too_large(most: int) -> BodyRefused:
        return BodyRefused(413, f"The body has more than {most} bytes. Send fewer alerts at a time.")
