"""Splunk SOAR: a container and its artifacts, whose `cef` holds CEF names beside whatever the search produced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from cbsigned.alert import Alert
from cbsigned.formats.fields import Record, items_of, object_of
from cbsigned.formats.values import first, first_time

__all__ = ["carried", "matches", "read"]

_HASHES = ("fileHash", "fileHashMd5", "fileHashSha1", "fileHashSha256")
_NAMES = {
    "process_name": ("deviceProcessName", "sourceProcessName", "destinationProcessName", "dproc", "sproc"),
    "file_name": ("fileName",),
    "file_path": ("filePath",),
    "user": ("destinationUserName", "sourceUserName", "duser", "suser"),
}
_ROW_HOSTS = ("dest", "hostname", "host_name", "computer_name", "device_name")
_HOSTS = ("destinationHostName", "deviceHostname", "destinationAddress", "sourceHostName")


def matches(record: Record) -> bool:
    """Whether the record is an artifact, or has artifacts, with a `cef`."""
    if "cef" in record:
        return isinstance(record["cef"], Mapping)
    found = _artifacts(record) if "artifacts" in record or "container" in record else ()
    return any("cef" in artifact for artifact in found)


def read(record: Record) -> Optional[Alert]:
    """Return what the container says; the artifacts give the sets.

    References:
        - alert-formats §3.2: no process field is renamed on the way from Splunk ES
    """
    container = object_of(record.get("container")) or record
    return Alert(
        format="soar",
        kind=first(container, "label"),
        id=first(container, "source_data_identifier", "id"),
        title=first(container, "name"),
        at=first_time(container, "start_time", "create_time"),
    )


def carried(record: Record) -> Sequence[Record]:
    """Return each artifact's fields, the CEF names also under the names that rows have."""
    artifacts = [record] if isinstance(record.get("cef"), Mapping) else _artifacts(record)
    return [_row(cef) for cef in (object_of(artifact.get("cef")) for artifact in artifacts) if cef]


def _artifacts(record: Record) -> Sequence[Record]:
    inside = object_of(record.get("container")).get("artifacts")
    return [*items_of(record.get("artifacts")), *items_of(inside)]


def _row(cef: Record) -> dict[str, Any]:
    row = {name: value for name, value in cef.items() if name not in _HASHES}
    hashes = [cef[name] for name in _HASHES if cef.get(name)]
    if hashes and "file_hash" not in row:
        row["file_hash"] = hashes  # all of one file: CEF knows one file an event
    for ours, theirs in _NAMES.items():
        if not row.get(ours):
            row[ours] = first(cef, *theirs)
    if not any(row.get(name) for name in _ROW_HOSTS):
        row["dest"] = first(cef, *_HOSTS)
    return {name: value for name, value in row.items() if value is not None}
