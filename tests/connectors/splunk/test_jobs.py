"""Jobs: a bounded number at once, kept for their own user for a while."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cbsigned_connectors.splunk.jobs import Jobs, TooBusy, UnknownJob


def test_a_job_answers_what_its_work_returns() -> None:
    job = Jobs().start("ann", lambda: 7)

    assert job.done.wait(10)
    assert job.answer() == 7


def test_a_failure_is_raised_where_the_answer_is_asked_for() -> None:
    def work() -> Any:
        raise KeyError("lost")

    job = Jobs().start("ann", work)

    assert job.done.wait(10)
    with pytest.raises(KeyError, match="lost"):
        job.answer()


def test_one_user_does_not_find_the_job_of_another() -> None:
    jobs = Jobs()
    job = jobs.start("ann", lambda: 7)

    assert jobs.find("ann", job.id) is job
    for user, job_id in (("bob", job.id), ("ann", "0" * 32)):
        with pytest.raises(UnknownJob):
            jobs.find(user, job_id)


def test_so_many_run_and_so_many_wait() -> None:
    jobs, go = Jobs(running=2, waiting=3), threading.Event()
    started = [jobs.start("ann", lambda: go.wait(10)) for _ in range(5)]
    with pytest.raises(TooBusy, match="2 look-ups are running and 3 are waiting"):
        jobs.start("ann", lambda: None)
    counts = (jobs.running, jobs.waiting)
    go.set()

    assert counts == (2, 3)
    assert all(job.done.wait(10) for job in started)
    assert jobs.start("ann", lambda: None).done.wait(10)


def test_one_user_leaves_places_to_others() -> None:
    jobs, go = Jobs(running=2, waiting=4, of_one=3), threading.Event()
    anns = [jobs.start("ann", lambda: go.wait(10)) for _ in range(3)]
    with pytest.raises(TooBusy, match="3 look-ups of your own are running or waiting, as many as one user may have"):
        jobs.start("ann", lambda: None)

    bobs = [jobs.start("bob", lambda: go.wait(10)) for _ in range(3)]
    with pytest.raises(TooBusy, match="2 look-ups are running and 4 are waiting"):
        jobs.start("eve", lambda: None)
    jobs.drop(anns[0])  # its answer went out without it, but it goes on
    with pytest.raises(TooBusy):
        jobs.start("ann", lambda: None)
    go.set()

    assert all(job.done.wait(10) for job in (*anns, *bobs))
    assert jobs.start("ann", lambda: 7).done.wait(10)


def test_it_is_the_turn_of_whom_the_fewest_are_worked_on() -> None:
    """Thirty look-ups of one user were worked on before the first of another."""
    jobs, order = Jobs(running=2, waiting=9), list[str]()
    first, second = threading.Event(), threading.Event()
    jobs.start("ann", lambda: first.wait(10))
    jobs.start("ann", lambda: second.wait(10))
    waiting = [jobs.start(name[:3], lambda name=name: order.append(name)) for name in ("ann 1", "ann 2", "bob", "eve")]  # type: ignore[misc]
    first.set()  # one thread goes on, the other is ann's still
    assert all(job.done.wait(10) for job in waiting)
    second.set()

    assert order == ["bob", "eve", "ann 1", "ann 2"]


def test_a_job_that_failed_gives_its_users_place_back() -> None:
    def work() -> Any:
        raise KeyError("lost")

    jobs = Jobs(of_one=1)

    for _ in range(5):
        assert jobs.start("ann", work).done.wait(10)


def test_jobs_are_forgotten_some_time_after_their_end() -> None:
    now = [0.0]
    jobs, go = Jobs(kept_s=120, clock=lambda: now[0]), threading.Event()
    ended, running = jobs.start("ann", lambda: 1), jobs.start("ann", lambda: go.wait(10))
    assert ended.done.wait(10)
    now[0] = 119
    assert jobs.find("ann", ended.id) is ended
    now[0] = 121

    with pytest.raises(UnknownJob):
        jobs.find("ann", ended.id)
    assert jobs.find("ann", running.id) is running
    go.set()
    assert running.done.wait(10)


def test_only_so_many_answers_are_kept() -> None:
    jobs = Jobs()
    started = []
    for _ in range(200):
        started.append(jobs.start("ann", lambda: "x" * 1_000))
        assert started[-1].done.wait(10)
    jobs.start("ann", lambda: None)

    with pytest.raises(UnknownJob):
        jobs.find("ann", started[0].id)
    assert jobs.find("ann", started[-1].id) is started[-1]
    assert len(jobs._jobs) <= 130


def test_threads_end_when_nothing_waits() -> None:
    jobs = Jobs(running=4)
    for job in [jobs.start("ann", lambda: None) for _ in range(50)]:
        assert job.done.wait(10)
    for thread in [t for t in threading.enumerate() if t.name == "cbsigned-job"]:
        thread.join(10)

    assert (jobs.running, jobs.waiting) == (0, 0)


def test_a_thread_does_not_hold_the_process_back() -> None:
    go = threading.Event()
    job = Jobs().start("ann", lambda: go.wait(10))
    daemons = [thread.daemon for thread in threading.enumerate() if thread.name == "cbsigned-job"]
    go.set()

    assert daemons
    assert all(daemons)
    assert job.done.wait(10)


def test_answers_that_went_out_are_let_go_but_for_the_last() -> None:
    """40 answers of 10,000 rows, fetched within two minutes, held 680 MB."""
    jobs = Jobs()
    started = []
    for number in range(20):
        job = jobs.start("ann", lambda number=number: number)  # type: ignore[misc]
        assert job.done.wait(10)
        assert jobs.find("ann", job.id).answer() == number
        started.append(job.id)
    waiting = jobs.start("ann", lambda: 7)
    assert waiting.done.wait(10)

    assert jobs.find("ann", started[-1]).answer() == 19
    assert jobs.find("ann", waiting.id).answer() == 7
    with pytest.raises(UnknownJob):
        jobs.find("ann", started[0])
    assert len(jobs._jobs) < 10


def test_a_system_without_threads_refuses_and_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread that could not be started took a place for good, and after 16 of them nothing was answered."""

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    jobs = Jobs(running=2, waiting=1, of_one=1)
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refused)
        for _ in range(5):
            with pytest.raises(TooBusy, match="gives it no thread"):
                jobs.start("ann", lambda: 1)

    assert (jobs.running, jobs.waiting) == (0, 0)
    assert jobs.start("ann", lambda: 1).done.wait(10)


def test_a_thread_that_is_missing_leaves_the_job_to_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, go = Jobs(running=2, waiting=1), threading.Event()
    jobs.start("ann", lambda: go.wait(10))

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refused)
        second = jobs.start("ann", lambda: 2)
    go.set()

    assert second.done.wait(10)
    assert second.answer() == 2
