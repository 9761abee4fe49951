from __future__ import annotations

from cbsigned.edr.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(5, 30.0, clock)
    for _ in range(5):
        assert breaker.wait_s() is None
        breaker.failed()
    return breaker


def test_four_failures_leave_it_closed() -> None:
    breaker = Breaker(5, 30.0, Clock())

    assert [breaker.failed() for _ in range(4)] == [False] * 4
    assert breaker.wait_s() is None


def test_the_fifth_failure_in_a_row_opens_it_for_thirty_seconds() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10

    assert breaker.wait_s() == 20.0


def test_an_answer_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(5, 30.0, Clock())
    for _ in range(4):
        breaker.failed()
    breaker.answered()

    assert [breaker.failed() for _ in range(4)] == [False] * 4


def test_one_trial_is_let_through_after_the_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 30

    assert [breaker.wait_s(), breaker.wait_s()] == [None, 0.0]


def test_a_failed_trial_opens_it_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 30
    breaker.wait_s()

    assert breaker.failed()
    assert breaker.wait_s() == 30.0


def test_an_answered_trial_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 30
    breaker.wait_s()
    breaker.answered()

    assert [breaker.wait_s(), breaker.wait_s()] == [None, None]


def test_an_undecided_trial_leaves_the_next_one_to_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 30
    breaker.wait_s()
    breaker.undecided()

    assert breaker.wait_s() is None
