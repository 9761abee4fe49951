"""The source is down, slow or talks nonsense, or the disk is full: callers are told in time, and it mends itself."""

from __future__ import annotations

import contextlib
import datetime
import json
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest
import requests
import trustme

from cbsigned.edr import EdrClient, EdrSource
from cbsigned.settings import EdrSettings
from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
from connectors.webhook.process import Service, serve_process
from connectors.webhook.serving import Served, serving
from edr_server import LOGIN_PAGE, TOKEN, EdrServer, Fault

KNOWN, OTHER, ASKED_LATER = "11" * 16, "22" * 16, "33" * 16
BINARIES = [{"md5": md5.upper(), "digsig_result": "Signed"} for md5 in (KNOWN, OTHER, ASKED_LATER)]
DEADLINE_S = 1.0
HALF = json.dumps({"results": [{"md5": OTHER.upper(), "digsig_result": "Unsigned"}] * 50}).encode()


class Clock:
    """Seconds that a test moves on; so does whoever sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextlib.contextmanager
def before(edr: EdrServer, clock: Clock, jobs: Optional[FileJobs] = None, **settings: Any) -> Iterator[Served]:
    """Serve in front of an EDR whose client sleeps by a clock of the test."""
    given = EdrSettings(**{"url": edr.url, "token": TOKEN, **settings})
    with (
        EdrClient(given, clock=clock, sleep=clock.sleep) as client,
        serving(EdrSource(client), cached=True, deadline_s=DEADLINE_S, jobs=jobs) as service,
    ):
        yield service


def posted(service: Served, alert: Any) -> requests.Response:
    """Post, and hold every answer to what all of them have in common."""
    began = time.monotonic()
    answer: requests.Response = service.post("/v1/alerts", alert)
    assert time.monotonic() - began < DEADLINE_S + 1
    assert TOKEN not in answer.text + str(answer.headers)
    return answer


@dataclass(frozen=True)
class Outage:
    """What the EDR does, and what a caller then gets whose file nobody knows.

    Attributes:
        cause: Of the gap, where the caller gets 200.
    """

    name: str
    fault: Fault
    status: int
    said: str
    cause: str


OUTAGES = [
    Outage("closes the connection", Fault(mode="close"), 502, "closed the connection", "unavailable"),
    Outage("500", Fault(500), 502, "500", "unavailable"),
    Outage("503", Fault(503), 502, "503", "unavailable"),
    Outage("504", Fault(504), 502, "504", "unavailable"),
    Outage("429 for a minute", Fault(429, headers={"Retry-After": "60"}), 503, "asks us to wait 60 s", "rate limited"),
    Outage("429", Fault(429), 503, "429", "rate limited"),
    Outage("login page", Fault(200, LOGIN_PAGE), 502, "HTML", "unreadable"),
    Outage("half an answer", Fault(200, HALF, "application/json", mode="cut"), 502, "within its answer", "unreadable"),
    Outage("half an answer that looks whole", Fault(200, HALF[:90], "application/json"), 502, "JSON", "unreadable"),
    Outage("a list", Fault(200, b"[]", "application/json"), 502, "another shape", "unreadable"),
    Outage("a redirect", Fault(302, headers={"Location": "http://127.0.0.1:9/"}), 502, "302", "unreadable"),
    Outage("refuses the token", Fault(401), 502, "token", "refused"),
    Outage("refuses the right", Fault(403), 502, "403", "refused"),
    Outage("silent", Fault(mode="silent"), 200, "", "timeout"),
    Outage("a byte now and then", Fault(mode="drip_body", drip_s=0.05), 200, "", "timeout"),
]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_an_outage_is_told_in_time_and_ends_by_itself(outage: Outage) -> None:
    clock = Clock()
    with EdrServer(BINARIES) as edr, before(edr, clock) as service:
        assert posted(service, {"md5": KNOWN}).json()["status"] == "Signed"
        edr.fail("*", outage.fault)

        alone = posted(service, {"md5": OTHER})
        mixed = posted(service, [{"md5": KNOWN}, {"md5": OTHER}])
        ready = service.get("/readyz")
        edr.heal()
        clock.now += 31  # the circuit breaker's pause
        after = posted(service, {"md5": ASKED_LATER})

        assert alone.status_code == outage.status
        if outage.status == 200:
            check_unanswered(alone.json(), outage)
        else:
            check_problem(alone, outage)
        known, unknown = mixed.json()["enrichments"]
        assert (mixed.status_code, known["status"], known["complete"]) == (200, "Signed", True)
        check_unanswered(unknown, outage)
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert (after.status_code, after.json()["status"], after.json()["complete"]) == (200, "Signed", True)
        assert service.get("/readyz").status_code == 200


def check_problem(answer: requests.Response, outage: Outage) -> None:
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert problem["status"] == outage.status
    assert outage.said in problem["detail"]


def check_unanswered(enrichment: dict[str, Any], outage: Outage) -> None:
    assert (enrichment["status"], enrichment["complete"]) == ("Unknown", False)
    assert outage.cause in {gap["cause"] for gap in enrichment["gaps"]}
    assert all(gap["reason"] for gap in enrichment["gaps"])


def test_what_is_known_is_told_with_a_mark_while_the_rest_cannot_be_asked() -> None:
    """A file of the cache, on a process that nobody has asked for."""
    guid = "00000007-0000-0d24-01d7-35e9bb340680"
    with EdrServer(BINARIES) as edr, before(edr, Clock()) as service:
        posted(service, {"md5": KNOWN})
        edr.fail("*", Fault(503))

        answer = posted(service, {"md5": KNOWN, "process_guid": guid})

    found = answer.json()
    assert (answer.status_code, found["status"]) == (200, "Signed")
    assert (found["stale"], found["complete"]) == (True, False)
    assert "unavailable" in {gap["cause"] for gap in found["gaps"]}


def test_an_outage_costs_few_requests() -> None:
    with EdrServer(BINARIES) as edr, before(edr, Clock(), retries=1) as service:
        edr.fail("*", Fault(503))

        statuses = {posted(service, {"md5": f"{number:032x}"}).status_code for number in range(1, 60)}

    assert statuses == {502}
    assert sum(edr.counts.values()) <= 12


def test_a_source_that_is_slower_than_the_deadline_answers_who_can_wait(tmp_path: Path) -> None:
    with (
        contextlib.closing(FileJobs(JobSettings(tmp_path / "jobs.db", least_free_bytes=0))) as jobs,
        EdrServer(BINARIES, latency_s=1.2) as edr,
        before(edr, Clock(), jobs=jobs) as service,
    ):
        at_once = posted(service, {"md5": KNOWN}).json()
        place = service.post("/v1/alerts?mode=async", {"md5": KNOWN}).headers["Location"]
        later = service.get(place)
        while later.status_code == 202:
            time.sleep(0.05)
            later = service.get(place)

    assert (at_once["status"], at_once["complete"]) == ("Unknown", False)
    assert (later.status_code, later.json()["status"], later.json()["complete"]) == (200, "Signed", True)


# Certificates.


def context_of(authority: trustme.CA, until: Optional[datetime.datetime] = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=until).configure_cert(context)
    return context


def test_an_expired_certificate_is_told_and_a_new_one_is_enough(tmp_path: Path) -> None:
    authority, clock = trustme.CA(), Clock()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    with EdrServer(BINARIES, tls=context_of(authority, yesterday)) as expired:
        port = expired.port
        with before(expired, clock, ca_file=str(tmp_path / "ca.pem")) as service:
            refused = posted(service, {"md5": KNOWN})
            ready = service.get("/readyz")
            expired.__exit__()
            with EdrServer(BINARIES, tls=context_of(authority), port=port):
                clock.now += 31
                after = posted(service, {"md5": KNOWN})

    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (502, True)
    assert "expired" in refused.json()["detail"]
    assert (ready.status_code, "expired" in ready.text) == (503, True)
    assert (after.status_code, after.json()["status"]) == (200, "Signed")


# The whole service.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_a_service_that_starts_before_its_edr_answers_when_that_is_there(tmp_path: Path) -> None:
    port = free_port()
    environ = {"CBSIGNED_EDR_URL": f"http://127.0.0.1:{port}", "CBSIGNED_EDR_TOKEN": TOKEN, "CBSIGNED_EDR_RETRIES": "0"}
    with serve_process(tmp_path, environ) as service:
        down = service.post({"md5": KNOWN})
        ready = service.get("/readyz")
        with EdrServer(BINARIES, port=port):
            up = service.post({"md5": KNOWN})
            healed = service.get("/readyz")

        assert (down.status_code, int(down.headers["Retry-After"]) > 0) == (502, True)
        assert (ready.status_code, service.get("/healthz").status_code) == (503, 200)
        assert (up.status_code, up.json()["status"]) == (200, "Signed")
        assert healed.status_code == 200
        assert TOKEN not in "".join(service.said) + down.text + ready.text


# A full disk.


def alert_of(number: int) -> bytes:
    return json.dumps({"md5": KNOWN, "alert_id": str(number), "note": "x" * 20_000}).encode()


def accepted_until_full(service: Service) -> tuple[list[str], requests.Response]:
    """Send alerts to be answered later until one is refused; return the places of the others' answers."""
    places: list[str] = []
    for number in range(1000):
        answer = service.post(alert_of(number), "/v1/alerts?mode=async")
        if answer.status_code != 202:
            return places, answer
        places.append(answer.headers["Location"])
    raise AssertionError("the disk never filled up")


