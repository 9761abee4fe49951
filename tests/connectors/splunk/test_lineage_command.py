from __future__ import annotations

import io
from typing import Any

from cbsigned_connectors.splunk import lineage_command, protocol
from cbsigned_connectors.splunk.command import FIND, HASHES, PROCESSES, SearchCommand
from cbsigned_connectors.splunk.lineage_command import FIELDS
from cbsigned_connectors.splunk.service import LINEAGE as LINEAGE_FIELDS
from splunkd.frames import Cell, Table, body_of, frame, parse_frame, read_table

Document = dict[str, Any]
GUID = "00000001-0000-0a28-01d6-ffde20451832"
LINEAGE = {
    "text": "git.exe (Unsigned) <- cmd.exe (Signed)", "json": '{"nodes": []}', "depth": "1", "root": "cmd.exe",
    "ended_by": "root", "why": "It has no parent.", "names": ["git.exe", "cmd.exe"],
    "statuses": ["Unsigned", "Signed"], "guid": GUID,
}  # fmt: skip


class Handler:
    def __init__(self) -> None:
        self.asked: list[Document] = []

    def __call__(self, _uri: str, _key: str) -> Handler:
        return self

    def ask(self, _route: str, document: Document, _timeout_s: float) -> Document:
        self.asked.append(document)
        answer = {"failed": False, "signing": {"status": "Unsigned", "why": "x"}, "lineage": LINEAGE}
        return {"answers": [answer] * len(document["rows"]), "warnings": []}


def _search(handler: Handler, *arguments: str) -> SearchCommand:
    search = SearchCommand("cblineage", lineage_command.plan, handler)
    search.getinfo({"searchinfo": {"args": list(arguments)}})
    return search


def _rows(search: SearchCommand, *rows: dict[str, Cell]) -> list[dict[bytes, Cell]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(tuple(n.encode() for n in names), [tuple(row.get(n, b"") for n in names) for row in rows])
    sink = io.BytesIO()
    protocol.serve(search, io.BytesIO(frame({"action": "execute", "finished": True}, body_of(table))), sink)
    parsed = parse_frame(sink.getvalue())
    assert parsed is not None
    reply = read_table(parsed[1])
    return [dict(zip(reply.names, row)) for row in reply.rows]


def _answer(*arguments: str) -> Document:
    return SearchCommand("cblineage", lineage_command.plan).getinfo({"searchinfo": {"args": list(arguments)}})


def test_getinfo_asks_for_what_finds_a_process() -> None:
    assert _answer()["required_fields"] == [*PROCESSES, *HASHES, *FIND]
    assert _answer("guid=parent_guid") == {"type": "stateful", "required_fields": ["parent_guid"]}
    assert _answer("guid=g", "declare=true")["required_fields"] == ["g", *("lineage_" + name for name in FIELDS)]


def test_a_bad_depth_ends_the_search_at_getinfo() -> None:
    assert _answer("max_depth=1000") == {
        "finished": True,
        "error": 'max_depth is "1000": expected a whole number, 0 to 500. Default: 16. Example: max_depth=5',
    }


def test_names_and_statuses_come_as_multi_values() -> None:
    handler = Handler()

    (row,) = _rows(_search(handler, "guid=g", "prefix=l_", "max_depth=3"), {"g": GUID.encode(), "_chunked_idx": b"0"})

    assert {name: row[b"l_" + name.encode()] for name in FIELDS} == {
        "text": b"git.exe (Unsigned) <- cmd.exe (Signed)",
        "json": b'{"nodes": []}',
        "depth": b"1",
        "root": b"cmd.exe",
        "ended": b"root",
        "why": b"It has no parent.",
        "names": (b"git.exe", b"cmd.exe"),
        "statuses": (b"Unsigned", b"Signed"),
        "guid": GUID.encode(),
    }
    assert (row[b"g"], row[b"_chunked_idx"]) == (GUID.encode(), b"0")
    (asked,) = handler.asked
    assert asked["fields"] == ["process_guid"]
    assert asked["rows"] == [(GUID,)]
    assert (asked["lineage"], asked["max_depth"], asked["cache"]) == (True, 3, True)
    assert set(asked["lineage_fields"]) == set(LINEAGE_FIELDS)


def test_events_of_one_process_at_many_times_are_one_question() -> None:
    handler = Handler()
    events: list[dict[str, Cell]] = [
        {"_time": b"%d.5" % n, "host": b"h", "process_guid": GUID.encode(), "_chunked_idx": b"%d" % n}
        for n in range(50)
    ]

    rows = _rows(_search(handler), *events)

    assert len(handler.asked) == 1
    assert handler.asked[0]["rows"] == [(GUID, *[""] * 13)]
    assert [row[b"lineage_depth"] for row in rows] == [b"1"] * 50
    assert [row[b"_time"] for row in rows] == [b"%d.5" % n for n in range(50)]


def test_host_pid_and_time_are_sent_where_there_is_no_guid() -> None:
    handler = Handler()

    _rows(_search(handler), {"_time": b"5", "host": b"h", "pid": b"7"}, {"_time": b"6", "host": b"h", "pid": b"7"})

    (asked,) = handler.asked
    sent = [dict(zip(asked["fields"], row)) for row in asked["rows"]]
    assert [{name: text for name, text in row.items() if text} for row in sent] == [
        {"pid": "7", "host": "h", "_time": "5"},
        {"pid": "7", "host": "h", "_time": "6"},
    ]


def test_an_event_that_names_no_process_is_not_asked_about() -> None:
    handler = Handler()

    (row,) = _rows(_search(handler), {"_time": b"5", "host": b"h"})

    assert handler.asked == []
    assert row[b"lineage_text"] == b""
    assert str(row[b"lineage_why"]).startswith("b'The event names no process")
