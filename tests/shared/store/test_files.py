"""What is told of each file: whole, cut off, empty, skipped, running, interrupted; counts over several runs."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cbsigned.store import commands, ledger, owner
from cbsigned.store.info import contents
from cbsigned.store.ingest import ingest
from shared.store.telemetry import Take, event, guid_of, load, rows, start, write_lines
from shared.store.test_commands import run
from support import PROJECT


def lines_of(count: int) -> bytes:
    """Return that many different loads as JSON lines."""
    return b"".join(json.dumps(load(at=1_600_000_000 + n)).encode() + b"\n" for n in range(count))


def told(store: Path, section: str = "files") -> dict[str, object]:
    """Return a section of what `store info` says."""
    return {str(row["name"]): row["value"] for row in contents(store) if row["section"] == section}


@pytest.fixture
def truncated(tmp_path: Path) -> Path:
    """The first half of a gzip file of 5,000 records."""
    whole = gzip.compress(lines_of(5000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_truncated_gz_is_cut_off_and_not_whole(tmp_path: Path, truncated: Path) -> None:
    """Seen: a truncated `.gz` was `whole`, with an exception's name and line 0, and the exit code 0."""
    code, (row,), errors = run("ingest", "--store", tmp_path / "lab.db", truncated)

    n = int(str(row["read"]))
    assert (code, row["cut_off"], row["malformed"]) == (1, 1, 0)
    assert n > 2000
    reason = f"cut off: the data end too early, the rest cannot be read, after {n:,} records"
    assert errors == f"{truncated}:{n + 1}: {reason}\n"
    assert told(tmp_path / "lab.db") == {str(truncated): f"cut off after {n:,} records"}
    assert told(tmp_path / "lab.db", "malformed") == {f"{truncated}:{n + 1}": reason}


def test_all_records_before_the_cut_are_taken_in(tmp_path: Path) -> None:
    data = lines_of(5000)
    whole = gzip.compress(data)
    (tmp_path / "a.gz").write_bytes(whole[:-9])  # the checksum alone is cut, and a byte of the end mark

    report = ingest(tmp_path / "lab.db", [tmp_path / "a.gz"])

    assert (report.read, report.cut_off) == (5000, 1)


def test_file_that_was_cut_off_is_whole_once_it_was_copied_again(tmp_path: Path, truncated: Path) -> None:
    ingest(tmp_path / "lab.db", [truncated])

    truncated.write_bytes(gzip.compress(lines_of(5000)))
    report = ingest(tmp_path / "lab.db", [truncated])

    assert (report.read, report.complete) == (5000, True)
    assert told(tmp_path / "lab.db") == {str(truncated): "whole, 5,000 records"}
    assert told(tmp_path / "lab.db", "malformed") == {}


def test_skipped_telemetry_is_told_by_file_and_reason(tmp_path: Path) -> None:
    """Seen: 8,143 documents of another product were skipped, and `store info` said `whole, 0 records`."""
    file = write_lines(tmp_path / "other.jsonl", [{"a": 1}, {"b": 2}, {"type": "ingress.event.teleport"}, load()])

    code, (row,), errors = run("ingest", "--store", tmp_path / "lab.db", file)

    assert (code, row["read"], row["skipped"]) == (0, 1, 3)
    assert errors.splitlines() == [
        f"{file}: 2 skipped: unrecognised document",
        f"{file}: 1 skipped: ingress.event.teleport",
    ]
    assert told(tmp_path / "lab.db") == {
        str(file): "whole, 1 record; 2 skipped: unrecognised document; 1 skipped: ingress.event.teleport"
    }


def test_files_that_hold_no_telemetry_are_counted_and_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    file = write_lines(folder / "a.jsonl", [load()])
    (folder / "LICENSE").write_text("Anyone may use this.\n")
    (folder / "README.md").write_text("[![build](x)](y)\n\n# Title\n\n{curly} prose\n")
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))

    code, (row,), errors = run("ingest", "--store", tmp_path / "lab.db", folder)

    assert (code, row["not_telemetry"], row["skipped"], row["malformed"]) == (0, 3, 0, 0)
    assert errors == "not telemetry: 3 files\n"
    assert told(tmp_path / "lab.db") == {str(file): "whole, 1 record", "not telemetry": "3 files"}


@pytest.mark.parametrize("data", [b"", b"\n \n", gzip.compress(b""), b"[]"], ids=["0 bytes", "blank", "gz", "[]"])
def test_empty_file_says_so(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(data)

    code, _, errors = run("ingest", "--store", tmp_path / "lab.db", file)

    assert (code, errors) == (0, f"{file}: empty, it holds nothing\n")
    assert told(tmp_path / "lab.db") == {str(file): "empty"}


def test_names_and_kinds_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a\x1b[2J.jsonl", [{"type": "x.\x1b]0;y\x07"}])

    _, _, errors = run("ingest", "--store", tmp_path / "lab.db", file)

    assert errors.replace("\n", "").isprintable()


def test_many_kinds_are_counted_together(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"type": f"made.up.k{n}"} for n in range(500)])

    report = ingest(tmp_path / "lab.db", [file])

    assert (len(report.skipped), sum(report.skipped.values())) == (101, 500)


# Several runs of one file.


def interrupted(at: str) -> Callable[[int, str], None]:
    """Return a progress that is interrupted like Ctrl-C when its note has a text."""

    def update(_done: int, note: str) -> None:
        if at in note:
            raise KeyboardInterrupt

    return update


