"""Where did it come from: processes and their ancestors, for many processes at once.

One request per generation, not per process: all parents that a generation names are asked for together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from functools import cached_property
from typing import Optional, Protocol, Union, runtime_checkable

from cbsigned.cache import TieredCache
from cbsigned.errors import NotFound, ProcessNotFound, SourceError
from cbsigned.gaps import Cause, Gap
from cbsigned.process import Process, parent_of, process_of_guid
from cbsigned.sighting import CandidateSource, Sighting
from cbsigned.timing import Deadline, format_time

__all__ = [
    "EndedBy",
    "ForeignSource",
    "Lineage",
    "Node",
    "ProcessAnswers",
    "ProcessSource",
    "Relatives",
    "Sighting",
    "lineages",
    "process_key",
]

ProcessAnswers = Mapping[str, Union[Process, SourceError]]
"""For every guid asked: the process, `ProcessNotFound`, or why the source could not answer."""

_CLOCK_SLACK = timedelta(seconds=2)


@dataclass(frozen=True)
class Relatives:
    """Children or siblings, oldest first, and whether these are all.

    Attributes:
        total: How many there are as far as the source tells.
        gap: Why some are missing, or None where all are here.
    """

    nodes: tuple[Process, ...]
    total: int
    gap: Optional[Gap] = None


class ProcessSource(CandidateSource, Protocol):
    """Where processes are read."""

    @property
    def name(self) -> str:
        """Who it is, for evidence and cache keys."""

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        """Return an answer for every guid asked; a failure is a value, never an exception.

        Args:
            guids: Distinct, any number; the source makes its own batches.
            deadline: Nothing is waited for beyond it.
        """

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return for every guid its children, at most `limit` of each, with the total and a gap where some are cut."""


@runtime_checkable
class ForeignSource(Protocol):
    """A source that also has processes of other products, under ids of theirs; Carbon Black is none."""

    def known(self, guids: Sequence[str], deadline: Deadline) -> frozenset[str]:
        """Return which of these ids it has a process for; a failure is none."""


class EndedBy(str, Enum):
    """Why a lineage ends where it does."""

    ROOT = "root"
    UNKNOWN_PARENT = "parent unknown to the sensor"
    NO_PARENT = "no parent recorded"
    START_NOT_RECORDED = "start not recorded"
    NOT_FOUND = "not found"
    MAX_DEPTH = "depth limit"
    LOOP = "loop"
    REUSED_PID = "reused pid"
    SUPPRESSED = "suppressed"
    SOURCE_FAILED = "source failed"


@dataclass(frozen=True)
class Node:
    """One process of a lineage.

    Attributes:
        depth: 0 for the process itself, 1 for its parent, and so on.
        gap: What the source did not record of this process, or None.
    """

    process: Process
    depth: int
    gap: Optional[Gap] = None


@dataclass(frozen=True)
class Lineage:
    """A process and its ancestors, newest first, and why the walk ended.

    Attributes:
        nodes: 1 or more; `nodes[0]` is the process.
        reason: `ended_by` as a sentence.
        children, siblings: None where they were not asked for.
    """

    nodes: tuple[Node, ...]
    ended_by: EndedBy
    reason: str
    children: Optional[Relatives] = None
    siblings: Optional[Relatives] = None

    def ancestors(self) -> list[Process]:
        """Return the ancestors, nearest first."""
        return [node.process for node in self.nodes[1:]]

    def processes(self) -> list[Process]:
        """Return every process that is shown: the chain, then children and siblings."""
        others = [p for part in (self.children, self.siblings) if part is not None for p in part.nodes]
        return [node.process for node in self.nodes] + others

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Hash of every file that is shown, each once, sorted."""
        return tuple(sorted({process.file_hash for process in self.processes() if process.file_hash}))

    @cached_property
    def node_gaps(self) -> tuple[Gap, ...]:
        """What was not recorded of the nodes."""
        return tuple(node.gap for node in self.nodes if node.gap)

    @property
    def whole(self) -> bool:
        """Whether the walk reached a root and every node is recorded."""
        return self.ended_by is EndedBy.ROOT and not any(node.gap for node in self.nodes)


def lineages(
    source: ProcessSource,
    guids: Iterable[str],
    deadline: Deadline,
    *,
    max_depth: int = 16,
    relatives: int = 0,
    told: Optional[Mapping[str, Process]] = None,
    cache: Optional[TieredCache[Process]] = None,
    cache_life_s: float = 3600.0,
) -> dict[str, Lineage]:
    """Return each process with its ancestors, newest first.

    Every guid asked gets a lineage. Where the source does not know a process, the node is made of what its
    child's record, the alert or the guid itself tells, and carries the gap; so a short chain is never taken for
    a whole one.

    Args:
        source: Where processes are read; asked once per generation for all guids together.
        guids: Process guids; repeats cost nothing.
        deadline: Nothing is waited for beyond it.
        max_depth: Most ancestors to follow, 0 or more; the process itself is not counted.
        relatives: Most children and siblings to add to each, 0 for none; one more request for each.
        told: What alerts say of these processes; used only where the source does not know one.
        cache: Where processes are kept between calls, for `cache_life_s` seconds.

    References:
        - cb-edr-api §7: options and cost; §2.5: unknown parents
    """
    wanted = list(dict.fromkeys(guids))
    known: dict[str, Union[Process, SourceError]] = {}
    generation: set[str] = set(wanted)
    for depth in range(max_depth + 1):
        _ask(source, sorted(generation), deadline, known, cache, cache_life_s)
        if depth == max_depth:
            break
        parents = set()
        for guid in generation:
            child = _best(known[guid], guid, told)
            if child is not None and child.parent_guid is not None and child.parent_guid not in known:
                parents.add(child.parent_guid)
        if not parents:
            break
        generation = parents
    chains = {guid: _chain(guid, known, told or {}, max_depth, source.name) for guid in wanted}
    return _with_relatives(source, chains, relatives, deadline) if relatives > 0 else chains


def process_key(source: str, guid: str) -> str:
    """Return the name under which a cache has a source's process."""
    return f"process|{source}|{guid}"


