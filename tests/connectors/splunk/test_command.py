"""`| cbsigned` from getinfo to the last reply, beside the same command on the SDK's loop and beside recordings."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splunklib.searchcommands import Configuration, StreamingCommand

from cbsigned.formats.row import read
from cbsigned_connectors.splunk import command, protocol
from cbsigned_connectors.splunk.command import FIELDS, FIND, HASHES, LINEAGE_FIELDS, PROCESSES, SearchCommand
from connectors.splunk.hostile import md5_of
from connectors.splunk.hostile import tables as hostile_tables
from splunkd.frames import Cell, Table, body_of, frame, parse_frame, read_table
from support import PROJECT, real_data

Document = dict[str, Any]
INFO: Document = {
    "args": [], "raw_args": [], "dispatch_dir": "/nowhere", "sid": "1629786023.114", "app": "search", "owner": "admin",
    "username": "admin", "session_key": "X" * 60, "splunkd_uri": "https://127.0.0.1:8089", "splunk_version": "9.4.0",
    "search": "cbsigned", "command": "cbsigned", "maxresultrows": 50000, "earliest_time": "0", "latest_time": "0",
}  # fmt: skip


def _signing(text: str) -> dict[str, Any]:
    """Return what the EDR would say of a file: told by its hash alone, with values that need quoting."""
    told = {"status": "Signed" if len(text) % 2 else "Bad Signature", "publisher": f'Maker "{text[:9]}", é'}
    rest = {"signed": "true", "issuer": "", "sign_time": "2020-01-01T00:00:00Z", "source": "edr", "age_s": "0"}
    return {**told, **rest, "why": "one\ntwo", "certainty": ""}


class Handler:
    """Answers at once, and counts."""

    def __init__(self) -> None:
        self.rows = self.requests = 0

    def __call__(self, _uri: str, _key: str) -> Handler:
        return self

    def ask(self, _route: str, document: Document, _timeout_s: float) -> Document:
        self.requests += 1
        self.rows += len(document["rows"])
        lineage = {"text": "a <- b", "ended_by": "root", "why": "It has no parent."} if document["lineage"] else None
        return {
            "answers": [
                {"failed": False, "signing": _signing(_first(row)), "lineage": lineage} for row in document["rows"]
            ],
            "warnings": [],
        }


def _first(row: Any) -> str:
    found = next((cell for cell in row if cell), "")
    return str(found if isinstance(found, str) else found[0])


def _getinfo(*arguments: str, **more: Any) -> Document:
    return {"action": "getinfo", "preview": False, "searchinfo": {**INFO, "args": list(arguments), **more}}


def _ours(data: bytes, handler: Optional[Handler] = None) -> list[tuple[Document, bytes]]:
    sink = io.BytesIO()
    assert protocol.serve(SearchCommand("cbsigned", command.plan, handler or Handler()), io.BytesIO(data), sink) == 0
    return _frames(sink.getvalue())


def _frames(data: bytes) -> list[tuple[Document, bytes]]:
    found, at = [], 0
    while at < len(data):
        parsed = parse_frame(data, at)
        assert parsed is not None
        found.append(parsed[:2])
        at = parsed[2]
    return found


def _answer(*arguments: str, **more: Any) -> Document:
    return SearchCommand("cbsigned", command.plan).getinfo(_getinfo(*arguments, **more))


def test_getinfo_asks_for_the_hashes_alone() -> None:
    assert _answer() == {"type": "stateful", "required_fields": ["process_md5", "md5", "process_hash"]}
    assert _answer("field=file hash") == {"type": "stateful", "required_fields": ["file hash"]}


def test_getinfo_names_the_new_fields_when_told_to() -> None:
    fields = _answer("field=h", "prefix=cb.", "declare", "=", "true")["required_fields"]

    assert fields == ["h", *("cb." + name for name in FIELDS)]


def test_getinfo_with_lineage_asks_for_what_finds_a_process() -> None:
    fields = _answer("lineage=true")["required_fields"]

    assert fields == [*PROCESSES, *FIND, *HASHES]


def test_every_key_of_getinfo_may_be_missing() -> None:
    assert SearchCommand("cbsigned", command.plan).getinfo({"action": "getinfo"})["type"] == "stateful"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["feild=x"], '"feild" is not an option of cbsigned'),
        (["timeout=soon"], "expected seconds, 0.1 to 600"),
        (["prefix=", "field=status"], '"status" is looked up and would be overwritten'),
    ],
    ids=str,
)
def test_a_bad_option_ends_the_search_at_getinfo(arguments: list[str], told: str) -> None:
    answer = _answer(*arguments)

    assert set(answer) == {"finished", "error"}
    assert told in answer["error"]


def test_an_indexer_is_refused() -> None:
    answer = _answer(sid="remote_sh1_1629786023.114")

    assert answer["finished"] is True
    assert "search heads alone" in answer["error"]


def test_rows_before_getinfo_are_an_error() -> None:
    (reply,) = _ours(frame({"action": "execute", "finished": True}, b"md5\nx\n"))

    assert reply == ({"finished": True, "error": "splunkd sent rows before getinfo."}, b"")


def test_the_columns_are_those_that_the_cores_row_reader_knows() -> None:
    """A column that nothing reads would be extracted and sent for nothing."""
    guid = "00000001-0000-0a28-01d6-ffde20451832"
    values = {"process_guid": guid, "process_id": guid, "_time": "1629786029", "process_start_time": "1629786020"}
    event = {"process_pid": "7", "host": "h", "_time": "1629786023"}

    for name in (*HASHES, *PROCESSES, *FIND):
        without = {other: text for other, text in event.items() if other != name and (name != "pid" or other == "host")}
        value = values.get(name, md5_of(5) if name in HASHES else "4711")
        assert read({**without, name: value}) != read(without), name


def test_a_selected_chunk_is_answered_as_the_recorded_exchange_is() -> None:
    data = frame(_getinfo("field=md5")) + b"".join(
        [
            frame(
                {"action": "execute", "finished": False}, b'md5,"_chunked_idx","__mv_md5","__mv__chunked_idx"\nab,0,,\n'
            ),
            frame({"action": "execute", "finished": False}, b'md5,"_chunked_idx","__mv_md5","__mv__chunked_idx"\n'),
            frame({"action": "execute", "finished": True}),
        ]
    )

    replies = _ours(data)

    assert [metadata for metadata, _body in replies[1:]] == [
        {"finished": False},
        {"finished": False},
        {"finished": True},
    ]
    assert replies[1][1].splitlines()[-2:] == [
        'ab,0,,,"Bad Signature",true,"Maker ""ab"", é",,"2020-01-01T00:00:00Z","one'.encode(),
        b'two",edr,0,,,,,,,,',
    ]
    assert [body for _metadata, body in replies[2:]] == [b"", b""]


def test_declared_fields_arrive_empty_and_leave_filled() -> None:
    names = [b"h", *(b"cbsigned_" + name.encode() for name in FIELDS), b"_chunked_idx"]
    rows: list[tuple[Cell, ...]] = [(b"aa", *[b""] * len(FIELDS), b"0"), (b"aa", *[b"old"] * len(FIELDS), b"1")]
    handler = Handler()

    replies = _ours(
        frame(_getinfo("field=h", "declare=true"))
        + frame({"action": "execute", "finished": True}, body_of(Table(tuple(names), rows))),
        handler,
    )

    table = read_table(replies[1][1])
    assert table.column(b"_chunked_idx") == [b"0", b"1"]
    assert table.column(b"cbsigned_status") == [b"Bad Signature"] * 2
    assert table.column(b"cbsigned_age_s") == [b"0"] * 2
    assert handler.rows == 1


def test_lineage_adds_its_fields() -> None:
    names = tuple(name.encode() for name in (*PROCESSES, *FIND, *HASHES, "_chunked_idx"))
    row = tuple(b"x" if name in (b"md5", b"pid") else b"" for name in names)

    replies = _ours(
        frame(_getinfo("lineage=true")) + frame({"action": "execute", "finished": True}, body_of(Table(names, [row])))
    )

    table = read_table(replies[1][1])
    found = dict(zip(table.names, table.rows[0]))
    assert [found[b"cbsigned_" + name.encode()] for name in LINEAGE_FIELDS] == [
        b"a <- b",
        b"root",
        b"It has no parent.",
    ]
    assert found[b"cbsigned_status"] == b"Signed"


# What the SDK does to cells, and ours does not. Everything else must agree, cell by cell.
SDK_DEFECTS = {
    "invalid UTF-8": "it decodes the chunk with errors='replace', so bytes of _raw become U+FFFD",
    "NUL": "csv.reader of Python 3.9 and 3.10 raises on it: all further rows of the search are lost",
    "blank row": "a row of one empty cell is a blank line, which csv.reader gives as no cells: the field is gone",
}


@Configuration()
class Oracle(StreamingCommand):  # type: ignore[misc]
    """The same command, the way the SDK's documentation tells to write it."""

    def stream(self, records: Any) -> Any:
        for record in records:
            cells = [record.get(name) for name in HASHES]
            text = _first(cells)
            if text:
                signing = _signing(text)
            else:
                plan = command.plan(
                    {"field": "", "lineage": False, "prefix": "", "timeout": 1.0, "declare": False, "cache": True}
                )
                signing = {"status": "Unknown", "why": plan.nothing}
            for name in FIELDS:
                record["cbsigned_" + name] = signing.get(name, "")
            yield record


