"""What a store of jobs promises, whatever it is kept in: a file, or a broker and Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional, Protocol, Union

from cbsigned.errors import CbSignedError

__all__ = [
    "Accepted",
    "Conflict",
    "Content",
    "Counts",
    "Job",
    "JobState",
    "Jobs",
    "JobsError",
    "JobsFull",
    "JobsUnavailable",
    "Repeated",
]

Content = Union[bytes, Mapping[str, Any]]
"""A request or an answer: bytes, or what JSON can hold; it comes back as it went in."""


class JobsError(CbSignedError):
    """A job could not be taken on or kept.

    Attributes:
        retry_after_s: When it is worth to try again.
    """

    retry_after_s = 30


class JobsFull(JobsError):
    """As many jobs are waiting as may, or they take as much space as they may."""


class JobsUnavailable(JobsError):
    """The store of jobs cannot be read or written: disk full, locked, broken."""


class JobState(str, Enum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """It was begun several times and never ended: whatever ran it died."""


@dataclass(frozen=True)
class Accepted:
    """A job that was taken on."""

    id: str


@dataclass(frozen=True)
class Repeated:
    """The key is known, with this very body.

    Attributes:
        answer: None while there is none, or when the job failed.
    """

    id: str
    answer: Optional[Content]
    state: JobState


@dataclass(frozen=True)
class Conflict:
    """The key is known, with another body."""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        request: As accepted; empty where a job is only looked at.
        tries: How often it was begun.
        calls: How often its callback was tried.
        reason: Why it failed.
        accepted_at, finished_at: Seconds since 1970.
    """

    id: str
    sender: str
    state: JobState
    request: Content
    callback: Optional[str]
    answer: Optional[Content]
    reason: Optional[str]
    tries: int
    calls: int
    accepted_at: float
    finished_at: Optional[float]


@dataclass(frozen=True)
class Counts:
    """How many jobs there are, for metrics and health.

    Attributes:
        calling: Jobs that are done and whose callback is still to be delivered.
        oldest_s: Age of the job that waits longest, 0 for none.
        bytes: Size of what is kept.
    """

    waiting: int
    running: int
    done: int
    failed: int
    calling: int
    oldest_s: float
    bytes: int


class Jobs(Protocol):
    """Accepted jobs, from the 202 to the answer and its callback.

    A job may be run twice (its first runner died, or was slower than the lease), never by two at the same time;
    the answer that comes first stays.

    Attributes:
        runs_here: Whether the service that accepts jobs also claims and runs them.
    """

    runs_here: bool = True

    def accept(
        self, sender: str, key: str, digest: Union[str, bytes], request: Content, callback: Optional[str] = None, *,
        own: bool = False,
    ) -> Union[Accepted, Repeated, Conflict]:  # fmt: skip
        """Take a job on; when this returns `Accepted`, no crash loses the job any more.

        Args:
            sender: Owner; keys of different senders never meet.
            key: Idempotency key, of any length.
            digest: Of the raw body; the same key with another digest is a `Conflict`.
            request: What the worker needs.
            callback: Where the answer is sent.
            own: The caller answers it itself, now (a synchronous request). The request is not kept, nobody else
                runs it, and it is forgotten if the caller's process dies: nothing was promised.

        Raises:
            JobsFull: Try again later; the text says which bound was met.
            JobsUnavailable: The store cannot be written; the text says why.
        """

    def claim(self, wait_s: float = 0.0) -> Optional[Job]:
        """Return the job whose turn it is, now leased to the caller, or None when none came within `wait_s`.

        Raises:
            JobsUnavailable: The store cannot be written.
        """

    def renew(self, job_id: str) -> bool:
        """Lengthen the caller's lease; False when it was lost, and the job is another's."""

    def release(self, job_id: str) -> None:
        """Give a claimed job back, to be run by another; one that was accepted with `own` is forgotten."""

    def finish(self, job_id: str, answer: Content, keep_s: Optional[float] = None) -> bool:
        """Keep the answer; False when there is one already, or the job is gone.

        Args:
            keep_s: How long the answer is kept; None for the store's own life.

        Raises:
            JobsUnavailable: It was not kept, and the job will be run again.
        """

    def get(self, job_id: str, sender: str) -> Optional[Job]:
        """Return a job of this sender's, without its request; None for others' and unknown ones."""

    def claim_call(self) -> Optional[Job]:
        """Return a job whose answer is to be sent to its callback now, leased to the caller, or None."""

    def called(self, job_id: str, again_s: Optional[float] = None) -> None:
        """Note that a callback was tried.

        Args:
            again_s: Try it again in so many seconds; None: it was delivered or given up.
        """

    def counts(self) -> Counts:
        """Return how many there are."""

    def check(self) -> Optional[str]:
        """Return what is wrong with the store, after trying to write to it; None when all is well."""

    def close(self) -> None:
        """Give back what is claimed, and close the store."""
