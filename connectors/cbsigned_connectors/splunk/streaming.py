"""What the streaming commands share once rows come: distinct questions to the handler, answers as ready-made bytes.

A search asks for each distinct combination of cells once, all new ones of a chunk in requests of up to 10,000 rows.
However the handler fares, every row comes back: with status Unknown and the reason where there is no answer, and one
warning for the whole search.

- All waiting together ends with the option `timeout`; then, or after a refusal, nothing more is asked.
- After any other failed request the next one is made 1 s later at the earliest, then 2, 4, 8 s; the fifth failure in
  a row is the last. Rows in between get the reason of the failure.
- Rows whose look-up failed in the EDR are asked again with a later chunk, after 1 s, then 2, 4 … 30 s.
"""

from __future__ import annotations

import time

from cbsigned_connectors.splunk.rows import Asked, Layout, cell, header_of, multi_cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Optional, Protocol, Union

    from cbsigned_connectors.splunk.command import Plan
    from cbsigned_connectors.splunk.rows import Chunk, Key, Text

    Texts = tuple[Text, ...]
    Answer = Union[dict[str, Any], str]
    """What the handler says of one row, or why it says nothing."""

    class Client(Protocol):
        """Who is asked; `splunkd.HandlerClient` is one."""

        def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> dict[str, Any]:
            """Return the answer, or raise HandlerError."""


__all__ = ["Asker", "NotConfigured", "Stream", "ready_cells"]

_MAX_ROWS = 10_000
_MAX_REQUEST = 8 * 1024 * 1024
_MAX_TEXT = 8192
_MAX_VALUES = 64  # as many of a list as the core reads
_MAX_KNOWN = 200_000
_MAX_KNOWN_BYTES = 64 * 1024 * 1024
_MAX_LAYOUTS = 16
_MAX_FAILURES = 5
_LONGEST_PAUSE_S = 30.0
_REQUEST_S = 30.0
_WAIT_S = 5.0
_BUSY = 429
_GONE = 404
_NOT_CONFIGURED = 409
_PREVIEW = "Nothing is looked up for a preview; the finished search has the answer."


class NotConfigured(Exception):
    """The handler has no settings to ask with; the text says what to do."""


