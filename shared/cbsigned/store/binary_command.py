"""`cbsigned binary HASH`: what is known of a file: signature with its evidence, version info, how common it is."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from cbsigned.binary import BinaryRecord, Signature, read_signature
from cbsigned.cli import Context, ExitCode
from cbsigned.errors import SourceError
from cbsigned.gaps import Cause
from cbsigned.render.document import Document, signature_document
from cbsigned.render.facts import age
from cbsigned.status import SigningStatus
from cbsigned.store.binary_documents import binary_documents
from cbsigned.store.questions import (
    Subparsers,
    count,
    deadline_option,
    hashes_option,
    question,
    say_failures,
    settings_of,
    statuses,
    time_text,
    wrapped,
)
from cbsigned.store.reading import bounded, reading
from cbsigned.store.relations import binaries_of
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline, format_time, utc_now

__all__ = ["binary", "binary_answer"]

_HELP = """
examples:
  cbsigned binary 21bdf404d829667477160f3942f7159a
  cbsigned binary --output markdown 21bdf404d829667477160f3942f7159a
  cbsigned binary 21bdf404d829667477160f3942f7159a --output json | jq .frequency

Records that contradict the others are told one by one, with the status that each gives alone."""

_VERSION = {
    "original_filename": "original name", "internal_name": "internal name", "file_desc": "description",
    "file_version": "file version", "product_name": "product", "product_version": "product version",
    "company_name": "company", "legal_copyright": "copyright", "comments": "comments", "orig_mod_len": "bytes",
    "is_executable_image": "executable", "is_64bit": "64 bit", "os_type": "operating system",
}  # fmt: skip
_COLUMNS = ("asked", "section", "name", "value")
_HOSTS = """
SELECT h.value, s.first, s.last FROM bin_host s JOIN host h ON h.id = s.host_id WHERE s.binary_id = ?
ORDER BY s.last DESC, h.value LIMIT ?"""
_SPAN = "SELECT count(*), min(nullif(first, 0)), max(last) FROM bin_host WHERE binary_id = ?"
_PATHS = "SELECT DISTINCT lower(p.value) FROM file f JOIN path p ON p.id = f.path_id WHERE f.binary_id = ? LIMIT ?"
_RAN = "SELECT count(*) FROM process WHERE binary_id = ?"


def binary(subparsers: Subparsers) -> None:
    """Add `cbsigned binary`."""
    parser = question(subparsers, "binary", "a file: signature, version info, where it was seen, how often", _HELP)
    parser.add_argument("hashes", nargs="+", metavar="HASH", help="MD5 or SHA-256")
    parser.add_argument(
        "--rows", type=count(0, 100_000), default=20, metavar="N", help="most hosts and paths (default: 20)"
    )
    deadline_option(parser)
    parser.set_defaults(run=_run)


def binary_answer(path: Path, hashes: Sequence[str], deadline_s: float, rows: int = 20) -> list[Document]:
    """Return what the store knows of each file: a signature document with `records`, `version` and `frequency`.

    Args:
        path: The store.
        hashes: Lower-case MD5 or SHA-256.
        deadline_s: For everything, seconds.
        rows: Most hosts and most paths of each.

    Raises:
        ConfigError: There is no such store.
        SourceError: It cannot be read, or not in time.
    """
    deadline = Deadline(deadline_s)
    with StoreSource(path) as source, reading(path) as db:
        signatures = statuses(source, hashes, deadline)
        records = source.binaries(hashes, deadline)
        with bounded(db, deadline):
            numbers = binaries_of(db, hashes)
            told = {file_hash: _seen(db, numbers.get(file_hash, []), rows) for file_hash in hashes}
    documents = []
    for file_hash in hashes:
        answer = records[file_hash]
        own: Sequence[BinaryRecord] = () if isinstance(answer, SourceError) else answer
        documents.append(_document(signatures[file_hash], own, source.name, told[file_hash]))
    return documents


def _document(signature: Signature, records: Sequence[BinaryRecord], source: str, seen: Document) -> Document:
    now = utc_now()
    alone = [read_signature(signature.hash, [record], source, now) for record in records]
    known = {one.status for one in alone if one.status is not SigningStatus.UNKNOWN}
    made = signature_document(signature, now)
    made["md5"] = made["md5"] or next((record.md5 for record in records if record.md5), None)
    made["sha256"] = made["sha256"] or next((record.sha256 for record in records if record.sha256), None)
    return {
        "asked": signature.hash, **made, "contradicting": len(known) > 1,
        "records": [_record(record, read) for record, read in zip(records, alone)], **seen,
    }  # fmt: skip


def _record(record: BinaryRecord, read: Signature) -> Document:
    return {
        "record": record.kind.value, "status": read.status.value, "reason": read.reason, "word": record.word,
        "code": f"0x{record.code:08x}" if record.code is not None else record.code_text,
        "publisher": record.publisher, "recorded_at": format_time(record.recorded_at),
    }  # fmt: skip


def _seen(db: sqlite3.Connection, numbers: Sequence[int], rows: int) -> Document:
    """Return version info and frequency of a file; several numbers are one file under one SHA-256."""
    documents = binary_documents(db, numbers)
    version = {label: documents[0].get(name) for name, label in _VERSION.items()} if documents else {}
    spans = [db.execute(_SPAN, (number,)).fetchone() for number in numbers]
    hosts = [
        {"host": host, "first_seen": time_text(first), "last_seen": time_text(last)}
        for number in numbers
        for host, first, last in db.execute(_HOSTS, (number, rows))
    ]
    paths = [row[0] for number in numbers for row in db.execute(_PATHS, (number, rows + 1)) if row[0]]
    return {
        "version": {label: value for label, value in version.items() if value not in (None, "", "(unknown)")},
        "frequency": {
            "hosts": sum(span[0] for span in spans),
            "first_seen": time_text(min((span[1] for span in spans if span[1]), default=None)),
            "last_seen": time_text(max((span[2] for span in spans if span[2]), default=None)),
            "processes": sum(int(db.execute(_RAN, (number,)).fetchone()[0]) for number in numbers),
            "on": hosts[:rows], "under": paths[:rows], "more_paths": len(paths) > rows,
        },
    }  # fmt: skip


def _run(args: argparse.Namespace, context: Context) -> int:
    settings, path = settings_of(args, context), context.store_path()
    documents = binary_answer(path, hashes_option(args.hashes), settings.deadline_s, args.rows)
    if context.output == "json":
        context.emit(documents, [])
    else:
        columns = _COLUMNS if len(documents) > 1 or context.output == "csv" else _COLUMNS[1:]
        rows = [{"asked": d["asked"], **row} for d in documents for row in _rows(d)]
        context.emit(wrapped(context, rows, columns, "value"), columns)
    failures = [d["reason"] for d in documents if d["cause"] in _FAILED]
    say_failures(context, failures)
    if failures and len(failures) == len(documents):
        return ExitCode.SOURCE
    return ExitCode.INCOMPLETE if failures else ExitCode.OK


_FAILED = frozenset(cause.value for cause in Cause if cause.failed)


def _rows(document: Document) -> list[dict[str, Any]]:
    """Return one file's answer as rows of section, name and value."""
    frequency = document["frequency"]
    told: list[tuple[str, str, object]] = [
        *(("file", name, document[name]) for name in ("md5", "sha256")),
        *(("signature", name, document[name]) for name in ("status", "reason", "publisher", "issuer", "subject")),
        *(("signature", name.replace("_", " "), document[name]) for name in ("program_name", "signed_at")),
        *(("signature", name, value) for name, value in _evidence(document["evidence"])),
        *(_contradiction(record) for record in document["records"] if document["contradicting"]),
        *(("version", label, value) for label, value in document["version"].items()),
        *(("seen", name.replace("_", " "), frequency[name]) for name in ("hosts", "first_seen", "last_seen")),
        ("seen", "processes that ran it", frequency["processes"]),
        *(("host", row["host"], f"{row['first_seen'] or '?'} to {row['last_seen']}") for row in frequency["on"]),
        *(("host", "", f"{more:,} more; --rows N shows more") for more in _more_hosts(frequency)),
        *(("path", "", path) for path in frequency["under"]),
        *(("path", "", "more; --rows N shows more") for _ in range(frequency["more_paths"])),
    ]
    return [{"section": s, "name": n, "value": v} for s, n, v in told if v is not None]


def _evidence(found: Optional[Document]) -> list[tuple[str, object]]:
    """Return what a status rests on, as names and values."""
    if found is None:
        return [("evidence", "none: no record speaks")]
    old = f", {age(found['age_s'])} old" if found["age_s"] is not None else ""
    return [
        ("evidence", f"{found['record']} of {found['source']}; {found['certainty']}"),
        ("recorded at", f"{found['recorded_at']}{old}" if found["recorded_at"] else "an unknown time"),
        ("word and code", ", ".join(str(part) for part in (found["word"], found["code"]) if part is not None) or None),
    ]


def _contradiction(record: Document) -> tuple[str, str, object]:
    code = f", code {record['code']}" if record["code"] else ""
    said = (
        f'{record["status"]}: word "{record["word"]}"{code}, recorded {record["recorded_at"] or "at an unknown time"}'
    )
    return "contradiction", record["record"], said


def _more_hosts(frequency: Document) -> list[int]:
    more = frequency["hosts"] - len(frequency["on"])
    return [more] if more > 0 else []
