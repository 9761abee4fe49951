"""Which hosts had to do with an indicator, when, and which process: many indicators in one question of each kind."""

from __future__ import annotations

import socket
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from cbsigned.process import Process
from cbsigned.render.document import Document
from cbsigned.store.indicators import Kind
from cbsigned.store.questions import time_text
from cbsigned.store.reading import bounded, in_parts, processes_of
from cbsigned.store.relations import (
    Contact,
    Newest,
    Relation,
    binaries_of,
    contacts_of_binaries,
    paths_by_number,
)
from cbsigned.timing import Deadline

__all__ = ["Answer", "matching_domains", "sweep"]

_PRESENT = """
SELECT s.binary_id, h.value, s.first, s.last FROM bin_host s JOIN host h ON h.id = s.host_id
WHERE s.binary_id IN ({})"""
_CONNECTED = """
SELECT e.remote_ip, e.process_id, 0, count(*), min(e.at), max(e.at) FROM netconn e
WHERE e.remote_ip IN ({}) GROUP BY e.remote_ip, e.process_id"""
_ASKED = """
SELECT e.domain_id, e.process_id, e.domain_id, count(*), min(e.at), max(e.at)
FROM domain d CROSS JOIN netconn e INDEXED BY netconn_domain ON e.domain_id = d.id AND e.domain_id > 0
WHERE d.id IN ({}) GROUP BY e.domain_id, e.process_id"""
_NAMES = "SELECT id, value FROM name WHERE value IN ({})"
_NAMED_PATHS = "SELECT id, name_id, value FROM path WHERE name_id IN ({})"
_RAN_AS = """
SELECT p.name_id, p.id, coalesce(p.path_id, 0), 1, coalesce(p.started, p.reported, 0),
       coalesce(p.started, p.reported, 0)
FROM process p WHERE p.name_id IN ({})"""
_RAN_FROM = _RAN_AS.replace("p.name_id", "p.path_id")
_WRITTEN = """
SELECT e.path_id, e.process_id, e.path_id, count(*), min(e.at), max(e.at), e.action = 4
FROM filemod e WHERE e.path_id IN ({}) GROUP BY e.path_id, e.process_id, e.action = 4"""
_LOADED_FROM = """
SELECT f.path_id, m.process_id, f.path_id, count(*), min(m.at), max(m.at)
FROM file f CROSS JOIN modload m ON m.file_id = f.id CROSS JOIN process p ON p.id = m.process_id
WHERE f.path_id IN ({}) AND p.path_id IS NOT f.path_id GROUP BY f.path_id, m.process_id"""
_DOMAINS = "SELECT id, value FROM domain"
_DOMAIN_TEXTS = "SELECT id, value FROM domain WHERE id IN ({})"

Found = Iterator[tuple[str, Contact]]


@dataclass
class Answer:
    """What a store says of one indicator.

    Attributes:
        rows: One for each process and relation, newest first; then hosts that had the file and no process with it.
        total: How many rows there would be without a limit.
    """

    rows: list[Document] = field(default_factory=list)
    total: int = 0


def sweep(
    db: sqlite3.Connection, kind: Kind, values: Sequence[str], deadline: Deadline, *, most: int = 100,
    domains: Optional[Mapping[int, str]] = None,
) -> dict[str, Answer]:  # fmt: skip
    """Return an answer for every value.

    Args:
        db: As `open_reader` gives it.
        kind: Of all of the values.
        values: Distinct, as `indicator_of` returns them.
        deadline: For the search.
        most: Processes of each value to show.
        domains: From `matching_domains`, for domains.

    Raises:
        SourceTimeout: Not all of them were answered in time; none is.
        sqlite3.Error: The store cannot be read.
    """
    newest = Newest(most)
    with bounded(db, deadline):
        for value, contact in _KINDS[kind](db, values, domains or {}):
            newest.add(value, contact)
    kept = {value: newest.of(value) for value in values}
    contacts = [contact for found in kept.values() for contact in found]
    processes = processes_of(db, [one.process for one in contacts])
    places = _places(db, kind, contacts)
    answers = {
        value: Answer([_row(one, processes[one.process], places) for one in found], newest.totals.get(value, 0))
        for value, found in kept.items()
    }
    if kind in (Kind.MD5, Kind.SHA256):
        _add_hosts(db, values, answers)
    return answers


def matching_domains(db: sqlite3.Connection, wanted: Sequence[str], deadline: Deadline) -> dict[int, str]:
    """Return the numbers of all domains of the store that are one of those wanted, or below one → the wanted one.

    Every distinct domain is looked at once, however many are wanted.

    Raises:
        SourceTimeout: Not all were looked at in time.
    """
    sought = set(wanted)
    found: dict[int, str] = {}
    with bounded(db, deadline):
        for number, text in db.execute(_DOMAINS):
            labels = text.lower().rstrip(".").split(".")
            tails = (".".join(labels[first:]) for first in range(len(labels)))
            known = next((tail for tail in tails if tail in sought), None)
            if known is not None:
                found[number] = known
    return found


