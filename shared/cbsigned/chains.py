"""Lineages kept whole beside their processes: who asks for one again need not walk it again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import Optional

from cbsigned.cache import TieredCache
from cbsigned.lineage import EndedBy, Lineage, ProcessSource, lineages, process_key
from cbsigned.process import Process
from cbsigned.timing import Deadline

__all__ = ["Chains"]

_ENDED_BY_ITSELF = (EndedBy.ROOT, EndedBy.UNKNOWN_PARENT, EndedBy.NO_PARENT)


class Chains:
    """Lineages as they were walked lately; one stands for as long as the cache holds the very processes it is made of.

    Kept are those of recorded processes that end at one without a parent: nothing else decides how they look.

    Args:
        most: How many are kept; the oldest go first.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._kept: dict[str, tuple[tuple[str, ...], tuple[Process, ...], Lineage]] = {}
        self._lock = threading.Lock()

    def lineages(
        self,
        source: ProcessSource,
        guids: Iterable[str],
        deadline: Deadline,
        cache: TieredCache[Process],
        *,
        max_depth: int,
        told: Mapping[str, Process],
        cache_life_s: float,
    ) -> dict[str, Lineage]:
        """Return what `lineages` does, without relatives; what is kept of them is looked up in the cache at once."""
        wanted = list(dict.fromkeys(guids))
        name = source.name
        found = {guid: self._get(process_key(name, guid), cache, max_depth) for guid in wanted}
        missing = [guid for guid, chain in found.items() if chain is None]
        walked = {}
        if missing:
            walked = lineages(
                source, missing, deadline, max_depth=max_depth, told=told, cache=cache, cache_life_s=cache_life_s
            )
            for chain in walked.values():
                self._put([process_key(name, node.process.guid) for node in chain.nodes], chain)
        return {guid: chain or walked[guid] for guid, chain in found.items()}

    def _get(self, key: str, cache: TieredCache[Process], max_depth: int) -> Optional[Lineage]:
        kept = self._kept.get(key)
        if kept is None:
            return None
        keys, processes, chain = kept
        if len(keys) > max_depth + 1:
            return None
        found = cache.get_many(keys)
        return chain if all(map(is_, map(found.get, keys), processes)) else None

    def _put(self, keys: Sequence[str], chain: Lineage) -> None:
        recorded = all(node.process.start_recorded and node.gap is None for node in chain.nodes)
        if not recorded or chain.ended_by not in _ENDED_BY_ITSELF:
            return
        with self._lock:
            self._kept[keys[0]] = (tuple(keys), tuple(node.process for node in chain.nodes), chain)
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
