"""Accepted jobs in one SQLite file: no crash loses one, one worker at a time runs it, and results expire.

`accept` returns when the job is on the disk. Callers that come at the same time share one flush of the disk, so many
of them are not slower than one. Several processes may use the file together; a job whose process died is taken by
another one at once, where it can be seen that it died, else when its lease is over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional, Union, cast

from cbsigned.store import owner
from cbsigned_connectors.webhook.broker import BrokerSettings
from cbsigned_connectors.webhook.job_file import JobFile, free_bytes, used_bytes
from cbsigned_connectors.webhook.job_model import (
    Accepted,
    Conflict,
    Content,
    Counts,
    Job,
    Jobs,
    JobsError,
    JobsFull,
    JobState,
    JobsUnavailable,
    Repeated,
)

__all__ = [
    "Accepted", "Conflict", "Counts", "FileJobs", "Job", "JobSettings", "JobState", "Jobs", "JobsError", "JobsFull",
    "JobsUnavailable", "Repeated",
]  # fmt: skip

log = logging.getLogger(__name__)
_POLL_S = 0.5
_TIDY_S = 30.0
_LOOK_S = 1.0
_FORGOTTEN_AT_ONCE = 500
_MOST_TRIES = 20  # a job that kills its runner is found in the end, and a host that crashes often loses none
_ENDED = (
    "request = x'', finished_at = ?, expires_at = ?, owner = NULL, lease = NULL, lease_until = NULL,"
    " call_at = CASE WHEN callback IS NULL THEN NULL ELSE ? END"
)
_COLUMNS = "id, sender, state, callback, answer, reason, tries, calls, accepted_at, finished_at"


@dataclass(frozen=True)
class JobSettings:
    """Where jobs are kept, and how many of them.

    Attributes:
        path: The file; its folder is made where it is missing.
        most_waiting: Jobs that are accepted and not finished; beyond it none is accepted.
        max_bytes: Size of the file; answers go first, oldest first, then no job is accepted.
        kept_s: Life of an answer, and of its idempotency key.
        lease_s: A job that is not finished or renewed within it is taken by another worker.
        least_free_bytes: Space that must be left on the disk for a job to be accepted, so that its answer finds room.
        broker: Where workers on any host get jobs; None: this service runs them, from the file.
    """

    path: Path = Path("~/.local/state/cbsigned/webhook-jobs.db")
    most_waiting: int = 10_000
    max_bytes: int = 512 * 1024 * 1024
    kept_s: float = 86_400.0
    lease_s: float = 60.0
    least_free_bytes: int = 32 * 1024 * 1024
    broker: Optional[BrokerSettings] = None


class FileJobs(Jobs):
    """`Jobs` in one SQLite file that its owner alone can read.

    Args:
        settings: Where, and how many.
        clock: Seconds since 1970; tests pass their own.
        free_bytes: Space left on the disk of a folder.

    Raises:
        ConfigError: The file cannot be used: no right, another user's, not ours.
        JobsUnavailable: It cannot be opened just now.
    """

    def __init__(
        self, settings: JobSettings, *, clock: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], int] = free_bytes,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.path = settings.path.expanduser()
        self._clock, self._free_bytes = clock, free_bytes
        self._mark, self._lease = owner.mark(), secrets.token_hex(8)
        self._arrived, self._arrivals = threading.Condition(), 0
        self._tidied_at = self._looked_at = float("-inf")
        self._file = JobFile(self.path)

    def accept(
        self, sender: str, key: str, digest: Union[str, bytes], request: Content, callback: Optional[str] = None, *,
        own: bool = False,
    ) -> Union[Accepted, Repeated, Conflict]:  # fmt: skip
        """Take a job on; see `Jobs`."""
        key_digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        body_digest = digest.encode() if isinstance(digest, str) else digest
        content = b"" if own else _packed(request)

        def take(db: sqlite3.Connection) -> Union[Accepted, Repeated, Conflict]:
            now = self._clock()
            self._tidy(db, now)
            row = db.execute(
                "SELECT id, digest, state, answer, expires_at FROM job WHERE sender = ? AND key = ?",
                (sender, key_digest),
            ).fetchone()
            if row is not None and row[4] is not None and row[4] <= now:
                db.execute("DELETE FROM job WHERE id = ?", (row[0],))
                row = None
            if row is not None:
                same = row[1] == body_digest
                return Repeated(row[0], _unpacked(row[3]), JobState(row[2])) if same else Conflict()
            self._check_room(db, len(content))
            job_id = secrets.token_urlsafe(18)
            leased = (self._mark, self._lease, now + self.settings.lease_s) if own else (None, None, None)
            state = JobState.RUNNING if own else JobState.WAITING
            db.execute(
                "INSERT INTO job (id, sender, key, digest, state, own, request, callback, accepted_at,"
                " owner, lease, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, sender, key_digest, body_digest, state.value, own, content, callback, now, *leased),
            )
            return Accepted(job_id)

        taken = self._file.write(take, durable=not own)
        if isinstance(taken, Accepted) and not own:
            self._wake()
        return taken

    def claim(self, wait_s: float = 0.0) -> Optional[Job]:
        """Return the job whose turn it is; see `Jobs`."""
        end = time.monotonic() + wait_s
        while True:
            arrivals = self._arrivals
            job = self._file.write(self._next) if self._is_work() else None
            left_s = end - time.monotonic()
            if job is not None or left_s <= 0:
                return job
            with self._arrived:
                if self._arrivals == arrivals:
                    self._arrived.wait(min(left_s, _POLL_S))  # another process's jobs do not wake us

    def renew(self, job_id: str) -> bool:
        """Lengthen the lease; see `Jobs`."""
        lengthen = "UPDATE job SET lease_until = ? WHERE id = ? AND lease = ? AND state = 'running'"
        until = self._clock() + self.settings.lease_s
        return self._file.write(lambda db: db.execute(lengthen, (until, job_id, self._lease)).rowcount) == 1

    def release(self, job_id: str) -> None:
        """Give a claimed job back; see `Jobs`."""
        self._file.write(lambda db: self._give_back(db, "id = ? AND lease = ?", (job_id, self._lease), tried=False))
        self._wake()

    def finish(self, job_id: str, answer: Content, keep_s: Optional[float] = None) -> bool:
        """Keep the answer; see `Jobs`."""
        content, life_s = _packed(answer), self.settings.kept_s if keep_s is None else keep_s

        def end(db: sqlite3.Connection) -> bool:
            now = self._clock()
            ended = db.execute(
                f"UPDATE job SET state = 'done', answer = ?, {_ENDED}"  # noqa: S608 (a constant)
                " WHERE id = ? AND state IN ('waiting', 'running')",
                (content, now, now + life_s, now, job_id),
            )
            return ended.rowcount == 1

        return self._file.write(end)

    def get(self, job_id: str, sender: str) -> Optional[Job]:
        """Return a job of this sender's; see `Jobs`."""
        row = self._file.read(
            f"SELECT {_COLUMNS} FROM job WHERE id = ? AND sender = ? AND coalesce(expires_at > ?, 1)",  # noqa: S608
            (job_id, sender, self._clock()),
        )
        return _job(row[0]) if row else None

    def claim_call(self) -> Optional[Job]:
        """Return a job whose callback is due; see `Jobs`."""
        due = "SELECT id FROM job WHERE call_at <= ? ORDER BY call_at LIMIT 1"
        if not self._file.read(due, (self._clock(),)):
            return None

        def next_call(db: sqlite3.Connection) -> Optional[Job]:
            now = self._clock()
            row = db.execute(due, (now,)).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE job SET calls = calls + 1, call_at = ? WHERE id = ?", (now + self.settings.lease_s, row[0])
            )
            return _job(db.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", row).fetchone())  # noqa: S608

        return self._file.write(next_call)

    def called(self, job_id: str, again_s: Optional[float] = None) -> None:
        """Note that a callback was tried; see `Jobs`."""
        at = None if again_s is None else self._clock() + again_s
        self._file.write(lambda db: db.execute("UPDATE job SET call_at = ? WHERE id = ?", (at, job_id)))

    def counts(self) -> Counts:
        """Return how many there are; see `Jobs`."""
        found = dict(self._file.read("SELECT state, count(*) FROM job GROUP BY state"))
        calling = self._file.read("SELECT count(*) FROM job WHERE call_at IS NOT NULL")[0][0]
        oldest = self._file.read("SELECT accepted_at FROM job WHERE state = 'waiting' ORDER BY seq LIMIT 1")
        waiting, running, done, failed = (found.get(state.value, 0) for state in JobState)
        oldest_s = max(0.0, self._clock() - oldest[0][0]) if oldest else 0.0
        return Counts(waiting, running, done, failed, calling, oldest_s, self._file.used_bytes())

    def check(self) -> Optional[str]:
        """Return what is wrong with the store; see `Jobs`."""
        try:
            self._file.write(lambda db: db.execute("INSERT OR REPLACE INTO beat VALUES (1, ?)", (self._clock(),)))
            self._check_disk()
        except JobsError as exc:
            return str(exc)
        return self._file.trouble

    def close(self) -> None:
        """Give back what is claimed, and close the file; see `Jobs`."""
        with contextlib.suppress(JobsUnavailable):
            self._file.write(lambda db: self._give_back(db, "lease = ?", (self._lease,), tried=False))
        self._file.close()

    def _is_work(self) -> bool:
        """Whether a job can be claimed; now and then, first look for processes that died with theirs."""
        now = self._clock()
        if not self._looked_at <= now < self._looked_at + _LOOK_S:
            self._looked_at = now
            owners = self._file.read("SELECT owner, max(lease_until) FROM job WHERE state = 'running' GROUP BY owner")
            begun = {mark: until - self.settings.lease_s for mark, until in owners}
            dead = [mark for mark, at in begun.items() if not owner.is_running(mark, int(at * 1000), int(now * 1000))]
            for mark in dead:
                self._file.write(partial(self._give_back, which="owner = ?", values=(mark,)))
        return bool(
            self._file.read(
                "SELECT 1 FROM job WHERE state = 'waiting'"
                " UNION ALL SELECT 1 FROM job WHERE state = 'running' AND lease_until <= ? LIMIT 1",
                (now,),
            )
        )

    def _next(self, db: sqlite3.Connection) -> Optional[Job]:
        """Lease the next job; what was begun too often is ended instead."""
        now = self._clock()
        self._give_back(db, "lease_until <= ?", (now,))
        while True:
            row = db.execute(
                "SELECT id, request, tries FROM job WHERE state = 'waiting' ORDER BY seq LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            job_id, request, tries = row
            if tries < _MOST_TRIES:
                break
            log.error("Job %s was begun %d times and never ended; it is given up.", job_id, tries)
            reason = f"It was begun {tries} times and never ended: whatever ran it died. Look into the service's log."
            db.execute(
                f"UPDATE job SET state = 'failed', reason = ?, {_ENDED} WHERE id = ?",  # noqa: S608 (a constant)
                (reason, now, now + self.settings.kept_s, now, job_id),
            )
        db.execute(
            "UPDATE job SET state = 'running', tries = tries + 1, owner = ?, lease = ?, lease_until = ? WHERE id = ?",
            (self._mark, self._lease, now + self.settings.lease_s, job_id),
        )
        found = _job(db.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job_id,)).fetchone())  # noqa: S608
        return replace(found, request=_content(request))

    @staticmethod
    def _give_back(db: sqlite3.Connection, which: str, values: tuple[Any, ...], *, tried: bool = True) -> None:
        """Put claimed jobs back into the row; those that were their caller's own are forgotten."""
        db.execute(f"DELETE FROM job WHERE state = 'running' AND own = 1 AND {which}", values)  # noqa: S608
        db.execute(
            "UPDATE job SET state = 'waiting', owner = NULL, lease = NULL, lease_until = NULL,"  # noqa: S608
            f" tries = tries - {0 if tried else 1} WHERE state = 'running' AND {which}",
            values,
        )

    def _check_room(self, db: sqlite3.Connection, size: int) -> None:
        """Make room for a job, or say that there is none."""
        most = self.settings.most_waiting
        if db.execute("SELECT count(*) FROM job WHERE state = 'waiting'").fetchone()[0] >= most:
            raise JobsFull(
                f"{most} jobs are waiting, as many as may. Try again in a minute, or raise jobs.most_waiting."
            )
        self._check_disk()
        while used_bytes(db) + size > self.settings.max_bytes:
            gone = db.execute(
                "DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE state IN ('done', 'failed')"
                " AND call_at IS NULL ORDER BY seq LIMIT 1 + (SELECT count(*) FROM job) / 16)"
            ).rowcount
            if gone <= 0:
                raise JobsFull(
                    f"Waiting jobs fill {self.path}, {self.settings.max_bytes} bytes. Try again in a minute, "
                    "or raise jobs.max_bytes."
                )

    def _check_disk(self) -> None:
        free = self._free_bytes(self.path.parent)
        if free < self.settings.least_free_bytes:
            raise JobsUnavailable(
                f"The disk of {self.path} has {free} bytes left, and {self.settings.least_free_bytes} are kept for the "
                "answers to jobs that were accepted. No job is accepted until there is more: make room."
            )

    def _tidy(self, db: sqlite3.Connection, now: float) -> None:
        """Forget what has expired, some of it at a time."""
        if self._tidied_at <= now < self._tidied_at + _TIDY_S:
            return
        gone = db.execute(
            "DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE expires_at <= ? AND call_at IS NULL LIMIT ?)",
            (now, _FORGOTTEN_AT_ONCE),
        ).rowcount
        if gone < _FORGOTTEN_AT_ONCE:
            self._tidied_at = now

    def _wake(self) -> None:
        with self._arrived:
            self._arrivals += 1
            self._arrived.notify()


def _job(row: tuple[Any, ...]) -> Job:
    job_id, sender, state, callback, answer, reason, tries, calls, accepted_at, finished_at = row
    return Job(
        job_id,
        sender,
        JobState(state),
        b"",
        callback,
        _unpacked(answer),
        reason,
        tries,
        calls,
        accepted_at,
        finished_at,
    )


def _packed(content: Content) -> bytes:
    if isinstance(content, bytes):
        return b"b" + content
    return b"j" + json.dumps(content, separators=(",", ":")).encode()


def _unpacked(content: Optional[bytes]) -> Optional[Content]:
    return None if content is None else _content(content)


def _content(packed: bytes) -> Content:
    return packed[1:] if packed[:1] == b"b" else cast(Content, json.loads(packed[1:]))
