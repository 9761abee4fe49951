"""A server over a store, for one test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Optional

import requests

from cbsigned_connectors.edr_server.access import Grants, grants_of_token
from cbsigned_connectors.edr_server.app import SERVING, application
from cbsigned_connectors.edr_server.desk import Desk, Options
from cbsigned_connectors.edr_server.dialect import parse_dialect
from cbsigned_connectors.edr_server.faults import Faults
from cbsigned_connectors.edr_server.unreliable import Unreliable
from cbsigned_connectors.http_server import running

TOKEN = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Client:
    """Asks a server of ours; `token` None sends none."""

    url: str
    session: requests.Session
    token: Optional[str] = TOKEN
    verify: Any = True

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return self.session.get(self.url + path, params=parameters, headers=self._headers(), verify=self.verify)

    def post(self, path: str, body: Any) -> requests.Response:
        return self.session.post(self.url + path, json=body, headers=self._headers(), verify=self.verify)

    def _headers(self) -> dict[str, str]:
        return {} if self.token is None else {"X-Auth-Token": self.token}


@contextlib.contextmanager
def serving(
    store: Path, version: str = "7.3.0.200609.1533", *, grants: Optional[Grants] = None, cert: Optional[Path] = None,
    key: Optional[Path] = None, faults: Optional[Faults] = None, control_token: Optional[str] = None,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep, **options: Any,
) -> Iterator[Client]:  # fmt: skip
    desk = Desk(Options(store, grants or grants_of_token(TOKEN), parse_dialect(version), **options))
    app = Unreliable(application(desk), faults or Faults(), control_token, wait)
    served = replace(SERVING, cert=cert, key=key)
    with contextlib.closing(desk), running(app, served) as url, requests.Session() as session:
        session.trust_env = False
        yield Client(url, session, verify=str(cert) if cert else True)
