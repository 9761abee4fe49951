"""Several processes at once: one takes telemetry in, eight ask.

A *group* is what one batch writes: a parent, its children, and a module load of each. Whoever reads while it is
written must find all of a group or nothing of it. Every process waits for a lock at most `LOCK_S`; a longer wait is
an error, and any error fails the test.

Run as a script, this file is one of those processes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Union

import pytest

from cbsigned.lineage import lineages
from cbsigned.process import Process
from cbsigned.query import parse
from cbsigned.query.fields import Search
from cbsigned.store import database
from cbsigned.store.ingest import ingest
from cbsigned.store.search import search_processes
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline

LOCK_S = 1.0
CHILDREN = 20
RECORDS = 2 * (CHILDREN + 1)
"""Records of a group: starts and loads."""
FILE_GROUPS = 25
READERS = ("processes", "processes", "children", "children", "lineage", "search", "search", "reopen")
_BEGAN = 1_618_925_601
_MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"


def guid_of(group: int, member: int) -> str:
    """Return the guid of a process; member 0 is the parent."""
    return f"{1 + group % 50:08x}-0000-{4 + 4 * member:04x}-01d7-{group:012x}"


def records(group: int) -> Iterator[dict[str, Any]]:
    """Yield the events of a group."""
    base = {"cb_server": "cb", "computer_name": f"H{group % 50:02d}", "sensor_id": 1 + group % 50, "timestamp": _BEGAN}
    for member in range(CHILDREN + 1):
        common = {**base, "process_guid": guid_of(group, member), "pid": 4 + 4 * member, "md5": _MD5.upper()}
        yield {
            **common, "type": "ingress.event.procstart", "event_type": "proc", "path": "c:\\lab\\member.exe",
            "command_line": f"member.exe group{group} {member}",
            "parent_process_guid": guid_of(group, 0) if member else guid_of(10**9 + group, 0),
        }  # fmt: skip
        name = f"c:\\lab\\group{group}.dll"
        yield {**common, "type": "ingress.event.moduleload", "event_type": "modload", "path": name}


def write_groups(store: Path, seconds: float) -> int:
    """Take file after file in until the time is over, and return the number of groups."""
    end, group, file = time.monotonic() + seconds, 0, store.with_name("groups.jsonl")
    while time.monotonic() < end or not group:
        groups = range(group, group + FILE_GROUPS)
        file.write_text("".join(json.dumps(record) + "\n" for number in groups for record in records(number)))
        report = ingest(store, [file], batch=RECORDS)
        assert (report.new, report.malformed) == (FILE_GROUPS * RECORDS, 0)
        group = groups.stop
    return group


class Reader:
    """One of the eight: asks for one group after the other, and notes how far the writer has come.

    Args:
        store: Being written.
        role: How it asks.
    """

    def __init__(self, store: Path, role: str) -> None:
        self._store = store
        self._ask: Callable[[int], tuple[int, int]] = getattr(self, role)
        self._open: Union[StoreSource, sqlite3.Connection, None] = None
        if role != "reopen":
            self._open = database.open_reader(store) if role == "search" else StoreSource(store)
        self.group = self.answers = self.partial = 0

    def read(self, seconds: float) -> None:
        """Ask until the time is over; go on to the next group where this one is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found, whole = self._ask(self.group)
            self.answers += 1
            if found == whole:
                self.group += 1
            elif found:
                self.partial += 1
        if self._open is not None:
            self._open.close()

    def processes(self, group: int) -> tuple[int, int]:
        """Ask for all of a group by guid."""
        guids = [guid_of(group, member) for member in range(CHILDREN + 1)]
        assert isinstance(self._open, StoreSource)
        found = self._open.processes(guids, Deadline(LOCK_S))
        return sum(_recorded(answer) for answer in found.values()), len(guids)

    def children(self, group: int) -> tuple[int, int]:
        """Ask for the children of a group's parent."""
        assert isinstance(self._open, StoreSource)
        parent = guid_of(group, 0)
        answer = self._open.children([parent], 100, Deadline(LOCK_S))[parent]
        if isinstance(answer, Exception):
            raise answer
        assert len(answer.nodes) == answer.total
        return answer.total, CHILDREN

    def lineage(self, group: int) -> tuple[int, int]:
        """Ask where all the children came from."""
        assert isinstance(self._open, StoreSource)
        guids = [guid_of(group, member) for member in range(1, CHILDREN + 1)]
        found = lineages(self._open, guids, Deadline(LOCK_S), max_depth=1)
        parent = guid_of(group, 0)
        return sum([node.process.guid for node in chain.nodes[1:]] == [parent] for chain in found.values()), CHILDREN

    def search(self, group: int) -> tuple[int, int]:
        """Search for a group by the library that all of it loads."""
        assert isinstance(self._open, sqlite3.Connection)
        page = search_processes(self._open, parse(f"modload:group{group}.dll", Search.PROCESS), rows=3)
        assert not page.incomplete
        return page.total, CHILDREN + 1

    def reopen(self, group: int) -> tuple[int, int]:
        """Search for a word of its command lines, through a connection of its own."""
        with closing(database.open_reader(self._store)) as db:
            page = search_processes(db, parse(f"cmdline:group{group}", Search.PROCESS), rows=50)
        assert len(page.documents) == page.total
        return page.total, CHILDREN + 1


