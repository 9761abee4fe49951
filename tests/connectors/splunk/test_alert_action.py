"""The alert action as splunkd runs it: gzip results in, events over TLS out, and a record of every row's outcome.

The handler behind the port is a small server that asks the core over the sample telemetry; all bytes are real.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from cbsigned import Settings, Sources, enrich
from cbsigned.render.document import enrichment_document
from cbsigned.samples import sample_path
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from cbsigned_connectors.splunk.alert_action import TOTAL_S, run
from cbsigned_connectors.splunk.alert_events import EVENT_FIELDS, event_line
from cbsigned_connectors.splunk.alert_payload import PARAMETERS

KEY = "Xsession^key-0123456789abcdefghijklmnopqrstuvwxyz"
PROCMON = "b0a3ecc9eaa2521ddea2fc067785b84e"
GIT = "00000003-0000-1400-01d2-e4f25a1e8a10"
Rows = Sequence[Mapping[str, Union[str, list[str]]]]


@dataclass
class Port:
    """A splunkd's management port with the two routes that the action uses.

    Attributes:
        answers: What the handler answers instead of enriching: (status, document) in order, the last one for good.
        refusals: Status of the receiver's answers in order; 200 after them.
        asked, received: What came in.
    """

    source: StoreSource
    uri: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    received: list[tuple[dict[str, str], str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(path)
        if parts.path == "/services/cbsigned/enrich":
            self.asked.append(json.loads(body))
            if self.answers:
                return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return 200, self.enriched(self.asked[-1])
        if parts.path == "/services/receivers/simple":
            status = self.refusals.pop(0) if self.refusals else 200
            told = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if status == 200:
                self.received.append((told, body.decode("utf-8")))
            return status, {"messages": [{"type": "WARN", "text": f"no, {KEY}"}]}
        return 404, {}

    def enriched(self, question: Mapping[str, Any]) -> dict[str, Any]:
        settings = Settings(lineage=question.get("lineage", True))
        sources = Sources(self.source, self.source)
        return {"enrichments": [enrichment_document(e) for e in enrich(question["alerts"], sources, settings)]}

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was written, in order."""
        return [json.loads(text) for _told, text in self.received]


def handler_of(port: Port) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            port.keys.append(self.headers["Authorization"])
            status, document = port.answer(self.path, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "Close")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSource]:
    path = tmp_path_factory.mktemp("alert") / "s.db"
    ingest(path, [sample_path("telemetry")])
    with StoreSource(path) as found:
        yield found


