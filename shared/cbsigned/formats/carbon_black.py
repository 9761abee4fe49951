"""Carbon Black EDR: event forwarder messages, their raw bus form, and plain process and binary documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import RecordKind, parse_binary
from cbsigned.formats.values import first, first_time, hashes_of, host_of, text_of
from cbsigned.observables import guid_parts, parse_guid, parse_pid, split_path
from cbsigned.process import Process, parse_process

__all__ = ["SIGNS", "read"]

SIGNS = frozenset((
    "type", "alert_type", "watchlist_id", "feed_id", "docs", "scores", "compressed_size", "id", "unique_id",
    "digsig_result", "observed_filename", "orig_mod_len",
))  # fmt: skip
"""Each of these records has at least one of these keys."""
_MAX_DOCUMENTS = 1000
_ORDER = {role: number for number, role in enumerate(Role)}
_PREFIXES = ("ingress.event.", "watchlist.", "feed.", "alert.", "binaryinfo.", "binarystore.")
_PROCESS_FIELDS = ("process_md5", "process_sha256", "process_name", "process_pid", "parent_unique_id", "segment_id")


def read(record: Mapping[str, Any]) -> Optional[Alert]:
    """Return the alert, or None where the record is none of Carbon Black's.

    References:
        - cb-edr-api §2.3, §5.2 (documents), §9 (alerts), §10 (forwarder messages)
    """
    kind, docs = _kind(record), _docs(record)
    problems: tuple[str, ...] = ()
    if kind is None and not docs:
        if _is_process(record):
            shape, sets = "cb-process", [_process_set(record, record)]
        elif _is_binary(record):
            shape, sets = "cb-binary", [_binary_set(record, record, RecordKind.BINARY_DOCUMENT)]
        else:
            return None
    else:
        shape = "cb-forwarder"
        sets = [found for doc in docs[:_MAX_DOCUMENTS] for found in [_document_set(doc, record)] if found is not None]
        if len(docs) > _MAX_DOCUMENTS:
            problems = (f"{len(docs) - _MAX_DOCUMENTS} of {len(docs)} documents of this hit were not read.",)
        if kind is not None and kind.startswith("ingress.event."):
            sets += _sensor_event(record, kind)
        elif not sets:
            sets = _flat_hit(record, kind or "")
        sets += [ioc for ioc in _ioc(record) if not any(_same_file(ioc, found) for found in sets)]
    return Alert(
        format=shape,
        kind=kind,
        id=first(record, "unique_id") if shape == "cb-forwarder" else None,
        title=first(record, "watchlist_name", "feed_name"),
        at=first_time(record, "created_time", "timestamp", "event_timestamp", "last_update"),
        link=first(record, "link_process", "link_md5")
        or (first(docs[0], "link_process", "link_md5") if docs else None),
        sets=tuple(sorted((s for s in sets if s.usable), key=lambda s: _ORDER[s.role])),
        problems=problems,
    )


def _kind(record: Mapping[str, Any]) -> Optional[str]:
    """Return the forwarder's message type; None where the record is no forwarder message."""
    for name in ("type", "alert_type"):
        value = record.get(name)
        if isinstance(value, str) and value.startswith(_PREFIXES):
            return value[:100]
    if any(isinstance(record.get(name), (int, str)) for name in ("watchlist_id", "feed_id")):
        # the bus form, whose type is its routing key
        docs = _docs(record)
        guid = parse_guid(record.get("process_guid")) or parse_guid(record.get("process_id"))
        what = "process" if guid or any(_is_process(doc) for doc in docs) else "binary"
        if guid or docs or "ioc_type" in record or "md5" in record:
            return f"{'watchlist' if 'watchlist_id' in record else 'feed'}.hit.{what}"
        return None
    if isinstance(record.get("scores"), Mapping) and "md5" in record:
        return "binaryinfo.observed"
    return "binarystore.file.added" if "compressed_size" in record and "md5" in record else None


