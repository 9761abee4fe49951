"""Enrichments as fields of the Elastic Common Schema, to be merged into the alert's own document.

`code_signature` is there only where a record speaks: `exists: false` needs a record that says *Unsigned*, and where
nothing is known the whole group is absent. What else was found out stands under `cbsigned`.
"""

from __future__ import annotations

from typing import Any, Optional

from cbsigned.gaps import Cause
from cbsigned.render.document import Document
from cbsigned.render.facts import lineage_names

__all__ = ["ecs_code_signature", "ecs_fields"]

_SIGNATURES: dict[str, Document] = {
    "Signed": {"exists": True, "valid": True, "trusted": True, "status": "trusted"},
    "Unsigned": {"exists": False},
    "Expired": {"exists": True, "trusted": False, "status": "errorExpired"},
    "Bad Signature": {"exists": True, "valid": False, "trusted": False, "status": "errorBadDigest"},
    "Invalid Signature": {"exists": True, "valid": False, "trusted": False},
    "Invalid Chain": {"exists": True, "valid": True, "trusted": False, "status": "errorChaining"},
    "Untrusted Root": {"exists": True, "valid": True, "trusted": False, "status": "errorUntrustedRoot"},
    "Explicit Distrust": {"exists": True, "valid": True, "trusted": False},
}


def ecs_fields(document: Document) -> Document:
    """Return nested ECS fields of one alert; what is not known is absent, never null.

    The first acting process gives `process`, its parent `process.parent`, the first file and module `file` and `dll`;
    every subject stands under `cbsigned.subjects`. `process.entity_id` stays the one that the alert has, also where it
    is another product's.

    Args:
        document: From `enrichment_document`.

    References:
        - ecs 8, process, file, dll, code_signature; alert-formats §3.5
    """
    first = {subject["role"]: subject for subject in reversed(document["subjects"])}
    fields: Document = {}
    for role, name in (("process", "process"), ("target file", "file"), ("module", "dll")):
        if role in first:
            fields[name] = (_process if name == "process" else _file)(first[role])
    parent = _parent(first.get("process"), first.get("parent"))
    if parent:
        fields.setdefault("process", {})["parent"] = parent
    fields["cbsigned"] = {
        "schema": document["schema"],
        "status": document["status"],
        "reason": document["reason"],
        "complete": document["complete"],
        "enriched_at": document["enriched_at"],
        "subjects": [_told(_subject(subject)) for subject in document["subjects"]],
        "gaps": [f"{gap['about']}: {gap['reason']}" for gap in document["gaps"]],
    }
    return _told(fields)


def ecs_code_signature(part: Document) -> Document:
    """Return the `code_signature` group of a file, empty where no record says anything.

    Args:
        part: A signature, or a node of a lineage. What only the alert claims, or the joint query infers, is no record.

    References:
        - ecs 8, code_signature: leave `valid`, `trusted` and `status` unpopulated where unchecked
        - Carbon Black's words against ECS: alert-formats §8. An expired certificate tells nothing of `valid`;
          Elastic has no status word for *Invalid Signature* and *Explicit Distrust*
    """
    if part["cause"] != Cause.RECORD.value or part["status"] not in _SIGNATURES:
        return {}
    group = _SIGNATURES[part["status"]]
    if not group["exists"]:
        return dict(group)
    signer = part.get("subject") or part["publisher"]
    return _told({**group, "subject_name": signer, "timestamp": part.get("signed_at")})


def _process(subject: Document) -> Document:
    return {**_as_process(subject, subject["signature"]), "entity_id": subject["foreign_id"] or subject["process_guid"]}


def _parent(process: Optional[Document], parent: Optional[Document]) -> Document:
    """Return the parent from the lineage, else as the alert names it."""
    nodes = process["lineage"]["nodes"][1:2] if process is not None and process["lineage"] else []
    if nodes:
        return _told({**_as_process(nodes[0], nodes[0]), "entity_id": nodes[0]["guid"]})
    return _told(_process(parent)) if parent is not None else {}


def _as_process(part: Document, signature: Document) -> Document:
    return {
        "name": part["name"],
        "executable": part["path"],
        "pid": part["pid"],
        "command_line": part["cmdline"],
        "start": part["started_at"],
        "user": _told({"name": part["user"]}),
        "hash": _hashes(part),
        "code_signature": ecs_code_signature(signature),
    }


def _file(subject: Document) -> Document:
    return {
        "name": subject["name"],
        "path": subject["path"],
        "hash": _hashes(subject),
        "code_signature": ecs_code_signature(subject["signature"]),
    }


def _hashes(part: Document) -> Document:
    return _told({kind: part.get(kind) for kind in ("md5", "sha1", "sha256")})


def _subject(subject: Document) -> Document:
    signature, lineage = subject["signature"], subject["lineage"]
    return {
        "role": subject["role"],
        "status": subject["status"],
        "reason": subject["reason"],
        "cause": signature["cause"],
        "publisher": signature["publisher"],
        "issuer": signature["issuer"],
        "name": subject["name"],
        "process_guid": subject["process_guid"],
        "hash": _hashes(subject),
        "notes": subject["verdict"]["notes"],
        "evidence": _told(signature["evidence"] or {}),
        "lineage": lineage_names(lineage),
        "lineage_ended_by": lineage["ended_by"] if lineage else None,
        "links": _told(subject["links"] or {}),
    }


def _told(part: Document) -> Document:
    """Return a part without what is not known, in it and in the groups directly below."""
    groups: dict[str, Any] = {k: _told(v) if isinstance(v, dict) else v for k, v in part.items()}
    return {key: value for key, value in groups.items() if value is not None and value not in ({}, [])}
