"""Thousands of alerts at the same time, few questions to the EDR: counted at the EDR server."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest

from cbsigned.edr import connect
from cbsigned.settings import EdrSettings
from cbsigned_connectors.webhook.tokens import token_senders
from connectors.webhook.serving import TOKEN, serving
from edr_server import EdrServer
from recording import md5_of


def bodies(number: int, distinct: int) -> list[bytes]:
    """Return so many hash-only alerts over so many distinct hashes, mixed."""
    chosen = [n % distinct for n in range(number)]
    random.Random(7).shuffle(chosen)
    return [
        json.dumps({"alert_id": str(at), "md5": md5_of(n), "process_name": "a.exe"}).encode()
        for at, n in enumerate(chosen)
    ]


async def posted(url: str, alerts: Sequence[bytes]) -> list[str]:
    """Post all alerts at the same time, each on a connection of its own; return the signing statuses."""
    place = urlsplit(url)

    async def post(body: bytes) -> str:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        head = (
            "POST /v1/alerts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        start, _, document = answer.partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 200"), answer[:500]
        return str(json.loads(document)["status"])

    return list(await asyncio.gather(*map(post, alerts)))


@pytest.mark.parametrize(
    ("number", "distinct", "latency_s"),
    [
        pytest.param(400, 60, 0.5, id="400 alerts"),
        pytest.param(5_000, 300, 0.5, id="5,000 alerts", marks=pytest.mark.nightly),
    ],
)
def test_concurrent_alerts_cost_the_edr_at_most_six_requests(number: int, distinct: int, latency_s: float) -> None:
    documents = [{"md5": md5_of(n).upper(), "digsig_result": "Signed"} for n in range(distinct)]
    with EdrServer(documents, latency_s=latency_s) as server, connect(EdrSettings(server.url, server.token)) as edr:
        senders = token_senders(TOKEN, "the test's token")

        with serving(edr, cached=True, senders=senders, deadline_s=60.0) as client:
            statuses = asyncio.run(posted(client.url, bodies(number, distinct)))

        assert set(statuses) == {"Signed"}
        assert len(statuses) == number
        assert server.counts["info"] + server.counts["binary"] <= 6, server.counts
        assert server.counts["process"] == 0
