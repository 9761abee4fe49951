from __future__ import annotations

import json

import pytest

from cbsigned.alert import Role
from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from cbsigned.gaps import Cause

GUID = "00000007-0000-0d24-01d7-35e9bb340680"
PARENT = "00000007-0000-0728-01d7-35c3d946a720"
MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"

PROCESS = {
    "unique_id": f"{GUID}-0178ef7c49a8", "process_name": "updater.exe", "path": "c:\\program files\\acme\\updater.exe",
    "process_pid": 3364, "process_md5": MD5.upper(), "cmdline": "updater /check", "username": "SYSTEM",
    "parent_guid": PARENT, "parent_name": "services.exe", "parent_md5": "0" * 30, "hostname": "LAB-WS-07",
    "start": "2021-04-20T13:33:21.512Z",
}  # fmt: skip
BINARY = {"md5": MD5.upper(), "digsig_result": "Signed", "observed_filename": ["c:\\x\\a.dll"], "endpoint": ["WS|7"]}


@pytest.mark.parametrize(
    "record",
    [
        {"type": "watchlist.hit.process", "watchlist_id": 11, "docs": [PROCESS]},
        {"watchlist_id": 11, "docs": PROCESS, "event_timestamp": 1.5e9},
        {"type": "watchlist.storage.hit.process", "docs": [{**PROCESS, "parent_id": -5997206017868204718}]},
        PROCESS,
        {"_raw": json.dumps({"type": "watchlist.hit.process", "docs": [PROCESS]}), "sourcetype": "bit9"},
    ],
    ids=["live", "bus", "stored", "document", "splunk export"],
)
def test_every_shape_of_a_process_hit_gives_the_same_observables(record: object) -> None:
    found = parse_alert(record).sets[0]

    assert (found.role, found.process_guid, found.md5, found.pid) == (Role.PROCESS, GUID, MD5, 3364)
    assert (found.host, found.name, found.user) == ("LAB-WS-07", "updater.exe", "SYSTEM")
    assert found.process is not None
    assert found.process.parent_guid == PARENT


@pytest.mark.parametrize(
    "record",
    [
        {"type": "watchlist.hit.binary", "docs": [BINARY]},
        {"watchlist_id": 3, "docs": [BINARY]},
        {
            "type": "watchlist.storage.hit.binary",
            "docs": [{**BINARY, "endpoint": "WS|7", "observed_filename": "c:\\x\\a.dll"}],
        },
        BINARY,
    ],
    ids=["live", "bus", "stored", "document"],
)
def test_every_shape_of_a_binary_hit_claims_its_status(record: object) -> None:
    found = parse_alert(record).sets[0]

    assert (found.role, found.md5, found.host, found.name) == (Role.TARGET_FILE, MD5, "WS", "a.dll")
    assert found.claimed is not None
    assert found.claimed.word == "Signed"


def test_a_flat_alert_has_its_numbers_as_texts() -> None:
    alert = parse_alert(
        {
            "alert_type": "watchlist.hit.query.process", "unique_id": "c02c7a6a", "process_id": GUID, "md5": MD5,
            "watchlist_name": "Chrome", "hostname": "WS09", "sensor_id": "9", "segment_id": "1",
            "process_path": "c:\\a\\chrome.exe", "process_name": "chrome.exe", "created_time": "2016-07-19T16:26:49Z",
        }
    )  # fmt: skip

    assert (alert.id, alert.title, alert.format) == ("c02c7a6a", "Chrome", "cb-forwarder")
    assert (alert.sets[0].process_guid, alert.sets[0].md5, alert.sets[0].host) == (GUID, MD5, "WS09")


def test_a_feed_hit_without_documents_is_looked_up_by_guid_and_indicator() -> None:
    sets = parse_alert(
        {
            "type": "feed.ingress.hit.process",
            "process_guid": GUID,
            "hostname": "W7",
            "ioc_type": "md5",
            "ioc_value": MD5,
        }
    ).sets

    assert [(s.role, s.process_guid, s.md5) for s in sets] == [
        (Role.PROCESS, GUID, None),
        (Role.TARGET_FILE, None, MD5),
    ]


