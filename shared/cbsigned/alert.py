"""Alerts as platforms send them, read into sets of observables; roles stay apart, values are validated.

Read here: Carbon Black event forwarder messages and their raw bus form (watchlist, feed and alert hits,
binaryinfo, sensor events), plain process and binary documents, and flat key/value rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Optional

from cbsigned.binary import BinaryRecord, RecordKind, parse_binary
from cbsigned.errors import AlertError
from cbsigned.gaps import Cause
from cbsigned.observables import Hashes, parse_guid, parse_pid, read_hashes, split_path
from cbsigned.process import Process, parse_process
from cbsigned.timing import parse_time

__all__ = ["Alert", "ObservableSet", "Role", "parse_alert"]

_MAX_SETS = 1000


class Role(str, Enum):
    """What a set of observables is in its alert; the order is the order in which verdicts are shown."""

    PROCESS = "process"
    TARGET_FILE = "target file"
    MODULE = "module"
    CHILD = "child"
    PARENT = "parent"


@dataclass(frozen=True)
class ObservableSet:
    """What one alert says of one process or file; None is *not given*.

    Attributes:
        claimed: What the alert itself says of the signature; it never overrides the source.
        process: The process as the alert describes it, where it has a guid.
        problems: One sentence for each value that was given and could not be used.
    """

    role: Role
    md5: Optional[str] = None
    sha1: Optional[str] = None
    sha256: Optional[str] = None
    process_guid: Optional[str] = None
    foreign_id: Optional[str] = None
    name: Optional[str] = None
    path: Optional[str] = None
    pid: Optional[int] = None
    host: Optional[str] = None
    user: Optional[str] = None
    cmdline: Optional[str] = None
    started_at: Optional[datetime] = None
    claimed: Optional[BinaryRecord] = None
    process: Optional[Process] = None
    problems: tuple[str, ...] = ()

    @property
    def file_hash(self) -> Optional[str]:
        """MD5 where there is one, else SHA-256: what a signing status can be asked by."""
        return self.md5 or self.sha256


@dataclass(frozen=True)
class Alert:
    """One alert, read.

    Attributes:
        format: Which of the known shapes it has: `cb-forwarder`, `cb-process`, `cb-binary` or `row`.
        kind: The platform's own word for it, `watchlist.hit.process` for example.
        sets: 0 or more; their order is the alert's.
    """

    format: str
    kind: Optional[str] = None
    id: Optional[str] = None
    title: Optional[str] = None
    at: Optional[datetime] = None
    link: Optional[str] = None
    sets: tuple[ObservableSet, ...] = ()
