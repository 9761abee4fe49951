from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Union

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbsigned_connectors.splunk.protocol import ProtocolError
from cbsigned_connectors.splunk.rows import Asked, Layout, cell, cell_text, cell_texts, header_of, multi_cell
from splunkd.frames import Cell, Table, body_of, parse_body, parse_frame, read_table
from support import real_data

ASKED = Asked(["md5", "hash"])
OUTPUTS = ["s", "w w"]
READY = b'Signed,"a ""b""\r\n,c",,'
NEW = (b"Signed", b'a "b"\r\n,c')

_HOSTILE = [
    b"", b"a", b"0", b'"', b'""', b'"""', b",", b"\n", b"\r\n", b"\r", b"$", b"$;$", b"\0", b"\xff\x80",
    b"\xe2\x80\xa8", b"\xc2\x85", b"\x1c", "\U0001f600".encode(), b",,,\n", b"7,,,\n", b'",5,,,,\n"', b"  ", b"=x",
]  # fmt: skip
VALUES = st.lists(st.sampled_from(_HOSTILE), max_size=4).map(b"".join)
CELLS = st.one_of(st.just(b""), VALUES, st.lists(VALUES, min_size=2, max_size=3).map(tuple))
NAMES = ["_raw", "md5", "hash", "tag::eventtype", 'od"d, name', "line\nend", "é", "s", "w w", "number"]


@st.composite
def tables(draw: st.DrawFn, names: Sequence[str] = NAMES) -> Table:
    """Tables with some of the names in some order, `_chunked_idx` often last, as splunkd has it."""
    chosen = draw(st.lists(st.sampled_from(list(names)), min_size=1, max_size=5, unique=True))
    rows = draw(st.lists(st.tuples(*[CELLS for _ in chosen]), max_size=6))
    if draw(st.booleans()):
        chosen.append("_chunked_idx")
        rows = [(*row, b"%d" % number) for number, row in enumerate(rows)]
    return Table(tuple(name.encode() for name in chosen), rows)


def _reply(body: bytes, ways: Sequence[str] = (), asked: Asked = ASKED, ready: bytes = READY) -> bytes:
    """Return what comes back for a body, new cells the same in every row; `ways` gets the way that was taken."""
    header, eol, start = header_of(body)
    layout = Layout(header, eol, asked, OUTPUTS)
    chunk = layout.chunk(body, start)
    chunk.ready = [ready + eol] * len(chunk.keys)
    if isinstance(ways, list):
        ways.append("selected" if chunk.keys and isinstance(chunk.keys[0], bytes) else "any")
    return b"".join(chunk.pieces())


def _questions(body: bytes, asked: Asked = ASKED) -> list[tuple[Union[str, tuple[str, ...]], ...]]:
    header, eol, start = header_of(body)
    layout = Layout(header, eol, asked, OUTPUTS)
    return [layout.texts(key) for key in layout.chunk(body, start).keys]


def _crlf(body: bytes) -> bytes:
    """Return a body with CRLF behind every row, the cells unchanged."""
    out, quoted = bytearray(), False
    for byte in body:
        quoted ^= byte == 0x22
        out += b"\r\n" if byte == 0x0A and not quoted else bytes([byte])
    return bytes(out)


def _raw_columns(body: bytes) -> dict[bytes, list[bytes]]:
    names, rows = parse_body(body)
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}


def _text(found: Cell) -> Union[str, tuple[str, ...]]:
    if isinstance(found, tuple):
        return tuple(value.decode("utf-8", "replace") for value in found)
    return found.decode("utf-8", "replace")


