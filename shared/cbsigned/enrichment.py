"""Alerts in, enrichments out: reads a window of alerts, asks for each distinct observable once, and concludes.

One window's questions go out together: its processes generation by generation, then all hashes, the ancestors'
included, in one batch. Whatever fails, every alert comes out, in order, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Optional, Union

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import Certainty, Signature, read_signature, unknown_signature
from cbsigned.cache import Cache, TieredCache
from cbsigned.chains import Chains
from cbsigned.codec import decode_process, decode_signature, encode
from cbsigned.errors import AlertError, ConfigError
from cbsigned.formats import parse_alert
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import ForeignSource, Lineage, Node, ProcessSource, lineages
from cbsigned.observables import parse_process_id, printable
from cbsigned.process import Process, filled
from cbsigned.settings import Settings
from cbsigned.sighting import Sighting, locate
from cbsigned.signing import BinarySource, JointSource, joint_statuses, signing_statuses
from cbsigned.status import SigningStatus
from cbsigned.subjects import Subject, Subjects
from cbsigned.timing import Deadline, utc_now
from cbsigned.verdict import Verdict, conclude

__all__ = [
    "Caches",
    "Enrichment",
    "Sources",
    "Subject",
    "enrich",
    "process_cache",
    "signature_cache",
    "statuses_of",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enrichment:
    """What we add to one alert.

    Attributes:
        record: The alert as it came, unchanged.
        alert: The same, read; None where it could not be read, and `gaps` says why.
        subjects: In the order in which they are shown, the acting process first.
        complete: Whether nothing is missing that a source could still tell: no failed look-up.
        gaps: Everything that is not known, with reasons.
    """

    record: Mapping[str, Any]
    alert: Optional[Alert]
    subjects: tuple[Subject, ...]
    complete: bool
    gaps: tuple[Gap, ...]
    enriched_at: datetime

    @property
    def verdict(self) -> Optional[Verdict]:
        """The first subject's verdict, or None where the alert names nothing to look up."""
        return self.subjects[0].verdict if self.subjects else None


def signature_cache(durable: Optional[Cache] = None) -> TieredCache[Signature]:
    """Return a cache of signing statuses, in memory over `durable`."""
    return TieredCache(encode, decode_signature, durable)


def process_cache(durable: Optional[Cache] = None) -> TieredCache[Process]:
    """Return a cache of processes, in memory over `durable`."""
    return TieredCache(encode, decode_process, durable)


@dataclass(frozen=True)
class Caches:
    """Where answers are kept between windows and calls; in memory unless told otherwise.

    Attributes:
        chains: Lineages of the processes in `processes`.
        subjects: What was concluded of all of them.
    """

    signatures: TieredCache[Signature] = field(default_factory=signature_cache)
    processes: TieredCache[Process] = field(default_factory=process_cache)
    chains: Chains = field(default_factory=Chains)
    subjects: Subjects = field(default_factory=Subjects)


@dataclass(frozen=True)
class Sources:
    """Who is asked; often one object in all three places.

    Attributes:
        processes: None where lineage cannot be asked.
        joint: Needed for `strategy="joint"` alone.
        caches: None asks the sources every time, as suits a store that is being written.
    """

    binaries: BinarySource
    processes: Optional[ProcessSource] = None
    joint: Optional[JointSource] = None
    caches: Optional[Caches] = None


_Given = Union[Mapping[str, Any], Alert, AlertError, tuple[Mapping[str, Any], Union[Alert, AlertError]]]


def enrich(
    alerts: Iterable[_Given],
    sources: Sources,
    settings: Optional[Settings] = None,
) -> Iterator[Enrichment]:
    """Yield the enrichment of every alert, in order, one window at a time.

    Alerts are read lazily, a window ahead. Nothing that a source does raises here: failed look-ups are gaps, and
    an alert that cannot be read is an enrichment that says why.

    Args:
        alerts: Records as platforms send them, alerts already read, or the error in place of one that cannot be; a
            record and what it was read as is a pair.
        sources: Who is asked. On Carbon Black EDR 6.x and later a window costs at most
            ⌈hashes/200⌉ + ⌈guids/200⌉ per generation + 2 requests.
        settings: Window, deadline, depth, strategy.

    References:
        - cb-edr-api §5.1 (batched binary look-up), §7 option d (one request per generation)
    """
    settings = settings or Settings()
    if settings.window < 1:
        raise ConfigError(f"window is {settings.window}: expected a whole number, 1 or more.")
    pending = iter(alerts)
    while True:
        window = list(islice(pending, settings.window))
        if not window:
            return
        yield from _Window([_read(record) for record in window], sources, settings).enrichments()


