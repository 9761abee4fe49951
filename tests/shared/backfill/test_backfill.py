"""`cbsigned backfill` on one machine: rows in, the same rows with signing columns out, each once."""

from __future__ import annotations

import json
import math
import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from cbsigned.samples import sample_path
from edr_server import EdrServer, Fault
from shared.backfill.history import (
    PROGRAM,
    backfill,
    binaries,
    environment,
    events,
    expected_statuses,
    killed_when,
    md5,
    read,
    statuses,
    summary,
    write,
)  # fmt: skip

FORMATS = ("parquet", "ndjson", "csv", "ndjson.gz", "csv.gz")
NEW = ["status", "signed", "publisher", "issuer", "sign_time", "why", "source", "certainty"]
LINEAGE = ["lineage", "lineage_depth", "lineage_root", "lineage_root_guid", "lineage_ended", "lineage_why"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_row_comes_back_once_with_the_status_of_its_hash(tmp_path: Path, suffix: str) -> None:
    rows = events(3_000, 700)
    for number in range(3):
        write(tmp_path / "in" / f"{number}.{suffix}", rows[number::3])

    with EdrServer(binaries(600)) as server:
        done = backfill(tmp_path / "in", tmp_path / "out", server=server)

        assert done.returncode == 0, done.stderr
        assert server.counts["binary"] == math.ceil(700 / 200)
    found = read(tmp_path / "out")
    assert statuses(found) == expected_statuses(rows, 600)
    given = [{name: row[name] for name in ("event", "md5", "note")} for row in found]
    assert sorted(given, key=lambda row: int(row["event"])) == rows
    assert list(found[0])[3:] == [f"cbsigned_{name}" for name in NEW]
    signed = next(row for row in found if row["cbsigned_status"] == "Signed")
    assert (str(signed["cbsigned_signed"]).lower(), signed["cbsigned_certainty"]) == ("true", "stated")
    assert signed["cbsigned_publisher"].startswith("Publisher ")
    assert signed["cbsigned_source"].startswith("edr:127.0.0.1")
    assert summary(done)["events"] == 3_000


@pytest.mark.parametrize("suffix", ["parquet", "ndjson", "csv"])
def test_a_value_that_cannot_be_asked_for_says_why(tmp_path: Path, suffix: str) -> None:
    values = ["", "0" * 32, "a" * 40, "no hash", "d41d8cd9", f"MD5={md5(1)},SHA256=zz"]
    write(tmp_path / f"in.{suffix}", [{"event": str(n), "md5": value, "note": "x"} for n, value in enumerate(values)])

    with EdrServer(binaries(5)) as server:
        done = backfill(tmp_path / f"in.{suffix}", tmp_path / "out", server=server)

    assert done.returncode == 0, done.stderr
    why = {row["event"]: row["cbsigned_why"] for row in read(tmp_path / "out")}
    assert why["0"] == "The event has no hash, so nothing was looked up."
    assert "all zeros" in why["1"]
    assert "SHA-1" in why["2"]
    assert "neither an MD5" in why["3"]
    assert "neither an MD5" in why["4"]
    assert {row["event"]: row["cbsigned_status"] for row in read(tmp_path / "out")}["5"] == "Unsigned"


def test_lines_that_are_no_json_objects_are_kept_and_say_so(tmp_path: Path) -> None:
    good = '{"md5": "' + md5(0) + '", "deep": {"a": [1, "}"]}}'
    (tmp_path / "in.ndjson").write_text(f'{good}\n\nnot json\n{{}}\n  {{"a" : 1}} \r\n[1]\n{good} {good}\n')

    with EdrServer(binaries(1)) as server:
        done = backfill(tmp_path / "in.ndjson", tmp_path / "out", server=server)

    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out")
    bad = {row["cbsigned_line"]: row["cbsigned_why"] for row in found if "cbsigned_line" in row}
    assert set(bad) == {"not json", "[1]", f"{good} {good}"}
    assert set(bad.values()) == {"The line is not a JSON object, so nothing was looked up."}
    kept = [{k: v for k, v in row.items() if not k.startswith("cbsigned_")} for row in found]
    assert Counter(map(json.dumps, kept)) == Counter([json.dumps(json.loads(good)), json.dumps({"a": 1}), *["{}"] * 4])
    assert Counter(row["cbsigned_status"] for row in found) == {"Signed": 1, "Unknown": 5}


def test_rows_with_a_process_guid_get_its_lineage_and_where_they_have_no_hash_its_image(tmp_path: Path) -> None:
    telemetry = [
        json.loads(sample_path(f"telemetry/{n}.json").read_text())["results"] for n in ("binaries", "processes")
    ]
    guid = "00000008-0000-03b4-01d2-e4d7cb3f7574"
    rows = [
        {"event": "by guid", "md5": "", "process_guid": guid.upper()},
        {"event": "nothing", "md5": "", "process_guid": ""},
        {"event": "no guid", "md5": "", "process_guid": "17"},
        {"event": "foreign", "md5": "", "process_guid": "{AD4B5C3E-1111-2222-3333-444455556666}"},
    ]
    write(tmp_path / "in.parquet", rows)

    with EdrServer(*telemetry) as server:
        done = backfill(tmp_path / "in.parquet", tmp_path / "out", server=server)
        bare = backfill("--no-lineage", tmp_path / "in.parquet", tmp_path / "bare", server=server)

    assert (done.returncode, bare.returncode) == (0, 0), done.stderr + bare.stderr
    found = {row["event"]: row for row in read(tmp_path / "out")}
    assert list(found["nothing"])[3:] == [f"cbsigned_{name}" for name in NEW + LINEAGE]
    line = found["by guid"]
    assert line["cbsigned_lineage"] == "svchost.exe (Signed) <- services.exe (Unknown)"
    assert (line["cbsigned_lineage_root"], line["cbsigned_lineage_depth"]) == ("services.exe", 1)
    assert line["cbsigned_lineage_root_guid"] == "00000008-0000-0234-01d2-e4d7acfb0a34"
    assert line["cbsigned_lineage_ended"] == "not found"
    assert line["cbsigned_status"] == "Signed"
    assert line["cbsigned_publisher"] == "Microsoft Windows"
    assert found["nothing"]["cbsigned_lineage_why"] == "The event has no process guid."
    assert "neither a hash nor a process guid" in found["nothing"]["cbsigned_why"]
    assert "no process guid: expected 36 characters" in found["no guid"]["cbsigned_lineage_why"]
    assert "another product's" in found["foreign"]["cbsigned_lineage_why"]
    assert {row["cbsigned_status"] for row in read(tmp_path / "bare")} == {"Unknown"}
    assert "cbsigned_lineage" not in read(tmp_path / "bare")[0]


def test_a_plan_asks_nothing_and_counts_what_is_cached(tmp_path: Path) -> None:
    write(tmp_path / "in.csv", events(2_000, 700))
    write(tmp_path / "few.csv", events(300, 300))
    cache = {"CBSIGNED_CACHE_FILE": str(tmp_path / "cache")}

    with EdrServer(binaries(700)) as server:
        before = backfill("--plan", "--rate", "2", tmp_path / "in.csv", tmp_path / "out", server=server, **cache)
        assert server.requests == []
        assert backfill(tmp_path / "few.csv", tmp_path / "few", server=server, **cache).returncode == 0
        asked = len(server.requests)
        after = backfill("--plan", "--rate", "2", tmp_path / "in.csv", tmp_path / "out", server=server, **cache)
        assert len(server.requests) == asked

    assert before.returncode == 0, before.stderr
    plan = summary(before)
    assert (plan["events"], plan["distinct_hashes"], plan["hashes_to_ask"]) == (2_000, 700, 700)
    assert (plan["requests_at_least"], plan["seconds_at_least"]) == (4, 2)
    assert summary(after)["hashes_to_ask"] == 400
    assert not list((tmp_path / "out").glob("part-*"))


def test_a_budget_asks_for_the_most_frequent_and_the_next_run_for_the_rest(tmp_path: Path) -> None:
    rows = events(4_000, 500)
    often = Counter(row["md5"].lower() for row in rows if row["md5"])
    write(tmp_path / "in.parquet", rows)

    with EdrServer(binaries(500)) as server:
        first = backfill("--budget", "1", tmp_path / "in.parquet", tmp_path / "out", server=server)
        found = read(tmp_path / "out")
        second = backfill(tmp_path / "in.parquet", tmp_path / "out", server=server)

        assert server.counts["binary"] == 3
    assert first.returncode == 1
    assert "the budget of 1 requests was spent" in first.stderr
    answered = {row["md5"].lower() for row in found if row["md5"] and row["cbsigned_status"] != "Unknown"}
    assert len(answered) == 200
    assert min(often[h] for h in answered) >= max(often[h] for h in set(often) - answered)
    assert len(found) == 4_000
    assert summary(first)["open_rows"] == sum(often[h] for h in set(often) - answered)
    assert second.returncode == 0, second.stderr
    assert statuses(read(tmp_path / "out")) == expected_statuses(rows, 500)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(Fault(status=502), "502", id="down"),
        pytest.param(Fault(body=b"<html>Please sign in"), "HTML", id="proxy page"),
        pytest.param(Fault(status=401), "token", id="refused"),
    ],
)
def test_a_failing_edr_drops_no_row_and_is_asked_again(tmp_path: Path, fault: Fault, reason: str) -> None:
    rows = events(1_000, 300)
    write(tmp_path / "in.ndjson", rows)
    cache = {"CBSIGNED_CACHE_FILE": str(tmp_path / "cache")}

    with EdrServer(binaries(300)) as server:
        server.fail("binary", fault)
        first = backfill(tmp_path / "in.ndjson", tmp_path / "out", server=server, **cache)
        found = read(tmp_path / "out")
        server.heal()
        second = backfill(tmp_path / "in.ndjson", tmp_path / "out", server=server, **cache)
        kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())

    assert first.returncode == 3
    assert len(found) == 1_000
    assert {row["cbsigned_status"] for row in found} == {"Unknown"}
    assert all(reason in row["cbsigned_why"] for row in found if row["md5"])
    assert second.returncode == 0, second.stderr
    assert statuses(read(tmp_path / "out")) == expected_statuses(rows, 300)
    assert server.token.encode() not in kept
    assert server.token not in first.stdout + first.stderr + second.stdout + second.stderr