def _docs(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the documents of a hit, whether the message holds a list or a single one."""
    docs = record.get("docs")
    items = docs if isinstance(docs, list) else [docs]
    return [doc for doc in items if isinstance(doc, Mapping)]


def _is_process(doc: Mapping[str, Any]) -> bool:
    """Whether this is the EDR's process document; a row that merely has a process guid is none."""
    own_id = parse_guid(doc.get("unique_id")) or parse_guid(doc.get("id"))
    return own_id is not None and any(name in doc for name in _PROCESS_FIELDS)


def _is_binary(doc: Mapping[str, Any]) -> bool:
    return ("md5" in doc or "sha256" in doc) and any(
        name in doc for name in ("digsig_result", "observed_filename", "orig_mod_len")
    )


def _document_set(doc: Mapping[str, Any], hit: Mapping[str, Any]) -> Optional[ObservableSet]:
    ids = (doc.get("id"), doc.get("unique_id"), doc.get("process_guid"))
    if any(map(parse_guid, ids)) or any(name in doc for name in _PROCESS_FIELDS):
        return _process_set(doc, hit)
    return _binary_set(doc, hit, RecordKind.BINARY_DOCUMENT) if "md5" in doc or "sha256" in doc else None


def _process_set(doc: Mapping[str, Any], hit: Mapping[str, Any]) -> ObservableSet:
    process = parse_process(doc) or parse_process({**doc, "id": hit.get("process_guid") or hit.get("process_id")})
    hashes = hashes_of(doc.get("process_md5"), doc.get("process_sha256"))
    found = ObservableSet(Role.PROCESS, md5=hashes.md5, sha256=hashes.sha256, problems=hashes.problems)
    if process is None:
        path = text_of(doc.get("path"))
        return replace(
            found, name=text_of(doc.get("process_name")), path=path, pid=parse_pid(doc.get("process_pid")),
            host=host_of(doc) or host_of(hit), user=text_of(doc.get("username")), cmdline=text_of(doc.get("cmdline")),
            started_at=first_time(doc, "start"),
        )  # fmt: skip
    process = replace(process, host=process.host or host_of(hit))
    return replace(
        found, process_guid=process.guid, name=process.name, path=process.path, pid=process.pid, host=process.host,
        user=process.user, cmdline=process.cmdline, started_at=process.started_at, process=process,
    )  # fmt: skip


def _binary_set(doc: Mapping[str, Any], hit: Mapping[str, Any], kind: RecordKind) -> ObservableSet:
    claimed = parse_binary(doc, kind)
    hashes = hashes_of(doc.get("md5"), doc.get("sha256"))
    path = claimed.paths[0] if claimed.paths else None
    endpoint = text_of(doc.get("endpoint"))
    return ObservableSet(
        Role.TARGET_FILE, md5=hashes.md5, sha256=hashes.sha256, name=split_path(path) if path else None, path=path,
        host=host_of(hit) or (endpoint.split("|")[0] if endpoint else None), claimed=claimed if claimed.word else None,
        problems=hashes.problems,
    )  # fmt: skip


def _flat_hit(record: Mapping[str, Any], kind: str) -> list[ObservableSet]:
    """Read a hit without documents: alerts, feed hits, binaryinfo; numbers may be texts."""
    ids = (record.get("process_guid"), record.get("process_id"), record.get("process_unique_id"))
    guid = next((found for found in map(parse_guid, ids) if found is not None), None)
    hashes = hashes_of(record.get("md5"), record.get("sha256"))
    if "binary" in kind or guid is None:
        wanted = hashes.md5 or hashes.sha256 or hashes.problems
        return [_binary_set(record, record, RecordKind.ALERT)] if wanted else []
    name, path, user, system = (
        text_of(record.get(field)) for field in ("process_name", "process_path", "username", "os_type")
    )
    parts, sensor_id, host = guid_parts(guid), parse_pid(record.get("sensor_id")), host_of(record)
    called = name or (split_path(path) if path else None)
    process = Process(
        guid, name=called.lower() if called else None, path=path.lower() if path else None, md5=hashes.md5,
        sha256=hashes.sha256, pid=parts.pid, user=user, host=host,
        sensor_id=parts.sensor_id if sensor_id is None else sensor_id, os_type=system, started_at=parts.started_at,
    )  # fmt: skip
    return [
        ObservableSet(
            Role.PROCESS, md5=hashes.md5, sha256=hashes.sha256, process_guid=guid, name=name, path=path, host=host,
            user=user, problems=hashes.problems, process=process,
        )
    ]  # fmt: skip


def _ioc(record: Mapping[str, Any]) -> list[ObservableSet]:
    """Return the file that a feed's indicator names, where it is a hash."""
    if record.get("ioc_type") not in ("md5", "sha256"):
        return []
    hashes = hashes_of(record.get("ioc_value"))
    return [ObservableSet(Role.TARGET_FILE, md5=hashes.md5, sha256=hashes.sha256, problems=hashes.problems)]


def _same_file(one: ObservableSet, other: ObservableSet) -> bool:
    pairs = ((one.md5, other.md5), (one.sha256, other.sha256))
    return any(a is not None and a == b for a, b in pairs)


def _sensor_event(record: Mapping[str, Any], kind: str) -> list[ObservableSet]:
    """Read one sensor event; `md5` is the module's, the child's or the process's own, by kind (cb-edr-api §10.1)."""
    hashes = hashes_of(record.get("md5"), record.get("sha256"))
    host, path = host_of(record), text_of(record.get("path"))
    if kind == "ingress.event.module":
        return [_binary_set(record, record, RecordKind.BINARY_INFO_EVENT)]
    guid = parse_guid(record.get("process_guid"))
    acting = ObservableSet(
        Role.PROCESS, process_guid=guid, host=host, pid=parse_pid(record.get("pid")),
        user=text_of(record.get("username")),
    )  # fmt: skip
    file = ObservableSet(
        Role.MODULE, md5=hashes.md5, sha256=hashes.sha256, host=host, path=path,
        name=split_path(path) if path else None, problems=hashes.problems,
    )  # fmt: skip
    if kind == "ingress.event.moduleload":
        return [acting, file]
    if kind == "ingress.event.childproc":
        return [acting, replace(file, role=Role.CHILD, process_guid=parse_guid(record.get("child_process_guid")))]
    acting = replace(acting, md5=hashes.md5, sha256=hashes.sha256, problems=hashes.problems)
    if kind not in ("ingress.event.procstart", "ingress.event.procend", "ingress.event.process"):
        return [acting]
    process = parse_process({
        "id": guid, "path": path, "process_md5": hashes.md5, "process_sha256": hashes.sha256, "hostname": host,
        "username": record.get("username"), "cmdline": record.get("command_line"), "process_pid": record.get("pid"),
        "parent_guid": record.get("parent_process_guid"),
    })  # fmt: skip
    return [
        replace(
            acting, path=path, name=file.name, cmdline=text_of(record.get("command_line")), process=process,
            started_at=process.started_at if process is not None else None,
        )
    ]  # fmt: skip
