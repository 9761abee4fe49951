"""What searches find, as rows with the signing status of each file: processes, binaries, where a file was seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Optional

from cbsigned.binary import Signature, parse_binary, read_signature
from cbsigned.observables import split_path
from cbsigned.process import Process
from cbsigned.render.document import Document
from cbsigned.render.links import console_links
from cbsigned.seen import Contacts, Seen
from cbsigned.status import SigningStatus
from cbsigned.timing import format_time, parse_time

__all__ = ["binary_row", "process_row", "seen_document"]


def process_row(process: Process, signatures: Mapping[str, Signature], source: str) -> Document:
    """Return one process of a search as JSON types.

    Args:
        signatures: By hash; a process whose image is not among them is *Unknown*.
        source: Name of the source, for the link to its console.
    """
    links = console_links(source, process.guid, None)
    return {
        "guid": process.guid,
        **_run(process),
        "parent_name": process.parent_name,
        "parent_guid": process.parent_guid,
        **_signing(process.md5, process.sha256, signatures),
        "link": links["process"] if links else None,
    }


def binary_row(document: Mapping[str, Any], source: str, read_at: datetime) -> Document:
    """Return one binary of a search as JSON types; its status is read from the document itself.

    Args:
        document: As the EDR's binary search gives it, whole or as a flat row.

    References:
        - cb-edr-api §5.2
    """
    record = parse_binary(document)
    signature = read_signature(record.md5 or record.sha256 or "", [record], source, read_at)
    links = console_links(source, None, record.md5)
    return {
        "md5": record.md5,
        "sha256": record.sha256,
        "status": signature.status.value,
        "reason": signature.reason,
        "publisher": signature.publisher,
        "issuer": signature.issuer,
        "signed_at": format_time(signature.signed_at),
        "name": split_path(record.paths[0]) if record.paths else None,
        "paths": list(record.paths),
        "original_name": _told(document, "original_filename"),
        "product": _told(document, "product_name"),
        "company": _told(document, "company_name"),
        "file_version": _told(document, "file_version"),
        "host_count": record.host_count,
        "first_seen_at": format_time(parse_time(document.get("server_added_timestamp"))),
        "last_seen_at": format_time(parse_time(document.get("last_seen"))),
        "link": links["binary"] if links else None,
    }


def seen_document(asked: str, seen: Seen, signatures: Mapping[str, Signature], source: str) -> Document:
    """Return where one file was seen as JSON types, every process with the signing status of its image.

    Args:
        asked: What was asked for, as it was given.
        signatures: By hash, the file's own among them.
    """
    own = signatures.get(seen.file_hash)
    failed = own is not None and own.cause.failed
    gaps = [{"about": gap.about, "cause": gap.cause.value, "reason": gap.reason} for gap in seen.every_gap()]
    if own is not None and own.status is SigningStatus.UNKNOWN:
        gaps.append({"about": f"signing status of {seen.file_hash}", "cause": own.cause.value, "reason": own.reason})
    links = console_links(source, None, seen.md5)
    return {
        "asked": asked,
        **_signing(seen.md5, seen.sha256, signatures),
        "complete": not failed and not any(gap.cause.failed for gap in seen.every_gap()),
        "name": seen.name,
        "paths": list(seen.paths),
        "host_count": seen.host_count,
        "hosts": [{"host": host, "sensor_id": sensor_id} for host, sensor_id in seen.hosts],
        "first_seen_at": format_time(seen.first_seen_at),
        "last_seen_at": format_time(seen.last_seen_at),
        **{name: _contacts(contacts, signatures) for name, contacts in seen.relations()},
        "gaps": gaps,
        "link": links["binary"] if links else None,
    }


def _contacts(contacts: Contacts, signatures: Mapping[str, Signature]) -> Document:
    return {
        "total": None if contacts.gap and not contacts.total else contacts.total,
        "rows": [
            {"guid": p.guid, **_run(p), **_signing(p.md5, p.sha256, signatures)} for p in contacts.processes
        ],
        "gap": contacts.gap.reason if contacts.gap else None,
    }  # fmt: skip


def _run(process: Process) -> Document:
    return {
        "name": process.name,
        "path": process.path,
        "pid": process.pid,
        "host": process.host,
        "user": process.user,
        "cmdline": process.cmdline,
        "started_at": format_time(process.started_at),
    }


def _signing(md5: Optional[str], sha256: Optional[str], signatures: Mapping[str, Signature]) -> Document:
    signature = next((signatures[h] for h in (md5, sha256, "") if h is not None and h in signatures), None)
    known = bool(md5 or sha256)
    unknown = "Its signing status was not asked for." if known else _NO_HASH
    return {
        "md5": md5,
        "sha256": sha256,
        "status": (signature.status if signature else SigningStatus.UNKNOWN).value,
        "reason": signature.reason if signature else unknown,
        "publisher": signature.publisher if signature else None,
    }


_NO_HASH = "No hash of its image was recorded, so its signature could not be looked up."


def _told(document: Mapping[str, Any], name: str) -> Optional[str]:
    value = document.get(name)
    return value if isinstance(value, str) and value.strip() and value.lower() != "(unknown)" else None
