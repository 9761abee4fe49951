"""Real ClickHouse nodes on the loopback: the library from npm, installed once beside the virtual environments."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cbsigned.clickhouse.address import Address
from support import PROJECT

VERSION = "26.7.3-stable.1"
FOLDER = PROJECT / ".venvs" / f"clickhouse-{VERSION}"
CLUSTER = "lab"
_INSTALL_S, _START_S = 300, 60
_NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
_LISTEN = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; "
    "SELECT sleepEachRow(3) FROM system.numbers SETTINGS max_block_size = 1 FORMAT Null"
)


def _lacking(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def installed() -> Path:
    """Return the library, installed on the first call; skip where that cannot be, but fail in CI."""
    library = FOLDER / "node_modules" / "@chdb" / "lib-linux-x64-gnu" / "libchdb.so"
    if library.exists():
        return library
    npm = shutil.which("npm")
    if npm is None:
        _lacking("ClickHouse is not installed and there is no npm: apt-get install npm")
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        command = [npm, "install", *_NPM, f"--prefix={folder}/whole", f"@chdb/lib-linux-x64-gnu@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
        if done.returncode:
            _lacking(f"npm cannot install ClickHouse: {done.stderr[-300:]}")
        with contextlib.suppress(OSError):  # another Python was faster
            os.replace(f"{folder}/whole", FOLDER)
    return library


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextlib.contextmanager
def running(folder: Path, count: int = 2) -> Iterator[list[str]]:
    """Run nodes that know each other as the shards of `CLUSTER`; give `127.0.0.1:port` of each, and stop them.

    Args:
        folder: For their data.
    """
    library, ports = installed(), free_ports(2 * count)
    tcp, http = ports[:count], ports[count:]
    shards = "".join(f"<shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>" for port in tcp)
    config = folder / "config.xml"
    config.write_text(f"<clickhouse><remote_servers><{CLUSTER}>{shards}</{CLUSTER}></remote_servers></clickhouse>")
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            (folder / f"data{number}").mkdir()
            arguments = [
                f"--config-file={config}", f"--path={folder}/data{number}", "--listen_host=127.0.0.1",
                f"--tcp_port={tcp[number]}", f"--http_port={http[number]}", f"--query={_LISTEN}",
            ]  # fmt: skip
            command = [sys.executable, str(Path(__file__).with_name("chdb_node.py")), str(library), *arguments]
            with open(folder / f"node{number}.log", "wb") as log:
                nodes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        for number, node in enumerate(nodes):
            _wait(node, http[number], folder / f"node{number}.log")
        yield [f"127.0.0.1:{port}" for port in http]
    finally:
        for node in nodes:
            node.kill()
            node.wait()


def drop(address: Address) -> None:
    """Drop a database on all nodes."""
    from cbsigned.clickhouse.server import Server

    with contextlib.closing(Server(address)) as server:
        for node in range(len(address.nodes)):
            server.run(f"DROP DATABASE IF EXISTS {address.database} SYNC", node=node, database=False)


def _wait(node: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _START_S
    while True:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5),
        ):
            return
        if node.poll() is not None or time.monotonic() > end:
            pytest.fail(f"ClickHouse does not run: {log.read_text()[-1500:]}")
        time.sleep(0.05)
