"""Stores made for one test."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbsigned.store.ingest import IngestReport, ingest
from shared.store.telemetry import Take, write_lines


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Take records into a store and return it with the report; a `folder` is the bus's routing key."""

    def run(*records: object, folder: str = "events", name: str = "lab.db") -> tuple[Path, IngestReport]:
        inside = tmp_path / folder
        inside.mkdir(exist_ok=True)
        file = write_lines(inside / f"{len(list(inside.iterdir()))}.jsonl", records)
        return tmp_path / name, ingest(tmp_path / name, [file])

    return run
