"""What `cbsigned config check` tries on the server, each with what to do if it does not work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from cbsigned.edr.answers import Answer
from cbsigned.edr.search import BINARY, PROCESS, ServerVersion, parse_version, search
from cbsigned.edr.transport import EdrClient
from cbsigned.errors import SourceError, SourceUnavailable
from cbsigned.timing import Deadline, utc_now

__all__ = ["Finding", "check"]

_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        topic: `server`, `binary search`, `process search`, `sha256` or `clock`.
        ok: Whether it works; None where it cannot be told.
        text: What was found and, where it does not work, what to do.
    """

    topic: str
    ok: Optional[bool]
    text: str


def check(client: EdrClient, deadline: Deadline) -> tuple[Finding, ...]:
    """Try version, both searches and the clock; a failure is a finding, never an exception.

    Args:
        client: Carries at most three requests.
        deadline: For all of them together.
    """
    began = utc_now()
    try:
        info: Optional[Answer] = client.ask("/api/info", deadline)
        failure = ""
    except SourceUnavailable as exc:  # nothing else would answer either
        return (Finding("server", False, str(exc)),)
    except SourceError as exc:
        info, failure = None, str(exc)
    ended = utc_now()
    version = parse_version(info.document.get("version")) if info else None
    server = _server(client, version, failure if info is None else "The answer names no version; is this an EDR?")
    binary = _search(client, "binary search", BINARY, deadline, "The default strategy reads signing statuses here.")
    process = _search(client, "process search", PROCESS, deadline, "Lineage and strategy=joint need it.")
    return (server, binary, process, _sha256(version), _clock(info, began, ended))


def _server(client: EdrClient, version: Optional[ServerVersion], failure: str) -> Finding:
    if version is None:
        return Finding("server", False, failure)
    return Finding("server", True, f"{client.host} is Carbon Black EDR {version}.")


def _search(client: EdrClient, topic: str, route: str, deadline: Deadline, use: str) -> Finding:
    try:
        total = search(client, route, None, deadline, rows=0).total
    except SourceError as exc:
        return Finding(topic, False, f"{exc} {use}")
    if not total:
        return Finding(topic, False, f"Allowed, but it finds nothing at all: the token's user may see no group. {use}")
    return Finding(topic, True, f"Allowed; {total} documents.")


def _sha256(version: Optional[ServerVersion]) -> Finding:
    if version is None:
        return Finding("sha256", None, "Not known without the version.")
    if version.sha256:
        return Finding("sha256", True, "Files can be searched by SHA-256.")
    return Finding(
        "sha256", False, f"Version {version} searches by MD5 alone; SHA-256 needs 6.3. Map the MD5 of alerts."
    )


def _clock(info: Optional[Answer], began: datetime, ended: datetime) -> Finding:
    """Compare clocks; the server wrote its time somewhere between our question and its answer."""
    if info is None or info.served_at is None:
        return Finding("clock", None, "The server did not tell its time.")
    skew = info.served_at - min(max(info.served_at, began), ended)
    seconds = abs(round(skew.total_seconds()))
    if abs(skew) <= _SKEW:
        return Finding("clock", True, f"The server's clock and ours differ by {seconds} s.")
    way = "ahead of" if skew > timedelta(0) else "behind"
    text = f"The server's clock is {seconds} s {way} ours: searches by time may miss. Set both by NTP."
    return Finding("clock", False, text)
