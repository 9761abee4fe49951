"""One search through one command, as splunkd runs it: getinfo, chunks of events, replies merged into the events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from splunkd.command import Command, CommandFailed
from splunkd.frames import BadFrame, Cell, Table, body_of, read_table, text_of

__all__ = ["Conduct", "Event", "Outcome", "chunked", "run"]

Event = dict[bytes, Cell]
"""One event as the search shows it; a field that is empty is not there."""
Sink = Callable[[Table, Table], None]

_IDX = b"_chunked_idx"
_TYPES = ("streaming", "stateful", "events", "reporting")
_MOST_FRAMES = 100_000


@dataclass(frozen=True)
class Conduct:
    """Where splunkds differ, or are not known to be the same.

    Attributes:
        selects: Sends only the fields asked for, and merges; otherwise everything goes there and back.
        merges_unnamed: Also merges new fields that `required_fields` does not name (not proven of splunkd).
        finishes_with_rows: The last chunk of rows says finished, instead of a header-only chunk after it.
        pauses: A header-only chunk that is not the last comes before every so manieth chunk; 0 for none.
    """

    selects: bool = True
    merges_unnamed: bool = True
    finishes_with_rows: bool = False
    pauses: int = 0


@dataclass
class Outcome:
    """What the search came to.

    Attributes:
        info: The answer to getinfo.
        events: All events in order, merged; empty where a sink took them.
        messages: (level, text) of the banners and the job inspector.
        error: What ended the search, in the command's words.
        log: What went to search.log.
        seconds: How long each answer took; the first is getinfo's.
    """

    info: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    error: Optional[str] = None
    log: str = ""
    exit_code: Optional[int] = None
    seconds: list[float] = field(default_factory=list)
    received: bytes = b""

    @property
    def banners(self) -> list[str]:
        """The texts that stand under the search bar: warnings and errors."""
        return [text for level, text in self.messages if level in ("WARN", "ERROR", "FATAL")]

    def column(self, name: str) -> list[str]:
        """Return one field of every event as text; `""` where it is not there, values of a list joined by LF."""
        return [text_of(event.get(name.encode(), b"")) for event in self.events]


def chunked(events: Sequence[Event], sizes: Sequence[int]) -> Iterator[Table]:
    """Yield tables of the events, their sizes taken in turn; each has the columns that its events have."""
    at = turn = 0
    while at < len(events):
        part = events[at : at + sizes[turn % len(sizes)]]
        names = tuple(dict.fromkeys(name for event in part for name in event))
        yield Table(names, [tuple(event.get(name, b"") for name in names) for event in part])
        at, turn = at + len(part), turn + 1


def run(
    command: Command, searchinfo: dict[str, Any], chunks: Iterable[Table] = (), *, preview: bool = False,
    conduct: Optional[Conduct] = None, sink: Optional[Sink] = None,
) -> Outcome:  # fmt: skip
    """Take the events through a command that has just been started, and let it end.

    Raises:
        CommandFailed: It broke the protocol, or an event was lost, doubled or moved.
    """
    outcome = Outcome()
    conversation = _Conversation(command, outcome, conduct or Conduct(), sink)
    try:
        conversation.open(searchinfo, preview)
        if outcome.error is None:
            if outcome.info.get("generating"):
                conversation.generate()
            else:
                conversation.feed(chunks)
    except BadFrame as exc:
        raise CommandFailed(str(exc)) from exc
    outcome.exit_code = command.finish()
    outcome.log, outcome.seconds, outcome.received = command.log(), command.seconds, bytes(command.received)
    return outcome


class _Conversation:
    def __init__(self, command: Command, outcome: Outcome, conduct: Conduct, sink: Optional[Sink]) -> None:
        self.command, self.outcome, self.conduct = command, outcome, conduct
        self.sink = sink or self._collect
        self.finished = False

    def open(self, searchinfo: dict[str, Any], preview: bool) -> None:
        asked = {"action": "getinfo", "preview": preview, "streaming_command_will_restart": False}
        answer, body = self.command.ask({**asked, "searchinfo": searchinfo})
        self._heard(answer)
        self.outcome.info = answer
        if body:
            raise CommandFailed(f"a body in the answer to getinfo: {body[:200]!r}")
        if answer.get("type", "streaming") not in _TYPES:
            raise CommandFailed(f"type {answer['type']!r} is none of {', '.join(_TYPES)}")
        if self.outcome.error is None and answer.get("maxwait"):
            self.command.maxwait_s = float(answer["maxwait"])

    def feed(self, chunks: Iterable[Table]) -> None:
        previous: Optional[Table] = None
        for number, table in enumerate(chunks):
            if previous is not None:
                self._send(previous, last=False)
            if self.conduct.pauses and number % self.conduct.pauses == 0 and not self.finished:
                self._send(Table(table.names, []), last=False)
            if self.finished:
                break
            previous = table
        if previous is not None and not self.finished:
            self._send(previous, last=self.conduct.finishes_with_rows)
        if not self.finished:
            names = previous.names if previous is not None else ()
            if self.outcome.info.get("type") == "stateful" and not self.conduct.finishes_with_rows:
                self._send(Table(names, []), last=False)  # [rec 8.2.1]: stateful gets one of these
            self._send(Table(names, []), last=True)
        if not self.finished:
            raise CommandFailed("the last chunk was answered without finished=true")

    def generate(self) -> None:
        required = [name.encode() for name in self.outcome.info.get("required_fields", []) if name != "*"]
        header = body_of(Table((*required, _IDX), []))
        for _ in range(_MOST_FRAMES):
            answer, body = self.command.ask({"action": "execute", "finished": True}, header)
            self._heard(answer)
            table = read_table(body)
            self.sink(Table(table.names, []), table)
            if self.finished:
                return
        raise CommandFailed(f"a generating command that does not end after {_MOST_FRAMES} chunks")

    def _send(self, table: Table, *, last: bool) -> None:
        sent = self._selected(table)
        answer, body = self.command.ask({"action": "execute", "finished": last}, body_of(sent))
        self._heard(answer)
        if self.outcome.error is not None:
            return
        if self.finished and not last:
            raise CommandFailed("the command said finished before the events had ended")
        reply = read_table(body)
        if sent is not table:
            self.sink(table, self._merged(table, sent, reply))
        elif table.rows or reply.rows:
            self.sink(table, reply)

    def _heard(self, answer: dict[str, Any]) -> None:
        for level, text in answer.get("inspector", {}).get("messages", []):
            self.outcome.messages.append((level, text))
        if "error" in answer:
            self.outcome.error = str(answer["error"])
        self.finished = bool(answer.get("finished", False)) or "error" in answer

    def _selected(self, table: Table) -> Table:
        """Return what the command asked for: its fields, in its order, and the number of the row."""
        required = self.outcome.info.get("required_fields", ["*"])
        by_event = self.outcome.info.get("type", "streaming") in ("streaming", "stateful")
        if not self.conduct.selects or not by_event or "*" in required:
            return table
        names = [name.encode() for name in required]
        places = [table.names.index(name) if name in table.names else None for name in names]
        rows = [
            (*(b"" if at is None else row[at] for at in places), b"%d" % number)
            for number, row in enumerate(table.rows)
        ]
        return Table((*names, _IDX), rows)

    def _merged(self, table: Table, sent: Table, reply: Table) -> Table:
        """Return the full events with what the reply says of them."""
        if not sent.rows and not reply.rows:
            return Table(table.names, [])
        if _IDX not in reply.names:
            raise CommandFailed(f"the reply has no _chunked_idx: {reply.names!r}")
        if reply.column(_IDX) != sent.column(_IDX):
            raise CommandFailed(
                f"events lost, doubled or moved: {len(reply.rows)} rows for {len(sent.rows)}; "
                f"_chunked_idx {reply.column(_IDX)[:20]!r}…"
            )
        named = self.outcome.info["required_fields"]
        known = [n for n in reply.names if n != _IDX and (self.conduct.merges_unnamed or n.decode() in named)]
        names = (*table.names, *(name for name in known if name not in table.names))
        places = [(names.index(name), reply.names.index(name), name in reply.several) for name in known]
        padding = (b"",) * (len(names) - len(table.names))
        rows = []
        for row, answer in zip(table.rows, reply.rows):
            cells = [*row, *padding]
            for to, at, several in places:
                if several or type(cells[to]) is bytes:  # without its __mv_ column the old values stay
                    cells[to] = answer[at]
            rows.append(tuple(cells))
        return Table(names, rows)

    def _collect(self, _before: Table, after: Table) -> None:
        for row in after.rows:
            self.outcome.events.append({name: cell for name, cell in zip(after.names, row) if cell})
