from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.binary import BinaryRecord
from cbsigned.edr import connect
from cbsigned.errors import ProcessNotFound, SourceResponseError, SourceTimeout, SourceUnavailable
from cbsigned.lineage import ForeignSource, Relatives
from cbsigned.process import Process
from cbsigned.settings import EdrSettings
from cbsigned.sharing import BatchingSource, SharedSource
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline
from edr_server import EdrServer
from recording import Recording, document, guid_of, md5_of


class Gated(Recording):
    """A recording that answers when `gate` opens, and tells when it is asked; `errors` are raised one by one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked, self.gate = threading.Event(), threading.Event()
        self.errors: list[BaseException] = []

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        answer = super().binaries(hashes, deadline)
        errors = self.errors and [self.errors.pop(0)]
        self.asked.set()
        assert self.gate.wait(10)
        if errors:
            raise errors[0]
        return answer


class Waiting(Deadline):
    """A deadline that tells when somebody waits by it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.looked_at = threading.Event()

    def remaining(self) -> float:
        self.looked_at.set()
        return super().remaining()


class Ended(Deadline):
    """A deadline that passes when `over` is set."""

    def __init__(self) -> None:
        self.over = False
        super().__init__(100, clock=lambda: 1000.0 if self.over else 0.0)


@contextmanager
def threads(number: int = 2) -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(number) as pool:
        yield pool.submit


def records(*numbers: int) -> dict[str, list[BinaryRecord]]:
    return {md5_of(number): [document(md5=md5_of(number))] for number in numbers}


def one_after_the_other(
    source: Gated, shared: SharedSource, hashes: Sequence[str], first: Optional[Deadline] = None,
    then: Callable[[], object] = lambda: None,
) -> tuple[Future[BinaryAnswers], Future[BinaryAnswers]]:  # fmt: skip
    """Ask twice, the second time while the first is under way; `then` happens before the first has its answer."""
    with threads() as submit:
        owner = submit(shared.binaries, hashes, first or Deadline(10))
        assert source.asked.wait(10)
        second = Waiting(10)
        waiter = submit(shared.binaries, hashes, second)
        assert second.looked_at.wait(10)
        then()
        source.gate.set()
    return owner, waiter


class TestOneRequest:
    def test_who_asks_meanwhile_gets_the_same_answer(self) -> None:
        source = Gated(records(1))

        owner, waiter = one_after_the_other(source, SharedSource(source, 0), [md5_of(1), md5_of(2)])

        assert owner.result() == waiter.result() == {md5_of(1): (document(md5=md5_of(1)),), md5_of(2): ()}
        assert source.hash_calls == [[md5_of(1), md5_of(2)]]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 12), max_size=8), min_size=1, max_size=6))
    def test_every_item_is_asked_once_and_answered_in_order(self, askers: list[list[int]]) -> None:
        source = Recording(records(*range(0, 13, 2)))
        shared = SharedSource(source, 60)

        with threads(len(askers)) as submit:
            jobs = [submit(shared.binaries, [md5_of(n) for n in asker], Deadline(20)) for asker in askers]
            answers = [job.result(20) for job in jobs]

        expected = [{md5_of(n): tuple(records(n)[md5_of(n)]) if n % 2 == 0 else () for n in a} for a in askers]
        assert expected == answers
        assert [list(e) for e in expected] == [list(a) for a in answers]
        assert set(Counter(h for call in source.hash_calls for h in call).values()) <= {1}

    def test_askers_that_cross_do_not_wait_for_each_other(self) -> None:
        source = Recording(records(*range(40)))
        shared = SharedSource(source, 0)
        forth = [md5_of(n) for n in range(40)]

        with threads(8) as submit:
            jobs = [submit(shared.binaries, (forth, forth[::-1])[n % 2], Deadline(20)) for n in range(400)]
            found = [len(job.result(20)) for job in jobs]

        assert found == [40] * 400

    def test_eight_searches_cost_a_real_server_what_one_costs(self) -> None:
        documents = [{"md5": md5_of(n).upper(), "digsig_result": "Signed"} for n in range(400)]
        hashes = [md5_of(n) for n in range(400)]
        with EdrServer(documents, latency_s=0.05) as server, connect(EdrSettings(server.url, server.token)) as edr:
            shared = SharedSource(edr)

            with threads(8) as submit:
                jobs = [submit(shared.binaries, hashes, Deadline(20)) for _ in range(8)]
                found = [sum(len(a) for a in job.result(20).values()) for job in jobs]

            assert found == [400] * 8
            assert server.counts["binary"] == 2

    def test_nothing_asked_is_nothing_sent(self) -> None:
        source = Recording()

        assert SharedSource(source).binaries([], Deadline(1)) == {}
        assert source.hash_calls == []


