from __future__ import annotations

from email.utils import formatdate
from typing import Any, Callable

import pytest

from cbsigned.edr import EdrSource, Finding, connect
from cbsigned.settings import EdrSettings
from cbsigned.timing import Deadline
from edr_server import EdrServer, Fault

Start = Callable[..., EdrServer]
Connect = Callable[..., EdrSource]
INFO = b'{"version": "7.3.0.1"}'


def findings(source: EdrSource) -> dict[str, Finding]:
    return {finding.topic: finding for finding in source.check(Deadline(5))}


def test_a_server_that_allows_all_is_fine(start: Start, source: Connect) -> None:
    server = start([{"md5": "a" * 32}], [{"id": "x"}])

    found = findings(source(server))

    assert {True} == {finding.ok for finding in found.values()}
    assert list(found) == ["server", "binary search", "process search", "sha256", "clock"]
    assert "is Carbon Black EDR 7.3.0." in found["server"].text
    assert sum(server.counts.values()) == 3


def test_a_refused_binary_search_says_what_it_is_for(start: Start, source: Connect) -> None:
    server = start([], [{"id": "x"}])
    server.fail("binary", Fault(403))

    found = findings(source(server))

    assert tuple(found[t].ok for t in ("server", "binary search", "process search")) == (True, False, True)
    assert "lacks the right" in found["binary search"].text
    assert "default strategy" in found["binary search"].text


def test_a_search_that_finds_nothing_at_all_is_told(start: Start, source: Connect) -> None:
    found = findings(source(start([{"md5": "a" * 32}], [])))

    assert found["process search"].ok is False
    assert "may see no group" in found["process search"].text


def test_a_wrong_token_is_told_for_everything(start: Start, source: Connect) -> None:
    found = findings(source(start(), token="wrong"))

    assert [finding.ok for finding in found.values()] == [False, False, False, None, None]
    assert "refused the API token (401)" in found["server"].text
    assert "wrong" not in found["server"].text.replace("it is wrong", "")


def test_an_old_server_searches_no_sha256(start: Start, source: Connect) -> None:
    found = findings(source(start(version="6.2.0.1")))

    assert found["sha256"].ok is False
    assert "needs 6.3" in found["sha256"].text


def test_another_server_is_no_edr(start: Start, source: Connect) -> None:
    server = start()
    server.fail("info", Fault(200, b"{}", "application/json"))

    assert (
        findings(source(server))["server"].ok,
        findings(source(server))["server"].text,
    ) == (False, "The answer names no version; is this an EDR?")


@pytest.mark.parametrize(("date", "ok"), [(formatdate(0, usegmt=True), False), ("", None), ("yesterday", None)])
def test_the_clock_is_compared(date: str, ok: Any, start: Start, source: Connect) -> None:
    server = start()
    server.fail("info", Fault(200, INFO, "application/json", {"Date": date}))

    finding = findings(source(server))["clock"]

    assert ok is finding.ok
    assert ok is None or "behind ours" in finding.text


def test_connect_gives_a_source_and_asks_nothing() -> None:
    with connect(EdrSettings("https://cb.example.test:8443", "t")) as source:
        assert source.name == "edr:cb.example.test:8443"
