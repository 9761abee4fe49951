"""One process as a source or an alert describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Optional

from cbsigned.observables import (
    guid_parts,
    is_unknown_parent,
    parse_guid,
    parse_md5,
    parse_pid,
    parse_sha256,
    split_path,
)
from cbsigned.timing import parse_time

__all__ = ["Process", "filled", "parent_of", "parse_process", "process_of_guid"]


@dataclass(frozen=True)
class Process:
    """One process; None is *not recorded*.

    Attributes:
        guid: Process guid, 36 characters, no segment suffix.
        name, path: Lower case, as the sensor writes them.
        parent_guid: None where no record names a parent, or the sensor never knew it.
        parent_unknown: The record says that the sensor never knew the parent.
        start_recorded: A start event or a process document of the source describes it; False where
            the process is known only because other events mention it.
        from_guid: Pid and start are only what the guid encodes; nobody recorded this process.
        suppressed: The sensor folded it into its parent; the source has no document of its own.
    """

    guid: str
    name: Optional[str] = None
    path: Optional[str] = None
    md5: Optional[str] = None
    sha256: Optional[str] = None
    pid: Optional[int] = None
    cmdline: Optional[str] = None
    user: Optional[str] = None
    host: Optional[str] = None
    sensor_id: Optional[int] = None
    os_type: Optional[str] = None
    started_at: Optional[datetime] = None
    ended_at: Optional[datetime] = None
    terminated: Optional[bool] = None
    parent_guid: Optional[str] = None
    parent_name: Optional[str] = None
    parent_pid: Optional[int] = None
    parent_unknown: bool = False
    start_recorded: bool = True
    suppressed: bool = False
    from_guid: bool = False

    @property
    def file_hash(self) -> Optional[str]:
        """MD5 where there is one, else SHA-256: what a signing status is asked by."""
        return self.md5 or self.sha256


def parse_process(doc: Mapping[str, Any]) -> Optional[Process]:
    """Return the process of a vendor's process document, or None where it has no process guid.

    Everything but the guid is optional: sibling and child documents lack MD5, path and name. `parent_md5`
    is never read: it is zeros in every recorded document.

    Args:
        doc: REST process document of 5.x to 7.x, or one of `docs[]` in a watchlist or feed hit.

    References:
        - cb-edr-api §2.3 to §2.5, §10.3 (`parent_id` is a signed integer in storage hits)
    """
    guid = parse_guid(doc.get("id")) or parse_guid(doc.get("process_guid")) or parse_guid(doc.get("unique_id"))
    if guid is None:
        return None
    parts = guid_parts(guid)
    parents = (doc.get("parent_id"), doc.get("parent_guid"), doc.get("parent_unique_id"))
    parent = next((found for found in map(parse_guid, parents) if found), None)
    unknown = parent is not None and is_unknown_parent(parent)
    path = _known(doc.get("path"))
    name = _known(doc.get("process_name")) or (split_path(path) if path else None)
    pid = parse_pid(doc.get("process_pid"))
    sensor_id = parse_pid(doc.get("sensor_id"))
    return Process(
        guid=guid,
        name=name.lower() if name else None,
        path=path.lower() if path else None,
        md5=parse_md5(doc.get("process_md5")),
        sha256=parse_sha256(doc.get("process_sha256")),
        pid=parts.pid if pid is None else pid,
        cmdline=_known(doc.get("cmdline")),
        user=_known(doc.get("username")),
        host=_known(doc.get("hostname")) or _known(doc.get("computer_name")),
        sensor_id=parts.sensor_id if sensor_id is None else sensor_id,
        os_type=_known(doc.get("os_type")),
        started_at=parse_time(doc.get("start")) or parts.started_at,
        terminated=doc.get("terminated") if isinstance(doc.get("terminated"), bool) else None,
        parent_guid=None if unknown else parent,
        parent_name=_known(doc.get("parent_name")),
        parent_pid=parse_pid(doc.get("parent_pid")),
        parent_unknown=unknown,
        suppressed=doc.get("is_suppressed") is True,
    )


def filled(known: Process, other: Process) -> Process:
    """Return a process with what it lacks taken from another description of the same one."""
    lacking = {f.name: getattr(other, f.name) for f in fields(Process) if getattr(known, f.name) is None}
    return replace(known, **lacking)


def process_of_guid(guid: str) -> Process:
    """Return what a process guid tells by itself: sensor, pid and start time."""
    parts = guid_parts(guid)
    return Process(
        guid,
        pid=parts.pid,
        sensor_id=parts.sensor_id,
        started_at=parts.started_at,
        start_recorded=False,
        from_guid=True,
    )


def parent_of(child: Process) -> Optional[Process]:
    """Return what a child's record tells of its parent (guid, name, pid, host), or None where it names none."""
    if child.parent_guid is None:
        return None
    parts = guid_parts(child.parent_guid)
    return Process(
        guid=child.parent_guid,
        name=child.parent_name.lower() if child.parent_name else None,
        pid=parts.pid if child.parent_pid is None else child.parent_pid,
        host=child.host,
        sensor_id=parts.sensor_id,
        os_type=child.os_type,
        started_at=parts.started_at,
        start_recorded=False,
        from_guid=True,
    )


def _known(value: object) -> Optional[str]:
    text = value.strip() if isinstance(value, str) else ""
    return text if text and text.lower() not in ("(unknown)", "unknown") else None
