"""One suite for all adapters: the same alerts in, and what `cbsigned enrich` makes of them on the same server.

An adapter's test runs every case through its platform and compares `comparable(row)` with `expected(edr, name)`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from cbsigned.samples import sample_path

__all__ = [
    "CASES",
    "DEEP_GUID",
    "TOKEN",
    "UNKNOWN_GUID",
    "WRITTEN_MD5",
    "Edr",
    "comparable",
    "expected",
    "guid_at",
    "running_edr",
]

TOKEN = "0123456789abcdef0123456789abcdef01234567"
UNKNOWN_GUID = "00000063-0000-2000-01d2-e50000000099"
WRITTEN_MD5 = "b0a3ecc9eaa2521ddea2fc067785b84e"
"""Of a file of the sample telemetry that one process wrote and another ran."""
_DEPTH = 13
_NAMES = (
    "system", "smss.exe", "wininit.exe", "<img src=x onerror=alert(1)>.exe", "{{constructor.constructor('x')()}}.exe",
    "\u202efdp.exe", "דוח שכר.exe", "**bold**|pipe|[link](javascript:x).exe", "${jndi:ldap}.exe", "cmd.exe",
    "a-rather-long-name-of-a-program-that-goes-on-and-on-" + "x" * 60 + ".exe", "powershell.exe", "payload.exe",
)  # fmt: skip
_WORDS = ("Signed", "Unsigned", "Expired", "Bad Signature", "Untrusted Root", "Explicit Distrust")
_VOLATILE = frozenset(("enriched_at", "age_s", "read_at", "card"))


def guid_at(depth: int) -> str:
    """Return the guid of the process so many steps above the deepest one, as a sensor makes it."""
    ticks = int((_started(depth).timestamp() + 11_644_473_600) * 10_000_000)
    high, low = divmod(ticks, 1 << 32)
    return f"00000063-0000-{4096 + depth:04x}-{high >> 16:04x}-{high & 0xFFFF:04x}{low:08x}"


def _started(depth: int) -> datetime:
    return datetime(2017, 6, 14, 10, 59 - depth, tzinfo=timezone.utc)


def _md5(depth: int) -> str:
    return f"{depth + 0xA0:02x}" * 16


def deep_documents() -> Iterator[dict[str, Any]]:
    """Yield process and binary documents of a lineage that is as deep and as hostile as they come."""
    for depth, name in enumerate(reversed(_NAMES)):
        parent = {"parent_id": guid_at(depth + 1)} if depth + 1 < _DEPTH else {}
        long = "-enc " + "QUJD" * 1000 if depth == 1 else "--flag '<b>&amp;\"'"
        yield {
            "id": guid_at(depth), "unique_id": f"{guid_at(depth)}-000000000001", "segment_id": 1, "process_name": name,
            "path": f"c:\\users\\<b>lab</b>\\{name}", "process_md5": _md5(depth), "process_pid": 4096 + depth,
            "parent_name": _NAMES[_DEPTH - 2 - depth] if parent else "", "parent_pid": 4097 + depth if parent else 0,
            "hostname": "LAB<script>", "username": "LAB\\<i>analyst</i>", "cmdline": f"{name} {long}", "sensor_id": 99,
            "start": f"{_started(depth):%Y-%m-%dT%H:%M:%S}.000Z", "os_type": "windows", "group": "default group",
            "process_sha256": _md5(depth) * 2, "terminated": False, **parent,
        }  # fmt: skip
        word = _WORDS[depth % len(_WORDS)]
        signer = (
            {} if word == "Unsigned" else {"digsig_publisher": "<b>Example</b> & Söhne", "digsig_issuer": "Example CA"}
        )
        yield {
            "md5": _md5(depth).upper(), "digsig_result": word, "signed": word,
            "observed_filename": [f"c:\\users\\{name}"],
            "host_count": 1, "endpoint": ["LAB<script>|99"], "original_filename": name, "company_name": "(unknown)",
            "file_version": "1.0", "sha256": _md5(depth) * 2,
            "server_added_timestamp": "2017-06-14T11:00:00.000Z", "last_seen": "2017-06-14T11:30:00.000Z",
            "is_executable_image": True, "os_type": "Windows", **signer,
        }  # fmt: skip


DEEP_GUID = guid_at(0)


def _cases() -> dict[str, Any]:
    lines = sample_path("alerts.jsonl").read_text("utf-8").splitlines()
    cases: dict[str, Any] = {f"sample {number}": json.loads(line) for number, line in enumerate(lines, 1)}
    cases["deep and hostile"] = {"process_guid": DEEP_GUID, "search_name": "<b>Deep</b> {{7*7}}"}
    cases["hash alone"] = {"md5": _md5(0)}
    cases["unknown hash"] = {"md5": "fe" * 16}
    cases["unknown guid"] = {"process_guid": UNKNOWN_GUID}
    cases["host, pid and time"] = {"host": "LAB<script>", "pid": "4096", "_time": "2017-06-14T11:10:00Z"}
    return cases


CASES: Mapping[str, Any] = _cases()
"""Name → alert."""


@dataclass(frozen=True)
class Edr:
    """The EDR stand-in, a process of its own over a store with the sample telemetry and the deep lineage."""

    url: str
    token: str
    store: Path

    @property
    def configuration(self) -> dict[str, str]:
        """As a platform is told of it."""
        return {"url": self.url, "api_key": self.token}


def cbsigned(*arguments: str, environ: Optional[Mapping[str, str]] = None, check: bool = True) -> str:
    """Return what the command line prints."""
    done = subprocess.run(
        [sys.executable, "-m", "cbsigned.cli", *arguments],
        env={**os.environ, **(environ or {})}, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert not check or done.returncode in (0, 1), done.stderr
    return done.stdout


@contextmanager
def running_edr(folder: Path, *options: str) -> Iterator[Edr]:
    """Start the stand-in on a free port.

    Args:
        folder: For its store; one that has it already keeps it.
        options: More of `cbsigned edr-server`, `--faults` for example.
    """
    store = folder / "golden.db"
    if not store.exists():
        documents = folder / "deep.jsonl"
        documents.write_text("".join(json.dumps(one) + "\n" for one in deep_documents()), "utf-8")
        cbsigned("store", "ingest", "--store", str(store), str(sample_path("telemetry")), str(documents))
    server = subprocess.Popen(
        [sys.executable, "-m", "cbsigned.cli", "edr-server", "--store", str(store), "--port", "0", *options],
        env={**os.environ, "CBSIGNED_SERVER_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert server.stderr is not None
    try:
        first = server.stderr.readline()
        assert "http://127.0.0.1:" in first, first + server.stderr.read()
        yield Edr(first.split("http://", 1)[1].split()[0].join(("http://", "")), TOKEN, store)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)


@lru_cache(maxsize=8)
def _all_expected(url: str, token: str) -> dict[str, Any]:
    environ = {"CBSIGNED_EDR_URL": url, "CBSIGNED_EDR_TOKEN": token, "CBSIGNED_CONFIG": os.devnull}
    lines = "".join(json.dumps(alert) + "\n" for alert in CASES.values())
    done = subprocess.run(
        [sys.executable, "-m", "cbsigned.cli", "enrich", "--output", "json", "-"],
        input=lines, env={**os.environ, **environ}, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    found = [json.loads(line)["enrichment"] for line in done.stdout.splitlines()]
    assert len(found) == len(CASES), done.stderr
    return dict(zip(CASES, found))


def expected(edr: Edr, name: str) -> Any:
    """Return what `cbsigned enrich` answers to a case, without what changes from one moment to the next."""
    return comparable(_all_expected(edr.url, edr.token)[name])


def comparable(value: Any) -> Any:
    """Return a row or a part of it without the card and what changes from one moment to the next."""
    if isinstance(value, dict):
        return {name: comparable(part) for name, part in value.items() if name not in _VOLATILE}
    return [comparable(part) for part in value] if isinstance(value, list) else value
