"""Responders that run on the loopback over the sample telemetry or over an EDR server of ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from cbsigned.samples import sample_path
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from connectors.webhook.serving import Client, serving


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "samples.db"
    ingest(path, [sample_path("telemetry")])
    return path


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


Serving = Callable[..., contextlib.AbstractContextManager[Client]]
