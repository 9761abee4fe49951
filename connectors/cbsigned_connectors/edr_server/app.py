"""The ASGI application: who may ask, which route answers, and what an error looks like.

Starlette does the routing and reads requests; the work itself is plain functions (`Handler`), run in threads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cbsigned.errors import SourceError, SourceTimeout
from cbsigned_connectors.edr_server import autocomplete, binaries, endpoints, info, processes, searching
from cbsigned_connectors.edr_server.answer import Answer, Refused, page, wire
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint
from cbsigned_connectors.edr_server.parameters import MAX_BODY, Parameters, of_body, of_query
from cbsigned_connectors.http_server import Serving

__all__ = ["SERVING", "application"]

SERVING = Serving("The EDR server", uvicorn={"date_header": False, "http": "h11"})
"""It writes the date itself, and its headers as the vendor's proxy does."""

_LOG = logging.getLogger(__name__)
_TABLES: tuple[Sequence[Endpoint], ...] = (
    info.ENDPOINTS, autocomplete.ENDPOINTS, processes.ENDPOINTS, binaries.ENDPOINTS, endpoints.ENDPOINTS,
    searching.ENDPOINTS,
)  # fmt: skip


def application(desk: Desk) -> Starlette:
    """Return the application that answers from a store."""
    routes = [
        Route(endpoint.path, _served(desk, endpoint), methods=list(endpoint.methods))
        for table in _TABLES
        for endpoint in table
        if endpoint.since <= desk.dialect.numbers < endpoint.until
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _routing_error, Exception: _unhandled})


def _served(desk: Desk, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            answer = await _answer(desk, endpoint, request)
        except Refused as refusal:
            answer = refusal.answer
        except ClientDisconnect:
            answer = page(404)  # nobody is there to read it
        return _Wired(answer)

    return serve


async def _answer(desk: Desk, endpoint: Endpoint, request: Request) -> Answer:
    rights = desk.options.grants.of(request.headers.get("x-auth-token"))
    if rights is None:
        return page(401)
    if endpoint.right is not None and endpoint.right not in rights:
        return page(403)
    ask = Ask(request.path_params, await _parameters(request), rights, request.scope.get("cbsigned.faults", ()))
    try:
        return await run_in_threadpool(endpoint.handler, desk, ask)
    except SourceTimeout:
        return page(504)
    except SourceError as exc:
        _LOG.error("%s", exc)
        return page(502)


async def _parameters(request: Request) -> Parameters:
    if request.method != "POST":
        return of_query(request.scope["query_string"])
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(page(413))
    return of_body(bytes(body))


class _Wired(Response):
    """An answer on its way out."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(status_code=answer.status)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepts = dict(scope["headers"]).get(b"accept-encoding", b"")
        headers, body = wire(self._answer, b"gzip" in accepts)
        await send({"type": "http.response.start", "status": self._answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _routing_error(_request: Request, exc: Exception) -> Response:
    return _Wired(page(exc.status_code if isinstance(exc, HTTPException) else 500))


async def _unhandled(_request: Request, _exc: Exception) -> Response:
    return _Wired(page(500))
