"""What is kept of each sender: how it proves itself, its secrets, and what it may do."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Optional, Union

from cbsigned.errors import ConfigError

__all__ = ["Network", "Scheme", "Secret", "SenderSettings", "signing_key"]

_MOST_SECRETS = 4
_SHORTEST_SECRET = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_PATH_TOKEN = re.compile(rb"[A-Za-z0-9_~.-]{1,512}")
_PRINTABLE = re.compile(rb"[\x21-\x7e]{1,512}")
_NOT_OURS = {"host", "connection", "content-length", "content-type", "transfer-encoding", "cookie", "te", "upgrade"}
_NEW_SECRET = "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 (advice)
_NEW_KEY = (
    "Make one: python3 -c 'import base64, secrets; "
    'print("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())\''
)

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class Scheme(str, Enum):
    """How a sender proves itself; the values are the words of the configuration file."""

    BEARER = "bearer"
    """`Authorization: Bearer SECRET`."""
    BASIC = "basic"
    """`Authorization: Basic …`; the secret is the password."""
    HEADER = "header"
    """The secret as the value of one header of the sender's choice, `X-Api-Key` by default."""
    STANDARD_WEBHOOKS = "standard-webhooks"
    """`webhook-signature: v1,…` over id, time and body; secrets are `whsec_…`."""
    GITHUB = "github"
    """`X-Hub-Signature-256: sha256=…` over the body."""
    SPLUNK_OBSERVABILITY = "splunk-observability"
    """`X-SFX-Signature`, base64, over the body."""
    PATH_TOKEN = "path-token"  # noqa: S105 (a word)
    """The secret as the last part of the path, for Splunk's built-in webhook, which can send nothing else."""


@dataclass(frozen=True)
class Secret:
    """A secret and where it was read.

    Attributes:
        place: `environment variable CBSIGNED_SOAR`, for example; for messages.
        value: Never shown by `repr`.
    """

    place: str
    value: bytes = field(repr=False)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the value, which is what is compared; made once."""
        return hashlib.sha256(self.value).digest()


@dataclass(frozen=True)
class SenderSettings:
    """One sender of the configuration.

    Attributes:
        name: Owner of its jobs; in logs and metrics.
        secrets: 1 to 4, each of them valid.
        source: Format of what it sends, where the path names none; None to detect it.
        mapping: Name of the field mapping that is applied to what it sends.
        header: Lower case, for `Scheme.HEADER`.
        user: For `Scheme.BASIC`; None for any.
        addresses: Networks it may send from; empty for any.
        per_minute, burst: Requests; what the token bucket refills in a minute, and holds.
        max_body_bytes: As received; None for the limit of all.

    Raises:
        ConfigError: A value cannot be used; the text begins with the key.
    """

    name: str
    scheme: Scheme
    secrets: tuple[Secret, ...]
    source: Optional[str] = None
    mapping: Optional[str] = None
    header: str = "x-api-key"
    user: Optional[str] = None
    addresses: tuple[Network, ...] = ()
    per_minute: float = 60_000.0
    burst: int = 10_000
    max_body_bytes: Optional[int] = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError("name: expected 1 to 64 letters, digits, dots, dashes and underscores.")
        if not _HEADER.fullmatch(self.header) or self.header.lower() in _NOT_OURS:
            raise ConfigError("header: expected the name of a header of the sender's own, such as X-Api-Key.")
        if not 1 <= len(self.secrets) <= _MOST_SECRETS:
            raise ConfigError(f"secrets: expected 1 to {_MOST_SECRETS}; two are enough to change one for another.")
        for secret in self.secrets:
            _check_secret(secret, self.scheme)


def signing_key(secret: bytes) -> bytes:
    """Return the key that a Standard Webhooks secret stands for.

    Raises:
        ConfigError: It is not `whsec_` and 24 to 64 bytes in base64; the text does not quote it.
    """
    text = secret[6:] if secret.startswith(b"whsec_") else b""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ConfigError(f"expected whsec_ and then 24 to 64 bytes in base64. {_NEW_KEY}")
    return key


def _check_secret(secret: Secret, scheme: Scheme) -> None:
    place = f"secrets: {secret.place}"
    if scheme is Scheme.STANDARD_WEBHOOKS:
        try:
            signing_key(secret.value)
        except ConfigError as exc:
            raise ConfigError(f"{place}: {exc}") from None
    elif len(secret.value) < _SHORTEST_SECRET:
        raise ConfigError(f"{place} is shorter than {_SHORTEST_SECRET} characters, so it can be guessed. {_NEW_SECRET}")
    elif not _PRINTABLE.fullmatch(secret.value):
        raise ConfigError(f"{place}: expected up to 512 ASCII characters without spaces. {_NEW_SECRET}")
    elif scheme is Scheme.PATH_TOKEN and not _PATH_TOKEN.fullmatch(secret.value):
        raise ConfigError(f"{place}: a path takes letters, digits and - _ . ~ as they are. {_NEW_SECRET}")
