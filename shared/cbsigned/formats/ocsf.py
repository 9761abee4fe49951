"""OCSF: process activity (class 1007), detection findings (2004) and the other classes that name a process or file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.formats.claims import ocsf_claim
from cbsigned.formats.fields import Record, described, get, items_of, kept, object_of, text_at
from cbsigned.formats.values import first_time, hashes_of
from cbsigned.observables import Hashes

__all__ = ["matches", "read"]

_ALGORITHMS = {1: "md5", 2: "sha1", 3: "sha256"}
_HASH = 8
_LAUNCH = 1


def matches(record: Record) -> bool:
    """Whether the record has a class and the version of its schema."""
    return "class_uid" in record and get(record, "metadata.version") is not None


def read(record: Record) -> Optional[Alert]:
    """Return the alert; `observables[]` repeats what stands elsewhere, so it counts where nothing else is there.

    References:
        - alert-formats §3.6
    """
    host = text_at(record, "device.hostname", "device.name")
    parts = [record, *items_of(record.get("evidences"))]
    found = [s for part in parts for s in _sets(part, text_at(part, "device.hostname", "device.name") or host)]
    if not any(map(kept, found)):
        hashes = [o.get("value") for o in items_of(record.get("observables")) if o.get("type_id") == _HASH]
        found += [described(Role.TARGET_FILE, hashes_of(value), host=host) for value in hashes]
    return Alert(
        format="ocsf",
        kind=text_at(record, "class_name", "class_uid"),
        id=text_at(record, "finding_info.uid", "metadata.uid"),
        title=text_at(record, "finding_info.title", "message"),
        at=first_time(record, "time"),
        link=text_at(record, "finding_info.src_url"),
        sets=tuple(dict.fromkeys(s for s in found if s.usable)),
    )


def _sets(part: Record, host: Optional[str]) -> Iterator[ObservableSet]:
    process, actor = object_of(part.get("process")), object_of(get(part, "actor.process"))
    user = text_at(part, "actor.user.name")
    launched = part.get("activity_id") in (None, _LAUNCH)
    if process:
        if actor and not launched and not _same(process, actor):
            yield _process(Role.PROCESS, actor, host, user)
        yield _process(Role.PROCESS, process, host, user)
        parent = object_of(process.get("parent_process")) or (actor if launched else {})
        if launched and actor and _same(parent, actor):
            parent = {**actor, **parent}
        yield from filter(kept, [_process(Role.PARENT, parent, host, None)])
    elif actor:
        yield _process(Role.PROCESS, actor, host, user)
        yield from filter(kept, [_process(Role.PARENT, object_of(actor.get("parent_process")), host, None)])
    for role, path in ((Role.TARGET_FILE, "file"), (Role.MODULE, "module.file")):
        yield from filter(kept, [_file(role, object_of(get(part, path)), host)])


def _same(one: Record, other: Record) -> bool:
    return any(one.get(name) is not None and one.get(name) == other.get(name) for name in ("uid", "pid"))


def _process(role: Role, process: Record, host: Optional[str], user: Optional[str]) -> ObservableSet:
    file = object_of(process.get("file"))
    return described(
        role, _hashes(file), id=process.get("uid"), name=text_at(process, "name", "file.name"),
        path=text_at(file, "path") or text_at(process, "path"), pid=process.get("pid"), host=host,
        user=text_at(process, "user.name") or user, cmdline=text_at(process, "cmd_line"),
        started_at=first_time(process, "created_time"), claimed=ocsf_claim(file.get("signature")),
    )  # fmt: skip


def _file(role: Role, file: Record, host: Optional[str]) -> ObservableSet:
    return described(
        role, _hashes(file), name=text_at(file, "name"), path=text_at(file, "path"), host=host,
        claimed=ocsf_claim(file.get("signature")),
    )  # fmt: skip


def _hashes(file: Record) -> Hashes:
    """Return the hashes whose algorithm is one of three; fuzzy ones can have their length."""
    return hashes_of(*(item.get("value") for item in items_of(file.get("hashes")) if _algorithm(item) is not None))


def _algorithm(item: Record) -> Optional[str]:
    number = item.get("algorithm_id")
    if isinstance(number, int) and not isinstance(number, bool):
        return _ALGORITHMS.get(number)
    name = str(item.get("algorithm")).lower().replace("-", "")
    return name if name in _ALGORITHMS.values() else None