class TestEveryQuestion:
    CHILD = Process(guid_of(2), name="a.exe", parent_guid=guid_of(1))
    SIGHTING = Sighting("host", pid=4)

    @pytest.fixture
    def source(self) -> Recording:
        return Recording(processes=[self.CHILD], hits=[(md5_of(1), "a.exe")])

    def test_processes(self, source: Recording) -> None:
        answers = SharedSource(source).processes([guid_of(2), guid_of(3)], Deadline(1))

        assert answers[guid_of(2)] == self.CHILD
        assert isinstance(answers[guid_of(3)], ProcessNotFound)

    def test_an_unknown_process_lingers_too(self, source: Recording) -> None:
        shared = SharedSource(source)

        shared.processes([guid_of(3)], Deadline(1))
        shared.processes([guid_of(3)], Deadline(1))

        assert [[guid_of(3)]] == source.guid_calls

    def test_candidates(self, source: Recording) -> None:
        assert SharedSource(source).candidates([self.SIGHTING], Deadline(1)) == {self.SIGHTING: (self.CHILD,)}

    def test_children_of_another_limit_are_another_question(self, source: Recording) -> None:
        shared = SharedSource(source)

        answers = [shared.children([guid_of(1)], limit, Deadline(1))[guid_of(1)] for limit in (0, 5)]

        assert answers == [Relatives((), 1), Relatives((self.CHILD,), 1)]

    def test_joint_hits(self, source: Recording) -> None:
        pairs = [(md5_of(1), "a.exe"), (md5_of(1), "b.exe")]

        assert SharedSource(source).joint_hits(pairs, Deadline(1)) == dict(zip(pairs, (True, False)))

    def test_its_name_is_that_of_the_source(self, source: Recording) -> None:
        assert SharedSource(source).name == "recording"

    def test_it_claims_no_processes_of_other_products(self, source: Recording) -> None:
        assert not isinstance(SharedSource(source), ForeignSource)


class TestLinger:
    def test_an_answer_stays_for_a_while(self) -> None:
        now, source = [0.0], Recording(records(1))
        shared = SharedSource(source, 5, lambda: now[0])

        for now[0] in (0.0, 4.9, 5.0):
            assert len(shared.binaries([md5_of(1)], Deadline(1))[md5_of(1)]) == 1

        assert len(source.hash_calls) == 2

    def test_a_failure_does_not_stay(self) -> None:
        source = Recording(records(1))
        shared = SharedSource(source)
        source.failure = SourceUnavailable("down")
        failed = shared.binaries([md5_of(1)], Deadline(1))
        source.failure = None

        answered = shared.binaries([md5_of(1)], Deadline(1))

        assert isinstance(failed[md5_of(1)], SourceUnavailable)
        assert len(answered[md5_of(1)]) == 1

    def test_what_stays_is_bounded(self) -> None:
        source = Recording()
        shared = SharedSource(source, 3600)
        early, late = ([md5_of(n) for n in part] for part in (range(15_000), range(15_000, 30_000)))

        for part in (early, late, late, early):
            shared.binaries(part, Deadline(10))

        assert [early, late, early] == source.hash_calls

    def test_what_is_over_is_forgotten(self) -> None:
        now, source = [0.0], Recording()
        shared = SharedSource(source, 5, lambda: now[0])
        for number in range(100):
            now[0] = number * 6.0
            shared.binaries([md5_of(number)], Deadline(1))

        assert len(shared._binaries._by_item) == 1
        assert len(shared._binaries._ended) == 1


