"""Binaries of the store as the EDR's binary documents.

A document exists where a record tells of the file's signature; a file that events merely name has none, as a file that
no sensor has described has none in the EDR. Signature, hosts and paths come from the store's own tables, everything
else from the documents, hits and module events that were kept.

References:
    - cb-edr-api §5.2 (fields), §5.3, §10.3 (flattened forms), §10.4 (module events); recordings cb-event-forwarder
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from cbsigned.binary import RecordKind
from cbsigned.observables import parse_md5, short_host
from cbsigned.store.process_documents import iso
from cbsigned.timing import parse_time

__all__ = ["MAX_LISTED", "binary_document", "binary_documents", "binary_number", "signing_states", "speaker_of"]

_CHUNK = 400
MAX_LISTED = 100
_UNKNOWN = "(unknown)"
_KIND_ORDER = {kind.value: rank for rank, kind in enumerate(RecordKind)}
_NAMED = (
    "original_filename", "internal_name", "file_desc", "file_version", "product_name", "product_version",
    "company_name", "legal_copyright",
)  # fmt: skip
_OPTIONAL = ("product_desc", "legal_trademark", "comments", "private_build", "special_build", "icon")
_BOOLS = ("is_executable_image", "is_64bit")
_NUMBERS = ("orig_mod_len", "copied_mod_len", "cb_version", "facet_id")
_MODULE = {
    "utf8_company_name": "company_name", "utf8_file_description": "file_desc", "utf8_file_version": "file_version",
    "utf8_internal_name": "internal_name", "utf8_legal_copyright": "legal_copyright",
    "utf8_original_file_name": "original_filename", "utf8_product_name": "product_name",
    "utf8_product_version": "product_version", "utf8_comments": "comments", "utf8_private_build": "private_build",
    "utf8_special_build": "special_build", "utf8_legal_trademark": "legal_trademark", "size": "orig_mod_len",
}  # fmt: skip
_ALLIANCE = re.compile(r"alliance_(score|data|link|updated)_[a-z0-9_]{1,64}", re.ASCII)
_RECORDS = """
SELECT r.binary_id, r.kind, r.word, r.code_text, r.publisher, r.issuer, r.subject, r.program_name, r.signed,
       r.recorded, r.host_count, r.paths, b.md5, b.sha256
FROM binary_record r JOIN binary b ON b.id = r.binary_id WHERE b.md5 IS NOT NULL AND r.binary_id IN ({})
"""
_KEPT = """
SELECT m.binary_id, k.name, m.body FROM message m JOIN kind k ON k.id = m.kind_id
WHERE m.binary_id IN ({}) ORDER BY m.at, m.id
"""
_EXTENT = """
SELECT binary_id, count(*), min(nullif(first, 0)), max(last) FROM bin_host WHERE binary_id IN ({}) GROUP BY binary_id
"""
_HOSTS = """
SELECT h.value, h.short, (SELECT min(e.sensor_id) FROM sensor e WHERE e.host_id = s.host_id) AS sensor_id
FROM (SELECT host_id FROM bin_host WHERE binary_id = ? LIMIT ?) s JOIN host h ON h.id = s.host_id
WHERE sensor_id IS NOT NULL
"""
_PATHS = "SELECT p.value FROM file f JOIN path p ON p.id = f.path_id WHERE f.binary_id = ? LIMIT ?"


def binary_number(db: sqlite3.Connection, md5: str) -> Optional[int]:
    """Return the store's number of a binary, or None for one that nothing names.

    Args:
        md5: As `parse_md5` returns it.
    """
    row = db.execute("SELECT id FROM binary WHERE md5 = ?", (bytes.fromhex(md5),)).fetchone()
    return None if row is None else int(row[0])


def binary_documents(db: sqlite3.Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return the documents of binaries, in the order asked; one without a record of its signature is passed over."""
    found: dict[int, dict[str, Any]] = {}
    wanted = list(dict.fromkeys(numbers))
    for first in range(0, len(wanted), _CHUNK):
        part = wanted[first : first + _CHUNK]
        records, kept, extents = (_grouped(db, sql, part) for sql in (_RECORDS, _KEPT, _EXTENT))
        for number, rows in records.items():
            paths = [row[0] for row in db.execute(_PATHS, (number, MAX_LISTED))]
            hosts = db.execute(_HOSTS, (number, MAX_LISTED)).fetchall()
            extent = extents[number][0] if number in extents else (0, None, None)
            found[number] = binary_document(number, speaker_of(rows), kept.get(number, []), extent, hosts, paths)
    return [found[number] for number in numbers if number in found]


def signing_states(db: sqlite3.Connection, numbers: Iterable[int]) -> dict[str, dict[str, str]]:
    """Return by upper-case MD5 what event answers say of binaries: `digsig_result`, and the publisher where known."""
    wanted = list(dict.fromkeys(numbers))
    states: dict[str, dict[str, str]] = {}
    for first in range(0, len(wanted), _CHUNK):
        part = wanted[first : first + _CHUNK]
        records = _grouped(db, _RECORDS, part)
        sql = f"SELECT id, md5 FROM binary WHERE md5 IS NOT NULL AND id IN ({','.join('?' * len(part))})"  # noqa: S608
        for number, md5 in db.execute(sql, part):
            rows = records.get(number)
            state = {"digsig_result": "(Unknown)"}
            if rows:
                speaker = speaker_of(rows)
                state["digsig_result"] = speaker[1] or "(Unknown)"
                if speaker[3]:
                    state["digsig_publisher"] = speaker[3]
            states[md5.hex().upper()] = state
    return states


