"""Why a body or an alert was not taken: errors that say which kind of fault it is, and no protocol's numbers.

::

    AlertError
    ├── BodyError         the bytes are no alerts; `fault` says in which of four ways
    ├── AlertIgnored      an alert on purpose not looked at, an event that we caused for example
    └── UnknownFormat     no format has this name
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from cbsigned.errors import AlertError
from cbsigned.gaps import Cause
from cbsigned.observables import printable

__all__ = ["AlertIgnored", "BodyError", "Fault", "UnknownFormat"]


class Fault(str, Enum):
    """What is wrong with a body; an HTTP adapter answers 400, 413, 415 and 422, in this order."""

    MALFORMED = "malformed"
    """It is not what its type says: no JSON, cut off, cannot be unpacked."""
    TOO_LARGE = "too large"
    """It passes a limit: bytes, unpacked bytes, values, records."""
    UNSUPPORTED = "unsupported"
    """Its type, packing or character set is not one we read."""
    UNUSABLE = "unusable"
    """It can be read, and holds no alert: a number, a text, nested too deeply."""


class BodyError(AlertError):
    """A body that gives no alerts.

    Attributes:
        fault: In which way, for the adapter that has to answer.
    """

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message, Cause.UNREADABLE)
        self.fault = fault


class AlertIgnored(AlertError):
    """Not looked at on purpose; the text says why, and nothing is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Cause.NO_OBSERVABLE)


class UnknownFormat(AlertError):
    """No format has this name; the text lists those that are there."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no alert format {printable(name, 40)}. Formats: {', '.join(known)}.")
