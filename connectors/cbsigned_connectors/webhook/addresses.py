"""Where callbacks may go: names by an allow-list, addresses by what they are, after the name was resolved.

A callback's URL comes from whoever posts, so it is taken to be an attempt to reach what only this host can reach:
the URL is read strictly and built anew, and every address that the name has must be a public one, unless its network
is allowed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from cbsigned.errors import CbSignedError, ConfigError

__all__ = ["Address", "CallbackRefused", "HostRule", "Network", "Target", "checked_addresses", "host_rule", "target_of"]

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$&-;=?-Z_a-z~%]*)?",  # printable ASCII without quotes, brackets, backslash, #
    re.ASCII | re.IGNORECASE,
)
_MOST_CHARACTERS = 2_048
_PORTS = {"https": 443, "http": 80}
_EMBEDDED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))  # NAT64; old IPv4-compatible
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
        "::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fc00::/7",
        "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
"""What is not on the public Internet, spelled out: `ipaddress` tells it differently from version to version."""


class CallbackRefused(CbSignedError):
    """A callback may not go there; the text says why."""


@dataclass(frozen=True)
class HostRule:
    """One entry of the allow-list.

    Attributes:
        name: Lower case; what the host is, or ends with.
        suffix: Any host below `name` is meant, and not `name` itself.
        port: None for the scheme's own.
    """

    name: str
    suffix: bool = False
    port: Optional[int] = None

    def allows(self, target: Target) -> bool:
        """Whether a callback may go there."""
        right = target.host.endswith("." + self.name) if self.suffix else target.host == self.name
        return right and target.port == (self.port or _PORTS[target.scheme])


@dataclass(frozen=True)
class Target:
    """A URL that was read.

    Attributes:
        host: Lower case; an IPv6 address without brackets.
        path: With its query, which may hold a secret: not for logs.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """Return the URL, built anew from its parts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def host_rule(text: str) -> HostRule:
    """Return an entry of the allow-list: `soar.example.test`, `*.example.test`, either with `:8443`.

    Raises:
        ConfigError: It is neither; the text does not name the place.
    """
    host, _, port = (
        text.rpartition(":") if re.search(r":[0-9]{1,5}$", text) and text.count(":") == 1 else (text, "", "")
    )
    suffix = host.startswith("*.")
    name = host[2:] if suffix else host
    address = _address_of(name.strip("[]"))
    in_range = not port or 0 < int(port) < 65_536
    if address is not None and not suffix and in_range:
        return HostRule(str(address), False, int(port) if port else None)
    if not _NAME.fullmatch(name) or len(name) > 253 or _numeric(name) or not in_range or (suffix and "." not in name):
        raise ConfigError(
            "expected a host such as soar.example.test, *.example.test for all below, or soar.example.test:8443 "
            "for a port of its own."
        )
    return HostRule(name.lower(), suffix, int(port) if port else None)


def target_of(url: str, rules: Iterable[HostRule], *, allow_http: bool = False) -> Target:
    """Return where a callback's URL leads, without asking the DNS.

    Raises:
        CallbackRefused: It cannot be read without doubt, or may not be called.
    """
    match = _URL.fullmatch(url) if len(url) <= _MOST_CHARACTERS else None
    if match is None:
        raise CallbackRefused(
            "The callback URL cannot be used: expected https://host/path without user, fragment and odd characters, "
            f"up to {_MOST_CHARACTERS} of them."
        )
    scheme, host = match["scheme"].lower(), match["host"].lower().strip("[]")
    address = _address_of(host)
    if address is None and (not _NAME.fullmatch(host) or _numeric(host)):
        raise CallbackRefused("The callback URL cannot be used: its host is neither a name nor a plain address.")
    if scheme == "http" and not allow_http:
        raise CallbackRefused("The callback URL cannot be used: http is not encrypted. Use https, or set allow_http.")
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    target = Target(scheme, str(address) if address is not None else host, port, match["path"] or "/")
    if not any(rule.allows(target) for rule in rules):
        raise CallbackRefused("The callback's host and port are not on the list. Add them to callbacks.hosts.")
    return target


def checked_addresses(found: Sequence[str], allowed: Iterable[Network]) -> list[Address]:
    """Return a name's addresses, when a callback may go to every one of them.

    Args:
        found: As the DNS gave them.
        allowed: Networks that may be called although they are not public.

    Raises:
        CallbackRefused: One of them is not public; one is enough, for the next answer may hold it alone.
    """
    networks = tuple(allowed)
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    for address in addresses:
        meant = _meant(address)
        if any(one in network for one in meant for network in networks):
            continue
        if any(one in network for one in meant for network in _NEVER):
            raise CallbackRefused(
                f"The callback's host has the address {address}, which is not a public one. "
                "Where it is right, add its network to callbacks.allow_networks."
            )
    return addresses


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system's resolver gives them.

    Raises:
        OSError: It has none, or the DNS does not answer.
    """
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def _meant(address: Address) -> tuple[Address, ...]:
    """Return an address, or what is inside it where it is IPv4 in the guise of IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if any(address in network for network in _EMBEDDED) and int(address) > 1:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


def _address_of(text: str) -> Optional[Address]:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _numeric(name: str) -> bool:
    """Whether a resolver could read a name as a number: 2130706433, 0177.0.0.1, 0x7f.1."""
    return re.fullmatch(r"(?:[0-9]+|0x[0-9a-f]*)", name.lower().rpartition(".")[2]) is not None
