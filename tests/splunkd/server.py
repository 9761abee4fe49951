"""The management port: TLS, sessions, namespaces, and the faults of the handler."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import parse_qsl, unquote, urlsplit

from splunkd.entries import Answer, message
from splunkd.handlers import Fault, Faults
from splunkd.rest import Management, Request, User

__all__ = ["Port", "Seen"]

_LOGIN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


class Seen:
    """What went over the port, for tests: requests in order, and every answer's bytes up to a bound."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, int]] = []
        self.answers: list[bytes] = []
        self._lock = threading.Lock()

    def add(self, method: str, path: str, user: Optional[User], answer: Answer) -> None:
        """Remember one; method, path, user name, status."""
        with self._lock:
            self.requests.append((method, path, user.name if user else "", answer.status))
            if len(self.answers) < 5_000:
                self.answers.append(answer.body)

    def count(self, ending: str, since: int = 0) -> int:
        """Return how many requests had a path with this ending."""
        return sum(1 for _, path, _, _ in self.requests[since:] if path.endswith(ending))


class Port:
    """Listens on a port of the loopback until it is closed.

    Args:
        management: Who answers.
        sessions: Session key → user.
        context: The server's certificate.
    """

    def __init__(self, management: Management, sessions: dict[str, User], context: ssl.SSLContext) -> None:
        self.management, self.sessions = management, sessions
        self.faults, self.seen = Faults(), Seen()
        self.stopping = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _handler(self, context))
        self.uri = f"https://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; open connections end with their clients."""
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[Optional[Fault], Answer]:
        """Return the answer to a request, and the fault that is to spoil it."""
        parts = urlsplit(target)
        owner, app, path = _namespace(parts.path)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            parameters += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        scheme, _, key = headers.get("authorization", "").partition(" ")
        user = self.sessions.get(key.strip()) if scheme in ("Splunk", "Bearer") else None
        as_json = ("output_mode", "json") in parameters
        fault = self.faults.next(path)
        if not path:
            answer = message(404, "Not Found", as_json=as_json)
        elif user is None:
            answer = message(401, "call not properly authenticated", as_json=as_json, level="WARN")
        else:
            request = Request(method, path, owner, app, parameters, headers, body, user)
            answer = self._spoilt(fault, request)
        self.seen.add(method, path or parts.path, user, answer)
        return fault, answer

    def _spoilt(self, fault: Optional[Fault], request: Request) -> Answer:
        if fault is None or fault.kind == "cut":
            return self.management.answer(request)
        if fault.kind == "slow":
            if self.stopping.wait(fault.seconds):
                return message(503, "splunkd is shutting down", as_json=request.as_json)
            return self.management.answer(request)
        if fault.kind == "restart":
            with self._killing(fault):
                return self.management.answer(request)
        if fault.kind == "html":
            return Answer(200, _LOGIN, "text/html; charset=utf-8")
        if fault.kind == "garbage":
            return Answer(200, b'{"answers": [17, null], "warnings": "\xff')
        return message(fault.status, f"the server answers {fault.status} on purpose", as_json=request.as_json)

    @contextlib.contextmanager
    def _killing(self, fault: Fault) -> Iterator[None]:
        """Kill the handlers a moment after they were given something to do."""
        timer = threading.Timer(fault.seconds, self.kill_handlers)
        timer.start()
        try:
            yield
        finally:
            timer.join()

    def kill_handlers(self) -> None:
        """Kill the processes of all handlers."""
        for _stanza, handler in self.management.handlers.values():
            handler.kill()


def _namespace(path: str) -> tuple[str, str, str]:
    """Return owner, app and the rest of a path, `""` where it is none of splunkd's."""
    words = path.split("/")
    if path.startswith("/services/"):
        return "nobody", "system", path[len("/services") :]
    if path.startswith("/servicesNS/") and len(words) > 4:
        return unquote(words[2]), unquote(words[3]), "/" + "/".join(words[4:])
    return "", "", ""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up, or do not trust the certificate, are what tests are about."""


def _handler(port: Port, context: ssl.SSLContext) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1
        timeout = 600

        def setup(self) -> None:
            self.request.settimeout(20)
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            try:
                super().finish()
            finally:
                self.request.close()

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fault, answer = port.answer(self.command, self.path, headers, body)
            kind = fault.kind if fault is not None else ""
            if kind == "refused":
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            cut = kind == "cut"
            self.send_response_only(answer.status)
            self.send_header("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
            self.send_header("Server", "Splunkd")
            self.send_header("Content-Type", answer.kind)
            self.send_header("Connection", "Close" if self.close_connection else "Keep-Alive")  # splunklib relies on it
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
            self.wfile.flush()
            if cut:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    return Handler
