"""Where a file was seen, asked of an EDR server: its binary document, and three process searches by its hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Optional, Union

from cbsigned.binary import parse_binary
from cbsigned.edr.documents import processes_in
from cbsigned.edr.query import Query, all_of, hash_clause, without
from cbsigned.edr.search import BINARY, PROCESS, Found, ServerVersion, search, side_by_side
from cbsigned.edr.transport import EdrClient, Parameter
from cbsigned.errors import SourceError, SourceResponseError
from cbsigned.gaps import Cause, Gap
from cbsigned.observables import parse_pid, split_path
from cbsigned.seen import Contacts, Seen, split_hash
from cbsigned.timing import Deadline, parse_time

__all__ = ["seen_on"]

_OTHERS = ("process", "parent", "childproc", "filewrite")
_Answer = Union[Found, SourceError]


def seen_on(client: EdrClient, file_hash: str, rows: int, version: ServerVersion, deadline: Deadline) -> Seen:
    """Return where a file was seen; four requests, side by side.

    No search field names loaded modules by hash alone: those processes are asked for that know the hash, but not as
    an image and not as a written file. Where such processes exist, those that loaded the file besides are not told
    apart, and the gap says so.

    References:
        - cb-edr-api §4.4 (`md5` in a process search: image, parent, child, loaded module or written file), §5.2
    """
    grouped: dict[str, Parameter] = {"cb.group": "id", "cb.comprehensive_search": "true"} if version.groups else {}
    plain: dict[str, Parameter] = {"facet": "false"} if version.facets else {}
    ran, wrote = hash_clause(file_hash, of="process"), hash_clause(file_hash, of="filewrite")
    loaded = all_of([hash_clause(file_hash), *(without(hash_clause(file_hash, of=of)) for of in _OTHERS)])

    def ask(question: tuple[str, Query]) -> _Answer:
        route, query = question
        more = {**plain, **grouped, "sort": "start desc"} if route == PROCESS else plain
        try:
            return search(client, route, query, deadline, rows=rows, more=more, at_most=rows)
        except SourceError as exc:
            return exc

    questions = [(BINARY, hash_clause(file_hash)), (PROCESS, ran), (PROCESS, loaded), (PROCESS, wrote)]
    binary, *relations = side_by_side(client, ask, questions)
    told = [_contacts(f"processes that {what} {file_hash}", answer, rows) for what, answer in zip(_WORDS, relations)]
    if told[1].gap is None and (told[0].total or told[2].total):
        told[1] = Contacts(told[1].processes, told[1].total, _not_told_apart(file_hash))
    return _described(file_hash, binary, rows, told)


_WORDS = ("ran", "loaded", "wrote")


def _contacts(about: str, answer: _Answer, rows: int) -> Contacts:
    if isinstance(answer, SourceError):
        return Contacts(gap=Gap(about, answer.cause, str(answer)))
    missing = answer.missing
    if isinstance(missing, SourceResponseError) and len(answer.documents) >= rows:
        missing = None  # older ones were not asked for
    processes = processes_in(answer.documents)[:rows]
    gap = Gap(about, missing.cause, str(missing)) if missing is not None else None
    return Contacts(tuple(processes), max(answer.total, len(processes)), gap)


def _not_told_apart(file_hash: str) -> Gap:
    reason = (
        "The EDR's search cannot tell which of the processes that ran, started or wrote the file loaded it as well: "
        "those are not counted here."
    )
    return Gap(f"processes that loaded {file_hash}", Cause.UNSEARCHABLE, reason)


def _described(file_hash: str, answer: _Answer, rows: int, told: Sequence[Contacts]) -> Seen:
    md5, sha256 = split_hash(file_hash)
    ran, loaded, wrote = told
    if isinstance(answer, SourceError):
        gap = Gap(f"the binary record of {file_hash}", answer.cause, str(answer))
        return Seen(file_hash, md5, sha256, ran=ran, loaded=loaded, wrote=wrote, gaps=(gap,))
    document: Mapping[str, Any] = answer.documents[0] if answer.documents else {}
    record = parse_binary(document)
    hosts = _hosts(document.get("endpoint"))
    return Seen(
        file_hash,
        md5=md5 or record.md5,
        sha256=sha256 or record.sha256,
        name=split_path(record.paths[0]) if record.paths else None,
        paths=record.paths[:rows],
        hosts=tuple(hosts[:rows]),
        host_count=record.host_count if record.host_count is not None else (len(hosts) or None),
        first_seen_at=_time(document, "server_added_timestamp", "timestamp"),
        last_seen_at=_time(document, "last_seen"),
        ran=ran,
        loaded=loaded,
        wrote=wrote,
    )


def _hosts(value: object) -> list[tuple[str, Optional[int]]]:
    """Return `HOST|sensorid` entries apart; a host name may hold anything but the last bar."""
    entries = [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
    parted = [entry.rpartition("|") if "|" in entry else (entry, "", "") for entry in entries]
    return [(host, parse_pid(sensor)) for host, _bar, sensor in parted if host]


def _time(document: Mapping[str, Any], *names: str) -> Optional[datetime]:
    return next((at for at in (parse_time(document.get(name)) for name in names) if at is not None), None)