def _sdk(data: bytes) -> list[tuple[Document, bytes]]:
    sink = io.BytesIO()
    Oracle().process(["cbsigned"], io.BytesIO(data), sink)
    return _frames(sink.getvalue())


def _as_the_sdk_has_it(cell: Cell) -> Cell:
    if isinstance(cell, tuple):
        return tuple(value.decode("utf-8", "replace").encode() for value in cell)
    return cell.decode("utf-8", "replace").encode()


def _without_nul(cell: Cell) -> Cell:
    return tuple(v.replace(b"\0", b"") for v in cell) if isinstance(cell, tuple) else cell.replace(b"\0", b"")


def _compare(data: bytes) -> int:
    """Return how many cells agree between the SDK's replies and ours."""
    agreed = 0
    theirs, ours = _sdk(data), _ours(data)
    assert len(theirs) == len(ours)
    for (their_metadata, their_body), (our_metadata, our_body) in zip(theirs[1:], ours[1:]):
        assert their_metadata.get("finished") == our_metadata["finished"]
        if not our_body:
            continue
        their_table, our_table = read_table(their_body), read_table(our_body)
        assert sorted(their_table.names) == sorted(our_table.names)
        for name in our_table.names:
            column = [_as_the_sdk_has_it(cell) for cell in our_table.column(name)]
            assert their_table.column(name) == column, name
            agreed += len(column)
    return agreed


