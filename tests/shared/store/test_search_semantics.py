"""Random queries find the same in the store as the slow evaluator finds in the documents, whatever the plan."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cbsigned.query import QueryError, parse
from cbsigned.query.fields import Search
from cbsigned.query.parser import Query
from cbsigned.query.printer import text_of
from cbsigned.query.tree import Node
from cbsigned.store import search, sql
from cbsigned.store.database import open_reader
from cbsigned.store.ingest import ingest
from cbsigned.store.search import search_numbers, search_processes
from cbsigned.store.sql import Context
from cbsigned.store.translator import Translator
from cbsigned.store.writer import Writer
from query_evaluator import World
from shared.query.strategies import quoted, trees
from shared.store.search_world import (
    ADDRESSES,
    ARGUMENTS,
    DOMAINS,
    FOLDERS,
    HOSTS,
    KEYS,
    MD5S,
    NAMES,
    PUBLISHERS,
    RESULTS,
    USERS,
    make_world,
)
from shared.store.telemetry import write_lines

WORLD, EVENTS = make_world()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    folder = tmp_path_factory.mktemp("world")
    ingest(folder / "world.db", [write_lines(folder / "events.jsonl", EVENTS)])
    connection = open_reader(folder / "world.db")
    yield connection
    connection.close()


def found_in_store(db: sqlite3.Connection, query: Query) -> set[str]:
    numbers = search_numbers(db, query)
    column, table = ("guid", "process") if query.search is Search.PROCESS else ("md5", "binary")
    rows = db.execute(f"SELECT id, {column} FROM {table}")
    return {blob.hex() for number, blob in rows if number in numbers}


def found_in_documents(world: World, query: Query) -> set[str]:
    name = "process_id" if query.search is Search.PROCESS else "md5"
    return {document[name].replace("-", "") for document in world.find(query.tree, query.search)}


def piece(texts: list[str]) -> st.SearchStrategy[str]:
    """Return values of a field: whole ones, parts of them, and patterns, quoted or escaped."""
    text = st.sampled_from(texts)
    part = st.tuples(text, st.integers(0, 12), st.integers(1, 12)).map(lambda t: t[0][t[1] : t[1] + t[2]])
    whole_or_part = st.one_of(text, text.map(str.upper), part)
    return st.one_of(
        whole_or_part.map(quoted),
        whole_or_part.map(escaped),
        st.tuples(whole_or_part, st.sampled_from(["{}*", "*{}", "*{}*", "{}?"])).map(
            lambda t: t[1].format(escaped(t[0]))
        ),
        st.tuples(part, part).map(lambda t: f"{escaped(t[0])}*{escaped(t[1])}"),
        st.just("*"),
    )


def escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in '\\"():' or c.isspace() else c for c in text if c not in "*?")


PATHS = [f"{folder}\\{name}" for folder in FOLDERS for name in ("a.dll", "x.exe", *NAMES)]
JOINS = ["", "_process", "_parent", "_child", "_modload", "_filewrite"]
times = st.integers(-10, 1010).map(lambda s: f"2021-04-20T13:{(21 + s // 60) % 60:02d}:{s % 60:02d}")


def ranges(values: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    number = st.one_of(values.map(str), st.just("*"))
    return st.one_of(values.map(str), st.just("*"), st.tuples(number, number).map(lambda t: f"[{t[0]} TO {t[1]}]"))


def field(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return values.map(lambda value: f"{name}:{value}")


binary_leaf = st.one_of(
    field("digsig_result", st.sampled_from([*map(quoted, RESULTS), "Un*", "*igned", "*"])),
    field("digsig_publisher", piece(PUBLISHERS)),
    field("company_name", piece(PUBLISHERS)),
    field("product_name", piece(["Acme Updater", "Windows® System"])),
    field("observed_filename", piece(["c:\\seen\\a.dll", "c:\\seen\\Ü.dll", *PATHS])),
    field("is_64bit", st.sampled_from(["true", "false", "*"])),
    field("orig_mod_len", ranges(st.integers(0, 6))),
    field("copied_mod_len", ranges(st.integers(0, 1))),
    field("digsig_sign_time", st.sampled_from(["*", "[2021-04-20 TO *]", "[* TO 2021-04-20T13:30:00]"])),
)
binary_own_leaf = st.one_of(
    field("md5", st.sampled_from([*MD5S, "*"])),
    field("hostname", piece(HOSTS)),
    field("group", st.sampled_from(['"default group"', "def*", "*", "nobody"])),
    field("os_type", st.sampled_from(["windows", "win*", "linux", "*"])),
    field("host_count", ranges(st.integers(0, 3))),
    field("server_added_timestamp", st.one_of(times, times.map(lambda t: f"[{t} TO *]"))),
    piece([*PUBLISHERS, *PATHS, *HOSTS, *MD5S]),
)
process_leaf = st.one_of(
    field("process_name", piece([*NAMES, *map(str.lower, NAMES)])),
    field("parent_name", piece(NAMES)),
    field("childproc_name", piece(NAMES)),
    field("path", piece(PATHS)),
    field("cmdline", piece([*ARGUMENTS, "cmd.exe /c", ".exe", "a.dll Run", *FOLDERS])),
    field("username", piece(USERS)),
    field("hostname", piece(HOSTS)),
    field("filemod", piece(PATHS)),
    field("modload", piece(PATHS)),
    field("regmod", piece([*KEYS, "system\\controlset002\\services"])),
    field("domain", st.one_of(piece(DOMAINS), st.sampled_from([".com", "com.", ".example.", ".com.", "example.com"]))),
    field("ipaddr", st.sampled_from([*ADDRESSES[:3], "10.0.0.0/8", "0.0.0.0/0", "192.0.2.0/28", "*"])),
    field("ipv6addr", st.sampled_from([ADDRESSES[3], "2001:db8::/32", "::/0", "::1", "*"])),
    field("ipport", ranges(st.sampled_from([80, 443, 8080, 1]))),
    field("md5", st.sampled_from([*MD5S, "*"])),
    field("process_md5", st.sampled_from([*MD5S, "*"])),
    field("parent_md5", st.sampled_from([*MD5S, "*"])),
    field("childproc_md5", st.sampled_from([*MD5S, "*"])),
    field("filewrite_md5", st.sampled_from([*MD5S, "*"])),
    field("process_id", st.sampled_from([p["process_id"] for p in WORLD.processes[:40]])),
    field("parent_id", st.sampled_from([p["process_id"] for p in WORLD.processes[:40]] + ["*"])),
    field("sensor_id", st.sampled_from(["7", "8", "*"])),
    field("modload_count", ranges(st.integers(0, 3))),
    field("netconn_count", ranges(st.integers(0, 3))),
    field("start", st.one_of(times, times.map(lambda t: f"[{t} TO *]"), times.map(lambda t: f"[* TO {t}]"))),
    field("last_update", st.one_of(times.map(lambda t: f"[{t} TO *]"), times.map(lambda t: f"[* TO {t}]"))),
    st.tuples(binary_leaf, st.sampled_from(JOINS)).map(lambda t: t[0].replace(":", f"{t[1]}:", 1)),
    piece([*NAMES, *ARGUMENTS, *MD5S, *DOMAINS, "LAB"]),
)


def queries(leaves: st.SearchStrategy[str], kind: str) -> st.SearchStrategy[Query]:
    """Return random queries over random clauses; the few that cannot be searched are left out."""

    def readable(text: str) -> bool:
        try:
            parse(text, kind)
        except QueryError:
            return False
        return True

    nodes: st.SearchStrategy[Node] = leaves.filter(readable).map(lambda text: parse(text, kind).tree)
    return trees(nodes).map(lambda tree: Query(tree, (), Search(kind), text_of(tree)))


many = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(queries(process_leaf, "process"))
def test_process_search_finds_what_the_evaluator_finds(db: sqlite3.Connection, query: Query) -> None:
    assert found_in_documents(WORLD, query) == found_in_store(db, query)


@many
@given(queries(st.one_of(binary_leaf, binary_own_leaf), "binary"))
def test_binary_search_finds_what_the_evaluator_finds(db: sqlite3.Connection, query: Query) -> None:
    assert found_in_documents(WORLD, query) == found_in_store(db, query)


@many
@given(process_leaf)
def test_every_process_clause_alone_finds_what_the_evaluator_finds(db: sqlite3.Connection, text: str) -> None:
    try:
        query = parse(text, "process")
    except QueryError:
        return
    assert found_in_documents(WORLD, query) == found_in_store(db, query)


@many
@given(queries(process_leaf, "process"))
def test_one_at_a_time_and_sets_at_once_give_the_same(db: sqlite3.Connection, query: Query) -> None:
    translator = Translator(Context(db, []), Search.PROCESS, query.tree)
    found = [
        {row[0] for row in db.execute(f"SELECT p.id FROM process p WHERE {sql.text}", sql.values)}
        for sql in (translator.probe(), translator.within())
    ]

    assert found[0] == found[1]
    for driver in translator.drivers():
        assert found[0] <= {row[0] for row in db.execute(driver.ids.text, driver.ids.values)}


PLANS = {
    "rare": {"_FEW": 20_000},
    "walk": {"_FEW": 0, "_WALKS": (30, 90, 200)},
    "sets": {"_FEW": 0, "_WALKS": ()},
}
"""Limits that force each way to search, on a store that is too small to need the others."""


@pytest.mark.parametrize("plan", PLANS)
@many
@given(queries(process_leaf, "process"), st.sampled_from(["last_update desc", "start asc", "process_name asc"]))
def test_pages_together_are_the_whole_answer_in_order_by_every_plan(
    db: sqlite3.Connection, plan: str, query: Query, sort: str
) -> None:
    with mock.patch.multiple(search, **PLANS[plan]):
        pages = [search_processes(db, query, start=start, rows=20, sort=sort) for start in range(0, 260, 20)]

    numbers = [number for page in pages for number in page.numbers]
    assert len(numbers) == len(set(numbers)) == pages[0].total
    assert set(numbers) == search_numbers(db, query)
    column = {"l": "updated", "s": "started"}.get(sort[0])
    if column:
        known = dict(db.execute(f"SELECT id, {column} FROM process"))
        times_ = [known[number] for number in numbers]
        assert times_ == sorted(times_, reverse=sort.endswith("desc"))


@many
@given(queries(process_leaf, "process"))
def test_without_fts5_the_same_is_found(db: sqlite3.Connection, query: Query) -> None:
    with mock.patch.object(sql, "has_fts5", return_value=False):
        found = found_in_store(db, query)

    assert found == found_in_store(db, query)


@pytest.fixture(scope="module")
def half_indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A store whose second half was taken in by a process that was killed before it had indexed the words."""
    folder = tmp_path_factory.mktemp("half")
    middle = len(EVENTS) // 2
    ingest(folder / "world.db", [write_lines(folder / "1.jsonl", EVENTS[:middle])])
    with mock.patch.object(Writer, "finish", return_value=None):
        ingest(folder / "world.db", [write_lines(folder / "2.jsonl", EVENTS[middle:])])
    connection = open_reader(folder / "world.db")
    yield connection
    connection.close()


@many
@given(queries(process_leaf, "process"))
def test_texts_that_are_not_indexed_yet_are_found(half_indexed: sqlite3.Connection, query: Query) -> None:
    assert found_in_documents(WORLD, query) == found_in_store(half_indexed, query)


def test_the_world_is_worth_searching(db: sqlite3.Connection) -> None:
    """Every kind of clause finds some and not all, so that agreeing is not agreeing on nothing."""
    for text in (
        "process_name:cmd.exe", "cmdline:/c", 'cmdline:"a.dll run"', "cmdline:.dll", "path:temp\\*", "parent_name:git",
        "regmod:currentcontrolset\\*", "domain:.com", "ipaddr:10.0.0.0/8", "filemod:*.sys", f"md5:{MD5S[3]}",
        "digsig_result:Unsigned", "digsig_publisher_modload:acme", "modload_count:[2 TO *]",
        "start:[2021-04-20T13:35:00 TO *]",
    ):  # fmt: skip
        found = found_in_store(db, parse(text, "process"))
        assert 0 < len(found) < len(WORLD.processes), text
