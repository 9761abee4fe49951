"""The stand-in is held to what a real splunkd wrote and accepted, and to the limits that it is there to enforce."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splunkd.command import Command, CommandFailed
from splunkd.frames import BadFrame, Table, body_of, frame, parse_body, parse_frame, read_table
from splunkd.search import Conduct, Outcome, chunked, run
from support import real_data

RECORDED = [
    "splunk-6.3/countmatches.in", "splunk-6.3/sum.reduce.in", "splunk-8.2.1/events.in", "splunk-8.2.1/generating.in",
    "splunk-8.2.1/reporting.in", "splunk-8.2.1/stateful.in", "splunk-8.2.1/streaming-litsearch-alltime.in",
    "splunk-8.2.1/streaming.in",
]  # fmt: skip
ECHO = """
import json, sys
def frame(meta, body=b""):
    head = json.dumps(meta).encode()
    sys.stdout.buffer.write(b"chunked 1.0,%d,%d\\n" % (len(head), len(body)) + head + body)
while True:
    sys.stdout.buffer.flush()
    line = sys.stdin.buffer.readline()
    if not line:
        break
    m, b = (int(n) for n in line.split(b",")[1:])
    meta, body = json.loads(sys.stdin.buffer.read(m)), sys.stdin.buffer.read(b)
    if meta["action"] == "getinfo":
        frame({"type": "stateful", "required_fields": ["md5"]})
        continue
"""
EVENTS = [{b"md5": b"%d" % n, b"_raw": b'say "%d", twice\n' % n, b"user": (b"a", b"b$c")} for n in range(10)]


def frames(data: bytes) -> list[tuple[dict[str, object], bytes]]:
    found, at = [], 0
    while at < len(data):
        metadata, body, at = parse_frame(data, at)
        found.append((metadata, body))
    return found


def recorded(name: str) -> bytes:
    data = (real_data("splunk-recordings") / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def command(tmp_path: Path, body: str) -> Command:
    script = tmp_path / "command.py"
    script.write_text(ECHO + body, encoding="utf-8")
    return Command([sys.executable, "-I", str(script)], {}, tmp_path, maxwait_s=10)


def outcome(tmp_path: Path, body: str, conduct: Conduct = Conduct()) -> Outcome:  # noqa: B008 (frozen)
    with command(tmp_path, body) as process:
        return run(process, {}, chunked(EVENTS, [3]), conduct=conduct)


@pytest.mark.parametrize("name", [*RECORDED, "splunk-6.3/sum.map.in.gz"])
def test_recorded_bodies_are_written_byte_for_byte(name: str) -> None:
    bodies = [body for _, body in frames(recorded(name)) if body]

    rewritten = [body_of(read_table(body)) for body in bodies]

    assert bodies
    assert rewritten == bodies


@pytest.mark.parametrize("name", [name for name in RECORDED if "8.2.1" in name])
def test_recorded_frames_are_written_byte_for_byte(name: str) -> None:
    data = recorded(name)

    assert b"".join(frame(metadata, body) for metadata, body in frames(data)) == data


@pytest.mark.parametrize("name", ["streaming", "streaming-litsearch-alltime", "stateful"])
def test_the_recorded_exchange_comes_out_of_the_recorded_events(name: str, tmp_path: Path) -> None:
    """A command that says the recorded replies is sent the recorded frames, and its replies are merged."""
    path = real_data("splunk-recordings") / "splunk-8.2.1"
    (info, _), *sent = frames(recorded(f"splunk-8.2.1/{name}.in"))
    ages = read_table(sent[0][1]).column(b"age")
    events = [{b"name": b"n%d" % n, b"age": age} for n, age in enumerate(ages)]
    heard = tmp_path / "heard"
    script = tmp_path / "replay.py"
    script.write_text(
        f"import sys\nreplies = open({str(path / (name + '.reply'))!r}, 'rb').read().split(b'chunked 1.0')[1:]\n"
        f"heard = open({str(heard)!r}, 'wb')\n"
        "for reply in replies:\n    line = sys.stdin.buffer.readline()\n    m, b = line.split(b',')[1:]\n"
        "    heard.write(line + sys.stdin.buffer.read(int(m) + int(b)))\n"
        "    sys.stdout.buffer.write(b'chunked 1.0' + reply)\n    sys.stdout.buffer.flush()\nheard.close()\n",
        encoding="utf-8",
    )

    with Command([sys.executable, "-I", str(script)], {}, tmp_path) as process:
        result = run(process, info["searchinfo"], chunked(events, [5]))

    assert heard.read_bytes() == recorded(f"splunk-8.2.1/{name}.in")
    assert result.column("name") == [f"n{n}" for n in range(5)]
    assert result.column("accum_age" if name == "stateful" else "age")[1:3] != ["", ""]


@given(
    st.lists(st.lists(st.one_of(st.binary(max_size=12), st.tuples(st.binary(max_size=5), st.binary(max_size=5))),
                      min_size=3, max_size=3).map(tuple), max_size=8)
)  # fmt: skip
def test_any_table_is_read_as_it_was_written(rows: list[tuple[object, ...]]) -> None:
    table = Table((b"a", b"tag::b", b'c "\xc3\xa9'), rows)

    assert read_table(body_of(table)).rows == rows


@pytest.mark.parametrize(
    "body", [b"a,b\n1\n", b"a,b\n1,2,3\n", b'a,b\n"1,2\n', b'a,b\n"1"x,2\n', b"a,a\n1,2\n"],
    ids=["short row", "long row", "open quote", "text after a quote", "column twice"],
)  # fmt: skip
def test_a_body_that_is_no_table_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        parse_body(body)


ANSWER = """
    rows = body.decode().split("\\n")
    {mangle}
    frame({{"finished": meta["finished"]}}, "\\n".join(rows).encode())
    {after}
