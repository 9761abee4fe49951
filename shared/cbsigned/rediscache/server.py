"""One Redis or Valkey server, asked for a moment only: where it is down or hangs, that is known at once for a while.

References:
    - https://redis.io/docs/latest/commands/ (SET with NX and PX, PTTL, EVALSHA); read with redis-py 5 to 8
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable, Optional, TypeVar
from urllib.parse import unquote, urlsplit

from cbsigned.errors import CbSignedError, ConfigError
from cbsigned.observables import printable
from cbsigned.settings import RedisSettings

__all__ = ["RedisDown", "RedisServer"]

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_PORT = 6379
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_WORDS = re.compile(r"[^\x20-\x7e]+")


class RedisDown(CbSignedError):
    """The server cannot be used just now; the text says why."""


class RedisServer:
    """A server that is left alone for a moment after it failed; thread-safe.

    No call lasts longer than the settings' `timeout_s` for each answer it waits for. After a failure nobody asks for
    half a second, then one caller tries; the pause doubles up to 5 s until the server answers again.

    Args:
        settings: Where it is, and who we are.
        clock: Monotonic seconds; tests pass their own.

    Attributes:
        shown: Its address without user and password.
        failures: How often it did not answer.

    Raises:
        ConfigError: The extra `redis` is not installed.
    """

    def __init__(self, settings: RedisSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self._clock = settings, clock
        parts = urlsplit(settings.url)
        self.shown = f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"
        self.failures = 0
        self._lock = threading.Lock()
        self._trouble: Optional[str] = None
        self._pause_s, self._paused_until = _FIRST_PAUSE_S, 0.0
        self._trying = False
        self._redis, self._client = _client(settings)

    @property
    def trouble(self) -> Optional[str]:
        """Why it cannot be used, as last known; None when all is well."""
        return self._trouble

    def check(self) -> Optional[str]:
        """Return what is wrong with it, after trying to write; None when all is well."""
        try:
            self.use(lambda client: client.set("cbsigned:beat", "1", px=60_000))
        except RedisDown as exc:
            return str(exc)
        return None

    def script(self, text: str) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
        """Return a Lua script as a function of keys and arguments; it raises `RedisDown`."""
        made = self._client.register_script(text)
        return lambda keys, values: self.use(lambda client: made(keys=keys, args=values, client=client))

    def use(self, work: Callable[[Any], _T]) -> _T:
        """Return what `work` does with the client.

        Raises:
            RedisDown: The server did not do it, or did not answer lately.
        """
        with self._turn():
            try:
                found = work(self._client)
            except (self._redis.RedisError, OSError) as exc:
                raise RedisDown(self._failed(exc)) from None  # a library's text may hold what was sent
            self._worked()
            return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let the caller ask, unless it is known that there will be no answer."""
        with self._lock:
            tries = self._trouble is not None
            if self._trouble is not None and (self._trying or self._clock() < self._paused_until):
                raise RedisDown(self._trouble)
            self._trying = tries
        try:
            yield
        finally:
            if tries:
                with self._lock:
                    self._trying = False

    def _worked(self) -> None:
        if self._trouble is None:
            return
        with self._lock:
            self._trouble, self._pause_s = None, _FIRST_PAUSE_S
        log.warning("%s answers again.", self.shown)

    def _failed(self, exc: Exception) -> str:
        text = f"{self.shown} {self._told(exc)}"
        with self._lock:
            known, self._trouble = self._trouble, text
            self.failures += 1
            self._paused_until = self._clock() + self._pause_s
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        log.log(logging.DEBUG if known else logging.WARNING, "%s", text)
        return text

    def _told(self, exc: Exception) -> str:
        """Return what went wrong and what to do, in words of ours."""
        errors = self._redis.exceptions
        if isinstance(exc, (errors.AuthenticationError, errors.NoPermissionError)) or "NOAUTH" in str(exc):
            return "refuses the user or the password. Check CBSIGNED_CACHE_PASSWORD, and the user in the address."
        if isinstance(exc, (errors.TimeoutError, TimeoutError)):
            return f"did not answer within {self.settings.timeout_s:g} s. Look at its load and at the network."
        if isinstance(exc, (errors.BusyLoadingError, errors.ReadOnlyError)):
            return "cannot be written yet: it is loading its data, or it is a replica. Give the primary's address."
        if isinstance(exc, (errors.ConnectionError, OSError)):
            reason = "the certificate is not accepted" if "certificate" in str(exc).lower() else "nobody answers there"
            return f"cannot be reached: {reason}. Check the address, the port and rediss:// for TLS."
        return f"refuses what it is asked: {printable(_WORDS.sub(' ', str(exc)), 160)}. Look into its log."


def _client(settings: RedisSettings) -> tuple[Any, Any]:
    """Return the library and a client that never tries twice."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as exc:
        raise ConfigError(
            f"{exc.name} is not installed, and [cache] url names a Redis: pip install 'cbsigned[redis]'"
        ) from exc
    parts = urlsplit(settings.url)
    tls: dict[str, Any] = {}
    if parts.scheme == "rediss":
        tls = {
            "ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": settings.ca_file,
        }  # fmt: skip
    return redis, redis.Redis(
        host=parts.hostname or "", port=parts.port or _PORT, db=int(parts.path.strip("/") or 0),
        username=unquote(parts.username) if parts.username else None, password=settings.password or None,
        socket_timeout=settings.timeout_s, socket_connect_timeout=settings.timeout_s, socket_keepalive=True,
        retry=Retry(NoBackoff(), 0), **tls,
    )  # fmt: skip