def test_an_edr_that_keeps_failing_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "in.csv", events(5_000, 4_000))

    with EdrServer(binaries(1)) as server:
        server.fail("binary", Fault(status=500))
        done = backfill(tmp_path / "in.csv", tmp_path / "out", server=server, CBSIGNED_EDR_PARALLEL="1")

        assert server.counts["binary"] <= 6
    assert done.returncode == 3
    assert "5 times in a row" in done.stderr
    assert len(read(tmp_path / "out")) == 5_000


def test_killed_while_looking_up_it_goes_on_and_asks_only_what_was_under_way(tmp_path: Path) -> None:
    rows = events(9_000, 6_500)
    source = write(tmp_path / "in.parquet", rows)
    out = tmp_path / "out"

    with EdrServer(binaries(6_500), latency_s=0.02) as server:
        answers = out / "_cbsigned" / "answers"
        killed_when(lambda: (answers / "hash-0000002.ndjson").exists(), "--rate", "100", source, out, server=server)
        done = backfill(source, out, server=server)
        asked = server.counts["binary"]

    assert done.returncode == 0, done.stderr
    assert statuses(read(out)) == expected_statuses(rows, 6_500)
    assert math.ceil(6_500 / 200) <= asked <= math.ceil(6_500 / 200) + 10


