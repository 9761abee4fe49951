"""ClickHouse nodes, and a made-up world on one of them and on two; run on one Python alone: the others add nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import matrix
from cbsigned.clickhouse.address import Address, address_of
from cbsigned.clickhouse.copying import copy_store
from cbsigned.store.ingest import ingest
from shared.clickhouse.nodes import CLUSTER, running
from shared.clickhouse.world import EVENTS
from shared.store.telemetry import write_lines

_OLDEST = min(matrix.interpreters(), key=lambda version: int(version.split(".")[1]))
if f"{sys.version_info[0]}.{sys.version_info[1]}" != _OLDEST:
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name != "test_address.py"]


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Give two nodes, which are the shards of a cluster; each may be asked alone."""
    with running(tmp_path_factory.mktemp("clickhouse")) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the world in a store's file."""
    folder = tmp_path_factory.mktemp("world")
    ingest(folder / "world.db", [write_lines(folder / "events.jsonl", EVENTS)])
    return folder / "world.db"


@pytest.fixture(scope="session")
def one(nodes: list[str], file: Path) -> Address:
    """Give the world on one server."""
    address = address_of(f"clickhouse://{nodes[0]}/one")
    copy_store(file, address)
    return address


@pytest.fixture(scope="session")
def two(nodes: list[str], file: Path) -> Address:
    """Give the world on two shards."""
    address = address_of(f"clickhouse://{','.join(nodes)}/two?cluster={CLUSTER}")
    copy_store(file, address)
    return address


@pytest.fixture(params=["one", "two"])
def shards(request: pytest.FixtureRequest) -> Address:
    """Give the world on one server, then on two."""
    address: Address = request.getfixturevalue(request.param)
    return address
