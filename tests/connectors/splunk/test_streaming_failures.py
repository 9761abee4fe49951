"""What a search does when the handler fails, is slow, busy or gone: no event is lost, and nobody is asked for ever."""

from __future__ import annotations

import pytest

from cbsigned_connectors.splunk import command
from cbsigned_connectors.splunk.command import SearchCommand
from connectors.splunk.searching import NAMES, Clock, Document, Handler, Script, Search, column, failing, signed
from splunkd.frames import Table, body_of


def test_a_job_is_asked_for_until_it_is_done() -> None:
    job: Script = lambda _document: {"job": "j1"}  # noqa: E731
    handler = Handler(job, job, lambda _document: signed({"rows": [["aa"]]}))

    rows = Search(handler).chunk(b"aa")

    assert [document.get("job") for document in handler.asked] == [None, "j1", "j1"]
    assert column(rows, "cbsigned_status") == [b"Signed"]


def test_a_lost_job_is_begun_again_once() -> None:
    job: Script = lambda _document: {"job": "j1"}  # noqa: E731
    lost = failing("This look-up is no longer kept.", status=404)

    handler = Handler(job, lost, job, lambda _document: signed({"rows": [["aa"]]}))
    found = Search(handler).chunk(b"aa")
    again = Handler(job, lost, job, lost)
    search = Search(again)
    missed = search.chunk(b"aa")

    assert [document.get("job") for document in handler.asked] == [None, "j1", None, "j1"]
    assert column(found, "cbsigned_status") == [b"Signed"]
    assert len(again.asked) == 4
    assert column(missed, "cbsigned_why") == [b"This look-up is no longer kept."]
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
    assert column(rows, "cbsigned_status") == [b"Unknown"] * 2
    assert b"No answer within the 12 s" in rows[0][b"cbsigned_why"]
    assert [number for number, _text in search.banners] == [0]


def test_a_silent_handler_costs_the_timeout_of_the_search_not_one_for_each_chunk() -> None:
    clock = Clock()
    handler = Handler(failing("no whole answer in time"), clock=clock, takes_s=1000.0)
    search = Search(handler)

    for number in range(100, 500):
        clock.now += 0.5
        search.chunk(b"%d" % number)

    assert sum(handler.limits) == pytest.approx(60.0)
    assert handler.limits == pytest.approx([30.0, 30.0])
    assert len(search.banners) == 1


def test_a_refusal_ends_all_asking_and_every_row_says_why() -> None:
    handler = Handler(failing("Your role lacks the capability cbsigned_use.", fatal=True, status=403))
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
    handler = Handler(failing("cut off"), signed)
    search = Search(handler)

    failed = search.chunk(b"aa")
    handler.clock.now += 0.9
    early = search.chunk(b"aa", b"bb")
    handler.clock.now += 0.2
    late = search.chunk(b"aa", b"bb")

    assert column(failed, "cbsigned_why") == [b"cut off"]
    assert column(early, "cbsigned_why") == [b"cut off"] * 2
    assert column(late, "cbsigned_status") == [b"Signed"] * 2
    assert len(handler.asked) == 2
    assert len(search.banners) == 1


def test_a_handler_that_always_fails_is_asked_five_times_at_most() -> None:
    handler = Handler(failing("The handler failed (500).", status=500))
    search = Search(handler)

    for number in range(1000):
        handler.clock.now += 1.0
        search.chunk(b"%d" % number)

    assert len(handler.asked) == 5
    assert len(search.banners) == 1


def test_a_busy_handler_is_asked_again_after_a_moment() -> None:
    busy = failing("busy", status=429)
    handler = Handler(busy, busy, signed)

    rows = Search(handler).chunk(b"aa")

    assert column(rows, "cbsigned_status") == [b"Signed"]
    assert handler.clock.now == pytest.approx(103.0)


def test_waiting_for_a_busy_handler_counts_as_waiting() -> None:
    handler = Handler(failing("busy", status=429))
    search = Search(handler, "timeout=2")

    rows = search.chunk(b"aa")

    assert handler.clock.now == pytest.approx(102.0)
    assert len(handler.asked) == 2
    assert b"No answer within the 2 s" in rows[0][b"cbsigned_why"]


def test_a_handler_without_settings_ends_the_search_with_what_to_do() -> None:
    search = Search(Handler(failing("No EDR server is configured. Open the setup page.", fatal=True, status=409)))

    rows = search.chunk(b"aa")

    assert rows == []
    assert search.replies == [{"finished": True, "error": "No EDR server is configured. Open the setup page."}]


def test_settings_that_go_in_the_middle_of_a_search_cost_no_event() -> None:
    handler = Handler(signed, failing("No EDR server is configured.", fatal=True, status=409))
    search = Search(handler)
    search.chunk(b"aa")

    rows = search.chunk(b"aa", b"bb")

    assert column(rows, "cbsigned_status") == [b"Signed", b"Unknown"]
    assert [number for number, _text in search.banners] == [1]


def test_a_failed_look_up_is_tried_again_after_a_pause_that_grows() -> None:
    handler = Handler(lambda document: signed(document, failed=True))
    search = Search(handler)

    rows = search.chunk(b"aa")
    for _ in range(599):
        handler.clock.now += 0.1
        search.chunk(b"aa")

    assert column(rows, "cbsigned_why") == [b"The EDR is down."]
    assert len(handler.asked) == 6  # after 0, 1, 3, 7, 15 and 31 s
    assert search.banners == [
        (0, "cbsigned: The EDR is down. Events without an answer say so, and are otherwise unchanged.")
    ]


def test_a_failed_look_up_that_succeeds_later_is_remembered() -> None:
    handler = Handler(lambda document: signed(document, failed=True), signed)
    search = Search(handler)
    search.chunk(b"aa")

    handler.clock.now += 1.1
    rows = search.chunk(b"aa")
    handler.clock.now += 100
    search.chunk(b"aa")

    assert column(rows, "cbsigned_status") == [b"Signed"]
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

    assert column(rows, "process_md5") == [b"aa", b""]
    assert column(rows, "cbsigned_status") == [b"Unknown"] * 2
    assert b"cannot be read" in rows[0][b"cbsigned_why"]
    assert len(search.banners) == 1


def test_an_address_that_cannot_be_used_costs_no_event() -> None:
    plan = command.plan
    search = SearchCommand("cbsigned", plan)
    search.getinfo({"searchinfo": {"args": []}})

    metadata, pieces = search.execute({"finished": True}, body_of(Table(NAMES, [(b"aa", b"0")])))

    assert b"The address of splunkd is" in b"".join(pieces)
    assert len(metadata["inspector"]["messages"]) == 1
