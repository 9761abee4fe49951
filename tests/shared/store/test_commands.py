"""`cbsigned store …` as it is typed."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from cbsigned.cli import Context
from cbsigned.errors import ConfigError
from cbsigned.store.commands import store
from cbsigned.store.ingest import ingest
from shared.store.telemetry import load, start, write_lines


def run(*argv: object, environ: dict[str, str] | None = None) -> tuple[int, list[dict[str, object]], str]:
    """Run a command and return its exit code, its JSON lines and its standard error."""
    parser = argparse.ArgumentParser(prog="cbsigned")
    store(parser.add_subparsers())
    args = parser.parse_args(["store", *map(str, argv)])
    out, err = io.StringIO(), io.StringIO()
    code = args.run(args, Context(args, out, err, environ or {}))
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = write_lines(tmp_path / "in.jsonl", [start(), load(), load()])
    path.write_text(path.read_text() + "{broken\n")
    return path


def test_ingest_says_what_came_of_it(tmp_path: Path, file: Path) -> None:
    code, rows, errors = run("ingest", "--store", tmp_path / "lab.db", file)

    assert code == 1
    assert [{k: row[k] for k in ("read", "new", "duplicate", "malformed")} for row in rows] == [
        {"read": 3, "new": 2, "duplicate": 1, "malformed": 1}
    ]
    assert f"malformed: {file}:4: no JSON" in errors


def test_ingest_of_what_is_whole_exits_0(tmp_path: Path) -> None:
    code, _, errors = run("ingest", "--store", tmp_path / "lab.db", write_lines(tmp_path / "in.jsonl", [load()]))

    assert (code, errors) == (0, "")


def test_many_malformed_lines_are_counted_and_not_all_shown(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("{broken\n" * 30)

    _, rows, errors = run("ingest", "--store", tmp_path / "lab.db", file)

    assert rows[0]["malformed"] == 30
    assert errors.count("malformed: ") == 20
    assert "… 10 more" in errors


def test_store_is_named_by_the_environment(tmp_path: Path, file: Path) -> None:
    run("ingest", file, environ={"CBSIGNED_STORE": str(tmp_path / "lab.db")})

    assert (tmp_path / "lab.db").is_file()


def test_info_tells_counts_hosts_files_and_malformed_lines_with_their_place(tmp_path: Path, file: Path) -> None:
    ingest(tmp_path / "lab.db", [file])

    _, rows, _ = run("info", "--store", tmp_path / "lab.db")

    told = {(row["section"], row["name"]): row["value"] for row in rows}
    assert told[("events", "ingress.event.moduleload")] == 1
    assert told[("processes", "with their start")] == 1
    assert told[("hosts", "LAB-WS-07")] == "2 processes"
    assert told[("files", str(file))] == "whole, 3 records; 1 malformed"
    assert str(told[("malformed", f"{file}:4")]).startswith("no JSON")
    assert told[("store", "first event")] == "2021-04-20T13:33:21Z"
    assert told[("binaries", "no record")] == 1


def test_info_cuts_long_lists_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("{broken\n" * 30)
    ingest(tmp_path / "lab.db", [file])

    _, rows, _ = run("info", "--most", "5", "--store", tmp_path / "lab.db")

    assert [row["name"] for row in rows if row["section"] == "malformed"][-1] == "… 25 more"


def test_vacuum_gives_space_back(tmp_path: Path) -> None:
    import sqlite3

    lines = write_lines(tmp_path / "in.jsonl", [load(path=f"c:\\{n}" * 20, at=1_600_000_000 + n) for n in range(3000)])
    ingest(tmp_path / "lab.db", [lines])
    db = sqlite3.connect(tmp_path / "lab.db")
    db.execute("DELETE FROM path")
    db.commit()
    db.close()

    code, rows, _ = run("vacuum", "--store", tmp_path / "lab.db")

    assert code == 0
    assert int(str(rows[0]["bytes_after"])) < int(str(rows[0]["bytes_before"])) // 2


@pytest.mark.parametrize("command", ["info", "vacuum"])
def test_store_that_is_not_there_is_not_made(tmp_path: Path, command: str) -> None:
    with pytest.raises(ConfigError, match="There is no store"):
        run(command, "--store", tmp_path / "lab.db")

    assert list(tmp_path.iterdir()) == []


def test_store_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run()

    assert code == 2
    assert "examples:" in capsys.readouterr().out
