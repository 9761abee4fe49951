"""What the generating commands make of the handler's answers: pages, and events with the names of the CIM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

import pytest

from cbsigned_connectors.splunk import generated
from cbsigned_connectors.splunk.generated import uniform
from cbsigned_connectors.splunk.splunkd import HandlerError
from connectors.splunk.scripted import BINARY, GUID, MD5, PARENT, PROCESS, SHA256, Handler, found, page_of


class TestPages:
    def test_maxrows_ends_it_with_a_note(self) -> None:
        rows = [{"id": str(n)} for n in range(700)]
        handler = Handler(page_of(*rows[:500], next=500, total=9000), page_of(*rows[500:], next=700, total=9000))

        told = found(handler, "cbprocess", maxrows=700)

        assert [len(page.events) for page in told] == [500, 200]
        assert [document["rows"] for _route, document in handler.asked] == [500, 200]
        assert told[1].last
        assert told[1].notes == ("700 of about 9,000 rows are shown: raise maxrows for more.",)

    def test_a_row_that_moved_to_the_next_page_is_told_once(self) -> None:
        handler = Handler(
            page_of({"id": "1"}, {"id": "2"}, next=2), page_of({"id": "2"}, {"id": "3"}, next=4), page_of({"id": "4"})
        )

        told = found(handler, "cbprocess", maxrows=4)

        assert [[event["id"] for event in page.events] for page in told] == [["1", "2"], ["3"], ["4"]]
        assert [document["rows"] for _route, document in handler.asked] == [4, 2, 1]

    def test_a_server_that_goes_backwards_ends_it(self) -> None:
        told = found(Handler(page_of({"id": "1"}, next=1), page_of({"id": "2"}, next=1)), "cbprocess")

        assert [page.last for page in told] == [False, True]

    def test_activity_is_asked_in_one_piece(self) -> None:
        events = [{"kind": "modload", "time": "2021-04-20T13:33:21Z", "md5": MD5}] * 3
        handler = Handler(page_of(*events))

        told = found(handler, "cbactivity", kinds="modload, netconn", maxrows=5000)

        ((_route, question),) = handler.asked
        assert (question["rows"], question["kinds"]) == (5000, ["modload", "netconn"])
        assert [len(page.events) for page in told] == [3]

    def test_the_edr_is_asked_for_its_name_once_and_only_for_rows(self) -> None:
        named: list[str] = []

        class Counting(Handler):
            def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> Mapping[str, Any]:
                named.extend([route] if route == "health" else [])
                return super().ask(route, document, timeout_s)

        found(Counting(page_of()), "cbprocess")
        assert named == []

        found(Counting(page_of({"id": "1"}, next=1), page_of({"id": "2"})), "cbprocess")
        assert named == ["health"]


def event_of(command: str, row: Mapping[str, Any], handler: Optional[Handler] = None) -> dict[str, Any]:
    given = handler or Handler()
    given.script = [page_of(row)]
    ((event,),) = (page.events for page in found(given, command))
    return event


class TestEvents:
    def test_a_process_has_its_own_names_and_those_of_the_cim(self) -> None:
        event = event_of("cbprocess", PROCESS)

        assert {name: event[name] for name in PROCESS} == PROCESS
        assert {name: value for name, value in event.items() if name not in PROCESS and name != "_raw"} == {
            "process_guid": GUID, "process_id": "3364", "process": PROCESS["cmdline"], "process_path": PROCESS["path"],
            "process_exec": "updater.exe", "process_hash": f"MD5={MD5},SHA256={SHA256}", "parent_process_guid": PARENT,
            "parent_process_id": "1832", "parent_process_name": "services.exe", "user": "SYSTEM", "dest": "lab-ws-07",
            "host": "lab-ws-07", "os": "windows", "vendor_product": "Carbon Black EDR", "_time": "1618925601.512",
            "console_link": f"https://cb.example.test:8443/#analyze/{GUID}/0", "source": "edr:cb.example.test:8443",
            "sourcetype": "cbsigned:process",
        }  # fmt: skip
        assert json.loads(str(event["_raw"])) == PROCESS
        assert "\n" not in event["_raw"]

    def test_an_unknown_parent_has_no_alias(self) -> None:
        unknown = {"parent_id": "00000007-ffff-ffff-0000-000000000000", "parent_name": "(unknown)", "parent_pid": "-1"}

        event = event_of("cbprocess", {**PROCESS, **unknown})

        assert event["parent_id"] == unknown["parent_id"]
        assert not {"parent_process_guid", "parent_process_name", "parent_process_id"} & set(event)

    @pytest.mark.parametrize(
        ("row", "at"),
        [
            ({"start": "2021-04-20T13:33:21.5Z"}, "1618925601.500"),
            ({"id": GUID}, "1618925601.512"),
            ({"last_update": "2021-04-20T13:33:23Z"}, "1618925603.000"),
            ({"start": "?"}, "1700000000.250"),
        ],
        ids=["start", "guid", "last-update", "none"],
    )
    def test_time_is_the_start_as_far_as_it_is_known(self, row: Mapping[str, Any], at: str) -> None:
        assert event_of("cbprocess", row)["_time"] == at

    def test_a_binary(self) -> None:
        event = event_of("cbbinary", BINARY)

        assert {name: value for name, value in event.items() if name not in BINARY and name != "_raw"} == {
            "file_hash": f"MD5={MD5.upper()}", "file_path": BINARY["observed_filename"], "file_name": "b.exe",
            "file_size": "193536", "dest": ["LAB-WS-07", "LAB-WS-08"], "os": "Windows", "_time": "1617271200.120",
            "vendor_product": "Carbon Black EDR", "source": "edr:cb.example.test:8443", "sourcetype": "cbsigned:binary",
            "console_link": f"https://cb.example.test:8443/#/binary/{MD5.upper()}",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("row", "aliases"),
        [
            ({"kind": "filemod", "path": "c:\\a", "md5": MD5}, {"file_path": "c:\\a", "file_hash": f"MD5={MD5}"}),
            ({"kind": "regmod", "path": "\\registry\\a"}, {"registry_path": "\\registry\\a"}),
            (
                {"kind": "netconn", "direction": "outbound", "protocol": "tcp", "remote_ip": "192.0.2.7",
                 "remote_port": "443", "local_ip": "10.0.0.1", "local_port": "5000"},
                {"transport": "tcp", "dvc_ip": "10.0.0.1", "src_ip": "10.0.0.1", "src_port": "5000",
                 "dest_ip": "192.0.2.7", "dest_port": "443"},
            ),
            (
                {"kind": "netconn", "direction": "inbound", "remote_ip": "192.0.2.7", "local_port": "22"},
                {"src_ip": "192.0.2.7", "dest_port": "22"},
            ),
            (
                {"kind": "childproc", "path": "c:\\b.exe", "cmdline": "b", "guid": PARENT},
                {"process_path": "c:\\b.exe", "process": "b"},
            ),
            ({"kind": "block", "path": "c:\\a"}, {}),
        ],
    )  # fmt: skip
    def test_an_activity_is_named_by_its_kind(self, row: dict[str, Any], aliases: dict[str, Any]) -> None:
        given = {**row, "time": "2021-04-20T13:33:22Z", "text": "did it"}

        event = event_of("cbactivity", given)

        common = {"process_guid", "vendor_product", "_time", "_raw", "source", "sourcetype"}
        assert {name: value for name, value in event.items() if name not in (*given, *common)} == aliases
        assert (event["process_guid"], event["_time"]) == (GUID, "1618925602.000")

    def test_health_is_one_event_of_flat_counters(self) -> None:
        health = {
            "edr_host": "cb",
            "uptime_s": 7,
            "answers": {"Signed": 3},
            "configured": True,
            "versions": {},
            "x": None,
        }

        ((event,),) = (page.events for page in found(Handler(health=health), "cbhealth"))

        assert {name: value for name, value in event.items() if name[0] != "_"} == {
            "edr_host": "cb", "uptime_s": "7", "answers.Signed": "3", "configured": "true", "source": "edr:cb",
            "sourcetype": "cbsigned:health",
        }  # fmt: skip

    def test_no_document_can_write_over_what_every_event_has(self) -> None:
        row = {"id": "1", "_time": "0", "_raw": "x", "__mv_id": "x", "_chunked_idx": "9", "source": "x", "a b": "x"}

        event = event_of("cbprocess", row)

        assert event["_time"] == "1700000000.250"
        assert event["source"] == "edr:cb.example.test:8443"
        assert not {"__mv_id", "_chunked_idx", "a b"} & set(event)

    def test_an_edr_without_a_name_has_no_links(self) -> None:
        handler = Handler()
        handler.health = HandlerError("no")

        event = event_of("cbprocess", PROCESS, handler)

        assert event["source"] == "edr"
        assert "console_link" not in event

    def test_the_tables_name_no_alias_twice(self) -> None:
        for table in (generated.PROCESS_FIELDS, generated.BINARY_FIELDS, *generated.ACTIVITY_FIELDS.values()):
            assert not set(table) & set(table.values()) - {"process"}

    def test_uniform_events_have_the_same_names(self) -> None:
        assert uniform([{"a": "1"}, {"b": "2"}]) == [{"a": "1", "b": ""}, {"a": "", "b": "2"}]
