"""Rates and bodies: what is more than a sender may send is refused, early and with a status."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, Optional

import pytest

from cbsigned_connectors.webhook.limits import Bodies, BodyLimits, BodyRefused, RateLimits
from cbsigned_connectors.webhook.senders import Scheme, Secret, SenderSettings


class Clock:
    """Monotonic seconds that a test moves on."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sender(name: str = "soar", **more: Any) -> SenderSettings:
    return SenderSettings(name, Scheme.BEARER, (Secret("a variable", b"sixteen-or-more-characters"),), **more)


# Rates.


def test_a_burst_is_let_through_and_then_the_rate(clock: Clock) -> None:
    limits, soar = RateLimits(clock), sender(per_minute=60, burst=3)

    burst = [limits.take(soar) for _ in range(4)]
    clock.now += 1
    after = [limits.take(soar) for _ in range(2)]

    assert burst == [0.0, 0.0, 0.0, 1.0]
    assert after == [0.0, 1.0]


def test_the_wait_that_is_told_is_enough(clock: Clock) -> None:
    limits, soar = RateLimits(clock), sender(per_minute=7, burst=1)
    limits.take(soar)

    clock.now += limits.take(soar)

    assert limits.take(soar) == pytest.approx(0.0, abs=1e-9)


def test_a_refused_request_costs_nothing(clock: Clock) -> None:
    limits, soar = RateLimits(clock), sender(per_minute=60, burst=1)
    limits.take(soar)
    for _ in range(100):
        limits.take(soar)

    clock.now += 1

    assert limits.take(soar) == 0.0


def test_a_bucket_holds_no_more_than_its_burst(clock: Clock) -> None:
    limits, soar = RateLimits(clock), sender(per_minute=60, burst=2)
    limits.take(soar)

    clock.now += 3_600

    assert [limits.take(soar) > 0 for _ in range(3)] == [False, False, True]


def test_senders_do_not_share_a_bucket_and_entries_of_one_sender_do(clock: Clock) -> None:
    limits = RateLimits(clock)
    limits.take(sender(burst=1))

    assert limits.take(sender("other", burst=1)) == 0.0
    assert limits.take(sender(burst=1)) > 0


def test_a_clock_that_goes_back_gives_nothing(clock: Clock) -> None:
    limits, soar = RateLimits(clock), sender(per_minute=60, burst=1)
    limits.take(soar)

    clock.now -= 500

    assert limits.take(soar) == 1.0


def test_threads_take_no_more_than_there_is(clock: Clock) -> None:
    limits, soar = RateLimits(clock), sender(per_minute=60, burst=100)
    granted: list[bool] = []

    def take() -> None:
        granted.extend(limits.take(soar) == 0.0 for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(granted) == 100


# Bodies.


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def endless(asked: list[int]) -> AsyncIterator[bytes]:
    while True:
        asked.append(1)
        yield b"x" * 100


async def stalled() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


def read(bodies: Bodies, stream: AsyncIterator[bytes], declared: Optional[str] = None) -> bytes:
    return asyncio.run(bodies.read(stream, declared))


def test_a_body_is_read_as_it_came() -> None:
    assert read(Bodies(BodyLimits()), chunks(b"\x1f\x8b", b"", b"\x00"), "3") == b"\x1f\x8b\x00"
    assert read(Bodies(BodyLimits()), chunks()) == b""


def test_a_body_of_the_very_limit_is_read() -> None:
    bodies = Bodies(BodyLimits(max_bytes=10))

    assert len(read(bodies, chunks(b"x" * 5, b"x" * 5), "10")) == 10


@pytest.mark.parametrize("declared", ["11", "9" * 19])
def test_a_body_that_declares_too_much_is_not_begun(declared: str) -> None:
    asked: list[int] = []

    with pytest.raises(BodyRefused) as caught:
        read(Bodies(BodyLimits(max_bytes=10)), endless(asked), declared)

    assert (caught.value.status, caught.value.retry_after_s, asked) == (413, None, [])


@pytest.mark.parametrize("declared", [None, "1"], ids=["chunked", "lie"])
def test_a_body_that_grows_too_large_is_not_read_on(declared: Optional[str]) -> None:
    asked: list[int] = []

    with pytest.raises(BodyRefused, match="more than 1000 bytes") as caught:
        read(Bodies(BodyLimits(max_bytes=1_000)), endless(asked), declared)

    assert (caught.value.status, len(asked)) == (413, 11)


@pytest.mark.parametrize(
    "declared", ["", "-1", "1e3", "٣", "0x10", "1,1", "9" * 5_000], ids=lambda text: ascii(text)[:12]
)
def test_a_length_that_is_none_is_refused(declared: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        read(Bodies(BodyLimits()), chunks(), declared)

    assert caught.value.status == 400


def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(BodyRefused, match=r"did not arrive within 0\.05 s") as caught:
        read(Bodies(BodyLimits(timeout_s=0.05)), stalled())

    assert (caught.value.status, caught.value.retry_after_s) == (408, 1)


def test_no_more_bodies_are_read_at_once_than_may() -> None:
    bodies = Bodies(BodyLimits(at_once=2, timeout_s=30))

    async def crowd() -> list[Any]:
        slow = [asyncio.ensure_future(bodies.read(stalled())) for _ in range(2)]
        await asyncio.sleep(0)
        one_more = await asyncio.gather(bodies.read(chunks(b"x")), return_exceptions=True)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return [*one_more, await bodies.read(chunks(b"x"))]

    refused, after = asyncio.run(crowd())

    assert (refused.status, refused.retry_after_s) == (503, 1)
    assert after == b"x"


def test_a_sender_can_have_a_limit_of_its_own() -> None:
    bodies = Bodies(BodyLimits())

    bodies.check(sender(max_body_bytes=10), 10)
    bodies.check(sender(), 10**9)
    with pytest.raises(BodyRefused, match="more than 10 bytes") as caught:
        bodies.check(sender(max_body_bytes=10), 11)

    assert caught.value.status == 413
