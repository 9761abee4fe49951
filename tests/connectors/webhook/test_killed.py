"""`kill -9` and SIGTERM under load: whoever got a 202 gets its answer, from the next process if need be."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.webhook.flood import Reply
from connectors.webhook.process import Service, serve_process
from edr_server import TOKEN, EdrServer

MD5S = [f"{number:032x}" for number in range(1, 201)]
STATUSES = dict(zip(MD5S, ("Signed", "Unsigned", "Expired", "Invalid Chain") * len(MD5S)))
BINARIES = [{"md5": md5.upper(), "digsig_result": STATUSES[md5]} for md5 in MD5S]
ASYNC = "/v1/alerts?mode=async"


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """Point to an EDR that is slow enough for jobs to be under way all the time."""
    with EdrServer(BINARIES, latency_s=0.1) as edr:
        yield {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN}


class Accepted:
    """What was taken on, by the place of its answer: the MD5 that was asked for."""

    def __init__(self) -> None:
        self.md5s: dict[str, str] = {}
        self.cut_off = 0
        self._count = 0

    def bodies(self, count: int) -> list[bytes]:
        """Return alerts that are all different."""
        first, self._count = self._count, self._count + count
        return [
            json.dumps({"md5": MD5S[number % len(MD5S)], "alert_id": number}).encode()
            for number in range(first, first + count)
        ]

    def note(self, bodies: list[bytes], replies: list[Reply]) -> None:
        for body, reply in zip(bodies, replies):
            if reply.status == 202:
                self.md5s[reply.headers["location"]] = json.loads(body)["md5"]
            else:
                assert reply.status == 0, reply.body
                self.cut_off += 1


def ended(service: Service, accepted: Accepted, within_s: float = 60.0) -> dict[str, Any]:
    """Return the answers by place when none is waited for any more, or the time is over."""
    found: dict[str, Any] = {}
    end = time.monotonic() + within_s
    while len(found) < len(accepted.md5s) and time.monotonic() < end:
        places = [place for place in accepted.md5s if place not in found]
        replies = service.get_all(places)
        found.update((place, reply.json()) for place, reply in zip(places, replies) if reply.status != 202)
        time.sleep(0.05)
    return found


def check(found: dict[str, Any], accepted: Accepted) -> None:
    assert accepted.md5s.keys() == found.keys()
    assert {place: STATUSES[md5] for place, md5 in accepted.md5s.items()} == {
        place: enrichment.get("status") for place, enrichment in found.items()
    }


@pytest.mark.parametrize("lives", [2, pytest.param(20, marks=pytest.mark.nightly)])
def test_kill_9_under_load_loses_no_accepted_job(environ: dict[str, str], tmp_path: Path, lives: int) -> None:
    draws, accepted = random.Random(20_261_122), Accepted()
    for _life in range(lives):
        with serve_process(tmp_path, environ) as service:
            killer = threading.Timer(draws.uniform(0.1, 0.4), service.kill)
            killer.start()
            while service.process.poll() is None:
                bodies = accepted.bodies(200)
                accepted.note(bodies, service.flood(bodies, 16, ASYNC))
            killer.join()

    with serve_process(tmp_path, environ) as service:
        found = ended(service, accepted)
        jobs = {state: service.metric("cbsigned_jobs", state=state) for state in ("waiting", "running", "failed")}

    assert len(accepted.md5s) > 20 * lives
    assert accepted.cut_off
    check(found, accepted)
    assert jobs == {"waiting": 0, "running": 0, "failed": 0}


def test_a_job_that_was_killed_while_it_ran_is_run_by_the_next_process(tmp_path: Path) -> None:
    with EdrServer(BINARIES, latency_s=30) as edr:
        environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN}
        with serve_process(tmp_path, environ) as service:
            accepted, bodies = Accepted(), [json.dumps({"md5": MD5S[0]}).encode()]
            accepted.note(bodies, service.flood(bodies, 1, ASYNC))
            while not edr.counts:  # it runs
                time.sleep(0.01)
            service.kill()
        edr.latency_s = 0.0
        with serve_process(tmp_path, environ) as service:
            found = ended(service, accepted)

    check(found, accepted)


def test_sigterm_lets_the_requests_under_way_have_their_answers(tmp_path: Path) -> None:
    accepted, now = Accepted(), MD5S[100:105]
    with EdrServer(BINARIES, latency_s=0.2) as edr:
        environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN}
        with serve_process(tmp_path, environ) as service:
            later = accepted.bodies(50)
            accepted.note(later, service.flood(later, 8, ASYNC))
            replies: list[Reply] = []
            bodies = [json.dumps({"md5": md5}).encode() for md5 in now]
            asking = threading.Thread(target=lambda: replies.extend(service.flood(bodies, len(bodies))))
            asking.start()
            while not all(md5 in asked_of(edr) for md5 in now):  # then all of them are under way
                time.sleep(0.01)
            service.process.send_signal(signal.SIGTERM)
            code = service.process.wait(30)
            asking.join()
        with serve_process(tmp_path, environ) as service:
            found = ended(service, accepted)

    assert code == 0
    assert [reply.status for reply in replies] == [200] * len(now)
    assert [STATUSES[md5] for md5 in now] == [reply.json()["status"] for reply in replies]
    check(found, accepted)


def asked_of(edr: EdrServer) -> str:
    """Return all queries that an EDR was asked so far."""
    return " ".join(request.parameters.get("q", "") for request in list(edr.requests)).lower()
