"""Callbacks are tried again, within bounds, whatever the receiver does."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from cbsigned_connectors.webhook.addresses import host_rule
from cbsigned_connectors.webhook.callbacks import Callbacks, CallbackSettings, Outcome
from connectors.webhook.receiving import (
    HOST,
    KEY,
    LOOPBACK,
    NOW,
    PAYLOAD,
    Answer,
    Dns,
    attempt,
    callbacks,
    receiving,
)


def test_tries_have_one_id_and_each_a_time_and_signature_of_its_own() -> None:
    now, waits = [NOW], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    with receiving(500, 404, 429, 204) as receiver:
        settings = CallbackSettings((host_rule(f"{HOST}:{receiver.port}"),), (KEY,), True, LOOPBACK)
        made = Callbacks(settings, clock=lambda: now[0], sleep=sleep, random=lambda: 1.0, resolve=Dns())
        outcome = made.deliver(f"http://{HOST}:{receiver.port}/", "msg_7", PAYLOAD)

    assert outcome.delivered
    assert waits == [5.0, 20.0, 80.0]
    headers = [request[1] for request in receiver.requests]
    assert {h["webhook-id"] for h in headers} == {"msg_7"}
    assert [int(h["webhook-timestamp"]) - int(NOW) for h in headers] == [0, 5, 25, 105]
    assert len({h["webhook-signature"] for h in headers}) == 4


def test_waits_grow_to_a_bound_and_have_jitter() -> None:
    draws = iter([0.0, 1.0] * 10)
    settings = CallbackSettings((host_rule("a.test"),), (KEY,), tries=20, longest_wait_s=100)
    made = Callbacks(settings, random=lambda: next(draws), resolve=Dns(OSError("no")))

    waits = [attempt(made, "https://a.test/", tried).again_s for tried in (1, 1, 2, 2, 5, 5, 19, 19)]

    assert waits == [2.5, 5.0, 10.0, 20.0, 50.0, 100.0, 50.0, 100.0]


def test_what_the_receiver_asks_for_is_waited_within_bounds() -> None:
    def asks(seconds: str) -> Answer:
        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(503)
            handler.send_header("Retry-After", seconds)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        return answer

    with receiving(asks("120"), asks("1"), asks("999999999"), asks("soon")) as receiver:
        made = callbacks(receiver.port, allow_http=True)
        waits = [attempt(made, f"http://{HOST}:{receiver.port}/").again_s for _ in range(4)]

    assert waits == [120.0, 5.0, 3600.0, 5.0]


def test_410_ends_the_tries() -> None:
    with receiving(500, 410, 204) as receiver:
        outcome = callbacks(receiver.port, allow_http=True).deliver(f"http://{HOST}:{receiver.port}/", "m", PAYLOAD)

    assert outcome == Outcome(False, f"{HOST} wants no more of this (410).")
    assert len(receiver.requests) == 2


def test_tries_end(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(500) as receiver, caplog.at_level(logging.WARNING):
        made = callbacks(receiver.port, allow_http=True, tries=3)
        outcome = made.deliver(f"http://{HOST}:{receiver.port}/secret-path?k=secret", "m", PAYLOAD)

    assert outcome == Outcome(False, f"{HOST} answered 500. Given up after 3 tries.")
    assert len(receiver.requests) == 3
    assert "given up after 3 tries" in caplog.text
    assert "secret" not in caplog.text


def _refused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_receiver_that_is_away_is_tried_again() -> None:
    port = _refused_port()

    outcome = attempt(callbacks(port, allow_http=True), f"http://{HOST}:{port}/")

    assert outcome == Outcome(False, f"{HOST} gave no answer: Connection refused. Try 1 of 8.", 5.0)


def test_a_name_without_an_address_is_tried_again() -> None:
    for answer in (socket.gaierror(socket.EAI_NONAME, "no such name"), UnicodeError("not a label"), []):
        outcome = attempt(callbacks(443, dns=Dns(answer)), f"https://{HOST}/")

        assert outcome == Outcome(False, f"{HOST} gave no answer: its name has no address. Try 1 of 8.", 5.0)


def _hangs(handler: http.server.BaseHTTPRequestHandler) -> None:
    threading.Event().wait(5)


def _drips(handler: http.server.BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        for _ in range(100):
            handler.wfile.write(b"H")
            handler.wfile.flush()
            threading.Event().wait(0.05)


def _dripping_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            handler.wfile.write(b"X-%d: 1\r\n" % number)
            handler.wfile.flush()
            threading.Event().wait(0.05)


@pytest.mark.parametrize("answer", [_hangs, _drips, _dripping_headers])
def test_an_answer_has_a_time_limit_however_slowly_it_comes(answer: Answer) -> None:
    with receiving(answer) as receiver:
        made = callbacks(receiver.port, allow_http=True, timeout_s=0.3)
        outcome = attempt(made, f"http://{HOST}:{receiver.port}/")

    assert outcome.reason == f"{HOST} gave no answer: nothing came within 0.3 s. Try 1 of 8."


def test_a_resolver_that_hangs_has_a_time_limit() -> None:
    release = threading.Event()

    def hangs(_host: str, _port: int) -> Sequence[str]:
        release.wait(10)
        return ["127.0.0.1"]

    settings = CallbackSettings((host_rule(HOST),), (KEY,), timeout_s=0.2)
    outcome = attempt(Callbacks(settings, resolve=hangs), f"https://{HOST}/")
    release.set()

    assert "nothing came within 0.2 s" in outcome.reason


def test_a_long_answer_is_not_read_to_its_end() -> None:
    sent = []

    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                handler.wfile.write(b"x" * 100_000)
                sent.append(100_000)

    with receiving(endless) as receiver:
        outcome = attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered
    assert sum(sent) < 100_000_000


def _nonsense(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")


def _many_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 5_000 + b"\r\n")


def _nothing(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize("answer", [_nonsense, _many_headers, _nothing])
def test_what_is_no_http_answer_is_tried_again(answer: Answer) -> None:
    with receiving(answer) as receiver:
        outcome = attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}/")

    assert (outcome.delivered, outcome.again_s) == (False, 5.0)
    assert outcome.reason.startswith(f"{HOST} gave no answer: ")


def test_a_body_that_breaks_off_does_not_undo_the_status() -> None:
    def half(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x")

    with receiving(half) as receiver:
        assert attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}/").delivered


def test_nothing_is_left_open() -> None:
    with receiving(200, 500, _nothing) as receiver:
        made = callbacks(receiver.port, allow_http=True)
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        for _ in range(30):
            attempt(made, f"http://{HOST}:{receiver.port}/")
        after = len(os.listdir("/proc/self/fd")) if before else 0

    assert after <= before + 8
