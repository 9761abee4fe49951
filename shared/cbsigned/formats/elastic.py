"""Elastic Security: detection alerts and Elastic Defend's, ECS keys nested, dotted or both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import BinaryRecord
from cbsigned.formats.claims import ecs_claim
from cbsigned.formats.fields import Record, described, get, kept, text_at
from cbsigned.formats.values import hashes_of
from cbsigned.observables import Hashes
from cbsigned.timing import parse_time

__all__ = ["matches", "read"]

_SIGNATURE = ("exists", "trusted", "valid", "status", "subject_name")


def matches(record: Record) -> bool:
    """Whether the record has a Kibana alert's id, or is an ECS event of a process; a search hit around it counts."""
    source = record.get("_source")
    doc = source if isinstance(source, Mapping) else record
    if "kibana.alert.uuid" in doc or ("kibana" in doc and get(doc, "kibana.alert.uuid") is not None):
        return True
    kind = "event.kind" in doc or ("event" in doc and get(doc, "event.kind") is not None)
    return kind and get(doc, "process.entity_id") is not None


def read(record: Record) -> Optional[Alert]:
    """Return the alert; `entity_id`s are Elastic's own and are kept as foreign ids.

    References:
        - alert-formats §3.5
    """
    source = record.get("_source")
    doc = source if isinstance(source, Mapping) else record
    host = text_at(doc, "host.name", "host.hostname")
    acting = _process(doc, "process", Role.PROCESS, host, text_at(doc, "user.name", "process.user.name"))
    others = [
        _file(doc, "file", Role.TARGET_FILE, host),
        _file(doc, "dll", Role.MODULE, host),
        _process(doc, "process.parent", Role.PARENT, host, text_at(doc, "process.parent.user.name")),
    ]
    return Alert(
        format="elastic",
        kind=text_at(doc, "event.code", "event.kind"),
        id=text_at(doc, "kibana.alert.uuid", "event.id") or text_at(record, "_id"),
        title=text_at(doc, "kibana.alert.rule.name", "rule.name", "message"),
        at=parse_time(get(doc, "kibana.alert.original_time")) or parse_time(get(doc, "@timestamp")),
        link=text_at(doc, "kibana.alert.url"),
        sets=(*([acting] if acting.usable else []), *filter(kept, others)),
    )


def _process(doc: Record, at: str, role: Role, host: Optional[str], user: Optional[str]) -> ObservableSet:
    return described(
        role, _hashes(doc, at), id=get(doc, f"{at}.entity_id"), name=text_at(doc, f"{at}.name"),
        path=text_at(doc, f"{at}.executable"), pid=_one(get(doc, f"{at}.pid")), host=host, user=user,
        cmdline=text_at(doc, f"{at}.command_line"), started_at=parse_time(get(doc, f"{at}.start")),
        claimed=_claim(doc, at),
    )  # fmt: skip


def _file(doc: Record, at: str, role: Role, host: Optional[str]) -> ObservableSet:
    return described(
        role, _hashes(doc, at), name=text_at(doc, f"{at}.name"), path=text_at(doc, f"{at}.path"), host=host,
        claimed=_claim(doc, at),
    )  # fmt: skip


def _hashes(doc: Record, at: str) -> Hashes:
    return hashes_of(*(get(doc, f"{at}.hash.{kind}") for kind in ("md5", "sha1", "sha256")))


def _claim(doc: Record, at: str) -> Optional[BinaryRecord]:
    """Read the signature of a process or file, also where its group is written as dotted keys."""
    for group in (f"{at}.code_signature", f"{at}.Ext.code_signature"):
        found = get(doc, group)
        if found is None:
            dotted = {name: get(doc, f"{group}.{name}") for name in _SIGNATURE}
            found = {name: value for name, value in dotted.items() if value is not None}
        claim = ecs_claim(found)
        if claim is not None:
            return claim
    return None


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value
