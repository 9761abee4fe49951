"""Accepted jobs: none is lost, none is run by two, results expire, bounds hold, trouble is told."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Union

import pytest

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.jobs import (
    Accepted,
    Conflict,
    FileJobs,
    Job,
    JobSettings,
    JobsFull,
    JobState,
    JobsUnavailable,
    Repeated,
)

EMPTY = hashlib.sha256(b"{}").digest()


class Clock:
    """Seconds since 1970 that a test moves on."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(tmp_path / "jobs.db", least_free_bytes=0)


@pytest.fixture
def jobs(settings: JobSettings, clock: Clock) -> Iterator[FileJobs]:
    opened = FileJobs(settings, clock=clock)
    yield opened
    opened.close()


def accepted(jobs: FileJobs, key: str = "k", body: bytes = b"{}", **more: Any) -> str:
    taken = jobs.accept("soar", key, hashlib.sha256(body).digest(), body, **more)
    assert isinstance(taken, Accepted)
    return taken.id


def claimed(jobs: FileJobs) -> Job:
    job = jobs.claim()
    assert job is not None
    return job


def test_a_job_goes_from_accepted_to_its_answer(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs, body=b"\x00raw")
    clock.now += 2

    job = claimed(jobs)
    jobs.finish(job_id, {"complete": True})

    assert (job.id, job.sender, job.state, job.request, job.tries) == (job_id, "soar", JobState.RUNNING, b"\x00raw", 1)
    ended = jobs.get(job_id, "soar")
    assert ended is not None
    assert (ended.state, ended.answer, ended.request) == (JobState.DONE, {"complete": True}, b"")
    assert ended.finished_at == ended.accepted_at + 2
    assert jobs.claim() is None


@pytest.mark.parametrize("content", [b"", b"\x00\xff", {}, {"ü": [1, None, {"a": "\x00"}]}], ids=repr)
def test_requests_and_answers_come_back_as_they_went_in(jobs: FileJobs, content: Union[bytes, dict[str, Any]]) -> None:
    jobs.accept("soar", "k", "digest", content)
    job = claimed(jobs)
    jobs.finish(job.id, content)

    answered = jobs.accept("soar", "k", "digest", content)

    assert content == job.request
    assert Repeated(job.id, content, JobState.DONE) == answered


def test_jobs_are_claimed_in_the_order_they_came(jobs: FileJobs) -> None:
    ids = [accepted(jobs, str(number)) for number in range(20)]

    assert ids == [claimed(jobs).id for _ in ids]


def test_another_senders_job_is_not_told(jobs: FileJobs) -> None:
    job_id = accepted(jobs)

    assert jobs.get(job_id, "other") is None
    assert jobs.get("no such job", "soar") is None


def test_the_same_key_and_body_get_the_same_job(jobs: FileJobs) -> None:
    first = accepted(jobs)

    waiting = jobs.accept("soar", "k", EMPTY, b"{}")
    jobs.finish(claimed(jobs).id, b"answer")
    done = jobs.accept("soar", "k", EMPTY, b"{}")

    assert waiting == Repeated(first, None, JobState.WAITING)
    assert done == Repeated(first, b"answer", JobState.DONE)
    assert jobs.counts().done == 1


def test_the_same_key_with_another_body_conflicts(jobs: FileJobs) -> None:
    accepted(jobs)

    assert jobs.accept("soar", "k", b"other", b"other") == Conflict()


def test_keys_of_different_senders_never_meet(jobs: FileJobs) -> None:
    accepted(jobs)

    assert isinstance(jobs.accept("other", "k", b"x", b"x"), Accepted)


@pytest.mark.parametrize("key", ["", "x" * 1_000_000, "\x00'; DROP TABLE job; --", "\ud800"], ids=ascii)
def test_a_hostile_key_is_only_a_key(jobs: FileJobs, key: str) -> None:
    job_id = accepted(jobs, key)

    assert jobs.accept("soar", key, EMPTY, b"{}") == Repeated(job_id, None, JobState.WAITING)


