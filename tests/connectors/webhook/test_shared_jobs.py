"""Jobs that a broker hands out: what a store of jobs promises, over Redis; Celery's messages are looked at too."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from cbsigned.errors import ConfigError
from cbsigned.rediscache.server import RedisServer
from cbsigned.settings import RedisSettings
from cbsigned_connectors.webhook.broker import Broker, BrokerSettings
from cbsigned_connectors.webhook.job_model import (
    Accepted,
    Conflict,
    JobsFull,
    JobState,
    JobsUnavailable,
    Repeated,
)
from cbsigned_connectors.webhook.jobs import JobSettings
from cbsigned_connectors.webhook.shared_jobs import Message, SharedJobs
from redis_server import RedisProcess, redis_process

REQUEST = {"records": [{"record": {"md5": "é" * 16}}], "many": False, "source": None, "format": "json", "cards": []}
ANSWER = {"status": 200, "body": "ü"}
CALLBACK = "https://soar.example.test/hook"
SECRET = "a-password-that-nobody-sees"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """Give a Redis that is store and broker."""
    with redis_process(tmp_path_factory.mktemp("redis"), ["--requirepass", SECRET]) as process:
        yield process


@contextmanager
def opened(
    redis: RedisProcess, clock: Optional[Clock] = None, broker: Optional[str] = None, **settings: Any
) -> Iterator[SharedJobs]:
    server = RedisServer(RedisSettings(redis.url, SECRET, timeout_s=5.0))
    reached = Broker(BrokerSettings(broker or redis.url, SECRET))
    with closing(SharedJobs(replace(JobSettings(), **settings), server, reached, clock or Clock())) as jobs:
        yield jobs


@pytest.fixture
def jobs(redis: RedisProcess) -> Iterator[SharedJobs]:
    with opened(redis) as found:
        found._server.use(lambda client: client.flushall())
        yield found


def accepted(jobs: SharedJobs, key: str = "a", callback: Optional[str] = None, **given: Any) -> str:
    taken = jobs.accept("soar", key, b"digest", REQUEST, callback, **given)
    assert isinstance(taken, Accepted)
    return taken.id


def tasks(jobs: SharedJobs) -> list[dict[str, Any]]:
    """Return the tasks that wait in the broker, oldest first."""
    found = jobs._server.use(lambda client: client.lrange("cbsigned.jobs", 0, -1))
    return [json.loads(text) for text in reversed(found)]


def messages(jobs: SharedJobs) -> list[Message]:
    """Return the jobs that wait in the broker, oldest first."""
    bodies = [json.loads(base64.b64decode(task["body"])) for task in tasks(jobs)]
    return [Message.of_document(body[0][0]) for body in bodies]


def test_a_job_goes_from_accepted_to_its_answer(jobs: SharedJobs) -> None:
    job_id = accepted(jobs)
    (message,) = messages(jobs)
    states = [jobs.get(job_id, "soar")]
    begun = jobs.begin(message)
    states.append(jobs.get(job_id, "soar"))
    ended = jobs.finish(job_id, ANSWER)
    states.append(jobs.get(job_id, "soar"))

    assert [job and job.state for job in states] == [JobState.WAITING, JobState.RUNNING, JobState.DONE]
    assert (begun, ended, message.id, message.request) == (True, True, job_id, REQUEST)
    assert states[2] is not None
    assert (states[2].answer, states[2].tries, states[2].accepted_at) == (ANSWER, 1, Clock.now)


def test_bytes_come_back_as_they_went_in(jobs: SharedJobs) -> None:
    job_id = accepted(jobs)
    jobs.finish(job_id, b"\x00\xff")
    job = jobs.get(job_id, "soar")

    assert job is not None
    assert job.answer == b"\x00\xff"


def test_another_senders_job_is_not_told(jobs: SharedJobs) -> None:
    assert jobs.get(accepted(jobs), "another") is None
    assert jobs.get("key:0", "soar") is None


def test_the_same_key_and_body_get_the_same_job_and_another_body_a_conflict(jobs: SharedJobs) -> None:
    job_id = accepted(jobs)
    again = jobs.accept("soar", "a", b"digest", REQUEST)
    jobs.finish(job_id, ANSWER)

    assert again == Repeated(job_id, None, JobState.WAITING)
    assert jobs.accept("soar", "a", b"digest", REQUEST) == Repeated(job_id, ANSWER, JobState.DONE)
    assert jobs.accept("soar", "a", b"another", REQUEST) == Conflict()
    assert isinstance(jobs.accept("edr", "a", b"another", REQUEST), Accepted)
    assert len(messages(jobs)) == 2


def test_many_at_once_with_one_key_make_one_job(jobs: SharedJobs) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _n: jobs.accept("soar", "a", b"digest", REQUEST), range(40)))

    assert len({found.id for found in taken if not isinstance(found, Conflict)}) == 1
    assert len({message.id for message in messages(jobs)}) == 1


def test_an_own_job_is_handed_to_nobody_and_forgotten_without_an_answer(jobs: SharedJobs) -> None:
    first = accepted(jobs, own=True)
    jobs.release(first)
    second = accepted(jobs, own=True)
    jobs.finish(second, ANSWER)

    assert tasks(jobs) == []
    assert jobs.get(first, "soar") is None
    assert jobs.accept("soar", "a", b"digest", REQUEST, own=True) == Repeated(second, ANSWER, JobState.DONE)


def test_no_more_jobs_wait_than_may(redis: RedisProcess, jobs: SharedJobs) -> None:
    with opened(redis, most_waiting=2) as bounded:
        first = accepted(bounded, "1")
        accepted(bounded, "2")
        with pytest.raises(JobsFull, match=r"raise jobs\.most_waiting"):
            bounded.accept("soar", "3", b"digest", REQUEST)
        bounded.finish(first, ANSWER)

        assert accepted(bounded, "3")


def test_what_the_broker_does_not_take_was_not_accepted(redis: RedisProcess, jobs: SharedJobs) -> None:
    with opened(redis, broker="amqp://localhost:1") as cut_off:
        with pytest.raises(JobsUnavailable, match="amqp://localhost:1 cannot be reached"):
            cut_off.accept("soar", "a", b"digest", REQUEST)
        trouble = cut_off.check()

    assert "amqp://localhost:1" in str(trouble)
    assert SECRET not in str(trouble)
    assert accepted(jobs)
    assert jobs.check() is None


def test_a_job_that_perhaps_never_reached_the_broker_is_handed_out_again(jobs: SharedJobs) -> None:
    """The responder was killed between writing the job down and handing it out."""
    job_id = accepted(jobs)
    jobs._server.use(lambda client: client.hset(f"cbsigned:1:job:{job_id}", "state", "accepting"))

    again = accepted(jobs)

    assert [message.id for message in messages(jobs)] == [job_id, job_id]
    assert again == job_id


def test_the_answer_that_comes_first_stays_and_nobody_runs_the_job_again(jobs: SharedJobs) -> None:
    job_id = accepted(jobs)
    (message,) = messages(jobs)

    assert [jobs.begin(message), jobs.begin(message)] == [True, True]  # the first worker may be dead
    assert [jobs.finish(job_id, ANSWER), jobs.finish(job_id, {"late": 1})] == [True, False]
    assert not jobs.begin(message)


def test_a_redis_that_lost_everything_loses_no_job(jobs: SharedJobs) -> None:
    job_id = accepted(jobs, callback=CALLBACK)
    (message,) = messages(jobs)
    jobs._server.use(lambda client: client.flushall())

    assert jobs.get(job_id, "soar") is None
    assert jobs.begin(message)
    assert jobs.finish(job_id, ANSWER)
    job, call = jobs.get(job_id, "soar"), jobs.claim_call()
    assert job is not None
    assert call is not None
    assert (job.answer, call.id, call.callback) == (ANSWER, job_id, CALLBACK)
    assert jobs.accept("soar", "a", b"digest", REQUEST) == Repeated(job_id, ANSWER, JobState.DONE)


def test_a_job_that_kills_its_workers_is_given_up(jobs: SharedJobs) -> None:
    job_id = accepted(jobs)
    (message,) = messages(jobs)

    begun = [jobs.begin(message) for _death in range(21)]
    job = jobs.get(job_id, "soar")

    assert begun == [True] * 20 + [False]
    assert job is not None
    assert job.state is JobState.FAILED
    assert "begun 20 times" in str(job.reason)


def test_what_is_put_back_costs_no_try(jobs: SharedJobs) -> None:
    job_id = accepted(jobs)
    (message,) = messages(jobs)
    jobs.begin(message)
    jobs.put_back(job_id)
    job = jobs.get(job_id, "soar")

    assert job is not None
    assert (job.state, job.tries) == (JobState.WAITING, 0)


def test_a_callback_is_due_when_the_job_is_done_and_again_when_it_failed(redis: RedisProcess, jobs: SharedJobs) -> None:
    clock = Clock()
    with opened(redis, clock, lease_s=60.0) as own:
        job_id = accepted(own, callback=CALLBACK)
        before = own.claim_call()
        own.finish(job_id, ANSWER)
        first, none = own.claim_call(), own.claim_call()
        own.called(job_id, 30.0)
        clock.now += 31
        second = own.claim_call()
        clock.now += 61  # who called died
        third = own.claim_call()
        own.called(job_id)
        clock.now += 3600
        last = own.claim_call()

    assert [before, none, last] == [None, None, None]
    assert [call and call.calls for call in (first, second, third)] == [1, 2, 3]
    assert first is not None
    assert (first.answer, first.callback) == (ANSWER, CALLBACK)


def test_what_there_is_is_counted(redis: RedisProcess, jobs: SharedJobs) -> None:
    clock = Clock()
    with opened(redis, clock, kept_s=100.0) as own:
        for key in "abc":
            accepted(own, key, CALLBACK)
        clock.now += 5
        first, second, _third = messages(own)
        own.begin(first)
        own.begin(second)
        own.finish(second.id, ANSWER)
        counts = own.counts()
        clock.now += 101

        assert (counts.waiting, counts.running, counts.done, counts.failed, counts.calling) == (1, 1, 1, 0, 1)
        assert (counts.oldest_s, counts.bytes > 0) == (5.0, True)
        assert own.counts().done == 0


def test_an_answer_lives_as_long_as_it_may(redis: RedisProcess, jobs: SharedJobs) -> None:
    with opened(redis, kept_s=100.0) as own:
        job_id = accepted(own)
        own.finish(job_id, ANSWER, 50.0)
        left_ms = own._server.use(lambda client: client.pttl(f"cbsigned:1:job:{job_id}"))

    assert 0 < left_ms <= 50_000


def test_no_secret_and_no_alert_is_in_what_monitors_show(jobs: SharedJobs) -> None:
    accepted(jobs, callback=CALLBACK)
    (task,) = tasks(jobs)

    assert "é" not in json.dumps(task["headers"], ensure_ascii=False)
    assert (task["headers"]["argsrepr"], task["headers"]["kwargsrepr"]) == ("(a job)", "{}")
    assert SECRET not in json.dumps(task) + base64.b64decode(task["body"]).decode()
    assert SECRET not in repr(jobs.broker.app.conf.humanize(with_defaults=False)) + repr(
        BrokerSettings("amqp://x", SECRET)
    )


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"id": 1}, {"id": "a", "sender": "b", "key": "", "digest": "", "callback": "", "request": 5}],
)
def test_what_is_no_job_is_refused(document: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Message.of_document(document)


def test_without_celery_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)

    with pytest.raises(ConfigError, match=r"pip install 'cbsigned\[celery\]'"):
        Broker(BrokerSettings("amqp://localhost"))


def test_a_redis_that_is_away_takes_no_job(tmp_path: Path) -> None:
    with redis_process(tmp_path, ["--requirepass", SECRET]) as process, opened(process) as jobs:
        process.kill()

        with pytest.raises(JobsUnavailable, match="cannot be reached"):
            jobs.accept("soar", "a", b"digest", REQUEST)
        assert jobs.check() is not None
