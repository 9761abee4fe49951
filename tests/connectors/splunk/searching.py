"""A search process fed chunk by chunk, with a handler that answers by a script and a clock that waits for nobody."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

from cbsigned_connectors.splunk import command, lineage_command, protocol
from cbsigned_connectors.splunk.command import SearchCommand
from cbsigned_connectors.splunk.splunkd import HandlerError
from splunkd.frames import Cell, Table, body_of, frame, parse_frame, read_table

Document = dict[str, Any]
Script = Callable[[Document], Union[Document, Exception]]
NAMES = (b"process_md5", b"_chunked_idx")


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def signed(document: Document, *, failed: bool = False) -> Document:
    """Answer as the handler does: the publisher is what was asked."""
    answers = []
    for row in document["rows"]:
        signing = dict.fromkeys(("issuer", "sign_time", "certainty"), "")
        signing.update(
            status="Signed", signed="true", publisher=str(row[0]), why="A record says so.", source="edr", age_s="0"
        )
        if failed:
            signing.update(status="Unknown", signed="", why="The EDR is down.")
        answers.append({"failed": failed, "signing": signing, "lineage": None})
    return {"answers": answers, "warnings": ["The EDR is down."] if failed else []}


class Handler:
    """Plays the handler: one reply of the script for each request, the last again and again."""

    def __init__(self, *script: Script, clock: Optional[Clock] = None, takes_s: float = 0.0) -> None:
        self.script = list(script) or [signed]
        self.clock, self.takes_s = clock or Clock(), takes_s
        self.asked: list[Document] = []
        self.limits: list[float] = []
        self.made: list[tuple[str, str]] = []

    def __call__(self, uri: str, key: str) -> Handler:
        self.made.append((uri, key))
        return self

    def ask(self, route: str, document: Document, timeout_s: float) -> Document:
        assert route == "rows"
        self.asked.append(document)
        self.limits.append(timeout_s)
        reply = (self.script.pop(0) if len(self.script) > 1 else self.script[0])(document)
        self.clock.now += min(self.takes_s, timeout_s)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Search:
    """One search process, fed chunk by chunk."""

    def __init__(
        self, handler: Handler, *arguments: str, name: str = "cbsigned", preview: bool = False, **more: Any
    ) -> None:
        plan = lineage_command.plan if name == "cblineage" else command.plan
        self.command = SearchCommand(name, plan, handler, clock=handler.clock, sleep=handler.clock.sleep, **more)
        info = {"args": list(arguments), "sid": "1.2", "splunkd_uri": "https://127.0.0.1:8089", "session_key": "key"}
        self.getinfo = self.command.getinfo({"action": "getinfo", "preview": preview, "searchinfo": info})
        self.replies: list[Document] = []

    def chunk(self, *cells: Cell, names: Sequence[bytes] = NAMES) -> list[dict[bytes, Cell]]:
        """Return the rows that come back for events with these cells in the first column."""
        rows = [(found, *[b""] * (len(names) - 2), b"%d" % number) for number, found in enumerate(cells)]
        return self.body(body_of(Table(tuple(names), rows)))

    def body(self, body: bytes) -> list[dict[bytes, Cell]]:
        sink = io.BytesIO()
        protocol.serve(self.command, io.BytesIO(frame({"action": "execute", "finished": False}, body)), sink)
        parsed = parse_frame(sink.getvalue())
        assert parsed is not None
        metadata, reply, end = parsed
        assert end == len(sink.getvalue())
        self.replies.append(metadata)
        table = read_table(reply) if reply else Table((), [])
        return [dict(zip(table.names, row)) for row in table.rows]

    @property
    def banners(self) -> list[tuple[int, str]]:
        """Number of the chunk and text of every message."""
        return [
            (number, text)
            for number, reply in enumerate(self.replies)
            for level, text in reply.get("inspector", {}).get("messages", [])
            if level == "WARN"
        ]


def failing(text: str = "down", *, fatal: bool = False, status: Optional[int] = None) -> Script:
    return lambda _document: HandlerError(text, fatal=fatal, status=status)


def column(rows: list[dict[bytes, Cell]], name: str) -> list[Cell]:
    return [row[name.encode()] for row in rows]
