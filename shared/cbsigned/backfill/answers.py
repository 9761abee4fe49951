"""Keys of rows into answers: one row of the verdict table for each distinct text, one of lineages for each guid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from cbsigned.backfill.work import BAD_LINE, NOTHING
from cbsigned.binary import Signature, unknown_signature
from cbsigned.enrichment import Sources
from cbsigned.gaps import Cause
from cbsigned.lineage import EndedBy, ForeignSource, Lineage, lineages
from cbsigned.observables import is_foreign, parse_process_id, printable, read_hashes
from cbsigned.render.clean import clean
from cbsigned.render.csv import spreadsheet_safe
from cbsigned.render.document import Document, lineage_document
from cbsigned.settings import Settings
from cbsigned.signing import not_a_hash, signing_statuses
from cbsigned.timing import Deadline, format_time

__all__ = ["LINEAGE", "SIGNING", "Answers", "Row", "hash_of"]

SIGNING = ("status", "signed", "publisher", "issuer", "sign_time", "why", "source", "certainty")
"""New columns of every row, without their prefix, as in Splunk."""
LINEAGE = ("lineage", "lineage_depth", "lineage_root", "lineage_root_guid", "lineage_ended", "lineage_why")
"""New columns where there is a process guid."""

Row = dict[str, Any]
"""`k`: the key; `open`: whether asking again may tell more; then the columns, or for NDJSON their text `j` and `lj`."""

_LONGEST_S = 10 * 365 * 86_400.0
_SEPARATOR = "\x1f"
_MARKS = str.maketrans("", "", "[]\"'")


class Answers:
    """Makes rows of answers.

    Args:
        sources: Who is asked; within its own time limits.
        settings: Depth, and for how long answers are kept.
        format: Of the output: CSV cells are made safe for spreadsheets, and NDJSON gets ready-made text.
        prefix: Of the new columns.

    Attributes:
        failures: Reasons of failed look-ups, each once.
    """

    def __init__(self, sources: Sources, settings: Settings, format: str, prefix: str) -> None:
        self._sources, self._settings, self._format, self._prefix = sources, settings, format, prefix
        self.failures: dict[str, None] = {}
        caches = sources.caches
        self._signatures = caches.signatures if caches else None
        self._processes = caches.processes if caches else None

    def constants(self, kind: str, *, guid: bool) -> list[Row]:
        """Return the rows for rows of the input that name nothing, and for lines that cannot be read."""
        what = "neither a hash nor a process guid" if guid and kind == "guid" else "no hash"
        nothing = unknown_signature("", Cause.NO_OBSERVABLE, f"The event has {what}, so nothing was looked up.")
        bad = unknown_signature("", Cause.BAD_OBSERVABLE, "The line is not a JSON object, so nothing was looked up.")
        if kind == "hash":
            return [self._row(NOTHING, nothing), self._row(BAD_LINE, bad)]
        why = "The event has no process guid."
        return [
            self._chain_row(NOTHING, nothing, {"lineage_why": why}, is_open=False),
            self._chain_row(BAD_LINE, bad, {"lineage_why": bad.reason}, is_open=False),
        ]

    def of_hashes(self, keys: Sequence[str]) -> list[Row]:
        """Return a row for each key of hash columns; every hash among them is asked for once."""
        hashes = {key: hash_of(key) for key in keys}
        found = self._statuses(h for h in hashes.values() if h)
        return [self._row(k, found[h] if h else _unusable(k)) for k, h in hashes.items()]

    def of_guids(self, keys: Sequence[str]) -> list[Row]:
        """Return a row for each key of the guid column: its lineage, and the signing status of its own image."""
        guids = {key: parse_process_id(key) for key in keys}
        source = self._sources.processes
        usable = {guid for guid in guids.values() if guid and (not is_foreign(guid) or _takes_foreign(source))}
        chains: Mapping[str, Lineage] = {}
        if usable and source is not None:
            chains = lineages(
                source, sorted(usable), Deadline(_LONGEST_S), max_depth=self._settings.max_depth,
                cache=self._processes, cache_life_s=self._settings.life.process_s,
            )  # fmt: skip
        found = self._statuses(p.file_hash for chain in chains.values() for p in chain.processes() if p.file_hash)
        return [self._chain(key, guid, chains.get(guid or ""), found) for key, guid in guids.items()]

    def _statuses(self, hashes: Iterable[str]) -> dict[str, Signature]:
        return signing_statuses(
            self._sources.binaries, hashes, Deadline(_LONGEST_S), cache=self._signatures, life=self._settings.life
        )

    def _chain(self, key: str, guid: Optional[str], chain: Optional[Lineage], found: Mapping[str, Signature]) -> Row:
        if chain is None:
            why = _not_asked(key, guid)
            return self._chain_row(
                key, unknown_signature("", Cause.BAD_OBSERVABLE, why), {"lineage_why": why}, is_open=False
            )
        own_hash = chain.nodes[0].process.file_hash
        gap = chain.nodes[0].gap
        own = found[own_hash] if own_hash else unknown_signature(
            "", gap.cause if gap else Cause.NO_OBSERVABLE, gap.reason if gap else "The process's record has no hash."
        )  # fmt: skip
        failed = [node.gap.reason for node in chain.nodes if node.gap and node.gap.cause.failed]
        failed += [chain.reason] if chain.ended_by is EndedBy.SOURCE_FAILED and not failed else []
        failed += [
            found[p.file_hash].reason for p in chain.processes() if p.file_hash and found[p.file_hash].cause.failed
        ]
        self.failures.update(dict.fromkeys(failed[:1]))
        return self._chain_row(key, own, _lineage_cells(lineage_document(chain, found)), is_open=bool(failed))

    def _row(self, key: str, signature: Signature) -> Row:
        if signature.cause.failed:
            self.failures[signature.reason] = None
        return {"k": key, "open": signature.cause.failed, **self._written(SIGNING, _signing_cells(signature), "j")}

    def _chain_row(self, key: str, own: Signature, cells: Document, *, is_open: bool) -> Row:
        return {
            "k": key,
            "open": is_open,
            **self._written(SIGNING, _signing_cells(own), "j"),
            **self._written(LINEAGE, cells, "lj"),
        }

    def _written(self, names: Sequence[str], cells: Mapping[str, Any], text: str) -> Row:
        if self._format == "ndjson":
            line = json.dumps({self._prefix + name: cells.get(name) for name in names}, ensure_ascii=False)
            status = {"status": cells["status"]} if "status" in cells else {}
            return {**status, text: line[1:-1]}
        if self._format == "csv":
            return {name: _safe(cells.get(name)) for name in names}
        return {name: cells.get(name) for name in names}


def hash_of(key: str) -> Optional[str]:
    """Return the MD5, else the SHA-256, that the columns of a row name, or None."""
    texts = key.split(_SEPARATOR)
    hashes = read_hashes([t.translate(_MARKS) if t[:1] == "[" else t for t in texts] if _odd(key) else key)
    return hashes.md5 or hashes.sha256


def _odd(key: str) -> bool:
    return _SEPARATOR in key or key[:1] == "["


def _unusable(key: str) -> Signature:
    return not_a_hash(next((text for text in key.split(_SEPARATOR) if text), ""))


def _not_asked(key: str, guid: Optional[str]) -> str:
    if guid is not None and is_foreign(guid):
        return f"{printable(key, 60)} is another product's process id, which Carbon Black cannot be asked for."
    if guid is not None:
        return "This source has no processes to ask for."
    return f"{printable(key, 60)} is no process guid: expected 36 characters, so it was not asked for."


def _takes_foreign(source: object) -> bool:
    return isinstance(source, ForeignSource)


def _signing_cells(signature: Signature) -> Document:
    evidence = signature.evidence
    return {
        "status": signature.status.value,
        "signed": signature.status.signed,
        "publisher": signature.publisher,
        "issuer": signature.issuer,
        "sign_time": format_time(signature.signed_at),
        "why": signature.reason,
        "source": evidence.source if evidence else None,
        "certainty": evidence.certainty.value if evidence else None,
    }


def _lineage_cells(document: Document) -> Document:
    nodes = document["nodes"]
    names = [_name(node) for node in nodes]
    return {
        "lineage": " <- ".join(f"{name} ({node['status']})" for name, node in zip(names, nodes)),
        "lineage_depth": len(nodes) - 1,
        "lineage_root": names[-1],
        "lineage_root_guid": nodes[-1]["guid"],
        "lineage_ended": document["ended_by"],
        "lineage_why": document["reason"],
    }


def _name(node: Document) -> str:
    """Return what a process is called: a name from outside cannot look like two."""
    pid = f"pid {node['pid']}" if node["pid"] is not None else None
    return " ".join(str(node["name"] or pid or node["guid"]).split())


def _safe(value: object) -> object:
    return spreadsheet_safe(clean(value)) if isinstance(value, str) else value
