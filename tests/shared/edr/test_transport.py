from __future__ import annotations

import gzip
import http.client
import logging
import socket
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any, Callable

import pytest

from cbsigned.edr import EdrClient
from cbsigned.edr import wire as wire_module
from cbsigned.edr.answers import Answer
from cbsigned.errors import (
    ConfigError,
    SourceAuthError,
    SourceBusy,
    SourceError,
    SourceQueryError,
    SourceResponseError,
    SourceTimeout,
    SourceUnavailable,
)
from cbsigned.gaps import Cause
from cbsigned.settings import EdrSettings
from cbsigned.timing import Deadline
from edr_server import LOGIN_PAGE, EdrServer, Fault

Start = Callable[..., EdrServer]
Client = Callable[..., Any]
JSON = "application/json"
SLACK_S = 0.5

FAULTS = {
    "400": (Fault(400, b'{"reason": "query_malformed_syntax"}', JSON), SourceQueryError, Cause.BLOCKED, "query_malfor"),
    "400 html": (Fault(400, LOGIN_PAGE), SourceQueryError, Cause.BLOCKED, "(400): blocked by policy or syntax"),
    "401": (Fault(401, b"<title>401 Unauthorized</title>"), SourceAuthError, Cause.REFUSED, "API token (401)"),
    "403": (Fault(403), SourceAuthError, Cause.REFUSED, "lacks the right"),
    "404": (Fault(404, LOGIN_PAGE), SourceResponseError, Cause.UNREADABLE, "no such route (404)"),
    "405": (Fault(405), SourceResponseError, Cause.UNREADABLE, "HTTP method (405)"),
    "407": (Fault(407), SourceAuthError, Cause.REFUSED, "proxy"),
    "409": (Fault(409), SourceResponseError, Cause.UNREADABLE, "(409)"),
    "413": (Fault(413), SourceQueryError, Cause.BLOCKED, "too long (413)"),
    "429": (Fault(429), SourceBusy, Cause.RATE_LIMITED, "slow down (429)"),
    "500": (Fault(500, b"Unhandled exception.", "text/plain"), SourceUnavailable, Cause.UNAVAILABLE, "(500,"),
    "501": (Fault(501), SourceUnavailable, Cause.UNAVAILABLE, "(501)"),
    "502": (Fault(502, LOGIN_PAGE), SourceUnavailable, Cause.UNAVAILABLE, "(502, its back end"),
    "503": (Fault(503), SourceUnavailable, Cause.UNAVAILABLE, "(503, overloaded"),
    "504": (Fault(504), SourceUnavailable, Cause.UNAVAILABLE, "(504, its search took too long)"),
    "204": (Fault(204, headers={"Content-Length": ""}), SourceResponseError, Cause.UNREADABLE, "(204)"),
    "302": (Fault(302, headers={"Location": "/login"}), SourceResponseError, Cause.UNREADABLE, "login page"),
    "302 to no address": (
        Fault(302, headers={"Location": "http://[x"}),
        SourceResponseError,
        Cause.UNREADABLE,
        "login page",
    ),
    "302 to bytes": (Fault(302, headers={"Location": "/\xff"}), SourceResponseError, Cause.UNREADABLE, "login page"),
    "html": (Fault(200, LOGIN_PAGE), SourceResponseError, Cause.UNREADABLE, "answered HTML, not JSON"),
    "html without a type": (Fault(200, LOGIN_PAGE, ""), SourceResponseError, Cause.UNREADABLE, "answered HTML"),
    "truncated JSON": (Fault(200, b'{"results": [{"md5"', JSON), SourceResponseError, Cause.UNREADABLE, "cut off"),
    "cut answer": (Fault(200, b'{"results": []}', JSON, mode="cut"), SourceResponseError, Cause.UNREADABLE, "within"),
    "wrong content type": (Fault(200, b"{}", "text/plain"), SourceResponseError, Cause.UNREADABLE, "text/plain"),
    "strange content type": (Fault(200, b"{}", "a b<c>"), SourceResponseError, Cause.UNREADABLE, "something else"),
    "empty": (Fault(200, b"", JSON), SourceResponseError, Cause.UNREADABLE, "empty answer"),
    "list": (Fault(200, b"[]", JSON), SourceResponseError, Cause.UNREADABLE, "a list, expected an object"),
    "nested": (Fault(200, b"[" * 100_000, JSON), SourceResponseError, Cause.UNREADABLE, "cut off or damaged"),
    "nested half characters": (
        Fault(200, b'{"a":' * 101 + b'"\\ud800"' + b"}" * 101, JSON),
        SourceResponseError,
        Cause.UNREADABLE,
        "damaged",
    ),
    "not utf-8": (Fault(200, b'{"a": "\xff"}', JSON), SourceResponseError, Cause.UNREADABLE, "damaged"),
    "half characters as bytes": (
        Fault(200, b'{"a": "\xed\xa0\x80"}', JSON),
        SourceResponseError,
        Cause.UNREADABLE,
        "damaged",
    ),
    "utf-16": (Fault(200, '{"a": "\\ud800"}'.encode("utf-16"), JSON), SourceResponseError, Cause.UNREADABLE, "damaged"),
    "bad gzip": (
        Fault(200, b"{}", JSON, {"Content-Encoding": "gzip"}),
        SourceResponseError,
        Cause.UNREADABLE,
        "unpack",
    ),
    "brotli": (Fault(200, b"{}", JSON, {"Content-Encoding": "br"}), SourceResponseError, Cause.UNREADABLE, "packed"),
    "close": (Fault(mode="close"), SourceUnavailable, Cause.UNAVAILABLE, "closed the connection without an answer"),
    "silent": (Fault(mode="silent"), SourceTimeout, Cause.TIMEOUT, "no whole answer within 0.6 s"),
    "a byte a second": (Fault(mode="drip_body"), SourceTimeout, Cause.TIMEOUT, "no whole answer within 0.6 s"),
    "headers, a byte a second": (Fault(mode="drip_headers"), SourceTimeout, Cause.TIMEOUT, "no whole answer"),
}


