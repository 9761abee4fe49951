"""The sources of a server: concurrent callers share questions, and answers are kept where they can be seen at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, cast

from cbsigned.binary import Signature
from cbsigned.cache import MemoryCache, TieredCache
from cbsigned.codec import decode_process, decode_signature, encode
from cbsigned.enrichment import Caches, Sources
from cbsigned.process import Process
from cbsigned.rediscache.cache import durable_cache
from cbsigned.rediscache.leases import LeasedSource
from cbsigned.settings import Settings
from cbsigned.sharing import BatchingSource, SharedSource, WholeSource
from cbsigned_connectors.webhook.health import Health
from cbsigned_connectors.webhook.job_model import Jobs
from cbsigned_connectors.webhook.metrics import CountedCache, CountedSource, Metrics

__all__ = ["Watched", "watched"]


@dataclass(frozen=True)
class Watched:
    """Sources for many callers at once, and what is known of them.

    Attributes:
        hot: What their caches hold in memory; None where nothing is kept.
    """

    sources: Sources
    hot: Optional[Caches]
    health: Health


def watched(sources: Sources, settings: Settings, metrics: Metrics, jobs: Optional[Jobs] = None) -> Watched:
    """Return sources that count their questions, and share and merge those of concurrent callers.

    A store is asked as it is: it answers at once, and it may be written meanwhile, so nothing of it is kept.

    Args:
        sources: As the command line opens them: one object that answers all questions.
        settings: Names the cache file, and the server that hosts share.
        jobs: Whose state belongs to the service's health.
    """
    inner = cast(WholeSource, sources.binaries)
    if sources.caches is None:
        health = Health(inner, jobs)
        store = CountedSource(inner, metrics, health.note)
        return Watched(Sources(store, store, store, None), None, health)
    durable, server = durable_cache(settings)
    health = Health(inner, jobs, server)
    counted: WholeSource = CountedSource(inner, metrics, health.note)
    if server is not None:
        metrics.watch_cache(server)
        counted = LeasedSource(counted, server)
    source = SharedSource(BatchingSource(counted))
    signatures: MemoryCache[Signature] = MemoryCache()
    processes: MemoryCache[Process] = MemoryCache()
    kept = Caches(
        TieredCache(encode, decode_signature, durable, signatures),
        TieredCache(encode, decode_process, durable, processes),
    )
    hot = Caches(
        CountedCache(TieredCache(encode, decode_signature, None, signatures), metrics, "signature"),
        CountedCache(TieredCache(encode, decode_process, None, processes), metrics, "process"),
    )
    return Watched(Sources(source, source, source, kept), hot, health)
