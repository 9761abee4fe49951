"""The sources of a server: concurrent callers share questions, and answers are kept where they can be seen at once."""

from __future__ import annotations

from typing import Optional

from cbsigned.binary import Signature
from cbsigned.cache import FileCache, MemoryCache, TieredCache
from cbsigned.cli import expanded
from cbsigned.codec import decode_process, decode_signature, encode
from cbsigned.enrichment import Caches, Sources
from cbsigned.process import Process
from cbsigned.settings import Settings
from cbsigned.sharing import SharedSource

__all__ = ["shared"]


def shared(sources: Sources, settings: Settings) -> tuple[Sources, Optional[Caches]]:
    """Return the sources for many callers at once, and what their caches hold in memory.

    A store is asked as it is: it answers at once, and it may be written meanwhile, so nothing of it is kept.

    Args:
        sources: As the command line opens them.
        settings: Names the cache file.
    """
    if sources.caches is None:
        return sources, None
    durable = FileCache(expanded(settings.cache_file), settings.cache_max_bytes) if settings.cache_file else None
    signatures: MemoryCache[Signature] = MemoryCache()
    processes: MemoryCache[Process] = MemoryCache()
    whole = Caches(
        TieredCache(encode, decode_signature, durable, signatures),
        TieredCache(encode, decode_process, durable, processes),
    )
    hot = Caches(
        TieredCache(encode, decode_signature, None, signatures), TieredCache(encode, decode_process, None, processes)
    )
    one = SharedSource(sources.binaries)  # type: ignore[arg-type]
    return Sources(one, one, one, whole), hot
