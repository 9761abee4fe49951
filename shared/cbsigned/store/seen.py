"""Where a file was seen, from the store: the same answer as the EDR's, with exact counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from cbsigned.errors import SourceError
from cbsigned.gaps import Gap
from cbsigned.observables import split_path
from cbsigned.seen import Contacts, Seen, not_seen, split_hash
from cbsigned.store.reading import bounded, in_parts, processes_of, reading
from cbsigned.store.records import moment
from cbsigned.store.relations import (
    Contact,
    Newest,
    Relation,
    binaries_of,
    contacts_of_binaries,
    history_contacts,
    paths_by_number,
)
from cbsigned.timing import Deadline

__all__ = ["seen_in"]

_HASHES = "SELECT md5, sha256 FROM binary WHERE id IN ({})"
_HOSTS = """
SELECT h.value, (SELECT min(e.sensor_id) FROM sensor e WHERE e.host_id = h.id), s.first, s.last
FROM bin_host s JOIN host h ON h.id = s.host_id WHERE s.binary_id = ? ORDER BY s.last DESC, h.value LIMIT ?"""
_SPAN = "SELECT count(*), min(nullif(first, 0)), max(last) FROM bin_host WHERE binary_id = ?"
_PATHS = "SELECT DISTINCT path_id FROM file WHERE binary_id = ? LIMIT ?"


def seen_in(path: Path, file_hash: str, rows: int, deadline: Deadline) -> Seen:
    """Return where a file was seen; a question that fails is a gap, and nothing raises.

    Args:
        path: The store.
        file_hash: Lower-case MD5 or SHA-256; the files of one SHA-256 count together.
        rows: Most hosts and paths, and most processes of each relation, 1 or more.
    """
    try:
        with reading(path) as db:
            return _Asked(db, file_hash, rows, deadline).seen()
    except SourceError as exc:
        return not_seen(file_hash, Gap(f"where {file_hash} was seen", exc.cause, str(exc)))


class _Asked:
    """The questions about one file, each held to the deadline by itself."""

    def __init__(self, db: sqlite3.Connection, file_hash: str, rows: int, deadline: Deadline) -> None:
        self._db, self._hash, self._rows, self._deadline = db, file_hash, rows, deadline
        self._binaries: Sequence[int] = binaries_of(db, [file_hash]).get(file_hash, [])

    def seen(self) -> Seen:
        wrote = self._contacts(Relation.WROTE)
        ran, loaded = self._contacts(Relation.RAN), self._contacts(Relation.LOADED)
        try:
            with bounded(self._db, self._deadline):
                return self._described(ran, loaded, wrote)
        except SourceError as exc:
            gap = Gap(f"hosts and paths of {self._hash}", exc.cause, str(exc))
            return Seen(self._hash, *self._hashes(), ran=ran, loaded=loaded, wrote=wrote, gaps=(gap,))

    def _described(self, ran: Contacts, loaded: Contacts, wrote: Contacts) -> Seen:
        rows, db = self._rows, self._db
        spans = [db.execute(_SPAN, (number,)).fetchone() for number in self._binaries]
        hosts = [row for number in self._binaries for row in db.execute(_HOSTS, (number, rows))]
        numbers = [row[0] for number in self._binaries for row in db.execute(_PATHS, (number, rows))]
        paths = [text.lower() for text in paths_by_number(db, numbers).values() if text]
        return Seen(
            self._hash,
            *self._hashes(),
            name=split_path(paths[0]) if paths else None,
            paths=tuple(dict.fromkeys(paths))[:rows],
            hosts=tuple(dict.fromkeys((host, sensor) for host, sensor, _first, _last in hosts))[:rows],
            host_count=sum(span[0] for span in spans) if spans else None,
            first_seen_at=moment(min((span[1] for span in spans if span[1]), default=None)),
            last_seen_at=moment(max((span[2] for span in spans if span[2]), default=None)),
            ran=ran,
            loaded=loaded,
            wrote=wrote,
        )

    def _hashes(self) -> tuple[Optional[str], Optional[str]]:
        """Return MD5 and SHA-256: the one that was asked for, and the other where the store has it."""
        known_md5, known_sha256 = split_hash(self._hash)
        for md5, sha256 in in_parts(self._db, _HASHES, self._binaries):
            known_md5 = known_md5 or (md5.hex() if md5 else None)
            known_sha256 = known_sha256 or (sha256.hex() if sha256 else None)
        return known_md5, known_sha256

    def _contacts(self, relation: Relation) -> Contacts:
        newest = Newest(self._rows)
        told: set[int] = set()
        try:
            with bounded(self._db, self._deadline):
                for contact in self._found(relation):
                    if contact.process not in told:
                        told.add(contact.process)
                        newest.add(None, contact)
                kept = newest.of(None)
                processes = processes_of(self._db, [contact.process for contact in kept])
        except SourceError as exc:
            gap = Gap(f"processes that {relation.value} {self._hash}", exc.cause, str(exc))
            return Contacts(total=len(told), gap=gap)
        return Contacts(tuple(processes[contact.process] for contact in kept), len(told))

    def _found(self, relation: Relation) -> list[Contact]:
        found = [contact for _number, contact in contacts_of_binaries(self._db, relation, self._binaries)]
        if relation is Relation.WROTE:
            history = [contact for number in self._binaries for contact in history_contacts(self._db, number)]
            found += [contact for contact in history if contact.relation is Relation.WROTE]
        return found
