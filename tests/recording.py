"""A source that answers from records in memory and counts its calls; it stands where a server or store would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, Union

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.errors import ProcessNotFound, SourceError
from cbsigned.lineage import ProcessAnswers, Relatives
from cbsigned.process import Process
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline


class Recording:
    """Answers from what it is given; `failure` is the answer to everything once it is set."""

    name = "recording"

    def __init__(
        self,
        binaries: Optional[Mapping[str, Sequence[BinaryRecord]]] = None,
        processes: Sequence[Process] = (),
        hits: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.records = dict(binaries or {})
        self.by_guid = {process.guid: process for process in processes}
        self.hits = set(hits)
        self.failure: Optional[SourceError] = None
        self.hash_calls: list[list[str]] = []
        self.guid_calls: list[list[str]] = []

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        self.hash_calls.append(list(hashes))
        return {h: self.failure or tuple(self.records.get(h, ())) for h in hashes}

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        self.guid_calls.append(list(guids))
        return {g: self.failure or self.by_guid.get(g) or ProcessNotFound(f"no {g}") for g in guids}

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        return {s: self.failure or tuple(self.by_guid.values()) for s in sightings}

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        found: dict[str, Union[Relatives, SourceError]] = {}
        for guid in guids:
            nodes = [p for p in self.by_guid.values() if p.parent_guid == guid]
            found[guid] = self.failure or Relatives(tuple(nodes[:limit]), len(nodes))
        return found

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        return {pair: self.failure or pair in self.hits for pair in pairs}


def guid_of(number: int, sensor: int = 1, pid: Optional[int] = None, second: Optional[int] = None) -> str:
    """Return a true-to-layout guid: sensor, pid (default 1000 + number), start at 2024-01-01 plus seconds."""
    pid = 1000 + number if pid is None else pid
    ticks = 133_485_408_000_000_000 + (number if second is None else second) * 10_000_000
    text = f"{sensor:08x}{pid:08x}{ticks:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def md5_of(number: int) -> str:
    """Return a distinct MD5-shaped text."""
    return f"{number + 1:032x}"


def document(word: Optional[str] = "Signed", **fields: object) -> BinaryRecord:
    """Return a full binary record."""
    return BinaryRecord(RecordKind.BINARY_DOCUMENT, word=word, **fields)  # type: ignore[arg-type]
