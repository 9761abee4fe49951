"""One question at a time among all hosts: who holds the lease of an item asks for it, the others take its answer.

A lease outlives the asker's deadline; it is given back by its holder alone, told by a token. A holder whose process
died is noticed within seconds, because it no longer says that it lives, and then its leases are free.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Generic, TypeVar, Union

from cbsigned.errors import SourceError
from cbsigned.rediscache.answers import WRITINGS, Writing, digest_of
from cbsigned.rediscache.server import RedisDown, RedisServer
from cbsigned.sharing import Front, WholeSource, asked_of
from cbsigned.timing import Deadline

__all__ = ["LeasedSource"]

log = logging.getLogger(__name__)
_K = TypeVar("_K")
_V = TypeVar("_V")
_PREFIX = "cbsigned:1:ask:"
_OWNERS = "cbsigned:1:owner:"
_OWNER_CHARS = 16
_AT_ONCE = 500
_BEYOND_S = 5.0
"""How long a lease outlives the deadline of who asks."""
_ALIVE_S, _BEAT_S = 5.0, 1.0
"""A busy process may be four seconds late with its sign of life."""
_LINGER_S, _LINGER_MISSING_S = 30.0, 10.0
_JITTER = 0.1
_PATIENCE = 0.5
"""Of the time left, what is spent on waiting for another host; then the waiter asks itself."""
_FIRST_POLL_S, _LONGEST_POLL_S = 0.01, 0.1

# For each item: its answer, else 1 where the lease is ours now, else 0. A dead holder's lease is taken over.
_CLAIM = """
redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
local found = {}
for i = 2, #KEYS, 2 do
  local answer = redis.call('GET', KEYS[i])
  if answer then
    found[#found + 1] = answer
  else
    local holder = redis.call('GET', KEYS[i + 1])
    if not holder or redis.call('EXISTS', ARGV[4] .. string.sub(holder, 1, tonumber(ARGV[5]))) == 0 then
      redis.call('SET', KEYS[i + 1], ARGV[1], 'PX', ARGV[2])
      found[#found + 1] = 1
    else
      found[#found + 1] = 0
    end
  end
end
return found
"""
# For each item: keep its answer, where there is one, and give the lease back, where it is still ours.
_RETURN = """
for i = 1, #KEYS, 2 do
  local life = tonumber(ARGV[i + 2])
  if life > 0 then
    redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', life)
  end
  if redis.call('GET', KEYS[i + 1]) == ARGV[1] then
    redis.call('DEL', KEYS[i + 1])
  end
end
return 1
"""


class LeasedSource(Front):
    """A source that only one process on any host asks for an item at a time; it answers as the one behind it does.

    Answers stay for half a minute, *not found* for ten seconds, for who looked into a cache before they were put
    there; failures do not stay. Who waits for another host does so for half of the time it has, then asks itself.
    While the server is down everybody asks for themselves.

    Args:
        source: Is asked, in the threads of the callers.
        server: Where leases and answers are.
        sleep: Seconds; tests pass their own.
    """

    def __init__(self, source: WholeSource, server: RedisServer, sleep: Callable[[float], None] = time.sleep) -> None:
        holder = _Holder(server)
        super().__init__(source, lambda kind: _Leases(kind, source.name, holder, WRITINGS[kind], sleep))


class _Holder:
    """This process, as the others see it."""

    def __init__(self, server: RedisServer) -> None:
        self._claim, self._return = server.script(_CLAIM), server.script(_RETURN)
        self._server = server
        self._owner, self._pid = "", 0
        self._lock = threading.Lock()
        self._asking = 0

    def token(self) -> str:
        """Return a new token of this process."""
        if self._pid != os.getpid():  # also after a fork
            self._owner, self._pid = secrets.token_hex(_OWNER_CHARS // 2), os.getpid()
        return self._owner + secrets.token_hex(8)

    def claim(self, names: Sequence[str], token: str, lease_s: float) -> list[Any]:
        """Return for each name its answer, or 1 where it is ours to ask now, else 0.

        Raises:
            RedisDown: The server cannot be used.
        """
        own = _OWNERS + token[:_OWNER_CHARS]
        found: list[Any] = []
        for start in range(0, len(names), _AT_ONCE):
            keys = [own, *_keys(names[start : start + _AT_ONCE])]
            values = [token, int(lease_s * 1000), int(_ALIVE_S * 1000), _OWNERS, _OWNER_CHARS]
            found += self._claim(keys, values)
        return found

    def give_back(self, answers: Mapping[str, tuple[str, float]], token: str) -> None:
        """Keep answers for their lives in seconds, 0 for not at all, and give their leases back."""
        rows = list(answers.items())
        with contextlib.suppress(RedisDown):  # they end by themselves
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                told = [value for _name, (text, life_s) in part for value in (text, int(life_s * 1000))]
                self._return(_keys([name for name, _answer in part]), [token, *told])

    @contextlib.contextmanager
    def alive(self, token: str) -> Iterator[None]:
        """Say that this process lives, for as long as it asks."""
        with self._lock:
            self._asking += 1
            first = self._asking == 1
        if first:
            threading.Thread(target=self._beat, args=(token[:_OWNER_CHARS],), name="lease-beat", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1

    def _beat(self, owner: str) -> None:
        while True:
            time.sleep(_BEAT_S)
            with self._lock:
                if not self._asking:
                    return
            with contextlib.suppress(RedisDown):
                self._server.use(lambda client: client.set(_OWNERS + owner, "1", px=int(_ALIVE_S * 1000)))


class _Leases(Generic[_K, _V]):
    """The items of one question."""

    def __init__(self, kind: str, name: str, holder: _Holder, writing: Writing, sleep: Callable[[float], None]) -> None:
        self._prefix, self._holder, self._writing, self._sleep = f"{_PREFIX}{kind}|{name}|", holder, writing, sleep

    def answers(
        self, items: Iterable[_K], deadline: Deadline,
        ask: Callable[[Sequence[_K], Deadline], Mapping[_K, Union[_V, SourceError]]],
    ) -> dict[_K, Union[_V, SourceError]]:  # fmt: skip
        """Return the answers of all items, in order; those that no other host asks for now are asked here."""
        asked = list(dict.fromkeys(items))
        names = {item: self._prefix + digest_of(item) for item in asked}
        found: dict[_K, Union[_V, SourceError]] = {}
        token, pause_s, wanted = self._holder.token(), _FIRST_POLL_S, asked
        patience = Deadline(deadline.remaining() * _PATIENCE)
        while wanted:
            own, wanted = self._claimed(wanted, names, token, deadline, found)
            if wanted and not own and patience.passed:
                own, wanted = wanted, []
            if own:
                found.update(self._fly(own, names, token, deadline, ask))
            elif wanted:
                self._sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_POLL_S)
        return {item: found[item] for item in asked if item in found}

    def _claimed(
        self, wanted: Sequence[_K], names: Mapping[_K, str], token: str, deadline: Deadline,
        found: dict[_K, Union[_V, SourceError]],
    ) -> tuple[list[_K], list[_K]]:  # fmt: skip
        """Put the answers that are there to ours; return what is to be asked here, and what another host asks."""
        own: list[_K] = []
        others: list[_K] = []
        try:
            states = self._holder.claim([names[item] for item in wanted], token, deadline.remaining() + _BEYOND_S)
        except RedisDown:
            return list(wanted), []
        for item, state in zip(wanted, states):
            if state in (0, 1):
                (own if state == 1 else others).append(item)
                continue
            try:
                found[item] = self._writing.answer_of(state)
            except (ValueError, KeyError, TypeError, AttributeError):
                log.debug("A shared answer cannot be read; asking again.")
                own.append(item)
        return own, others

    def _fly(
        self, own: Sequence[_K], names: Mapping[_K, str], token: str, deadline: Deadline,
        ask: Callable[[Sequence[_K], Deadline], Mapping[_K, Union[_V, SourceError]]],
    ) -> Mapping[_K, Union[_V, SourceError]]:  # fmt: skip
        answers: Mapping[_K, Union[_V, SourceError]] = {}
        try:
            with self._holder.alive(token):
                answers = asked_of(own, deadline, ask)
        finally:  # whatever happened, those who wait need not wait for us
            self._holder.give_back({names[item]: self._kept(answers, item) for item in own}, token)
        return answers

    def _kept(self, answers: Mapping[_K, Union[_V, SourceError]], item: _K) -> tuple[str, float]:
        """Return an answer as text, and for how long it stays."""
        text = self._writing.text_of(answers[item]) if item in answers else None
        if text is None:
            return "", 0.0
        life_s = _LINGER_S if answers[item] and not isinstance(answers[item], SourceError) else _LINGER_MISSING_S
        return text, life_s * (1 - _JITTER * random.random())  # noqa: S311 (no secret)


def _keys(names: Sequence[str]) -> list[str]:
    return [key for name in names for key in (name, f"{name}|lease")]
