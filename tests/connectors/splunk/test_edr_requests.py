"""What searches cost the EDR server, counted there: batches, not events; and one request for the same hash."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from connectors.splunk.conftest import TOKEN
from connectors.splunk.hostile import binaries, md5_of
from edr_server import EdrServer
from splunkd.frames import Table
from splunkd.instance import Splunkd
from splunkd.search import Outcome

SIZES = [100, 2500, 5000, 12_500]


def chunks(rows: int, files: int) -> list[Table]:
    """Return events of `files` distinct hashes, each hash for the first time as late as possible."""
    tables, made = [], 0
    while made < rows:
        size = min(SIZES[len(tables) % len(SIZES)], rows - made)
        numbers = [number * files // rows for number in range(made, made + size)]
        tables.append(Table((b"process_md5",), [(md5_of(number).encode(),) for number in numbers]))
        made += size
    return tables


def searched(splunkd: Splunkd, tables: list[Table]) -> Outcome:
    unknown: list[int] = []

    def count(_before: Table, after: Table) -> None:
        if after.rows:
            unknown.append(after.column(b"cbsigned_status").count(b"Unknown"))

    outcome = splunkd.search(
        "cbsigned", user=splunkd.user("analyst", "cbsigned_use"), chunks=tables, sink=count, maxwait_s=120
    )
    assert outcome.banners == []
    assert sum(unknown) == pytest.approx(sum(len(table.rows) for table in tables) / 5, rel=0.02)
    return outcome


@pytest.mark.parametrize(
    ("rows", "files", "most"),
    [(60_000, 3_000, 15), pytest.param(1_000_000, 30_000, 150, marks=pytest.mark.nightly)],
)
def test_a_cold_search_costs_one_request_for_200_hashes_and_one_for_a_chunk(
    splunkd_for: Callable[[str], Splunkd], rows: int, files: int, most: int
) -> None:
    tables = chunks(rows, files)
    with EdrServer(binaries=binaries(files), token=TOKEN) as edr:
        splunkd = splunkd_for(edr.url)

        searched(splunkd, tables)
        cold = sum(edr.counts.values())
        searched(splunkd, tables)

        assert cold <= most + len(tables)
        assert sum(edr.counts.values()) == cold


def test_concurrent_searches_for_the_same_hash_ask_the_edr_once(splunkd_for: Callable[[str], Splunkd]) -> None:
    with EdrServer(binaries=binaries(10), token=TOKEN, latency_s=0.3) as edr:
        splunkd = splunkd_for(edr.url)
        user = splunkd.user("analyst", "cbsigned_use")
        splunkd.post("/services/cbsigned/health", {}, user)  # the handler's process is there
        statuses: list[list[str]] = []

        def search() -> None:
            events = [Table((b"md5",), [(md5_of(6).encode(),)])]
            statuses.append(splunkd.search("cbsigned", user=user, chunks=events).column("cbsigned_status"))

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert statuses == [["Expired"]] * 4
        assert edr.counts["binary"] == 1


def test_answers_outlive_the_handlers_process(splunkd_for: Callable[[str], Splunkd]) -> None:
    events = [Table((b"md5",), [(md5_of(n).encode(),) for n in range(1, 5)])]
    with EdrServer(binaries=binaries(5), token=TOKEN) as edr:
        splunkd = splunkd_for(edr.url)
        user = splunkd.user("analyst", "cbsigned_use")
        first = splunkd.search("cbsigned", user=user, chunks=events)
        splunkd.handler.close()

        again = splunkd.search("cbsigned", user=user, chunks=events)

        assert splunkd.handler.starts == 2
        assert again.column("cbsigned_status") == first.column("cbsigned_status")
        assert edr.counts["binary"] == 1
