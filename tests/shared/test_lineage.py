from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.errors import SourceTimeout
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import EndedBy, Lineage, lineages
from cbsigned.process import Process, parse_process
from cbsigned.sighting import Sighting, locate
from cbsigned.timing import Deadline
from recording import Recording, guid_of, md5_of


def process(number: int, parent: Optional[int] = None, **fields: object) -> Process:
    guid = guid_of(number)
    found = parse_process(
        {
            "id": guid,
            "process_name": f"p{number}.exe",
            "process_md5": md5_of(number),
            "hostname": "WS01",
            "os_type": "windows",
        }
    )
    assert found is not None
    return replace(found, parent_guid=None if parent is None else guid_of(parent), **fields)  # type: ignore[arg-type]


def walk(source: Recording, number: int = 9, **options: object) -> Lineage:
    guid = guid_of(number)
    return lineages(source, [guid], Deadline(5), **options)[guid]  # type: ignore[arg-type]


def chain(length: int, top: int = 0) -> list[Process]:
    """Return `length` processes, each the parent of the next; the first is the system's own."""
    root = replace(process(top), pid=4)
    return [root, *(process(top + i, top + i - 1) for i in range(1, length))]


def test_a_whole_lineage_reaches_the_root() -> None:
    lineage = walk(Recording(processes=chain(10)))

    assert [node.process.name for node in lineage.nodes] == [f"p{i}.exe" for i in range(9, -1, -1)]
    assert lineage.ended_by is EndedBy.ROOT
    assert lineage.whole


def test_one_call_a_generation_serves_all_processes() -> None:
    root, *others = chain(4)
    siblings = [process(100 + i, 3) for i in range(50)]
    source = Recording(processes=[root, *others, *siblings])

    lineages(source, [p.guid for p in siblings], Deadline(5))

    assert [len(call) for call in source.guid_calls] == [50, 1, 1, 1, 1]


def test_lineage_stops_at_the_depth_limit_and_says_so() -> None:
    lineage = walk(Recording(processes=chain(10)), max_depth=3)

    assert len(lineage.nodes) == 4
    assert lineage.ended_by is EndedBy.MAX_DEPTH
    assert "3 ancestors" in lineage.reason


def test_depth_zero_gives_the_process_alone() -> None:
    source = Recording(processes=chain(10))

    assert len(walk(source, max_depth=0).nodes) == 1
    assert len(source.guid_calls) == 1


def test_an_orphan_keeps_what_its_child_tells_of_the_parent() -> None:
    orphan = replace(process(9, 8), parent_name="explorer.exe")

    lineage = walk(Recording(processes=[orphan]))

    parent = lineage.nodes[1]
    assert (parent.process.guid, parent.process.name, parent.process.pid) == (guid_of(8), "explorer.exe", 1008)
    assert (parent.process.host, parent.gap.cause if parent.gap else None) == ("WS01", Cause.NOT_FOUND)
    assert lineage.ended_by is EndedBy.NOT_FOUND


def test_a_parent_whose_start_was_not_recorded_is_a_node_with_that_gap() -> None:
    parent = Process(guid_of(8), pid=1008, host="WS01", start_recorded=False)

    lineage = walk(Recording(processes=[process(9, 8), parent]))

    assert lineage.nodes[1].gap is not None
    assert lineage.nodes[1].gap.cause is Cause.START_NOT_RECORDED
    assert lineage.ended_by is EndedBy.START_NOT_RECORDED


def test_lineage_stops_at_a_guid_seen_before() -> None:
    same = {"started_at": process(5).started_at}

    lineage = walk(Recording(processes=[process(9, 8, **same), process(8, 9, **same)]))

    assert (len(lineage.nodes), lineage.ended_by) == (2, EndedBy.LOOP)


def test_a_process_that_names_itself_is_a_loop() -> None:
    lineage = walk(Recording(processes=[process(9, 9)]))

    assert (len(lineage.nodes), lineage.ended_by) == (1, EndedBy.LOOP)


def test_a_parent_that_started_later_is_a_reused_pid_not_a_parent() -> None:
    lineage = walk(Recording(processes=[process(9, 60), process(60)]))

    assert (len(lineage.nodes), lineage.ended_by) == (1, EndedBy.REUSED_PID)


def test_two_processes_with_one_pid_stay_apart() -> None:
    first = replace(process(1, 0), pid=77)
    second = replace(process(5, 0), pid=77)
    source = Recording(processes=[process(0), first, second, process(9, 1)])

    assert [n.process.guid for n in walk(source).nodes] == [guid_of(9), guid_of(1), guid_of(0)]


