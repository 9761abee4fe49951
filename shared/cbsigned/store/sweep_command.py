"""`cbsigned sweep IOCS…`: which hosts had to do with the indicators of a list, when, and which process."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cbsigned.binary import Signature
from cbsigned.cli import Context, ExitCode
from cbsigned.errors import ConfigError, SourceTimeout
from cbsigned.observables import printable
from cbsigned.output import Progress
from cbsigned.render.document import Document
from cbsigned.settings import expanded
from cbsigned.store.indicators import MAX_BYTES, Indicator, IndicatorList, Kind, read_indicators
from cbsigned.store.questions import (
    SHARE,
    Subparsers,
    count,
    deadline_option,
    fitted,
    image_status,
    question,
    say_failures,
    settings_of,
    status_of,
    statuses,
)
from cbsigned.store.reading import reading
from cbsigned.store.source import StoreSource
from cbsigned.store.sweep import Answer, matching_domains, sweep
from cbsigned.store.sweep_state import SweepState
from cbsigned.timing import Deadline

__all__ = ["sweep_list"]

_HELP = """
examples:
  cbsigned sweep iocs.txt
  cbsigned sweep bundle.json report.csv --output csv > hits.csv
  cut -f 3 feed.tsv | cbsigned sweep - --all
  cbsigned sweep --state sweep.state million-hashes.txt        interrupted? the same command goes on

lists: one indicator a line (# begins a comment), CSV with a header line (md5, sha256, ip, domain, filename, path, or
type and value), or a STIX 2.1 bundle. Evil[.]example and 192[.]0.2.1 are read. What could be a domain and a file is a
file where it ends like one (run.exe); name: or domain: before it decides. A domain stands for those below it too.
SHA-1, URLs, ranges and patterns with AND cannot be asked for: they are counted by name, and the exit code is 1."""

_BATCH = 400
_COLUMNS = ("indicator", "relation", "host", "last", "process", "pid", "status", "what", "guid")
_CSV = (
    "indicator", "kind", "label", "relation", "host", "first", "last", "events", "how", "what", "process", "pid",
    "user", "cmdline", "status", "publisher", "reason", "md5", "guid", "file_status", "file_reason",
)  # fmt: skip
_MOST_PROBLEMS = 20
_WIDE = 180
"""Cells from which on a table has room for process guids; json and csv always have them."""


def sweep_list(subparsers: Subparsers) -> None:
    """Add `cbsigned sweep`."""
    parser = question(subparsers, "sweep", "which hosts and processes had to do with the indicators of a list", _HELP)
    parser.add_argument("lists", nargs="+", metavar="IOCS", help="text, CSV or STIX 2.1; - for standard input")
    parser.add_argument("--all", action="store_true", help="also a row for each indicator that was not found")
    parser.add_argument(
        "--rows", type=count(1, 100_000), default=100, metavar="N", help="most processes of an indicator (default: 100)"
    )
    parser.add_argument("--state", metavar="FILE", help="keep answers there, so that an interrupted run can go on")
    deadline_option(parser, " to 400 indicators")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, context: Context) -> int:
    settings, path = settings_of(args, context), context.store_path()
    if args.state:
        context.check_output(args.state, args.lists)
    listed = IndicatorList()
    for name in args.lists:
        read_indicators(_bytes(name, context), name, listed)
    about = {"store": str(path.absolute()), "rows": str(args.rows)}
    progress = context.progress("sweep", len(listed.labels))
    with SweepState(expanded(args.state) if args.state else None, about) as state:
        try:
            run = _Run(path, settings.deadline_s, args.rows, state)
            failures = run.ask(list(listed.labels), progress)
        finally:
            progress.done()
        rows = _rows(listed, state, everything=args.all)
        _emit(rows, context)
        _say(listed, state, context)
    if run.grown:
        context.say(f"cbsigned: the store has taken in more since {args.state} was begun. Remove it to ask all again.")
    say_failures(context, failures)
    if failures and not run.answered:
        return ExitCode.SOURCE
    complete = not (failures or listed.problems or listed.unsupported)
    return ExitCode.OK if complete else ExitCode.INCOMPLETE


class _Run:
    """Asks the store for what the state lacks, a batch of one kind at a time.

    Attributes:
        grown: The store holds more than when the state was begun.
        answered: Anything was answered, now or before.
    """

    def __init__(self, path: Path, deadline_s: float, most: int, state: SweepState) -> None:
        self._path, self._deadline_s, self._most, self._state = path, deadline_s, most, state
        self.grown = False
        self.answered = False

    def ask(self, indicators: Sequence[Indicator], progress: Progress) -> list[str]:
        """Answer all that is missing; return why some could not be."""
        missing = self._state.missing(indicators)
        done, failures = len(indicators) - len(missing), []
        self.answered = done > 0
        with StoreSource(self._path) as source:
            for kind in Kind:
                values = [one.value for one in missing if one.kind is kind]
                domains: Mapping[int, str] = {}
                for first in range(0, len(values), _BATCH):
                    part = values[first : first + _BATCH]
                    try:
                        with reading(self._path) as db:
                            if kind is Kind.DOMAIN and first == 0:
                                domains = matching_domains(db, values, self._deadline())
                            self._batch(db, source, kind, part, domains)
                        self.answered = True
                    except SourceTimeout as exc:
                        failures.append(f"{len(part):,} indicators of kind {kind.value} are not answered. {exc}")
                    done += len(part)
                    progress.update(done)
        return failures

    def _deadline(self) -> Deadline:
        return Deadline(self._deadline_s * SHARE)

    def _batch(
        self, db: sqlite3.Connection, source: StoreSource, kind: Kind, values: Sequence[str], domains: Mapping[int, str]
    ) -> None:
        extent = str(db.execute("SELECT total(events) FROM kind").fetchone()[0])
        self.grown = self.grown or self._state.extent not in (None, extent)
        deadline = Deadline(self._deadline_s)
        answers = sweep(db, kind, values, self._deadline(), most=self._most, domains=domains)
        files = [value for value, answer in answers.items() if answer.rows and kind in (Kind.MD5, Kind.SHA256)]
        images = [row["md5"] or row["sha256"] for answer in answers.values() for row in answer.rows]
        found = statuses(source, [*files, *images], deadline)
        for value, answer in answers.items():
            file = status_of(found, value)
            told = {"file_status": file["status"], "file_reason": file["reason"]}
            answer.rows = [{**row, **_process_status(row, found), **told} for row in answer.rows]
        self._state.put({Indicator(kind, value): answer for value, answer in answers.items()}, extent)


def _process_status(row: Document, found: Mapping[str, Signature]) -> Document:
    """Return the status of a row's process; none where the row is about a host alone."""
    status = image_status if row["guid"] else status_of
    return status(found, row["md5"], row["sha256"])


