"""cortexutils, which is AGPL and no part of the package, as an oracle: the same job through both, the same report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, Edr

from playbooks.cortex.jobs import given, job_folder
from support import PROJECT

VERSION = "2.2.1"
_PYTHON = PROJECT / ".venvs" / f"cortexutils-{VERSION}" / "bin" / "python"
_WORKER = Path(__file__).with_name("oracle_worker.py")
_KEYS = ("hash", "a1" * 16)


@pytest.fixture(scope="module")
def oracle() -> Path:
    """A Python with cortexutils, made on the first run; skip where that cannot be, but fail in CI."""
    if not _PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_PYTHON.parent.parent)], check=True)
    pip = [str(_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"cortexutils=={VERSION}"]
    probe = subprocess.run([str(_PYTHON), "-c", "import cortexutils.analyzer"], capture_output=True, check=False)
    if probe.returncode and subprocess.run(pip, check=False).returncode:
        missing = f"cortexutils {VERSION} cannot be installed: pip says why above"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return _PYTHON


def _run(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=text, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip


def _both(oracle: Path, package: Path, kind: str, folder: Path, job: Any) -> tuple[tuple[int, Any], tuple[int, Any]]:
    """Return exit code and report of a job done by our program and, with the parts of its report, by cortexutils."""
    program = package / f"{kind}s" / "CBSigned" / f"cbsigned_{kind}.py"
    own, theirs = job_folder(folder / "own", job), job_folder(folder / "theirs", job)
    shutil.rmtree(own / "output")  # Cortex makes it, and either makes it where it is missing
    first = _run([sys.executable, str(program), str(own)])
    told = own / "output" / "output.json"
    second = _run([str(oracle), str(_WORKER), kind, str(told), str(theirs)])
    reports = [json.loads(path.read_text("utf-8")) for path in (told, theirs / "output" / "output.json")]
    return (first.returncode, reports[0]), (second.returncode, reports[1])


@pytest.mark.parametrize(
    ("kind", "service", "data_type", "data"),
    [
        ("analyzer", "signing_status", "hash", "a1" * 16),
        ("analyzer", "process_lineage", "other", DEEP_GUID),
        ("analyzer", "enrich_alert", "other", json.dumps(list(CASES.values()))),
        ("responder", "tag", "thehive:case_artifact", {"dataType": "hash", "data": "a1" * 16}),
        ("responder", "tag", "thehive:case", {"title": "a case", "description": "MD5=" + "a1" * 16}),
    ],
)
def test_a_report_is_what_cortexutils_would_write(
    oracle: Path, cortex_package: Path, edr: Edr, tmp_path: Path, kind: str, service: str, data_type: str, data: Any
) -> None:
    job = given(service, data_type, data, edr.configuration)

    own, theirs = _both(oracle, cortex_package, kind, tmp_path, job)

    assert own == theirs
    assert (own[0], own[1]["success"]) == (0, True)


@pytest.mark.parametrize("kind", ["analyzer", "responder"])
@pytest.mark.parametrize(("mark", "level"), [("tlp", 3), ("pap", 3)])
def test_a_refusal_and_what_it_hides_are_those_of_cortexutils(
    oracle: Path, cortex_package: Path, edr: Edr, tmp_path: Path, kind: str, mark: str, level: int
) -> None:
    job = given("signing_status", *_KEYS, {**edr.configuration, "password": "correct horse"}, **{mark: level})

    own, theirs = _both(oracle, cortex_package, kind, tmp_path, job)

    assert (own[0], theirs[0]) == (1, 1)
    assert own[1]["errorMessage"].startswith(theirs[1]["errorMessage"].rstrip("."))
    assert {**own[1], "errorMessage": ""} == {**theirs[1], "errorMessage": ""}
    assert own[1]["input"]["config"]["api_key"] == "REMOVED"


@pytest.mark.parametrize("tlp", [2, 3])
def test_a_job_on_standard_input_is_answered_on_standard_output(
    oracle: Path, cortex_package: Path, edr: Edr, tmp_path: Path, tlp: int
) -> None:
    job = json.dumps(given("signing_status", *_KEYS, edr.configuration, tlp=tlp))
    program = cortex_package / "analyzers" / "CBSigned" / "cbsigned_analyzer.py"
    absent = str(tmp_path / "absent")

    first = _run([sys.executable, str(program), absent], job)
    (tmp_path / "own.json").write_text(first.stdout, "utf-8")
    second = _run([str(oracle), str(_WORKER), "analyzer", str(tmp_path / "own.json"), absent], job)

    own, theirs = json.loads(first.stdout), json.loads(second.stdout)
    assert first.returncode == second.returncode == (0 if tlp == 2 else 1)
    assert {**own, "errorMessage": ""} == {**theirs, "errorMessage": ""}
