from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

import pytest

from cbsigned.edr import EdrSource
from cbsigned.edr.search import side_by_side
from cbsigned.errors import (
    ProcessNotFound,
    SourceAuthError,
    SourceError,
    SourceQueryError,
    SourceResponseError,
    SourceTimeout,
    SourceUnavailable,
)
from cbsigned.gaps import Cause
from cbsigned.lineage import Sighting, lineages
from cbsigned.process import Process
from cbsigned.signing import signing_statuses
from cbsigned.timing import Deadline, format_time
from edr_server import EdrServer, Fault

Start = Callable[..., EdrServer]
Connect = Callable[..., EdrSource]
JSON = "application/json"
NOON = datetime(2021, 4, 20, 12, tzinfo=timezone.utc)
VERSIONS = ["5.0.0.141103.1", "5.1.0.150625.500", "5.1.1.1", "5.2.0.161004.1206", "6.2.0.171114.1158", "7.3.0.200609.1"]


def md5_of(number: int) -> str:
    return f"{number + 1:032x}"


def guid_of(number: int, sensor: int = 7) -> str:
    return f"{sensor:08x}-0000-{number % 65536:04x}-01d7-{number:012x}"


def binary(number: int, **more: Any) -> dict[str, Any]:
    return {"md5": md5_of(number).upper(), "digsig_result": "Signed", "digsig_result_code": "0", **more}


def process(number: int, parent: int | None = None, **more: Any) -> dict[str, Any]:
    guid = guid_of(number)
    return {
        "id": guid, "unique_id": f"{guid}-0178ef7c49a8", "segment_id": 1, "process_name": f"p{number}.exe",
        "process_md5": md5_of(number), "process_pid": number, "hostname": "lab-ws-07",
        "start": format_time(NOON + timedelta(seconds=number)),
        "parent_id": guid_of(parent) if parent is not None else "00000007-ffff-ffff-0000-000000000000", **more,
    }  # fmt: skip


def deadline() -> Deadline:
    return Deadline(20)


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


