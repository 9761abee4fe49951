"""Where a store on ClickHouse is: `clickhouse://[USER@]HOST[:PORT][,HOST…]/DATABASE[?cluster=NAME&tls=yes]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import parse_qsl, unquote, urlsplit

from cbsigned.errors import ConfigError
from cbsigned.observables import printable

__all__ = ["PASSWORD_VARIABLE", "USER_VARIABLE", "Address", "address_of", "is_address"]

SCHEME = "clickhouse"
USER_VARIABLE = "CBSIGNED_CLICKHOUSE_USER"
PASSWORD_VARIABLE = "CBSIGNED_CLICKHOUSE_PASSWORD"  # noqa: S105 (the name of a variable)

_EXAMPLE = "clickhouse://ch1.example.test:8123/telemetry"
_NODE = re.compile(r"(?P<host>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_PORTS = {"http": 8123, "https": 8443}


@dataclass(frozen=True)
class Address:
    """A database on one server, or on several that share the telemetry.

    Attributes:
        nodes: `http://host:port` of every shard, the one that is asked first.
        cluster: The name under which the servers' own configuration has these shards; empty for one server.
        user, password: Sent in headers; the server's default user where they are empty.
    """

    nodes: tuple[str, ...]
    database: str
    cluster: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """Return the address without credentials, for messages."""
        hosts = ",".join(node.partition("://")[2] for node in self.nodes)
        return f"{SCHEME}://{hosts}/{self.database}"


def is_address(text: str) -> bool:
    """Whether a store's name means one on ClickHouse, not a file."""
    return text.lower().startswith(f"{SCHEME}://")


def address_of(text: str, user: Optional[str] = None, password: Optional[str] = None) -> Address:
    """Return the address that a text means.

    Args:
        text: As in the module's first line.
        user, password: Of the environment; the user goes before the text's.

    Raises:
        ConfigError: It cannot be used; the text says why, and shows no password.
    """
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _unfit(text, f"expected an address such as {_EXAMPLE}") from None
    login, _at, hosts = parts.netloc.rpartition("@")
    if ":" in login:
        raise ConfigError(
            "The store's address holds a password, which a list of processes or of settings would show. "
            f"Put it into {PASSWORD_VARIABLE} of the environment."
        )
    scheme = "https" if options.pop("tls", "no").lower() in ("yes", "1", "true") else "http"
    cluster, database = options.pop("cluster", ""), parts.path.strip("/")
    if options:
        raise _unfit(text, f"{printable(next(iter(options)), 40)} is no option of it; there are cluster and tls")
    if not _NAME.fullmatch(database) or (cluster and not _NAME.fullmatch(cluster)):
        raise _unfit(text, f"expected a database of letters, digits and _, as in {_EXAMPLE}")
    nodes = tuple(_node(text, one, scheme) for one in hosts.split(","))
    if len(nodes) > 1 and not cluster:
        raise _unfit(text, "several servers need ?cluster=NAME, the name that their configuration has for them")
    return Address(nodes, database, cluster, user or unquote(login), password or "")


def _node(text: str, node: str, scheme: str) -> str:
    match = _NODE.fullmatch(node)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise _unfit(text, f"expected servers as HOST or HOST:PORT, as in {_EXAMPLE}")
    return f"{scheme}://{match['host']}:{match['port'] or _PORTS[scheme]}"


def _unfit(text: str, why: str) -> ConfigError:
    shown = text if "@" not in text else f"{SCHEME}://…@{text.rsplit('@', 1)[1]}"
    return ConfigError(f"The store {printable(shown, 80)} cannot be used: {why}.")
