"""Everything cbsigned raises on purpose.

::

    CbSignedError
    ├── ConfigError              a setting is missing or cannot be used
    ├── AlertError               the alert lacks what we need, or is malformed
    └── SourceError              the source could not answer; sources add finer classes of their own below these
        ├── SourceAuthError          refused: 401, 403
        ├── SourceQueryError         this query refused: 400 (policy or syntax)
        ├── SourceUnavailable        no answer: connection, 5xx, breaker open    (worth a retry)
        │   ├── SourceTimeout            no whole answer before the deadline
        │   └── SourceBusy               429, and Retry-After is past the deadline
        ├── SourceResponseError      an answer we cannot read
        └── NotFound                 ProcessNotFound, BinaryNotFound

A `SourceError` is also a value: where many observables are asked at once, the ones that
could not be answered map to the error, and the others to their answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Optional

from cbsigned.gaps import Cause, Gap

__all__ = [
    "AlertError",
    "BinaryNotFound",
    "CbSignedError",
    "ConfigError",
    "NotFound",
    "ProcessNotFound",
    "SourceAuthError",
    "SourceBusy",
    "SourceError",
    "SourceQueryError",
    "SourceResponseError",
    "SourceTimeout",
    "SourceUnavailable",
]


class CbSignedError(Exception):
    """Base of all; its text says what happened, why, and what to do."""


class ConfigError(CbSignedError):
    """A setting is missing or cannot be used."""


class AlertError(CbSignedError):
    """The alert lacks what we need, or is malformed.

    Attributes:
        cause: `Cause.NO_OBSERVABLE`, `BAD_OBSERVABLE`, or `UNREADABLE` where alerts are missing.
        record: What was there instead of an alert, as far as it could be read; given back in place of it.
    """

    def __init__(
        self, message: str, cause: Cause = Cause.BAD_OBSERVABLE, record: Optional[Mapping[str, Any]] = None
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.record = dict(record or {})


class SourceError(CbSignedError):
    """The source could not answer; `cause` says how, for machines."""

    cause: ClassVar[Cause] = Cause.UNAVAILABLE

    def gap(self, about: str) -> Gap:
        """Return this failure as the gap it leaves."""
        return Gap(about, self.cause, str(self))


class SourceAuthError(SourceError):
    """The source refused the credentials, or the right is missing."""

    cause = Cause.REFUSED


class SourceQueryError(SourceError):
    """The source refused this query, by policy or for its syntax."""

    cause = Cause.BLOCKED


class SourceUnavailable(SourceError):
    """No answer; the same question may work later."""

    cause = Cause.UNAVAILABLE


class SourceTimeout(SourceUnavailable):
    """No whole answer before the deadline."""

    cause = Cause.TIMEOUT


class SourceBusy(SourceUnavailable):
    """The source asked for a pause that is longer than the deadline allows.

    Attributes:
        retry_after_s: How long a pause; None where it did not say.
    """

    cause = Cause.RATE_LIMITED

    def __init__(self, message: str, retry_after_s: Optional[float] = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceResponseError(SourceError):
    """An answer that cannot be read."""

    cause = Cause.UNREADABLE


class NotFound(SourceError):
    """The source answered, and has no such record."""

    cause = Cause.NOT_FOUND


class ProcessNotFound(NotFound):
    """The source has no document for the process."""


class BinaryNotFound(NotFound):
    """The source has no record of the binary."""
