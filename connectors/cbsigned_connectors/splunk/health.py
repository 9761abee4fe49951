"""What the handler has done since it started, in numbers: `| cbhealth` and the overview dashboard show them."""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Callable, Optional

from cbsigned import __version__
from cbsigned.timing import format_time, utc_now

__all__ = ["Health"]

_MAX_TEXT = 500


class Health:
    """Counters of one process; thread-safe.

    Args:
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._failure: Optional[tuple[str, str]] = None

    def count(self, table: str, name: str, more: int = 1) -> None:
        """Add to one number: `count("requests", "rows")`."""
        with self._lock:
            self._counts.setdefault(table, Counter())[name] += more

    def count_all(self, table: str, names: Iterable[str]) -> None:
        """Add one for each of these names."""
        found = Counter(names)
        with self._lock:
            self._counts.setdefault(table, Counter()).update(found)

    def failed(self, text: str) -> None:
        """Note the latest failure.

        Args:
            text: What people may read: no token, no traceback.
        """
        with self._lock:
            self._failure = (text[:_MAX_TEXT], format_time(utc_now()) or "")

    def document(self) -> dict[str, Any]:
        """Return everything as JSON types; tables in alphabetical order."""
        with self._lock:
            counts = {table: dict(sorted(numbers.items())) for table, numbers in self._counts.items()}
            failure, failed_at = self._failure or ("", "")
        lookups = counts.get("lookups", {})
        return {
            "uptime_s": int(self._clock() - self._began),
            "requests": counts.get("requests", {}),
            "errors": counts.get("errors", {}),
            "rows": lookups.get("rows", 0),
            "answers": counts.get("answers", {}),
            "gaps": counts.get("gaps", {}),
            "cache_hits": lookups.get("cache_hits", 0),
            "cache_misses": lookups.get("cache_misses", 0),
            "edr_requests": lookups.get("edr_requests", 0),
            "last_failure": failure,
            "last_failure_at": failed_at,
            "versions": {"cbsigned": __version__, "python": platform.python_version()},
        }