def _fit_for_the_sdk(table: Table) -> Table:
    rows = [tuple(map(_without_nul, row)) for row in table.rows] if sys.version_info < (3, 11) else table.rows
    return Table(table.names, rows)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 7, 40]))
def test_hostile_cells_come_back_as_the_sdk_gives_them_but_for_its_defects(seed: int, size: int) -> None:
    tables = [_fit_for_the_sdk(table) for table in hostile_tables(40, 10, [size], seed)]
    chunks = [frame({"action": "execute", "finished": False}, body_of(table)) for table in tables]

    agreed = _compare(frame(_getinfo()) + b"".join(chunks) + frame({"action": "execute", "finished": True}))

    assert agreed >= 40 * (2 + len(FIELDS))


def test_an_output_field_that_is_there_is_replaced_as_the_sdk_does_it() -> None:
    table = Table(
        (b"cbsigned_status", b"md5", b"cbsigned_why"), [((b"a", b"b"), b"x", b"old"), (b"", b"", (b"c", b"d"))]
    )

    assert _compare(frame(_getinfo()) + frame({"action": "execute", "finished": True}, body_of(table))) == 18


def test_each_defect_of_the_sdk_is_one() -> None:
    """Should a later SDK mend one of them, this says so, and the list gets shorter."""
    body = body_of(Table((b"md5", b"_raw"), [(b"a", b"\xff")]))
    blank = b"md5\na\n\nb\n"
    nul = body_of(Table((b"md5", b"_raw"), [(b"a", b"x\0y")]))

    def replies(body: bytes) -> bytes:
        return _sdk(frame(_getinfo()) + frame({"action": "execute", "finished": True}, body))[-1][1]

    def fails(body: bytes) -> bool:
        try:
            replies(body)
        except SystemExit:
            return True
        return False

    found = {
        "invalid UTF-8": read_table(replies(body)).column(b"_raw") != [b"\xff"],
        "blank row": b"Unknown" not in replies(b"x,md5\n,a\n,b\n")
        and read_table(replies(blank)).column(b"md5") == [b"a", b"", b"b"],
        "NUL": fails(nul) == (sys.version_info < (3, 11)),
    }

    assert found == dict.fromkeys(SDK_DEFECTS, True)


