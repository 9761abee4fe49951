"""`cbsigned serve` and `cbsigned worker` as processes of their own, which a test may overload, starve or kill."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import requests

from connectors.webhook.flood import Reply, flood, request_bytes
from connectors.webhook.serving import TOKEN

__all__ = ["Service", "serve_process", "worker_process"]

_START_S = 30.0
_LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv[1:] = sys.argv[2:]
runpy.run_module("cbsigned.cli", run_name="__main__")
"""


@dataclass
class Service:
    """A running service.

    Attributes:
        said: What it has written to standard error so far, line by line.
    """

    url: str
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def post(self, body: Any, path: str = "/v1/alerts", headers: Optional[Mapping[str, str]] = None) -> Any:
        """Post a document, or bytes as they are."""
        given = {"data": body} if isinstance(body, (bytes, str)) else {"json": body}
        with _session() as session:
            return session.post(self.url + path, headers={**_AUTHORIZED, **(headers or {})}, timeout=30, **given)

    def get(self, path: str) -> requests.Response:
        """Get what is at a path."""
        with _session() as session:
            return session.get(self.url + path, headers=_AUTHORIZED, timeout=30)

    def flood(self, bodies: Sequence[bytes], connections: int, path: str = "/v1/alerts") -> list[Reply]:
        """Post all bodies, on so many connections at the same time."""
        return flood(self.url, [request_bytes(path, body, TOKEN) for body in bodies], connections)

    def get_all(self, paths: Sequence[str]) -> list[Reply]:
        """Get what is at many paths."""
        return flood(self.url, [request_bytes(path, b"", TOKEN, method="GET") for path in paths], 8)

    def metric(self, name: str, **labels: str) -> float:
        """Return a counter: the sum over all of its rows that have these labels."""
        rows = [line.rsplit(" ", 1) for line in self.get("/metrics").text.splitlines() if not line.startswith("#")]
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for row, value in rows if row.split("{")[0] == name and all(w in row for w in wanted))

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()


_AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


@contextlib.contextmanager
def serve_process(
    folder: Path, environ: Mapping[str, str], options: Sequence[str] = (), *, most_file_bytes: Optional[int] = None
) -> Iterator[Service]:
    """Run `cbsigned serve`; it keeps its jobs in `folder`, and is killed at the end of the block if it still runs.

    Args:
        environ: `CBSIGNED_…` variables.
        most_file_bytes: Size beyond which no file can be written: a disk that is full.
    """
    start = ["-m", "cbsigned.cli"] if most_file_bytes is None else ["-c", _LIMITED, str(most_file_bytes)]
    command = [*start, "serve", "--port", "0", *options]
    with _running(command, folder, {"CBSIGNED_WEBHOOK_TOKEN": TOKEN, **environ}, "cbsigned serve: http://") as service:
        yield service


@contextlib.contextmanager
def worker_process(folder: Path, environ: Mapping[str, str], options: Sequence[str]) -> Iterator[Service]:
    """Run `cbsigned worker`, which has no address; it is killed at the end of the block if it still runs."""
    with _running(
        ["-m", "cbsigned.cli", "worker", *options], folder, environ, "cbsigned worker: takes jobs"
    ) as service:
        yield service


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, environ: Mapping[str, str], ready: str) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, text=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("CBSIGNED_")},
            "HOME": str(folder), "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), **environ,
        },
    )  # fmt: skip
    assert process.stderr is not None
    first: queue.Queue[str] = queue.Queue()
    said: list[str] = []
    reader = threading.Thread(target=_read, args=(process.stderr, said, first, ready), daemon=True)
    reader.start()
    try:
        line = first.get(timeout=_START_S)
        assert ready in line, "".join(said)
        yield Service(line.split()[2], process, said)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def _read(stream: Any, said: list[str], first: queue.Queue[str], ready: str) -> None:
    """Keep what is written; the line that says it is ready is handed on, or the end where there is none."""
    for line in stream:
        said.append(line)
        if ready in line:
            first.put(line)
    first.put("")