"""


def answering(mangle: str = "pass", after: str = "pass") -> str:
    return ANSWER.format(mangle=mangle, after=after)


@pytest.mark.parametrize("conduct", [Conduct(), Conduct(finishes_with_rows=True), Conduct(pauses=1)])
def test_events_come_back_as_they_went(tmp_path: Path, conduct: Conduct) -> None:
    result = outcome(tmp_path, answering(), conduct)

    assert result.events == EVENTS
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("mangle", "said"),
    [
        ("del rows[2:3]", "lost, doubled or moved"),
        ("rows.insert(1, rows[1])", "lost, doubled or moved"),
        ("rows[1:-1] = rows[-2:0:-1]", "lost, doubled or moved"),
        ("rows[0] = rows[0].replace('_chunked_idx', 'idx')", "no _chunked_idx"),
        ("rows[1] += ',1'", "cells under"),
        ("print('debug'); sys.stdout.flush()", "not the beginning of a frame"),
        ("sys.exit(3)", "Exit code: 3"),
        ("meta['finished'] = True", "before the events had ended"),
        ("meta['finished'] = False", "without finished=true"),
    ],
)
def test_what_a_command_must_not_do_is_a_failure(tmp_path: Path, mangle: str, said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        outcome(tmp_path, answering(mangle))


def test_a_second_answer_to_one_frame_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="more than one frame"):
        outcome(tmp_path, answering(after="frame({'finished': False})"))


def test_a_command_that_is_silent_is_a_failure_after_maxwait(tmp_path: Path) -> None:
    with command(tmp_path, "    sys.stdin.buffer.read()") as process:
        process.maxwait_s = 0.2
        with pytest.raises(CommandFailed, match="no answer"):
            run(process, {}, chunked(EVENTS, [3]))


def test_the_error_key_ends_the_search_with_its_text(tmp_path: Path) -> None:
    result = outcome(tmp_path, "    frame({'finished': True, 'error': 'no such field'})")

    assert result.error == "no such field"


def test_new_fields_that_were_not_asked_for_are_merged_or_not_as_told(tmp_path: Path) -> None:
    mangle = "rows = [row and row + (',new' if n == 0 else ',x') for n, row in enumerate(rows)]"

    merged = outcome(tmp_path, answering(mangle))
    unmerged = outcome(tmp_path, answering(mangle), Conduct(merges_unnamed=False))

    assert set(merged.column("new")) == {"x"}
    assert set(unmerged.column("new")) == {""}