def answers_of(service: Service, places: list[str]) -> list[Any]:
    """Return the answers of jobs when all are there."""
    found: dict[str, Any] = {}
    end = time.monotonic() + 30
    while len(found) < len(places) and time.monotonic() < end:
        for place in places:
            answer = service.get(place) if place not in found else None
            if answer is not None and answer.status_code != 202:
                found[place] = answer.json()
        time.sleep(0.05)
    return [found[place] for place in places]


def test_a_full_disk_is_told_answers_go_on_and_no_accepted_job_is_lost(tmp_path: Path) -> None:
    with EdrServer(BINARIES) as edr:
        environ = {
            "CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN, "CBSIGNED_CACHE_FILE": str(tmp_path / "cache"),
        }  # fmt: skip
        with serve_process(tmp_path, environ, most_file_bytes=400_000) as service:
            places, refused = accepted_until_full(service)
            answer = service.post({"md5": OTHER}, headers={"Idempotency-Key": "one"})
            ready = service.get("/readyz")
            service.kill()
        with serve_process(tmp_path, environ) as service:
            later = answers_of(service, places)
            healed = service.get("/readyz")

    assert len(places) > 2
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
    assert "full" in refused.json()["detail"]
    assert (answer.status_code, answer.json()["status"]) == (200, "Signed")
    (jobs,) = (part for part in ready.json()["parts"] if part["name"] == "jobs")
    assert (ready.status_code, jobs["ok"], "full" in jobs["detail"]) == (503, False, True)
    assert [enrichment["status"] for enrichment in later] == ["Signed"] * len(places)
    assert healed.status_code == 200


@pytest.mark.nightly
def test_a_disk_with_room_again_is_used_without_a_restart(tmp_path: Path) -> None:
    with EdrServer(BINARIES) as edr:
        environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN}
        with serve_process(tmp_path, environ, most_file_bytes=400_000) as service:
            places, _refused = accepted_until_full(service)
            resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            found = answers_of(service, places)
            more = service.post(alert_of(1001), "/v1/alerts?mode=async")

            assert [enrichment["status"] for enrichment in found] == ["Signed"] * len(places)
            assert more.status_code == 202
            assert service.get("/readyz").status_code == 200
