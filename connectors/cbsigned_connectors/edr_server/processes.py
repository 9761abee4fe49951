"""Routes of one process: detail, segments, events, preview; and how common a binary is.

References:
    - cb-edr-api §3
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from cbsigned.observables import MADE, parse_guid, parse_md5
from cbsigned.store.activity_reader import activity_of
from cbsigned.store.binary_documents import binary_number, signing_states
from cbsigned.store.inventory import prevalence, sensor_number
from cbsigned.store.process_documents import (
    Segment,
    children_of,
    process_documents,
    process_number,
    segments_of,
    siblings_of,
)
from cbsigned_connectors.edr_server.access import Right
from cbsigned_connectors.edr_server.answer import Answer, Refused, json_answer, page
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint
from cbsigned_connectors.edr_server.events import Entry, entries, lists

__all__ = ["ENDPOINTS", "presented"]

_SIBLINGS = 15
_CHILDREN = 15
_MOST_CHILDREN = 1000
_PREVIEWED = 30
_WHOLE = (0, 1)
_RELATIVE = (
    "id", "unique_id", "segment_id", "process_name", "path", "process_md5", "process_sha256", "process_pid", "cmdline",
    "start", "last_update", "username", "hostname", "sensor_id", "parent_id", "parent_unique_id", "parent_name",
    "parent_pid", "parent_md5", "terminated", "uid",
)  # fmt: skip


def detail(desk: Desk, ask: Ask) -> Answer:
    """Answer with a process, its parent, siblings and children."""
    limit = min(ask.parameters.number("children", _CHILDREN), _MOST_CHILDREN)
    with desk.reading() as db:
        number, segments = _asked(db, ask)
        process = _full(desk, db, number, segments)
        parent = _number(db, process.get("parent_id"))
        return json_answer({
            "process": process,
            "parent": _full(desk, db, parent, segments_of(db, parent)) if parent is not None else {},
            "siblings": _relatives(desk, db, siblings_of(db, number, _SIBLINGS)),
            "children": _relatives(desk, db, children_of(db, number, limit)),
        })  # fmt: skip


def document(desk: Desk, ask: Ask) -> Answer:
    """Answer with the process document alone (the second version of the route)."""
    with desk.reading() as db:
        return json_answer(_full(desk, db, *_asked(db, ask)))


def segments(desk: Desk, ask: Ask) -> Answer:
    """Answer with the segments of a process and how many events each has."""
    with desk.reading() as db:
        number, known = _asked(db, ask)
        whole = presented(desk, db, process_documents(db, [number])[0])
        activity = entries(activity_of(db, number), desk.dialect.event_version, desk.dialect)
        listed = []
        for segment in known or [Segment(whole["segment_id"], None)]:
            counts: dict[str, int] = {}
            for _at, name, _event in _of_segment(activity, known, segment.number):
                kind = name.replace("_complete", "")
                counts[kind] = counts.get(kind, 0) + 1
            listed.append({
                "unique_id": desk.dialect.unique_id(whole["id"], segment.number), "last_update": whole["last_update"],
                "last_server_update": whole["last_server_update"], "event_counts": counts,
            })  # fmt: skip
        return json_answer({"process": {"segments": listed}})


def events(version: int) -> Callable[[Desk, Ask], Answer]:
    """Return what answers with a process's events in the encodings of a version of the route."""

    def answer(desk: Desk, ask: Ask) -> Answer:
        began = time.monotonic()
        first = ask.parameters.number("cb.event_start", 0)
        count = ask.parameters.number("cb.event_count", 0)
        with desk.reading() as db:
            number, known = _asked(db, ask)
            activity = activity_of(db, number)
            found = _of_segment(entries(activity, version, desk.dialect), known, int(ask.path["segment"]))
            shown = found[first : first + count] if count else found[first:]
            process = {**_full(desk, db, number, known), **lists(shown)}
            process["binaries"] = signing_states(db, activity.binaries)
        return json_answer({"process": process, "elapsed": time.monotonic() - began})

    return answer


def preview(desk: Desk, ask: Ask) -> Answer:
    """Answer with the document and a few tens of events that hold a word of the query, the word marked."""
    words = [word.rsplit(":", 1)[-1].strip('"()*').lower() for word in ask.parameters.text("q").split()]
    wanted = [word for word in words if len(word) > 1 and word not in ("and", "or", "not")]
    with desk.reading() as db:
        number, known = _asked(db, ask)
        found = entries(activity_of(db, number), 1, desk.dialect)
        marked = [(at, name, mark) for at, name, event in found for mark in [_marked(str(event), wanted)] if mark]
        return json_answer({**_full(desk, db, number, known), **lists(marked[:_PREVIEWED])})