class TestFailures:
    def test_a_failure_is_shared(self) -> None:
        source = Gated()
        source.failure = SourceResponseError("HTML")

        owner, waiter = one_after_the_other(source, SharedSource(source), [md5_of(1)])

        assert owner.result() == waiter.result() == {md5_of(1): source.failure}
        assert len(source.hash_calls) == 1

    def test_a_time_out_of_the_server_is_shared(self) -> None:
        source = Gated()
        source.failure = SourceTimeout("slow")

        owner, waiter = one_after_the_other(source, SharedSource(source), [md5_of(1)])

        assert owner.result() == waiter.result() == {md5_of(1): source.failure}
        assert len(source.hash_calls) == 1

    def test_who_has_time_left_asks_again_where_the_first_had_none(self) -> None:
        source, short = Gated(records(1)), Ended()
        source.failure = SourceTimeout("no time")

        def time_is_over() -> None:
            short.over, source.failure = True, None

        owner, waiter = one_after_the_other(source, SharedSource(source), [md5_of(1)], short, time_is_over)

        assert isinstance(owner.result()[md5_of(1)], SourceTimeout)
        assert waiter.result() == {md5_of(1): (document(md5=md5_of(1)),)}

    def test_an_error_that_was_raised_is_an_answer(self) -> None:
        source = Gated()
        source.errors = [SourceUnavailable("down")]

        owner, waiter = one_after_the_other(source, SharedSource(source), [md5_of(1)])

        assert str(owner.result()[md5_of(1)]) == str(waiter.result()[md5_of(1)]) == "down"

    @pytest.mark.parametrize("death", [RuntimeError("bug"), KeyboardInterrupt()], ids=["bug", "interrupt"])
    def test_a_waiter_asks_itself_where_the_first_died(self, death: BaseException) -> None:
        source = Gated(records(1))
        source.errors = [death]

        owner, waiter = one_after_the_other(source, SharedSource(source), [md5_of(1)])

        assert owner.exception() is death
        assert waiter.result() == {md5_of(1): (document(md5=md5_of(1)),)}

    def test_an_item_that_the_source_forgot_is_left_out(self) -> None:
        class Forgetful(Gated):
            def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
                super().binaries(hashes, deadline)
                return {}

        source = Forgetful()

        owner, waiter = one_after_the_other(source, SharedSource(source), [md5_of(1)])

        assert owner.result() == waiter.result() == {}
        assert len(source.hash_calls) == 1


