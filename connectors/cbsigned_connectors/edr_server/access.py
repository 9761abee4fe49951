"""API tokens and what each of them may ask for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Optional

from cbsigned.errors import ConfigError

__all__ = ["Grants", "Right", "grants_of_file", "grants_of_token"]

_TOKEN = re.compile(r"[\x21-\x7e]{8,200}", re.ASCII)
_EXAMPLE = '{"tokens": [{"name": "soar", "token": "…", "rights": ["search", "sensors"]}]}'


class Right(str, Enum):
    """What a token may do; a request beyond it is answered 403."""

    SEARCH = "search"
    """Search processes and binaries, and read their details and events."""
    FILES = "files"
    """Download the bytes of a binary."""
    SENSORS = "sensors"
    """Read sensors, sensor groups, watchlists and feeds."""
    ADMIN = "admin"
    """What needs a global administrator: the partitions of the event store."""


@dataclass(frozen=True)
class Grants:
    """The tokens that are let in; only their digests are kept.

    Attributes:
        rights: SHA-256 of a token → its rights.
    """

    rights: Mapping[bytes, frozenset[Right]]

    def of(self, token: Optional[str]) -> Optional[frozenset[Right]]:
        """Return what a token may do, or None for no token and a wrong one."""
        return None if token is None else self.rights.get(_digest(token))


def grants_of_token(token: str, place: str = "--token") -> Grants:
    """Return a single token with every right.

    Args:
        place: Where it was given, for messages.

    Raises:
        ConfigError: It cannot be a token.
    """
    return Grants({_digest(_checked(token, place)): frozenset(Right)})


def grants_of_file(path: Path) -> Grants:
    """Return the tokens of a JSON file, each with its rights.

    Raises:
        ConfigError: The file cannot be read, or an entry cannot be used; no token is quoted.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"Cannot read the tokens {path}: {exc.strerror}. Check the path given to --tokens.") from exc
    except ValueError as exc:
        raise ConfigError(f"The tokens {path} are not JSON. Write {_EXAMPLE}") from exc
    entries = document.get("tokens") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"The tokens {path} name none. Write {_EXAMPLE}")
    return Grants(dict(_entry(entry, f"{path}, entry {number}") for number, entry in enumerate(entries, 1)))


def _entry(entry: Any, place: str) -> tuple[bytes, frozenset[Right]]:
    token = entry.get("token") if isinstance(entry, dict) else None
    if not isinstance(token, str):
        raise ConfigError(f"{place} has no token. Write {_EXAMPLE}")
    names = entry.get("rights", [right.value for right in Right])
    known = {right.value for right in Right}
    if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        raise ConfigError(f"{place} names a right that there is not. Use some of: {', '.join(sorted(known))}.")
    return _digest(_checked(token, place)), frozenset(map(Right, names))


def _checked(token: str, place: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{place}: a token is 8 to 200 printable ASCII characters without blanks; 40 hex is usual.")
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
