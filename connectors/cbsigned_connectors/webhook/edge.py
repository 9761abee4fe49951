"""Around every request: an id, the headers that keep browsers safe, one log line, the counters, and the last net.

Log lines and counters name the route, never the path: a path may hold a sender's token.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cbsigned_connectors.webhook.models import PROBLEM_TYPE, ProblemError

__all__ = ["Edge", "request_id_of", "route_of"]

log = logging.getLogger(__name__)
_GIVEN_ID = re.compile(rb"[A-Za-z0-9_.-]{8,64}")
_SAFE_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_PAGE_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
"""Of what a browser shows: a card runs no script and loads nothing."""
_TWO_LENGTHS = ProblemError(
    400, "The request has both Content-Length and Transfer-Encoding, so its end is not certain. Send one of them.",
    headers={"Connection": "close"},
)  # fmt: skip
"""Where a proxy believes one of them and we the other, a second request hides in the body (RFC 9112 §6.1)."""

Observer = Callable[[str, str, int, float], None]
"""(method, route, status, seconds) of every request."""


class Edge:
    """ASGI middleware, the outermost.

    Args:
        app: What it stands around.
        observe: Told of every request when it has ended.
        straight: (method, path) → what answers it, for the one address that nearly all requests are for: the layers
            and routes of the framework cost as much as reading the alert.
    """

    def __init__(
        self, app: ASGIApp, observe: Observer, straight: Optional[Mapping[tuple[str, str], ASGIApp]] = None
    ) -> None:
        self._app, self._observe, self._straight = app, observe, straight or {}
        self._own, self._count = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever is raised inside becomes a 500 and a log line with the traceback."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        given = dict(scope["headers"])
        request_id = self._request_id(given.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with_safety(message.get("headers", []), request_id)}
            await send(message)

        try:
            if b"transfer-encoding" in given and b"content-length" in given:
                await _problem(_TWO_LENGTHS, request_id, sending)
            else:
                inner = self._straight.get((scope["method"], scope["path"]), self._app)
                await inner(scope, receive, sending)
        except Exception:
            log.exception("request %s failed; this is a defect of cbsigned", request_id)
            if status == 0:
                told = f"This should not happen. The log has the details under request {request_id}."
                await _problem(ProblemError(500, told), request_id, sending)
        finally:
            self._ended(scope, status or 499, time.perf_counter() - began, request_id)

    def _ended(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        method, route = scope["method"], route_of(scope)
        self._observe(method, route, status, seconds)
        if log.isEnabledFor(logging.INFO):
            ms = round(seconds * 1000, 1)
            told = {"request_id": request_id, "method": method, "route": route, "status": status, "ms": ms}
            sender = scope["state"].get("sender")
            log.info("%s %s %d %.1f ms", method, route, status, ms, extra={**told, "sender": sender})

    def _request_id(self, given: bytes) -> str:
        """Return the id that came with a request, else one of ours: drawn for the process, then counted."""
        if _GIVEN_ID.fullmatch(given):
            return given.decode("ascii")
        return f"{self._own}{next(self._count):08x}"


def request_id_of(scope: Scope) -> str:
    """Return the id of a request."""
    return str(scope.get("state", {}).get("request_id", ""))


def route_of(scope: Scope) -> str:
    """Return the pattern of the route that answered, `/v1/jobs/{id}` for example, else `page` or `other`."""
    return str(scope.get("cbsigned.route") or ("page" if "endpoint" in scope else "other"))


def _with_safety(headers: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with ours; what the answer says itself stays."""
    given = dict(headers)
    page = given.get(b"content-type", b"").startswith(b"text/")
    added = (*_SAFE_HEADERS, *_PAGE_HEADERS) if page else _SAFE_HEADERS
    return [*headers, *(pair for pair in added if pair[0] not in given), (b"x-request-id", request_id.encode("ascii"))]


async def _problem(error: ProblemError, request_id: str, send: Send) -> None:
    body = json.dumps(error.document(request_id)).encode("ascii")
    headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
