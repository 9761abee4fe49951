"""A small splunkd with conf, password and KV store over real HTTP, and a handler that asks through it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import parse_qs, unquote, urlsplit

from cbsigned.status import SigningStatus
from cbsigned_connectors.splunk.handler import Handler
from edr_server import TOKEN

__all__ = [
    "BINARIES", "GUID", "SESSION_KEY", "SYSTEM_TOKEN", "SmallSplunkd", "ask", "handling", "md5", "request_of", "rows",
    "some_process",
]  # fmt: skip

SESSION_KEY = "session-key-of-an-analyst-7f3a"
SYSTEM_TOKEN = "system-authtoken-of-splunkd-91bc"
MD5 = "0" * 31
GUID = "00000001-0000-0a1c-01d1-000000000001"
BINARIES = [
    {
        "md5": f"{MD5}{number:X}", "digsig_result": status.value, "digsig_publisher": "Example Ltd",
        "digsig_issuer": "Example CA", "digsig_sign_time": "2016-03-16T04:06:00Z",
    }
    for number, status in enumerate(SigningStatus, 1)
    if status is not SigningStatus.UNKNOWN
]  # fmt: skip
_BASE = "/servicesNS/nobody/cbsigned/"


class SmallSplunkd:
    """Answers what the handler asks of its splunkd, on a port of the loopback, until the `with` block ends.

    Attributes:
        conf: Stanzas of cbsigned.conf.
        token: The stored API token.
        collections: KV store, collection → key → document.
        requests: Method and path of all requests, in order of arrival.
        status: Answered instead, for paths that begin with these.
        delay: Waited for before each answer.
    """

    def __init__(self, conf: Optional[Mapping[str, Mapping[str, Any]]] = None, token: Optional[str] = None) -> None:
        self.conf: dict[str, dict[str, Any]] = {name: dict(entries) for name, entries in (conf or {}).items()}
        self.token = token
        self.collections: dict[str, dict[str, dict[str, Any]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.status: dict[str, int] = {}
        self.delay = threading.Event()
        self.delay.set()
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def uri(self) -> str:
        """Its management address."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> SmallSplunkd:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.delay.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def asked(self, part: str) -> int:
        """Return how many requests had this in their path."""
        return sum(part in path for _method, path in self.requests)

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Return status and document of one request."""
        with self._lock:
            self.requests.append((method, path))
            for prefix, status in self.status.items():
                if path.startswith(prefix):
                    return status, {"messages": [{"type": "ERROR", "text": "as the test wants it"}]}
            if path == "configs/conf-cbsigned":
                return 200, {"entry": [{"name": name, "content": entries} for name, entries in self.conf.items()]}
            if path == "storage/passwords/cbsigned:edr_token:" and self.token is not None:
                return 200, {"entry": [{"name": "cbsigned:edr_token:", "content": {"clear_password": self.token}}]}
            parts = path.split("/")
            if parts[:3] == ["storage", "collections", "data"]:
                return self._collection(method, parts[3:], query, body)
            return 404, {"messages": [{"type": "ERROR", "text": "Not Found"}]}

    def _collection(self, method: str, rest: list[str], query: Mapping[str, list[str]], body: bytes) -> tuple[int, Any]:
        kept = self.collections.setdefault(rest[0], {})
        if method == "DELETE":
            ((name, wanted),) = json.loads(query["query"][0]).items()
            for key in [key for key, document in kept.items() if document[name] < wanted["$lt"]]:
                del kept[key]
            return 200, {}
        given = json.loads(body)
        if rest[1] == "batch_save":
            assert len(given) <= 1_000
            kept.update((document["_key"], document) for document in given)
            return 200, [document["_key"] for document in given]
        keys = [[part["_key"] for part in one["query"]["$or"]] for one in given]
        return 200, [[kept[key] for key in part if key in kept] for part in keys]


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that does not wait to the end is what some tests are about."""


def _handler(splunkd: SmallSplunkd) -> type[BaseHTTPRequestHandler]:
    class Answering(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = 404, None
            splunkd.delay.wait(20)
            if self.headers.get("Authorization") != f"Splunk {SYSTEM_TOKEN}":
                status = 401
            elif parts.path.startswith(_BASE):
                path = unquote(parts.path[len(_BASE) :])
                status, document = splunkd.answer(self.command, path, parse_qs(parts.query), body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Answering


def request_of(uri: str, path: str, document: Any, user: str = "analyst", **more: Any) -> dict[str, Any]:
    """Return a request as splunkd hands it to the handler."""
    return {
        "method": "POST", "rest_path": f"/{path}", "payload": json.dumps(document), "output_mode": "json",
        "session": {"user": user, "authtoken": SESSION_KEY}, "system_authtoken": SYSTEM_TOKEN,
        "server": {"rest_uri": uri, "hostname": "sh1"}, "query": [], "form": [],
        "restmap": {"name": "script:cbsigned", "conf": {"match": f"/{path.split('/')[0]}"}},
        **more,
    }  # fmt: skip


def ask(handler: Handler, uri: str, route: str, document: Any, user: str = "analyst") -> tuple[int, dict[str, Any]]:
    """Put one question to a handler; return status and answer."""
    path = route if "/" in route else f"cbsigned/{route}"
    reply = handler.handle(json.dumps(request_of(uri, path, document, user)))
    assert reply["headers"] == {"Content-Type": "application/json"}
    answer: dict[str, Any] = json.loads(reply["payload"])
    return reply["status"], answer


@contextlib.contextmanager
def handling(url: str, *, token: str = TOKEN, jobs: Any = None, **edr: str) -> Iterator[tuple[Handler, str]]:
    """Yield a handler whose settings name an EDR, and the address of its splunkd."""
    with SmallSplunkd({"edr": {"url": url, "retries": "0", **edr}}, token) as splunkd:
        handler = Handler(jobs=jobs)
        try:
            yield handler, splunkd.uri
        finally:
            store = handler.store()
            assert store is None or store.flush()


def md5(number: int) -> str:
    return f"{MD5}{number:x}"


def rows(*hashes: str, **more: Any) -> dict[str, Any]:
    return {"fields": ["process_md5"], "rows": [[text] for text in hashes], "wait_s": 10, **more}


def some_process(handler: Handler, uri: str) -> dict[str, Any]:
    """Return a process of the samples that has a parent, as the search gives it."""
    found = ask(handler, uri, "search", {"query": "process_name:powershell.exe", "rows": 50})[1]["rows"]
    process: dict[str, Any] = next(row for row in found if row.get("parent_name"))
    return process
