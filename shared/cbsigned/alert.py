"""Alerts as platforms send them, read into sets of observables; roles stay apart, values are validated.

Read here: Carbon Black event forwarder messages and their raw bus form (watchlist, feed and alert hits,
binaryinfo, sensor events), plain process and binary documents, and flat key/value rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Optional

from cbsigned.binary import BinaryRecord, RecordKind, parse_binary
from cbsigned.errors import AlertError
from cbsigned.gaps import Cause
from cbsigned.observables import Hashes, parse_guid, parse_pid, read_hashes, split_path
from cbsigned.process import Process, parse_process
from cbsigned.timing import parse_time

__all__ = ["Alert", "ObservableSet", "Role", "parse_alert"]

_MAX_SETS = 1000


class Role(str, Enum):
    """What a set of observables is in its alert; the order is the order in which verdicts are shown."""

    PROCESS = "process"
    TARGET_FILE = "target file"
    MODULE = "module"
    CHILD = "child"
    PARENT = "parent"


@dataclass(frozen=True)
class ObservableSet:
    """What one alert says of one process or file; None is *not given*.

    Attributes:
        claimed: What the alert itself says of the signature; it never overrides the source.
        process: The process as the alert describes it, where it has a guid.
        problems: One sentence for each value that was given and could not be used.
    """

    role: Role
    md5: Optional[str] = None
    sha1: Optional[str] = None
    sha256: Optional[str] = None
    process_guid: Optional[str] = None
    foreign_id: Optional[str] = None
    name: Optional[str] = None
    path: Optional[str] = None
    pid: Optional[int] = None
    host: Optional[str] = None
    user: Optional[str] = None
    cmdline: Optional[str] = None
    started_at: Optional[datetime] = None
    claimed: Optional[BinaryRecord] = None
    process: Optional[Process] = None
    problems: tuple[str, ...] = ()

    @property
    def file_hash(self) -> Optional[str]:
        """MD5 where there is one, else SHA-256: what a signing status can be asked by."""
        return self.md5 or self.sha256


@dataclass(frozen=True)
class Alert:
    """One alert, read.

    Attributes:
        format: Which of the known shapes it has: `cb-forwarder`, `cb-process`, `cb-binary` or `row`.
        kind: The platform's own word for it, `watchlist.hit.process` for example.
        sets: 0 or more; their order is the alert's.
    """

    format: str
    kind: Optional[str] = None
    id: Optional[str] = None
    title: Optional[str] = None
    at: Optional[datetime] = None
    link: Optional[str] = None
    sets: tuple[ObservableSet, ...] = ()


def parse_alert(record: object) -> Alert:
    """Return an alert's observable sets, whatever of the known shapes it has.

    Args:
        record: A JSON object. A Splunk export row whose `_raw` holds one is read through it.

    Raises:
        AlertError: Not an object, or nothing in it can be looked up; the text says which fields would help.

    References:
        - cb-edr-api §9 and §10.3; alert-formats §1, §3.7
    """
    if not isinstance(record, Mapping):
        raise AlertError(f"The alert is {_kind_of(record)}, expected a JSON object with named fields.")
    inner = _inside_raw(record)
    if inner is not None:
        return parse_alert(inner)
    alert = _read(record)
    if not alert.sets:
        told = f"Alert {alert.id}" if alert.id else "The alert"
        raise AlertError(
            f"{told} has no md5, sha256 or process guid, so there is nothing to look up. Fields that help: "
            "md5, process_hash, process_guid, or host with pid and time.",
            Cause.NO_OBSERVABLE,
        )
    return alert


def _read(record: Mapping[str, Any]) -> Alert:
    kind = _kind(record)
    docs = _docs(record)
    if docs:
        sets = [s for doc in docs[:_MAX_SETS] for s in [_document_set(doc, record)] if s is not None]
        shape = "cb-forwarder"
    elif kind is not None and kind.startswith("ingress.event."):
        sets, shape = _sensor_event(record, kind), "cb-forwarder"
    elif kind is not None:
        sets, shape = _flat_hit(record, kind), "cb-forwarder"
    elif _is_process(record):
        sets, shape = [s for s in [_process_set(record, record)] if s is not None], "cb-process"
    elif _is_binary(record):
        sets, shape = [_binary_set(record, record, RecordKind.BINARY_DOCUMENT)], "cb-binary"
    else:
        sets, shape = _row(record), "row"
    order = list(Role)
    first = docs[0] if docs else record
    return Alert(
        format=shape,
        kind=kind,
        id=_first(record, "unique_id", "alert_id", "event_id") if shape in ("cb-forwarder", "row") else None,
        title=_first(record, "watchlist_name", "feed_name", "search_name", "title", "rule_name"),
        at=_first_time(record, "created_time", "timestamp", "event_timestamp", "_time", "time", "last_update"),
        link=_first(record, "link_process", "link_md5", "link", "results_link")
        or _first(first, "link_process", "link_md5"),
        sets=tuple(sorted((s for s in sets if _usable(s)), key=lambda s: order.index(s.role))),
    )


def _usable(observables: ObservableSet) -> bool:
    """Whether there is anything to look up, or anything wrong to tell."""
    o = observables
    findable = o.host is not None and o.pid is not None
    return bool(o.file_hash or o.sha1 or o.process_guid or o.foreign_id or findable or o.problems)


_PREFIXES = ("ingress.event.", "watchlist.", "feed.", "alert.", "binaryinfo.", "binarystore.")


def _kind(record: Mapping[str, Any]) -> Optional[str]:
    """Return the forwarder's message type; None where the record is no forwarder message."""
    for name in ("type", "alert_type"):
        value = record.get(name)
        if isinstance(value, str) and (value.startswith(_PREFIXES) or name == "alert_type"):
            return value[:100]
    if "watchlist_id" in record or "feed_id" in record:  # the bus form, whose type is its routing key
        what = "binary" if any(_is_binary(doc) for doc in _docs(record)) or "process_id" not in record else "process"
        if any(_is_process(doc) for doc in _docs(record)) or record.get("process_guid"):
            what = "process"
        return f"{'feed' if 'feed_id' in record and 'watchlist_id' not in record else 'watchlist'}.hit.{what}"
    if isinstance(record.get("scores"), Mapping) and "md5" in record:
        return "binaryinfo.observed"
    if "compressed_size" in record and "md5" in record:
        return "binarystore.file.added"
    return None


