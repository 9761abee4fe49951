"""Where a file was seen: on which hosts, under which paths, and which processes ran, loaded or wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from cbsigned.gaps import Gap
from cbsigned.process import Process

__all__ = ["Contacts", "Seen", "not_seen", "split_hash"]


@dataclass(frozen=True)
class Contacts:
    """The processes that had one thing to do with a file.

    Attributes:
        processes: The newest, newest first.
        total: How many there are, as far as the source tells.
        gap: Why some or all are missing or not counted; that the older ones are left out is no gap.
    """

    processes: tuple[Process, ...] = ()
    total: int = 0
    gap: Optional[Gap] = None


@dataclass(frozen=True)
class Seen:
    """Where one file was seen.

    Attributes:
        file_hash: As asked, lower-case MD5 or SHA-256.
        hosts: Name and sensor id; the id is None where it is not known.
        host_count: On how many hosts; `hosts` may have fewer.
        first_seen_at: When the source heard of it first.
        gaps: What could not be found out about the file itself.
    """

    file_hash: str
    md5: Optional[str] = None
    sha256: Optional[str] = None
    name: Optional[str] = None
    paths: tuple[str, ...] = ()
    hosts: tuple[tuple[str, Optional[int]], ...] = ()
    host_count: Optional[int] = None
    first_seen_at: Optional[datetime] = None
    last_seen_at: Optional[datetime] = None
    ran: Contacts = Contacts()
    loaded: Contacts = Contacts()
    wrote: Contacts = Contacts()
    gaps: tuple[Gap, ...] = ()

    @property
    def unanswered(self) -> bool:
        """Whether every question about it failed."""
        gaps = [contacts.gap for _name, contacts in self.relations()]
        return bool(self.gaps) and all(gap is not None and gap.cause.failed for gap in gaps)

    def relations(self) -> Iterator[tuple[str, Contacts]]:
        """Yield `ran`, `loaded` and `wrote` with the processes of each."""
        yield "ran", self.ran
        yield "loaded", self.loaded
        yield "wrote", self.wrote

    def every_gap(self) -> tuple[Gap, ...]:
        """Return everything that is not known, each once."""
        parts = [contacts.gap for _name, contacts in self.relations()]
        return tuple(dict.fromkeys([*self.gaps, *(gap for gap in parts if gap is not None)]))


def split_hash(file_hash: str) -> tuple[Optional[str], Optional[str]]:
    """Return a hash as (MD5, None) or (None, SHA-256), by its length."""
    return (file_hash, None) if len(file_hash) == 32 else (None, file_hash)


def not_seen(file_hash: str, gap: Gap) -> Seen:
    """Return an answer that says why nothing could be found out at all.

    Args:
        file_hash: MD5 or SHA-256, or empty where what was asked for is none.
    """
    md5, sha256 = split_hash(file_hash) if file_hash else (None, None)
    none = Contacts(gap=gap)
    return Seen(file_hash, md5, sha256, ran=none, loaded=none, wrote=none, gaps=(gap,))
