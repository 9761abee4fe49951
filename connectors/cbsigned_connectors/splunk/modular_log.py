"""How the alert action records its runs, so that Enterprise Security shows them beside the notable.

Splunk's CIM app sends every file `*_modalert.log` to index `cim_modactions`, and ES reads its lines by the word
`sendmodaction`. One line before each result, one after it::

    2026-11-22 01:02:03,004+0000 INFO sendmodaction - worker="sh1" signature="Invoking modular action" action_name=…
    2026-11-22 01:02:03,110+0000 INFO sendmodaction - worker="sh1" signature="Unsigned: …" … action_status="success"

References:
    - splunk §6: file name, form of the line, order and meaning of the keys
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Callable, Optional

from cbsigned.timing import utc_now
from cbsigned_connectors.splunk.logs import append, pairs

__all__ = ["INVOKING", "Invocation", "ModularLog"]

INVOKING = "Invoking modular action"


@dataclass(frozen=True)
class Invocation:
    """One run of an action, as it stands on each of its lines.

    Attributes:
        worker: Name of the search head.
        digest_mode: Whether the action was called once for all results, not once for each.
    """

    action_name: str
    worker: str = ""
    search_name: str = ""
    sid: str = ""
    app: str = ""
    user: str = ""
    digest_mode: bool = True

    @property
    def action_mode(self) -> str:
        """`saved` for a scheduled search, `adhoc` for one that a person ran."""
        return "saved" if "scheduler" in self.sid else "adhoc"


class ModularLog:
    """Writes the lines of one run.

    Args:
        path: `…/cbsigned_enrich_modalert.log`, or None where there is no Splunk.
        invocation: What is the same on every line.
        now: The clock.

    Attributes:
        written: Whether every line so far could be written.
    """

    def __init__(self, path: Optional[Path], invocation: Invocation, now: Callable[[], datetime] = utc_now) -> None:
        self.path, self.invocation, self.now = path, invocation, now
        self.written = True

    def invoking(self, ids: Mapping[str, str]) -> None:
        """Say that a result is about to be worked on.

        Args:
            ids: `rid`, and where the result has them `orig_sid` and `orig_rid`.
        """
        self._add("INFO", INVOKING, ids, "")

    def finished(self, ids: Mapping[str, str], signature: str, *, success: bool) -> None:
        """Say how it went.

        Args:
            ids: As in `invoking`; empty where the run failed before any result.
            signature: What happened, as a sentence.
            success: Whether the result got its event.
        """
        self._add("INFO" if success else "ERROR", signature, ids, "success" if success else "failure")

    def _add(self, level: str, signature: str, ids: Mapping[str, str], status: str) -> None:
        run = self.invocation
        told = {
            "worker": run.worker,
            "signature": signature,
            "action_name": run.action_name,
            "search_name": run.search_name,
            "sid": run.sid,
            "orig_sid": ids.get("orig_sid"),
            "rid": ids.get("rid"),
            "orig_rid": ids.get("orig_rid"),
            "app": run.app,
            "user": run.user,
            "digest_mode": "1" if run.digest_mode else "0",
            "action_mode": run.action_mode,
            "action_status": status,
        }
        at = self.now()
        stamp = f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d}{at:%z}"
        line = f"{stamp} {level} sendmodaction - {pairs(told, 500)}"
        self.written = (self.path is not None and append(self.path, line)) and self.written
