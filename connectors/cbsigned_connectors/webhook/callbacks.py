"""Signed callbacks: the answer to an accepted job, sent to whom the sender named, as Standard Webhooks.

A callback connects to the very address that was checked, with the name's certificate; it follows no redirect, uses no
proxy and no cookie, and reads no more of the answer than its status needs.

References:
    - Standard Webhooks: retries with back-off and jitter; the same id and a new time and signature for each of them;
      410 ends them
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import random as random_numbers
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Optional

import requests
from urllib3.exceptions import HTTPError

from cbsigned import __version__
from cbsigned.edr.answers import retry_after_s
from cbsigned.edr.wire import Watch
from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook import addresses
from cbsigned_connectors.webhook.addresses import CallbackRefused, HostRule, Network, Target, target_of
from cbsigned_connectors.webhook.callback_wire import CheckedAdapter, Resolver, tls_context, why
from cbsigned_connectors.webhook.credentials import Secret, signing_key

__all__ = ["CallbackRefused", "CallbackSettings", "Callbacks", "Outcome", "signature"]

log = logging.getLogger(__name__)
_GROWTH = 4.0


@dataclass(frozen=True)
class CallbackSettings:
    """Where callbacks may go, and how they are made.

    Attributes:
        hosts: The allow-list; empty for no callbacks at all.
        secrets: `whsec_…`; every one signs, so that the receiver can change one for another.
        allow_http: Unencrypted callbacks may be made.
        allow_networks: What may be called although it is not public: loopback, private, link-local.
        ca_file: PEM file of the CA of the receivers; None for the public ones.
        timeout_s: For one try, the DNS included.
        tries: Of one callback; the waits between them grow fourfold from `first_wait_s` to `longest_wait_s`.
        max_response_bytes: What is read of an answer.

    Raises:
        ConfigError: A value cannot be used; the text begins with the key.
    """

    hosts: tuple[HostRule, ...] = ()
    secrets: tuple[Secret, ...] = ()
    allow_http: bool = False
    allow_networks: tuple[Network, ...] = ()
    ca_file: Optional[str] = None
    timeout_s: float = 10.0
    tries: int = 8
    first_wait_s: float = 5.0
    longest_wait_s: float = 3_600.0
    max_response_bytes: int = 65_536

    def __post_init__(self) -> None:
        if self.hosts and not self.secrets:
            raise ConfigError("secrets: callbacks are signed, so hosts need at least one whsec_ secret beside them.")
        for secret in self.secrets:
            try:
                signing_key(secret.value)
            except ConfigError as exc:
                raise ConfigError(f"secrets: {secret.place}: {exc}") from None


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Attributes:
        delivered: The receiver took it.
        reason: For logs and the job's page, in words; it names the host alone.
        again_s: When to try again; None: delivered, or given up.
    """

    delivered: bool
    reason: str
    again_s: Optional[float] = None