@settings(max_examples=300)
@given(tables(), st.booleans())
@example(Table((b"md5", b"_chunked_idx"), [(b'",5,,,\n"', b"0"), (b'",5,,\n"', b"1")]), False)
@example(Table((b"md5", b"_chunked_idx"), [(b"x\n", b"0"), (b",,,\n0", b"1")]), False)
def test_every_cell_comes_back_and_the_new_ones_stand_behind(table: Table, crlf: bool) -> None:
    body = _crlf(body_of(table)) if crlf else body_of(table)

    reply = _reply(body)

    before, after = _raw_columns(body), _raw_columns(reply)
    new = {name.encode() for name in OUTPUTS} | {b"__mv_" + name.encode() for name in OUTPUTS}
    assert {name: cells for name, cells in after.items() if name not in new} == {
        name: cells for name, cells in before.items() if name not in new
    }
    count = len(table.rows)
    assert [after[b"s"], after[b"w w"]] == [[NEW[0]] * count, [NEW[1]] * count]
    assert after[b"__mv_s"] == after[b"__mv_w w"] == [b""] * count
    assert reply.endswith(b"\r\n") == crlf


@settings(max_examples=300)
@given(tables(), st.booleans())
def test_questions_are_what_an_independent_parser_reads(table: Table, crlf: bool) -> None:
    body = _crlf(body_of(table)) if crlf else body_of(table)

    found = _questions(body)

    read = read_table(body)
    expected = [
        tuple(_text(row[read.names.index(name)]) if name in read.names else "" for name in (b"md5", b"hash"))
        for row in read.rows
    ]
    assert found == expected


@settings(max_examples=200)
@given(tables(["md5", "hash", "s", "w w"]))
def test_the_quick_way_gives_what_the_general_one_gives(table: Table) -> None:
    body = body_of(table)
    header, eol, start = header_of(body)

    quick = Layout(header, eol, ASKED, OUTPUTS).chunk(body, start)
    layout = Layout(header, eol, ASKED, OUTPUTS)
    layout._selected = False
    general = layout.chunk(body, start)
    quick.ready = general.ready = [READY + eol] * len(table.rows)

    assert b"".join(quick.pieces()) == b"".join(general.pieces())
    assert list(map(quick.layout.texts, quick.keys)) == list(map(general.layout.texts, general.keys))


@pytest.mark.parametrize(
    ("names", "way"),
    [
        (["md5", "_chunked_idx"], "selected"),
        (["hash", "md5", "_chunked_idx"], "selected"),
        (["md5", "s", "w w", "_chunked_idx"], "selected"),
        (["md5", "_raw", "_chunked_idx"], "any"),
        (["_chunked_idx", "md5"], "any"),
        (["md5"], "any"),
    ],
    ids=str,
)
def test_the_quick_way_is_taken_where_nothing_else_was_sent(names: list[str], way: str) -> None:
    rows = [tuple(b"%dx%d" % (at, number) for at in range(len(names))) for number in range(5)]
    ways: list[str] = []

    reply = _reply(body_of(Table(tuple(n.encode() for n in names), rows)), ways)

    assert ways == [way]
    assert len(parse_body(reply)[1]) == 5


@pytest.mark.parametrize("hostile", [(b"a", b"b"), b"x\ny", b"x,y", b'"', b'a"b,"\n'], ids=repr)
def test_one_difficult_row_sends_its_chunk_the_general_way(hostile: Cell) -> None:
    table = Table((b"md5", b"_chunked_idx"), [(b"a", b"0"), (hostile, b"1"), (b"b", b"2")])
    ways: list[str] = []

    body = body_of(table)
    reply = _reply(body, ways)

    assert ways == ["selected" if hostile == b'"' else "any"]
    assert [row[:2] for row in read_table(reply).rows] == [(b"a", b"0"), (hostile, b"1"), (b"b", b"2")]


def test_a_known_head_before_a_quoted_line_end_is_not_taken_for_a_row() -> None:
    """`k,` known already, then a cell that begins with what looks like the end of a row."""
    body = b'md5,hash,_chunked_idx,__mv_md5,__mv_hash,__mv__chunked_idx\nk,"",0,,,\nk,"5,,,\nk,""6",1,,,\n'
    header, eol, start = header_of(body)
    layout = Layout(header, eol, ASKED, OUTPUTS)
    layout.known.update(dict.fromkeys((b"k", b'k,""', b'k,"5', b"k,", b'k,""6"', b'k,"'), READY + eol))

    chunk = layout.chunk(body, start)
    chunk.ready = [READY + eol] * len(chunk.keys)

    assert list(map(layout.texts, chunk.keys)) == [("k", ""), ("k", '5,,,\nk,"6')]
    assert len(parse_body(b"".join(chunk.pieces()))[1]) == 2


