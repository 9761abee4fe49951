"""Answers that come later, and answers that come again: jobs, keys, and the same body twice."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbsigned_connectors.webhook.credentials import Scheme, Secret, SenderSettings
from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
from cbsigned_connectors.webhook.senders import Senders
from connectors.webhook.serving import ALERT, Client, over_edr, serving
from edr_server import EdrServer, Fault
from recording import Recording, document, md5_of


class TestLater:
    @pytest.fixture
    def jobs(self, tmp_path: Path) -> Iterator[FileJobs]:
        with contextlib.closing(FileJobs(JobSettings(tmp_path / "jobs.db", least_free_bytes=0))) as ready:
            yield ready

    def wait(self, client: Client, path: str) -> Any:
        end = time.monotonic() + 10
        while True:
            answer = client.get(path)
            if answer.status_code != 202 or time.monotonic() > end:
                return answer
            time.sleep(0.01)

    @pytest.mark.parametrize(
        ("path", "headers"),
        [("/v1/alerts?mode=async", {}), ("/v1/alerts", {"Prefer": "wait=5, respond-async"})],
        ids=["mode", "prefer"],
    )
    def test_an_accepted_job_is_answered_at_its_address(
        self, jobs: FileJobs, path: str, headers: dict[str, str]
    ) -> None:
        with serving(Recording({md5_of(1): [document(md5=md5_of(1))]}), jobs=jobs) as client:
            accepted = client.post(path, ALERT, headers)
            answer = self.wait(client, accepted.headers["Location"])

        assert (accepted.status_code, accepted.json()["status_url"]) == (202, accepted.headers["Location"])
        assert int(accepted.headers["Retry-After"]) > 0
        assert (answer.status_code, answer.json()["status"]) == (200, "Signed")

    def test_who_has_no_time_is_told_of_jobs_and_a_job_is_not(self, edr: EdrServer, jobs: FileJobs) -> None:
        with over_edr(edr, deadline_s=0.4, job_deadline_s=0.4, jobs=jobs) as served:
            edr.fail("binary", Fault(mode="silent"))
            accepted = served.post("/v1/alerts?mode=async", ALERT)
            at_once = served.post("/v1/alerts", ALERT).json()
            later = self.wait(served, accepted.headers["Location"]).json()
            edr.stopping.set()

        reasons = [found["gaps"][0]["reason"] for found in (at_once, later)]
        assert all("within" in reason for reason in reasons)
        assert ["mode=async or Prefer: respond-async" in reason for reason in reasons] == [True, False]

    def test_the_same_alert_again_is_the_same_job(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            first = client.post("/v1/alerts?mode=async", ALERT)
            done = self.wait(client, first.headers["Location"])
            again = client.post("/v1/alerts?mode=async", ALERT)

        assert (again.status_code, again.json()) == (200, done.json())

    def test_anothers_job_is_not_there(self, jobs: FileJobs) -> None:
        both = [SenderSettings(n, Scheme.BEARER, (Secret("x", (n * 20).encode()),)) for n in ("a", "b")]

        with serving(Recording(), jobs=jobs, senders=Senders(both)) as client:
            first = replace(client, token="a" * 20)
            place = first.post("/v1/alerts?mode=async", ALERT).headers["Location"]
            foreign = replace(client, token="b" * 20).get(place)

        assert foreign.status_code == 404

    def test_what_can_never_be_answered_is_not_accepted(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            assert client.post("/v1/alerts?mode=async", {"a": 1}).status_code == 422
            assert client.post("/v1/alerts/nonsense?mode=async", ALERT).status_code == 404
            assert client.post("/v1/alerts?mode=later", ALERT).status_code == 422

    def test_a_callback_that_is_not_allowed_is_refused(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            answer = client.post("/v1/alerts?mode=async&callback_url=http://169.254.169.254/", ALERT)

        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "callback_url")

    def test_a_callback_without_a_job_is_refused_and_not_forgotten(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            answer = client.post("/v1/alerts?callback_url=https://soar.example.test/", ALERT)

        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "callback_url")

    def test_a_disk_that_is_full_accepts_nothing_and_says_so(self, tmp_path: Path) -> None:
        full = FileJobs(JobSettings(tmp_path / "jobs.db"), free_bytes=lambda _folder: 0)

        with contextlib.closing(full), serving(Recording(), jobs=full) as client:
            refused, ready = client.post("/v1/alerts?mode=async", ALERT), client.get("/readyz")
            now = client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})

        assert refused.status_code == ready.status_code == 503
        assert "Retry-After" in refused.headers
        assert [part["name"] for part in ready.json()["parts"] if not part["ok"]] == ["jobs"]
        assert now.status_code == 200

    def test_without_a_store_of_jobs_nothing_is_accepted(self) -> None:
        with serving(Recording()) as client:
            assert client.post("/v1/alerts?mode=async", ALERT).status_code == 503

    def test_a_key_gives_its_stored_answer(self, jobs: FileJobs) -> None:
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source, jobs=jobs) as client:
            first = client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})
            source.records.clear()
            again = client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})
            other = client.post("/v1/alerts", {**ALERT, "md5": md5_of(2)}, {"Idempotency-Key": "k"})

        assert first.content == again.content
        assert other.status_code == 409

    def test_an_answer_that_lacks_something_is_not_kept_under_its_key(self, edr: EdrServer, jobs: FileJobs) -> None:
        with over_edr(edr, jobs=jobs) as served:
            edr.fail("binary", Fault(status=502))
            failed = served.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})
            edr.heal()
            healed = served.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})

        assert (failed.status_code, healed.status_code, healed.json()["status"]) == (502, 200, "Signed")

    def test_the_same_body_again_gets_the_same_answer_for_a_while(self) -> None:
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source, cached=True) as client:
            first, again = client.post("/v1/alerts", ALERT), client.post("/v1/alerts", ALERT)
            other = client.post("/v1/alerts?card=markdown", ALERT)

        assert first.content == again.content  # to the millisecond in which it was asked
        assert other.json()["enriched_at"] != first.json()["enriched_at"]

    def test_the_same_body_again_sees_what_came_into_a_store_meanwhile(self) -> None:
        """For half a minute the answer of before was given, after an ingest too."""
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source) as client:
            first = client.post("/v1/alerts", ALERT)
            source.records.clear()
            again = client.post("/v1/alerts", ALERT)

        assert (first.json()["status"], again.json()["status"]) == ("Signed", "Unknown")

    def test_a_cloud_event_is_its_own_key(self, jobs: FileJobs) -> None:
        event = {"specversion": "1.0", "type": "alert", "source": "/siem", "id": "1"}
        kind = {"Content-Type": "application/cloudevents+json"}

        with serving(Recording(), jobs=jobs) as client:
            statuses = [
                client.post("/v1/alerts", json.dumps({**event, "data": data}), kind).status_code
                for data in (ALERT, ALERT, {**ALERT, "md5": md5_of(2)})
            ]

        assert statuses == [200, 200, 409]
