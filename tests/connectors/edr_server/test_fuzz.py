"""Hostile queries over HTTP, ten thousand of them nightly: answered 200 or refused 400, and the server stays."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.edr_server.serving import Client, serving

WORDS = [
    "process_name:", "cmdline:", "path:", "md5:", "regmod:", "modload:", "ipaddr:", "start:", "last_update:",
    "digsig_result:", "digsig_result_modload:", "is_64bit:", "modload_count:", "domain:", "process_id:",
    "host_count:", "observed_filename:", "watchlist_11:", "alliance_score_virustotal:", "nothing:", ":",
    "chrome.exe", "*", "?", "-24h", "-999999999999999999h", "[1 TO 10]", "[* TO *]", "[2016-03-16 TO 2016-03-17]",
    "[b TO a]", "[", "]", "(", ")", '"', "\\", "\\\\", "c:\\windows\\*", "'", "''", "; DROP TABLE process; --",
    "' OR 1=1 --", "UNION SELECT", "%", "_", "%00", "NEAR(", "^", "{x}", "~2", "/re/", " and ", " or ", " AND OR ",
    " not ", "-", "--", "!", "&&", "||", "10.0.0.0/8", "999.1.1.1/99", "::1", "0x1f", "1e400", "NaN", "-1",
    "9" * 30, "true", "Signed", "(Unknown)", "\u202e", "\u00df", "\u0130", "\ufeff", "\U0001f4a5", "e\u0301",
    "\u0000", "\u001b[31m", "\r\nX-Auth-Token: x", "\ud83d", " ", "\t", "a" * 300, "f" * 32, "F" * 64,
    "00000009-0000-082c-01d1-7f392625197c",
]  # fmt: skip
FIELDS = WORDS.index("nothing:")
SORTS = ["", "start asc", "last_update desc", "x", "start asc; DROP", "md5 desc", "\x00"]


def hostile(count: int, seed: int) -> Iterator[str]:
    """Yield queries made of pieces of grammar, of SQL, of broken text, and of nesting."""
    draw = random.Random(seed)
    for number in range(count):
        if number % 500 == 0:
            yield "(" * draw.randrange(1, 5000) + "a" + ")" * draw.randrange(1, 5000)
        elif number % 500 == 1:
            yield " or ".join(f"md5:{n:032x}" for n in range(draw.randrange(1, 2000)))
        elif number % 500 == 2:
            yield "*" * draw.randrange(1, 3000)
        elif number % 2:
            fields, values = draw.choices(WORDS[:FIELDS], k=2), draw.choices(WORDS[FIELDS:], k=2)
            yield " ".join(map("".join, zip(fields, values)))
        else:
            yield "".join(draw.choices(WORDS, k=draw.randrange(1, 12)))


@pytest.fixture(scope="module")
def open_client(sample_store: Path) -> Iterator[Client]:
    with serving(sample_store, block_leading_wildcards=False) as client:
        yield client


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_hostile_queries_are_answered_or_refused_and_never_break_the_server(open_client: Client, count: int) -> None:
    draw = random.Random(7)
    told: Counter[int] = Counter()
    headers = {"X-Auth-Token": str(open_client.token)}
    for number, query in enumerate(hostile(count, 7)):
        route = f"/api/v1/{'process' if number % 3 else 'binary'}"
        sort = draw.choice(SORTS) if number % 5 == 0 else ""
        body = json.dumps({"q": query, "rows": 3, "sort": sort, "facet": str(number % 10 == 0).lower()})
        answer = open_client.session.post(open_client.url + route, data=body, headers=headers)
        told[answer.status_code] += 1
        assert answer.status_code in (200, 400), (number, query[:200])
        assert ("results" if answer.status_code == 200 else "reason") in answer.json()

    assert told[200] > count / 20
    assert told[400] > count / 10
    assert open_client.get("/api/v1/process", rows=0).json()["total_results"] > 0


@pytest.mark.parametrize("name", ["q", "sort", "rows", "start", "facet.field", "cb.q.path", "cb.min_last_update", "fl"])
def test_hostile_parameters_in_the_url_are_answered_or_refused(open_client: Client, name: str) -> None:
    for query in hostile(60, 11):
        text = query.encode("utf-8", "replace").decode()[:3000]
        answer = open_client.get(
            "/api/v1/process", **{name: text, "facet": "true", "rows" if name != "rows" else "q": 1}
        )
        assert answer.status_code in (200, 400), (name, text[:200])


@pytest.mark.parametrize(
    "path",
    ["process/{}/0", "process/{}/0/event", "process/{}/segment", "binary/{}/summary", "sensor/{}", "watchlist/{}"],
)
def test_hostile_paths_are_404_or_400(open_client: Client, path: str) -> None:
    for query in [*WORDS, "..", "../..", "%2e%2e%2f", "%ff", "%c0%ae"]:
        text = query.encode("utf-8", "replace").decode()
        answer = open_client.get("/api/v1/" + path.format(text.replace("#", "").replace("?", "")))
        assert answer.status_code in (200, 204, 400, 404), (path, text)
