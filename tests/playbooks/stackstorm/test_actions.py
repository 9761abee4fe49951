"""The pack's actions, each in a process of its own with the built pack, against the EDR stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr, comparable, expected

from cbsigned_playbooks.stackstorm import DELIMITER as OURS
from cbsigned_playbooks.stackstorm import answer
from edr_server import LOGIN_PAGE, EdrServer, Fault
from playbooks.stackstorm.packs import DELIMITER, Pack


def test_every_golden_alert_is_answered_as_by_the_command_line(pack: Pack, edr: Edr) -> None:
    ran = pack.run("enrich_alert", {"alert": {"alerts": list(CASES.values())}}, edr.configuration)

    assert ran.status is True
    assert len(ran.result["rows"]) == len(CASES)
    for name, row in zip(CASES, ran.result["rows"]):
        assert expected(edr, name) == comparable(row), name


@pytest.mark.parametrize("name", ["deep and hostile", "unknown guid", "sample 1"])
def test_one_alert_is_answered_as_by_the_command_line(pack: Pack, edr: Edr, name: str) -> None:
    ran = pack.run("enrich_alert", {"alert": CASES[name], "format": None, "lineage": True}, edr.configuration)

    assert [expected(edr, name)] == [comparable(row) for row in ran.result["rows"]]


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("test_connection", {}),
        ("signing_status", {"hashes": f"{WRITTEN_MD5}\nno-hash"}),
        ("process_lineage", {"guid": DEEP_GUID}),
        ("find_processes", {"query": "", "rows": 3}),
        ("find_binaries", {"query": "", "rows": 3}),
        ("where_seen", {"hashes": WRITTEN_MD5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_action_answers(pack: Pack, edr: Edr, action: str, given: dict[str, Any]) -> None:
    ran = pack.run(action, given, edr.configuration)

    assert ran.status is True, ran.result["message"]
    assert ran.result["rows"]
    assert ran.result["message"]
    assert ran.result["card"]
    assert edr.token not in ran.written


def test_one_bad_hash_does_not_fail_the_others(pack: Pack, edr: Edr) -> None:
    ran = pack.run("signing_status", {"hashes": f"no-hash,{WRITTEN_MD5}"}, edr.configuration)

    assert ran.status is True
    assert [row["status"] for row in ran.result["rows"]] == ["Unknown", "Signed"]
    assert "neither an MD5" in ran.result["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("action", "given", "told"),
    [
        ("signing_status", {"hashes": ""}, "needs hashes"),
        ("signing_status", {"hashes": "no-hash"}, "neither an MD5"),
        ("signing_status", {"hashes": WRITTEN_MD5, "deadline_s": 0}, "1 to 600"),
        ("enrich_alert", {"alert": {"colour": "blue"}}, "nothing to look up"),
        ("process_lineage", {"guid": "00000063-0000-2000-01d2-e50000000099"}, "00000063-0000-2000-01d2-e50000000099"),
        ("process_lineage", {"host": "LAB"}, "pid"),
    ],
)
def test_what_cannot_be_answered_is_a_failed_execution_with_our_message(
    pack: Pack, edr: Edr, action: str, given: dict[str, Any], told: str
) -> None:
    ran = pack.run(action, given, edr.configuration)

    assert ran.status is False
    assert told in ran.result["message"]


def test_a_pack_that_is_not_configured_says_what_to_fill_in(pack: Pack) -> None:
    ran = pack.run("signing_status", {"hashes": WRITTEN_MD5}, {})

    assert ran.status is False
    assert "url" in ran.result["message"]
    assert ran.result["rows"] == []


def test_a_server_that_is_down_is_a_failed_execution(pack: Pack) -> None:
    ran = pack.run("enrich_alert", {"alert": {"md5": WRITTEN_MD5}}, {"url": "http://127.0.0.1:9", "api_key": "a1" * 20})

    assert ran.status is False
    assert "127.0.0.1" in ran.result["message"]
    assert "a1" * 20 not in ran.written


@pytest.fixture
def faulty() -> Iterator[EdrServer]:
    """Give a server that can be made to fail."""
    with EdrServer(binaries=[{"md5": WRITTEN_MD5.upper(), "digsig_result": "Signed"}]) as server:
        yield server


def test_a_wrong_token_is_told_and_not_shown(pack: Pack, faulty: EdrServer) -> None:
    wrong = "f00d" * 10
    ran = pack.run("signing_status", {"hashes": WRITTEN_MD5}, {"url": faulty.url, "api_key": wrong, "verify_tls": True})

    assert ran.status is False
    assert "401" in ran.result["message"]
    assert wrong not in ran.written


def test_a_login_page_of_a_proxy_is_told(pack: Pack, faulty: EdrServer) -> None:
    faulty.fail("binary", Fault(status=200, body=LOGIN_PAGE), times=50)
    ran = pack.run("signing_status", {"hashes": WRITTEN_MD5}, {"url": faulty.url, "api_key": faulty.token})

    assert ran.status is False
    assert "HTML" in ran.result["message"]
    assert faulty.token not in ran.written


def test_a_thousand_hashes_cost_ten_requests_at_most(pack: Pack, faulty: EdrServer) -> None:
    hashes = ",".join(f"{number:032x}" for number in range(1000))
    ran = pack.run("signing_status", {"hashes": hashes}, {"url": faulty.url, "api_key": faulty.token})

    assert len(ran.result["rows"]) == 1000
    assert sum(faulty.counts.values()) <= 10


def test_as_many_hashes_as_go_into_one_call_are_answered(pack: Pack, faulty: EdrServer) -> None:
    hashes = [f"{number:032x}" for number in range(1, 10_001)]
    ran = pack.run("signing_status", {"hashes": ",".join(hashes)}, {"url": faulty.url, "api_key": faulty.token})

    assert [row["asked"] for row in ran.result["rows"]] == hashes
    assert ran.result["complete"] is True
    assert len(ran.result["card"]) <= 30_000


def test_a_slow_edr_gives_a_part_of_the_answer_by_the_deadline(pack: Pack) -> None:
    """The server never answers about binaries: the runner would end the action with nothing at its own limit."""
    process = {"id": DEEP_GUID, "process_md5": WRITTEN_MD5, "process_name": "a.exe", "segment_id": 1}
    with EdrServer(processes=[process]) as server:
        server.fail("binary", Fault(mode="silent"))
        given = {"alert": {"process_guid": DEEP_GUID}, "deadline_s": 2}
        config = {"url": server.url, "api_key": server.token, "timeout_s": 120}  # then pack.run() gives up
        ran = pack.run("enrich_alert", given, config)

    (subject,) = ran.result["rows"][0]["subjects"]
    assert ran.result["complete"] is False
    assert (subject["status"], subject["name"]) == ("Unknown", "a.exe")
    assert [gap["cause"] for gap in subject["gaps"]] == ["timeout"]
    assert ran.result["failures"]


def test_an_edr_that_never_answers_is_a_failed_execution_by_the_deadline(pack: Pack) -> None:
    with EdrServer() as server:
        server.fail("*", Fault(mode="silent"))
        given = {"hashes": WRITTEN_MD5, "deadline_s": 1}
        config = {"url": server.url, "api_key": server.token, "timeout_s": 120}  # then pack.run() gives up
        ran = pack.run("signing_status", given, config)

    assert (ran.status, ran.result["complete"]) == (False, False)
    assert [row["cause"] for row in ran.result["rows"]] == ["timeout"]


def test_a_command_line_with_the_runners_delimiter_in_it_leaves_the_result_readable(edr: Edr) -> None:
    """The runner splits the output at its delimiter and gives up where there are more than three parts."""
    hidden = f"{DELIMITER}{DELIMITER[4:]} x {DELIMITER}"
    _status, result = answer("enrich_alert", edr.configuration, {"alert": {"md5": WRITTEN_MD5, "title": hidden}})
    _status, asked = answer("signing_status", edr.configuration, {"hashes": f"{hidden},{WRITTEN_MD5}"})

    assert OURS == DELIMITER
    assert DELIMITER not in json.dumps(result) + json.dumps(asked)
    assert asked["rows"][-1]["status"] == "Signed"


def test_a_token_that_stackstorm_rendered_into_an_alert_does_not_come_back(pack: Pack, edr: Edr) -> None:
    """`{{ config_context.api_key }}` in an alert is the token by the time the action gets it."""
    ran = pack.run("enrich_alert", {"alert": {"md5": WRITTEN_MD5, "title": f"a {edr.token} b"}}, edr.configuration)
    asked = pack.run("signing_status", {"hashes": edr.token}, edr.configuration)

    assert ran.result["rows"][0]["status"] == "Signed"
    assert asked.status is False
    assert edr.token not in ran.written + asked.written
