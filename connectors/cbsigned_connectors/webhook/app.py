"""The ASGI application: which address does what, who may, and what an error looks like."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, Callable, Optional

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cbsigned import __version__
from cbsigned.timing import Deadline
from cbsigned_connectors.http_server import Serving
from cbsigned_connectors.webhook.answers import JSON, Answer, Wish, json_bytes, wish_of
from cbsigned_connectors.webhook.asynchronous import Caller, Runner
from cbsigned_connectors.webhook.edge import Edge, request_id_of
from cbsigned_connectors.webhook.intake import Asked
from cbsigned_connectors.webhook.limits import BodyRefused
from cbsigned_connectors.webhook.metrics import CONTENT_TYPE
from cbsigned_connectors.webhook.models import PROBLEM_TYPE, HashesRequest, LineageRequest, ProblemError, read_model
from cbsigned_connectors.webhook.openapi import described
from cbsigned_connectors.webhook.page import page_routes
from cbsigned_connectors.webhook.senders import Sender
from cbsigned_connectors.webhook.service import Parts, Service

__all__ = ["SERVING", "create_app"]

SERVING = Serving(
    "The webhook responder", stop_s=30.0, uvicorn={"lifespan": "on", "h11_max_incomplete_event_size": 32 * 1024}
)

_ORIGIN = re.compile(r"[A-Za-z0-9.:*_-]{1,253}", re.ASCII)
_MODES = ("sync", "async")
_STOP_S = 20.0
_PLAIN = Wish()
_HEADERS = "cbsigned.headers"
_ALERTS = "/v1/alerts"
_Handler = Callable[[Request], Awaitable[Response]]


def create_app(parts: Parts) -> FastAPI:
    """Return the application: the API, the analyst's page, and what operators look at."""
    service = Service(parts)
    parts.metrics.watch(lambda: parts.responder.waiting, parts.jobs)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _background(service):
            yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="cbsigned webhook responder", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    api = _Api(service)
    api.mount(app)
    app.include_router(page_routes(service, trusted_proxies=parts.trusted_proxies))
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(ClientDisconnect, _gone)
    straight = {("POST", _ALERTS): _Endpoint(_ALERTS, api.alerts)}
    app.add_middleware(Edge, observe=parts.metrics.observe, straight=straight)
    described(app)
    return app


@contextlib.asynccontextmanager
async def _background(service: Service) -> AsyncIterator[None]:
    """Run the accepted jobs and their callbacks; at the end, finish what was begun."""
    parts = service.parts
    if parts.jobs is None:
        yield
        return
    runner = Runner(parts.jobs, service.run) if parts.jobs.runs_here else None
    caller = Caller(parts.jobs, parts.callbacks, parts.metrics.called) if parts.callbacks is not None else None
    if runner is not None:
        runner.start()
    if caller is not None:
        caller.start()
    try:
        yield
    finally:
        if runner is not None:
            await runner.stop(_STOP_S)
        if caller is not None:
            await caller.stop()


