"""The generating commands: their frames on the installed splunk-sdk, and in the stand-in splunkd with a real EDR."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned_connectors.splunk import generated
from cbsigned_connectors.splunk.generated import Page
from cbsigned_connectors.splunk.generating import run
from cbsigned_connectors.splunk.options import COMMANDS
from cbsigned_connectors.splunk.splunkd import HandlerError
from connectors.splunk.scripted import GUID, KEY, PROCESS, Handler, found, page_of
from splunkd.frames import BadFrame, frame, parse_frame
from splunkd.instance import Splunkd
from splunkd.search import Outcome
from support import real_data

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
        parsed = parse_frame(rest)
        assert parsed is not None
        metadata, body, end = parsed
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
            ("cbprocess", ["query=x", "sort=up"], 'sort is "up": expected a field and asc or desc. Default: none.'),
            ("cbactivity", ["guid=a"], 'guid is "a": expected a process guid of Carbon Black\'s, 36 characters.'),
            ("cbactivity", [f"guid={GUID}", f"guid={GUID}"], "guid is given twice"),
            ("cbactivity", [f"guid={GUID}", "kinds=netconn,all"], 'kinds is "netconn,all": expected some of filemod,'),
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
            ("cbactivity", [f"guid={GUID}", "kinds=netconn,all"], 'kinds is "netconn,all": expected some of filemod'),
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
