"""Our own EDR source against this server gives the enrichments that the store gives without it."""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned import Caches, Cause, EdrSettings, Enrichment, Settings, Sources, enrich
from cbsigned.edr import connect
from cbsigned.process import Process
from cbsigned.samples import sample_path
from cbsigned.store.ids import unpack
from cbsigned.store.source import StoreSource
from cbsigned_connectors.edr_server.faults import Fault, Faults
from connectors.edr_server.serving import TOKEN, serving

SETTINGS = Settings(deadline_s=300)
ALLOWED = {
    "ended_at": "a process document has no member for the end, only `terminated`",
    "terminated": "a process document says false where the store says not recorded",
    "os_type": "the server tells Windows by the path, where no record names the system",
    "start_recorded": "the core takes every process document for a record of the start",
    "started_at": "a document rounds it to milliseconds, the guid has microseconds: two milliseconds, compared apart",
    "cmdline": "the core strips blanks from a document's command line",
    "from_guid": "set by the core alone",
}
"""Members of a process that may differ, and why; blanks around command lines apart, these are still compared."""


def over_both(store: Path, version: str, alerts: list[Any]) -> tuple[list[Enrichment], list[Enrichment], int]:
    """Return what the store gives, what the server gives, and how many requests that took."""
    counted = Faults([Fault("*", "latency")])
    with StoreSource(store) as source, serving(store, version, faults=counted) as client:
        here = list(enrich(alerts, Sources(source, source, source, Caches()), SETTINGS))
        with connect(EdrSettings(url=client.url, token=TOKEN, retries=0)) as edr:
            there = list(enrich(alerts, Sources(edr, edr, edr, Caches()), SETTINGS))
    return here, there, counted.struck[0]


def contradicted(found: list[Enrichment]) -> set[str]:
    """Return the hashes on which the store's records contradict each other; the vendor keeps one document for each."""
    subjects = [subject for enrichment in found for subject in enrichment.subjects]
    signatures = [s for subject in subjects for s in (subject.signature, *subject.signatures.values())]
    return {s.hash for s in signatures if s.cause is Cause.CONTRADICTION}


def told(found: list[Enrichment], without: set[str]) -> Iterator[Any]:
    """Yield what is compared of each enrichment: every status with its publisher, every node of every lineage."""
    for enrichment in found:
        for subject in enrichment.subjects:
            signatures = [subject.signature, *(subject.signatures[key] for key in sorted(subject.signatures))]
            yield [
                (s.hash, s.status, s.cause, s.publisher, s.issuer, s.subject, s.program_name, s.signed_at, s.host_count)
                for s in signatures
                if s.hash not in without
            ]
            if subject.lineage is not None:
                yield [process_told(node.process) for node in subject.lineage.nodes]


def process_told(process: Process) -> dict[str, Any]:
    made = {name: value for name, value in dataclasses.asdict(process).items() if name not in ALLOWED}
    return {**made, "cmdline": (process.cmdline or "").strip()}


def starts(found: list[Enrichment]) -> list[float]:
    lineages = [subject.lineage for enrichment in found for subject in enrichment.subjects if subject.lineage]
    return [n.process.started_at.timestamp() if n.process.started_at else 0.0 for c in lineages for n in c.nodes]


def sample_alerts() -> list[Any]:
    lines = sample_path("alerts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def real_alerts(store: Path) -> list[Any]:
    """Return an alert on each process, and every hit."""
    db = sqlite3.connect(store)
    try:
        guids = [unpack(row[0]) for row in db.execute("SELECT guid FROM process ORDER BY id")]
        sql = "SELECT body FROM message m JOIN kind k ON k.id = m.kind_id WHERE k.name LIKE '%.hit.%' ORDER BY m.id"
        return [{"process_guid": guid} for guid in guids] + [json.loads(row[0]) for row in db.execute(sql)]
    finally:
        db.close()


@pytest.mark.parametrize("version", ["5.1.0", "6.2.0", "7.3.0"])
def test_the_samples_are_enriched_alike(sample_store: Path, version: str) -> None:
    here, there, _requests = over_both(sample_store, version, sample_alerts())

    without = contradicted(here)
    assert len(without) == 1
    assert len(here) > 30
    assert list(told(there, without)) == list(told(here, without))
    assert starts(there) == pytest.approx(starts(here), rel=0, abs=0.002)


def test_the_real_data_is_enriched_alike_within_the_requests_that_batches_take(real_store: Path) -> None:
    alerts = real_alerts(real_store)

    here, there, requests = over_both(real_store, "7.3.0", alerts)

    assert contradicted(here) == set()
    assert len(here) == 1579 + 2048
    assert list(told(there, set())) == list(told(here, set()))
    assert starts(there) == pytest.approx(starts(here), rel=0, abs=0.002)
    hashes = {key for e in here for s in e.subjects for key in s.signatures}
    assert requests <= math.ceil(len(hashes) / 200) + generations(there) + 2


def generations(found: list[Enrichment]) -> int:
    """Return how many requests the generations of all lineages take, 200 processes each."""
    known: set[str] = set()
    total, depth = 0, 0
    chains = [[n.process.guid for n in s.lineage.nodes] for e in found for s in e.subjects if s.lineage]
    while level := {chain[depth] for chain in chains if len(chain) > depth}:
        total += math.ceil(len(level - known) / 200)
        known |= level
        depth += 1
    return total
