"""Why something is not known: one closed list of causes, and the gap that carries one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Cause", "Gap"]


class Cause(str, Enum):
    """Where an answer came from, or why there is none; the machine-readable half of every reason.

    The first five are answers, the others are ways of not knowing. None of them means
    *Unsigned*: that is a `SigningStatus` and needs a record.
    """

    RECORD = "record"
    """A binary record of the source says so."""
    CLAIM = "claim"
    """Only the alert itself says so; the source knows nothing."""
    JOINT_HIT = "joint hit"
    """The 2017 joint query found the hash together with the program name."""
    JOINT_MISS = "joint miss"
    """The 2017 joint query found nothing, which proves nothing."""
    NOT_EVALUATED = "not evaluated"
    """There is a record, and it says that no sensor checked the signature."""

    UNKNOWN_WORD = "unknown word"
    """There is a record, with a status word or result code that we do not know."""
    CONTRADICTION = "contradiction"
    """There are records, and they disagree."""
    NO_OBSERVABLE = "no observable"
    """There is nothing to look up."""
    BAD_OBSERVABLE = "bad observable"
    """There is something to look up, and it is malformed."""
    UNSEARCHABLE = "unsearchable"
    """The observable is sound, but the source cannot be asked by it."""
    NOT_FOUND = "not found"
    """The source answered, and has no such record."""
    AMBIGUOUS = "ambiguous"
    """Several records fit, and nothing tells them apart."""
    START_NOT_RECORDED = "start not recorded"
    """The process is known from other events only; its start was never recorded."""
    REFUSED = "refused"
    """The source refused the credentials or the right is missing (401, 403)."""
    BLOCKED = "query blocked"
    """The source refused this query: policy or syntax (400)."""
    TIMEOUT = "timeout"
    """No whole answer before the deadline."""
    RATE_LIMITED = "rate limited"
    """The source asked us to slow down (429) for longer than the deadline allows."""
    UNAVAILABLE = "unavailable"
    """No answer: connection failed, 5xx, or the circuit breaker is open."""
    UNREADABLE = "unreadable"
    """An answer that is not what the source sends: HTML, cut-off JSON, wrong shape."""
    CUT = "cut"
    """There are more than were asked for; ask for more to see them."""
    NOT_ASKED = "not asked"
    """The question was not put: the deadline was spent, or a limit was reached."""

    __hash__ = str.__hash__
    # Enum's own is written in Python, and every alert asks for some

    @property
    def failed(self) -> bool:
        """Whether a look-up failed, so that asking again may give an answer; such answers are never kept."""
        return self in _FAILURES


_FAILURES = frozenset(
    {
        Cause.REFUSED,
        Cause.BLOCKED,
        Cause.TIMEOUT,
        Cause.RATE_LIMITED,
        Cause.UNAVAILABLE,
        Cause.UNREADABLE,
        Cause.NOT_ASKED,
    }
)


@dataclass(frozen=True)
class Gap:
    """One thing that is not known, and why.

    Attributes:
        about: What is missing, in the field's words: `signing status of 0f34…`, `alert 17`.
        cause: Machine-readable reason.
        reason: One sentence for the person who is paged: what happened, why, what to do.
    """

    about: str
    cause: Cause
    reason: str