def test_counts_add_up_over_an_interruption(tmp_path: Path) -> None:
    """Seen: `whole, 240000 records` of 500,000 after an ingest that was interrupted and completed."""
    store, file = tmp_path / "lab.db", tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{broken\n' + lines_of(1000) + b'{"a": 1}\n{broken\n')
    with pytest.raises(KeyboardInterrupt):
        ingest(store, [file], batch=100, progress=interrupted("498 events"))
    between = told(store)

    report = ingest(store, [file], batch=100)

    assert between == {str(file): "interrupted, 498 records so far; 1 malformed; 1 skipped: unrecognised document"}
    assert (report.resumed, report.read, report.malformed, report.malformed_before) == (500, 502, 1, 1)
    assert told(store) == {str(file): "whole, 1,000 records; 2 malformed; 2 skipped: unrecognised document"}
    assert rows(store, "SELECT read, new, malformed, skipped FROM ingested") == [(1000, 1000, 2, 2)]


def test_what_was_malformed_before_an_interruption_is_not_forgotten(tmp_path: Path) -> None:
    store, file = tmp_path / "lab.db", tmp_path / "a.jsonl"
    file.write_bytes(b"{broken\n" + lines_of(1000))
    with pytest.raises(KeyboardInterrupt):
        ingest(store, [file], batch=100, progress=interrupted("499 events"))

    code, _, errors = run("ingest", "--store", store, file)

    assert code == 1
    assert errors == "1 malformed or cut off in the part that was taken in before the interruption.\n"


def test_interruption_says_to_run_the_same_command_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "ingest", stop)
    code, output, errors = run("ingest", "--store", tmp_path / "lab.db", write_lines(tmp_path / "a.jsonl", [load()]))

    assert (code, output) == (130, [])
    assert "Run the same command again" in errors


def test_long_stretch_of_skipped_records_moves_on(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"a": n} for n in range(1000)])
    seen: list[int] = []

    ingest(tmp_path / "lab.db", [file], batch=100, progress=lambda done, _note: seen.append(done))

    assert len(seen) > 9


# Running or dead.

WAITING = """
import sys
from pathlib import Path
from cbsigned.store.ingest import ingest
def wait(_done, _note):
    print("committed", flush=True)
    sys.stdin.readline()
ingest(Path(sys.argv[1]), [Path(sys.argv[2])], batch=100, progress=wait)
"""


def test_running_ingest_is_told_from_a_dead_one(tmp_path: Path) -> None:
    store, file = tmp_path / "lab.db", tmp_path / "a.jsonl"
    file.write_bytes(lines_of(1000))
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(store), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "shared")},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        child.stdout.readline()

        running = told(store)
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
        dead = told(store)

    assert running == {str(file): "running, 100 records so far"}
    assert dead == {str(file): "interrupted, 100 records so far"}


def test_large_file_is_entered_before_its_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbsigned.store.ingest._LARGE", 1000)
    store, file = tmp_path / "lab.db", tmp_path / "a.jsonl"
    file.write_bytes(lines_of(100))
    seen: list[dict[str, object]] = []
    note = ledger.Ledger.note

    def watched(self: ledger.Ledger, *args: Any) -> None:
        note(self, *args)
        seen.append(dict(self._db.execute("SELECT path, owner != '' FROM ingested")))

    monkeypatch.setattr(ledger.Ledger, "note", watched)
    ingest(store, [file])

    assert seen == [{str(file): 1}, {str(file): 0}]


def test_this_process_is_running() -> None:
    assert owner.is_running(owner.mark(), 0, 10**15)


@pytest.mark.parametrize(
    ("mark", "silent_ms", "running"),
    [
        ("", 0, False),
        ("someone", 0, False),
        ("{pid} another-birth {system}", 0, False),
        ("{gone} 1 {system}", 0, False),
        ("{huge} 1 {system}", 0, False),
        ("1 1 another system", 59_000, True),
        ("1 1 another system", 61_000, False),
    ],
    ids=[
        "nobody",
        "no number",
        "number used again",
        "gone",
        "no such number",
        "elsewhere, lately",
        "elsewhere, long ago",
    ],
)
def test_mark_of_another_process(mark: str, silent_ms: int, running: bool) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=60)
    names = {"pid": os.getpid(), "gone": gone.pid, "huge": 2**70, "system": owner.mark().split(" ", 2)[2]}

    assert owner.is_running(mark.format(**names), 1_000_000, 1_000_000 + silent_ms) is running


# Processes.


def test_process_rows_add_up_to_the_known_ones(take: Take) -> None:
    """Seen: known 1579, with their start 938, only mentioned by others 133, and nothing on the rest."""
    hit = {"type": "watchlist.hit.process", "timestamp": 1.6e9, "docs": [{"id": guid_of(21), "process_name": "h.exe"}]}
    end = event("procend", 22, path="c:\\x.exe", command_line="")
    store, _ = take(start(20, parent=30), hit, end, load(23))

    processes = told(store, "processes")

    assert processes == {
        "known": 5, "with their start": 1, "described by a hit or document": 1, "with their end alone": 1,
        "only mentioned by others": 2,
    }  # fmt: skip
    assert sum(int(str(count)) for name, count in processes.items() if name != "known") == processes["known"]