@pytest.fixture
def port(source: StoreSource, home: Path) -> Iterator[Port]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "etc/auth/cacert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("SplunkServerDefaultCert").configure_cert(context)
    port = Port(source)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(port))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port.uri = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("var/log/splunk", "var/run/splunk/dispatch/1448.12", "etc/auth"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("SPLUNK_HOME", str(tmp_path))
    return tmp_path


def encoded(rows: Rows) -> bytes:
    """Return rows as splunkd writes results.csv.gz: all plain columns, then one `__mv_` column for each."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names + [f"__mv_{name}" for name in names])
    for row in rows:
        values = [row.get(name, "") for name in names]
        plain = ["\n".join(v) if isinstance(v, list) else v for v in values]
        multi = [";".join(f"${t.replace('$', '$$')}$" for t in v) if isinstance(v, list) else "" for v in values]
        writer.writerow(plain + multi)
    return gzip.compress(out.getvalue().encode())


@dataclass
class Outcome:
    """What a run left behind."""

    code: int
    stderr: str
    log: str

    @property
    def statuses(self) -> list[str]:
        return re.findall(r'action_status="(\w+)"', self.log)


class Action:
    """Starts the action as splunkd does, again and again where wanted."""

    def __init__(self, home: Path, port: Port) -> None:
        self.home, self.port = home, port
        self.pauses: list[float] = []
        self.file = home / "var/run/splunk/dispatch/1448.12/results.csv.gz"

    def payload(self, rows: Optional[Rows] = None, **more: Any) -> dict[str, Any]:
        if rows is not None:
            self.file.write_bytes(encoded(rows))
        return {
            "app": "search", "owner": "ana", "server_host": "sh1", "server_uri": self.port.uri, "session_key": KEY,
            "sid": "scheduler__ana__search__RMD5_at_1448_12", "search_name": "Rare and unsigned",
            "results_file": str(self.file), "result": {}, "configuration": {"index": "cbsigned"}, **more,
        }  # fmt: skip

    def __call__(
        self,
        rows: Optional[Rows] = None,
        *,
        deadline: Optional[Deadline] = None,
        data: Optional[bytes] = None,
        **more: Any,
    ) -> Outcome:
        stderr = io.StringIO()
        stdin = io.BytesIO(json.dumps(self.payload(rows, **more)).encode() if data is None else data)
        code = run(["--execute"], stdin, stderr, os.environ, deadline=deadline, pause=self.pauses.append)
        log = self.home / "var/log/splunk/cbsigned_enrich_modalert.log"
        return Outcome(code, stderr.getvalue(), log.read_text(encoding="utf-8") if log.exists() else "")


@pytest.fixture
def action(home: Path, port: Port) -> Action:
    return Action(home, port)


# --- what a run does


def test_each_alert_row_gets_one_event_with_status_lineage_and_its_ids(action: Action, port: Port) -> None:
    rows = [
        {"process_guid": GIT, "orig_sid": "s7", "orig_rid": "3", "rid": "9", "event_id": "A@@notable@@b"},
        {"process_md5": PROCMON, "dest": "SDL-DEV"},
    ]

    outcome = action(rows)

    assert outcome.code == 0, outcome.stderr
    first, second = port.events
    assert first["cbsigned_status"] == "Unsigned"
    assert first["cbsigned_signed"] == "false"
    assert first["cbsigned_lineage"].startswith("git.exe (Unsigned) <- ")
    assert first["cbsigned_lineage_statuses"][0] == "Unsigned"
    assert len(first["cbsigned_lineage_names"]) == first["cbsigned_lineage_depth"] + 1
    assert {n: first[n] for n in ("orig_sid", "orig_rid", "rid", "event_id")} == {
        "orig_sid": "s7", "orig_rid": "3", "rid": "9", "event_id": "A@@notable@@b",
    }  # fmt: skip
    assert first["sid"] == "scheduler__ana__search__RMD5_at_1448_12"
    assert first["process_name"] == "git.exe"
    assert second["cbsigned_status"] == "Signed"
    assert second["cbsigned_signed"] == "true"
    assert second["cbsigned_publisher"] == "Microsoft Corporation"
    assert second["rid"] == "1"
    assert "orig_sid" not in second


def test_events_say_where_they_belong(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON}])

    told, text = port.received[0]
    assert told == {
        "index": "cbsigned",
        "sourcetype": "cbsigned:enrichment",
        "source": "cbsigned_enrich",
        "host": "sh1",
    }
    assert len(text.splitlines()) == 1
    assert list(port.events[0]) == [name for name in EVENT_FIELDS if name in port.events[0]]


def test_long_values_stand_behind_what_splunk_must_find() -> None:
    """A command line of 8,000 characters stood before guid, MD5 and host; how far Splunk reads JSON is limited."""
    names = ("name", "path", "pid", "process_guid", "md5", "sha256", "host", "user")
    subject: dict[str, Any] = dict.fromkeys(names, "x")
    subject.update(cmdline="y" * 20_000, reason="z", lineage=None, gaps=[])
    document = {
        "status": "Signed", "reason": "z", "complete": True, "enriched_at": "2026-11-22T01:02:03Z",
        "subjects": [subject], "gaps": [], "alert": None,
    }  # fmt: skip

    line = event_line(document, {"sid": "1", "rid": "0", "enrichment_id": "a" * 32}).decode()

    assert len(line) > 8_192
    for name in (
        "process_guid",
        "process_md5",
        "process_sha256",
        "dest",
        "user",
        "cbsigned_status",
        "cbsigned_complete",
    ):
        assert line.index(f'"{name}":') < 5_000


def test_every_key_that_is_sent_is_the_session_key(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON}])

    assert set(port.keys) == {f"Splunk {KEY}"}


def test_the_run_is_recorded_as_es_expects(action: Action) -> None:
    outcome = action([{"process_guid": GIT, "orig_sid": "s7", "orig_rid": "3"}, {"process_md5": PROCMON}])

    lines = outcome.log.splitlines()
    assert [("Invoking modular action" in line) for line in lines] == [True, True, False, False]
    assert outcome.statuses == ["success", "success"]
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\+0000 INFO sendmodaction - worker="sh1" signature="Unsigned: [^"]+" '
        r'action_name="cbsigned_enrich" search_name="Rare and unsigned" sid="scheduler__ana__search__RMD5_at_1448_12" '
        r'orig_sid="s7" rid="0" orig_rid="3" app="search" user="ana" digest_mode="1" action_mode="saved" '
        r'action_status="success"',
        lines[2],
    )


def test_a_run_for_one_result_looks_that_one_up_and_not_the_whole_file(action: Action, port: Port) -> None:
    outcome = action([{"process_md5": PROCMON}] * 5, result={"process_guid": GIT}, result_id="4")

    assert outcome.code == 0
    assert [event["process_guid"] for event in port.events] == [GIT]
    assert port.events[0]["rid"] == "4"
    assert outcome.log.count('digest_mode="0"') == 2


def test_without_a_results_file_the_payloads_own_row_is_looked_up(action: Action, port: Port) -> None:
    assert action(result={"process_md5": PROCMON, "__mv_process_md5": ""}).code == 0
    assert port.events[0]["cbsigned_status"] == "Signed"


def test_no_results_at_all_is_no_failure(action: Action, port: Port) -> None:
    outcome = action()

    assert (outcome.code, port.asked, outcome.log) == (0, [], "")
    assert outcome.stderr == "INFO There is nothing left to look up.\n"


def test_multi_value_cells_reach_the_handler_as_lists(action: Action, port: Port) -> None:
    action([{"process_hash": [f"MD5={PROCMON}", "note=a$b;$c"], "host": "SDL-DEV"}])

    assert port.asked[0]["alerts"] == [{"process_hash": [f"MD5={PROCMON}", "note=a$b;$c"], "host": "SDL-DEV"}]
    assert port.events[0]["cbsigned_status"] == "Signed"


def test_a_row_with_nothing_to_look_up_gets_its_event_with_the_reason(action: Action, port: Port) -> None:
    outcome = action([{"src": "192.0.2.1"}])

    assert outcome.code == 0
    assert port.events[0]["cbsigned_status"] == "Unknown"
    assert "nothing to look up" in port.events[0]["cbsigned_why"]
    assert "cbsigned_signed" not in port.events[0]


def test_without_lineage_none_is_asked_for_and_none_written(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON, "process_guid": GIT}], configuration={"index": "x", "lineage": "false"})

    assert port.asked[0]["lineage"] is False
    assert not [name for name in port.events[0] if "lineage" in name]


def test_only_the_first_rows_are_looked_up_and_what_is_cut_is_said(action: Action, port: Port) -> None:
    outcome = action([{"process_md5": PROCMON, "n": str(n)} for n in range(7)], configuration={"max_rows": "3"})

    assert outcome.code == 0
    assert [alert["n"] for alert in port.asked[0]["alerts"]] == ["0", "1", "2"]
    assert "WARN The search has 7 results, and the first 3 are looked up: param.max_rows is 3" in outcome.stderr
    assert "INFO 3 of 3 result events are in index main.\n" in outcome.stderr


def test_a_slow_look_up_is_asked_for_again_by_its_job(action: Action, port: Port) -> None:
    question = {"alerts": [{"process_md5": PROCMON}]}
    port.answers = [(200, {"job": "j1"}), (200, {"job": "j1"}), (200, port.enriched(question))]

    assert action([{"process_md5": PROCMON}]).code == 0
    assert [asked.get("job") for asked in port.asked] == [None, "j1", "j1"]
    assert len(port.events) == 1


def test_a_job_that_a_restarted_handler_lost_is_asked_from_the_start(action: Action, port: Port) -> None:
    question = {"alerts": [{"process_md5": PROCMON}]}
    port.answers = [(200, {"job": "j1"}), (404, {"error": "There is no job j1."}), (200, port.enriched(question))]

    assert action([{"process_md5": PROCMON}]).code == 0
    assert ["alerts" in asked for asked in port.asked] == [True, False, True]


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_handler_that_is_busy_or_gone_for_a_moment_is_asked_again(action: Action, port: Port, status: int) -> None:
    question = {"alerts": [{"process_md5": PROCMON}]}
    port.answers = [(status, {}), (status, {}), (200, port.enriched(question))]

    assert action([{"process_md5": PROCMON}]).code == 0
    assert action.pauses == [3.0, 3.0]


def test_a_handler_that_stays_busy_is_asked_four_times(action: Action, port: Port) -> None:
    port.answers = [(429, {"error": "The handler of cbsigned is busy."})]

    assert action([{"process_md5": PROCMON}]).code == 3
    assert len(port.asked) == 4


# --- called again


def test_the_same_call_again_writes_nothing_twice(action: Action, port: Port) -> None:
    rows = [{"process_md5": PROCMON}, {"process_guid": GIT}]
    action(rows)

    outcome = action(rows)

    assert outcome.code == 0
    assert len(port.received) == 2
    assert len(port.asked) == 1
    assert "INFO 2 rows were written by an earlier call for this job.\n" in outcome.stderr


def test_a_second_call_with_other_rows_writes_those(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON}])
    action([{"process_guid": GIT}])

    assert len({event["enrichment_id"] for event in port.events}) == 2


def test_after_a_failure_only_the_missing_rows_are_written(action: Action, port: Port) -> None:
    rows = [{"process_md5": PROCMON}, {"process_guid": GIT}, {"process_md5": PROCMON, "n": "2"}]
    port.refusals = [200, 503, 200]

    first = action(rows)
    second = action(rows)

    assert (first.code, second.code) == (4, 0)
    assert sorted(event["rid"] for event in port.events) == ["0", "1", "2"]
    assert len(port.asked[1]["alerts"]) == 1


def test_where_nothing_can_be_remembered_the_event_has_the_same_id(
    action: Action, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    (action.file.parent / "cbsigned_enrich.written").mkdir()

    assert action([{"process_md5": PROCMON}]).code == 0
    assert action([{"process_md5": PROCMON}]).code == 0
    assert len({event["enrichment_id"] for event in port.events}) == 1
    assert len(port.events) == 2


@pytest.mark.parametrize("path", ["", "results.csv.gz", "/", "/not/there/results.csv.gz"])
def test_nothing_is_remembered_outside_the_folder_of_a_job(
    action: Action, port: Port, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    outcome = action(results_file=path, result={"process_md5": PROCMON}, result_id="0")

    assert outcome.code == 0
    assert len(port.received) == 1
    assert list((tmp_path / "here").iterdir()) == []


# --- what can go wrong


@pytest.mark.parametrize("argv", [[], ["--help"], ["--execute", "x"], ["execute"]], ids=str)
def test_any_other_arguments_are_refused_with_the_usage(argv: list[str]) -> None:
    stderr = io.StringIO()

    assert run(argv, io.BytesIO(b"{}"), stderr, {}) == 1
    assert stderr.getvalue().startswith("ERROR Usage: python cbsigned_enrich.py --execute")


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"session_key": "x"}'])
def test_a_payload_that_is_none_is_refused(action: Action, data: bytes) -> None:
    outcome = action(data=data)

    assert outcome.code == 2
    assert outcome.stderr.startswith("ERROR The ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("index", "_internal"), ("index", "a b"), ("index", "x&sourcetype=y"), ("index", "A"), ("index", "x" * 81),
     ("index", "x\n"), ("max_rows", "0"), ("max_rows", "1001"), ("max_rows", "-1"), ("max_rows", "ten"),
     ("max_rows", "٣"), ("lineage", "maybe"), ("lineage", "true false")],
)  # fmt: skip
def test_a_parameter_out_of_range_ends_the_run_and_says_what_is_right(
    action: Action, port: Port, name: str, value: str
) -> None:
    outcome = action([{"process_md5": PROCMON}], configuration={name: value})

    if value == "x\n":  # what is around a value is not the value
        assert outcome.code == 0
        return
    assert outcome.code == 2
    assert f"ERROR param.{name} is " in outcome.stderr
    assert f"the default, {PARAMETERS[name].default}." in outcome.stderr
    assert outcome.statuses == ["failure"]
    assert port.asked == []


@pytest.mark.parametrize("spoil", [lambda b: b[:-20], lambda b: b"plain text", lambda b: b[:20] + b"\0" * 9 + b[29:]])
def test_a_damaged_results_file_is_a_failure_that_says_so(action: Action, port: Port, spoil: Any) -> None:
    action.file.write_bytes(spoil(encoded([{"process_md5": os.urandom(16).hex()} for _ in range(99)])))

    outcome = action()

    assert (outcome.code, outcome.statuses) == (2, ["failure"])
    assert "results_file is no whole gzip CSV" in outcome.stderr
    assert port.asked == []


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [(409, {"error": "cbsigned is not set up: no EDR server. Open the setup page."}, "cbsigned is not set up"),
     (403, {}, "lacks the capability cbsigned_use"),
     (500, {"error": "It broke; see cbsigned.log."}, "It broke"),
     (200, {"enrichments": []}, "did not answer 2 rows with 2 enrichments"),
     (200, {"enrichments": [{}, {}]}, "did not answer 2 rows"),
     (200, {"enrichments": "x"}, "did not answer 2 rows")],
)  # fmt: skip
def test_a_handler_that_does_not_answer_fails_every_row_with_the_reason(
    action: Action, port: Port, status: int, document: Any, said: str
) -> None:
    port.answers = [(status, document)]

    outcome = action([{"process_md5": PROCMON}, {"process_guid": GIT}])

    assert outcome.code == 3
    assert outcome.statuses == ["failure", "failure"]
    assert said in outcome.stderr
    assert said in outcome.log
    assert port.received == []


def test_a_handler_that_never_finishes_is_given_up_before_splunkd_ends_the_action(action: Action, port: Port) -> None:
    port.answers = [(200, {"job": "j1"})]
    ticks = iter(range(0, 10_000, 20))

    outcome = action([{"process_md5": PROCMON}], deadline=Deadline(TOTAL_S, clock=lambda: float(next(ticks))))

    assert outcome.code == 3
    assert "did not finish within 180 s" in outcome.stderr
    assert 2 <= len(port.asked) <= 10
    assert TOTAL_S < 300


@pytest.mark.parametrize(
    ("status", "said", "tried"),
    [(403, "the capability edit_tcp", 1), (400, "Create the index", 1), (503, "Look at splunkd.log", 3)],
)
def test_a_refused_event_says_why_and_is_not_tried_for_every_row(
    action: Action, port: Port, status: int, said: str, tried: int
) -> None:
    port.refusals = [status] * 99

    outcome = action([{"process_md5": PROCMON, "n": str(n)} for n in range(10)])

    assert outcome.code == 4
    assert outcome.statuses == ["failure"] * 10
    assert said in outcome.stderr
    assert outcome.stderr.count(said) == 1
    assert 99 - len(port.refusals) == tried


def test_time_that_ends_while_writing_leaves_the_rest_unwritten_and_says_so(action: Action, port: Port) -> None:
    now = [0.0]
    write = port.answer

    def slow(path: str, body: bytes) -> tuple[int, Any]:
        now[0] += 100.0 if "receivers" in path else 0.0
        return write(path, body)

    port.answer = slow  # type: ignore[method-assign]

    outcome = action([{"process_md5": PROCMON, "n": str(n)} for n in range(5)], deadline=Deadline(240, lambda: now[0]))

    assert outcome.code == 4
    assert len(port.received) == 3
    assert outcome.statuses == ["success"] * 3 + ["failure"] * 2
    assert "The time is over" in outcome.stderr


def test_a_splunkd_that_is_gone_is_a_failure_that_says_so(action: Action) -> None:
    outcome = action([{"process_md5": PROCMON}], server_uri="https://127.0.0.1:9")

    assert outcome.code == 3
    assert "connection refused" in outcome.stderr
    assert outcome.statuses == ["failure"]


def test_the_key_goes_to_no_address_that_is_not_splunkds(action: Action) -> None:
    assert action([{"process_md5": PROCMON}], server_uri="http://splunk.example.test:8089").code == 3


def test_a_server_that_the_ca_did_not_sign_gets_no_key(action: Action, port: Port, home: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(home / "etc/auth/cacert.pem"))

    outcome = action([{"process_md5": PROCMON}])

    assert outcome.code == 3
    assert "is not trusted" in outcome.stderr
    assert port.keys == []


def test_a_log_that_cannot_be_written_is_said_and_the_events_are_there(action: Action, port: Port, home: Path) -> None:
    (home / "var/log/splunk").rmdir()

    outcome = action([{"process_md5": PROCMON}])

    assert outcome.code == 0
    assert len(port.received) == 1
    assert "WARN cbsigned_enrich_modalert.log in Splunk's log folder cannot be written" in outcome.stderr


# --- hostile content


HOSTILE = 'x"} \n{"cbsigned_status": "Signed\u2028\x1b[2J\x00 action_status="success" \\'


def test_hostile_cells_end_no_event_and_no_line(action: Action, port: Port) -> None:
    row = {"process_md5": PROCMON, "process_name": HOSTILE, "user": HOSTILE, "orig_sid": HOSTILE, "dest": "$a$;$b$"}

    outcome = action([row], search_name=HOSTILE, app=HOSTILE)

    assert outcome.code == 0
    text = port.received[0][1]
    assert len(text.splitlines()) == 1
    assert port.events[0]["cbsigned_status"] == "Signed"
    assert port.events[0]["dest"] == "$a$;$b$"
    assert "orig_sid" in port.events[0]
    assert len(outcome.log.splitlines()) == 2
    assert 'action_status="success"' not in outcome.log.splitlines()[0]


def test_names_in_any_script_stay_searchable(action: Action, port: Port) -> None:
    action([{"process_md5": PROCMON, "process_name": "отчёт.exe"}])

    assert "отчёт.exe" in port.received[0][1]


def test_long_cells_are_cut_before_they_are_sent(action: Action, port: Port) -> None:
    raw = json.dumps({"process_md5": PROCMON, "padding": "x" * 20_000})

    action([{"cmdline": "y" * 300_000, "_raw": raw, "many": ["z"] * 500}])

    (sent,) = port.asked[0]["alerts"]
    assert len(sent["cmdline"]) == 8_192
    assert sent["_raw"] == raw
    assert len(sent["many"]) == 64
    assert len(port.received[0][1]) < 100_000


def test_many_long_rows_go_in_several_questions(action: Action, port: Port) -> None:
    rows = [{"process_md5": PROCMON, "n": str(n), **{f"f{i}": "x" * 8_000 for i in range(8)}} for n in range(150)]

    assert action(rows, configuration={"max_rows": "150"}).code == 0
    assert len(port.asked) == 3
    assert [event["rid"] for event in port.events] == [str(n) for n in range(150)]


def test_the_session_key_is_in_no_output(action: Action, port: Port) -> None:
    row = {"process_md5": PROCMON}
    outcomes = [action([row])]
    port.refusals = [503, 403]
    outcomes += [action([{**row, "n": "1"}]), action([{**row, "n": "2"}])]
    port.answers = [(500, {"error": f"Refused {KEY}"})]
    outcomes += [action([{**row, "n": "3"}]), action([row], configuration={"index": KEY})]

    for outcome in outcomes:
        assert KEY not in outcome.stderr
        assert KEY not in outcome.log
    assert all(KEY not in text for _told, text in port.received)
    for path in action.home.rglob("*"):
        assert not path.is_file() or path.suffix == ".gz" or KEY.encode() not in path.read_bytes()


# --- as a process


def test_the_process_ends_with_the_exit_code_and_says_why_on_standard_error(action: Action, port: Port) -> None:
    code = "from cbsigned_connectors.splunk.alert_action import main; main()"
    payload = json.dumps(action.payload([{"process_guid": GIT}])).encode()

    done = subprocess.run(
        [sys.executable, "-c", code, "--execute"], input=payload, capture_output=True, timeout=60, check=False
    )
    wrong = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"INFO 1 of 1 result events are in index cbsigned.\n"
    assert port.events[0]["cbsigned_status"] == "Unsigned"
    assert (wrong.returncode, wrong.stdout) == (1, b"")
