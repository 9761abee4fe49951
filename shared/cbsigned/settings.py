"""Every setting: its name, unit, default and range, read once at the edge into one frozen `Settings`.

The core reads no environment and no file by itself. Adapters hand over texts, section by section; the command
line takes them from an INI file and the environment (`cbsigned config check` shows which).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from cbsigned.errors import ConfigError
from cbsigned.observables import printable
from cbsigned.signing import Life

__all__ = ["EdrSettings", "RedisSettings", "Settings", "Spec", "expanded", "parse_settings", "redis_url", "specs"]


@dataclass(frozen=True)
class EdrSettings:
    """How to reach a Carbon Black EDR server.

    Attributes:
        token: API token; never shown by `repr`.
        timeout_s: For one request without an answer.
        tls_hostname: The name that the server's certificate carries, where it is not the URL's.
    """

    url: str
    token: str = field(repr=False, default="")
    timeout_s: float = 30.0
    retries: int = 3
    parallel: int = 4
    verify_tls: bool = True
    ca_file: Optional[str] = None
    tls_hostname: Optional[str] = None
    proxy: Optional[str] = field(repr=False, default=None)
    max_response_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class RedisSettings:
    """How to reach a Redis or Valkey server that hosts share.

    Attributes:
        url: `redis://` or `rediss://` (TLS), perhaps with a user, never with a password.
        password: Never shown by `repr`.
        timeout_s: For one answer; beyond it we do without.
        ca_file: PEM file of the CA; the system's where it is None.
    """

    url: str
    password: str = field(repr=False, default="")
    timeout_s: float = 0.5
    ca_file: Optional[str] = None


@dataclass(frozen=True)
class Settings:
    """What the core is told; every field has a default but the server.

    Attributes:
        window: Alerts read, asked for and answered together.
        deadline_s: For all questions of one window.
        max_depth: Most ancestors followed; the process itself is not counted.
        relatives: Most children and siblings shown of each process, 0 for none.
        strategy: `binary` reads binary records; `joint` is the 2017 query.
        joint_miss: How a miss of the joint query reads: `unknown`, or `unsigned` as in 2017.
        cache_server: Where answers are shared between hosts; None for not at all.
    """

    window: int = 10_000
    deadline_s: float = 60.0
    lineage: bool = True
    max_depth: int = 16
    relatives: int = 0
    strategy: str = "binary"
    joint_miss: str = "unknown"
    life: Life = field(default_factory=Life)
    cache_file: Optional[str] = None
    cache_max_bytes: int = 256 * 1024 * 1024
    cache_server: Optional[RedisSettings] = None
    store: Optional[str] = None
    edr: Optional[EdrSettings] = None


@dataclass(frozen=True)
class Spec:
    """One setting as the user writes it.

    Attributes:
        section: `cbsigned`, `cache` or `edr`.
        kind: `text`, `secret`, `url`, `redis`, `seconds`, `number`, `bytes`, `switch` or `choice`.
        low, high: Range of a number, both included.
    """

    section: str
    name: str
    kind: str
    default: str
    help: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    example: str = ""


_SPECS = (
    Spec("cbsigned", "window", "number", "10000", "alerts asked for and answered together", 1, 1_000_000),
    Spec("cbsigned", "deadline_s", "seconds", "60", "for all questions of one window", 0.1, 3600),
    Spec("cbsigned", "lineage", "switch", "yes", "look up ancestors"),
    Spec("cbsigned", "max_depth", "number", "16", "most ancestors to follow", 0, 500),
    Spec("cbsigned", "relatives", "number", "0", "most children and siblings to show of each process", 0, 1000),
    Spec("cbsigned", "strategy", "choice", "binary", "how signing is asked", choices=("binary", "joint")),
    Spec("cbsigned", "joint_miss", "choice", "unknown", "how a joint miss reads", choices=("unknown", "unsigned")),
    Spec("cbsigned", "store", "text", "", "the embedded store to ask; it goes before a server", example="~/lab.db"),
    Spec("cache", "file", "text", "", "answers shared between processes; empty for memory alone", example="~/cb.cache"),
    Spec("cache", "max_bytes", "bytes", "268435456", "size bound of the cache file", 1_048_576, 2**40),
    Spec(
        "cache",
        "url",
        "redis",
        "",
        "Redis or Valkey, shared between hosts; rediss for TLS",
        example="redis://cache.local:6379/0",
    ),
    Spec("cache", "password", "secret", "", "password of that server", example="0123…"),
    Spec("cache", "timeout_s", "seconds", "0.5", "for one answer of that server; beyond it we do without", 0.05, 10),
    Spec("cache", "ca_file", "text", "", "PEM file of that server's CA", example="/etc/cb/redis-ca.pem"),
    Spec("cache", "signed_s", "seconds", "604800", "life of an answer from a record", 0, 31_536_000),
    Spec("cache", "unknown_s", "seconds", "600", "life of an Unknown; failures are never kept", 0, 86_400),
    Spec("cache", "process_s", "seconds", "3600", "life of a process", 0, 604_800),
    Spec("edr", "url", "url", "", "the server", example="https://cb.example.test"),
    Spec("edr", "token", "secret", "", "API token of a console user", example="0123…"),
    Spec("edr", "timeout_s", "seconds", "30", "for one request without an answer", 1, 120),
    Spec("edr", "retries", "number", "3", "after 429, 502, 503, 504 and lost connections", 0, 10),
    Spec("edr", "parallel", "number", "4", "requests at the same time", 1, 16),
    Spec("edr", "verify_tls", "switch", "yes", "no turns certificate checks off, with a warning"),
    Spec("edr", "ca_file", "text", "", "PEM file of the CA, or of a self-signed server", example="/etc/cb/ca.pem"),
    Spec("edr", "tls_hostname", "text", "", "name in the certificate, where it is not the URL's", example="cb.local"),
    Spec("edr", "proxy", "url", "", "HTTP proxy", example="http://proxy.example.test:3128"),
    Spec("edr", "max_response_bytes", "bytes", "67108864", "a longer answer is refused", 65_536, 2**31),
)
_SWITCH = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
_OF_SERVER = ("url", "password", "timeout_s", "ca_file")
_LIFE = {"signed_s", "unknown_s", "process_s"}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. \-]{0,252}[A-Za-z0-9_])?", re.ASCII)  # an EDR's own name has spaces


def expanded(path: str) -> Path:
    """Return a path with `~` replaced.

    Raises:
        ConfigError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path} names no user's folder. Write the path in full.") from None


