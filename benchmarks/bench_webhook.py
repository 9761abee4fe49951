"""What the webhook responder costs beside a bare handler of the same framework; prints Markdown.

    python benchmarks/bench_webhook.py                    two minutes on 2 cores
    python benchmarks/bench_webhook.py --small            seconds, for trying the benchmark itself

`cbsigned serve` and a FastAPI handler that answers a constant of the same size run as processes of their own on the
same uvicorn; one client asks both in turns. The best round of each counts. Exit code 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / name) for name in ("tests", "shared", "connectors")]

from cbsigned.binary import RecordKind, parse_binary  # noqa: E402
from cbsigned.enrichment import Caches, Sources, enrich  # noqa: E402
from cbsigned.formats import parse_alert, read_body  # noqa: E402
from cbsigned.process import parse_process  # noqa: E402
from cbsigned_connectors.webhook.answers import Wish, answer_of  # noqa: E402
from connectors.webhook.flood import Reply, flood, request_bytes  # noqa: E402
from connectors.webhook.process import serve_process  # noqa: E402
from connectors.webhook.serving import TOKEN  # noqa: E402
from edr_server import TOKEN as EDR_TOKEN  # noqa: E402
from recording import Recording  # noqa: E402

HEAD = """# The webhook responder beside a bare handler

Written by `make bench-webhook` (`{command}`). This run: Python {python}, {cores} cores, {system}, load average
{load:.1f} when it began. Both sides of a row ran in turns in one run, the best round of each counts, and others may
have been using the machine: read the ratios. *Bare* is a FastAPI handler on the same uvicorn that reads the body and
answers a constant of the same size; client, server and EDR share the cores. {connections} connections, each with one
request at a time. A *new* alert has an id of its own, so that no answer that was given before is the one to it; what
it is about stands in the cache, and so does what was concluded of it for an earlier alert that said the same.
"""
CONFIG = """
senders:
  - {name: bench, scheme: bearer, secrets: [{env: CBSIGNED_BENCH}], per_minute: 10000000, burst: 1000000}
"""
Maker = Callable[[int, str], dict[str, Any]]
"""(number, turn) → an alert; the number says about what, and both together which alert it is."""
CONNECTIONS = 16
FILES, DEPTH = 300, 5
MISSED = " (missed)"


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds of each side, requests of a round, alerts that nobody has asked for."""

    rounds: int
    requests: int
    cold: int


FULL = Size(rounds=12, requests=2_000, cold=4_000)
SMALL = Size(rounds=2, requests=300, cold=300)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="little of everything, for trying the benchmark itself")
    parser.add_argument("--output", type=Path, help="Markdown file to write, instead of standard output")
    parser.add_argument("--bare", type=int, metavar="BYTES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare is not None:
        return bare(options.bare)
    with tempfile.TemporaryDirectory() as folder:
        text = report(Path(folder), SMALL if options.small else FULL, options.small)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 1 if MISSED in text else 0


def bare(size: int) -> int:
    """Serve a handler that answers a constant, until the process is ended."""
    from fastapi import FastAPI, Request
    from starlette.responses import Response

    from cbsigned_connectors.http_server import listen, run
    from cbsigned_connectors.webhook.app import SERVING

    app = FastAPI(docs_url=None, redoc_url=None)
    constant = json.dumps({"constant": ""})
    body = json.dumps({"constant": "x" * (size - len(constant))}).encode()

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(body, media_type="application/json")

    # as real annotations: FastAPI cannot look into a function's own names
    answer.__annotations__ = {"request": Request, "return": Response}
    app.add_api_route("/v1/alerts", answer, methods=["POST"])
    with listen("127.0.0.1", 0) as sock:
        run(app, sock, SERVING, lambda: print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True))
    return 0


def report(folder: Path, size: Size, small: bool) -> str:
    """Return everything that is measured, as Markdown."""
    head = HEAD.format(
        command="benchmarks/bench_webhook.py" + (" --small" if small else ""), python=platform.python_version(),
        cores=os.cpu_count(), system=platform.system(), connections=CONNECTIONS, load=os.getloadavg()[0],
    )  # fmt: skip
    (folder / "webhook.yaml").write_text(CONFIG, encoding="utf-8")
    return "\n".join([head, *warm(folder, size), *stages(), *cold(folder, size.cold), ""])