def statuses_of(
    names: Mapping[str, Set[str]], sources: Sources, settings: Settings, deadline: Deadline
) -> dict[str, Signature]:
    """Return the signing status of each hash by the strategy that the settings choose.

    Args:
        names: Lower-case MD5 or SHA-256 → process names it was seen under; the names serve the joint query alone.
    """
    cache = sources.caches.signatures if sources.caches else None
    if settings.strategy != "joint":
        return signing_statuses(sources.binaries, names, deadline, cache=cache, life=settings.life)
    if sources.joint is None:
        reason = "This source cannot be asked the joint query. Use strategy=binary."
        return {file_hash: unknown_signature(file_hash, Cause.UNSEARCHABLE, reason) for file_hash in names}
    unsigned = settings.joint_miss == "unsigned"
    return joint_statuses(sources.joint, names, deadline, miss_is_unsigned=unsigned, cache=cache, life=settings.life)


_NO_NAMES: frozenset[str] = frozenset()
_WALK_SHARE = 0.6
"""Of the deadline, what lineage may take: is it signed is the first question, and it is asked last."""

_Read = tuple[Mapping[str, Any], Optional[Alert], Optional[Gap]]


def _read(record: _Given) -> _Read:
    if isinstance(record, tuple):
        _kept, alert, gap = _read(record[1])
        return record[0], alert, gap
    if isinstance(record, Alert):
        return {}, record, None
    if isinstance(record, AlertError):
        return record.record, None, Gap("alert", record.cause, str(record))
    kept = record if isinstance(record, Mapping) else {"value": record}
    try:
        return kept, parse_alert(record), None
    except AlertError as exc:
        return kept, None, Gap("alert", exc.cause, str(exc))


