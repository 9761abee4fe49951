"""1,000 hashes in one call of the EDR server, against 1,000 calls with one hash each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import requests
from store_fill import sample

__all__ = ["calls"]

_TOKEN = "benchmark" * 4
_RUN = [sys.executable, "-c", "import sys; from cbsigned.cli import main; sys.exit(main())", "edr-server"]


def calls(store: Path, count: int = 1000, rounds: int = 5) -> list[str]:
    """Return a Markdown table."""
    hashes = list(dict.fromkeys(md5 for md5, _number in sample(store, 4 * count).hashes))[:count]
    with _server(store) as url, requests.Session() as session:
        session.headers["X-Auth-Token"] = _TOKEN
        found = _ask(session, url, hashes)
        together = median(_timed(session, url, [hashes]) for _ in range(rounds))
        single = _timed(session, url, [[md5] for md5 in hashes])
    return [
        "| `POST /api/v1/binary`, one connection | s | binaries found |",
        "|---|---|---|",
        f"| {len(hashes):,} hashes in one call | {together:.3f} | {found:,} |",
        f"| {len(hashes):,} calls of one hash | {single:.3f} | {found:,} |",
        f"| one call / {len(hashes):,} calls: {together / single:.3f}, 1/{single / together:.0f} (floor 1/20) | | |",
        "",
        _WHY,
    ]


_WHY = """\
What a call costs beside its binaries is some 2 ms, and a binary of this world, which a thousand hosts have had,
some 0.3 ms: its document lists a hundred of them. So the ratio cannot come near 1/20 here; where a file was seen on few
hosts it does come nearer (1/13 in the small store)."""


def _ask(session: requests.Session, url: str, hashes: list[str]) -> int:
    query = " or ".join(f"md5:{md5}" for md5 in hashes)
    answer = session.post(f"{url}/api/v1/binary", data={"q": query, "rows": len(hashes)}, timeout=60)
    answer.raise_for_status()
    return len(answer.json()["results"])


def _timed(session: requests.Session, url: str, parts: list[list[str]]) -> float:
    began = time.perf_counter()
    for part in parts:
        _ask(session, url, part)
    return time.perf_counter() - began


@contextmanager
def _server(store: Path) -> Iterator[str]:
    """Run `cbsigned edr-server` as a process of its own, and give its address."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CBSIGNED_")}
    environment["CBSIGNED_SERVER_TOKEN"] = _TOKEN
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [*_RUN, "--store", str(store), "--port", "0"]
    with subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            match = re.search(r"http://127\.0\.0\.1:\d+", line)
            if match is None:
                raise SystemExit(f"edr-server did not start: {line}{process.stderr.read()}")
            yield match.group()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
