"""`cbsigned serve` as a process: first run, addresses, signals, logs, and what it must never show."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest
import requests

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.senders import Refused, Sender
from cbsigned_connectors.webhook.tokens import first_run_token
from edr_server import EdrServer
from recording import md5_of

_URL = re.compile(r"http://[\d.]+:\d+")


class Process:
    """A running service, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder
        self.said: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(30)
        assert self.said, "it ended"
        found = _URL.search(self.text)
        assert found is not None, self.text
        self.url = found.group()

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def token(self) -> Optional[str]:
        found = re.search(r"shown this once: (\S+)", self.text)
        return found.group(1) if found else None

    def post(self, alert: Mapping[str, Any], token: str, path: str = "/v1/alerts") -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(self.url + path, json=alert, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if "give" in line or "proxy" in line or "answers from" in line:
                self._ready.set()
        self._ready.set()


@contextmanager
def serving(folder: Path, *options: str, **environ: str) -> Iterator[Process]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("CBSIGNED_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "cbsigned.cli", "serve", "--port", "0", *options], stderr=subprocess.PIPE, text=True,
        env={**given, "HOME": str(folder), "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), **environ},
    )  # fmt: skip
    try:
        yield Process(process, folder)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


class TestFirstRun:
    def test_a_token_is_made_shown_once_and_kept_as_a_digest(
        self, tmp_path: Path, sample_store: Path, procmon: dict[str, Any]
    ) -> None:
        with serving(tmp_path, "--store", str(sample_store)) as first:
            while first.token is None:
                first.process.poll()
            token = first.token
            answer = first.post(procmon, token)
            refused = first.post(procmon, "x" * 43)
            assert first.end() == 0
        with serving(tmp_path, "--store", str(sample_store)) as second:
            again = second.post(procmon, token)
            assert second.end() == 0

        assert (answer.status_code, refused.status_code, again.status_code) == (200, 401, 200)
        assert answer.json()["status"] == "Signed"
        assert second.token is None
        kept = tmp_path / "cbsigned" / "webhook-token.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert all(token.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    def test_a_kept_token_is_checked_against_its_digest(self, tmp_path: Path) -> None:
        _made, token = first_run_token(tmp_path)
        kept, shown = first_run_token(tmp_path)

        def ask(header: str) -> Any:
            return kept.recognise({"Authorization": header}, None, b"", 0.0)

        assert shown is None
        assert isinstance(ask("Bearer " + "x" * 43), Refused)
        assert isinstance(ask(""), Refused)
        assert isinstance(ask("Bearer \udcff"), Refused)
        assert isinstance(ask("Basic " + base64.b64encode(b"any:" + b"x" * 43).decode()), Refused)
        assert isinstance(ask("Basic \udcff"), Refused)
        assert isinstance(ask("Basic " + base64.b64encode(f"any:{token}".encode()).decode()), Sender)
        assert isinstance(ask(f"Bearer {token}"), Sender)
        assert isinstance(ask("Bearer " + "x" * 43), Refused)

    @pytest.mark.parametrize("text", ["", "{}", '{"sha256": "xyz"}', "[]"], ids=["empty", "no", "no hex", "list"])
    def test_a_kept_token_that_cannot_be_read_says_what_to_do(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "webhook-token.json").write_text(text)

        with pytest.raises(ConfigError, match="Remove it, and a new token is made"):
            first_run_token(tmp_path)

    def test_a_folder_that_cannot_be_used_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(ConfigError, match="Give --token"):
            first_run_token(tmp_path / "file" / "below")


class TestRunning:
    TOKEN = "canary-0123456789abcdef"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
    def test_what_was_begun_is_finished_before_it_stops(self, tmp_path: Path, number: int) -> None:
        documents = [{"md5": md5_of(1).upper(), "digsig_result": "Signed"}]
        answers: list[requests.Response] = []
        with EdrServer(documents, latency_s=0.5) as edr:
            environ = {
                "CBSIGNED_EDR_URL": edr.url,
                "CBSIGNED_EDR_TOKEN": edr.token,
                "CBSIGNED_WEBHOOK_TOKEN": self.TOKEN,
            }
            with serving(tmp_path, **environ) as service:
                asking = threading.Thread(target=lambda: answers.append(service.post({"md5": md5_of(1)}, self.TOKEN)))
                asking.start()
                while asking.is_alive() and not edr.counts:
                    edr.stopping.wait(0.01)
                code = service.end(number)
                asking.join()

        assert code == 0
        assert answers[0].json()["status"] == "Signed"
        assert "stopped" in service.text

    def test_logs_are_json_lines_that_hold_no_token(self, tmp_path: Path, sample_store: Path) -> None:
        config = tmp_path / "webhook.yaml"
        config.write_text("senders: [{name: splunk, scheme: path-token, secrets: [{env: PAGE}]}]\n")
        environ = {"PAGE": self.TOKEN, "CBSIGNED_STORE": str(sample_store)}
        with serving(tmp_path, "--config", str(config), "--json-logs", **environ) as service:
            with requests.Session() as session:
                session.trust_env = False
                for token in (self.TOKEN, self.TOKEN[::-1]):
                    session.post(f"{service.url}/v1/alerts/row/{token}", json={"md5": md5_of(1)}, timeout=20)
                    session.get(f"{service.url}/v1/alerts/row/{token}?t={token}", timeout=20)
            service.end()

        lines = [json.loads(line) for line in service.said if line.startswith("{")]
        posts = [line for line in lines if line.get("method") == "POST"]
        assert [(line["route"], line["status"], line.get("sender")) for line in posts] == [
            ("/v1/alerts/{source}/{token}", 200, "splunk"),
            ("/v1/alerts/{source}/{token}", 401, None),
        ]
        assert all(re.fullmatch(r"[0-9a-f]{16}", line["request_id"]) for line in posts)
        assert self.TOKEN not in service.text
        assert self.TOKEN[::-1] not in service.text

    def test_the_token_stands_in_no_process_list_and_no_answer(self, tmp_path: Path, sample_store: Path) -> None:
        environ = {"CBSIGNED_WEBHOOK_TOKEN": self.TOKEN, "CBSIGNED_STORE": str(sample_store)}
        with serving(tmp_path, **environ) as service:
            listed = Path(f"/proc/{service.process.pid}/cmdline").read_bytes()
            answer = service.post({"md5": md5_of(1)}, self.TOKEN)
            told = [
                requests.get(service.url + path, timeout=20).text for path in ("/metrics", "/readyz", "/openapi.json")
            ]

        assert self.TOKEN.encode() not in listed
        assert all(self.TOKEN not in text for text in (answer.text, *told))

    def test_an_address_that_is_taken_is_told(self, tmp_path: Path, sample_store: Path) -> None:
        environ = {"CBSIGNED_WEBHOOK_TOKEN": self.TOKEN, "CBSIGNED_STORE": str(sample_store)}
        with serving(tmp_path, **environ) as service:
            port = service.url.rsplit(":", 1)[1]
            done = subprocess.run(
                [sys.executable, "-m", "cbsigned.cli", "serve", "--port", port], capture_output=True, text=True,
                timeout=60, check=False,
                env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "other"), **environ},
            )  # fmt: skip

        assert done.returncode == 2
        assert f"Cannot listen on 127.0.0.1 port {port}" in done.stderr
