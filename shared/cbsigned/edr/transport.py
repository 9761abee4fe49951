"""Requests to one EDR server: connections kept, time bounded, failures told apart.

One `EdrClient` serves any number of threads; at most `parallel` of its requests are out at the same time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import random as random_numbers
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Callable, Optional, Union
from urllib.parse import urlencode, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from cbsigned import __version__
from cbsigned.edr.answers import (
    Answer,
    AnswerCut,
    ConnectionLost,
    http_date,
    of_failure,
    of_status,
    read_body,
    read_json,
    retry_after_s,
)
from cbsigned.edr.breaker import Breaker
from cbsigned.edr.wire import Watch, WatchedAdapter
from cbsigned.errors import ConfigError, SourceBusy, SourceError, SourceTimeout, SourceUnavailable
from cbsigned.settings import EdrSettings
from cbsigned.timing import Deadline

__all__ = ["EdrClient", "Parameter"]

log = logging.getLogger(__name__)

Parameter = Union[str, int]
_LONGEST_GET = 1_500
_RETRIED = {429, 502, 503, 504}
_GATEWAY = {502, 503, 504}  # the server behind gave no answer or takes none; any other status is an answer
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 8.0
_FAIR_CHANCE_S = 1.0


class EdrClient:
    """Asks one Carbon Black EDR server for JSON documents.

    Certificates are checked unless `verify_tls` is off; redirects are never followed, so the token travels to
    this server alone; neither environment nor `.netrc` is read. After five requests in a row to one route without
    an answer (none within the time, no connection, 502, 503, 504), nothing new is asked there for 30 s, while
    questions under way keep their tries. Other routes are still asked: a search that is too much for the
    server does not cost the answers to others.

    Args:
        settings: Where it is and how to reach it.
        clock: Monotonic seconds, for the circuit breaker; tests pass their own.
        sleep: Waits between tries; None waits in a way that `interrupt` ends.
        random: A number from 0 to 1, for the jitter between tries.

    Raises:
        ConfigError: `ca_file` cannot be read, or the token has characters that no token has.
    """

    def __init__(
        self,
        settings: EdrSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Optional[Callable[[float], None]] = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        parts = urlsplit(settings.url)
        self.host = parts.netloc.rpartition("@")[2]
        self.parallel = settings.parallel
        self._settings = settings
        self._sleep, self._random = sleep, random
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}  # by route
        self._slots = threading.BoundedSemaphore(settings.parallel)
        self._watches: set[Watch] = set()
        self._given_up = threading.Event()
        self._session = _session(settings)
        if parts.scheme != "https":
            log.warning("The API token travels to %s unencrypted. Use an https url.", self.host)
        elif not settings.verify_tls:
            log.warning("Certificates of %s are not checked (verify_tls is off): set ca_file instead.", self.host)

    def __repr__(self) -> str:
        return f"EdrClient({self.host})"

    def __enter__(self) -> EdrClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections; a later request opens new ones."""
        self._session.close()

    def interrupt(self) -> None:
        """End the requests that are out now, for a caller that gives up, on Ctrl-C for example."""
        given_up, self._given_up = self._given_up, threading.Event()
        given_up.set()
        for watch in list(self._watches):
            watch.fire()

    def ask(self, path: str, deadline: Deadline, parameters: Optional[Mapping[str, Parameter]] = None) -> Answer:
        """Return the JSON document of one route.

        Short questions go by GET, long ones by POST with lists, as the first official client sends them. Lost
        connections, 429, 502, 503 and 504 are tried again, `retries` times, as `Retry-After` says or else
        after a random time that doubles its bound with each try.

        Args:
            path: Route, `/api/info` for example.
            deadline: For all tries, the waits between them, and the wait for other requests to end; `timeout_s`
                begins only when a request does.
            parameters: By name; texts and whole numbers.

        Raises:
            SourceError: The subclass says how it failed, the text what to do.
        """
        attempt, at_once, given_up = 0, True, self._given_up
        while True:
            outcome = self._in_turn(path, parameters or {}, deadline, given_up, first=not attempt and at_once)
            if isinstance(outcome, Answer):
                return outcome
            error, asked_s = outcome.error, outcome.after_s
            if not outcome.again:
                raise error
            if outcome.stale and at_once and not deadline.passed:
                at_once = False  # the server had closed an idle connection: no failure, so no wait
                continue
            if asked_s is not None and asked_s > deadline.remaining():
                raise SourceBusy(
                    f"{self.host} asks us to wait {asked_s:.0f} s, longer than the {deadline.remaining():.1f} s left. "
                    "Try again later, or raise the time limit (deadline_s).",
                    asked_s,
                )
            wait_s = self._wait_s(attempt, asked_s)
            if attempt >= self._settings.retries or wait_s >= deadline.remaining():
                raise error
            log.debug("%s: try %d failed (%s); next in %.1f s", self.host, attempt + 1, type(error).__name__, wait_s)
            (self._sleep or given_up.wait)(wait_s)
            attempt += 1

    def _wait_s(self, attempt: int, asked_s: Optional[float]) -> float:
        bound = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0**attempt)
        return self._random() * bound if asked_s is None else asked_s

    def _in_turn(
        self, path: str, parameters: Mapping[str, Parameter], deadline: Deadline, given_up: threading.Event, *,
        first: bool,
    ) -> Union[Answer, _Failed]:  # fmt: skip
        """Make one request when its turn comes, and tell the breaker of its route what came of it."""
        breaker = self._breakers.setdefault(_route(path), Breaker(clock=self._clock))
        with self._slot(deadline):
            if given_up.is_set():
                raise self._interrupted()
            wait_s = breaker.wait_s() if first else None
            if wait_s is not None:
                raise SourceUnavailable(
                    f"{self.host} gave no answer several times in a row, so it is not asked now; "
                    f"the next try is in {max(wait_s, 1.0):.0f} s."
                )
            note: Callable[[], object] = breaker.undecided
            try:
                watch = self._watch(deadline)
                outcome = self._exchange(path, parameters, watch)
                if watch.fired and given_up.is_set():
                    outcome = _Failed(self._interrupted())
                note = self._verdict(breaker, outcome)
            finally:
                note()
        return outcome

    def _verdict(self, breaker: Breaker, outcome: Union[Answer, _Failed]) -> Callable[[], object]:
        if isinstance(outcome, Answer) or outcome.answered:
            return breaker.answered
        if outcome.stale or isinstance(outcome.error, _InHaste):
            return breaker.undecided

        def failed() -> None:
            if breaker.failed():
                log.warning("%s gave no answer several times in a row; it is not asked for a while.", self.host)

        return failed

    def _interrupted(self) -> _InHaste:
        return _InHaste(f"{self.host} was not asked to the end: the call was interrupted.")

    def _watch(self, deadline: Deadline) -> Watch:
        left = deadline.remaining()
        if left <= 0:
            raise _InHaste(
                f"{self.host} was not asked: the time for this call was over. Raise the time limit (deadline_s)."
            )
        return Watch(min(left, self._settings.timeout_s))

    def _exchange(self, path: str, parameters: Mapping[str, Parameter], watch: Watch) -> Union[Answer, _Failed]:
        """Send one request and read its answer within the watch's time; a failure is a value here.

        Raised later, outside of any handler, our error drags no library's error along that holds the token.
        """
        started = time.monotonic()
        outcome: Union[Answer, _Failed]
        with watch:
            self._watches.add(watch)
            try:
                outcome = self._send(path, parameters, watch)
            except SourceError as exc:
                outcome = _broken(exc, watch)
            except (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError) as exc:
                late = isinstance(exc, (requests.Timeout, ReadTimeoutError, socket.timeout))
                error = self._too_late(watch) if late else of_failure(exc, self.host, proxy=bool(self._settings.proxy))
                outcome = _broken(error, watch)
            finally:
                self._watches.discard(watch)
            if watch.fired:
                outcome = _Failed(self._too_late(watch))
        said = "answered" if isinstance(outcome, Answer) else type(outcome.error).__name__
        log.debug("%s%s: %s in %.3f s", self.host, path, said, time.monotonic() - started)
        return outcome

    def _send(self, path: str, parameters: Mapping[str, Parameter], watch: Watch) -> Union[Answer, _Failed]:
        url = self._settings.url.rstrip("/") + path
        query = urlencode(parameters)
        if len(url) + len(query) <= _LONGEST_GET:
            request = requests.Request("GET", f"{url}?{query}" if query else url)
        else:
            body = json.dumps({name: value if _bare(name, value) else [value] for name, value in parameters.items()})
            request = requests.Request("POST", url, data=body, headers={"Content-Type": "application/json"})
        prepared = self._session.prepare_request(request)
        limit_s = watch.remaining() + 0.1  # the watch ends it; this is for platforms where a shut socket does not wake
        response = self._session.send(
            prepared,
            stream=True,
            allow_redirects=False,
            timeout=(limit_s, limit_s),
            verify=self._settings.verify_tls,
            proxies=_proxies(self._settings),
        )
        with contextlib.closing(response):
            if response.status_code != 200:
                again = response.status_code in _RETRIED
                after_s = retry_after_s(response) if again else None
                answered = response.status_code not in _GATEWAY
                return _Failed(of_status(response, self.host), again, after_s, answered=answered)
            body_bytes = read_body(response, self.host, self._settings.max_response_bytes)
            document = read_json(response, self.host, body_bytes)
            return Answer(document, http_date(response.headers.get("Date")))

    @contextlib.contextmanager
    def _slot(self, deadline: Deadline) -> Iterator[None]:
        if not self._slots.acquire(timeout=deadline.remaining()):
            raise _InHaste(
                f"{self.host} was not asked within {deadline.seconds:.1f} s: {self.parallel} other requests took all "
                "the time. Raise the time limit (deadline_s), or the setting parallel."
            )
        try:
            yield
        finally:
            self._slots.release()

    def _too_late(self, watch: Watch) -> SourceTimeout:
        kind = SourceTimeout if watch.seconds >= min(_FAIR_CHANCE_S, self._settings.timeout_s) else _InHaste
        return kind(
            f"{self.host} gave no whole answer within {watch.seconds:.1f} s. "
            "Raise timeout_s or the time limit (deadline_s), or look at the server's load."
        )


