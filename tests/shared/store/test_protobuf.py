"""Sensor messages of the bus: what they become, and the recorded ones against their decoded copy."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, Optional

import pytest

from cbsigned.lineage import lineages
from cbsigned.process import Process
from cbsigned.signing import signing_statuses
from cbsigned.store.ingest import IngestReport, ingest
from cbsigned.store.protobuf import events_in, is_protobuf
from cbsigned.store.source import StoreSource
from cbsigned.store.wire import WireError
from cbsigned.timing import Deadline
from shared.store.protobytes import (
    CHILD,
    FILETIME,
    LOAD,
    MODULE,
    NET,
    PATH,
    PID,
    START,
    bundle,
    guid_of,
    sensor_message,
)
from shared.store.telemetry import rows
from support import real_data

GUID = guid_of(PID)
MESSAGES = {
    "filemod": 3_081, "moduleload": 2_613, "regmod": 1_101, "module": 408, "crossprocopen": 291, "remotethread": 61,
    "childproc": 231, "procstart": 172, "procend": 70, "netconn": 104, "emetmitigation": 5, "processblock": 3,
    "tamper": 3,
}  # fmt: skip


def only(data: bytes) -> dict[str, Any]:
    """Return the one event of a message."""
    (event,) = events_in(data)
    return event


def test_a_start_has_guid_parent_and_both_hashes_of_the_schema() -> None:
    event = only(START)

    names = ("type", "process_guid", "parent_process_guid", "path", "md5", "username")
    assert {name: event[name] for name in names} == {
        "type": "ingress.event.procstart", "process_guid": GUID,
        "parent_process_guid": guid_of(468, FILETIME - 10_000_000), "path": PATH, "md5": "bb" * 16,
        "username": "lab\\al",
    }  # fmt: skip
    assert (event["computer_name"], event["sensor_id"], event["command_line"]) == ("LAB", 7, "drop /x")


def test_a_start_without_the_parent_s_creation_time_names_no_parent() -> None:
    assert "parent_process_guid" not in only(sensor_message({3: {2: 1, 3: 468}}))


def test_a_load_s_hashes_are_the_module_s_and_its_path_is_found_by_number() -> None:
    event = only(LOAD)

    assert (event["md5"], event["sha256"], event["path"]) == ("cc" * 16, "dd" * 32, PATH)


def test_a_module_s_md5_is_digits_and_its_sha256_bytes() -> None:
    event = only(MODULE)

    assert (event["md5"], event["sha256"]) == ("AB" * 16, "dd" * 32)
    assert (event["digsig"]["result"], event["digsig"]["result_code"]) == ("Unsigned", "0x800b0100")


def test_a_child_s_end_is_not_taken_for_no_statement() -> None:
    event = only(CHILD)

    assert event["created"] is False
    assert event["child_process_guid"] == guid_of(-1)


def test_ipv6_and_ports_are_read_in_network_order() -> None:
    event = only(NET)

    assert (event["remote_ip"], event["remote_port"], event["local_ip"]) == ("2001:db8::1", 80, "127.0.0.1")
    assert (event["direction"], event["domain"]) == ("inbound", "example.test")


def test_a_child_of_a_process_that_the_sensor_never_knew_has_no_parent(tmp_path: Path) -> None:
    """Recorded as childproc/30.protobuf: the end of an upgrade's process, named by pid 0 that was created at 0."""
    (tmp_path / "0.protobuf").write_bytes(sensor_message({12: {1: 0, 6: 2344, 7: FILETIME}}, _9=0, _10=0))

    report = ingest(tmp_path / "lab.db", [tmp_path / "0.protobuf"])

    with StoreSource(tmp_path / "lab.db") as source:
        child = source.processes([guid_of(2344)], Deadline(60))[guid_of(2344)]
    assert report.new == 1
    assert isinstance(child, Process)
    assert child.parent_guid is None


def test_a_bundle_gives_its_messages_in_order() -> None:
    types = [event["type"] for event in events_in(bundle(START, LOAD, CHILD))]

    assert types == ["ingress.event.procstart", "ingress.event.moduleload", "ingress.event.childproc"]