def test_a_feed_indicator_that_is_no_hash_is_not_looked_up() -> None:
    sets = parse_alert(
        {"type": "feed.ingress.hit.process", "process_guid": GUID, "ioc_type": "dns", "ioc_value": "tvrain.ru"}
    ).sets

    assert len(sets) == 1


@pytest.mark.parametrize(
    ("kind", "extra", "roles"),
    [
        ("moduleload", {}, [(Role.PROCESS, GUID, None), (Role.MODULE, None, MD5)]),
        ("childproc", {"child_process_guid": PARENT}, [(Role.PROCESS, GUID, None), (Role.CHILD, PARENT, MD5)]),
        ("filemod", {}, [(Role.PROCESS, GUID, MD5)]),
        ("procstart", {}, [(Role.PROCESS, GUID, MD5)]),
    ],
)
def test_the_md5_of_a_sensor_event_belongs_to_the_file_that_its_kind_means(
    kind: str, extra: object, roles: object
) -> None:
    event = {
        "type": f"ingress.event.{kind}",
        "process_guid": GUID,
        "md5": MD5.upper(),
        "computer_name": "WS",
        "path": "c:\\a.dll",
    }

    sets = parse_alert({**event, **extra}).sets  # type: ignore[dict-item]

    assert [(s.role, s.process_guid, s.md5) for s in sets] == roles


def test_a_cim_row_is_read_by_its_field_names() -> None:
    found = parse_alert(
        {
            "process_hash": f"MD5={MD5.upper()},SHA256={'B' * 64},IMPHASH={'a' * 32}", "process_id": "4711",
            "dest": "WS01", "host": "indexer", "process_name": "a.exe", "process": "a.exe -k", "process_guid": "{1-2}",
            "user": "jo",
        }
    ).sets[0]  # fmt: skip

    assert (found.md5, found.sha256, found.pid, found.host) == (MD5, "b" * 64, 4711, "WS01")
    assert (found.process_guid, found.foreign_id, found.cmdline) == (None, "{1-2}", "a.exe -k")


def test_a_parents_hash_is_never_mixed_with_the_childs() -> None:
    sets = parse_alert({"md5": MD5, "parent_process_hash": "c" * 32, "parent_process_name": "c:\\b.exe"}).sets

    assert [(s.role, s.md5) for s in sets] == [(Role.PROCESS, MD5), (Role.PARENT, "c" * 32)]
    assert sets[1].name == "b.exe"


def test_a_bad_hash_is_a_problem_not_an_observable() -> None:
    found = parse_alert({"md5": "xyz", "host": "WS01"}).sets[0]

    assert (found.md5, len(found.problems)) == (None, 1)


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ({}, Cause.NO_OBSERVABLE),
        ({"type": "feed.synchronized", "feed_id": 3}, Cause.NO_OBSERVABLE),
        ({"docs": "x", "watchlist_id": 1}, Cause.NO_OBSERVABLE),
        ([1], Cause.BAD_OBSERVABLE),
        (None, Cause.BAD_OBSERVABLE),
    ],
    ids=["empty", "no hit", "docs of a wrong type", "list", "none"],
)
def test_what_cannot_be_looked_up_says_so(record: object, cause: Cause) -> None:
    with pytest.raises(AlertError) as caught:
        parse_alert(record)

    assert caught.value.cause is cause


def test_a_deeply_nested_raw_is_no_crash() -> None:
    raw = "{" + '"a":{' * 100_000

    with pytest.raises(AlertError):
        parse_alert({"_raw": raw})


def test_a_named_imphash_with_spaces_is_no_md5() -> None:
    found = parse_alert({"hashes": f"SHA256: {'b' * 64}, IMPHASH : {'a' * 32}", "host": "WS"}).sets[0]

    assert (found.md5, found.sha256) == (None, "b" * 64)


