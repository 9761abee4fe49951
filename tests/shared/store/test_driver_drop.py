"""Two drivers that were dropped, loaded and deleted, followed end to end with the commands alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbsigned.samples import sample_path
from cbsigned.store.ingest import ingest
from cbsigned.store.process_command import process
from cbsigned.store.related_command import related
from cbsigned.store.search_command import search
from cbsigned.store.sweep_command import sweep_list
from cbsigned.timing import parse_time
from shared.store.asking import ask, ask_json
from support import real_data

PROCEXP152 = "ad03f225247b58a57584b40a4d1746d3"
PROCMON23 = "21bdf404d829667477160f3942f7159a"
HOST = "WIN-OTEMNUTBS23"
DRIVER = "c:\\windows\\system32\\drivers\\procexp152.sys"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the event forwarder's raw messages, in which procexp drops its driver."""
    store = tmp_path_factory.mktemp("real") / "cef.db"
    ingest(store, [real_data("cb-event-forwarder") / "raw_data.tar.gz"])
    return store


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("samples") / "sample.db"
    ingest(store, [sample_path("telemetry")])
    return store


def milliseconds_between(earlier: str, later: str) -> int:
    first, last = parse_time(earlier), parse_time(later)
    assert first is not None
    assert last is not None
    return round((last - first).total_seconds() * 1000)


def test_related_tells_where_the_real_driver_came_from_back_to_the_browser(real: Path) -> None:
    (found,) = ask_json(related, real, "related", PROCEXP152)

    way = [(step["file"], step["by"]["process"], step["how"], step["written_at"]) for step in found["origin"]]
    assert way == [
        ("procexp152.sys", "procexp64.exe", "hash", "2015-11-16T18:14:30.100Z"),
        ("procexp64.exe", "procexp.exe", "hash", "2015-11-16T18:14:28.788Z"),
        ("procexp.exe", "chrome.exe", "path", "2015-11-16T18:14:26.907Z"),
    ]
    assert [step["status"] for step in found["origin"]] == ["Unknown", "Signed", "Signed"]
    assert {step["host"] for step in found["origin"]} == {HOST}
    assert found["origin_ended"]["file"] == "chrome.exe"


def test_related_tells_who_deleted_the_real_driver_and_that_no_load_was_recorded(real: Path) -> None:
    (found,) = ask_json(related, real, "related", PROCEXP152)

    told = {name: [(row["process"], row["last"]) for row in part["rows"]] for name, part in found["relations"].items()}
    assert told == {
        "wrote": [("procexp64.exe", "2015-11-16T18:14:30.100Z")],
        "ran": [],
        "deleted": [("procexp64.exe", "2015-11-16T18:14:30.143Z")],
        "loaded": [],
    }


def test_each_dropped_program_ran_right_after_it_was_written(real: Path) -> None:
    (driver,) = ask_json(related, real, "related", PROCEXP152)
    for step in driver["origin"][1:]:
        (found,) = ask_json(related, real, "related", step["md5"])

        (run,) = found["relations"]["ran"]["rows"]

        assert (run["process"], run["host"]) == (step["file"], HOST)
        assert 0 < milliseconds_between(step["written_at"], run["last"]) < 2000


def test_process_shows_the_service_key_made_and_removed_42_ms_later_with_the_driver(real: Path) -> None:
    (driver,) = ask_json(related, real, "related", PROCEXP152)
    guid = driver["origin"][0]["by"]["guid"]

    (found,) = ask_json(process, real, "process", guid, "--kind", "filemod,regmod")

    lineage = [(node["name"], node["status"]) for node in found["lineage"]["nodes"]]
    assert lineage[:3] == [("procexp64.exe", "Signed"), ("procexp.exe", "Signed"), ("chrome.exe", "Signed")]
    key = {e["action"]: e["at"] for e in found["activity"]["events"] if e["what"].endswith("\\services\\procexp152")}
    assert milliseconds_between(key["created key"], key["deleted key"]) == 42
    file = [(e["action"], e["md5"], e["status"]) for e in found["activity"]["events"] if e["what"] == DRIVER]
    assert file == [
        ("created", None, None),
        ("wrote", None, None),
        ("finished writing", PROCEXP152, "Unknown"),
        ("deleted", None, None),
    ]


def test_sweep_finds_the_whole_drop_from_a_list(real: Path, tmp_path: Path) -> None:
    (driver,) = ask_json(related, real, "related", PROCEXP152)
    hashes = [step["md5"] for step in driver["origin"]]
    file = tmp_path / "iocs.txt"
    unknown = "0" * 31 + "1"
    file.write_text("\n".join([*hashes, "procexp152.sys", unknown]))

    rows = ask_json(sweep_list, real, "sweep", file)

    found = {(row["indicator"], row["relation"], row["process"]) for row in rows}
    assert {row["host"] for row in rows} == {HOST}
    assert {
        (PROCEXP152, "wrote", "procexp64.exe"),
        (hashes[1], "wrote", "procexp.exe"),
        (hashes[1], "ran", "procexp64.exe"),
        (hashes[2], "ran", "procexp.exe"),
        ("procexp152.sys", "deleted", "procexp64.exe"),
    } <= found
    assert unknown not in {row["indicator"] for row in rows}


def test_search_finds_who_writes_drivers(real: Path) -> None:
    rows = ask_json(search, real, "search", "process", "filemod:procexp152.sys")

    assert [(row["process_name"], row["status"]) for row in rows] == [("procexp64.exe", "Signed")]


def test_related_tells_where_the_sample_driver_came_from_and_that_system_loaded_it(samples: Path) -> None:
    (found,) = ask_json(related, samples, "related", PROCMON23)

    way = [(step["file"], step["by"]["process"]) for step in found["origin"]]
    assert way == [("procmon23.sys", "procmon64.exe"), ("procmon64.exe", "procmon.exe")]
    assert found["status"] == "Signed"
    told = {name: [row["process"] for row in part["rows"]] for name, part in found["relations"].items()}
    assert told == {"wrote": ["procmon64.exe"], "ran": [], "deleted": ["procmon64.exe"], "loaded": ["system"]}


def test_sysmon_driver_whose_write_names_no_hash_is_followed_by_path(tmp_path: Path) -> None:
    """npf.sys of attack-data: Sysmon's FileCreate has no hash, its DriverLoad has one."""
    ingest(tmp_path / "s.db", [real_data("attack-data")])

    (found,) = ask_json(related, tmp_path / "s.db", "related", "de7fcc77f4a503af4ca6a47d49b3713d")

    assert [(s["file"], s["by"]["process"], s["how"]) for s in found["origin"]] == [("npf.sys", "splunkd.exe", "path")]
    assert [row["process"] for row in found["relations"]["loaded"]["rows"]] == ["system"]
    assert found["status"] == "Signed"


@pytest.mark.parametrize("output", ["table", "csv", "markdown", "html"])
def test_the_answer_is_in_every_output(samples: Path, output: str) -> None:
    code, out, _ = ask(related, samples, "related", PROCMON23, "--output", output)

    assert code == 0
    assert all(name in out for name in ("procmon64.exe", "wrote", "loaded", "deleted"))
    assert PROCMON23 in out
