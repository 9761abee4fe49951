"""Receivers of callbacks on the loopback, a DNS that tests fill, and callbacks that ask it."""

from __future__ import annotations

import base64
import contextlib
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, Union

import trustme

from cbsigned_connectors.webhook.addresses import host_rule
from cbsigned_connectors.webhook.callbacks import Callbacks, CallbackSettings, Outcome
from cbsigned_connectors.webhook.senders import Secret

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
