"""`cbsigned search process|binary QUERY`: the EDR's query language over the store, with every row's signing status."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from cbsigned.cli import Context, ExitCode
from cbsigned.errors import ConfigError
from cbsigned.query.fields import Search
from cbsigned.query.parser import parse
from cbsigned.render.document import Document
from cbsigned.store.facets import FACETS
from cbsigned.store.questions import (
    SHARE,
    Subparsers,
    deadline_option,
    fitted,
    image_status,
    paging_options,
    question,
    say_paging,
    settings_of,
    statuses,
    words,
)
from cbsigned.store.reading import reading
from cbsigned.store.search import BINARY_SORTS, PROCESS_SORTS, Page, search_binaries, search_processes
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline

if TYPE_CHECKING:
    from cbsigned.clickhouse.address import Address
    from cbsigned.signing import BinarySource

__all__ = ["search", "search_answer"]

_HELP = """
examples:
  cbsigned search process 'process_name:git.exe digsig_result:Unsigned'
  cbsigned search binary 'digsig_result:Unsigned host_count:1'"""

_PROCESS = """
examples:
  cbsigned search process 'process_name:git.exe digsig_result:Unsigned'
  cbsigned search process 'filemod:system32\\drivers\\*.sys -username:SYSTEM' --sort 'start asc'
  cbsigned search process 'cmdline:"-encodedcommand" hostname:FIN-WS-04' --rows 100 --output csv
  cbsigned search process 'netconn_count:[1 TO *] digsig_result_modload:Unsigned' --facet process_name,hostname
  cbsigned search process '' --rows 0 --facet hostname             what is there at all

The EDR's query language: words and field:value, AND between them, OR, NOT or -, parentheses, wildcards, [a TO b].
"""

_BINARY = """
examples:
  cbsigned search binary 'digsig_result:Unsigned host_count:1'
  cbsigned search binary 'digsig_publisher:"Microsoft Corporation" observed_filename:temp' --facet digsig_result
  cbsigned search binary 'digsig_result:"Untrusted Root" or digsig_result:"Bad Signature"' --output markdown