def _grouped(db: sqlite3.Connection, sql: str, numbers: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
    """Return the rows of each binary, without the number that stands first."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for number, *row in db.execute(sql.format(",".join("?" * len(numbers))), numbers):
        found[number].append(tuple(row))
    return found


def speaker_of(records: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the one of a binary's records that its document is written from; each begins with its kind."""
    return min(records, key=lambda row: (_KIND_ORDER.get(row[0], 99), row[8]))


def binary_document(
    number: int, record: tuple[Any, ...], kept: Sequence[tuple[Any, ...]], extent: tuple[Any, ...],
    hosts: Sequence[tuple[Any, ...]], paths: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return one document.

    Args:
        number: The store's.
        record: The speaking one: kind, word, code, signer and times, hosts and paths, both hashes as bytes.
        kept: Kind and body of kept messages about it, oldest first.
        extent: On how many hosts it was seen, first and last, in milliseconds.
        hosts: Name, short name and sensor of those hosts.
        paths: Under which telemetry saw it.
    """
    _kind, word, code, publisher, issuer, subject, program_name, signed, recorded, host_count, told, md5, sha256 = (
        record
    )
    md5_text = md5.hex().upper()
    seen_on, first, last = extent
    made: dict[str, Any] = {
        "md5": md5_text, "sha256": sha256.hex() if sha256 else _UNKNOWN, "digsig_result": word or "(Unknown)",
        "signed": word or "(Unknown)", "digsig_result_code": code or None, "digsig_publisher": publisher,
        "digsig_issuer": issuer, "digsig_subject": subject, "digsig_prog_name": program_name,
        "digsig_sign_time": iso(signed), **dict.fromkeys(_NAMED, _UNKNOWN), "copied_mod_len": 0, "watchlists": [],
        "server_added_timestamp": iso(recorded or first), "facet_id": number,
    }  # fmt: skip
    documents = [document for row in kept for document in _documents(row[0], json.loads(row[1]), md5_text)]
    for document in documents:
        made.update(_besides(document))
    made.setdefault("timestamp", made["server_added_timestamp"])
    seen = [document.get("last_seen") for document in documents]
    made["last_seen"] = _latest([*seen, iso(last)]) or made["server_added_timestamp"]
    made["endpoint"] = _endpoints(documents, hosts)
    made["host_count"] = max(host_count or 0, seen_on if len(hosts) == MAX_LISTED else len(made["endpoint"]))
    made["group"] = _merged(document.get("group") for document in documents)
    listed = _merged([*json.loads(told), *(document.get("observed_filename") for document in documents), *paths])
    made["observed_filename"] = list(dict.fromkeys(path.lower() for path in listed if path))[:MAX_LISTED]
    if any("\\" in path for path in made["observed_filename"]):
        made["os_type"] = "Windows"
    return {name: value for name, value in made.items() if value is not None}


def _documents(kind: str, record: Mapping[str, Any], md5: str) -> list[Mapping[str, Any]]:
    """Return what a kept message says of a binary, in the words of a document."""
    if kind == "ingress.event.module":
        return [{ours: record[theirs] for theirs, ours in _MODULE.items() if record.get(theirs)}]
    if kind == "binarystore.file.added":
        return [{"orig_mod_len": record.get("size"), "copied_mod_len": record.get("size")}]
    if kind == "binaryinfo.group.observed":
        return [{"group": record.get("group")}]
    listed = record.get("docs", record if "digsig_result" in record and "alert_type" not in record else [])
    inside = listed if isinstance(listed, list) else [listed]
    own = [document for document in inside if isinstance(document, dict)]
    return [d for d in own if (parse_md5(d.get("md5", md5)) or "").upper() == md5]


def _besides(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a document that have no column; flattened forms are brought to the document's types."""
    added: dict[str, Any] = {}
    for name, value in document.items():
        if name in _NAMED or name in _OPTIONAL:
            added[name] = value if isinstance(value, str) and value else None
        elif name in _BOOLS:
            added[name] = {"true": True, "false": False}.get(str(value).lower())
        elif name in _NUMBERS:
            added[name] = int(value) if str(value).isascii() and str(value).isdigit() and len(str(value)) < 19 else None
        elif name in ("server_added_timestamp", "timestamp"):
            added[name] = value if isinstance(value, str) and parse_time(value) else None
        elif name == "watchlists" and isinstance(value, list):
            added[name] = [entry for entry in value if isinstance(entry, dict)]
        elif _ALLIANCE.fullmatch(name):
            added[name] = [value] if name.startswith("alliance_data_") and isinstance(value, str) else value
        elif name == "event_partition_id" and isinstance(value, list):
            added[name] = value
    return {name: value for name, value in added.items() if value is not None}


def _endpoints(documents: Iterable[Mapping[str, Any]], hosts: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return `HOST|sensor` of every host that had the file; hosts without a known sensor are left out."""
    by_host: dict[str, str] = {}
    for endpoint in _merged(document.get("endpoint") for document in documents):
        host, _bar, sensor = endpoint.partition("|")
        if sensor.isascii() and sensor.isdigit():
            by_host.setdefault(short_host(host), endpoint)
    for host, short, sensor in hosts:
        by_host.setdefault(short, f"{host}|{sensor}")
    return list(by_host.values())[:MAX_LISTED]


def _merged(values: Iterable[Any]) -> list[str]:
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(item for item in items if isinstance(item, str) and item))


def _latest(times: Iterable[Any]) -> Optional[str]:
    known = [(moment, text) for moment, text in ((parse_time(text), text) for text in times) if moment is not None]
    return max(known)[1] if known else None
