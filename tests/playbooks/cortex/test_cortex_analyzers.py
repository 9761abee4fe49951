"""Every analyzer against the EDR stand-in: the golden alerts, every type of observable, and every way to fail."""

from __future__ import annotations

import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from golden import CASES, DEEP_GUID, TOKEN, Edr, comparable, expected

from cbsigned_playbooks.catalogue import ACTIONS, action_named
from cbsigned_playbooks.cortex import clicked, data_types
from cbsigned_playbooks.cortex_report import taxonomies
from edr_server import LOGIN_PAGE, EdrServer, Fault
from playbooks.cortex.jobs import Done, done_by, done_here, given

DEEP_MD5 = "a0" * 16


@pytest.mark.parametrize("name", list(CASES))
def test_an_alert_is_answered_as_by_the_command_line(edr: Edr, tmp_path: Path, name: str) -> None:
    done = done_here(tmp_path / "job", given("enrich_alert", "other", json.dumps(CASES[name]), edr.configuration))

    if done.code == 0:
        assert [expected(edr, name)] == [comparable(row) for row in done.report["full"]["rows"]]
    else:
        assert expected(edr, name)["subjects"] == []
        assert done.report["errorMessage"] == expected(edr, name)["gaps"][0]["reason"]


def test_the_installed_analyzer_answers_all_alerts_in_one_job(edr: Edr, cortex_package: Path, tmp_path: Path) -> None:
    program = cortex_package / "analyzers" / "CBSigned" / "cbsigned_analyzer.py"
    data = json.dumps(list(CASES.values()))

    done = done_by(program, tmp_path / "job", given("enrich_alert", "other", data, edr.configuration))

    assert done.code == 0
    assert TOKEN not in done.printed
    assert [expected(edr, name) for name in CASES] == [comparable(row) for row in done.report["full"]["rows"]]


def _asked(edr: Edr, folder: Path, service: str, data_type: str, data: Any, **config: Any) -> Done:
    return done_here(folder / "job", given(service, data_type, data, {**edr.configuration, **config}))


@pytest.mark.parametrize(
    ("service", "data_type", "data", "rows"),
    [
        ("test_connection", "other", "anything", 5),
        ("signing_status", "hash", DEEP_MD5.upper(), 1),
        ("signing_status", "other", f"{DEEP_MD5}, no-hash\n{'ab' * 16}", 3),
        ("where_seen", "hash", DEEP_MD5, 1),
        ("process_lineage", "other", f"{DEEP_GUID}-000000000001", 1),
        ("process_lineage", "other", '{"host": "kiosk-03", "pid": 2600, "at": "2017-06-14T11:45:01Z"}', 1),
        ("find_processes", "other", "process_name:payload.exe", 1),
        ("find_processes", "filename", "payload.exe", 1),
        ("find_processes", "hostname", "LAB<script>", 13),
        ("find_binaries", "filename", "payload.exe", 1),
    ],
)
def test_each_action_takes_its_observables(
    edr: Edr, tmp_path: Path, service: str, data_type: str, data: str, rows: int
) -> None:
    done = _asked(edr, tmp_path, service, data_type, data)

    assert done.code == 0, done.report
    assert len(done.report["full"]["rows"]) == rows


def test_a_value_of_an_observable_cannot_become_a_part_of_the_query(edr: Edr, tmp_path: Path) -> None:
    done = _asked(edr, tmp_path, "find_processes", "filename", 'nothing.exe" or process_name:"payload.exe')

    assert done.report["full"]["rows"] == []


def test_a_file_is_looked_up_by_its_md5(edr: Edr, tmp_path: Path) -> None:
    job = given("signing_status", "file", None, edr.configuration, file="attachment1", filename="setup.exe")

    done = done_here(tmp_path / "job", job, attachment1=b"MZ")

    assert [row["asked"] for row in done.report["full"]["rows"]] == ["ac6ad5d9b99757c3a878f2d275ace198"]


@pytest.mark.parametrize("name", ["../input/input.json", "missing", "", None, "/etc/passwd"])
def test_a_file_outside_of_the_job_is_not_read(edr: Edr, tmp_path: Path, name: Any) -> None:
    job = given("signing_status", "file", None, edr.configuration, file=name)

    done = done_here(tmp_path / "job", job)

    assert done.code == 1
    assert "folder" in done.report["errorMessage"]


