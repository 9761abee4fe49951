"""In time whatever the source does, from the caches at once, and few questions for many callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Callable, TypeVar

import pytest

from cbsigned.enrichment import Caches, Enrichment, Sources
from cbsigned.errors import SourceUnavailable
from cbsigned.formats import parse_alert
from cbsigned.gaps import Cause
from cbsigned.settings import Settings
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.responder import Reading, Responder, TooBusy
from recording import Recording, document, md5_of

_T = TypeVar("_T")


class Gated(Recording):
    """A recording that answers when `gate` opens."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked, self.gate = threading.Semaphore(0), threading.Event()

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        self.asked.release()
        assert self.gate.wait(10)
        return super().binaries(hashes, deadline)


def reading(number: int) -> Reading:
    record = {"md5": md5_of(number), "process_name": "a.exe"}
    return Reading(record, parse_alert(record, "row"))


def same(found: list[Enrichment]) -> list[Enrichment]:
    return found


@contextmanager
def responder(source: Recording, caches: bool = True, **options: Any) -> Iterator[Responder]:
    kept = Caches() if caches else None
    with closing(Responder(Sources(source, source, source, kept), Settings(), kept, **options)) as ready:
        yield ready


def run(work: Callable[[], Awaitable[_T]]) -> _T:
    async def main() -> _T:
        return await work()

    return asyncio.run(main())


def signed(*numbers: int) -> dict[str, Any]:
    return {md5_of(n): [document(md5=md5_of(n))] for n in numbers}


def test_what_the_caches_know_asks_nobody() -> None:
    source = Recording(signed(1))

    async def work(ready: Responder) -> list[Enrichment]:
        await ready.answer([reading(1)], Deadline(10), same)
        source.failure = SourceUnavailable("down")
        return await ready.answer([reading(1)], Deadline(10), same)

    with responder(source) as ready:
        (found,) = run(lambda: work(ready))

    assert found.complete
    assert found.record == reading(1).record
    assert source.hash_calls == [[md5_of(1)]]


def test_without_caches_the_source_is_asked_every_time() -> None:
    source = Recording(signed(1))

    async def work(ready: Responder) -> None:
        for _ in range(2):
            await ready.answer([reading(1)], Deadline(10), same)

    with responder(source, caches=False) as ready:
        run(lambda: work(ready))

    assert len(source.hash_calls) == 2


def test_a_source_that_hangs_is_not_waited_for() -> None:
    """The deadline holds although the worker is still inside the source."""
    source = Gated(binaries=signed(1, 2))

    async def work(ready: Responder) -> list[Enrichment]:
        source.gate.set()
        await ready.answer([reading(1)], Deadline(10), same)
        source.gate.clear()
        found = await ready.answer([reading(1), reading(2)], Deadline(0.2), same)
        source.gate.set()
        return found

    with responder(source) as ready:
        known, unknown = run(lambda: work(ready))

    assert known.complete
    assert known.subjects[0].signature.status.value == "Signed"
    assert [gap.cause for gap in unknown.gaps][:1] == [Cause.TIMEOUT]
    assert "recording did not answer within 0.2 s" in unknown.gaps[0].reason


def test_who_waits_while_all_workers_are_busy_is_asked_for_together() -> None:
    source = Gated(binaries=signed(*range(40)))

    async def work(ready: Responder) -> list[list[Enrichment]]:
        first = asyncio.ensure_future(ready.answer([reading(0)], Deadline(10), same))
        assert await asyncio.to_thread(source.asked.acquire)
        others = [asyncio.ensure_future(ready.answer([reading(n)], Deadline(10), same)) for n in range(1, 40)]
        await asyncio.sleep(0)
        assert ready.waiting == 39
        source.gate.set()
        return await asyncio.gather(first, *others)

    with responder(source, workers=1) as ready:
        found = run(lambda: work(ready))

    assert [f[0].subjects[0].observables.md5 for f in found] == [md5_of(n) for n in range(40)]
    assert [len(call) for call in source.hash_calls] == [1, 39]


def test_who_has_gone_is_passed_over() -> None:
    source = Gated(binaries=signed(1, 2, 3))

    async def work(ready: Responder) -> None:
        first = asyncio.ensure_future(ready.answer([reading(1)], Deadline(10), same))
        assert await asyncio.to_thread(source.asked.acquire)
        gone = asyncio.ensure_future(ready.answer([reading(2)], Deadline(10), same))
        last = asyncio.ensure_future(ready.answer([reading(3)], Deadline(10), same))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        source.gate.set()
        await asyncio.gather(first, last)

    with responder(source, workers=1) as ready:
        run(lambda: work(ready))

    assert source.hash_calls == [[md5_of(1)], [md5_of(3)]]


def test_more_than_may_wait_is_refused() -> None:
    source = Gated(binaries=signed(1, 2, 3))

    async def work(ready: Responder) -> int:
        first = asyncio.ensure_future(ready.answer([reading(1)], Deadline(10), same))
        assert await asyncio.to_thread(source.asked.acquire)
        second = asyncio.ensure_future(ready.answer([reading(2)], Deadline(10), same))
        await asyncio.sleep(0)
        try:
            with pytest.raises(TooBusy) as caught:
                await ready.answer([reading(3)], Deadline(10), same)
        finally:
            source.gate.set()
        await asyncio.gather(first, second)
        return caught.value.retry_after_s

    with responder(source, workers=1, most_waiting=1) as ready:
        assert run(lambda: work(ready)) == 5


def test_a_defect_reaches_its_caller_and_nobody_else() -> None:
    source = Gated(binaries=signed(1, 2))

    def broken(_found: list[Enrichment]) -> None:
        raise ZeroDivisionError

    async def work(ready: Responder) -> list[Any]:
        first = asyncio.ensure_future(ready.answer([reading(0)], Deadline(10), same))
        assert await asyncio.to_thread(source.asked.acquire)
        others = [ready.answer([reading(1)], Deadline(10), broken), ready.answer([reading(2)], Deadline(10), same)]
        both = asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)
        source.gate.set()
        await first
        return list(await both)

    with responder(source, workers=1) as ready:
        failed, answered = run(lambda: work(ready))

    assert isinstance(failed, ZeroDivisionError)
    assert answered[0].complete


def test_nothing_in_is_nothing_out() -> None:
    with responder(Recording()) as ready:
        assert run(lambda: ready.answer([], Deadline(10), same)) == []