class _InHaste(SourceTimeout):
    """A time-out that says more of the caller's hurry than of the server."""


@dataclass(frozen=True)
class _Failed:
    """One exchange without a document.

    Attributes:
        again: Whether another try can help.
        after_s: Seconds that `Retry-After` asks for.
        stale: The connection had served another request before, and the server may have closed it since.
        answered: The server did answer, though not with a document.
    """

    error: SourceError
    again: bool = False
    after_s: Optional[float] = None
    stale: bool = False
    answered: bool = False


def _broken(error: SourceError, watch: Watch) -> _Failed:
    """Return what an exchange came to that ended in an error before or within its body."""
    lost = isinstance(error, (ConnectionLost, AnswerCut))
    answered = not isinstance(error, (SourceUnavailable, AnswerCut))
    return _Failed(error, again=lost, stale=lost and watch.reused, answered=answered)


class _Session(requests.Session):
    """Sees no redirect: requests would read its whole body and its target, even where it is not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: the status is told, and that is all."""


def _session(settings: EdrSettings) -> requests.Session:
    if not re.fullmatch(r"[\x21-\x7e]{1,512}", settings.token):
        raise ConfigError("token is not one: expected up to 512 ASCII characters, no spaces. Copy it again.")
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update({
        "X-Auth-Token": settings.token,
        "User-Agent": f"cbsigned/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
    })  # fmt: skip
    session.adapters.clear()
    session.mount(urlsplit(settings.url).scheme + "://", WatchedAdapter(settings))
    return session


def _route(path: str) -> str:
    """Return a path without the process and segment that it names: thousands of paths are one route."""
    return re.sub(r"(?<=/process/)[^/]+/[^/]+", "*", path)


def _proxies(settings: EdrSettings) -> dict[str, str]:
    return {"http": settings.proxy, "https": settings.proxy} if settings.proxy else {}


def _bare(name: str, value: Parameter) -> bool:
    return isinstance(value, int) or name == "sort"
