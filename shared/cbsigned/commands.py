"""The commands of the core: `enrich`, `signed`, `lineage`, `config` and `samples`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from cbsigned.cli import Context, ExitCode, common_options
from cbsigned.enrichment import Enrichment, enrich, statuses_of
from cbsigned.errors import ConfigError
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import Lineage, lineages
from cbsigned.observables import parse_md5, parse_sha256, process_id_of
from cbsigned.output import write_output
from cbsigned.render.csv import LINEAGE_COLUMNS, csv_lines, lineage_rows
from cbsigned.render.document import Document, enrichment_document, lineage_document, signature_document
from cbsigned.render.html import report
from cbsigned.render.markdown import markdown_card, markdown_lineage
from cbsigned.render.marks import ordered, word
from cbsigned.render.svg import svg_lineage
from cbsigned.render.table import table
from cbsigned.render.text import card, lineage_text
from cbsigned.signing import not_a_hash
from cbsigned.timing import Deadline, utc_now

if TYPE_CHECKING:
    from cbsigned.settings import Settings

__all__ = ["config", "enrich_alerts", "lineage", "samples", "signed"]

_MOST_FAILURES = 5
_TITLE = "Signing status and lineage"

_SAMPLES = """
examples:
  cbsigned store ingest --store sample.db $(cbsigned samples)/telemetry
  cbsigned enrich --store sample.db $(cbsigned samples)/alerts.jsonl"""

Subparsers = Any  # argparse names its type privately

_ENRICH = """
examples:
  cbsigned enrich alerts.jsonl                        a table on a terminal, JSON lines in a pipe
  cbsigned enrich --store lab.db alerts.csv.gz --report report.html
  tail -n 1 alerts.jsonl | cbsigned enrich --card -
  tail -f alerts.jsonl | cbsigned enrich --window 1 -     each alert as it comes, cards on a terminal
  cbsigned enrich alerts.jsonl --output json | jq -r 'select(.enrichment.status == "Unsigned") | .enrichment.md5'

files: JSON lines, one JSON object or array, CSV with a header line, a Splunk export (_raw), .gz of all, or - for
standard input. Every alert comes out, in order; what could not be looked up says why."""

_SIGNED = """
examples:
  cbsigned signed 0f343b0931126a20f133d67c2b018a3b
  cut -f 3 hashes.tsv | cbsigned signed - --output csv
  cbsigned signed --strategy joint --name git.exe 82a7bf2b1f51f1988be571b8176aa545"""

_LINEAGE = """
examples:
  cbsigned lineage 00000009-0000-082c-01d1-7f392625197c
  cbsigned lineage --depth 4 --relatives 20 --svg lineage.svg 00000009-0000-082c-01d1-7f392625197c"""

_CONFIG = """
examples:
  cbsigned config check
  CBSIGNED_EDR_URL=https://cb.example.test CBSIGNED_EDR_TOKEN=… cbsigned config check

file: ~/.config/cbsigned/config.ini, or --config, or CBSIGNED_CONFIG:
  [edr]
  url = https://cb.example.test
  ca_file = /etc/cb/ca.pem
  [cache]
  file = ~/.cache/cbsigned.db
In the environment: CBSIGNED_EDR_TOKEN, CBSIGNED_EDR_URL, CBSIGNED_CACHE_FILE, CBSIGNED_DEADLINE_S and so on."""


def enrich_alerts(subparsers: Subparsers) -> None:
    """Add `cbsigned enrich`."""
    parser = _parser(subparsers, "enrich", "add signing status and lineage to alerts", _ENRICH)
    parser.add_argument("files", nargs="+", metavar="FILE", help="alerts; - for standard input")
    parser.add_argument("--card", action="store_true", help="whole cards instead of a table")
    parser.add_argument("--report", metavar="FILE", help="also write an HTML page with every lineage drawn")
    parser.add_argument("--no-lineage", action="store_true", help="signing status alone")
    parser.add_argument(
        "--window", type=int, metavar="N", help="alerts read before they are answered (1 follows a pipe)"
    )
    _query_options(parser)
    parser.set_defaults(run=_enrich)


def signed(subparsers: Subparsers) -> None:
    """Add `cbsigned signed`."""
    parser = _parser(subparsers, "signed", "signing status of files by hash", _SIGNED)
    parser.add_argument("hashes", nargs="+", metavar="HASH", help="MD5 or SHA-256; - reads one a line")
    parser.add_argument("--name", action="append", default=[], help="process name, for --strategy joint")
    _query_options(parser, walk=False)
    parser.set_defaults(run=_signed)


def lineage(subparsers: Subparsers) -> None:
    """Add `cbsigned lineage`."""
    parser = _parser(subparsers, "lineage", "a process and its ancestors, each with its signing status", _LINEAGE)
    parser.add_argument("guids", nargs="+", metavar="GUID", help="process guid; a segment suffix is ignored")
    parser.add_argument("--svg", metavar="FILE", help="also draw it (one GUID)")
    _query_options(parser)
    parser.set_defaults(run=_lineage)


def config(subparsers: Subparsers) -> None:
    """Add `cbsigned config check`."""
    parser = _parser(subparsers, "config", "what is set, where from, and whether the source answers", _CONFIG)
    parser.add_argument("action", choices=["check"])
    parser.set_defaults(run=_config)


def samples(subparsers: Subparsers) -> None:
    """Add `cbsigned samples`."""
    parser = _parser(subparsers, "samples", "print where the sample telemetry and alerts lie", _SAMPLES)
    parser.set_defaults(run=_samples)


def _parser(subparsers: Subparsers, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, formatter_class=form
    )
    common_options(parser)
    return parser


def _query_options(parser: argparse.ArgumentParser, *, walk: bool = True) -> None:
    group = parser.add_argument_group("what is asked (defaults: the settings)")
    group.add_argument("--deadline", type=float, metavar="SECONDS", help="for all questions of one window, 0.1 to 3600")
    group.add_argument("--strategy", choices=["binary", "joint"], help="joint is the 2017 query")
    group.add_argument("--joint-miss", choices=["unknown", "unsigned"], help="how a joint miss reads")
    if walk:
        group.add_argument("--depth", type=int, metavar="N", help="most ancestors, 0 to 500")
        group.add_argument("--relatives", type=int, metavar="N", help="most children and siblings, 0 to 1000")


def _settings(args: argparse.Namespace, context: Context) -> Settings:
    """Return the settings with the command's own options over them."""
    options = {
        "deadline_s": (args.deadline, "--deadline"),
        "strategy": (args.strategy, "--strategy"),
        "joint_miss": (args.joint_miss, "--joint-miss"),
        "max_depth": (getattr(args, "depth", None), "--depth"),
        "relatives": (getattr(args, "relatives", None), "--relatives"),
        "window": (getattr(args, "window", None), "--window"),
        "lineage": ("no" if getattr(args, "no_lineage", False) else None, "--no-lineage"),
    }
    given = {name: (str(value), option) for name, (value, option) in options.items() if value is not None}
    return context.settings_with(given)