def _rows(listed: IndicatorList, state: SweepState, *, everything: bool) -> Iterator[Document]:
    """Yield what was found, in the order of the lists."""
    for indicator, label in listed.labels.items():
        answer = state.get(indicator)
        head = {"indicator": indicator.value, "kind": indicator.kind.value, "label": label}
        for row in answer.rows if answer else ():
            yield {**head, **row}
        if everything and (answer is None or not answer.rows):
            yield {**head, "relation": "not found" if answer else "not answered"}


def _emit(rows: Iterator[Document], context: Context) -> None:
    if context.output in ("json", "csv"):
        context.emit(rows, _CSV)
        return
    listed = list(rows)
    if listed:
        columns = [name for name in _COLUMNS if name != "guid" or context.style.width >= _WIDE]
        context.emit(fitted(context, listed, columns, "what"), columns)


def _say(listed: IndicatorList, state: SweepState, context: Context) -> None:
    """Say how much was found, what was cut, and what could not be asked for."""
    found, hosts, cut = 0, set(), []
    for indicator in listed.labels:
        answer = state.get(indicator) or Answer()
        found += bool(answer.rows)
        hosts |= {row["host"] for row in answer.rows if row["host"]}
        cut += [(indicator.value, len(answer.rows), answer.total)] if answer.total > len(answer.rows) else []
    on = f", on {len(hosts):,} {'host' if len(hosts) == 1 else 'hosts'}" if hosts else ""
    asked = len(listed.labels)
    context.say(f"{asked:,} {'indicator' if asked == 1 else 'indicators'}: {found:,} found{on}.")
    for value, shown, total in cut[:_MOST_PROBLEMS]:
        context.say(f"{printable(value, 70)[1:-1]}: the newest {shown:,} of {total:,}; --rows N shows more.")
    if listed.unsupported:
        told = ", ".join(f"{number:,} {name}" for name, number in listed.unsupported.most_common(20))
        context.say(f"cbsigned: not asked for, because a store cannot be: {told}.")
    for problem in listed.problems[:_MOST_PROBLEMS]:
        context.say(f"cbsigned: {problem}.")
    if len(listed.problems) > _MOST_PROBLEMS:
        context.say(f"cbsigned: … {len(listed.problems) - _MOST_PROBLEMS:,} more like these.")


def _bytes(name: str, context: Context) -> bytes:
    if name == "-":
        return context.stdin.read(MAX_BYTES + 1)
    try:
        with open(name, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"Cannot read {name}: {exc.strerror}.") from exc
