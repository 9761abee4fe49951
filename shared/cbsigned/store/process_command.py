"""`cbsigned process GUID`: one process as the process-analysis page shows it, with every file's signing status."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from cbsigned.binary import Signature
from cbsigned.cli import Context, ExitCode
from cbsigned.gaps import Cause
from cbsigned.lineage import Lineage, lineages
from cbsigned.observables import process_id_of
from cbsigned.render.document import Document, lineage_document
from cbsigned.render.markdown import markdown_lineage
from cbsigned.render.svg import svg_lineage
from cbsigned.render.text import lineage_text
from cbsigned.store.activity_list import KINDS, ActivityPage, Entry, activity_page
from cbsigned.store.ids import pack
from cbsigned.store.process_documents import process_documents
from cbsigned.store.questions import (
    SHARE,
    Subparsers,
    count,
    deadline_option,
    fitted,
    paging_options,
    question,
    say_failures,
    say_paging,
    settings_of,
    status_of,
    statuses,
    time_text,
    when,
    words,
)
from cbsigned.store.reading import bounded, reading
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline

__all__ = ["process", "process_answer"]

_HELP = """
examples:
  cbsigned process 00000009-0000-082c-01d1-7f392625197c
  cbsigned process --kind filemod,modload --rows 500 00000009-0000-082c-01d1-7f392625197c
  cbsigned process --since 2016-03-16T04:06:00Z --until 2016-03-16T04:07:00Z 00000009-0000-082c-01d1-7f392625197c
  cbsigned process --output csv --rows 100000 00000009-0000-082c-01d1-7f392625197c > events.csv

