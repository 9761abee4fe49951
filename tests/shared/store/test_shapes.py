"""Each shape of event and document: what of it the store keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.errors import ProcessNotFound, SourceError
from cbsigned.process import Process
from cbsigned.store.kinds import kind_of, normal_kind
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from shared.store.telemetry import AT, MD5, PARENT_MD5, Take, content, event, guid_of, load, rows, start

PID, PARENT, CHILD = 3364, 1832, 4040
DOCUMENT: dict[str, Any] = {
    "id": guid_of(PID), "unique_id": f"{guid_of(PID)}-0178ef7c49a8", "segment_id": 1618925603240,
    "process_name": "updater.exe", "path": "c:\\acme\\updater.exe", "process_pid": PID, "process_md5": MD5,
    "cmdline": "updater.exe /check", "username": "SYSTEM", "start": "2021-04-20T13:33:21.512Z", "hostname": "LAB-WS-07",
    "sensor_id": 7, "os_type": "windows", "parent_id": guid_of(PARENT), "parent_name": "services.exe",
    "parent_md5": "000000000000000000000000000000", "parent_pid": PARENT, "modload_count": 41,
}  # fmt: skip
BINARY = {
    "md5": MD5.upper(), "digsig_result": "Signed", "signed": "Signed", "digsig_result_code": "0",
    "digsig_publisher": "Acme Corp", "digsig_prog_name": "Acme Updater exe", "observed_filename": ["c:\\acme\\u.exe"],
    "endpoint": ["LAB-WS-07|7"], "server_added_timestamp": "2021-04-01T10:00:00.12Z", "orig_mod_len": 193536,
}  # fmt: skip


def process(store: Path, pid: int) -> Process:
    with StoreSource(store) as source:
        answer = source.processes([guid_of(pid)], Deadline(60))[guid_of(pid)]
    assert isinstance(answer, Process)
    return answer


def records(store: Path, md5: str) -> tuple[BinaryRecord, ...]:
    with StoreSource(store) as source:
        answer = source.binaries([md5], Deadline(60))[md5]
    assert not isinstance(answer, SourceError)
    return answer


def test_start_describes_process_and_names_its_parent(take: Take) -> None:
    store, _ = take(start(parent_path="c:\\windows\\services.exe", parent_md5=PARENT_MD5.upper(), sha256="ab" * 32))

    child, parent = process(store, PID), process(store, PARENT)

    assert (child.start_recorded, child.name, child.user, child.sha256) == (True, "updater.exe", "SYSTEM", "ab" * 32)
    assert (child.parent_guid, child.parent_name, child.parent_pid) == (guid_of(PARENT), "services.exe", PARENT)
    assert (parent.start_recorded, parent.md5, parent.host) == (False, PARENT_MD5, "LAB-WS-07")


def test_parent_md5_of_thirty_zeros_is_no_hash(take: Take) -> None:
    store, report = take(start(parent_md5="0" * 30))

    assert (report.new, process(store, PARENT).md5) == (1, None)


def test_parent_that_the_sensor_never_knew_is_said_so(take: Take) -> None:
    store, _ = take(start(parent_process_guid="00000007-ffff-ffff-0000-000000000000"))

    assert (process(store, PID).parent_unknown, process(store, PID).parent_guid) == (True, None)


@pytest.mark.parametrize("suffix", ["-00000001", "-0178ef7c49a8", ""], ids=["5.x", "6.x", "none"])
def test_segment_suffix_is_split_off(take: Take, suffix: str) -> None:
    store, _ = take(start(process_guid=guid_of(PID).upper() + suffix))

    assert process(store, PID).guid == guid_of(PID)


def test_end_gives_the_end_and_no_start(take: Take) -> None:
    store, _ = take(event("procend", path="c:\\a.exe", command_line="", parent_process_guid=guid_of(PARENT)))

    ended = process(store, PID)

    assert (ended.start_recorded, ended.terminated, ended.md5, ended.parent_guid) == (False, True, MD5, guid_of(PARENT))
    assert ended.ended_at is not None
    assert ended.ended_at.timestamp() == AT


def test_start_outweighs_what_others_said_before_and_after(take: Take) -> None:
    child = event(
        "childproc", PARENT, child_process_guid=guid_of(PID), md5=PARENT_MD5, path="c:\\wrong.exe", created=True
    )

    store, _ = take(child, start(), child | {"timestamp": AT + 1})

    assert (process(store, PID).md5, process(store, PID).name) == (MD5, "updater.exe")


def test_own_events_tell_image_and_host_of_a_process_that_began_before(take: Take) -> None:
    store, _ = take(event("filemod", path="c:\\a.txt", action="create", actiontype=1))

    found = process(store, PID)

    assert (found.md5, found.host, found.pid, found.start_recorded) == (MD5, "LAB-WS-07", PID, False)


def test_child_event_names_parent_command_line_and_user(take: Take) -> None:
    store, _ = take(event(
        "childproc", PARENT, md5=MD5, path="c:\\git.exe", child_process_guid=guid_of(CHILD), created=True,
        child_command_line="git status", child_username="jo", child_suppressed=True,
    ))  # fmt: skip

    child = process(store, CHILD)

    assert (child.parent_guid, child.cmdline, child.user, child.md5) == (guid_of(PARENT), "git status", "jo", MD5)
    assert (child.suppressed, child.start_recorded) == (True, False)


def test_md5_cut_at_its_first_zero_byte_is_kept_as_text_and_is_no_hash(take: Take) -> None:
    cut = "0C03FB91E17987EED93F60"

    store, report = take(event("childproc", md5=cut, child_process_guid=guid_of(CHILD), created=True))

    assert (report.new, process(store, CHILD).md5) == (1, None)
    assert [json.loads(row[-1]) for row in content(store)["childproc"]] == [{"md5": cut}]


def test_members_without_a_column_are_kept(take: Take) -> None:
    store, _ = take(load(tamper=True), event("regmod", path="\\registry\\x", actiontype=2, tamper_sent=1))

    kept = [row[-1] for name in ("modload", "regmod") for row in content(store)[name]]
    assert kept == ['{"tamper":true}', '{"tamper_sent":1}']


def test_written_file_s_hash_is_found_by_its_index(take: Take) -> None:
    written = event(
        "filemod", path="c:\\temp\\x.sys", actiontype=8, filetype=1, file_md5=PARENT_MD5, file_sha256="cd" * 32
    )

    store, _ = take(written, event("filemod", path="c:\\b", actiontype=1))

    sql = "SELECT process_id FROM filemod WHERE binary_id = (SELECT id FROM binary WHERE md5 = ?) AND binary_id > 0"
    plan = " ".join(str(row) for row in rows(store, f"EXPLAIN QUERY PLAN {sql}", bytes.fromhex(PARENT_MD5)))
    assert len(rows(store, sql, bytes.fromhex(PARENT_MD5))) == 1
    assert "filemod_written" in plan


def test_connection_keeps_both_ends_and_tolerates_empty_addresses(take: Take) -> None:
    both = {"direction": "outbound", "protocol": 6, "remote_ip": "54.231.112.0", "remote_port": 443, "domain": "a.test"}

    store, report = take(
        event("netconn", **both, local_ip="172.22.5.141", local_port=63579),
        event("netconn", direction="inbound", protocol=17, remote_ip="", remote_port=0, local_ip="fe80::1", domain=""),
    )

    found = [row[2:9] for row in content(store)["netconn"]]
    assert report.new == 2
    assert (1, 6, "36E77000", 443, "AC16058D", 63579, "a.test") in found
    assert (0, 17, "", 0, "FE800000000000000000000000000001", 0, None) in found


@pytest.mark.parametrize("kind", ["crossprocopen", "remotethread"])
def test_cross_process_event_names_its_target(take: Take, kind: str) -> None:
    store, report = take(event(
        kind, target_process_guid=guid_of(CHILD), target_md5=PARENT_MD5, target_path="c:\\lsass.exe",
        requested_acces=5240, is_target=False,
    ))  # fmt: skip

    target = process(store, CHILD)
    assert (target.md5, target.name, target.parent_guid) == (PARENT_MD5, "lsass.exe", None)
    assert content(store)["crossproc"][0][4:6] == (5240, 0)
    assert report.kinds == {f"ingress.event.{kind}": 1}


@pytest.mark.parametrize(
    "record",
    [
        event("processblock", blocked_event="ProcessCreate", path="c:\\hearts.exe"),
        event("emetmitigation", mitigation="Eaf"),
        event("tamper", tamper_type="CbProcessTerminated"),
        event("filelessscriptload", cmdline="IEX"),
        {"type": "feed.synchronized", "feed_id": 36, "feed_name": "x", "timestamp": 1447696887.19},
        {"type": "cmd.feed.synchronize", "feed_id": 4, "full_sync": False, "timestamp": 1447696175.07},
        {"type": "task.error.logged", "message": "x", "timestamp": 1447696175.07},
        {"type": "feed.ingress.hit.host", "feed_id": 3, "ioc_type": "ipv4", "timestamp": 1447696175.07},
        {"type": "binarystore.file.added", "md5": MD5, "size": 1, "timestamp": 1447696175.07},
    ],
    ids=lambda record: str(record["type"]),
)
def test_rare_message_is_kept_whole(take: Take, record: dict[str, Any]) -> None:
    store, report = take(record, record)

    assert (report.read, report.new) == (2, 1)
    assert [json.loads(row[-1]) for row in content(store)["message"]] == [record]


def test_binary_info_event_is_a_record_of_its_own_kind(take: Take) -> None:
    store, _ = take(event("module", digsig={"result": "Unsigned", "result_code": "0x800b0100"}, size=588800))

    assert [(r.kind, r.word, r.code) for r in records(store, MD5)] == [
        (RecordKind.BINARY_INFO_EVENT, "Unsigned", 0x800B0100)
    ]


def test_contradicting_records_both_stay(take: Take) -> None:
    store, _ = take(BINARY, BINARY | {"digsig_result": "Unsigned", "digsig_result_code": "2148204800"})

    assert sorted(str(r.word) for r in records(store, MD5)) == ["Signed", "Unsigned"]


def test_newest_of_equal_records_speaks(take: Take) -> None:
    newer = BINARY | {"server_added_timestamp": "2022-01-01T00:00:00Z", "digsig_publisher": "Acme GmbH"}

    store, _ = take(newer, BINARY)

    assert [r.publisher for r in records(store, MD5)] == ["Acme GmbH"]


def test_binary_document_alone_and_in_a_search_answer_are_one(take: Take) -> None:
    store, report = take(BINARY, {"results": [BINARY], "total_results": 1, "terms": []})

    assert (report.read, report.new) == (2, 1)
    assert records(store, MD5)[0].paths == ("c:\\acme\\u.exe",)


def test_binary_seen_on_hosts_has_their_number_where_no_record_says_it(take: Take) -> None:
    other = {"computer_name": "LAB-WS-08", "sensor_id": 8}

    store, _ = take(load(md5=MD5), load(PARENT, md5=MD5, **other), event("module", digsig={"result": "Signed"}))

    assert [(r.host_count, r.paths) for r in records(store, MD5)] == [(2, ("c:\\windows\\system32\\ntdll.dll",))]


def test_binary_known_by_sha256_alone_is_found(take: Take) -> None:
    store, _ = take(
        {"sha256": "ef" * 32, **{k: v for k, v in BINARY.items() if k != "md5"}, "type": "ingress.event.module"}
    )

    assert [r.sha256 for r in records(store, "ef" * 32)] == ["ef" * 32]


def test_process_document_counts_as_the_start(take: Take) -> None:
    store, _ = take(DOCUMENT)

    found = process(store, PID)

    assert (found.start_recorded, found.cmdline, found.os_type) == (True, "updater.exe /check", "windows")
    assert (found.parent_name, found.parent_pid) == ("services.exe", PARENT)


def test_document_of_a_hit_fills_the_process_and_is_no_start(take: Take) -> None:
    hit = {"type": "watchlist.hit.process", "timestamp": 1618926003.24, "watchlist_id": 11, "docs": [DOCUMENT]}

    store, _ = take(hit)

    found = process(store, PID)
    assert (found.start_recorded, found.md5, found.path, found.host) == (
        False,
        MD5,
        "c:\\acme\\updater.exe",
        "LAB-WS-07",
    )
    assert found.parent_guid == guid_of(PARENT)


def test_stored_hit_with_a_numeric_parent_id_uses_the_parent_s_unique_id(take: Take) -> None:
    doc = {k: v for k, v in DOCUMENT.items() if k not in ("id", "hostname")} | {
        "parent_id": -5997206017868204718, "parent_unique_id": f"{guid_of(PARENT)}-00000001",
    }  # fmt: skip

    store, _ = take(
        {"type": "watchlist.storage.hit.process", "timestamp": 1.6e9, "process_guid": guid_of(PID), "docs": [doc]}
    )

    assert process(store, PID).parent_guid == guid_of(PARENT)


def test_flat_alert_tells_the_process_it_is_about(take: Take) -> None:
    alert = {
        "alert_type": "watchlist.hit.query.process", "process_id": guid_of(PID), "process_name": "chrome.exe",
        "process_path": "c:\\chrome.exe", "md5": MD5, "hostname": "LAB-WS-09", "created_time": "2016-07-19T16:26:49Z",
    }  # fmt: skip

    store, report = take(alert)

    assert report.kinds == {"alert.watchlist.hit.query.process": 1}
    assert (process(store, PID).path, process(store, PID).host) == ("c:\\chrome.exe", "LAB-WS-09")


def test_binary_alert_is_a_claim_of_its_own_kind(take: Take) -> None:
    alert = {"alert_type": "watchlist.hit.query.binary", "md5": MD5, "digsig_result": "Signed", "hostname": "A"}

    store, _ = take(alert | {"created_time": "2016-07-19T16:26:49.83Z", "other_hostnames": ["B"]})

    assert [(r.kind, r.word, r.host_count) for r in records(store, MD5)] == [(RecordKind.ALERT, "Signed", 2)]


def test_one_bus_message_with_many_documents_describes_each(take: Take) -> None:
    docs = [BINARY, BINARY | {"md5": PARENT_MD5, "digsig_result": "Unsigned", "digsig_result_code": "2148204800"}]

    store, report = take(
        {"docs": docs, "watchlist_id": 3, "event_timestamp": 1447698018.2}, folder="watchlist.hit.binary"
    )

    assert (report.read, report.new) == (1, 1)
    assert (records(store, MD5)[0].word, records(store, PARENT_MD5)[0].word) == ("Signed", "Unsigned")


def test_detail_answer_describes_relatives_and_leaves_suppressed_ones_without_a_start(take: Take) -> None:
    child = {"id": guid_of(CHILD), "process_name": "a.exe", "child_proc_type": "exec", "start": "2021-04-20T13:33:21Z"}
    hidden = {"id": guid_of(99), "process_name": "b.exe", "cmdline": "b", "is_suppressed": True}
    parent = {"id": guid_of(PARENT), "process_name": "services.exe", "process_md5": PARENT_MD5}

    store, report = take({"process": DOCUMENT, "parent": parent, "siblings": [], "children": [child, hidden]})

    assert (report.read, report.new) == (1, 1)
    assert (process(store, PARENT).md5, process(store, CHILD).parent_guid) == (PARENT_MD5, guid_of(PID))
    assert (process(store, CHILD).start_recorded, process(store, 99).start_recorded) == (True, False)
    assert process(store, 99).suppressed


EVENTS: dict[str, Any] = {
    "modload_complete": [f"2021-04-20 13:33:21.512000|{MD5}|c:\\acme\\updater.exe|{'ab' * 32}"],
    "filemod_complete": [f"8|2021-04-20 13:33:22.000000|c:\\x.sys|{PARENT_MD5}|1|true"],
    "regmod_complete": ["2|2021-04-20 13:33:22.100000|\\registry\\x|false"],
    "processblock_complete": ['{"timestamp": "2021-04-20 13:33:22.100000", "blocked_path": "c:\\\\y.exe"}'],
    "crossproc_complete": [
        f"ProcessOpen|2021-04-20 13:33:22.1|{guid_of(99)}-000000000001|{PARENT_MD5}|c:\\c.exe|1|0x1fffff|false|true|"
    ],
}
OBJECTS = EVENTS | {
    "netconn_complete": [{
        "timestamp": "2021-04-20 13:33:23.000000", "direction": "true", "domain": "a.test", "proto": 6,
        "remote_ip": "148.72.71.155", "remote_port": 443, "local_ip": "10.21.21.110", "local_port": 49298, "ja3": "x",
    }],
    "childproc_complete": [{
        "processId": f"{guid_of(CHILD)}-000000000001", "md5": PARENT_MD5, "path": "c:\\rundll32.exe", "pid": CHILD,
        "type": "start", "start": "2021-04-20 13:33:24.000000", "commandLine": "rundll32 a.dll", "userName": "jo",
        "is_suppressed": True,
    }],
}  # fmt: skip
STRINGS = EVENTS | {
    "netconn_complete": ["2021-04-20 13:33:23.000000|-1807202405|443|6|a.test|true"],
    "childproc_complete": [
        f"2021-04-20 13:33:24.000000|{guid_of(CHILD)}-00000001|{PARENT_MD5}|c:\\rundll32.exe|1|true|false"
    ],
}


@pytest.mark.parametrize("lists", [STRINGS, OBJECTS], ids=["v1 pipe strings", "v4 objects"])
def test_event_answer_gives_every_event(take: Take, lists: dict[str, Any]) -> None:
    statuses = {PARENT_MD5.upper(): {"digsig_result": "Unsigned"}, MD5.upper(): {"digsig_result": "(Unknown)"}}

    store, report = take({"process": {**DOCUMENT, **lists, "binaries": statuses}, "elapsed": 0.1})

    held = content(store)
    assert (report.read, report.new, report.malformed) == (1, 1, 0)
    assert held["modload"][0][1:4] == ("c:\\acme\\updater.exe", MD5.upper(), 1618925601512)
    assert held["filemod"][0][1:7] == ("c:\\x.sys", 1618925602000, 8, PARENT_MD5.upper(), 1, '{"tamper":"true"}')
    assert held["regmod"][0][1:4] == ("\\registry\\x", 1618925602100, 2)
    assert held["netconn"][0][2:6] == (1, 6, "9448479B", 443)
    assert held["childproc"][0][2:6] == (1618925604000, 1, "c:\\rundll32.exe", PARENT_MD5.upper())
    assert held["crossproc"][0][3:6] == ("open_process", 0x1FFFFF, 1)
    assert [(r.word, r.kind) for r in records(store, PARENT_MD5)] == [("Unsigned", RecordKind.BINARY_DOCUMENT)]
    assert process(store, CHILD).parent_guid == guid_of(PID)


def test_event_that_cannot_be_read_is_kept_beside_the_others(take: Take) -> None:
    broken = {"modload_complete": ["not a load", *EVENTS["modload_complete"]], "netconn_complete": [7]}

    store, _ = take({"process": {**DOCUMENT, **broken}})

    kept = sorted(row[-1] for row in content(store)["message"] if row[0] == "process event, unread")
    assert len(content(store)["modload"]) == 1
    assert [json.loads(body)["entry"] for body in kept] == ["not a load", 7]


def test_bundles_of_the_forwarder_and_of_splunk_hec_are_opened(take: Take) -> None:
    _, report = take(
        {"filename": "x", "service": "carbonblack", "alerts": [start(), load()]}, {"event": load(at=AT + 1)}
    )

    assert (report.read, report.new) == (3, 3)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("feed.24.ingress.hit.process", "feed.ingress.hit.process"),
        ("ingress.event.process", "ingress.event.procstart"),
        ("Watchlist.Hit.Binary", "watchlist.hit.binary"),
        ("2021-04-20", None),
        ("binary_metadata", None),
        (7, None),
    ],
    ids=str,
)
def test_kind_is_read_from_a_routing_key(text: object, kind: object) -> None:
    assert normal_kind(text) == kind


def test_own_type_goes_before_the_folder_s() -> None:
    assert kind_of(load(), "feed.ingress.hit.process") == "ingress.event.moduleload"


def test_process_that_no_event_names_is_not_found(take: Take) -> None:
    store, _ = take(start())

    with StoreSource(store) as source:
        answer = source.processes([guid_of(1)], Deadline(60))[guid_of(1)]

    assert isinstance(answer, ProcessNotFound)


@pytest.mark.parametrize("folder", ["v1.2", "raw.data", "ingress.event.teleport"])
def test_folder_that_only_looks_like_a_routing_key_decides_nothing(take: Take, folder: str) -> None:
    _, report = take({"md5": MD5, "scores": {}, "event_timestamp": 1.6e9}, folder=folder)

    assert report.kinds == {"binaryinfo.observed": 1}
