"""One structure that feeds every output: an enrichment as a JSON document with a published schema.

`enrichment.schema.json` beside the core describes it; a change of shape is a change of `SCHEMA` and of that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Callable, Optional, Union

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import BinaryRecord, Evidence, Signature
from cbsigned.enrichment import Enrichment, Subject
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import Lineage, Relatives
from cbsigned.process import Process
from cbsigned.render.links import console_links
from cbsigned.status import SigningStatus
from cbsigned.timing import format_time
from cbsigned.verdict import Verdict

__all__ = [
    "SCHEMA", "Document", "age_of", "enrichment_document", "lineage_document", "signature_document",
    "subject_document",
]  # fmt: skip

SCHEMA = "cbsigned.enrichment/1"

Document = dict[str, Any]
"""JSON types alone, keys always in the same order, times as `2016-03-16T04:06:00Z`, null for *not known*."""

_MAX_CELL = 64
_PROCESSES = (Role.PROCESS, Role.CHILD, Role.PARENT)


def signature_document(signature: Signature, at: Optional[datetime] = None) -> Document:
    """Return the signing status of one file as JSON types; one line of `cbsigned signed`.

    Args:
        signature: Of one file.
        at: The moment from which the evidence's `age_s` counts; None leaves it null.
    """
    return {
        "md5": signature.hash if len(signature.hash) == 32 else None,
        "sha256": signature.hash if len(signature.hash) == 64 else None,
        "status": signature.status.value,
        "reason": signature.reason,
        "cause": signature.cause.value,
        "signed": signature.status.signed,
        "publisher": signature.publisher,
        "issuer": signature.issuer,
        "subject": signature.subject,
        "program_name": signature.program_name,
        "signed_at": format_time(signature.signed_at),
        "host_count": signature.host_count,
        "paths": list(signature.paths),
        "evidence": _evidence(signature.evidence, at),
    }


def lineage_document(lineage: Lineage, signatures: Mapping[str, Signature]) -> Document:
    """Return a lineage as JSON types, newest first, each node with the signing status of its image.

    Args:
        lineage: A process and its ancestors.
        signatures: Signing status of each file in it by hash; a node whose hash is not there is *Unknown*.
    """
    return {
        "ended_by": lineage.ended_by.value,
        "reason": lineage.reason,
        "whole": lineage.whole,
        "nodes": [_node(node.process, node.depth, node.gap, signatures) for node in lineage.nodes],
        "children": _relatives(lineage.children, -1, signatures),
        "siblings": _relatives(lineage.siblings, 0, signatures),
    }


def enrichment_document(
    enrichment: Enrichment, *, with_record: bool = False,
    written: Optional[Callable[[Subject, datetime], Any]] = None,
) -> Document:  # fmt: skip
    """Return an enrichment as JSON types; `md5`, `status` and `reason` stand at every level.

    Args:
        enrichment: What was found out about one alert.
        with_record: Add the alert as it came, under `record`. It must be made of JSON types.
        written: What is to stand for each subject, `subject_document` for None.
    """
    verdict, written = enrichment.verdict, written or subject_document
    document: Document = {
        "schema": SCHEMA,
        "md5": _hashes_of(enrichment.subjects[0]).md5 if enrichment.subjects else None,
        "status": (verdict.status if verdict else SigningStatus.UNKNOWN).value,
        "reason": verdict.reason if verdict else _why_nothing(enrichment.gaps),
        "complete": enrichment.complete,
        "enriched_at": format_time(enrichment.enriched_at),
        "alert": _alert(enrichment.alert),
        "origin": _origin(enrichment.record),
        "subjects": [written(subject, enrichment.enriched_at) for subject in enrichment.subjects],
        "gaps": [_gap(gap) for gap in enrichment.gaps],
    }
    if with_record:
        document["record"] = dict(enrichment.record)
    return document


def age_of(evidence: Optional[Evidence], at: Optional[datetime]) -> Optional[int]:
    """Return the seconds from a record to a moment, 0 or more; None where either is not known."""
    if evidence is None or evidence.recorded_at is None or at is None:
        return None
    return max(0, int((at - evidence.recorded_at).total_seconds()))


def subject_document(
    subject: Subject, at: Optional[datetime],
    signature: Callable[[Signature, Optional[datetime]], Any] = signature_document,
    lineage: Callable[[Lineage, Mapping[str, Signature]], Any] = lineage_document,
) -> Document:  # fmt: skip
    """Return what was found out about one process or file as JSON types.

    Args:
        subject: One of an enrichment's.
        at: The moment from which the evidence's `age_s` counts; None leaves it null.
        signature, lineage: What is to stand under these names; asked in the order in which they stand there.
    """
    told = subject.observables
    filled = _filled(subject)
    md5 = filled.pop("md5")
    return {
        "role": told.role.value,
        "md5": md5,
        "status": subject.verdict.status.value,
        "reason": subject.verdict.reason,
        "verdict": _verdict(subject.verdict),
        **filled,
        "signature": signature(subject.signature, at),
        "claimed": _claimed(told.claimed),
        "links": _links(subject.signature.evidence, filled["process_guid"], md5),
        "lineage": lineage(subject.lineage, subject.signatures) if subject.lineage else None,
        "problems": list(told.problems),
        "gaps": [_gap(gap) for gap in subject.gaps],
    }


def _filled(subject: Subject) -> Document:
    """Return what the alert says of a process or file; what it leaves out of a process is filled from its lineage."""
    told, found, hashes = subject.observables, _found(subject), _hashes_of(subject)
    return {
        "md5": hashes.md5,
        "sha1": told.sha1,
        "sha256": hashes.sha256,
        "process_guid": told.process_guid or (found.guid if found else None),
        "foreign_id": told.foreign_id,
        "name": told.name or (found.name if found else None),
        "path": told.path or (found.path if found else None),
        "pid": found.pid if found and told.pid is None else told.pid,
        "host": told.host or (found.host if found else None),
        "user": told.user or (found.user if found else None),
        "cmdline": told.cmdline or (found.cmdline if found else None),
        "started_at": format_time(told.started_at or (found.started_at if found else None)),
    }


def _found(subject: Subject) -> Optional[Process]:
    """Return the process as its lineage has it."""
    return subject.lineage.nodes[0].process if subject.lineage and subject.observables.role in _PROCESSES else None


def _hashes_of(subject: Subject) -> Union[ObservableSet, Process]:
    """Return what has the hashes: the alert, or its process where the alert has none."""
    return subject.observables if subject.observables.file_hash is not None else _found(subject) or subject.observables


def _verdict(verdict: Verdict) -> Document:
    return {
        "status": verdict.status.value,
        "text": verdict.text,
        "reason": verdict.reason,
        "notes": list(verdict.notes),
    }


def _evidence(evidence: Optional[Evidence], at: Optional[datetime]) -> Optional[Document]:
    if evidence is None:
        return None
    return {
        "record": evidence.record,
        "source": evidence.source,
        "recorded_at": format_time(evidence.recorded_at),
        "age_s": age_of(evidence, at),
        "read_at": format_time(evidence.read_at),
        "certainty": evidence.certainty.value,
        "word": evidence.word,
        "code": evidence.code,
    }


def _links(evidence: Optional[Evidence], process_guid: Optional[str], md5: Optional[str]) -> Optional[Document]:
    return console_links(evidence.source, process_guid, md5) if evidence is not None else None


def _claimed(record: Optional[BinaryRecord]) -> Optional[Document]:
    if record is None:
        return None
    return {
        "record": record.kind.value,
        "word": record.word,
        "code": f"0x{record.code:08x}" if record.code is not None else record.code_text,
        "publisher": record.publisher,
    }


def _node(process: Process, depth: int, gap: Optional[Gap], signatures: Mapping[str, Signature]) -> Document:
    signature = _signature_of(process, signatures)
    return {
        "depth": depth,
        "guid": process.guid,
        "parent_guid": process.parent_guid,
        "name": process.name,
        "path": process.path,
        "pid": process.pid,
        "host": process.host,
        "user": process.user,
        "cmdline": process.cmdline,
        "started_at": format_time(process.started_at),
        "ended_at": format_time(process.ended_at),
        "md5": process.md5,
        "sha256": process.sha256,
        "status": (signature.status if signature else SigningStatus.UNKNOWN).value,
        "reason": signature.reason if signature else _why_no_status(process),
        "cause": (signature.cause if signature else _no_status_cause(process)).value,
        "publisher": signature.publisher if signature else None,
        "start_recorded": process.start_recorded,
        "from_guid": process.from_guid,
        "suppressed": process.suppressed,
        "gap": _gap(gap) if gap else None,
    }


def _relatives(relatives: Optional[Relatives], depth: int, signatures: Mapping[str, Signature]) -> Optional[Document]:
    if relatives is None:
        return None
    return {
        "total": relatives.total,
        "nodes": [_node(process, depth, None, signatures) for process in relatives.nodes],
        "gap": _gap(relatives.gap) if relatives.gap else None,
    }


def _signature_of(process: Process, signatures: Mapping[str, Signature]) -> Optional[Signature]:
    return next((signatures[h] for h in (process.md5, process.sha256) if h is not None and h in signatures), None)


def _why_no_status(process: Process) -> str:
    if process.file_hash is None:
        return "No hash of its image was recorded, so its signature could not be looked up."
    return f"The signature of {process.file_hash} was not asked for."


def _no_status_cause(process: Process) -> Cause:
    return Cause.NO_OBSERVABLE if process.file_hash is None else Cause.NOT_ASKED


def _why_nothing(gaps: tuple[Gap, ...]) -> str:
    return gaps[0].reason if gaps else "The alert names no process and no file, so there is nothing to look up."


def _alert(alert: Optional[Alert]) -> Optional[Document]:
    if alert is None:
        return None
    return {
        "format": alert.format,
        "kind": alert.kind,
        "id": alert.id,
        "title": alert.title,
        "at": format_time(alert.at),
        "link": alert.link,
    }


def _origin(record: Mapping[str, Any]) -> Optional[Document]:
    """Return where an alert stands in the Splunk export that it came from, as written there."""
    serial, time = (_cell(record.get(name)) for name in ("_serial", "_time"))
    return {"serial": serial, "time": time} if serial or time else None


def _cell(value: object) -> Optional[str]:
    return str(value)[:_MAX_CELL] if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def _gap(gap: Gap) -> Document:
    return {"about": gap.about, "cause": gap.cause.value, "reason": gap.reason}
