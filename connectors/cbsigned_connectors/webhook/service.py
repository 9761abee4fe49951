"""The work behind the addresses: orders answered now or later, each once; used by the API and by the analyst's page."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Callable, Optional, Protocol, TypeVar, Union

from cbsigned.alert import Alert
from cbsigned.enrichment import Enrichment
from cbsigned.formats import FieldMapping, Limits
from cbsigned.gaps import Cause
from cbsigned.render.document import Document
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.answers import Answer, Wish, answer_of, documents_of, json_bytes, signatures_of
from cbsigned_connectors.webhook.asynchronous import answer_of_document, document_of_answer
from cbsigned_connectors.webhook.callbacks import CallbackRefused, Callbacks
from cbsigned_connectors.webhook.credentials import Network, SenderSettings
from cbsigned_connectors.webhook.health import Health
from cbsigned_connectors.webhook.intake import Asked, Order, body_of, order_of, readings_of
from cbsigned_connectors.webhook.job_model import Accepted, Conflict, Jobs, JobsError, JobState, Repeated
from cbsigned_connectors.webhook.limits import Bodies, BodyLimits, BodyRefused, RateLimits
from cbsigned_connectors.webhook.metrics import Metrics
from cbsigned_connectors.webhook.models import ProblemError
from cbsigned_connectors.webhook.recent import Recent
from cbsigned_connectors.webhook.repeats import Repeats
from cbsigned_connectors.webhook.responder import Reading, Responder, TooBusy
from cbsigned_connectors.webhook.senders import Refused, Sender, client_address
from cbsigned_connectors.webhook.views import SourceState

__all__ = ["Parts", "Recogniser", "Service"]

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_POLL_AFTER_S = 2
_INLINE_BYTES = 64 * 1024
_INLINE_RECORDS = 16
_JOB_THREADS = 8
_FOR_WANT_OF_TIME = frozenset({Cause.TIMEOUT, Cause.NOT_ASKED})
_LATER = "A job has more time: post with mode=async or Prefer: respond-async."


class Recogniser(Protocol):
    """Says who sent a request."""

    def recognise(
        self, headers: Mapping[str, str], path_token: Optional[str], raw_body: bytes, now: float,
        address: Optional[str] = None,
    ) -> Union[Sender, Refused]:  # fmt: skip
        """Return the sender, or why it is not let in; see `Senders.recognise`."""


@dataclass(frozen=True)
class Parts:
    """What the service is made of.

    Attributes:
        jobs: None: nothing is accepted for later, and no key is remembered.
        mappings: The users' own, by name.
        deadline_s: From the arrival of a request to its answer.
        job_deadline_s: For one try of an accepted job.
        bodies: What a body may be before it is known who sends it.
        callbacks: None: no callback is made.
        trusted_proxies: Whose `X-Forwarded-For` is believed.
    """

    responder: Responder
    senders: Recogniser
    health: Health
    metrics: Metrics = field(default_factory=Metrics)
    jobs: Optional[Jobs] = None
    mappings: Mapping[str, FieldMapping] = field(default_factory=dict)
    deadline_s: float = 10.0
    job_deadline_s: float = 60.0
    bodies: BodyLimits = field(default_factory=BodyLimits)
    callbacks: Optional[Callbacks] = None
    trusted_proxies: tuple[Network, ...] = ()


class Service:
    """Answers orders; made in any thread, used in one event loop."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.recent = Recent()
        self.bodies = Bodies(parts.bodies)
        self._rates = RateLimits()
        self._on_page: dict[str, SenderSettings] = {}  # of those who signed in
        self._repeats = Repeats()
        self._pool = ThreadPoolExecutor(_JOB_THREADS, "webhook-jobs")
        self._limits = Limits(
            body_bytes=parts.bodies.max_bytes,
            unpacked_bytes=max(parts.bodies.max_bytes, parts.bodies.max_unpacked_bytes),
        )

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._pool.shutdown()
        self.parts.responder.close()

    def recognised(
        self, headers: Mapping[str, str], path_token: Optional[str], raw: bytes, address: Optional[str]
    ) -> Sender:
        """Return who sent a request.

        Raises:
            ProblemError: 401, 403, 409, 413 or 429: it is not let in.
        """
        if self.parts.trusted_proxies:
            address = client_address(address, headers.get("x-forwarded-for"), self.parts.trusted_proxies)
        found = self.parts.senders.recognise(headers, path_token, raw, time.time(), address)
        if isinstance(found, Refused):
            raise ProblemError(found.status, found.reason, headers=found.headers)
        self._take(found.settings)
        try:
            self.bodies.check(found.settings, len(raw))
        except BodyRefused as exc:
            raise ProblemError(exc.status, str(exc)) from None
        return found

    async def order(self, asked: Asked) -> Order:
        """Return the order in a request; large bodies are read in a thread. See `order_of`."""
        if len(asked.raw) <= _INLINE_BYTES:
            return order_of(asked, self._limits)
        return await asyncio.to_thread(order_of, asked, self._limits)

    async def enriched(self, order: Order, deadline: Deadline, advice: str = "") -> Answer:
        """Return the answer to an order, asking whatever is not known.

        Args:
            advice: Added to the first gap that is there for want of time.

        Raises:
            ProblemError: See `answer_of`; 404 for a format that is not there; 503 where too much is waiting.
        """
        readings = await self._readings(order)
        ignored = any(reading.ignored for reading in readings)

        def finish(found: list[Enrichment]) -> Answer:
            return answer_of(order.wish, _advised(found, advice), order.many, ignored)

        answer = await self._asked(readings, deadline, finish)
        if answer.told is not None:
            self.parts.metrics.answered(answer.told.statuses, answer.told.causes)
            if answer.told.bodies:
                self.recent.add(order.sender, answer.told.bodies, len(order.records))
        return answer

    async def answered(self, asked: Asked, deadline: Deadline) -> Answer:
        """Return the answer to a request: the stored one where its key is known, or where the same body came just now.

        An answer that lacks something is not stored, so that the same request may get a better one.

        Raises:
            ProblemError: 409 where the key belongs to another request; else as `enriched`.
        """
        repeats = not asked.keyed and self.parts.responder.keeps  # a store may have been written in between
        digest = asked.digest if repeats else None
        answer = self._repeats.get(asked.sender.name, digest) if digest is not None else None
        if answer is not None:
            self.parts.metrics.repeated()
            return answer
        order = await self.order(asked)
        answer = await (self._now(order, deadline) if order.key is None else self._keyed(order, deadline))
        if digest is not None and _whole(answer):
            self._repeats.put(asked.sender.name, digest, answer)
        return answer

    async def _now(self, order: Order, deadline: Deadline) -> Answer:
        return await self.enriched(order, deadline, _LATER if self.parts.jobs is not None else "")

    async def _keyed(self, order: Order, deadline: Deadline) -> Answer:
        jobs = self.parts.jobs
        if jobs is None or order.key is None:
            return await self._now(order, deadline)
        try:
            taken = await self._kept(partial(jobs.accept, order.sender, order.key, order.digest, b"", own=True))
        except JobsError as exc:
            log.warning("Keys are not remembered for now: %s", exc)
            return await self._now(order, deadline)
        if not isinstance(taken, Accepted):
            return self._known(taken)
        answer = None
        try:
            answer = await self._now(order, deadline)
        finally:
            await self._settled(jobs, taken.id, answer)
        return answer

    async def accepted(self, order: Order, callback: Optional[str]) -> Answer:
        """Take an order on, to be answered later; when this returns, it is kept.

        Args:
            callback: Where the answer is to be sent.

        Raises:
            ProblemError: 409 where the key belongs to another request; 503 where nothing can be kept; 404 and 422
                where it is certain that there will be no answer, or that the callback may not be made.
        """
        jobs = self.parts.jobs
        if jobs is None:
            raise ProblemError(503, "This service keeps no jobs. Ask without mode=async.")
        if callback is not None:
            self._check_callback(callback)
        readings = await self._readings(order)
        if not any(isinstance(reading.alert, Alert) or reading.ignored for reading in readings):
            reasons = list(dict.fromkeys(str(reading.alert) for reading in readings))
            raise ProblemError(422, reasons[0] if reasons else "The body holds no alert, so there is nothing to do.")
        key = order.key or f"body {order.digest.hex()}"
        try:
            taken = await self._kept(partial(jobs.accept, order.sender, key, order.digest, order.document(), callback))
        except JobsError as exc:
            raise ProblemError(503, str(exc), headers={"Retry-After": str(exc.retry_after_s)}) from None
        return _location(taken.id) if isinstance(taken, Accepted) else self._known(taken)

    async def signatures(self, hashes: Sequence[str], deadline: Deadline) -> Answer:
        """Return the signing status of files, one for each hash, in order.

        Raises:
            ProblemError: See `signatures_of`; 503 where too much is waiting.
        """
        order = Order("", [{"hash": text} for text in hashes], True, "row", Wish(), None, b"")
        readings = await self._readings(order)
        answer = await self._asked(readings, deadline, lambda found: signatures_of(hashes, found))
        if answer.told is not None:
            self.parts.metrics.answered(answer.told.statuses, answer.told.causes)
        return answer

    async def lineage(self, sender: Sender, asked: Mapping[str, Any], wish: Wish, deadline: Deadline) -> Answer:
        """Return the enrichment of one process, named by guid or by host, pid and time."""
        return await self.enriched(Order(sender.name, [asked], False, "row", wish, None, b""), deadline)

    async def job(self, job_id: str, sender: Sender) -> Answer:
        """Return a job's answer, or that there is none yet.

        Raises:
            ProblemError: 404 for others' jobs and unknown ones; 503 where they cannot be read.
        """
        jobs = self.parts.jobs
        try:
            found = await self._kept(partial(jobs.get, job_id, sender.name)) if jobs is not None else None
        except JobsError as exc:
            raise ProblemError(503, str(exc), headers={"Retry-After": str(exc.retry_after_s)}) from None
        if found is None:
            raise ProblemError(404, "There is no such job of yours, or its answer has expired. Post the alert again.")
        if found.state is JobState.FAILED:
            raise ProblemError(500, f"The job failed: {found.reason}")
        return _location(found.id) if found.answer is None else answer_of_document(found.answer)

    async def run(self, order: Order) -> Answer:
        """Return the answer to an order that was accepted; for the runner of jobs."""
        return await self.enriched(order, Deadline(self.parts.job_deadline_s))

    def sign_in(self, token: str, address: Optional[str]) -> Optional[str]:
        """Return the name of the sender that a bearer token proves; see `PageState`."""
        found = self.parts.senders.recognise({"authorization": f"Bearer {token}"}, None, b"", time.time(), address)
        if not isinstance(found, Sender):
            return None
        self._on_page[found.name] = found.settings
        return found.name

    async def look_up(self, sender: str, body: bytes) -> Sequence[Document]:
        """Return the enrichments of every alert in a body, as one request of the sender's; see `PageState`."""
        self._take(self._on_page[sender])
        records = body_of(body, {"content-type": "application/json"}, self._limits).records
        readings = await self._readings(Order(sender, records, True, None, Wish(), None, b""))
        return await self._asked(readings, Deadline(self.parts.deadline_s), documents_of)

    def sources(self) -> Sequence[SourceState]:
        """Return whether each source answers; see `PageState`."""
        return self.parts.health.sources()

    def _take(self, sender: SenderSettings) -> None:
        wait_s = math.ceil(self._rates.take(sender))
        if wait_s > 0:
            raise ProblemError(
                429,
                f"{sender.name} has made as many requests as it may for now. Try again in {wait_s} s; many alerts or "
                "hashes at once are one request.",
                headers={"Retry-After": str(wait_s)},
            )

    async def _readings(self, order: Order) -> list[Reading]:
        small = len(order.records) <= _INLINE_RECORDS
        arguments = (order, self.parts.mappings)
        return readings_of(*arguments) if small else await asyncio.to_thread(readings_of, *arguments)

    async def _asked(
        self, readings: Sequence[Reading], deadline: Deadline, finish: Callable[[list[Enrichment]], _T]
    ) -> _T:
        try:
            return await self.parts.responder.answer(readings, deadline, finish)
        except TooBusy as exc:
            raise ProblemError(503, str(exc), headers={"Retry-After": str(exc.retry_after_s)}) from None
        except ProblemError as exc:  # of `finish`
            if "Retry-After" in exc.headers:
                exc.headers["Retry-After"] = str(max(int(exc.headers["Retry-After"]), self.parts.health.pause_s()))
            raise

    def _check_callback(self, url: str) -> None:
        if self.parts.callbacks is None:
            raise ProblemError(
                422, "No callback is made: the configuration allows none.", [("callback_url", "Leave it.")]
            )
        try:
            self.parts.callbacks.check(url)
        except CallbackRefused as exc:
            raise ProblemError(422, "The callback may not be made.", [("callback_url", str(exc))]) from None

    def _known(self, taken: Union[Repeated, Conflict]) -> Answer:
        if isinstance(taken, Conflict):
            raise ProblemError(409, "This key came with another request before. Give every request a key of its own.")
        return _location(taken.id) if taken.answer is None else answer_of_document(taken.answer)

    async def _kept(self, change: Callable[[], _T]) -> _T:
        """Use the store of jobs, in threads of its own: neither slow callbacks nor large bodies hold it up."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, change)

    async def _settled(self, jobs: Jobs, job_id: str, answer: Optional[Answer]) -> None:
        """Store a whole answer under its key, and forget the key of any other."""
        try:
            if answer is not None and _whole(answer):
                await self._kept(partial(jobs.finish, job_id, document_of_answer(answer)))
            else:
                await self._kept(partial(jobs.release, job_id))
        except JobsError as exc:
            log.warning("The key of a request is not remembered: %s", exc)


def _advised(found: list[Enrichment], advice: str) -> list[Enrichment]:
    """Return enrichments with advice in the first gap of each that more time might fill."""
    if not advice:
        return found
    advised = []
    for enrichment in found:
        at = next((n for n, gap in enumerate(enrichment.gaps) if gap.cause in _FOR_WANT_OF_TIME), None)
        if at is not None:
            gaps = list(enrichment.gaps)
            gaps[at] = replace(gaps[at], reason=f"{gaps[at].reason} {advice}")
            enrichment = replace(enrichment, gaps=tuple(gaps))
        advised.append(enrichment)
    return advised


def _whole(answer: Answer) -> bool:
    return answer.told is not None and answer.told.complete


def _location(job_id: str) -> Answer:
    """Return the 202 of an accepted job."""
    path = f"/v1/jobs/{job_id}"
    body = json_bytes({"id": job_id, "state": "waiting", "status_url": path})
    return Answer(body, status=202, headers={"Location": path, "Retry-After": str(_POLL_AFTER_S)})
