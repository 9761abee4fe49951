"""Times as Carbon Black writes them, and the one deadline that a call may not pass."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from typing import Callable, Optional

__all__ = ["Deadline", "format_time", "from_filetime", "parse_time", "utc_now"]

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?",
    re.ASCII | re.IGNORECASE,
)
_WORDED = ("%b %d, %Y %I:%M:%S %p", "%I:%M %p %m/%d/%Y")
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=timezone.utc)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_EPOCH_S = 253_402_300_799  # 9999-12-31


def utc_now() -> datetime:
    """Return the present time, aware, UTC."""
    return datetime.now(timezone.utc)


def parse_time(value: object) -> Optional[datetime]:
    """Return a vendor's time as an aware UTC datetime, or None where it is absent or unreadable.

    Years before 1601 and after 9998 mean *no time* wherever they occur (.NET writes 0001-01-01), and are None.

    Args:
        value: ISO 8601 with 0 to 9 digits of fraction (`2016-03-16T04:06:00.61Z`; without a zone
            it is taken as UTC), epoch seconds or milliseconds as a number or numeric text, or one of the
            two worded forms (`Aug 9, 2014 5:27:56 PM`, `2:46 PM 9/29/2015`).

    References:
        - Forwarder events: int epoch seconds; server messages: float; documents: ISO with trailing zeros cut
        - `ingress.event.module` sign_time and feed.storage.hit.binary: the worded forms
    """
    moment = _read(value)
    return moment if moment is not None and 1601 <= moment.year <= 9998 else None


def _read(value: object) -> Optional[datetime]:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
    if isinstance(value, (int, float)):
        return _from_epoch(value)
    text = str(value).strip()
    match = _ISO.fullmatch(text)
    if match:
        return _from_iso(match)
    try:
        return _from_epoch(float(text)) if re.fullmatch(r"\d{9,14}(\.\d+)?", text, re.ASCII) else _from_words(text)
    except ValueError:
        return None


def format_time(moment: Optional[datetime]) -> Optional[str]:
    """Return `2016-03-16T04:06:00.061Z` (milliseconds only where there are any), or None for None."""
    if moment is None:
        return None
    moment = moment if moment.tzinfo is timezone.utc else moment.astimezone(timezone.utc)
    base = moment.isoformat()[:19]
    millis = moment.microsecond // 1000
    return f"{base}.{millis:03d}Z" if millis else f"{base}Z"


def from_filetime(ticks: int) -> Optional[datetime]:
    """Return a Windows FILETIME (100 ns since 1601) as UTC, or None for 0 and what no calendar holds."""
    try:
        return _FILETIME_EPOCH + timedelta(microseconds=ticks // 10) if ticks > 0 else None
    except OverflowError:
        return None


def _from_epoch(number: float) -> Optional[datetime]:
    if not 0 < number <= _MAX_EPOCH_S * 1000:  # also before float(), which an int of 400 digits overflows
        return None
    seconds = float(number) / 1000 if number > 1e11 else float(number)
    return _UNIX_EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def _from_iso(match: re.Match[str]) -> Optional[datetime]:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = int((fraction or "").ljust(6, "0")[:6] or 0)
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micros, timezone.utc
        )
        if zone and zone.upper() != "Z":
            digits = zone[1:].replace(":", "")
            offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            moment = moment + offset if zone[0] == "-" else moment - offset
    except (ValueError, OverflowError):
        return None
    return moment


def _from_words(text: str) -> Optional[datetime]:
    for form in _WORDED:
        try:
            return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    return None


class Deadline:
    """A moment after which nothing may be waited for; handed down through a whole call.

    Args:
        seconds: From now, 0 or more.
        clock: Monotonic clock in seconds; tests pass their own.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.seconds = seconds
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds left, 0 when it has passed."""
        return max(0.0, self._end - self._clock())

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self._clock() >= self._end
