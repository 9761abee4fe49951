"""The generating commands: their frames on the installed splunk-sdk, and in the stand-in splunkd with a real EDR."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned_connectors.splunk import generated
from cbsigned_connectors.splunk.generated import Page, pages, uniform
from cbsigned_connectors.splunk.generating import run
from cbsigned_connectors.splunk.options import COMMANDS
from cbsigned_connectors.splunk.splunkd import HandlerError
from splunkd.frames import BadFrame, parse_frame
from splunkd.instance import Splunkd
from splunkd.search import Outcome
from support import real_data

GUID, PARENT = "00000007-0000-0d24-01d7-35e9bb340680", "00000007-0000-0728-01d7-35c3d946a720"
MD5, SHA256 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d", "ab" * 32
KEY = "session-key-of-an-analyst-7f3a"
PROCESS = {
    "id": GUID, "unique_id": f"{GUID}-0178ef7c49a8", "process_name": "updater.exe", "process_pid": "3364",
    "path": "c:\\program files\\acme\\updater.exe", "process_md5": MD5, "process_sha256": SHA256,
    "cmdline": '"C:\\Program Files\\Acme\\updater.exe" /check', "username": "SYSTEM", "hostname": "lab-ws-07",
    "start": "2021-04-20T13:33:21.512Z", "os_type": "windows", "parent_id": PARENT, "parent_name": "services.exe",
    "parent_pid": "1832", "watchlists": ['{"wid":"3"}', '{"wid":"4"}'],
}  # fmt: skip
BINARY = {
    "md5": MD5.upper(), "sha256": "(unknown)", "digsig_result": "Signed",
    "observed_filename": ["c:\\a\\b.exe", "d:\\b.exe"],
    "endpoint": ["LAB-WS-07|7", "LAB-WS-08|8", "LAB-WS-07|9"], "orig_mod_len": "193536", "os_type": "Windows",
    "server_added_timestamp": "2021-04-01T10:00:00.12Z", "host_count": "2",
}  # fmt: skip
CELLS = st.text(max_size=6) | st.lists(st.text(max_size=3))
Answer = Union[Mapping[str, Any], HandlerError]


class Handler:
    """Answers in the order of a script, `health` apart; notes what it was asked."""

    def __init__(self, *script: Answer, health: Optional[Mapping[str, Any]] = None) -> None:
        self.script = list(script)
        self.health: Answer = health or {"edr_host": "cb.example.test:8443"}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.connected: list[tuple[str, str]] = []

    def connect(self, uri: str, key: str) -> Any:
        self.connected.append((uri, key))
        return self

    def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if route == "health":
            answer = self.health
        else:
            self.asked.append((route, document))
            answer = self.script.pop(0)
        if isinstance(answer, HandlerError):
            raise answer
        return answer


def page_of(*rows: Mapping[str, Any], next: Optional[int] = None, total: Optional[int] = None, **more: Any) -> Answer:
    return {"total": len(rows) if total is None else total, "rows": list(rows), "next": next, "warnings": [], **more}


def found(handler: Handler, command: str, **values: Any) -> list[Page]:
    given = {"query": "x", "guid": GUID, "kinds": "", "maxrows": 1000, **values}
    return list(pages(command, given, handler.ask, now=lambda: 1700000000.25))


def frame(document: Mapping[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    return b"chunked 1.0,%d,0\n%b" % (len(body), body)


EXECUTE = frame({"action": "execute", "finished": True})


def spoken(
    handler: Handler, command: str, *args: str, frames: int = 4, info: Optional[dict[str, Any]] = None
) -> tuple[int, list[tuple[dict[str, Any], list[dict[str, str]]]]]:
    """Speak with a command; return its exit code, and metadata and rows of each of its frames."""
    searchinfo = {"args": list(args), "session_key": KEY, "splunkd_uri": "https://127.0.0.1:8089", **(info or {})}
    getinfo = {"action": "getinfo", "preview": False, "searchinfo": searchinfo}
    sink = io.BytesIO()
    code = run(command, io.BytesIO(frame(getinfo) + EXECUTE * frames), sink, handler.connect)
    return code, replies(sink.getvalue())


def replies(written: bytes) -> list[tuple[dict[str, Any], list[dict[str, str]]]]:
    made, rest = [], bytearray(written)
    while rest:
        frame = parse_frame(rest)
        assert frame is not None
        metadata, body, end = frame
        made.append((metadata, list(csv.DictReader(io.StringIO(body.decode(), newline="")))))
        del rest[:end]
    return made


class TestProtocol:
    @pytest.mark.parametrize("command", ["cbprocess", "cbbinary", "cbactivity", "cbhealth"])
    def test_it_runs_once_on_the_search_head(self, command: str) -> None:
        handler = Handler()

        arguments = {"cbactivity": [f"guid={GUID}"], "cbhealth": []}.get(command, ["query=x"])
        code, ((metadata, rows),) = spoken(handler, command, *arguments, frames=0)

        assert (code, rows) == (0, [])
        assert metadata == {"type": "stateful", "generating": True}
        assert handler.connected == handler.asked == []

    def test_the_recorded_getinfo_of_a_generating_command_is_answered_alike(self) -> None:
        """Splunk 8.2.1; the recorded command names its fields, ours cannot know them beforehand."""
        folder = real_data("splunk-recordings") / "splunk-8.2.1"
        recorded, sink = (folder / "generating.in").read_bytes(), io.BytesIO()

        assert run("cbhealth", io.BytesIO(recorded), sink, Handler().connect) == 0

        ours = [metadata for metadata, _rows in replies(sink.getvalue())]
        theirs = replies((folder / "generating.reply").read_bytes())[0][0]
        assert {**theirs, "required_fields": None} == {**ours[0], "required_fields": None}

    def test_each_page_is_one_reply_and_is_asked_for_when_splunkd_asks(self) -> None:
        more = [{**PROCESS, "unique_id": str(n)} for n in range(3)]
        script = [page_of(more[0], next=1, total=3), page_of(more[1], next=2, total=3), page_of(more[2], total=3)]

        for frames, asked in [(1, 1), (2, 2), (3, 3)]:
            handler = Handler(*script)
            _code, told = spoken(handler, "cbprocess", "query=x", frames=frames)

            assert len(told) == frames + 1
            assert [document["start"] for _route, document in handler.asked] == list(range(asked))
        assert [metadata["finished"] for metadata, _rows in told[1:]] == [False, False, True]
        assert [rows[0]["unique_id"] for _metadata, rows in told[1:]] == ["0", "1", "2"]

    def test_every_field_of_a_page_is_in_its_header(self) -> None:
        """The SDK takes the header from the first row."""
        handler = Handler(page_of({"id": GUID}, {**PROCESS, "late": "x"}))

        _code, told = spoken(handler, "cbprocess", "query=x", frames=1)

        first, second = told[1][1]
        assert (first["late"], second["late"]) == ("", "x")
        assert list(first) == list(second)

    def test_lists_are_multi_values(self) -> None:
        _code, told = spoken(Handler(page_of(PROCESS)), "cbprocess", "query=x", frames=1)

        row = told[1][1][0]
        assert row["watchlists"] == '{"wid":"3"}\n{"wid":"4"}'
        assert row["__mv_watchlists"] == '${"wid":"3"}$;${"wid":"4"}$'

    def test_the_session_goes_to_the_splunkd_that_started_it(self) -> None:
        handler = Handler(page_of())

        spoken(handler, "cbprocess", "query=x", frames=1)

        assert handler.connected == [("https://127.0.0.1:8089", KEY)]

    def test_options_in_three_pieces(self) -> None:
        handler = Handler(page_of())

        spoken(handler, "cbprocess", "query", "=", "a:b c", "maxrows=7", "sort=start desc", frames=1)

        _route, question = handler.asked[0]
        assert (question["query"], question["rows"], question["sort"]) == ("a:b c", 7, "start desc")

    @pytest.mark.parametrize(
        ("command", "args", "said"),
        [
            ("cbprocess", [], "query is missing"),
            ("cbprocess", ["query=x", "maxrows=0"], 'maxrows is "0": expected a whole number, 1 to 100000'),
            ("cbprocess", ["query=x", "record=true"], '"record" is not an option of cbprocess'),
            ("cbactivity", ["guid=a", "guid=b"], "guid is given twice"),
            ("cbhealth", ["x=y"], '"x" is not an option of cbhealth'),
        ],
    )
    def test_a_wrong_option_ends_the_search_with_what_was_expected(
        self, command: str, args: list[str], said: str
    ) -> None:
        handler = Handler()

        code, told = spoken(handler, command, *args)

        assert code == 0
        assert [metadata["finished"] for metadata, _rows in told] == [True]
        assert said in told[0][0]["error"]
        assert handler.connected == []

    def test_on_an_indexer_it_says_where_it_runs(self) -> None:
        _code, told = spoken(Handler(), "cbprocess", "query=x", info={"sid": "remote_sh1_1763800000.1"})

        assert told[0][0]["error"].startswith("cbprocess asks the handler of the search head, and this is an indexer.")

    @pytest.mark.parametrize("sent", [b"", b"chunked 1.0,5", b"GET / HTTP/1.1\r\n\r\n"])
    def test_a_stream_that_is_none_ends_it(self, sent: bytes) -> None:
        sink = io.BytesIO()

        assert run("cbhealth", io.BytesIO(sent), sink) == 0
        assert all(metadata["error"] for metadata, _rows in replies(sink.getvalue()))

    def test_a_search_that_is_cancelled_ends_it_quietly(self) -> None:
        class Gone(io.BytesIO):
            def write(self, data: Any) -> int:
                raise BrokenPipeError

        getinfo = frame({"action": "getinfo", "searchinfo": {"args": []}})

        assert run("cbhealth", io.BytesIO(getinfo + EXECUTE), Gone()) == 0

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.dictionaries(st.text(max_size=6), st.text(max_size=6) | st.lists(st.text(max_size=3))), max_size=4)
    )
    def test_whatever_a_row_holds_the_frame_is_whole(self, rows: list[dict[str, Any]]) -> None:
        try:
            _code, told = spoken(Handler(page_of(*rows)), "cbprocess", "query=x", frames=1)
        except BadFrame as exc:
            pytest.fail(str(exc))

        assert [metadata.get("finished") for metadata, _rows in told] == [None, True]
        for row in told[1][1]:
            assert json.loads(row["_raw"]) is not None
            assert float(row["_time"]) > 0


class TestFailures:
    def test_a_refused_query_is_one_line_and_no_traceback(self, capfd: pytest.CaptureFixture[str]) -> None:
        refused = HandlerError('refused the query: at character 3,\n"(b": {never} closed.', status=400, fatal=True)

        code, told = spoken(Handler(refused), "cbprocess", "query=a (b", frames=1)

        assert code == 0
        assert told[1:] == [
            ({"finished": True, "error": 'refused the query: at character 3, "(b": {never} closed.'}, [])
        ]
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("command", ["cbprocess", "cbbinary", "cbactivity", "cbhealth"])
    def test_what_cannot_be_asked_fails_the_search(self, command: str) -> None:
        """It ended with a banner and no rows, and the dashboards said that the EDR has no document of the file."""
        args = {"cbactivity": [f"guid={GUID}"], "cbhealth": []}.get(command, ["query=x"])
        down = HandlerError("cb.example.test refused the connection.", status=502)
        handler = Handler(down)
        handler.health = down

        code, told = spoken(handler, command, *args, frames=1)

        assert code == 0
        assert told[1:] == [({"finished": True, "error": str(down)}, [])]

    def test_rows_before_a_failure_are_kept_with_one_warning(self) -> None:
        lost = HandlerError("splunkd gave no answer.")

        _code, told = spoken(Handler(page_of(PROCESS, next=1, total=9), lost), "cbprocess", "query=x", frames=2)

        assert len(told[1][1]) == 1
        assert told[2][0]["inspector"]["messages"] == [["WARN", "Not all rows are here. splunkd gave no answer."]]
        assert told[2][0]["finished"] is True

    def test_without_an_address_of_splunkd_it_says_so(self) -> None:
        _code, told = spoken(Handler(), "cbhealth", frames=1, info={"splunkd_uri": None})

        assert "splunkd told neither its address" in told[1][0]["error"]

    def test_warnings_of_the_handler_are_told_once(self) -> None:
        script = [
            page_of({"id": "1"}, next=1, warnings=["only a part"]),
            page_of({"id": "2"}, warnings=["only a part", "b"]),
        ]

        told = found(Handler(*script), "cbprocess")

        assert [page.warnings for page in told] == [("only a part",), ("b",)]

    def test_a_handler_that_was_restarted_is_asked_again(self) -> None:
        gone = HandlerError("no such job", status=404)
        handler = Handler({"job": "j1"}, gone, page_of(PROCESS))

        told = found(handler, "cbprocess")

        assert [len(page.events) for page in told] == [1]
        assert [document.get("job") for _route, document in handler.asked] == [None, "j1", None]

    @pytest.mark.parametrize(
        "error",
        [
            HandlerError("not installed", status=404, fatal=True),
            HandlerError("slow"),
            HandlerError("cb.example.test has no events of this process.", status=404),
        ],
    )
    def test_other_failures_are_not_asked_again(self, error: HandlerError) -> None:
        """A process that the EDR does not know cost it two requests each time: 404 was taken for a lost job."""
        handler = Handler(error)

        assert [page.error for page in found(handler, "cbactivity")] == [str(error)]
        assert len(handler.asked) == 1

    def test_a_job_is_waited_for_until_its_time_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = iter(range(0, 1000, 25))
        monkeypatch.setattr(generated.time, "monotonic", lambda: float(next(now)))
        handler = Handler(*[{"job": "j"}] * 9)

        (page,) = found(handler, "cbprocess")

        assert page.error.startswith("No answer within 60 s.")
        assert len(handler.asked) == 4

    @pytest.mark.parametrize(
        "answer", [{}, {"rows": 7}, {"rows": [7, None]}, {"rows": None, "next": "x", "warnings": 1}]
    )
    def test_an_answer_in_another_shape_is_no_row(self, answer: Mapping[str, Any]) -> None:
        assert found(Handler(answer), "cbbinary") == [Page(last=True)]


class TestPages:
    def test_maxrows_ends_it_with_a_note(self) -> None:
        rows = [{"id": str(n)} for n in range(700)]
        handler = Handler(page_of(*rows[:500], next=500, total=9000), page_of(*rows[500:], next=700, total=9000))

        told = found(handler, "cbprocess", maxrows=700)

        assert [len(page.events) for page in told] == [500, 200]
        assert [document["rows"] for _route, document in handler.asked] == [500, 200]
        assert told[1].last
        assert told[1].notes == ("700 of about 9,000 rows are shown: raise maxrows for more.",)

    def test_a_row_that_moved_to_the_next_page_is_told_once(self) -> None:
        handler = Handler(
            page_of({"id": "1"}, {"id": "2"}, next=2), page_of({"id": "2"}, {"id": "3"}, next=4), page_of({"id": "4"})
        )

        told = found(handler, "cbprocess", maxrows=4)

        assert [[event["id"] for event in page.events] for page in told] == [["1", "2"], ["3"], ["4"]]
        assert [document["rows"] for _route, document in handler.asked] == [4, 2, 1]

    def test_a_server_that_goes_backwards_ends_it(self) -> None:
        told = found(Handler(page_of({"id": "1"}, next=1), page_of({"id": "2"}, next=1)), "cbprocess")

        assert [page.last for page in told] == [False, True]

    def test_activity_is_asked_in_one_piece(self) -> None:
        events = [{"kind": "modload", "time": "2021-04-20T13:33:21Z", "md5": MD5}] * 3
        handler = Handler(page_of(*events))

        told = found(handler, "cbactivity", kinds="modload, netconn", maxrows=5000)

        ((_route, question),) = handler.asked
        assert (question["rows"], question["kinds"]) == (5000, ["modload", "netconn"])
        assert [len(page.events) for page in told] == [3]

    def test_the_edr_is_asked_for_its_name_once_and_only_for_rows(self) -> None:
        named: list[str] = []

        class Counting(Handler):
            def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> Mapping[str, Any]:
                named.extend([route] if route == "health" else [])
                return super().ask(route, document, timeout_s)

        found(Counting(page_of()), "cbprocess")
        assert named == []

        found(Counting(page_of({"id": "1"}, next=1), page_of({"id": "2"})), "cbprocess")
        assert named == ["health"]


def event_of(command: str, row: Mapping[str, Any], handler: Optional[Handler] = None) -> dict[str, Any]:
    given = handler or Handler()
    given.script = [page_of(row)]
    ((event,),) = (page.events for page in found(given, command))
    return event


class TestEvents:
    def test_a_process_has_its_own_names_and_those_of_the_cim(self) -> None:
        event = event_of("cbprocess", PROCESS)

        assert {name: event[name] for name in PROCESS} == PROCESS
        assert {name: value for name, value in event.items() if name not in PROCESS and name != "_raw"} == {
            "process_guid": GUID, "process_id": "3364", "process": PROCESS["cmdline"], "process_path": PROCESS["path"],
            "process_exec": "updater.exe", "process_hash": f"MD5={MD5},SHA256={SHA256}", "parent_process_guid": PARENT,
            "parent_process_id": "1832", "parent_process_name": "services.exe", "user": "SYSTEM", "dest": "lab-ws-07",
            "host": "lab-ws-07", "os": "windows", "vendor_product": "Carbon Black EDR", "_time": "1618925601.512",
            "console_link": f"https://cb.example.test:8443/#analyze/{GUID}/0", "source": "edr:cb.example.test:8443",
            "sourcetype": "cbsigned:process",
        }  # fmt: skip
        assert json.loads(str(event["_raw"])) == PROCESS
        assert "\n" not in event["_raw"]

    def test_an_unknown_parent_has_no_alias(self) -> None:
        unknown = {"parent_id": "00000007-ffff-ffff-0000-000000000000", "parent_name": "(unknown)", "parent_pid": "-1"}

        event = event_of("cbprocess", {**PROCESS, **unknown})

        assert event["parent_id"] == unknown["parent_id"]
        assert not {"parent_process_guid", "parent_process_name", "parent_process_id"} & set(event)

    @pytest.mark.parametrize(
        ("row", "at"),
        [
            ({"start": "2021-04-20T13:33:21.5Z"}, "1618925601.500"),
            ({"id": GUID}, "1618925601.512"),
            ({"last_update": "2021-04-20T13:33:23Z"}, "1618925603.000"),
            ({"start": "?"}, "1700000000.250"),
        ],
        ids=["start", "guid", "last-update", "none"],
    )
    def test_time_is_the_start_as_far_as_it_is_known(self, row: Mapping[str, Any], at: str) -> None:
        assert event_of("cbprocess", row)["_time"] == at

    def test_a_binary(self) -> None:
        event = event_of("cbbinary", BINARY)

        assert {name: value for name, value in event.items() if name not in BINARY and name != "_raw"} == {
            "file_hash": f"MD5={MD5.upper()}", "file_path": BINARY["observed_filename"], "file_name": "b.exe",
            "file_size": "193536", "dest": ["LAB-WS-07", "LAB-WS-08"], "os": "Windows", "_time": "1617271200.120",
            "vendor_product": "Carbon Black EDR", "source": "edr:cb.example.test:8443", "sourcetype": "cbsigned:binary",
            "console_link": f"https://cb.example.test:8443/#/binary/{MD5.upper()}",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("row", "aliases"),
        [
            ({"kind": "filemod", "path": "c:\\a", "md5": MD5}, {"file_path": "c:\\a", "file_hash": f"MD5={MD5}"}),
            ({"kind": "regmod", "path": "\\registry\\a"}, {"registry_path": "\\registry\\a"}),
            (
                {"kind": "netconn", "direction": "outbound", "protocol": "tcp", "remote_ip": "192.0.2.7",
                 "remote_port": "443", "local_ip": "10.0.0.1", "local_port": "5000"},
                {"transport": "tcp", "dvc_ip": "10.0.0.1", "src_ip": "10.0.0.1", "src_port": "5000",
                 "dest_ip": "192.0.2.7", "dest_port": "443"},
            ),
            (
                {"kind": "netconn", "direction": "inbound", "remote_ip": "192.0.2.7", "local_port": "22"},
                {"src_ip": "192.0.2.7", "dest_port": "22"},
            ),
            (
                {"kind": "childproc", "path": "c:\\b.exe", "cmdline": "b", "guid": PARENT},
                {"process_path": "c:\\b.exe", "process": "b"},
            ),
            ({"kind": "block", "path": "c:\\a"}, {}),
        ],
    )  # fmt: skip
    def test_an_activity_is_named_by_its_kind(self, row: dict[str, Any], aliases: dict[str, Any]) -> None:
        given = {**row, "time": "2021-04-20T13:33:22Z", "text": "did it"}

        event = event_of("cbactivity", given)

        common = {"process_guid", "vendor_product", "_time", "_raw", "source", "sourcetype"}
        assert {name: value for name, value in event.items() if name not in (*given, *common)} == aliases
        assert (event["process_guid"], event["_time"]) == (GUID, "1618925602.000")

    def test_health_is_one_event_of_flat_counters(self) -> None:
        health = {
            "edr_host": "cb",
            "uptime_s": 7,
            "answers": {"Signed": 3},
            "configured": True,
            "versions": {},
            "x": None,
        }

        ((event,),) = (page.events for page in found(Handler(health=health), "cbhealth"))

        assert {name: value for name, value in event.items() if name[0] != "_"} == {
            "edr_host": "cb", "uptime_s": "7", "answers.Signed": "3", "configured": "true", "source": "edr:cb",
            "sourcetype": "cbsigned:health",
        }  # fmt: skip

    def test_no_document_can_write_over_what_every_event_has(self) -> None:
        row = {"id": "1", "_time": "0", "_raw": "x", "__mv_id": "x", "_chunked_idx": "9", "source": "x", "a b": "x"}

        event = event_of("cbprocess", row)

        assert event["_time"] == "1700000000.250"
        assert event["source"] == "edr:cb.example.test:8443"
        assert not {"__mv_id", "_chunked_idx", "a b"} & set(event)

    def test_an_edr_without_a_name_has_no_links(self) -> None:
        handler = Handler()
        handler.health = HandlerError("no")

        event = event_of("cbprocess", PROCESS, handler)

        assert event["source"] == "edr"
        assert "console_link" not in event

    def test_the_tables_name_no_alias_twice(self) -> None:
        for table in (generated.PROCESS_FIELDS, generated.BINARY_FIELDS, *generated.ACTIVITY_FIELDS.values()):
            assert not set(table) & set(table.values()) - {"process"}

    def test_uniform_events_have_the_same_names(self) -> None:
        assert uniform([{"a": "1"}, {"b": "2"}]) == [{"a": "1", "b": ""}, {"a": "", "b": "2"}]


def texts(outcome: Outcome, name: str) -> list[str]:
    return [text for text in outcome.column(name) if text]


class TestInSplunk:
    """The built app in the stand-in splunkd, over TLS, with `cbsigned edr-server` behind it."""

    @pytest.fixture
    def searched(self, instance: Splunkd) -> Callable[..., Outcome]:
        analyst = instance.user("analyst", roles=["cbsigned_user"])
        return lambda command, *args: instance.search(command, args, user=analyst)

    def test_processes(self, searched: Callable[..., Outcome]) -> None:
        outcome = searched("cbprocess", 'query="process_name:powershell.exe"')

        assert (outcome.error, outcome.banners, outcome.exit_code) == (None, [], 0)
        assert set(outcome.column("process_name")) == {"powershell.exe"}
        assert all(link.startswith("https://127.0.0.1:") for link in outcome.column("console_link"))
        assert all(json.loads(raw)["process_name"] == "powershell.exe" for raw in outcome.column("_raw"))

    def test_all_processes_sorted_in_pages(self, searched: Callable[..., Outcome]) -> None:
        outcome = searched("cbprocess", "query=start:[2000-01-01", "maxrows=5")
        assert "at character" in (outcome.error or "")

        outcome = searched("cbprocess", 'query="start:[2000-01-01 TO *]"', 'sort="start asc"', "maxrows=20")
        assert texts(outcome, "start") == sorted(texts(outcome, "start"))
        assert len(outcome.events) == 20
        assert any("raise maxrows" in text for level, text in outcome.messages if level == "INFO")

    def test_binaries(self, searched: Callable[..., Outcome]) -> None:
        outcome = searched("cbbinary", 'query="*:*"', "maxrows=1000")

        assert {"Signed", "Unsigned", "Expired"} <= set(outcome.column("digsig_result"))
        assert texts(outcome, "file_hash")

    def test_the_activity_of_a_process(self, searched: Callable[..., Outcome]) -> None:
        guid = "00000001-0000-0f40-01d2-e4ee910d2930"

        whole = searched("cbactivity", f"guid={guid}")
        outcome = searched("cbactivity", f"guid={guid}", 'kinds="filemod, regmod"', "maxrows=5")

        assert {"filemod", "regmod", "modload"} <= set(whole.column("kind"))
        assert whole.column("time") == sorted(whole.column("time"))
        assert (len(outcome.events), set(outcome.column("kind"))) == (5, {"filemod", "regmod"})
        assert set(outcome.column("process_guid")) == {guid}
        assert any("raise maxrows" in text for level, text in outcome.messages if level == "INFO")

    def test_health(self, searched: Callable[..., Outcome]) -> None:
        outcome = searched("cbhealth")

        assert outcome.column("configured") == ["true"]
        assert int(outcome.column("requests.health")[0]) >= 1

    @pytest.mark.parametrize(
        ("command", "args", "said"),
        [
            ("cbprocess", ['query="process_name:a.exe (b"'], "This ( is never closed."),
            ("cbprocess", ['query="a"', "sort=up"], "expected a field and asc or desc"),
            ("cbactivity", ["guid=x"], 'guid is "x": expected a process guid'),
            ("cbactivity", [f"guid={GUID}"], "has no events of process"),
            ("cbactivity", [f"guid={GUID}", "kinds=netconn,all"], 'kinds has "all": expected some of filemod'),
        ],
    )
    def test_what_cannot_be_answered_is_a_sentence(
        self, searched: Callable[..., Outcome], command: str, args: Iterable[str], said: str
    ) -> None:
        outcome = searched(command, *args)

        assert outcome.events == []
        assert outcome.banners == []
        assert said in (outcome.error or "")
        assert "cannot read the request" not in (outcome.error or "")  # as it said of a guid that somebody typed
        assert "Traceback" not in outcome.log
        assert outcome.exit_code == 0

    def test_without_the_right_it_says_which(self, instance: Splunkd) -> None:
        outcome = instance.search("cbhealth", user=instance.user("guest"))

        assert "cbsigned_use" in (outcome.error or "")

    def test_before_setup_it_says_what_to_do(self, fresh: Splunkd) -> None:
        outcome = fresh.search("cbprocess", ["query=a"], user=fresh.user("analyst", roles=["cbsigned_user"]))

        assert "is not set up" in (outcome.error or "")
        assert outcome.events == []

    def test_every_command_with_these_options_is_one_of_ours(self) -> None:
        assert {"cbprocess", "cbbinary", "cbactivity", "cbhealth"} <= set(COMMANDS)