def test_a_bundle_that_is_cut_off_keeps_what_came_before(tmp_path: Path) -> None:
    (tmp_path / "bundle.bin").write_bytes(bundle(START, LOAD, CHILD)[:-3])

    report = ingest(tmp_path / "lab.db", [tmp_path / "bundle.bin"])

    assert (report.read, report.malformed) == (2, 1)
    assert "bundle.bin:3: no sensor message" in report.problems[0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sensor_message({}), id="nothing inside"),
        pytest.param(sensor_message({23: {1: "script"}}), id="kind unknown to us"),
        pytest.param(b"", id="empty bundle is nothing"),
        pytest.param(START[:60], id="cut off"),
    ],
)
def test_what_is_no_sensor_message_is_refused(data: bytes) -> None:
    if data:
        with pytest.raises(WireError):
            list(events_in(data))
    else:
        assert list(events_in(data)) == []


@pytest.mark.parametrize(
    "text", [b'{"type": "x"}', b"\n{}\n", b"type,_raw\n", b"message CbHeaderMsg {\n}\n", b"\n", b"", b"\x0a\x00"]
)
def test_text_is_not_taken_for_protobuf(text: bytes) -> None:
    assert not is_protobuf(text)


def test_the_format_is_told_by_content_and_not_by_the_name(tmp_path: Path) -> None:
    (tmp_path / "capture.txt").write_bytes(START)
    (tmp_path / "schema.proto").write_text("message CbHeaderMsg { }\n")

    report = ingest(tmp_path / "lab.db", [tmp_path / "capture.txt", tmp_path / "schema.proto"])

    assert (report.new, report.malformed, report.not_telemetry) == (1, 0, 1)


def test_a_message_without_sensor_is_malformed_and_named(tmp_path: Path) -> None:
    (tmp_path / "0.protobuf").write_bytes(sensor_message({4: {3: b"\xcc" * 16}, 13: {}}))

    report = ingest(tmp_path / "lab.db", [tmp_path / "0.protobuf"])

    assert report.problems == [f"{tmp_path / '0.protobuf'}:1: process_guid is not a process guid"]


def test_an_event_names_the_image_of_a_process_whose_start_is_missing(tmp_path: Path) -> None:
    (tmp_path / "0.protobuf").write_bytes(LOAD)

    ingest(tmp_path / "lab.db", [tmp_path / "0.protobuf"])

    with StoreSource(tmp_path / "lab.db") as source:
        process = source.processes([GUID], Deadline(60))[GUID]
    assert isinstance(process, Process)
    assert (process.path, process.pid, process.start_recorded) == ("c:\\temp\\a.exe", 70_000, False)


# The recorded messages.


@pytest.fixture(scope="module")
def recorded() -> dict[str, dict[str, Any]]:
    """Return the event of every recorded message, by folder and file."""
    found = {}
    with tarfile.open(real_data("cb-event-forwarder") / "raw_data.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if "/protobuf/" in member.name else None
            if file is not None:
                found["/".join(member.name.rsplit("/", 2)[1:])] = only(file.read())
    return found


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IngestReport]:
    store = tmp_path_factory.mktemp("bus") / "bus.db"
    return store, ingest(store, [real_data("cb-event-forwarder") / "raw_data.tar.gz"])


