"""Fields of nested records: reached by dotted paths whichever way they are written, and made into observable sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Optional

from cbsigned.alert import ObservableSet, Role
from cbsigned.binary import BinaryRecord
from cbsigned.formats.values import text_of
from cbsigned.observables import Hashes, is_foreign, parse_pid, parse_process_id, split_path

__all__ = [
    "NO_HASHES",
    "Record",
    "claimed_for",
    "described",
    "full_path",
    "get",
    "ids_of",
    "items_of",
    "kept",
    "object_of",
    "text_at",
]

Record = Mapping[str, Any]
NO_HASHES = Hashes()

_MAX_ITEMS = 1000
_MAX_ID = 256
_GUID = re.compile(r"\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?", re.ASCII)


def get(record: object, path: str) -> Any:
    """Return the value at a dotted path, read as nested objects and as literal dotted keys; None where there is none.

    References:
        - alert-formats §3.5: one document can hold both forms
    """
    if not isinstance(record, Mapping):
        return None
    if path in record:
        return record[path]
    cut = path.find(".")
    while cut > 0:
        inner = record.get(path[:cut])
        if isinstance(inner, Mapping):
            found = get(inner, path[cut + 1 :])
            if found is not None:
                return found
        cut = path.find(".", cut + 1)
    return None


def text_at(record: object, *paths: str) -> Optional[str]:
    """Return the first of these dotted paths that has a text."""
    return next((text for text in (text_of(get(record, path)) for path in paths) if text), None)


def object_of(value: object) -> Record:
    """Return a value that is an object, and an empty object for any other."""
    return value if isinstance(value, Mapping) else {}


def items_of(value: object) -> Sequence[Record]:
    """Return the objects of a list, or the single object; at most a thousand."""
    items = value[:_MAX_ITEMS] if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]


def ids_of(value: object, *, own: bool = True) -> tuple[Optional[str], Optional[str]]:
    """Return (Carbon Black's guid, another product's id); at most one of them.

    Args:
        value: An id as the alert has it.
        own: Whether it may be Carbon Black EDR's at all; Sysmon's GUIDs may look like one and never are.
    """
    text = text_of(value)
    if text is None or len(text) > _MAX_ID or not text.strip("{}0- "):
        return None, None
    if not own:
        low = text.lower()
        return None, f"{{{low.strip('{}')}}}" if _GUID.fullmatch(low) else text
    found = parse_process_id(text)
    if found is None or is_foreign(found):
        return None, found or text
    return found, None


def full_path(folder: Optional[str], name: Optional[str]) -> Optional[str]:
    """Return folder and file name as one path, whichever of them is there."""
    if not folder or not name:
        return folder
    if split_path(folder).lower() == name.lower():
        return folder
    separator = "/" if "/" in folder and "\\" not in folder else "\\"
    return f"{folder.rstrip(separator)}{separator}{name}"


def described(
    role: Role, hashes: Hashes = NO_HASHES, *, id: object = None, own: bool = True, name: Optional[str] = None,
    path: Optional[str] = None, pid: object = None, host: Optional[str] = None, user: Optional[str] = None,
    cmdline: Optional[str] = None, started_at: Optional[datetime] = None, claimed: Optional[BinaryRecord] = None,
) -> ObservableSet:  # fmt: skip
    """Return a set of observables; the name is the last part of what the platform gave as name, or of the path."""
    guid, foreign = ids_of(id, own=own)
    return ObservableSet(
        role, md5=hashes.md5, sha1=hashes.sha1, sha256=hashes.sha256, process_guid=guid, foreign_id=foreign,
        name=split_path(name or path or "") or None, path=path, pid=parse_pid(pid), host=host, user=user,
        cmdline=cmdline, started_at=started_at, claimed=claimed_for(claimed, hashes), problems=hashes.problems,
    )  # fmt: skip


def claimed_for(claimed: Optional[BinaryRecord], hashes: Hashes) -> Optional[BinaryRecord]:
    """Return a claim with the hashes of the file that it is about."""
    return replace(claimed, md5=hashes.md5, sha256=hashes.sha256) if claimed is not None else None


def kept(found: ObservableSet) -> bool:
    """Whether a parent or another file beside the process names something of its own to look up."""
    return bool(found.file_hash or found.sha1 or found.process_guid or found.foreign_id or found.problems)