def _enrich(args: argparse.Namespace, context: Context) -> int:
    from cbsigned.alert_files import check_exists, read_alerts

    settings = _settings(args, context)
    for file in args.files:
        check_exists(file)
    if args.report or context.output == "html":
        report([], _TITLE)  # says now what is missing to draw it, not after all look-ups
    if args.report:
        context.check_output(args.report, args.files)
    sources = context.sources()
    alerts = chain.from_iterable(read_alerts(file, context.stdin) for file in args.files)
    progress = context.progress("enriching", between_rows=True)
    kept: list[Document] = []
    tally = _Tally()

    def documents() -> Iterator[Document]:
        for number, found in enumerate(enrich(alerts, sources, settings), 1):
            progress.update(number)
            document = enrichment_document(found)
            tally.add(found, document)
            if args.report:
                kept.append(document)
            yield {**document, "_record": found.record} if context.output == "json" else document

    for text in _written(documents(), args.card or settings.window == 1, context):
        context.stdout.write(text)
        if settings.window == 1:
            context.stdout.flush()
    progress.done()
    if args.report:
        page = report(kept, _TITLE)
        write_output(args.report, page.page)
        if page.summary:
            context.say(page.summary)
    _say_failures(tally.failures, context)
    if context.stderr.isatty():
        context.say(tally.text())
    return tally.exit_code


def _written(documents: Iterable[Document], cards: bool, context: Context) -> Iterator[str]:
    """Yield the texts of the chosen output, as the documents come."""
    if context.output == "json":
        for document in documents:
            record = document.pop("_record")
            yield context.json_line({"alert": record, "enrichment": document})
    elif context.output == "csv":
        yield from csv_lines(documents)
    elif context.output == "markdown":
        yield from (markdown_card(document) + "\n" for document in documents)
    elif context.output == "html":
        page = report(list(documents), _TITLE)
        yield page.page
        if page.summary:
            context.say(page.summary)
    elif cards:
        yield from (card(document, context.style) + "\n" for document in documents)
    else:
        yield from (line + "\n" for line in table(documents, context.style))


class _Tally:
    """Counts what came out, for the last line."""

    def __init__(self) -> None:
        self.alerts = self.answered = self.failed = self.unread = self.empty = 0
        self.words: Counter[str] = Counter()
        self.failures: dict[str, None] = {}  # reasons, in order, each once

    def add(self, found: Enrichment, document: Document) -> None:
        self.alerts += 1
        self.failed += not found.complete
        unread = found.alert is None and found.gaps[0].cause is not Cause.NO_OBSERVABLE
        self.unread += unread
        self.empty += found.alert is None and not unread
        self.answered += any(not s.signature.cause.failed for s in found.subjects)
        self.failures.update((gap.reason, None) for gap in found.gaps if gap.cause.failed or unread)
        if found.alert is not None:
            self.words[word(document)] += 1

    @property
    def exit_code(self) -> int:
        if self.failed and not self.answered:
            return ExitCode.SOURCE
        return ExitCode.INCOMPLETE if self.failed or self.unread else ExitCode.OK

    def text(self) -> str:
        parts = [
            f"{self.alerts} alerts",
            ", ".join(f"{self.words[name]} {name}" for name in ordered(self.words)),
            f"{self.empty} with nothing to look up" if self.empty else "",
            f"{self.unread} that could not be read" if self.unread else "",
            f"{self.failed} with failed look-ups" if self.failed else "",
        ]
        return "; ".join(part for part in parts if part)