def decoded() -> list[dict[str, Any]]:
    """Return the messages as the folder's decoded copy has them."""
    with gzip.open(real_data("cb-event-forwarder") / "protobuf_decoded.ndjson.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_every_recorded_message_is_read_and_kinds_are_as_counted(recorded: dict[str, dict[str, Any]]) -> None:
    assert {f"ingress.event.{kind}": count for kind, count in MESSAGES.items()} == Counter(
        event["type"] for event in recorded.values()
    )


def test_every_message_says_what_its_decoded_copy_says(recorded: dict[str, dict[str, Any]]) -> None:
    for line in decoded():
        event, told = recorded[line["file"]], line["message"]
        expected = {name: value or None for name, value in _expected(line, told).items()}

        assert {name: event.get(name) or None for name in expected} == expected, line["file"]


def event_guid(header: dict[str, Any], told: dict[str, Any]) -> Optional[str]:
    """Return the guid that says nothing: pid 0, created at 0, where the decoded copy leaves it out."""
    sensor = told["env"]["endpoint"]["SensorId"]
    return f"{sensor:08x}-0000-0000-0000-000000000000" if header.get("process_create_time") == 0 else None


def _expected(line: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return what the decoded copy says, under the forwarder's names."""
    header = told["header"]
    strings = {text["guid"]: text["utf8string"] for text in told.get("strings", [])}
    path = strings.get(header.get("filepath_string_guid"))
    kind = line["routing_key"].rpartition(".")[2]
    expected: dict[str, Any] = {
        "sensor_id": told["env"]["endpoint"]["SensorId"], "computer_name": told["env"]["endpoint"]["SensorHostName"],
        "timestamp": (header["timestamp"] - 116444736000000000) // 10000 / 1000,
        "process_guid": line.get("process_guid", event_guid(header, told)),
    }  # fmt: skip
    part = {
        "process": "process", "procend": "process", "moduleload": "modload", "filemod": "filemod", "regmod": "regmod",
        "netconn": "network", "childproc": "childproc", "crossprocopen": "crossproc", "remotethread": "crossproc",
        "module": "module", "processblock": "blocked", "tamper": "tamperAlert", "emetmitigation": "emet",
    }[kind]  # fmt: skip
    inside = told[part]
    if kind == "process":
        unknown = f"{line['process_guid'][:8]}-ffff-ffff-0000-000000000000"  # parent pid -1, creation time 0
        expected.update(
            path=path, md5=inside.get("md5hash"), command_line=inside.get("commandline", ""),
            parent_process_guid=line.get("parent_process_guid", unknown), parent_md5=inside.get("parent_md5"),
            parent_path=inside.get("parent_path"), username=inside.get("username"), uid=inside.get("uid"),
        )  # fmt: skip
        if "md5hash" not in inside:
            expected["md5"] = header.get("process_md5")
    elif kind == "moduleload":
        expected.update(path=path, md5=inside["md5hash"])
    elif kind == "filemod":
        expected.update(path=path, md5=header["process_md5"], file_md5=inside.get("md5hash"))
        expected["action"] = inside["action"][len("actionFileMod") :].lower()
    elif kind == "regmod":
        words = {"CreateKey": "createkey", "WriteValue": "writeval", "DeleteKey": "delkey", "DeleteValue": "delval"}
        expected.update(path=inside["utf8_regpath"], action=words[inside["action"][len("actionRegMod") :]])
    elif kind == "childproc":
        expected.update(created=inside["created"], md5=inside.get("md5hash"), path=inside.get("path") or None)
    elif kind in ("crossprocopen", "remotethread"):
        other = inside.get("open") or inside["remotethread"]
        named = {
            name.replace("remoteProc", "targetProc").replace("targetPid", "targetProcPid"): v
            for name, v in other.items()
        }
        expected.update(
            target_pid=named["targetProcPid"], target_path=named.get("targetProcPath"),
            target_md5=named.get("targetProcMd5"), target_create_time=named["targetProcCreateTime"],
            requested_access=other.get("requestedAccess"), is_target=inside.get("isTarget", False),
        )  # fmt: skip
    elif kind == "module":
        expected.update(md5=inside["md5"], utf8_on_disk_filename=inside.get("utf8_OnDiskFilename"))
        names = ("Result", "ResultCode", "Publisher", "ProgramName", "IssuerName", "SubjectName", "SignTime")
        ours = ("result", "result_code", "publisher", "program_name", "issuer_name", "subject_name", "sign_time")
        expected["digsig"] = {our: inside.get(f"utf8_DigSig_{name}", "") for our, name in zip(ours, names)}
    elif kind == "processblock":
        expected.update(md5=inside["blockedmd5Hash"], path=inside["blockedPath"], blocked_event=inside["blockedEvent"])
    elif kind == "tamper":
        expected.update(tamper_type=inside["type"][len("Alert") :])
    elif kind == "emetmitigation":
        expected.update(mitigation=inside["action"]["mitigationType"][len("action") :], log_id=inside["emetId"])
    return expected


def lowered(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its MD5s in lower case: the forwarder writes them in upper case."""
    return {k: v.lower() if k.endswith("md5") and isinstance(v, str) else v for k, v in event.items()}


FORWARDER_S_OWN = {
    "timestamp", "cb_server", "parent_create_time", "ipv4", "port",  # added, rounded, or said twice
    "target_create_time",  # went through a float: its last digit is rounded
    "expect_followon_w_md5", "filetype", "filetype_name",  # written also where nothing is said
}  # fmt: skip


def test_the_forwarder_s_own_rendering_of_messages_is_ours(recorded: dict[str, dict[str, Any]]) -> None:
    """Lines of elastic-integrations are the forwarder's output for messages of this very recording."""
    compared = set()
    for line in (real_data("elastic-integrations") / "cb_edr.ndjson.log").read_text("utf-8").splitlines():
        told = json.loads(line)
        if not told.get("type", "").startswith("ingress.event.") or told["event_type"] == "emet_mitigation":
            continue
        said = {k: v for k, v in lowered(told).items() if k not in FORWARDER_S_OWN and not k.startswith("link_")}
        same = [e for e in recorded.values() if (e["type"], int(e["timestamp"])) == (told["type"], told["timestamp"])]

        assert any(said.items() <= lowered(event).items() for event in same), told["type"]
        compared.add(told["event_type"])
    assert compared == {
        "regmod", "filemod", "netconn", "modload", "childproc", "proc", "cross_process", "blocked_process", "tamper"
    }  # fmt: skip


def test_172_reported_starts_are_121_processes(bus: tuple[Path, IngestReport]) -> None:
    store, report = bus

    assert report.kinds["ingress.event.procstart"] == 121
    assert rows(store, "SELECT count(*) FROM process WHERE described & 1") == [(121,)]
    assert (report.read, report.malformed, sum(report.skipped.values())) == (10_680, 0, 0)


def test_all_790_binaries_have_their_status_the_23_of_protobuf_alone_included(bus: tuple[Path, IngestReport]) -> None:
    told = {line["message"]["module"]["md5"].lower(): line for line in decoded() if "module" in line["message"]}
    with StoreSource(bus[0]) as source:
        found = signing_statuses(source, told, Deadline(60))

    assert rows(bus[0], "SELECT count(DISTINCT binary_id) FROM binary_record") == [(790,)]
    for md5, line in told.items():
        assert found[md5].status.value == line["message"]["module"]["utf8_DigSig_Result"]


def test_the_procexp_driver_drop_is_in_the_store_end_to_end(bus: tuple[Path, IngestReport]) -> None:
    """chrome → procexp.exe → procexp64.exe → procexp152.sys → service key → both deleted (the folder's README)."""
    steps = rows(
        bus[0],
        "SELECT n.value, e.action, a.value, e.at, hex(b.md5) FROM filemod e JOIN process p ON p.id = e.process_id"
        " JOIN name n ON n.id = p.name_id JOIN path a ON a.id = e.path_id LEFT JOIN binary b ON b.id = e.binary_id"
        " WHERE a.value LIKE '%\\procexp%' ORDER BY e.at, e.action",
    )
    sql = (
        "SELECT DISTINCT lower(hex(p.guid)) FROM process p JOIN filemod e ON e.process_id = p.id"
        " JOIN path a ON a.id = e.path_id WHERE a.value LIKE '%\\procexp152.sys'"
    )
    ((guid,),) = rows(bus[0], sql)
    asked = f"{guid[:8]}-{guid[8:12]}-{guid[12:16]}-{guid[16:20]}-{guid[20:]}"
    with StoreSource(bus[0]) as source:
        chain = lineages(source, [asked], Deadline(60))[asked]
        hashes = [node.process.md5 for node in chain.nodes[:2] if node.process.md5]
        signed = signing_statuses(source, hashes, Deadline(60))

    wrote = [(step[0], step[1], step[2].rpartition("\\")[2]) for step in steps]
    assert ("procexp.exe", 1, "procexp64.exe") in wrote
    assert {("procexp64.exe", 1, "procexp152.sys"), ("procexp64.exe", 4, "procexp152.sys")} <= set(wrote)
    assert any(step[4] == "AD03F225247B58A57584B40A4D1746D3" for step in steps)
    assert [node.process.name for node in chain.nodes[:2]] == ["procexp64.exe", "procexp.exe"]
    assert {signature.status.value for signature in signed.values()} == {"Signed"}
    assert {signature.program_name for signature in signed.values()} == {"procexp"}
    sql = "SELECT e.action FROM regmod e JOIN regpath r ON r.id = e.regpath_id WHERE r.value LIKE '%procexp152'"
    keys = rows(bus[0], sql)
    assert {1, 4} <= {action for (action,) in keys}
    assert len(signed) == 2


def test_the_guid_s_creation_time_is_what_the_server_shows() -> None:
    assert only(LOAD)["process_guid"].replace("-", "")[16:] == f"{FILETIME:016x}"
