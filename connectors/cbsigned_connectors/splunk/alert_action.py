"""The alert action and adaptive response "Enrich with signing status and lineage".

splunkd starts it as `python cbsigned_enrich.py --execute` for a saved search, from Incident Review, or by hand::

    index=edr sourcetype=bit9:carbonblack:json | head 20 | sendalert cbsigned_enrich param.index="cbsigned"

It takes the results, lets the persistent handler look them up as one window, writes one event for each into the index
of the customer's choice, and records its run as Enterprise Security expects. Called again for the same job it
writes nothing twice. Exit codes: 0 every row got its event, 1 wrong arguments, 2 payload, parameter or results
cannot be used, 3 the handler did not answer, 4 an event was not written; the reason is on standard error, which
`index=_internal sendmodalert` shows, and in `cbsigned_enrich_modalert.log`.

References:
    - splunk §6 (start, payload, exit codes, standard error), §8 (why the look-up is the handler's)
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Callable, Optional, Protocol, TextIO

from cbsigned.render.document import Document
from cbsigned.timing import Deadline
from cbsigned_connectors.splunk.alert_events import (
    Receiver,
    SplunkReceiver,
    WriteError,
    carried_ids,
    event_id,
    event_line,
)
from cbsigned_connectors.splunk.alert_payload import BadInput, Parameters, Payload, Row, results
from cbsigned_connectors.splunk.logs import append, log_folder, one_line
from cbsigned_connectors.splunk.modular_log import Invocation, ModularLog
from cbsigned_connectors.splunk.splunkd import HandlerClient, HandlerError, batches

__all__ = ["NAME", "Asker", "main", "run"]

NAME = "cbsigned_enrich"
USAGE = (
    f"Usage: python {NAME}.py --execute, with splunkd's JSON payload on standard input. It is an alert action: let "
    f"Splunk start it, or write | sendalert {NAME} in a search."
)
TOTAL_S = 240.0
"""For everything; splunkd ends the action after maxtime, 300 s."""
_WRITE_S = 60.0
_WAIT_S = 5
_PART_ROWS = 1_000
_PART_CHARS = 4_000_000
_MAX_CELL = 8_192
_MAX_RAW = 65_536
_PATIENCE = 3
_TRIES = 4
_PAUSE_S = 3.0
_PASSING = (None, 404, 429, 502, 503, 504)
"""What may be over soon: a handler that is restarted or busy, or a job that another of its processes has (404)."""


class Asker(Protocol):
    """The handler, as far as the action needs it."""

    def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer to one question, or raise `HandlerError`."""

    def close(self) -> None:
        """Close what connection there is."""


def main() -> None:
    """Run the action as splunkd starts it, and end the process with its exit code."""
    sys.exit(run(sys.argv[1:], sys.stdin.buffer, sys.stderr, os.environ))


