"""Where a file came from: who wrote it, who wrote the program that did, and so on, as far as it is recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from cbsigned.store.reading import in_parts
from cbsigned.store.relations import Contact, Relation, contacts_of_binaries, history_contacts

__all__ = ["Origin", "Step", "origin_of"]

_MOST_STEPS = 16
_PLACES = "SELECT id, host_id, binary_id, started FROM process WHERE id IN ({})"


@dataclass(frozen=True)
class Step:
    """One file and the write that made it.

    Attributes:
        binary: The file's number in the store.
        write: Who wrote it, where, and how it is told.
    """

    binary: int
    write: Contact


@dataclass(frozen=True)
class Origin:
    """The way of a file, newest first.

    Attributes:
        steps: Each was written by the program that the next one tells of.
        last: Number of the file whose writer is not told, None where its hash was not recorded.
        reason: Why the way ends there, as a sentence.
    """

    steps: tuple[Step, ...]
    last: Optional[int]
    reason: str


def origin_of(db: sqlite3.Connection, binary: int, known: Sequence[Contact] = ()) -> Origin:
    """Return who first wrote a file, who had written that program before it ran on the same host, and so on.

    Args:
        db: As `open_reader` gives it.
        binary: The file's number.
        known: Its writes, where they were asked for already.
    """
    steps: list[Step] = []
    writes = list(known) or _writes(db, binary)
    write = min(writes, key=lambda one: (one.first or 2**62, one.how), default=None)
    seen = {binary}
    while write is not None:
        steps.append(Step(binary, write))
        ((_number, host, image, started),) = in_parts(db, _PLACES, [write.process])
        if image is None:
            return Origin(tuple(steps), None, "The hash of that program was not recorded.")
        if image in seen:
            return Origin(tuple(steps), image, "It stands above already.")
        if len(steps) == _MOST_STEPS:
            return Origin(tuple(steps), image, f"{_MOST_STEPS} steps followed; ask for it.")
        seen.add(image)
        binary = image
        write = _before(db, _writes(db, image), host, started)
    return Origin(tuple(steps), binary, "No write of it is recorded.")


def _writes(db: sqlite3.Connection, binary: int) -> list[Contact]:
    told = [contact for _number, contact in contacts_of_binaries(db, Relation.WROTE, [binary])]
    return told + [contact for contact in history_contacts(db, binary) if contact.relation is Relation.WROTE]


def _before(
    db: sqlite3.Connection, writes: Sequence[Contact], host: Optional[int], started: Optional[int]
) -> Optional[Contact]:
    """Return the last write on a host before a process started there."""
    hosts = {number: where for number, where, *_rest in in_parts(db, _PLACES, [one.process for one in writes])}
    fitting = [
        one for one in writes if hosts.get(one.process) == host and (started is None or one.first <= started)
    ]  # fmt: skip
    return max(fitting, key=lambda one: one.first, default=None)
