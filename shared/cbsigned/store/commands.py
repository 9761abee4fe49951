"""`cbsigned store …`: take telemetry in, say what is there, give space back, copy it to ClickHouse."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cbsigned.cli import Context, ExitCode, common_options
from cbsigned.errors import ConfigError
from cbsigned.render.clean import clean
from cbsigned.store.info import contents, vacuum
from cbsigned.store.ingest import MOST_NAMED, IngestReport, ingest
from cbsigned.store.readers import files_of
from cbsigned.store.streams import CUT

__all__ = ["store"]

Subparsers = Any  # argparse names its type privately

_STORE = """
examples:
  cbsigned store ingest --store lab.db events.jsonl.gz splunk-export.csv.gz binaries/
  cbsigned store info --store lab.db
  cbsigned store vacuum --store lab.db
  cbsigned store copy lab.db clickhouse://ch1.example.test:8123/telemetry"""

_INGEST = """
examples:
  cbsigned store ingest --store lab.db events.jsonl.gz
  cbsigned store ingest --store lab.db splunk-export.csv.gz raw_data.tar.gz recordings/
  CBSIGNED_STORE=lab.db cbsigned store ingest events/ && echo all of it was readable

files: event forwarder JSON lines, bus messages as JSON (the folder is the routing key) or protobuf, REST binary and
process documents, Splunk's export with _raw as CSV or JSON, cbsigned's own JSON; Sysmon and Windows 4688 (NXLog,
Winlogbeat, Log Analytics, Sysmon for Linux, and .evtx files with the extra cbsigned[evtx]), auditd; .gz, .tar,
.tar.gz, .zip and folders of all. The format is found out from the content. What is skipped is told by file and reason.
Records that the store holds already change nothing, so a file may be given again; after an interruption the same
command goes on where the last batch ended. Malformed lines are counted, kept aside and named by store info; where
there were any, or a file was cut off, the exit code is 1."""

_INFO = """
examples:
  cbsigned store info --store lab.db
  cbsigned store info --store lab.db --output json | jq -r 'select(.section == "malformed") | .name'"""

_VACUUM = """
examples:
  cbsigned store vacuum --store lab.db

Needs as much free space as the store takes. A store of an older cbsigned is brought up to date."""

_COPY = """
examples:
  cbsigned store copy lab.db clickhouse://ch1.example.test:8123/telemetry
  cbsigned store copy lab.db 'clickhouse://ch1:8123,ch2:8123/telemetry?cluster=edr'    every shard of the cluster
  CBSIGNED_CLICKHOUSE_PASSWORD=… cbsigned store copy lab.db 'clickhouse://cbsigned@ch1:8443/telemetry?tls=yes'

The store is copied as it is now. After an interruption the same command goes on where it was; at the end the numbers
of rows on both sides are compared. A store that has grown since is copied into a new database. ClickHouse is asked
as the user in the address or CBSIGNED_CLICKHOUSE_USER, with CBSIGNED_CLICKHOUSE_PASSWORD."""


def store(subparsers: Subparsers) -> None:
    """Add `cbsigned store ingest|info|vacuum|copy`."""
    parser = _parser(subparsers, "store", "telemetry in a file of its own, with no EDR server", _STORE)
    parser.set_defaults(run=lambda _args, _context: _usage(parser), output=None, config=None, store=None, verbose=0)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND")
    taking = _parser(inner, "ingest", "take telemetry into a store, made where there is none", _INGEST)
    taking.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, folders and archives")
    taking.set_defaults(run=_ingest)
    telling = _parser(inner, "info", "say what a store holds", _INFO)
    telling.add_argument(
        "--most", type=int, default=50, metavar="N", help="hosts, files, malformed lines (default: 50)"
    )
    telling.set_defaults(run=_info)
    shrinking = _parser(inner, "vacuum", "give unused space back", _VACUUM)
    shrinking.set_defaults(run=_vacuum)
    copying = _parser(inner, "copy", "copy a store's file to ClickHouse", _COPY)
    copying.add_argument("source", metavar="FROM", help="the store's file")
    copying.add_argument(
        "target", metavar="TO", help="clickhouse://HOST[:PORT][,HOST…]/DATABASE[?cluster=NAME&tls=yes]"
    )
    copying.set_defaults(run=_copy)
    for one in (taking, telling, shrinking, copying):
        common_options(one)


