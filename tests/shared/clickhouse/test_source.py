"""The core's questions have the same answers on ClickHouse as in the store's file."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cbsigned.clickhouse.address import Address, address_of
from cbsigned.clickhouse.copying import copy_store
from cbsigned.clickhouse.source import ClickHouseSource
from cbsigned.commands import enrich_alerts, lineage, signed
from cbsigned.errors import ConfigError, SourceError, SourceTimeout
from cbsigned.lineage import lineages
from cbsigned.process import Process
from cbsigned.samples import sample_path
from cbsigned.sighting import Sighting
from cbsigned.store.binary_command import binary
from cbsigned.store.commands import store as store_command
from cbsigned.store.ingest import ingest
from cbsigned.store.process_command import process as process_command
from cbsigned.store.related_command import related
from cbsigned.store.source import StoreSource
from cbsigned.store.sweep_command import sweep_list
from cbsigned.timing import Deadline
from cbsigned_connectors.edr_server.commands import edr_server
from connectors.webhook.serving import serving
from shared.clickhouse.nodes import CLUSTER, drop
from shared.clickhouse.world import WORLD
from shared.store.asking import ask, ask_json
from shared.store.search_world import MD5S
from support import real_data

GUIDS = [process["process_id"] for process in WORLD.processes]
NOBODY = "00000007-0000-ffff-01d1-7f392625197c"


def test_processes_are_the_same(file: Path, shards: Address) -> None:
    with StoreSource(file) as ours, ClickHouseSource(shards) as theirs:
        assert ours.processes(GUIDS, Deadline(60)) == theirs.processes(GUIDS, Deadline(60))
        assert theirs.known([*GUIDS, NOBODY], Deadline(60)) == set(GUIDS)
        assert "unknown to store:" in str(theirs.processes([NOBODY], Deadline(60))[NOBODY])


def test_binaries_are_the_same(file: Path, shards: Address) -> None:
    with StoreSource(file) as ours, ClickHouseSource(shards) as theirs:
        found = theirs.binaries(MD5S, Deadline(60))
        assert ours.binaries(MD5S, Deadline(60)) == found

    assert 0 < sum(answer != () for answer in found.values()) < len(MD5S)


@pytest.mark.parametrize("limit", [0, 1, 50])
def test_children_are_the_same(file: Path, shards: Address, limit: int) -> None:
    with StoreSource(file) as ours, ClickHouseSource(shards) as theirs:
        assert ours.children(GUIDS, limit, Deadline(60)) == theirs.children(GUIDS, limit, Deadline(60))
        assert theirs.children([NOBODY], limit, Deadline(60))[NOBODY].total == 0  # type: ignore[union-attr]


def test_candidates_are_the_same(file: Path, shards: Address) -> None:
    with StoreSource(file) as ours, ClickHouseSource(shards) as theirs:
        known = [p for p in ours.processes(GUIDS, Deadline(60)).values() if isinstance(p, Process)]
        sightings = [Sighting(str(p.host), p.pid, p.started_at) for p in known]
        sightings += [Sighting(str(p.host), None, None, p.started_at, p.md5) for p in known if p.md5][:50]
        sightings += [
            Sighting(f"OTHER\\{p.host}", None, p.started_at, None, "0" * 64) for p in known[:3] if p.started_at
        ]
        sightings += [Sighting("nobody", 3, known[0].started_at), Sighting("LAB-WS-07", 1)]
        found = theirs.candidates(sightings, Deadline(60))

        assert ours.candidates(sightings, Deadline(60)) == found

    assert sum(len(answer) for answer in found.values() if isinstance(answer, tuple)) > 200


def test_joint_hits_are_the_same(file: Path, shards: Address) -> None:
    pairs = [(md5, name) for md5 in [*MD5S, "f" * 32] for name in ("git", "microsoft", "")]
    with StoreSource(file) as ours, ClickHouseSource(shards) as theirs:
        assert ours.joint_hits(pairs, Deadline(60)) == theirs.joint_hits(pairs, Deadline(60))


def test_lineages_are_the_same(file: Path, shards: Address) -> None:
    with StoreSource(file) as ours, ClickHouseSource(shards) as theirs:
        told, found = (lineages(source, GUIDS, Deadline(60)) for source in (ours, theirs))

    assert {guid: [node.process for node in chain.nodes] for guid, chain in told.items()} == {
        guid: [node.process for node in chain.nodes] for guid, chain in found.items()
    }
    assert max(len(chain.nodes) for chain in found.values()) > 4


def test_thousands_are_asked_in_parts_and_each_is_answered(two: Address) -> None:
    many = [f"{n:08x}-0000-0001-01d1-000000000000" for n in range(5000)]
    with ClickHouseSource(two) as source:
        assert len(source.processes(many, Deadline(60))) == 5000
        assert len(source.binaries([f"{n:032x}" for n in range(5000)], Deadline(60))) == 5000
        assert len(source.binaries([f"{n:064x}" for n in range(2500)], Deadline(60))) == 2500


def test_deadline_is_a_value_for_each(two: Address) -> None:
    with ClickHouseSource(two) as source:
        answers = source.processes(GUIDS[:3], Deadline(0))

    assert all(isinstance(answer, SourceTimeout) for answer in answers.values())


def test_database_that_was_dropped_is_an_error_for_each(file: Path, nodes: list[str]) -> None:
    address = address_of(f"clickhouse://{nodes[1]}/dropped")
    copy_store(file, address)
    with ClickHouseSource(address) as source:
        drop(address)
        answers = source.binaries(MD5S[:2], Deadline(60))

    assert all(isinstance(answer, SourceError) for answer in answers.values())


def test_database_that_is_not_there_says_how_to_make_one(nodes: list[str]) -> None:
    with pytest.raises(ConfigError, match="cbsigned store copy"):
        ClickHouseSource(address_of(f"clickhouse://{nodes[0]}/nowhere"))


def test_real_telemetry_has_the_same_answers(tmp_path: Path, nodes: list[str]) -> None:
    store, address = tmp_path / "real.db", address_of(f"clickhouse://{','.join(nodes)}/real?cluster={CLUSTER}")
    ingest(store, [real_data("cb-response-splunk-app") / "events.csv.gz"])
    try:
        copy_store(store, address)
        with StoreSource(store) as ours, ClickHouseSource(address) as theirs:
            with contextlib.closing(__import__("sqlite3").connect(store)) as db:
                hashes = [row[0].hex() for row in db.execute("SELECT md5 FROM binary WHERE md5 IS NOT NULL")]
            guids = list({node.process.guid for node in _some_chains(ours, store)})
            assert ours.processes(guids, Deadline(60)) == theirs.processes(guids, Deadline(60))
            assert ours.children(guids, 10, Deadline(60)) == theirs.children(guids, 10, Deadline(60))
            told, found = ours.binaries(hashes, Deadline(60)), theirs.binaries(hashes, Deadline(60))
            assert {h: set(map(repr, told[h])) for h in hashes} == {h: set(map(repr, found[h])) for h in hashes}  # type: ignore[arg-type]
    finally:
        drop(address)

    assert len(guids) > 900


def _some_chains(source: StoreSource, store: Path) -> list[object]:
    from cbsigned.store.database import open_reader
    from cbsigned.store.ids import unpack

    with contextlib.closing(open_reader(store)) as db:
        guids = [unpack(row[0]) for row in db.execute("SELECT guid FROM process LIMIT 1500")]
    return [node for chain in lineages(source, guids, Deadline(60)).values() for node in chain.nodes]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, nodes: list[str]) -> tuple[Path, str]:
    """The demo's telemetry in a file, and on two shards."""
    store = tmp_path_factory.mktemp("samples") / "samples.db"
    ingest(store, [sample_path("telemetry")])
    text = f"clickhouse://{','.join(nodes)}/samples?cluster={CLUSTER}"
    copy_store(store, address_of(text))
    return store, text


