"""The responder's configuration: one YAML file, and secrets from the environment or from files that it names.

::

    senders:
      - name: soar
        scheme: standard-webhooks
        secrets: [{env: CBSIGNED_SOAR}, {file: /etc/cbsigned/soar-old.secret}]
    callbacks:
      hosts: ["*.soar.example.test"]
      secrets: [{env: CBSIGNED_CALLBACKS}]

A secret itself never stands in the file. Every message names the file, the line and the key.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, TypeVar

from cbsigned.errors import ConfigError
from cbsigned.formats import FORMATS, FieldMapping, parse_mappings
from cbsigned.observables import printable
from cbsigned.settings import RedisSettings, redis_url
from cbsigned.yamlfile import Node, plain, read_yaml_file
from cbsigned_connectors.webhook.addresses import HostRule, host_rule
from cbsigned_connectors.webhook.broker import BrokerSettings, broker_url
from cbsigned_connectors.webhook.callbacks import CallbackSettings
from cbsigned_connectors.webhook.configuration_keys import KEYS, Key, section_keys
from cbsigned_connectors.webhook.credentials import Network, Scheme, Secret, SenderSettings
from cbsigned_connectors.webhook.jobs import JobSettings
from cbsigned_connectors.webhook.limits import BodyLimits

__all__ = ["WebhookSettings", "load", "settings_of"]

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_CACHE_PASSWORD = "CBSIGNED_CACHE_PASSWORD"  # noqa: S105 (the name of a variable)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}", re.ASCII)
_MOST_SENDERS = 100
_MOST_ITEMS = 200
_MOST_TEXT = 1_000
_LONGEST_SECRET = 4_096
_LITERALS = {"secret", "token", "password", "key", "api_key"}
_NO_LITERAL = (
    "a secret does not belong in this file, where backups and version control keep it. "
    "Write {env: NAME} or {file: PATH}, and change the secret if it was real"
)


@dataclass(frozen=True)
class WebhookSettings:
    """Everything that `cbsigned serve` is told.

    Attributes:
        trusted_proxies: Whose `X-Forwarded-For` is believed; see `senders.client_address`.
        deadline_s: For one synchronous answer.
        mappings: Users' own field mappings by name.
        cache: Where answers are shared between hosts; None for what the core's settings say.
        file: Where they were read; None for defaults alone.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    trusted_proxies: tuple[Network, ...] = ()
    deadline_s: float = 10.0
    bodies: BodyLimits = field(default_factory=BodyLimits)
    senders: tuple[SenderSettings, ...] = ()
    mappings: Mapping[str, FieldMapping] = field(default_factory=dict)
    callbacks: CallbackSettings = field(default_factory=CallbackSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    cache: Optional[RedisSettings] = None
    file: Optional[Path] = None


def load(path: Path, environ: Mapping[str, str]) -> WebhookSettings:
    """Return the settings of a file, with the secrets that it names.

    Args:
        path: The YAML file; secret files that are not absolute are taken from its folder.
        environ: Where variables are read.

    Raises:
        ConfigError: The text names the file, the line and the key; no secret is quoted.
    """
    return settings_of(read_yaml_file(path), path, environ)


def settings_of(root: Node, path: Path, environ: Mapping[str, str]) -> WebhookSettings:
    """Return the settings of a file that was read; see `load`."""
    reader = _Reader(path, environ)
    top = reader.section(root, "")
    listen, bodies = (reader.section(top.get(name), f"{name}.") for name in ("listen", "bodies"))
    mappings = reader.mappings(top.get("mappings"))
    callbacks = reader.section(top.get("callbacks"), "callbacks.")
    jobs = reader.section(top.get("jobs"), "jobs.")
    if "path" in jobs:
        jobs["path"] = Path(jobs["path"])
    cache = reader.section(top.get("cache"), "cache.")
    broker = {name: jobs.pop(name) for name in ("url", "password", "ca_file", "visibility_s") if name in jobs}
    if broker:
        jobs["broker"] = reader.server(BrokerSettings, broker, top["jobs"], "jobs")
    if environ.get(_CACHE_PASSWORD) and "url" in cache:
        cache.setdefault("password", Secret(_CACHE_PASSWORD, environ[_CACHE_PASSWORD].strip().encode()))
    return WebhookSettings(
        **listen,
        **({"deadline_s": top["deadline_s"]} if "deadline_s" in top else {}),
        bodies=BodyLimits(**bodies),
        senders=reader.senders(top.get("senders"), mappings, BodyLimits(**bodies).max_bytes),
        mappings=mappings,
        callbacks=reader.made(CallbackSettings, callbacks, top.get("callbacks"), "callbacks"),
        jobs=JobSettings(**jobs),
        cache=reader.server(RedisSettings, cache, top["cache"], "cache") if cache else None,
        file=path,
    )


class _Reader:
    """Turns nodes into values; knows where it is."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path, self._environ = path, environ
        self._readers: dict[str, Callable[[Node, str, Key], Any]] = {
            "text": self._text, "seconds": self._number, "number": self._number, "bytes": self._number,
            "switch": self._switch, "choice": self._choice, "hosts": self._hosts, "networks": self._networks,
            "redis": self._address(redis_url), "broker": self._address(broker_url),
            "secrets": self._secrets, "secret": lambda node, place, _key: self._secret(node, place),
            "file": self._file, "section": lambda node, _place, _key: node,
        }  # fmt: skip

    def section(self, node: Optional[Node], prefix: str, place: str = "") -> dict[str, Any]:
        """Return the values of a mapping, by key; sections below it as their nodes."""
        place = place or prefix
        if node is None or node.value is None:
            return {}
        known = section_keys(prefix)
        items = {"url": node} if isinstance(node.value, str) and "url" in known else node.value
        if not isinstance(items, dict):
            self._fail(node, place.rstrip(".") or "the file", "expected keys and values", node)
        found = {}
        for name, item in items.items():
            if name not in known:
                near = _NO_LITERAL if name in _LITERALS else f"the keys here are {', '.join(known)}"
                self._fail(item, f"{place}{printable(name, 40)[1:-1]}", f"there is no such key; {near}")
            if item.value is not None:  # a key without a value takes its default
                key = known[name]
                found[name] = self._readers[key.kind](item, f"{place}{name}", key)
        return found

    def senders(
        self, node: Optional[Node], mappings: Mapping[str, FieldMapping], most_bytes: int
    ) -> tuple[SenderSettings, ...]:
        """Return the senders, each checked, and against each other."""
        made: list[SenderSettings] = []
        owners: dict[bytes, str] = {}
        for number, item in enumerate(self._items(node, "senders", _MOST_SENDERS)):
            place = f"senders[{number}]"
            values = self.section(item, "senders[].", f"{place}.")
            for name in ("name", "scheme", "secrets"):
                if name not in values:
                    self._fail(item, place, f"{name} is missing. {KEYS['senders[].' + name].help}")
            values["scheme"] = Scheme(values["scheme"])
            for name, known in (("mapping", tuple(mappings)), ("source", (*FORMATS, *mappings))):
                if name in values and values[name] not in known:
                    told = f"is none of {', '.join(known)}" if known else "there are no mappings"
                    self._fail(item, f"{place}.{name}", f"{printable(values[name], 40)} {told}")
            if values.get("max_body_bytes", 0) > most_bytes:
                self._fail(
                    item, f"{place}.max_body_bytes", f"bodies.max_bytes is {most_bytes} for all; raise that first"
                )
            sender = self.made(SenderSettings, values, item, place)
            for secret in sender.secrets:
                if owners.setdefault(secret.value, sender.name) != sender.name:
                    other = owners[secret.value]
                    self._fail(
                        item, f"{place}.secrets", f'{secret.place} is also a secret of "{other}". Give each its own'
                    )
            made.append(sender)
        return tuple(made)

    def mappings(self, node: Optional[Node]) -> Mapping[str, FieldMapping]:
        """Return the users' field mappings."""
        if node is None or node.value is None:
            return {}
        try:
            return parse_mappings(plain(node))
        except ConfigError as exc:
            raise ConfigError(f"{self._path} line {node.line} and below, {exc}") from None

    def made(self, kind: Callable[..., _T], values: Mapping[str, Any], node: Optional[Node], place: str) -> _T:
        """Return settings made of values; what they refuse is told with its place."""
        try:
            return kind(**values)
        except ConfigError as exc:
            raise ConfigError(f"{self._path} line {node.line if node else 1}, {place}.{exc}") from None

    def server(self, kind: Callable[..., _T], values: dict[str, Any], node: Node, place: str) -> _T:
        """Return how to reach a server: its url, and what belongs to it."""
        if "url" not in values:
            self._fail(node, place, f"url is missing. {KEYS[f'{place}.url'].help}")
        if "password" in values:
            values["password"] = values["password"].value.decode("utf-8", "surrogateescape")
        return kind(**values)

    def _fail(self, node: Node, place: str, what: str, shown: Optional[Node] = None) -> NoReturn:
        value = f" is {_shown(shown.value)}" if shown is not None else ""
        raise ConfigError(f"{self._path} line {node.line}, {place}{value}: {what}.")

    def _items(self, node: Optional[Node], place: str, most: int = _MOST_ITEMS) -> Iterator[Node]:
        if node is None or node.value is None:
            return
        if not isinstance(node.value, list):
            self._fail(node, place, "expected a list, one entry after each dash", node)
        if len(node.value) > most:
            self._fail(node, place, f"{len(node.value)} entries are more than {most}")
        yield from node.value

    def _text(self, node: Node, place: str, key: Key) -> str:
        if not isinstance(node.value, str) or not 0 < len(node.value) <= _MOST_TEXT or not node.value.isprintable():
            self._fail(node, place, f"expected a text such as {key.example}; put it in quotes", node)
        return node.value

    def _address(self, parse: Callable[[str], str]) -> Callable[[Node, str, Key], str]:
        def address(node: Node, place: str, key: Key) -> str:
            try:
                return parse(self._text(node, place, key))
            except ConfigError as exc:
                self._fail(node, place, str(exc).rstrip("."))

        return address

    def _number(self, node: Node, place: str, key: Key) -> float:
        value = node.value
        whole = key.kind != "seconds"
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if number is None or (whole and not isinstance(number, int)) or not key.low <= number <= key.high:
            unit = {"seconds": "a number of seconds", "bytes": "a number of bytes"}.get(key.kind, "a whole number")
            default = f". Remove the line for the default, {key.default}" if key.default else ""
            self._fail(node, place, f"expected {unit}, {key.low:.15g} to {key.high:.15g}{default}", node)
        return number if whole else float(number)

    def _switch(self, node: Node, place: str, _key: Key) -> bool:
        if not isinstance(node.value, bool):
            self._fail(node, place, "expected yes or no, without quotes", node)
        return node.value

    def _choice(self, node: Node, place: str, key: Key) -> str:
        if not isinstance(node.value, str) or node.value not in key.choices:
            self._fail(node, place, f"expected one of {', '.join(key.choices)}", node)
        return node.value

    def _file(self, node: Node, place: str, key: Key) -> str:
        return str(self._path.parent / Path(self._text(node, place, key)).expanduser())

    def _hosts(self, node: Node, place: str, key: Key) -> tuple[HostRule, ...]:
        return tuple(self._entries(node, place, key, host_rule))

    def _networks(self, node: Node, place: str, key: Key) -> tuple[Network, ...]:
        return tuple(self._entries(node, place, key, _network))

    def _entries(self, node: Node, place: str, key: Key, parse: Callable[[str], _T]) -> Iterator[_T]:
        for number, item in enumerate(self._items(node, place)):
            text = self._text(item, f"{place}[{number}]", key)
            try:
                entry = parse(text)
            except (ConfigError, ValueError) as exc:
                self._fail(item, f"{place}[{number}]", str(exc).rstrip("."), item)
            yield entry

    def _secrets(self, node: Node, place: str, _key: Key) -> tuple[Secret, ...]:
        return tuple(
            self._secret(item, f"{place}[{number}]") for number, item in enumerate(self._items_of_secrets(node, place))
        )

    def _items_of_secrets(self, node: Node, place: str) -> Sequence[Node]:
        if isinstance(node.value, (str, int, float)):
            self._fail(node, place, _NO_LITERAL)
        return [node] if isinstance(node.value, dict) else list(self._items(node, place))

    def _secret(self, node: Node, place: str) -> Secret:
        if not isinstance(node.value, dict):
            self._fail(node, place, _NO_LITERAL)
        if len(node.value) != 1 or not set(node.value) <= {"env", "file"}:
            self._fail(node, place, "expected {env: NAME} or {file: PATH}")
        ((kind, item),) = node.value.items()
        if not isinstance(item.value, str) or not 0 < len(item.value) <= _MOST_TEXT or not item.value.isprintable():
            self._fail(item, f"{place}.{kind}", "expected the name of a variable, or of a file")
        return self._of_variable(item, place) if kind == "env" else self._of_file(item, place)

    def _of_variable(self, node: Node, place: str) -> Secret:
        name = str(node.value)
        if not _VARIABLE.fullmatch(name):  # most likely the secret itself, so it is not shown
            self._fail(node, f"{place}.env", "this is no name of an environment variable, such as CBSIGNED_SOAR")
        value = self._environ.get(name, "")
        if not value.strip():
            self._fail(node, f"{place}.env", f"the environment variable {name} is not set. Set it for the service")
        return Secret(f"environment variable {name}", value.strip().encode("utf-8", "surrogateescape"))

    def _of_file(self, node: Node, place: str) -> Secret:
        path = self._path.parent / Path(str(node.value)).expanduser()
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                value = file.read(_LONGEST_SECRET + 1).strip() if stat.S_ISREG(status.st_mode) else b""
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or "its name cannot be used"
            self._fail(node, f"{place}.file", f"{printable(str(path), 200)} cannot be read: {reason}")
        if not 0 < len(value) <= _LONGEST_SECRET:
            self._fail(node, f"{place}.file", f"{printable(str(path), 200)} holds no secret: expected one line")
        if os.name == "posix" and status.st_mode & stat.S_IRWXO:
            log.warning("Any user can read the secret in %s. Run: chmod o= %s", path, path)
        return Secret(f"file {path}", value)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ConfigError("expected a network such as 10.0.0.0/8, or one address") from None


def _shown(value: object) -> str:
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    return "empty" if value is None else printable(value, 60) if isinstance(value, str) else str(value)
