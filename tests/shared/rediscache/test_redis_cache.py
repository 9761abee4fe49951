"""Answers that hosts share, and what is left of them when the server is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cbsigned.cache import FileCache, TieredCache
from cbsigned.codec import decode_signature, encode
from cbsigned.rediscache.cache import RedisCache
from cbsigned.rediscache.server import RedisServer
from cbsigned.settings import RedisSettings
from cbsigned.signing import Life, signing_statuses
from cbsigned.timing import Deadline
from edr_server import TOKEN, EdrServer
from recording import Recording, md5_of
from redis_server import RedisProcess, redis_process


def test_hosts_share_answers_with_the_life_they_have_left(server: RedisServer, running: RedisProcess) -> None:
    other = RedisServer(RedisSettings(running.url, timeout_s=5.0))
    RedisCache(server).put_many({f"k{n}": (f"{n} é", 100.0 + n) for n in range(1200)})

    found = RedisCache(other).get_many([*(f"k{n}" for n in range(1200)), "unknown"])
    other.close()

    assert {key: value for key, (value, _life) in found.items()} == {f"k{n}": f"{n} é" for n in range(1200)}
    assert all(70 < life <= 100.0 + n for n, (_value, life) in enumerate(found.values()))


@pytest.mark.parametrize(("draw", "most_s"), [(0.0, 100.0), (1.0, 90.0)])
def test_a_life_ends_up_to_a_tenth_sooner(server: RedisServer, draw: float, most_s: float) -> None:
    cache = RedisCache(server, draw=lambda: draw)
    cache.put_many({"a": ("1", 100.0), "dead": ("2", 0.0)})

    found = cache.get_many(["a", "dead"])

    assert list(found) == ["a"]
    assert most_s - 20 < found["a"][1] <= most_s


def test_an_unknown_lives_shorter_than_a_signed_one(server: RedisServer) -> None:
    kept = TieredCache(encode, decode_signature, RedisCache(server))

    signing_statuses(Recording(), [md5_of(1)], Deadline(5), cache=kept, life=Life(signed_s=1000, unknown_s=50))

    ((_value, left_s),) = RedisCache(server).get_many([f"signature|recording|{md5_of(1)}"]).values()
    assert left_s <= 50


def test_what_others_write_there_is_a_miss_and_no_error(server: RedisServer) -> None:
    server.use(lambda client: client.set("cbsigned:1:forever", "1"))
    server.use(lambda client: client.set("cbsigned:1:bytes", b"\xff\xfe", px=60_000))
    kept = TieredCache(encode, decode_signature, RedisCache(server))

    assert kept.get_many(["forever", "bytes"]) == {}


def test_a_dead_server_leaves_the_local_cache_and_gets_back_what_it_lost(tmp_path: Path) -> None:
    local = FileCache(tmp_path / "cache")
    with redis_process(tmp_path) as process:
        server, other = (RedisServer(RedisSettings(process.url, timeout_s=5.0)) for _host in range(2))
        cache = RedisCache(server, local)
        cache.put_many({"before": ("1", 100.0)})
        process.kill()
        cache.put_many({"meanwhile": ("2", 100.0)})
        down = cache.get_many(["before", "meanwhile"])
        process.start()
        while server.check() is not None:
            pass
        cache.get_many(["before", "meanwhile"])
        shared = RedisCache(other).get_many(["before", "meanwhile"])
        server.close()
        other.close()
    local.close()

    for found in (down, shared):
        assert {key: value for key, (value, _life) in found.items()} == {"before": "1", "meanwhile": "2"}


def test_without_a_local_cache_a_dead_server_knows_nothing(tmp_path: Path) -> None:
    with redis_process(tmp_path) as process:
        server = RedisServer(RedisSettings(process.url, timeout_s=5.0))
    cache = RedisCache(server)

    cache.put_many({"a": ("1", 100.0)})

    assert cache.get_many(["a"]) == {}
    assert cache.get_many([]) == {}


def test_two_hosts_commands_ask_the_edr_once(running: RedisProcess, server: RedisServer, tmp_path: Path) -> None:
    md5s = [md5_of(number) for number in range(20)]
    with EdrServer([{"md5": md5.upper(), "digsig_result": "Signed"} for md5 in md5s]) as edr:
        environ = {
            **os.environ, "CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN, "CBSIGNED_CACHE_URL": running.url,
            "CBSIGNED_CACHE_TIMEOUT_S": "5", "HOME": str(tmp_path),
        }  # fmt: skip
        command = [sys.executable, "-m", "cbsigned.cli", "signed", "--output", "json", *md5s]
        runs = [subprocess.run(command, env=environ, capture_output=True, text=True) for _host in range(2)]

        assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
        assert {json.loads(line)["status"] for line in runs[1].stdout.splitlines()} == {"Signed"}
        assert edr.counts["binary"] == 1
