"""Is it signed: asks a source for many hashes at once and says of each what is known, or why nothing is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Optional, Protocol, Union

from cbsigned.binary import BinaryRecord, Certainty, Evidence, Signature, read_signature, unknown_signature
from cbsigned.cache import TieredCache
from cbsigned.errors import SourceError
from cbsigned.gaps import Cause
from cbsigned.observables import printable, read_hashes
from cbsigned.status import SigningStatus
from cbsigned.timing import Deadline, utc_now

__all__ = ["BinaryAnswers", "BinarySource", "JointSource", "Life", "joint_statuses", "not_a_hash", "signing_statuses"]

log = logging.getLogger(__name__)

BinaryAnswers = Mapping[str, Union[tuple[BinaryRecord, ...], SourceError]]
"""For every hash asked: its records, `()` where the source has none, or why it could not answer."""


class BinarySource(Protocol):
    """Where binary records are read."""

    @property
    def name(self) -> str:
        """Who it is, for evidence and cache keys: `edr:cb.example.test`."""

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        """Return an answer for every hash asked; a failure is a value, never an exception.

        Args:
            hashes: Distinct, lower-case MD5 or SHA-256, any number; the source makes its own batches.
            deadline: Nothing is waited for beyond it.
        """


class JointSource(Protocol):
    """Where the joint query of 2017 can be asked, for tokens that may only search processes."""

    @property
    def name(self) -> str:
        """Who it is."""

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every (md5, program name) whether `process_md5:<md5> digsig_prog_name:<name>` finds anything."""


@dataclass(frozen=True)
class Life:
    """How long answers are kept, in seconds; failures never are.

    Attributes:
        signed_s: A record with one of the eight statuses.
        unknown_s: Not found, not evaluated, contradiction, joint miss: may change soon, because a raw event
            becomes searchable up to about 15 minutes later.
        process_s: A process document.
    """

    signed_s: float = 7 * 86_400.0
    unknown_s: float = 600.0
    process_s: float = 3_600.0


def signing_statuses(
    source: BinarySource,
    hashes: Iterable[str],
    deadline: Deadline,
    *,
    cache: Optional[TieredCache[Signature]] = None,
    life: Optional[Life] = None,
) -> dict[str, Signature]:
    """Return the signing status of each distinct hash, read from binary records.

    Each hash is asked at most once, all of them in one call of the source. A hash without a record, and one that
    could not be asked, is *Unknown* with its own reason; it is never *Unsigned*.

    Args:
        source: Where binary records are read.
        hashes: Lower-case MD5 or SHA-256; repeats cost nothing.
        deadline: Nothing is waited for beyond it.
        cache: Where answers are kept.
        life: For how long.
    """
    life = life or Life()
    prefix = f"signature|{source.name}|"
    keys = {file_hash: prefix + file_hash for file_hash in hashes}
    found = _cached(cache, keys)
    missing = [file_hash for file_hash in keys if file_hash not in found]
    if missing:
        answers: BinaryAnswers
        try:
            answers = source.binaries(missing, deadline)
        except SourceError as exc:  # a source should return it as a value; nothing may be lost where it does not
            answers = dict.fromkeys(missing, exc)
        read_at = utc_now()
        fresh = {}
        for file_hash in missing:
            answer = answers.get(file_hash, ())
            if isinstance(answer, SourceError):
                fresh[file_hash] = unknown_signature(file_hash, answer.cause, str(answer))
            elif answer:
                fresh[file_hash] = read_signature(file_hash, answer, source.name, read_at)
            else:
                fresh[file_hash] = unknown_signature(
                    file_hash,
                    Cause.NOT_FOUND,
                    f"No binary record of {file_hash} in {source.name}: Unknown, not Unsigned.",
                )
        _keep(cache, keys, fresh, life)
        found.update(fresh)
        log.debug("%s: %d of %d signing statuses asked, the others cached", source.name, len(missing), len(keys))
    return found


