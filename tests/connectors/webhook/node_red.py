"""Node-RED from npm: installed once beside the virtual environments, then run headless on the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from support import PROJECT

VERSION = "4.1.8"  # the last that runs on Debian's Node.js 18 and on 20
FOLDER = PROJECT / ".venvs" / f"node-red-{VERSION}"
_INSTALL_S, _START_S = 300, 60
_NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional", "--loglevel=error")


def _lacking(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def installed() -> Path:
    """Return Node-RED's program, installed on the first call; skip where that cannot be, but fail in CI."""
    program = FOLDER / "node_modules" / "node-red" / "red.js"
    if shutil.which("node") is None:
        _lacking("no Node.js on this machine: apt-get install nodejs")
    if program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        _lacking("Node-RED is not installed and there is no npm: apt-get install npm")
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        command = [npm, "install", *_NPM, f"--prefix={folder}/whole", f"node-red@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
        if done.returncode:
            _lacking(f"npm cannot install Node-RED: {done.stderr[-300:]}")
        with contextlib.suppress(OSError):  # another Python was faster
            os.replace(f"{folder}/whole", FOLDER)
    return program


class NodeRed:
    """A running Node-RED.

    Args:
        url: Where it listens.
        folder: Its user folder; flows write their files there.
    """

    def __init__(self, url: str, folder: Path, log: Path) -> None:
        self.url, self.folder, self._log = url, folder, log

    def log(self) -> str:
        """Return what it has said."""
        return self._log.read_text("utf-8", "replace")

    def lines(self, name: str, number: int) -> list[Any]:
        """Return the JSON lines of a file in its folder, once there are so many; wait for 20 s at most."""
        end = time.monotonic() + 20
        found: list[str] = []
        while len(found) < number:
            assert time.monotonic() < end, f"{len(found)} of {number} lines: {self.log()[-2000:]}"
            with contextlib.suppress(FileNotFoundError):
                found = [line for line in (self.folder / name).read_text("utf-8").splitlines(True) if line[-1] == "\n"]
            time.sleep(0.02)
        return [json.loads(line) for line in found]


@contextlib.contextmanager
def node_red(flow: Path, folder: Path, environ: Mapping[str, str]) -> Iterator[NodeRed]:
    """Run Node-RED with a flow, unchanged; it can be asked when this gives it.

    Args:
        flow: The flow's file; copied, because Node-RED writes to it.
        folder: Empty; everything of this Node-RED stays there.
        environ: What the flow finds in the environment.
    """
    program = installed()
    shutil.copyfile(flow, folder / "flow.json")
    settings = {
        "uiHost": "127.0.0.1", "flowFile": "flow.json", "credentialSecret": False, "userDir": str(folder),
        "fileWorkingDirectory": str(folder), "telemetry": {"enabled": False, "updateNotification": False},
        "externalModules": {"autoInstall": False, "palette": {"allowInstall": False}},
        "logging": {"console": {"level": "info", "metrics": False, "audit": False}},
    }  # fmt: skip
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)};", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["node", str(program), "-u", str(folder), "-s", str(folder / "settings.js"), "-p", str(port)]
    log = folder / "node-red.log"
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("wb") as said:
        running = subprocess.Popen(
            command, cwd=folder, env={**own, **environ}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        end = time.monotonic() + _START_S
        while not re.search(r"Started flows", log.read_text("utf-8", "replace")):
            assert running.poll() is None, f"Node-RED has ended: {log.read_text('utf-8', 'replace')[-2000:]}"
            assert time.monotonic() < end, f"Node-RED did not start: {log.read_text('utf-8', 'replace')[-2000:]}"
            time.sleep(0.05)
        yield NodeRed(f"http://127.0.0.1:{port}", folder, log)
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