def test_many_at_once_with_one_key_make_one_job(jobs: FileJobs) -> None:
    taken: list[object] = []
    threads = [threading.Thread(target=lambda: taken.append(jobs.accept("soar", "k", EMPTY, b"{}"))) for _ in range(16)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(t).__name__ for t in taken) == ["Accepted"] + ["Repeated"] * 15
    assert jobs.counts().waiting == 1


def test_many_workers_share_the_jobs_and_run_none_twice(settings: JobSettings) -> None:
    first, second = FileJobs(settings), FileJobs(settings)  # as two processes have it
    ids = [accepted(first, str(number)) for number in range(120)]
    run: list[str] = []

    def work(jobs: FileJobs) -> None:
        while True:
            job = jobs.claim()
            if job is None:
                return
            run.append(job.id)
            jobs.finish(job.id, b"")

    threads = [threading.Thread(target=work, args=(jobs,)) for jobs in (first, second) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ids) == sorted(run)
    for jobs in (first, second):
        jobs.close()


def test_a_worker_that_waits_is_woken_by_a_job(jobs: FileJobs) -> None:
    found: list[object] = []
    waiter = threading.Thread(target=lambda: found.append(jobs.claim(wait_s=30)))
    waiter.start()

    job_id = accepted(jobs)
    waiter.join(10)

    assert [getattr(job, "id", None) for job in found] == [job_id]


# Leases: one worker at a time, and another when it died.


def test_a_job_is_taken_again_when_its_lease_is_over(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs)
    claimed(jobs)

    clock.now += 59
    assert jobs.claim() is None
    clock.now += 2
    again = claimed(jobs)

    assert (again.id, again.tries) == (job_id, 2)


def test_a_renewed_lease_holds_longer(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs)
    claimed(jobs)

    clock.now += 59
    assert jobs.renew(job_id)
    clock.now += 59

    assert jobs.claim() is None


def test_a_lease_that_another_has_taken_is_not_renewed(settings: JobSettings, clock: Clock) -> None:
    slow, quick = FileJobs(settings, clock=clock), FileJobs(settings, clock=clock)
    job_id = accepted(slow)
    claimed(slow)
    clock.now += 61
    claimed(quick)

    assert not slow.renew(job_id)
    assert quick.renew(job_id)
    for jobs in (slow, quick):
        jobs.close()


def test_the_answer_that_comes_first_stays(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs)
    claimed(jobs)
    clock.now += 61
    claimed(jobs)

    assert jobs.finish(job_id, b"first")
    assert not jobs.finish(job_id, b"second")
    ended = jobs.get(job_id, "soar")
    assert ended is not None
    assert ended.answer == b"first"


def test_a_job_that_kills_its_workers_is_given_up(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs, callback="https://soar.example.test/")
    for _ in range(20):
        claimed(jobs)
        clock.now += 61
    accepted(jobs, "next")

    following = claimed(jobs)

    assert following.id != job_id
    failed = jobs.get(job_id, "soar")
    assert failed is not None
    assert (failed.state, failed.answer) == (JobState.FAILED, None)
    assert "begun 20 times and never ended" in str(failed.reason)
    call = jobs.claim_call()
    assert call is not None
    assert (call.id, call.state) == (job_id, JobState.FAILED)


def test_what_is_given_back_is_claimed_anew_and_costs_no_try(jobs: FileJobs) -> None:
    job_id = accepted(jobs)

    for _ in range(10):
        jobs.release(claimed(jobs).id)

    assert (claimed(jobs).id, jobs.counts().running) == (job_id, 1)


def test_closing_gives_back_what_is_claimed(settings: JobSettings, clock: Clock) -> None:
    first = FileJobs(settings, clock=clock)
    job_id = accepted(first)
    claimed(first)

    first.close()

    second = FileJobs(settings, clock=clock)
    assert claimed(second).id == job_id
    second.close()


# Synchronous requests: kept for repetition, promised to nobody.


def test_an_own_job_is_nobody_elses(jobs: FileJobs) -> None:
    job_id = accepted(jobs, own=True)

    assert jobs.claim() is None
    assert jobs.accept("soar", "k", EMPTY, b"{}", own=True) == Repeated(job_id, None, JobState.RUNNING)
    jobs.finish(job_id, b"answer")
    assert jobs.accept("soar", "k", EMPTY, b"{}") == Repeated(job_id, b"answer", JobState.DONE)


