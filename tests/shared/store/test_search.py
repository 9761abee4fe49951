"""Searches over a small store: pages, order, totals, facets, refusals."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cbsigned.query import QueryError, parse
from cbsigned.store.database import open_reader, open_writer
from cbsigned.store.info import contents, vacuum
from cbsigned.store.schema import migrate
from cbsigned.store.search import Page, search_binaries, search_processes
from cbsigned.timing import Deadline
from shared.query.strategies import HOSTILE, quoted
from shared.store.telemetry import AT, MD5, PARENT_MD5, Take, event, guid_of, start


def searched(store: Path, text: str, search: str = "process", **options: Any) -> Page:
    """Return what a query finds."""
    db = open_reader(store)
    try:
        find = search_processes if search == "process" else search_binaries
        return find(db, parse(text, search), **options)
    finally:
        db.close()


def document(md5: str, **members: Any) -> dict[str, Any]:
    """Return a binary document."""
    given: dict[str, Any] = {
        "md5": md5.upper(), "digsig_result": "Signed", "digsig_result_code": "0", "observed_filename": ["c:\\x.exe"],
        "orig_mod_len": 7, "is_64bit": True, "server_added_timestamp": "2021-04-20T10:00:00Z",
    }  # fmt: skip
    return {**given, **members}


@pytest.fixture
def store(take: Take) -> Path:
    """Twenty processes, one a second, two images, three users; and the two binaries."""
    starts = [
        start(
            100 + n, timestamp=AT + n, command_line=f"run.exe /n {n}", username=f"user{n % 3}",
            md5=(MD5 if n % 2 else PARENT_MD5).upper(),
        )
        for n in range(20)
    ]  # fmt: skip
    docs = [document(MD5), document(PARENT_MD5, digsig_result="Unsigned", digsig_result_code="2148204800")]
    return take(*starts, *docs)[0]


def test_page_is_newest_first_and_the_total_is_of_all_pages(store: Path) -> None:
    first = searched(store, "process_name:updater.exe", rows=5)
    second = searched(store, "process_name:updater.exe", rows=5, start=5)

    assert [d["process_pid"] for d in first.documents] == [119, 118, 117, 116, 115]
    assert [d["process_pid"] for d in second.documents] == [114, 113, 112, 111, 110]
    assert (first.total, second.total, first.incomplete) == (20, 20, False)


def test_no_rows_only_count(store: Path) -> None:
    assert searched(store, "process_name:updater.exe", rows=0).total == 20


def test_start_beyond_the_end_is_an_empty_page_with_the_true_total(store: Path) -> None:
    page = searched(store, "process_name:updater.exe", start=100)

    assert (page.documents, page.total) == ([], 20)


@pytest.mark.parametrize(
    ("sort", "pids"),
    [
        ("last_update asc", [100, 101]), ("last_update desc", [119, 118]), ("process_pid desc", [119, 118]),
        ("process_pid", [100, 101]), ("username desc", [117, 114]), ("username asc", [100, 103]),
        ("cmdline asc", [100, 101]),
    ],
)  # fmt: skip
def test_page_is_sorted_as_asked(store: Path, sort: str, pids: list[int]) -> None:
    page = searched(store, "process_name:updater.exe", sort=sort, rows=2)

    assert pids == [d["process_pid"] for d in page.documents]


def test_joined_field_selects_by_the_record_of_the_image(store: Path) -> None:
    page = searched(store, "digsig_result:Unsigned", rows=20)

    assert {d["process_md5"] for d in page.documents} == {PARENT_MD5}
    assert page.total == 10


def test_thousand_hashes_in_one_query_are_one_look_up(store: Path) -> None:
    text = " or ".join(f"process_md5:{n:032x}" for n in range(1, 1000)) + f" or process_md5:{MD5}"

    assert searched(store, text).total == 10


def test_thousand_different_clauses_are_not_too_deep_for_sqlite(store: Path) -> None:
    text = " or ".join(f"cmdline:word{n}" for n in range(1000))

    assert searched(store, text).total == 0


def test_facets_count_what_was_found(store: Path) -> None:
    page = searched(store, "username:(user0 or user1)", facets=["username_full", "process_md5"])

    assert page.facets["username_full"] == [
        {"name": "user0", "value": 7, "percent": 100.0, "ratio": "50.0"},
        {"name": "user1", "value": 7, "percent": 100.0, "ratio": "50.0"},
    ]
    assert sum(entry["value"] for entry in page.facets["process_md5"]) == 14


def test_binary_search_finds_documents(store: Path) -> None:
    page = searched(store, "digsig_result:Signed observed_filename:x.exe", "binary")

    assert [d["md5"] for d in page.documents] == [MD5.upper()]


@pytest.mark.parametrize("field", ["blocked_status", "has_emet_config"])
def test_field_that_the_store_has_nothing_for_is_refused_by_name(store: Path, field: str) -> None:
    with pytest.raises(QueryError, match=f"{field} is not supported by the embedded store"):
        searched(store, f"{field}:true")


def test_unknown_sort_names_those_there_are(store: Path) -> None:
    with pytest.raises(QueryError, match=r"Cannot sort by 'nonsense desc'.*last_update"):
        searched(store, "", sort="nonsense desc")


def test_unknown_facet_names_those_there_are(store: Path) -> None:
    with pytest.raises(QueryError, match=r"no facet nonsense.*process_md5"):
        searched(store, "", facets=["nonsense"])


def test_search_that_is_late_is_an_incomplete_page_that_says_so(take: Take) -> None:
    store, _ = take(*(start(n, command_line=f"a {n}") for n in range(1, 3000)))

    page = searched(store, "-cmdline:*z*", deadline=Deadline(0))

    assert page.incomplete
    assert len(page.documents) <= page.total < 2_999
    assert "stopped at its deadline" in page.notes[-1]


def test_late_search_leaves_the_connection_fit_for_the_next(take: Take) -> None:
    store, _ = take(*(start(n, command_line=f"a {n}") for n in range(1, 3000)))
    db = open_reader(store)
    query = parse("-cmdline:*z*", "process")
    try:
        search_processes(db, query, deadline=Deadline(0))

        assert search_processes(db, query).total == 2_999
    finally:
        db.close()


def test_wildcard_that_no_index_serves_says_that_it_compared_everything(store: Path) -> None:
    page = searched(store, "path:*dater.exe")

    assert page.total == 20
    assert "every distinct path was compared" in page.notes[0]


def test_ten_thousand_hostile_strings_never_reach_sql_as_syntax(store: Path) -> None:
    chance = random.Random(8)
    db = open_reader(store)
    answered = 0
    for _ in range(10_000):
        text = "".join(chance.choices(HOSTILE, k=chance.randint(1, 10)))
        kind = chance.choice(["process", "binary"])
        try:
            query = parse(text, kind)
        except QueryError:
            continue
        find = search_processes if kind == "process" else search_binaries
        answered += find(db, query, rows=1).total >= 0  # an error of SQLite would end the test
    db.close()

    assert answered > 500


@pytest.mark.parametrize(
    "value", ['" OR 1=1 --', "') OR ('1'='1", 'a" OR "b', "NEAR(a b)", "a AND b", "words:a", "a*", "^a", "{a}"]
)
@pytest.mark.parametrize("field", ["cmdline", "path", "username", "company_name", "domain", "regmod"])
def test_value_of_a_phrase_is_never_an_operator(store: Path, field: str, value: str) -> None:
    assert searched(store, f"{field}:{quoted(value)}").total == 0


def test_process_is_found_by_its_events(take: Take) -> None:
    store, _ = take(
        start(1), start(2), event("filemod", 1, path="c:\\temp\\a.sys", action="create"),
        event("regmod", 2, path="\\registry\\machine\\system\\controlset001\\services\\a", action="createkey"),
    )  # fmt: skip

    assert [d["id"] for d in searched(store, "filemod:temp\\a.sys").documents] == [guid_of(1)]
    assert [d["id"] for d in searched(store, "regmod:currentcontrolset\\services\\a").documents] == [guid_of(2)]


@pytest.fixture
def version_3(tmp_path: Path) -> Path:
    """A store of the schema before searches: one process with a load, and a document of its image."""
    path = tmp_path / "old.db"
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, 3)
    db.execute("INSERT INTO name VALUES (1, 'a.exe')")
    db.execute("INSERT INTO path VALUES (1, 'c:\\temp\\a.exe', 1)")
    db.execute("INSERT INTO cmdline VALUES (1, 'a.exe /quiet')")
    db.execute("INSERT INTO binary VALUES (1, ?, NULL)", (bytes.fromhex(MD5),))
    db.execute("INSERT INTO file VALUES (1, 1, 1)")
    columns = "id, guid, started, reported, name_id, path_id, cmdline_id, binary_id, described, flags, ranks"
    guid = bytes.fromhex(guid_of(1).replace("-", ""))
    db.execute(f"INSERT INTO process ({columns}) VALUES (1, ?, 500, 1000, 1, 1, 1, 1, 1, 0, 0)", (guid,))
    db.execute("INSERT INTO modload VALUES (1, 1, 2000, 0)")
    db.execute("INSERT INTO kind VALUES (1, 'binary document', 1)")
    body = json.dumps(document(MD5, company_name="Acme, Inc."))
    db.execute("INSERT INTO message VALUES (1, x'00', 1, 1000, NULL, 1, ?)", (body,))
    db.close()
    return path


def test_vacuum_tells_of_the_texts_they_index(version_3: Path) -> None:
    told: list[tuple[int, int]] = []

    vacuum(version_3, lambda done, of: told.append((done, of)))

    assert told
    assert told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize(
    "text",
    ["cmdline:/quiet", "path:temp\\a.exe", "modload:a.exe", "company_name:acme", "last_update:[1970-01-01 TO *]"],
)
def test_older_store_can_be_searched_after_vacuum(version_3: Path, text: str) -> None:
    vacuum(version_3)

    page = searched(version_3, text)
    assert (page.total, page.incomplete, page.documents[0]["id"]) == (1, False, guid_of(1))


def test_older_store_that_was_only_migrated_says_that_something_is_missing(version_3: Path) -> None:
    open_writer(version_3).close()

    assert searched(version_3, "cmdline:/quiet").total == 1
    page = searched(version_3, "company_name:acme")
    assert page.incomplete
    assert "cbsigned store vacuum" in page.notes[-1]


def test_store_info_tells_whether_searches_are_indexed(store: Path, version_3: Path) -> None:
    open_writer(version_3).close()
    told = [next(row["value"] for row in contents(path) if row["name"] == "search") for path in (store, version_3)]

    assert told == ["indexed", "indexed, but for 2 texts: cbsigned store vacuum indexes them"]


HIT = {
    "type": "watchlist.hit.process", "watchlist_id": 11, "timestamp": AT, "cb_server": "cbserver",
    "docs": [{
        "id": guid_of(1), "unique_id": f"{guid_of(1)}-00000001", "process_name": "updater.exe", "process_pid": 1,
        "group": "Default Group", "host_type": "workstation", "alliance_score_nvd": 40, "modload_count": 77,
    }],
}  # fmt: skip
RARE = [
    start(1), start(2), HIT,
    event("crossprocopen", 1, cross_process_type="open_process", target_path="c:\\windows\\lsass.exe",
          target_process_guid=guid_of(9), target_md5=PARENT_MD5.upper(), is_target=False),
    event("remotethread", 2, target_path="c:\\x\\victim.exe", target_process_guid=guid_of(8), is_target=True),
    event("netconn", 1, remote_ip="10.0.0.1", remote_port=443, domain="", direction="outbound", protocol=6, ja3="e7d7"),
    event("processblock", 1, blocked_md5=MD5.upper()),
    event("tamper", 1),
    event("emetmitigation", 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pids"),
    [
        ("crossproc_name:lsass.exe", [1]),
        ("crossproc_name:victim*", [2]),
        (f"crossproc_md5:{PARENT_MD5}", [1]),
        ("crossproc_type:processopen", [1]),
        ("crossproc_type:remotethreadtarget", [2]),
        ("crossproc_type:remotethread", []),
        ("crossproc_type:*", [1, 2]),
        ("crossproc_count:[1 TO *]", [1, 2]),
        ("ja3:E7D7", [1]),
        ("ja3s:*", []),
        (f"blocked_md5:{MD5}", [1]),
        ("tampered:true", [1]),
        ("has_emet_event:true", [2]),
        ("tampered:false process_name:updater.exe", [2]),
        ("group:default\\ group", [1]),
        ("group:other", []),
        ("host_type:work*", [1]),
        ("watchlist_11:*", [1]),
        ("watchlist_11:2021-04-20", [1]),
        ("watchlist_12:*", []),
        ("alliance_score_nvd:[1 TO *]", [1]),
        ("alliance_score_nvd:[50 TO *]", []),
        ("modload_count:77", [1]),
        ("os_type:windows process_name:updater.exe", [1, 2]),
        (f"{MD5} -process_name:*", [1832]),  # the parent that no record describes: its child has the image
        ("-has_emet_event:true -crossproc_name:lsass.exe process_name:updater.exe", []),
    ],
)
def test_rare_fields_are_found_where_telemetry_has_them(take: Take, text: str, pids: list[int]) -> None:
    store, _ = take(*RARE)

    assert pids == sorted(d["process_pid"] for d in searched(store, text).documents)


def test_version_resource_of_a_sensor_message_is_searched(take: Take) -> None:
    store, _ = take({
        "type": "ingress.event.module", "md5": MD5.upper(), "timestamp": AT, "size": 588800,
        "digsig": {"result": "Signed", "program_name": "Acme Updater"}, "utf8_file_description": "Acme Helper",
    })  # fmt: skip

    for text in ("file_desc:helper", "orig_mod_len:588800", 'digsig_prog_name:"acme updater"', "acme"):
        assert [d["md5"] for d in searched(store, text, "binary").documents] == [MD5.upper()], text


def test_path_of_a_file_without_a_hash_is_no_path_of_another_one(take: Take) -> None:
    """Seen on two engines: written files without a hash were taken for all loaded files without one."""
    store, _ = take(
        event("moduleload", 1, path="c:\\windows\\a.dll", md5=""),
        event("filemod", 2, path="c:\\temp\\b.txt", action="create", file_md5=""),
    )  # fmt: skip

    assert searched(store, "observed_filename_filewrite:a.dll").total == 0