class _Api:
    """The routes' own functions: HTTP in, orders and answers inside."""

    def __init__(self, service: Service) -> None:
        self._service, self._parts = service, service.parts

    def mount(self, app: FastAPI) -> None:
        """Add the routes; what they are for is told in `openapi`, so the framework need not look at their arguments."""
        for path, method, handler in (
            (_ALERTS, "POST", self.alerts),
            (f"{_ALERTS}/{{source}}", "POST", self.alerts),
            (f"{_ALERTS}/{{source}}/{{token}}", "POST", self.alerts),
            ("/v1/signed", "POST", self.signed),
            ("/v1/lineage", "POST", self.lineage),
            ("/v1/jobs/{id}", "GET", self.job),
            ("/healthz", "GET", self.alive),
            ("/readyz", "GET", self.ready),
            ("/metrics", "GET", self.metrics),
        ):
            methods = [method, "OPTIONS"] if handler == self.alerts else [method]
            app.router.routes.append(Route(path, _Endpoint(path, handler), methods=methods))

    async def alerts(self, request: Request) -> Response:
        """Enrich alerts: of a format that is detected or named, from a sender that may be known by the path alone."""
        if request.method == "OPTIONS":
            return self._handshake(request)
        deadline = Deadline(self._parts.deadline_s)
        source, token = request.path_params.get("source"), request.path_params.get("token")
        raw, sender = await self._received(request, token)
        headers = dict(_headers(request).items())
        if _plain(request, headers):
            return _response(await self._service.answered(Asked(raw, headers, sender, source, _PLAIN), deadline))
        wish = wish_of(request.query_params, request.headers.get("accept"))
        asked = Asked(raw, headers, sender, source, wish)
        callback = request.query_params.get("callback_url")
        if _asynchronous(request):
            return _response(await self._service.accepted(await self._service.order(asked), callback))
        if callback is not None:
            reason = "Add mode=async, or leave it out: this answer comes at once."
            raise ProblemError(422, "A callback is made for jobs alone.", [("callback_url", reason)])
        return _response(await self._service.answered(asked, deadline))

    async def signed(self, request: Request) -> Response:
        """Return the signing status of files by hash."""
        deadline = Deadline(self._parts.deadline_s)
        raw, _sender = await self._received(request, None)
        asked = read_model(HashesRequest, raw)
        return _response(await self._service.signatures(asked.hashes, deadline))

    async def lineage(self, request: Request) -> Response:
        """Return one process with its ancestors."""
        deadline = Deadline(self._parts.deadline_s)
        raw, sender = await self._received(request, None)
        asked = read_model(LineageRequest, raw)
        wish = wish_of(request.query_params, request.headers.get("accept"))
        return _response(await self._service.lineage(sender, asked.record(), wish, deadline))

    async def job(self, request: Request) -> Response:
        """Return an accepted job's answer."""
        _raw, sender = await self._received(request, None)
        return _response(await self._service.job(request.path_params["id"], sender))

    async def alive(self, _request: Request) -> Response:
        """Say that the process runs."""
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def ready(self, _request: Request) -> Response:
        """Say whether everything works, and what does not."""
        ready, document = await self._parts.health.readiness()
        return Response(json_bytes(document), 200 if ready else 503, media_type=JSON)

    async def metrics(self, _request: Request) -> Response:
        """Return the counters."""
        return Response(await asyncio.to_thread(self._parts.metrics.text), media_type=CONTENT_TYPE)

    @staticmethod
    def _handshake(request: Request) -> Response:
        """Allow a CloudEvents sender to send here; who it is must still be proved with every event."""
        headers = {"Allow": "POST, OPTIONS"}
        origin = request.headers.get("webhook-request-origin")
        if origin is not None:
            if not _ORIGIN.fullmatch(origin):
                raise ProblemError(400, "WebHook-Request-Origin is no host name.")
            headers["WebHook-Allowed-Origin"] = origin
            if "webhook-request-rate" in request.headers:
                headers["WebHook-Allowed-Rate"] = "*"
        return Response(status_code=200, headers=headers)

    async def _received(self, request: Request, token: Optional[str]) -> tuple[bytes, Sender]:
        """Return the raw body and who sent it; nothing in it is read before."""
        headers, client = _headers(request), request.scope["client"]
        try:
            raw = await self._service.bodies.read(request.stream(), headers.get("content-length"))
        except BodyRefused as exc:
            retry = {"Retry-After": str(exc.retry_after_s)} if exc.retry_after_s is not None else {}
            raise ProblemError(exc.status, str(exc), headers=retry) from None
        sender = self._service.recognised(headers, token, raw, client[0] if client else None)
        request.state.sender = sender.name
        return raw, sender


class _Endpoint:
    """An ASGI application of one handler, which leaves its route's pattern for the log and the counters.

    As such Starlette calls it directly; around a function it puts a second net for exceptions, which has a price.
    """

    def __init__(self, path: str, handler: _Handler) -> None:
        self._path, self._handler = path, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["cbsigned.route"] = self._path
        request = Request(scope, receive, send)
        try:
            response = await self._handler(request)
        except ProblemError as exc:
            response = await _problem(request, exc)
        except ClientDisconnect as exc:
            response = await _gone(request, exc)
        await response(scope, receive, send)


def _plain(request: Request, headers: Mapping[str, str]) -> bool:
    """Whether a request asks for JSON at once, as nearly all do, so that its parameters need not be taken apart."""
    return (
        not request.scope["query_string"] and headers.get("accept", JSON) in (JSON, "*/*") and "prefer" not in headers
    )


def _headers(request: Request) -> Mapping[str, str]:
    """Return the headers by lower-case name; where one came twice, all of them, as the framework tells them.

    Decoded once: the framework does it again for each that is looked at.
    """
    found: Optional[Mapping[str, str]] = request.scope.get(_HEADERS)
    if found is None:
        raw = request.scope["headers"]
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
        found = request.scope[_HEADERS] = found if len(found) == len(raw) else request.headers
    return found


def _asynchronous(request: Request) -> bool:
    """Whether the caller wants its answer later: `mode` says so, else `Prefer`."""
    mode = request.query_params.get("mode")
    if mode is not None and mode not in _MODES:
        raise ProblemError(422, "There is no such mode.", [("mode", "Use sync or async.")])
    prefers = [word.strip().lower() for word in request.headers.get("prefer", "")[:1000].split(",")]
    return mode == "async" or (mode is None and "respond-async" in prefers)


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), answer.media_type)


async def _problem(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, ProblemError):
        raise exc
    body = json_bytes(exc.document(request_id_of(request.scope)))
    return Response(body, exc.status, exc.headers, PROBLEM_TYPE)


async def _http_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers: Any = getattr(exc, "headers", None)
    details = {
        404: "There is nothing at this address; /openapi.json lists what there is.",
        405: f"This address does not take {request.method}. Use {(headers or {}).get('Allow', 'another method')}.",
    }
    return await _problem(request, ProblemError(status, details.get(status, "The request failed."), headers=headers))


async def _bad_parameters(request: Request, exc: Exception) -> Response:
    return await _problem(
        request, ProblemError(422, "A parameter cannot be used; /openapi.json says what is expected.")
    )


async def _gone(_request: Request, _exc: Exception) -> Response:
    return Response(status_code=499)  # nobody is there to read it
