"""The Cortex XSOAR and XSIAM integration: its commands, its configuration, and war-room entries of outcomes.

One command to try in the war room: `!cbsigned-signing-status hashes=0f343b0931126a20f133d67c2b018a3b`.
The platform's own classes are handed in as a `Kit`, since its Python puts them into the integration's namespace and
nowhere else. For the versions that it was tested with see docs/playbooks-xsoar.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, Protocol
from urllib.request import getproxies

from cbsigned.observables import read_hashes
from cbsigned_playbooks.actions import answer
from cbsigned_playbooks.outcome import Outcome
from cbsigned_playbooks.reputation import publishers_of, reputation

__all__ = ["BRAND", "COMMANDS", "LEFT_OUT", "Command", "Demisto", "Kit", "configuration", "run"]

BRAND = "CBSigned"
LEFT_OUT = ("card", "svg")
"""Members of rows that stay out of the context: they are the war-room entry itself, or a drawing."""


@dataclass(frozen=True)
class Command:
    """One command of the integration.

    Attributes:
        action: Of the catalogue.
        prefix: Where its rows stand in the context.
        key: Member by which a row replaces an older one; None where each answer stands for itself.
    """

    name: str
    action: str
    prefix: str
    key: Optional[str]


COMMANDS = (
    Command("cbsigned-enrich-alert", "enrich_alert", f"{BRAND}.Alert", None),
    Command("cbsigned-signing-status", "signing_status", f"{BRAND}.SigningStatus", "asked"),
    Command("cbsigned-lineage", "process_lineage", f"{BRAND}.Lineage", "asked"),
    Command("cbsigned-find-processes", "find_processes", f"{BRAND}.Process", "guid"),
    Command("cbsigned-find-binaries", "find_binaries", f"{BRAND}.Binary", "md5"),
    Command("cbsigned-where-seen", "where_seen", f"{BRAND}.Seen", "asked"),
)
_NAMED = {command.name: command for command in COMMANDS}
_SIGNING = _NAMED["cbsigned-signing-status"]


class Demisto(Protocol):
    """What is used of the object through which the platform speaks to an integration."""

    def command(self) -> str:
        """Return the name of the command."""

    def args(self) -> dict[str, Any]:
        """Return the command's arguments."""

    def params(self) -> dict[str, Any]:
        """Return the instance's configuration."""

    def info(self, message: str) -> None:
        """Write to the integration's log."""


@dataclass(frozen=True)
class Kit:
    """What is used of the platform's `CommonServerPython`, under its own names."""

    CommandResults: Callable[..., Any]
    Common: Any
    DBotScoreType: Any
    return_results: Callable[[Any], None]
    return_error: Callable[..., None]


class _PlatformLog(logging.Handler):
    """Writes our warnings to the integration's log, which the platform keeps; nobody reads its standard error."""

    def __init__(self, demisto: Demisto) -> None:
        super().__init__(logging.WARNING)
        self._demisto = demisto

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._demisto.info(self.format(record))


def run(demisto: Demisto, kit: Kit) -> None:
    """Answer the one command that the platform asks for; a failure becomes its error entry, with our message.

    Args:
        demisto: Has command, arguments and configuration.
        kit: Takes the answer.
    """
    logging.getLogger("cbsigned").handlers = [_PlatformLog(demisto)]  # a process may run many commands
    name, params, given = demisto.command(), demisto.params(), demisto.args()
    action = (
        _NAMED[name].action if name in _NAMED else {"test-module": "test_connection", "file": _SIGNING.action}[name]
    )
    inputs = {"hashes" if name == "file" and key == "file" else key: value for key, value in given.items()}
    outcome = answer(action, {} if name == "test-module" else inputs, configuration(params, os.environ))
    # every hash indicator comes here by itself, SHA-1 too: what cannot be asked for is unknown, no failure
    if not outcome.ok and not (name == "file" and outcome.rows and outcome.complete):
        return kit.return_error(outcome.message, outputs=_context(_NAMED[name], outcome) if name in _NAMED else None)
    if name == "test-module":
        return kit.return_results("ok")
    return kit.return_results(
        _file_entries(kit, outcome, params) if name == "file" else _entry(kit, _NAMED[name], outcome)
    )


def configuration(params: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the instance's configuration under the catalogue's names.

    The token is the password of its credentials; `insecure` and `proxy` are the platform's usual switches, of which
    `proxy` takes the system's proxy. Without a CA file of its own, the one that the platform mounts is used.

    Args:
        params: As the platform gives them.
        environment: Of the process.
    """
    secure = not params.get("insecure")
    mounted = environment.get("SSL_CERT_FILE") or environment.get("REQUESTS_CA_BUNDLE")
    proxies = getproxies() if params.get("proxy") else {}
    return {
        **params,
        "api_key": (params.get("credentials") or {}).get("password"),
        "verify_tls": secure,
        "ca_file": params.get("ca_file") or (mounted if secure else None),
        "proxy": proxies.get(str(params.get("url")).partition(":")[0].lower()),
    }


def _entry(kit: Kit, command: Command, outcome: Outcome) -> Any:
    """Return the war-room entry of one outcome: its card, its rows, and its counts."""
    context = _context(command, outcome)
    return kit.CommandResults(outputs=context, readable_output=outcome.card, raw_response=next(iter(context.values())))


def _context(command: Command, outcome: Outcome) -> dict[str, Any]:
    """Return what an outcome adds to the incident's context; of what failed, the rows say why."""
    linked = f"{command.prefix}(val.{command.key} && val.{command.key} == obj.{command.key})"
    rows = [{name: value for name, value in row.items() if name not in LEFT_OUT} for row in outcome.rows]
    told = {"Summary": {**outcome.summary, "message": outcome.message}}
    return {linked if command.key else command.prefix: rows, f"{BRAND}(true)": told}


def _file_entries(kit: Kit, outcome: Outcome, params: Mapping[str, Any]) -> list[Any]:
    """Return an entry for each hash, with its DBot score, as the platform wants it of a reputation command."""
    trusted = publishers_of(params.get("trusted_publishers"))
    reliability = params.get("integrationReliability") or None
    entries = []
    for row in outcome.rows:
        found, asked = reputation(row, trusted), read_hashes(row["asked"])
        score = kit.Common.DBotScore(
            indicator=row["asked"],
            indicator_type=kit.DBotScoreType.FILE,
            integration_name=BRAND,
            score=int(found.score),
            reliability=reliability,
            message=found.reason,
        )
        known = {"md5": row["md5"] or asked.md5, "sha1": asked.sha1, "sha256": row["sha256"] or asked.sha256}
        entries.append(
            kit.CommandResults(
                outputs_prefix=_SIGNING.prefix,
                outputs_key_field=_SIGNING.key,
                outputs=row,
                readable_output=replace(outcome, rows=[row], message=f"{row['reason']} {found.reason}").card,
                indicator=kit.Common.File(dbot_score=score, **known) if any(known.values()) else None,
                raw_response=row,
            )
        )
    return entries
