"""Two responders and one Redis: the EDR is asked once for each file, and the Redis may come and go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.webhook.flood import Reply, flood, request_bytes
from connectors.webhook.process import Service, serve_process
from connectors.webhook.serving import TOKEN
from edr_server import TOKEN as EDR_TOKEN
from edr_server import EdrServer
from redis_server import RedisProcess, redis_process

FILES = 300
MD5S = [hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(FILES)]
STATUSES = dict(zip(MD5S, ("Signed", "Unsigned", "Expired") * FILES))
BINARIES = [{"md5": md5.upper(), "digsig_result": STATUSES[md5]} for md5 in MD5S]
PASSWORD = "a-password-that-nobody-sees"


@contextlib.contextmanager
def responders(
    folder: Path, latency_s: float = 0.02, timeout_s: float = 0.5, options: Sequence[str] = (), **environ: str
) -> Iterator[tuple[list[Service], RedisProcess, EdrServer]]:
    """Run two, as on two hosts, with a deadline that no busy machine misses; the Redis and the EDR that they share."""
    with contextlib.ExitStack() as all_of_them:
        redis = all_of_them.enter_context(redis_process(folder, options))
        edr = all_of_them.enter_context(EdrServer(BINARIES, latency_s=latency_s))
        cache = f"cache: {{url: '{redis.url}', timeout_s: {timeout_s}}}\n"
        (folder / "webhook.yaml").write_text(f"deadline_s: 60\n{cache}", encoding="utf-8")
        given = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": EDR_TOKEN, **environ}
        services = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            running = serve_process(folder / name, given, ["--config", str(folder / "webhook.yaml")])
            services.append(all_of_them.enter_context(running))
        yield services, redis, edr


def flooded(services: list[Service], md5s: list[str], connections: int) -> list[Reply]:
    """Post one alert for each hash, to the services in turn, all at the same time; return the replies in order."""
    replies: dict[int, list[Reply]] = {}

    def post(at: int) -> None:
        bodies = [json.dumps({"md5": md5, "alert_id": n}).encode() for n, md5 in enumerate(md5s[at :: len(services)])]
        requests = [request_bytes("/v1/alerts", body, TOKEN) for body in bodies]
        replies[at] = flood(services[at].url, requests, connections, 120.0)

    threads = [threading.Thread(target=post, args=(at,)) for at in range(len(services))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [replies[n % len(services)][n // len(services)] for n in range(len(md5s))]


def asked_for(edr: EdrServer) -> Counter[str]:
    """Return how often the EDR was asked for each file."""
    queries = [request.parameters.get("q", "") for request in list(edr.requests) if request.route == "binary"]
    return Counter(md5 for query in queries for md5 in re.findall(r"[0-9a-f]{32}", query.lower()))


def told(service: Service) -> tuple[int, Mapping[str, Any]]:
    """Return the status of /readyz and what it says of the cache."""
    reply = service.get("/readyz")
    return reply.status_code, next(part for part in reply.json()["parts"] if part["name"] == "cache")


@pytest.mark.parametrize("alerts", [1000, pytest.param(5000, marks=pytest.mark.nightly)])
def test_two_responders_ask_once_for_each_file(tmp_path: Path, alerts: int) -> None:
    asked = [MD5S[number * 7 % FILES] for number in range(alerts)]
    with responders(tmp_path, latency_s=0.2, timeout_s=5.0) as (services, _redis, edr):
        replies = flooded(services, asked, connections=100)
        questions = asked_for(edr)

    assert [STATUSES[md5] for md5 in asked] == [reply.json().get("status") for reply in replies]
    assert all(reply.json()["complete"] for reply in replies)
    assert questions == Counter(MD5S)


def test_a_redis_that_dies_or_hangs_costs_no_answer_and_is_used_again(tmp_path: Path) -> None:
    with responders(tmp_path) as (services, redis, _edr):
        well = told(services[0])
        first = flooded(services, MD5S[:60], 4)
        redis.kill()
        dead = flooded(services, MD5S[:120], 4)
        told_dead, up = told(services[0]), services[0].metric("cbsigned_shared_cache_up")
        redis.start()
        back = until_it_answers(services)
        redis.signal(signal.SIGSTOP)
        hanging = flooded(services, MD5S[:180], 4)
        told_hanging = told(services[0])
        redis.signal(signal.SIGCONT)
        again = until_it_answers(services)
        last = flooded(services, MD5S, 4)
        failures = services[0].metric("cbsigned_shared_cache_failures_total")

    for replies, count in ((first, 60), (dead, 120), (hanging, 180), (last, FILES)):
        assert [STATUSES[md5] for md5 in MD5S[:count]] == [reply.json().get("status") for reply in replies]
        assert all(reply.json()["complete"] for reply in replies)
    assert (well[0], well[1]["ok"], up, back, again) == (200, True, 0.0, 1.0, 1.0)
    for status, part in (told_dead, told_hanging):
        assert (status, part["ok"]) == (200, False)
        assert f"localhost:{redis.port}" in part["detail"]
    assert failures >= 2


@pytest.mark.nightly
def test_a_redis_that_dies_again_and_again_under_load_costs_no_answer(tmp_path: Path) -> None:
    asked = [MD5S[number * 7 % FILES] for number in range(5000)]
    ended = threading.Event()
    with responders(tmp_path) as (services, redis, _edr):

        def shake() -> None:
            while not ended.wait(0.3):
                redis.kill()
                ended.wait(0.3)
                redis.start()

        shaking = threading.Thread(target=shake)
        shaking.start()
        replies = flooded(services, asked, connections=50)
        ended.set()
        shaking.join()

    assert [STATUSES[md5] for md5 in asked] == [reply.json().get("status") for reply in replies]
    assert all(reply.json()["complete"] for reply in replies)


def until_it_answers(services: list[Service]) -> float:
    """Return the metric once `/readyz` of every service says that the cache answers."""
    end = time.monotonic() + 60
    while not all(told(service)[1]["ok"] for service in services) and time.monotonic() < end:
        time.sleep(0.05)
    return services[0].metric("cbsigned_shared_cache_up")


def test_the_password_comes_from_the_environment_and_is_in_no_output(tmp_path: Path) -> None:
    needed = ["--requirepass", PASSWORD]
    with responders(tmp_path, options=needed, CBSIGNED_CACHE_PASSWORD=PASSWORD) as (services, _redis, _edr):
        status, part = told(services[0])
        flooded(services, MD5S[:10], 2)
        command = Path(f"/proc/{services[0].process.pid}/cmdline").read_bytes()
        shown = services[0].get("/metrics").text + json.dumps(part) + "".join(services[0].said)

    assert (status, part["ok"]) == (200, True)
    assert PASSWORD not in shown
    assert PASSWORD.encode() not in command
