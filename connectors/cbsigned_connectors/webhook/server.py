"""Runs the application on a socket until it is told to stop; what it accepted is finished first."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Callable

import uvicorn
from starlette.types import ASGIApp

from cbsigned.errors import ConfigError

__all__ = ["listen", "run", "running"]

_BACKLOG = 4096
_START_S = 10.0
_LOOK_S = 0.5
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


def run(app: ASGIApp, sock: socket.socket, ready: Callable[[], None], stop_s: float = 30.0) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished, for `stop_s` seconds at most.

    Args:
        ready: Called when requests are answered and signals are heard.

    Raises:
        ConfigError: It did not start.
    """
    stop = threading.Event()
    told = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _serving(app, sock, stop_s) as thread:
            ready()
            while thread.is_alive() and not stop.wait(_LOOK_S):
                continue
    finally:
        for number, handler in told.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running(app: ASGIApp, stop_s: float = 5.0) -> Iterator[str]:
    """Serve on a free port of the loopback within a `with` block; gives the URL. For tests.

    Raises:
        ConfigError: It did not start.
    """
    with listen("127.0.0.1", 0) as sock, _serving(app, sock, stop_s):
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def _serving(app: ASGIApp, sock: socket.socket, stop_s: float) -> Iterator[threading.Thread]:
    """Serve in a thread, so that signals stay ours; gives the thread when it answers."""
    config = uvicorn.Config(
        app, log_config=_QUIET, log_level="warning", access_log=False, server_header=False, lifespan="on", ws="none",
        timeout_graceful_shutdown=max(1, round(stop_s)), proxy_headers=False, h11_max_incomplete_event_size=32 * 1024,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[sock]),), name="webhook", daemon=True)
    thread.start()
    end = time.monotonic() + _START_S
    try:
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise ConfigError("The webhook responder did not start; its log says why.")
            time.sleep(0.005)
        gc.collect()
        gc.freeze()  # what is there now stays, so no later collection need look at it
        yield thread
    finally:
        gc.unfreeze()
        server.should_exit = True
        thread.join()