def _ask(
    source: ProcessSource,
    guids: Sequence[str],
    deadline: Deadline,
    known: dict[str, Union[Process, SourceError]],
    cache: Optional[TieredCache[Process]],
    cache_life_s: float,
) -> None:
    """Read the processes of one generation into `known`; every guid gets an entry."""
    keys = {guid: process_key(source.name, guid) for guid in guids}
    cached = cache.get_many(list(keys.values())) if cache is not None and keys else {}
    known.update({guid: cached[key] for guid, key in keys.items() if key in cached})
    missing = [guid for guid in guids if guid not in known]
    if not missing:
        return
    answers: ProcessAnswers
    try:
        answers = source.processes(missing, deadline)
    except SourceError as exc:  # a source should return it as a value; nothing may be lost where it does not
        answers = dict.fromkeys(missing, exc)
    for guid in missing:
        known[guid] = answers.get(guid) or ProcessNotFound(_not_found(guid, source.name))
    if cache is not None:
        fresh = {guid: known[guid] for guid in missing}
        cache.put_many({keys[g]: (p, cache_life_s) for g, p in fresh.items() if isinstance(p, Process)})


def _best(answer: Union[Process, SourceError], guid: str, told: Optional[Mapping[str, Process]]) -> Optional[Process]:
    """Return the source's process, filled up or replaced by what an alert tells."""
    claim = (told or {}).get(guid)
    if isinstance(answer, SourceError):
        return claim
    if claim is not None and not answer.start_recorded and answer.parent_guid is None and claim.parent_guid is not None:
        return replace(answer, parent_guid=claim.parent_guid, parent_name=answer.parent_name or claim.parent_name)
    return answer


def _chain(
    guid: str,
    known: Mapping[str, Union[Process, SourceError]],
    told: Mapping[str, Process],
    max_depth: int,
    source: str,
) -> Lineage:
    """Walk the known processes from one guid upwards and say why the walk ended."""
    nodes: list[Node] = []
    seen: set[str] = set()
    current: str = guid
    child: Optional[Process] = None
    while True:
        answer = known.get(current)
        process = _best(answer, current, told) if answer is not None else None
        nodes.append(_node(current, answer, process, child, len(nodes), source))
        seen.add(current)
        here = nodes[-1].process
        if isinstance(answer, SourceError) and (process is None or process.parent_guid is None):
            ended = EndedBy.NOT_FOUND if isinstance(answer, NotFound) else EndedBy.SOURCE_FAILED
            return Lineage(tuple(nodes), ended, str(answer))
        parent = here.parent_guid
        if parent is None:
            return Lineage(tuple(nodes), *_end_without_parent(here))
        label = _label(here)
        if parent in seen:
            return Lineage(
                tuple(nodes), EndedBy.LOOP, f"{label} names {parent} as its parent, which is below it already: a loop."
            )
        above = known.get(parent)
        started = above.started_at if isinstance(above, Process) else process_of_guid(parent).started_at
        if started is not None and here.started_at is not None and started > here.started_at + _CLOCK_SLACK:
            return Lineage(
                tuple(nodes),
                EndedBy.REUSED_PID,
                f"{label} names {parent} as its parent, which started later "
                f"({format_time(started)}): its pid was reused, so the true parent is not known.",
            )
        if len(nodes) > max_depth:
            return Lineage(
                tuple(nodes), EndedBy.MAX_DEPTH, f"Depth limit of {max_depth} ancestors reached; {label} has a parent."
            )
        child, current = here, parent


