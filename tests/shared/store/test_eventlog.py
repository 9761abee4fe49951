"""Windows event log files: read where the package is, named where it is not, damage said."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.store.eventlog import EVTX_MAGIC, EventLogError, records_of
from cbsigned.store.ingest import ingest
from support import real_data

NAME = "DE_timestomp_and_dll_sideloading_and_RunPersist.evtx"


@pytest.fixture(scope="module")
def log() -> bytes:
    return (real_data("evtx-attack-samples") / NAME).read_bytes()


def read(data: bytes) -> list[object]:
    """Return the records of a log, or what is wrong with them."""
    return list(records_of(io.BytesIO(data), len(data)))


def test_a_log_inside_an_archive_is_read_without_unpacking_it(tmp_path: Path, log: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.writestr("sub/renamed.bin", log)

    report = ingest(tmp_path / "lab.db", [tmp_path / "logs.zip"])

    assert (report.read + sum(report.skipped.values()), report.malformed) == (23, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.db", "logs.zip"]


def test_without_the_package_the_extra_is_named_and_other_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "evtx", None)
    (tmp_path / "in").mkdir()
    shutil.copy(real_data("evtx-attack-samples") / NAME, tmp_path / "in" / "a.evtx")
    (tmp_path / "in" / "b.json").write_text('{"type": "ingress.event.tamper", "timestamp": 1618925601}')

    report = ingest(tmp_path / "lab.db", [tmp_path / "in"])

    assert (report.new, report.malformed) == (1, 1)
    assert "pip install 'cbsigned[evtx]'" in report.problems[0]


def test_a_log_that_is_cut_off_says_so(log: bytes) -> None:
    found = read(log[:60_000])

    assert isinstance(found[-1], EventLogError)
    assert "cut off" in str(found[-1])


@pytest.mark.parametrize("data", [EVTX_MAGIC, EVTX_MAGIC + bytes(120), EVTX_MAGIC + bytes(range(256)) * 300])
def test_a_file_that_only_begins_like_a_log_is_an_error(data: bytes) -> None:
    assert [type(item) for item in read(data)][:1] == [EventLogError]


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 69_000), junk=st.binary(min_size=1, max_size=200))
def test_damage_gives_records_or_errors_and_ends(at: int, junk: bytes) -> None:
    whole = (real_data("evtx-attack-samples") / NAME).read_bytes()

    found = read(whole[:at] + junk + whole[at + len(junk) :])

    assert all(isinstance(item, (dict, EventLogError)) for item in found)
    assert len(found) <= 1_100