def test_an_output_column_that_is_there_is_replaced_with_its_values() -> None:
    body = body_of(Table((b"s", b"md5", b"_raw"), [((b"old", b"older"), b"k", b'{"a": 1}'), (b"", b"", b"x")]))

    after = _raw_columns(_reply(body))

    assert after[b"s"] == [b"Signed", b"Signed"]
    assert after[b"__mv_s"] == [b"", b""]
    assert after[b"_raw"] == [b'{"a": 1}', b"x"]
    assert list(after) == [b"md5", b"_raw", b"__mv_md5", b"__mv__raw", b"s", b"w w", b"__mv_s", b"__mv_w w"]


def test_nothing_but_output_columns_leaves_no_stray_comma() -> None:
    after = _raw_columns(_reply(body_of(Table((b"s",), [(b"old",), (b"",)]))))

    assert after == {b"s": [b"Signed"] * 2, b"w w": [NEW[1]] * 2, b"__mv_s": [b""] * 2, b"__mv_w w": [b""] * 2}


def test_a_body_without_multi_value_columns_or_a_last_line_end_is_read() -> None:
    reply = _reply(b'_raw,md5\n"a\nb",k1\nc,k2')

    assert _raw_columns(reply)[b"_raw"] == [b"a\nb", b"c"]
    assert _questions(b'_raw,md5\n"a\nb",k1\nc,k2') == [("k1", ""), ("k2", "")]


def test_multi_value_columns_in_an_odd_order_are_read() -> None:
    body = b'__mv_md5,x,md5,hash\n"$a$;$b$$$","a,","a\nb$",h\n,"""",c,\n'

    assert _questions(body) == [(("a", "b$"), "h"), ("c", "")]
    assert _raw_columns(_reply(body))[b"x"] == [b"a,", b'"']


@pytest.mark.parametrize("size", [1, 100, 2_500, 50_000])
def test_every_number_comes_back_once_in_order(size: int) -> None:
    lines = [b"%032x,%d,," % (number % 300, number) for number in range(size)]
    body = b'md5,"_chunked_idx","__mv_md5","__mv__chunked_idx"\n' + b"\n".join(lines) + b"\n"

    reply = _reply(body, ready=b"Signed,x,,")

    rows = reply.split(b"\n")[1:-1]
    assert [row.split(b",", 2)[1] for row in rows] == [b"%d" % number for number in range(size)]
    assert all(row.startswith(line) for row, line in zip(rows, lines))


def test_a_very_long_cell_comes_back() -> None:
    long = b'x"y,\n' * 60_000

    reply = _reply(body_of(Table((b"_raw", b"md5"), [(long, b"k")] * 3)))

    assert _raw_columns(reply)[b"_raw"] == [long] * 3


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"md5", "header row without an end"),
        (b'"md5\n', "header row without an end"),
        (b'_raw,md5\n"open,k\n', "ends within a quoted cell"),
        (b"_raw,md5\nonly\n", "2 cells that its header names"),
        (b"s,md5\na,b,c\n", "2 cells that its header names"),
        (b's,x\na"b",c\n', "quotes within an unquoted cell"),
    ],
    ids=repr,
)
def test_a_malformed_body_says_what_is_wrong(body: bytes, told: str) -> None:
    with pytest.raises(ProtocolError, match=told):
        _reply(body)


