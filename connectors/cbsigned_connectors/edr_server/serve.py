"""Runs the application on a socket, with or without TLS, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import uvicorn
from starlette.types import ASGIApp

from cbsigned.errors import ConfigError

__all__ = ["listen", "run", "running", "tls_checked"]

_BACKLOG = 512
_STOP_S = 5
_START_S = 10.0
_LOOK_S = 0.5
_LINGER_S = 0.1
_LINGER_TICKS = 3
_QUIET = {"version": 1, "disable_existing_loggers": False}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, so that its port is known before anything is served.

    Raises:
        ConfigError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's delay on
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except (OSError, OverflowError) as exc:
        sock.close()
        why = getattr(exc, "strerror", None) or exc
        raise ConfigError(f"Cannot listen on {host} port {port}: {why}. Choose another with --port.") from exc
    return sock


def tls_checked(cert: Optional[Path], key: Optional[Path]) -> bool:
    """Whether TLS is wanted, after trying certificate and key.

    Raises:
        ConfigError: One is given without the other, or they cannot be used.
    """
    if cert is None and key is None:
        return False
    if cert is None or key is None:
        raise ConfigError("TLS needs both --tls-cert and --tls-key; give the other one too.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"Cannot use the certificate {cert} with the key {key}: {exc.strerror or exc.args[0]}. "
            "Both are PEM files, the key without a passphrase."
        ) from exc
    return True


def run(
    app: ASGIApp, sock: socket.socket, ready: Callable[[], None], cert: Optional[Path] = None,
    key: Optional[Path] = None,
) -> None:  # fmt: skip
    """Serve until SIGINT or SIGTERM; requests under way are finished, for five seconds at most.

    Args:
        ready: Called when requests are answered and signals are heard.

    Raises:
        ConfigError: It did not start.
    """
    stop = threading.Event()
    told = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _serving(app, sock, cert, key) as thread:
            ready()
            while thread.is_alive() and not stop.wait(_LOOK_S):
                continue
    finally:
        for number, handler in told.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running(app: ASGIApp, cert: Optional[Path] = None, key: Optional[Path] = None) -> Iterator[str]:
    """Serve on a free port of the loopback within a `with` block; gives the URL. For tests.

    Raises:
        ConfigError: It did not start.
    """
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with _serving(app, sock, cert, key):
            yield f"{'https' if cert else 'http'}://127.0.0.1:{port}"


@contextlib.contextmanager
def _serving(
    app: ASGIApp, sock: socket.socket, cert: Optional[Path], key: Optional[Path]
) -> Iterator[threading.Thread]:
    """Serve in a thread, so that signals stay ours; gives the thread when it answers."""
    server = uvicorn.Server(_config(app, cert, key))
    thread = threading.Thread(target=asyncio.run, args=(_to_the_end(server, sock),), name="edr-server", daemon=True)
    thread.start()
    end = time.monotonic() + _START_S
    try:
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise ConfigError("The EDR server did not start; its log says why.")
            time.sleep(0.005)
        yield thread
    finally:
        server.should_exit = True
        thread.join()


async def _to_the_end(server: uvicorn.Server, sock: socket.socket) -> None:
    """Serve until told to stop, then cut what is left: a TLS client that never says goodbye would be waited for."""
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    idle = 0
    while not serving.done():
        await asyncio.wait([serving], timeout=_LINGER_S)
        idle = idle + 1 if server.should_exit and not server.server_state.tasks else 0
        if idle > _LINGER_TICKS:
            for connection in list(server.server_state.connections):
                connection.transport.abort()
    await serving
    await asyncio.sleep(_LINGER_S)  # what was closed a moment ago is really closed


def _config(app: ASGIApp, cert: Optional[Path], key: Optional[Path]) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").addFilter(_cut_on_purpose)
    tls: dict[str, Any] = {}
    if cert is not None and key is not None:
        tls = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    return uvicorn.Config(
        app, log_config=_QUIET, log_level="warning", access_log=False, server_header=False, date_header=False,
        lifespan="off", http="h11", ws="none", timeout_graceful_shutdown=_STOP_S, proxy_headers=False, **tls,
    )  # fmt: skip


def _cut_on_purpose(record: logging.LogRecord) -> bool:
    """Drop the line about an answer that the fault mode cut short."""
    return "without completing response" not in str(record.msg)