def _docs(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the documents of a hit, whether the message holds a list or a single one."""
    docs = record.get("docs")
    items = docs if isinstance(docs, list) else [docs]
    return [doc for doc in items if isinstance(doc, Mapping)]


def _is_process(doc: Mapping[str, Any]) -> bool:
    """Whether this is the EDR's process document; a row that merely has a process guid is none."""
    own_id = "unique_id" in doc or parse_guid(doc.get("id")) is not None
    return own_id and any(name in doc for name in ("process_md5", "process_name", "process_pid"))


def _is_binary(doc: Mapping[str, Any]) -> bool:
    return "md5" in doc and any(name in doc for name in ("digsig_result", "observed_filename", "orig_mod_len"))


def _document_set(doc: Mapping[str, Any], hit: Mapping[str, Any]) -> Optional[ObservableSet]:
    if _is_process(doc) or "process_md5" in doc or "process_pid" in doc:
        return _process_set(doc, hit)
    return _binary_set(doc, hit, RecordKind.BINARY_DOCUMENT) if "md5" in doc else None


def _process_set(doc: Mapping[str, Any], hit: Mapping[str, Any]) -> Optional[ObservableSet]:
    process = parse_process(doc) or parse_process({**doc, "id": hit.get("process_guid") or hit.get("process_id")})
    hashes = _hashes(doc.get("process_md5"), doc.get("process_sha256"))
    if process is None:
        path = _text(doc.get("path"))
        return ObservableSet(
            Role.PROCESS, md5=hashes.md5, sha256=hashes.sha256, name=_text(doc.get("process_name")), path=path,
            pid=parse_pid(doc.get("process_pid")), host=_host(doc) or _host(hit), user=_text(doc.get("username")),
            cmdline=_text(doc.get("cmdline")), started_at=parse_time(doc.get("start")), problems=hashes.problems,
        )  # fmt: skip
    process = replace(process, host=process.host or _host(hit))
    return ObservableSet(
        Role.PROCESS, md5=hashes.md5, sha256=hashes.sha256, process_guid=process.guid, name=process.name,
        path=process.path, pid=process.pid, host=process.host, user=process.user, cmdline=process.cmdline,
        started_at=process.started_at, process=process, problems=hashes.problems,
    )  # fmt: skip


def _binary_set(doc: Mapping[str, Any], hit: Mapping[str, Any], kind: RecordKind) -> ObservableSet:
    claimed = parse_binary(doc, kind)
    hashes = _hashes(doc.get("md5"), doc.get("sha256"))
    path = claimed.paths[0] if claimed.paths else None
    endpoints = doc.get("endpoint")
    endpoint = endpoints[0] if isinstance(endpoints, list) and endpoints else endpoints
    host = _host(hit) or (endpoint.split("|")[0] if isinstance(endpoint, str) else None)
    return ObservableSet(
        Role.TARGET_FILE, md5=hashes.md5, sha256=hashes.sha256, name=split_path(path) if path else None, path=path,
        host=host, claimed=claimed if claimed.word else None, problems=hashes.problems,
    )  # fmt: skip


def _flat_hit(record: Mapping[str, Any], kind: str) -> list[ObservableSet]:
    """Read a hit without documents: alerts, feed hits, binaryinfo; numbers may be texts."""
    guid = next(
        (g for g in map(parse_guid, (record.get("process_guid"), record.get("process_id"))) if g is not None), None
    )
    if guid is None or "binary" in kind:
        sets = [_binary_set(record, record, RecordKind.ALERT)] if record.get("md5") else []
        return sets or _ioc(record)
    hashes = _hashes(record.get("md5"), record.get("sha256"))
    path = _text(record.get("process_path"))
    name = _text(record.get("process_name"))
    acting = ObservableSet(
        Role.PROCESS, md5=hashes.md5, sha256=hashes.sha256, process_guid=guid, name=name, path=path,
        pid=None, host=_host(record), user=_text(record.get("username")), problems=hashes.problems,
        process=parse_process({
            "id": guid, "process_name": name, "path": path, "hostname": _host(record), "process_md5": hashes.md5,
            "username": record.get("username"), "sensor_id": record.get("sensor_id"),
        }),
    )  # fmt: skip
    return [acting, *(s for s in _ioc(record) if s.md5 != acting.md5)]


def _ioc(record: Mapping[str, Any]) -> list[ObservableSet]:
    """Return the file that a feed's indicator names, where it is a hash."""
    if record.get("ioc_type") not in ("md5", "sha256"):
        return []
    hashes = read_hashes(record.get("ioc_value"))
    return [ObservableSet(Role.TARGET_FILE, md5=hashes.md5, sha256=hashes.sha256, problems=hashes.problems)]


def _sensor_event(record: Mapping[str, Any], kind: str) -> list[ObservableSet]:
    """Read one sensor event; `md5` is the module's, the child's or the process's own, by kind."""
    hashes = _hashes(record.get("md5"), record.get("sha256"))
    host, path = _host(record), _text(record.get("path"))
    if kind == "ingress.event.module":
        return [_binary_set(record, record, RecordKind.BINARY_INFO_EVENT)]
    guid = parse_guid(record.get("process_guid"))
    acting = ObservableSet(
        Role.PROCESS, process_guid=guid, host=host, pid=parse_pid(record.get("pid")), user=_text(record.get("username"))
    )
    told = {"md5": hashes.md5, "sha256": hashes.sha256, "path": path, "name": split_path(path) if path else None}
    if kind == "ingress.event.moduleload":
        return [acting, ObservableSet(Role.MODULE, host=host, problems=hashes.problems, **told)]  # type: ignore[arg-type]
    if kind == "ingress.event.childproc":
        child = parse_guid(record.get("child_process_guid"))
        return [
            acting,
            ObservableSet(Role.CHILD, process_guid=child, host=host, problems=hashes.problems, **told),  # type: ignore[arg-type]
        ]
    own = kind in ("ingress.event.procstart", "ingress.event.procend", "ingress.event.process")
    if not own:
        return [replace(acting, md5=hashes.md5, sha256=hashes.sha256, problems=hashes.problems)]
    told_of = {
        "id": guid, "path": path, "process_md5": hashes.md5, "process_sha256": hashes.sha256, "hostname": host,
        "username": record.get("username"), "cmdline": record.get("command_line"), "process_pid": record.get("pid"),
        "parent_guid": record.get("parent_process_guid"),
    }  # fmt: skip
    process = parse_process(told_of)
    return [
        replace(
            acting, md5=hashes.md5, sha256=hashes.sha256, problems=hashes.problems, path=path, name=told["name"],
            cmdline=_text(record.get("command_line")), process=process,
            started_at=process.started_at if process is not None else None,
        )
    ]  # fmt: skip


_ROW = {
    "hash": ("process_md5", "process_hash", "md5", "sha256", "process_sha256", "hashes", "file_hash", "hash"),
    "guid": ("process_guid", "processguid", "process_unique_id", "unique_id", "process_id", "guid"),
    "name": ("process_name", "process_exec", "file_name", "image"),
    "path": ("process_path", "path", "file_path", "image"),
    "pid": ("process_pid", "pid", "process_id", "processid", "new_process_id"),
    "host": ("dest", "hostname", "host_name", "computer_name", "computer", "dvc", "endpoint", "host"),
    "user": ("user", "username", "user_name"),
    "cmdline": ("cmdline", "command_line", "commandline", "process"),
    "start": ("start", "start_time", "process_start_time", "started_at", "process_start"),
    "parent_hash": ("parent_process_md5", "parent_md5", "parent_process_hash"),
    "parent_guid": ("parent_process_guid", "parent_guid", "parent_id"),
    "parent_name": ("parent_process_name", "parent_name", "parent_process"),
}


def _row(record: Mapping[str, Any]) -> list[ObservableSet]:
    """Read flat key/value fields under the names of the EDR, of Splunk's CIM and of common use."""
    row = {_flat(key): value for key, value in record.items() if isinstance(key, str)}

    def first(field: str) -> object:
        values = (row.get(name) for name in _ROW[field])
        return next((v for v in values if v not in (None, "", [])), None)

    guids = [row.get(name) for name in _ROW["guid"]]
    guid = next((found for found in map(parse_guid, guids) if found), None)
    foreign = next((v for v in guids if guid is None and isinstance(v, str) and "-" in v), None)
    hashes = _merge([read_hashes(row.get(name)) for name in _ROW["hash"]])
    path, name = _text(first("path")), _text(first("name"))
    pids = (parse_pid(row.get(name)) for name in _ROW["pid"])
    acting = ObservableSet(
        Role.PROCESS, md5=hashes.md5, sha1=hashes.sha1, sha256=hashes.sha256, process_guid=guid,
        foreign_id=_text(foreign), name=split_path(name or path or "") or None, path=path,
        pid=next((p for p in pids if p is not None), None), host=_text(first("host")), user=_text(first("user")),
        cmdline=_text(first("cmdline")), started_at=parse_time(first("start")), problems=hashes.problems,
        claimed=parse_binary(row, RecordKind.ALERT) if row.get("digsig_result") else None,
    )  # fmt: skip
    above = read_hashes(first("parent_hash"))
    parent_guid = parse_guid(first("parent_guid"))
    if above.md5 is None and above.sha256 is None and (parent_guid is None or guid is not None):
        return [acting]
    parent_name = _text(first("parent_name"))
    parent = ObservableSet(
        Role.PARENT, md5=above.md5, sha256=above.sha256, process_guid=parent_guid, host=acting.host,
        name=split_path(parent_name) if parent_name else None, problems=above.problems,
    )  # fmt: skip
    return [acting, parent]


def _merge(found: Sequence[Hashes]) -> Hashes:
    """Return the first hash of each kind, with all problems once."""
    return Hashes(
        next((h.md5 for h in found if h.md5), None),
        next((h.sha1 for h in found if h.sha1), None),
        next((h.sha256 for h in found if h.sha256), None),
        tuple(dict.fromkeys(problem for h in found for problem in h.problems)),
    )


def _hashes(md5: object, sha256: object) -> Hashes:
    return _merge([read_hashes(md5), read_hashes(sha256)])


def _inside_raw(record: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """Return the JSON object in a Splunk row's `_raw`, or None."""
    raw = record.get("_raw")
    if not isinstance(raw, str) or not raw.lstrip().startswith("{"):
        return None
    try:
        inner = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return inner if isinstance(inner, Mapping) and "_raw" not in inner else None


def _host(record: Mapping[str, Any]) -> Optional[str]:
    return _first(record, "hostname", "computer_name")


def _first(record: Mapping[str, Any], *names: str) -> Optional[str]:
    return next((text for text in (_text(record.get(name)) for name in names) if text), None)


def _first_time(record: Mapping[str, Any], *names: str) -> Optional[datetime]:
    return next((moment for moment in (parse_time(record.get(name)) for name in names) if moment), None)


def _flat(key: str) -> str:
    return key.strip().lower().replace(".", "_").replace(" ", "_").replace("-", "_")


def _text(value: object) -> Optional[str]:
    if isinstance(value, list) and value:
        value = value[0]
    if value is None or isinstance(value, (Mapping, list, bool)):
        return None
    text = str(value).strip()
    return text if text and text.lower() not in ("(unknown)", "unknown", "null", "none") else None


def _kind_of(record: object) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a switch", type(None): "empty"}
    return names.get(type(record), "no object")