def test_enrich_says_the_same(samples: tuple[Path, str]) -> None:
    store, address = samples
    told, found = (
        ask(enrich_alerts, place, "enrich", sample_path("alerts.jsonl"), "--output", "json") for place in samples
    )

    assert _plain(told[1], store.name) == _plain(found[1], address_of(address).database)
    assert len(found[1].splitlines()) > 5


def _plain(text: str, name: str) -> list[object]:
    """Return the answers without what differs: the store's name and the moment of asking."""
    lines = [json.loads(line.replace(f"store:{name}", "store:it")) for line in text.splitlines()]
    return [_timeless(line) for line in lines]


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("enriched_at", "read_at", "age_s")}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("command", "name"), [(signed, "signed"), (lineage, "lineage")])
def test_signed_and_lineage_take_the_address(two: Address, nodes: list[str], command: object, name: str) -> None:
    text = f"clickhouse://{','.join(nodes)}/two?cluster={CLUSTER}"
    what = MD5S[0] if name == "signed" else GUIDS[9]
    code, out, err = ask(command, text, name, what, "--output", "json")  # type: ignore[arg-type]

    assert code == 0, err
    assert what in out


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (process_command, ("process", GUIDS[0])), (binary, ("binary", MD5S[0])), (related, ("related", MD5S[0])),
        (sweep_list, ("sweep", "list.txt")), (edr_server, ("edr-server",)), (store_command, ("store", "info")),
        (store_command, ("store", "ingest", "a.jsonl")), (store_command, ("store", "vacuum")),
    ],
)  # fmt: skip
def test_command_that_needs_a_file_says_so_in_a_sentence(command: Any, argv: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="This does not run on ClickHouse") as refusal:
        ask(command, "clickhouse://me@ch1/db", *argv)  # type: ignore[arg-type]

    assert "enrich, signed, lineage, search and serve" in str(refusal.value)


