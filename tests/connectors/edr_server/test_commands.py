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
from support import PROJECT

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


def documented() -> list[str]:
    """Return the lines of README and documentation that start a server."""
    texts = [(PROJECT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/edr-server.md")]
    blocks = [block for text in texts for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)]
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines() if "edr-server" in line))


@pytest.mark.parametrize("line", documented())
def test_what_the_documentation_starts_does_start(
    line: str, sample_store: Path, tls: dict[str, Path], tmp_path: Path
) -> None:
    text = (PROJECT / "docs" / "edr-server.md").read_text(encoding="utf-8")
    tokens, faults = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "tokens.json").write_text(tokens, encoding="utf-8")
    (tmp_path / "faults.json").write_text(faults, encoding="utf-8")
    for name, path in (("lab.db", sample_store), ("cert.pem", tls["cert"]), ("key.pem", tls["key"])):
        (tmp_path / name).symlink_to(path)
    command = line.replace("$(openssl rand -hex 20)", "f" * 40).replace("cbsigned edr-server", '"$@" --port 0', 1)

    with subprocess.Popen(
        ["sh", "-c", f"exec env {command}", "sh", *RUN], cwd=tmp_path, text=True, stderr=subprocess.PIPE
    ) as process:
        said = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=20)

    assert "answers from lab.db" in said
    assert process.returncode == 0


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
