"""Histories to back-fill: generated rows in each format, what must come out, and the program as a process."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import duckdb

from edr_server import EdrServer

PROGRAM = str(Path(sys.executable).parent / "cbsigned")
STATUSES = ("Signed", "Unsigned", "Expired", "Bad Signature", "Explicit Distrust")
Row = dict[str, Any]


def md5(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def binaries(count: int) -> list[Row]:
    """Return binary documents as the EDR sends them; the status follows from the number."""
    return [
        {
            "md5": md5(n).upper(),
            "digsig_result": STATUSES[n % len(STATUSES)],
            "digsig_publisher": f"Publisher {n % 7}",
            "server_added_timestamp": "2020-01-01T00:00:00Z",
        }
        for n in range(count)
    ]


def events(count: int, distinct: int) -> list[Row]:
    """Return rows that name `distinct` files, the low numbers far more often, in both spellings; every 17th none."""
    rows = []
    for n in range(count):
        number = n if n < distinct else (n * n) % 1009 % distinct
        name = md5(number) if n % 3 else md5(number).upper()
        rows.append(
            {"event": str(n), "md5": "" if n % 17 == 16 and n >= distinct else name, "note": f'a,"b" é {n % 5}'}
        )
    return rows


def expected_statuses(rows: Sequence[Row], known: int) -> Counter[tuple[str, str]]:
    """Return how often each (event, status) must come out."""
    told = {md5(n): STATUSES[n % len(STATUSES)] for n in range(known)}
    return Counter((row["event"], told.get(row["md5"].lower(), "Unknown")) for row in rows)


def statuses(rows: Sequence[Row]) -> Counter[tuple[str, str]]:
    return Counter((str(row["event"]), row["cbsigned_status"]) for row in rows)


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.name.replace(".gz", "")
    if text.endswith(".parquet"):
        lines = path.with_suffix(".lines")
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        columns = ", ".join(f"{name}: 'VARCHAR'" for name in rows[0])
        duckdb.execute(
            f"COPY (FROM read_json('{lines}', format='newline_delimited', columns={{{columns}}})) TO '{path}'"
        )
        lines.unlink()
        return path
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as stream:
        if text.endswith(".csv"):
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def read(out: Path) -> list[Row]:
    """Return the rows of all parts, whichever engine wrote them."""
    found: list[Row] = []
    for path in sorted(p for p in out.rglob("*") if p.is_file() and "_cbsigned" not in p.parts):
        if ".parquet" in path.name and path.name[0] not in "._":
            table = duckdb.execute(f"FROM read_parquet('{path}')")
            names = [column[0] for column in table.description or ()]
            found += [dict(zip(names, row)) for row in table.fetchall()]
        elif path.name[0] not in "._":
            opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", newline="") as stream:
                found += list(csv.DictReader(stream)) if ".csv" in path.name else [json.loads(line) for line in stream]
    return found


def environment(server: Optional[EdrServer], more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CBSIGNED_")}
    edr = {"CBSIGNED_EDR_URL": server.url, "CBSIGNED_EDR_TOKEN": server.token} if server else {}
    return {**kept, "XDG_CONFIG_HOME": "/nowhere", "CBSIGNED_EDR_RETRIES": "0", **edr, **more}


def backfill(
    *args: object, server: Optional[EdrServer] = None, program: str = PROGRAM, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `cbsigned backfill` to its end."""
    return subprocess.run(
        [program, "backfill", "--rate", "1000", *map(str, args)], capture_output=True, text=True, timeout=300,
        check=False, env=environment(server, more),
    )  # fmt: skip


def summary(done: subprocess.CompletedProcess[str]) -> Row:
    found: Row = json.loads(done.stdout)
    return found


def killed_when(there: Callable[[], bool], *args: object, server: Optional[EdrServer] = None) -> None:
    """Run `cbsigned backfill` and end it with kill -9 as soon as something is there; it must not have ended before."""
    with subprocess.Popen(
        [PROGRAM, "backfill", *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment(server, {}),
    ) as child:  # fmt: skip
        while not there():
            assert child.poll() is None, child.stderr and child.stderr.read()
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
