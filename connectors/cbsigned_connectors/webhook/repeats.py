"""The answers of the last half minute, by sender and body: whoever posts the same again gets the same again.

Platforms repeat what they did not hear the answer to, and send one alert for each of many equal results. A key that
the caller gives is remembered for longer, and over restarts: that is the store of jobs.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Callable, Optional

from cbsigned_connectors.webhook.answers import Answer

__all__ = ["Repeats"]

_LIFE_S = 30.0
_MOST_BYTES = 32 * 1024 * 1024
_MOST_ANSWER_BYTES = 256 * 1024


class Repeats:
    """Answers in memory; used in one event loop.

    Args:
        life_s: How long one is given again.
        most_bytes: Of all together; the oldest go first.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(
        self, life_s: float = _LIFE_S, most_bytes: int = _MOST_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._life_s, self._most_bytes, self._clock = life_s, most_bytes, clock
        self._answers: OrderedDict[tuple[str, bytes], tuple[Answer, float]] = OrderedDict()
        self._bytes = 0

    def get(self, sender: str, digest: bytes) -> Optional[Answer]:
        """Return the answer that this sender got for this request just now, or None."""
        found = self._answers.get((sender, digest))
        if found is None or found[1] <= self._clock():
            return None
        return found[0]

    def put(self, sender: str, digest: bytes, answer: Answer) -> None:
        """Remember an answer, unless it is very large."""
        if len(answer.body) > _MOST_ANSWER_BYTES:
            return
        now = self._clock()
        self._drop((sender, digest))
        self._answers[sender, digest] = (answer, now + self._life_s)
        self._bytes += len(answer.body)
        while self._answers and (self._bytes > self._most_bytes or next(iter(self._answers.values()))[1] <= now):
            self._drop(next(iter(self._answers)))

    def _drop(self, key: tuple[str, bytes]) -> None:
        found = self._answers.pop(key, None)
        if found is not None:
            self._bytes -= len(found[0].body)