class TestTime:
    def test_one_hash_does_not_starve_behind_ten_thousand(self) -> None:
        """The waiter asks itself when half of its time is over."""
        source = Gated(records(1))
        shared = SharedSource(source)
        many = [md5_of(n) for n in range(10_000)]

        with threads() as submit:
            owner = submit(shared.binaries, many, Deadline(10))
            assert source.asked.wait(10)
            source.asked.clear()
            waiter = submit(shared.binaries, [md5_of(1)], Deadline(0.4))
            assert source.asked.wait(10)
            source.gate.set()

        assert len(owner.result()[md5_of(1)]) == len(waiter.result()[md5_of(1)]) == 1
        assert source.hash_calls == [many, [md5_of(1)]]

    def test_nobody_waits_beyond_the_deadline(self) -> None:
        source = Gated(records(1))
        shared = SharedSource(source)

        with threads() as submit:
            owner = submit(shared.binaries, [md5_of(1)], Deadline(10))
            assert source.asked.wait(10)
            began = time.monotonic()
            answer = shared.binaries([md5_of(1)], Deadline(0))[md5_of(1)]
            took = time.monotonic() - began
            source.gate.set()

        assert isinstance(answer, SourceTimeout)
        assert "recording is being asked this by another search" in str(answer)
        assert took < 1
        assert len(owner.result()[md5_of(1)]) == 1

    def test_own_items_are_asked_before_others_are_waited_for(self) -> None:
        source = Gated(records(1, 2))
        shared = SharedSource(source)

        with threads() as submit:
            submit(shared.binaries, [md5_of(1)], Deadline(10))
            assert source.asked.wait(10)
            source.asked.clear()
            second = submit(shared.binaries, [md5_of(1), md5_of(2)], Deadline(10))
            assert source.asked.wait(10)
            source.gate.set()

        assert [len(found) for found in second.result().values()] == [1, 1]
        assert source.hash_calls == [[md5_of(1)], [md5_of(2)]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["answer", "down", "late", "bug"]), max_size=12), st.sampled_from([0.0, 5.0]))
def test_whatever_fails_every_asker_returns(script: list[str], linger_s: float) -> None:
    failures = {"down": SourceUnavailable("down"), "late": SourceTimeout("late")}
    moods, lock = list(script), threading.Lock()

    class Moody(Recording):
        def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
            with lock:
                mood = moods.pop() if moods else "answer"
            if mood == "bug":
                raise RuntimeError(mood)
            return {h: failures.get(mood, ()) for h in hashes}

    shared = SharedSource(Moody(), linger_s)
    hashes = [md5_of(n) for n in range(4)]

    with threads(4) as submit:
        jobs = [submit(shared.binaries, hashes, Deadline(20)) for _ in range(8)]
        done = [job.exception(20) or job.result() for job in jobs]

    assert all(isinstance(found, RuntimeError) or list(found) == hashes for found in done)
    assert not [f for f in shared._binaries._by_item.values() if not f.done.is_set()]