def specs() -> tuple[Spec, ...]:
    """Return every setting, for help texts, the README and `config check`."""
    return _SPECS


def parse_settings(
    given: Mapping[str, Mapping[str, str]], places: Optional[Mapping[tuple[str, str], str]] = None
) -> Settings:
    """Return the settings that texts describe.

    Args:
        given: Section → name → text. What is missing takes its default; `edr` without a url means no server.
        places: (section, name) → where the user wrote it, a variable or an option, for messages; else the section.

    Raises:
        ConfigError: A section, name or value that cannot be used; the text says what is expected.
    """
    values: dict[str, dict[str, Any]] = {"cbsigned": {}, "cache": {}, "edr": {}}
    for section, entries in given.items():
        for name, text in entries.items():
            spec = next((s for s in _SPECS if (s.section, s.name) == (section, name)), None)
            if spec is None:
                raise ConfigError(f"[{section}] {name} is not a setting. {_nearest(section)}")
            if text.strip():
                values[section][name] = _parse(spec, text.strip(), (places or {}).get((section, name)))
    cache = values["cache"]
    life = Life(**{name: cache.pop(name) for name in list(cache) if name in _LIFE})
    server = _cache_server({name: cache.pop(name) for name in list(cache) if name in _OF_SERVER})
    kept = {f"cache_{name}": value for name, value in cache.items()}
    return Settings(**values["cbsigned"], life=life, edr=_edr(values["edr"]), cache_server=server, **kept)


def _cache_server(values: dict[str, Any]) -> Optional[RedisSettings]:
    if "url" not in values:  # a password alone may be meant for the webhook's own configuration
        return None
    return RedisSettings(**values)


