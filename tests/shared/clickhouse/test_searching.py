"""Searches on ClickHouse find what the embedded store finds: the same rows, in the same order, counted alike."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cbsigned.clickhouse.address import Address, address_of
from cbsigned.clickhouse.copying import copy_store
from cbsigned.clickhouse.search import numbers_of, searched
from cbsigned.clickhouse.server import Server
from cbsigned.errors import SourceTimeout
from cbsigned.query import QueryError, parse
from cbsigned.query.fields import FIELDS, Search
from cbsigned.query.parser import Query
from cbsigned.store.database import open_reader
from cbsigned.store.facets import FACETS
from cbsigned.store.ingest import ingest
from cbsigned.store.places import UNSUPPORTED
from cbsigned.store.search import (
    BINARY_SORTS,
    PROCESS_SORTS,
    Page,
    search_binaries,
    search_numbers,
    search_processes,
)
from cbsigned.store.search_command import search as search_command
from cbsigned.timing import Deadline
from shared.clickhouse.nodes import CLUSTER, drop
from shared.clickhouse.world import WORLD
from shared.query.strategies import HOSTILE, quoted
from shared.store.asking import ask
from shared.store.search_world import ADDRESSES, MD5S
from shared.store.test_search_semantics import binary_leaf, binary_own_leaf, process_leaf, queries
from support import real_data

TABLE = (
    "", "process_name:cmd.exe", "process_name:c*", "process_name:*e*", "-process_name:git", "cmdline:/c",
    "cmdline:.dll",
    'cmdline:"a.dll run"', 'cmdline:"a.dl* run"', "cmdline:*il*", "cmdline:100%", "cmdline:a_b", "cmdline:stra*",
    "cmdline:*", "-cmdline:*", "path:temp\\*", "path:*\\temp\\*.exe", "path:git", "path:c:\\\\*", "parent_name:git",
    "-parent_name:*", "childproc_name:git", "username:system", "username:*\\\\jo", "hostname:lab*",
    "regmod:currentcontrolset\\*",
    "domain:.com", "domain:com.", "domain:.example.", "domain:example.com", "domain:*", "ipaddr:10.0.0.0/8",
    "ipaddr:*",
    f'ipv6addr:"{ADDRESSES[3]}"', "ipport:443", "ipport:[80 TO 443]", "filemod:*.sys", "modload:*.dll",
    f"md5:{MD5S[3]}",
    f"process_md5:({MD5S[0]} or {MD5S[1]})", "md5:*", "digsig_result:Unsigned", "-digsig_result:Signed",
    "digsig_publisher_modload:acme", 'digsig_publisher:"acme inc"', "is_64bit:true", "orig_mod_len_parent:[2 TO *]",
    "company_name_child:corp*", "observed_filename_filewrite:a.dll", "modload_count:[2 TO *]", "modload_count:0",
    "-netconn_count:[1 TO *]", "crossproc_count:0", "start:[2021-04-20T13:35:00 TO *]",
    "last_update:[* TO 2021-04-20T13:35:00]",
    "sensor_id:8", "-sensor_id:[8 TO *]", "os_type:windows", "host_type:*", "group:*", "tampered:true",
    "tampered:false",
    "has_emet_event:*", f"blocked_md5:{MD5S[0]}", "ja3:*", "watchlist_3:*", "alliance_score_x:[1 TO *]", "evil",
    f"process_id:{WORLD.processes[5]['process_id']}", f"parent_id:{WORLD.processes[5]['process_id']}",
    "crossproc_name:*",
    "crossproc_type:remotethread", f"crossproc_md5:{MD5S[0]}", "process_sha256:*", "childproc_sha256:*",
    "process_name:(git or cmd.exe) -username:system (cmdline:/c or filemod:*)",
)  # fmt: skip
BINARY_TABLE = (
    "", "digsig_result:Unsigned", "digsig_result:un*", "digsig_publisher:acme", "-digsig_publisher:*",
    "host_count:[2 TO *]",
    "hostname:host-2", "observed_filename:a.dll", "observed_filename:*", "is_64bit:false", "orig_mod_len:[1 TO 3]",
    "copied_mod_len:0", 'product_name:"acme updater"', "company_name:c*", "group:\"default group\"",
    "os_type:windows",
    "server_added_timestamp:[2021-04-20T13:34:00 TO *]", "digsig_sign_time:*", f"md5:{MD5S[0]}", "microsoft",
)  # fmt: skip
many = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
nightly = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
process_queries = queries(process_leaf, "process")
binary_queries = queries(st.one_of(binary_leaf, binary_own_leaf), "binary")


@pytest.fixture(scope="module")
def db(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(open_reader(file)) as connection:
        yield connection


@pytest.fixture(scope="module")
def server(two: Address) -> Iterator[Server]:
    with contextlib.closing(Server(two)) as asked:
        yield asked


def in_file(db: sqlite3.Connection, query: Query, **options: Any) -> Page:
    find = search_processes if query.search is Search.PROCESS else search_binaries
    return find(db, query, **options)


def alike(db: sqlite3.Connection, server: Server, query: Query, **options: Any) -> Page:
    """Return the page that both give."""
    found, wanted = searched(server, query, **options), in_file(db, query, **options)
    assert (wanted.numbers, wanted.total, wanted.incomplete) == (found.numbers, found.total, found.incomplete)
    assert wanted.documents == found.documents
    assert wanted.facets == found.facets
    return found


@pytest.mark.parametrize("text", TABLE)
def test_process_query_gives_the_same_page(db: sqlite3.Connection, server: Server, text: str) -> None:
    alike(db, server, parse(text, "process"), rows=15)


@pytest.mark.parametrize("text", BINARY_TABLE)
def test_binary_query_gives_the_same_page(db: sqlite3.Connection, server: Server, text: str) -> None:
    alike(db, server, parse(text, "binary"), rows=15)


def test_table_finds_some_and_not_all(db: sqlite3.Connection) -> None:
    totals = [in_file(db, parse(text, "process"), rows=0).total for text in TABLE]

    assert sum(0 < total < len(WORLD.processes) for total in totals) > 45


def test_one_server_finds_the_same(db: sqlite3.Connection, one: Address) -> None:
    with contextlib.closing(Server(one)) as asked:
        for text in TABLE[::6]:
            alike(db, asked, parse(text, "process"), rows=15)


@many
@given(process_queries)
def test_random_process_queries_find_the_same(db: sqlite3.Connection, server: Server, query: Query) -> None:
    assert search_numbers(db, query) == numbers_of(server, query)


@many
@given(binary_queries)
def test_random_binary_queries_find_the_same(db: sqlite3.Connection, server: Server, query: Query) -> None:
    assert search_numbers(db, query) == numbers_of(server, query)


@pytest.mark.nightly
@nightly
@given(process_queries)
def test_five_hundred_random_process_queries_find_the_same(
    db: sqlite3.Connection, server: Server, query: Query
) -> None:
    assert search_numbers(db, query) == numbers_of(server, query)


@pytest.mark.nightly
@nightly
@given(binary_queries)
def test_five_hundred_random_binary_queries_find_the_same(db: sqlite3.Connection, server: Server, query: Query) -> None:
    assert search_numbers(db, query) == numbers_of(server, query)


@many
@given(process_leaf)
def test_random_process_clauses_alone_find_the_same(db: sqlite3.Connection, server: Server, text: str) -> None:
    with contextlib.suppress(QueryError):
        query = parse(text, "process")
        assert search_numbers(db, query) == numbers_of(server, query)


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("field", PROCESS_SORTS)
def test_processes_are_sorted_alike(db: sqlite3.Connection, server: Server, field: str, direction: str) -> None:
    query = parse("-process_name:git", "process")
    first, second = (
        alike(db, server, query, sort=f"{field} {direction}", rows=40, start=start).numbers for start in (0, 40)
    )

    assert len({*first, *second}) == 80


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("field", BINARY_SORTS)
def test_binaries_are_sorted_alike(db: sqlite3.Connection, server: Server, field: str, direction: str) -> None:
    assert alike(db, server, parse("", "binary"), sort=f"{field} {direction}", rows=5, start=2).numbers


@pytest.mark.parametrize("search", list(Search))
def test_facets_are_counted_alike(db: sqlite3.Connection, server: Server, search: Search) -> None:
    text = "-process_name:git" if search is Search.PROCESS else "-digsig_result:Signed"
    page = alike(db, server, parse(text, search), facets=list(FACETS[search]), rows=0)

    assert sum(bool(entries) for entries in page.facets.values()) > 7


def test_legacy_words_of_command_lines_are_found_alike(db: sqlite3.Connection, server: Server) -> None:
    for text in ('cmdline:"/c"', 'cmdline:"a.dll,Run"', "cmdline:*run", 'cmdline:"git /c"', "cmdline:%TEMP%"):
        query = parse(text, "process", version=(5, 1))
        assert search_numbers(db, query) == numbers_of(server, query)


def test_every_field_of_the_language_is_answered_or_refused_alike(db: sqlite3.Connection, server: Server) -> None:
    for search in Search:
        for field in FIELDS.values():
            if getattr(field, search.value):
                query = parse(f"{field.name}:*", search)
                if field.name in UNSUPPORTED:
                    with pytest.raises(QueryError, match=f"{field.name} is not supported"):
                        numbers_of(server, query)
                else:
                    assert search_numbers(db, query) == numbers_of(server, query), field.name


def test_thousand_clauses_and_thousand_hashes_are_one_statement(db: sqlite3.Connection, server: Server) -> None:
    clauses = " or ".join(f"cmdline:word{n}" for n in range(1000))
    hashes = " or ".join(f"process_md5:{n:032x}" for n in range(1, 1000)) + f" or process_md5:{MD5S[0]}"

    assert searched(server, parse(clauses, "process")).total == 0
    assert alike(db, server, parse(hashes, "process")).total > 0


def test_hostile_strings_never_reach_sql_as_syntax(server: Server) -> None:
    chance, answered = random.Random(8), 0
    for _ in range(3000):
        kind = chance.choice(["process", "binary"])
        with contextlib.suppress(QueryError):
            query = parse("".join(chance.choices(HOSTILE, k=chance.randint(1, 10))), kind)
            if answered < 80:
                answered += numbers_of(server, query) is not None

    assert answered == 80


@pytest.mark.parametrize("value", ["' OR 1=1 --", "{v0:String}", "\\') OR (1", "a' LIKE '%", "%", "_", "\\\\", "\\N"])
@pytest.mark.parametrize("field", ["cmdline", "path", "username", "domain", "regmod", "process_name"])
def test_value_is_never_syntax(db: sqlite3.Connection, server: Server, field: str, value: str) -> None:
    for text in (f"{field}:{quoted(value)}", f"{field}:*{quoted(value)}*"):
        with contextlib.suppress(QueryError):
            query = parse(text, "process")
            assert search_numbers(db, query) == numbers_of(server, query)


def test_refusals_name_what_there_is(server: Server) -> None:
    with pytest.raises(QueryError, match="Cannot sort by 'nonsense'"):
        searched(server, parse("", "process"), sort="nonsense")
    with pytest.raises(QueryError, match="no facet nonsense"):
        searched(server, parse("", "process"), facets=["nonsense"])


def test_late_search_is_an_incomplete_page(server: Server) -> None:
    page = searched(server, parse("", "process"), deadline=Deadline(0))

    assert page.incomplete
    assert "stopped at its deadline" in page.notes[0]


def test_server_stops_a_search_itself(server: Server) -> None:
    with pytest.raises(SourceTimeout, match="gave no whole answer"):
        server.rows("SELECT sum(sleepEachRow(1)) FROM numbers(30) SETTINGS max_block_size = 1", {}, Deadline(0.2))


def test_real_documents_are_the_same(tmp_path: Path, nodes: list[str]) -> None:
    store, address = tmp_path / "real.db", address_of(f"clickhouse://{','.join(nodes)}/reals?cluster={CLUSTER}")
    recordings = real_data("cb-response-splunk-app")
    ingest(store, [recordings / "alerts.csv.gz", recordings / "events.csv.gz", real_data("cb-integration")])
    try:
        copy_store(store, address)
        with contextlib.closing(open_reader(store)) as db, contextlib.closing(Server(address)) as asked:
            assert alike(db, asked, parse("", "process"), rows=2000, facets=["process_name", "hour_of_day"]).total > 900
            assert alike(db, asked, parse("", "binary"), rows=1000, facets=list(FACETS[Search.BINARY])).total > 500
            for text in (
                "cmdline:svchost.exe",
                "digsig_result_modload:Unsigned",
                "watchlist_20:*",
                "netconn_count:[2 TO *]",
            ):
                alike(db, asked, parse(text, "process"), rows=50)
    finally:
        drop(address)


@pytest.mark.parametrize("output", ["json", "csv", "table"])
def test_search_command_prints_the_same(file: Path, two: Address, nodes: list[str], output: str) -> None:
    text = f"clickhouse://{','.join(nodes)}/two?cluster={CLUSTER}"
    argv = ("search", "process", "process_name:c*", "--rows", 5, "--output", output)
    if output == "json":
        argv = (*argv, "--facet", "process_name")
    told, found = (ask(search_command, place, *argv) for place in (file, text))  # type: ignore[arg-type]

    name = f"store:{file.name}"
    assert told[1:] == (found[1].replace("store:two", name), found[2])
    assert told[0] == found[0] == 0
