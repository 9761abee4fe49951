"""The packaged command against the same one written with splunklib: every cell is equal, or the SDK's defect is named.

Where the two differ, bytes in = bytes out decides (reference §3). The list of defects that show here:

- it decodes with `errors="replace"`: bytes that are not UTF-8 come back as U+FFFD;
- a NUL in a chunk ends the search before Python 3.11, because its csv module refuses the line;
- a field that the first record of a chunk lacks is dropped from all its records, so the oracle sets every field in all.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.splunk.conftest import TOKEN
from connectors.splunk.hostile import binaries, md5_of, tables
from edr_server import EdrServer
from splunkd import sdk_command
from splunkd.command import CommandFailed
from splunkd.frames import Cell, Table, parse_frame, read_table
from splunkd.instance import Splunkd
from splunkd.search import Conduct, Event, Outcome
from support import real_data

FILES = 50
CONDUCTS = {"merged": Conduct(), "all fields": Conduct(selects=False)}


@pytest.fixture(scope="module")
def splunkd(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splunkd]:
    folder = tmp_path_factory.mktemp("oracle")
    with EdrServer(binaries=binaries(FILES), token=TOKEN) as edr, Splunkd(folder, app) as splunkd:
        splunkd.configure(TOKEN, edr={"url": edr.url})
        shutil.copy(sdk_command.__file__, splunkd.app / "bin" / "sdk_cbsigned.py")
        yield splunkd


def both(splunkd: Splunkd, chunks: list[Table], conduct: Conduct) -> tuple[Outcome, Outcome]:
    user = splunkd.user("analyst", roles=("cbsigned_user",))
    ours = splunkd.search("cbsigned", user=user, chunks=chunks, conduct=conduct)
    script = splunkd.app / "bin" / "sdk_cbsigned.py"
    theirs = splunkd.search("cbsigned", user=user, chunks=chunks, conduct=conduct, script=script)
    for event in (*ours.events, *theirs.events):
        event.pop(b"cbsigned_age_s", None)  # the one cell that time changes
    return ours, theirs


def decoded(event: Event) -> Event:
    """Return an event as one that was decoded with errors="replace"."""
    return {name: _replaced(cell) for name, cell in event.items()}


def _replaced(cell: Cell) -> Cell:
    if isinstance(cell, tuple):
        return tuple(value.decode("utf-8", "replace").encode() for value in cell)
    return cell.decode("utf-8", "replace").encode()


def without_nul(table: Table) -> Table:
    rows = [tuple(cell.replace(b"\0", b"") if isinstance(cell, bytes) else cell for cell in row) for row in table.rows]
    return replace(table, rows=rows)


@pytest.mark.parametrize("conduct", CONDUCTS.values(), ids=CONDUCTS)
@pytest.mark.parametrize("seed", [11, 12])
def test_hostile_events_agree_cell_by_cell(splunkd: Splunkd, conduct: Conduct, seed: int) -> None:
    chunks = [without_nul(table) for table in tables(2_000, FILES, [1, 100, 700], seed)]

    ours, theirs = both(splunkd, chunks, conduct)

    assert len(ours.events) == 2_000
    assert [decoded(event) for event in ours.events] == [decoded(event) for event in theirs.events]
    assert ours.events != theirs.events  # their events have lost the bytes that are not UTF-8


@pytest.mark.parametrize("conduct", CONDUCTS.values(), ids=CONDUCTS)
@pytest.mark.parametrize("name", ["splunk-6.3/countmatches.in", "splunk-8.2.1/events.in"])
def test_recorded_events_agree_cell_by_cell(splunkd: Splunkd, conduct: Conduct, name: str) -> None:
    data, bodies, at = (real_data("splunk-recordings") / name).read_bytes(), [], 0
    while at < len(data):
        _, body, at = parse_frame(data, at)
        bodies += [body] if body else []
    recorded = [read_table(body) for body in bodies]
    chunks = [
        Table((*t.names, b"md5"), [(*row, md5_of(n % FILES).encode()) for n, row in enumerate(t.rows)])
        for t in recorded
    ]

    ours, theirs = both(splunkd, chunks, conduct)

    assert ours.events == theirs.events
    assert {b"Signed", b"Unsigned", b"Unknown"} & {event[b"cbsigned_status"] for event in ours.events}


def test_a_nul_ends_the_search_of_the_sdk_alone(splunkd: Splunkd) -> None:
    chunks = [Table((b"md5", b"_raw"), [(md5_of(1).encode(), b"a\0b")])]
    user = splunkd.user("analyst", roles=("cbsigned_user",))
    everything = Conduct(selects=False)

    ours = splunkd.search("cbsigned", user=user, chunks=chunks, conduct=everything)

    assert ours.events[0][b"_raw"] == b"a\0b"
    if sys.version_info < (3, 11):
        script = splunkd.app / "bin" / "sdk_cbsigned.py"
        with pytest.raises(CommandFailed, match="before the events had ended"):
            splunkd.search("cbsigned", user=user, chunks=chunks, conduct=everything, script=script)
