"""Enrichments and lineages as flat rows for spreadsheets and look-up files: one row per process or file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Optional

from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.facts import alert_unknowns, lineage_short, unknowns
from cbsigned.render.marks import NOT_READ, look

__all__ = ["COLUMNS", "LINEAGE_COLUMNS", "csv_lines", "csv_rows", "lineage_rows", "spreadsheet_safe"]

COLUMNS = {
    "number": "Place of the alert in the input, from 1.",
    "alert_id": "The platform's id of the alert.",
    "alert_kind": "The platform's word for it.",
    "alert_title": "Watchlist, feed report or rule.",
    "alert_at": "When it was raised, UTC.",
    "_serial": "As in the Splunk export that the alert came from.",
    "_time": "As in the Splunk export that the alert came from.",
    "role": "What the process or file is in the alert; empty where the alert names nothing.",
    "status": "Signing status: one of the EDR's eight words, or Unknown.",
    "verdict": "The conclusion in a few words; `claimed: …` where only the alert says so, `not read` for no alert.",
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
    "not_known": "What is not known of it and of the alert, parted by ` | `.",
    "complete": "`false` where a look-up failed that may succeed later.",
    "enriched_at": "When all this was asked, UTC.",
}
"""Column → what it holds; the order is the file's."""

LINEAGE_COLUMNS = {
    "process": "Guid of the process that was asked for.",
    "relation": "`self`, `ancestor`, `child` or `sibling`.",
    "depth": "0 the process itself and its siblings, 1 its parent; empty for a child.",
    "guid": "Process guid.",
    "parent_guid": "Guid of its parent.",
    "name": "File name.",
    "path": "Full path.",
    "pid": "Process id.",
    "host": "Host name.",
    "user": "User name.",
    "cmdline": "Command line, at most 4,096 characters.",
    "started_at": "Start, UTC.",
    "md5": "MD5 of the image.",
    "sha256": "SHA-256 of the image.",
    "status": "Signing status: one of the EDR's eight words, or Unknown.",
    "reason": "Why this status.",
    "publisher": "Who signed.",
    "from_guid": "`true` where pid and start are only what the guid encodes.",
    "gap": "What was not recorded of it.",
    "ended_by": "Why the walk ended; on the row of the process itself.",
    "ended_reason": "The same as a sentence, and what is missing of children and siblings.",
}
"""Column → what it holds, for `lineage_rows`; the order is the file's."""

_MAX_CELL = 4096
_TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def spreadsheet_safe(value: object) -> str:
    """Return a cell that no spreadsheet runs as a formula: a leading `=`, `+`, `-` or `@` gets a `'` before it.

    Args:
        value: As `clean` returns it: a character that is not seen could hide what begins a formula.
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip().startswith(_TRIGGERS) or text.startswith(("\t", "\r")) else text


def csv_rows(document: Document, number: int = 1) -> list[dict[str, str]]:
    """Return the flat rows of one alert, every column of `COLUMNS` in each; at least one row.

    Args:
        document: From `enrichment_document`.
        number: Place of the alert in the input, from 1.
    """
    return [_row(document, subject, number) for subject in document["subjects"]] or [_row(document, None, number)]


def lineage_rows(lineage: Document) -> list[dict[str, str]]:
    """Return the flat rows of one lineage, every column of `LINEAGE_COLUMNS` in each: the process first.

    Then come its ancestors, nearest first, its children and its siblings. The row of the process says why the walk
    ended, and what is missing of the others.

    Args:
        lineage: From `lineage_document`.
    """
    parts = {kind: lineage[part] or {"nodes": (), "gap": None} for kind, part in _PARTS.items()}
    own, *ancestors = lineage["nodes"]
    missing = [f"{_PARTS[kind]}: {part['gap']['reason']}" for kind, part in parts.items() if part["gap"]]
    told = {"ended_by": lineage["ended_by"], "ended_reason": " | ".join([lineage["reason"], *missing])}
    related = [("self", own), *(("ancestor", node) for node in ancestors)]
    related += [(kind, node) for kind, part in parts.items() for node in part["nodes"]]
    return [
        _lineage_row(node, process=own["guid"], relation=kind, **(told if kind == "self" else {}))
        for kind, node in related
    ]


_PARTS = {"child": "children", "sibling": "siblings"}


def _lineage_row(node: Document, **more: str) -> dict[str, str]:
    gap = node["gap"]["reason"] if node["gap"] else None
    depth = node["depth"] if node["depth"] >= 0 else None
    values = {**node, **more, "depth": depth, "gap": gap, "from_guid": "true" if node["from_guid"] else "false"}
    return {name: spreadsheet_safe(clean(values.get(name), _MAX_CELL)) for name in LINEAGE_COLUMNS}


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
    for number, document in enumerate(documents, 1):
        writer.writerows(csv_rows(document, number))
        yield _taken(buffer)
    if header and buffer.tell():
        yield _taken(buffer)


def _row(document: Document, subject: Optional[Document], number: int) -> dict[str, str]:
    alert, told, origin = document["alert"] or {}, subject or {}, document["origin"] or {}
    signature, lineage = told.get("signature") or {}, told.get("lineage") or {}
    found, verdict = signature.get("evidence") or {}, told.get("verdict") or {}
    values = {
        **{name: told.get(name) for name in COLUMNS},
        "number": number,
        "_serial": origin.get("serial"),
        "_time": origin.get("time"),
        **{f"alert_{name}": alert.get(name) for name in ("id", "kind", "title", "at")},
        **{name: signature.get(name) for name in ("publisher", "issuer", "program_name", "signed_at")},
        **{name: found.get(name) for name in ("certainty", "record", "source", "recorded_at", "age_s", "code")},
        "status": told.get("status", document["status"]),
        "reason": told.get("reason", document["reason"]),
        "verdict": verdict.get("text") or (NOT_READ if look(document) == NOT_READ else None),
        "lineage": lineage_short(told.get("lineage"), "<-"),
        "lineage_ended_by": lineage.get("ended_by"),
        "lineage_reason": lineage.get("reason"),
        "notes": " | ".join(verdict.get("notes", ())),
        "not_known": " | ".join(dict.fromkeys(unknowns(subject or document) + alert_unknowns(document))),
        "complete": "true" if document["complete"] else "false",
        "enriched_at": document["enriched_at"],
    }
    return {name: spreadsheet_safe(clean(values[name], _MAX_CELL)) for name in COLUMNS}


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