def _ingest(args: argparse.Namespace, context: Context) -> int:
    path = context.store_path()
    total = sum(file.stat().st_size for file in files_of(args.paths))
    progress = context.progress("ingest", total, in_bytes=True)
    try:
        report = ingest(path, args.paths, progress=progress.update)
    except KeyboardInterrupt:
        progress.done()
        context.say("\nInterrupted; whole batches are kept. Run the same command again: it goes on where they end.")
        return ExitCode.INTERRUPTED
    finally:
        progress.done()
    context.emit([_row(report)], list(_row(report)))
    for line in _told(report):
        context.say(clean(line))
    return ExitCode.OK if report.complete else ExitCode.INCOMPLETE


def _told(report: IngestReport) -> Iterator[str]:
    """Yield what the row of numbers does not say: where, and why."""
    for problem in report.problems:
        yield problem if f": {CUT} " in problem else f"malformed: {problem}"
    more = report.malformed + report.cut_off - len(report.problems)
    if more > 0:
        yield f"… {more:,} more; cbsigned store info lists them."
    if report.malformed_before:
        yield f"{report.malformed_before:,} malformed or cut off in the part that was taken in before the interruption."
    yield from report.passed_over
    rest = sum(report.skipped.values())
    if len(report.passed_over) >= MOST_NAMED:
        yield f"… {rest:,} skipped in all; cbsigned store info tells for each file."
    yield from (f"{path}: empty, it holds nothing" for path in report.empty[:MOST_NAMED])
    if report.not_telemetry:
        yield f"not telemetry: {report.not_telemetry:,} file{'' if report.not_telemetry == 1 else 's'}"


def _info(args: argparse.Namespace, context: Context) -> int:
    context.emit(list(contents(context.store_path(), most=max(0, args.most))), ["section", "name", "value"])
    return ExitCode.OK


def _vacuum(args: argparse.Namespace, context: Context) -> int:
    progress = context.progress("vacuum")
    try:
        before, after = vacuum(context.store_path(), lambda done, of: progress.update(done, f"of {of:,} texts indexed"))
    finally:
        progress.done()
    row = {"store": str(context.store_path()), "bytes_before": before, "bytes_after": after}
    context.emit([row], list(row))
    return ExitCode.OK


def _copy(args: argparse.Namespace, context: Context) -> int:
    from cbsigned.clickhouse.copying import copy_store

    source, target = context.place_of(args.source), context.place_of(args.target)
    if not isinstance(source, Path) or isinstance(target, Path):
        raise ConfigError(
            "A store is copied from a file to ClickHouse, not otherwise: cbsigned store copy lab.db clickhouse://…"
        )
    progress = context.progress("copy")
    try:
        done = copy_store(source, target, lambda rows, total: progress.update(rows, f"of {total:,} rows"))
    except KeyboardInterrupt:
        progress.done()
        context.say("\nInterrupted; what was sent is kept. Run the same command again: it goes on from there.")
        return ExitCode.INTERRUPTED
    finally:
        progress.done()
    row = {
        "from": str(source), "to": target.shown, "rows": done.rows, "sent": done.sent, "resumed": done.resumed,
        "seconds": round(done.seconds, 1),
    }  # fmt: skip
    context.emit([row], list(row))
    return ExitCode.OK


def _row(report: IngestReport) -> dict[str, object]:
    return {
        "files": report.files,
        "read": report.read,
        "new": report.new,
        "duplicate": report.duplicate,
        "malformed": report.malformed,
        "cut_off": report.cut_off,
        "skipped": sum(report.skipped.values()),
        "not_telemetry": report.not_telemetry,
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
