"""Callbacks: signed, tried again, and sent to nobody but who may get them. Real servers, real TLS, a DNS of our own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook import addresses
from cbsigned_connectors.webhook.addresses import CallbackRefused, checked_addresses, host_rule, target_of
from cbsigned_connectors.webhook.callbacks import Callbacks, CallbackSettings, Outcome, signature
from cbsigned_connectors.webhook.senders import Scheme, Secret, Sender, Senders, SenderSettings

HOST = "hooks.soar.example.test"
KEY = Secret("a variable", b"whsec_" + base64.b64encode(b"k" * 32))
OTHER_KEY = Secret("another", b"whsec_" + base64.b64encode(b"o" * 32))
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
NOW = 1_800_000_000.0
PAYLOAD = b'{"complete":true}'

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Receiver:
    """A receiver on the loopback: keeps what came, and answers as it is told.

    Attributes:
        requests: (path, headers, body) of each.
        answers: One status or function for each request; the last stays.
    """

    def __init__(self, *answers: Union[int, Answer], context: Optional[ssl.SSLContext] = None) -> None:
        self.answers: list[Union[int, Answer]] = list(answers or (204,))
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_args: Any) -> None:
                return  # a client that hangs up is what some tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]


@contextlib.contextmanager
def receiving(*answers: Union[int, Answer], context: Optional[ssl.SSLContext] = None) -> Iterator[Receiver]:
    receiver = Receiver(*answers, context=context)
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


class Dns:
    """Answers for every name; keeps what it was asked."""

    def __init__(self, *answers: Union[Sequence[str], Exception]) -> None:
        self.answers = list(answers or (["127.0.0.1"],))
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def callbacks(port: int, *hosts: str, dns: Optional[Dns] = None, **more: Any) -> Callbacks:
    settings = CallbackSettings(
        **{
            "hosts": tuple(host_rule(f"{host}:{port}") for host in hosts or (HOST,)),
            "secrets": (KEY,),
            "allow_networks": LOOPBACK,
            "timeout_s": 5.0,
            **more,
        }
    )
    return Callbacks(settings, clock=lambda: NOW, random=lambda: 1.0, resolve=dns or Dns(), sleep=lambda _s: None)


def attempt(made: Callbacks, url: str, tried: int = 1) -> Outcome:
    return made.attempt(url, "msg_1", PAYLOAD, tried)


# What is sent.


def test_a_callback_is_delivered_signed_over_tls(authority: trustme.CA, ca_file: str) -> None:
    dns = Dns()
    with receiving(context=server_context(authority, HOST)) as receiver:
        made = callbacks(receiver.port, dns=dns, ca_file=ca_file)

        outcome = attempt(made, f"https://{HOST}:{receiver.port}/hook/a%20b?token=t&x=~")

    assert outcome == Outcome(True, f"{HOST} took it (204).")
    ((path, headers, body),) = receiver.requests
    assert (path, body) == ("/hook/a%20b?token=t&x=~", PAYLOAD)
    assert headers["host"] == f"{HOST}:{receiver.port}"
    assert headers["content-type"] == "application/json"
    entry = SenderSettings("us", Scheme.STANDARD_WEBHOOKS, (KEY,))
    assert isinstance(Senders([entry]).recognise(headers, None, body, NOW), Sender)
    assert dns.asked == [HOST]
    assert "cookie" not in headers


def test_the_signature_is_that_of_the_standards_own_libraries() -> None:
    secret = Secret("a variable", b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    made = signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_every_secret_signs_so_that_one_can_be_changed_for_another() -> None:
    made = signature([KEY, OTHER_KEY], "msg_1", 5, b"{}")

    expected = [hmac.new(letter * 32, b"msg_1.5.{}", hashlib.sha256).digest() for letter in (b"k", b"o")]
    assert made == " ".join("v1," + base64.b64encode(one).decode() for one in expected)


def test_http_is_used_where_it_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver, caplog.at_level(logging.WARNING):
        outcome = attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}")

    assert outcome.delivered
    assert receiver.requests[0][0] == "/"
    assert "unencrypted" in caplog.text


def test_neither_proxy_nor_netrc_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine {HOST} login a password b\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with receiving() as receiver:
        outcome = attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered
    assert "authorization" not in receiver.requests[0][1]


# Certificates.


def test_a_certificate_of_another_name_is_refused(authority: trustme.CA, ca_file: str) -> None:
    with receiving(context=server_context(authority, "other.example.test")) as receiver:
        outcome = attempt(callbacks(receiver.port, ca_file=ca_file), f"https://{HOST}:{receiver.port}/")

    assert "its certificate is not trusted" in outcome.reason
    assert receiver.requests == []


def test_a_certificate_of_the_address_is_not_one_of_the_name(authority: trustme.CA, ca_file: str) -> None:
    """The connection goes to an address, but the name is what the certificate must have."""
    with receiving(context=server_context(authority, "127.0.0.1")) as receiver:
        outcome = attempt(callbacks(receiver.port, ca_file=ca_file), f"https://{HOST}:{receiver.port}/")

    assert "its certificate is not trusted" in outcome.reason
    assert receiver.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    with receiving(context=server_context(trustme.CA(), HOST)) as receiver:
        outcome = attempt(callbacks(receiver.port), f"https://{HOST}:{receiver.port}/")

    assert "its certificate is not trusted" in outcome.reason
    assert outcome.again_s is not None
    assert receiver.requests == []


def test_an_address_can_be_on_the_list_with_its_own_certificate(authority: trustme.CA, ca_file: str) -> None:
    with receiving(context=server_context(authority, "127.0.0.1")) as receiver:
        made = callbacks(receiver.port, "127.0.0.1", ca_file=ca_file)

        assert attempt(made, f"https://127.0.0.1:{receiver.port}/").delivered


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca_file: .*cannot be read as certificates"):
        callbacks(1, ca_file=str(tmp_path / "none.pem"))


# Tries.


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


# Server-side request forgery.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with receiving() as inner:

        def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", f"http://127.0.0.1:{inner.port}/latest/meta-data")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with receiving(elsewhere) as receiver:
            made = callbacks(receiver.port, HOST, allow_http=True)
            outcome = attempt(made, f"http://{HOST}:{receiver.port}/")

    assert outcome.reason == f"{HOST} answered {status}; redirects are not followed. Try 1 of 8."
    assert inner.requests == []


INSIDE = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",  # noqa: S104
    "100.64.0.1", "192.0.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_called(address: str) -> None:
    with receiving() as receiver:
        made = callbacks(receiver.port, allow_http=True, allow_networks=(), dns=Dns([address]))
        outcome = attempt(made, f"http://{HOST}:{receiver.port}/")

    assert (outcome.delivered, outcome.again_s) == (False, None)
    assert "which is not a public one" in outcome.reason
    assert receiver.requests == []


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    made = callbacks(443, allow_networks=(), dns=Dns(["93.184.215.14", "127.0.0.1"]))

    assert "127.0.0.1, which is not a public one" in attempt(made, f"https://{HOST}/").reason


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_called(address: str) -> None:
    assert checked_addresses([address], ()) == [ipaddress.ip_address(address)]


@pytest.mark.parametrize("address", ["::ffff:10.1.2.3", "10.1.2.3", "64:ff9b::a01:203"])
def test_an_allowed_network_is_allowed_in_every_guise(address: str) -> None:
    assert checked_addresses([address], [ipaddress.ip_network("10.1.0.0/16")])
    with pytest.raises(CallbackRefused):
        checked_addresses([address], [ipaddress.ip_network("10.2.0.0/16")])


def test_a_name_that_changes_after_the_check_changes_nothing() -> None:
    """DNS rebinding: the second answer would lead inside; there is no second question."""
    with receiving() as receiver:
        dns = Dns(["127.0.0.1"], ["169.254.169.254"])
        outcome = attempt(callbacks(receiver.port, allow_http=True, dns=dns), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered
    assert dns.asked == [HOST]


def test_each_try_is_checked_anew() -> None:
    with receiving(500) as receiver:
        allowed = (ipaddress.ip_network("127.0.0.1/32"),)
        dns = Dns(["127.0.0.1"], ["127.0.0.2"])
        made = callbacks(receiver.port, allow_http=True, allow_networks=allowed, dns=dns)
        outcome = made.deliver(f"http://{HOST}:{receiver.port}/", "m", PAYLOAD)

    assert "127.0.0.2, which is not a public one" in outcome.reason
    assert len(receiver.requests) == 1


def test_the_next_address_is_tried_when_one_is_dead() -> None:
    with receiving() as receiver:
        dns = Dns(["127.0.0.2", "127.0.0.1"])  # the receiver listens on the second alone
        outcome = attempt(callbacks(receiver.port, allow_http=True, dns=dns), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered


RULES = [
    host_rule(text) for text in ("hook.example.test", "*.soar.example.test", "port.example.test:8443", "[2001:db8::1]")
]


@pytest.mark.parametrize(
    "url",
    ["https://hook.example.test", "https://hook.example.test/", "HTTPS://HOOK.EXAMPLE.TEST/a?b=c&d=%20",
     "https://hook.example.test:443/x", "https://a.soar.example.test/", "https://a.b.soar.example.test/",
     "https://port.example.test:8443/", "https://[2001:DB8:0::1]/"],
)  # fmt: skip
def test_listed_hosts_are_allowed(url: str) -> None:
    assert target_of(url, RULES).scheme == "https"


@pytest.mark.parametrize(
    "url",
    ["https://other.test/", "https://example.test/", "https://soar.example.test/", "https://xsoar.example.test/",
     "https://hook.example.test.evil.test/", "https://evil-hook.example.test/", "https://hook.example.test:8443/",
     "https://port.example.test/", "http://hook.example.test/", "ftp://hook.example.test/", "file:///etc/passwd",
     "gopher://hook.example.test/", "//hook.example.test/", "hook.example.test", "", "https://", "https:///x",
     "https://user@hook.example.test/", "https://user:password@hook.example.test/", "https://hook.example.test@evil.test/",
     "https://evil.test#@hook.example.test/", "https://hook.example.test#x", "https://hook.example.test\\@evil.test/",
     "https://evil.test\\.soar.example.test/", "https://hook.example.test /", " https://hook.example.test/",
     "https://hook.example.test/\r\nHost: evil.test", "https://hook.example.test/\n", "https://hook.example.test/\t",
     "https://hook.example.test/\x00", "https://hook.example.test/é", "https://hооk.example.test/", "https://hook。example.test/",
     "https://hook.example.test./", "https://.soar.example.test/", "https://a..soar.example.test/",
     "https://-a.soar.example.test/", "https://%68ook.example.test/", "https://hook.example.test:99999/",
     "https://hook.example.test:/", "https://hook.example.test:0443x/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
     "https://127.0.0.1/", "https://2130706433/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f000001/",
     "https://127.1/", "https://1.soar.example.test.0x7f/", "https://[fe80::1%25eth0]/",
     "https://hook.example.test/" + "x" * 2100, "https://hook.example.test/<script>", "https://hook.example.test/\"", "https://hook.example.test/|",
     "https://" + "a." * 2000 + "soar.example.test/"],
    ids=lambda url: ascii(url)[:50],
)  # fmt: skip
def test_other_hosts_and_doubtful_urls_are_refused(url: str) -> None:
    with pytest.raises(CallbackRefused) as caught:
        target_of(url, RULES)

    assert "evil" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("number", ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1", "0x7f000001"])
def test_a_number_in_disguise_is_refused_even_when_all_hosts_were_listed(number: str) -> None:
    class Any_(addresses.HostRule):
        def allows(self, target: Any) -> bool:
            return True

    with pytest.raises(CallbackRefused, match="neither a name nor a plain address"):
        target_of(f"https://{number}/", [Any_("x")])


@given(st.text(max_size=80))
def test_any_text_is_refused_or_stays_on_a_listed_host(text: str) -> None:
    for url in (text, f"https://{text}", f"https://hook.example.test{text}", f"https://{text}.soar.example.test/"):
        try:
            target = target_of(url, RULES)
        except CallbackRefused:
            continue
        assert target.host == "hook.example.test" or target.host.endswith(".soar.example.test")
        assert "@" not in target.url.split("/")[2]


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.", "*.test", "a*.example.test", "*.*.test", "a/b", "https://a.test", "a.test:x", "a test",
     "a.test:8:9", "a.test:0", "a.test:65536", "2130706433", "0x7f.1", "*.127.0.0.1", "é.test", "a..test", ":443"],
    ids=ascii,
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a host such as"):
        host_rule(text)


def test_no_hosts_means_no_callbacks() -> None:
    made = Callbacks(CallbackSettings())

    with pytest.raises(CallbackRefused, match=r"Add them to callbacks\.hosts"):
        made.check("https://soar.example.test/")


def test_hosts_without_a_secret_and_a_bad_secret_are_refused() -> None:
    with pytest.raises(ConfigError, match="secrets: callbacks are signed"):
        CallbackSettings((host_rule("a.test"),))
    with pytest.raises(ConfigError, match="secrets: a variable: expected whsec_"):
        CallbackSettings((), (Secret("a variable", b"not a key"),))


def test_no_secret_is_in_a_repr() -> None:
    made = callbacks(443)

    assert base64.b64encode(b"k" * 32).decode() not in repr([made, made.settings])


def test_the_systems_resolver_gives_addresses() -> None:
    assert addresses.resolve("127.0.0.1", 443) == ["127.0.0.1"]
    assert addresses.resolve("::1", 443) == ["::1"]


def test_nothing_is_left_open() -> None:
    with receiving(200, 500, _nothing) as receiver:
        made = callbacks(receiver.port, allow_http=True)
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        for _ in range(30):
            attempt(made, f"http://{HOST}:{receiver.port}/")
        after = len(os.listdir("/proc/self/fd")) if before else 0

    assert after <= before + 8