def joint_statuses(
    source: JointSource,
    names: Mapping[str, Set[str]],
    deadline: Deadline,
    *,
    miss_is_unsigned: bool = False,
    cache: Optional[TieredCache[Signature]] = None,
    life: Optional[Life] = None,
) -> dict[str, Signature]:
    """Return what the 2017 joint query says of each MD5: *Signed* on a hit, *Unknown* on a miss.

    On real data it finds none of the signed executables (see the README); it is here for tokens that may
    only search processes.

    Args:
        source: Where processes are searched.
        names: MD5 → the process names it was seen under, 0 or more.
        deadline: Nothing is waited for beyond it.
        miss_is_unsigned: Read a miss as *Unsigned*, as in 2017. Wrong for most signed files.
        cache, life: As in `signing_statuses`.
    """
    life = life or Life()
    reading = "2017" if miss_is_unsigned else "joint"
    keys = {md5: f"{reading}|{source.name}|{md5}|{json.dumps(sorted(names[md5]))}" for md5 in names}
    found = _cached(cache, keys)
    missing = [md5 for md5 in names if md5 not in found]
    pairs = [(md5, name) for md5 in missing for name in sorted(names[md5]) if len(md5) == 32]
    hits: Mapping[tuple[str, str], Union[bool, SourceError]]
    try:
        hits = source.joint_hits(pairs, deadline) if pairs else {}
    except SourceError as exc:
        hits = dict.fromkeys(pairs, exc)
    fresh = {md5: _joint(source.name, md5, sorted(names[md5]), hits, miss_is_unsigned) for md5 in missing}
    _keep(cache, keys, fresh, life)
    found.update(fresh)
    return found


def not_a_hash(text: str) -> Signature:
    """Return *Unknown* for a text that cannot be asked for as a hash, and why."""
    shown = printable(text, 70)
    if read_hashes(text).sha1:
        reason = f"{shown} is a SHA-1, and Carbon Black cannot be asked by SHA-1. Use the MD5 or SHA-256."
        return unknown_signature("", Cause.UNSEARCHABLE, reason)
    if text and not text.strip("0"):
        return unknown_signature("", Cause.BAD_OBSERVABLE, f"{shown} is all zeros, which stands for no file.")
    reason = f"{shown} is neither an MD5 (32 hex digits) nor a SHA-256 (64), so it was not asked for."
    return unknown_signature("", Cause.BAD_OBSERVABLE, reason)


def _joint(
    source: str,
    md5: str,
    names: list[str],
    hits: Mapping[tuple[str, str], Union[bool, SourceError]],
    miss_is_unsigned: bool,
) -> Signature:
    if len(md5) != 32:
        return unknown_signature(
            md5, Cause.UNSEARCHABLE, "The joint query asks by MD5, and only a SHA-256 is known. Use strategy=binary."
        )
    if not names:
        return unknown_signature(
            md5, Cause.UNSEARCHABLE, "The joint query needs the process name, and none is known. Use strategy=binary."
        )
    answers = {name: hits.get((md5, name), False) for name in names}
    hit = next((name for name, answer in answers.items() if answer is True), None)
    failure = next((answer for answer in answers.values() if isinstance(answer, SourceError)), None)
    if hit is not None:
        status, cause = SigningStatus.SIGNED, Cause.JOINT_HIT
        reason = f'Signed: a process with this MD5 has a program name with the words of "{hit}" (joint query).'
    elif failure is not None:
        return unknown_signature(md5, failure.cause, str(failure))
    elif miss_is_unsigned:
        status, cause = SigningStatus.UNSIGNED, Cause.JOINT_MISS
        reason = "No hit of the joint query, read as Unsigned as in 2017; most signed files give no hit either."
    else:
        status, cause = SigningStatus.UNKNOWN, Cause.JOINT_MISS
        reason = "No hit of the joint query; most signed files give none, so the status is Unknown, not Unsigned."
    evidence = Evidence("joint query", source, None, utc_now(), Certainty.INFERRED)
    return Signature(md5, status, cause, reason, program_name=None, evidence=evidence)


def _cached(cache: Optional[TieredCache[Signature]], keys: Mapping[str, str]) -> dict[str, Signature]:
    if cache is None or not keys:
        return {}
    known = cache.get_many(list(keys.values()))
    return {file_hash: known[key] for file_hash, key in keys.items() if key in known}


def _keep(
    cache: Optional[TieredCache[Signature]], keys: Mapping[str, str], fresh: Mapping[str, Signature], life: Life
) -> None:
    if cache is not None:
        cache.put_many({
            keys[file_hash]: (s, life.unknown_s if s.status is SigningStatus.UNKNOWN else life.signed_s)
            for file_hash, s in fresh.items()
            if not s.cause.failed
        })  # fmt: skip