RECORDINGS = [
    "splunk-6.3/countmatches.in", "splunk-6.3/sum.map.in.gz", "splunk-6.3/sum.reduce.in", "splunk-8.2.1/events.in",
    "splunk-8.2.1/generating.in", "splunk-8.2.1/reporting.in", "splunk-8.2.1/stateful.in",
    "splunk-8.2.1/streaming-litsearch-alltime.in", "splunk-8.2.1/streaming.in",
]  # fmt: skip


def _recording(name: str) -> bytes:
    data = (real_data("splunk-recordings") / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def _without_arguments(data: bytes) -> bytes:
    """Return a recording whose getinfo has the arguments of our command in place of another's."""
    parsed = parse_frame(data)
    assert parsed is not None
    metadata, _body, end = parsed
    metadata["searchinfo"]["args"] = ["field=age"]
    return frame(metadata) + data[end:]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_search_gets_every_cell_back(name: str) -> None:
    data = _recording(name)
    data = data if b'"args":[]' in data[:400] else _without_arguments(data)

    replies = _ours(data)

    frames = _frames(data)
    assert len(replies) == len(frames)
    for (sent, went), (answer, came) in zip(frames[1:], replies[1:]):
        assert answer["finished"] == sent["finished"]
        rows = went.split(b"\n", 1)[1] if went else b""
        if rows:
            before, after = read_table(went), read_table(came)
            assert after.names[: len(before.names)] == before.names
            assert [row[: len(before.names)] for row in after.rows] == before.rows
            assert set(after.column(b"cbsigned_status")) <= {b"Signed", b"Bad Signature", b"Unknown"}
        else:
            assert came == b""


def test_a_recorded_search_is_served_by_the_process_as_splunkd_starts_it() -> None:
    script = "from cbsigned_connectors.splunk.command import main; main()"
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "connectors")}

    done = subprocess.run(
        [sys.executable, "-c", script], input=_recording("splunk-8.2.1/streaming.in"), capture_output=True, env=env,
        check=False, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")
    replies = _frames(done.stdout)
    assert len(replies) == 3
    assert read_table(replies[1][1]).column(b"age") == [b"66", b"18", b"25", b"96", b"52"]
    assert replies[2] == ({"finished": True}, b"")


@pytest.mark.nightly
@pytest.mark.parametrize("size", [1, 100, 2_500, 50_000])
def test_a_million_events_come_back_once_in_order(size: int) -> None:
    count = 1_000_000 if size > 1 else 100_000
    handler = Handler()
    search = SearchCommand("cbsigned", command.plan, handler)
    search.getinfo(_getinfo("field=md5"))
    header = b'md5,"_chunked_idx","__mv_md5","__mv__chunked_idx"\n'

    for start in range(0, count, size):
        lines = [b"%s,%d,," % (md5_of(n * 7919 % 30_000).encode(), n) for n in range(start, start + size)]
        metadata, pieces = search.execute({"finished": False}, header + b"\n".join(lines) + b"\n")
        reply = b"".join(pieces).replace(b"one\ntwo", b"one").split(b"\n")
        assert metadata == {"finished": False}
        assert len(reply) == size + 2
        assert all(row.startswith(line) for row, line in zip(reply[1:], lines))

    assert handler.rows == 30_000
