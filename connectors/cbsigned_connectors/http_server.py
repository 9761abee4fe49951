"""Runs an ASGI application on a socket, with or without TLS, until it is told to stop; used by every server of ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import uvicorn
from starlette.types import ASGIApp

from cbsigned.errors import ConfigError

__all__ = ["Serving", "listen", "run", "running", "tls_checked"]

_BACKLOG = 4096
_START_S = 10.0
_LOOK_S = 0.5
_LINGER_S = 0.1
_SELDOM = (10_000, 20, 20)
"""How rarely garbage is looked for: a request leaves little, and each look holds up all that are under way."""
_LINGER_TICKS = 3
_QUIET = {"version": 1, "disable_existing_loggers": False}


@dataclass(frozen=True)
class Serving:
    """How an application is served.

    Attributes:
        name: In the message about a failed start.
        stop_s: Most that requests under way are given at the end.
        cert, key: PEM files, as `tls_checked` has tried them; None for plain HTTP.
        uvicorn: Further settings of uvicorn's.
    """

    name: str
    stop_s: float = 5.0
    cert: Optional[Path] = None
    key: Optional[Path] = None
    uvicorn: dict[str, Any] = field(default_factory=dict)


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


def run(app: ASGIApp, sock: socket.socket, serving: Serving, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished, for `serving.stop_s` at most.

    Args:
        ready: Called when requests are answered and signals are heard.

    Raises:
        ConfigError: It did not start.
    """
    stop = threading.Event()
    told = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _started(app, sock, serving) as thread:
            ready()
            while thread.is_alive() and not stop.wait(_LOOK_S):
                continue
    finally:
        for number, handler in told.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running(app: ASGIApp, serving: Serving) -> Iterator[str]:
    """Serve on a free port of the loopback within a `with` block; gives the URL. For tests.

    Raises:
        ConfigError: It did not start.
    """
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with _started(app, sock, serving):
            yield f"{'https' if serving.cert else 'http'}://127.0.0.1:{port}"


@contextlib.contextmanager
def _started(app: ASGIApp, sock: socket.socket, serving: Serving) -> Iterator[threading.Thread]:
    """Serve in a thread, so that signals stay ours; gives the thread when it answers."""
    server = uvicorn.Server(_config(app, serving))
    thread = threading.Thread(
        target=asyncio.run, args=(_to_the_end(server, sock, serving),), name=serving.name, daemon=True
    )
    thread.start()
    before = gc.get_threshold()
    end = time.monotonic() + _START_S
    try:
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise ConfigError(f"{serving.name} did not start; its log says why.")
            time.sleep(0.005)
        gc.collect()
        gc.freeze()  # what is there now stays, so no later collection need look at it
        gc.set_threshold(*_SELDOM)
        yield thread
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        server.should_exit = True
        thread.join()


async def _to_the_end(server: uvicorn.Server, sock: socket.socket, serving: Serving) -> None:
    """Serve until told to stop, then cut what is left: a TLS client that never says goodbye would be waited for."""
    served = asyncio.ensure_future(server.serve(sockets=[sock]))
    idle = 0
    while not served.done():
        await asyncio.wait([served], timeout=_LINGER_S)
        idle = idle + 1 if server.should_exit and not server.server_state.tasks else 0
        if idle > _LINGER_TICKS:
            for connection in list(server.server_state.connections):
                connection.transport.abort()
    await served
    await asyncio.sleep(_LINGER_S if serving.cert is not None else 0)  # what was just closed is really closed


def _config(app: ASGIApp, serving: Serving) -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if serving.cert is not None and serving.key is not None:
        tls = {"ssl_certfile": str(serving.cert), "ssl_keyfile": str(serving.key)}
    return uvicorn.Config(
        app, log_config=_QUIET, log_level="warning", access_log=False, server_header=False, ws="none",
        proxy_headers=False, timeout_graceful_shutdown=max(1, round(serving.stop_s)), **tls, **serving.uvicorn,
    )  # fmt: skip
