"""The command line, used as a person and a pipe use it: the installed program, in a process of its own."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional

import pytest

from cbsigned.samples import sample_path
from edr_server import EdrServer

PROGRAM = str(Path(sys.executable).parent / "cbsigned")
PROCMON64 = "b0a3ecc9eaa2521ddea2fc067785b84e"
UNSIGNED_GIT = "3d485deffe2f74d0c15f1cb23086f936"


def run(*args: str, stdin: Optional[str] = None, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CBSIGNED_")}
    return subprocess.run(
        [PROGRAM, *args], input=stdin, capture_output=True, text=True, timeout=120, check=False,
        env={**kept, "XDG_CONFIG_HOME": "/nowhere", **environ},
    )  # fmt: skip


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("store") / "sample.db")
    done = run("store", "ingest", "--store", path, str(sample_path("telemetry")))
    assert done.returncode == 0, done.stderr
    return path


def test_a_bundle_of_the_forwarder_is_taken_apart(store: str) -> None:
    hits = [{"type": "alert.watchlist.hit.query.binary", "md5": md5, "unique_id": md5} for md5 in ("A" * 32, "B" * 32)]
    bundle = json.dumps({"filename": "x", "service": "carbonblack", "alerts": hits})

    done = run("enrich", "--store", store, "-", stdin=bundle)

    assert [line["alert"] for line in lines(done)] == hits


def test_signed_answers_one_json_line_a_hash_with_md5_status_and_reason(store: str) -> None:
    done = run("signed", "--store", store, PROCMON64.upper(), UNSIGNED_GIT, "f" * 32)

    assert [(row["md5"], row["status"]) for row in lines(done)] == [
        (PROCMON64, "Signed"),
        (UNSIGNED_GIT, "Unsigned"),
        ("f" * 32, "Unknown"),
    ]
    assert all(row["reason"] for row in lines(done))
    assert done.returncode == 0


def test_signed_reads_hashes_from_a_pipe_and_a_bad_one_fails_no_other(store: str) -> None:
    done = run("signed", "-", stdin=f"{PROCMON64}\nnot-a-hash\n", CBSIGNED_STORE=store)

    assert [row["status"] for row in lines(done)] == ["Signed", "Unknown"]
    assert '"not-a-hash" is neither' in lines(done)[1]["reason"]
    assert done.returncode == 1


def test_enrich_gives_every_alert_back_unchanged_and_in_order(store: str) -> None:
    sent = [json.loads(line) for line in sample_path("alerts.jsonl").read_text(encoding="utf-8").splitlines()]

    done = run("enrich", "--store", store, str(sample_path("alerts.jsonl")))

    assert [row["alert"] for row in lines(done)] == sent
    assert all(row["enrichment"]["status"] and row["enrichment"]["reason"] for row in lines(done))


def test_every_kind_of_answer_is_in_the_samples(store: str) -> None:
    done = run("enrich", "--store", store, str(sample_path("alerts.jsonl")))

    found = {
        node["status"]
        for row in lines(done)
        for subject in row["enrichment"]["subjects"]
        for node in [subject, *((subject["lineage"] or {}).get("nodes", []))]
    }
    ends = {s["lineage"]["ended_by"] for row in lines(done) for s in row["enrichment"]["subjects"] if s["lineage"]}
    assert found == {
        "Signed", "Unsigned", "Expired", "Bad Signature", "Invalid Signature", "Invalid Chain", "Untrusted Root",
        "Explicit Distrust", "Unknown",
    }  # fmt: skip
    assert {"root", "loop", "reused pid", "parent unknown to the sensor"} <= ends


def test_a_line_that_is_no_json_comes_out_with_its_place(store: str, tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_text(f'{{"md5": "{PROCMON64}"}}\n{{"md5": \n{{"md5": "{UNSIGNED_GIT}"}}\n')

    done = run("enrich", "--store", store, str(file))

    assert [row["enrichment"]["status"] for row in lines(done)] == ["Signed", "Unknown", "Unsigned"]
    assert "alerts.jsonl" in lines(done)[1]["enrichment"]["gaps"][0]["reason"]
    assert "line 2" in lines(done)[1]["enrichment"]["gaps"][0]["reason"]
    assert done.returncode == 1


def test_lineage_has_md5_status_and_reason_on_every_node(store: str) -> None:
    alerts = run("enrich", "--store", store, str(sample_path("alerts.jsonl")))
    guid = next(
        s["lineage"]["nodes"][0]["guid"]
        for row in lines(alerts)
        for s in row["enrichment"]["subjects"]
        if s["md5"] == PROCMON64 and s["lineage"]
    )

    (found,) = lines(run("lineage", "--store", store, f"{guid}-00000001", "--relatives", "5"))

    assert [node["name"] for node in found["nodes"][:3]] == ["procmon64.exe", "procmon.exe", "explorer.exe"]
    assert all(node["reason"] and node["status"] and "md5" in node for node in found["nodes"])
    assert found["children"]["total"] >= 0


@pytest.mark.parametrize("output", ["table", "json", "markdown", "html", "csv"])
@pytest.mark.parametrize("command", ["enrich", "signed", "lineage"])
def test_every_command_prints_every_output(store: str, command: str, output: str) -> None:
    what = {
        "enrich": str(sample_path("alerts.jsonl")),
        "signed": UNSIGNED_GIT,
        "lineage": "00000009-0000-082c-01d1-7f392625197c",
    }

    done = run(command, "--store", store, "--output", output, what[command])

    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


def test_a_report_is_a_page_of_its_own(store: str, tmp_path: Path) -> None:
    page = tmp_path / "r.html"

    run("enrich", "--store", store, str(sample_path("alerts.jsonl")), "--report", str(page))

    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") > 5
    assert "<script" not in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_nothing_to_ask_says_what_to_set() -> None:
    done = run("signed", PROCMON64)

    assert done.returncode == 2
    assert "--store PATH" in done.stderr
    assert "CBSIGNED_EDR_URL" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["signed", "--store", "/nowhere/x.db", PROCMON64], {2, 3}, "/nowhere/x.db"),
        (["enrich", "--store", "STORE", "/nowhere/alerts.jsonl"], {2}, "/nowhere/alerts.jsonl"),
        (["lineage", "--store", "STORE", "abc"], {2}, '"abc" is no process guid'),
        (["signed", "--store", "STORE", "--deadline", "0", PROCMON64], {2}, "deadline_s"),
        (["enrich", "--store", "STORE", "--report", "/nowhere/r.html", "ALERTS"], {2}, "/nowhere/r.html"),
        (["signed", "--config", "/nowhere/c.ini", PROCMON64], {2}, "/nowhere/c.ini"),
    ],
    ids=["no store", "no file", "no guid", "bad option", "report folder", "no config"],
)
def test_a_users_mistake_is_one_line_without_a_traceback(
    store: str, args: list[str], code: set[int], told: str
) -> None:
    places = {"STORE": store, "ALERTS": str(sample_path("alerts.jsonl"))}

    done = run(*[places.get(arg, arg) for arg in args])

    assert done.returncode in code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"no database" * 1000)

    done = run("signed", "--store", str(path), PROCMON64)

    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr


def test_config_check_masks_the_token_and_says_what_is_wrong() -> None:
    token = "0123456789abcdef0123456789abcdef01234567"

    done = run(
        "config", "check", "--output", "table", "-vv",
        CBSIGNED_EDR_URL="https://127.0.0.1:9", CBSIGNED_EDR_TOKEN=token, CBSIGNED_DEADLINE_S="2",
        CBSIGNED_EDR_RETRIES="0",
    )  # fmt: skip

    assert done.returncode == 3
    assert "environment, CBSIGNED_EDR_TOKEN" in done.stdout
    assert token not in done.stdout + done.stderr
    assert "127.0.0.1:9" in done.stderr


def test_config_check_of_a_store_says_ready(store: str) -> None:
    done = run("config", "check", "--store", store)

    assert (done.returncode, "ready" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    "command", [[], ["enrich"], ["signed"], ["lineage"], ["store", "ingest"], ["config"], ["samples"]], ids=str
)
def test_help_has_examples(command: list[str]) -> None:
    done = run(*command, "--help")

    assert done.returncode == 0
    assert ("exit codes" if not command else "examples:") in done.stdout


def test_a_reader_that_stops_early_is_no_error(store: str) -> None:
    command = f"{PROGRAM} enrich --store {store} {sample_path('alerts.jsonl')} | head -n 1"

    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)

    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_on_a_terminal_the_default_is_a_table(store: str) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, "signed", "--store", store, UNSIGNED_GIT], stdout=follower, stderr=follower,
        env={**os.environ, "TERM": "xterm"},
    ) as child:  # fmt: skip
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
        child.wait(30)
    os.close(leader)

    assert b"STATUS" in text
    assert b"Unsigned" in text


def test_ctrl_c_during_ingest_leaves_a_store_that_opens(tmp_path: Path) -> None:
    event = {
        "type": "ingress.event.regmod", "process_guid": "00000001-0000-045c-01d1-6cc57f918a60", "action": "writeval",
        "actiontype": 2, "computer_name": "A", "sensor_id": 1, "pid": 1116,
    }  # fmt: skip
    big = tmp_path / "big.jsonl"
    with open(big, "w") as stream:
        stream.writelines(
            json.dumps({**event, "path": f"\\r\\{n}", "timestamp": 1458100000 + n}) + "\n" for n in range(400_000)
        )
    path = str(tmp_path / "s.db")
    with subprocess.Popen(
        [PROGRAM, "store", "ingest", "--store", path, str(big)], stderr=subprocess.PIPE, text=True
    ) as child:
        until = time.monotonic() + 30
        while not Path(path).exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        _out, err = child.communicate(timeout=60)

    assert child.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert run("store", "info", "--store", path).returncode == 0


def test_a_server_that_cannot_be_reached_is_told_in_full_and_ends_with_3(tmp_path: Path) -> None:
    done = run(
        "signed", PROCMON64, "--output", "table", COLUMNS="60", CBSIGNED_EDR_URL="https://127.0.0.1:9",
        CBSIGNED_EDR_TOKEN="0" * 39 + "1", CBSIGNED_EDR_RETRIES="0",
    )  # fmt: skip

    assert done.returncode == 3
    assert "Unknown" in done.stdout
    assert "127.0.0.1:9 refused the connection" in done.stderr


def test_answers_over_http_are_the_stores_and_come_from_the_cache_the_second_time(store: str, tmp_path: Path) -> None:
    documents = json.loads(sample_path("telemetry/binaries.json").read_text(encoding="utf-8"))["results"]
    with EdrServer(documents) as server:
        environ = {
            "CBSIGNED_EDR_URL": server.url, "CBSIGNED_EDR_TOKEN": server.token,
            "CBSIGNED_CACHE_FILE": str(tmp_path / "cache.db"),
        }  # fmt: skip
        first = run("signed", PROCMON64, UNSIGNED_GIT, **environ)
        asked = len(server.requests)
        second = run("signed", PROCMON64, UNSIGNED_GIT, **environ)
        assert len(server.requests) == asked > 0

    there = [(row["status"], row["publisher"]) for row in lines(first)]
    assert there == [
        (r["status"], r["publisher"]) for r in lines(run("signed", "--store", store, PROCMON64, UNSIGNED_GIT))
    ]
    assert [row["evidence"]["read_at"] for row in lines(first)] == [row["evidence"]["read_at"] for row in lines(second)]
    assert server.token not in first.stdout + first.stderr + second.stdout + second.stderr


def test_a_window_of_one_answers_each_alert_as_it_comes(store: str) -> None:
    command = [PROGRAM, "enrich", "--store", store, "--window", "1", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for md5, status in ((PROCMON64, "Signed"), (UNSIGNED_GIT, "Unsigned")):
            child.stdin.write(json.dumps({"md5": md5}) + "\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["enrichment"]["status"] == status
        child.stdin.close()

    assert child.returncode == 0


def test_a_store_that_is_named_goes_before_a_server(store: str) -> None:
    environ = {"CBSIGNED_EDR_URL": "https://127.0.0.1:9", "CBSIGNED_EDR_TOKEN": "0" * 39 + "1", "CBSIGNED_STORE": store}

    done = run("signed", PROCMON64, **environ)
    checked = run("config", "check", "--output", "csv", **environ)

    assert lines(done)[0]["status"] == "Signed"
    assert f"cbsigned,store,{store}" in checked.stdout
    assert "environment, CBSIGNED_STORE" in checked.stdout


def test_signed_answers_every_line_of_its_input(store: str) -> None:
    sha1, upper = "a" * 40, PROCMON64.upper()

    done = run("signed", "--store", store, PROCMON64, upper, PROCMON64, sha1, "0" * 32)

    assert [(row["asked"], row["status"]) for row in lines(done)[:3]] == [
        (PROCMON64, "Signed"), (upper, "Signed"), (PROCMON64, "Signed"),
    ]  # fmt: skip
    assert [row["cause"] for row in lines(done)[3:]] == ["unsearchable", "bad observable"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("name", "content", "alerts"),
    [
        (
            "latin.csv",
            b"md5,user\n" + PROCMON64.encode() + b",J\xfcrgen\n",
            [{"md5": PROCMON64, "user": "J\u00fcrgen"}],
        ),
        ("more.csv", f"md5,a\n{PROCMON64},1,2\n".encode(), [{"md5": PROCMON64, "a": "1", "_more": ["2"]}]),
        ("empty.csv", f"md5,a\n{PROCMON64},\n".encode(), [{"md5": PROCMON64, "a": ""}]),
        ("semicolon.csv", f"md5;a\n{PROCMON64};1\n".encode(), [{"md5": PROCMON64, "a": "1"}]),
        ("utf16.csv", f"md5,a\n{PROCMON64},1\n".encode("utf-16"), [{"md5": PROCMON64, "a": "1"}]),
        ("results.json", json.dumps({"results": [{"md5": PROCMON64}]}).encode(), [{"md5": PROCMON64}]),
        (
            "half.jsonl",
            b'{"md5": "' + PROCMON64.encode() + b'", "x": "\\ud800"}\n',
            [{"md5": PROCMON64, "x": "\ud800"}],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_exports_of_all_kinds_come_out_as_they_went_in(
    store: str, tmp_path: Path, name: str, content: bytes, alerts: list[dict[str, Any]]
) -> None:
    (tmp_path / name).write_bytes(content)

    done = run("enrich", "--store", store, str(tmp_path / name))

    assert [row["alert"] for row in lines(done)] == alerts
    assert lines(done)[0]["enrichment"]["status"] == "Signed"


@pytest.mark.parametrize("damage", ["cut", "broken"])
def test_a_damaged_gz_gives_what_came_before_and_says_so(store: str, tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(b"".join(json.dumps({"md5": PROCMON64, "n": n}).encode() + b"\n" for n in range(50_000)))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2] + (b"" if damage == "cut" else b"\x00" * 99))

    done = run("enrich", "--store", store, str(path))

    assert len(lines(done)) > 100
    assert "cut off or damaged" in done.stderr or "cannot be read" in done.stderr
    assert done.returncode == 1


def test_a_report_never_writes_over_its_input_or_the_store(store: str, tmp_path: Path) -> None:
    alerts = tmp_path / "a.jsonl"
    alerts.write_text(json.dumps({"md5": PROCMON64}) + "\n")

    done = [run("enrich", "--store", store, str(alerts), "--report", name) for name in (str(alerts), store)]

    assert [d.returncode for d in done] == [2, 2]
    assert PROCMON64 in alerts.read_text()
    assert run("signed", "--store", store, PROCMON64).returncode == 0


def test_a_report_on_a_full_disk_leaves_the_old_one(store: str, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    page.write_text("the old one")
    limited = (
        f"ulimit -f 8; exec {PROGRAM} enrich --store {store} --report {page} {sample_path('alerts.jsonl')} >/dev/null"
    )

    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode != 0
    assert page.read_text() == "the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_lineage_by_a_link_of_the_console(store: str) -> None:
    guid = "00000009-0000-082c-01d1-7f392625197c"

    done = run("lineage", "--store", store, f"https://cbserver/#analyze/{guid}/1")

    assert lines(done)[0]["nodes"][0]["guid"] == guid


@pytest.mark.parametrize("output", ["json", "csv", "table", "markdown", "html"])
def test_no_output_carries_commands_to_a_terminal(tmp_path: Path, output: str) -> None:
    publisher = "\x1b]0;owned\x07\x9b2J\u202eevil"
    with EdrServer([{"md5": PROCMON64.upper(), "digsig_result": "Signed", "digsig_publisher": publisher}]) as server:
        environ = {"CBSIGNED_EDR_URL": server.url, "CBSIGNED_EDR_TOKEN": server.token, "PYTHONIOENCODING": "utf-8"}
        done = run("signed", PROCMON64, "--output", output, **environ)

    assert "Signed" in done.stdout
    assert not set("\x1b\x07\x9b\u202e") & set(done.stdout)
    if output == "json":
        assert lines(done)[0]["publisher"] == publisher


def test_a_time_at_the_end_of_the_calendar_ends_no_run(store: str) -> None:
    """.NET writes 0001-01-01 for no time; the search window around it overflowed."""
    alerts = [{"host": "h", "pid": 5, "start_time": t} for t in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:57Z")]

    done = run("enrich", "--store", store, "-", stdin="".join(json.dumps(a) + "\n" for a in alerts))

    assert [row["alert"] for row in lines(done)] == alerts
