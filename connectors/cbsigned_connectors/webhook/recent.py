"""The last enrichments of each sender, in memory alone, for the page: nobody sees another sender's."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Callable, Optional

from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.facts import headline
from cbsigned.render.marks import look, severity, word
from cbsigned.timing import utc_now

__all__ = ["Recent", "Seen", "Summary"]

_MOST_OF_ONE = 50
_MOST_BYTES = 32 * 2**20
_MOST_DOCUMENTS = 100
_MOST_ENTRY_BYTES = 2 * 2**20
_MAX_TITLE = 90


@dataclass(frozen=True)
class Summary:
    """One answer in a line.

    Attributes:
        look: Decides shape and colour, see `cbsigned.render.marks`.
        word: Signing status in a word or two.
        title: What it is about.
    """

    look: str
    word: str
    title: str


@dataclass(frozen=True)
class Seen:
    """The answer to one request.

    Attributes:
        number: Names it in addresses; counts up over all senders.
        total: How many alerts the request had; `documents()` has the first of them.
    """

    number: int
    sender: str
    at: datetime
    total: int
    bodies: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return sum(map(len, self.bodies))

    def documents(self) -> list[Document]:
        """Return the enrichments that are kept, at least one."""
        return [json.loads(body) for body in self.bodies]

    @cached_property
    def summary(self) -> Summary:
        """What a list shows: the most serious alert; read once, because the documents can be long."""
        documents = self.documents()
        worst = min(documents, key=severity)
        subjects = worst["subjects"]
        title = clean(headline(worst, subjects[0] if subjects else None), _MAX_TITLE)
        return Summary(look(worst), word(worst), title)


class Recent:
    """What was answered lately; the oldest go first, and everything with the process.

    Adding costs no more than the bytes that are written anyway: they are read again only when somebody looks.

    Args:
        most_of_one: Most requests kept of one sender.
        most_bytes: Of all senders together.
        clock: The present time; tests pass their own.
    """

    def __init__(
        self,
        most_of_one: int = _MOST_OF_ONE,
        most_bytes: int = _MOST_BYTES,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._most_of_one, self._most_bytes, self._clock = most_of_one, most_bytes, clock
        self._lock = threading.Lock()
        self._number = 0
        self._size = 0
        self._seen: OrderedDict[int, Seen] = OrderedDict()
        self._of_sender: dict[str, deque[int]] = {}

    def add(self, sender: str, bodies: Sequence[bytes], total: Optional[int] = None) -> int:
        """Keep the answer to one request, and return its number.

        Args:
            sender: Who asked, by name; only they see it.
            bodies: Each enrichment as JSON, one or more. Of many, or long ones, the first are kept.
            total: How many alerts there were, where `bodies` are not all.
        """
        kept: list[bytes] = []
        room = _MOST_ENTRY_BYTES
        for body in bodies[:_MOST_DOCUMENTS]:
            room -= len(body)
            if kept and room < 0:
                break
            kept.append(body)
        with self._lock:
            self._number += 1
            seen = Seen(self._number, sender, self._clock(), total or len(bodies), tuple(kept))
            self._seen[seen.number] = seen
            self._size += seen.size
            own = self._of_sender.get(sender)
            if own is None:
                own = self._of_sender[sender] = deque()
            own.append(seen.number)
            if len(own) > self._most_of_one:
                self._drop(own[0])
            while self._size > self._most_bytes and len(self._seen) > 1:
                self._drop(next(iter(self._seen)))
        return seen.number

    def of(self, sender: str) -> list[Seen]:
        """Return what is kept of one sender, newest first."""
        with self._lock:
            return [self._seen[number] for number in reversed(self._of_sender.get(sender, ()))]

    def get(self, sender: str, number: int) -> Optional[Seen]:
        """Return one answer; None where it is gone, never was, or is another sender's."""
        with self._lock:
            seen = self._seen.get(number)
        return seen if seen is not None and seen.sender == sender else None

    def _drop(self, number: int) -> None:
        seen = self._seen.pop(number)
        self._size -= seen.size
        own = self._of_sender[seen.sender]
        own.remove(number)
        if not own:
            del self._of_sender[seen.sender]
