"""Which process does an alert without a process guid mean: host, pid and time, or host, hash and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional, Protocol, Union

from cbsigned.errors import SourceError
from cbsigned.gaps import Cause, Gap
from cbsigned.observables import short_host
from cbsigned.process import Process
from cbsigned.timing import Deadline, format_time

__all__ = ["CandidateSource", "Sighting", "locate"]


@dataclass(frozen=True)
class Sighting:
    """A process as an alert without a guid describes it: enough to find it, perhaps.

    Attributes:
        started_at: When the process started, if the alert says so.
        seen_at: When it was seen running, else.
        file_hash: MD5 or SHA-256 of its image.
    """

    host: str
    pid: Optional[int] = None
    started_at: Optional[datetime] = None
    seen_at: Optional[datetime] = None
    file_hash: Optional[str] = None
    name: Optional[str] = None


class CandidateSource(Protocol):
    """Where processes are searched by host and time."""

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return for every sighting the processes on its host that started in its time window.

        The window is `started_at` ± 5 s, or the day up to `seen_at`; the source may narrow by hash or name, and
        leaves the choice to `locate`.
        """


def locate(
    source: CandidateSource, sightings: Iterable[Sighting], deadline: Deadline
) -> dict[Sighting, Union[Process, Gap]]:
    """Return the process that each sighting means, or why it cannot be told.

    With a pid, the latest process of that pid that had started by then is meant, since pids are reused. Without
    one, the hash must leave exactly one. A process of another name or hash is never meant.

    Args:
        source: Where processes are searched.
        sightings: Repeats cost nothing.
        deadline: Nothing is waited for beyond it.

    References:
        - alert-formats §1: own guid → host + pid + start time → host + hash + time window → hash only
    """
    wanted = list(dict.fromkeys(sightings))
    found: dict[Sighting, Union[Process, Gap]] = {}
    askable = []
    for sighting in wanted:
        if sighting.started_at is None and sighting.seen_at is None:
            found[sighting] = Gap(_about(sighting), Cause.NO_OBSERVABLE, "The alert has no process guid and no time.")
        elif sighting.pid is None and sighting.file_hash is None:
            found[sighting] = Gap(
                _about(sighting), Cause.NO_OBSERVABLE, "The alert has no process guid, and neither pid nor hash."
            )
        else:
            askable.append(sighting)
    answers: Mapping[Sighting, Union[tuple[Process, ...], SourceError]]
    try:
        answers = source.candidates(askable, deadline) if askable else {}
    except SourceError as exc:
        answers = dict.fromkeys(askable, exc)
    for sighting in askable:
        answer = answers.get(sighting, ())
        found[sighting] = answer.gap(_about(sighting)) if isinstance(answer, SourceError) else _choose(sighting, answer)
    return found


def _choose(sighting: Sighting, candidates: Sequence[Process]) -> Union[Process, Gap]:
    """Pick the one process that a sighting can mean."""
    fitting = [p for p in {c.guid: c for c in candidates}.values() if _fits(sighting, p)]
    if not fitting:
        return Gap(
            _about(sighting),
            Cause.NOT_FOUND,
            f"No process on {sighting.host} fits {_telling(sighting)}; it may have aged out, or the sensor missed it.",
        )
    fitting.sort(key=lambda p: p.started_at.timestamp() if p.started_at else 0.0)
    if sighting.pid is None and len(fitting) > 1:
        return Gap(
            _about(sighting),
            Cause.AMBIGUOUS,
            f"{len(fitting)} processes on {sighting.host} fit {_telling(sighting)}; add the pid or the process guid.",
        )
    return fitting[-1]


def _fits(sighting: Sighting, process: Process) -> bool:
    if process.host is not None and short_host(process.host) != short_host(sighting.host):
        return False
    if sighting.pid is not None and process.pid != sighting.pid:
        return False
    if sighting.name and process.name and process.name.lower() != sighting.name.lower():
        return False
    if sighting.file_hash is not None:
        own = process.md5 if len(sighting.file_hash) == 32 else process.sha256
        if own is not None and own != sighting.file_hash:
            return False
        if own is None and sighting.pid is None:
            return False
    return not (
        sighting.started_at is None
        and sighting.seen_at is not None
        and process.ended_at is not None
        and process.ended_at < sighting.seen_at - timedelta(minutes=5)
    )


def _about(sighting: Sighting) -> str:
    return f"lineage of {sighting.name or 'a process'} on {sighting.host}"


def _telling(sighting: Sighting) -> str:
    parts = [
        f"pid {sighting.pid}" if sighting.pid is not None else None,
        f"hash {sighting.file_hash}" if sighting.file_hash else None,
        f"start {format_time(sighting.started_at)}" if sighting.started_at else f"time {format_time(sighting.seen_at)}",
    ]
    return ", ".join(part for part in parts if part)