def test_killed_while_writing_it_goes_on_and_every_row_is_there_once(tmp_path: Path) -> None:
    rows = events(20_000, 300)
    for number in range(40):
        write(tmp_path / "in" / f"{number}.csv", rows[number::40])
    out = tmp_path / "out"

    with EdrServer(binaries(300)) as server:
        done_parts = out / "_cbsigned" / "done"
        killed_when(lambda: (done_parts / "part-00010.json").exists(), tmp_path / "in", out, server=server)
        written = {p.name: p.stat().st_mtime_ns for p in out.glob("part-*") if (done_parts / f"{p.stem}.json").exists()}
        done = backfill(tmp_path / "in", out, server=server)
        after = {name: (out / name).stat().st_mtime_ns for name in written}
        again = backfill(tmp_path / "in", out, server=server)

        assert server.counts["binary"] == 2
    assert done.returncode == 0, done.stderr
    assert 10 < len(written) < 40
    assert after == written
    assert statuses(read(out)) == expected_statuses(rows, 300)
    assert summary(again)["looked_up"] == 0
    assert len(list(out.glob("part-*"))) == 40


def test_one_output_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", events(2_000, 1_000))

    with EdrServer(binaries(10), latency_s=0.05) as server:
        command = [PROGRAM, "backfill", "--rate", "0.1", str(source), str(tmp_path / "out")]
        with subprocess.Popen(command, env=environment(server, {}), stderr=subprocess.DEVNULL) as first:
            while not server.requests:
                assert first.poll() is None
            second = backfill(source, tmp_path / "out", server=server)
            first.kill()

    assert second.returncode == 2
    assert "Another back-fill is writing into" in second.stderr


