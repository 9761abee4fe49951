"""Accepted jobs: kept before the 202, run in the background until there is an answer, and told by callback.

While the source is down a job waits and is tried again, for ten minutes; then its answer says what is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

from cbsigned.timing import format_time, utc_now
from cbsigned_connectors.webhook.answers import JSON, Answer, json_bytes
from cbsigned_connectors.webhook.callbacks import Callbacks, Outcome
from cbsigned_connectors.webhook.intake import Order
from cbsigned_connectors.webhook.job_model import Job, Jobs, JobsError
from cbsigned_connectors.webhook.models import PROBLEM_TYPE, ProblemError

__all__ = ["Caller", "Runner", "answer_of_document", "answer_to_job", "document_of_answer", "payload_of"]

log = logging.getLogger(__name__)
_AT_ONCE = 32
_CLAIM_S = 0.5
_PAUSES_S = (2.0, 5.0, 10.0, 20.0, 30.0)
_PATIENCE_S = 600.0
_RENEW_S = 15.0
_BROKEN_S = 5.0
_LOOK_S = 0.5
_CALLS_AT_ONCE = 8
_WRITES_AT_ONCE = 8
_WORTH_WAITING = (502, 503)


def document_of_answer(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON types, to be kept."""
    return {
        "status": answer.status, "media_type": answer.media_type, "headers": dict(answer.headers),
        "body": answer.body.decode("utf-8", "replace"),
    }  # fmt: skip


def answer_of_document(document: Any) -> Answer:
    """Return the answer that was kept."""
    body = document["body"].encode("utf-8", "replace")
    return Answer(body, document["media_type"], document["status"], document["headers"])