def failure(client: Any, deadline: Deadline | None = None) -> SourceError:
    with pytest.raises(SourceError) as raised:
        client.ask("/api/info", deadline or Deadline(5))
    return raised.value


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_own_cause_and_text_within_the_deadline(name: str, start: Start, client: Client) -> None:
    fault, kind, cause, text = FAULTS[name]
    server = start()
    server.fail("*", fault)
    asked = client(server, retries=1)
    began = time.monotonic()

    error = failure(asked, Deadline(0.6))

    assert time.monotonic() - began < 0.6 + SLACK_S
    assert isinstance(error, kind)
    assert cause is error.cause
    assert text in str(error)
    assert f"127.0.0.1:{server.port}" in str(error)


@pytest.mark.parametrize("name", FAULTS)
def test_no_failure_shows_or_drags_along_the_token(
    name: str, start: Start, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = start()
    server.fail("*", FAULTS[name][0])
    asked = client(server, retries=1)

    error: BaseException | None = failure(asked, Deadline(0.3))

    told = repr(asked) + caplog.text
    while error is not None:
        told += repr(error) + str(vars(error))
        error = error.__cause__ or error.__context__
    assert server.token not in told
    assert server.requests[0].headers["x-auth-token"] == server.token


@pytest.mark.parametrize("mode", ["drip_body", "drip_headers"])
def test_bytes_that_come_faster_than_any_time_out_do_not_stretch_the_deadline(
    mode: str, start: Start, client: Client
) -> None:
    server = start()
    server.fail("*", Fault(mode=mode, drip_s=0.05))
    began = time.monotonic()

    error = failure(client(server), Deadline(0.5))

    assert isinstance(error, SourceTimeout)
    assert 0.4 < time.monotonic() - began < 0.5 + SLACK_S


def test_a_document_comes_back_with_the_servers_clock(start: Start, client: Client) -> None:
    server = start()

    answer = client(server).ask("/api/info", Deadline(5))

    assert answer.document["version"] == "7.3.0.200609.1533"
    assert abs(answer.served_at.timestamp() - time.time()) < 5


def test_a_byte_order_mark_is_passed_over(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(200, '{"a": "é"}'.encode("utf-8-sig"), JSON))

    assert client(server).ask("/api/info", Deadline(5)).document == {"a": "é"}


@pytest.mark.parametrize(
    "broken",
    [
        ValueError("token"),
        UnicodeDecodeError("utf-8", b"token", 0, 1, "token"),
        http.client.LineTooLong("token"),
        OSError("token"),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_whatever_breaks_an_exchange_is_an_error_of_ours(
    broken: Exception, start: Start, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = client(start(), retries=0)

    def send(*_args: object, **_more: object) -> None:
        raise broken

    monkeypatch.setattr(asked._session, "send", send)
    error = failure(asked)

    assert "token" not in str(error)
    assert error.__context__ is None


def test_connections_are_reused(start: Start, client: Client) -> None:
    server = start()
    asked = client(server)

    for _ in range(20):
        asked.ask("/api/info", Deadline(5))

    assert (server.counts["info"], server.connections) == (20, 1)


def test_an_idle_connection_that_the_server_closed_costs_no_try(start: Start, client: Client) -> None:
    server = start()
    asked = client(server, retries=0)
    asked.ask("/api/info", Deadline(5))
    server.fail("*", Fault(mode="close"), times=1)

    assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)
    assert asked.sleeps == []


def test_no_more_requests_are_out_than_parallel_says(start: Start, client: Client) -> None:
    server = start(latency_s=0.05)
    asked = client(server, parallel=2)
    threads = [threading.Thread(target=asked.ask, args=("/api/info", Deadline(5))) for _ in range(6)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (server.counts["info"], server.connections) == (6, 2)


def test_waiting_for_others_ends_at_the_deadline(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(mode="silent"))
    asked = client(server, parallel=1)
    first = threading.Thread(target=lambda: failure(asked, Deadline(1.0)))
    first.start()
    while not server.requests:
        threading.Event().wait(0.01)

    error = failure(asked, Deadline(0.2))
    first.join()

    assert isinstance(error, SourceTimeout)
    assert "was not asked" in str(error)
    assert server.counts["info"] == 1


class TestSharing:
    """Seen with many threads on one client: the limit of one request ran while it waited for others."""

    def test_waiting_for_others_takes_nothing_from_the_time_of_a_request(self, start: Start, client: Client) -> None:
        server = start(latency_s=0.2)
        asked = client(server, parallel=1, timeout_s=0.5)
        answers: list[Answer] = []
        threads = [
            threading.Thread(target=lambda: answers.append(asked.ask("/api/info", Deadline(20)))) for _ in range(6)
        ]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(answers) == 6

    def test_a_time_out_names_the_time_that_the_request_had(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(mode="silent"))
        asked = client(server, parallel=1, timeout_s=0.4)
        errors: list[SourceError] = []
        thread = threading.Thread(target=lambda: errors.append(failure(asked, Deadline(5))))

        with asked._slot(Deadline(1)):
            thread.start()
            thread.join(0.3)
            freed = time.monotonic()
        thread.join()

        assert time.monotonic() - freed >= 0.4
        assert "no whole answer within 0.4 s" in str(errors[0])

    def test_waiting_in_vain_says_nothing_of_the_server(self, start: Start, client: Client) -> None:
        server = start()
        asked = client(server, parallel=1)
        with asked._slot(Deadline(1)):
            errors = [failure(asked, Deadline(0.01)) for _ in range(7)]

        assert {True} == {"1 other requests took all the time" in str(error) for error in errors}
        assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)


@pytest.mark.parametrize("fault", [Fault(429), Fault(502), Fault(503), Fault(504), Fault(mode="close")])
def test_what_may_pass_is_tried_again(fault: Fault, start: Start, client: Client) -> None:
    server = start()
    server.fail("*", fault, times=3)
    asked = client(server, retries=3)

    asked.ask("/api/info", Deadline(60))

    assert server.counts["info"] == 4
    assert asked.sleeps == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_what_will_not_pass_is_asked_once(status: int, start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(status))

    failure(client(server, retries=3))

    assert server.counts["info"] == 1


def test_the_wait_between_tries_is_bounded(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(503))
    asked = client(server, retries=8, random=lambda: 1.0)

    failure(asked, Deadline(60))

    assert asked.sleeps == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]


def test_retry_after_in_seconds_is_honoured(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(429, headers={"Retry-After": "7"}), times=1)
    asked = client(server)

    asked.ask("/api/info", Deadline(60))

    assert asked.sleeps == [7.0]


def test_retry_after_as_a_date_is_read_by_the_servers_own_clock(start: Start, client: Client) -> None:
    dates = {"Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server = start()
    server.fail("*", Fault(503, headers=dates), times=1)
    asked = client(server)

    asked.ask("/api/info", Deadline(60))

    assert asked.sleeps == [9.0]


@pytest.mark.parametrize("value", ["soon", "-1", "99999999999", "Wed, 99 Foo 2015", ""])
def test_retry_after_that_is_none_is_passed_over(value: str, start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(429, headers={"Retry-After": value}), times=1)
    asked = client(server)

    asked.ask("/api/info", Deadline(60))

    assert asked.sleeps == [0.25]


def test_retry_after_beyond_the_deadline_is_told_at_once(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(429, headers={"Retry-After": "120"}))
    asked = client(server)

    error = failure(asked, Deadline(5))

    assert isinstance(error, SourceBusy)
    assert "asks us to wait 120 s" in str(error)
    assert error.retry_after_s == 120
    assert asked.sleeps == []


def test_no_wait_reaches_past_the_deadline(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(503))
    asked = client(server, random=lambda: 1.0)

    error = failure(asked, Deadline(0.4))

    assert "(503" in str(error)
    assert asked.sleeps == []


def test_a_spent_deadline_asks_nothing(start: Start, client: Client) -> None:
    server = start()

    error = failure(client(server), Deadline(0))

    assert isinstance(error, SourceTimeout)
    assert server.connections == 0


def test_timeout_s_bounds_one_request_within_a_longer_deadline(start: Start, client: Client) -> None:
    server = start()
    server.fail("*", Fault(mode="drip_body"))
    began = time.monotonic()

    error = failure(client(server, timeout_s=0.3), Deadline(30))

    assert isinstance(error, SourceTimeout)
    assert time.monotonic() - began < 0.3 + SLACK_S


def test_the_watch_on_a_request_ends_with_it(start: Start, client: Client) -> None:
    client(start()).ask("/api/info", Deadline(60))

    watches = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for watch in watches:
        watch.join(5)
    assert not any(watch.is_alive() for watch in watches)


class TestBreaker:
    def test_five_requests_without_an_answer_open_it(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(502))
        asked = client(server, retries=0, clock=lambda: 1000.0)
        for _ in range(5):
            failure(asked)

        error = failure(asked)

        assert isinstance(error, SourceUnavailable)
        assert "is not asked now; the next try is in 30 s" in str(error)
        assert server.counts["info"] == 5

    def test_after_the_pause_one_trial_closes_it(self, start: Start, client: Client) -> None:
        now = [1000.0]
        server = start()
        server.fail("*", Fault(mode="close"), times=5)
        asked = client(server, retries=0, clock=lambda: now[0])
        for _ in range(5):
            failure(asked)
        now[0] += 31

        assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)
        assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)

    def test_every_try_counts(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(503))
        asked = client(server, retries=4)
        failure(asked, Deadline(60))

        error = failure(asked, Deadline(60))

        assert "is not asked now" in str(error)
        assert server.counts["info"] == 5

    def test_tries_that_are_under_way_go_on_and_an_answer_closes_it(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(503), times=7)
        asked = client(server, retries=8)

        assert isinstance(asked.ask("/api/info", Deadline(60)), Answer)
        assert isinstance(asked.ask("/api/info", Deadline(60)), Answer)

    def test_one_route_without_answers_leaves_the_others_open(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("process", Fault(504))
        asked = client(server, retries=0)
        for _ in range(6):
            with pytest.raises(SourceUnavailable):
                asked.ask("/api/v1/process", Deadline(5))

        asked.ask("/api/v1/binary", Deadline(5))

        assert dict(server.counts) == {"process": 5, "binary": 1}

    def test_an_idle_connection_that_the_server_closed_does_not_count(self, start: Start, client: Client) -> None:
        server = start()
        asked = client(server, retries=0)
        asked.ask("/api/info", Deadline(5))
        server.fail("*", Fault(mode="close"))

        for _ in range(6):
            failure(asked)

        assert server.counts["info"] == 1 + 1 + 5

    def test_an_interrupted_request_does_not_count(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(mode="silent"))
        asked = client(server)

        for number in range(1, 7):
            errors: list[SourceError] = []
            thread = threading.Thread(target=lambda told: told.append(failure(asked, Deadline(30))), args=(errors,))
            thread.start()
            while server.counts["info"] < number and thread.is_alive():
                threading.Event().wait(0.01)
            asked.interrupt()
            thread.join()

            assert "the call was interrupted" in str(errors[0])

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 408, 429, 500])
    def test_answers_that_refuse_do_not_open_it(self, status: int, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(status))
        asked = client(server, retries=0)

        for _ in range(7):
            failure(asked)

        assert server.counts["info"] == 7

    def test_callers_in_a_hurry_do_not_open_it(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(mode="silent"))
        asked = client(server)

        for _ in range(6):
            failure(asked, Deadline(0.02))

        server.heal()
        assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)