def test_the_all_ones_parent_ends_the_walk_as_unknown() -> None:
    found = parse_process({"id": guid_of(9), "parent_id": "00000001-ffff-ffff-0000-000000000000", "parent_pid": -1})
    assert found is not None

    lineage = walk(Recording(processes=[found]))

    assert (len(lineage.nodes), lineage.ended_by) == (1, EndedBy.UNKNOWN_PARENT)


def test_a_failed_source_still_gives_the_process_with_its_gap() -> None:
    source = Recording()
    source.failure = SourceTimeout("no answer from edr in 5 s")

    lineage = walk(source)

    assert (lineage.ended_by, lineage.nodes[0].process.pid) == (EndedBy.SOURCE_FAILED, 1009)
    assert lineage.nodes[0].gap == Gap(f"process {guid_of(9)}", Cause.TIMEOUT, "no answer from edr in 5 s")


def test_a_source_that_raises_loses_nothing() -> None:
    class Raising(Recording):
        def processes(self, guids: object, deadline: Deadline) -> object:  # type: ignore[override]
            raise SourceTimeout("gone")

    assert walk(Raising()).ended_by is EndedBy.SOURCE_FAILED


def test_what_the_alert_tells_stands_in_for_an_unknown_process() -> None:
    told = process(9, 8)

    lineage = walk(Recording(processes=[process(8, 0), replace(process(0), pid=4)]), told={told.guid: told})

    assert [n.process.name for n in lineage.nodes] == ["p9.exe", "p8.exe", "p0.exe"]
    assert lineage.nodes[0].gap is not None
    assert lineage.nodes[0].gap.cause is Cause.NOT_FOUND


def test_relatives_say_how_many_are_not_shown() -> None:
    root, parent = chain(2, top=0)
    children = [process(20 + i, 9) for i in range(7)]
    source = Recording(processes=[root, parent, process(9, 1), process(10, 1), *children])

    lineage = walk(source, relatives=3)

    assert lineage.children is not None
    assert lineage.siblings is not None
    assert (len(lineage.children.nodes), lineage.children.total) == (3, 7)
    assert lineage.children.gap is not None
    assert "3 of 7 shown; ask for 7" in lineage.children.gap.reason
    assert ([p.name for p in lineage.siblings.nodes], lineage.siblings.gap) == (["p10.exe"], None)


@given(st.dictionaries(st.integers(0, 15), st.one_of(st.none(), st.integers(0, 15)), max_size=16), st.integers(0, 20))
def test_walks_on_any_graph_end_without_a_repeated_node(links: dict[int, Optional[int]], max_depth: int) -> None:
    moment = process(0).started_at
    source = Recording(processes=[process(n, parent, started_at=moment) for n, parent in links.items()])

    for guid, lineage in lineages(source, [guid_of(n) for n in range(16)], Deadline(5), max_depth=max_depth).items():
        guids = [node.process.guid for node in lineage.nodes]
        assert guids[0] == guid
        assert len(guids) == len(set(guids)) <= max_depth + 1
        assert all(b.guid == a.parent_guid for a, b in zip(_all(lineage), _all(lineage)[1:]))
        assert lineage.reason.endswith(".") or lineage.ended_by is EndedBy.NOT_FOUND


@pytest.mark.parametrize("pid", [1003, None], ids=["pid", "hash"])
def test_host_pid_and_time_find_the_process(pid: Optional[int]) -> None:
    wanted = process(3)
    sighting = Sighting("ws01.corp.example", pid, wanted.started_at, None, wanted.md5)

    found = locate(Recording(processes=chain(10)), [sighting], Deadline(5))

    assert found[sighting] == replace(wanted, parent_guid=guid_of(2))


def test_the_latest_process_of_a_reused_pid_is_meant() -> None:
    first, second = replace(process(1), pid=77), replace(process(5), pid=77)
    sighting = Sighting("WS01", 77, None, second.started_at)

    assert locate(Recording(processes=[second, first]), [sighting], Deadline(5))[sighting] == second


def test_two_processes_of_one_hash_are_ambiguous_without_a_pid() -> None:
    first, second = process(1), replace(process(5), md5=process(1).md5)
    sighting = Sighting("WS01", None, None, second.started_at, first.md5)

    gap = locate(Recording(processes=[first, second]), [sighting], Deadline(5))[sighting]

    assert isinstance(gap, Gap)
    assert gap.cause is Cause.AMBIGUOUS


def test_a_sighting_without_time_is_not_guessed() -> None:
    sighting = Sighting("WS01", 77)

    gap = locate(Recording(processes=chain(3)), [sighting], Deadline(5))[sighting]

    assert isinstance(gap, Gap)
    assert gap.cause is Cause.NO_OBSERVABLE


def _all(lineage: Lineage) -> list[Process]:
    return [node.process for node in lineage.nodes]