class Stream:
    """The rows of one search.

    Args:
        name: Of the command.
        info: `searchinfo` of getinfo, and whether this is a preview.
        client: (splunkd's address, session key) → who is asked; None for the app's handler.
        clock, sleep: Monotonic seconds, and waiting for some.
        most: Answers that are remembered.
    """

    def __init__(
        self, name: str, plan: Plan, info: Mapping[str, Any], client: Optional[Callable[[str, str], Client]] = None,
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
        most: int = _MAX_KNOWN,
    ) -> None:  # fmt: skip
        self._name, self._plan, self._clock, self._most = name, plan, clock, most
        self._preview = info.get("preview") is True
        self._asked = Asked(list(plan.columns), plan.needs, "process_guid" if plan.enough else "", plan.enough)
        self._needed = [at for at, column in enumerate(plan.columns) if column in plan.needs]
        self._asker = Asker(plan, info, client or _handler, clock, sleep)
        self._layouts: dict[tuple[bytes, bytes], Layout] = {}
        self._known: dict[Texts, bytes] = {}
        self._known_bytes = 0
        self._failed: dict[Texts, bytes] = {}
        self._failed_until = 0.0
        self._failed_pause_s = 1.0
        self._eol = b"\n"
        self._warned = False

    def reply(self, finished: bool, body: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:
        """Return the reply to one chunk: metadata, and the body in pieces.

        Raises:
            ProtocolError: The body is malformed.
        """
        header, eol, start = header_of(body)
        if start == len(body):
            return {"finished": finished}, ()
        chunk = self._layout(header, eol).chunk(body, start)
        if None in chunk.ready:
            try:
                self._fill(chunk)
            except NotConfigured as exc:
                return {"finished": True, "error": str(exc)}, ()
        metadata: dict[str, Any] = {"finished": finished}
        if self._asker.warning and not self._warned:
            self._warned = True
            text = f"{self._name}: {self._asker.warning} Events without an answer say so, and are otherwise unchanged."
            metadata["inspector"] = {"messages": [["WARN", text]]}
        return metadata, chunk.pieces()

    def _layout(self, header: bytes, eol: bytes) -> Layout:
        if eol != self._eol:  # the answers that are ready have a line end
            self._forget(0)
            self._layouts.clear()
            self._eol = eol
        elif len(self._layouts) > _MAX_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts.get((header, eol))
        if layout is None:
            layout = self._layouts[header, eol] = Layout(header, eol, self._asked, list(self._plan.outputs))
        return layout

    def _fill(self, chunk: Chunk) -> None:
        """Make every row of a chunk ready; what may be remembered is."""
        layout, keys = chunk.layout, chunk.keys
        questions = {
            key: tuple(map(_cut, layout.texts(key)))
            for key in dict.fromkeys([key for key, ready in zip(keys, chunk.ready) if ready is None])
        }
        cells = self._cells(dict.fromkeys(questions.values()))
        new: dict[Key, bytes] = {key: cells[texts] for key, texts in questions.items()}
        chunk.ready = [new[key] if ready is None else ready for key, ready in zip(keys, chunk.ready)]
        layout.known.update({key: cells[texts] for key, texts in questions.items() if texts in self._known})
        if len(self._known) > self._most or self._known_bytes > _MAX_KNOWN_BYTES or len(layout.known) > self._most:
            self._forget(len(self._known) // 2)

    def _cells(self, questions: Iterable[Texts]) -> dict[Texts, bytes]:
        """Return the new cells for each question, asked for where they are not known."""
        if self._failed and self._clock() >= self._failed_until:
            self._failed.clear()
        cells: dict[Texts, bytes] = {}
        wanted: list[Texts] = []
        for texts in questions:
            ready = self._known.get(texts) or self._failed.get(texts)
            if ready is not None:
                cells[texts] = ready
            elif not any(texts[at] for at in self._needed):
                cells[texts] = self._remember(texts, self._ready(self._plan.nothing))
            elif self._preview:
                cells[texts] = self._remember(texts, self._ready(_PREVIEW))
            else:
                wanted.append(texts)
        failed = {}
        whys: dict[str, bytes] = {}
        for texts, answer in zip(wanted, self._asker.answers(wanted) if wanted else ()):
            if isinstance(answer, str):
                ready = cells[texts] = whys.get(answer) or whys.setdefault(answer, self._ready(answer))
                if self._asker.over:
                    self._remember(texts, ready)
            elif answer["failed"] is True:
                failed[texts] = cells[texts] = self._ready(answer)
            else:
                cells[texts] = self._remember(texts, self._ready(answer))
        if failed:
            self._failed.update(failed)
            self._failed_until = self._clock() + self._failed_pause_s
            self._failed_pause_s = min(2 * self._failed_pause_s, _LONGEST_PAUSE_S)
        elif wanted and not whys:
            self._failed_pause_s = 1.0
        return cells

    def _ready(self, answer: Answer) -> bytes:
        return ready_cells(self._plan.outputs, answer) + self._eol

    def _remember(self, texts: Texts, ready: bytes) -> bytes:
        self._known[texts] = ready
        self._known_bytes += len(ready)
        return ready

    def _forget(self, kept: int) -> None:
        """Drop all but the newest answers."""
        newest = list(self._known.items())[len(self._known) - kept :]
        self._known = dict(newest)
        self._known_bytes = sum([len(ready) for _texts, ready in newest])
        self._failed.clear()
        for layout in self._layouts.values():
            layout.known.clear()


class Asker:
    """Asks the handler within the time that one search may wait.

    Attributes:
        warning: What went wrong first, or "".
        over: Why nothing more is asked in this search, or "".
    """

    def __init__(
        self, plan: Plan, info: Mapping[str, Any], client: Callable[[str, str], Client],
        clock: Callable[[], float], sleep: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.warning = self.over = ""
        self._plan, self._info, self._new_client = plan, info, client
        self._clock, self._sleep = clock, sleep
        self._left_s = plan.timeout_s
        self._client: Optional[Client] = None
        self._answered = False
        self._failures, self._paused_until, self._pause_why = 0, 0.0, ""

    def answers(self, rows: Sequence[Texts]) -> Iterator[Answer]:
        """Yield for each row what the handler says, or why there is nothing.

        Raises:
            NotConfigured: The first question was refused because there are no settings.
        """
        from cbsigned_connectors.splunk.splunkd import batches

        for batch in batches(rows, _size, _MAX_ROWS, _MAX_REQUEST):
            yield from self._batch(batch)

    def _batch(self, rows: Sequence[Texts]) -> Sequence[Answer]:
        from cbsigned_connectors.splunk.splunkd import HandlerError

        why = self.over or (self._pause_why if self._clock() < self._paused_until else "")
        if why:
            return [why] * len(rows)
        try:
            answer = self._job_done(rows)
            found = _checked(answer, len(rows))
            if found is None:
                raise HandlerError("The handler of cbsigned gave an answer that cannot be read: its app may be another "
                                   "version. Restart splunkd after an update of the app.")  # fmt: skip
        except HandlerError as exc:
            if exc.status == _NOT_CONFIGURED and not self._answered:
                raise NotConfigured(str(exc)) from None
            self._fail(str(exc), fatal=exc.fatal)
            return [str(exc)] * len(rows)
        self._answered, self._failures = True, 0
        warnings = answer.get("warnings")
        if isinstance(warnings, list) and not self.warning:
            self.warning = " ".join([text for text in warnings[:3] if isinstance(text, str)])[:1000]
        return found

    def _fail(self, why: str, *, fatal: bool) -> None:
        self.warning = self.warning or why
        self._failures += 1
        if fatal or self._failures >= _MAX_FAILURES:
            self.over = why
        self._pause_why, self._paused_until = why, self._clock() + 2 ** (self._failures - 1)

    def _job_done(self, rows: Sequence[Texts]) -> dict[str, Any]:
        """Return the handler's answer to some rows, asked for until its job is done; a lost job is begun again once."""
        from cbsigned_connectors.splunk.splunkd import HandlerError

        question = {"fields": list(self._plan.columns.values()), "rows": rows, **self._plan.document}
        answer = self._request({**question, "timeout_s": self._limit_s()})
        begun = 1
        while isinstance(answer.get("job"), str):
            try:
                answer = self._request({"job": answer["job"]})
            except HandlerError as exc:
                if exc.status != _GONE or exc.fatal or begun > 1:
                    raise
                begun += 1
                answer = self._request({**question, "timeout_s": self._limit_s()})
        return answer

    def _limit_s(self) -> float:
        """Return how long the look-ups may take: a little less than we wait, so that what is found by then counts."""
        return max(0.1, round(self._left_s - min(2.0, self._left_s / 5), 1))

    def _request(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request; one that is refused because the handler is busy is made again."""
        from cbsigned_connectors.splunk.splunkd import HandlerError

        pauses_s = [1.0, 2.0, 4.0]
        while True:
            began, left_s = self._clock(), self._left_s
            if left_s < 0.05:
                raise HandlerError(
                    f"No answer within the {self._plan.timeout_s:g} s that this search may wait in all. Run it again, "
                    "what is answered meanwhile is kept, or raise timeout=…",
                    fatal=True,
                )
            wait_s = max(0.1, min(_WAIT_S, left_s - 1.0))
            try:
                return self._connected().ask("rows", {**document, "wait_s": wait_s}, min(left_s, _REQUEST_S))
            except HandlerError as exc:
                if exc.status != _BUSY or not pauses_s:
                    raise
                self._sleep(min(pauses_s.pop(0), left_s))
            finally:
                self._left_s -= max(0.0, self._clock() - began)

    def _connected(self) -> Client:
        if self._client is None:
            uri, key = self._info.get("splunkd_uri"), self._info.get("session_key")
            self._client = self._new_client(str(uri or ""), str(key or ""))
        return self._client


def ready_cells(outputs: Mapping[str, tuple[str, str]], answer: Answer) -> bytes:
    """Return the cells of the new columns and of their `__mv_` columns, as they stand in a row.

    Args:
        outputs: New field → where its value stands in an answer.
        answer: Why there is none, where it is a text.
    """
    if isinstance(answer, str):
        answer = {"signing": {"status": "Unknown", "why": answer}, "lineage": {"why": answer}}
    parts = {"signing": answer["signing"], "lineage": answer["lineage"] or {"why": answer["signing"].get("why", "")}}
    values = [parts[part].get(key, "") for part, key in outputs.values()]
    lists = [value if isinstance(value, list) else [value] for value in values]
    return b",".join([*[cell("\n".join(texts)) for texts in lists], *map(multi_cell, lists)])


def _handler(uri: str, session_key: str) -> Client:
    from cbsigned_connectors.splunk.splunkd import HandlerClient

    return HandlerClient(uri, session_key)


def _checked(answer: Mapping[str, Any], count: int) -> Optional[list[Answer]]:
    """Return the answers of a reply, or None where it is not `count` answers as agreed."""
    found = answer.get("answers")
    return found if isinstance(found, list) and len(found) == count and all(map(_usable, found)) else None


def _usable(answer: object) -> bool:
    if not isinstance(answer, dict) or not isinstance(answer.get("failed"), bool):
        return False
    signing, lineage = answer.get("signing"), answer.get("lineage")
    if not isinstance(signing, dict) or not signing.get("status") or not isinstance(lineage, (dict, type(None))):
        return False
    return all(
        isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))
        for value in (*signing.values(), *(lineage or {}).values())
    )


def _size(row: Texts) -> int:
    return sum([len(text) if isinstance(text, str) else sum(map(len, text)) for text in row])


def _cut(text: Text) -> Text:
    return text[:_MAX_TEXT] if isinstance(text, str) else tuple([value[:_MAX_TEXT] for value in text[:_MAX_VALUES]])
