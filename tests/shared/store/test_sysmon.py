"""Sysmon's events: every shape gives the same rows, every kind its row, signatures as the EDR words them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.gaps import Cause
from cbsigned.lineage import EndedBy, lineages
from cbsigned.observables import is_foreign
from cbsigned.process import Process
from cbsigned.signing import signing_statuses
from cbsigned.store.documents import UnknownKind, translate
from cbsigned.store.rows import Batch, MalformedRecord
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline, format_time
from shared.store.eventlogs import GUID, HASHES, MD5, PARENT, SHA256, SHAPES, ZEROS, flat, linux
from shared.store.telemetry import Take, rows

Shape = Callable[..., dict[str, Any]]


def process(store: Path, guid: str = GUID) -> Process:
    """Return the process of a GUID."""
    with StoreSource(store) as source:
        found = source.processes([guid.lower()], Deadline(60))[guid.lower()]
    assert isinstance(found, Process)
    return found


def status(store: Path, *hashes: str) -> list[tuple[str, Cause]]:
    """Return status and cause of each hash."""
    with StoreSource(store) as source:
        found = signing_statuses(source, hashes, Deadline(60))
    return [(found[h].status.value, found[h].cause) for h in hashes]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_gives_the_same_process(take: Take, shape: Shape) -> None:
    store, report = take(shape(1))

    found = process(store)
    assert (report.new, report.kinds, report.malformed) == (1, {"sysmon.processcreate": 1}, 0)
    assert (found.name, found.path) == ("ping.exe", "c:\\windows\\system32\\ping.exe")
    assert (found.md5, found.sha256, found.cmdline, found.user) == (MD5, SHA256, "ping -n 1 ::1", "LAB\\jo")
    assert (found.pid, found.host, found.start_recorded) == (2164, "LAB-WS-01", True)
    assert format_time(found.started_at) == "2021-06-12T01:07:15.634Z"
    assert (found.guid, found.parent_guid, found.parent_name) == (GUID.lower(), PARENT.lower(), "explorer.exe")
    assert (found.sensor_id, found.parent_pid) == (None, 88)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_a_load_gives_its_signature(take: Take, shape: Shape) -> None:
    store, _report = take(shape(7))

    with StoreSource(store) as source:
        signature = signing_statuses(source, [MD5], Deadline(60))[MD5]
    assert (signature.status.value, signature.publisher) == ("Signed", "Microsoft Windows")
    assert signature.evidence is not None
    assert (signature.evidence.record, signature.evidence.word) == ("image load", "Signed")


def test_guids_in_any_case_and_with_or_without_braces_are_one_process(take: Take) -> None:
    store, report = take(flat(1), flat(5, ProcessGuid=GUID.lower()), flat(11, ProcessGuid=GUID.strip("{}")))

    assert rows(store, "SELECT count(*) FROM process WHERE described > 0") == [(1,)]
    assert report.new == 3


@pytest.mark.parametrize("asked", [GUID, GUID.lower(), GUID.strip("{}").lower()], ids=["upper", "lower", "bare"])
def test_a_process_is_found_by_its_guid_as_people_write_it(take: Take, asked: str) -> None:
    store, _report = take(flat(1))

    assert process(store, asked).pid == 2164


def test_lineage_follows_parent_guids_and_ends_where_sysmon_knew_no_parent(take: Take) -> None:
    store, _report = take(flat(1), flat(1, ProcessGuid=PARENT, ProcessId="88", ParentProcessGuid=ZEROS))

    with StoreSource(store) as source:
        chain = lineages(source, [GUID.lower()], Deadline(60))[GUID.lower()]
    assert [node.process.pid for node in chain.nodes] == [2164, 88]
    assert chain.ended_by is EndedBy.UNKNOWN_PARENT


def test_a_start_that_syslog_cut_off_does_not_claim_an_unknown_parent(take: Take) -> None:
    """Recorded: 2,012 characters of Sysmon for Linux, cut in the command line."""
    record = linux(1)
    record["SyslogMessage"] = record["SyslogMessage"].partition('<Data Name="CommandLine">')[0] + '<Data Name="Comm'

    store, report = take(record)

    assert (report.new, process(store).parent_unknown, process(store).cmdline) == (1, False, None)


def test_an_entity_is_text_and_a_bare_ampersand_ends_nothing(take: Take) -> None:
    """Recorded: `&lt unknown process&gt `, which no XML parser takes."""
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>'
    record = linux(1, CommandLine="sh -c 'a &amp;&amp; b &lt; c'", User="&a;", ParentImage="&lt unknown process&gt ")
    record["SyslogMessage"] = record["SyslogMessage"].replace("<Event>", f"<Event>{bomb}", 1)

    store, _report = take(record)

    assert (process(store).cmdline, process(store).user) == ("sh -c 'a && b < c'", "&a;")
    assert process(store).parent_name is None


@pytest.mark.parametrize(
    ("number", "members", "table", "expected"),
    [
        (3, {}, "SELECT outbound, protocol, hex(remote_ip), remote_port, local_port FROM netconn",
         (1, 6, "C0000209", 443, 50000)),
        (3, {"Initiated": "false"},
         "SELECT outbound, hex(remote_ip), remote_port FROM netconn", (0, "0A000005", 50000)),
        (3, {"Initiated": "false", "SourceHostname": "lab-ws-01.example.test"},
         "SELECT outbound, hex(remote_ip), remote_port FROM netconn", (0, "C0000209", 443)),
        (11, {}, "SELECT value, action FROM filemod JOIN path ON path.id = path_id", ("C:\\temp\\drop.exe", 1)),
        (23, {"TargetFilename": "C:\\a.exe", "Hashes": HASHES}, "SELECT action, hex(md5) FROM filemod JOIN binary b"
         " ON b.id = binary_id", (4, MD5.upper())),
        (12, {}, "SELECT value, action FROM regmod JOIN regpath r ON r.id = regpath_id", ("HKLM\\Software\\Acme", 1)),
        (13, {}, "SELECT action, value FROM regmod JOIN extra x ON x.id = extra_id", (2, '{"details":"drop.exe"}')),
        (22, {}, "SELECT value, hex(remote_ip), outbound FROM netconn JOIN domain d ON d.id = domain_id",
         ("files.example.test", "", 2)),
        (8, {}, "SELECT value, target_id > 0, access FROM crossproc JOIN word w ON w.id = word_id",
         ("remote_thread", 1, 0)),
    ],
    ids=["3 out", "3 in", "3 answer to udp", "11", "23", "12", "13", "22", "8"],
)  # fmt: skip
def test_every_kind_gives_its_row(
    take: Take, number: int, members: dict[str, Any], table: str, expected: tuple[Any, ...]
) -> None:
    store, report = take(flat(number, **members))

    assert rows(store, table) == [expected]
    assert (report.read, report.new) == (1, 1)


def test_an_open_names_the_target_under_either_spelling_of_its_guid(take: Take) -> None:
    record = flat(10, SourceProcessGUID=GUID, TargetProcessGUID=PARENT, GrantedAccess="0x1410", TargetImage="c:\\x.exe")

    store, _report = take(record)

    assert rows(store, "SELECT access, value FROM crossproc JOIN word w ON w.id = word_id") == [
        (0x1410, "open_process")
    ]
    assert process(store, PARENT).name == "x.exe"


def test_a_driver_s_load_is_the_kernel_s_and_its_signature_is_known(take: Take) -> None:
    record = flat(6, ImageLoaded="C:\\drivers\\VBoxDrv.sys", Hashes=HASHES, Signed="true", SignatureStatus="Valid")
    del record["ProcessGuid"], record["ProcessId"], record["Image"]

    store, report = take(record, record)

    (found,) = rows(store, "SELECT p.pid, n.value, h.value, hex(p.guid) FROM process p JOIN name n ON n.id = p.name_id"
                    " JOIN host h ON h.id = p.host_id JOIN modload m ON m.process_id = p.id")  # fmt: skip
    assert (report.read, report.new, report.kinds) == (2, 1, {"sysmon.driverload": 1})
    assert found[:3] == (4, "system", "LAB-WS-01")
    assert found[3].startswith("FF02")
    assert status(store, MD5) == [("Signed", Cause.RECORD)]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ("Signed", Cause.RECORD)),
        ({"Signed": "True", "SignatureStatus": "VALID"}, ("Signed", Cause.RECORD)),
        ({"Signed": True}, ("Signed", Cause.RECORD)),
        ({"Signed": "false", "SignatureStatus": "Unavailable", "Signature": "-"}, ("Unsigned", Cause.RECORD)),
        ({"SignatureStatus": "Expired"}, ("Expired", Cause.RECORD)),
        ({"SignatureStatus": "errorChaining"}, ("Invalid Chain", Cause.RECORD)),
        ({"SignatureStatus": "Revoked"}, ("Unknown", Cause.UNKNOWN_WORD)),
        ({"SignatureStatus": "-"}, ("Unknown", Cause.UNKNOWN_WORD)),
        ({"SignatureStatus": "Signed by nobody"}, ("Unknown", Cause.UNKNOWN_WORD)),
        ({"Signed": "-"}, ("Unknown", Cause.NOT_FOUND)),
        ({"Signed": None}, ("Unknown", Cause.NOT_FOUND)),
    ],
)
def test_signature_words_read_as_the_edr_s(take: Take, members: dict[str, Any], expected: tuple[str, Cause]) -> None:
    store, _report = take(flat(7, **members))

    assert status(store, MD5) == [expected]


def test_loads_that_contradict_each_other_stay_apart_and_are_unknown(take: Take) -> None:
    """Recorded: pdh.dll and mstask.dll, reported both ways."""
    store, _report = take(flat(7), flat(7, Signed="false", SignatureStatus="Unavailable", Signature="-"), flat(7))

    assert rows(store, "SELECT word FROM binary_record ORDER BY word") == [("Signed",), ("Unsigned",)]
    assert status(store, MD5) == [("Unknown", Cause.CONTRADICTION)]


def test_a_file_with_a_sha256_alone_has_its_status_and_loads(take: Take) -> None:
    store, _report = take(flat(7, Hashes=f"SHA256={SHA256.upper()}"))

    assert status(store, SHA256) == [("Signed", Cause.RECORD)]
    assert rows(store, "SELECT count(*) FROM modload JOIN file f ON f.id = file_id WHERE binary_id > 0") == [(1,)]


def test_an_imphash_is_not_taken_for_an_md5(take: Take) -> None:
    store, _report = take(flat(1, Hashes=f"IMPHASH={MD5}"))

    assert process(store).md5 is None


def test_fields_that_the_collector_took_for_itself_are_read_from_the_message(take: Take) -> None:
    """Recorded: NXLog's `ProcessID` and `EventType` INFO in place of the event's own."""
    text = "Registry object added or deleted:\r\nEventType: DeleteKey\r\nProcessId: 4711\r\nImage: C:\\x.exe\r\n"
    record = flat(12, EventType="INFO", Message=text)
    del record["ProcessId"]

    store, _report = take(record)

    assert process(store).pid == 4711
    assert rows(store, "SELECT action FROM regmod") == [(4,)]


def test_local_time_of_the_log_is_turned_into_utc(take: Take) -> None:
    """Recorded: EventTime is local, four hours behind the arrival that @timestamp and EventReceivedTime both tell."""
    record = flat(1, EventTime="2020-10-12 18:34:38", EventReceivedTime="2020-10-12 18:34:41")
    record.update({"TimeCreated": None, "@timestamp": "2020-10-12T22:34:41.939Z"})

    store, _report = take(record)

    assert rows(store, "SELECT reported FROM process WHERE described > 0") == [(1602542078000,)]


def test_a_process_that_sysmon_did_not_know_is_a_node_of_its_own(take: Take) -> None:
    """Recorded: smss.exe loads its own image at boot under a GUID of zeros."""
    store, report = take(flat(7, ProcessGuid=ZEROS, ProcessId="500"), flat(7, ProcessGuid=ZEROS, ProcessId="501"))

    assert (report.new, report.malformed) == (2, 0)
    assert rows(store, "SELECT pid, described FROM process ORDER BY pid") == [(500, 0), (501, 0)]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (flat(11, ProcessGuid="x"), "ProcessGuid is not a GUID"),
        (flat(11, ProcessGuid=None), "ProcessGuid is not a GUID"),
        (flat(11, TargetFilename=""), "no TargetFilename"),
        (flat(11, TargetFilename=["a"]), "no TargetFilename"),
        ({**flat(11, UtcTime="soon"), "TimeCreated": "late"}, "no UtcTime and no time of the log"),
        ({**flat(11), "EventID": "eleven"}, "the event has no number"),
        ({"EventID": 1, "Channel": "Sysmon", "EventData": "{"}, "its EventData is no JSON object"),
        (flat(8, SourceProcessGuid=ZEROS), "SourceProcessGuid is not a GUID"),
    ],
    ids=["guid", "no guid", "no path", "path a list", "no time", "no number", "data", "source of a thread"],
)
def test_an_event_without_what_its_kind_needs_is_malformed(take: Take, record: dict[str, Any], reason: str) -> None:
    _store, report = take(record)

    assert report.malformed == 1
    assert report.problems[0].endswith(f": {reason}")


def test_what_has_no_row_is_counted_by_its_name(take: Take) -> None:
    _store, report = take(flat(17), flat(255), flat(77), flat(4104, channel="Windows PowerShell"))

    assert dict(report.skipped) == {
        "sysmon.pipecreated": 1, "sysmon.error": 1, "sysmon.77": 1, "windows powershell 4104": 1,
    }  # fmt: skip


def test_sysmon_rows_are_not_counted_as_the_edr_s(take: Take) -> None:
    store, _report = take(flat(1), flat(7), flat(3))

    assert rows(store, "SELECT name, events FROM kind WHERE events > 0 ORDER BY name") == [
        ("sysmon.imageload", 1), ("sysmon.networkconnect", 1), ("sysmon.processcreate", 1),
    ]  # fmt: skip


def test_the_same_events_again_change_nothing(take: Take) -> None:
    events = [flat(1), flat(7), flat(3), flat(11), flat(22), flat(5)]
    take(*events)

    _store, report = take(*events)

    assert (report.read, report.new) == (6, 0)


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=40), st.just(GUID),
    st.lists(st.text(max_size=5), max_size=2), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 29), st.data())
def test_hostile_values_give_rows_or_a_reason(name: str, number: int, data: st.DataObject) -> None:
    record = flat(number)
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(record)), _VALUES, max_size=4))
    shaped = SHAPES[name](number, ProcessGuid=GUID, ProcessId="1")
    for holder in (record, shaped, shaped.get("event_data", {}), shaped.get("winlog", {}), shaped.get("Event", {})):
        holder.update({k: v for k, v in changed.items() if k in holder})

    for given_record in (record, json.loads(json.dumps(shaped))):
        batch = Batch()
        with contextlib.suppress(MalformedRecord, UnknownKind):
            translate(given_record, None, batch)
        assert all(is_foreign(fact.guid) for fact in batch.facts)
