"""What a search asks, what it remembers, and how answers become cells."""

from __future__ import annotations

from cbsigned_connectors.splunk import lineage_command
from cbsigned_connectors.splunk.streaming import ready_cells
from connectors.splunk.searching import Handler, Search, column, signed
from splunkd.frames import Table, body_of


def test_a_hash_is_asked_once_in_a_search() -> None:
    handler = Handler()
    search = Search(handler)

    first = search.chunk(b"aa", b"bb", b"aa")
    second = search.chunk(b"bb", b"cc")
    search.chunk(b"aa", b"bb", b"cc")

    assert [document["rows"] for document in handler.asked] == [[("aa", "", ""), ("bb", "", "")], [("cc", "", "")]]
    assert column(first, "cbsigned_publisher") == [b"aa", b"bb", b"aa"]
    assert column(second, "cbsigned_publisher") == [b"bb", b"cc"]
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


def test_only_what_is_shown_of_a_lineage_is_asked_for() -> None:
    handler = Handler()

    Search(handler, "lineage=true").chunk(b"aa")

    assert handler.asked[0]["lineage"] is True
    assert handler.asked[0]["lineage_fields"] == ["text", "ended_by", "why"]


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
    assert column(rows, "cbsigned_publisher") == [b"bb"]
    assert column(rows, "cbsigned_status") == [b"Signed"]


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
    assert column(rows, "cbsigned_status") == [b"Unknown", b"Signed"]
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

    assert column(rows, "cbsigned_publisher") == [b"%d" % number for number in range(100, 200)]


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


def test_hostile_answers_stay_in_their_cells() -> None:
    answer = signed({"rows": [["aa"]]})
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