def _contact(relation: Relation, row: Sequence[Any], how: str) -> Contact:
    process, path, events, first, last = row
    return Contact(relation, process, path, events, first, last, how)


def _of_hashes(db: sqlite3.Connection, values: Sequence[str], _domains: Mapping[int, str]) -> Found:
    hashes = {number: value for value, numbers in binaries_of(db, values).items() for number in numbers}
    for relation in (Relation.WROTE, Relation.RAN, Relation.LOADED):
        for number, contact in contacts_of_binaries(db, relation, list(hashes)):
            yield hashes[number], contact


def _of_addresses(db: sqlite3.Connection, values: Sequence[str], _domains: Mapping[int, str]) -> Found:
    packed = {socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value): value for value in values}
    for ip, *row in in_parts(db, _CONNECTED, list(packed)):
        yield packed[ip], _contact(Relation.CONNECTED, row, "ip")


def _of_domains(db: sqlite3.Connection, values: Sequence[str], domains: Mapping[int, str]) -> Found:
    wanted = set(values)
    for number, *row in in_parts(db, _ASKED, [number for number, value in domains.items() if value in wanted]):
        yield domains[number], _contact(Relation.CONNECTED, row, "domain")


def _of_names(db: sqlite3.Connection, values: Sequence[str], _domains: Mapping[int, str]) -> Found:
    names = dict(in_parts(db, _NAMES, values))
    for number, *row in in_parts(db, _RAN_AS, list(names)):
        yield names[number], _contact(Relation.RAN, row, "name")
    paths = {path: names[name] for path, name, _text in in_parts(db, _NAMED_PATHS, list(names))}
    yield from _at_paths(db, paths, "name")


def _of_paths(db: sqlite3.Connection, values: Sequence[str], _domains: Mapping[int, str]) -> Found:
    wanted = {value.replace("/", "\\"): value for value in values}
    names = dict(in_parts(db, _NAMES, [text.rpartition("\\")[2] for text in wanted]))
    paths = {
        path: wanted[text.lower().replace("/", "\\")]
        for path, _name, text in in_parts(db, _NAMED_PATHS, list(names))
        if text.lower().replace("/", "\\") in wanted
    }
    for number, *row in in_parts(db, _RAN_FROM, list(paths)):
        yield paths[number], _contact(Relation.RAN, row, "path")
    yield from _at_paths(db, paths, "path")


def _at_paths(db: sqlite3.Connection, paths: Mapping[int, str], how: str) -> Found:
    """Yield who wrote, deleted and loaded files at paths; values by the number of the path."""
    for number, process, path, events, first, last, deleted in in_parts(db, _WRITTEN, list(paths)):
        relation = Relation.DELETED if deleted else Relation.WROTE
        yield paths[number], Contact(relation, process, path, events, first, last, how)
    for number, *row in in_parts(db, _LOADED_FROM, list(paths)):
        yield paths[number], _contact(Relation.LOADED, row, how)


_KINDS: Mapping[Kind, Callable[[sqlite3.Connection, Sequence[str], Mapping[int, str]], Found]] = {
    Kind.MD5: _of_hashes, Kind.SHA256: _of_hashes, Kind.IP: _of_addresses, Kind.DOMAIN: _of_domains,
    Kind.NAME: _of_names, Kind.PATH: _of_paths,
}  # fmt: skip


def _places(db: sqlite3.Connection, kind: Kind, contacts: Sequence[Contact]) -> dict[int, str]:
    numbers = [one.path for one in contacts]
    return dict(in_parts(db, _DOMAIN_TEXTS, numbers)) if kind is Kind.DOMAIN else paths_by_number(db, numbers)


def _add_hosts(db: sqlite3.Connection, values: Sequence[str], answers: Mapping[str, Answer]) -> None:
    """Add hosts that had a file, as far as no process among the rows tells of them."""
    hashes = {number: value for value, numbers in binaries_of(db, values).items() for number in numbers}
    told: dict[str, set[Any]] = defaultdict(set)
    for value, answer in answers.items():
        told[value] = {row["host"] for row in answer.rows}
    for number, host, first, last in in_parts(db, _PRESENT, list(hashes)):
        answer = answers[hashes[number]]
        if host not in told[hashes[number]]:
            answer.total += 1
            seen = {"relation": "seen", "host": host, "first": time_text(first), "last": time_text(last), "how": "hash"}
            answer.rows.append({**_NO_PROCESS, **seen})


_NO_PROCESS: Document = dict.fromkeys((
    "relation", "host", "first", "last", "events", "how", "what", "process", "pid", "user", "cmdline", "guid", "md5",
    "sha256",
))  # fmt: skip


def _row(one: Contact, process: Process, places: Mapping[int, str]) -> Document:
    return {
        **_NO_PROCESS, "relation": one.relation.value, "host": process.host, "first": time_text(one.first),
        "last": time_text(one.last), "events": one.events, "how": one.how, "what": places.get(one.path) or None,
        "process": process.name, "pid": process.pid, "user": process.user, "cmdline": process.cmdline,
        "guid": process.guid, "md5": process.md5, "sha256": process.sha256,
    }  # fmt: skip
