"""What sharing between hosts costs beside what one host has: cache, leases, jobs; prints Markdown.

    python benchmarks/bench_shared.py                     a minute on 2 cores; needs redis-server and rabbitmq-server

Both sides of a row run in turns in this process, the best round of each counts. Redis and RabbitMQ run on the loopback,
so what a network adds is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / name) for name in ("tests", "shared", "connectors")]

from cbsigned.binary import BinaryRecord, RecordKind, read_signature  # noqa: E402
from cbsigned.cache import Cache, FileCache  # noqa: E402
from cbsigned.codec import encode  # noqa: E402
from cbsigned.rediscache.cache import RedisCache  # noqa: E402
from cbsigned.rediscache.leases import LeasedSource  # noqa: E402
from cbsigned.rediscache.server import RedisServer  # noqa: E402
from cbsigned.settings import RedisSettings  # noqa: E402
from cbsigned.signing import BinaryAnswers  # noqa: E402
from cbsigned.timing import Deadline, utc_now  # noqa: E402
from cbsigned_connectors.webhook.broker import Broker, BrokerSettings  # noqa: E402
from cbsigned_connectors.webhook.job_model import Jobs  # noqa: E402
from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings  # noqa: E402
from cbsigned_connectors.webhook.shared_jobs import SharedJobs  # noqa: E402
from rabbitmq_server import rabbitmq_node  # noqa: E402
from recording import Recording, md5_of  # noqa: E402
from redis_server import redis_process  # noqa: E402

HEAD = """# What sharing between hosts costs

Written by `make bench-shared` (`benchmarks/bench_shared.py`). This run: Python {python}, {cores} cores, {system}.
Redis and RabbitMQ run on the loopback of the same machine; both sides of a row ran in turns in one run, the best
round of each counts, and others may have been using the machine: read the ratios.

| what | one host | shared | × |
|---|---|---|---|
"""
ROUNDS, KEYS, EDR_S, JOBS = 7, 1_000, 0.05, 400
REQUEST = {"records": [{"record": {"md5": md5_of(1)}}], "many": False, "source": None, "format": "json", "cards": []}


class Slow(Recording):
    """An EDR that takes as long as a quick one does."""

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        time.sleep(EDR_S)
        return super().binaries(hashes, deadline)


def best_of(sides: Sequence[Callable[[int], object]]) -> list[float]:
    """Return the seconds of the best round of each side, taken in turns."""
    best = [float("inf")] * len(sides)
    for turn in range(ROUNDS):
        for at, side in enumerate(sides):
            began = time.perf_counter()
            side(turn)
            best[at] = min(best[at], time.perf_counter() - began)
    return best


def row(what: str, sides: Sequence[Callable[[int], object]]) -> str:
    """Return a row of the table: milliseconds of each side, and their ratio."""
    own, shared = best_of(sides)
    return f"| {what} | {own * 1000:,.1f} ms | {shared * 1000:,.1f} ms | {shared / own:.2f} |\n"


def cache_rows(folder: Path, server: RedisServer) -> str:
    """Measure reading and writing a thousand statuses."""
    signature = read_signature(md5_of(1), [BinaryRecord(RecordKind.BINARY_DOCUMENT, word="Signed")], "edr", utc_now())
    items = {f"signature|edr|{md5_of(number)}": (encode(signature), 600.0) for number in range(KEYS)}
    caches: list[Cache] = [FileCache(folder / "cache"), RedisCache(server)]
    written = row(f"{KEYS:,} statuses put: file, Redis", [lambda _t, c=c: c.put_many(items) for c in caches])
    return written + row(f"{KEYS:,} statuses read", [lambda _t, c=c: c.get_many(list(items)) for c in caches])


def lease_rows(server: RedisServer) -> str:
    """Measure a question of two hundred hashes that nobody has asked."""
    source = Slow()
    leased = LeasedSource(source, server)
    asked = [[f"{turn:016x}{number:016x}" for number in range(200)] for turn in range(ROUNDS)]
    sides = [
        lambda turn: source.binaries(asked[turn], Deadline(30)),
        lambda turn: leased.binaries(asked[turn], Deadline(30)),
    ]
    return row("a question of 200 hashes to an EDR that takes 50 ms: alone, with leases", sides)


def job_rows(stores: Sequence[Jobs]) -> str:
    """Measure accepting jobs from eight threads, each on the disk or with the broker when it is accepted."""
    with ThreadPoolExecutor(8) as pool:

        def accept(jobs: Jobs, turn: int) -> None:
            list(pool.map(lambda n: jobs.accept("a", f"{turn}-{n}", b"digest", REQUEST), range(JOBS)))

        sides = [lambda turn, jobs=jobs: accept(jobs, turn) for jobs in stores]
        return row(f"{JOBS} jobs accepted: file, RabbitMQ and Redis", sides)


def main() -> int:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write there instead of printing")
    output = parser.parse_args().output
    page = HEAD.format(python=platform.python_version(), cores=os.cpu_count(), system=platform.system())
    with contextlib.ExitStack() as engines:
        folder = Path(engines.enter_context(tempfile.TemporaryDirectory()))
        for name in ("redis", "rabbitmq"):
            (folder / name).mkdir()
        redis = engines.enter_context(redis_process(folder / "redis", ["--appendonly", "yes"]))
        rabbitmq = engines.enter_context(rabbitmq_node(folder / "rabbitmq"))
        server = RedisServer(RedisSettings(redis.url, timeout_s=5.0))
        settings = JobSettings(folder / "jobs.db", most_waiting=1_000_000, least_free_bytes=0)
        shared = SharedJobs(settings, server, Broker(BrokerSettings(rabbitmq, "guest")))
        page += cache_rows(folder, server) + lease_rows(server) + job_rows([FileJobs(settings), shared])
        shared.close()
    if output is None:
        sys.stdout.write(page)
    else:
        output.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
