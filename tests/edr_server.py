"""A small real EDR server for tests and benchmarks: the routes and queries that the EDR source uses.

In a test::

    with EdrServer(binaries=[{"md5": "5F2B…", "digsig_result": "Signed"}]) as server:
        source = connect(EdrSettings(server.url, server.token))
        server.fail("binary", Fault(status=502), times=2)
        ...
        assert server.counts["binary"] == 3

As a process: `python tests/edr_server.py --binaries binaries.json --processes processes.json --latency 0.02`.

It reads the grammar of our query builder with a parser of its own (or-lists, implicit and, parentheses, phrases,
start ranges, trailing wildcards) and answers 400 to anything else, so a badly built query fails a test.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

__all__ = ["LOGIN_PAGE", "TOKEN", "EdrServer", "Fault", "Request"]

TOKEN = "0123456789abcdef0123456789abcdef01234567"
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
_UNAUTHORIZED = b"<!DOCTYPE HTML><title>401 Unauthorized</title><h1>Unauthorized</h1>"
_ROUTES = {"/api/info": "info", "/api/v1/binary": "binary", "/api/v1/process": "process"}
_TOKEN = re.compile(
    r"\s+|(?P<mark>[()])|(?P<word>or|and)(?=[\s()]|$)"
    r'|(?P<field>[a-z][a-z0-9_.]*):(?:"(?P<phrase>(?:[^"\\]|\\.)*)"'
    r"|\[(?P<low>\S+) TO (?P<high>\S+)\]|(?P<term>[^\s()\"\[\]]+))",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Fault:
    """What a route answers instead.

    Attributes:
        status, body, kind: Status, body and content type.
        headers: Sent besides, `{"Retry-After": "1"}` for example.
        mode: `answer`; `cut` announces the whole body and sends half; `close` ends the connection without a
            byte; `silent` never answers; `drip_body` and `drip_headers` send a byte every `drip_s` seconds.
    """

    status: int = 200
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    mode: str = "answer"
    drip_s: float = 1.0


@dataclass(frozen=True)
class Request:
    """One request as it came; header names in lower case."""

    route: str
    method: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]


class EdrServer:
    """Answers from the documents it is given, on a port of the loopback, until the `with` block ends.

    Args:
        binaries, processes: Documents as the REST API sends them; one per segment for processes.
        version: Decides on envelope, grouping and SHA-256.
        latency_s: Before each answer.
        tls: Server context; the URL is https then.
        row_cap: Most rows of one page.
        over_estimate: Added to every `total_results`.
        facets: Whether `facet=true` gives facets.

    Attributes:
        counts: Requests by route: `info`, `binary`, `process`, `other`.
        requests: All of them, in order of arrival.
        connections: How many were made.
    """

    def __init__(
        self,
        binaries: Sequence[Mapping[str, Any]] = (),
        processes: Sequence[Mapping[str, Any]] = (),
        *,
        token: str = TOKEN,
        version: str = "7.3.0.200609.1533",
        latency_s: float = 0.0,
        tls: Optional[ssl.SSLContext] = None,
        row_cap: int = 1000,
        over_estimate: int = 0,
        facets: bool = True,
        port: int = 0,
    ) -> None:
        self.binaries, self.processes = list(binaries), list(processes)
        self.token, self.version, self.latency_s = token, version, latency_s
        self.row_cap, self.over_estimate, self.facets = row_cap, over_estimate, facets
        self.counts: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._tls = tls
        self._faults: dict[str, tuple[Fault, Optional[int]]] = {}
        self._lock = threading.Lock()
        self._tables = {"binary": _Table(self.binaries), "process": _Table(self.processes)}
        self._open: set[socket.socket] = set()
        self._http = _Http(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Its address, `http://127.0.0.1:PORT`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._http.server_address[1])

    def __enter__(self) -> EdrServer:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self.drop_connections()
        self._http.server_close()

    def fail(self, route: str, fault: Fault, times: Optional[int] = None) -> None:
        """Answer `route` (or `*`) with a fault, always or so many times."""
        self._faults[route] = (fault, times)

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def drop_connections(self) -> None:
        """Close every connection, idle ones included, as a restart does."""
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _fault(self, route: str) -> Optional[Fault]:
        with self._lock:
            key = route if route in self._faults else "*"
            fault, times = self._faults.get(key, (None, None))
            if fault is not None and times is not None:
                if times <= 1:
                    del self._faults[key]
                else:
                    self._faults[key] = (fault, times - 1)
            return fault

    def _answer(self, route: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        if route == "info":
            return {"version": self.version, "version_release": self.version, "maxSearchResultRows": 1000}
        return self._search(route, parameters)

    def _search(self, route: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        modern = int(self.version.split(".")[0]) >= 6
        table = self._tables[route]
        query = parameters.get("q", "")
        matching = sorted(_evaluate(query, table, self._tables["binary"])) if query else range(len(table.documents))
        found = [table.documents[index] for index in matching]
        if route == "process" and modern and parameters.get("cb.group") == "id":
            found = list({document["id"]: document for document in reversed(found)}.values())[::-1]
        if parameters.get("sort", "").startswith("start "):
            found.sort(key=lambda document: str(document.get("start")), reverse=parameters["sort"].endswith("desc"))
        start, rows = int(parameters.get("start", 0)), min(int(parameters.get("rows", 10)), self.row_cap)
        envelope: dict[str, Any] = {
            "terms": [query] if query else [], "results": found[start : start + rows], "elapsed": 0.001,
            "total_results": len(found) + self.over_estimate, "highlights": [], "facets": {}, "start": start,
        }  # fmt: skip
        if parameters.get("facet") == "true" and self.facets:
            name = parameters["facet.field"]
            counted = Counter(str(document.get(name)) for document in found).most_common(200)
            top = counted[0][1] if counted else 1
            envelope["facets"] = {
                name: [{"name": n, "value": v, "percent": 100 * v / top, "ratio": f"{v}"} for n, v in counted]
            }
        if route == "process" and modern:
            envelope.update(comprehensive_search=True, all_segments=True, incomplete_results=False, filtered={})
        return envelope


class _Table:
    """Documents with an index for each field that is asked by."""

    def __init__(self, documents: Sequence[Mapping[str, Any]]) -> None:
        self.documents = documents
        self._indexes: dict[str, dict[str, set[int]]] = {}
        self._lock = threading.Lock()

    def equal(self, name: str, value: str) -> set[int]:
        with self._lock:
            index = self._indexes.get(name)
            if index is None:
                index = self._indexes[name] = {}
                for number, document in enumerate(self.documents):
                    own = document.get("id") if name == "process_id" else document.get(name)
                    index.setdefault(str(own).lower(), set()).add(number)
        return index.get(value.lower(), set())

    def prefixed(self, name: str, value: str) -> set[int]:
        return {n for n, d in enumerate(self.documents) if str(d.get(name, "")).lower().startswith(value.lower())}

    def within(self, name: str, low: str, high: str) -> set[int]:
        return {
            number
            for number, document in enumerate(self.documents)
            if isinstance(document.get(name), str)
            and (low == "*" or document[name][:19] >= low)
            and (high == "*" or document[name].rstrip("Z") <= high)
        }


class _BadQuery(ValueError):
    pass


def _evaluate(query: str, table: _Table, binaries: _Table) -> set[int]:
    """Return the numbers of the documents that a query finds."""
    tokens: list[re.Match[str]] = []
    position = 0
    while position < len(query):
        match = _TOKEN.match(query, position)
        if match is None:
            raise _BadQuery(f"at {position}")
        position = match.end()
        if match.group().strip():
            tokens.append(match)

    def disjunction() -> set[int]:
        found = conjunction()
        while tokens and (tokens[0]["word"] or "").lower() == "or":
            tokens.pop(0)
            found = found | conjunction()
        return found

    def conjunction() -> set[int]:
        found = primary()
        while tokens and tokens[0]["mark"] != ")" and (tokens[0]["word"] or "").lower() != "or":
            if tokens[0]["word"]:
                tokens.pop(0)
            found = found & primary()
        return found

    def primary() -> set[int]:
        token = tokens.pop(0) if tokens else None
        if token is None or token["word"] or token["mark"] == ")":
            raise _BadQuery("operand expected")
        if token["field"]:
            return _clause(token, table, binaries)
        found = disjunction()
        if not tokens or tokens.pop(0)["mark"] != ")":
            raise _BadQuery("unbalanced parentheses")
        return found

    found = disjunction()
    if tokens:
        raise _BadQuery("unbalanced parentheses")
    return found


def _clause(token: re.Match[str], table: _Table, binaries: _Table) -> set[int]:
    name = token["field"].lower()
    if token["low"]:
        return table.within(name, token["low"], token["high"])
    phrase, term = token["phrase"], token["term"]
    value = re.sub(r"\\(.)", r"\1", phrase, flags=re.DOTALL) if phrase is not None else term
    if name == "digsig_prog_name":  # a text field of the binary, joined on the image's MD5
        words = re.findall(r"\w+", value.lower())
        md5s = [d["md5"] for d in binaries.documents if _has_words(str(d.get(name, "")), words, phrase is not None)]
        return set().union(*(table.equal("process_md5", md5) for md5 in md5s))
    if term is not None and term.endswith("*"):
        return table.prefixed(name, term[:-1])
    return table.equal(name, value)


def _has_words(text: str, words: list[str], consecutive: bool) -> bool:
    own = re.findall(r"\w+", text.lower())
    if not consecutive:
        return bool(words) and set(words) <= set(own)
    return any(own[at : at + len(words)] == words for at in range(len(own))) and bool(words)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what many tests are about."""


