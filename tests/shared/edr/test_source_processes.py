"""Processes by guid, by sighting and by parent, and the joint query, asked of a server."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from cbsigned.errors import (
    ProcessNotFound,
    SourceError,
    SourceResponseError,
)
from cbsigned.gaps import Cause
from cbsigned.lineage import Sighting
from cbsigned.process import Process
from cbsigned.timing import format_time
from edr_server import EdrServer, Fault
from shared.edr.documents import JSON, NOON, VERSIONS, Connect, Start, binary, deadline, guid_of, md5_of, process


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