def test_settings_of_the_analyzer_and_of_the_job_reach_the_action(edr: Edr, tmp_path: Path) -> None:
    config = {**edr.configuration, "max_depth": 2}

    set_once = done_here(tmp_path / "a", given("process_lineage", "other", DEEP_GUID, config))
    for_this_job = done_here(
        tmp_path / "b", given("process_lineage", "other", DEEP_GUID, config, parameters={"max_depth": 5})
    )

    depths = [len(done.report["full"]["rows"][0]["lineage"]["nodes"]) for done in (set_once, for_this_job)]
    assert depths == [3, 6]


def test_what_thehive_adds_to_the_parameters_of_a_job_is_passed_over(edr: Edr, tmp_path: Path) -> None:
    """TheHive names the user and the organisation there; both were taken for inputs, and every job was refused."""
    added = {"user": "analyst@example.test", "organisation": "SOC"}
    job = given("signing_status", "hash", DEEP_MD5, edr.configuration, parameters=added)

    done = done_here(tmp_path / "job", job)

    assert done.code == 0
    assert "analyst@example.test" not in json.dumps(done.report)


def test_every_action_takes_other_and_names_what_it_is() -> None:
    for action in ACTIONS:
        assert "other" in data_types(action)
        assert clicked(action) is not None or not [one for one in action.parameters if one.required]


def test_the_observables_of_a_report_are_what_its_rows_say(edr: Edr, tmp_path: Path) -> None:
    report = _asked(edr, tmp_path, "process_lineage", "other", DEEP_GUID).report

    row, found = report["full"]["rows"][0], report["artifacts"]
    nodes = row["lineage"]["nodes"]
    told = {kind: {one["data"] for one in found if one["dataType"] == kind} for kind in ("hash", "other", "filename")}
    assert told["hash"] == {node[name] for node in nodes for name in ("md5", "sha256")} - {None}
    assert told["other"] == {node["guid"] for node in nodes} - {DEEP_GUID}
    assert {"payload.exe", "דוח שכר.exe"} < told["filename"]
    assert len(found) == sum(map(len, told.values()))
    assert {one["tlp"] for one in found} == {2}


def test_no_sentence_becomes_an_observable(edr: Edr, tmp_path: Path) -> None:
    """The host is called LAB<script>, and file names turn round: neither is a host or a file to look for."""
    report = _asked(edr, tmp_path, "process_lineage", "other", DEEP_GUID).report

    assert "LAB<script>" in {node["host"] for node in report["full"]["rows"][0]["lineage"]["nodes"]}
    assert [one for one in report["artifacts"] if one["data"] == "LAB<script>" or "\u202e" in one["data"]] == []


def test_extraction_and_tags_can_be_turned_off(edr: Edr, tmp_path: Path) -> None:
    report = _asked(
        edr, tmp_path, "signing_status", "hash", DEEP_MD5, auto_extract_artifacts=False, add_tags=False
    ).report

    assert (report["artifacts"], report["operations"]) == ([], [])


def test_the_observable_is_tagged_with_the_short_report(edr: Edr, tmp_path: Path) -> None:
    report = _asked(edr, tmp_path, "signing_status", "hash", "a1" * 16).report

    assert report["summary"]["taxonomies"][0] == {
        "level": "info", "namespace": "CB", "predicate": "Signature", "value": "Unsigned",
    }  # fmt: skip
    assert report["operations"][0] == {"type": "AddTagToArtifact", "tag": 'CB:Signature="Unsigned"'}


def test_a_drawing_comes_as_an_image_that_runs_nothing(edr: Edr, tmp_path: Path) -> None:
    (drawing,) = _asked(edr, tmp_path, "process_lineage", "other", DEEP_GUID).report["full"]["drawings"]

    assert drawing.startswith("data:image/svg+xml;base64,")


def _refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize("action", [one.name for one in ACTIONS])
def test_a_server_that_is_down_fails_every_analyzer_with_the_reason(tmp_path: Path, action: str) -> None:
    data = {"process_lineage": DEEP_GUID, "enrich_alert": json.dumps({"md5": DEEP_MD5})}.get(action, DEEP_MD5)
    config = {"url": _refusing(), "api_key": TOKEN, "deadline_s": 3}

    done = done_here(tmp_path / "job", given(action, "other", data, config))

    assert (done.code, done.report["success"]) == (1, False)
    assert "127.0.0.1" in done.report["errorMessage"]
    assert TOKEN not in json.dumps(done.report)


