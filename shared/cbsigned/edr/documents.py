"""Search answers read into the core's records, and told apart by what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Optional, Union

from cbsigned.binary import BinaryRecord, parse_binary
from cbsigned.edr.query import Query, Unsearchable, all_of, any_of, between, clause, hash_clause, moved, prefix_clause
from cbsigned.edr.search import Found, ServerVersion
from cbsigned.errors import ProcessNotFound, SourceError, SourceResponseError
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import Relatives, Sighting
from cbsigned.observables import parse_guid, short_host
from cbsigned.process import Process, parse_process

__all__ = [
    "by_hash",
    "candidates_of",
    "children_of",
    "joint_query",
    "processes_in",
    "processes_of",
    "sighting_query",
]

_START_SLACK = timedelta(seconds=5)
_DAY = timedelta(days=1)
_NOTHING = ("", "(unknown)")


def by_hash(
    found: Found, hashes: Sequence[str], source: str
) -> dict[str, Union[tuple[BinaryRecord, ...], SourceError]]:
    """Return for every hash asked its records, `()` for none, or why the answer does not tell.

    Documents of other hashes are passed over.
    """
    asked = set(hashes)
    records: dict[str, dict[BinaryRecord, None]] = {}
    unreadable = 0
    for document in found.documents:
        record = parse_binary(document)
        if record.md5 is None and record.sha256 is None:
            unreadable += 1
        for file_hash in {record.md5, record.sha256} & asked:
            records.setdefault(str(file_hash), {})[record] = None
    why = found.missing or _unreadable(source, unreadable)
    return {
        file_hash: tuple(records[file_hash]) if file_hash in records else why if why is not None else ()
        for file_hash in hashes
    }


def processes_of(found: Found, guids: Sequence[str], source: str) -> dict[str, Union[Process, SourceError]]:
    """Return for every guid asked its process, made of all its segments, or why there is none."""
    processes, nameless = _merged(found.documents)
    why = found.missing or _unreadable(source, len(nameless))
    answers: dict[str, Union[Process, SourceError]] = {}
    for guid in guids:
        answers[guid] = processes.get(guid) or why or ProcessNotFound(
            f"Process {guid} is unknown to {source}: its events have aged out, or its sensor never sent them."
        )  # fmt: skip
    return answers


def children_of(found: Found, parents: Sequence[str], limit: int, source: str) -> dict[str, Relatives]:
    """Return for every parent asked its children, oldest first, at most `limit`, and whether these are all.

    Args:
        found: Whole, unless one parent alone was asked.
    """
    processes, nameless = _merged(found.documents)
    of_parent: dict[str, list[Process]] = {parent: [] for parent in parents}
    for process in processes.values():
        if process.parent_guid in of_parent:
            of_parent[process.parent_guid].append(process)
    answers = {}
    for parent, children in of_parent.items():
        children.sort(key=_started)
        total = max(found.total, len(children)) if found.missing and len(parents) == 1 else len(children)
        nodes = tuple(children[:limit])
        gap = None
        if len(nodes) < total:
            reason = f"{len(nodes)} of {total} children shown, the oldest; ask for more to see the others."
            gap = Gap(f"children of {parent}", Cause.CUT, reason)
        elif nameless:
            gap = Gap(f"children of {parent}", Cause.UNREADABLE, str(_unreadable(source, len(nameless))))
        answers[parent] = Relatives(nodes, total, gap)
    return answers


def processes_in(documents: Iterable[Mapping[str, Any]]) -> list[Process]:
    """Return the processes of a search, each made of all its documents, in order; those without a guid are left out."""
    return list(_merged(documents)[0].values())


def sighting_query(sighting: Sighting, version: ServerVersion) -> Query:
    """Return what finds the processes that a sighting can mean: host, time window, and hash or else name.

    The host is asked with and without its domain, since sensors report either.

    Raises:
        Unsearchable: A value cannot be searched, or the sighting has no time.
    """
    earliest, latest = _window(sighting)
    short = short_host(sighting.host)
    hosts = [clause("hostname", short)]
    try:
        hosts.append(prefix_clause("hostname", f"{short}."))
    except Unsearchable:  # a host name of strange characters is searched as it stands
        hosts = [clause("hostname", sighting.host)]
    parts = [any_of(hosts), between("start", earliest, latest)]
    if sighting.file_hash is not None and (len(sighting.file_hash) == 32 or version.sha256):
        parts.append(hash_clause(sighting.file_hash, of="process"))
    elif sighting.name is not None:
        parts.append(clause("process_name", sighting.name))
    return all_of(parts)


def candidates_of(
    found: Found, sightings: Iterable[Sighting], source: str
) -> dict[Sighting, Union[tuple[Process, ...], SourceError]]:
    """Return for every sighting the processes found on its host that started in its window, all of them or an error.

    Where the search was narrowed by name, the name must be equal; hash and pid are left to the caller, which
    knows documents without them. Documents without a process guid may be candidates of every sighting on their
    host, or on any host where they name none.
    """
    processes, nameless = _merged(found.documents)
    damaged = {_host(document) for document in nameless}
    by_host: dict[str, list[Process]] = {}
    for process in processes.values():
        if process.host is not None:
            by_host.setdefault(short_host(process.host), []).append(process)
    answers: dict[Sighting, Union[tuple[Process, ...], SourceError]] = {}
    for sighting in sightings:
        unreadable = _unreadable(source, len(nameless))
        if unreadable is not None and damaged & {None, short_host(sighting.host)}:
            answers[sighting] = unreadable
            continue
        earliest, latest = _window(sighting)
        name = sighting.name.lower() if sighting.name and sighting.file_hash is None else None
        answers[sighting] = tuple(
            process
            for process in by_host.get(short_host(sighting.host), ())
            if process.started_at is not None
            and earliest <= process.started_at <= latest
            and (name is None or process.name in (name, None))
        )
    return answers


def joint_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """Return the joint query of 2017 for any of several (md5, program name).

    References:
        - cb-edr-api §6: `process_md5:<md5> digsig_prog_name:<process_name>`
    """
    return any_of(all_of([hash_clause(md5, of="process"), clause("digsig_prog_name", name)]) for md5, name in pairs)


def _window(sighting: Sighting) -> tuple[datetime, datetime]:
    if sighting.started_at is not None:
        return moved(sighting.started_at, -_START_SLACK), moved(sighting.started_at, _START_SLACK)
    if sighting.seen_at is not None:
        return moved(sighting.seen_at, -_DAY), sighting.seen_at
    raise Unsearchable(f"The sighting on {short_host(sighting.host)[:60]} has no time, so no process can be searched.")


def _merged(documents: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Process], list[Mapping[str, Any]]]:
    """Return the processes by guid, each made of all its documents, and the documents that had no guid."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    nameless: list[Mapping[str, Any]] = []
    for document in documents:
        guid = next((g for g in map(parse_guid, (document.get("id"), document.get("unique_id"))) if g), None)
        if guid is None:
            nameless.append(document)
        else:
            groups.setdefault(guid, []).append(document)
    found = {guid: parse_process(_one(segments)) for guid, segments in groups.items()}
    return {guid: process for guid, process in found.items() if process is not None}, nameless


def _one(segments: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Merge the segments of one process: the earliest speaks, later ones fill what it lacks."""
    if len(segments) == 1:
        return segments[0]
    merged: dict[str, Any] = {}
    for segment in sorted(segments, key=_segment_number):
        for name, value in segment.items():
            known = merged.get(name)
            if known is None or (isinstance(known, str) and known.strip().lower() in _NOTHING):
                merged[name] = value
    if any(segment.get("terminated") is True for segment in segments):
        merged["terminated"] = True
    return merged


def _segment_number(document: Mapping[str, Any]) -> int:
    number = document.get("segment_id")
    return number if isinstance(number, int) else 0


def _host(document: Mapping[str, Any]) -> Optional[str]:
    host = document.get("hostname")
    return short_host(host) if isinstance(host, str) and host.strip() else None


def _started(process: Process) -> float:
    return process.started_at.timestamp() if process.started_at else 0.0


def _unreadable(source: str, rows: int) -> Optional[SourceResponseError]:
    if not rows:
        return None
    return SourceResponseError(
        f"{source} sent {rows} documents without hash or process guid, so what is missing may be among them. "
        "Check its version with cbsigned config check."
    )
