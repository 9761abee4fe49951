"""The sample telemetry behind a real server and in a store, for playbooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned.samples import sample_path
from cbsigned.settings import Settings
from cbsigned.store.ingest import ingest
from cbsigned_playbooks.actions import Actions
from cbsigned_playbooks.desk import StoreDesk


@pytest.fixture(scope="session")
def playbook_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample telemetry, taken in once; it is only read."""
    path = tmp_path_factory.mktemp("playbooks") / "samples.db"
    ingest(path, [sample_path("telemetry")])
    return path


@pytest.fixture(scope="module")
def actions(playbook_store: Path) -> Iterator[Actions]:
    """Give the actions over the store."""
    desk = StoreDesk(playbook_store)
    yield Actions(desk, Settings())
    desk.close()


@pytest.fixture(scope="session")
def alerts() -> dict[int, Any]:
    """The sample alerts by the number that the samples' README gives them."""
    lines = sample_path("alerts.jsonl").read_text("utf-8").splitlines()
    return {number: json.loads(line) for number, line in enumerate(lines, 1)}
