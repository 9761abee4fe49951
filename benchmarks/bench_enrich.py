"""What enrichment costs: the CPU time of a warm cache, and requests and time against other ways of asking.

    PYTHONPATH=tests python benchmarks/bench_enrich.py [--alerts 10000] [--peers 100] [--latency-ms 20]

Prints two Markdown tables. The warm row's floor is a plain `dict` look-up of a finished document plus `json.dumps`.
The peers run against the same small EDR server on this machine, each request delayed by the same latency: *naive*
asks one query per alert and ancestor, as search commands for Splunk do; *per hash* asks one per distinct hash, process
and ancestor, as code on cbapi's `select(Binary, md5)` and `.parent` does.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import requests

from cbsigned import Caches, EdrSettings, Settings, Sources, enrich
from cbsigned.edr import connect
from cbsigned.render.document import enrichment_document
from edr_server import EdrServer
from recording import guid_of, md5_of

TOKEN = "benchmark"
PROCESSES, HASHES = 1000, 300


def documents() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return 300 binary and 1,000 process documents; lineages are up to six deep."""
    binaries = [
        {"md5": md5_of(n).upper(), "digsig_result": "Signed", "digsig_result_code": "0", "digsig_publisher": "Acme"}
        for n in range(HASHES)
    ]
    processes = [
        {
            "id": guid_of(n), "unique_id": f"{guid_of(n)}-0178ef7c49a8", "segment_id": 1618925603240,
            "process_name": f"p{n}.exe", "path": f"c:\\p\\p{n}.exe", "process_md5": md5_of(n % HASHES),
            "process_pid": 1000 + n, "hostname": "WS01", "cmdline": f"p{n}.exe /run", "username": "SYSTEM",
            "parent_id": guid_of(n // 4) if n else "00000001-ffff-ffff-0000-000000000000", "os_type": "windows",
        }
        for n in range(PROCESSES)
    ]  # fmt: skip
    return binaries, processes


def alerts(count: int) -> list[dict[str, Any]]:
    """Return watchlist hits that repeat the processes over and over."""
    _binaries, processes = documents()
    return [{"type": "watchlist.hit.process", "docs": [processes[n * 7 % PROCESSES]]} for n in range(count)]


def best(run: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest of several runs, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def warm(count: int) -> None:
    """Print the warm cache's cost per alert beside its floor."""
    binaries, processes = documents()
    sent = alerts(count)
    server = EdrServer(binaries=binaries, processes=processes, token=TOKEN)
    with server, connect(EdrSettings(url=server.url, token=TOKEN)) as edr:
        sources = Sources(edr, edr, edr, Caches())
        answers = [enrichment_document(found) for found in enrich(sent, sources)]
        ready = {hit["docs"][0]["id"]: document for hit, document in zip(sent, answers)}
        asked = len(server.requests)

        whole = best(lambda: [json.dumps(enrichment_document(e)) for e in enrich(sent, sources)])
        status = best(lambda: list(enrich(sent, sources, Settings(lineage=False))))
        floor = best(lambda: [json.dumps(ready[hit["docs"][0]["id"]]) for hit in sent])
        assert len(server.requests) == asked, "the cache was not warm"
    print("| warm cache, per alert | µs | × floor |\n|---|---|---|")
    rows = [("dict look-up + json.dumps (floor)", floor), ("enrich with lineage, document, json.dumps", whole)]
    for name, seconds in [*rows, ("enrich, signing status alone, no JSON", status)]:
        print(f"| {name} | {seconds / count * 1e6:.1f} | {seconds / floor:.1f} |")


def peers(count: int, latency_s: float) -> None:
    """Print requests and time of three ways to the same answers."""
    binaries, processes = documents()
    sent = alerts(count)
    rows = []
    for name, way in (
        ("naive, one query per alert", _naive),
        ("one per distinct hash and process", _distinct),
        ("cbsigned", _ours),
    ):
        with EdrServer(binaries=binaries, processes=processes, token=TOKEN, latency_s=latency_s) as server:
            started = time.perf_counter()
            statuses = way(server.url, sent)
            rows.append((name, len(server.requests), time.perf_counter() - started, statuses))
    assert rows[0][3] == rows[1][3] == rows[2][3], "the ways disagree"
    last = rows[-1]
    label = f"{count} alerts, status and lineage, {latency_s * 1000:.0f} ms a request"
    print(f"\n| {label} | requests | × ours | s | × ours |")
    print("|---|---|---|---|---|")
    for name, asked, seconds, _statuses in rows:
        print(f"| {name} | {asked} | {asked / last[1]:.1f} | {seconds:.2f} | {seconds / last[2]:.1f} |")


def _naive(url: str, sent: list[dict[str, Any]]) -> list[str]:
    with requests.Session() as session:
        return [_walk(session, url, hit["docs"][0]["id"], None) for hit in sent]


def _distinct(url: str, sent: list[dict[str, Any]]) -> list[str]:
    known: dict[str, Any] = {}
    with requests.Session() as session:
        return [_walk(session, url, hit["docs"][0]["id"], known) for hit in sent]


def _walk(session: requests.Session, url: str, guid: str, known: Any) -> str:
    """Ask for one process, its ancestors and each one's binary; `known` keeps what was asked."""

    def ask(route: str, query: str) -> Any:
        if known is not None and query in known:
            return known[query]
        parameters: dict[str, Any] = {"q": query, "rows": 1, "cb.urlver": 1, "cb.group": "id"}
        answer = session.get(f"{url}/api/v1/{route}", params=parameters, headers={"X-Auth-Token": TOKEN}, timeout=60)
        found = (answer.json()["results"] or [None])[0]
        if known is not None:
            known[query] = found
        return found

    words = []
    while True:
        process = ask("process", f"process_id:{guid}")
        if process is None:
            break
        words.append(ask("binary", f"md5:{process['process_md5']}")["digsig_result"])
        guid = process["parent_id"]
        if "ffff-ffff" in guid or guid == process["id"]:
            break
    return ",".join(words)


def _ours(url: str, sent: list[dict[str, Any]]) -> list[str]:
    with connect(EdrSettings(url=url, token=TOKEN)) as edr:
        found = list(enrich(sent, Sources(edr, edr, edr, Caches())))
    return [
        ",".join(s.signatures[n.process.md5 or ""].status.value for n in s.lineage.nodes if s.lineage)
        for s in (e.subjects[0] for e in found)
        if s.lineage is not None
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000, help="alerts for the warm cache")
    parser.add_argument("--peers", type=int, default=100, help="alerts for the comparison of requests")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    options = parser.parse_args()
    logging.getLogger("cbsigned").setLevel(logging.ERROR)  # plain HTTP on the loopback is meant
    warm(options.alerts)
    peers(options.peers, options.latency_ms / 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
