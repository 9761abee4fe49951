"""A Redis server, on one Python alone: it does not depend on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import matrix
from cbsigned.rediscache.server import RedisServer
from cbsigned.settings import RedisSettings
from redis_server import RedisProcess, redis_process

_NEWEST = max(matrix.interpreters(), key=lambda version: int(version.split(".")[1]))
if f"{sys.version_info[0]}.{sys.version_info[1]}" != _NEWEST:
    collect_ignore = ["test_redis_server.py", "test_redis_cache.py", "test_leases.py"]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """Give a server that all tests share."""
    with redis_process(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def server(running: RedisProcess) -> Iterator[RedisServer]:
    """Give the server as we use it, empty."""
    found = RedisServer(RedisSettings(running.url, timeout_s=5.0))
    found.use(lambda client: client.flushall())
    yield found
    found.close()
