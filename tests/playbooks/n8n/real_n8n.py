"""n8n from npm, without its editor: workflows imported and executed by its command line."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support import PROJECT

VERSION = "2.8.4"  # the newest that runs on Node.js 20
FOLDER = PROJECT / ".venvs" / f"n8n-{VERSION}"
CREDENTIAL = {"id": "cbsignedcredential", "name": "cbsigned"}
_INSTALL_S = 1800
_PACKAGE = {"private": True, "dependencies": {"n8n": VERSION}, "overrides": {"xlsx": "0.18.5"}}  # xlsx is not on npm


def installed() -> Path:
    """Return n8n's program, installed on the first call (2.3 GB, some minutes)."""
    program = FOLDER / "node_modules" / "n8n" / "bin" / "n8n"
    if program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("n8n is not installed and there is no npm: apt-get install npm")
    part = FOLDER.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "package.json").write_text(json.dumps(_PACKAGE), "utf-8")
    command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=part, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    assert done.returncode == 0, f"npm cannot install n8n: {done.stderr[-500:]}"
    part.rename(FOLDER)
    return program


class N8n:
    """An n8n with a home of its own and the node installed in it as a community package.

    Args:
        home: Empty folder.
        package: The `.tgz` as it is built.
    """

    def __init__(self, home: Path, package: Path) -> None:
        self.home, self._program = home, installed()
        nodes = home / ".n8n" / "nodes" / "node_modules"
        nodes.mkdir(parents=True)
        with tarfile.open(package) as packed:
            packed.extraction_filter = tarfile.data_filter
            packed.extractall(nodes)  # noqa: S202 (our own)
        (nodes / "package").rename(nodes / "n8n-nodes-cbsigned")
        ports = _free_ports(2)
        self._environ = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(home), "N8N_USER_FOLDER": str(home), "DB_TYPE": "sqlite", "N8N_ENCRYPTION_KEY": "of this test",
            "N8N_LISTEN_ADDRESS": "127.0.0.1", "N8N_PORT": ports[0], "N8N_RUNNERS_BROKER_PORT": ports[1],
            "N8N_RUNNERS_BROKER_LISTEN_ADDRESS": "127.0.0.1", "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false", "N8N_TEMPLATES_ENABLED": "false",
            "N8N_PERSONALIZATION_ENABLED": "false",
        }  # fmt: skip
        self.said = ""

    def command(self, *arguments: str) -> str:
        """Return what an n8n command writes to standard output."""
        done = subprocess.run(
            ["node", str(self._program), *arguments], env=self._environ, cwd=self.home, capture_output=True,
            text=True, encoding="utf-8", timeout=180, check=False,
        )  # fmt: skip
        self.said += done.stdout + done.stderr
        return done.stdout

    def connect(self, url: str, token: str) -> None:
        """Store the credential of the node."""
        file = self.home / "credentials.json"
        data = {"url": url, "token": token}
        file.write_text(json.dumps([{**CREDENTIAL, "type": "cbSignedApi", "data": data}]), "utf-8")
        said = self.command("import:credentials", f"--input={file}")
        assert "Successfully imported 1 credential" in said, self.said[-2000:]

    def execute(self, questions: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Sequence[Any]]:
        """Run one node for each question, and return its items; a failed one gives `{"error": …}`.

        Args:
            questions: Name → parameters of the node.
        """
        workflow = _workflow(questions)
        file = self.home / "workflow.json"
        file.write_text(json.dumps([workflow]), "utf-8")
        self.command("import:workflow", f"--input={file}")
        said = self.command("execute", f"--id={workflow['id']}", "--rawOutput")
        assert "{\n" in said, self.said[-3000:]
        run = json.JSONDecoder().raw_decode(said[said.index("{\n") :])[0]["data"]["resultData"]["runData"]
        return {name: [item["json"] for item in run[name][0]["data"]["main"][0]] for name in questions}


def _workflow(questions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    start = {
        "id": "start", "name": "start", "type": "n8n-nodes-base.manualTrigger", "typeVersion": 1,
        "position": [0, 0], "parameters": {},
    }  # fmt: skip
    asking = [
        {
            "id": f"node {number}", "name": name, "type": "n8n-nodes-cbsigned.cbSigned", "typeVersion": 1,
            "position": [200, 100 * number], "parameters": parameters, "onError": "continueRegularOutput",
            "credentials": {"cbSignedApi": CREDENTIAL},
        }
        for number, (name, parameters) in enumerate(questions.items())
    ]  # fmt: skip
    ways = [{"node": name, "type": "main", "index": 0} for name in questions]
    return {
        "id": "cbsignedworkflow", "name": "cbsigned", "nodes": [start, *asking], "active": False,
        "connections": {"start": {"main": [ways]}}, "settings": {"executionOrder": "v1"},
    }  # fmt: skip


def _free_ports(number: int) -> list[str]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [str(server.getsockname()[1]) for server in servers]
    for server in servers:
        server.close()
    return ports