def _recorded(answer: object) -> bool:
    if isinstance(answer, Process):
        assert answer.start_recorded
        return True
    return False


def main(role: str, store: Path, seconds: float) -> None:
    """Be one process of the test, and print what came of it."""
    database.BUSY_TIMEOUT_S = LOCK_S
    if role == "ingest":
        print(json.dumps({"groups": write_groups(store, seconds)}))
        return
    reader = Reader(store, role)
    reader.read(seconds)
    print(json.dumps({"groups": reader.group, "answers": reader.answers, "partial": reader.partial}))


def started(role: str, store: Path, seconds: float) -> subprocess.Popen[str]:
    """Start one process of the test."""
    path = os.pathsep.join([str(Path(database.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", __file__, role, str(store), str(seconds)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def outcomes(running: list[subprocess.Popen[str]], limit_s: float) -> list[dict[str, int]]:
    """Return what each process printed; fail with the first error."""
    try:
        texts = [process.communicate(timeout=limit_s) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert [err[-3000:] for _out, err in texts] == [""] * len(running)
    return [json.loads(out) for out, _err in texts]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Return a store that readers can open."""
    (tmp_path / "begun.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records(10**6)))
    ingest(tmp_path / "lab.db", [tmp_path / "begun.jsonl"])
    return tmp_path / "lab.db"


@pytest.mark.parametrize("seconds", [10, pytest.param(300, marks=pytest.mark.nightly)])
def test_eight_readers_see_whole_batches_while_one_writes_and_nobody_waits_long(begun: Path, seconds: int) -> None:
    running = [started(role, begun, seconds) for role in ("ingest", *READERS)]

    written, *read = outcomes(running, seconds + 60)

    assert [reader["partial"] for reader in read] == [0] * len(READERS)
    assert all(0 < reader["groups"] <= written["groups"] for reader in read)
    assert written["groups"] >= seconds  # it was not held up either


def test_a_reader_that_meets_half_a_batch_is_told_apart(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: a store that was given half a group must not pass for one with whole batches."""
    half = begun.with_name("half.jsonl")
    half.write_text("".join(json.dumps(record) + "\n" for record in list(records(0))[: RECORDS // 2]))
    ingest(begun, [half])

    readers = [Reader(begun, role) for role in sorted(set(READERS))]
    for reader in readers:
        once(reader.read, monkeypatch)

    assert [(reader.group, reader.partial) for reader in readers] == [(0, 1)] * len(readers)


def once(read: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reader ask a single time."""
    moments = iter([0.0, 0.0])
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__].time, "monotonic", lambda: next(moments, 10.0))
        read(5.0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