def test_cells_are_written_as_splunkd_writes_them() -> None:
    texts = ["", "abc09", "a b", 'say "it"', "é", "²", "a\nb"]

    assert [cell(text) for text in texts] == [
        b"", b"abc09", b'"a b"', b'"say ""it"""', '"é"'.encode(), '"²"'.encode(), b'"a\nb"',
    ]  # fmt: skip
    assert [cell_text(cell(text)) for text in texts] == texts
    assert cell("\ud800") == b'"?"'


@given(st.lists(st.text(), min_size=2, max_size=5))
def test_several_values_are_read_as_they_are_written(values: list[str]) -> None:
    assert cell_texts(multi_cell(values)) == tuple(value.encode("utf-8", "replace").decode() for value in values)


@pytest.mark.parametrize("values", [[], ["one"]])
def test_up_to_one_value_needs_no_multi_value_cell(values: list[str]) -> None:
    assert multi_cell(values) == b""


GUID = b"00000001-0000-0a28-01d6-ffde20451832"
FINDING = Asked(["process_guid", "pid", "md5", "host", "_time"], ["process_guid", "pid", "md5"], "process_guid")


def _rows_of(*rows: tuple[Cell, ...]) -> bytes:
    return body_of(Table((b"_time", b"host", b"pid", b"process_guid", b"md5", b"_chunked_idx"), rows))


def test_a_process_guid_makes_time_and_host_needless() -> None:
    found = _questions(
        _rows_of((b"1.5", b"h", b"7", GUID, b"m", b"0"), (b"2", b"h", b"8", GUID + b"-00000001", b"", b"1")), FINDING
    )

    assert found == [(GUID.decode(), "", "", "", ""), (GUID.decode() + "-00000001", "", "", "", "")]


@pytest.mark.parametrize(
    "foreign", [b"{%b}" % GUID, b"00000001-0000-0a28-0000-ffde20451832", b"17", (GUID, GUID)], ids=repr
)
def test_another_products_guid_is_asked_with_host_and_time(foreign: Cell) -> None:
    ((guid, *rest),) = _questions(_rows_of((b"1.5", b"h", b"7", foreign, b"m", b"0")), FINDING)

    assert guid == _text(foreign)
    assert rest == ["7", "m", "h", "1.5"]


def test_a_guid_is_seen_beside_other_fields_with_several_values() -> None:
    (found,) = _questions(_rows_of((b"1.5", b"h", b"7", GUID, b"m", (b"a", b"b"))), FINDING)

    assert found == (GUID.decode(), "", "", "", "")


def test_rows_that_name_nothing_to_look_up_share_a_question() -> None:
    found = _questions(_rows_of((b"1", b"h", b"", b"", b"", b"0"), (b"2", b"g", b"", b"", b"", b"1")), FINDING)

    assert found == [("", "", "", "", "")] * 2


@pytest.mark.parametrize(
    "name",
    [
        "splunk-6.3/countmatches.in", "splunk-6.3/sum.map.in.gz", "splunk-6.3/sum.reduce.in", "splunk-8.2.1/events.in",
        "splunk-8.2.1/generating.in", "splunk-8.2.1/reporting.in", "splunk-8.2.1/stateful.in",
        "splunk-8.2.1/streaming-litsearch-alltime.in", "splunk-8.2.1/streaming.in",
    ],
)  # fmt: skip
def test_recorded_rows_come_back_byte_for_byte(name: str) -> None:
    data = (real_data("splunk-recordings") / name).read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    at = bodies = 0
    while at < len(data):
        parsed = parse_frame(data, at)
        assert parsed is not None
        _metadata, body, at = parsed
        if not body:
            continue
        bodies += 1
        for asked in (ASKED, Asked(["age"]), Asked(["text", "value1", "_raw"])):
            reply = _reply(body, asked=asked, ready=b"Signed,x,,")
            head, rows = reply.split(b"\n", 1)
            assert head == body.split(b"\n", 1)[0] + b',s,"w w","__mv_s","__mv_w w"'
            assert rows.replace(b",Signed,x,,\n", b"\n") == body.split(b"\n", 1)[1]
    assert bodies >= 1
