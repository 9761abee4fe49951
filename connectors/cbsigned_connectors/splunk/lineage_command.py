"""`| cblineage`: adds to events that name a process its ancestors, newest first, and whether each of them is signed.

Try `index=main process_guid=* | dedup process_guid | cblineage | table process_name lineage_text lineage_why`.
"""

from __future__ import annotations

from cbsigned_connectors.splunk import protocol
from cbsigned_connectors.splunk.command import FIND, HASHES, PROCESSES, Plan, SearchCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

__all__ = ["FIELDS", "main", "plan"]

FIELDS = {
    "text": ("lineage", "text"),
    "json": ("lineage", "json"),
    "depth": ("lineage", "depth"),
    "root": ("lineage", "root"),
    "ended": ("lineage", "ended_by"),
    "why": ("lineage", "why"),
    "names": ("lineage", "names"),
    "statuses": ("lineage", "statuses"),
    "guid": ("lineage", "guid"),
}
"""Output field without its prefix → where it stands in the handler's answer; names and statuses have many values."""


def plan(options: Mapping[str, Any]) -> Plan:
    """Return what `| cblineage` asks with these options.

    Raises:
        OptionError: The field to look up is one of those that are written.
    """
    named = options["guid"]
    columns = {named: "process_guid"} if named else {name: name for name in (*PROCESSES, *HASHES, *FIND)}
    needs = [named] if named else [*PROCESSES, *HASHES]
    nothing = (
        "The event names no process: it has neither a process guid nor a pid or hash. "
        "Name the field that has the process guid with guid=…"
    )
    outputs = {options["prefix"] + name: place for name, place in FIELDS.items()}
    return Plan(columns, outputs, needs, () if named else ("process_guid",), nothing, options, lineage=True)


def main() -> NoReturn:
    """Serve one search of `| cblineage`."""
    protocol.main(SearchCommand("cblineage", plan))
