"""`cbsigned backfill INPUT… OUTPUT`: history gets signing columns, and lineage where rows name a process."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from cbsigned.backfill.answers import LINEAGE, SIGNING
from cbsigned.backfill.inputs import Column, Dialect, chosen, csv_dialect, files_of, format_of, json_columns
from cbsigned.backfill.metered import Meter, MeteredSource
from cbsigned.backfill.run import Run, Sizes
from cbsigned.backfill.state import Folder
from cbsigned.backfill.work import Engine, Shape
from cbsigned.cli import Context, ExitCode, common_options
from cbsigned.edr.query import MAX_CLAUSES
from cbsigned.enrichment import Sources
from cbsigned.errors import ConfigError
from cbsigned.observables import printable
from cbsigned.settings import Settings, expanded

__all__ = ["backfill"]

_HELP = """
examples:
  cbsigned backfill --plan 'events/*.parquet' enriched/      what it would take; asks nothing of the EDR
  cbsigned backfill 'events/*.parquet' enriched/             interrupted? the same command goes on
  cbsigned backfill --budget 500 proxy.csv.gz enriched/      at most 500 requests, the most frequent hashes first
  cbsigned backfill --engine spark --master spark://head:7077 /data/2026 /data/enriched

INPUT: Parquet, NDJSON (one object a line) or CSV with a header line, one format at a time; texts also as .gz; files,
folders or quoted glob patterns. OUTPUT is a folder: the same rows in the same format, with more columns, and a folder
_cbsigned with what is needed to go on. Hash columns are found by their usual names (process_md5, md5, SHA256, Hashes
and others), and so is process_guid; --hash and --guid name others. Every distinct value is looked up once, the most
frequent first. A look-up that fails drops no row: its status is Unknown, with the reason, and the same command asks
for it again."""

_SIZE = re.compile(r"(\d{1,6})\s*([MGT])i?B?", re.IGNORECASE)
_UNITS = {"m": 2**20, "g": 2**30, "t": 2**40}
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}", re.ASCII)
_MASTER = re.compile(r"[A-Za-z0-9_.:/\[\],*\-]{1,300}", re.ASCII)
_EDR_BATCH, _STORE_BATCH = 10 * MAX_CLAUSES, 20_000


def backfill(subparsers: Any) -> None:
    """Add `cbsigned backfill`."""
    parser = subparsers.add_parser(
        "backfill", help="add signing columns to history, Parquet, NDJSON or CSV", epilog=_HELP,
        description="Add signing columns to history, and lineage where rows name a process.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders or glob patterns")
    parser.add_argument("out", metavar="OUTPUT", help="folder for the rows with their new columns")
    parser.add_argument(
        "--hash", action="append", default=[], metavar="COLUMN",
        help="has a hash of the file; again for another kind of hash (default: by usual names)",
    )  # fmt: skip
    parser.add_argument("--guid", metavar="COLUMN", help="has the process guid (default: by usual names)")
    parser.add_argument("--no-lineage", action="store_true", help="look up no lineage, even where rows have a guid")
    parser.add_argument("--max-depth", metavar="N", help="most ancestors to follow (default: as configured)")
    parser.add_argument("--prefix", default="cbsigned_", help="of the new columns (default: cbsigned_)")
    parser.add_argument("--plan", action="store_true", help="only tell what it would take; the EDR is not asked")
    parser.add_argument(
        "--budget", type=_whole, metavar="N",
        help="most requests to the EDR; the rest stays Unknown until the same command is given again",
    )  # fmt: skip
    parser.add_argument("--rate", type=_rate, default=5.0, metavar="N", help="most requests a second (default: 5)")
    parser.add_argument("--engine", choices=("duckdb", "spark"), default="duckdb", help="default: duckdb")
    parser.add_argument("--memory", type=_size, default=2**30, metavar="SIZE", help="for DuckDB (default: 1GB)")
    parser.add_argument("--temp", metavar="FOLDER", help="for what does not fit into memory (default: in OUTPUT)")
    parser.add_argument("--master", metavar="URL", help="of the Spark cluster (default: as Spark is configured)")
    common_options(parser, outputs=("table", "json"))
    parser.set_defaults(run=_backfill)


def _backfill(args: argparse.Namespace, context: Context) -> int:
    files = files_of(args.inputs)
    if not _PREFIX.fullmatch(args.prefix):
        raise ConfigError(f"--prefix is {printable(args.prefix, 60)}: expected a name of letters, digits and _.")
    depth = {"max_depth": (args.max_depth, "--max-depth")} if args.max_depth is not None else {}
    settings = context.settings_with(depth)
    sources = context.sources()
    out = expanded(args.out).resolve()
    folders = [expanded(name).resolve() for name in args.inputs]
    if any(out in path.parents for path in files) or any(path in (out, *out.parents) for path in folders):
        raise ConfigError(f"OUTPUT {out} and INPUT are one within the other. Name a folder beside INPUT.")
    folder = Folder(out)
    try:
        engine = _engine(args, folder)
        try:
            shape = _shape(args, engine, files, lineage=settings.lineage and sources.processes is not None)
            asks_edr = sources.caches is not None
            meter = Meter(args.rate, 0 if args.plan else args.budget, settings.edr.parallel if settings.edr else 1)
            asked = _metered(sources, meter, settings) if asks_edr or args.plan else sources
            sizes = Sizes(_EDR_BATCH if asks_edr else _STORE_BATCH)
            run = Run(folder, engine, shape, files, asked, settings, args.prefix, sizes, context.progress)
            run.begin(args.engine)
            if args.plan:
                return _plan(run, meter, args, context, asks_edr=asks_edr)
            return _made(run, meter, context)
        finally:
            engine.close()
    finally:
        folder.close()


def _metered(sources: Sources, meter: Meter, settings: Settings) -> Sources:
    source = MeteredSource(sources.binaries, sources.processes, meter, settings.deadline_s)
    return replace(sources, binaries=source, processes=source if sources.processes is not None else None, joint=None)


def _shape(args: argparse.Namespace, engine: Engine, files: list[Path], *, lineage: bool) -> Shape:
    kind = format_of(files)
    dialect: Optional[Dialect] = csv_dialect(files) if kind == "csv" else None
    there: list[Column]
    if dialect is not None:
        there = [(name,) for name in dialect.names]
    else:
        there = json_columns(files) if kind == "ndjson" else engine.columns(files)
    columns = chosen(there, args.hash, args.guid, lineage=lineage and not args.no_lineage, sampled=kind == "ndjson")
    fields = (*SIGNING, *(LINEAGE if columns.guid else ()))
    outputs = tuple((args.prefix + field, field) for field in fields)
    taken = {column[0].lower() for column in there} & {name.lower() for name, _field in outputs}
    if taken:
        raise ConfigError(f"INPUT has a column {min(taken)} already. Use --prefix for another name.")
    return Shape(kind, columns, outputs, dialect)


def _engine(args: argparse.Namespace, folder: Folder) -> Engine:
    if args.engine == "spark":
        if args.master is not None and not _MASTER.fullmatch(args.master):
            raise ConfigError(
                f"--master is {printable(args.master, 80)}: expected local[2], spark://host:7077 or yarn."
            )
        from cbsigned.backfill.spark_engine import SparkEngine

        return SparkEngine(args.master, args.prefix)
    if args.master is not None:
        raise ConfigError("--master names a Spark cluster. Add --engine spark.")
    from cbsigned.backfill.duckdb_engine import DuckDbEngine

    scratch = expanded(args.temp) if args.temp else folder.scratch
    if not scratch.is_dir():
        raise ConfigError(f"--temp {scratch} is no folder.")
    return DuckDbEngine(args.memory, scratch, args.prefix)


def _plan(run: Run, meter: Meter, args: argparse.Namespace, context: Context, *, asks_edr: bool) -> int:
    found = run.plan(meter)
    hashes, guids = found["hashes_to_ask"], found.get("guids_to_ask", 0)
    least = math.ceil(hashes / MAX_CLAUSES) + math.ceil(guids / MAX_CLAUSES)
    most = least + math.ceil(guids / MAX_CLAUSES) * (2 * run.settings.max_depth + 1)
    requests = (least, most) if asks_edr else (0, 0)
    found.update(requests_at_least=requests[0], requests_at_most=requests[1], requests_a_second=args.rate)
    found.update(seconds_at_least=round(requests[0] / args.rate), seconds_at_most=round(requests[1] / args.rate))
    _tell(found, context)
    return ExitCode.OK


def _made(run: Run, meter: Meter, context: Context) -> int:
    summary = run.make()
    summary.update(requests=meter.requests)
    _tell(summary, context)
    if not summary["open_values"]:
        return ExitCode.OK
    for reason in run.reasons:
        context.say(f"cbsigned: {reason}")
    context.say(f"cbsigned: {summary['open_rows']:,} rows wait for an answer. Give the same command again to go on.")
    nothing = not meter.spent and run.asked and run.failed == run.asked
    return ExitCode.SOURCE if nothing else ExitCode.INCOMPLETE


def _tell(found: dict[str, Any], context: Context) -> None:
    if context.output == "json":
        context.emit([found], [])
        return
    context.emit(
        [{"what": name.replace("_", " "), "value": _shown(value)} for name, value in found.items()], ["what", "value"]
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {name}" for name, count in value.items())
    return f"{value:,}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{printable(text, 20)}: expected a whole number of requests")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.01 <= rate <= 1_000:
        raise argparse.ArgumentTypeError(f"{printable(text, 20)}: expected 0.01 to 1000 requests a second")
    return rate


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    size = int(match.group(1)) * _UNITS[match.group(2).lower()] if match else 0
    if not 2**28 <= size <= 2**46:
        raise argparse.ArgumentTypeError(f"{printable(text, 20)}: expected a size such as 512MB or 8GB, 256MB at least")
    return size