def host_count(desk: Desk, ask: Ask) -> Answer:
    """Answer with how common a binary is."""
    md5 = parse_md5(ask.parameters.text("md5"))
    with desk.reading() as db:
        found = prevalence(db, None if md5 is None else binary_number(db, md5))
    return json_answer({"hostCount": found.hosts, "globalCount": found.processes, "numDocs": found.all_processes})


def presented(desk: Desk, db: sqlite3.Connection, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a process document as the server writes it; clients ask for the sensor of every process."""
    made = desk.dialect.process_document(document)
    if "sensor_id" not in made and "hostname" in made:
        number = sensor_number(db, made["hostname"])
        made.update({} if number is None else {"sensor_id": number})
    return made


def _asked(db: sqlite3.Connection, ask: Ask) -> tuple[int, list[Segment]]:
    """Return the number of the process that the path names, and its recorded segments.

    Raises:
        Refused: 404, where there is no such process or segment.
    """
    number = _number(db, ask.path["id"])
    if number is None:
        raise Refused(page(404))
    known = segments_of(db, number)
    text = ask.path.get("segment", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise Refused(page(404))
    if known and int(text) not in (*_WHOLE, *(segment.number for segment in known)):
        raise Refused(page(404))
    return number, known


def _number(db: sqlite3.Connection, text: object) -> Optional[int]:
    """Return the number of the process of an id, Carbon Black's or another product's without its mark."""
    guid = parse_guid(text)
    marked = () if guid is None else (guid, f"{{{guid}}}", f"{MADE}{guid}")
    return next((number for number in (process_number(db, one) for one in marked) if number is not None), None)


def _full(desk: Desk, db: sqlite3.Connection, number: int, known: list[Segment]) -> dict[str, Any]:
    """Return a process document with what only details have."""
    made = process_documents(db, [number])[0]
    for name in ("last_update", "last_server_update"):
        if name in made:
            made[f"min_{name}"] = made[f"max_{name}"] = made[name]
    whole = presented(desk, db, made)
    whole["ref_segment_id"] = [segment.number for segment in known] or [whole["segment_id"]]
    return desk.dialect.shaped(whole)


def _relatives(desk: Desk, db: sqlite3.Connection, numbers: list[int]) -> list[dict[str, Any]]:
    """Return siblings or children: shorter documents; a suppressed one has no document of its own."""
    made = []
    for document in process_documents(db, numbers):
        full = presented(desk, db, document)
        short = {name: full[name] for name in _RELATIVE if name in full}
        short.update(child_proc_type="exec", is_suppressed=full.get("is_suppressed", False))
        made.append(short)
    return made


def _of_segment(found: list[Entry], known: list[Segment], segment: int) -> list[Entry]:
    """Return the events of a segment: those up to its last update, and after the one's before it."""
    numbers = [one.number for one in known]
    if segment not in numbers or len(known) == 1:
        return found
    index = numbers.index(segment)
    after = _until(known, index - 1)
    until = _until(known, index) if index < len(known) - 1 else None
    return [entry for entry in found if (after is None or entry[0] > after) and (until is None or entry[0] <= until)]


def _until(known: list[Segment], index: int) -> Optional[int]:
    return known[index].until if index >= 0 else None


def _marked(event: str, words: list[str]) -> Optional[str]:
    lower = event.lower()
    for word in words:
        at = lower.find(word)
        if at >= 0 and len(lower) == len(event):
            return f"{event[:at]}PREPREPRE{event[at : at + len(word)]}POSTPOSTPOST{event[at + len(word) :]}"
    return None


_ONE = "/api/v1/process/{id}/{segment}"
ENDPOINTS = [
    Endpoint("/api/v1/process/host/count", host_count, Right.SEARCH),
    Endpoint("/api/v1/process/{id}/segment", segments, Right.SEARCH, since=(6,)),
    Endpoint(f"{_ONE}/preview", preview, Right.SEARCH),
    Endpoint("/api/v1/process/{id}/{segment}/event", events(1), Right.SEARCH),
    Endpoint("/api/v2/process/{id}/{segment}/event", events(2), Right.SEARCH, since=(5, 1)),
    Endpoint("/api/v3/process/{id}/{segment}/event", events(3), Right.SEARCH, since=(5, 2)),
    Endpoint("/api/v4/process/{id}/{segment}/event", events(4), Right.SEARCH, since=(6,)),
    Endpoint(_ONE, detail, Right.SEARCH),
    Endpoint("/api/v2/process/{id}/{segment}", document, Right.SEARCH),
]
