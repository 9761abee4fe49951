"""`cbsigned edr-server` as a person starts and stops it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from connectors.edr_server.serving import TOKEN

RUN = [sys.executable, "-c", "import sys; from cbsigned.cli import main; sys.exit(main())", "edr-server"]


def start(*options: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("CBSIGNED_")}, **variables}
    return subprocess.Popen([*RUN, *options], env=environment, text=True, stderr=subprocess.PIPE)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_it_says_where_it_answers_and_stops_when_told(sample_store: Path, how: signal.Signals) -> None:
    with start("--store", str(sample_store), "--port", "0", CBSIGNED_SERVER_TOKEN=TOKEN) as process:
        line = process.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line).group()
        answer = requests.get(f"{url}/api/info", headers={"X-Auth-Token": TOKEN}, timeout=10)

        process.send_signal(how)
        _out, rest = process.communicate(timeout=20)

    assert answer.status_code == 200
    assert str(sample_store) in line
    assert process.returncode == 0
    assert "stopped" in rest
    assert TOKEN not in line + rest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "No API token is set"),
        (("--token", "short"), "8 to 200"),
        (("--token", TOKEN, "--tokens", "t.json"), "both given"),
        (("--tokens", "missing.json"), "Cannot read the tokens missing.json"),
        (("--token", TOKEN, "--version", "9.9"), "expected a server version"),
        (("--token", TOKEN, "--tls-cert", "c.pem"), "needs both"),
        (("--token", TOKEN, "--port", "99999"), "Choose another with --port"),
        (
            ("--token", TOKEN, "--block", "leading-wildcards", "--allow", "leading-wildcards"),
            "both blocked and allowed",
        ),
    ],
)
def test_wrong_options_end_it_with_what_to_do(sample_store: Path, options: tuple[str, ...], said: str) -> None:
    with start("--store", str(sample_store), *options) as process:
        _out, err = process.communicate(timeout=20)

    assert process.returncode == 2
    assert said in err
    assert TOKEN not in err
