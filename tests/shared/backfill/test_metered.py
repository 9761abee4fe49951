"""How fast and how much a back-fill asks: rate, budget, and an end to asking who does not answer."""

from __future__ import annotations

import pytest

from cbsigned.backfill.metered import Meter, MeteredSource
from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.errors import SourceError, SourceUnavailable
from cbsigned.gaps import Cause
from cbsigned.timing import Deadline
from recording import Recording

DEADLINE = Deadline(1.0)


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def metered(source: Recording, clock: Clock, **limits: int) -> tuple[MeteredSource, Meter]:
    meter = Meter(2.0, limits.get("budget"), limits.get("together", 1), clock, clock.sleep)
    return MeteredSource(source, source, meter, 60.0), meter


def hashes(count: int) -> list[str]:
    return [f"{n:032x}" for n in range(1, count + 1)]


@pytest.mark.parametrize(("together", "calls"), [(1, 6), (4, 2)])
def test_requests_are_no_faster_than_the_rate(together: int, calls: int) -> None:
    clock, recording = Clock(), Recording()
    source, meter = metered(recording, clock, together=together)

    source.binaries(hashes(1_200), DEADLINE)
    source.binaries(hashes(1), DEADLINE)

    assert clock.now == pytest.approx(6 / 2)
    assert meter.requests == 7
    assert len(recording.hash_calls) == calls + 1
    assert sum(map(len, recording.hash_calls)) == 1_201


def test_a_deadline_does_not_count_the_waiting() -> None:
    clock, recording = Clock(), Recording()
    source, _meter = metered(recording, clock)

    answers = source.binaries(hashes(2_000), Deadline(0.0))

    assert set(answers.values()) == {()}


def test_what_is_over_the_budget_is_not_asked_and_says_so() -> None:
    recording = Recording({hashes(1)[0]: (BinaryRecord(RecordKind.BINARY_DOCUMENT, word="Signed"),)})
    source, meter = metered(recording, Clock(), budget=2, together=4)

    answers = source.binaries(hashes(500), DEADLINE)
    guids = source.processes(["00000001-0000-0a1c-01d5-0c2d1f3e5a7b"], DEADLINE)

    refused = [answer for answer in answers.values() if isinstance(answer, SourceError)]
    assert (len(refused), meter.requests, meter.refused, meter.spent) == (100, 2, 101, True)
    assert {answer.cause for answer in refused} == {Cause.NOT_ASKED}
    assert "the budget of 2 requests was spent" in str(refused[0])
    assert isinstance(next(iter(guids.values())), SourceError)
    assert recording.guid_calls == []


def test_after_five_failures_in_a_row_nothing_more_is_asked() -> None:
    recording = Recording()
    recording.failure = SourceUnavailable("down for good")
    source, meter = metered(recording, Clock())

    answers = source.binaries(hashes(4_000), DEADLINE)

    assert len(recording.hash_calls) == 5
    assert len(answers) == 4_000
    assert "down for good" in str(answers[hashes(4_000)[-1]])
    assert "5 times in a row" in str(answers[hashes(4_000)[-1]])
    assert meter.stopped
    assert not meter.spent


def test_failures_that_are_not_in_a_row_end_nothing() -> None:
    recording = Recording()
    source, meter = metered(recording, Clock())

    for number in range(12):
        recording.failure = None if number % 4 == 3 else SourceUnavailable("now and then")
        source.binaries(hashes(10), DEADLINE)

    assert len(recording.hash_calls) == 12
    assert not meter.stopped