@pytest.mark.parametrize("end", ["release", "lease"])
def test_an_own_job_without_an_answer_is_forgotten(jobs: FileJobs, clock: Clock, end: str) -> None:
    job_id = accepted(jobs, own=True)

    if end == "release":
        jobs.release(job_id)
    else:
        clock.now += 61
        assert jobs.claim() is None

    assert jobs.get(job_id, "soar") is None
    assert isinstance(jobs.accept("soar", "k", b"other", b"other"), Accepted)


# Expiry and bounds.


def test_answers_expire_and_their_keys_with_them(jobs: FileJobs, clock: Clock, settings: JobSettings) -> None:
    job_id = accepted(jobs)
    jobs.finish(claimed(jobs).id, b"answer")

    clock.now += settings.kept_s - 1
    assert jobs.get(job_id, "soar") is not None
    clock.now += 2

    assert jobs.get(job_id, "soar") is None
    assert isinstance(jobs.accept("soar", "k", b"other", b"other"), Accepted)


def test_a_poor_answer_can_be_kept_for_less(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs)
    jobs.finish(claimed(jobs).id, b"incomplete", keep_s=10)

    clock.now += 11

    assert jobs.get(job_id, "soar") is None


def test_what_has_expired_leaves_the_file(jobs: FileJobs, clock: Clock, settings: JobSettings) -> None:
    for number in range(50):
        accepted(jobs, str(number))
        jobs.finish(claimed(jobs).id, b"answer")
    clock.now += settings.kept_s + 1

    accepted(jobs, "another")

    assert jobs.counts().done == 0


def test_a_job_that_waits_never_expires(jobs: FileJobs, clock: Clock, settings: JobSettings) -> None:
    job_id = accepted(jobs)
    clock.now += 100 * settings.kept_s
    accepted(jobs, "another")

    assert claimed(jobs).id == job_id
    assert jobs.counts().oldest_s == 0.0


def test_no_more_jobs_wait_than_may(settings: JobSettings, clock: Clock) -> None:
    jobs = FileJobs(replace(settings, most_waiting=3), clock=clock)
    for number in range(3):
        accepted(jobs, str(number))

    with pytest.raises(JobsFull, match="3 jobs are waiting, as many as may"):
        accepted(jobs, "4")

    assert isinstance(jobs.accept("soar", "0", EMPTY, b"{}"), Repeated)
    claimed(jobs)
    accepted(jobs, "4")
    jobs.close()


def test_old_answers_make_room_and_waiting_jobs_do_not(settings: JobSettings, clock: Clock) -> None:
    jobs = FileJobs(replace(settings, max_bytes=2_000_000), clock=clock)
    waiting = accepted(jobs, "waits", b"w" * 100_000)
    jobs.claim()
    for number in range(60):
        jobs.finish(accepted(jobs, str(number), own=True), b"a" * 100_000)

    assert jobs.counts().bytes <= 2_200_000
    assert jobs.get(waiting, "soar") is not None
    for number in range(60, 60 + 15):
        accepted(jobs, str(number), b"w" * 100_000)
    with pytest.raises(JobsFull, match="Waiting jobs fill"):
        accepted(jobs, "one more", b"w" * 500_000)
    assert jobs.counts().done == 0
    jobs.close()


# Trouble with the disk and the file.


def test_an_almost_full_disk_takes_no_job_but_answers(settings: JobSettings, clock: Clock) -> None:
    free = [10**9]
    jobs = FileJobs(replace(settings, least_free_bytes=1_000_000), clock=clock, free_bytes=lambda _folder: free[0])
    job_id = accepted(jobs)
    assert jobs.check() is None
    free[0] = 999_999

    with pytest.raises(JobsUnavailable, match=r"has 999999 bytes left.*make room"):
        accepted(jobs, "another")

    assert jobs.finish(claimed(jobs).id, b"answer")
    assert jobs.get(job_id, "soar") is not None
    assert "999999 bytes left" in str(jobs.check())
    jobs.close()


