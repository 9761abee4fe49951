"""Responders that run on the loopback over the sample telemetry or over an EDR server of ours."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import matrix
from cbsigned.samples import sample_path
from cbsigned.store.source import StoreSource
from connectors.webhook.serving import Client, serving
from edr_server import EdrServer
from recording import md5_of

_NEWEST = max(matrix.interpreters(), key=lambda version: int(version.split(".")[1]))
if f"{sys.version_info[0]}.{sys.version_info[1]}" != _NEWEST:  # Redis and RabbitMQ do not depend on the Python
    collect_ignore = ["test_shared_cache.py", "test_shared_jobs.py", "test_workers.py"]


@pytest.fixture(scope="session")
def sample_alerts() -> list[dict[str, Any]]:
    lines = sample_path("alerts.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def client(sample_store: Path) -> Iterator[Client]:
    """Return a client of a responder over the sample store."""
    with contextlib.closing(StoreSource(sample_store)) as store, serving(store) as ready:
        yield ready


@pytest.fixture
def procmon(sample_alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sample alert about a signed process with six ancestors."""
    return next(alert for alert in sample_alerts if "procmon64.exe" in json.dumps(alert))


@pytest.fixture
def edr() -> Iterator[EdrServer]:
    """Return an EDR with twenty signed files."""
    with EdrServer([{"md5": md5_of(n).upper(), "digsig_result": "Signed"} for n in range(20)]) as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)
