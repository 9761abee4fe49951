"""A responder over a source, for one test, and a client that asks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import requests

from cbsigned.edr import connect
from cbsigned.enrichment import Caches, Sources
from cbsigned.settings import EdrSettings, Settings
from cbsigned_connectors.http_server import running
from cbsigned_connectors.webhook.app import SERVING, create_app
from cbsigned_connectors.webhook.metrics import Metrics
from cbsigned_connectors.webhook.responder import Responder
from cbsigned_connectors.webhook.senders import Senders
from cbsigned_connectors.webhook.service import Parts
from cbsigned_connectors.webhook.sources import watched
from edr_server import EdrServer
from recording import md5_of

TOKEN = "0123456789abcdef0123456789abcdef"
ALERT = {"md5": md5_of(1), "process_name": "a.exe", "alert_id": "4711"}


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


@dataclass
class Served(Client):
    """The client of a responder of which a test may look at the inside."""

    parts: Optional[Parts] = None


def parts_of(
    source: Any, *, settings: Optional[Settings] = None, cached: bool = False, workers: int = 16, **parts: Any
) -> Parts:
    """Return the parts of a responder over one source; `cached` as over an EDR, else as over a store."""
    settings, metrics = settings or Settings(), Metrics()
    asked = watched(Sources(source, source, source, Caches() if cached else None), settings, metrics, parts.get("jobs"))
    responder = Responder(asked.sources, settings, asked.hot, workers=workers)
    parts.setdefault("senders", Senders.of_token(TOKEN))
    return Parts(responder, health=asked.health, metrics=metrics, **parts)


@contextlib.contextmanager
def serving(source: Any, **options: Any) -> Iterator[Served]:
    """Serve over one source; see `parts_of`."""
    parts = parts_of(source, **options)
    with running(create_app(parts), SERVING) as url, requests.Session() as session:
        session.trust_env = False
        yield Served(url, session, TOKEN, parts)


@contextlib.contextmanager
def over_edr(server: EdrServer, **options: Any) -> Iterator[Served]:
    """Serve over an EDR server of ours, with no retries, so that faults are quick."""
    edr = connect(EdrSettings(server.url, server.token, retries=0, timeout_s=2))
    with edr as source, serving(source, cached=True, **options) as served:
        yield served
