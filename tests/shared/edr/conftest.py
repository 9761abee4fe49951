from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

from cbsigned.edr import EdrClient, EdrSource
from cbsigned.settings import EdrSettings
from edr_server import EdrServer

Start = Callable[..., EdrServer]
Connect = Callable[..., EdrSource]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server of given documents; it ends with the test."""
    servers: list[EdrServer] = []

    def begin(*args: Any, **kwargs: Any) -> EdrServer:
        servers.append(EdrServer(*args, **kwargs).__enter__())
        return servers[-1]

    yield begin
    for server in servers:
        server.__exit__()


@pytest.fixture
def client() -> Iterator[Callable[..., EdrClient]]:
    """Connect a client whose waits between tries are noted and not slept; `sleeps` is on the client."""
    clients: list[EdrClient] = []

    def connect(server: EdrServer, **settings: Any) -> EdrClient:
        known = {name: settings.pop(name) for name in ("clock", "sleep", "random") if name in settings}
        sleeps: list[float] = []
        given = EdrSettings(**{"url": server.url, "token": server.token, **settings})
        made = EdrClient(given, **{"sleep": sleeps.append, "random": lambda: 0.5, **known})
        made.sleeps = sleeps  # type: ignore[attr-defined]
        clients.append(made)
        return made

    yield connect
    for made in clients:
        made.close()


@pytest.fixture
def source(client: Callable[..., EdrClient]) -> Connect:
    """Connect a source in the same way."""
    return lambda server, **settings: EdrSource(client(server, **settings))
