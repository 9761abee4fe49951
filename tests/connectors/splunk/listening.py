"""A server in splunkd's place that answers as a test says, and questions put to it."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional

import pytest

from cbsigned_connectors.splunk.splunkd import HandlerClient, HandlerError

KEY = "session-key-7d1f"
Reply = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server:
    """Answers as a test says; counts connections and keeps requests."""

    def __init__(self, reply: Reply, tls: Optional[ssl.SSLContext] = None, host: str = "127.0.0.1") -> None:
        self.connections = 0
        self.requests: list[tuple[str, str, Any]] = []
        server, lock = self, threading.Lock()

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def setup(self) -> None:
                with lock:
                    server.connections += 1
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                self.request.close()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, self.headers["Authorization"], json.loads(body)))
                reply(self, body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Http(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: clients that hang up are what the tests are about."""

        self.http = Http((host, 0), Answering)
        self.uri = f"{'https' if tls else 'http'}://{host}:{self.http.server_address[1]}"


@contextlib.contextmanager
def serving(reply: Reply, tls: Optional[ssl.SSLContext] = None, host: str = "127.0.0.1") -> Iterator[Server]:
    server = Server(reply, tls, host)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


def answering(
    status: int = 200, body: bytes = b'{"answers": []}', kind: str = "application/json", close: bool = False
) -> Reply:
    def reply(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = close

    return reply


def failure(uri: str, timeout_s: float = 5.0, key: str = KEY) -> HandlerError:
    with contextlib.closing(HandlerClient(uri, key)) as client, pytest.raises(HandlerError) as caught:
        client.ask("rows", {}, timeout_s)
    assert key not in str(caught.value)
    return caught.value


def assert_answered(server: Server) -> None:
    with contextlib.closing(HandlerClient(server.uri, KEY)) as client:
        assert client.ask("rows", {}, 5) == {"answers": []}
