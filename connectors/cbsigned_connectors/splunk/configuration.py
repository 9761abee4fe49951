"""Splunk's configuration as the core's `Settings`: conf file `cbsigned`, token from storage/passwords.

Only the persistent handler reads it, with the system's authority, so analysts need no right to read secrets. The
system's authority is handed over by splunkd with every request and kept nowhere longer than the last of them.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

from splunklib import binding, client

from cbsigned import edr
from cbsigned.edr import Finding
from cbsigned.errors import CbSignedError, ConfigError
from cbsigned.settings import Settings, parse_settings
from cbsigned.timing import Deadline
from cbsigned_connectors.splunk.splunkd import HandlerError, splunkd_context

__all__ = [
    "APP",
    "NAMES",
    "Configuration",
    "NotConfigured",
    "SettingsUnreadable",
    "Splunkd",
    "connect",
    "parse",
    "reason_of",
    "stored_token",
]

log = logging.getLogger(__name__)
APP = "cbsigned"
NAMES: Mapping[str, tuple[str, ...]] = {
    "edr": ("url", "ca_file", "tls_hostname", "proxy", "timeout_s", "retries", "parallel", "verify_tls"),
    "cache": ("signed_s", "unknown_s", "process_s"),
}
"""What the conf file may set; the token is kept elsewhere, and no file of the search head is a cache."""
_WHERE = ("url", "ca_file", "tls_hostname", "proxy")
_OTHER_SERVER = (
    "Server, proxy or certificate settings differ from the stored ones, and the stored token is only sent to the "
    "stored server. Enter the token again, or save first."
)
_REALM, _NAME = "cbsigned", "edr_token"
_TIMEOUT_S = 5.0
_READ_AGAIN_S = 30.0
_SETUP = "An administrator sets it on the setup page of the app (Apps > Manage Apps > cbsigned > Set up)."
_NO_URL = f"cbsigned is not set up: there is no server URL. {_SETUP}"
_KEY = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)
_MASKED = re.compile(r"\*+")
_YES = ("yes", "true", "on", "1")


class NotConfigured(ConfigError):
    """The app was never set up, or not to the end."""


class SettingsUnreadable(CbSignedError):
    """splunkd did not tell the settings."""


@dataclass(frozen=True)
class Splunkd:
    """The splunkd that asked us, and the authority it gave for this.

    Raises:
        ConfigError: Not an address, or no authority.
    """

    uri: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if urlsplit(self.uri).hostname is None or not _KEY.fullmatch(self.token):
            raise ConfigError(
                "splunkd handed over no address or no system_authtoken. Set passSystemAuth = true in restmap.conf."
            )


def connect(splunkd: Splunkd, timeout_s: float = _TIMEOUT_S) -> client.Service:
    """Return splunklib's client for the app's own namespace; nothing is asked yet.

    Raises:
        HandlerError: The CA file of splunkd cannot be read.
    """
    parts = urlsplit(splunkd.uri)
    handler = binding.handler(timeout=timeout_s, verify=True, context=_context(splunkd.uri))
    return client.connect(
        handler=handler, scheme=parts.scheme, host=parts.hostname, port=parts.port or 8089, token=splunkd.token,
        owner="nobody", app=APP, sharing="app",
    )  # fmt: skip


class Configuration:
    """The app's settings, read again when they may have changed.

    Args:
        connect: Makes a client of splunkd; tests pass their own.
        read_again_s: Seconds for which settings are taken for the present ones.
        clock: Monotonic seconds.
    """

    def __init__(
        self, connect: Callable[[Splunkd], Any] = connect, read_again_s: float = _READ_AGAIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._connect, self._read_again_s, self._clock = connect, read_again_s, clock
        self._settings: Optional[Settings] = None
        self._read_at: Optional[float] = None
        self._lock = threading.Lock()

    def settings(self, splunkd: Splunkd) -> Settings:
        """Return the settings; where splunkd does not tell them now, those that it told last.

        Raises:
            NotConfigured: There is no server or no token yet.
            ConfigError: A value cannot be used; the text says which.
            SettingsUnreadable: splunkd does not tell them, and never did.
        """
        with self._lock:
            now = self._clock()
            if self._settings is not None and self._read_at is not None and now - self._read_at < self._read_again_s:
                return self._settings
            try:
                self._settings = self.read(splunkd)
            except SettingsUnreadable as exc:
                if self._settings is None:
                    raise
                log.warning("%s Those read before are used.", exc)
            except ConfigError:
                self._settings = None  # a server that was taken out of the settings is not asked any more
                raise
            self._read_at = now
            return self._settings

    def read(self, splunkd: Splunkd) -> Settings:
        """Return the settings as they are now; raises as `settings`."""
        service = self._client(splunkd)
        given = _conf(service)
        token = stored_token(service) if given.get("edr", {}).get("url") else None
        return parse(given, token)

    def findings(
        self, splunkd: Splunkd, given: Mapping[str, Any], token: Optional[str], deadline: Deadline
    ) -> tuple[Finding, ...]:
        """Return what the core gets from the server under settings that are not stored yet; never raises for them.

        Args:
            given: Section → name → value, as typed on the setup page.
            token: As typed; None or empty for the stored one, which goes to the stored server alone.
            deadline: For all requests together.

        Raises:
            SettingsUnreadable: splunkd does not tell what is stored.
        """
        typed = _known({name: entries for name, entries in given.items() if isinstance(entries, Mapping)})
        try:
            if not token:
                service = self._client(splunkd)
                if not _same_server(typed, _conf(service)):
                    return (Finding("token", False, _OTHER_SERVER),)
                token = stored_token(service)
            server = parse(typed, token).edr
            if server is None:
                raise NotConfigured(_NO_URL)
            with edr.connect(server) as source:
                return source.check(deadline)
        except ConfigError as exc:
            return (Finding("settings", False, str(exc)),)

    def _client(self, splunkd: Splunkd) -> Any:
        try:
            return self._connect(splunkd)
        except HandlerError as exc:
            failure = str(exc)
        raise SettingsUnreadable(f"Cannot read the settings of cbsigned from splunkd: {failure}")


def parse(given: Mapping[str, Mapping[str, str]], token: Optional[str]) -> Settings:
    """Return the core's settings.

    Args:
        given: Section → name → text, `NAMES` alone.
        token: The EDR's API token.

    Raises:
        NotConfigured: No url, or no token.
        ConfigError: A value cannot be used.
    """
    server = dict(given.get("edr", {}))
    if not server.get("url", "").strip():
        raise NotConfigured(_NO_URL)
    if not token:
        raise NotConfigured(f"cbsigned is not set up: no API token is stored. {_SETUP}")
    server["ca_file"] = os.path.expandvars(server.get("ca_file", ""))
    return parse_settings({"edr": {**server, "token": token}, "cache": dict(given.get("cache", {}))})


def stored_token(service: Any) -> Optional[str]:
    """Return the API token of storage/passwords, asked by its own name alone; None where none is stored.

    Raises:
        SettingsUnreadable: splunkd does not tell it.
    """
    document = _get(service, f"storage/passwords/{_REALM}:{_NAME}:")
    for entry in _entries(document):
        token = entry.get("clear_password")
        if isinstance(token, str) and token:
            if _MASKED.fullmatch(token):
                raise SettingsUnreadable(
                    "splunkd masks the stored API token. Allow cbsigned in [storage_passwords_masking] "
                    "view_cleartext_allowlist of limits.conf."
                )
            return token
    return None


def reason_of(exc: BaseException) -> str:
    """Return why splunkd gave no answer: status or kind of failure, no text of its own."""
    if isinstance(exc, binding.HTTPError):
        return f"it answered {exc.status}"
    if isinstance(exc, HandlerError):
        return str(exc)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {exc.verify_message}"
    if isinstance(exc, TimeoutError) or type(exc).__name__ == "timeout":
        return "it did not answer in time"
    return getattr(exc, "strerror", None) or type(exc).__name__


@functools.lru_cache(maxsize=4)
def _context(uri: str) -> Optional[ssl.SSLContext]:
    return splunkd_context(uri)


def _conf(service: Any) -> dict[str, dict[str, str]]:
    """Return what the conf file says, of the names that it may say."""
    return _known(dict(_named(_get(service, f"configs/conf-{APP}", count=0))))


def _known(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings among what was given, as texts; empty ones left out."""
    found = {}
    for section, names in NAMES.items():
        texts = {name: _text(sections.get(section, {}).get(name)).strip() for name in names}
        found[section] = {name: text for name, text in texts.items() if text}
    return found


