"""Which server version is spoken, and what that changes in an answer.

References:
    - cb-edr-api §1.4 (version differences), §2.3 (first version of a field), §2.4 (segment suffix)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cbsigned.errors import ConfigError
from cbsigned.timing import parse_time

__all__ = ["DEFAULT_VERSION", "Dialect", "parse_dialect", "wire_id"]

DEFAULT_VERSION = "7.3.0.200609.1533"

_VERSION = re.compile(r"[5-7](\.\d{1,9}){1,4}", re.ASCII)
_SINCE: dict[str, tuple[int, ...]] = {
    "comms_ip": (5, 1), "interface_ip": (5, 1), "emet_count": (5, 1), "processblock_count": (5, 1),
    "emet_config": (5, 1), "filtering_known_dlls": (5, 1), "last_server_update": (5, 2), "terminated": (5, 2),
    "current_segment": (5, 2), "process_sha256": (6, 3), "sha256": (6, 3), "min_last_update": (6,),
    "max_last_update": (6,), "min_last_server_update": (6,), "max_last_server_update": (6,), "ref_segment_id": (6,),
    "event_partition_id": (6,), "logon_type": (7,), "uid": (7,), "fileless_scriptload_count": (7,),
}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """One server version.

    Attributes:
        version: As `/api/info` tells it.
        numbers: Its first three numbers.
    """

    version: str
    numbers: tuple[int, int, int]

    @property
    def modern(self) -> bool:
        """6.0 or later: long segment numbers, segment 0 for a whole process, partitions, three booleans more."""
        return self.numbers >= (6, 0, 0)

    @property
    def whole_segment(self) -> int:
        """The segment that stands for the whole process."""
        return 0 if self.modern else 1

    @property
    def event_version(self) -> int:
        """The newest version of the event route, 1 to 4."""
        return sum(self.numbers >= since for since in ((5, 0, 0), (5, 1, 0), (5, 2, 0), (6, 0, 0)))

    @property
    def blocks_leading_wildcards(self) -> bool:
        """Whether such searches are refused where nobody set it otherwise."""
        return self.numbers >= (6, 2, 3)

    def unique_id(self, guid: str, segment: int) -> str:
        """Return guid and segment in one, as this version writes them: 12 hex digits, before 6.0 8 decimal ones."""
        guid = wire_id(guid)
        return f"{guid}-{segment:012x}" if self.modern else f"{guid}-{segment:08d}"

    def process_document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a process document of the store as this version writes it, with segment and unique ids."""
        made = self.shaped(document)
        segment = made.get("segment_id")
        if segment is None:
            segment = self.segment_at(made.get("last_update")) if self.modern else 1
        made["segment_id"] = segment
        made["id"] = wire_id(str(made["id"]))
        made["unique_id"] = self.unique_id(str(made["id"]), segment)
        if "parent_id" in made:
            made["parent_id"] = wire_id(str(made["parent_id"]))
            made["parent_unique_id"] = self.unique_id(str(made["parent_id"]), 1)  # as recorded: never a real segment
        if self.modern and "group" in made:
            made["group"] = str(made["group"]).lower()
        return made

    def binary_document(self, document: Mapping[str, Any], partition: int) -> dict[str, Any]:
        """Return a binary document of the store as this version writes it."""
        number = self.numbers[0] * 100 + self.numbers[1] * 10 + self.numbers[2]
        return self.shaped({"cb_version": number, "event_partition_id": [partition], **document})

    @staticmethod
    def segment_at(last_update: object) -> int:
        """Return the number of a segment that ended at a time, for a process without recorded segments."""
        moment = parse_time(last_update)
        return 1 if moment is None else max(1, round(moment.timestamp() * 1000))

    def shaped(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document without the fields that this version did not have yet."""
        return {name: value for name, value in document.items() if self.numbers >= _SINCE.get(name, ())}


def wire_id(guid: str) -> str:
    """Return a process id as clients take it, 36 characters: other products' ids lose the mark that the core gives."""
    return guid.strip("{}").rpartition(":")[2]


def parse_dialect(text: str) -> Dialect:
    """Return the dialect of a version such as `7.3.0.200609.1533` or `6.2`.

    Raises:
        ConfigError: It is no version from 5.0 to 7.x.
    """
    if not _VERSION.fullmatch(text):
        raise ConfigError(
            f'--version is "{text[:40]}": expected a server version from 5.0 to 7.x, such as {DEFAULT_VERSION} or 6.2. '
            f"Leave it out for {DEFAULT_VERSION}."
        )
    parts = [int(part) for part in text.split(".")]
    major, minor, patch = (*parts, 0, 0)[:3]
    return Dialect(text, (major, minor, patch))
