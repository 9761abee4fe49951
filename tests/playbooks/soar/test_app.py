"""The app under both SDKs gives what the command line gives, and fails in SOAR's own way with our message."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr, comparable, expected
from sdk_app import SdkApp

from cbsigned_playbooks.actions import open_actions
from cbsigned_playbooks.catalogue import ACTIONS
from edr_server import LOGIN_PAGE, EdrServer, Fault

CANARY = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"


@pytest.mark.parametrize("name", list(CASES))
def test_enrich_alert_agrees_with_the_command_line(app: SdkApp, edr: Edr, name: str) -> None:
    result = app.action("enrich_alert", {"alert": json.dumps(CASES[name])}, edr.configuration)

    assert [expected(edr, name)] == [comparable(row) for row in result["data"]]


QUESTIONS = {
    "test_connection": {"deadline_s": 30},
    "enrich_alert": {"alert": json.dumps(list(CASES.values())), "relatives": 3.0},
    "signing_status": {"hashes": f"a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0, no hash\n{WRITTEN_MD5}"},
    "process_lineage": {"guid": DEEP_GUID, "max_depth": 20, "context": {"artifact_id": 4, "guid": "of the platform"}},
    "find_processes": {"query": "cmdline:flag", "rows": "5", "sort": ""},
    "find_binaries": {"query": "", "rows": 5},
    "where_seen": {"hashes": WRITTEN_MD5},
}


@pytest.mark.parametrize("name", [action.name for action in ACTIONS])
def test_every_action_gives_the_rows_and_the_summary_of_the_core(app: SdkApp, edr: Edr, name: str) -> None:
    given = {key: value for key, value in QUESTIONS[name].items() if key != "context"}
    with open_actions(edr.configuration) as actions:
        wanted = actions.run(name, given)

    result = app.action(name, QUESTIONS[name], edr.configuration)

    assert result["ok"] is wanted.ok is True
    assert _steady(wanted.rows) == _steady(result["data"])
    assert _steady(dict(wanted.summary)) == _steady(result["summary"])
    assert wanted.message == result["message"]
    assert set(given) <= set(result["param"])


def _steady(value: Any) -> Any:
    """Return a value without what changes from one moment to the next; clocks are asked again each time."""
    return json.loads(re.sub(r"differ by \d+ s", "differ by some s", json.dumps(comparable(value))))


def test_connectivity_says_what_works(app: SdkApp, edr: Edr) -> None:
    result = app.action("test_connectivity", {}, edr.configuration)

    assert result["ok"] is True
    assert "binary search: works" in app.printed()


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing": ("signing_status", {}, "needs hashes"),
    "empty text": ("signing_status", {"hashes": " "}, "needs hashes"),
    "null": ("signing_status", {"hashes": None}, "needs hashes"),
    "object": ("signing_status", {"hashes": {"a": 1}}, "hashes of signing status"),
    "no number": ("find_processes", {"query": "a", "rows": "many"}, "expected a whole number of rows, 1 to 1,000"),
    "too large": ("find_processes", {"query": "a", "rows": 10**9}, "expected a whole number of rows, 1 to 1,000"),
    "no guid": ("process_lineage", {}, "needs a guid, or host, pid and a time"),
    "no JSON": ("enrich_alert", {"alert": "<html>"}, "expected JSON"),
    "unknown guid": ("process_lineage", {"guid": "00000063-0000-2000-01d2-e50000000099"}, "00000063-0000-2000"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_inputs_that_cannot_be_used_are_a_failure_with_our_message(app: SdkApp, edr: Edr, name: str) -> None:
    action, given, message = WRONG[name]

    result = app.action(action, given, edr.configuration)

    assert result["ok"] is False
    assert message in result["message"]
    assert "Traceback" not in result["message"]


ASSETS = {
    "nothing": ({}, "no url"),
    "no token": ({"url": "https://127.0.0.1:9"}, "no api_key"),
    "timeout": ({"url": "https://127.0.0.1:9", "api_key": CANARY, "timeout_s": "fast"}, "timeout_s"),
    "switch": ({"url": "https://127.0.0.1:9", "api_key": CANARY, "verify_tls": "perhaps"}, "verify_tls"),
    "nobody there": ({"url": "http://127.0.0.1:9", "api_key": CANARY}, "refused the connection"),
}


@pytest.mark.parametrize("name", list(ASSETS))
@pytest.mark.parametrize("action", ["signing_status", "test_connectivity", "enrich_alert"])
def test_an_asset_that_cannot_be_used_is_a_failure_that_says_why(app: SdkApp, name: str, action: str) -> None:
    asset, message = ASSETS[name]
    given = {"signing_status": {"hashes": "fe" * 16}, "enrich_alert": {"alert": json.dumps({"md5": "fe" * 16})}}

    result = app.action(action, given.get(action, {}), asset)

    assert result["ok"] is False
    assert message in result["message"]
    assert "Traceback" not in result["message"]


def test_the_token_is_nowhere_when_it_is_refused(app: SdkApp, edr: Edr) -> None:
    asset = {**edr.configuration, "api_key": CANARY}

    results = [
        app.action("signing_status", {"hashes": "fe" * 16}, asset),
        app.action("test_connectivity", {}, asset),
        app.webhook(json.dumps({"md5": "fe" * 16}), asset),
        app.action("signing_status", {"hashes": "fe" * 16}, {"api_key": CANARY, "timeout_s": "fast"}),
    ]

    assert [one["ok"] for one in (results[0], results[1], results[3])] == [False] * 3
    assert "token" in results[0]["message"]
    assert CANARY not in json.dumps(results) + app.printed()
    assert CANARY[-8:] not in json.dumps(results) + app.printed()


@pytest.mark.parametrize("job", [["action", "signing_status"], ["webhook", "enrich", "-X", "POST", "-d", "{}"]])
def test_the_command_line_of_the_sdk_runs_the_app_and_shows_no_token(
    app: SdkApp, staged: Path, tmp_path: Path, job: list[str]
) -> None:
    (tmp_path / "asset.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "api_key": CANARY}))
    (tmp_path / "params.json").write_text(json.dumps({"hashes": "fe" * 16}))
    given = ["-p", str(tmp_path / "params.json")] if job[0] == "action" else []

    printed = app.command_line(staged, [*job, *given, "-a", str(tmp_path / "asset.json")])

    assert "refused the connection" in printed or "nothing to look up" in printed
    assert CANARY not in printed


def test_a_server_that_never_answers_ends_with_the_deadline(app: SdkApp) -> None:
    with EdrServer() as server:
        server.fail("*", Fault(mode="silent"))

        given = {"hashes": "fe" * 16, "deadline_s": 1}
        began = time.monotonic()
        result = app.action("signing_status", given, {"url": server.url, "api_key": server.token, "timeout_s": 120})
        took_s = time.monotonic() - began

    assert took_s < 60  # far below the 120 s of one request
    assert (result["ok"], result["summary"]["complete"]) == (False, False)
    assert [row["cause"] for row in result["data"]] == ["timeout"]


@pytest.mark.parametrize(
    ("fault", "message"), [(Fault(200, LOGIN_PAGE), "HTML"), (Fault(403), "403")], ids=["login page", "no right"]
)
def test_a_server_that_refuses_is_a_failure_that_says_why(app: SdkApp, fault: Fault, message: str) -> None:
    with EdrServer() as server:
        server.fail("*", fault)

        result = app.action("signing_status", {"hashes": "fe" * 16}, {"url": server.url, "api_key": server.token})

    assert result["ok"] is False
    assert message in result["message"]


def test_one_bad_hash_leaves_the_others_their_answers(app: SdkApp, edr: Edr) -> None:
    result = app.action("signing_status", {"hashes": f"a0a0, {WRITTEN_MD5}"}, edr.configuration)

    assert result["ok"] is True
    assert [row["asked"] for row in result["data"]] == ["a0a0", WRITTEN_MD5]
    assert result["data"][0]["status"] == "Unknown"
    assert result["data"][1]["status"] != "Unknown"


def test_a_thousand_hashes_cost_ten_requests_at_most(app: SdkApp) -> None:
    hashes = [f"{number:032x}" for number in range(1, 1001)]
    binaries = [{"md5": name.upper(), "digsig_result": "Signed"} for name in hashes[:700]]
    with EdrServer(binaries) as server:
        result = app.action(
            "signing_status", {"hashes": ",".join(hashes)}, {"url": server.url, "api_key": server.token}
        )

        asked = sum(server.counts.values())

    assert (result["summary"]["signed"], result["summary"]["unknown"]) == (700, 300)
    assert asked <= 10


def test_as_many_hashes_as_go_into_one_action_are_answered(app: SdkApp) -> None:
    hashes = [f"{number:032x}" for number in range(1, 10_001)]
    with EdrServer() as server:
        given = {"hashes": ",".join(hashes)}
        result = app.action("signing_status", given, {"url": server.url, "api_key": server.token})

    assert [row["asked"] for row in result["data"]] == hashes
    assert (result["ok"], result["summary"]["complete"]) == (True, True)


def test_the_webhook_answers_an_alert_with_its_enrichment(app: SdkApp, edr: Edr) -> None:
    response = app.webhook(json.dumps(CASES["deep and hostile"]), edr.configuration)

    answer = json.loads(response["content"])
    assert (response["status_code"], answer["complete"]) == (200, True)
    assert [expected(edr, "deep and hostile")] == [comparable(row) for row in answer["enrichments"]]


@pytest.mark.parametrize(
    ("body", "method", "path", "status"),
    [
        ("no JSON", "POST", "enrich", 400),
        ("", "POST", "enrich", 400),
        (None, "POST", "enrich", 400),
        ("[]", "POST", "enrich", 400),
        ("{}", "GET", "enrich", 405),
        ("{}", "POST", "elsewhere", 404),
    ],
    ids=str,
)
def test_the_webhook_refuses_what_is_no_alert(
    app: SdkApp, edr: Edr, body: Any, method: str, path: str, status: int
) -> None:
    response = app.webhook(body, edr.configuration, method, path)

    assert response["status_code"] == status
    assert json.loads(response["content"])["error"]


def test_a_failed_action_keeps_the_rows_that_say_why(app: SdkApp, edr: Edr) -> None:
    result = app.action("process_lineage", {"guid": "00000063-0000-2000-01d2-e50000000099"}, edr.configuration)

    assert result["ok"] is False
    assert [row["complete"] for row in result["data"]] == [True]
    assert result["summary"]["answered"] == 0


def test_the_webhook_is_503_while_the_edr_is_down(app: SdkApp) -> None:
    response = app.webhook(json.dumps({"md5": "fe" * 16}), {"url": "http://127.0.0.1:9", "api_key": CANARY})

    assert response["status_code"] == 503
    assert "refused the connection" in json.loads(response["content"])["error"]
