"""An alert, read: its sets of observables, roles kept apart. `cbsigned.formats` reads platforms' records into it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Optional

from cbsigned.binary import BinaryRecord
from cbsigned.process import Process

__all__ = ["Alert", "ObservableSet", "Role"]


class Role(str, Enum):
    """What a set of observables is in its alert; the order is the order in which verdicts are shown."""

    PROCESS = "process"
    TARGET_FILE = "target file"
    MODULE = "module"
    CHILD = "child"
    PARENT = "parent"

    __hash__ = str.__hash__
    # Enum's own is written in Python, and every alert asks for some


@dataclass(frozen=True)
class ObservableSet:
    """What one alert says of one process or file; None is *not given*.

    Attributes:
        foreign_id: The process id of another product, as `{…}` where it is a GUID; Carbon Black is not asked for it.
        claimed: What the alert itself says of the signature; it never overrides the source.
        process: The process as the alert describes it, where it has a guid.
        problems: One sentence for each value that was given and could not be used.
        origins: (field, path in the record) for what a mapping or the generic walker found; empty where the format
            itself says where its fields stand.
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
    origins: tuple[tuple[str, str], ...] = ()

    @property
    def file_hash(self) -> Optional[str]:
        """MD5 where there is one, else SHA-256: what a signing status can be asked by."""
        return self.md5 or self.sha256

    @property
    def usable(self) -> bool:
        """Whether there is anything to look up, or anything wrong to tell."""
        findable = self.host is not None and self.pid is not None
        asked = self.file_hash or self.sha1 or self.process_guid or self.foreign_id
        return bool(asked or findable or self.problems)


@dataclass(frozen=True)
class Alert:
    """One alert, read.

    Attributes:
        format: Which of the known shapes it has: a name of `cbsigned.formats.FORMATS`, a mapping's own, or
            `cb-forwarder`, `cb-process` and `cb-binary` for Carbon Black EDR's three.
        kind: The platform's own word for it, `watchlist.hit.process` for example.
        sets: 0 or more; the acting process first.
        problems: One sentence for each part of the alert that was passed over.
    """

    format: str
    kind: Optional[str] = None
    id: Optional[str] = None
    title: Optional[str] = None
    at: Optional[datetime] = None
    link: Optional[str] = None
    sets: tuple[ObservableSet, ...] = ()
    problems: tuple[str, ...] = ()
