"""What one process did, as the EDR recorded it: all event lists as one, oldest first, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from cbsigned.edr.answers import NoRoute
from cbsigned.edr.events import KINDS, LISTS, Entry, read_event, time_of
from cbsigned.edr.query import Unsearchable, guid_clause
from cbsigned.edr.search import PROCESS, ServerVersion, search, side_by_side
from cbsigned.edr.transport import EdrClient
from cbsigned.errors import ProcessNotFound, SourceResponseError
from cbsigned.observables import parse_guid, printable
from cbsigned.timing import Deadline

__all__ = ["MAX_ROWS", "ActivityPage", "activity_page"]

MAX_ROWS = 10_000
"""Most entries of one page."""
_MAX_START = 10_000_000
_MAX_SEGMENTS = 200
_ROUTE_SINCE = ((6, 0, 0), (5, 2, 0), (5, 1, 0))
_UNREADABLE = "an event in a form that we do not know"


@dataclass(frozen=True)
class ActivityPage:
    """One page of a process's events.

    Attributes:
        entries: Oldest first; events without a time stand first of all.
        counts: How many there are of each kind that was asked for.
        next: `start` of the next page, or None where this is the last one.
        notes: What is missing or could not be read, a sentence each.
    """

    entries: list[Entry]
    counts: Mapping[str, int]
    next: Optional[int] = None
    notes: tuple[str, ...] = field(default=())

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(self.counts.values())


class _Raw(NamedTuple):
    """An event that is not read yet, in the order of the list."""

    at: str
    kind: int
    place: int
    event: object
    binaries: Mapping[str, Any]


def activity_page(
    client: EdrClient,
    guid: str,
    version: ServerVersion,
    deadline: Deadline,
    *,
    kinds: Optional[Sequence[str]] = None,
    start: int = 0,
    rows: int = 500,
) -> ActivityPage:
    """Return one page of what a process did, oldest first.

    The server knows neither kinds nor one list, so every page reads all events of the process: one request from 6.0
    on; before, one for each segment, 200 at most. Only the events of the page are taken apart.

    Args:
        guid: A segment suffix is passed over.
        version: Of the server; it decides on the route.
        kinds: Of `KINDS`; None for all.
        start: Of the page, 0 or more.
        rows: Of the page, up to `MAX_ROWS`; 0 only counts.

    Raises:
        Unsearchable: `guid` is none, or a kind is unknown; nothing was asked.
        ProcessNotFound: The server has no events of it.
        SourceError: They could not be read.

    References:
        - cb-edr-api §1.4 (event endpoint, whole-process segment), §3.3
    """
    found, wanted = _checked(guid, kinds, start, rows)
    notes: list[str] = []
    segments = [0] if version.groups else _segments(client, found, version, deadline, notes)
    number = next((4 - place for place, since in enumerate(_ROUTE_SINCE) if version >= since), 1)

    def ask(segment: int) -> Mapping[str, Any]:
        path = f"/api/v{number}/process/{found}/{segment}/event"
        document = client.ask(path, deadline).document
        process = document.get("process")
        if not isinstance(process, dict):
            raise SourceResponseError(
                f"{client.host} sent events in another shape: process is no object. Check its version."
            )
        return process

    try:
        answers = side_by_side(client, ask, segments)
    except NoRoute as exc:
        raise ProcessNotFound(
            f"{client.host} ({version}) has no events of process {found}: they have aged out, its sensor never sent "
            f"them, or the server has no event route v{number}."
        ) from exc
    raw = [event for answer in answers for event in _events(answer, wanted)]
    raw.sort(key=lambda one: one[:2])
    counts = {kind: 0 for kind in KINDS if kind in wanted}
    for one in raw:
        counts[KINDS[one.kind]] += 1
    entries = [_entry(one) for one in raw[start : start + rows]]
    unreadable = sum(not entry.action for entry in entries)
    if unreadable:
        notes.append(f"{unreadable} of these events are in a form that we do not know. Look at them in the console.")
    following = start + len(entries)
    return ActivityPage(entries, counts, following if entries and following < len(raw) else None, tuple(notes))


def _checked(guid: str, kinds: Optional[Sequence[str]], start: int, rows: int) -> tuple[str, frozenset[str]]:
    found = parse_guid(guid)
    if found is None:
        raise Unsearchable(f"{printable(guid, 60)} is no process guid (36 characters). Check the field it is from.")
    for kind in kinds or ():
        if kind not in KINDS:
            raise Unsearchable(f"{printable(kind, 40)} is no kind of event. Kinds are {', '.join(KINDS)}.")
    if not (0 <= start <= _MAX_START and 0 <= rows <= MAX_ROWS):
        raise Unsearchable(f"start is {start} and rows is {rows}: expected 0 to {_MAX_START:,} and 0 to {MAX_ROWS:,}.")
    return found, frozenset(kinds or KINDS)


def _segments(client: EdrClient, guid: str, version: ServerVersion, deadline: Deadline, notes: list[str]) -> list[int]:
    """Return the numbers of a process's segments, in order, as versions before 6.0 list them: by a search."""
    more = {"facet": "false"} if version.facets else {}
    query = guid_clause("process_id", guid)
    found = search(client, PROCESS, query, deadline, rows=_MAX_SEGMENTS, more=more, at_most=_MAX_SEGMENTS)
    numbers = {d.get("segment_id") for d in found.documents if parse_guid(d.get("id")) == guid}
    segments = sorted(n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n >= 0)
    if not segments:
        raise found.missing or ProcessNotFound(
            f"{client.host} ({version}) has no process {guid}: it has aged out, or its sensor never sent it."
        )
    if found.missing is not None:
        notes.append(f"Events of further segments are missing. {found.missing}")
    return segments[:_MAX_SEGMENTS]


def _events(process: Mapping[str, Any], wanted: frozenset[str]) -> list[_Raw]:
    given = process.get("binaries")
    binaries: Mapping[str, Any] = given if isinstance(given, dict) else {}
    made = []
    for name, kind in LISTS.items():
        events = process.get(name) if kind in wanted else None
        number = KINDS.index(kind)
        for place, event in enumerate(events if isinstance(events, list) else ()):
            made.append(_Raw(time_of(kind, event), number, place, event, binaries))
    return made


def _entry(raw: _Raw) -> Entry:
    kind = KINDS[raw.kind]
    return read_event(kind, raw.event, raw.binaries) or Entry(None, kind, "", _UNREADABLE)