def _handler(server: EdrServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def setup(self) -> None:
            with server._lock:
                server.connections += 1
                server._open.add(self.request)
            self._bare = self.request
            if server._tls is not None:
                self.request.settimeout(5)
                self.request = server._tls.wrap_socket(self.request, server_side=True)
                self.request.settimeout(None)
                with server._lock:
                    server._open.discard(self._bare)
                    server._open.add(self.request)
            super().setup()

        def finish(self) -> None:
            try:
                super().finish()
            finally:
                with server._lock:
                    server._open.discard(self.request)
                if self.request is not self._bare:
                    self.request.close()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._serve(parts.path, {name: values[0] for name, values in parse_qs(parts.query, True).items()})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            given = json.loads(body) if body else {}
            self._serve(
                urlsplit(self.path).path,
                {name: str(value[0] if isinstance(value, list) else value) for name, value in given.items()},
            )

        def _serve(self, path: str, parameters: Mapping[str, str]) -> None:
            route = _ROUTES.get(path, "other")
            headers = {name.lower(): value for name, value in self.headers.items()}
            with server._lock:
                server.counts[route] += 1
                server.requests.append(Request(route, self.command, parameters, headers))
            if server.latency_s:
                server.stopping.wait(server.latency_s)
            fault = server._fault(route)
            if fault is not None:
                self._misbehave(fault)
            elif headers.get("x-auth-token") != server.token:
                self._send(401, _UNAUTHORIZED, "text/html")
            elif route == "other":
                self._send(404, b"<h1>Not Found</h1>", "text/html")
            else:
                try:
                    self._send(200, json.dumps(server._answer(route, parameters)).encode())
                except _BadQuery:
                    self._send(400, b'{"reason": "query_syntax_error"}')

        def _misbehave(self, fault: Fault) -> None:
            if fault.mode == "close":
                self.close_connection = True
            elif fault.mode == "silent":
                server.stopping.wait(60)
                self.close_connection = True
            elif fault.mode.startswith("drip"):
                head = f"HTTP/1.1 {fault.status} OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
                if fault.mode == "drip_body":
                    self.wfile.write(head.encode())
                self._drip(b" " * 100 if fault.mode == "drip_body" else head.encode(), fault.drip_s)
            else:
                cut = fault.body[: len(fault.body) // 2] if fault.mode == "cut" else fault.body
                self._send(fault.status, cut, fault.kind, fault.headers, announced=len(fault.body))
                self.close_connection = self.close_connection or fault.mode == "cut"

        def _drip(self, data: bytes, pause_s: float) -> None:
            self.close_connection = True
            for number in range(len(data)):
                self.wfile.write(data[number : number + 1])
                self.wfile.flush()
                if server.stopping.wait(pause_s):
                    break

        def _send(
            self,
            status: int,
            body: bytes,
            kind: str = "application/json; charset=utf-8",
            headers: Optional[Mapping[str, str]] = None,
            announced: Optional[int] = None,
        ) -> None:
            packed = announced is None and len(body) > 1000 and "gzip" in self.headers.get("Accept-Encoding", "")
            if packed:
                body = gzip.compress(body, 1)
            self.send_response_only(status)
            given = {"Date": formatdate(usegmt=True), "Server": "openresty", "Content-Type": kind, **(headers or {})}
            if packed:
                given["Content-Encoding"] = "gzip"
            given.setdefault("Content-Length", str(len(body) if announced is None else announced))
            for name, value in given.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    return Handler


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Serve until the standard input closes or Ctrl-C; the first line of output is the address."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, metavar="FILE", help="JSON list of binary documents")
    parser.add_argument("--processes", type=Path, metavar="FILE", help="JSON list of process documents")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--token", default=TOKEN, help="default: %(default)s")
    parser.add_argument("--version", default="7.3.0.200609.1533", help="server version, default: %(default)s")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="before each answer")
    given = parser.parse_args(arguments)
    documents = [json.loads(path.read_text("utf-8")) if path else [] for path in (given.binaries, given.processes)]
    with EdrServer(
        *documents, token=given.token, version=given.version, latency_s=given.latency, port=given.port
    ) as server:
        print(server.url, flush=True)
        try:
            sys.stdin.read()
            print(json.dumps({"counts": server.counts, "connections": server.connections}), flush=True)
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
