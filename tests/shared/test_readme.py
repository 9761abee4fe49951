"""What the README shows is what the commands print, and what it says of settings is what the code knows."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import readme
from cbsigned.samples import sample_path
from cbsigned.settings import specs
from cbsigned.status import SigningStatus
from edr_server import EdrServer

TEXT = readme.README.read_text(encoding="utf-8")


def test_every_output_in_the_readme_is_real() -> None:
    real = readme.rendered(TEXT)

    diff = difflib.unified_diff(readme.unchanging(TEXT), readme.unchanging(real), "README.md", "real", lineterm="")
    assert "\n".join(diff) == "", "run: make docs"


def test_the_readme_shows_some_output() -> None:
    assert TEXT.count("<!-- output of: ") >= 4


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: f"{spec.section}.{spec.name}")
def test_every_setting_is_in_the_readme_with_its_default(spec: object) -> None:
    row = re.search(rf"^\| `\[{spec.section}\] {spec.name}` \|.*$", TEXT, re.MULTILINE)  # type: ignore[attr-defined]

    assert row is not None
    assert (spec.default or "–") in row.group(0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", list(SigningStatus), ids=lambda s: s.value)
def test_every_status_is_explained_in_the_readme(status: SigningStatus) -> None:
    assert f"| {status.value} |" in TEXT


def commands_to_type() -> list[str]:
    """Return the lines of the README's shell blocks that a user would type, but for installing."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith(("pip ", "make ", "tail ", "export "))]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Return a folder with the files that the README's commands name, and the environment with a real server in it."""
    events = sample_path("telemetry/events.jsonl").read_text(encoding="utf-8")
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(events.encode()))
    rows = io.StringIO()
    csv.writer(rows).writerows([["_time", "_raw"], *(["now", line] for line in events.splitlines()[:50])])
    (tmp_path / "splunk-export.csv.gz").write_bytes(gzip.compress(rows.getvalue().encode()))
    (tmp_path / "binaries").mkdir()
    shutil.copy(sample_path("telemetry/binaries.json"), tmp_path / "binaries")
    (tmp_path / "alerts.jsonl").write_text(
        "".join(sample_path("alerts.jsonl").read_text(encoding="utf-8").splitlines(True)[:5]), encoding="utf-8"
    )
    with EdrServer(json.loads(sample_path("telemetry/binaries.json").read_text(encoding="utf-8"))["results"]) as server:
        environ = readme.environment(tmp_path / "none.db")
        del environ["CBSIGNED_STORE"]
        yield tmp_path, {**environ, "CBSIGNED_EDR_URL": server.url, "CBSIGNED_EDR_TOKEN": server.token}


def test_every_command_in_the_readme_runs(desk: tuple[Path, dict[str, str]]) -> None:
    folder, environ = desk
    assert len(commands_to_type()) >= 4

    for command in commands_to_type():
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        # the small test server has no processes: the check says so with exit code 1
        assert done.returncode in ((0, 1) if "config check" in command else (0,)), f"{command}: {done.stderr}"


def test_the_python_in_the_readme_runs(desk: tuple[Path, dict[str, str]]) -> None:
    folder, environ = desk
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

    done = subprocess.run(
        [sys.executable, "-c", block], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "signed" in done.stdout.splitlines()
