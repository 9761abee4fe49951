"""Binaries by hash, versions, and when to give up, asked of a server."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any, Callable

import pytest

from cbsigned.edr import EdrSource
from cbsigned.edr.search import side_by_side
from cbsigned.errors import (
    SourceAuthError,
    SourceError,
    SourceQueryError,
    SourceResponseError,
    SourceTimeout,
    SourceUnavailable,
)
from cbsigned.gaps import Cause
from cbsigned.lineage import lineages
from cbsigned.signing import signing_statuses
from cbsigned.timing import Deadline
from edr_server import EdrServer, Fault
from shared.edr.documents import JSON, VERSIONS, Connect, Start, binary, deadline, guid_of, md5_of, process


class TestBinaries:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_hash_has_an_answer_in_one_request_per_two_hundred(
        self, version: str, start: Start, source: Connect
    ) -> None:
        server = start([binary(n) for n in range(450)], version=version)
        asked = [md5_of(n) for n in range(500)]

        answers = source(server).binaries(asked, deadline())

        assert asked == list(answers)
        assert [len(answers[h]) for h in asked] == [1] * 450 + [0] * 50
        assert dict(server.counts) == {"info": 1, "binary": 3}

    def test_a_record_is_the_one_of_its_hash(self, start: Start, source: Connect) -> None:
        server = start([binary(1, digsig_publisher="Acme"), binary(2, digsig_result="Unsigned")])

        answers = source(server).binaries([md5_of(2), md5_of(1)], deadline())

        assert [(md5_of(2), "Unsigned", None), (md5_of(1), "Signed", "Acme")] == [
            (r.md5, r.word, r.publisher) for records in answers.values() for r in records
        ]

    def test_nothing_asked_is_nothing_sent(self, start: Start, source: Connect) -> None:
        server = start()

        assert source(server).binaries([], deadline()) == {}
        assert not server.counts

    def test_sha256_is_searched_from_6_3(self, start: Start, source: Connect) -> None:
        server = start([binary(1, sha256="ab" * 32), binary(2)])

        answers = source(server).binaries(["ab" * 32, md5_of(1), md5_of(2)], deadline())

        assert [md5_of(1), md5_of(1), md5_of(2)] == [records[0].md5 for records in answers.values()]
        assert server.counts["binary"] == 1

    @pytest.mark.parametrize("version", ["5.2.0.1", "6.2.0.171114.1158"])
    def test_sha256_is_not_sent_to_older_servers(self, version: str, start: Start, source: Connect) -> None:
        server = start([binary(1, sha256="ab" * 32)], version=version)

        answers = source(server).binaries(["ab" * 32, md5_of(1)], deadline())

        refused = answers["ab" * 32]
        assert isinstance(refused, SourceQueryError)
        assert Cause.UNSEARCHABLE is refused.cause
        assert "cannot be searched by SHA-256, which needs 6.3" in str(refused)
        assert len(answers[md5_of(1)]) == 1
        assert all("sha256" not in request.parameters.get("q", "") for request in server.requests)

    def test_a_hash_that_is_none_is_not_sent(self, start: Start, source: Connect) -> None:
        server = start()

        answers = source(server).binaries(["x) or (md5:*", md5_of(1)], deadline())

        assert Cause.UNSEARCHABLE is answers["x) or (md5:*"].cause
        assert answers[md5_of(1)] == ()
        assert f"md5:{md5_of(1)}" == server.requests[-1].parameters["q"]

    def test_a_server_that_caps_rows_is_paged(self, start: Start, source: Connect) -> None:
        server = start([binary(n) for n in range(120)], row_cap=50)

        answers = source(server).binaries([md5_of(n) for n in range(120)], deadline())

        assert all(answers.values())
        assert [r.parameters["start"] for r in server.requests if r.route == "binary"] == ["0", "50", "100"]

    def test_paging_stops_at_an_empty_page_when_the_total_is_too_high(self, start: Start, source: Connect) -> None:
        server = start([binary(1)], over_estimate=25)

        answers = source(server).binaries([md5_of(1), md5_of(2)], deadline())

        assert [len(records) for records in answers.values()] == [1, 0]
        assert server.counts["binary"] == 2

    def test_a_server_that_repeats_its_page_leaves_no_false_not_found(self, start: Start, source: Connect) -> None:
        page = b'{"results": [{"md5": "%s"}], "total_results": 100}' % md5_of(1).encode()
        server = start()
        server.fail("binary", Fault(200, page, JSON))

        answers = source(server).binaries([md5_of(1), md5_of(2)], deadline())

        assert len(answers[md5_of(1)]) == 1
        assert isinstance(answers[md5_of(2)], SourceResponseError)

    def test_a_hash_that_one_page_names_twice_leaves_others_not_found(self, start: Start, source: Connect) -> None:
        page = json.dumps({"results": [binary(1), binary(1)], "total_results": 2}).encode()
        server = start()
        server.fail("binary", Fault(200, page, JSON))

        answers = source(server).binaries([md5_of(1), md5_of(2)], deadline())

        assert [len(records) for records in answers.values()] == [1, 0]

    def test_documents_nobody_asked_for_are_passed_over(self, start: Start, source: Connect) -> None:
        page = b'{"results": [{"md5": "%s", "digsig_result": "Signed"}], "total_results": 1}' % md5_of(9).encode()
        server = start()
        server.fail("binary", Fault(200, page, JSON))

        assert {md5_of(1): ()} == source(server).binaries([md5_of(1)], deadline())

    def test_documents_without_a_hash_leave_no_false_not_found(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(200, b'{"results": [{"md5": 7}], "total_results": 1}', JSON))

        answer = source(server).binaries([md5_of(1)], deadline())[md5_of(1)]

        assert isinstance(answer, SourceResponseError)
        assert "1 documents without hash" in str(answer)

    @pytest.mark.parametrize(
        "body",
        [
            b"{}",
            b'{"results": {}, "total_results": 0}',
            b'{"results": ["x"], "total_results": 1}',
            b'{"results": [], "total_results": "many"}',
            b'{"results": [], "total_results": -1}',
            b'{"results": [], "total_results": true}',
            b'{"results": null, "total_results": 0}',
        ],
    )
    def test_another_shape_is_unreadable(self, body: bytes, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(200, body, JSON))

        answer = source(server).binaries([md5_of(1)], deadline())[md5_of(1)]

        assert isinstance(answer, SourceResponseError)
        assert "another shape" in str(answer)

    def test_a_search_that_the_server_gave_up_leaves_no_false_not_found(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(200, b'{"results": [], "total_results": 0, "incomplete_results": true}', JSON))

        answer = source(server).binaries([md5_of(1)], deadline())[md5_of(1)]

        assert isinstance(answer, SourceTimeout)
        assert "only a part was searched" in str(answer)

    def test_a_failing_batch_fails_its_own_hashes_alone(self, start: Start, source: Connect) -> None:
        server = start([binary(n) for n in range(400)])
        server.fail("binary", Fault(500), times=1)

        answers = source(server, parallel=1).binaries([md5_of(n) for n in range(400)], deadline())

        assert [SourceUnavailable] * 200 + [tuple] * 200 == [type(answer) for answer in answers.values()]

    def test_batches_go_side_by_side(self, start: Start, source: Connect) -> None:
        server = start([binary(n) for n in range(1000)], latency_s=0.1)
        asked = source(server, parallel=5)
        asked.binaries([md5_of(0)], deadline())
        began = time.monotonic()

        answers = asked.binaries([md5_of(n) for n in range(1, 1000)], deadline())

        assert [md5_of(n) for n in range(1, 1000)] == list(answers)
        assert time.monotonic() - began < 0.35

    @pytest.mark.parametrize("mode", ["silent", "drip_body", "drip_headers"])
    def test_every_hash_is_answered_within_the_deadline(self, mode: str, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(mode=mode))
        began = time.monotonic()

        answers = source(server, parallel=2).binaries([md5_of(n) for n in range(900)], Deadline(0.5))

        assert time.monotonic() - began < 1.0
        assert len(answers) == 900
        assert {Cause.TIMEOUT} == {answer.cause for answer in answers.values()}

    def test_errors_kept_as_answers_hold_no_frames(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(500))

        answer = source(server).binaries([md5_of(1)], deadline())[md5_of(1)]

        assert answer.__traceback__ is None

    def test_half_characters_are_replaced(self, start: Start, source: Connect) -> None:
        server = start([binary(1, digsig_publisher="A\ud800B")])

        assert source(server).binaries([md5_of(1)], deadline())[md5_of(1)][0].publisher == "A?B"

    def test_core_reads_not_found_as_unknown(self, start: Start, source: Connect) -> None:
        statuses = signing_statuses(source(start([binary(1)])), [md5_of(1), md5_of(2)], deadline())

        assert [(s.status.value, s.cause) for s in statuses.values()] == [
            ("Signed", Cause.RECORD),
            ("Unknown", Cause.NOT_FOUND),
        ]


class TestGivingUp:
    def interrupt(self, server: EdrServer, asked: EdrSource) -> float:
        """Interrupt a call of two batches once both are under way, and return how long that took."""

        def stop() -> None:
            while server.counts["binary"] < 2:
                threading.Event().wait(0.01)
            asked._client.interrupt()

        watcher = threading.Thread(target=stop)
        watcher.start()
        began = time.monotonic()
        answers = asked.binaries([md5_of(n) for n in range(400)], Deadline(30))
        watcher.join()
        assert {True} == {isinstance(answer, SourceTimeout) for answer in answers.values()}
        return time.monotonic() - began

    def test_ends_requests_that_are_out(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(mode="silent"))

        assert self.interrupt(server, source(server)) < 5

    def test_ends_waits_between_tries(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("binary", Fault(503, headers={"Retry-After": "20"}))

        assert self.interrupt(server, source(server, sleep=None)) < 5

    def test_an_interrupted_batch_stops_the_others(self, start: Start, client: Callable[..., Any]) -> None:
        server = start()
        server.fail("binary", Fault(mode="silent"))
        asked = client(server)
        began = time.monotonic()

        def work(number: int) -> None:
            if number == 0:
                while not server.requests:
                    threading.Event().wait(0.01)
                raise KeyboardInterrupt
            with contextlib.suppress(SourceError):
                asked.ask("/api/v1/binary", Deadline(30))

        with pytest.raises(KeyboardInterrupt):
            side_by_side(asked, work, range(20))

        assert time.monotonic() - began < 5
        assert server.counts["binary"] < 10


class TestVersion:
    def test_it_is_asked_once(self, start: Start, source: Connect) -> None:
        server = start()
        asked = source(server)

        for number in range(3):
            asked.binaries([md5_of(number)], deadline())
            asked.processes([guid_of(number)], deadline())

        assert server.counts["info"] == 1

    def test_its_failure_is_the_answer_and_is_asked_again(self, start: Start, source: Connect) -> None:
        server = start([binary(1)])
        server.fail("info", Fault(401), times=1)
        asked = source(server)

        first = asked.binaries([md5_of(1)], deadline())
        second = asked.binaries([md5_of(1)], deadline())

        assert isinstance(first[md5_of(1)], SourceAuthError)
        assert len(second[md5_of(1)]) == 1

    @pytest.mark.parametrize("status", [403, 404])
    def test_without_leave_to_read_it_a_6_0_is_assumed(
        self, status: int, start: Start, source: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = start([binary(1, sha256="ab" * 32)], [process(1)])
        server.fail("info", Fault(status))
        asked = source(server)

        binaries = asked.binaries([md5_of(1), "ab" * 32], deadline())
        asked.processes([guid_of(1)], deadline())

        assert [len(records) for records in binaries.values()] == [1, 1]
        assert dict(server.counts) == {"info": 1, "binary": 2, "process": 1}
        assert server.requests[-1].parameters["cb.group"] == "id"
        assert "it is taken for 6.0.0" in caplog.text

    @pytest.mark.parametrize("version", ["", "six", "7", 7, None])
    def test_an_answer_without_a_version_is_unreadable(self, version: Any, start: Start, source: Connect) -> None:
        answer = source(start(version=version)).binaries([md5_of(1)], deadline())[md5_of(1)]

        assert isinstance(answer, SourceResponseError)
        assert "named no version" in str(answer)

    @pytest.mark.parametrize(("version", "sent"), [("5.1.0.1", False), ("5.1.1.1", True), ("7.0.0.1", True)])
    def test_facet_is_left_out_where_it_does_harm(
        self, version: str, sent: bool, start: Start, source: Connect
    ) -> None:
        server = start(version=version)

        source(server).binaries([md5_of(1)], deadline())

        assert sent is ("facet" in server.requests[-1].parameters)


class TestRequestBound:
    def test_lineages_and_signatures_cost_one_request_per_two_hundred_and_generation(
        self, start: Start, source: Connect
    ) -> None:
        """450 processes, each under one of 225 parents, those under one of 5, those under one."""
        generations = {n: n // 2 + 1000 for n in range(1, 451)}
        generations |= {parent: parent % 5 + 2000 for parent in set(generations.values())}
        generations |= {parent: 3000 for parent in set(generations.values()) if parent >= 2000}
        documents = [process(n, parent, start=None) for n, parent in generations.items()] + [process(3000, start=None)]
        server = start([binary(n) for n in [*generations, 3000]], documents)
        asked = source(server)

        chains = lineages(asked, [guid_of(n) for n in range(1, 451)], deadline())
        hashes = {node.process.md5 for chain in chains.values() for node in chain.nodes}
        statuses = signing_statuses(asked, sorted(hashes), deadline())

        parents = len({generations[n] for n in range(1, 451)})
        bound = -(-450 // 200) + -(-parents // 200) + 1 + 1 + -(-len(hashes) // 200)
        assert {4} == {len(chain.nodes) for chain in chains.values()}
        assert {"Signed"} == {s.status.value for s in statuses.values()}
        assert sum(server.counts.values()) <= bound + 2
