"""The responder on cases, alerts and observables, as TheHive hands them over, and on what it is not for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from golden import DEEP_GUID, TOKEN, Edr

from cbsigned_playbooks.cortex import responder
from edr_server import EdrServer, Fault
from playbooks.cortex.jobs import Done, done_by, done_here, given

UNSIGNED, SIGNED = "a1" * 16, "a0" * 16
ELASTIC_ID = "ab" * 16  # TheHive 3 had ids that look like an MD5
ALERT = {
    "id": ELASTIC_ID, "_id": ELASTIC_ID, "_type": "alert", "type": "siem", "source": "splunk", "sourceRef": "4711",
    "title": "Unsigned child of Office", "description": "See the console.", "severity": 2, "tlp": 2, "tags": ["siem"],
    "artifacts": [
        {"id": ELASTIC_ID, "dataType": "hash", "data": UNSIGNED, "tags": []},
        {"id": ELASTIC_ID, "dataType": "other", "data": DEEP_GUID, "tags": []},
        {"dataType": "ip", "data": "192.0.2.1"},
    ],
}  # fmt: skip
CASE = {
    "id": "~4128", "_type": "case", "caseId": 12, "title": "payload", "tags": [], "tlp": 2, "pap": 2,
    "description": f"The proxy saw a file, MD5={UNSIGNED}, and blocked it.",
    "customFields": {"ticket": {"string": "INC-1", "order": 0}},
}  # fmt: skip


def _run(edr: Edr, folder: Path, data_type: str, data: Any, **config: Any) -> Done:
    added = {"user": "analyst@example.test", "organisation": "SOC"}  # by TheHive, to every job
    job = given("tag", data_type, data, {**edr.configuration, **config}, parameters=added)
    return done_here(folder / "job", job, responder)


def _observable(kind: str, data: Any, **more: Any) -> Mapping[str, Any]:
    return {"id": ELASTIC_ID, "_type": "case_artifact", "dataType": kind, "data": data, "tlp": 2, "tags": [], **more}


def test_an_observable_gets_tags_of_its_own(edr: Edr, tmp_path: Path) -> None:
    report = _run(edr, tmp_path, "thehive:case_artifact", _observable("hash", UNSIGNED)).report

    assert report["operations"][0] == {"type": "AddTagToArtifact", "tag": 'CB:Signature="Unsigned"'}
    assert {one["type"] for one in report["operations"]} == {"AddTagToArtifact"}
    assert report["full"]["message"].startswith("Unsigned: ")


def test_a_case_gets_tags_and_its_custom_field(edr: Edr, tmp_path: Path) -> None:
    report = _run(edr, tmp_path, "thehive:case", CASE, custom_field="signing-status").report

    assert report["operations"] == [
        {"type": "AddTagToCase", "tag": 'CB:Signature="Unsigned"'},
        {"type": "AddCustomFields", "name": "signing-status", "tpe": "string", "value": "Unsigned"},
    ]


def test_an_alert_gets_tags_and_no_custom_field_of_a_case(edr: Edr, tmp_path: Path) -> None:
    report = _run(edr, tmp_path, "thehive:alert", ALERT, custom_field="signing-status").report

    assert {one["type"] for one in report["operations"]} == {"AddTagToAlert"}
    assert 'CB:Lineage="signed 3/13"' in {one["tag"] for one in report["operations"]}


def test_ids_of_thehive_are_not_looked_up(edr: Edr, tmp_path: Path) -> None:
    report = _run(edr, tmp_path, "thehive:alert", {**ALERT, "artifacts": ALERT["artifacts"][:1]}).report

    assert report["full"]["tags"] == ['CB:Signature="Unsigned"']


def test_observables_of_thehive_5_are_read_too(edr: Edr, tmp_path: Path) -> None:
    alert = {**{name: ALERT[name] for name in ALERT if name != "artifacts"}, "observables": ALERT["artifacts"][:1]}

    assert _run(edr, tmp_path, "thehive:alert", alert).report["full"]["tags"] == ['CB:Signature="Unsigned"']


@pytest.mark.parametrize(
    ("observable", "tag"),
    [
        (_observable("other", DEEP_GUID), 'CB:Lineage="signed 3/13"'),
        (_observable("other", json.dumps({"md5": UNSIGNED})), 'CB:Signature="Unsigned"'),
        (_observable("file", None, attachment={"name": "a.exe", "hashes": ["cd" * 32, "ef" * 20, SIGNED]}),
         'CB:Signature="Signed"'),
        (_observable("hash", "0123456789abcdef" * 2), 'CB:Signature="Unknown"'),
    ],
    ids=["process guid", "alert as JSON", "file", "unknown hash"],
)  # fmt: skip
def test_what_an_observable_is_decides_what_is_asked(
    edr: Edr, tmp_path: Path, observable: Mapping[str, Any], tag: str
) -> None:
    assert tag in _run(edr, tmp_path, "thehive:case_artifact", observable).report["full"]["tags"]


@pytest.mark.parametrize(
    ("data_type", "data"),
    [
        ("thehive:case_task", {"title": "look"}), ("thehive:case_task_log", {"message": SIGNED}), ("hash", SIGNED),
        ("thehive:case", "no object"), ("thehive:alert", None), ("thehive:case_artifact", []),
    ],
)  # fmt: skip
def test_the_wrong_context_fails(edr: Edr, tmp_path: Path, data_type: str, data: Any) -> None:
    done = _run(edr, tmp_path, data_type, data)

    assert done.code == 1
    assert "thehive:case, thehive:alert, thehive:case_artifact" in done.report["errorMessage"]


@pytest.mark.parametrize(
    ("data_type", "data"),
    [
        ("thehive:case", {"title": "nothing here"}), ("thehive:case", {}), ("thehive:alert", {"artifacts": "none"}),
        ("thehive:case_artifact", _observable("ip", "192.0.2.1")), ("thehive:case_artifact", {}),
        ("thehive:case_artifact", _observable("file", None, attachment={"hashes": [7, None]})),
    ],
)  # fmt: skip
def test_nothing_to_look_up_fails_with_words(edr: Edr, tmp_path: Path, data_type: str, data: Any) -> None:
    done = _run(edr, tmp_path, data_type, data)

    assert done.code == 1
    assert "operations" not in done.report
    assert done.report["errorMessage"].startswith("Noth") or "hash" in done.report["errorMessage"]


@pytest.mark.parametrize("data_type", ["thehive:case", "thehive:alert", "thehive:case_artifact"])
def test_a_look_up_that_failed_is_not_written_to_a_case(tmp_path: Path, data_type: str) -> None:
    data = {"thehive:case": CASE, "thehive:alert": ALERT}.get(data_type, _observable("hash", UNSIGNED))
    with EdrServer([], []) as server:
        server.fail("*", Fault(503, b"down"))
        job = given("tag", data_type, data, {"url": server.url, "api_key": TOKEN, "deadline_s": 2})
        done = done_here(tmp_path / "job", job, responder)

    assert done.code == 1
    assert "503" in done.report["errorMessage"]
    assert TOKEN not in json.dumps(done.report)


def test_half_an_answer_is_not_written_either(tmp_path: Path) -> None:
    alert = {**ALERT, "artifacts": [{"dataType": "hash", "data": SIGNED}, {"dataType": "other", "data": DEEP_GUID}]}
    with EdrServer([{"md5": SIGNED.upper(), "digsig_result": "Signed"}], []) as server:
        server.fail("process", Fault(503, b"down"))
        job = given("tag", "thehive:alert", alert, {"url": server.url, "api_key": TOKEN, "deadline_s": 3})
        done = done_here(tmp_path / "job", job, responder)

    assert done.code == 1
    assert done.report["errorMessage"].startswith("Nothing was written to thehive:alert: ")


def test_the_installed_responder_tags_a_case(edr: Edr, cortex_package: Path, tmp_path: Path) -> None:
    program = cortex_package / "responders" / "CBSigned" / "cbsigned_responder.py"

    done = done_by(program, tmp_path / "job", given("tag", "thehive:case", CASE, edr.configuration))

    assert done.code == 0
    assert done.report["operations"] == [{"type": "AddTagToCase", "tag": 'CB:Signature="Unsigned"'}]
