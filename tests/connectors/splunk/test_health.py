"""Counters since the start."""

from __future__ import annotations

import json

from cbsigned_connectors.splunk.health import Health


def test_everything_is_counted_since_the_start() -> None:
    now = [100.0]
    health = Health(clock=lambda: now[0])
    health.count("requests", "rows")
    health.count("requests", "rows")
    health.count("requests", "health")
    health.count("lookups", "rows", 30)
    health.count_all("answers", ["Signed", "Unknown", "Signed"])
    now[0] = 165.5

    found = health.document()

    assert found["uptime_s"] == 65
    assert found["requests"] == {"health": 1, "rows": 2}
    assert (found["rows"], found["cache_hits"], found["edr_requests"]) == (30, 0, 0)
    assert found["answers"] == {"Signed": 2, "Unknown": 1}
    assert json.loads(json.dumps(found)) == found


def test_the_latest_failure_is_told_with_its_time() -> None:
    health = Health()
    before = health.document()
    health.failed("cb.example.test gave no answer.")
    health.failed("cb.example.test refused the token. " + "x" * 10_000)
    after = health.document()

    assert (before["last_failure"], before["last_failure_at"]) == ("", "")
    assert after["last_failure"].startswith("cb.example.test refused the token.")
    assert len(after["last_failure"]) == 500
    assert after["last_failure_at"].endswith("Z")


def test_a_document_does_not_change_afterwards() -> None:
    health = Health()
    health.count("requests", "rows")
    found = health.document()
    health.count("requests", "rows")

    assert found["requests"] == {"rows": 1}
