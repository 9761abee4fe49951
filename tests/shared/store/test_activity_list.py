"""The activity list of one process: every kind in words, in order, filtered and paged."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbsigned.store.activity_list import KINDS, ActivityPage, activity_page
from cbsigned.store.activity_reader import activity_of
from cbsigned.store.ids import pack
from cbsigned.store.ingest import ingest
from cbsigned.store.reading import reading
from shared.store.telemetry import AT, Take, event, guid_of, load, start
from support import real_data

PID = 3364


def page_of(store: Path, **how: object) -> ActivityPage:
    with reading(store) as db:
        number = db.execute("SELECT id FROM process WHERE guid = ?", (pack(guid_of(PID)),)).fetchone()[0]
        return activity_page(db, number, **how)  # type: ignore[arg-type]


@pytest.fixture
def store(take: Take) -> Path:
    """A process that did one thing of every kind, a second apart."""
    made, _ = take(
        start(PID), load(PID, timestamp=AT + 1),
        event("filemod", PID, AT + 2, event_type="filemod", action="lastwrite", path="c:\\a.sys", file_md5="AB" * 16,
              filetype_name="PE", filetype=1),
        event("regmod", PID, AT + 3, event_type="regmod", action="writeval", path="\\registry\\machine\\x"),
        event("netconn", PID, AT + 4, event_type="netconn", direction="outbound", protocol=6, domain="a.example",
              remote_ip="192.0.2.1", remote_port=443, local_ip="10.0.0.1", local_port=50000),
        event("netconn", PID, AT + 5, event_type="netconn", direction="inbound", protocol=17, domain="",
              remote_ip="192.0.2.2", remote_port=53, local_ip="10.0.0.1", local_port=5353),
        event("childproc", PID, AT + 6, event_type="childproc", created=True, path="c:\\b.exe", md5="CD" * 16,
              child_process_guid=guid_of(4000)),
        event("crossprocopen", PID, AT + 7, event_type="cross_process", cross_process_type="open_process",
              target_process_guid=guid_of(5000), target_path="c:\\lsass.exe", target_md5="EF" * 16,
              requested_access=5136, is_target=False),
    )  # fmt: skip
    return made


def test_every_kind_is_told_in_words(store: Path) -> None:
    told = [(e.kind, e.action, e.what) for e in page_of(store).entries]

    assert told == [
        ("modload", "loaded", "c:\\windows\\system32\\ntdll.dll"),
        ("filemod", "finished writing", "c:\\a.sys"),
        ("regmod", "wrote value", "\\registry\\machine\\x"),
        ("netconn", "tcp to", "192.0.2.1:443 (a.example)"),
        ("netconn", "udp from", "192.0.2.2:53, to port 5353 here"),
        ("childproc", "started", "c:\\b.exe (pid 4000)"),
        ("crossproc", "opened", "c:\\lsass.exe (pid 5000)"),
    ]


def test_name_that_was_looked_up_is_told_without_an_address(take: Take) -> None:
    asked = event("netconn", PID, AT, event_type="netconn", direction="outbound", protocol=17, domain="a.example",
                  remote_ip="", remote_port=0, local_ip="", local_port=0)  # fmt: skip
    made, _ = take(start(PID), asked)

    (entry,) = page_of(made).entries

    assert (entry.action, entry.what) == ("looked up", "a.example")


def test_files_and_processes_can_be_followed_by_hash_and_guid(store: Path) -> None:
    entries = {e.kind: e for e in page_of(store).entries}

    assert entries["filemod"].md5 == "ab" * 16
    assert (entries["childproc"].md5, entries["childproc"].guid) == ("cd" * 16, guid_of(4000))
    assert (entries["crossproc"].md5, entries["crossproc"].guid) == ("ef" * 16, guid_of(5000))
    assert entries["crossproc"].extra["access"] == "0x00001410"


def test_kinds_filter_entries_and_counts(store: Path) -> None:
    page = page_of(store, kinds=["netconn", "regmod"])

    assert {e.kind for e in page.entries} == {"netconn", "regmod"}
    assert page.counts == {"regmod": 1, "netconn": 2}


def test_since_is_in_and_until_is_not(store: Path) -> None:
    page = page_of(store, since=(AT + 3) * 1000, until=(AT + 5) * 1000)

    assert [e.at // 1000 - AT for e in page.entries] == [3, 4]
    assert page.total == 2


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_pages_put_together_are_the_whole_list(store: Path, rows: int) -> None:
    whole = page_of(store).entries

    parts = [page_of(store, start=first, rows=rows).entries for first in range(0, len(whole), rows)]

    assert [entry for part in parts for entry in part] == whole


def test_no_rows_only_count(store: Path) -> None:
    page = page_of(store, rows=0)

    assert (page.entries, page.total) == ([], 7)


def test_every_event_of_the_real_processes_is_listed(tmp_path: Path) -> None:
    ingest(tmp_path / "cef.db", [real_data("cb-event-forwarder") / "raw_data.tar.gz"])
    with reading(tmp_path / "cef.db") as db:
        numbers = [row[0] for row in db.execute("SELECT id FROM process")]
        for number in numbers:
            activity = activity_of(db, number)
            page = activity_page(db, number, rows=100_000)

            expected = {
                "filemod": activity.filemods, "regmod": activity.regmods, "modload": activity.modloads,
                "netconn": activity.netconns, "childproc": activity.childprocs, "crossproc": activity.crossprocs,
                "block": activity.blocks,
            }  # fmt: skip
            assert {kind: len(events) for kind, events in expected.items()} == page.counts
            assert len(page.entries) == page.total
            assert [e.at for e in page.entries] == sorted(e.at for e in page.entries)
            assert all(e.what and e.action and e.kind in KINDS for e in page.entries)
