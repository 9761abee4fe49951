"""The first-run token: made where no sender is configured, shown once, and kept as a digest alone."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.senders import Refused, Scheme, Secret, Sender, Senders, SenderSettings

__all__ = ["KeptToken", "first_run_token", "token_senders"]

_FILE = "webhook-token.json"
_PLACE = "the first-run token"
_PER_MINUTE, _BURST = 600_000.0, 20_000


def token_senders(token: str, place: str) -> Senders:
    """Return the sender `token`, as bearer or as the password of any user; it stands for everybody, so it may do much.

    Args:
        place: Where the token was given, for messages.

    Raises:
        ConfigError: It cannot be a token.
    """
    secrets_ = (Secret(place, token.encode("utf-8", "surrogateescape")),)
    schemes = (Scheme.BEARER, Scheme.BASIC)
    return Senders(
        SenderSettings("token", scheme, secrets_, per_minute=_PER_MINUTE, burst=_BURST) for scheme in schemes
    )


class KeptToken:
    """Lets in who has the token of which only a digest is known; stands where `Senders` would.

    Args:
        digest: SHA-256 of the token. It has 256 random bits, so a plain digest cannot be searched.
    """

    def __init__(self, digest: bytes) -> None:
        self._digest = digest
        self._nobody = token_senders(secrets.token_urlsafe(32), _PLACE)
        self._known: Optional[Senders] = None

    def recognise(
        self, headers: Mapping[str, str], path_token: Optional[str], raw_body: bytes, now: float,
        address: Optional[str] = None,
    ) -> Union[Sender, Refused]:  # fmt: skip
        """Return the sender `token`, or why it is not let in; see `Senders.recognise`."""
        if self._known is None:
            self._known = self._learnt(headers)
        return (self._known or self._nobody).recognise(headers, path_token, raw_body, now, address)

    def _learnt(self, headers: Mapping[str, str]) -> Optional[Senders]:
        """Return who may, once somebody has shown the token: from then on it is compared itself."""
        given = next((value for name, value in headers.items() if name.lower() == "authorization"), "")
        word, _, rest = given.strip().partition(" ")
        token = _password(rest) if word.lower() == "basic" else rest.strip()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        return token_senders(token, _PLACE) if hmac.compare_digest(digest, self._digest) else None


def _password(text: str) -> str:
    """Return the password of basic credentials, empty where there is none."""
    try:
        return base64.b64decode(text.strip(), validate=True).partition(b":")[2].decode("ascii")
    except ValueError:  # no base64, or no ASCII
        return ""


def first_run_token(folder: Path) -> tuple[KeptToken, Optional[str]]:
    """Return who is let in, and the token itself on the first run alone.

    Args:
        folder: Where the digest is kept, in a file that only its owner may read; made where it is missing.

    Raises:
        ConfigError: The folder or the file cannot be used.
    """
    path = folder / _FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        token = secrets.token_urlsafe(32)
        text = json.dumps({"sha256": hashlib.sha256(token.encode()).hexdigest()})
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
            except OSError:  # a full disk: what is there is no token
                path.unlink()
                raise
            return KeptToken(hashlib.sha256(token.encode()).digest()), token
        document = json.loads(path.read_text(encoding="utf-8"))
        return KeptToken(bytes.fromhex(document["sha256"])), None
    except OSError as exc:
        raise ConfigError(
            f"Cannot keep a token in {path}: {exc.strerror}. Give --token, or set XDG_STATE_HOME."
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"{path} cannot be read as a kept token. Remove it, and a new token is made.") from exc
