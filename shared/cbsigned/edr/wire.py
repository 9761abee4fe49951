"""Sockets that a request's time limit can end, and TLS as the settings ask for it.

A socket's own time-out starts anew with every byte, so a server that sends one byte a second would never meet
it. A `Watch` therefore holds a second handle to each socket that its request uses and shuts it down when the
time is up, whatever the request is waiting for: connection, handshake, headers or body.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional, TypeVar, cast
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cbsigned.errors import ConfigError
from cbsigned.settings import EdrSettings

__all__ = ["Watch", "WatchedAdapter", "connected", "resolved", "tls_context"]

log = logging.getLogger(__name__)
_current = threading.local()
_T = TypeVar("_T")


class Watch:
    """The time limit of one request, as a context manager around it, in the thread that makes it.

    Args:
        seconds: From now, more than 0; what is spent before the request begins counts too.

    Attributes:
        fired: The time was up before the request had ended.
        reused: The request went out on a connection that had served another one.
    """

    def __init__(self, seconds: float) -> None:
        self.fired = False
        self.reused = False
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._held: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer: Optional[threading.Timer] = None

    def __enter__(self) -> Watch:
        _current.watch = self
        self._timer = threading.Timer(self.remaining(), self.fire)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        _current.watch = None
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            for handle in self._held:
                handle.close()
            self._held = []

    def remaining(self) -> float:
        """Return the seconds left, never quite 0, so that it can be a socket's time-out."""
        return max(0.001, self._end - time.monotonic())

    @property
    def holding(self) -> bool:
        """Whether this request has a socket already."""
        return bool(self._held)

    def hold(self, sock: socket.socket) -> None:
        """Keep a handle to a socket that this request uses."""
        with self._lock:
            family = getattr(sock, "family", socket.AF_INET)  # TLS inside TLS has a number and no family
            self._held.append(socket.fromfd(sock.fileno(), family, socket.SOCK_STREAM))
            if self.fired:
                self._shut()

    def fire(self) -> None:
        """End the request now: whatever waits for one of its sockets wakes up."""
        with self._lock:
            self.fired = True
            self._shut()

    def _shut(self) -> None:
        for handle in self._held:
            with contextlib.suppress(OSError):  # not connected yet, or gone already
                handle.shutdown(socket.SHUT_RDWR)


class _Watched:
    """Connection that tells the present watch of its socket."""

    host: str
    port: int
    sock: Any
    source_address: Any
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        watch: Optional[Watch] = getattr(_current, "watch", None)
        if watch is None:
            made: socket.socket = super()._new_conn()  # type: ignore[misc]
            return made
        return _connect(self.host, self.port, self.socket_options or (), watch)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        watch: Optional[Watch] = getattr(_current, "watch", None)
        if watch is not None and self.sock is not None and not watch.holding:
            watch.reused = True
            watch.hold(self.sock)
        super().putrequest(*args, **kwargs)  # type: ignore[misc]


class _PlainConnection(_Watched, HTTPConnection):
    pass


class _TlsConnection(_Watched, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _UnverifiedTlsPool(_TlsPool):
    """Without urllib3's warning at every connection; the client has logged one of its own."""

    def _validate_conn(self, conn: Any) -> None:
        if conn.sock is None:
            conn.connect()


class WatchedAdapter(HTTPAdapter):
    """Carries requests over watched connections, with one TLS context for all of them.

    Args:
        settings: `verify_tls`, `ca_file`, `tls_hostname` and `parallel` are used.
    """

    def __init__(self, settings: EdrSettings) -> None:
        tls = settings.url.lower().startswith("https:")
        self._pool_arguments: dict[str, Any] = {"ssl_context": tls_context(settings)} if tls else {}
        if tls and settings.verify_tls and settings.tls_hostname:
            self._pool_arguments["assert_hostname"] = settings.tls_hostname
        self._requirement = "CERT_REQUIRED" if settings.verify_tls else "CERT_NONE"
        self._pools = {"http": _PlainPool, "https": _TlsPool if settings.verify_tls else _UnverifiedTlsPool}
        super().__init__(pool_connections=1, pool_maxsize=settings.parallel, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections; called by requests."""
        cast(Any, super()).init_poolmanager(*args, **{**kwargs, **self._pool_arguments})  # typed or not, by version
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy; called by requests."""
        manager = cast(Any, super()).proxy_manager_for(proxy, **{**kwargs, **self._pool_arguments})
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave certificates to the context; requests would add its own roots to a CA file of ours."""
        conn.cert_reqs = self._requirement
        conn.ca_certs = conn.ca_cert_dir = None


def tls_context(settings: EdrSettings) -> ssl.SSLContext:
    """Return the TLS context of the settings: TLS 1.2 or later, certificates checked unless `verify_tls` is off.

    Names are compared by OpenSSL, but where `tls_hostname` is set or the server is an address, by urllib3: it takes
    another name than the URL's, and accepts the common name of a certificate without alternative names.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.check_hostname = not (settings.tls_hostname or _is_address(urlsplit(settings.url).hostname or ""))
    try:
        context.load_verify_locations(cafile=settings.ca_file or DEFAULT_CA_BUNDLE_PATH)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f'ca_file is "{settings.ca_file}": it cannot be read as certificates ({exc}). '
            "Give a PEM file that starts with -----BEGIN CERTIFICATE-----."
        ) from exc
    return context


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    return True


def _connect(host: str, port: int, options: Any, watch: Watch) -> socket.socket:
    """Connect to the first address of a host that answers."""
    bare = host.strip("[]")
    if _is_address(bare):
        return connected(socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM), watch, options)
    return connected(resolved(lambda: socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM), watch), watch, options)


def connected(addresses: Sequence[Any], watch: Watch, options: Iterable[Any] = ()) -> socket.socket:
    """Return a connection to the first address that answers, all of them within the watch's time.

    Args:
        addresses: Rows as of `socket.getaddrinfo`.
        watch: Holds each socket from before it is connected.
        options: Set on each socket first.

    Raises:
        OSError: None answered, or there is none; the last one's error.
    """
    failure: Optional[OSError] = None
    for left, (family, kind, protocol, _name, address) in zip(range(len(addresses), 0, -1), addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(watch.remaining() / left)  # an address that swallows packets leaves time for the next
            watch.hold(sock)
            sock.connect(address)
            sock.settimeout(watch.remaining())
        except OSError as exc:
            sock.close()
            failure = exc
            if watch.fired:
                break
        else:
            return sock
    raise failure or socket.gaierror(socket.EAI_NONAME, "the name has no address")


def resolved(ask: Callable[[], Sequence[_T]], watch: Watch) -> Sequence[_T]:
    """Return the addresses that `ask` finds, waiting no longer than the watch; the system's resolver has no time limit.

    Raises:
        OSError: None was found, or `socket.timeout`.
    """
    found: list[_T] = []
    failed: list[Exception] = []

    def resolve() -> None:
        try:
            found.extend(ask())
        except (OSError, ValueError) as exc:  # a name that no DNS takes is a UnicodeError
            failed.append(exc)

    seconds = watch.remaining()
    resolver = threading.Thread(target=resolve, name="cbsigned-resolve", daemon=True)
    resolver.start()
    resolver.join(seconds)
    if resolver.is_alive():
        raise socket.timeout(f"the name could not be resolved in {seconds:.1f} s")
    if failed:
        raise failed[0] if isinstance(failed[0], OSError) else socket.gaierror(socket.EAI_NONAME, "not a host name")
    return found
