"""The `*_complete` event lists of a REST event answer → the same rows that the sensor's events make.

References:
    - cb-edr-api §3.3: pipe strings and objects of versions 1 to 4
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable, Optional

from cbsigned.observables import is_unknown_parent, parse_guid, parse_md5, parse_sha256
from cbsigned.store.events import keep, milliseconds, packed_ip, small, text_of
from cbsigned.store.rows import Batch, Flag, Origin, ProcessFact, Rank
from cbsigned.timing import parse_time

__all__ = ["LISTS", "take_activity"]


class _Owner:
    """The process whose events these are."""

    def __init__(self, guid: str, md5: Optional[str], origin: Origin) -> None:
        self.guid, self.md5, self.origin = guid, md5, origin


def take_activity(doc: Mapping[str, Any], guid: str, md5: Optional[str], origin: Origin, batch: Batch) -> None:
    """Add the events of one answer to a batch; an entry that cannot be read is kept whole as a message.

    Args:
        doc: The process document with its lists.
        guid, md5, origin: Whose events they are.
        batch: Takes the rows.
    """
    owner = _Owner(guid, md5, origin)
    for name, reader in _READERS.items():
        listed = doc.get(name)
        entries: list[Any] = listed if isinstance(listed, list) else []
        for entry in entries:
            try:
                reader(entry, owner, batch)
            except (ValueError, IndexError, TypeError, AttributeError, OverflowError):
                keep({"process_guid": guid, "list": name, "entry": entry}, "process event, unread", batch, guid=guid)


def _filemod(entry: str, owner: _Owner, batch: Batch) -> None:
    action, time, path, *rest = entry.split("|")
    md5, filetype, tamper, *more = [*rest, "", "", ""][: max(3, len(rest))]
    written = parse_md5(md5)
    extra = _extra({"tamper": tamper if tamper == "true" else "", "md5": "" if written else md5, "more": more})
    batch.filemods.append((
        owner.guid, owner.md5, owner.origin, _at(time), _filled(path), small(action), written, small(filetype), extra
    ))  # fmt: skip


def _modload(entry: str, owner: _Owner, batch: Batch) -> None:
    time, md5, path, *rest = entry.split("|")
    parsed, sha256 = parse_md5(md5), parse_sha256(rest[0] if rest else None)
    if parsed and sha256:
        batch.hashes.append((parsed, sha256))
    extra = _extra({"md5": "" if parsed else md5, "more": rest[1:]})
    batch.loads.append((owner.guid, owner.origin, _at(time), parsed, _filled(path), extra))


def _regmod(entry: str, owner: _Owner, batch: Batch) -> None:
    action, time, path, *rest = entry.split("|")
    extra = _extra({"tamper": "true" if rest[:1] == ["true"] else "", "more": rest[1:]})
    batch.regmods.append((owner.guid, owner.md5, owner.origin, _at(time), _filled(path), small(action), extra))


def _netconn(entry: object, owner: _Owner, batch: Batch) -> None:
    if isinstance(entry, str):
        time, ip, port, protocol, domain, outbound, *rest = entry.split("|")
        fields: dict[str, Any] = {"timestamp": time, "remote_ip": int(ip), "remote_port": port, "proto": protocol}
        fields.update({"domain": domain, "direction": outbound})
        extra = _extra({"more": rest})
    else:
        fields = dict(_mapping(entry))
        extra = _extra({name: value for name, value in fields.items() if name not in _NET_FIELDS})
    direction = {"true": 1, "outbound": 1, "false": 0, "inbound": 0}.get(str(fields.get("direction")).lower(), 2)
    batch.netconns.append((
        owner.guid, owner.md5, owner.origin, _at(fields.get("timestamp")), direction, small(fields.get("proto")),
        packed_ip(fields.get("remote_ip")), small(fields.get("remote_port")), packed_ip(fields.get("local_ip")),
        small(fields.get("local_port")), text_of(fields.get("domain")), extra,
    ))  # fmt: skip


def _childproc(entry: object, owner: _Owner, batch: Batch) -> None:
    if isinstance(entry, str):
        time, child_id, raw, image, pid, started, *rest = entry.split("|")
        created = {"true": 1, "false": 0}.get(started.lower(), 2)
        fields: dict[str, Any] = {"processId": child_id, "md5": raw, "path": image, "pid": pid, "start": time}
        extra: dict[str, Any] = {"tamper": "true" if rest[:1] == ["true"] else "", "more": rest[1:]}
    else:
        fields = dict(_mapping(entry))
        created = {"start": 1, "end": 0}.get(str(fields.get("type")).lower(), 2)
        extra = {name: value for name, value in fields.items() if name not in _CHILD_FIELDS}
    child = parse_guid(fields.get("processId"))
    if child is None:
        raise ValueError("no child guid")
    md5, path = parse_md5(fields.get("md5")), text_of(fields.get("path"))
    extra["md5"] = "" if md5 else fields.get("md5")
    suppressed = fields.get("is_suppressed") in (True, "true")
    times = [fields.get("end"), fields.get("start")] if created == 0 else [fields.get("start"), fields.get("end")]
    at = _at(times[0] or times[1])
    batch.children.append((owner.guid, owner.origin, at, child, created, md5, path, _extra(extra)))
    batch.facts.append(ProcessFact(
        child, Rank.MENTION, parent_guid=owner.guid, path=path, md5=md5, sha256=parse_sha256(fields.get("sha256")),
        cmdline=text_of(fields.get("commandLine")), user=text_of(fields.get("userName")), origin=owner.origin,
        ended=milliseconds(parse_time(fields.get("end"))), flags=Flag.SUPPRESSED if suppressed else 0,
    ))  # fmt: skip


def _crossproc(entry: str, owner: _Owner, batch: Batch) -> None:
    kind, time, other_id, raw, path, subtype, access, *rest = entry.split("|")
    tamper, is_target, sha256, *more = [*rest, "", "", ""][: max(3, len(rest))]
    other, md5, hashed = parse_guid(other_id), parse_md5(raw), parse_sha256(sha256)
    if md5 and hashed:
        batch.hashes.append((md5, hashed))
    remote = kind.lower() == "remotethread"
    extra = _extra({
        "md5": "" if md5 else raw, "subtype": subtype, "tamper": tamper if tamper == "true" else "", "more": more,
        "target_process_guid": "" if other else other_id,
    })  # fmt: skip
    (batch.threads if remote else batch.opens).append((
        owner.guid, owner.md5, owner.origin, _at(time), "remote_thread" if remote else "open_process", other,
        int(access or "0", 0) & 0xFFFFFFFF, {"true": 1, "false": 0}.get(is_target.lower(), 2), md5, text_of(path),
        extra,
    ))  # fmt: skip
    if other is not None and not is_unknown_parent(other):
        batch.facts.append(ProcessFact(other, Rank.MENTION, path=text_of(path), md5=md5, origin=owner.origin))


def _processblock(entry: object, owner: _Owner, batch: Batch) -> None:
    fields = json.loads(entry) if isinstance(entry, str) else entry
    keep({**_mapping(fields), "process_guid": owner.guid}, "ingress.event.processblock", batch, guid=owner.guid)


_NET_FIELDS = {
    "timestamp", "direction", "domain", "proto", "remote_ip", "remote_port", "local_ip", "local_port",
}  # fmt: skip
_CHILD_FIELDS = {
    "processId", "md5", "sha256", "path", "pid", "type", "start", "end", "is_suppressed", "commandLine", "userName",
}  # fmt: skip
_READERS: dict[str, Callable[[Any, _Owner, Batch], None]] = {
    "filemod_complete": _filemod,
    "modload_complete": _modload,
    "regmod_complete": _regmod,
    "netconn_complete": _netconn,
    "childproc_complete": _childproc,
    "crossproc_complete": _crossproc,
    "processblock_complete": _processblock,
}
LISTS = frozenset(_READERS)
"""The lists that are read; `binaries` is read beside them, everything else stays in the document."""


def _at(value: object) -> int:
    at = milliseconds(parse_time(value))
    if at is None:
        raise ValueError("no time")
    return at


def _filled(text: str) -> str:
    if not text:
        raise ValueError("no path")
    return text


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("no JSON object")
    return value


def _extra(members: Mapping[str, Any]) -> Optional[str]:
    told = {name: value for name, value in members.items() if value not in ("", None, [], False)}
    return json.dumps(told, sort_keys=True, separators=(",", ":")) if told else None
