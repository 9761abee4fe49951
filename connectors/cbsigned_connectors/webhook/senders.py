"""Who may post: seven ways for a sender to prove itself, checked over the raw bytes before anything is parsed.

Every comparison takes the same time whatever was sent, several secrets of one sender are valid at once (add the new
one, change the sender, take the old one out), and no secret is in a `repr`, a log line or a reason.

References:
    - Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`; senders of Svix's kind write `svix-…`
    - GitHub: `X-Hub-Signature-256`; Splunk Observability: `X-SFX-Signature`
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional, Union

from cbsigned_connectors.webhook.credentials import Network, Scheme, Secret, SenderSettings
from cbsigned_connectors.webhook.proofs import CREDENTIAL_HEADERS, TOLERANCE_S, Proof, check

__all__ = ["TOLERANCE_S", "Refused", "Scheme", "Secret", "Sender", "SenderSettings", "Senders", "client_address"]

_MOST_REMEMBERED = 100_000
_MOST_HOPS = 20


@dataclass(frozen=True)
class Sender:
    """Who a request came from.

    Attributes:
        settings: As configured; its `name` owns the jobs.
        message_id: The id that was signed, None where the scheme signs none. It is the idempotency key where there
            is one: an `Idempotency-Key` header beside it is not signed and could be anyone's.
        repeated: The same id came with the same body within the tolerance, so this is the sender's retry or a
            replay: give the stored answer, begin nothing anew.
    """

    settings: SenderSettings
    message_id: Optional[str] = None
    repeated: bool = False

    @property
    def name(self) -> str:
        """Return the sender's name."""
        return self.settings.name


@dataclass(frozen=True)
class Refused:
    """A request that was not let in.

    Attributes:
        status: 401; 409 for an id used again for another body; 429 for more signed messages than can be remembered.
        reason: For the sender, in words; it quotes nothing that was sent but a time.
        headers: To send along, `WWW-Authenticate` for example.
    """

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Senders:
    """Those who may post.

    Args:
        settings: In the order in which they are tried. Several entries of one name are one sender.
        most_remembered: Signed messages kept in mind for each sender, over twice the tolerance.
    """

    def __init__(self, settings: Iterable[SenderSettings], most_remembered: int = _MOST_REMEMBERED) -> None:
        self._settings = tuple(settings)
        self._replays = {entry.name: _Replays(most_remembered) for entry in self._settings}
        basic = any(entry.scheme is Scheme.BASIC for entry in self._settings)
        self._challenge = {"WWW-Authenticate": f'{"Basic" if basic else "Bearer"} realm="cbsigned"'}
        own = {entry.header.lower() for entry in self._settings if entry.scheme is Scheme.HEADER}
        self._credentials = CREDENTIAL_HEADERS | own

    @classmethod
    def of_token(cls, token: str, place: str = "--token") -> Senders:
        """Return one sender, `token`, that gives the token as bearer or as the password of any user.

        Raises:
            ConfigError: It cannot be a token.
        """
        secrets = (Secret(place, token.encode("utf-8", "surrogateescape")),)
        return cls(SenderSettings("token", scheme, secrets) for scheme in (Scheme.BEARER, Scheme.BASIC))

    @property
    def settings(self) -> tuple[SenderSettings, ...]:
        """Return the entries, as configured."""
        return self._settings

    def recognise(
        self, headers: Mapping[str, str], path_token: Optional[str], raw_body: bytes, now: float,
        address: Optional[str] = None,
    ) -> Union[Sender, Refused]:  # fmt: skip
        """Return who sent a request, or why it is not let in; never raises, whatever was sent.

        A token in the path is checked alone: what stands in the headers does not make a wrong one right.

        Args:
            headers: Names in any case; a multi-mapping's `items` tell a header that came twice.
            path_token: The last part of the path, where the route has one.
            raw_body: As received, before it is unpacked.
            now: Seconds since 1970.
            address: Where the connection comes from, for senders that are bound to networks.
        """
        pairs = [(name.lower(), value) for name, value in headers.items()]
        given = dict(pairs)
        if len(given) < len(pairs):
            names = [name for name, _value in pairs]
            if any(names.count(name) > 1 for name in self._credentials & set(names)):
                return self._no("A header that proves the sender came twice. Send each of them once.")
        reason, elsewhere = "", False
        for entry in self._settings:
            if (entry.scheme is Scheme.PATH_TOKEN) != (path_token is not None):
                continue
            if entry.addresses and not _within(address, entry.addresses):
                elsewhere = True  # before its signature costs anything
                continue
            verdict = check(entry, given, path_token, raw_body, now)
            if isinstance(verdict, Proof):
                return self._let_in(entry, verdict, raw_body, now)
            reason = verdict or reason
        if path_token is not None:
            reason = "The token in the path is not known. Copy the URL from the sender's set-up again."
        reason = reason or (
            "The request proves no sender: send the header that the sender's scheme asks for, "
            "Authorization: Bearer and the token for example."
        )
        return self._no(
            f"{reason} Or its sender may not send from this address: see addresses." if elsewhere else reason
        )

    def _let_in(self, entry: SenderSettings, proof: Proof, raw_body: bytes, now: float) -> Union[Sender, Refused]:
        if proof.message_id is None:
            return Sender(entry)
        seen = self._replays[entry.name].seen(proof.message_id, raw_body, now)
        if seen is _Seen.OTHER:
            return Refused(409, "This webhook-id came with another body before. Give every message an id of its own.")
        if seen is _Seen.TOO_MANY:
            retry = {"Retry-After": str(TOLERANCE_S)}
            return Refused(429, "More signed messages within ten minutes than can be remembered. Send fewer.", retry)
        return Sender(entry, proof.message_id, seen is _Seen.SAME)

    def _no(self, reason: str) -> Refused:
        return Refused(401, reason, self._challenge)


def client_address(peer: Optional[str], forwarded: Optional[str], trusted: Iterable[Network]) -> Optional[str]:
    """Return where a request comes from, past the proxies that are trusted.

    Args:
        peer: The other end of the connection.
        forwarded: `X-Forwarded-For`; read from its end, and no further than the first that is not trusted.
        trusted: Networks of our proxies.
    """
    proxies = tuple(trusted)
    address = peer
    for hop in reversed((forwarded or "").split(",")[-_MOST_HOPS:]):
        if not _within(address, proxies) or not hop.strip():
            break
        address = hop.strip()
    return address


def _within(address: Optional[str], networks: Iterable[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network for network in networks)


class _Seen(Enum):
    """What is known of a message id."""

    NEW = 1
    SAME = 2
    OTHER = 3
    TOO_MANY = 4


class _Replays:
    """The signed messages of one sender, kept for twice the tolerance, as digests."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def seen(self, message_id: str, raw_body: bytes, now: float) -> _Seen:
        """Say what is known of a message, and remember it."""
        key = hashlib.sha256(message_id.encode()).digest()[:16]
        body = hashlib.sha256(raw_body).digest()[:16]
        with self._lock:
            while self._known and next(iter(self._known.values()))[1] < now:
                self._known.popitem(last=False)
            known = self._known.get(key)
            if known is not None and known[0] != body:
                return _Seen.OTHER
            if known is None and len(self._known) >= self._most:
                return _Seen.TOO_MANY  # to forget one that can still be replayed would be no protection
            self._known[key] = (body, now + 2 * TOLERANCE_S)
            self._known.move_to_end(key)
        return _Seen.NEW if known is None else _Seen.SAME
