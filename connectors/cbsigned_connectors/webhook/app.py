"""The ASGI application: which address does what, who may, and what an error looks like."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol, Union

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cbsigned import __version__
from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.answers import Answer, Wish, answer_of, json_bytes, wish_of
from cbsigned_connectors.webhook.edge import Edge, request_id_of
from cbsigned_connectors.webhook.models import PROBLEM_TYPE, ProblemError
from cbsigned_connectors.webhook.responder import Reading, Responder, TooBusy
from cbsigned_connectors.webhook.senders import Refused, Sender

__all__ = ["Parts", "Recogniser", "create_app"]


class Recogniser(Protocol):
    """Says who sent a request."""

    def recognise(
        self, headers: Mapping[str, str], path_token: Optional[str], raw_body: bytes, now: float,
        address: Optional[str] = None,
    ) -> Union[Sender, Refused]:  # fmt: skip
        """Return the sender, or why it is not let in; see `Senders.recognise`."""


@dataclass(frozen=True)
class Parts:
    """What the application is made of.

    Attributes:
        deadline_s: From the arrival of a request to its answer.
        max_body_bytes: Of a body as it arrives.
    """

    responder: Responder
    senders: Recogniser
    deadline_s: float = 10.0
    max_body_bytes: int = 1024 * 1024


def create_app(parts: Parts) -> FastAPI:
    """Return the application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        parts.responder.close()

    app = FastAPI(
        title="cbsigned webhook responder", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    api = _Api(parts)
    app.add_api_route("/v1/alerts", api.alerts, methods=["POST"], operation_id="enrichAlerts")
    app.add_api_route("/v1/alerts/{source}", api.alerts_of, methods=["POST"], operation_id="enrichAlertsOfSource")
    app.add_api_route(
        "/v1/alerts/{source}/{token}", api.alerts_by_token, methods=["POST"], operation_id="enrichAlertsByPathToken"
    )
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_middleware(Edge, observe=lambda *_args: None)
    return app


class _Api:
    """The routes' own functions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def alerts(self, request: Request) -> Response:
        """Enrich alerts; their format is detected."""
        return await self._enriched(request, None, None)

    async def alerts_of(self, request: Request, source: str) -> Response:
        """Enrich alerts of a format that is named."""
        return await self._enriched(request, source, None)

    async def alerts_by_token(self, request: Request, source: str, token: str) -> Response:
        """Enrich alerts from a sender that can send nothing but a URL."""
        return await self._enriched(request, source, token)

    async def _enriched(self, request: Request, source: Optional[str], token: Optional[str]) -> Response:
        deadline = Deadline(self._parts.deadline_s)
        raw, _sender = await self._received(request, token)
        wish = wish_of(request.query_params, request.headers.get("accept"))
        records, many = _records(raw)
        readings = [_reading(record) for record in records]
        try:
            answer = await self._parts.responder.answer(readings, deadline, _finishing(wish, many))
        except TooBusy as exc:
            raise ProblemError(503, str(exc), headers={"Retry-After": str(exc.retry_after_s)}) from None
        return _response(answer)

    async def _received(self, request: Request, token: Optional[str]) -> tuple[bytes, Sender]:
        """Return the raw body and who sent it; nothing in it is read before."""
        raw = await _body(request, self._parts.max_body_bytes)
        address = request.client.host if request.client else None
        found = self._parts.senders.recognise(request.headers, token, raw, time.time(), address)
        if isinstance(found, Refused):
            raise ProblemError(found.status, found.reason, headers=found.headers)
        request.state.sender = found.name
        return raw, found


class _finishing:
    def __init__(self, wish: Wish, many: bool) -> None:
        self._wish, self._many = wish, many

    def __call__(self, enrichments: Sequence[Any]) -> Answer:
        return answer_of(self._wish, enrichments, self._many)


async def _body(request: Request, most: int) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > most:
            raise ProblemError(413, f"The body is larger than {most} bytes. Send fewer alerts at a time.")
    return bytes(raw)


def _records(raw: bytes) -> tuple[list[Any], bool]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise ProblemError(400, "The body is not JSON. Send one alert, or a list of them.") from None
    return (found, True) if isinstance(found, list) else ([found], False)


def _reading(record: Any) -> Reading:
    kept = record if isinstance(record, Mapping) else {"value": record}
    try:
        return Reading(kept, parse_alert(record))
    except AlertError as exc:
        return Reading(kept, exc)


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), answer.media_type)


async def _problem(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, ProblemError):
        raise exc
    body = json_bytes(exc.document(request_id_of(request.scope)))
    return Response(body, exc.status, exc.headers, PROBLEM_TYPE)


async def _http_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    details = {404: "There is nothing at this address; /openapi.json lists what there is.", 405: "Use another method."}
    headers = getattr(exc, "headers", None)
    return await _problem(request, ProblemError(status, details.get(status, "The request failed."), headers=headers))


async def _bad_parameters(request: Request, exc: Exception) -> Response:
    return await _problem(
        request, ProblemError(422, "A parameter cannot be used; /openapi.json says what is expected.")
    )