class TestBatches:
    """Many askers, few questions: what is asked while an answer is awaited goes out together."""

    @contextmanager
    def under_way(
        self, source: Gated, batching: BatchingSource, askers: int = 12
    ) -> Iterator[Callable[..., Future[BinaryAnswers]]]:
        """Ask for hash 0 and give a function that asks for more, and returns when it has joined a question."""
        with threads(askers) as submit:
            try:
                first = submit(batching.binaries, [md5_of(0)], Deadline(10))
                assert source.asked.wait(10)
                source.asked.clear()

                def ask(*numbers: int, deadline: Optional[Waiting] = None) -> Future[BinaryAnswers]:
                    waiting = deadline or Waiting(10)
                    asked = submit(batching.binaries, [md5_of(n) for n in numbers], waiting)
                    assert waiting.looked_at.wait(10)
                    return asked

                yield ask
                source.gate.set()
                assert len(first.result(10)) == 1
            finally:
                source.gate.set()

    def test_what_is_asked_while_an_answer_is_awaited_is_one_question(self) -> None:
        source = Gated(records(1, 2, 3))
        batching = BatchingSource(source, 0, 10)

        with self.under_way(source, batching) as ask:
            asked = [ask(1), ask(2, 1), ask(3, 4)]

        assert [list(a.result(10)) for a in asked] == [[md5_of(1)], [md5_of(2), md5_of(1)], [md5_of(3), md5_of(4)]]
        assert asked[2].result()[md5_of(4)] == ()
        assert source.hash_calls == [[md5_of(0)], [md5_of(n) for n in (1, 2, 3, 4)]]

    def test_a_full_question_does_not_wait_for_an_answer(self) -> None:
        source = Gated()

        with self.under_way(source, BatchingSource(source, 0, 10)) as ask:
            ask(*range(1, 100))
            ask(*range(100, 201))
            assert source.asked.wait(10)

        assert [len(call) for call in source.hash_calls] == [1, 200]

    def test_one_slow_question_holds_the_others_up_for_a_moment_only(self) -> None:
        source = Gated()

        with self.under_way(source, BatchingSource(source, 0, 0.02)) as ask:
            ask(1)
            assert source.asked.wait(10)

        assert len(source.hash_calls) == 2

    def test_at_most_four_questions_are_under_way(self) -> None:
        source = Gated()

        with self.under_way(source, BatchingSource(source, 0, 0)) as ask:
            for number in (1, 2, 3):
                ask(number)
                assert source.asked.wait(10)
                source.asked.clear()
            asked = [ask(4), ask(5)]

        assert [len(a.result(10)) for a in asked] == [1, 1]
        assert [len(call) for call in source.hash_calls] == [1, 1, 1, 1, 2]

    def test_each_asker_waits_by_its_own_deadline(self) -> None:
        source = Gated(records(1, 2))
        batching = BatchingSource(source, 0, 10)

        with self.under_way(source, batching) as ask:
            patient = ask(1)
            hasty = batching.binaries([md5_of(2)], Deadline(0.01))

        assert isinstance(hasty[md5_of(2)], SourceTimeout)
        assert patient.result(10) == {md5_of(1): (document(md5=md5_of(1)),)}

    def test_what_nobody_waits_for_any_more_is_not_asked(self) -> None:
        class Gone(Waiting):
            over = False

            def remaining(self) -> float:
                return 0.0 if self.over else super().remaining()

        source, gone = Gated(), Gone(10)

        with self.under_way(source, BatchingSource(source, 0, 10)) as ask:
            asked = ask(1, deadline=gone)
            gone.over = True

        assert isinstance(asked.result(10)[md5_of(1)], SourceTimeout)
        assert source.hash_calls == [[md5_of(0)]]

    def test_an_error_that_was_raised_is_an_answer(self) -> None:
        source = Gated()
        source.gate.set()
        source.errors = [SourceUnavailable("down")]

        assert str(BatchingSource(source).binaries([md5_of(1)], Deadline(10))[md5_of(1)]) == "down"

    def test_a_defect_is_raised_where_it_was_asked(self) -> None:
        source = Gated()
        source.gate.set()
        source.errors = [RuntimeError("bug")]

        with pytest.raises(RuntimeError, match="bug"):
            BatchingSource(source).binaries([md5_of(1)], Deadline(10))

    def test_every_question_is_passed_on(self) -> None:
        child, sighting = Process(guid_of(2), name="a.exe", parent_guid=guid_of(1)), Sighting("host", pid=4)
        batching = BatchingSource(Recording(processes=[child], hits=[(md5_of(1), "a.exe")]), 0)

        assert batching.processes([guid_of(2)], Deadline(9)) == {guid_of(2): child}
        assert batching.candidates([sighting], Deadline(9)) == {sighting: (child,)}
        assert batching.children([guid_of(1)], 0, Deadline(9)) == {guid_of(1): Relatives((), 1)}
        assert batching.joint_hits([(md5_of(1), "a.exe")], Deadline(9)) == {(md5_of(1), "a.exe"): True}
        assert batching.binaries([], Deadline(9)) == {}
        assert batching.name == "recording"

    def test_a_crowd_costs_a_real_server_few_requests(self) -> None:
        documents = [{"md5": md5_of(n).upper(), "digsig_result": "Signed"} for n in range(300)]
        with EdrServer(documents, latency_s=0.1) as server, connect(EdrSettings(server.url, server.token)) as edr:
            shared = SharedSource(BatchingSource(edr))

            with threads(60) as submit:
                jobs = [submit(shared.binaries, [md5_of(n % 300)], Deadline(20)) for n in range(1_500)]
                found = [len(answer) for job in jobs for answer in job.result(20).values()]

            assert found == [1] * 1_500
            assert server.counts["binary"] <= 12