class Callbacks:
    """Makes callbacks; any number of threads may.

    Args:
        settings: Where to, and how.
        clock: Seconds since 1970.
        sleep: Waits between the tries of `deliver`.
        random: A number from 0 to 1, for the jitter.
        resolve: Addresses of a host and port; raises OSError.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """

    def __init__(
        self, settings: CallbackSettings, *, clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep, random: Callable[[], float] = random_numbers.random,
        resolve: Resolver = addresses.resolve,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._clock, self._sleep, self._random, self._resolve = clock, sleep, random, resolve
        self._context = tls_context(settings.ca_file)
        if settings.allow_http:
            log.warning("Callbacks may travel unencrypted (callbacks.allow_http).")

    def check(self, url: str) -> Target:
        """Return where a callback's URL leads, before a job that names it is accepted.

        Raises:
            CallbackRefused: It may not be called; the text says why.
        """
        return target_of(url, self.settings.hosts, allow_http=self.settings.allow_http)

    def deliver(self, url: str, message_id: str, payload: bytes) -> Outcome:
        """Make a callback, with all its tries and the waits between them, in this thread."""
        tried = 0
        while True:
            tried += 1
            outcome = self.attempt(url, message_id, payload, tried)
            if outcome.again_s is None:
                return outcome
            self._sleep(outcome.again_s)

    def attempt(self, url: str, message_id: str, payload: bytes, tried: int) -> Outcome:
        """Try a callback once; the signature is made for this try.

        Args:
            url: As the sender gave it; checked again.
            message_id: The same for all tries, up to 256 printable characters.
            payload: JSON.
            tried: Which try this is, 1 or more.
        """
        try:
            target = self.check(url)
        except CallbackRefused as exc:
            return Outcome(False, str(exc))
        try:
            status, after = self._post(target, message_id, payload)
        except CallbackRefused as exc:
            log.warning("Callback to %s is not made: %s", target.host, exc)
            return Outcome(False, str(exc))
        except _NoAnswer as exc:
            return self._again(f"{target.host} gave no answer: {exc}", tried, None)
        if 200 <= status < 300:
            return Outcome(True, f"{target.host} took it ({status}).")
        if status == 410:
            return Outcome(False, f"{target.host} wants no more of this (410).")
        redirect = "; redirects are not followed" if 300 <= status < 400 else ""
        return self._again(f"{target.host} answered {status}{redirect}", tried, after)

    def _again(self, reason: str, tried: int, asked_s: Optional[float]) -> Outcome:
        if tried >= self.settings.tries:
            log.warning("Callback is given up after %d tries: %s.", tried, reason)
            return Outcome(False, f"{reason}. Given up after {tried} tries.")
        longest = self.settings.longest_wait_s
        wait_s = min(longest, self.settings.first_wait_s * _GROWTH ** min(tried - 1, 30)) * (0.5 + self._random() / 2)
        wait_s = max(wait_s, min(asked_s or 0.0, longest))
        return Outcome(False, f"{reason}. Try {tried} of {self.settings.tries}.", wait_s)

    def _post(self, target: Target, message_id: str, payload: bytes) -> tuple[int, Optional[float]]:
        """Return the status of an answer, and the wait that it asks for."""
        at = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"cbsigned/{__version__}",
            "Connection": "close",
            "Accept-Encoding": "identity",
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self.settings.secrets, message_id, at, payload),
        }
        with requests.Session() as session, Watch(self.settings.timeout_s) as watch:
            session.trust_env = False  # no proxy, no .netrc
            adapter = CheckedAdapter(self._context, self._resolve, self.settings.allow_networks, watch)
            session.mount(f"{target.scheme}://", adapter)
            try:
                response = session.post(
                    target.url, data=payload, headers=headers, allow_redirects=False, stream=True,
                    timeout=watch.remaining(),
                )  # fmt: skip
            except (requests.RequestException, HTTPError, OSError) as exc:
                raise _NoAnswer(why(exc, watch)) from None
            if watch.fired:  # the head was cut at its end by us, and reads as a whole one
                response.close()
                raise _NoAnswer(why(TimeoutError(), watch))
            self._drain(response)
            return response.status_code, retry_after_s(response)

    def _drain(self, response: requests.Response) -> None:
        """Read a little of the body, for the receiver's sake; what it says does not matter."""
        try:
            response.raw.read(self.settings.max_response_bytes, decode_content=False)
        except (HTTPError, OSError):
            log.debug("The answer to a callback broke off after its status.")
        finally:
            response.close()


class _NoAnswer(Exception):
    """Nothing came that is an answer."""


def signature(secrets: Iterable[Secret], message_id: str, at: int, payload: bytes) -> str:
    """Return the `webhook-signature` of a message: one `v1,…` for each secret.

    Args:
        at: Seconds since 1970, as in `webhook-timestamp`.
    """
    signed = f"{message_id}.{at}.".encode() + payload
    made = [hmac.new(signing_key(secret.value), signed, hashlib.sha256).digest() for secret in secrets]
    return " ".join("v1," + base64.b64encode(one).decode("ascii") for one in made)
