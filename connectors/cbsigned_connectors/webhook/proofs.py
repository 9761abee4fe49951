"""Whether a request proves a sender: each scheme over headers and raw bytes, in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

from cbsigned_connectors.webhook.credentials import Scheme, SenderSettings, signing_key

__all__ = ["CREDENTIAL_HEADERS", "TOLERANCE_S", "Proof", "Verdict", "check"]

TOLERANCE_S = 300
"""How far a signed time may be from ours, either way."""
CREDENTIAL_HEADERS = frozenset({"authorization", "x-hub-signature-256", "x-sfx-signature"}) | {
    f"{prefix}-{part}" for prefix in ("webhook", "svix") for part in ("id", "timestamp", "signature")
}
_MOST_SIGNATURES = 32
_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)
_WRONG_BODY = "{} does not fit this body and any known secret. Sign the very bytes that are sent, after compression."


@dataclass(frozen=True)
class Proof:
    """A sender has proved itself.

    Attributes:
        message_id: What was signed along as the id.
    """

    message_id: Optional[str] = None


Verdict = Union[Proof, str, None]  # None: nothing of this scheme was sent; a text: what is wrong with it


def check(
    entry: SenderSettings, given: Mapping[str, str], path_token: Optional[str], raw_body: bytes, now: float
) -> Verdict:
    """Return whether a request proves a sender: `Proof`, what is wrong with what was sent, or None for nothing sent.

    Never raises, whatever was sent.

    Args:
        given: Headers, names in lower case.
        path_token: The last part of the path, where the route has one.
        raw_body: As received.
        now: Seconds since 1970.
    """
    if entry.scheme is Scheme.PATH_TOKEN:
        return _known(entry, _raw(path_token or ""))
    if entry.scheme is Scheme.HEADER:
        return _known(entry, _raw(given[entry.header.lower()])) if entry.header.lower() in given else None
    if entry.scheme is Scheme.STANDARD_WEBHOOKS:
        return _standard(entry, given, raw_body, now)
    if entry.scheme is Scheme.GITHUB:
        return _github(entry, given.get("x-hub-signature-256"), raw_body)
    if entry.scheme is Scheme.SPLUNK_OBSERVABILITY:
        return _observability(entry, given.get("x-sfx-signature"), raw_body)
    word, _, rest = given.get("authorization", "").strip().partition(" ")
    if word.lower() != entry.scheme.value:
        return None
    return _known(entry, _raw(rest.strip())) if entry.scheme is Scheme.BEARER else _basic(entry, rest.strip())


def _known(entry: SenderSettings, sent: bytes) -> Verdict:
    # every secret is compared, and as digests, so that not even its length can be timed
    digest = hashlib.sha256(sent).digest()
    hits = [hmac.compare_digest(digest, secret.digest) for secret in entry.secrets]
    return Proof() if any(hits) else "The secret that was sent is not known. Check it, and the header it is sent in."


def _basic(entry: SenderSettings, text: str) -> Verdict:
    try:
        user, colon, password = base64.b64decode(_raw(text), validate=True).partition(b":")
    except binascii.Error:
        colon = b""
    if not colon:
        return "Authorization: Basic is not followed by user:password in base64."
    right = entry.user is None or hmac.compare_digest(user, entry.user.encode())
    known = _known(entry, password)
    return known if right and isinstance(known, Proof) else "User or password is not known."


def _github(entry: SenderSettings, sent: Optional[str], raw_body: bytes) -> Verdict:
    if sent is None:
        return None
    kind, _, digest = sent.strip().partition("=")
    if kind.lower() != "sha256":
        return "X-Hub-Signature-256 is not sha256= and 64 hex digits."
    given = _raw(digest.lower())
    hits = [hmac.compare_digest(given, _hmac(s.value, raw_body).hex().encode()) for s in entry.secrets]
    return Proof() if any(hits) else _WRONG_BODY.format("X-Hub-Signature-256")


def _observability(entry: SenderSettings, sent: Optional[str], raw_body: bytes) -> Verdict:
    if sent is None:
        return None
    given = _raw(sent.strip())
    hits = [hmac.compare_digest(given, base64.b64encode(_hmac(s.value, raw_body))) for s in entry.secrets]
    return Proof() if any(hits) else _WRONG_BODY.format("X-SFX-Signature")


def _standard(entry: SenderSettings, given: Mapping[str, str], raw_body: bytes, now: float) -> Verdict:
    prefix = "svix" if "svix-signature" in given and "webhook-signature" not in given else "webhook"
    signatures = given.get(f"{prefix}-signature")
    if signatures is None:
        return None
    message_id, sent_at = given.get(f"{prefix}-id", ""), given.get(f"{prefix}-timestamp", "").strip()
    if not _MESSAGE_ID.fullmatch(message_id) or not _DIGITS.fullmatch(sent_at):
        return (
            f"{prefix}-signature needs {prefix}-id (printable, up to 256) and {prefix}-timestamp (seconds) beside it."
        )
    late_s = now - int(sent_at)
    if abs(late_s) > TOLERANCE_S:
        way = "old" if late_s > 0 else "ahead"
        return f"{prefix}-timestamp is {abs(late_s):.0f} s {way}, more than {TOLERANCE_S}. Check both clocks."
    parts = [part.partition(",") for part in signatures.split(" ")[:_MOST_SIGNATURES]]
    sent = [_raw(value) for version, _, value in parts if version == "v1"]  # v1a and what is to come: skipped
    signed = b"%s.%s." % (_raw(message_id), _raw(sent_at))
    right = [base64.b64encode(_hmac(signing_key(s.value), signed, raw_body)) for s in entry.secrets]
    hits = [hmac.compare_digest(one, other) for one in sent for other in right]
    return Proof(message_id) if any(hits) else _WRONG_BODY.format(f"{prefix}-signature")


def _hmac(key: bytes, *parts: bytes) -> bytes:
    made = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        made.update(part)
    return made.digest()


def _raw(text: str) -> bytes:
    """Return a header's bytes; servers hand them over as latin-1."""
    return text.encode("latin-1", "replace")