def test_a_refused_token_is_told_and_not_shown(edr: Edr, tmp_path: Path) -> None:
    wrong = "fedcba98" * 5

    done = _asked(edr, tmp_path, "signing_status", "hash", DEEP_MD5, api_key=wrong)

    assert done.code == 1
    assert "token" in done.report["errorMessage"]
    assert done.report["input"]["config"]["api_key"] == "REMOVED"
    assert wrong not in json.dumps(done.report)
    assert wrong[-8:] not in json.dumps(done.report)


def _on(server: EdrServer, folder: Path, service: str, data: str, **config: Any) -> Done:
    told = {"url": server.url, "api_key": server.token, **config}
    return done_here(folder / "job", given(service, "other", data, told))


def test_a_login_page_in_front_of_the_server_is_named(tmp_path: Path) -> None:
    with EdrServer([], []) as server:
        server.fail("*", Fault(200, LOGIN_PAGE))
        done = _on(server, tmp_path, "signing_status", DEEP_MD5)

    assert done.code == 1
    assert "proxy or login page" in done.report["errorMessage"]


def test_a_thousand_hashes_cost_ten_requests_at_most(tmp_path: Path) -> None:
    hashes = [f"{number:032x}" for number in range(1, 1001)]
    with EdrServer([], []) as server:
        done = _on(server, tmp_path, "signing_status", "\n".join(hashes))
        asked = sum(server.counts.values())

    assert [row["asked"] for row in done.report["full"]["rows"]] == hashes
    assert asked <= 10


def test_as_many_hashes_as_go_into_one_job_are_answered(tmp_path: Path) -> None:
    hashes = [f"{number:032x}" for number in range(1, 10_001)]
    with EdrServer([], []) as server:
        done = _on(server, tmp_path, "signing_status", "\n".join(hashes))

    assert [row["asked"] for row in done.report["full"]["rows"]] == hashes
    assert done.report["full"]["complete"] is True
    assert len(done.report["full"]["card"]) <= 30_000


@pytest.mark.parametrize("deadline_s", [600, "600"])
def test_a_job_ends_before_cortex_would_kill_it(tmp_path: Path, deadline_s: Any) -> None:
    """Cortex gives its own limit in minutes, here 0.2, of which 10 s are kept for the report."""
    with EdrServer([], []) as server:
        server.fail("*", Fault(200, b"", mode="silent"))
        began = time.monotonic()
        done = _on(server, tmp_path, "signing_status", DEEP_MD5, jobTimeout=0.2, deadline_s=deadline_s, timeout_s=120)
        took_s = time.monotonic() - began

    assert took_s < 60  # far below the 120 s of one request

    assert done.code == 1
    assert done.report["errorMessage"]


def test_an_answer_in_parts_says_what_is_missing_and_tags_nothing(tmp_path: Path) -> None:
    alert = json.dumps({"md5": DEEP_MD5, "process_guid": DEEP_GUID})
    with EdrServer([{"md5": DEEP_MD5.upper(), "digsig_result": "Signed"}], []) as server:
        server.fail("process", Fault(503, b"down"))
        done = _on(server, tmp_path, "enrich_alert", alert, deadline_s=3)

    full = done.report["full"]
    assert (full["complete"], full["rows"][0]["status"]) == (False, "Signed")
    assert "503" in " ".join(full["failures"])
    assert {"level": "info", "namespace": "CB", "predicate": "Complete", "value": "no"} in (
        done.report["summary"]["taxonomies"]
    )
    assert done.report["operations"] == []


@pytest.mark.parametrize("data", ["", "   ", None, 17, ["a"], {"md5": DEEP_MD5}])
@pytest.mark.parametrize("action", [one.name for one in ACTIONS if clicked(one) is not None])
def test_an_observable_that_is_no_text_is_refused(edr: Edr, tmp_path: Path, action: str, data: Any) -> None:
    done = done_here(tmp_path / "job", given(action, "other", data, edr.configuration))

    assert done.code == 1
    assert action_named(action).title in done.report["errorMessage"]


def test_the_wrong_type_of_observable_is_refused(edr: Edr, tmp_path: Path) -> None:
    done = _asked(edr, tmp_path, "process_lineage", "hash", DEEP_MD5)

    assert done.report["errorMessage"].startswith('process lineage takes no observable of type "hash"')


