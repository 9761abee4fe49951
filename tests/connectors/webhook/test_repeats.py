"""The answers of the last half minute."""

from __future__ import annotations

from cbsigned_connectors.webhook.answers import Answer
from cbsigned_connectors.webhook.repeats import Repeats


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_given_again_for_a_while() -> None:
    clock = Clock()
    repeats = Repeats(30, clock=clock)
    repeats.put("soar", b"1", Answer(b"x"))

    assert repeats.get("soar", b"1") == Answer(b"x")
    clock.now += 30
    assert repeats.get("soar", b"1") is None


def test_another_sender_or_body_is_another_question() -> None:
    repeats = Repeats()
    repeats.put("soar", b"1", Answer(b"x"))

    assert repeats.get("siem", b"1") is None
    assert repeats.get("soar", b"2") is None


def test_what_is_remembered_is_bounded_by_bytes() -> None:
    repeats = Repeats(most_bytes=100)
    for number in range(20):
        repeats.put("soar", b"%d" % number, Answer(b"x" * 10))
    repeats.put("soar", b"19", Answer(b"y" * 10))

    kept = [number for number in range(20) if repeats.get("soar", b"%d" % number)]
    assert kept == list(range(10, 20))
    assert repeats.get("soar", b"19") == Answer(b"y" * 10)


def test_a_very_large_answer_is_not_remembered() -> None:
    repeats = Repeats()
    repeats.put("soar", b"1", Answer(b"x" * 300_000))

    assert repeats.get("soar", b"1") is None


def test_what_is_over_is_forgotten() -> None:
    clock = Clock()
    repeats = Repeats(30, clock=clock)
    for number in range(100):
        clock.now += 31
        repeats.put("soar", b"%d" % number, Answer(b"x"))

    assert len(repeats._answers) == 1
    assert repeats._bytes == 1