def _signed(args: argparse.Namespace, context: Context) -> int:
    settings = _settings(args, context)
    given = list(chain.from_iterable(context.stdin_lines() if text == "-" else [text] for text in args.hashes))
    asked = [(text, parse_md5(text) or parse_sha256(text)) for text in given]
    names = {known: {name.lower() for name in args.name} for _text, known in asked if known}
    found = statuses_of(names, context.sources(), settings, Deadline(settings.deadline_s)) if names else {}
    now = utc_now()
    answers = [found[known] if known else not_a_hash(text) for text, known in asked]
    rows = [{"asked": text, **signature_document(answer, now)} for (text, _known), answer in zip(asked, answers)]
    context.emit(rows, ["asked", "status", "publisher", "signed_at", "reason"])
    failures = [answer.reason for answer in found.values() if answer.cause.failed]
    _say_failures(dict.fromkeys(failures), context)
    if failures and len(failures) == len(found):
        return ExitCode.SOURCE
    return ExitCode.INCOMPLETE if failures or not all(known for _text, known in asked) else ExitCode.OK


def _say_failures(reasons: Iterable[str], context: Context) -> None:
    """Say once each why look-ups failed: a table shows only the beginning, a pipe hides it in a field."""
    told = list(islice(reasons, _MOST_FAILURES + 1))
    for reason in told[:_MOST_FAILURES]:
        context.say(f"cbsigned: {reason}")
    if len(told) > _MOST_FAILURES:
        context.say("cbsigned: more look-ups failed for other reasons; each answer has its own.")


def _lineage(args: argparse.Namespace, context: Context) -> int:
    settings = _settings(args, context)
    guids = [process_id_of(text) for text in args.guids]
    if args.svg and len(guids) > 1:
        raise ConfigError("--svg draws one lineage into one file: name one GUID.")
    if args.svg:
        context.check_output(args.svg, [])
    sources = context.sources()
    if sources.processes is None:
        raise ConfigError("This source has no processes to ask for.")
    deadline = Deadline(settings.deadline_s)
    chains = lineages(
        sources.processes, guids, deadline, max_depth=settings.max_depth, relatives=settings.relatives,
        cache=sources.caches.processes if sources.caches else None, cache_life_s=settings.life.process_s,
    )  # fmt: skip
    names: dict[str, set[str]] = {}
    for process in (process for found in chains.values() for process in found.processes()):
        if process.file_hash:
            names.setdefault(process.file_hash, set()).update([process.name] if process.name else [])
    signatures = statuses_of(names, sources, settings, deadline)
    documents = [lineage_document(chains[guid], signatures) for guid in guids]
    _print_lineages(documents, context)
    if args.svg:
        write_output(args.svg, svg_lineage(documents[0]))
    failures = [s.reason for s in signatures.values() if s.cause.failed]
    failures += [gap.reason for found in chains.values() for gap in _gaps(found) if gap.cause.failed]
    _say_failures(dict.fromkeys(failures), context)
    if all(found.nodes[0].gap is not None and found.nodes[0].gap.cause.failed for found in chains.values()):
        return ExitCode.SOURCE
    return ExitCode.INCOMPLETE if failures else ExitCode.OK


def _gaps(found: Lineage) -> list[Gap]:
    parts = [node.gap for node in found.nodes] + [r.gap for r in (found.children, found.siblings) if r is not None]
    return [gap for gap in parts if gap is not None]


def _print_lineages(documents: Sequence[Document], context: Context) -> None:
    if context.output == "json":
        context.emit(documents, [])
    elif context.output == "csv":
        context.emit([row for document in documents for row in lineage_rows(document)], list(LINEAGE_COLUMNS))
    elif context.output == "html":
        context.stdout.writelines(svg_lineage(document) + "\n" for document in documents)
    elif context.output == "markdown":
        context.stdout.writelines(markdown_lineage(document) + "\n" for document in documents)
    else:
        context.stdout.writelines(lineage_text(document, context.style) + "\n" for document in documents)


def _config(args: argparse.Namespace, context: Context) -> int:
    rows = [
        {"section": o.section, "name": o.name, "value": o.shown, "from": o.origin}
        for o in context.configuration.origins
    ]
    context.emit(rows, ["section", "name", "value", "from"])
    findings = context.check()
    for ok, topic, text in findings:
        context.say(f"{_OK[ok]:4}{topic}: {text}")
    if all(ok is not True for ok, _topic, _text in findings):
        return ExitCode.SOURCE
    return ExitCode.INCOMPLETE if any(ok is False for ok, _topic, _text in findings) else ExitCode.OK


_OK = {True: "ok", False: "NO", None: "?"}


def _samples(args: argparse.Namespace, context: Context) -> int:
    from cbsigned.samples import sample_path

    context.stdout.write(f"{sample_path('.')}\n")
    return ExitCode.OK