def _edr(values: dict[str, Any]) -> Optional[EdrSettings]:
    if "url" not in values:
        if values.get("token"):
            raise ConfigError("[edr] has a token but no url. Add the server: url = https://cb.example.test")
        return None
    if not values.get("token"):
        raise ConfigError(
            f"[edr] url is {values['url']} but there is no token. Put it into the environment as CBSIGNED_EDR_TOKEN, "
            "or as token into [edr] of a file that only you can read."
        )
    known = {f.name for f in fields(EdrSettings)}
    return EdrSettings(**{name: value for name, value in values.items() if name in known})


def _parse(spec: Spec, text: str, place: Optional[str]) -> Union[str, float, int, bool]:
    where = f"{spec.name} is {_shown(spec, text)} in {place or f'[{spec.section}]'}"
    way = "Leave it out" if place else "Remove the line"
    default = f" {way} for the default, {spec.default}." if spec.default else ""
    if spec.kind == "switch":
        if text.lower() not in _SWITCH:
            raise ConfigError(f"{where}: expected yes or no.{default}")
        return _SWITCH[text.lower()]
    if spec.kind == "choice":
        if text not in spec.choices:
            raise ConfigError(f"{where}: expected {' or '.join(spec.choices)}.{default}")
        return text
    if spec.kind in ("seconds", "number", "bytes"):
        return _number(spec, text, where, default)
    if spec.kind == "url":
        return _url(spec, text, where)
    if spec.kind == "redis":
        try:
            return redis_url(text)
        except ConfigError as exc:
            raise ConfigError(f"{where}: {exc}") from None
    if spec.kind == "secret" and not re.fullmatch(r"[\x21-\x7e]{1,512}", text):
        raise ConfigError(f"{where}: expected up to 512 characters without spaces. Copy the token again.")
    if spec.name == "tls_hostname" and not _HOST.fullmatch(text):
        raise ConfigError(f"{where}: expected a host name such as {spec.example}.")
    return text


def _number(spec: Spec, text: str, where: str, default: str) -> Union[int, float]:
    unit = {"seconds": "a number of seconds", "bytes": "a number of bytes"}.get(spec.kind, "a whole number")
    pattern = r"\d{1,15}(\.\d{1,6})?" if spec.kind == "seconds" else r"\d{1,15}"
    if not re.fullmatch(pattern, text, re.ASCII) or not spec.low <= float(text) <= spec.high:
        raise ConfigError(f"{where}: expected {unit}, {spec.low:.15g} to {spec.high:.15g}.{default}")
    return float(text) if spec.kind == "seconds" else int(text)


def _url(spec: Spec, text: str, where: str) -> str:
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("https", "http") or not host or re.search(r"[\s\x00-\x1f]", text):
        raise ConfigError(f"{where}: expected an address such as {spec.example}.")
    if spec.name == "url" and (parts.username or parts.query or parts.fragment):
        raise ConfigError(f"{where}: expected the server alone, as {spec.example}; the token has a setting of its own.")
    return text.rstrip("/")


def redis_url(text: str) -> str:
    """Return the address of a Redis or Valkey server.

    Raises:
        ConfigError: It is none, or it holds a password; the text is in no message.
    """
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("redis", "rediss") or not host or not re.fullmatch(r"[\x21-\x7e]{1,500}", text):
        raise ConfigError("expected an address such as redis://cache.local:6379/0, or rediss:// for TLS.")
    if parts.password is not None or parts.query or parts.fragment:
        raise ConfigError("expected the server alone; the password has a setting of its own.")
    if not re.fullmatch(r"(/\d{0,4})?", parts.path, re.ASCII):
        raise ConfigError("expected the number of the database after the host, such as /0.")
    return text


def _shown(spec: Spec, text: str) -> str:
    if spec.kind == "secret":
        return "set"
    return printable(f"…@{text.rsplit('@', 1)[1]}" if spec.kind in ("url", "redis") and "@" in text else text, 80)


def _nearest(section: str) -> str:
    names = [spec.name for spec in _SPECS if spec.section == section]
    if not names:
        return "Sections are cbsigned, cache and edr."
    return f"Settings of [{section}]: {', '.join(names)}."
