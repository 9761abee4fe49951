"""Senders by every scheme, and what they send to prove themselves."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Optional, Union

from cbsigned_connectors.webhook.senders import (
    Refused,
    Scheme,
    Secret,
    Sender,
    Senders,
    SenderSettings,
)

NOW = 1_800_000_000.0
BODY = '{"md5":"0123456789abcdef0123456789abcdef","user":"Zoë"}'.encode()
OLD, NEW = b"old-secret-of-the-sender-0001", b"new-secret-of-the-sender-0002"
OLD_KEY, NEW_KEY = (b"whsec_" + base64.b64encode(letter * 32) for letter in (b"o", b"n"))


def settings(scheme: Scheme, *secrets: bytes, **more: Any) -> SenderSettings:
    default = (NEW_KEY, OLD_KEY) if scheme is Scheme.STANDARD_WEBHOOKS else (NEW, OLD)
    given = tuple(Secret(f"environment variable S{n}", value) for n, value in enumerate(secrets or default))
    return SenderSettings(**{"name": "soar", "scheme": scheme, "secrets": given, **more})


def recognised(
    entry: Union[SenderSettings, Senders], headers: Mapping[str, str], *, path_token: Optional[str] = None,
    body: bytes = BODY, now: float = NOW, address: Optional[str] = None,
) -> Union[Sender, Refused]:  # fmt: skip
    senders = entry if isinstance(entry, Senders) else Senders([entry])
    return senders.recognise(headers, path_token, body, now, address)


def basic(user: str, password: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user.encode() + b":" + password).decode()}


def standard(
    key: bytes = NEW_KEY, *, body: bytes = BODY, message_id: str = "msg_1", at: float = NOW, prefix: str = "webhook"
) -> dict[str, str]:
    made = hmac.new(base64.b64decode(key[6:]), f"{message_id}.{at:.0f}.".encode() + body, hashlib.sha256).digest()
    return {
        f"{prefix}-id": message_id,
        f"{prefix}-timestamp": f"{at:.0f}",
        f"{prefix}-signature": "v1," + base64.b64encode(made).decode(),
    }


def github(key: bytes = NEW, body: bytes = BODY) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()}


def observability(key: bytes = NEW, body: bytes = BODY) -> dict[str, str]:
    return {"X-SFX-Signature": base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()}
