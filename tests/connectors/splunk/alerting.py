"""The alert action as splunkd starts it, and the management port that it asks and writes to.

The handler behind the port is a small server that asks the core over the sample telemetry; all bytes are real.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import parse_qs, urlsplit

import trustme

from cbsigned import Settings, Sources, enrich
from cbsigned.render.document import enrichment_document
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from cbsigned_connectors.splunk.alert_action import run

KEY = "Xsession^key-0123456789abcdefghijklmnopqrstuvwxyz"
PROCMON = "b0a3ecc9eaa2521ddea2fc067785b84e"
GIT = "00000003-0000-1400-01d2-e4f25a1e8a10"
Rows = Sequence[Mapping[str, Union[str, list[str]]]]


@dataclass
class Port:
    """A splunkd's management port with the two routes that the action uses.

    Attributes:
        answers: What the handler answers instead of enriching: (status, document) in order, the last one for good.
        refusals: Status of the receiver's answers in order; 200 after them.
        asked, received: What came in.
    """

    source: StoreSource
    uri: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    received: list[tuple[dict[str, str], str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(path)
        if parts.path == "/services/cbsigned/enrich":
            self.asked.append(json.loads(body))
            if self.answers:
                return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return 200, self.enriched(self.asked[-1])
        if parts.path == "/services/receivers/simple":
            status = self.refusals.pop(0) if self.refusals else 200
            told = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if status == 200:
                self.received.append((told, body.decode("utf-8")))
            return status, {"messages": [{"type": "WARN", "text": f"no, {KEY}"}]}
        return 404, {}

    def enriched(self, question: Mapping[str, Any]) -> dict[str, Any]:
        settings = Settings(lineage=question.get("lineage", True))
        sources = Sources(self.source, self.source)
        return {"enrichments": [enrichment_document(e) for e in enrich(question["alerts"], sources, settings)]}

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was written, in order."""
        return [json.loads(text) for _told, text in self.received]


def handler_of(port: Port) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            port.keys.append(self.headers["Authorization"])
            status, document = port.answer(self.path, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "Close")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    return Handler


@contextlib.contextmanager
def serving_port(source: StoreSource, home: Path) -> Iterator[Port]:
    """Run the port with a certificate of a CA that is put where Splunk keeps its own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "etc/auth/cacert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("SplunkServerDefaultCert").configure_cert(context)
    port = Port(source)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(port))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port.uri = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def encoded(rows: Rows) -> bytes:
    """Return rows as splunkd writes results.csv.gz: all plain columns, then one `__mv_` column for each."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names + [f"__mv_{name}" for name in names])
    for row in rows:
        values = [row.get(name, "") for name in names]
        plain = ["\n".join(v) if isinstance(v, list) else v for v in values]
        multi = [";".join(f"${t.replace('$', '$$')}$" for t in v) if isinstance(v, list) else "" for v in values]
        writer.writerow(plain + multi)
    return gzip.compress(out.getvalue().encode())


@dataclass
class Outcome:
    """What a run left behind."""

    code: int
    stderr: str
    log: str

    @property
    def statuses(self) -> list[str]:
        return re.findall(r'action_status="(\w+)"', self.log)


class Action:
    """Starts the action as splunkd does, again and again where wanted."""

    def __init__(self, home: Path, port: Port) -> None:
        self.home, self.port = home, port
        self.pauses: list[float] = []
        self.file = home / "var/run/splunk/dispatch/1448.12/results.csv.gz"

    def payload(self, rows: Optional[Rows] = None, **more: Any) -> dict[str, Any]:
        if rows is not None:
            self.file.write_bytes(encoded(rows))
        return {
            "app": "search", "owner": "ana", "server_host": "sh1", "server_uri": self.port.uri, "session_key": KEY,
            "sid": "scheduler__ana__search__RMD5_at_1448_12", "search_name": "Rare and unsigned",
            "results_file": str(self.file), "result": {}, "configuration": {"index": "cbsigned"}, **more,
        }  # fmt: skip

    def __call__(
        self,
        rows: Optional[Rows] = None,
        *,
        deadline: Optional[Deadline] = None,
        data: Optional[bytes] = None,
        **more: Any,
    ) -> Outcome:
        stderr = io.StringIO()
        stdin = io.BytesIO(json.dumps(self.payload(rows, **more)).encode() if data is None else data)
        code = run(["--execute"], stdin, stderr, os.environ, deadline=deadline, pause=self.pauses.append)
        log = self.home / "var/log/splunk/cbsigned_enrich_modalert.log"
        return Outcome(code, stderr.getvalue(), log.read_text(encoding="utf-8") if log.exists() else "")
