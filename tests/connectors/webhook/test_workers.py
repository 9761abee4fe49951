"""Workers that a broker gives jobs to: killed, stopped, without their Redis; every accepted job has its answer."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cbsigned.cli import main
from cbsigned.rediscache.answers import digest_of
from cbsigned.rediscache.server import RedisServer
from cbsigned.settings import RedisSettings
from cbsigned_connectors.webhook.broker import Broker, BrokerSettings
from connectors.webhook.process import Service, serve_process, worker_process
from edr_server import TOKEN, EdrServer, Fault
from rabbitmq_server import rabbitmq_node
from redis_server import RedisProcess, redis_process

FILES = 300
MD5S = [f"{number:032x}" for number in range(1, FILES + 1)]
STATUSES = dict(zip(MD5S, ("Signed", "Unsigned", "Expired", "Invalid Chain") * FILES))
BINARIES = [{"md5": md5.upper(), "digsig_result": STATUSES[md5]} for md5 in MD5S]
ASYNC = "/v1/alerts?mode=async"


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a RabbitMQ; each test has a queue that the last one has emptied."""
    with rabbitmq_node(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """Give a Redis that writes down what it is told."""
    with redis_process(tmp_path, ["--appendonly", "yes"]) as process:
        yield process


@dataclass
class Site:
    """A configuration, and how its processes are started."""

    folder: Path
    config: Path
    redis: RedisProcess

    @contextlib.contextmanager
    def responder(self, edr: EdrServer) -> Iterator[Service]:
        with serve_process(self._own("responder"), _environ(edr), ["--config", str(self.config)]) as service:
            yield service

    @contextlib.contextmanager
    def worker(self, edr: EdrServer, name: str, *options: str) -> Iterator[Service]:
        command = ["--config", str(self.config), "--concurrency", "16", *options]
        with worker_process(self._own(name), _environ(edr), command) as service:
            yield service

    def _own(self, name: str) -> Path:
        (self.folder / name).mkdir(exist_ok=True)
        return self.folder / name


def _environ(edr: EdrServer) -> dict[str, str]:
    return {
        "CBSIGNED_EDR_URL": edr.url,
        "CBSIGNED_EDR_TOKEN": TOKEN,
        "CBSIGNED_EDR_RETRIES": "0",
        "CBSIGNED_BROKER": "guest",
    }


def site(folder: Path, broker: str, redis: RedisProcess, more: str = "") -> Site:
    config = folder / "webhook.yaml"
    password = "" if broker.startswith("redis") else ", password: {env: CBSIGNED_BROKER}"
    config.write_text(
        f"cache: {{url: '{redis.url}', timeout_s: 5}}\njobs: {{url: '{broker}'{password}{more}}}\n", encoding="utf-8"
    )
    return Site(folder, config, redis)


def accepted(service: Service, count: int, first: int = 0) -> dict[str, str]:
    """Post alerts; return the place of each answer with the MD5 that was asked for."""
    md5s = [MD5S[number * 7 % FILES] for number in range(first, first + count)]
    bodies = [json.dumps({"md5": md5, "alert_id": first + n}).encode() for n, md5 in enumerate(md5s)]
    replies = service.flood(bodies, 16, ASYNC)
    return {reply.headers["location"]: md5 for reply, md5 in zip(replies, md5s) if reply.status == 202}


def ended(service: Service, places: Sequence[str], within_s: float = 120.0) -> dict[str, Any]:
    """Return the answers by place when none is waited for any more, or the time is over."""
    found: dict[str, Any] = {}
    end = time.monotonic() + within_s
    while len(found) < len(places) and time.monotonic() < end:
        left = [place for place in places if place not in found]
        replies = service.get_all(left)
        found.update((place, reply.json()) for place, reply in zip(left, replies) if reply.status == 200)
        time.sleep(0.05)
    return found


def check(found: dict[str, Any], jobs: dict[str, str]) -> None:
    assert {place: STATUSES[md5] for place, md5 in jobs.items()} == {
        place: enrichment["status"] for place, enrichment in found.items()
    }


def questions(edr: EdrServer) -> list[list[str]]:
    """Return the files of every question that an EDR was asked."""
    queries = [request.parameters.get("q", "") for request in list(edr.requests) if request.route == "binary"]
    return [re.findall(r"[0-9a-f]{32}", query.lower()) for query in queries]


def killed(worker: Service, edr: EdrServer, redis: RedisProcess) -> tuple[float, set[str]]:
    """Kill a worker while it asks; return when that was, and what was leased then."""
    while len(questions(edr)) < 6:
        time.sleep(0.01)
    worker.kill()
    at = time.monotonic()
    with contextlib.closing(RedisServer(RedisSettings(redis.url, timeout_s=5.0))) as server:
        names = b" ".join(server.use(lambda client: list(client.scan_iter("*|lease", count=10_000)))).decode()
    return at, {md5 for md5 in MD5S if digest_of(md5) in names}


def killed_under_load(place: Site, alerts: int) -> str:
    """Kill one of two workers while it asks; check every answer and every question; return how long it took."""
    with EdrServer(BINARIES, latency_s=0.3) as edr, place.responder(edr) as service:
        with place.worker(edr, "one") as dying, place.worker(edr, "two") as worker:
            with ThreadPoolExecutor(1) as pool:
                killing = pool.submit(killed, dying, edr, place.redis)
                jobs = accepted(service, alerts)
                began, in_flight = killing.result()
            found = ended(service, [location for location, md5 in jobs.items() if md5 in in_flight])
            own_s = time.monotonic() - began
            found.update(ended(service, [location for location in jobs if location not in found]))
            all_s = time.monotonic() - began
            states = {state: service.metric("cbsigned_jobs", state=state) for state in ("waiting", "running", "failed")}
            said = "".join([*dying.said, *worker.said])
        asked = Counter(md5 for question in questions(edr) for md5 in question)

    assert len(jobs) == alerts
    check(found, jobs)
    assert states == {"waiting": 0, "running": 0, "failed": 0}
    assert set(asked) == set(jobs.values())
    repeated = {md5 for md5, times in asked.items() if times > 1}
    assert repeated <= in_flight
    assert max(asked.values()) <= 2
    assert TOKEN not in said
    assert "guest:" not in said
    return (
        f"{alerts} jobs, one of two workers killed: what was in flight had ended after {own_s:.1f} s, all after "
        f"{all_s:.1f} s; {len(asked)} files, {len(repeated)} asked for twice"
    )


@pytest.mark.parametrize("alerts", [200, pytest.param(5000, marks=pytest.mark.nightly)])
def test_kill_9_of_a_worker_loses_no_job_and_repeats_no_question(
    rabbitmq: str, redis: RedisProcess, tmp_path: Path, alerts: int
) -> None:
    print("RabbitMQ:", killed_under_load(site(tmp_path, rabbitmq, redis), alerts))


@pytest.mark.nightly
def test_kill_9_of_a_worker_over_redis_costs_the_visibility_timeout(redis: RedisProcess, tmp_path: Path) -> None:
    print("Redis, visibility_s 8:", killed_under_load(site(tmp_path, redis.url, redis, ", visibility_s: 8"), 1000))


def test_redis_killed_and_back_loses_no_accepted_job(rabbitmq: str, redis: RedisProcess, tmp_path: Path) -> None:
    place = site(tmp_path, rabbitmq, redis)
    with EdrServer(BINARIES, latency_s=0.1) as edr, place.responder(edr) as service, place.worker(edr, "one"):
        jobs = accepted(service, 150)
        redis.kill()
        refused = service.flood([b'{"md5": "%032x"}' % 1], 1, ASYNC)
        ready = service.get("/readyz").status_code
        redis.start()
        while service.get("/readyz").status_code != 200:
            time.sleep(0.05)
        jobs.update(accepted(service, 50, first=150))
        found = ended(service, list(jobs))

    assert ([reply.status for reply in refused], ready) == ([503], 503)
    assert len(jobs) == 200
    check(found, jobs)


def test_a_worker_that_is_told_to_stop_hands_on_what_waits(rabbitmq: str, redis: RedisProcess, tmp_path: Path) -> None:
    place = site(tmp_path, rabbitmq, redis)
    with EdrServer(BINARIES) as edr, place.responder(edr) as service:
        edr.fail("*", Fault(status=503))
        with place.worker(edr, "one", "-v") as first:
            jobs = accepted(service, 8)
            while service.metric("cbsigned_jobs", state="running") < 8 or not edr.counts:
                time.sleep(0.02)
            first.process.send_signal(signal.SIGTERM)
            code = first.process.wait(60)
        waiting = service.metric("cbsigned_jobs", state="waiting")
        edr.heal()
        with place.worker(edr, "two"):
            found = ended(service, list(jobs))

    assert (code, waiting) == (0, 8)
    check(found, jobs)


def test_what_else_is_in_the_queue_stops_no_worker(rabbitmq: str, redis: RedisProcess, tmp_path: Path) -> None:
    place = site(tmp_path, rabbitmq, redis)
    with EdrServer(BINARIES) as edr, place.responder(edr) as service, place.worker(edr, "one") as worker:
        broker = Broker(BrokerSettings(rabbitmq, "guest"))
        broker.hand_out("nonsense", {"id": 5})
        broker.close()
        jobs = accepted(service, 1)
        found = ended(service, list(jobs))

        check(found, jobs)
        assert any("no job of this version" in line for line in worker.said)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("jobs: {kept_s: 60}\n", "names no broker"), ("jobs: amqp://localhost\n", "there is no cache")],
)
def test_a_worker_without_broker_or_cache_says_what_to_add(
    tmp_path: Path, text: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CBSIGNED_CACHE_URL", "CBSIGNED_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "webhook.yaml").write_text(text)

    code = main(["worker", "--config", str(tmp_path / "webhook.yaml")])

    assert code == 2
    assert expected in capsys.readouterr().err
