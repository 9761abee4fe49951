"""What works and what does not, and who says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, Optional

import pytest

from cbsigned.errors import BinaryNotFound, SourceBusy, SourceError, SourceTimeout, SourceUnavailable
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.health import Health
from cbsigned_connectors.webhook.job_model import JobsUnavailable
from recording import Recording


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class StoreOfJobs:
    """Says what a test wants of its state."""

    def __init__(self, trouble: Optional[str] = None, error: Optional[Exception] = None) -> None:
        self.trouble, self.error = trouble, error

    def check(self) -> Optional[str]:
        if self.error is not None:
            raise self.error
        return self.trouble


def readiness(health: Health) -> tuple[bool, dict[str, Any]]:
    return asyncio.run(health.readiness())


def test_a_source_that_nobody_asked_is_tried() -> None:
    source = Recording()
    health = Health(source)

    assert health.source().works is None
    assert readiness(health)[0]
    assert len(source.hash_calls) == 1


def test_a_pause_that_the_source_asked_for_is_kept_until_it_is_over_or_an_answer_comes() -> None:
    clock = Clock()
    health = Health(Recording(), clock=clock)
    pauses = [health.pause_s()]
    for failure, seconds in ((SourceBusy("429", 90.5), 0), (SourceUnavailable("breaker"), 60), (None, 0),
                             (SourceBusy("429", 10), 11), (SourceBusy("429"), 0)):  # fmt: skip
        health.note(failure)
        clock.now += seconds
        pauses.append(health.pause_s())

    assert pauses == [0, 91, 31, 0, 0, 0]


def test_a_source_that_is_down_is_named_with_the_reason() -> None:
    source = Recording()
    source.failure = SourceUnavailable("cb.example.test: connection refused.")

    ready, document = readiness(Health(source))

    assert not ready
    assert (document["parts"][0]["name"], document["parts"][0]["detail"]) == ("recording", str(source.failure))


def test_what_was_heard_lately_is_believed_for_a_while() -> None:
    source, clock = Recording(), Clock()
    health = Health(source, clock=clock)
    health.note(SourceUnavailable("down"))

    fresh = readiness(health)[0]
    clock.now += 16
    stale = readiness(health)[0]

    assert (fresh, stale) == (False, True)
    assert len(source.hash_calls) == 1


@pytest.mark.parametrize(
    ("failure", "works"),
    [(None, True), (BinaryNotFound("no record"), True), (SourceTimeout("slow"), False)],
    ids=["answer", "not found", "slow"],
)
def test_not_knowing_a_file_is_no_failure(failure: Optional[SourceError], works: bool) -> None:
    health = Health(Recording())
    health.note(failure)

    assert health.source().works is works
    assert [state.works for state in health.sources()] == [works]


def test_a_source_that_raises_is_down() -> None:
    class Raising(Recording):
        def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
            raise SourceUnavailable("down")

    assert not readiness(Health(Raising()))[0]


def test_many_who_ask_at_once_try_the_source_once() -> None:
    class Slow(Recording):
        gate = threading.Event()

        def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
            assert self.gate.wait(10)
            return super().binaries(hashes, deadline)

    source = Slow()
    health = Health(source)

    async def work() -> list[tuple[bool, dict[str, Any]]]:
        asked = asyncio.gather(*(health.readiness() for _ in range(20)))
        await asyncio.sleep(0)
        source.gate.set()
        return list(await asked)

    assert all(ready for ready, _document in asyncio.run(work()))
    assert len(source.hash_calls) == 1


@pytest.mark.parametrize(
    ("jobs", "detail"),
    [
        (StoreOfJobs(), "Jobs are accepted and kept."),
        (StoreOfJobs("The disk is full."), "The disk is full."),
        (StoreOfJobs(error=JobsUnavailable("locked")), "locked"),
    ],
    ids=["well", "full", "broken"],
)
def test_the_store_of_jobs_is_a_part(jobs: Any, detail: str) -> None:
    ready, document = readiness(Health(Recording(), jobs))

    assert document["parts"][1]["detail"] == detail
    assert ready is document["ready"] is (jobs.trouble is None and jobs.error is None)
