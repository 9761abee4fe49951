"""A stand-in for Splunk Web, as far as the setup page needs it: the page, its files, and the routes that it calls."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

from support import PROJECT

APP = PROJECT / "packaging" / "splunk" / "app"
KEY = "7731498213"
PAGE = "/en-US/app/cbsigned/setup"
RAW = "/en-US/splunkd/__raw"
_POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src data:"


@dataclass
class SplunkWeb:
    """What the stand-in holds and has been asked.

    Attributes:
        conf: cbsigned.conf, by stanza.
        token: As in storage/passwords, or "".
        findings: What the look-up handler answers to a test.
        answers: Path → status and JSON that are given instead of the true ones.
        asked: Method, path below `__raw`, query, and body as text.
    """

    conf: dict[str, dict[str, str]] = field(default_factory=lambda: {"edr": {}, "cache": {}})
    token: str = ""
    app: dict[str, str] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    reloads: int = 0
    address: str = ""

    def bodies(self, path: str) -> list[str]:
        """Return the bodies of the POST requests to a path."""
        return [body for method, asked, _query, body in self.asked if (method, asked) == ("POST", path)]

    def answer(self, method: str, path: str, query: dict[str, str], body: str) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of one request to splunkd."""
        self.asked.append((method, path, query, body))
        if path in self.answers:
            return self.answers[path]
        values = dict(parse_qsl(body, keep_blank_values=True))
        own = path.partition("/servicesNS/nobody/cbsigned/")[2]
        stanza = re.fullmatch(r"configs/conf-cbsigned/(edr|cache)", own)
        if stanza:
            self.conf[stanza[1]].update(values)
            return 200, {"entry": [{"name": stanza[1], "content": self.conf[stanza[1]]}]}
        if own.startswith("storage/passwords"):
            return self._passwords(method, own, query, values)
        if own == "configs/conf-app/install":
            self.app.update(values)
            return 200, {"entry": []}
        if path == "/services/apps/local/cbsigned/_reload":
            self.reloads += 1
            return 200, {"entry": []}
        if path == "/services/cbsigned_admin/test":
            return 200, {"findings": self.findings}
        return 404, {"messages": [{"type": "ERROR", "text": "Not Found"}]}

    def _passwords(
        self, method: str, own: str, query: dict[str, str], values: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        if method == "GET":
            shown = {"realm": "cbsigned", "username": "edr_token"}
            if "f" not in query:
                shown["clear_password"] = self.token
            return 200, {"entry": [{"name": "cbsigned:edr_token:", "content": shown}] if self.token else []}
        if own != "storage/passwords" and not self.token:
            return 404, {"messages": [{"type": "ERROR", "text": "Could not find object id=cbsigned:edr_token:"}]}
        self.token = values["password"]
        return 201, {"entry": []}


def page() -> str:
    """Return the setup page as a browser gets it, its panel filled in late as Simple XML does."""
    view = ElementTree.parse(APP / "default/data/ui/views/setup.xml").getroot()  # noqa: S314 (our own)
    files = {name: f"/en-US/static/app/cbsigned/{view.attrib[name]}" for name in ("script", "stylesheet")}
    inside = view.find(".//html")
    assert inside is not None
    content = "".join(ElementTree.tostring(child, encoding="unicode") for child in inside)
    late = f"setTimeout(() => {{ document.querySelector('main').innerHTML = {json.dumps(content)}; }}, 0);"
    return (
        f'<!doctype html><html lang="en"><head><title>Setup</title><link rel="stylesheet" href="{files["stylesheet"]}">'
        '<link rel="icon" href="data:,"><style>body { font: 14px/1.5 sans-serif; margin: 2rem; }</style></head>'
        f'<body><h1>Setup</h1><main></main><script src="{files["script"]}"></script>'
        f"<script>{late}</script></body></html>"
    )


@contextlib.contextmanager
def serving(web: SplunkWeb) -> Iterator[SplunkWeb]:
    """Serve the stand-in on a port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == PAGE:
                port = self.server.server_address[1]
                cookies = [f"splunkweb_csrf_token_{port}={KEY}", "splunkweb_csrf_token_1=of-another-splunk"]
                self._send(200, "text/html", page().encode(), cookies)
            elif path.startswith("/en-US/static/app/cbsigned/"):
                kind = "text/css" if path.endswith(".css") else "text/javascript"
                self._send(200, kind, (APP / "appserver/static" / path.rsplit("/", 1)[1]).read_bytes())
            else:
                self._ask()

        def do_POST(self) -> None:
            self._ask()

        def _ask(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, told = 401, {"messages": [{"type": "ERROR", "text": "CSRF validation failed"}]}
            if self.headers.get("X-Splunk-Form-Key") == KEY and self.headers.get("X-Requested-With"):
                status, told = web.answer(self.command, parts.path[len(RAW) :], dict(parse_qsl(parts.query)), body)
            if status:
                self._send(status, "application/json", json.dumps(told).encode())

        def _send(self, status: int, kind: str, data: bytes, cookies: Any = ()) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Security-Policy", _POLICY)
            for cookie in cookies:
                self.send_header("Set-Cookie", f"{cookie}; Path=/")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    web.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