def test_what_was_begun_is_gone_on_with_the_same_command_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", events(100, 10))

    with EdrServer(binaries(10)) as server:
        assert backfill(source, tmp_path / "out", server=server).returncode == 0
        prefix = backfill("--prefix", "x_", source, tmp_path / "out", server=server)
        write(source, events(101, 10))
        changed = backfill(source, tmp_path / "out", server=server)
        other = backfill(source, tmp_path, server=server)

    assert (prefix.returncode, changed.returncode, other.returncode) == (2, 2, 2)
    assert "begun with other prefix." in prefix.stderr
    assert "begun with other input." in changed.stderr
    assert "within the other" in other.stderr


def test_cells_of_csv_are_no_formulas_and_bytes_of_a_publisher_break_nothing(tmp_path: Path) -> None:
    names = ["=HYPERLINK(1)", 'a"b,c', "half \ud800 pair", "nul \x00 x", "line\nend"]
    documents = [{**doc, "digsig_publisher": name} for doc, name in zip(binaries(5), names)]
    rows = events(50, 5)
    with EdrServer(documents) as server:
        for suffix in ("csv", "ndjson", "parquet"):
            done = backfill(write(tmp_path / f"in.{suffix}", rows), tmp_path / suffix, server=server)
            assert done.returncode == 0, done.stderr

    assert statuses(read(tmp_path / "csv")) == expected_statuses(rows, 5)
    assert statuses(read(tmp_path / "ndjson")) == expected_statuses(rows, 5)
    assert statuses(read(tmp_path / "parquet")) == expected_statuses(rows, 5)
    assert "'=HYPERLINK(1)" in {row["cbsigned_publisher"] for row in read(tmp_path / "csv")}
    assert "=HYPERLINK(1)" in {row["cbsigned_publisher"] for row in read(tmp_path / "ndjson")}


def test_nested_fields_and_several_hash_columns_are_read(tmp_path: Path) -> None:
    nested = tmp_path / "ecs.ndjson"
    nested.write_text(json.dumps({"process": {"hash": {"md5": md5(1)}, "x": 1}}) + "\n")
    struct = tmp_path / "struct.parquet"
    duckdb.execute(f"COPY (SELECT {{'image': {{'sum': '{md5(2)}'}}}} AS p) TO '{struct}'")
    both = write(tmp_path / "both.csv", [{"SHA256": "", "MD5": md5(3)}, {"SHA256": "f" * 64, "MD5": "junk"}])

    with EdrServer(binaries(5)) as server:
        results = [
            backfill(nested, tmp_path / "a", server=server),
            backfill("--hash", "p.image.sum", struct, tmp_path / "b", server=server),
            backfill(both, tmp_path / "c", server=server),
        ]

    assert [done.returncode for done in results] == [0, 0, 0], [done.stderr for done in results]
    assert [row["cbsigned_status"] for row in read(tmp_path / "a")] == ["Unsigned"]
    assert [row["cbsigned_status"] for row in read(tmp_path / "b")] == ["Expired"]
    assert {row["MD5"]: row["cbsigned_why"] for row in read(tmp_path / "c")}["junk"].startswith("No binary record of f")


def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", events(5_000, 3_000))

    with EdrServer(binaries(10), latency_s=0.1) as server:
        master, slave = pty.openpty()
        command = [PROGRAM, "backfill", "--rate", "1000", str(source), str(tmp_path / "out")]
        with subprocess.Popen(command, env=environment(server, {}), stderr=slave, stdout=subprocess.PIPE) as child:
            os.close(slave)
            seen = b""
            while True:
                try:
                    data = os.read(master, 4096)
                except OSError:  # the terminal is closed at the other end
                    break
                if not data:
                    break
                seen += data
            assert child.wait(60) == 0
        os.close(master)

    assert b"looked up" in seen


def test_without_duckdb_the_extra_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", events(10, 5))
    script = "import sys; sys.modules['duckdb'] = None; from cbsigned.cli import main; sys.exit(main(sys.argv[1:]))"

    with EdrServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", script, "backfill", str(source), str(tmp_path / "out")], capture_output=True,
            text=True, check=False, env=environment(server, {}),
        )  # fmt: skip

    assert done.returncode == 2
    assert "pip install 'cbsigned[duckdb]'" in done.stderr
