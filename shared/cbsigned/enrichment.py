"""Alerts in, enrichments out: reads, asks for each distinct observable once, and concludes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet
from cbsigned.binary import Signature, SigningStatus
from cbsigned.gaps import Gap
from cbsigned.lineage import Lineage

__all__ = ["Enrichment", "Subject", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Our conclusion on one subject, always with its reason.

    Attributes:
        status: The signing status it rests on.
        text: The conclusion in a few words: `signed`, `signed, not valid`, `unsigned`, `unknown`.
        reason: One sentence.
        notes: What else an analyst must know: an unsigned ancestor, an alert that claims otherwise.
    """

    status: SigningStatus
    text: str
    reason: str
    notes: tuple[str, ...] = ()


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
