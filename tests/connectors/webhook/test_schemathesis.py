"""What schemathesis makes of the OpenAPI document and sends: no 500, and no answer that the document does not describe.

Its command line runs in an environment of its own, `.venvs/schemathesis`, which `make schemathesis` makes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbsigned.store.source import StoreSource
from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
from connectors.webhook.serving import TOKEN, Client, serving
from support import PROJECT

PROGRAM = PROJECT / ".venvs" / "schemathesis" / "bin" / "schemathesis"
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ignored_auth",
)  # fmt: skip


@pytest.fixture
def responder(sample_store: Path, tmp_path: Path) -> Iterator[Client]:
    """Return a client of a responder that keeps jobs too."""
    with (
        contextlib.closing(StoreSource(sample_store)) as store,
        contextlib.closing(FileJobs(JobSettings(tmp_path / "jobs.db", least_free_bytes=0))) as jobs,
        serving(store, jobs=jobs) as client,
    ):
        yield client


@pytest.mark.parametrize("examples", [20, pytest.param(500, marks=pytest.mark.nightly)])
def test_schemathesis_finds_no_500_and_nothing_that_is_not_described(
    responder: Client, examples: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not PROGRAM.exists():
        missing = "schemathesis is not installed: make schemathesis"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    done = subprocess.run(
        [
            str(PROGRAM), "run", f"{responder.url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}",
            "--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", "5", "--continue-on-failure",
            "--generation-database", "none", "--request-timeout", "30", "--warnings", "off", "--no-color",
        ],
        cwd=tmp_path, env={**os.environ, "NO_PROXY": "*"}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 selected / 9 total" in done.stdout
    assert "defect of cbsigned" not in caplog.text
    assert responder.get("/readyz").status_code == 200
