"""What tests of several connectors share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbsigned.samples import sample_path
from cbsigned.store.ingest import ingest


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample telemetry, taken in once; it is only read."""
    path = tmp_path_factory.mktemp("stores") / "samples.db"
    ingest(path, [sample_path("telemetry")])
    return path