_FILLS_UP = """
import resource, signal, sys
from pathlib import Path
from cbsigned_connectors.webhook.jobs import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
jobs = FileJobs(JobSettings(Path(sys.argv[1]), least_free_bytes=0))
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
ids = []
try:
    for number in range(1000):
        ids.append(jobs.accept("soar", str(number), b"d", b"x" * 20_000).id)
except JobsUnavailable as exc:
    print(exc)
print(jobs.check())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = jobs.accept("soar", "after", b"d", b"x").id
print(jobs.check())
print(" ".join(ids + [after]))
"""


def test_a_full_disk_is_told_and_loses_nothing_accepted(settings: JobSettings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_UP, str(settings.path)], capture_output=True, text=True, timeout=60, check=True
    )

    refused, *_, healed, ids = done.stdout.splitlines()
    assert "the disk is full, or a quota is reached. Make room." in refused
    assert healed == "None"
    jobs = FileJobs(settings)
    assert len(ids.split()) > 2
    assert ids.split() == [claimed(jobs).id for _ in ids.split()]
    jobs.close()


def test_a_locked_file_is_told(jobs: FileJobs, monkeypatch: pytest.MonkeyPatch, settings: JobSettings) -> None:
    jobs._file._db.execute("PRAGMA busy_timeout=10")
    other = sqlite3.connect(settings.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(JobsUnavailable, match="another process is writing"):
        accepted(jobs)

    assert "another process is writing" in str(jobs.check())
    other.execute("ROLLBACK")
    other.close()
    assert jobs.check() is None
    accepted(jobs)


def test_one_refusal_in_a_batch_leaves_the_others_accepted(settings: JobSettings) -> None:
    jobs = FileJobs(replace(settings, most_waiting=20))
    taken: list[str] = []

    def post(number: int) -> None:
        try:
            taken.append(accepted(jobs, str(number)))
        except JobsFull:
            taken.append("full")

    threads = [threading.Thread(target=post, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken.count("full") == 20
    assert {claimed(jobs).id for _ in range(20)} == set(taken) - {"full"}
    jobs.close()


def test_only_its_owner_reads_the_file(jobs: FileJobs, settings: JobSettings) -> None:
    accepted(jobs)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.path.parent.iterdir()}

    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(settings: JobSettings) -> None:
    settings.path.touch(0o644)

    FileJobs(settings).close()

    assert stat.S_IMODE(settings.path.stat().st_mode) == 0o600


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def _database(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (a)")
    db.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [(_link, "Cannot write the jobs"), (Path.mkdir, "Cannot write the jobs"), (_database, "not a file of jobs")],
    ids=["link", "folder", "database"],
)
def test_what_is_no_file_of_ours_is_left_alone(
    settings: JobSettings, make: Callable[[Path], None], message: str
) -> None:
    make(settings.path)

    with pytest.raises(ConfigError, match=message):
        FileJobs(settings)


def test_a_broken_file_is_told_and_kept(settings: JobSettings) -> None:
    settings.path.write_bytes(b"not a database at all" * 100)

    with pytest.raises(JobsUnavailable, match="move the file away"):
        FileJobs(settings)

    assert settings.path.read_bytes().startswith(b"not a database")


# kill -9.

_ACCEPTS = """
import sys, threading
from pathlib import Path
from cbsigned_connectors.webhook.jobs import *
jobs = FileJobs(JobSettings(Path(sys.argv[1]), least_free_bytes=0))
def accept(thread):
    number = 0
    while True:
        number += 1
        taken = jobs.accept("soar", f"{sys.argv[2]}-{thread}-{number}", b"digest", b"x" * 2000)
        sys.stdout.write(taken.id + "\\n")  # the 202
        sys.stdout.flush()
def work():
    while True:
        job = jobs.claim(wait_s=1)
        if job is not None and job.tries < 3:
            jobs.finish(job.id, b"answer")
for thread in range(4):
    threading.Thread(target=accept, args=(thread,), daemon=True).start()
threading.Thread(target=work, daemon=True).start()
threading.Event().wait()
"""


def test_kill_9_under_load_loses_no_accepted_job(settings: JobSettings) -> None:
    ids: list[str] = []
    draws = random.Random(20_251)

    for life in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", _ACCEPTS, str(settings.path), str(life)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(draws.randrange(1, 200)):
            ids.append(child.stdout.readline().strip())
        os.kill(child.pid, signal.SIGKILL)
        ids += child.stdout.read().split("\n")[:-1]
        child.wait()
        child.stdout.close()

    jobs = FileJobs(settings)
    lost = [job_id for job_id in ids if jobs.get(job_id, "soar") is None]
    assert lost == []
    assert len(ids) > 100
    while True:
        job = jobs.claim()
        if job is None:
            break
        jobs.finish(job.id, b"answer")
    assert {job.state for job in (jobs.get(job_id, "soar") for job_id in ids) if job} == {JobState.DONE}
    assert (jobs.counts().waiting, jobs.counts().running) == (0, 0)
    jobs.close()


_CLAIMS = """
import sys, threading
from pathlib import Path
from cbsigned_connectors.webhook.jobs import *
jobs = FileJobs(JobSettings(Path(sys.argv[1]), least_free_bytes=0))
jobs.accept("soar", "own", b"d", b"", own=True)
print(jobs.claim().id, flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="deaths are seen at once where /proc is")
def test_a_dead_processs_jobs_are_taken_at_once(settings: JobSettings) -> None:
    jobs = FileJobs(settings)
    job_id = accepted(jobs)
    child = subprocess.Popen([sys.executable, "-c", _CLAIMS, str(settings.path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == job_id
    assert jobs.claim() is None

    child.kill()
    child.wait()
    child.stdout.close()
    again = jobs.claim(wait_s=10)

    assert again is not None
    assert (again.id, again.tries) == (job_id, 2)
    assert jobs.counts().running == 1  # the child's own is forgotten
    jobs.close()


def test_a_copy_taken_while_it_runs_can_be_opened(jobs: FileJobs, settings: JobSettings, tmp_path: Path) -> None:
    """What kill -9 of the whole machine leaves behind: the files as they are, in the middle of work."""
    job_id = accepted(jobs)
    claimed(jobs)
    for name in ("jobs.db", "jobs.db-wal"):
        shutil.copy(settings.path.parent / name, tmp_path / f"copy-{name}")

    (tmp_path / "copy-jobs.db").rename(tmp_path / "copy.db")
    (tmp_path / "copy-jobs.db-wal").rename(tmp_path / "copy.db-wal")
    copy = FileJobs(replace(settings, path=tmp_path / "copy.db"))

    assert copy.get(job_id, "soar") is not None
    copy.close()


# Callbacks.


def test_a_callback_is_due_when_the_job_is_done(jobs: FileJobs) -> None:
    job_id = accepted(jobs, callback="https://soar.example.test/hook")
    assert jobs.claim_call() is None

    jobs.finish(claimed(jobs).id, {"a": 1})
    call = jobs.claim_call()

    assert call is not None
    assert (call.id, call.callback, call.answer, call.calls) == (
        job_id,
        "https://soar.example.test/hook",
        {"a": 1},
        1,
    )
    assert jobs.claim_call() is None
    assert jobs.counts().calling == 1
    jobs.called(job_id)
    assert jobs.counts().calling == 0


def test_a_callback_that_failed_is_due_again(jobs: FileJobs, clock: Clock) -> None:
    job_id = accepted(jobs, callback="https://soar.example.test/hook")
    jobs.finish(claimed(jobs).id, b"")
    jobs.claim_call()
    jobs.called(job_id, again_s=300)

    clock.now += 299
    assert jobs.claim_call() is None
    clock.now += 2
    again = jobs.claim_call()

    assert again is not None
    assert again.calls == 2


def test_a_callback_whose_caller_died_is_due_again(jobs: FileJobs, clock: Clock) -> None:
    accepted(jobs, callback="https://soar.example.test/hook")
    jobs.finish(claimed(jobs).id, b"")
    jobs.claim_call()

    clock.now += 61

    assert jobs.claim_call() is not None


def test_an_answer_stays_until_its_callback_is_delivered(jobs: FileJobs, clock: Clock, settings: JobSettings) -> None:
    job_id = accepted(jobs, callback="https://soar.example.test/hook")
    jobs.finish(claimed(jobs).id, b"answer")
    clock.now += settings.kept_s + 1
    accepted(jobs, "another")

    call = jobs.claim_call()

    assert call is not None
    assert (call.id, call.answer) == (job_id, b"answer")
