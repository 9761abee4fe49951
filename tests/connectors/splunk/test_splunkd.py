"""The client of the handler: one connection, every refusal in words, the session key in none of them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler

import pytest

from cbsigned_connectors.splunk import splunkd
from cbsigned_connectors.splunk.splunkd import HandlerClient, HandlerError
from connectors.splunk.listening import KEY, answering, failure, serving


def hang_up(request: BaseHTTPRequestHandler, _body: bytes) -> None:
    request.close_connection = True


def drip(request: BaseHTTPRequestHandler, start: bytes) -> None:
    request.wfile.write(start)
    request.wfile.flush()
    with contextlib.suppress(OSError):
        for _ in range(100):
            request.wfile.write(b" ")
            request.wfile.flush()
            time.sleep(0.02)


def test_a_question_goes_to_its_route_with_the_session_key() -> None:
    with serving(answering()) as server, contextlib.closing(HandlerClient(server.uri, KEY)) as client:
        answer = client.ask("rows", {"fields": ["md5"]}, 5)

    assert answer == {"answers": []}
    assert server.requests == [("/services/cbsigned/rows", f"Splunk {KEY}", {"fields": ["md5"]})]


def test_one_connection_serves_all_questions() -> None:
    with serving(answering()) as server, contextlib.closing(HandlerClient(server.uri, KEY)) as client:
        for _ in range(5):
            client.ask("rows", {}, 5)

    assert server.connections == 1


def test_a_refusal_leaves_the_connection_usable() -> None:
    replies = iter([answering(429, b"{}"), answering()])
    with serving(lambda r, b: next(replies)(r, b)) as server:
        with contextlib.closing(HandlerClient(server.uri, KEY)) as client:
            with pytest.raises(HandlerError):
                client.ask("rows", {}, 5)
            client.ask("rows", {}, 5)

        assert server.connections == 1


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    with serving(answering(close=True)) as server, contextlib.closing(HandlerClient(server.uri, KEY)) as client:
        for _ in range(3):
            assert client.ask("rows", {}, 5) == {"answers": []}

    assert server.connections == 3


def test_it_is_replaced_once() -> None:
    replies = iter([answering(), hang_up, hang_up, answering()])
    with serving(lambda r, b: next(replies)(r, b)) as server:
        client = HandlerClient(server.uri, KEY)
        client.ask("rows", {}, 5)

        with pytest.raises(HandlerError, match="gave no answer") as caught:
            client.ask("rows", {}, 5)

        assert not caught.value.fatal
        assert len(server.requests) == 3
        assert client.ask("rows", {}, 5) == {"answers": []}
        client.close()


def test_a_fresh_connection_without_an_answer_is_not_tried_again() -> None:
    with serving(hang_up) as server:
        error = failure(server.uri)

    assert "gave no answer" in str(error)
    assert not error.fatal
    assert len(server.requests) == 1


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(f"http://127.0.0.1:{taken.getsockname()[1]}")

    assert "connection refused" in str(error)
    assert not error.fatal


@pytest.mark.parametrize(
    ("status", "body", "says", "fatal"),
    [
        pytest.param(401, b"<response/>", "session of this search has ended", True, id="401"),
        pytest.param(403, b"<response/>", "lacks the capability cbsigned_use", True, id="403"),
        pytest.param(404, b"<response/>", "Manage Apps", True, id="no handler"),
        pytest.param(404, b'{"messages": []}', "Manage Apps", True, id="no handler, in JSON"),
        pytest.param(404, b'{"error": "This look-up is no longer kept."}', "no longer kept", False, id="unknown job"),
        pytest.param(400, b'{"error": "row 7 is not a list."}', "row 7 is not a list", True, id="400"),
        pytest.param(409, b'{"error": "cbsigned is not set up."}', "not set up", True, id="409"),
        pytest.param(429, b'{"error": "The handler is busy."}', "busy", False, id="429 of the handler"),
        pytest.param(429, b"", "too much to do", False, id="429 of splunkd"),
        pytest.param(500, b"<html>Internal</html>", "splunkd.log", False, id="500"),
        pytest.param(503, b"", "splunkd.log", False, id="503"),
        pytest.param(302, b"", "302", False, id="redirect"),
    ],
)
def test_every_refusal_says_what_to_do(status: int, body: bytes, says: str, fatal: bool) -> None:
    with serving(answering(status, body)) as server:
        error = failure(server.uri)

    assert says in str(error)
    assert (fatal, status) == (error.fatal, error.status)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"<!DOCTYPE html><title>Login</title>", "text/html", id="html"),
        pytest.param(b"[1, 2]", "application/json", id="a list"),
        pytest.param(b'{"answers": [', "application/json", id="cut json"),
        pytest.param(b"[" * 100_000, "application/json", id="deep json"),
        pytest.param(b"\xff\xfe", "application/json", id="no text"),
    ],
)
def test_an_answer_that_is_not_the_handlers(body: bytes, kind: str) -> None:
    with serving(answering(200, body, kind)) as server:
        error = failure(server.uri)

    assert "not the handler's JSON" in str(error)


def test_an_error_that_repeats_the_key_is_told_without_it() -> None:
    told = json.dumps({"error": f"bad header Splunk {KEY}\nand \x1b[31mmore"}).encode()
    with serving(answering(400, told)) as server:
        error = failure(server.uri)

    assert str(error) == "bad header Splunk … and  [31mmore"


def test_a_long_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splunkd, "_MAX_ANSWER", 1_000)
    with serving(answering(200, b" " * 5_000_000)) as server:
        error = failure(server.uri)

    assert "fewer rows" in str(error)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Slow: ", id="header"),
        pytest.param(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{"a', id="body"),
    ],
)
def test_a_slow_answer_ends_in_time(start: bytes) -> None:
    with serving(lambda request, _body: drip(request, start)) as server:
        began = time.monotonic()
        error = failure(server.uri, timeout_s=0.2)
        took_s = time.monotonic() - began

    assert "no whole answer within 0.2 s" in str(error)
    assert not error.fatal
    assert took_s < 1.5


def test_an_answer_that_is_cut_off() -> None:
    def cut(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"answers":')
        request.close_connection = True

    with serving(cut) as server:
        error = failure(server.uri)

    assert "cut off" in str(error)


@pytest.mark.parametrize("key", ["", "one\r\nX-Other: two", "schlüssel", "a b"])
def test_a_key_that_is_none_is_not_sent(key: str) -> None:
    with pytest.raises(HandlerError, match="no usable session key") as caught:
        HandlerClient("https://127.0.0.1:8089", key)

    assert caught.value.fatal
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    ["http://splunk.example.test:8089", "ftp://127.0.0.1", "", "https://", "https://u:p@127.0.0.1", "https://h:x"],
)
def test_the_key_goes_to_no_such_address(uri: str) -> None:
    with pytest.raises(HandlerError, match="expected one such as") as caught:
        HandlerClient(uri, KEY)

    assert caught.value.fatal
    assert "u:p" not in str(caught.value)


def test_the_key_is_not_in_the_clients_repr() -> None:
    assert KEY not in repr(HandlerClient("https://127.0.0.1:8089", KEY))


def test_a_route_is_a_word_of_ours() -> None:
    with pytest.raises(ValueError, match="expected one word"):
        HandlerClient("https://127.0.0.1:8089", KEY).ask("../admin", {}, 1)


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        ([], []),
        ([1] * 7, [[1, 1, 1], [1, 1, 1], [1]]),
        ([4, 4, 4], [[4, 4], [4]]),
        ([1, 99, 1, 2], [[1], [99], [1, 2]]),
    ],
    ids=["nothing", "by number", "by size", "too large"],
)
def test_questions_go_in_as_few_requests_as_number_and_size_allow(sizes: list[int], asked: list[list[int]]) -> None:
    assert list(splunkd.batches(sizes, lambda size: size, most=3, most_size=10)) == asked


def test_little_is_imported() -> None:
    heavy = "logging requests splunklib urllib3 urllib.request dataclasses cbsigned"
    code = f"import sys, {splunkd.__name__}; print([m for m in {heavy.split()!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"