def test_responder_answers_the_same_over_both(samples: tuple[Path, str]) -> None:
    store, address = samples
    alerts = [json.loads(line) for line in sample_path("alerts.jsonl").read_text("utf-8").splitlines()]
    told = []
    with StoreSource(store) as ours, ClickHouseSource(address_of(address)) as theirs:
        for source, cached in ((ours, False), (theirs, True)):
            with serving(source, cached=cached) as client:
                answers = [client.post("/v1/alerts", alert) for alert in alerts[:12]]
            assert {answer.status_code for answer in answers} == {200}
            told.append([_verdicts(answer.json()) for answer in answers])

    assert told[0] == told[1]
    assert len({str(one) for one in told[0]}) > 3


def _verdicts(value: object) -> list[object]:
    """Return every verdict and status in an answer, in order."""
    if isinstance(value, list):
        return [one for item in value for one in _verdicts(item)]
    if not isinstance(value, dict):
        return []
    own = [value[name] for name in ("verdict", "status", "publisher", "ended_by") if isinstance(value.get(name), str)]
    return own + [one for item in value.values() for one in _verdicts(item)]


def test_copy_command_tells_what_it_did(file: Path, two: Address, nodes: list[str]) -> None:
    text = f"clickhouse://{','.join(nodes)}/two?cluster={CLUSTER}"
    row = ask_json(store_command, file, "store", "copy", file, text)[0]

    assert (row["sent"], row["resumed"], row["to"]) == (0, True, two.shown)


def test_copy_the_other_way_is_refused(file: Path, nodes: list[str]) -> None:
    with pytest.raises(ConfigError, match="from a file to ClickHouse"):
        ask(store_command, file, "store", "copy", f"clickhouse://{nodes[0]}/one", file)


def test_window_of_a_sighting_is_inclusive(two: Address) -> None:
    with ClickHouseSource(two) as source:
        process = source.processes(GUIDS[:1], Deadline(60))[GUIDS[0]]
        assert isinstance(process, Process)
        assert process.started_at is not None
        edges = [
            Sighting(str(process.host), process.pid, process.started_at + timedelta(seconds=s)) for s in (5, -5, 5.001)
        ]
        found = source.candidates(edges, Deadline(60))

    assert [len(found[edge]) for edge in edges] == [1, 1, 0]  # type: ignore[arg-type]