@pytest.mark.parametrize("text", ["{", '{"guids": []}', '{"guid": 5, "shell": "x"}', "{" * 5000])
def test_inputs_as_json_are_checked(edr: Edr, tmp_path: Path, text: str) -> None:
    done = _asked(edr, tmp_path, "process_lineage", "other", text)

    assert done.code == 1
    assert "guid" in done.report["errorMessage"]


def test_an_unknown_guid_fails_with_the_reason(edr: Edr, tmp_path: Path) -> None:
    guid = "00000063-0000-2000-01d2-e50000000099"

    done = _asked(edr, tmp_path, "process_lineage", "other", guid)

    assert done.code == 1
    assert guid in done.report["errorMessage"]


def test_one_bad_hash_does_not_fail_the_others(edr: Edr, tmp_path: Path) -> None:
    report = _asked(edr, tmp_path, "signing_status", "other", f"nonsense {DEEP_MD5}").report

    assert [row["status"] for row in report["full"]["rows"]] == ["Unknown", "Signed"]


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    done = done_here(tmp_path / "job", given("signing_status", "hash", DEEP_MD5, {"url": "", "api_key": TOKEN}))

    assert done.code == 1
    assert "url" in done.report["errorMessage"]


def test_a_service_that_is_none_is_refused(edr: Edr, tmp_path: Path) -> None:
    assert "service" in _asked(edr, tmp_path, "delete_everything", "hash", DEEP_MD5).report["errorMessage"]


def test_the_proxy_that_cortex_is_set_to_is_used(tmp_path: Path) -> None:
    """No name below .test resolves, so that only the proxy, here the server itself, can have answered."""
    with EdrServer([], []) as server:
        config = {"url": "http://cb.example.test", "api_key": server.token, "proxy": {"http": server.url}}
        done = done_here(tmp_path / "job", given("signing_status", "hash", DEEP_MD5, config))

        assert server.counts["binary"] > 0
    assert done.code == 0


def test_the_authorities_that_cortex_is_given_are_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    pem = authority.cert_pem.bytes()
    with EdrServer([], [], tls=context) as server:
        job = given("signing_status", "hash", DEEP_MD5, {"url": server.url, "api_key": server.token})
        trusting = done_here(tmp_path / "a", job, cacerts=pem)
        doubting = done_here(tmp_path / "b", job)

    assert trusting.code == 0
    assert doubting.code == 1
    assert "certificate" in doubting.report["errorMessage"]


def test_a_level_is_what_the_signature_says_and_no_more(edr: Edr, tmp_path: Path) -> None:
    levels = {}
    for number in range(0xA0, 0xA6):
        report = _asked(edr, tmp_path / str(number), "signing_status", "hash", f"{number:02x}" * 16).report
        levels[report["full"]["rows"][0]["status"]] = report["summary"]["taxonomies"][0]["level"]

    assert levels == {
        "Signed": "info", "Unsigned": "info", "Expired": "info", "Untrusted Root": "info",
        "Bad Signature": "suspicious", "Explicit Distrust": "suspicious",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("trusted", "level"),
    [(["<B>example</b>  & Söhne"], "safe"), (["Example"], "info"), ([""], "info"), (None, "info")],
)
def test_only_a_publisher_that_is_named_makes_a_signed_file_safe(
    edr: Edr, tmp_path: Path, trusted: Any, level: str
) -> None:
    report = _asked(edr, tmp_path, "signing_status", "hash", DEEP_MD5, trusted_publishers=trusted).report

    assert report["summary"]["taxonomies"][0]["level"] == level


def test_what_only_the_alert_says_is_marked_and_never_safe() -> None:
    row = {"status": "Signed", "cause": "claim", "publisher": "Example", "evidence": {"certainty": "claimed"}}

    (label,) = taxonomies(action_named("find_processes"), [row], {}, True, ["Example"])

    assert (label["level"], label["value"]) == ("info", "Signed?")


def test_a_revoked_certificate_is_suspicious_whatever_its_word() -> None:
    row = {"status": "Unknown", "cause": "record", "publisher": "Example", "evidence": {"code": "0x800b010c"}}

    (label,) = taxonomies(action_named("find_processes"), [row], {}, True, ["Example"])

    assert (label["level"], label["value"]) == ("suspicious", "Unknown")
