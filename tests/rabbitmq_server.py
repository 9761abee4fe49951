"""A real RabbitMQ node for tests, on free ports of the loopback with data of its own; exactly that node is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redis_server import free_port, program

__all__ = ["rabbitmq_node"]

_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in /usr/sbin changes the user
_START_S = 120.0


@contextlib.contextmanager
def rabbitmq_node(folder: Path) -> Iterator[str]:
    """Run a node, and give its address; user and password are guest."""
    if not _SERVER.exists() or shutil.which("epmd") is None:
        program(str(_SERVER), "rabbitmq-server")
    port, names = free_port(), free_port()
    for name in ("home", "data", "log"):
        (folder / name).mkdir()
    (folder / "plugins").write_text("[].")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
        "HOME": str(folder / "home"), "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"cbsigned{port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port), "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"), "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"), "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }  # fmt: skip
    with open(folder / "out", "wb") as out:
        directory = subprocess.Popen(["epmd", "-port", str(names)], env=environ, stdout=out, stderr=out)
        node = subprocess.Popen([str(_SERVER)], env=environ, stdout=out, stderr=out, start_new_session=True)
    try:
        _wait(port, node, folder / "out")
        yield f"amqp://guest@localhost:{port}//"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()
        directory.kill()
        directory.wait()


def _wait(port: int, node: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until the node speaks AMQP."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(b"AMQP\x00\x00\x09\x01")
            if sock.recv(1):
                return
        if node.poll() is not None:
            pytest.fail(f"rabbitmq-server ended: {out.read_text(errors='replace')}")
        time.sleep(0.05)
    pytest.fail("rabbitmq-server did not start")
