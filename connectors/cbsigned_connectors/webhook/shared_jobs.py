"""Accepted jobs that a broker hands to workers on any host; how far each is, and its answer, are in Redis.

The broker's message holds all of a job, so a Redis that lost everything loses no job: its worker writes it down anew. A
job that was begun and never ended is handed out again by the broker; twenty deaths of its workers end it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from cbsigned.rediscache.server import RedisDown, RedisServer
from cbsigned_connectors.webhook.broker import Broker
from cbsigned_connectors.webhook.job_model import (
    Accepted,
    Conflict,
    Content,
    Counts,
    Job,
    Jobs,
    JobsFull,
    JobState,
    JobsUnavailable,
    Repeated,
)
from cbsigned_connectors.webhook.job_scripts import ACCEPT, BEGIN, CLAIM_CALL, COUNTS, END, GIVE_BACK
from cbsigned_connectors.webhook.jobs import JobSettings

__all__ = ["Message", "SharedJobs"]

_PREFIX = "cbsigned:1:job:"
_MOST_TRIES = 20
_OPEN_S = 7 * 86_400.0
"""What is open for longer is forgotten: its message is gone with its broker."""
_FIELDS = ("sender", "state", "callback", "answer", "reason", "tries", "calls", "accepted_at", "finished_at")


@dataclass(frozen=True)
class Message:
    """What a broker carries of a job: an order and where its answer goes, and nothing that proves who we are.

    Attributes:
        key, digest: Digests of the idempotency key and of the body, in hex.
        accepted_at: Seconds since 1970.
    """

    id: str
    sender: str
    key: str
    digest: str
    callback: str
    accepted_at: float
    request: Mapping[str, Any]

    @staticmethod
    def of_document(document: Any) -> Message:
        """Return the message in a task.

        Raises:
            ValueError, KeyError, TypeError: There is none; who else writes into our queue?
        """
        texts = {name: document[name] for name in ("id", "sender", "key", "digest", "callback")}
        if not all(isinstance(text, str) for text in texts.values()) or not isinstance(document["request"], dict):
            raise TypeError("a message of another kind")
        return Message(**texts, accepted_at=float(document["accepted_at"]), request=document["request"])


class SharedJobs(Jobs):
    """`Jobs` that any number of responders accept and any number of workers run.

    Args:
        settings: How many, and for how long; path, file and disk are not used.
        server: Where their state and answers are.
        broker: Hands them to workers.
        clock: Seconds since 1970; tests pass their own.
    """

    runs_here = False

    def __init__(
        self, settings: JobSettings, server: RedisServer, broker: Broker, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings, self._server, self.broker, self._clock = settings, server, broker, clock
        self._accept, self._begin, self._end = (self._script(text) for text in (ACCEPT, BEGIN, END))
        self._give_back, self._next_call, self._counts = (self._script(t) for t in (GIVE_BACK, CLAIM_CALL, COUNTS))

    def accept(
        self, sender: str, key: str, digest: Union[str, bytes], request: Content, callback: Optional[str] = None, *,
        own: bool = False,
    ) -> Union[Accepted, Repeated, Conflict]:  # fmt: skip
        """Take a job on; see `Jobs`."""
        key_digest = hashlib.sha256(f"{sender}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
        body = (digest.encode() if isinstance(digest, str) else digest).hex()
        now, life_s = self._clock(), self.settings.lease_s if own else _OPEN_S
        found = self._accept(
            secrets.token_urlsafe(18), key_digest, sender, body, callback or "", now, self.settings.most_waiting,
            int(own), int(life_s * 1000), now - _OPEN_S,
        )  # fmt: skip
        kind, rest = found[0].decode(), [value.decode() for value in found[1:]]
        if kind == "full":
            raise JobsFull(
                f"{self.settings.most_waiting} jobs are waiting, as many as may. Try again in a minute, start more "
                "workers, or raise jobs.most_waiting."
            )
        if kind == "conflict":
            return Conflict()
        if kind == "known" and rest[1] != "accepting":
            return Repeated(rest[0], _unpacked(rest[2]), JobState(rest[1]))
        if not own and isinstance(request, Mapping):  # again where it is not known whether the broker has it
            self._hand_out(Message(rest[0], sender, key_digest, body, callback or "", now, request))
        return Accepted(rest[0])

    def begin(self, message: Message) -> bool:
        """Whether a message's job is to be run now: not where it has its answer, or has killed too many workers.

        Raises:
            JobsUnavailable: It cannot be told.
        """
        now, kept_ms = self._clock(), int(self.settings.kept_s * 1000)
        state = self._begin(
            message.id, message.key, message.sender, message.digest, message.callback, message.accepted_at, now,
            _MOST_TRIES, int(_OPEN_S * 1000),
        )  # fmt: skip
        if state < 0:
            reason = (
                f"It was begun {_MOST_TRIES} times and never ended: whatever ran it died. Look into the worker's log."
            )
            self._end(message.id, "failed", "", reason, now, kept_ms, now + self.settings.kept_s)
        return bool(state == 1)

    def claim(self, wait_s: float = 0.0) -> Optional[Job]:
        """Return None: the broker hands them to workers."""
        return None

    def renew(self, job_id: str) -> bool:
        """Return True: the broker knows who has a job."""
        return True

    def release(self, job_id: str) -> None:
        """Forget a job that was accepted with `own`; see `Jobs`."""
        self._give_back(job_id, "running", "gone")

    def put_back(self, job_id: str) -> None:
        """Note that a job that was begun is to be run by another worker."""
        self._give_back(job_id, "running", "waiting")

    def finish(self, job_id: str, answer: Content, keep_s: Optional[float] = None) -> bool:
        """Keep the answer; see `Jobs`."""
        now, life_s = self._clock(), self.settings.kept_s if keep_s is None else keep_s
        return bool(self._end(job_id, "done", _packed(answer), "", now, int(life_s * 1000), now + life_s))

    def get(self, job_id: str, sender: str) -> Optional[Job]:
        """Return a job of this sender's; see `Jobs`."""
        job = self._read(job_id)
        return job if job is not None and job.sender == sender else None

    def claim_call(self) -> Optional[Job]:
        """Return a job whose callback is due; see `Jobs`."""
        now = self._clock()
        job_id = self._next_call(now, now + self.settings.lease_s)
        return self._read(job_id.decode()) if job_id else None

    def called(self, job_id: str, again_s: Optional[float] = None) -> None:
        """Note that a callback was tried; see `Jobs`."""
        calls, at = f"{_PREFIX}calls", self._clock() + (again_s or 0.0)
        if again_s is None:
            self._use(lambda client: client.zrem(calls, job_id))
        else:
            self._use(lambda client: client.zadd(calls, {job_id: at}))

    def counts(self) -> Counts:
        """Return how many there are; see `Jobs`. The size is that of everything in the server."""
        now = self._clock()
        is_open, running, done, failed, calling, oldest = self._counts(now)
        size = int(self._use(lambda client: client.info("memory")).get("used_memory", 0))
        oldest_s = max(0.0, now - float(oldest)) if oldest else 0.0
        return Counts(max(0, is_open - running), running, done, failed, calling, oldest_s, size)

    def check(self) -> Optional[str]:
        """Return what is wrong with the store or the broker; see `Jobs`."""
        return self._server.check() or self.broker.check()

    def close(self) -> None:
        """Close the connections."""
        self.broker.close()
        self._server.close()

    def _hand_out(self, message: Message) -> None:
        """Give a job to the broker; where it does not take it, nothing was accepted."""
        try:
            self.broker.hand_out(message.id, vars(message))
        except JobsUnavailable:
            self._give_back(message.id, "accepting", "gone")
            raise
        self._give_back(message.id, "accepting", "waiting")

    def _read(self, job_id: str) -> Optional[Job]:
        values = self._use(lambda client: client.hmget(_PREFIX + job_id, *_FIELDS))
        texts: dict[str, str] = {
            name: value.decode("utf-8", "replace") if value is not None else "" for name, value in zip(_FIELDS, values)
        }
        if not texts["state"]:
            return None
        state = JobState.WAITING if texts["state"] == "accepting" else JobState(texts["state"])
        return Job(
            job_id, texts["sender"], state, b"", texts["callback"] or None, _unpacked(texts["answer"]),
            texts["reason"] or None, int(texts["tries"] or 0), int(texts["calls"] or 0),
            float(texts["accepted_at"] or 0), float(texts["finished_at"]) if texts["finished_at"] else None,
        )  # fmt: skip

    def _script(self, text: str) -> Callable[..., Any]:
        run = self._server.script(text)

        def guarded(*values: Any) -> Any:
            try:
                return run([_PREFIX], values)
            except RedisDown as exc:
                raise JobsUnavailable(str(exc)) from None

        return guarded

    def _use(self, work: Callable[[Any], Any]) -> Any:
        try:
            return self._server.use(work)
        except RedisDown as exc:
            raise JobsUnavailable(str(exc)) from None


def _packed(content: Content) -> str:
    return "b" + content.hex() if isinstance(content, bytes) else "j" + json.dumps(content, separators=(",", ":"))


def _unpacked(text: str) -> Optional[Content]:
    if not text:
        return None
    found: Content = bytes.fromhex(text[1:]) if text[0] == "b" else json.loads(text[1:])
    return found
