"""Many requests at once from one thread: a client that costs less than the server it asks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

__all__ = ["Reply", "asked", "flood", "request_bytes"]

_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Reply:
    """One answer: status (0: the connection ended without one), headers by lower-case name, body, seconds."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


def request_bytes(
    path: str, body: bytes, token: Optional[str], headers: Sequence[tuple[str, str]] = (), method: str = "POST"
) -> bytes:
    """Return a request as it goes over the wire; nothing in it is checked, so that it may be wrong on purpose."""
    given = [("Host", "127.0.0.1"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    given += [("Authorization", f"Bearer {token}")] if token is not None else []
    named = {name.lower(): (name, value) for name, value in [*given, *headers]}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.values())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def flood(url: str, requests: Sequence[bytes], connections: int, timeout_s: float = 60.0) -> list[Reply]:
    """Send all requests, on so many connections at the same time; the answers are in the order of the requests."""
    return asyncio.run(_flood(url, requests, connections, timeout_s))


def asked(url: str, request: bytes, timeout_s: float = 30.0) -> Reply:
    """Send one request on a connection of its own."""
    return flood(url, [request], 1, timeout_s)[0]


async def _flood(url: str, requests: Sequence[bytes], connections: int, timeout_s: float) -> list[Reply]:
    parts = urlsplit(url)
    replies: list[Reply] = [Reply(0, {}, b"", 0.0)] * len(requests)
    work = iter(enumerate(requests))
    workers = (_worker(parts.hostname or "", parts.port or 80, work, replies) for _ in range(connections))
    await asyncio.wait_for(asyncio.gather(*workers), timeout_s)
    return replies


async def _worker(host: str, port: int, work: Iterable[tuple[int, bytes]], replies: list[Reply]) -> None:
    loop = asyncio.get_running_loop()
    connection: Optional[_Connection] = None
    for number, request in work:
        try:
            if connection is None or connection.ended:
                _transport, connection = await loop.create_connection(_Connection, host, port)
            replies[number] = await connection.ask(request)
        except OSError:
            continue  # nobody listens any more: this one has no answer
    if connection is not None:
        connection.close()


class _Connection(asyncio.Protocol):
    """One connection that is kept alive; one request at a time."""

    def __init__(self) -> None:
        self.ended = False
        self._transport: Optional[asyncio.Transport] = None
        self._buffer = b""
        self._began = 0.0
        self._answer: Optional[asyncio.Future[Reply]] = None

    async def ask(self, request: bytes) -> Reply:
        """Send a request, and return the answer to it."""
        self._answer = asyncio.get_running_loop().create_future()
        self._began = time.perf_counter()
        if self._transport is not None and not self.ended:
            self._transport.write(request)
        else:
            self._tell(Reply(0, {}, b"", 0.0))
        return await self._answer

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(_END)
        if not end:
            return
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
        headers = {name.lower(): value for name, value in headers.items()}
        size = int(headers.get("content-length", 0))
        if len(body) >= size:
            self._buffer = body[size:]
            self._tell(Reply(int(head[9:12]), headers, body[:size], time.perf_counter() - self._began))

    def connection_lost(self, _exc: Optional[Exception]) -> None:
        self.ended = True
        self._tell(Reply(0, {}, self._buffer, time.perf_counter() - self._began))

    def _tell(self, reply: Reply) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)
