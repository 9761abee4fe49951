"""Routes of one binary: summary, icon and download.

References:
    - cb-edr-api §5.6
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import sqlite3
import zipfile
from pathlib import Path
from typing import Any, Optional

from cbsigned.observables import parse_md5
from cbsigned.store.binary_documents import binary_documents, binary_number
from cbsigned.store.inventory import first_start
from cbsigned.timing import parse_time
from cbsigned_connectors.edr_server.access import Right
from cbsigned_connectors.edr_server.answer import Answer, Refused, json_answer, page
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint

__all__ = ["ENDPOINTS", "partition_number"]

_MAX_FILE = 256 * 1024 * 1024


def summary(desk: Desk, ask: Ask) -> Answer:
    """Answer with the document of a binary and its icon."""
    with desk.reading() as db:
        document = _document(db, ask)
        partition = partition_number(db)
    return json_answer({"icon": "", **desk.dialect.binary_document(document, partition)})


def icon(desk: Desk, ask: Ask) -> Answer:
    """Answer with the icon that a kept document holds."""
    with desk.reading() as db:
        text = _document(db, ask).get("icon")
    try:
        image = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        image = b""
    if not image.startswith(b"\x89PNG"):
        raise Refused(page(404))
    return Answer(200, image, "image/png")


def download(desk: Desk, ask: Ask) -> Answer:
    """Answer with a zip of the file's bytes and a few words on it, where the folder of files has it."""
    md5 = parse_md5(ask.path["md5"])
    data = None if md5 is None or desk.options.files is None else _file(desk.options.files, md5)
    if data is None:
        raise Refused(page(404))
    with desk.reading() as db:
        number = binary_number(db, str(md5))
        found = binary_documents(db, [number]) if number is not None else []
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("filedata", data)
        archive.writestr("metadata", _metadata(found[0] if found else {}))
    return Answer(200, packed.getvalue(), "application/zip")


def partition_number(db: sqlite3.Connection) -> int:
    """Return the number of the one partition that a store is: the time of its first process."""
    return first_start(db) or 1


def _document(db: sqlite3.Connection, ask: Ask) -> dict[str, Any]:
    """Return the document of the binary that the path names.

    Raises:
        Refused: 404, where there is none.
    """
    md5 = parse_md5(ask.path["md5"])
    number = None if md5 is None else binary_number(db, md5)
    found = [] if number is None else binary_documents(db, [number])
    if not found:
        raise Refused(page(404))
    return found[0]


def _file(folder: Path, md5: str) -> Optional[bytes]:
    """Return the bytes of a file that is named by its MD5, in either case; a file with other bytes is not served."""
    for name in (md5, md5.upper()):
        path = folder / name
        if path.is_file() and path.stat().st_size <= _MAX_FILE:
            data = path.read_bytes()
            if hashlib.md5(data, usedforsecurity=False).hexdigest() == md5:
                return data
    return None


def _metadata(document: dict[str, Any]) -> str:
    seen = parse_time(document.get("server_added_timestamp"))
    names = document.get("observed_filename") or ["(unknown)"]
    told = seen.strftime("%m/%d/%Y %H:%M:%S") if seen else "(unknown)"
    return f"{'Timestamp':<16}: {told}\r\n{'OrigFilename':<16}: {names[0]}\r\n"


ENDPOINTS = [
    Endpoint("/api/v1/binary/{md5}/summary", summary, Right.SEARCH),
    Endpoint("/api/v1/binary/{md5}/icon", icon, Right.SEARCH),
    Endpoint("/api/v1/binary/{md5}", download, Right.FILES),
]