def run(
    argv: Sequence[str],
    stdin: BinaryIO,
    stderr: TextIO,
    environ: Mapping[str, str],
    *,
    connect: Callable[[str, str], Asker] = HandlerClient,
    receive: Callable[[str, str], Receiver] = SplunkReceiver,
    deadline: Optional[Deadline] = None,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Return the exit code of one run.

    Args:
        argv: Arguments after the program's name: `--execute` alone.
        stdin: splunkd's payload.
        stderr: Lines `INFO …`, `WARN …`, `ERROR …`.
        environ: Where `SPLUNK_HOME` is looked up.
        connect: Makes the handler's client from address and session key.
        receive: Makes what events go to, likewise.
        deadline: For everything; `TOTAL_S` from now unless told otherwise.
        pause: Waits so many seconds before a handler that was busy or gone is asked again.
    """
    say = _Voice(stderr)
    if list(argv) != ["--execute"]:
        say("ERROR", USAGE)
        return 1
    try:
        payload = Payload.read(stdin)
    except BadInput as exc:
        say("ERROR", str(exc))
        return 2
    say.secret = payload.session_key
    folder = log_folder(environ)
    log = ModularLog(folder / f"{NAME}_modalert.log" if folder else None, _invocation(payload))
    code = _Run(payload, log, say, deadline or Deadline(TOTAL_S), pause).code(connect, receive)
    if not log.written:
        say("WARN", f"{NAME}_modalert.log in Splunk's log folder cannot be written, so ES will not show this run.")
    return code


class _Voice:
    """Says lines as splunkd reads them from standard error; the session key is in none."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr
        self.secret = ""

    def __call__(self, level: str, text: str) -> None:
        self._stderr.write(f"{level} {one_line(self.clean(text))}\n")

    def clean(self, text: str) -> str:
        """Return a text without the session key."""
        return text.replace(self.secret, "…") if self.secret else text


@dataclass(frozen=True)
class _Job:
    """One alert row on its way: its ids, and the id of the event that it will get."""

    row: Row
    ids: Mapping[str, str]
    event: str


class _Run:
    """One run: rows in, events out, each row's outcome recorded."""

    def __init__(
        self, payload: Payload, log: ModularLog, say: _Voice, deadline: Deadline, pause: Callable[[float], None]
    ) -> None:
        self.payload, self.log, self.say, self.deadline, self.pause = payload, log, say, deadline, pause
        self.ledger = _Ledger(payload.results_file)

    def code(self, connect: Callable[[str, str], Asker], receive: Callable[[str, str], Receiver]) -> int:
        """Return the exit code once everything is done."""
        try:
            parameters = Parameters.read(self.payload.configuration)
            rows, total = results(self.payload, parameters.max_rows)
        except BadInput as exc:
            return self._failed(str(exc), 2)
        if total > len(rows):
            self.say(
                "WARN",
                f"The search has {total} results, and the first {len(rows)} are looked up: param.max_rows is "
                f"{parameters.max_rows} (at most 1000). Aggregate in the search, or raise it.",
            )
        jobs = self._jobs(rows, parameters.index)
        if not jobs:
            self.say("INFO", "There is nothing left to look up.")
            return 0
        try:
            client = connect(self.payload.server_uri, self.payload.session_key)
            receiver = receive(self.payload.server_uri, self.payload.session_key)
        except HandlerError as exc:
            return self._failed(str(exc), 3)
        for job in jobs:
            self.log.invoking(job.ids)
        try:
            return _Delivery(self, client, receiver, parameters).code(jobs)
        finally:
            client.close()

    def _jobs(self, rows: Sequence[Row], index: str) -> list[_Job]:
        """Return what is to do: every row but those that an earlier call for the same job has written."""
        jobs = []
        for number, row in enumerate(rows):
            ids = carried_ids(row, number, self.payload.result_id)
            jobs.append(_Job(row, ids, event_id(self.payload.sid, index, ids["rid"], row)))
        left = [job for job in jobs if job.event not in self.ledger]
        if len(left) < len(jobs):
            self.say("INFO", f"{len(jobs) - len(left)} rows were written by an earlier call for this job.")
        return left

    def _failed(self, text: str, code: int) -> int:
        self.say("ERROR", text)
        self.log.finished({}, self.say.clean(text), success=False)
        return code


class _Delivery:
    """Looks rows up and writes their events, part by part; what failed for good is not tried again."""

    def __init__(self, run: _Run, client: Asker, receiver: Receiver, parameters: Parameters) -> None:
        self.run, self.client, self.receiver, self.parameters = run, client, receiver, parameters
        self.written = 0
        self.failures: list[tuple[int, str]] = []
        self._closed: Optional[tuple[int, str]] = None

    def code(self, jobs: Sequence[_Job]) -> int:
        """Return the exit code after every row has its outcome."""
        for part in batches(jobs, _size, _PART_ROWS, _PART_CHARS):
            if self._closed is not None:
                self._lose(part, *self._closed)
                continue
            try:
                documents = self._enriched([_record(job.row) for job in part])
            except HandlerError as exc:
                self._closed = (3, str(exc))
                self._lose(part, *self._closed)
                continue
            for job, document in zip(part, documents):
                self._write(job, document)
        return self._told(len(jobs))

    def _told(self, total: int) -> int:
        say, index = self.run.say, self.parameters.index
        for text in dict.fromkeys(text for _code, text in self.failures):
            say("ERROR", text)
        say("INFO" if not self.failures else "ERROR", f"{self.written} of {total} result events are in index {index}.")
        return min((code for code, _text in self.failures), default=0)

    def _enriched(self, records: list[dict[str, Any]]) -> list[Document]:
        """Return the enrichment of each record; a handler that is busy, or lost the job, is asked anew some times."""
        question = {"alerts": records, **({} if self.parameters.lineage else {"lineage": False})}
        for left in reversed(range(_TRIES)):
            try:
                return _documents(self._answer(question), len(records))
            except HandlerError as exc:
                if not left or exc.fatal or exc.status not in _PASSING or self._left_s() <= _PAUSE_S:
                    raise
                if exc.status != 404:
                    self.run.pause(_PAUSE_S)
        return []

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        answer = self._ask({**question, "timeout_s": round(max(0.1, self._left_s()), 1), "wait_s": _WAIT_S})
        while isinstance(answer.get("job"), str):
            answer = self._ask({"job": answer["job"], "wait_s": _WAIT_S})
        return answer

    def _ask(self, document: dict[str, Any]) -> dict[str, Any]:
        left_s = self._left_s()
        if left_s <= 0:
            raise HandlerError(
                f"The handler of cbsigned did not finish within {TOTAL_S - _WRITE_S:.0f} s. Lower param.max_rows, or "
                "set param.lineage to false."
            )
        return self.client.ask("enrich", document, left_s)

    def _left_s(self) -> float:
        """Return the seconds left for asking; the rest is for writing."""
        return self.run.deadline.remaining() - _WRITE_S

    def _write(self, job: _Job, document: Document) -> None:
        if self._closed is None and self.run.deadline.passed:
            self._closed = (
                4,
                f"The time is over ({TOTAL_S:.0f} s), so result events are missing. Run the action again.",
            )
        if self._closed is not None:
            self._lose([job], *self._closed)
            return
        payload = self.run.payload
        about = {
            **job.ids, "enrichment_id": job.event, "action_name": NAME, "search_name": payload.search_name,
            "sid": payload.sid,
        }  # fmt: skip
        line = event_line(document, about, lineage=self.parameters.lineage)
        try:
            self.receiver.write(line, self.parameters.index, payload.worker)
        except WriteError as exc:
            self._lose([job], 4, str(exc))
            if not exc.again or len(self.failures) >= _PATIENCE:
                self._closed = (4, str(exc))
            return
        self.written += 1
        self.run.ledger.add(job.event)
        self.run.log.finished(job.ids, _conclusion(document), success=True)

    def _lose(self, jobs: Sequence[_Job], code: int, text: str) -> None:
        for job in jobs:
            self.failures.append((code, text))
            self.run.log.finished(job.ids, self.run.say.clean(text), success=False)


class _Ledger:
    """Which events a job has written, kept beside its results, so that the same call again writes none twice.

    Where the folder cannot be written nothing is kept, and `enrichment_id` is left to tell doubles apart.
    """

    def __init__(self, results_file: str) -> None:
        path = Path(results_file)
        self._path = path.with_name(f"{NAME}.written") if path.is_absolute() and path.name else None
        self._known = self._read()

    def __contains__(self, event: str) -> bool:
        return event in self._known

    def add(self, event: str) -> None:
        """Remember an event as written."""
        self._known.add(event)
        if self._path is not None:
            append(self._path, event)

    def _read(self) -> set[str]:
        try:
            return set(self._path.read_text(encoding="ascii", errors="replace").split()) if self._path else set()
        except OSError:
            return set()


def _invocation(payload: Payload) -> Invocation:
    return Invocation(
        NAME, payload.worker, payload.search_name, payload.sid, payload.app, payload.user, not payload.result_id
    )


def _record(row: Row) -> dict[str, Any]:
    """Return a row as the alert that the handler reads; long texts are cut, `_raw` later than others."""
    return {name: _short(value, _MAX_RAW if name == "_raw" else _MAX_CELL) for name, value in row.items()}


def _short(value: Any, most: int) -> Any:
    return [text[:most] for text in value[:64]] if isinstance(value, list) else value[:most]


def _size(job: _Job) -> int:
    return len(json.dumps(_record(job.row)))


def _documents(answer: Mapping[str, Any], wanted: int) -> list[Document]:
    found = answer.get("enrichments")
    if isinstance(found, list) and len(found) == wanted and all(_usable(one) for one in found):
        return found
    raise HandlerError(
        f"The handler of cbsigned did not answer {wanted} rows with {wanted} enrichments: its version is likely not "
        "the action's. Restart splunkd after an update of the app.",
        fatal=True,
    )


def _conclusion(document: Document) -> str:
    """Return status and reason, the word only once."""
    status, reason = str(document["status"]), str(document["reason"])
    return reason if reason.startswith(status) else f"{status}: {reason}"


def _usable(document: object) -> bool:
    needed = ("status", "reason", "complete", "enriched_at", "subjects", "gaps", "alert")
    return isinstance(document, dict) and all(name in document for name in needed)
