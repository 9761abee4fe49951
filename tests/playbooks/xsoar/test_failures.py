"""What cannot be answered becomes the platform's error entry, with our message and without the token."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from golden import DEEP_GUID
from xsoar_platform import NOTE, SCORE, Platform

from edr_server import LOGIN_PAGE, TOKEN, EdrServer, Fault

MD5 = "a0" * 16
ASKING: dict[str, dict[str, Any]] = {
    "test-module": {},
    "file": {"file": MD5},
    "cbsigned-enrich-alert": {"alert": '{"md5": "' + MD5 + '"}'},
    "cbsigned-signing-status": {"hashes": MD5},
    "cbsigned-lineage": {"guid": DEEP_GUID},
    "cbsigned-find-processes": {"query": "process_name:a.exe"},
    "cbsigned-find-binaries": {"query": "md5:" + MD5},
    "cbsigned-where-seen": {"hashes": MD5},
}
every_command = pytest.mark.parametrize("command", list(ASKING))


@every_command
def test_a_refused_token_is_an_error_that_does_not_show_it(platform: Platform, command: str) -> None:
    token = "f0" * 20

    answer = platform.ask(command, ASKING[command], credentials={"password": token})

    assert "token" in answer.error
    assert token not in answer.text


@every_command
def test_an_edr_that_is_down_is_an_error_that_names_it(platform: Platform, command: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]  # bound and not listening: nobody answers here

        answer = platform.ask(command, {**ASKING[command], **_hurry(command)}, url=f"http://127.0.0.1:{port}")

    assert f"127.0.0.1:{port}" in answer.error
    assert platform.params["credentials"]["password"] not in answer.text


@every_command
def test_a_login_page_is_told_from_an_answer(platform: Platform, command: str) -> None:
    with EdrServer() as server:
        server.fail("*", Fault(body=LOGIN_PAGE))
        answer = platform.ask(command, ASKING[command], url=server.url)

    assert "login page" in answer.error


def _hurry(command: str) -> dict[str, str]:
    return {} if command == "test-module" else {"deadline_s": "1"}


@pytest.mark.parametrize(
    ("command", "given", "told"),
    [
        ("cbsigned-signing-status", {"hashes": ""}, "hashes"),
        ("cbsigned-signing-status", {"hashes": []}, "hashes"),
        ("cbsigned-signing-status", {"hashes": {"md5": MD5}}, "hashes"),
        ("cbsigned-signing-status", {"hashes": "no-hash"}, "no-hash"),
        ("file", {"file": ""}, "hashes"),
        ("file", {}, "hashes"),
        ("cbsigned-lineage", {}, "guid"),
        ("cbsigned-lineage", {"guid": "x"}, "x"),
        ("cbsigned-lineage", {"guid": "00000063-0000-2000-01d2-e50000000099"}, "00000063-0000-2000-01d2-e50000000099"),
        ("cbsigned-lineage", {"host": "A", "pid": "many", "at": "2017-06-14T11:10:00Z"}, "many"),
        ("cbsigned-lineage", {"guid": DEEP_GUID, "max_depth": "-1"}, "max_depth"),
        ("cbsigned-enrich-alert", {"alert": "{not json"}, "JSON"),
        ("cbsigned-enrich-alert", {"alert": "17"}, "alert"),
        ("cbsigned-enrich-alert", {"alert": []}, "alert"),
        ("cbsigned-find-processes", {"query": "no_such_field:1"}, "no_such_field"),
        ("cbsigned-find-processes", {"query": "", "rows": "1e9"}, "rows"),
        ("cbsigned-where-seen", {"hashes": ",".join(f"{n:032x}" for n in range(1, 40))}, "20"),
    ],
)
def test_bad_input_is_an_error_that_says_what_is_expected(
    platform: Platform, command: str, given: dict[str, Any], told: str
) -> None:
    assert told in platform.ask(command, given).error


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"url": ""}, "url"),
        ({"url": "cb.example.test"}, "url"),
        ({"credentials": {}}, "api_key"),
        ({"credentials": None}, "api_key"),
        ({"timeout_s": "soon"}, "timeout_s"),
        ({"ca_file": "/no/such/ca.pem", "url": "https://127.0.0.1:1"}, "ca.pem"),
        ({"url": f"http://user:{TOKEN}@127.0.0.1:1"}, "url"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(platform: Platform, params: dict[str, Any], told: str) -> None:
    answer = platform.ask("test-module", {}, **params)

    assert told in answer.error
    assert TOKEN not in answer.text


def test_one_bad_hash_does_not_fail_the_others(platform: Platform) -> None:
    rows = platform.ask("cbsigned-signing-status", {"hashes": f"{MD5}, <b>no</b>,{'cd' * 20}"}).context(
        "CBSigned.SigningStatus"
    )

    assert [row["status"] for row in rows] == ["Signed", "Unknown", "Unknown"]
    assert "SHA-1" in rows[2]["reason"]


def test_an_error_about_many_alerts_keeps_their_rows(platform: Platform) -> None:
    answer = platform.ask("cbsigned-enrich-alert", {"alert": [{"a": 1}, {"b": 2}]})

    assert answer.error
    assert [row["status"] for row in answer.context("CBSigned.Alert")] == ["Unknown", "Unknown"]


def test_a_thousand_hashes_cost_at_most_ten_requests(platform: Platform) -> None:
    hashes = [f"{number:032x}" for number in range(1, 1001)]
    with EdrServer(binaries=[{"md5": one.upper(), "digsig_result": "Signed"} for one in hashes]) as server:
        listed = platform.ask("cbsigned-signing-status", {"hashes": hashes}, url=server.url)
        first = server.counts.total()
        scored = platform.ask("file", {"file": ",".join(hashes)}, url=server.url)

    assert first <= 10
    assert server.counts.total() - first <= 10
    assert {row["status"] for row in listed.context("CBSigned.SigningStatus")} == {"Signed"}
    assert [entry["EntryContext"][SCORE][0]["Indicator"] for entry in scored.entries] == hashes


def test_as_many_hashes_as_go_into_one_command_are_answered(platform: Platform) -> None:
    hashes = [f"{number:032x}" for number in range(1, 10_001)]
    with EdrServer() as server:
        listed = platform.ask("cbsigned-signing-status", {"hashes": ",".join(hashes)}, url=server.url)
        scored = platform.ask("file", {"file": hashes}, url=server.url)

    assert [row["asked"] for row in listed.context("CBSigned.SigningStatus")] == hashes
    assert len(listed.entry["HumanReadable"]) <= 30_000
    assert [entry["EntryContext"][SCORE][0]["Indicator"] for entry in scored.entries] == hashes


def test_a_slow_edr_gives_a_part_of_the_answer_within_the_time(platform: Platform) -> None:
    processes = [{"id": DEEP_GUID, "process_md5": MD5, "process_name": "a.exe", "segment_id": 1}]
    with EdrServer(processes=processes) as server:
        server.fail("binary", Fault(mode="silent"))
        began = time.monotonic()
        answer = platform.ask(
            "cbsigned-lineage", {"guid": DEEP_GUID, "deadline_s": "2"}, url=server.url, timeout_s="120"
        )
        took_s = time.monotonic() - began

    assert took_s < 60  # far below the 120 s of one request
    row = answer.context("CBSigned.Lineage")[0]
    assert answer.entry["Type"] == NOTE
    assert (row["complete"], row["status"], row["lineage"]["nodes"][0]["name"]) == (False, "Unknown", "a.exe")
    assert row["gaps"]


def test_a_user_without_the_right_to_binaries_is_told_so(platform: Platform) -> None:
    with EdrServer() as server:
        server.fail("binary", Fault(status=403))
        told = platform.ask("test-module", {}, url=server.url).error

    assert "403" in told
    assert "The default strategy reads signing statuses here" in told


def test_certificates_are_checked_unless_the_instance_trusts_any(platform: Platform, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    documents = {"binaries": [{"md5": MD5, "digsig_result": "Signed"}], "processes": [{"id": DEEP_GUID}]}
    mounted = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    with EdrServer(**documents, tls=context) as server:
        refused = platform.ask("test-module", {}, url=server.url)
        trusting = platform.ask("test-module", {}, url=server.url, insecure=True)
        by_file = platform.ask("test-module", {}, url=server.url, ca_file=str(tmp_path / "ca.pem"))
        by_platform = platform.ask("test-module", {}, mounted, url=server.url)

    assert "certificate" in refused.error
    assert [answer.entry for answer in (trusting, by_file, by_platform)] == ["ok", "ok", "ok"]


def test_the_systems_proxy_is_used_only_when_the_instance_says_so(platform: Platform) -> None:
    documents = {"binaries": [{"md5": MD5, "digsig_result": "Signed"}], "processes": [{"id": DEEP_GUID}]}
    with EdrServer(**documents) as server:
        system = {"http_proxy": server.url}  # a proxy is asked for http addresses as a server is
        through = platform.ask("test-module", {}, system, url="http://cb.invalid", proxy=True)
        past = platform.ask("test-module", {"deadline_s": 1}, system, url="http://cb.invalid", proxy=False)

    assert "cb.invalid" in past.error
    assert through.entry == "ok" or "<" not in through.error
    assert [request.headers["host"] for request in server.requests] == ["cb.invalid"] * len(server.requests)
    assert server.requests
