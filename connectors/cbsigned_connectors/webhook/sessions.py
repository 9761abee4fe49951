"""Who is signed in on the page: sessions in memory, and a brake for those who guess tokens."""

from __future__ import annotations

import hashlib
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Callable, Optional

__all__ = ["Attempts", "Session", "Sessions"]

_LIFE_S = 8 * 3600.0
_MOST_SESSIONS = 1_000
_MOST_ADDRESSES = 10_000
_FAILURES, _WITHIN_S = 10, 60.0


@dataclass(frozen=True)
class Session:
    """One analyst's time on the page.

    Attributes:
        sender: Name of the sender whose token was typed.
        form_token: Stands in every form of the session; a form of another site cannot know it.
    """

    sender: str
    form_token: str = field(repr=False)
    ends_at: float

    def owns(self, form_token: str) -> bool:
        """Whether a form was written for this session."""
        return secrets.compare_digest(self.form_token.encode(), form_token.encode("utf-8", "replace"))


class Sessions:
    """Sessions by cookie; only digests of the cookies are kept.

    Args:
        life_s: How long one lasts, from signing in.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(self, life_s: float = _LIFE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.life_s = life_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, sender: str) -> str:
        """Begin a session and return its cookie; the oldest ends where there are too many."""
        cookie = secrets.token_urlsafe(32)
        session = Session(sender, secrets.token_urlsafe(32), self._clock() + self.life_s)
        with self._lock:
            self._known[_digest(cookie)] = session
            while len(self._known) > _MOST_SESSIONS:
                self._known.popitem(last=False)
        return cookie

    def of(self, cookie: Optional[str]) -> Optional[Session]:
        """Return the session of a cookie, None for none, a forged or an ended one."""
        key = _digest(cookie or "")
        with self._lock:
            session = self._known.get(key)
            if session is not None and session.ends_at <= self._clock():
                del self._known[key]
                return None
        return session

    def end(self, cookie: Optional[str]) -> None:
        """End a session, if there is one."""
        with self._lock:
            self._known.pop(_digest(cookie or ""), None)


class Attempts:
    """Failed attempts to sign in: after ten within a minute an address waits.

    Args:
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Return how many seconds an address must wait before it may try, 0 for not at all."""
        with self._lock:
            times = self._failed.get(address)
            if times is None or len(times) < _FAILURES:
                return 0
            return max(0, math.ceil(times[0] + _WITHIN_S - self._clock()))

    def failed(self, address: str) -> None:
        """Remember a failed attempt."""
        with self._lock:
            times = self._failed.setdefault(address, deque(maxlen=_FAILURES))
            times.append(self._clock())
            self._failed.move_to_end(address)
            while len(self._failed) > _MOST_ADDRESSES:
                self._failed.popitem(last=False)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
