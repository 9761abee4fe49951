"""Sweeping: batches, what is found by which kind of indicator, and going on after an interruption."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cbsigned.errors import ConfigError
from cbsigned.store.indicators import Indicator, Kind
from cbsigned.store.ingest import ingest
from cbsigned.store.reading import reading
from cbsigned.store.sweep import Answer, matching_domains, sweep
from cbsigned.store.sweep_command import sweep_list
from cbsigned.store.sweep_state import SweepState
from cbsigned.timing import Deadline
from shared.store.asking import ask, ask_json
from shared.store.telemetry import AT, MD5, Take, event, guid_of, load, start, write_lines

PROGRAM = str(Path(sys.executable).parent / "cbsigned")
WRITTEN = "0123456789abcdef0123456789abcdef"
SHA256 = "ef" * 32


@pytest.fixture
def store(take: Take) -> Path:
    made, _ = take(
        start(100, md5=MD5.upper(), path="c:\\tools\\Run.exe"),
        load(100, "c:\\tools\\helper.dll", md5="AA" * 16),
        event("filemod", 100, AT + 1, event_type="filemod", action="lastwrite", path="c:\\Drivers\\x.sys",
              file_md5=WRITTEN.upper()),
        event("filemod", 100, AT + 2, event_type="filemod", action="delete", path="c:\\drivers\\X.sys"),
        *(
            event("netconn", 100, AT + 3 + n, event_type="netconn", direction="outbound", protocol=6, domain=domain,
                  remote_ip=ip, remote_port=443, local_ip="10.0.0.1", local_port=50000 + n)
            for n, (domain, ip) in enumerate([
                ("cdn.Evil.example", "192.0.2.1"), ("notevil.example", "192.0.2.2"), ("", "2001:db8::1"),
            ])
        ),
    )  # fmt: skip
    return made


def found(store: Path, kind: Kind, *values: str) -> set[tuple[str, str, str | None]]:
    with reading(store) as db:
        domains = matching_domains(db, values, Deadline(10)) if kind is Kind.DOMAIN else None
        answers = sweep(db, kind, values, Deadline(10), domains=domains)
    assert set(answers) == set(values)
    return {(value, row["relation"], row["what"]) for value, answer in answers.items() for row in answer.rows}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.MD5, MD5, {("ran", "c:\\tools\\Run.exe")}),
        (Kind.MD5, "aa" * 16, {("loaded", "c:\\tools\\helper.dll")}),
        (Kind.MD5, WRITTEN, {("wrote", "c:\\Drivers\\x.sys")}),
        (Kind.NAME, "run.exe", {("ran", "c:\\tools\\Run.exe")}),
        (Kind.NAME, "helper.dll", {("loaded", "c:\\tools\\helper.dll")}),
        (Kind.NAME, "x.sys", {("wrote", "c:\\Drivers\\x.sys"), ("deleted", "c:\\drivers\\X.sys")}),
        (Kind.PATH, "c:\\drivers\\x.sys", {("wrote", "c:\\Drivers\\x.sys"), ("deleted", "c:\\drivers\\X.sys")}),
        (Kind.PATH, "c:/tools/run.exe", {("ran", "c:\\tools\\Run.exe")}),
        (Kind.PATH, "c:\\other\\x.sys", set()),
        (Kind.IP, "192.0.2.1", {("connected", None)}),
        (Kind.IP, "2001:db8::1", {("connected", None)}),
        (Kind.IP, "192.0.2.9", set()),
        (Kind.DOMAIN, "evil.example", {("connected", "cdn.Evil.example")}),
        (Kind.DOMAIN, "cdn.evil.example", {("connected", "cdn.Evil.example")}),
        (Kind.DOMAIN, "vil.example", set()),
    ],
)
def test_each_kind_finds_what_it_names(
    store: Path, kind: Kind, value: str, expected: set[tuple[str, str | None]]
) -> None:
    assert found(store, kind, value) == {(value, *row) for row in expected}


def test_host_that_had_a_file_and_no_process_with_it_is_told(take: Take) -> None:
    store, _ = take({"md5": MD5.upper(), "hostname": "LAB-WS-09", "sensor_id": 9, "scores": {}, "timestamp": AT},
                    folder="binaryinfo.host.observed")  # fmt: skip

    with reading(store) as db:
        (row,) = sweep(db, Kind.MD5, [MD5], Deadline(10))[MD5].rows

    assert (row["relation"], row["host"], row["process"]) == ("seen", "LAB-WS-09", None)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_batch_asks_no_more_than_a_single_indicator(store: Path, kind: Kind) -> None:
    values = {
        Kind.MD5: [MD5, "aa" * 16, WRITTEN, *(f"{n:032x}" for n in range(1, 300))],
        Kind.SHA256: [f"{n:064x}" for n in range(1, 300)],
        Kind.IP: ["192.0.2.1", "2001:db8::1", *(f"198.51.100.{n}" for n in range(256))],
        Kind.DOMAIN: ["evil.example", *(f"n{n}.example" for n in range(300))],
        Kind.NAME: ["run.exe", "x.sys", "helper.dll", *(f"{n}.exe" for n in range(300))],
        Kind.PATH: ["c:\\tools\\run.exe", "c:\\drivers\\x.sys", *(f"c:\\{n}.exe" for n in range(300))],
    }[kind]

    def asked(batch: list[str]) -> int:
        statements: list[str] = []
        with reading(store) as db:
            db.set_trace_callback(statements.append)
            domains = matching_domains(db, batch, Deadline(10)) if kind is Kind.DOMAIN else None
            sweep(db, kind, batch, Deadline(10), domains=domains)
            db.set_trace_callback(None)
        return len(statements)

    assert asked(values) <= 12
    assert asked(values) <= asked(values[:1]) + 6


def test_rows_of_an_indicator_are_the_newest_and_the_rest_is_told(take: Take, tmp_path: Path) -> None:
    store, _ = take(*(start(1000 + n, md5=MD5.upper(), timestamp=AT + n) for n in range(20)))
    (tmp_path / "iocs.txt").write_text(MD5)

    code, out, err = ask(sweep_list, store, "sweep", tmp_path / "iocs.txt", "--rows", 3)

    assert (code, len(out.splitlines())) == (0, 3)
    assert "the newest 3 of 20" in err


def test_exit_code_is_1_and_the_reason_is_said_where_an_indicator_cannot_be_asked_for(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "iocs.txt").write_text(f"{MD5}\n{'cd' * 20}\n<nothing>\n")

    code, out, err = ask(sweep_list, store, "sweep", tmp_path / "iocs.txt")

    assert code == 1
    assert json.loads(out.splitlines()[0])["indicator"] == MD5
    assert "1 SHA-1" in err
    assert "iocs.txt:3" in err


def test_all_shows_what_was_not_found(store: Path) -> None:
    code, out, _ = ask(sweep_list, store, "sweep", "-", "--all", stdin=b"192.0.2.9\n192.0.2.1\n")

    assert code == 0
    assert [(row["indicator"], row["relation"]) for row in map(json.loads, out.splitlines())] == [
        ("192.0.2.9", "not found"),
        ("192.0.2.1", "connected"),
    ]


def test_rows_carry_the_status_of_file_and_process(store: Path, tmp_path: Path) -> None:
    (tmp_path / "iocs.txt").write_text(WRITTEN)

    (row,) = ask_json(sweep_list, store, "sweep", tmp_path / "iocs.txt")

    assert (row["status"], row["file_status"], row["md5"]) == ("Unknown", "Unknown", MD5)
    assert row["reason"]
    assert row["guid"] == guid_of(100)


def test_process_without_a_hash_is_unknown_and_says_why(take: Take, tmp_path: Path) -> None:
    nameless = start(100, path="c:\\tools\\run.exe")
    del nameless["md5"]
    store, _ = take(nameless)
    (tmp_path / "iocs.txt").write_text("run.exe")

    (row,) = ask_json(sweep_list, store, "sweep", tmp_path / "iocs.txt")

    assert (row["status"], row["md5"]) == ("Unknown", None)
    assert "No hash of its image" in row["reason"]


@pytest.mark.parametrize("moment", [0.35, 0.5, 0.8])
def test_interrupted_sweep_exits_130_and_leaves_a_state_that_goes_on(
    store: Path, tmp_path: Path, moment: float
) -> None:
    file, state = tmp_path / "iocs.txt", tmp_path / "sweep.state"
    file.write_text("\n".join(f"{n:032x}" for n in range(1, 200_000)))
    command = [PROGRAM, "sweep", str(file), "--store", str(store), "--state", str(state)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and _answered(state) < 400 * moment * 10:
        time.sleep(0.005)

    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "Traceback" not in told
    with SweepState(state, {"store": str(store.absolute()), "rows": "100"}) as kept:
        assert len(kept.missing([Indicator(Kind.MD5, f"{n:032x}") for n in range(1, 401)])) == 0


def test_nothing_is_answered_where_the_time_is_too_short_and_that_is_said(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iocs.txt").write_text(f"{MD5}\nevil.example\n")
    state = tmp_path / "sweep.state"
    monkeypatch.setattr("cbsigned.store.sweep_command.SHARE", 0.0)

    code, out, err = ask(sweep_list, store, "sweep", tmp_path / "iocs.txt", "--state", state)

    assert (code, out) == (3, "")
    assert "1 indicators of kind md5 are not answered" in err
    with SweepState(state, {"store": str(store.absolute()), "rows": "100"}) as kept:
        assert len(kept.missing([Indicator(Kind.MD5, MD5), Indicator(Kind.DOMAIN, "evil.example")])) == 2


def test_answers_are_kept_by_the_batch_and_asked_once(store: Path, tmp_path: Path) -> None:
    file, state = tmp_path / "iocs.txt", tmp_path / "sweep.state"
    file.write_text(f"{MD5}\n{WRITTEN}\n")
    first = ask_json(sweep_list, store, "sweep", file, "--state", state)
    ingest(store, [write_lines(tmp_path / "more.jsonl", [start(555, md5=MD5.upper())])])

    code, out, _ = ask(sweep_list, store, "sweep", file, "--state", state)

    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == first


def test_new_indicators_on_a_grown_store_are_asked_and_the_others_named_as_older(store: Path, tmp_path: Path) -> None:
    file, state = tmp_path / "iocs.txt", tmp_path / "sweep.state"
    file.write_text(MD5)
    ask_json(sweep_list, store, "sweep", file, "--state", state)
    ingest(store, [write_lines(tmp_path / "more.jsonl", [start(555, md5=MD5.upper())])])
    file.write_text(f"{MD5}\n{WRITTEN}\n")

    _, out, err = ask(sweep_list, store, "sweep", file, "--state", state)

    assert {json.loads(line)["indicator"] for line in out.splitlines()} == {MD5, WRITTEN}
    assert "taken in more" in err


def test_state_of_another_store_is_refused(tmp_path: Path) -> None:
    SweepState(tmp_path / "s", {"store": "a.db"}).close()

    with pytest.raises(ConfigError, match=r"a\.db"):
        SweepState(tmp_path / "s", {"store": "b.db"})


@pytest.mark.parametrize("data", [b"not a database at all, but long enough to be looked at" * 40])
def test_state_that_is_something_else_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s").write_bytes(data)

    with pytest.raises(ConfigError, match="no state"):
        SweepState(tmp_path / "s", {})

    assert (tmp_path / "s").read_bytes() == data


def test_store_is_never_taken_for_a_state(store: Path) -> None:
    before = store.read_bytes()

    with pytest.raises(ConfigError):
        SweepState(store, {})

    assert store.read_bytes() == before


def test_killed_sweep_goes_on_and_ends_with_what_one_run_gives(store: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    lines = [f"{n:032x}" for n in range(1, 30_000)] + [MD5, WRITTEN]
    chance.shuffle(lines)
    file, state = tmp_path / "iocs.txt", tmp_path / "sweep.state"
    file.write_text("\n".join(lines))
    command = [PROGRAM, "sweep", str(file), "--store", str(store), "--output", "json"]
    answered, kills = 0, 0
    while kills < 5:
        running = subprocess.Popen([*command, "--state", str(state)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wanted = answered + chance.randrange(1, 8) * 400
        while running.poll() is None and _answered(state) < wanted:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        now = _answered(state)
        assert now >= answered
        answered, kills = now, kills + 1

    ended = subprocess.run([*command, "--state", str(state)], capture_output=True, text=True, check=False)

    whole = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answered > 0
    assert ended.returncode == whole.returncode == 0, ended.stderr
    assert _rows(ended.stdout) == _rows(whole.stdout)
    assert len(_rows(whole.stdout)) == 2
    assert _answered(state) == len(lines)


def _answered(state: Path) -> int:
    import sqlite3

    if not state.exists():
        return 0
    db = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT count(*) FROM answered").fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        db.close()


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_answer_in_memory_is_the_same_as_in_a_file(tmp_path: Path) -> None:
    one = Indicator(Kind.NAME, "a.exe")
    for path in (None, tmp_path / "s"):
        with SweepState(path, {}) as state:
            state.put({one: Answer([{"relation": "ran"}], 5)}, "7")

            assert state.missing([one, Indicator(Kind.PATH, "a.exe")]) == [Indicator(Kind.PATH, "a.exe")]
            assert state.get(one) == Answer([{"relation": "ran"}], 5)
            assert state.extent == "7"
