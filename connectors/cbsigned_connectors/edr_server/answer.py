"""Answers as the server's front end sends them: the headers, gzip, and the error pages.

References:
    - cb-edr-api §1.1 (headers, recorded on 6.2), §1.2 (errors)
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Optional

__all__ = ["Answer", "Refused", "json_answer", "page", "wire"]

_JSON = "application/json; charset=utf-8"
_HTML = "text/html"
_STATUSES = {status.value for status in HTTPStatus}
_WORDS = {
    401: "The server could not verify that you are authorized to access the URL requested. You either supplied the "
    "wrong credentials (e.g. a bad password), or your browser doesn't understand how to supply the credentials "
    "required.",
    403: "You don't have the permission to access the requested resource. It is either read-protected or not readable "
    "by the server.",
    404: "The requested URL was not found on the server. If you entered the URL manually please check your spelling "
    "and try again.",
    405: "The method is not allowed for the requested URL.",
    429: "This user has exceeded an allotted request count. Try again later.",
    413: "The data value transmitted exceeds the capacity limit.",
}


@dataclass(frozen=True)
class Answer:
    """One answer before it goes onto the wire."""

    status: int
    body: bytes
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Ends the handling of a request with an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(document: Any, status: int = 200, headers: Optional[Mapping[str, str]] = None) -> Answer:
    """Return a JSON answer."""
    return Answer(status, json.dumps(document).encode(), _JSON, headers or {})


def page(status: int) -> Answer:
    """Return the small HTML page of an error (werkzeug's default), or the text of an unhandled exception."""
    if status == 500:
        return Answer(500, b"Unhandled exception. Check logs for details.", "text/plain; charset=utf-8")
    phrase = HTTPStatus(status).phrase if status in _STATUSES else "Error"
    words = _WORDS.get(status, "The server or a server behind it could not answer.")
    text = (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n'
        f"<title>{status} {phrase}</title>\n<h1>{phrase}</h1>\n<p>{words}</p>\n"
    )
    return Answer(status, text.encode(), _HTML)


def wire(answer: Answer, accepts_gzip: bool, now: Optional[datetime] = None) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body as they are sent; JSON is packed where the client takes gzip.

    There is no Content-Length: the body goes out chunked, as recorded. `Last-Modified` is no HTTP date, as recorded.
    """
    moment = now or datetime.now(timezone.utc)
    date = format_datetime(moment, usegmt=True)
    headers = {
        "Server": "openresty", "Date": date, "Content-Type": answer.kind, "Connection": "keep-alive",
        "Last-Modified": moment.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f"), "Cache-Control": "max-age=0",
        "Pragma": "no-cache", "Expires": date, "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", **answer.headers,
    }  # fmt: skip
    body = answer.body
    if accepts_gzip and answer.kind == _JSON and body:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=5)
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()], body
