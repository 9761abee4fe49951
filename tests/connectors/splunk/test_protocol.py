from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned_connectors.splunk.protocol import ProtocolError, dumps, loads, read_frame, serve, write_frame
from splunkd.frames import frame, parse_frame
from support import PROJECT

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Echo:
    """Gives every body back in two pieces, and remembers what came."""

    def __init__(self, failure: Optional[Exception] = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self.failure = failure

    def getinfo(self, metadata: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(metadata)
        return {"type": "stateful"}

    def execute(self, metadata: dict[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
        self.seen.append(metadata)
        if self.failure is not None:
            raise self.failure
        return {"finished": metadata["finished"]}, [body[:3], body[3:]]


class Pipe(io.RawIOBase):
    """Takes `most` bytes at a time, and breaks after `limit`."""

    def __init__(self, most: int, limit: int = sys.maxsize) -> None:
        self.taken, self.most, self.limit, self.largest = bytearray(), most, limit, 0

    def write(self, data: Any) -> int:
        if len(self.taken) >= self.limit:
            raise BrokenPipeError
        part = bytes(data)[: self.most]
        self.largest = max(self.largest, len(bytes(data)))
        self.taken += part
        return len(part)


def _frames(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    found, at = [], 0
    while at < len(data):
        parsed = parse_frame(data, at)
        assert parsed is not None
        metadata, body, at = parsed
        found.append((metadata, body))
    return found


def _served(data: bytes, command: Optional[Echo] = None) -> tuple[int, list[tuple[dict[str, Any], bytes]]]:
    sink = io.BytesIO()
    code = serve(command or Echo(), io.BytesIO(data), sink)
    return code, _frames(sink.getvalue())


def test_every_frame_gets_one_reply_and_the_end_is_exit_code_0() -> None:
    data = frame({"action": "getinfo"}) + b"".join(
        frame({"action": "execute", "finished": done}, body)
        for done, body in ((False, b"a\n1\n"), (False, b""), (False, b"a\n"), (True, "a\n€\n".encode()), (True, b""))
    )

    code, replies = _served(data)

    assert code == 0
    assert replies == [
        ({"type": "stateful"}, b""),
        ({"finished": False}, b"a\n1\n"),
        ({"finished": False}, b""),
        ({"finished": False}, b"a\n"),
        ({"finished": True}, "a\n€\n".encode()),
        ({"finished": True}, b""),
    ]


@pytest.mark.parametrize(
    "line", [b"chunked 1.0,%d,%d\n", b"chunked 1.0 , %d , %d \n", b"chunked  1.0, %d,%d\r\n"], ids=repr
)
def test_blanks_around_the_commas_of_a_frame_are_allowed(line: bytes) -> None:
    head = b'{"action":"execute","finished":true}'

    metadata, body = read_frame(io.BytesIO(line % (len(head), 4) + head + b"a\n1\n")) or ({}, b"")

    assert metadata == {"action": "execute", "finished": True}
    assert body == b"a\n1\n"


def test_sizes_count_bytes_not_characters() -> None:
    sink = io.BytesIO()

    write_frame(sink, {"error": "Größe €"}, ["é\n".encode(), b"\xff"])

    assert _frames(sink.getvalue()) == [({"error": "Größe €"}, b"\xc3\xa9\n\xff")]


@pytest.mark.parametrize("cut", [1, 5, 14, 20, 50, 57])
def test_a_frame_that_is_cut_off_ends_the_search_without_a_word(cut: int) -> None:
    whole = frame({"action": "execute", "finished": True}, b"a\n1\n2\n")
    assert cut < len(whole)

    assert _served(whole[:cut]) == (0, [])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"chunked 2.0,1,1\n",
        b"chunked 1.0,1\n",
        b"chunked 1.0,1,2,3\n",
        b"chunked 1.0,-1,2\n",
        b"chunked 1.0,1,99999999999999999999\n",
        b"chunked 1.0,99999999999,1\n",
        b"x" * 5000,
        b"chunked 1.0,2,0\n[]",
        b"chunked 1.0,3,0\n{1}",
        b"chunked 1.0,3,0\n{}x",
        b"chunked 1.0,0,0\n",
        b"chunked 1.0,1,0\n\xff",
        b"chunked 1.0,100000,0\n" + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_no_frame_ends_the_search_with_an_error_and_exit_code_1(data: bytes) -> None:
    code, replies = _served(data)

    assert code == 1
    assert [set(metadata) for metadata, _body in replies] == [{"finished", "error"}]
    assert len(replies[0][0]["error"]) < 250


def test_an_unknown_action_is_an_error_and_the_search_stays_over() -> None:
    code, replies = _served(frame({"action": "dance"}) + frame({"action": "execute", "finished": True}, b"a\n1\n"))

    assert code == 0
    assert [body for _metadata, body in replies] == [b"", b""]
    assert "'dance'" in replies[0][0]["error"]
    assert replies[1] == replies[0]


def test_a_malformed_body_is_an_error_of_the_search() -> None:
    echo = Echo(ProtocolError("A row is odd."))

    code, replies = _served(frame({"action": "execute", "finished": False}, b"a\n1\n"), echo)

    assert code == 0
    assert replies == [({"finished": True, "error": "A row is odd."}, b"")]


def test_a_bug_is_told_to_the_user_and_its_traceback_goes_to_the_log() -> None:
    sink = io.BytesIO()
    source = io.BytesIO(frame({"action": "execute", "finished": False}, b"a\n1\n"))

    with pytest.raises(KeyError):
        serve(Echo(KeyError("boom")), source, sink)

    ((metadata, _body),) = _frames(sink.getvalue())
    assert metadata == {
        "finished": True,
        "error": "This is a bug in the app cbsigned (KeyError): its traceback is in search.log.",
    }


def test_a_pipe_that_takes_parts_gets_everything_in_order() -> None:
    pipe = Pipe(7)

    write_frame(pipe, {"finished": True}, [b"abc", b"def\n"] * 100)

    assert _frames(bytes(pipe.taken)) == [({"finished": True}, b"abcdef\n" * 100)]


def test_a_long_body_is_never_put_together() -> None:
    pipe = Pipe(sys.maxsize)
    pieces = [b"%07d\n" % number for number in range(700_000)]

    write_frame(pipe, {"finished": True}, pieces)

    assert _frames(bytes(pipe.taken)) == [({"finished": True}, b"".join(pieces))]
    assert pipe.largest < 1_100_000


@pytest.mark.parametrize("limit", [0, 20])
def test_splunkd_going_away_is_no_failure(limit: int) -> None:
    data = frame({"action": "getinfo"}) + frame({"action": "execute", "finished": True}, b"a\n" * 5_000_000)

    assert serve(Echo(), io.BytesIO(data), Pipe(sys.maxsize, limit)) == 0


@given(JSON)
def test_our_json_is_the_standard_librarys(value: Any) -> None:
    text = dumps(value)

    assert text == json.dumps(value, separators=(",", ":")).encode()
    assert loads(b" \n" + text + b"\t") == value


@given(st.text(alphabet='{}[]":,\\u0123trueflsn -.eE\n\t\x01é', max_size=12))
def test_json_that_the_standard_library_refuses_is_refused(text: str) -> None:
    try:
        expected = [json.loads(text, strict=False)]
    except ValueError:
        expected = []

    try:
        found = [loads(text.encode())]
    except ProtocolError:
        found = []

    assert repr(found) == repr(expected)


def test_without_the_accelerator_json_is_read_and_written_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_json", None)

    assert loads(b'{"a": ["\xc3\xa9", 1, null, true]}') == {"a": ["é", 1, None, True]}
    assert dumps({"a": ['é"', 1, None, True, {}]}) == b'{"a":["\\u00e9\\"",1,null,true,{}]}'


SCRIPT = """
import sys
from cbsigned_connectors.splunk import protocol

class Command:
    def getinfo(self, metadata):
        print("a stray line")
        return {"type": "stateful"}
    def execute(self, metadata, body):
        return {"finished": True}, [body]

protocol.main(Command())
"""


def _run(script: str, data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "connectors")}
    argv = [sys.executable, *arguments, "-c", script]
    return subprocess.run(argv, input=data, capture_output=True, env=env, check=False, timeout=60)


def test_what_is_printed_never_reaches_splunkd() -> None:
    data = frame({"action": "getinfo"}) + frame({"action": "execute", "finished": True}, b"a\r\n\x1a\r\n")

    done = _run(SCRIPT, data)

    assert done.returncode == 0
    assert _frames(done.stdout) == [({"type": "stateful"}, b""), ({"finished": True}, b"a\r\n\x1a\r\n")]
    assert done.stderr.strip() == b"a stray line"


def test_getinfo_is_answered_before_anything_slow_is_imported() -> None:
    script = "from cbsigned_connectors.splunk.lineage_command import main; main()"
    meta = {"action": "getinfo", "preview": False, "searchinfo": {"args": ["prefix=p_"], "sid": "1.2"}}

    done = _run(script, frame(meta), "-X", "importtime", "-S")

    imported = {line.rsplit(b"|", 1)[-1].strip().decode() for line in done.stderr.splitlines()}
    assert b'"type":"stateful"' in done.stdout
    assert "cbsigned_connectors.splunk.lineage_command" in imported
    slow = {"re", "json", "typing", "enum", "dataclasses", "logging", "collections", "ssl", "socket", "http.client"}
    assert not imported & {*slow, "cbsigned_connectors.splunk.streaming", "cbsigned_connectors.splunk.rows"}
