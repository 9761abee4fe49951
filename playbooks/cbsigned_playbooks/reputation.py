"""Which reputation a signing status gives a file, for platforms that want one: the policy, apart from the platforms.

A signature says who made a file, not that it does no harm, so *Signed* alone is no *Good*, and *Unsigned* is no *Bad*.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cbsigned.binary import Certainty
from cbsigned.status import SigningStatus, parse_result_code

__all__ = ["Reputation", "Score", "publishers_of", "reputation"]

_SUSPICIOUS = {
    SigningStatus.BAD_SIGNATURE: "the file was changed after it was signed",
    SigningStatus.INVALID_SIGNATURE: "its signature cannot be used",
    SigningStatus.EXPLICIT_DISTRUST: "its publisher is distrusted on the host",
}
_REVOKED = (0x800B010C, 0x80092010)
_FIRM = (Certainty.CONFIRMED.value, Certainty.STATED.value)


class Score(IntEnum):
    """What a signature can give, as XSOAR's DBot scores; 3, *Bad*, is none of them."""

    UNKNOWN = 0
    GOOD = 1
    SUSPICIOUS = 2


@dataclass(frozen=True)
class Reputation:
    """A score, and why as a sentence."""

    score: Score
    reason: str


def publishers_of(text: object) -> frozenset[str]:
    """Return the publishers that a configuration lists, one a line, since their names have commas."""
    lines = str(text or "").splitlines()
    return frozenset(_folded(line) for line in lines if line.strip())


def reputation(row: Mapping[str, Any], trusted: Collection[str] = frozenset()) -> Reputation:
    """Return the reputation of one file.

    1 only where the EDR's record says *Signed*, nothing contradicts it, and the configuration names its publisher. 2
    where the signature itself speaks against the file: changed afterwards, unusable, distrusted or revoked. 0 for all
    else, *Unsigned*, *Expired* and an incomplete chain among it: most such files are harmless.

    Args:
        row: With `status`, and where they are known `publisher` and `evidence`: of the action `signing_status`.
        trusted: From `publishers_of`.

    References:
        - soar-platforms §3, DBot scores; behaviour §2.2, result codes of revocation
    """
    status, evidence = SigningStatus(row["status"]), row.get("evidence") or {}
    if parse_result_code(evidence.get("code")) in _REVOKED:
        return Reputation(Score.SUSPICIOUS, "Suspicious: the certificate is revoked.")
    if status in _SUSPICIOUS:
        return Reputation(Score.SUSPICIOUS, f"Suspicious: {_SUSPICIOUS[status]}.")
    if status is not SigningStatus.SIGNED:
        return Reputation(Score.UNKNOWN, f"No reputation: {status.value} says neither good nor bad.")
    if evidence.get("certainty") in _FIRM and _folded(row.get("publisher") or "") in trusted:
        return Reputation(Score.GOOD, "Good: the configuration names its publisher as trusted.")
    return Reputation(Score.UNKNOWN, "No reputation: Signed says who made it, not that it does no harm.")


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
