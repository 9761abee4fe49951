"""Where files were seen: the EDR's answer and the store's, over the same telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cbsigned.edr import EdrSource, connect
from cbsigned.edr.query import all_of, any_of, clause, hash_clause, without
from cbsigned.gaps import Cause
from cbsigned.samples import sample_path
from cbsigned.seen import Contacts, Seen
from cbsigned.settings import EdrSettings
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from connectors.edr_server.serving import TOKEN, serving
from edr_server import EdrServer, Fault

WRITTEN = "b0a3ecc9eaa2521ddea2fc067785b84e"
LOADED = "e49bb988cabdb45e56de3ec09f62d448"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seen") / "samples.db"
    ingest(path, [sample_path("telemetry")])
    return path


@pytest.fixture(scope="module", params=["5.2.0.161004.1206", "7.3.0.200609.1533"])
def edr(request: pytest.FixtureRequest, store: Path) -> Iterator[EdrSource]:
    with serving(store, version=request.param) as client, connect(EdrSettings(client.url, TOKEN, retries=0)) as source:
        yield source


@pytest.fixture(scope="module")
def own(store: Path) -> Iterator[StoreSource]:
    with StoreSource(store) as source:
        yield source


def asked(source: EdrSource | StoreSource, file_hash: str, rows: int = 100) -> Seen:
    return source.seen(file_hash, rows, Deadline(20))


def guids(contacts: Contacts) -> set[str]:
    return {process.guid for process in contacts.processes}


def test_the_server_and_the_store_tell_the_same_of_every_file(edr: EdrSource, own: StoreSource) -> None:
    rows = edr.search_binaries("", rows=100, deadline=Deadline(20)).rows
    assert len(rows) > 30

    for row in rows:
        theirs, ours = asked(edr, str(row["md5"]).lower()), asked(own, str(row["md5"]).lower())
        assert guids(theirs.ran) == guids(ours.ran)
        assert guids(theirs.wrote) <= guids(ours.wrote)  # the store knows first writes by path as well
        assert guids(theirs.loaded) <= guids(ours.loaded)
        assert theirs.loaded.gap is not None or guids(theirs.loaded) == guids(ours.loaded)
        assert (theirs.name, theirs.md5) == (ours.name, ours.md5)
        assert (theirs.host_count or 0) <= (ours.host_count or 0)  # a record may state fewer than the events show
        assert theirs.gaps == ours.gaps == ()


def test_a_file_that_was_written_and_run_has_both(edr: EdrSource) -> None:
    found = asked(edr, WRITTEN)

    assert (found.ran.total, found.wrote.total) == (1, 1)
    assert guids(found.ran) != guids(found.wrote)
    assert found.hosts == (("SDL-DEV", 1),)
    assert found.loaded.gap is not None
    assert found.loaded.gap.cause is Cause.UNSEARCHABLE


def test_more_processes_than_asked_for_are_counted_and_are_no_gap(own: StoreSource, edr: EdrSource) -> None:
    for source in (own, edr):
        found = asked(source, LOADED, 5)
        assert len(found.loaded.processes) == 5
        assert found.loaded.total >= 55
        assert found.loaded.gap is None
        assert len(found.hosts) == 5
        assert found.host_count == 7


def test_a_file_that_nobody_saw_is_seen_nowhere(own: StoreSource, edr: EdrSource) -> None:
    for source in (own, edr):
        found = asked(source, "ab" * 16)
        assert (found.ran.total, found.loaded.total, found.wrote.total, found.hosts) == (0, 0, 0, ())
        assert not found.unanswered


def test_a_relation_that_fails_leaves_the_others() -> None:
    binary = {"md5": WRITTEN.upper(), "digsig_result": "Signed", "endpoint": ["LAB|a|7", "ODD", 5], "host_count": 2}
    with EdrServer([binary]) as server, connect(EdrSettings(server.url, server.token, retries=0)) as source:
        server.fail("process", Fault(504))
        found = asked(source, WRITTEN)

    assert found.hosts == (("LAB|a", 7), ("ODD", None))
    assert not found.unanswered
    assert {contacts.gap.cause.failed for _name, contacts in found.relations() if contacts.gap} == {True}
    assert len(found.every_gap()) == 3


def test_a_server_that_is_down_answers_nothing_and_raises_nothing() -> None:
    with connect(EdrSettings("http://127.0.0.1:9", "0" * 40, retries=0)) as source:
        found = asked(source, WRITTEN)

    assert found.unanswered
    assert found.md5 == WRITTEN
    assert len(found.every_gap()) == 1


def test_a_store_out_of_time_says_so(own: StoreSource) -> None:
    found = own.seen(WRITTEN, 5, Deadline(0))

    assert found.unanswered
    assert {gap.cause for gap in found.every_gap()} == {Cause.TIMEOUT}


def test_only_one_plain_clause_is_negated() -> None:
    assert str(all_of([clause("md5", "x"), without(hash_clause(WRITTEN, of="process"))])) == (
        f"md5:x -process_md5:{WRITTEN}"
    )
    for part in (any_of([clause("a", "b"), clause("c", "d")]), without(clause("a", "b"))):
        with pytest.raises(ValueError, match="one plain clause"):
            without(part)
