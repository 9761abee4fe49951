"""What events and documents become before strings turn into numbers: the rows of one batch.

Hashes are lower-case hex, guids 36 characters, times integer milliseconds. `extra` is a JSON text of the members
that have no column, so that nothing of an event is lost, or None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import NamedTuple, Optional

from cbsigned.binary import BinaryRecord

__all__ = [
    "Batch",
    "BinaryFact",
    "ChildRow",
    "CrossRow",
    "Described",
    "FileRow",
    "Flag",
    "LoadRow",
    "MalformedRecord",
    "MessageRow",
    "NetRow",
    "Origin",
    "ProcessFact",
    "Rank",
    "RegRow",
]


class MalformedRecord(ValueError):
    """A record that cannot be taken in; the text says why, in a few words."""


class Origin(NamedTuple):
    """Where an event was made."""

    host: Optional[str]
    sensor_id: Optional[int]
    server: Optional[str]


class Described(IntFlag):
    """What has described a process so far."""

    START = 1
    DOCUMENT = 2
    HIT = 4
    END = 8


class Rank(IntEnum):
    """How much a statement on a process weighs; a higher one replaces a lower one, field by field."""

    MENTION = 1
    END = 2
    HIT = 3
    DOCUMENT = 4
    START = 5


class Flag(IntFlag):
    """What else is said of a process."""

    PARENT_UNKNOWN = 1
    SUPPRESSED = 2
    TERMINATED = 4


class ProcessFact(NamedTuple):
    """What one record says of one process; None is *not said*.

    `pid` and `started` are for processes whose id does not tell them.
    """

    guid: str
    rank: Rank
    described: int = 0
    parent_guid: Optional[str] = None
    name: Optional[str] = None
    path: Optional[str] = None
    md5: Optional[str] = None
    sha256: Optional[str] = None
    cmdline: Optional[str] = None
    user: Optional[str] = None
    origin: Optional[Origin] = None
    os_type: Optional[str] = None
    reported: Optional[int] = None
    ended: Optional[int] = None
    flags: int = 0
    extra: Optional[str] = None
    pid: Optional[int] = None
    started: Optional[int] = None


class MessageRow(NamedTuple):
    """A message that is kept whole."""

    kind: str
    digest: bytes
    at: Optional[int]
    guid: Optional[str]
    md5: Optional[str]
    body: str


class BinaryFact(NamedTuple):
    """One record of one file, and the message that holds it whole."""

    record: BinaryRecord
    digest: bytes


LoadRow = tuple[str, Origin, int, Optional[str], str, Optional[str]]
"""guid, origin, at, md5 (or SHA-256 where no MD5 is known), path, extra"""

FileRow = tuple[str, Optional[str], Origin, int, str, int, Optional[str], int, Optional[str]]
"""guid, md5 of the process image, origin, at, path, action, md5 written, file type, extra"""

RegRow = tuple[str, Optional[str], Origin, int, str, int, Optional[str]]
"""guid, md5 of the process image, origin, at, registry path, action, extra"""

NetRow = tuple[str, Optional[str], Origin, int, int, int, bytes, int, bytes, int, Optional[str], Optional[str]]
"""guid, md5 of the process image, origin, at, outbound (0, 1, 2 unknown), protocol, remote ip and port, local
ip and port (packed, 4 or 16 bytes), domain, extra"""

ChildRow = tuple[str, Origin, int, str, int, Optional[str], Optional[str], Optional[str]]
"""guid, origin, at, guid of the child, created (0, 1, 2 unknown), md5 and path of its image, extra"""

CrossRow = tuple[
    str, Optional[str], Origin, int, str, Optional[str], int, int, Optional[str], Optional[str], Optional[str]
]
"""guid, md5 of the process image, origin, at, type, guid of the other process, access, is target (0, 1, 2 unknown),
md5 and path of its image, extra"""


@dataclass
class Batch:
    """Rows that are written together.

    Attributes:
        derived: Rows that a record brings beside its own: the events of a REST answer, a process's relatives.
            They are stored alike and not counted as records.
        seen: (md5, host, at) of files that a message places on a host.
        observed: (md5, path) of files that a message names.
        hashes: (md5, sha256) that a record gives together.
        signatures: What image loads say of signatures, by hash and word; the latest of each.
        named: Rows that are counted under a name of their own, not under Carbon Black's: `sysmon.imageload`.
        told: What was said of processes already, so that it is not said with every event again.
        weight: Characters of message bodies, to bound the memory of a batch.
    """

    starts: list[ProcessFact] = field(default_factory=list)
    ends: list[ProcessFact] = field(default_factory=list)
    facts: list[ProcessFact] = field(default_factory=list)
    loads: list[LoadRow] = field(default_factory=list)
    filemods: list[FileRow] = field(default_factory=list)
    regmods: list[RegRow] = field(default_factory=list)
    netconns: list[NetRow] = field(default_factory=list)
    children: list[ChildRow] = field(default_factory=list)
    opens: list[CrossRow] = field(default_factory=list)
    threads: list[CrossRow] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)
    binaries: list[BinaryFact] = field(default_factory=list)
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    observed: list[tuple[str, str]] = field(default_factory=list)
    hashes: list[tuple[str, str]] = field(default_factory=list)
    signatures: dict[tuple[str, str], BinaryFact] = field(default_factory=dict)
    weight: int = 0
    derived: Optional[Batch] = None
    named: dict[str, Batch] = field(default_factory=dict)
    told: set[object] = field(default_factory=set)

    def beside(self) -> Batch:
        """Return the batch for derived rows."""
        if self.derived is None:
            self.derived = Batch()
        return self.derived

    def under(self, kind: str) -> Batch:
        """Return the batch for rows that are counted under `kind`."""
        part = self.named.get(kind)
        if part is None:
            part = self.named[kind] = Batch()
        return part
