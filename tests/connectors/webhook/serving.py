"""A responder over a source, for one test, and a client that asks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import requests

from cbsigned.enrichment import Caches, Sources
from cbsigned.settings import Settings
from cbsigned_connectors.webhook.app import Parts, create_app
from cbsigned_connectors.webhook.responder import Responder
from cbsigned_connectors.webhook.senders import Senders
from cbsigned_connectors.webhook.server import running
from cbsigned_connectors.webhook.sources import shared

TOKEN = "0123456789abcdef0123456789abcdef"


@dataclass
class Client:
    """Asks a responder; `token` None sends none."""

    url: str
    session: requests.Session
    token: Optional[str] = TOKEN

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return self.session.get(self.url + path, params=parameters, headers=self._headers({}))

    def post(self, path: str, body: Any = None, headers: Optional[dict[str, str]] = None, **kwargs: Any) -> Any:
        given = {"data": body} if isinstance(body, (bytes, str)) else {"json": body}
        return self.session.post(self.url + path, headers=self._headers(headers or {}), **given, **kwargs)

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        return more if self.token is None else {"Authorization": f"Bearer {self.token}", **more}


@contextlib.contextmanager
def serving(
    source: Any, *, settings: Optional[Settings] = None, cached: bool = False, workers: int = 16, **parts: Any
) -> Iterator[Client]:
    """Serve over one source; `cached` as over an EDR, else as over a store."""
    settings = settings or Settings()
    sources, hot = shared(Sources(source, source, source, Caches() if cached else None), settings)
    responder = Responder(sources, settings, hot, workers=workers)
    parts.setdefault("senders", Senders.of_token(TOKEN))
    with running(create_app(Parts(responder, **parts))) as url, requests.Session() as session:
        session.trust_env = False
        yield Client(url, session)
