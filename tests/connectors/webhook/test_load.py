"""Many alerts at once: each is answered, and the EDR is hardly asked."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.webhook.process import Service, serve_process
from edr_server import TOKEN, EdrServer

FILES = 300
MD5S = [hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(FILES)]
STATUSES = dict(zip(MD5S, ("Signed", "Unsigned", "Expired") * FILES))
BINARIES = [{"md5": md5.upper(), "digsig_result": STATUSES[md5]} for md5 in MD5S]


@pytest.fixture
def edr() -> Iterator[EdrServer]:
    """Return an EDR that takes half a second for each answer."""
    with EdrServer(BINARIES, latency_s=0.5) as server:
        yield server


@pytest.fixture
def service(edr: EdrServer, tmp_path: Path) -> Iterator[Service]:
    """Return a service with a deadline that no busy machine misses: what counts is what the EDR is asked."""
    (tmp_path / "webhook.yaml").write_text("deadline_s: 60", encoding="utf-8")
    environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": TOKEN}
    with serve_process(tmp_path, environ, ["--config", str(tmp_path / "webhook.yaml")]) as running:
        yield running


@pytest.mark.parametrize("alerts", [500, pytest.param(5000, marks=pytest.mark.nightly)])
def test_a_storm_of_alerts_asks_the_edr_six_times_at_most(service: Service, edr: EdrServer, alerts: int) -> None:
    asked = [MD5S[number % FILES] for number in range(alerts)]

    replies = service.flood([json.dumps({"md5": md5}).encode() for md5 in asked], connections=alerts)

    assert Counter(reply.status for reply in replies) == {200: alerts}
    assert [STATUSES[md5] for md5 in asked] == [reply.json()["status"] for reply in replies]
    assert all(reply.json()["complete"] for reply in replies)
    assert sum(edr.counts.values()) <= 6, edr.counts