def warm(folder: Path, size: Size) -> list[str]:
    """Measure alerts that are new, about files and processes of the cache; then the same alerts again and again."""
    kinds: dict[str, tuple[Maker, bool, bool]] = {  # whether each is new, and whether the bounds are for it
        "new, a file's hash": (file_alert, True, True),
        f"new, a process with {DEPTH} ancestors": (process_alert, True, True),
        "the same, and each names another user": (strange_alert, True, False),
        "repeated within half a minute": (file_alert, False, True),
    }
    lines = [
        "## Warm cache", "",
        "| alert | bytes of the answer | bare, answers/s | cbsigned | × | at least | bare, p99 ms | cbsigned | × "
        "| at most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    with service(folder) as url:
        for title, (make, new, bound) in kinds.items():
            lines.append(beside_bare(title, url, make, new, size, bound))
        best = float("inf")
        for turn in range(size.rounds):
            lists = [[file_alert(100 * number + n, f"list-{turn}") for n in range(100)] for number in range(20)]
            batches = [request_bytes("/v1/alerts", json.dumps(alerts).encode(), TOKEN) for alerts in lists]
            best = min(best, timed(url, batches)[0])
    return [*lines, "", f"New, in lists of 100 files' hashes: {100 * 20 / best:,.0f} alerts/s.", ""]


def beside_bare(title: str, url: str, make: Maker, new: bool, size: Size, bound: bool) -> str:
    """Return one row: ours and the bare handler, in turns."""
    first = requests_of([make(number, "first") for number in range(FILES)])
    answer = max(len(reply.body) for reply in checked(flood(url, first, CONNECTIONS)))
    best = {name: (float("inf"), float("inf")) for name in ("bare", "cbsigned")}
    with bare_process(answer) as bare_url:
        for turn in range(size.rounds):
            batch = requests_of([make(number, f"turn-{turn}" if new else "same") for number in range(size.requests)])
            for name, place in (("bare", bare_url), ("cbsigned", url)):
                seconds, p99_s = timed(place, batch)
                best[name] = min(best[name][0], seconds), min(best[name][1], p99_s)
    (bare_s, bare_p99_s), (own_s, own_p99_s) = best["bare"], best["cbsigned"]
    rate, wait = bare_s / own_s, own_p99_s / bare_p99_s
    rates = (bold(rate, rate >= 0.4), "0.4") if bound else (f"{rate:.2f}", "")
    waits = (bold(wait, wait <= 3), "3") if bound else (f"{wait:.2f}", "")
    cells = (
        title, f"{answer:,}", f"{size.requests / bare_s:,.0f}", f"{size.requests / own_s:,.0f}", *rates,
        f"{1e3 * bare_p99_s:.1f}", f"{1e3 * own_p99_s:.1f}", *waits,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def timed(url: str, requests: list[bytes]) -> tuple[float, float]:
    """Return the seconds for all requests, and within which 99 of 100 were answered."""
    began = time.perf_counter()
    replies = checked(flood(url, requests, CONNECTIONS))
    seconds = time.perf_counter() - began
    return seconds, sorted(reply.seconds for reply in replies)[int(len(replies) * 0.99)]


def checked(replies: list[Reply]) -> list[Reply]:
    """Return the answers, all of which must be ones: a service that refuses would be quick."""
    assert {reply.status for reply in replies} == {200}, replies[0]
    assert not any(b'"complete":false' in reply.body or b'"Unknown"' in reply.body for reply in replies)
    return replies


def stages() -> list[str]:
    """Measure what the core takes of a warm answer; the rest is the framework, the socket, and who may."""
    source = Recording(
        {
            md5_of(n): [parse_binary(document, RecordKind.BINARY_DOCUMENT)]
            for n, document in enumerate(binaries_of(FILES))
        },
        [parse_process(process_of(0, depth)) for depth in range(DEPTH + 1)],
    )
    sources = Sources(source, source, source, Caches())
    columns = []
    for alert in (file_alert(0, "stages"), process_alert(0, "stages")):
        raw, read = json.dumps(alert).encode(), parse_alert(alert)
        (found,) = enrich([read], sources)
        columns.append(
            [
                us(lambda raw=raw: read_body(raw, {"content-type": "application/json"})),
                us(lambda alert=alert: parse_alert(alert)),
                us(lambda read=read: list(enrich([read], sources))),
                us(lambda found=found: answer_of(Wish(), [found], False)),
            ]
        )
    names = ("body → record", "record → alert", "alert → enrichment, out of the caches", "enrichment → document → JSON")
    rows = [f"| {name} | {file:.0f} | {process:.0f} |" for name, file, process in zip(names, *columns)]
    return [
        "## Of that, the core", "",
        f"| µs, each in a loop of its own | a file's hash | a process with {DEPTH} ancestors |", "|---|---|---|", *rows,
        "",
    ]  # fmt: skip


def us(work: Callable[[], object]) -> float:
    """Return the microseconds of one call, the best of five loops."""
    return min(timeit.repeat(work, number=500, repeat=5)) / 500 * 1e6


def cold(folder: Path, alerts: int) -> list[str]:
    """Measure alerts of files that nobody has asked for yet, in front of an EDR that takes 20 ms for each answer."""
    requests = requests_of([{"md5": md5_of(number)} for number in range(alerts)])
    lines = [
        f"## Cold: {alerts:,} alerts about as many files, one by one, 20 ms for each answer of the EDR", "",
        "| connections | alerts/s | p99 ms | requests to the EDR | one for each alert |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for connections in (CONNECTIONS, 256):
        counts: list[int] = []
        with service(folder, alerts, latency_s=0.02, counts=counts) as url:
            began = time.perf_counter()
            replies = checked(flood(url, requests, connections))
            seconds = time.perf_counter() - began
        p99_s = sorted(reply.seconds for reply in replies)[int(alerts * 0.99)]
        lines.append(f"| {connections} | {alerts / seconds:,.0f} | {1e3 * p99_s:.0f} | {counts[0]} | {alerts:,} |")
    return lines


@contextmanager
def service(folder: Path, files: int = FILES, latency_s: float = 0.0, counts: list[int] | None = None) -> Iterator[str]:
    """Run `cbsigned serve` in front of an EDR that knows so many files; `counts` gets its requests at the end."""
    with edr(folder, files, latency_s, counts) as edr_url:
        environ = {
            "CBSIGNED_EDR_URL": edr_url, "CBSIGNED_EDR_TOKEN": EDR_TOKEN, "CBSIGNED_BENCH": TOKEN,
            "CBSIGNED_WEBHOOK_TOKEN": "",
        }  # fmt: skip
        with serve_process(folder, environ, ["--config", str(folder / "webhook.yaml")]) as running:
            yield running.url


@contextmanager
def edr(folder: Path, files: int, latency_s: float, counts: list[int] | None) -> Iterator[str]:
    """Run the EDR of the tests as a process."""
    binaries = binaries_of(max(files, DEPTH + 1))
    processes = [process_of(number, depth) for number in range(FILES) for depth in range(DEPTH + 1)]
    (folder / "binaries.json").write_text(json.dumps(binaries), encoding="utf-8")
    (folder / "processes.json").write_text(json.dumps(processes), encoding="utf-8")
    command = [
        sys.executable, str(PROJECT / "tests" / "edr_server.py"), "--binaries", str(folder / "binaries.json"),
        "--processes", str(folder / "processes.json"), "--latency", str(latency_s),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            told, _ = process.communicate("")
            if counts is not None:
                counts.append(sum(json.loads(told)["counts"].values()))


@contextmanager
def bare_process(size: int) -> Iterator[str]:
    """Run the bare handler as a process."""
    command = [sys.executable, __file__, "--bare", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def requests_of(alerts: list[dict[str, Any]]) -> list[bytes]:
    """Return alerts as requests."""
    return [request_bytes("/v1/alerts", json.dumps(alert).encode(), TOKEN) for alert in alerts]


def file_alert(number: int, turn: str) -> dict[str, Any]:
    """Return an alert about a file."""
    return {"alert_id": f"{turn}-{number}", "md5": md5_of(number % FILES)}


def process_alert(number: int, turn: str) -> dict[str, Any]:
    """Return a process's alert as the event forwarder sends it."""
    own = number % FILES
    return {
        "type": "alert.watchlist.hit.query.process", "unique_id": f"{turn}-{number}", "hostname": "WS01",
        "process_id": guid_of(own, 0), "segment_id": "1", "process_name": "a0.exe", "md5": md5_of(own),
        "process_path": "c:\\\\a\\\\a0.exe", "watchlist_name": "Odd", "created_time": "2016-07-19T16:26:49.830563Z",
    }  # fmt: skip


def strange_alert(number: int, turn: str) -> dict[str, Any]:
    """Return a process's alert that says what none before it said, so that nothing concluded earlier fits."""
    return {**process_alert(number, turn), "username": f"{turn}-{number}"}


def process_of(number: int, depth: int) -> dict[str, Any]:
    """Return a process or its ancestor as the EDR tells it; the last has no parent of its own."""
    parent = guid_of(number, depth + 1) if depth < DEPTH else ""
    return {
        "id": guid_of(number, depth), "segment_id": 1, "unique_id": guid_of(number, depth) + "-00000000001",
        "process_md5": md5_of(depth if depth else number), "process_name": f"a{depth}.exe", "hostname": "ws01",
        "path": f"c:\\\\a\\\\a{depth}.exe", "cmdline": f"a{depth}.exe -k", "username": "jo", "sensor_id": 7,
        "process_pid": 4000 + depth if depth < DEPTH else 4, "start": f"2016-07-19T16:{20 - depth}:49.830Z",
        "parent_unique_id": f"{parent}-00000000001" if parent else "", "parent_id": parent,
        "parent_name": f"a{depth + 1}.exe" if parent else "",
    }  # fmt: skip


def binaries_of(files: int) -> list[dict[str, Any]]:
    """Return so many files as the EDR tells them."""
    return [
        {"md5": md5_of(number).upper(), "digsig_result": "Signed", "digsig_publisher": "Acme Corp"}
        for number in range(files)
    ]


def guid_of(number: int, depth: int) -> str:
    """Return the guid of a process."""
    return f"00000007-0000-{4000 + depth:04x}-01d1-{number:06x}{depth:06x}"


def md5_of(number: int) -> str:
    """Return the hash of a file."""
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def bold(value: float, holds: bool) -> str:
    """Return a ratio that has a bound, marked where it misses it: the exit code is 1 then."""
    return f"**{value:.2f}**" + ("" if holds else MISSED)


if __name__ == "__main__":
    sys.exit(main())