class TestProcesses:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_guid_has_an_answer(self, version: str, start: Start, source: Connect) -> None:
        server = start(processes=[process(n) for n in range(1, 301)], version=version)
        asked = [guid_of(n) for n in range(1, 311)]

        answers = source(server).processes(asked, deadline())

        assert asked == list(answers)
        assert [Process] * 300 + [ProcessNotFound] * 10 == [type(answers[guid]) for guid in asked]
        assert server.counts["process"] == 2

    def test_modern_servers_are_asked_for_one_row_a_process(self, start: Start, source: Connect) -> None:
        server = start()

        source(server).processes([guid_of(1)], deadline())

        sent = server.requests[-1].parameters
        assert (sent["cb.group"], sent["cb.comprehensive_search"], sent["rows"]) == ("id", "true", "1")

    @pytest.mark.parametrize("version", ["5.1.1.1", "5.2.0.1"])
    def test_segments_are_merged_over_all_pages(self, version: str, start: Start, source: Connect) -> None:
        segments = [
            process(
                n,
                segment_id=s,
                unique_id=f"{guid_of(n)}-{s:08d}",
                cmdline=f"p{n} /first" if s == 1 else "later",
                terminated=s == 3,
            )
            for s in (3, 2, 1)
            for n in range(1, 101)
        ]
        server = start(processes=segments, version=version, row_cap=70)

        answers = source(server).processes([guid_of(n) for n in range(1, 101)], deadline())

        assert {("/first", True)} == {(p.cmdline.split()[-1], p.terminated) for p in answers.values()}
        assert server.counts["process"] == 5
        assert "cb.group" not in server.requests[-1].parameters

    def test_later_segments_fill_what_the_first_lacks(self, start: Start, source: Connect) -> None:
        first = process(1, segment_id=1, process_md5=None, parent_name="(unknown)")
        later = process(1, segment_id=2, parent_name="services.exe", process_name="other.exe")
        server = start(processes=[later, first], version="5.2.0.1")

        found = source(server).processes([guid_of(1)], deadline())[guid_of(1)]

        assert (md5_of(1), "services.exe", "p1.exe") == (found.md5, found.parent_name, found.name)

    def test_a_guid_that_is_none_is_not_sent(self, start: Start, source: Connect) -> None:
        server = start()

        answers = source(server).processes(["1 or process_id:2"], deadline())

        assert Cause.UNSEARCHABLE is answers["1 or process_id:2"].cause
        assert server.counts["process"] == 0

    def test_documents_without_a_guid_leave_no_false_not_found(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("process", Fault(200, b'{"results": [{"id": 5}], "total_results": 1}', JSON))

        assert isinstance(source(server).processes([guid_of(1)], deadline())[guid_of(1)], SourceResponseError)


class TestPagesThatShift:
    """Seen on a busy server: new rows push others to the next page, where they come again, and some never come."""

    def pages(self, server: EdrServer, *pages: list[dict[str, Any]], total: int) -> None:
        """Answer searches with these pages in turn, whatever is asked."""
        answers = [{"results": page, "total_results": total} for page in pages]
        server._search = lambda _route, _parameters: answers.pop(0)

    @pytest.mark.parametrize("version", ["5.2.0.1", "7.3.0.1"])
    def test_what_they_lack_is_not_taken_for_absent(self, version: str, start: Start, source: Connect) -> None:
        server = start(version=version)
        self.pages(server, [process(1), process(2)], [process(2)], total=3)

        answers = source(server).processes([guid_of(n) for n in (1, 2, 3)], deadline())

        assert [Process, Process, SourceResponseError] == [type(answer) for answer in answers.values()]
        assert "2 of 3 rows, some of them twice" in str(answers[guid_of(3)])

    def test_a_group_told_by_another_segment_is_the_same_row(self, start: Start, source: Connect) -> None:
        server = start()
        self.pages(server, [process(1), process(2)], [process(2, unique_id=f"{guid_of(2)}-0178ef7c4aaa")], total=3)

        answers = source(server).processes([guid_of(n) for n in (1, 2, 3)], deadline())

        assert isinstance(answers[guid_of(3)], SourceResponseError)

    def test_an_empty_page_after_them_makes_no_difference(self, start: Start, source: Connect) -> None:
        server = start()
        self.pages(server, [binary(1), binary(2)], [binary(2), binary(3)], [], total=5)

        answers = source(server).binaries([md5_of(n) for n in (1, 2, 3, 4)], deadline())

        assert [tuple, tuple, tuple, SourceResponseError] == [type(answer) for answer in answers.values()]

    def test_rows_that_repeat_while_none_is_missing_are_whole(self, start: Start, source: Connect) -> None:
        server = start()
        self.pages(server, [process(1), process(2)], [process(2), process(3)], total=3)

        answers = source(server).processes([guid_of(n) for n in (1, 2, 3, 4)], deadline())

        assert [Process, Process, Process, ProcessNotFound] == [type(answer) for answer in answers.values()]

    def test_a_sighting_gets_an_error_and_not_a_part(self, start: Start, source: Connect) -> None:
        server = start()
        self.pages(server, [process(1), process(2)], [process(2)], total=3)
        sighting = Sighting("lab-ws-07", pid=3, started_at=NOON)

        assert isinstance(source(server).candidates([sighting], deadline())[sighting], SourceResponseError)

    @pytest.mark.parametrize("version", ["5.2.0.1", "7.3.0.1"])
    def test_processes_come_oldest_first_so_that_new_ones_push_none(
        self, version: str, start: Start, source: Connect
    ) -> None:
        server = start(version=version)
        asked = source(server)

        asked.processes([guid_of(1)], deadline())
        asked.candidates([Sighting("lab-ws-07", started_at=NOON)], deadline())
        asked.children([guid_of(1)], 5, deadline())

        sent = [request.parameters.get("sort") for request in server.requests if request.route == "process"]
        assert sent == ["start asc"] * 3


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


class TestCandidates:
    def sightings(self) -> list[Sighting]:
        return [
            Sighting("LAB-WS-07", pid=5, started_at=NOON + timedelta(seconds=5)),
            Sighting("lab-ws-07.corp.example", seen_at=NOON + timedelta(seconds=40), file_hash=md5_of(30)),
            Sighting("lab-ws-08", pid=5, started_at=NOON),
        ]

    @pytest.mark.parametrize("version", ["5.2.0.1", "7.3.0.1"])
    def test_each_sighting_gets_those_of_its_host_and_time(self, version: str, start: Start, source: Connect) -> None:
        documents = [process(n) for n in range(1, 60)] + [process(99, hostname="lab-ws-070", start=format_time(NOON))]
        server = start(processes=documents, version=version)
        first, second, third = self.sightings()

        answers = source(server).candidates([first, second, third], deadline())

        assert list(range(1, 11)) == sorted(p.pid for p in answers[first])
        assert 30 in [p.pid for p in answers[second]]
        assert max(p.pid for p in answers[second]) <= 40
        assert answers[third] == ()
        assert server.counts["process"] == 1

    def test_the_query_is_narrowed_by_hash_or_else_by_name(self, start: Start, source: Connect) -> None:
        server = start()
        by_hash = Sighting("h", started_at=NOON, file_hash=md5_of(1), name="a.exe")
        by_name = Sighting("h", started_at=NOON, name='a" or process_name:b.exe')

        source(server).candidates([by_hash, by_name], deadline())

        window = "start:[2021-04-20T11:59:55 TO 2021-04-20T12:00:05]"
        assert (
            f"((hostname:h or hostname:h.*) {window} process_md5:{md5_of(1)}) or "
            f'((hostname:h or hostname:h.*) {window} process_name:"a\\" or process_name:b.exe")'
        ) == server.requests[-1].parameters["q"]

    def test_hosts_of_other_case_or_with_a_domain_are_found(self, start: Start, source: Connect) -> None:
        names = ["LAB-WS-07", "lab-ws-07.corp.example", "lab-ws-071"]
        server = start(processes=[process(n, hostname=name) for n, name in enumerate(names, 1)])
        sighting = Sighting("lab-ws-07", started_at=NOON)

        found = source(server).candidates([sighting], deadline())[sighting]

        assert {"LAB-WS-07", "lab-ws-07.corp.example"} == {p.host for p in found}

    def test_a_host_of_strange_characters_is_asked_as_it_stands(self, start: Start, source: Connect) -> None:
        server = start(processes=[process(1, hostname="büro 7")])
        sighting = Sighting("büro 7", started_at=NOON)

        assert len(source(server).candidates([sighting], deadline())[sighting]) == 1

    def test_a_host_with_control_characters_is_not_sent(self, start: Start, source: Connect) -> None:
        server = start()
        bad, good = Sighting("a\x00b", started_at=NOON), Sighting("lab", started_at=NOON)

        answers = source(server).candidates([bad, good], deadline())

        assert Cause.UNSEARCHABLE is answers[bad].cause
        assert answers[good] == ()

    def test_a_sighting_without_time_is_not_sent(self, start: Start, source: Connect) -> None:
        sighting = Sighting("lab", pid=4)

        assert Cause.UNSEARCHABLE is source(start()).candidates([sighting], deadline())[sighting].cause

    def test_a_batch_that_finds_too_many_is_asked_in_halves(self, start: Start, source: Connect) -> None:
        busy = [process(n, start=format_time(NOON), hostname=f"h{n % 3}") for n in range(1, 9001)]
        server = start(processes=busy)
        sightings = [Sighting(f"h{n}", seen_at=NOON) for n in range(3)]

        answers = source(server).candidates(sightings, deadline())

        assert [len(answers[sighting]) for sighting in sightings] == [3000] * 3

    @pytest.mark.parametrize(
        ("hostname", "answers"),
        [
            ("LAB-WS-07.corp.example", [SourceResponseError, tuple]),
            ("", [SourceResponseError, SourceResponseError]),
            (7, [SourceResponseError, SourceResponseError]),
            ("another", [tuple, tuple]),
        ],
    )
    def test_documents_without_a_guid_leave_no_false_not_found(
        self, hostname: object, answers: list[type], start: Start, source: Connect
    ) -> None:
        server = start()
        page = json.dumps({"results": [process(1), {"id": 5, "hostname": hostname}], "total_results": 2}).encode()
        server.fail("process", Fault(200, page, JSON))
        sightings = [Sighting("lab-ws-07", pid=1, started_at=NOON), Sighting("lab-ws-08", pid=1, started_at=NOON)]

        found = source(server).candidates(sightings, deadline())

        assert answers == [type(answer) for answer in found.values()]

    @pytest.mark.parametrize("end", [datetime.min, datetime.max], ids=["first", "last"])
    @pytest.mark.parametrize("name", ["started_at", "seen_at"])
    def test_windows_end_with_the_calendar(self, name: str, end: datetime, start: Start, source: Connect) -> None:
        sighting = Sighting("lab-ws-07", pid=1, **{name: end.replace(tzinfo=timezone.utc)})

        assert {sighting: ()} == source(start()).candidates([sighting], deadline())

    def test_one_sighting_that_finds_too_many_is_an_error_and_not_a_part(self, start: Start, source: Connect) -> None:
        server = start(processes=[process(n, start=format_time(NOON)) for n in range(1, 6001)])
        sighting = Sighting("lab-ws-07", seen_at=NOON)

        answer = source(server).candidates([sighting], deadline())[sighting]

        assert isinstance(answer, SourceResponseError)
        assert "5000 of 6000 rows" in str(answer)


class TestChildren:
    @pytest.mark.parametrize("version", ["5.2.0.1", "6.0.0.1"])
    def test_children_are_told_apart_oldest_first(self, version: str, start: Start, source: Connect) -> None:
        server = start(processes=[process(n, parent=n % 2 + 500) for n in range(20, 0, -1)], version=version)

        answers = source(server).children([guid_of(500), guid_of(501), guid_of(502)], 50, deadline())

        assert [list(range(2, 21, 2)), list(range(1, 20, 2)), []] == [
            [child.pid for child in answer.nodes] for answer in answers.values()
        ]
        assert [(a.total, a.gap) for a in answers.values()] == [(10, None), (10, None), (0, None)]
        assert server.counts["process"] == 1

    def test_more_than_the_limit_leave_a_gap_with_the_total(self, start: Start, source: Connect) -> None:
        server = start(processes=[process(n, parent=500) for n in range(1, 31)])

        answer = source(server).children([guid_of(500)], 10, deadline())[guid_of(500)]

        assert (len(answer.nodes), answer.total) == (10, 30)
        assert list(range(1, 11)) == [child.pid for child in answer.nodes]
        assert "10 of 30 children shown" in answer.gap.reason

    def test_parents_of_very_many_are_asked_in_halves(self, start: Start, source: Connect) -> None:
        server = start(processes=[process(n, parent=60_000 + n % 2) for n in range(1, 8001)])

        answers = source(server).children([guid_of(60_000), guid_of(60_001)], 5, deadline())

        assert [(len(a.nodes), a.total) for a in answers.values()] == [(5, 4000), (5, 4000)]
        assert all(answer.gap for answer in answers.values())

    def test_a_failure_is_the_answer_of_every_parent(self, start: Start, source: Connect) -> None:
        server = start()
        server.fail("process", Fault(403))

        answers = source(server).children([guid_of(1), guid_of(2)], 5, deadline())

        assert [answer.cause for answer in answers.values()] == [Cause.REFUSED] * 2


class TestJoint:
    def documents(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        binaries = [binary(n, digsig_prog_name=f"The p{n}.exe tool") for n in range(1, 4)] + [binary(4)]
        return binaries, [process(n) for n in range(1, 5)]

    def pairs(self) -> list[tuple[str, str]]:
        return [(md5_of(n), f"p{n}.exe") for n in range(1, 6)]

    def test_hits_are_told_apart_in_one_request(self, start: Start, source: Connect) -> None:
        server = start(*self.documents())

        hits = source(server).joint_hits(self.pairs(), deadline())

        assert [hits[pair] for pair in self.pairs()] == [True, True, True, False, False]
        sent = server.requests[-1].parameters
        assert (sent["rows"], sent["facet"], sent["facet.field"]) == ("0", "true", "process_md5")
        assert server.counts["process"] == 1

    @pytest.mark.parametrize("settings", [{"facets": False}, {"version": "5.1.0.1"}])
    def test_pairs_are_asked_singly_where_hits_cannot_be_told_apart(
        self, settings: dict[str, Any], start: Start, source: Connect
    ) -> None:
        server = start(*self.documents(), **settings)

        hits = source(server).joint_hits(self.pairs(), deadline())

        assert [hits[pair] for pair in self.pairs()] == [True, True, True, False, False]
        assert server.counts["process"] >= 5

    def test_two_names_of_one_hash_are_told_apart(self, start: Start, source: Connect) -> None:
        server = start(*self.documents())
        pairs = [(md5_of(1), "p1.exe"), (md5_of(1), "other.exe"), (md5_of(2), "other.exe"), (md5_of(2), "p2.exe")]

        hits = source(server).joint_hits(pairs, deadline())

        assert [hits[pair] for pair in pairs] == [True, False, False, True]

    def test_a_refused_query_is_no_miss(self, start: Start, source: Connect) -> None:
        server = start(*self.documents())
        server.fail("process", Fault(400, b'{"reason": "query_blocked"}', JSON))

        hits = source(server).joint_hits(self.pairs(), deadline())

        assert {Cause.BLOCKED} == {answer.cause for answer in hits.values() if isinstance(answer, SourceError)}
        assert len(hits) == 5

    def test_a_name_that_cannot_be_searched_is_told(self, start: Start, source: Connect) -> None:
        pair = (md5_of(1), "a\nb")

        assert Cause.UNSEARCHABLE is source(start()).joint_hits([pair], deadline())[pair].cause

    def test_hundred_pairs_make_one_query(self, start: Start, source: Connect) -> None:
        server = start(*self.documents())

        source(server).joint_hits([(md5_of(n), "x.exe") for n in range(250)], deadline())

        assert server.counts["process"] == 3


def test_name_is_host_and_port(start: Start, source: Connect) -> None:
    server = start()

    assert f"edr:127.0.0.1:{server.port}" == source(server).name
