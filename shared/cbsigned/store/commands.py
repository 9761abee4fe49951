"""`cbsigned store …`: take telemetry in, say what is there, give space back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cbsigned.cli import Context, ExitCode, common_options
from cbsigned.store.info import contents, vacuum
from cbsigned.store.ingest import IngestReport, ingest
from cbsigned.store.readers import files_of

__all__ = ["store"]

Subparsers = Any  # argparse names its type privately

_STORE = """
examples:
  cbsigned store ingest --store lab.db events.jsonl.gz splunk-export.csv.gz binaries/
  cbsigned store info --store lab.db
  cbsigned store vacuum --store lab.db"""

_INGEST = """
examples:
  cbsigned store ingest --store lab.db events.jsonl.gz
  cbsigned store ingest --store lab.db splunk-export.csv.gz raw_data.tar.gz recordings/
  CBSIGNED_STORE=lab.db cbsigned store ingest --strict events/ && echo all of it was readable

files: event forwarder JSON lines, bus messages (the folder is the routing key), REST binary and process documents,
Splunk's CSV export with _raw; .gz, .tar, .tar.gz, .zip and folders of all. The format is found out from the content.
Records that the store holds already change nothing, so a file may be given again; after an interruption the same
command goes on where the last batch ended. Malformed lines are counted, kept aside and named by store info."""

_INFO = """
examples:
  cbsigned store info --store lab.db
  cbsigned store info --store lab.db --output json | jq -r 'select(.section == "malformed") | .name'"""

_VACUUM = """
examples:
  cbsigned store vacuum --store lab.db

Needs as much free space as the store takes. A store of an older cbsigned is brought up to date."""


def store(subparsers: Subparsers) -> None:
    """Add `cbsigned store ingest|info|vacuum`."""
    parser = _parser(subparsers, "store", "telemetry in a file of its own, with no EDR server", _STORE)
    parser.set_defaults(run=lambda _args, _context: _usage(parser), output=None, config=None, store=None, verbose=0)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND")
    taking = _parser(inner, "ingest", "take telemetry into a store, made where there is none", _INGEST)
    taking.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, folders and archives")
    taking.add_argument("--strict", action="store_true", help="exit 1 when anything was malformed")
    taking.set_defaults(run=_ingest)
    telling = _parser(inner, "info", "say what a store holds", _INFO)
    telling.add_argument(
        "--most", type=int, default=50, metavar="N", help="hosts, files, malformed lines (default: 50)"
    )
    telling.set_defaults(run=_info)
    shrinking = _parser(inner, "vacuum", "give unused space back", _VACUUM)
    shrinking.set_defaults(run=_vacuum)
    for one in (taking, telling, shrinking):
        common_options(one)


def _ingest(args: argparse.Namespace, context: Context) -> int:
    path = context.store_path()
    total = sum(file.stat().st_size for file in files_of(args.paths))
    progress = context.progress("ingest", total)
    try:
        report = ingest(path, args.paths, progress=progress.update)
    finally:
        progress.done()
    context.emit([_row(report)], list(_row(report)))
    for problem in report.problems:
        context.say(f"malformed: {problem}")
    if report.malformed > len(report.problems):
        context.say(f"… {report.malformed - len(report.problems):,} more; cbsigned store info lists them.")
    if report.skipped:
        told = ", ".join(f"{count:,} {kind}" for kind, count in report.skipped.most_common(10))
        context.say(f"skipped, no telemetry that is taken in: {told}")
    return ExitCode.INCOMPLETE if args.strict and report.malformed else ExitCode.OK


def _info(args: argparse.Namespace, context: Context) -> int:
    context.emit(list(contents(context.store_path(), most=max(0, args.most))), ["section", "name", "value"])
    return ExitCode.OK


def _vacuum(args: argparse.Namespace, context: Context) -> int:
    before, after = vacuum(context.store_path())
    row = {"store": str(context.store_path()), "bytes_before": before, "bytes_after": after}
    context.emit([row], list(row))
    return ExitCode.OK


def _row(report: IngestReport) -> dict[str, object]:
    return {
        "files": report.files,
        "read": report.read,
        "new": report.new,
        "duplicate": report.duplicate,
        "malformed": report.malformed,
        "skipped": sum(report.skipped.values()),
        "resumed": report.resumed,
        "seconds": round(report.seconds, 1),
    }


def _usage(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return ExitCode.USAGE


def _parser(subparsers: Subparsers, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, formatter_class=form
    )
    return parser
