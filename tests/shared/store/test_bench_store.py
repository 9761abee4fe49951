"""The benchmark of the store: its telemetry is what it says, and it measures everything that it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cbsigned.store.database import open_writer
from cbsigned.store.writer import Writer
from shared.store.telemetry import content, rows
from support import PROJECT

FOLDER = PROJECT / "benchmarks"
SCALE = 50


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the generator's class; its folder is on no path but the benchmark's own."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from store_world import World

    return World


def filled(path: Path, batches: Any) -> Path:
    db = open_writer(path)
    writer = Writer(db)
    for batch in batches:
        writer.write(batch)
    writer.finish()
    db.close()
    return path


def test_the_same_world_comes_twice(tmp_path: Path, world: Any) -> None:
    stores = [filled(tmp_path / name, world(400, scale=SCALE).batches()) for name in ("a.db", "b.db")]

    assert content(stores[0]) == content(stores[1])


def test_a_small_world_is_the_beginning_of_a_larger_one(world: Any) -> None:
    small, large = ([fact for batch in world(n, scale=SCALE).batches() for fact in batch.starts] for n in (300, 900))

    assert (len(small), len(large)) == (300, 900)
    assert small == large[:300]


def test_trees_are_deep_and_no_deeper_than_said(tmp_path: Path, world: Any) -> None:
    store = filled(tmp_path / "lab.db", world(6000, scale=SCALE).batches())

    depths = """
        WITH RECURSIVE down(id, depth) AS (
            SELECT id, 0 FROM process WHERE parent_id IS NULL
            UNION ALL SELECT p.id, depth + 1 FROM down JOIN process p ON p.parent_id = down.id)
        SELECT max(depth), count(*) FROM down"""
    assert rows(store, depths) == [(12, 6000)]


def test_the_benchmark_measures_every_part_in_small(tmp_path: Path) -> None:
    output = tmp_path / "store.md"
    command = [sys.executable, str(FOLDER / "bench_store.py"), "--small", "--folder", str(tmp_path / "stores")]

    done = subprocess.run([*command, "--output", str(output)], stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    assert re.findall("^## (.*)", text, re.MULTILINE) == [
        "Look-ups", "Searches for words in command lines, ten rows", "Searches that must scan distinct texts",
        "Many hashes in one call", "Writing, parsing excluded", "Size",
    ]  # fmt: skip
    assert len(re.findall(r"≤ 5 \||≤ 10 \||≥ 0\.4 \||≤ 50 \||floor 1/20", text)) == 4 + 4 + 1 + 2 + 1
    assert re.search(r"\| 200 hashes in one call \| [\d.]+ \| 1\d\d \|", text)