async def answer_to_job(
    job_id: str, sender: str, request: Any, work: Callable[[Order], Awaitable[Answer]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Answer:  # fmt: skip
    """Return the answer to an accepted job; a defect ends the job with a problem, not who runs it.

    Args:
        request: The order as it was kept.
        work: Answers an order; raises `ProblemError`.
        sleep: Between two tries while the source is down.
    """
    try:
        return await _patient(Order.of_document(sender, _mapping(request)), work, sleep)
    except ProblemError as exc:
        return Answer(json_bytes(exc.document(job_id)), PROBLEM_TYPE, exc.status, exc.headers)
    except Exception:
        log.exception("Job %s failed; this is a defect of cbsigned", job_id)
        error = ProblemError(500, f"This should not happen. The log has the details under job {job_id}.")
        return Answer(json_bytes(error.document(job_id)), PROBLEM_TYPE, 500)


async def _patient(
    order: Order, work: Callable[[Order], Awaitable[Answer]], sleep: Callable[[float], Awaitable[None]]
) -> Answer:
    waited = 0.0
    for turn in range(1000):
        try:
            return await work(order)
        except ProblemError as exc:
            pause = _PAUSES_S[min(turn, len(_PAUSES_S) - 1)]
            if exc.status not in _WORTH_WAITING or waited + pause > _PATIENCE_S:
                raise
        await sleep(pause)
        waited += pause
    raise AssertionError("patience ends sooner")


class Runner:
    """Runs accepted jobs in the event loop, many at once; the work itself is the responder's.

    Args:
        jobs: Where they are kept.
        work: Answers an order; raises `ProblemError`.
        sleep: Tests pass their own.
    """

    def __init__(
        self, jobs: Jobs, work: Callable[[Order], Awaitable[Answer]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._jobs, self._work, self._sleep = jobs, work, sleep
        self._stopping = asyncio.Event()
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._claims = ThreadPoolExecutor(1, "webhook-claim")
        self._writes = ThreadPoolExecutor(_WRITES_AT_ONCE, "webhook-finish")
        self._claiming: Optional[asyncio.Task[None]] = None
        self._renewing: Optional[asyncio.Task[None]] = None

    def start(self) -> None:
        """Begin to run what is there and what comes."""
        self._claiming = asyncio.ensure_future(self._claim())
        self._renewing = asyncio.ensure_future(self._renew())

    async def stop(self, within_s: float) -> None:
        """Begin nothing more, finish what runs for `within_s` seconds; the rest is run after the next start."""
        self._stopping.set()
        if self._claiming is not None:
            await self._claiming
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=within_s)
        left = list(self._running.items())
        for _job_id, task in left:
            task.cancel()
        await asyncio.gather(*(task for _job_id, task in left), return_exceptions=True)
        if self._renewing is not None:
            self._renewing.cancel()
        for job_id, _task in left:
            await self._kept(lambda job_id=job_id: self._jobs.release(job_id))  # type: ignore[misc]
        self._claims.shutdown()
        self._writes.shutdown()

    async def _claim(self) -> None:
        while not self._stopping.is_set():
            await self._free.acquire()
            job = await self._next()
            if job is None:
                self._free.release()
                continue
            task = asyncio.ensure_future(self._run(job))
            self._running[job.id] = task
            task.add_done_callback(lambda _task, job_id=job.id: self._ended(job_id))  # type: ignore[misc]

    async def _next(self) -> Optional[Job]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._claims, self._jobs.claim, _CLAIM_S)
        except JobsError as exc:
            log.warning("No job can be begun: %s", exc)
            await self._paused(_BROKEN_S)
            return None

    def _ended(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        self._free.release()

    async def _run(self, job: Job) -> None:
        """Answer one job and keep the answer."""
        answer = await answer_to_job(job.id, job.sender, job.request, self._work, self._sleep)
        while not await self._kept(lambda: self._jobs.finish(job.id, document_of_answer(answer))):
            await self._sleep(_BROKEN_S)

    async def _kept(self, change: Callable[[], object]) -> bool:
        """Change the store of jobs; False where it cannot be written, for example because the disk is full."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._writes, change)
        except JobsError as exc:
            log.error("A job's answer cannot be kept, it is tried again: %s", exc)
            return False
        return True

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            for job_id in list(self._running):
                await self._kept(lambda job_id=job_id: self._jobs.renew(job_id))  # type: ignore[misc]

    async def _paused(self, seconds: float) -> None:
        """Sleep, unless it is time to stop."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except asyncio.TimeoutError:
            return


class Caller:
    """Makes the callbacks of jobs that are done, some at once; what fails is due again later.

    Args:
        jobs: Where they are kept.
        callbacks: Makes one try.
        observe: Told what came of each try.
    """

    def __init__(self, jobs: Jobs, callbacks: Callbacks, observe: Callable[[Outcome], None]) -> None:
        self._jobs, self._callbacks, self._observe = jobs, callbacks, observe
        self._stopping = asyncio.Event()
        self._free = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._pool = ThreadPoolExecutor(_CALLS_AT_ONCE + 1, "webhook-callback")
        self._calling: set[asyncio.Future[None]] = set()
        self._serving: Optional[asyncio.Task[None]] = None

    def start(self) -> None:
        """Begin to call."""
        self._serving = asyncio.ensure_future(self._serve())

    async def stop(self) -> None:
        """End the calls that are under way; what was not called is called after the next start."""
        self._stopping.set()
        if self._serving is not None:
            await self._serving
        await asyncio.gather(*self._calling, return_exceptions=True)
        self._pool.shutdown()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            await self._free.acquire()
            job = await self._next()
            if job is None:
                self._free.release()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _LOOK_S)
                continue
            call = loop.run_in_executor(self._pool, self._call, job)
            self._calling.add(call)
            call.add_done_callback(self._called)

    async def _next(self) -> Optional[Job]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._jobs.claim_call)
        except JobsError as exc:
            log.warning("No callback can be made: %s", exc)
            return None

    def _called(self, call: asyncio.Future[None]) -> None:
        self._calling.discard(call)
        self._free.release()
        if not call.cancelled() and call.exception() is not None:
            log.error("A callback failed; this is a defect of cbsigned", exc_info=call.exception())

    def _call(self, job: Job) -> None:
        """Try a job's callback once, in a thread."""
        outcome = self._callbacks.attempt(job.callback or "", job.id, payload_of(job), job.calls)
        self._observe(outcome)
        log.info("Callback of job %s: %s", job.id, outcome.reason)
        try:
            self._jobs.called(job.id, outcome.again_s)
        except JobsError as exc:
            log.warning("It is not kept that a callback was tried, so it is tried again: %s", exc)


def payload_of(job: Job) -> bytes:
    """Return what a callback brings: the job's id and its answer, in the envelope of Standard Webhooks."""
    answer = answer_of_document(job.answer) if job.answer is not None else None
    data: dict[str, Any] = {"job": job.id, "status": 500 if answer is None else answer.status}
    if answer is None:
        data["reason"] = job.reason
    else:
        data["media_type"] = answer.media_type
        is_json = answer.media_type in (JSON, PROBLEM_TYPE)
        data["answer"] = json.loads(answer.body) if is_json else answer.body.decode("utf-8")
    return json_bytes({"type": "enrichment.finished", "timestamp": format_time(utc_now()), "data": data})


def _mapping(content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise TypeError("a job of another kind")
    return content
