"""What was found out about one process or file of an alert, kept for the next alert that says the same of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Optional

from cbsigned.alert import ObservableSet
from cbsigned.binary import Signature
from cbsigned.gaps import Gap
from cbsigned.lineage import Lineage
from cbsigned.verdict import Verdict

__all__ = ["Subject", "Subjects"]

_MOST_CHARS = 4096


@dataclass(frozen=True)
class Subject:
    """One process or file of an alert with everything found out about it.

    Attributes:
        signature: Of its image; always there, *Unknown* with a reason where nothing is known.
        lineage: None where there is no process, or lineage was not asked for.
        signatures: Signing status of every file in the lineage by hash, the subject's own included.
    """

    observables: ObservableSet
    signature: Signature
    verdict: Verdict
    lineage: Optional[Lineage]
    signatures: Mapping[str, Signature]
    gaps: tuple[Gap, ...] = ()


class Subjects:
    """Subjects by what alerts say of them; one stands for as long as it is made of the very same answers.

    Kept are those whose alert says nothing wrong, claims nothing, and is short, where no look-up failed.

    Args:
        most: How many are kept; the oldest go first.
    """

    def __init__(self, most: int = 5_000) -> None:
        self._most = most
        self._kept: dict[ObservableSet, tuple[Sequence[object], Subject]] = {}
        self._lock = threading.Lock()

    def get(self, observables: ObservableSet, made_of: Sequence[object]) -> Optional[Subject]:
        """Return what was concluded of these observables, where it was made of these objects and no others."""
        if observables.claimed is not None or observables.problems:
            return None
        kept = self._kept.get(observables)
        if kept is None or len(kept[0]) != len(made_of) or not all(map(is_, kept[0], made_of)):
            return None
        return kept[1]

    def put(self, made_of: Sequence[object], subject: Subject) -> None:
        """Keep a subject, unless it is one of those that are not."""
        told = subject.observables
        if told.claimed is not None or told.problems or any(gap.cause.failed for gap in subject.gaps):
            return
        if sum(len(value) for value in vars(told).values() if isinstance(value, str)) > _MOST_CHARS or told.origins:
            return
        with self._lock:
            self._kept.pop(told, None)
            self._kept[told] = (made_of, subject)
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