class TestAsking:
    def test_short_questions_go_by_get_and_long_ones_by_post(self, start: Start, client: Client) -> None:
        server = start()
        asked = client(server)

        asked.ask("/api/v1/binary", Deadline(5), {"q": "md5:a", "rows": 1})
        asked.ask("/api/v1/binary", Deadline(5), {"q": "md5:" + "a" * 2000, "rows": 1, "cb.urlver": "1"})

        assert [(request.method, request.parameters["q"]) for request in server.requests] == [
            ("GET", "md5:a"),
            ("POST", "md5:" + "a" * 2000),
        ]
        assert server.requests[1].parameters["cb.urlver"] == "1"

    def test_requests_carry_token_and_name_and_nothing_from_the_environment(
        self, start: Start, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password word\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        server = start()
        asked = client(server)

        asked.ask("/api/info", Deadline(5))

        headers = server.requests[0].headers
        assert headers["x-auth-token"] == server.token
        assert headers["user-agent"].startswith("cbsigned/")
        assert headers["accept-encoding"] == "gzip"
        assert "authorization" not in headers

    def test_cookies_are_not_kept(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(200, b"{}", JSON, {"Set-Cookie": "session=1; Path=/"}), times=1)
        asked = client(server)

        asked.ask("/api/info", Deadline(5))
        asked.ask("/api/info", Deadline(5))

        assert "cookie" not in server.requests[1].headers

    def test_a_redirect_is_not_followed(self, start: Start, client: Client) -> None:
        server, elsewhere = start(), start()
        server.fail("*", Fault(307, headers={"Location": elsewhere.url + "/api/info"}))

        error = failure(client(server))

        assert "redirected us (307)" in str(error)
        assert elsewhere.requests == []


class TestSize:
    def test_an_answer_of_the_greatest_size_is_read(self, start: Start, client: Client) -> None:
        server = start()
        body = b'{"a": "' + b"x" * (65_536 - 9) + b'"}'
        server.fail("*", Fault(200, body, JSON))

        assert isinstance(client(server, max_response_bytes=65_536).ask("/api/info", Deadline(5)), Answer)

    def test_a_longer_answer_is_refused(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(200, b'{"a": "' + b"x" * 65_536 + b'"}', JSON))

        error = failure(client(server, max_response_bytes=65_536))

        assert isinstance(error, SourceResponseError)
        assert "Raise max_response_bytes" in str(error)

    def test_a_packed_bomb_is_unpacked_no_further_than_the_bound(self, start: Start, client: Client) -> None:
        bomb = gzip.compress(b" " * 200_000_000, 9)
        server = start()
        server.fail("*", Fault(200, bomb, JSON, {"Content-Encoding": "gzip"}))
        asked = client(server, max_response_bytes=1_000_000)
        tracemalloc.start()

        error = failure(asked)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert "more than 1000000 bytes" in str(error)
        assert peak < 10_000_000

    def test_the_body_of_a_redirect_is_not_read(self, start: Start, client: Client) -> None:
        bomb = gzip.compress(b" " * 50_000_000, 9)
        server = start()
        server.fail("*", Fault(302, bomb, headers={"Location": "/login", "Content-Encoding": "gzip"}))
        asked = client(server, max_response_bytes=1_000_000)
        tracemalloc.start()

        error = failure(asked)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert "redirected us (302)" in str(error)
        assert peak < 10_000_000

    def test_a_packed_answer_that_is_cut_off_is_unreadable(self, start: Start, client: Client) -> None:
        server = start()
        server.fail("*", Fault(200, gzip.compress(b'{"a": 1}' * 100)[:-12], JSON, {"Content-Encoding": "gzip"}))

        assert "packed answer that is cut off" in str(failure(client(server)))


class TestReaching:
    def test_a_refused_connection_names_the_port(self, client: Client) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"

        with EdrClient(EdrSettings(url, "t", retries=0)) as asked:
            error = failure(asked)

        assert isinstance(error, SourceUnavailable)
        assert "refused the connection" in str(error)
        assert isinstance(error.__cause__, ConnectionRefusedError)

    def test_an_unknown_name_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_args: object, **_more: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with EdrClient(EdrSettings("https://cb.example.test", "t", retries=0)) as asked:
            error = failure(asked)

        assert "The name of cb.example.test cannot be resolved" in str(error)

    def test_a_resolver_that_hangs_ends_at_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        release = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: release.wait(10) and [])
        began = time.monotonic()
        with EdrClient(EdrSettings("https://cb.example.test", "t")) as asked:
            error = failure(asked, Deadline(0.3))
        release.set()

        assert isinstance(error, SourceTimeout)
        assert time.monotonic() - began < 0.3 + SLACK_S

    def test_the_next_address_is_tried(self, start: Start) -> None:
        server = start()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            closed = free.getsockname()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", a) for a in (closed, ("127.0.0.1", server.port))]

        with wire_module.Watch(5) as watch, wire_module.connected(found, watch) as reached:
            assert reached.getpeername() == ("127.0.0.1", server.port)

    def test_what_is_no_http_says_so(self, client: Client) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def greet() -> None:
                connection, _address = listener.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")
                    connection.recv(100_000)

            thread = threading.Thread(target=greet)
            thread.start()
            with EdrClient(EdrSettings(f"http://127.0.0.1:{listener.getsockname()[1]}", "t", retries=0)) as asked:
                error = failure(asked)
            thread.join()

        assert "not HTTP" in str(error)

    @pytest.mark.parametrize("token", ["", "a b", "a\nX-Evil: 1", "é", "x" * 513])
    def test_a_token_that_is_none_is_refused_without_showing_it(self, token: str) -> None:
        with pytest.raises(ConfigError) as refused:
            EdrClient(EdrSettings("https://cb.example.test", token))

        assert not token or repr(token)[1:-1] not in str(refused.value)

    def test_plain_http_is_warned_of(self, start: Start, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        client(start())

        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "unencrypted" in caplog.text
