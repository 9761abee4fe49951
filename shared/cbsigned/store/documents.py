"""Server messages (hits, binary and feed messages) and REST documents → rows; each is also kept whole.

References:
    - cb-edr-api §2.3, §3.1, §3.3, §5.2, §10.3; recordings cb-event-forwarder, cb-integration, cbinterface2
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

from cbsigned.binary import RecordKind, parse_binary
from cbsigned.observables import parse_guid, parse_md5
from cbsigned.process import Process, parse_process
from cbsigned.store.activity import LISTS, take_activity
from cbsigned.store.audit import AUDITD, take_auditd, take_created
from cbsigned.store.events import HANDLERS, keep, milliseconds, origin_of, text_of
from cbsigned.store.kinds import BINARY_DOCUMENT, BUNDLE, DETAIL, EVENTS, PROCESS_DOCUMENT, SEARCH, kind_of
from cbsigned.store.rows import (
    Batch,
    BinaryFact,
    Described,
    Flag,
    MalformedRecord,
    MessageRow,
    Origin,
    ProcessFact,
    Rank,
)
from cbsigned.store.sysmon import NAMES, take_sysmon
from cbsigned.store.windows import is_windows, windows_event
from cbsigned.timing import parse_time

__all__ = ["UnknownKind", "expand", "translate"]

_MAX_DEPTH = 4


class UnknownKind(ValueError):
    """A sound JSON object that is no telemetry we know; its text is the kind's name."""


