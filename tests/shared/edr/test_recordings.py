"""Recorded answers of a real server (6.2.0.171114.1158), given back over HTTP as they were."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import responses
from responses import matchers

from cbsigned.edr import EdrSource, connect
from cbsigned.edr.search import parse_version
from cbsigned.settings import EdrSettings
from cbsigned.signing import signing_statuses
from cbsigned.timing import Deadline
from support import real_data

URL = "https://cb.example.test"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
MD5 = "c7f5cae0b450be875eee0e6ddfa771fe"


@pytest.fixture
def recorded() -> Path:
    return real_data("cbapi-python") / "rest-2018"


@pytest.fixture
def stubs(recorded: Path) -> Iterator[responses.RequestsMock]:
    """Answer with recordings; every stub must be asked, with exactly these parameters and this token."""
    with responses.RequestsMock(assert_all_requests_are_fired=True) as mock:
        mock.get(
            f"{URL}/api/info",
            body=(recorded / "GET_info.json").read_bytes(),
            content_type="application/json; charset=utf-8",
            headers={"Date": "Tue, 06 Feb 2018 18:44:47 GMT"},
            match=[matchers.query_param_matcher({}), matchers.header_matcher({"X-Auth-Token": TOKEN})],
        )
        yield mock


@pytest.fixture
def source() -> Iterator[EdrSource]:
    with connect(EdrSettings(URL, TOKEN, retries=0)) as connected:
        yield connected


def stub(mock: responses.RequestsMock, route: str, body: bytes, **parameters: str) -> None:
    mock.get(
        f"{URL}/api/v1/{route}",
        body=body,
        content_type="application/json; charset=utf-8",
        match=[
            matchers.query_param_matcher({"start": "0", "cb.urlver": "1", **parameters}),
            matchers.header_matcher({"X-Auth-Token": TOKEN, "Accept-Encoding": "gzip"}),
        ],
    )


def test_the_recorded_version_is_read(stubs: responses.RequestsMock, source: EdrSource) -> None:
    assert source.version(Deadline(5)) == (6, 2, 0)


def test_a_recorded_binary_is_signed(stubs: responses.RequestsMock, source: EdrSource, recorded: Path) -> None:
    body = (recorded / "GET_v1_binary_rows1.json").read_bytes()
    stub(stubs, "binary", body.replace(b"4296", b"1"), q=f"md5:{MD5}", rows="1", facet="false")

    signature = signing_statuses(source, [MD5], Deadline(5))[MD5]

    assert (signature.status.value, signature.publisher, signature.host_count) == ("Signed", "Microsoft Corporation", 1)
    assert signature.evidence is not None
    assert signature.evidence.source == "edr:cb.example.test"
    assert datetime(2016, 4, 12, 9, 21, tzinfo=timezone.utc) == signature.signed_at


def test_recorded_totals_answer_the_check(stubs: responses.RequestsMock, source: EdrSource, recorded: Path) -> None:
    for route in ("binary", "process"):
        stub(stubs, route, (recorded / f"GET_v1_{route}_rows0.json").read_bytes(), rows="0")

    findings = {finding.topic: finding for finding in source.check(Deadline(5))}

    assert findings["binary search"].text == "Allowed; 4296 documents."
    assert findings["process search"].text == "Allowed; 34884 documents."
    assert findings["sha256"].ok is False
    assert findings["clock"].ok is False


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.2.0.171114.1158", (6, 2, 0)),
        ("5.1.0-3", (5, 1, 0)),
        ("7.8", (7, 8, 0)),
        ("10.0.0.1", (10, 0, 0)),
        ("7", None),
        ("", None),
        ("v7.8", None),
        ("7.99999.1", None),
        (7.8, None),
        (None, None),
    ],
)
def test_versions_are_read(text: object, version: object) -> None:
    assert version == parse_version(text)
