"""Counters that operators read."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cbsigned.enrichment import Caches, Sources, signature_cache
from cbsigned.errors import SourceError, SourceUnavailable
from cbsigned.settings import Settings
from cbsigned.sighting import Sighting
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.callbacks import Outcome
from cbsigned_connectors.webhook.job_model import Counts, JobsUnavailable
from cbsigned_connectors.webhook.metrics import CountedCache, CountedSource, Metrics
from cbsigned_connectors.webhook.sources import watched
from recording import Recording, document, guid_of, md5_of


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name by the values of their labels, which stand in the order of the labels' names."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()

    metrics.observe("POST", "/v1/alerts", 200, 0.02)
    metrics.observe("POST", "/v1/alerts", 200, 0.02)
    metrics.observe("BREW", "other", 404, 0.02)

    assert samples(metrics, "cbsigned_requests_total") == {
        ("POST", "/v1/alerts", "200"): 2,
        ("other", "other", "404"): 1,
    }
    assert samples(metrics, "cbsigned_request_seconds_count")[("/v1/alerts",)] == 2


def test_answers_are_counted_by_status_and_gaps_by_cause() -> None:
    metrics = Metrics()

    metrics.answered(["Signed", "Unknown"], ["not found"])

    assert samples(metrics, "cbsigned_alerts_total") == {("Signed",): 1, ("Unknown",): 1}
    assert samples(metrics, "cbsigned_gaps_total") == {("not found",): 1}


def test_every_question_to_the_source_is_counted_with_its_outcome() -> None:
    metrics, noted = Metrics(), list[Optional[SourceError]]()
    source = Recording()
    counted = CountedSource(source, metrics, noted.append)

    counted.binaries([md5_of(1), md5_of(2)], Deadline(9))
    counted.processes([guid_of(1)], Deadline(9))
    counted.candidates([Sighting("host", pid=4)], Deadline(9))
    counted.children([guid_of(1)], 5, Deadline(9))
    source.failure = SourceUnavailable("down")
    counted.joint_hits([(md5_of(1), "a.exe")], Deadline(9))

    assert samples(metrics, "cbsigned_source_questions_total") == {
        ("answered", "binaries"): 1,
        ("answered", "processes"): 1,
        ("answered", "candidates"): 1,
        ("answered", "children"): 1,
        ("unavailable", "joint"): 1,
    }
    assert samples(metrics, "cbsigned_source_items_total")[("binaries",)] == 2
    assert noted == [None, None, None, None, source.failure]
    assert counted.name == "recording"


def test_a_failure_that_is_raised_is_counted_too() -> None:
    class Raising(Recording):
        def binaries(self, hashes: Any, deadline: Deadline) -> Any:
            raise SourceUnavailable("down")

    metrics, noted = Metrics(), list[Optional[SourceError]]()

    with pytest.raises(SourceUnavailable):
        CountedSource(Raising(), metrics, noted.append).binaries([md5_of(1)], Deadline(9))

    assert samples(metrics, "cbsigned_source_questions_total") == {("unavailable", "binaries"): 1}
    assert [str(failure) for failure in noted] == ["down"]


def test_hits_and_misses_of_a_cache() -> None:
    metrics, inner = Metrics(), signature_cache()
    cache = CountedCache(inner, metrics, "signature")
    source = Recording({md5_of(1): [document(md5=md5_of(1))]})
    kept = watched(Sources(source, source, caches=Caches()), Settings(), Metrics())
    assert kept.hot is not None

    cache.get_many(["a", "b"])
    cache.put_many({})

    assert samples(metrics, "cbsigned_cache_lookups_total") == {("signature", "hit"): 0, ("signature", "miss"): 2}


def test_what_waits_is_shown_when_it_is_read() -> None:
    metrics, waiting = Metrics(), [3]
    metrics.watch(lambda: waiting[0], None)

    before = samples(metrics, "cbsigned_alerts_waiting")
    waiting[0] = 5

    assert (before[()], samples(metrics, "cbsigned_alerts_waiting")[()]) == (3, 5)


def test_jobs_are_counted_when_they_are_read_and_left_out_where_they_cannot_be() -> None:
    class StoreOfJobs:
        broken = False

        def counts(self) -> Counts:
            if self.broken:
                raise JobsUnavailable("locked")
            return Counts(1, 2, 3, 4, 5, 6.5, 7)

    metrics, jobs = Metrics(), StoreOfJobs()
    metrics.watch(lambda: 0, jobs)  # type: ignore[arg-type]

    assert samples(metrics, "cbsigned_jobs") == {
        ("waiting",): 1, ("running",): 2, ("done",): 3, ("failed",): 4, ("calling",): 5,
    }  # fmt: skip
    assert samples(metrics, "cbsigned_jobs_oldest_seconds") == {(): 6.5}
    jobs.broken = True
    assert samples(metrics, "cbsigned_jobs") == {}


def test_callbacks_are_counted_by_outcome() -> None:
    metrics = Metrics()

    for outcome in (Outcome(True, ""), Outcome(False, "", 5.0), Outcome(False, "")):
        metrics.called(outcome)

    assert samples(metrics, "cbsigned_callbacks_total") == {("delivered",): 1, ("later",): 1, ("given up",): 1}