def expand(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records that one JSON object holds: a search answer's documents, a bundle's events, or itself.

    Raises:
        MalformedRecord: Answers inside answers, or something among them that is no JSON object.
    """
    found: list[Mapping[str, Any]] = []
    waiting: list[tuple[Any, int]] = [(record, 0)]
    while waiting:
        item, depth = waiting.pop()
        if not isinstance(item, Mapping):
            raise MalformedRecord("it holds something that is no JSON object")
        kind = None if "type" in item or AUDITD in item or is_windows(item) else kind_of(item)
        if kind not in (SEARCH, BUNDLE):
            found.append(item)
        elif depth >= _MAX_DEPTH:
            raise MalformedRecord(f"answers inside answers, more than {_MAX_DEPTH} deep")
        else:
            listed = item.get("results" if kind == SEARCH else "alerts")
            inside = listed if isinstance(listed, list) else [item.get("event")]
            waiting.extend((part, depth + 1) for part in reversed(inside))
    return found


def translate(record: Mapping[str, Any], hint: Optional[str], batch: Batch) -> None:
    """Add the rows of one record to a batch.

    Args:
        record: An event, a message, or a document; see `expand` for what holds several.
        hint: Kind that its folder names.
        batch: Takes the rows.

    Raises:
        MalformedRecord: It is of a known kind and lacks what that kind needs.
        UnknownKind: It is of no kind we know.
    """
    named = record.get("type")
    handler = HANDLERS.get(named) if type(named) is str else None
    try:
        if handler is not None:  # the hot path
            handler(record, batch)
            if "process_path" in record:
                _say_image(record, batch)
        else:
            _translate(record, hint, batch)
    except OverflowError:
        raise MalformedRecord("a number is out of range") from None


def _say_image(record: Mapping[str, Any], batch: Batch) -> None:
    """Add the image of the acting process, which the bus and newer forwarders name in every event."""
    guid, path = parse_guid(record.get("process_guid")), text_of(record.get("process_path"))
    if guid is not None and path is not None:
        batch.facts.append(ProcessFact(guid, Rank.MENTION, path=path, origin=origin_of(record)))


def _translate(record: Mapping[str, Any], hint: Optional[str], batch: Batch) -> None:
    if is_windows(record):
        _log_event(record, batch)
        return
    if AUDITD in record:
        if not take_auditd(record, batch):
            raise UnknownKind("auditd, no program start")
        return
    kind = kind_of(record, hint if hint in HANDLERS or hint in _MESSAGES else None)
    if kind is None:
        raise UnknownKind("unrecognised document")
    handler = HANDLERS.get(kind) or _DOCUMENTS.get(kind)
    if handler is not None:
        handler(record, batch)
    elif kind in _MESSAGES:
        _MESSAGES[kind](record, kind, batch)
    else:
        raise UnknownKind(kind)


def _log_event(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in a record of an event log: Sysmon's, and the process starts that Windows logs itself."""
    event = windows_event(record)
    if event.channel == "security" and event.number == 4688:
        take_created(event, batch)
        return
    if not event.sysmon:
        raise UnknownKind(f"{event.channel} {event.number}")
    if not take_sysmon(event, batch):
        raise UnknownKind(f"sysmon.{NAMES.get(event.number, event.number)}")


def _process_document(doc: Mapping[str, Any], batch: Batch) -> None:
    _take_process_document(doc, batch)


def _take_process_document(doc: Mapping[str, Any], batch: Batch, parent_guid: Optional[str] = None) -> MessageRow:
    """Keep a process document and what it says; a suppressed entry is no document of its own."""
    process = parse_process(doc)
    if process is None:
        raise MalformedRecord("the process document has no process guid")
    message = keep(doc, PROCESS_DOCUMENT, batch, guid=process.guid, md5=process.md5)
    described = 0 if process.suppressed else Described.DOCUMENT
    _say(process, doc, Rank.DOCUMENT, described, batch, parent_guid)
    return message


def _detail(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in a process with parent, siblings and children."""
    main = record["process"]
    message = _take_process_document(main, batch)
    parent = record.get("parent")
    others = [parent] if isinstance(parent, Mapping) and parent else []
    process = parse_process(main)
    for doc in others:
        _relative(doc, batch, None)
    for name, parent_guid in (("siblings", process and process.parent_guid), ("children", message.guid)):
        for doc in _mappings(record.get(name)):
            _relative(doc, batch, parent_guid or None)


def _relative(doc: Mapping[str, Any], batch: Batch, parent_guid: Optional[str]) -> None:
    if parse_process(doc) is not None:
        _take_process_document(doc, batch.beside(), parent_guid)


def _events(record: Mapping[str, Any], batch: Batch) -> None:
    """Take in an event answer: the process document, its events, and the signing status of the files named."""
    inner = record.get("process")
    doc: Mapping[str, Any] = inner if isinstance(inner, Mapping) else record
    bare = {name: value for name, value in doc.items() if name not in LISTS and name != "binaries"}
    message = _take_process_document(bare, batch)
    if message.guid is None:
        raise MalformedRecord("the event answer names no process")
    take_activity(doc, message.guid, parse_md5(doc.get("process_md5")), origin_of(doc), batch.beside())
    statuses = doc.get("binaries")
    if isinstance(statuses, Mapping):
        for md5, status in statuses.items():
            if isinstance(status, Mapping) and parse_md5(md5):
                kept = keep({**status, "md5": md5}, BINARY_DOCUMENT, batch.beside(), md5=parse_md5(md5))
                batch.beside().binaries.append(BinaryFact(parse_binary({**status, "md5": md5}), kept.digest))


def _binary_document(doc: Mapping[str, Any], batch: Batch) -> None:
    facts = parse_binary(doc)
    if facts.md5 is None and facts.sha256 is None:
        raise MalformedRecord("the binary document has no md5 or sha256")
    message = keep(doc, BINARY_DOCUMENT, batch, md5=facts.md5)
    _say_binary(doc, RecordKind.BINARY_DOCUMENT, message, batch)


_DOCUMENTS: dict[str, Callable[[Mapping[str, Any], Batch], None]] = {
    PROCESS_DOCUMENT: _process_document,
    DETAIL: _detail,
    EVENTS: _events,
    BINARY_DOCUMENT: _binary_document,
}


def _process_hit(record: Mapping[str, Any], kind: str, batch: Batch) -> None:
    """Keep a hit of a process, and what its documents say; the same documents come in several hits."""
    docs = list(_mappings(record.get("docs")))
    guid = parse_guid(record.get("process_guid")) or parse_guid(record.get("process_id"))
    guid = guid or next((p.guid for p in map(parse_process, docs) if p), None)
    if guid is None:
        raise MalformedRecord("the hit names no process")
    keep(record, kind, batch, guid=guid, md5=parse_md5(record.get("md5")))
    origin = origin_of(record)
    if not docs:
        batch.facts.append(ProcessFact(guid, Rank.HIT, Described.HIT, origin=origin))
    for doc in docs:
        process = parse_process(doc) or parse_process({**doc, "id": guid})
        if process is not None:
            _say(process, doc, Rank.HIT, Described.HIT, batch, origin=origin)


def _process_alert(record: Mapping[str, Any], kind: str, batch: Batch) -> None:
    """Keep a flat alert on a process, nearly all values texts."""
    guid = parse_guid(record.get("process_guid")) or parse_guid(record.get("process_id"))
    guid = guid or parse_guid(record.get("process_unique_id"))
    if guid is None:
        raise MalformedRecord("the alert names no process")
    keep(record, kind, batch, guid=guid, md5=parse_md5(record.get("md5")))
    doc = {
        **record, "id": guid, "path": record.get("process_path"), "process_md5": record.get("md5"),
        "process_sha256": record.get("sha256"),
    }  # fmt: skip
    process = parse_process(doc)
    if process is not None:
        _say(process, doc, Rank.HIT, Described.HIT, batch)


def _binary_hit(record: Mapping[str, Any], kind: str, batch: Batch) -> None:
    """Keep a hit of binaries; the bus sends up to 100 documents in one message."""
    docs = list(_mappings(record.get("docs")))
    md5 = parse_md5(record.get("md5")) or next((m for m in (parse_md5(d.get("md5")) for d in docs) if m), None)
    if md5 is None:
        raise MalformedRecord("the hit names no binary")
    message = keep(record, kind, batch, md5=md5)
    for doc in docs:
        _say_binary({"md5": md5, **doc}, RecordKind.BINARY_DOCUMENT, message, batch)
    host = origin_of(record).host
    if host and message.at is not None and not docs:
        batch.seen.append((md5, host, message.at))


def _binary_alert(record: Mapping[str, Any], kind: str, batch: Batch) -> None:
    """Keep a flat alert on a binary, which carries a signing status but no result code."""
    md5 = parse_md5(record.get("md5"))
    if md5 is None:
        raise MalformedRecord("the alert names no binary")
    message = keep(record, kind, batch, md5=md5)
    _say_binary(record, RecordKind.ALERT, message, batch)
    hosts = [record.get("hostname"), *(_texts(record.get("other_hostnames")))]
    batch.seen.extend((md5, host, message.at) for host in map(text_of, hosts) if host and message.at is not None)


def _binary_message(record: Mapping[str, Any], kind: str, batch: Batch) -> None:
    """Keep what the server says of a binary beside its signature: where it was seen, that it is stored."""
    md5 = parse_md5(record.get("md5"))
    if md5 is None:
        raise MalformedRecord("no md5")
    message = keep(record, kind, batch, md5=md5)
    host = origin_of(record).host
    if host and message.at is not None:
        batch.seen.append((md5, host, message.at))


def _message(record: Mapping[str, Any], kind: str, batch: Batch) -> None:
    keep(record, kind, batch)


_ALERTS = tuple(f"alert.watchlist.hit.{how}" for how in ("ingress", "query"))
_HITS = (
    "watchlist.hit", "watchlist.storage.hit", "feed.ingress.hit", "feed.query.hit", "feed.storage.hit",
)  # fmt: skip
_MESSAGES: dict[str, Callable[[Mapping[str, Any], str, Batch], None]] = {
    **{f"{hit}.process": _process_hit for hit in _HITS},
    **{f"{hit}.binary": _binary_hit for hit in _HITS},
    **{f"{hit}.host": _message for hit in (*_HITS, *_ALERTS)},
    **{f"{alert}.process": _process_alert for alert in _ALERTS},
    **{f"{alert}.binary": _binary_alert for alert in _ALERTS},
    "binaryinfo.observed": _binary_message,
    "binaryinfo.host.observed": _binary_message,
    "binaryinfo.group.observed": _binary_message,
    "binarystore.file.added": _binary_message,
    "feed.synchronized": _message,
    "cmd.feed.synchronize": _message,
    "task.error.logged": _message,
}


def _say(
    process: Process, doc: Mapping[str, Any], rank: Rank, described: int, batch: Batch,
    parent_guid: Optional[str] = None, origin: Optional[Origin] = None,
) -> None:  # fmt: skip
    """Add what a document says of a process, and of its parent."""
    stated = origin_of({**doc, "computer_name": process.host, "sensor_id": process.sensor_id})
    outer = origin or Origin(None, None, None)
    origin = Origin(stated.host or outer.host, stated.sensor_id, stated.server or outer.server)
    parent = process.parent_guid or (None if process.parent_unknown else parent_guid)
    flags = (
        (Flag.PARENT_UNKNOWN if process.parent_unknown else 0)
        | (Flag.SUPPRESSED if process.suppressed else 0)
        | (Flag.TERMINATED if process.terminated else 0)
    )
    batch.facts.append(ProcessFact(
        process.guid, rank, described, parent, process.name, text_of(doc.get("path")), process.md5, process.sha256,
        process.cmdline, process.user, origin, process.os_type,
        ended=milliseconds(parse_time(doc.get("end"))), flags=flags,
    ))  # fmt: skip
    if parent is not None:
        batch.facts.append(ProcessFact(parent, Rank.MENTION, name=process.parent_name, origin=origin))


def _say_binary(doc: Mapping[str, Any], kind: RecordKind, message: MessageRow, batch: Batch) -> None:
    """Add what a document says of a binary: its signature, and where the file was seen."""
    facts = parse_binary(doc, kind)
    if facts.md5 is None and facts.sha256 is None:
        return
    batch.binaries.append(BinaryFact(facts, message.digest))
    if facts.md5 is None:
        return
    batch.observed.extend((facts.md5, path) for path in _texts(doc.get("observed_filename")))
    times = [milliseconds(parse_time(doc.get(name))) for name in ("server_added_timestamp", "last_seen")]
    known = [at for at in (*times, message.at) if at is not None]
    for endpoint in _texts(doc.get("endpoint")):
        host = text_of(endpoint.split("|", 1)[0])
        if host:
            batch.seen.extend((facts.md5, host, at) for at in (times if any(times) else known) if at is not None)


def _mappings(value: object) -> Iterable[Mapping[str, Any]]:
    items: list[Any] = value if isinstance(value, list) else [value]
    return (item for item in items if isinstance(item, Mapping))


def _texts(value: object) -> list[str]:
    items: list[Any] = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item.strip()]
