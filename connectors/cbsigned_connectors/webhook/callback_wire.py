"""The connections of callbacks: to addresses that were checked, within one time limit."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable, Optional, cast

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cbsigned.edr.wire import Watch, connected, resolved
from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.addresses import Network, checked_addresses

__all__ = ["CheckedAdapter", "Resolver", "tls_context", "why"]

Resolver = Callable[[str, int], Sequence[str]]


class CheckedAdapter(HTTPAdapter):
    """Carries one request, over a connection to an address that was checked after the name was resolved.

    Args:
        context: For TLS; the name in the URL is compared with the certificate, whatever address it has.
        resolve: Addresses of a host and port.
        allowed: Networks that may be called although they are not public.
        watch: The time limit; the DNS is part of it.
    """

    def __init__(self, context: ssl.SSLContext, resolve: Resolver, allowed: Iterable[Network], watch: Watch) -> None:
        self._context = context

        class _Checked:
            host: str
            port: int

            def _new_conn(self) -> socket.socket:
                return _connect(self.host.strip("[]"), self.port, resolve, tuple(allowed), watch)

        class _Plain(_Checked, HTTPConnection):
            pass

        class _Tls(_Checked, HTTPSConnection):
            pass

        self._pools = {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": _Plain}),
            "https": type("_TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": _Tls}),
        }
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools; called by requests."""
        cast(Any, super()).init_poolmanager(*args, **{**kwargs, "ssl_context": self._context})
        self.poolmanager.pool_classes_by_scheme = self._pools

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave certificates to the context; requests would add its own roots to a CA file of ours."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


def tls_context(ca_file: Optional[str]) -> ssl.SSLContext:
    """Return the TLS context of callbacks: TLS 1.2 or later, certificates and names checked.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca_file or DEFAULT_CA_BUNDLE_PATH)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"ca_file: {ca_file} cannot be read as certificates ({exc}). "
            "Give a PEM file that starts with -----BEGIN CERTIFICATE-----."
        ) from exc
    return context


def why(exc: BaseException, watch: Watch) -> str:
    """Return why there was no answer, in words, without an address or a URL."""
    causes = list(_causes(exc))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
    if watch.fired or any(isinstance(cause, (socket.timeout, TimeoutError)) for cause in causes):
        return f"nothing came within {watch.seconds:g} s"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name has no address"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or 'no reason given'})"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return "the connection was lost"


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps; libraries wrap as causes, contexts, arguments and reasons."""
    waiting, seen = [exc], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [cause for cause in inner if isinstance(cause, BaseException)]


def _connect(host: str, port: int, resolve: Resolver, allowed: Iterable[Network], watch: Watch) -> socket.socket:
    """Connect to the first address that answers; nothing is resolved again after the check."""
    found = checked_addresses(resolved(lambda: resolve(host, port), watch), allowed)
    rows = [
        (socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM, 0, "", (str(address), port))
        for address in found
    ]
    return connected(rows, watch)
