"""Routes of one process: detail, segments, events in every encoding, preview, prevalence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned.store.ingest import ingest
from connectors.edr_server.serving import Client, serving

GUID = "00000007-0000-0d24-01d7-35e9bb340680"
PARENT = "00000007-0000-0728-01d7-35c3d946a720"
CHILD = "00000007-0000-0d30-01d7-35e9bc340680"
MD5, MODULE, WRITTEN = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d", "c3d2e1f0a9b8c7d65f2b7c0d9e1a4b6f", "0a" * 16
AT = "2021-04-20 13:33:2"
DOCUMENT = {
    "id": GUID, "unique_id": f"{GUID}-0178ef7c49a8", "segment_id": 1618925603240, "process_name": "updater.exe",
    "path": "c:\\program files\\acme\\updater.exe", "process_pid": 3364, "process_md5": MD5,
    "cmdline": '"C:\\Program Files\\Acme\\updater.exe" /check', "username": "SYSTEM",
    "start": "2021-04-20T13:33:21.512Z", "last_update": "2021-04-20T13:33:29.24Z",
    "last_server_update": "2021-04-20T13:35:02.101Z", "terminated": True, "hostname": "lab-ws-07", "sensor_id": 7,
    "group": "Default Group", "host_type": "workstation", "os_type": "windows", "comms_ip": 169090600,
    "interface_ip": -1407842931, "parent_id": PARENT, "parent_unique_id": f"{PARENT}-000000000001",
    "parent_name": "services.exe", "parent_pid": 1832, "parent_md5": "0" * 30, "modload_count": 41, "regmod_count": 2,
    "filemod_count": 2, "netconn_count": 1, "childproc_count": 2, "crossproc_count": 3, "emet_count": 0,
    "processblock_count": 0, "fileless_scriptload_count": 0, "emet_config": "", "filtering_known_dlls": False,
    "logon_type": 5, "uid": "S-1-5-18", "watchlists": [],
}  # fmt: skip
EVENTS: dict[str, list[Any]] = {
    "filemod_complete": [
        f"1|{AT}2.000000|c:\\temp\\a.exe||1|false", f"8|{AT}3.500000|c:\\temp\\a.exe|{WRITTEN}|1|true",
    ],
    "modload_complete": [
        f"{AT}1.600000|{MD5}|c:\\program files\\acme\\updater.exe", f"{AT}1.700000|{MODULE}|c:\\m.dll",
    ],
    "regmod_complete": [f"2|{AT}4.000000|\\registry\\machine\\software\\acme|false"],
    "netconn_complete": [{
        "timestamp": f"{AT}5.000000", "direction": "true", "domain": "update.example.test", "proto": 6,
        "remote_ip": "192.0.2.7", "remote_port": 443, "local_ip": "10.20.30.40", "local_port": 50000, "proxy_ip": "",
        "proxy_port": 0,
    }],
    "childproc_complete": [
        {
            "processId": f"{CHILD}-000000000001", "md5": WRITTEN, "sha256": "", "path": "c:\\temp\\a.exe",
            "pid": 0x0D30, "type": "start", "start": f"{AT}6.000000", "end": f"{AT}7.000000",
            "is_suppressed": True, "is_tampered": False, "commandLine": "a.exe -x", "userName": "SYSTEM",
        },
    ],
    "crossproc_complete": [
        f"ProcessOpen|{AT}6.500000|{CHILD}-000000000001|{WRITTEN}|c:\\temp\\a.exe|1|2097151|false|false|",
        f"ProcessOpen|{AT}6.600000|{CHILD}-000000000001|{WRITTEN}|c:\\temp\\a.exe|2|64|false|true|",
        f"RemoteThread|{AT}6.700000|{CHILD}-000000000001|{WRITTEN}|c:\\temp\\a.exe|0|0|true|false|",
    ],
    "processblock_complete": [],
}  # fmt: skip
BINARIES = {MD5.upper(): {"digsig_result": "Signed", "digsig_publisher": "Acme Corp"}}


def store_of(folder: Path, *documents: Any) -> Path:
    for number, document in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(document), encoding="utf-8")
    ingest(folder / "lab.db", [folder])
    return folder / "lab.db"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(
        tmp_path_factory.mktemp("process"), {"process": {**DOCUMENT, **EVENTS, "binaries": BINARIES}, "elapsed": 0.1}
    )


@pytest.fixture(scope="module")
def lab(store: Path) -> Iterator[Client]:
    with serving(store) as client:
        yield client


def test_a_document_that_was_taken_in_comes_out_again(lab: Client) -> None:
    told = lab.get(f"/api/v2/process/{GUID}/0").json()

    assert {name: told.get(name) for name in DOCUMENT} == {**DOCUMENT, "group": "default group"}


def test_events_that_were_taken_in_come_out_again(lab: Client) -> None:
    process = lab.get(f"/api/v4/process/{GUID}/0/event").json()["process"]

    assert {name: process[name] for name in EVENTS} == EVENTS


def test_binaries_tell_the_status_of_image_modules_and_written_files(lab: Client) -> None:
    process = lab.get(f"/api/v4/process/{GUID}/0/event").json()["process"]

    unknown = {"digsig_result": "(Unknown)"}
    assert process["binaries"] == {**BINARIES, MODULE.upper(): unknown, WRITTEN.upper(): unknown}


def test_netconns_are_text_numbers_and_dotted_by_version(lab: Client) -> None:
    listed = {v: lab.get(f"/api/v{v}/process/{GUID}/0/event").json()["process"]["netconn_complete"][0] for v in (1, 3)}

    assert listed[1] == f"{AT}5.000000|-1073741305|443|6|update.example.test|true"
    assert (listed[3]["remote_ip"], listed[3]["local_ip"]) == (-1073741305, 169090600)


def test_childprocs_are_text_before_the_third_version(lab: Client) -> None:
    listed = lab.get(f"/api/v2/process/{GUID}/0/event").json()["process"]["childproc_complete"]

    assert listed == [f"{AT}6.000000|{CHILD}-000000000001|{WRITTEN}|c:\\temp\\a.exe|3376|true|false"]


@pytest.mark.parametrize(
    ("version", "routes"), [("5.0", [1]), ("5.1", [1, 2]), ("5.2", [1, 2, 3]), ("6.0", [1, 2, 3, 4])]
)
def test_a_server_has_the_event_routes_of_its_version(store: Path, version: str, routes: list[int]) -> None:
    with serving(store, version) as client:
        there = [v for v in range(1, 6) if client.get(f"/api/v{v}/process/{GUID}/1/event").status_code == 200]

    assert there == routes


def test_events_come_in_pages(lab: Client) -> None:
    parameters = {"cb.event_start": 2, "cb.event_count": 3}

    process = lab.get(f"/api/v4/process/{GUID}/0/event", **parameters).json()["process"]

    assert {name: len(process[name]) for name in EVENTS if process[name]} == {
        "filemod_complete": 2,
        "regmod_complete": 1,
    }


def test_a_detail_has_parent_and_children(lab: Client) -> None:
    told = lab.get(f"/api/v1/process/{GUID}/0").json()

    assert told["process"]["id"] == GUID
    assert (told["parent"]["id"], told["parent"]["process_name"]) == (PARENT, "services.exe")
    assert [(child["id"], child["is_suppressed"]) for child in told["children"]] == [(CHILD, True)]
    assert told["siblings"] == []


def test_children_and_siblings_are_bounded(tmp_path: Path) -> None:
    many = [{**DOCUMENT, "id": f"00000007-0000-{n:04x}-01d7-35e9bb340680", "unique_id": ""} for n in range(1, 31)]
    with serving(store_of(tmp_path, {"results": many})) as client:
        parent = client.get(f"/api/v1/process/{PARENT}/0", children=20).json()
        default = client.get(f"/api/v1/process/{PARENT}/0").json()
        one = client.get(f"/api/v1/process/{many[0]['id']}/0").json()

    assert [len(parent["children"]), len(default["children"]), len(one["siblings"])] == [20, 15, 15]
    assert many[0]["id"] not in [sibling["id"] for sibling in one["siblings"]]


def test_a_parent_that_the_sensor_never_knew_is_written_in_the_vendors_way(tmp_path: Path) -> None:
    unknown = "00000007-ffff-ffff-0000-000000000000"
    with serving(store_of(tmp_path, {**DOCUMENT, "parent_id": unknown, "parent_name": "(unknown)"})) as client:
        told = client.get(f"/api/v1/process/{GUID}/0").json()

    process = told["process"]
    assert told["parent"] == {}
    assert [process[f"parent_{name}"] for name in ("id", "unique_id", "name", "pid")] == [
        unknown, f"{unknown}-000000000001", "(unknown)", -1,
    ]  # fmt: skip


def test_a_process_that_is_only_mentioned_has_no_start(lab: Client) -> None:
    parent = lab.get(f"/api/v2/process/{PARENT}/0").json()

    assert "start" not in parent
    assert parent["process_pid"] == 0x0728


def test_each_segment_has_the_events_up_to_its_last_update(tmp_path: Path) -> None:
    first = {**DOCUMENT, "segment_id": 1618925603000, "last_update": "2021-04-20T13:33:24Z"}
    with serving(store_of(tmp_path, {"process": {**DOCUMENT, **EVENTS}, "elapsed": 0}, first)) as client:
        segments = client.get(f"/api/v1/process/{GUID}/segment").json()["process"]["segments"]
        told = [
            client.get(f"/api/v4/process/{GUID}/{n}/event").json()["process"] for n in (1618925603000, 1618925603240)
        ]

    assert [one["unique_id"][37:] for one in segments] == ["0178ef7c48b8", "0178ef7c49a8"]
    assert [sum(one["event_counts"].values()) for one in segments] == [5, 5]
    assert [len(process["filemod_complete"]) for process in told] == [2, 0]
    assert [len(process["netconn_complete"]) for process in told] == [0, 1]


@pytest.mark.parametrize(
    "path",
    ["00000007-0000-0d24-01d7-35e9bb34068f/0", f"{GUID}/77", f"{GUID}/-1", f"{GUID}/x", f"{GUID}/٣", "x/0", "%00/0"],
)
@pytest.mark.parametrize("end", ["", "/event", "/preview"])
def test_an_unknown_process_or_segment_is_404(lab: Client, path: str, end: str) -> None:
    assert lab.get(f"/api/v1/process/{path}{end}").status_code == 404


def test_a_preview_marks_the_word_in_the_events_that_hold_it(lab: Client) -> None:
    told = lab.get(f"/api/v1/process/{GUID}/0/preview", q="netconn_domain:example and M.DLL").json()

    assert told["id"] == GUID
    assert told["modload_complete"] == [f"{AT}1.700000|{MODULE}|c:\\PREPREPREm.dllPOSTPOSTPOST"]
    assert "PREPREPREexamplePOSTPOSTPOST" in told["netconn_complete"][0]
    assert told["regmod_complete"] == []


def test_prevalence_counts_hosts_and_processes(lab: Client) -> None:
    told = lab.get("/api/v1/process/host/count", **{"cb.freqver": 1, "name": "md5", "md5": MD5.upper()}).json()

    assert told == {"hostCount": 1, "globalCount": 1, "numDocs": 3}


@pytest.mark.parametrize("value", ["-1", "x", "1e3", "9" * 30, "٣"])
def test_a_number_that_is_none_is_400_with_a_reason(lab: Client, value: str) -> None:
    answer = lab.get(f"/api/v1/process/{GUID}/0", children=value)

    assert (answer.status_code, answer.json()["parameter"]) == (400, "children")


def test_fields_are_left_out_of_versions_that_had_none(store: Path) -> None:
    with serving(store, "5.0") as client:
        told = client.get(f"/api/v2/process/{GUID}/1").json()

    assert not {"comms_ip", "terminated", "last_server_update", "uid", "min_last_update"} & set(told)
    assert told["group"] == "Default Group"
