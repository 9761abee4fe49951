"""A real Redis server for tests, on a free port of the loopback; exactly that process is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import pytest

__all__ = ["RedisProcess", "free_port", "program", "redis_process"]

_START_S = 20.0


class RedisProcess:
    """A server that may be killed, stopped for a while and started again on the same port.

    Attributes:
        url: Its address; with TLS where certificates are given.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), *, tls: bool = False) -> None:
        self._program = program("redis-server", "redis-server")
        self._folder, self._options = folder, list(options)
        self.port = free_port()
        self.url = f"{'rediss' if tls else 'redis'}://localhost:{self.port}/0"
        self._ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [
            self._program, *self._ports, "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", "",
            "--daemonize", "no", *self._options,
        ]  # fmt: skip
        with open(self._folder / "redis.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self._folder / "redis.log").read_text()
            time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it hang, SIGCONT ends that."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def redis_process(folder: Path, options: Sequence[str] = (), *, tls: bool = False) -> Iterator[RedisProcess]:
    """Run a server that keeps nothing on the disk, unless the options say so."""
    server = RedisProcess(folder, options, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def program(name: str, package: str) -> str:
    """Return the path of a server's program; skip without it, but fail in CI."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: CI must have Debian's package {package}")
        pytest.skip(f"{name} is not here: apt-get install {package}")
    return found


def free_port() -> int:
    """Return a port of the loopback that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