The EDR's query language: words and field:value, AND between them, OR, NOT or -, parentheses, wildcards, [a TO b].
"""

_COLUMNS = {
    Search.PROCESS: {
        "start": "start", "status": "status", "name": "process_name", "pid": "process_pid", "host": "hostname",
        "cmdline": "cmdline", "guid": "id",
    },
    Search.BINARY: {
        "md5": "md5", "status": "status", "publisher": "publisher", "path": "observed_filename",
        "hosts": "host_count", "last_seen": "last_seen",
    },
}  # fmt: skip
"""What tables show: heading → the document's field; json and csv keep the fields' own names."""
_LOOSE = {Search.PROCESS: "cmdline", Search.BINARY: "path"}
_CSV = {
    Search.PROCESS: (
        "start", "last_update", "status", "publisher", "reason", "process_name", "path", "process_md5",
        "process_sha256", "process_pid", "cmdline", "username", "hostname", "id", "parent_name", "parent_pid",
        "parent_id", "modload_count", "filemod_count", "regmod_count", "netconn_count", "childproc_count",
        "crossproc_count",
    ),
    Search.BINARY: (
        "md5", "sha256", "status", "publisher", "reason", "digsig_result", "digsig_issuer", "digsig_subject",
        "digsig_prog_name", "digsig_sign_time", "observed_filename", "host_count", "original_filename", "file_desc",
        "file_version", "product_name", "company_name", "server_added_timestamp", "last_seen",
    ),
}  # fmt: skip
_SORTS = {Search.PROCESS: PROCESS_SORTS, Search.BINARY: BINARY_SORTS}
_PLURAL = {Search.PROCESS: "processes", Search.BINARY: "binaries"}


def search(subparsers: Subparsers) -> None:
    """Add `cbsigned search process|binary`."""
    parser = question(subparsers, "search", "processes or binaries of the store, in the EDR's query language", _HELP)
    parser.set_defaults(run=lambda _args, _context: _usage(parser))
    inner = parser.add_subparsers(title="what to search", metavar="WHAT")
    for kind, epilog in ((Search.PROCESS, _PROCESS), (Search.BINARY, _BINARY)):
        one = question(inner, kind.value, f"{_PLURAL[kind]} that a query finds", epilog)
        one.add_argument("query", metavar="QUERY", help="in one argument; '' finds everything")
        paging_options(one, 20, _PLURAL[kind])
        sorts = ", ".join(_SORTS[kind])
        one.add_argument("--sort", metavar="'FIELD asc|desc'", help=f"by one of: {sorts}")
        one.add_argument(
            "--facet", type=words(tuple(FACETS[kind])), action="extend", default=[], metavar="FIELD,…",
            help=f"also count values of: {', '.join(FACETS[kind])}",
        )  # fmt: skip
        if kind is Search.PROCESS:
            one.add_argument(
                "--group", action="store_true",
                help="one row a process, as cb.group=id; the store keeps a process whole, so there is no other way",
            )  # fmt: skip
        deadline_option(one)
        one.set_defaults(run=_run, kind=kind)


def search_answer(
    place: Union[Path, Address], kind: Search, text: str, deadline_s: float, *, start: int = 0, rows: int = 20,
    sort: Optional[str] = None, facets: Sequence[str] = (),
) -> tuple[Page, list[Document]]:  # fmt: skip
    """Return what was found, and the rows: the documents with `status`, `reason` and `publisher`.

    Args:
        place: The store: its file, or where it is on ClickHouse.
        kind: Which search.
        text: The query.
        deadline_s: For everything, seconds; a search that is stopped there is an incomplete page.
        start, rows, sort, facets: As of `search_processes`.

    Raises:
        QueryError: The query cannot be read, or the store has nothing for a part of it; points at the character.
        ConfigError: There is no such store.
        SourceError: It cannot be read.
    """
    deadline = Deadline(deadline_s)
    query = parse(text, kind)
    with contextlib.ExitStack() as stack:
        source, ask = _opened(stack, place, kind)
        page = ask(
            query, start=start, rows=rows, sort=sort, facets=list(dict.fromkeys(facets)),
            deadline=Deadline(deadline_s * SHARE),
        )  # fmt: skip
        hashes = {id(document): _hashes(document, kind) for document in page.documents}
        found = statuses(source, [md5 or sha256 for md5, sha256 in hashes.values()], deadline)
    return page, [
        {**document, "md5": hashes[id(document)][0], **image_status(found, *hashes[id(document)])}
        for document in page.documents
    ]


def _opened(
    stack: contextlib.ExitStack, place: Union[Path, Address], kind: Search
) -> tuple[BinarySource, Callable[..., Page]]:
    """Return who tells statuses, and the search, on a file or on ClickHouse."""
    if isinstance(place, Path):
        store = stack.enter_context(StoreSource(place))
        ask = search_processes if kind is Search.PROCESS else search_binaries
        return store, partial(ask, stack.enter_context(reading(place)))
    from cbsigned.clickhouse.search import searched
    from cbsigned.clickhouse.source import ClickHouseSource

    shards = stack.enter_context(ClickHouseSource(place))
    return shards, partial(searched, shards.server)


def _hashes(document: Mapping[str, Any], kind: Search) -> tuple[Optional[str], Optional[str]]:
    prefix = "process_" if kind is Search.PROCESS else ""
    md5, sha256 = (document.get(f"{prefix}{name}") for name in ("md5", "sha256"))
    return str(md5).lower() if md5 else None, sha256 if sha256 and sha256 != "(unknown)" else None


def _run(args: argparse.Namespace, context: Context) -> int:
    settings = settings_of(args, context)
    if args.facet and args.rows and context.output == "csv":
        raise ConfigError(
            "csv holds one table: ask for the facets alone with --rows 0, or for the rows without --facet."
        )
    page, rows = search_answer(
        context.store(), args.kind, args.query, settings.deadline_s, start=args.start, rows=args.rows,
        sort=args.sort, facets=args.facet,
    )  # fmt: skip
    if rows or (context.output == "csv" and not args.facet):
        _emit(rows, args.kind, context)
    if page.facets:
        if rows and context.output != "json":
            context.stdout.write("\n")
        context.emit(_facet_rows(page), ["facet", "value", "count", "share"])
    say_paging(context, _PLURAL[args.kind], len(rows), args.start, page.total, at_least=page.incomplete)
    for note in page.notes:
        context.say(f"cbsigned: {note}")
    return ExitCode.INCOMPLETE if page.incomplete else ExitCode.OK


def _emit(rows: Sequence[Document], kind: Search, context: Context) -> None:
    """Print the rows; of several paths a table shows the first, JSON all."""
    if context.output == "json":
        context.emit(rows, [])
        return
    plain = [{**row, "observed_filename": next(iter(row.get("observed_filename") or ()), None)} for row in rows]
    if context.output == "csv":
        context.emit(plain, _CSV[kind])
        return
    columns = _COLUMNS[kind]
    shown = [{heading: row.get(field) for heading, field in columns.items()} for row in plain]
    context.emit(fitted(context, shown, list(columns), _LOOSE[kind]), list(columns))


def _facet_rows(page: Page) -> list[dict[str, object]]:
    return [
        {
            "facet": name, "value": entry["name"], "count": entry["value"],
            "share": f"{entry['ratio']} %" if "ratio" in entry else None,
        }
        for name, entries in page.facets.items()
        for entry in entries
    ]  # fmt: skip


def _usage(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return ExitCode.USAGE
