"""How much a sender may send: requests by a token bucket of its own, bodies by size, number and time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Callable, Optional

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


class _Late:
    """Cancels the task that made it after some seconds; a timer alone, because nearly every body is there at once.

    A cancel scope of anyio's costs ten times as much, which is 5 % of a warm answer.
    """

    def __init__(self, seconds: float) -> None:
        self._task = asyncio.current_task()
        self._fired = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._fire)

    def end(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def taken(self) -> bool:
        """Whether it was this that cancelled the task; then the task is no longer cancelled."""
        uncancel = getattr(self._task, "uncancel", None)  # Python 3.11 and later count
        if self._fired and uncancel is not None:
            uncancel()
        return self._fired

    def _fire(self) -> None:
        self._fired = True
        if self._task is not None:
            self._task.cancel()


class Bodies:
    """Reads the bodies of requests, in one event loop.

    Args:
        limits: What they may be.
    """

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self._reading = 0

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
        if self._reading >= self.limits.at_once:
            raise BodyRefused(503, f"{self._reading} bodies are being read, as many as may. Send it again.", 1)
        self._reading += 1
        late = _Late(self.limits.timeout_s)
        try:
            return await self._read(chunks, most)
        except asyncio.CancelledError:
            if not late.taken():
                raise
            raise BodyRefused(
                408, f"The body did not arrive within {self.limits.timeout_s:g} s. Send it faster, or less of it.", 1
            ) from None
        finally:
            late.end()
            self._reading -= 1

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
