"""Stands before the application: lets faults strike, and takes new ones over the control route.

The control route `/_faults` has a token of its own: GET tells the rules and how often each struck, PUT replaces them
(the same JSON as the file's), DELETE ends them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable
from typing import Callable, Optional

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cbsigned.errors import ConfigError
from cbsigned_connectors.edr_server.answer import Answer, json_answer, page, wire
from cbsigned_connectors.edr_server.faults import Fault, Faults, parse_faults

__all__ = ["CONTROL", "Unreliable"]

CONTROL = "/_faults"
_MAX_RULES_BODY = 1024 * 1024


class Unreliable:
    """An application whose answers fail as its rules say.

    Args:
        app: Answers where no fault ends the request.
        faults: The rules.
        control_token: Opens the control route; None keeps it shut.
        wait: Waits so many seconds; tests pass their own.
    """

    def __init__(
        self, app: ASGIApp, faults: Faults, control_token: Optional[str] = None,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._app, self._faults, self._wait = app, faults, wait
        logging.getLogger("uvicorn.error").addFilter(_cut_on_purpose)
        self._control = None if control_token is None else _digest(control_token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == CONTROL and self._control is not None:
            await _send(scope, send, await self._controlled(scope, receive))
        else:
            await self._served(scope, receive, send)

    async def _served(self, scope: Scope, receive: Receive, send: Send) -> None:
        drawn = self._faults.drawn(scope["method"], scope["path"])
        latency = sum(fault.latency_s for fault in drawn)
        if latency:
            await self._wait(latency)
        for fault in drawn:
            if fault.fault == "status":
                await _send(scope, send, _failure(fault))
                return
        scope["cbsigned.faults"] = tuple(drawn)
        cut = next((fault for fault in drawn if fault.fault == "truncate"), None)
        await self._app(scope, receive, send if cut is None else _Cut(send, cut.keep))

    async def _controlled(self, scope: Scope, receive: Receive) -> Answer:
        token = dict(scope["headers"]).get(b"x-auth-token", b"")
        if not hmac.compare_digest(_digest(token), self._control or b""):
            return page(401)
        if scope["method"] == "DELETE":
            self._faults.use(())
        elif scope["method"] == "PUT":
            try:
                made = parse_faults(json.loads(await _body(receive)), "The body")
            except (ConfigError, ValueError, RecursionError) as exc:
                return json_answer({"reason": str(exc) if isinstance(exc, ConfigError) else "malformed_json"}, 400)
            self._faults.use(made.rules, made.seed)
        elif scope["method"] != "GET":
            return page(405)
        return json_answer(self._faults.described())


class _Cut:
    """Sends the first part of a body and nothing more, so that the connection is closed within the answer."""

    def __init__(self, send: Send, keep: float) -> None:
        self._send, self._keep = send, keep

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            message = {"type": "http.response.body", "body": body[: int(len(body) * self._keep)], "more_body": True}
        await self._send(message)


def _failure(fault: Fault) -> Answer:
    answer = page(fault.status)
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return Answer(answer.status, b"" if fault.status == 204 else answer.body, answer.kind, headers)


async def _send(scope: Scope, send: Send, answer: Answer) -> None:
    accepts = dict(scope["headers"]).get(b"accept-encoding", b"")
    headers, body = wire(answer, b"gzip" in accepts)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    """Return the body of a request, or nothing where it is longer than rules ever are."""
    body = bytearray()
    more = True
    while more and len(body) <= _MAX_RULES_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body) if not more else b""


def _cut_on_purpose(record: logging.LogRecord) -> bool:
    """Drop the line about an answer that was cut short."""
    return "without completing response" not in str(record.msg)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
