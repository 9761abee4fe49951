"""Answers that hosts share in a Redis or Valkey server, with a cache of this host behind it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

from cbsigned.cache import Cache, FileCache
from cbsigned.rediscache.server import RedisDown, RedisServer

if TYPE_CHECKING:
    from cbsigned.settings import Settings

__all__ = ["RedisCache", "durable_cache"]

_PREFIX = "cbsigned:1:"
_AT_ONCE = 500
_JITTER = 0.1
"""Of an answer's life, the most that it ends sooner: what was asked together need not be asked again together."""


class RedisCache:
    """A `Cache` that hosts share; whatever happens to the server, the local one answers.

    What is put goes to both, so that the local one is warm when the server dies; what the server has lost is put
    there again when it is found in the local one.

    Args:
        server: Where answers are shared.
        local: Answers of this host; None for none.
        draw: Numbers from 0 to 1; tests pass their own.
    """

    def __init__(
        self, server: RedisServer, local: Optional[Cache] = None, draw: Callable[[], float] = random.random
    ) -> None:
        self.server = server
        self._local, self._draw = local, draw

    def get_many(self, keys: Sequence[str]) -> Mapping[str, tuple[str, float]]:
        """Return what is there and not expired, each with the seconds it has left."""
        if not keys:
            return {}
        found: dict[str, tuple[str, float]] = {}
        try:
            for start in range(0, len(keys), _AT_ONCE):
                found.update(self._read(keys[start : start + _AT_ONCE]))
            down = False
        except RedisDown:
            down = True
        missing = [key for key in keys if key not in found]
        if self._local is not None and missing:
            known = self._local.get_many(missing)
            found.update(known)
            if known and not down:
                self._share(known)
        return found

    def put_many(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Keep each value for its life in seconds, a tenth less at most."""
        if self._local is not None:
            self._local.put_many(items)
        self._share(items)

    def _read(self, keys: Sequence[str]) -> dict[str, tuple[str, float]]:
        with_lives = self.server.use(lambda client: _asked(client, keys))
        found: dict[str, tuple[str, float]] = {}
        for key, value, left_ms in zip(keys, with_lives[::2], with_lives[1::2]):
            if isinstance(value, bytes) and left_ms > 0:
                found[key] = (value.decode("utf-8", "replace"), left_ms / 1000)
        return found

    def _share(self, items: Mapping[str, tuple[str, float]]) -> None:
        rows = [(_PREFIX + key, value, int(life_s * 1000)) for key, (value, life_s) in items.items()]
        rows = [(key, value, round(ms * (1 - _JITTER * self._draw()))) for key, value, ms in rows]
        try:
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                self.server.use(lambda client, part=part: _put(client, part))  # type: ignore[misc]
        except RedisDown:
            return  # the server has said so; answers are right, only slower


def durable_cache(settings: Settings) -> tuple[Optional[Cache], Optional[RedisServer]]:
    """Return where answers are kept beyond this process, and the server among it.

    Raises:
        ConfigError: The extra `redis` is not installed.
    """
    from cbsigned.settings import expanded

    local = FileCache(expanded(settings.cache_file), settings.cache_max_bytes) if settings.cache_file else None
    if settings.cache_server is None:
        return local, None
    server = RedisServer(settings.cache_server)
    return RedisCache(server, local), server


def _asked(client: Any, keys: Sequence[str]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.get(_PREFIX + key)
        pipe.pttl(_PREFIX + key)
    return list(pipe.execute())


def _put(client: Any, rows: Sequence[tuple[str, str, int]]) -> None:
    pipe = client.pipeline(transaction=False)
    for key, value, life_ms in rows:
        if life_ms > 0:
            pipe.set(key, value, px=life_ms)
    pipe.execute()
