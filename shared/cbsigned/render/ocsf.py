"""Enrichments for OCSF: entries of `enrichments[]`, and the `signature` of files whose event has none.

A `signature` is filled in only from a record; OCSF has no word for *unsigned*, so an unsigned file gets none, and
neither does one of which nothing is known. What an event says already is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from cbsigned.gaps import Cause
from cbsigned.render.document import Document
from cbsigned.timing import parse_time

__all__ = ["ocsf_enrichments", "ocsf_event", "ocsf_signature"]

_AUTHENTICODE = 4
_OTHER = 99
_STATES = {
    "Signed": (1, "Valid"),
    "Expired": (2, "Expired"),
    "Invalid Chain": (6, "Untrusted"),
    "Untrusted Root": (6, "Untrusted"),
    "Explicit Distrust": (7, "Distrusted"),
    "Bad Signature": (9, "Bad"),
    "Invalid Signature": (10, "Broken"),
}
_NEWER_STATES, _SEVERAL = (1, 7), (1, 8)  # schema versions with the states 6 to 10; with `signatures[]`
_ASSUMED = (1, 5)
_DIGITS = {"1": 32, "3": 64}  # algorithm_id of MD5 and SHA-256
_MAX_DEPTH = 12
_FILES = {
    "process": "process.file", "child": "process.file", "parent": "process.parent_process.file",
    "target file": "file", "module": "module.file",
}  # fmt: skip


def ocsf_enrichments(document: Document) -> list[Document]:
    """Return the entries of `enrichments[]` for one alert: signing status of each file, lineage of each process.

    An alert that names nothing gives one entry that says so; an entry whose status is *Unknown* has its reason in
    `short_desc`. Keys that are not known are left out, as OCSF has it.

    Args:
        document: From `enrichment_document`.

    References:
        - ocsf-schema 1.9.0-dev, objects/enrichment: `name`, `value` and `data` are required
        - alert-formats §3.6
    """
    entries = [entry for subject in document["subjects"] for entry in _entries(document, subject)]
    if entries:
        return entries
    data = {"status": document["status"], "reason": document["reason"], "gaps": document["gaps"]}
    alert = (document["alert"] or {}).get("id") or "none"
    return [_entry(document, "metadata.uid", alert, "code signature", data, document["reason"])]


def ocsf_signature(signature: Document, version: tuple[int, int] = _ASSUMED) -> Optional[Document]:
    """Return a file's `signature` object, or None where no record says that there is one.

    Args:
        signature: Of a subject, or from `signature_document`. What only the alert claims, or the joint query infers,
            gives None.
        version: Of the event's schema; before 1.7 the states 6 to 10 do not exist and are written as *Other*.

    References:
        - ocsf-schema 1.9.0-dev, objects/digital_signature; alert-formats §8, read backwards
    """
    state = _STATES.get(signature["status"])
    if state is None or signature["cause"] != Cause.RECORD.value:
        return None
    number, caption = state
    if number > 5 and version < _NEWER_STATES:
        number, caption = _OTHER, str(signature["status"])
    certificate = {"subject": signature["subject"] or signature["publisher"], "issuer": signature["issuer"]}
    return _told({
        "algorithm_id": _AUTHENTICODE,
        "algorithm": "Authenticode",
        "state_id": number,
        "state": caption,
        "created_time": _epoch_ms(signature["signed_at"]),
        "certificate": _told(certificate) or None,
    })  # fmt: skip


def ocsf_event(document: Document, event: Optional[Mapping[str, Any]] = None) -> Document:
    """Return an event with what was found out added; the event itself stays as it is.

    Its own `enrichments` come first. Every file in it whose MD5 or SHA-256 was looked up, and that has no signature,
    gets one, under `signatures` from schema 1.8 on and under `signature` before.

    Args:
        document: From `enrichment_document`.
        event: The alert as it came, where it is an OCSF event; None or any other alert gives `enrichments` alone.
    """
    if event is None or "class_uid" not in event:
        return {"enrichments": ocsf_enrichments(document)}
    version = _version(event)
    known = {}
    for subject in document["subjects"]:
        found = ocsf_signature(subject["signature"], version)
        known.update({subject[kind]: found for kind in ("md5", "sha256") if subject[kind] and found})
    filled: Document = _filled(event, known, version, 0)
    own = filled.get("enrichments")
    return {**filled, "enrichments": [*(own if isinstance(own, list) else []), *ocsf_enrichments(document)]}


def _entries(document: Document, subject: Document) -> Iterator[Document]:
    place, links, signature = _FILES[subject["role"]], subject["links"] or {}, subject["signature"]
    file_hash = subject["md5"] or subject["sha256"]
    if file_hash:
        name, value = f"{place}.hashes.value", file_hash
    else:
        name, value = f"{place}.name", subject["name"] or subject["process_guid"] or "none"
    data = {**signature, "role": subject["role"], "verdict": subject["verdict"], "gaps": subject["gaps"]}
    provider = (signature["evidence"] or {}).get("source")
    yield _entry(
        document, name, value, "code signature", data, subject["reason"], links.get("binary"), provider=provider
    )
    if subject["lineage"] is not None:
        process = place[: -len(".file")] if place.startswith("process") else "process"
        guid = subject["process_guid"] or subject["lineage"]["nodes"][0]["guid"]
        told = subject["lineage"]["reason"]
        yield _entry(
            document, f"{process}.uid", guid, "process lineage", subject["lineage"], told, links.get("process")
        )


def _entry(
    document: Document, name: str, value: str, kind: str, data: Document, told: str, link: Optional[str] = None,
    *, provider: Optional[str] = None,
) -> Document:  # fmt: skip
    return _told({
        "name": name, "value": value, "type": kind, "provider": provider or "cbsigned", "data": data,
        "created_time": _epoch_ms(document["enriched_at"]), "src_url": link, "short_desc": told,
    })  # fmt: skip


def _filled(part: Any, known: Mapping[str, Document], version: tuple[int, int], depth: int) -> Any:
    """Return a copy of a part of an event, the files in it signed."""
    if depth > _MAX_DEPTH:
        return part
    if isinstance(part, list):
        return [_filled(item, known, version, depth + 1) for item in part]
    if not isinstance(part, Mapping):
        return part
    copy = {key: _filled(value, known, version, depth + 1) for key, value in part.items()}
    found = next((known[text] for text in _hashes(part.get("hashes")) if text in known), None)
    if found is not None and not copy.get("signature") and not copy.get("signatures"):
        several = version >= _SEVERAL
        copy["signatures" if several else "signature"] = [found] if several else found
    return copy


def _hashes(hashes: Any) -> Iterator[str]:
    for item in hashes if isinstance(hashes, list) else ():
        value = item.get("value") if isinstance(item, Mapping) else None
        if isinstance(value, str) and len(value) == _DIGITS.get(str(item.get("algorithm_id"))):
            yield value.lower()


def _version(event: Mapping[str, Any]) -> tuple[int, int]:
    metadata = event.get("metadata")
    parts = str(metadata.get("version") if isinstance(metadata, Mapping) else "").split(".")[:2]
    if len(parts) == 2 and all(text.isascii() and text.isdigit() and len(text) < 4 for text in parts):
        return int(parts[0]), int(parts[1])
    return _ASSUMED


def _epoch_ms(text: Optional[str]) -> Optional[int]:
    moment = parse_time(text)
    return round(moment.timestamp() * 1000) if moment is not None else None


def _told(part: Document) -> Document:
    return {key: value for key, value in part.items() if value is not None}
