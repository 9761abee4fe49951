"""Accepted jobs: run when there is something to say, tried again while the source is down, told by callback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from cbsigned.errors import AlertError
from cbsigned_connectors.webhook.answers import Answer, Wish
from cbsigned_connectors.webhook.asynchronous import Caller, Runner, answer_of_document, document_of_answer, payload_of
from cbsigned_connectors.webhook.callbacks import Outcome
from cbsigned_connectors.webhook.intake import Order
from cbsigned_connectors.webhook.jobs import Accepted, FileJobs, Job, JobSettings, JobState, JobsUnavailable
from cbsigned_connectors.webhook.models import ProblemError

ORDER = Order("soar", [{"md5": "x", "n": 1e400}], True, "row", Wish("ocsf", ("html",)), None, b"d")
ANSWER = Answer(b'{"a":"\xc3\xa9"}', status=200, headers={"X": "1"})


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[FileJobs]:
    with contextlib.closing(FileJobs(JobSettings(tmp_path / "jobs.db", least_free_bytes=0))) as ready:
        yield ready


def accepted(jobs: FileJobs, order: Order = ORDER, callback: Optional[str] = None) -> str:
    taken = jobs.accept("soar", "key", order.digest, order.document(), callback)
    assert isinstance(taken, Accepted)
    return taken.id


def state(jobs: FileJobs, job_id: str) -> Optional[Job]:
    return jobs.get(job_id, "soar")


async def until(done: Callable[[], bool]) -> None:
    for _ in range(1000):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def run_one(jobs: FileJobs, work: Callable[[Order], Awaitable[Answer]], naps: Optional[list[float]] = None) -> Job:
    """Run the only job to its end, and return it."""
    slept = [] if naps is None else naps

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def main() -> None:
        runner = Runner(jobs, work, sleep)
        runner.start()
        await until(lambda: jobs.counts().done == 1)
        await runner.stop(1)

    job_id = accepted(jobs)
    asyncio.run(main())
    found = state(jobs, job_id)
    assert found is not None
    return found


def test_an_order_comes_back_as_it_was_kept() -> None:
    order = Order("soar", [{"a": "\ud800"}, AlertError("Line 2 is no JSON.")], True, None, Wish("ecs"), None, b"")

    back = Order.of_document("soar", json.loads(json.dumps(order.document())))

    assert (back.records[0], str(back.records[1])) == ({"a": "\ud800"}, "Line 2 is no JSON.")
    assert (back.sender, back.many, back.source, back.wish) == ("soar", True, None, Wish("ecs"))


def test_an_answer_comes_back_as_it_was_kept() -> None:
    assert answer_of_document(json.loads(json.dumps(document_of_answer(ANSWER)))) == ANSWER


def test_a_job_is_run_and_its_answer_kept(jobs: FileJobs) -> None:
    orders = []

    async def work(order: Order) -> Answer:
        orders.append(order)
        return ANSWER

    job = run_one(jobs, work)

    assert job.answer is not None
    assert (job.state, answer_of_document(job.answer)) == (JobState.DONE, ANSWER)
    assert (orders[0].sender, orders[0].wish, orders[0].source) == ("soar", ORDER.wish, "row")


def test_a_job_waits_while_the_source_is_down(jobs: FileJobs) -> None:
    naps: list[float] = []

    async def work(_order: Order) -> Answer:
        if len(naps) < 7:
            raise ProblemError(502, "down")
        return ANSWER

    job = run_one(jobs, work, naps)

    assert naps == [2.0, 5.0, 10.0, 20.0, 30.0, 30.0, 30.0]
    assert answer_of_document(job.answer).status == 200


def test_after_ten_minutes_a_job_says_that_the_source_is_down(jobs: FileJobs) -> None:
    naps: list[float] = []

    async def work(_order: Order) -> Answer:
        raise ProblemError(502, "cb.example.test is down")

    job = run_one(jobs, work, naps)

    answer = answer_of_document(job.answer)
    assert (answer.status, json.loads(answer.body)["detail"]) == (502, "cb.example.test is down")
    assert 540 < sum(naps) <= 600


@pytest.mark.parametrize("error", [ProblemError(422, "nothing"), ZeroDivisionError("secret")], ids=["problem", "bug"])
def test_what_cannot_be_answered_ends_the_job_and_not_the_runner(jobs: FileJobs, error: Exception) -> None:
    async def work(_order: Order) -> Answer:
        raise error

    answer = answer_of_document(run_one(jobs, work).answer)

    assert answer.status == (422 if isinstance(error, ProblemError) else 500)
    assert b"secret" not in answer.body


def test_an_answer_that_finds_no_room_is_kept_later(jobs: FileJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full for a while loses no answer."""
    failures = [JobsUnavailable("disk full"), JobsUnavailable("disk full")]
    finish = jobs.finish

    def full(*args: Any) -> bool:
        if failures:
            raise failures.pop()
        return finish(*args)

    async def work(_order: Order) -> Answer:
        return ANSWER

    monkeypatch.setattr(jobs, "finish", full)

    assert run_one(jobs, work).state is JobState.DONE


