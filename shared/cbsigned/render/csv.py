"""Enrichments as flat rows for spreadsheets and look-up files: one row per process or file of an alert."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Optional

from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.facts import lineage_short, unknowns

__all__ = ["COLUMNS", "csv_lines", "csv_rows", "spreadsheet_safe"]

COLUMNS = {
    "alert_id": "The platform's id of the alert.",
    "alert_kind": "The platform's word for it.",
    "alert_title": "Watchlist, feed report or rule.",
    "alert_at": "When it was raised, UTC.",
    "role": "What the process or file is in the alert; empty where the alert names nothing.",
    "status": "Signing status: one of the EDR's eight words, or Unknown.",
    "verdict": "The conclusion in a few words.",
    "reason": "The conclusion as a sentence.",
    "name": "File name.",
    "path": "Full path.",
    "pid": "Process id.",
    "host": "Host name.",
    "user": "User name.",
    "cmdline": "Command line, at most 4,096 characters.",
    "started_at": "Start of the process, UTC.",
    "md5": "MD5 of the image.",
    "sha256": "SHA-256 of the image.",
    "process_guid": "Process guid.",
    "publisher": "Who signed.",
    "issuer": "Who issued the certificate.",
    "program_name": "Free text chosen by the signer.",
    "signed_at": "When it was signed, UTC.",
    "certainty": "How sure the status is.",
    "record": "Kind of record that it rests on.",
    "source": "Who holds that record.",
    "recorded_at": "When the record was made, UTC.",
    "age_s": "Its age in seconds.",
    "code": "Result code.",
    "lineage": "Process and ancestors by name, newest first, parted by `<-`.",
    "lineage_ended_by": "Why the walk ended.",
    "lineage_reason": "The same as a sentence.",
    "notes": "What else must be known, parted by ` | `.",
    "not_known": "What is not known, parted by ` | `.",
    "complete": "`false` where a look-up failed that may succeed later.",
    "enriched_at": "When all this was asked, UTC.",
}
"""Column → what it holds; the order is the file's."""

_MAX_CELL = 4096
_TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def spreadsheet_safe(value: object) -> str:
    """Return a cell that no spreadsheet runs as a formula: a leading `=`, `+`, `-` or `@` gets a `'` before it."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip().startswith(_TRIGGERS) or text.startswith(("\t", "\r")) else text


def csv_rows(document: Document) -> list[dict[str, str]]:
    """Return the flat rows of one alert, every column of `COLUMNS` in each; at least one row.

    Args:
        document: From `enrichment_document`.
    """
    return [_row(document, subject) for subject in document["subjects"]] or [_row(document, None)]


def csv_lines(documents: Iterable[Document], *, header: bool = True) -> Iterator[str]:
    """Yield CSV lines, each with its line end, as the documents come.

    Args:
        documents: From `enrichment_document`.
        header: Whether the first line names the columns.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(COLUMNS), lineterminator="\n")
    if header:
        writer.writeheader()
    for document in documents:
        writer.writerows(csv_rows(document))
        yield _taken(buffer)
    if header and buffer.tell():
        yield _taken(buffer)


def _row(document: Document, subject: Optional[Document]) -> dict[str, str]:
    alert, told = document["alert"] or {}, subject or {}
    signature, lineage = told.get("signature") or {}, told.get("lineage") or {}
    found, verdict = signature.get("evidence") or {}, told.get("verdict") or {}
    values = {
        **{name: told.get(name) for name in COLUMNS},
        **{f"alert_{name}": alert.get(name) for name in ("id", "kind", "title", "at")},
        **{name: signature.get(name) for name in ("publisher", "issuer", "program_name", "signed_at")},
        **{name: found.get(name) for name in ("certainty", "record", "source", "recorded_at", "age_s", "code")},
        "status": told.get("status", document["status"]),
        "reason": told.get("reason", document["reason"]),
        "verdict": verdict.get("text"),
        "lineage": lineage_short(told.get("lineage"), "<-"),
        "lineage_ended_by": lineage.get("ended_by"),
        "lineage_reason": lineage.get("reason"),
        "notes": " | ".join(verdict.get("notes", ())),
        "not_known": " | ".join(unknowns(subject or document)),
        "complete": "true" if document["complete"] else "false",
        "enriched_at": document["enriched_at"],
    }
    return {name: spreadsheet_safe(clean(values[name], _MAX_CELL)) for name in COLUMNS}


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
