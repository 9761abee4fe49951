"""The page on a real uvicorn, over a service whose answers tests choose."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Optional

from fastapi import FastAPI

from cbsigned.render.document import Document, enrichment_document
from cbsigned_connectors import http_server
from cbsigned_connectors.http_server import Serving
from cbsigned_connectors.webhook.models import ProblemError
from cbsigned_connectors.webhook.page import Recent, SourceState, page_routes
from cbsigned_connectors.webhook.sessions import Attempts, Sessions
from shared.render.factory import kinds

NOW = datetime(2026, 10, 1, 9, 59, 58, tzinfo=timezone.utc)
TOKENS = {"aa11bb22cc33dd44ee55": "analyst", "0123456789abcdef0123": "node-red"}
TOKEN, OTHER = TOKENS
DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}


class Clock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A `PageState`: answers with the documents whose names stand in `answers`, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers: Sequence[str] = answers or ("signed",)
        self.recent = Recent(clock=lambda: NOW)
        self.asked: list[tuple[str, Any]] = []
        self.signed_in_from: list[Optional[str]] = []
        self.refusal: Optional[ProblemError] = None
        self.states: Sequence[SourceState] = (
            SourceState("edr:cb.example.test", True, "Carbon Black EDR 7.5.0.", NOW),
            SourceState("store:lab.db", False, "The disk is full. Free some space.", NOW),
            SourceState("edr:second.example.test", None, "It is asked with the first look-up."),
        )
        self.clock = Clock()
        self.proxies: Sequence[str] = ()

    def sign_in(self, token: str, address: Optional[str]) -> Optional[str]:
        """Return the sender of a token."""
        self.signed_in_from.append(address)
        return TOKENS.get(token)

    async def look_up(self, sender: str, body: bytes) -> Sequence[Document]:
        """Return the chosen documents."""
        self.asked.append((sender, json.loads(body)))
        if self.refusal is not None:
            raise self.refusal
        return [DOCUMENTS[name] for name in self.answers]

    def sources(self) -> Sequence[SourceState]:
        """Return the chosen states."""
        return self.states


def app_of(service: Service) -> FastAPI:
    """Return an app that has the page alone."""
    app = FastAPI()
    proxies = [ipaddress.ip_network(text) for text in service.proxies]
    app.include_router(page_routes(service, Sessions(clock=service.clock), Attempts(service.clock), proxies))
    return app


class Running:
    """A server that outlives tests; each gives it a service of its own."""

    url = ""

    def __init__(self) -> None:
        self._app = FastAPI()

    def serve(self, service: Service) -> str:
        """Serve this service from now on, with new sessions; gives the address."""
        self._app = app_of(service)
        return self.url

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand a request to the service of the moment."""
        await self._app(scope, receive, send)


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Run a server on loopback."""
    app = Running()
    with http_server.running(app, Serving("The page")) as app.url:
        yield app
