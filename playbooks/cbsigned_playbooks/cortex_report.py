"""What TheHive shows of an answer: taxonomies, tags, and the observables in it; made of the outputs as defined.

A level says what the signature says, and no more. *suspicious*: there is a signature, and it is broken or revoked
(Bad Signature, Invalid Signature, Explicit Distrust). *safe*: a record says signed, by a publisher whom the
administrator named.
Everything else is *info*, unsigned included, since much of Windows itself is signed by catalog and told as Unsigned;
*malicious* is never said, since no signature says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from cbsigned.observables import parse_process_id
from cbsigned.render.marks import word
from cbsigned.status import SigningStatus
from cbsigned_playbooks.definition import Action, Output
from cbsigned_playbooks.outcome import values_at
from cbsigned_playbooks.reputation import Score, reputation

__all__ = ["MOST_ARTIFACTS", "NAMESPACE", "artifacts", "level", "tag", "taxonomies"]

NAMESPACE = "CB"
MOST_ARTIFACTS = 100

Row = Mapping[str, Any]
_HASH = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,252}", re.ASCII)
_LONGEST_NAME = 255


def level(part: Row, trusted: Collection[str]) -> str:
    """Return TheHive's level for one file or process.

    Args:
        part: A row, a subject or a node: with `status`, and what else is known of the signature.
        trusted: As of `reputation`.
    """
    return _LEVELS[reputation(part.get("signature") or part, trusted).score]


_LEVELS = {Score.SUSPICIOUS: "suspicious", Score.GOOD: "safe", Score.UNKNOWN: "info"}


def taxonomies(
    action: Action, rows: Sequence[Row], summary: Row, complete: bool, trusted: Collection[str]
) -> list[dict[str, str]]:
    """Return the short report: one label for the signatures, one for the lineage, and what else was counted.

    Args:
        action: Whose answer it is; what it has outputs for, gets a label.
        rows: Of the answer.
        summary: `total` of it is how many a search found.
        complete: Whether every look-up was answered.
        trusted: As of `level`.
    """
    paths = {output.path for output in action.outputs}
    found = []
    if "subjects[].status" in paths:
        rows = list(_each(rows, "subjects"))
    if "status" in paths:
        found.append(_signatures("Signature", rows, trusted))
    if any(path.endswith("lineage.nodes[].status") for path in paths):
        walked = (row["lineage"] for row in rows if row.get("lineage"))
        found.append(_signatures("Lineage", list(_each(walked, "nodes")), trusted))
    if "host_count" in paths and len(rows) == 1 and rows[0]["host_count"] is not None:
        found.append(_label("info", "Hosts", str(rows[0]["host_count"])))
    if "total" in summary:
        found.append(_label("info", "Found", str(summary["total"])))
    if "ok" in paths:
        works = [row["ok"] for row in rows]
        found.append(_label("suspicious" if False in works else "info", "Works", f"{works.count(True)}/{len(works)}"))
    if not complete:
        found.append(_label("info", "Complete", "no"))
    return [one for one in found if one is not None]


def tag(taxonomy: Mapping[str, str]) -> str:
    """Return a taxonomy as TheHive writes it in tags: `CB:Signature="Unsigned"`."""
    return f'{taxonomy["namespace"]}:{taxonomy["predicate"]}="{taxonomy["value"]}"'


def artifacts(action: Action, rows: Iterable[Row], own: object, tlp: int) -> list[dict[str, Any]]:
    """Return what else can be looked up: hashes, hosts, file names and process guids, each once.

    Which outputs hold them, their `contains` says; every value is checked to be one, so that no sentence of a report
    becomes an address.

    Args:
        action: Whose answer it is.
        rows: Of the answer.
        own: The observable that was asked about; not given back.
        tlp: Of that observable; those found with it are under the same protocol.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    told = own.strip().lower() if isinstance(own, str) else None
    for row in rows:
        for output in action.outputs:
            kind = _artifact_kind(output)
            for value in values_at(row, output.path) if kind is not None else ():
                key = (str(kind), str(value).lower())
                if len(found) < MOST_ARTIFACTS and key not in found and key[1] != told and _CHECKS[key[0]](value):
                    about = f"{action.title}: {output.description}"
                    found[key] = {"dataType": kind, "data": value, "message": about, "tags": ["cbsigned"], "tlp": tlp}
    return list(found.values())


def _signatures(predicate: str, parts: Sequence[Row], trusted: Collection[str]) -> Optional[dict[str, str]]:
    """Return the label of files or processes: its word for one, else how many of them are signed."""
    words = [_word(part) for part in parts]
    if not words:
        return None
    levels = {level(part, trusted) for part in parts}
    worst = "suspicious" if "suspicious" in levels else "safe" if levels == {"safe"} else "info"
    signed = words.count(SigningStatus.SIGNED.value)
    value = words[0] if len(words) == 1 else f"signed {signed}/{len(words)}"
    return _label(worst, predicate, value)


def _word(part: Row) -> str:
    said = part.get("signature") is not None or "cause" in part  # rows of searches have a status alone
    return word(dict(part)) if said else str(part["status"])


def _each(parts: Iterable[Row], name: str) -> Iterator[Row]:
    for part in parts:
        yield from part.get(name) or ()


def _label(grade: str, predicate: str, value: str) -> dict[str, str]:
    return {"level": grade, "namespace": NAMESPACE, "predicate": predicate, "value": value}


def _artifact_kind(output: Output) -> Optional[str]:
    return next((kind for contained, kind in _KINDS.items() if contained in output.contains), None)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable() and value == value.strip()


_KINDS = {
    "hash": "hash",
    "host name": "hostname",
    "carbon black process id": "other",
    "file name": "filename",
}
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "hash": lambda value: bool(_HASH.fullmatch(str(value))),
    "hostname": lambda value: bool(_HOST.fullmatch(str(value))),
    "other": lambda value: parse_process_id(value) is not None,
    "filename": _is_name,
}
