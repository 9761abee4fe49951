"""What a search asks, what it remembers, and what it does when the handler fails."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import pytest

from cbsigned_connectors.splunk import command, lineage_command, protocol
from cbsigned_connectors.splunk.command import SearchCommand
from cbsigned_connectors.splunk.splunkd import HandlerError
from cbsigned_connectors.splunk.streaming import ready_cells
from splunkd.frames import Cell, Table, body_of, frame, parse_frame, read_table

Document = dict[str, Any]
Script = Callable[[Document], Union[Document, Exception]]
NAMES = (b"process_md5", b"_chunked_idx")


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _signed(document: Document, *, failed: bool = False) -> Document:
    """Answer as the handler does: the publisher is what was asked."""
    answers = []
    for row in document["rows"]:
        signing = dict.fromkeys(("issuer", "sign_time", "certainty"), "")
        signing.update(
            status="Signed", signed="true", publisher=str(row[0]), why="A record says so.", source="edr", age_s="0"
        )
        if failed:
            signing.update(status="Unknown", signed="", why="The EDR is down.")
        answers.append({"failed": failed, "signing": signing, "lineage": None})
    return {"answers": answers, "warnings": ["The EDR is down."] if failed else []}


class Handler:
    """Plays the handler: one reply of the script for each request, the last again and again."""

    def __init__(self, *script: Script, clock: Optional[Clock] = None, takes_s: float = 0.0) -> None:
        self.script = list(script) or [_signed]
        self.clock, self.takes_s = clock or Clock(), takes_s
        self.asked: list[Document] = []
        self.limits: list[float] = []
        self.made: list[tuple[str, str]] = []

    def __call__(self, uri: str, key: str) -> Handler:
        self.made.append((uri, key))
        return self

    def ask(self, route: str, document: Document, timeout_s: float) -> Document:
        assert route == "rows"
        self.asked.append(document)
        self.limits.append(timeout_s)
        reply = (self.script.pop(0) if len(self.script) > 1 else self.script[0])(document)
        self.clock.now += min(self.takes_s, timeout_s)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Search:
    """One search process, fed chunk by chunk."""

    def __init__(
        self, handler: Handler, *arguments: str, name: str = "cbsigned", preview: bool = False, **more: Any
    ) -> None:
        plan = lineage_command.plan if name == "cblineage" else command.plan
        self.command = SearchCommand(name, plan, handler, clock=handler.clock, sleep=handler.clock.sleep, **more)
        info = {"args": list(arguments), "sid": "1.2", "splunkd_uri": "https://127.0.0.1:8089", "session_key": "key"}
        self.getinfo = self.command.getinfo({"action": "getinfo", "preview": preview, "searchinfo": info})
        self.replies: list[Document] = []

    def chunk(self, *cells: Cell, names: Sequence[bytes] = NAMES) -> list[dict[bytes, Cell]]:
        """Return the rows that come back for events with these cells in the first column."""
        rows = [(found, *[b""] * (len(names) - 2), b"%d" % number) for number, found in enumerate(cells)]
        return self.body(body_of(Table(tuple(names), rows)))

    def body(self, body: bytes) -> list[dict[bytes, Cell]]:
        sink = io.BytesIO()
        protocol.serve(self.command, io.BytesIO(frame({"action": "execute", "finished": False}, body)), sink)
        parsed = parse_frame(sink.getvalue())
        assert parsed is not None
        metadata, reply, end = parsed
        assert end == len(sink.getvalue())
        self.replies.append(metadata)
        table = read_table(reply) if reply else Table((), [])
        return [dict(zip(table.names, row)) for row in table.rows]

    @property
    def banners(self) -> list[tuple[int, str]]:
        """Number of the chunk and text of every message."""
        return [
            (number, text)
            for number, reply in enumerate(self.replies)
            for level, text in reply.get("inspector", {}).get("messages", [])
            if level == "WARN"
        ]


def _failing(text: str = "down", *, fatal: bool = False, status: Optional[int] = None) -> Script:
    return lambda _document: HandlerError(text, fatal=fatal, status=status)


def _column(rows: list[dict[bytes, Cell]], name: str) -> list[Cell]:
    return [row[name.encode()] for row in rows]


def test_a_hash_is_asked_once_in_a_search() -> None:
    handler = Handler()
    search = Search(handler)

    first = search.chunk(b"aa", b"bb", b"aa")
    second = search.chunk(b"bb", b"cc")
    search.chunk(b"aa", b"bb", b"cc")

    assert [document["rows"] for document in handler.asked] == [[("aa", "", ""), ("bb", "", "")], [("cc", "", "")]]
    assert _column(first, "cbsigned_publisher") == [b"aa", b"bb", b"aa"]
    assert _column(second, "cbsigned_publisher") == [b"bb", b"cc"]
    assert handler.made == [("https://127.0.0.1:8089", "key")]
    assert search.banners == []


def test_a_request_is_as_agreed() -> None:
    handler = Handler()

    Search(handler, "cache=false", "timeout=9").chunk(b"aa")

    assert handler.asked == [
        {
            "fields": ["process_md5", "md5", "process_hash"], "rows": [("aa", "", "")], "lineage": False,
            "max_depth": 16, "cache": False, "timeout_s": 7.2, "wait_s": 5.0,
        }
    ]  # fmt: skip


def test_the_handler_is_given_less_time_than_we_wait_so_that_part_of_an_answer_comes() -> None:
    handler = Handler()

    Search(handler, "timeout=60").chunk(b"aa")

    assert (handler.asked[0]["timeout_s"], handler.limits) == (58.0, [30.0])


def test_the_same_hash_in_another_layout_is_not_asked_again() -> None:
    handler = Handler()
    search = Search(handler)

    search.chunk(b"aa", b"bb")
    search.body(body_of(Table((b"_raw", b"process_md5"), [(b"x, y", b"aa"), (b"z", b"bb")])))
    rows = search.body(body_of(Table((b"process_md5", b"cbsigned_status", b"_chunked_idx"), [(b"bb", b"old", b"0")])))

    assert len(handler.asked) == 1
    assert _column(rows, "cbsigned_publisher") == [b"bb"]
    assert _column(rows, "cbsigned_status") == [b"Signed"]


def test_the_other_line_end_in_the_middle_of_a_search_is_answered_in_kind() -> None:
    search = Search(Handler())
    search.chunk(b"aa")

    body = b"process_md5,_chunked_idx,__mv_process_md5,__mv__chunked_idx\r\naa,0,,\r\nbb,1,,\r\n"
    _metadata, pieces = search.command.execute({"finished": False}, body)

    lines = b"".join(pieces).split(b"\r\n")
    assert len(lines) == 4
    assert not any(b"\n" in line for line in lines)


def test_new_questions_of_a_chunk_go_out_in_requests_of_ten_thousand() -> None:
    handler = Handler()

    Search(handler).chunk(*[b"%d" % number for number in range(1, 25_001)])

    assert [len(document["rows"]) for document in handler.asked] == [10_000, 10_000, 5_000]


def test_a_request_is_bounded_in_size_too() -> None:
    handler = Handler()

    rows = Search(handler).chunk(*[b"%d" % number + b"x" * 9000 for number in range(1500)])

    assert len(rows) == 1500
    assert [len(document["rows"]) for document in handler.asked] == [1024, 476]
    assert {len(row[0]) for document in handler.asked for row in document["rows"]} == {8192}


def test_a_multi_value_cell_is_sent_as_a_list() -> None:
    handler = Handler()

    Search(handler).chunk((b"aa", b"b$b"), tuple(b"%d" % number for number in range(100)))

    assert handler.asked[0]["rows"][0][0] == ("aa", "b$b")
    assert len(handler.asked[0]["rows"][1][0]) == 64


def test_an_event_without_a_hash_is_not_asked_about() -> None:
    handler = Handler()

    rows = Search(handler, "field=file_hash").chunk(b"", b"aa", names=(b"file_hash", b"_chunked_idx"))

    assert handler.asked[0]["fields"] == ["process_hash"]
    assert handler.asked[0]["rows"] == [("aa",)]
    assert _column(rows, "cbsigned_status") == [b"Unknown", b"Signed"]
    told = 'it has nothing in "file_hash". Name the field that has the MD5 or SHA-256 with field=…'
    assert rows[0][b"cbsigned_why"] == f"The event has no hash: {told}".encode()


def test_a_preview_asks_nothing() -> None:
    handler = Handler()

    rows = Search(handler, preview=True).chunk(b"aa")

    assert handler.asked == []
    assert rows[0][b"process_md5"] == b"aa"
    assert rows[0][b"cbsigned_why"] == b"Nothing is looked up for a preview; the finished search has the answer."


def test_what_is_remembered_is_bounded() -> None:
    handler = Handler()
    search = Search(handler, most=10)
    search.chunk(*[b"%d" % number for number in range(100, 109)])
    search.chunk(*[b"%d" % number for number in range(109, 112)])

    search.chunk(*[b"%d" % number for number in range(107, 112)])
    search.chunk(b"100")

    assert [len(document["rows"]) for document in handler.asked] == [9, 3, 1]


def test_a_chunk_with_more_hashes_than_are_remembered_is_answered() -> None:
    rows = Search(Handler(), most=10).chunk(*[b"%d" % number for number in range(100, 200)])

    assert _column(rows, "cbsigned_publisher") == [b"%d" % number for number in range(100, 200)]


def test_many_layouts_do_not_pile_up() -> None:
    """Seen in the stand-in splunkd: the 17th header of a search also dropped all answers."""
    handler = Handler()
    search = Search(handler)

    for number in range(50):
        search.body(body_of(Table((b"process_md5", b"x%d" % number), [(b"aa", b"")])))

    stream = search.command._stream
    assert stream is not None
    assert len(stream._layouts) <= 17
    assert len(handler.asked) == 1


def test_a_job_is_asked_for_until_it_is_done() -> None:
    job: Script = lambda _document: {"job": "j1"}  # noqa: E731
    handler = Handler(job, job, lambda _document: _signed({"rows": [["aa"]]}))

    rows = Search(handler).chunk(b"aa")

    assert [document.get("job") for document in handler.asked] == [None, "j1", "j1"]
    assert _column(rows, "cbsigned_status") == [b"Signed"]


def test_a_lost_job_is_begun_again_once() -> None:
    job: Script = lambda _document: {"job": "j1"}  # noqa: E731
    lost = _failing("This look-up is no longer kept.", status=404)

    handler = Handler(job, lost, job, lambda _document: _signed({"rows": [["aa"]]}))
    found = Search(handler).chunk(b"aa")
    again = Handler(job, lost, job, lost)
    search = Search(again)
    missed = search.chunk(b"aa")

    assert [document.get("job") for document in handler.asked] == [None, "j1", None, "j1"]
    assert _column(found, "cbsigned_status") == [b"Signed"]
    assert len(again.asked) == 4
    assert _column(missed, "cbsigned_why") == [b"This look-up is no longer kept."]
    assert len(search.banners) == 1


def test_a_job_that_is_never_done_costs_the_timeout_once() -> None:
    clock = Clock()
    handler = Handler(lambda _document: {"job": "j1"}, clock=clock, takes_s=5.0)
    search = Search(handler, "timeout=12")

    rows = search.chunk(b"aa", b"bb")
    for _ in range(20):
        search.chunk(b"cc", b"dd", b"aa")

    assert clock.now == pytest.approx(112.0)
    assert handler.limits == pytest.approx([12.0, 7.0, 2.0])
    assert [document["wait_s"] for document in handler.asked] == pytest.approx([5.0, 5.0, 1.0])
    assert _column(rows, "cbsigned_status") == [b"Unknown"] * 2
    assert b"No answer within the 12 s" in rows[0][b"cbsigned_why"]
    assert [number for number, _text in search.banners] == [0]


def test_a_silent_handler_costs_the_timeout_of_the_search_not_one_for_each_chunk() -> None:
    clock = Clock()
    handler = Handler(_failing("no whole answer in time"), clock=clock, takes_s=1000.0)
    search = Search(handler)

    for number in range(100, 500):
        clock.now += 0.5
        search.chunk(b"%d" % number)

    assert sum(handler.limits) == pytest.approx(60.0)
    assert handler.limits == pytest.approx([30.0, 30.0])
    assert len(search.banners) == 1


def test_a_refusal_ends_all_asking_and_every_row_says_why() -> None:
    handler = Handler(_failing("Your role lacks the capability cbsigned_use.", fatal=True, status=403))
    search = Search(handler)

    rows = search.chunk(b"aa", b"bb")
    for number in range(1000):
        handler.clock.now += 10
        rows += search.chunk(b"%d" % number)

    assert len(handler.asked) == 1
    assert {(row[b"cbsigned_status"], row[b"cbsigned_why"]) for row in rows} == {
        (b"Unknown", b"Your role lacks the capability cbsigned_use.")
    }
    assert search.banners == [
        (
            0,
            "cbsigned: Your role lacks the capability cbsigned_use. Events without an answer say so, and are otherwise "
            "unchanged.",
        )
    ]


def test_a_failed_request_is_made_again_by_a_later_chunk() -> None:
    handler = Handler(_failing("cut off"), _signed)
    search = Search(handler)

    failed = search.chunk(b"aa")
    handler.clock.now += 0.9
    early = search.chunk(b"aa", b"bb")
    handler.clock.now += 0.2
    late = search.chunk(b"aa", b"bb")

    assert _column(failed, "cbsigned_why") == [b"cut off"]
    assert _column(early, "cbsigned_why") == [b"cut off"] * 2
    assert _column(late, "cbsigned_status") == [b"Signed"] * 2
    assert len(handler.asked) == 2
    assert len(search.banners) == 1


def test_a_handler_that_always_fails_is_asked_five_times_at_most() -> None:
    handler = Handler(_failing("The handler failed (500).", status=500))
    search = Search(handler)

    for number in range(1000):
        handler.clock.now += 1.0
        search.chunk(b"%d" % number)

    assert len(handler.asked) == 5
    assert len(search.banners) == 1


def test_a_busy_handler_is_asked_again_after_a_moment() -> None:
    busy = _failing("busy", status=429)
    handler = Handler(busy, busy, _signed)

    rows = Search(handler).chunk(b"aa")

    assert _column(rows, "cbsigned_status") == [b"Signed"]
    assert handler.clock.now == pytest.approx(103.0)


def test_waiting_for_a_busy_handler_counts_as_waiting() -> None:
    handler = Handler(_failing("busy", status=429))
    search = Search(handler, "timeout=2")

    rows = search.chunk(b"aa")

    assert handler.clock.now == pytest.approx(102.0)
    assert len(handler.asked) == 2
    assert b"No answer within the 2 s" in rows[0][b"cbsigned_why"]


def test_a_handler_without_settings_ends_the_search_with_what_to_do() -> None:
    search = Search(Handler(_failing("No EDR server is configured. Open the setup page.", fatal=True, status=409)))

    rows = search.chunk(b"aa")

    assert rows == []
    assert search.replies == [{"finished": True, "error": "No EDR server is configured. Open the setup page."}]


def test_settings_that_go_in_the_middle_of_a_search_cost_no_event() -> None:
    handler = Handler(_signed, _failing("No EDR server is configured.", fatal=True, status=409))
    search = Search(handler)
    search.chunk(b"aa")

    rows = search.chunk(b"aa", b"bb")

    assert _column(rows, "cbsigned_status") == [b"Signed", b"Unknown"]
    assert [number for number, _text in search.banners] == [1]


def test_a_failed_look_up_is_tried_again_after_a_pause_that_grows() -> None:
    handler = Handler(lambda document: _signed(document, failed=True))
    search = Search(handler)

    rows = search.chunk(b"aa")
    for _ in range(599):
        handler.clock.now += 0.1
        search.chunk(b"aa")

    assert _column(rows, "cbsigned_why") == [b"The EDR is down."]
    assert len(handler.asked) == 6  # after 0, 1, 3, 7, 15 and 31 s
    assert search.banners == [
        (0, "cbsigned: The EDR is down. Events without an answer say so, and are otherwise unchanged.")
    ]


def test_a_failed_look_up_that_succeeds_later_is_remembered() -> None:
    handler = Handler(lambda document: _signed(document, failed=True), _signed)
    search = Search(handler)
    search.chunk(b"aa")

    handler.clock.now += 1.1
    rows = search.chunk(b"aa")
    handler.clock.now += 100
    search.chunk(b"aa")

    assert _column(rows, "cbsigned_status") == [b"Signed"]
    assert len(handler.asked) == 2


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"answers": []},
        {"answers": "x"},
        {"answers": [None]},
        {"answers": [{"failed": False, "signing": {}, "lineage": None}]},
        {"answers": [{"failed": False, "signing": {"status": 5}, "lineage": None}]},
        {"answers": [{"failed": False, "signing": {"status": "Signed", "why": ["a", 1]}, "lineage": None}]},
        {"answers": [{"failed": False, "signing": {"status": "Signed"}, "lineage": []}]},
        {"answers": [{"signing": {"status": "Signed"}, "lineage": None}]},
        {"job": 5},
        {"error": "x"},
    ],
    ids=str,
)
def test_an_answer_that_is_none_costs_no_event(garbage: Document) -> None:
    search = Search(Handler(lambda _document: garbage))

    rows = search.chunk(b"aa", b"")

    assert _column(rows, "process_md5") == [b"aa", b""]
    assert _column(rows, "cbsigned_status") == [b"Unknown"] * 2
    assert b"cannot be read" in rows[0][b"cbsigned_why"]
    assert len(search.banners) == 1


def test_an_address_that_cannot_be_used_costs_no_event() -> None:
    plan = command.plan
    search = SearchCommand("cbsigned", plan)
    search.getinfo({"searchinfo": {"args": []}})

    metadata, pieces = search.execute({"finished": True}, body_of(Table(NAMES, [(b"aa", b"0")])))

    assert b"The address of splunkd is" in b"".join(pieces)
    assert len(metadata["inspector"]["messages"]) == 1


def test_hostile_answers_stay_in_their_cells() -> None:
    answer = _signed({"rows": [["aa"]]})
    answer["answers"][0]["signing"].update(publisher='a","b\n=cmd|x', issuer="\ud800", why=["one", "$t$;$wo$"])

    (row,) = Search(Handler(lambda _document: answer)).chunk(b"aa")

    assert row[b"cbsigned_publisher"] == b'a","b\n=cmd|x'
    assert row[b"cbsigned_issuer"] == b"?"
    assert row[b"cbsigned_why"] == (b"one", b"$t$;$wo$")


def test_names_of_a_lineage_have_a_multi_value_column() -> None:
    lineage = {"text": "a <- b", "names": ["a", "b"], "statuses": ["Signed"], "depth": "1"}
    outputs = lineage_command.plan(
        {"guid": "", "prefix": "l_", "timeout": 1.0, "declare": False, "cache": True}
    ).outputs

    cells = ready_cells(outputs, {"failed": False, "signing": {"status": "Signed"}, "lineage": lineage})

    assert cells == b'"a <- b",,1,,,,"a\nb",Signed,,,,,,,,"$a$;$b$",,'


def test_without_a_lineage_the_reason_of_the_signing_is_told() -> None:
    outputs = {"why": ("lineage", "why")}

    assert ready_cells(outputs, {"signing": {"status": "Unknown", "why": "none"}, "lineage": None}) == b"none,"
    assert ready_cells(outputs, "down") == b"down,"