class _Window:
    """One window of alerts: what is asked for them, and what is concluded."""

    def __init__(self, read: list[_Read], sources: Sources, settings: Settings) -> None:
        self.read, self.sources, self.settings = read, sources, settings
        self.deadline = Deadline(settings.deadline_s)
        self.walk_deadline = Deadline(settings.deadline_s * _WALK_SHARE)
        self.guids: dict[int, str] = {}  # both by id of the observable set: hashing whole sets is slow
        self.unlocated: dict[int, Gap] = {}
        self.chains: dict[str, Lineage] = {}
        sets = [s for _record, alert, _gap in read if alert is not None for s in alert.sets]
        if sources.processes is not None:
            self._find_processes(sets, {id(s): alert.at for _r, alert, _g in read if alert for s in alert.sets})
        self.signatures = statuses_of(self._names(sets), sources, settings, self.deadline)

    def enrichments(self) -> Iterator[Enrichment]:
        now = utc_now()
        for record, alert, problem in self.read:
            subjects = tuple([self._subject(s) for s in alert.sets]) if alert is not None else ()
            found = [problem] if problem is not None else []
            if alert is not None and alert.problems:
                found += [Gap("alert", Cause.CUT, text) for text in alert.problems]
            for subject in subjects:
                found += subject.gaps
            gaps = _each_once(found)
            yield Enrichment(record, alert, subjects, not any(g.cause.failed for g in gaps), gaps, now)

    def _find_processes(self, sets: list[ObservableSet], seen_at: Mapping[int, Optional[datetime]]) -> None:
        """Locate what has no guid, then walk all lineages together."""
        source, settings = self.sources.processes, self.settings
        if source is None:
            return
        acting = [s for s in sets if s.role in (Role.PROCESS, Role.CHILD, Role.PARENT)]
        sightings = {}
        foreign = _known(source, {s.foreign_id for s in acting if s.foreign_id is not None}, self.deadline)
        for s in acting:
            if s.process_guid is not None:
                self.guids[id(s)] = s.process_guid
            elif s.foreign_id in foreign:
                self.guids[id(s)] = s.foreign_id or ""
            elif settings.lineage and s.host is not None and s.role is Role.PROCESS:
                sightings[id(s)] = Sighting(s.host, s.pid, s.started_at, seen_at.get(id(s)), s.file_hash, s.name)
        located = locate(source, sightings.values(), self.walk_deadline) if sightings else {}
        told: dict[str, Process] = {}
        for process in (s.process for s in acting if s.process is not None):
            told[process.guid] = filled(told[process.guid], process) if process.guid in told else process
        for key, sighting in sightings.items():
            found = located[sighting]
            if isinstance(found, Gap):
                self.unlocated[key] = found
            else:
                self.guids[key] = found.guid
        wanted = [self.guids[id(s)] for s in acting if id(s) in self.guids and (settings.lineage or not s.file_hash)]
        self.chains = self._walked(source, wanted, told) if wanted else {}

    def _walked(self, source: ProcessSource, wanted: list[str], told: Mapping[str, Process]) -> dict[str, Lineage]:
        settings, caches, life_s = self.settings, self.sources.caches, self.settings.life.process_s
        max_depth, relatives = (settings.max_depth, settings.relatives) if settings.lineage else (0, 0)
        if caches is None or relatives > 0:
            kept = caches.processes if caches else None
            return lineages(
                source, wanted, self.walk_deadline, max_depth=max_depth, relatives=relatives, told=told, cache=kept,
                cache_life_s=life_s,
            )  # fmt: skip
        return caches.chains.lineages(
            source, wanted, self.walk_deadline, caches.processes, max_depth=max_depth, told=told, cache_life_s=life_s
        )

    def _names(self, sets: Iterable[ObservableSet]) -> Mapping[str, Set[str]]:
        """Return every hash to ask for, with the names it was seen under where somebody asks by them."""
        if self.settings.strategy != "joint":
            own = [s.file_hash for s in sets if s.file_hash is not None]
            return dict.fromkeys([*own, *(h for chain in self.chains.values() for h in chain.hashes)], _NO_NAMES)
        names: dict[str, set[str]] = {}
        for s in sets:
            if s.file_hash is not None:
                names.setdefault(s.file_hash, set()).update([s.name.lower()] if s.name else [])
        for chain in self.chains.values():
            for process in chain.processes():
                if process.file_hash is not None:
                    names.setdefault(process.file_hash, set()).update([process.name] if process.name else [])
        return names

    def _subject(self, observables: ObservableSet) -> Subject:
        """Return what is concluded of one set; the same object for the same words of an alert and the same answers."""
        chain, caches = self.chains.get(self.guids.get(id(observables), "")), self.sources.caches
        if caches is None or id(observables) in self.unlocated:
            return self._concluded(observables, chain)
        own = self.signatures.get(observables.file_hash or "")
        others = [self.signatures[h] for h in chain.hashes] if chain is not None else []
        made_of = (chain, own, self.settings.lineage, self.sources.processes is None, *others)
        found = caches.subjects.get(observables, made_of)
        if found is None:
            found = self._concluded(observables, chain)
            caches.subjects.put(made_of, found)
        return found

    def _concluded(self, observables: ObservableSet, chain: Optional[Lineage]) -> Subject:
        signature = self._signature(observables, chain.nodes[0] if chain is not None else None)
        signatures = {h: self.signatures[h] for h in chain.hashes} if chain is not None else {}
        if signature.hash:
            signatures[signature.hash] = signature
        shown = chain if self.settings.lineage else None
        gaps = self._gaps(observables, signature, shown)
        return Subject(
            observables, signature, conclude(signature, observables, shown, signatures), shown, signatures, gaps
        )

    def _signature(self, observables: ObservableSet, own: Optional[Node]) -> Signature:
        file_hash = observables.file_hash or (own.process.file_hash if own is not None else None)
        unlocated = self.unlocated.get(id(observables))
        signature = self.signatures[file_hash] if file_hash else _nothing_to_ask(observables, own, unlocated)
        if signature.cause in _SILENT and observables.claimed is not None:
            return _claim(signature, observables) or signature
        return signature

    def _gaps(self, observables: ObservableSet, signature: Signature, chain: Optional[Lineage]) -> tuple[Gap, ...]:
        about = f"{observables.role.value} {_label(observables)}" if observables.problems else ""
        gaps = [Gap(about, Cause.BAD_OBSERVABLE, text) for text in observables.problems]
        asked = self.signatures.get(observables.file_hash or "", signature)
        if asked.status is SigningStatus.UNKNOWN:
            gaps.append(Gap(f"signing status of {_label(observables)}", asked.cause, asked.reason))
        if id(observables) in self.unlocated:
            gaps.append(self.unlocated[id(observables)])
        elif self.settings.lineage and chain is None and observables.role is Role.PROCESS:
            reason = _no_lineage(observables, self.sources)
            gaps.append(Gap(f"lineage of {_label(observables)}", Cause.NO_OBSERVABLE, reason))
        if chain is not None:
            gaps += chain.node_gaps
            gaps += [self._node_gap(p) for p in chain.ancestors() if self._node_failed(p)]
            gaps += [part.gap for part in (chain.children, chain.siblings) if part is not None and part.gap]
        return _each_once(gaps)

    def _node_failed(self, process: Process) -> bool:
        return process.file_hash is not None and self.signatures[process.file_hash].cause.failed

    def _node_gap(self, process: Process) -> Gap:
        signature = self.signatures[process.file_hash or ""]
        return Gap(f"signing status of {process.name or process.guid}", signature.cause, signature.reason)


