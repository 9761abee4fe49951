"""Who ran, loaded, wrote and deleted a file, and where it came from: events made for each rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cbsigned.store.origin import origin_of
from cbsigned.store.reading import processes_of, reading
from cbsigned.store.related_command import related_answer
from cbsigned.store.relations import Contact, Newest, Relation, binaries_of, history_contacts
from shared.store.telemetry import AT, MD5, PARENT_MD5, Take, event, load, start

DROPPED = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
TARGET = "c:\\windows\\temp\\dropped.exe"


def write(pid: int, action: str, at: int, path: str = TARGET, **members: Any) -> dict[str, Any]:
    return event("filemod", pid, at, event_type="filemod", action=action, path=path, **members)


def finished(pid: int, at: int, md5: str = DROPPED, path: str = TARGET) -> dict[str, Any]:
    return write(pid, "lastwrite", at, path, file_md5=md5.upper())


def dropped_run(pid: int, at: int, **members: Any) -> dict[str, Any]:
    return start(pid, **{"md5": DROPPED.upper(), "path": TARGET, "timestamp": at, **members})


def history(store: Path, md5: str = DROPPED) -> list[tuple[str, int | None, int]]:
    """Return relation, pid and time of every contact that is told by path."""
    with reading(store) as db:
        (number,) = binaries_of(db, [md5])[md5]
        contacts = history_contacts(db, number)
        pids = {n: p.pid for n, p in processes_of(db, [one.process for one in contacts]).items()}
    return sorted((one.relation.value, pids[one.process], one.last // 1000 - AT) for one in contacts)


def test_deletion_after_the_write_is_this_files(take: Take) -> None:
    store, _ = take(finished(100, AT), write(200, "delete", AT + 5))

    assert history(store) == [("deleted", 200, 5)]


def test_deletion_of_what_another_file_replaced_is_not_this_files(take: Take) -> None:
    store, _ = take(finished(100, AT), finished(100, AT + 2, OTHER), write(200, "delete", AT + 5))

    assert history(store) == []
    assert history(store, OTHER) == [("deleted", 200, 5)]


def test_deletion_before_the_file_was_there_is_not_this_files(take: Take) -> None:
    store, _ = take(write(200, "delete", AT - 5), finished(100, AT))

    assert history(store) == []


def test_second_deletion_is_not_this_files(take: Take) -> None:
    store, _ = take(finished(100, AT), write(200, "delete", AT + 5), write(300, "create", AT + 9),
                    write(300, "delete", AT + 11))  # fmt: skip

    assert ("deleted", 200, 5) in history(store)


def test_deletion_on_another_host_is_not_this_files(take: Take) -> None:
    elsewhere = write(200, "delete", AT + 5, computer_name="LAB-WS-08", sensor_id=8)
    store, _ = take(
        finished(100, AT), {**elsewhere, "process_guid": elsewhere["process_guid"].replace("07-", "08-", 1)}
    )

    assert history(store) == []


def test_path_in_other_letters_is_the_same_path(take: Take) -> None:
    store, _ = take(finished(100, AT), write(200, "delete", AT + 5, "C:\\Windows\\Temp\\DROPPED.exe"))

    assert history(store) == [("deleted", 200, 5)]


def test_write_without_a_hash_counts_where_the_file_then_ran(take: Take) -> None:
    store, _ = take(write(100, "create", AT), write(100, "write", AT + 1), dropped_run(300, AT + 2))

    assert history(store) == [("wrote", 100, 1)]


def test_write_without_a_hash_does_not_count_before_another_files_end(take: Take) -> None:
    store, _ = take(write(100, "write", AT), finished(100, AT + 1, OTHER), dropped_run(300, AT + 20))

    assert history(store) == []


def test_process_that_loads_its_own_image_has_not_loaded_it(take: Take) -> None:
    store, _ = take(
        start(3364, md5=MD5.upper()), load(3364, "c:\\program files\\acme\\updater.exe", md5=MD5.upper()),
        load(1832, "c:\\program files\\acme\\updater.exe", md5=MD5.upper()),
        start(1832, md5=PARENT_MD5.upper(), path="c:\\windows\\a.exe"),
    )  # fmt: skip

    found = related_answer(store, MD5, 10)

    assert [row["pid"] for row in found["relations"]["ran"]["rows"]] == [3364]
    assert [row["pid"] for row in found["relations"]["loaded"]["rows"]] == [1832]


def test_relations_are_cut_to_the_newest_and_the_total_is_told(take: Take) -> None:
    store, _ = take(*(dropped_run(1000 + n, AT + n) for n in range(30)))

    found = related_answer(store, DROPPED, 10, rows=5)["relations"]["ran"]

    assert found["total"] == 30
    assert len(found["rows"]) == 5


def test_origin_ends_at_a_program_that_wrote_itself(take: Take) -> None:
    copy = "c:\\windows\\temp\\copy.exe"
    store, _ = take(
        start(100, md5=DROPPED.upper(), path=TARGET), finished(100, AT, DROPPED, copy),
        start(200, parent=100, md5=DROPPED.upper(), path=copy),
    )  # fmt: skip

    found = related_answer(store, DROPPED, 10)

    assert len(found["origin"]) == 1
    assert "above already" in found["origin_ended"]["reason_ended"]


def test_origin_takes_the_last_write_before_the_program_ran_not_a_later_one(take: Take) -> None:
    late = AT + 3600 * 24 * 365 * 60  # after every start that a guid of these tests encodes
    store, _ = take(
        start(100, md5=PARENT_MD5.upper(), path="c:\\a.exe"), finished(100, AT),
        start(900, md5=OTHER.upper(), path="c:\\late.exe"), finished(900, late, PARENT_MD5, "c:\\a.exe"),
    )  # fmt: skip

    with reading(store) as db:
        (number,) = binaries_of(db, [DROPPED])[DROPPED]
        way = origin_of(db, number)

    assert len(way.steps) == 1
    assert way.reason == "No write of it is recorded."


def test_file_that_nothing_names_has_no_origin_and_says_so(take: Take) -> None:
    store, _ = take(start())

    found = related_answer(store, OTHER, 10)

    assert found["origin"] == []
    assert found["status"] == "Unknown"
    assert "names the file" in found["origin_ended"]["reason_ended"]


def test_relation_that_is_not_answered_in_time_has_a_gap_and_no_wrong_total(take: Take) -> None:
    store, _ = take(finished(100, AT))

    found = related_answer(store, DROPPED, 1e-9)

    assert all("--deadline" in part["gap"] for part in found["relations"].values())
    assert "--deadline" in found["origin_ended"]["reason_ended"]


@pytest.mark.parametrize("most", [0, 1, 7])
def test_newest_keeps_the_newest_and_counts_all(most: int) -> None:
    newest = Newest(most)
    for at in (5, 3, 9, 1, 7):
        newest.add("a", Contact(Relation.RAN, at, 0, 1, at, at, "hash"))

    assert [one.last for one in newest.of("a")] == [9, 7, 5, 3, 1][:most]
    assert newest.totals["a"] == 5