def _node(
    guid: str,
    answer: Union[Process, SourceError, None],
    process: Optional[Process],
    child: Optional[Process],
    depth: int,
    source: str,
) -> Node:
    about = f"process {guid}"
    if process is None:
        by_child = parent_of(child) if child is not None else None
        error = answer if isinstance(answer, SourceError) else ProcessNotFound(_not_found(guid, source))
        return Node(by_child or process_of_guid(guid), depth, error.gap(about))
    if isinstance(answer, SourceError):
        gap = Gap(about, answer.cause, f"{answer} What is shown is the alert's own word.")
        return Node(process, depth, gap)
    if child is not None and (process.name is None or process.pid is None or process.host is None):
        process = _completed(process, parent_of(child))
    if process.suppressed:
        return Node(process, depth, Gap(about, Cause.NOT_FOUND, "The sensor folded this process into its parent."))
    if not process.start_recorded:
        reason = f"Start not recorded: {_label(process)} is known from other events only; none tells how it began."
        return Node(process, depth, Gap(about, Cause.START_NOT_RECORDED, reason))
    return Node(process, depth)


def _completed(process: Process, by_child: Optional[Process]) -> Process:
    """Return a process with what its record lacks and its child's record tells of it."""
    if by_child is None:
        return process
    return replace(
        process, name=process.name or by_child.name, pid=by_child.pid if process.pid is None else process.pid,
        host=process.host or by_child.host,
    )  # fmt: skip


def _end_without_parent(process: Process) -> tuple[EndedBy, str]:
    label = _label(process)
    if process.pid in ((0, 4) if process.os_type in (None, "windows") else (0, 1)):
        return EndedBy.ROOT, f"{label} is the system's first process."
    if process.parent_unknown:
        return EndedBy.UNKNOWN_PARENT, f"The sensor never knew the parent of {label}."
    if not process.start_recorded:
        return EndedBy.START_NOT_RECORDED, f"The start of {label} was not recorded, and with it its parent."
    if process.suppressed:
        return EndedBy.SUPPRESSED, f"{label} was folded into its parent by the sensor."
    return EndedBy.NO_PARENT, f"The record of {label} names no parent."


def _with_relatives(
    source: ProcessSource, chains: Mapping[str, Lineage], limit: int, deadline: Deadline
) -> dict[str, Lineage]:
    """Add children and siblings to each lineage; a failure becomes a gap."""
    parents = {guid: chain.nodes[0].process.parent_guid for guid, chain in chains.items()}
    asked = sorted(set(chains) | {parent for parent in parents.values() if parent is not None})
    answers: Mapping[str, Union[Relatives, SourceError]]
    try:
        answers = source.children(asked, limit + 1, deadline)
    except SourceError as exc:
        answers = dict.fromkeys(asked, exc)
    extended = {}
    for guid, chain in chains.items():
        parent = parents[guid]
        siblings = (
            Relatives((), 0, Gap(f"siblings of {guid}", Cause.NO_OBSERVABLE, "Its parent is not known."))
            if parent is None
            else _relatives(answers.get(parent), f"siblings of {guid}", limit, guid)
        )
        children = _relatives(answers.get(guid), f"children of {guid}", limit)
        extended[guid] = replace(chain, children=children, siblings=siblings)
    return extended


def _relatives(
    answer: Union[Relatives, SourceError, None], about: str, limit: int, without: Optional[str] = None
) -> Relatives:
    if answer is None:
        return Relatives((), 0, Gap(about, Cause.NOT_ASKED, "The source gave no answer."))
    if isinstance(answer, SourceError):
        return Relatives((), 0, answer.gap(about))
    nodes = tuple(node for node in answer.nodes if node.guid != without)
    total = max(answer.total - (1 if without else 0), len(nodes))
    nodes = nodes[:limit]
    gap = answer.gap if answer.gap and (len(nodes) < total or total == 0) else None
    if len(nodes) < total and (gap is None or gap.cause is Cause.CUT):
        gap = Gap(about, Cause.CUT, f"{len(nodes)} of {total} shown; ask for {total} to see all.")
    return Relatives(nodes, total, gap)


def _label(process: Process) -> str:
    if process.name is None:
        return "a process" if process.pid is None else f"the process with pid {process.pid}"
    return process.name if process.pid is None else f"{process.name} (pid {process.pid})"


def _not_found(guid: str, source: str) -> str:
    return f"Process {guid} is unknown to {source}: it was not recorded there, or has aged out."