def _each_once(gaps: list[Gap]) -> tuple[Gap, ...]:
    return tuple(dict.fromkeys(gaps)) if len(gaps) > 1 else tuple(gaps)


def _label(observables: ObservableSet) -> str:
    """Return what a gap calls a process or file."""
    return printable(observables.name or observables.process_guid or observables.role.value, 80)[1:-1]


def _known(source: ProcessSource, ids: set[str], deadline: Deadline) -> frozenset[str]:
    """Return which of other products' process ids the source has; one that cannot have any is not asked."""
    askable = sorted(found for found in ids if parse_process_id(found) == found)
    return source.known(askable, deadline) if askable and isinstance(source, ForeignSource) else frozenset()


_SILENT = (Cause.NOT_FOUND, Cause.NO_OBSERVABLE, Cause.UNSEARCHABLE, Cause.JOINT_MISS)
"""Where the source says nothing, an alert's own claim may stand; where it failed or is undecided, none may."""


def _nothing_to_ask(observables: ObservableSet, own: Optional[Node], unlocated: Optional[Gap]) -> Signature:
    """Return *Unknown* for a subject without a hash, and why it has none."""
    if observables.problems:
        return unknown_signature("", Cause.BAD_OBSERVABLE, " ".join(observables.problems))
    if observables.sha1 is not None:
        reason = "Only a SHA-1 is known, and Carbon Black cannot be asked by SHA-1. Send the MD5 or SHA-256."
        return unknown_signature("", Cause.UNSEARCHABLE, reason)
    if own is not None and own.gap is not None and own.gap.cause is not Cause.START_NOT_RECORDED:
        reason = f"The hash of its image is not known, because its process is not: {own.gap.reason}"
        return unknown_signature("", own.gap.cause, reason)
    if unlocated is not None:
        return unknown_signature("", unlocated.cause, f"The alert has no hash of this file. {unlocated.reason}")
    if own is not None:
        reason = (
            f"No record of process {own.process.guid} has the hash of its image, so its signature cannot be looked up."
        )
        return unknown_signature("", Cause.NO_OBSERVABLE, reason)
    if observables.foreign_id is not None:
        reason = "The alert has no hash, and its process id is not one of Carbon Black's."
        return unknown_signature("", Cause.NO_OBSERVABLE, reason)
    return unknown_signature("", Cause.NO_OBSERVABLE, "The alert has no hash of this file.")


def _claim(signature: Signature, observables: ObservableSet) -> Optional[Signature]:
    """Return what the alert itself says, marked as its claim, or None where it names no status."""
    if observables.claimed is None:
        return None
    claim = read_signature(signature.hash, [observables.claimed], "alert", utc_now())
    if claim.status is SigningStatus.UNKNOWN or claim.evidence is None:
        return None
    evidence = replace(claim.evidence, certainty=Certainty.CLAIMED)
    reason = f"The alert itself says {claim.status.value}; no record confirms it. {signature.reason}"
    return replace(claim, cause=Cause.CLAIM, reason=reason, evidence=evidence)


def _no_lineage(observables: ObservableSet, sources: Sources) -> str:
    if sources.processes is None:
        return "No source of processes is configured."
    if observables.host is None and observables.foreign_id is not None:
        return (
            "The alert's process id is not one of Carbon Black's, and it names no host, so the process cannot be found."
        )
    if observables.host is None:
        return "The alert names neither a process guid nor a host, so the process cannot be found."
    return "The alert has no process guid of Carbon Black's, and not enough else to find the process."