def _same_server(typed: Mapping[str, Mapping[str, str]], stored: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the stored token would go where it goes anyway, and as well protected on the way."""
    same = all(typed["edr"].get(name) == stored["edr"].get(name) for name in _WHERE)
    # splunkd may tell yes as true, which the page then sends back
    verified = [settings["edr"].get("verify_tls", "yes").lower() in _YES for settings in (typed, stored)]
    return same and verified[0] == verified[1]


def _get(service: Any, path: str, **query: Any) -> Mapping[str, Any]:
    """Return splunkd's JSON for a path; an empty one where there is no such thing."""
    try:
        document = json.loads(service.get(path, output_mode="json", **query).body.read())
    except binding.HTTPError as exc:
        if exc.status == 404:
            return {}
        failure = reason_of(exc)
    except (OSError, http.client.HTTPException, ValueError, HandlerError) as exc:
        failure = reason_of(exc)
    else:
        return document if isinstance(document, Mapping) else {}
    raise SettingsUnreadable(f"Cannot read the settings of cbsigned from splunkd: {failure}. Look at splunkd.log.")


def _named(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    entries = document.get("entry")
    found = [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []
    return [(str(e.get("name")), e["content"]) for e in found if isinstance(e.get("content"), Mapping)]


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [content for _name, content in _named(document)]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (str, int, float)) else ""
