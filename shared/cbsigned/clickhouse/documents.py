"""Documents of processes and binaries on ClickHouse, written by the functions that write the embedded store's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Optional

from cbsigned.clickhouse.reading import PROCESS_COLUMNS, blob, process_row
from cbsigned.clickhouse.server import Row, Server, in_parts
from cbsigned.store.binary_documents import MAX_LISTED, binary_document, speaker_of
from cbsigned.store.kinds import PROCESS_DOCUMENT
from cbsigned.store.process_documents import COUNTED, kept_documents, process_document
from cbsigned.timing import Deadline

__all__ = ["binary_documents", "process_documents"]

_PART = 400
_RECORD = (
    "binary_id, kind, word, code_text, publisher, issuer, subject, program_name, signed, recorded, host_count, paths,"
    " md5, sha256"
)


def process_documents(server: Server, numbers: Sequence[int], deadline: Optional[Deadline]) -> list[dict[str, Any]]:
    """Return the documents of processes, in the order asked.

    Raises:
        ConfigError, SourceError: The store cannot be asked.
    """
    found: dict[int, dict[str, Any]] = {}
    for part in in_parts(numbers, _PART):
        events: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
        counts = " UNION ALL ".join(
            f"SELECT process_id, '{table}', count(), max(at) FROM {server.every(table)}"  # noqa: S608 (our own names)
            " WHERE process_id IN {ids} GROUP BY process_id"
            for table in COUNTED
        )
        for number, table, count, last in server.rows(counts, {"ids": part}, deadline):
            events[number][table] = (count, last)
        kept = _kept(server, part, deadline)
        sql = f"SELECT id, reported, {PROCESS_COLUMNS} FROM {server.every('process')} WHERE id IN {{ids}}"  # noqa: S608
        for number, reported, *columns in server.rows(sql, {"ids": part}, deadline):
            row = process_row(columns)
            documents = kept_documents(row[0], kept.get(number, []))
            found[number] = process_document(row, reported, events[number], documents)
    return [found[number] for number in numbers if number in found]


def _kept(server: Server, numbers: list[int], deadline: Optional[Deadline]) -> dict[int, list[str]]:
    sql = (
        f"SELECT process_id, body FROM {server.every('message')} WHERE process_id IN {{ids}}"  # noqa: S608
        " AND (kind = {kind} OR kind LIKE '%.hit.process') ORDER BY at ASC NULLS FIRST, id"
    )
    found: dict[int, list[str]] = defaultdict(list)
    for number, body in server.rows(sql, {"ids": numbers, "kind": PROCESS_DOCUMENT}, deadline):
        found[number].append(body)
    return found


def binary_documents(server: Server, numbers: Sequence[int], deadline: Optional[Deadline]) -> list[dict[str, Any]]:
    """Return the documents of binaries, in the order asked; one without a record of its signature is passed over.

    Raises:
        ConfigError, SourceError: The store cannot be asked.
    """
    found: dict[int, dict[str, Any]] = {}
    for part in in_parts(numbers, _PART):
        asked = (
            f"SELECT {_RECORD} FROM binary_record_local WHERE md5 != '' AND binary_id IN {{ids}}",  # noqa: S608
            "SELECT binary_id, kind, body FROM binary_message_local WHERE binary_id IN {ids}"
            " ORDER BY at ASC NULLS FIRST, id",
            "SELECT binary_id, count(), min(nullIf(first, 0)), max(last) FROM bin_host_local WHERE binary_id IN {ids}"
            " GROUP BY binary_id",
            "SELECT binary_id, host, host_short, sensor_id FROM bin_host_local WHERE binary_id IN {ids}"  # noqa: S608
            f" ORDER BY host_id LIMIT {MAX_LISTED} BY binary_id",
            "SELECT binary_id, path FROM file_local WHERE binary_id IN {ids}"  # noqa: S608
            f" ORDER BY id LIMIT {MAX_LISTED} BY binary_id",
        )
        records, kept, extents, hosts, paths = (_grouped(server.rows(sql, {"ids": part}, deadline)) for sql in asked)
        for number, rows in records.items():
            speaker = speaker_of([(*row[:-2], blob(row[-2]), blob(row[-1])) for row in rows])
            extent = extents[number][0] if number in extents else (0, None, None)
            on = [host for host in hosts.get(number, []) if host[2] is not None]
            seen = [path for (path,) in paths.get(number, [])]
            found[number] = binary_document(number, speaker, kept.get(number, []), extent, on, seen)
    return [found[number] for number in numbers if number in found]


def _grouped(rows: Sequence[Row]) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for number, *row in rows:
        found[number].append(tuple(row))
    return found