def test_a_job_that_is_not_finished_at_the_end_is_given_back(jobs: FileJobs) -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def work(_order: Order) -> Answer:
            began.set()
            await asyncio.sleep(60)
            return ANSWER

        runner = Runner(jobs, work)
        runner.start()
        await began.wait()
        await runner.stop(0.01)

    job_id = accepted(jobs)
    asyncio.run(main())

    found = state(jobs, job_id)
    assert found is not None
    assert (found.state, found.tries) == (JobState.WAITING, 0)


class Calls:
    """Makes callbacks as a test wants them to end."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.made: list[tuple[str, str, Any, int]] = []

    def attempt(self, url: str, message_id: str, payload: bytes, tried: int) -> Outcome:
        self.made.append((url, message_id, json.loads(payload), tried))
        return self.outcomes.pop(0)


def test_a_callback_brings_the_answer_and_is_tried_again(jobs: FileJobs) -> None:
    calls, observed = Calls(Outcome(False, "503", 0.0), Outcome(True, "taken")), list[Outcome]()
    job_id = accepted(jobs, callback="https://soar.example.test/hook")
    jobs.claim()
    jobs.finish(job_id, document_of_answer(ANSWER))

    async def main() -> None:
        caller = Caller(jobs, calls, observed.append)  # type: ignore[arg-type]
        caller.start()
        await until(lambda: jobs.counts().calling == 0)
        await caller.stop()

    asyncio.run(main())

    (url, first_id, payload, first), (_url, second_id, _payload, second) = calls.made
    assert (url, first_id, second_id) == ("https://soar.example.test/hook", job_id, job_id)
    assert (first, second) == (1, 2)
    assert payload["type"] == "enrichment.finished"
    assert payload["data"] == {
        "job": job_id, "status": 200, "media_type": "application/json", "answer": {"a": "é"},
    }  # fmt: skip
    assert [outcome.delivered for outcome in observed] == [False, True]


def test_receivers_that_hang_hold_up_nobody_else(jobs: FileJobs) -> None:
    class Hanging(Calls):
        begun, gate = threading.Semaphore(0), threading.Event()

        def attempt(self, url: str, message_id: str, payload: bytes, tried: int) -> Outcome:
            self.begun.release()
            assert self.gate.wait(10)
            return Outcome(True, "taken")

    calls = Hanging()
    for number in range(12):
        taken = jobs.accept("soar", str(number), b"d", b"", "https://soar.example.test/hook")
        assert isinstance(taken, Accepted)
        jobs.finish(taken.id, document_of_answer(ANSWER))

    async def main() -> int:
        caller = Caller(jobs, calls, lambda _outcome: None)  # type: ignore[arg-type]
        caller.start()
        for _ in range(8):
            await asyncio.to_thread(calls.begun.acquire)
        waiting = await asyncio.wait_for(asyncio.gather(*(asyncio.to_thread(jobs.counts) for _ in range(20))), 5)
        calls.gate.set()
        await until(lambda: jobs.counts().calling == 0)
        await caller.stop()
        return waiting[0].calling

    assert asyncio.run(main()) == 12


def test_a_callback_that_breaks_is_told_and_tried_again_later(jobs: FileJobs, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Calls):
        def attempt(self, url: str, message_id: str, payload: bytes, tried: int) -> Outcome:
            raise ZeroDivisionError

    job_id = accepted(jobs, callback="https://soar.example.test/hook")
    jobs.finish(job_id, document_of_answer(ANSWER))

    async def main() -> None:
        caller = Caller(jobs, Broken(), lambda _outcome: None)  # type: ignore[arg-type]
        caller.start()
        await until(lambda: "this is a defect of cbsigned" in caplog.text)
        await caller.stop()

    asyncio.run(main())

    assert jobs.counts().calling == 1


def test_a_callback_tells_of_a_card_and_of_a_failure() -> None:
    done = Job(
        "1", "soar", JobState.DONE, b"", "u", document_of_answer(Answer(b"# x", "text/markdown")), None, 1, 1, 0, 0
    )
    dead = Job("2", "soar", JobState.FAILED, b"", "u", None, "It was begun 5 times.", 5, 1, 0, 0)

    assert json.loads(payload_of(done))["data"]["answer"] == "# x"
    assert json.loads(payload_of(dead))["data"] == {"job": "2", "status": 500, "reason": "It was begun 5 times."}