Shows the lineage with children and siblings, what is known of the process, and what it did, oldest first. Loaded
modules, written files and other processes have their signing status. csv holds the events alone."""

_COLUMNS = ("at", "kind", "action", "what", "status", "md5", "guid")
_CSV = (*_COLUMNS[:-2], "publisher", "reason", "md5", "sha256", "guid", "extra")
_RELATIVES = 10


def process(subparsers: Subparsers) -> None:
    """Add `cbsigned process`."""
    parser = question(subparsers, "process", "one process: lineage, children, and everything it did", _HELP)
    parser.add_argument("guid", metavar="GUID", help="process guid; a segment suffix is ignored")
    parser.add_argument("--kind", type=words(KINDS), default=list(KINDS), metavar="KIND,…", help=", ".join(KINDS))
    parser.add_argument("--since", type=when, metavar="TIME", help="events from then on, UTC")
    parser.add_argument("--until", type=when, metavar="TIME", help="events before then, UTC")
    paging_options(parser, 100, "events")
    parser.add_argument("--depth", type=count(0, 500), metavar="N", help="most ancestors, 0 to 500")
    parser.add_argument(
        "--relatives", type=count(0, 1000), default=_RELATIVES, metavar="N",
        help=f"most children and siblings, 0 to 1000 (default: {_RELATIVES})",
    )  # fmt: skip
    deadline_option(parser)
    parser.set_defaults(run=_run)


def process_answer(
    path: Path, guid: str, deadline_s: float, *, max_depth: int = 16, relatives: int = _RELATIVES,
    kinds: Sequence[str] = KINDS, since: Optional[int] = None, until: Optional[int] = None, start: int = 0,
    rows: int = 100,
) -> Document:  # fmt: skip
    """Return all that the command says: the process itself, its lineage, its document, and a page of its activity.

    Args:
        path: The store.
        guid: As `parse_process_id` returns it.
        deadline_s: For everything, seconds.
        max_depth, relatives: As of `lineages`.
        kinds, since, until, start, rows: As of `activity_page`.

    Raises:
        ConfigError: There is no such store.
        SourceError: It cannot be read, or not in time.
    """
    deadline, first = Deadline(deadline_s), Deadline(deadline_s * SHARE)
    with StoreSource(path) as source, reading(path) as db:
        chain = lineages(source, [guid], first, max_depth=max_depth, relatives=relatives)[guid]
        number = _number(db, chain.nodes[0].process.guid)
        page, documents = ActivityPage([], {}), []
        if number is not None:
            with bounded(db, first):
                page = activity_page(db, number, kinds=kinds, since=since, until=until, start=start, rows=rows)
                documents = process_documents(db, [number])
        hashes = [*(p.file_hash for p in chain.processes()), *(entry.md5 or entry.sha256 for entry in page.entries)]
        found = statuses(source, hashes, deadline)
    return _document(chain, found, documents, page, start)


def _document(
    chain: Lineage, found: dict[str, Signature], documents: list[dict[str, Any]], page: ActivityPage, start: int
) -> Document:
    drawn = lineage_document(chain, found)
    own = {name: value for name, value in drawn["nodes"][0].items() if name != "depth"}
    return {
        **own,
        "document": documents[0] if documents else None,
        "lineage": drawn,
        "activity": {
            "total": page.total, "start": start, "counts": page.counts,
            "events": [_event(entry, found) for entry in page.entries],
        },
    }  # fmt: skip


def _event(entry: Entry, found: dict[str, Signature]) -> Document:
    return {
        "at": time_text(entry.at), "kind": entry.kind, "action": entry.action, "what": entry.what, "md5": entry.md5,
        "sha256": entry.sha256, **status_of(found, entry.md5, entry.sha256), "guid": entry.guid, "extra": entry.extra,
    }  # fmt: skip


def _number(db: sqlite3.Connection, guid: str) -> Optional[int]:
    row = db.execute("SELECT id FROM process WHERE guid = ?", (pack(guid),)).fetchone()
    return None if row is None else int(row[0])


def _run(args: argparse.Namespace, context: Context) -> int:
    settings = settings_of(args, context)
    found = process_answer(
        context.store_path(), process_id_of(args.guid), settings.deadline_s, max_depth=settings.max_depth,
        relatives=settings.relatives, kinds=args.kind, since=args.since, until=args.until, start=args.start,
        rows=args.rows,
    )  # fmt: skip
    events, lineage = found["activity"]["events"], found["lineage"]
    if context.output == "json":
        context.stdout.write(context.json_line(found))
    else:
        _show(found, context)
    told = ", ".join(f"{number:,} {kind}" for kind, number in found["activity"]["counts"].items() if number)
    say_paging(context, "events", len(events), args.start, found["activity"]["total"])
    if told:
        context.say(f"Of these kinds: {told}.")
    failures = [node["reason"] for node in lineage["nodes"] if node["cause"] in _FAILED]
    failures += [gap["reason"] for gap in _gaps(lineage) if gap["cause"] in _FAILED]
    say_failures(context, failures)
    return ExitCode.INCOMPLETE if failures else ExitCode.OK


_FAILED = frozenset(cause.value for cause in Cause if cause.failed)


def _gaps(lineage: Document) -> list[Document]:
    """Return what is missing of a lineage and of the relatives."""
    parts = [*lineage["nodes"], lineage["children"], lineage["siblings"]]
    return [part["gap"] for part in parts if part is not None and part["gap"]]


def _show(found: Document, context: Context) -> None:
    events, lineage = found["activity"]["events"], found["lineage"]
    if context.output == "html":
        context.stdout.write(svg_lineage(lineage) + "\n")
    elif context.output == "markdown":
        context.stdout.write(markdown_lineage(lineage) + "\n")
    elif context.output == "table":
        context.stdout.write(lineage_text(lineage, context.style) + "\n\n")
    if context.output != "csv":
        context.emit(_facts(found), ["about", "value"])
        context.stdout.write("\n")
    if events or context.output == "csv":
        columns = _CSV if context.output == "csv" else _COLUMNS
        context.emit(fitted(context, events, columns, "what"), columns)


def _facts(found: Document) -> list[dict[str, object]]:
    """Return what is known of the process beside what the tree shows."""
    document = found["document"] or {}
    feeds = sorted(name[len("alliance_score_") :] for name in document if name.startswith("alliance_score_"))
    facts = (
        ("status", f"{found['status']}: {found['reason']}"), ("path", found["path"]), ("ended", found["ended_at"]),
        ("operating system", document.get("os_type")), ("sensor group", document.get("group")),
        ("last update", document.get("last_update")),
        ("watchlists", ", ".join(str(entry.get("wid")) for entry in document.get("watchlists", ()))),
        ("feeds with hits", ", ".join(feeds)),
    )  # fmt: skip
    return [{"about": about, "value": value} for about, value in facts if value]