@pytest.mark.parametrize("field", ["NewProcessId", "New_Process_Id"])
def test_windows_4688_means_the_new_process_and_not_its_creator(field: str) -> None:
    found = parse_alert(
        {field: "0x3eb", "ProcessId": "0x3ea", "Computer": "WS01", "NewProcessName": "C:\\a\\b.exe"}
    ).sets[0]

    assert (found.pid, found.name) == (0x3EB, "b.exe")


def test_the_hash_of_another_file_is_not_the_processes() -> None:
    row = {"process_guid": GUID, "process_name": "evil.exe", "file_hash": MD5, "file_path": "c:\\good.dll"}

    acting, file = parse_alert(row).sets

    assert (acting.role, acting.process_guid, acting.file_hash) == (Role.PROCESS, GUID, None)
    assert (file.role, file.md5, file.name) == (Role.TARGET_FILE, MD5, "good.dll")


def test_hashes_of_two_files_are_never_put_together() -> None:
    acting, file = parse_alert({"process_md5": MD5, "file_hash": "b" * 64, "host": "WS"}).sets

    assert (acting.md5, acting.sha256, file.md5, file.sha256) == (MD5, None, None, "b" * 64)


def test_the_alerts_own_id_is_not_taken_for_the_process() -> None:
    row = {"unique_id": GUID, "process_guid": "{5cd2ac41-0000-0000-0000-000000000000}", "dest": "WS01"}

    found = parse_alert(row).sets[0]

    assert found.process_guid is None
    assert found.foreign_id == "{5cd2ac41-0000-0000-0000-000000000000}"


@pytest.mark.parametrize(
    "record",
    [
        {"alert_type": "notable", "process_hash": f"MD5={MD5}", "dest": "WS01"},
        {"watchlist_id": "7", "process_md5": MD5},
        {"_raw": '{"EventID": 1}', "process_hash": f"MD5={MD5}", "dest": "WS01"},
        {"preview": False, "result": {"process_hash": MD5}},
        {"alert": {"md5": MD5}, "enrichment": {"schema": "x"}},
        {"alert_type": "watchlist.hit.query.binary", "md5": MD5.upper()},
        {"type": "feed.ingress.hit.process", "ioc_type": "md5", "ioc_value": MD5},
    ],
    ids=["notable", "watchlist row", "raw beside columns", "search export", "our own output", "alert", "feed"],
)
def test_a_hash_is_found_wherever_a_platform_puts_it(record: object) -> None:
    assert MD5 in [s.md5 for s in parse_alert(record).sets]


@pytest.mark.parametrize(
    "record",
    [
        {"type": "watchlist.hit.process", "docs": [{}], "process_guid": GUID},
        {"type": "watchlist.hit.process", "docs": [{"id": GUID, "hostname": "WS"}]},
        {"alert_type": "watchlist.hit.query.process", "process_unique_id": f"{GUID}-178ef7"},
        {"type": "feed.query.hit.process", "process_id": GUID, "ioc_type": "sha256", "ioc_value": "b" * 64},
    ],
    ids=["empty document", "bare document", "cut segment", "feed"],
)
def test_a_guid_is_found_wherever_the_edr_puts_it(record: object) -> None:
    assert parse_alert(record).sets[0].process_guid == GUID


def test_documents_that_are_not_read_are_told() -> None:
    docs = [{"id": GUID, "process_md5": MD5}] * 1500

    alert = parse_alert({"type": "watchlist.hit.process", "docs": docs})

    assert (len(alert.sets), alert.problems) == (1000, ("500 of 1500 documents of this hit were not read.",))


@pytest.mark.parametrize(
    "record",
    [
        {"md5": [[[[MD5]]]], "host": "WS", "pid": 1},
        {"md5": MD5, "digsig_result": "Signed", "host_count": "9" * 5000},
        {"md5": MD5, "x": "\ud800", "start": 10**400},
    ],
    ids=["nested", "huge number", "half a character"],
)
def test_odd_values_end_nothing(record: object) -> None:
    assert parse_alert(record).sets
