"""Prometheus counters: requests, cache look-ups, questions to the source, gaps by cause, jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, TypeVar, Union

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cbsigned.cache import TieredCache
from cbsigned.errors import SourceError
from cbsigned.lineage import ProcessAnswers, Relatives
from cbsigned.rediscache.server import RedisServer
from cbsigned.sharing import WholeSource
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.callbacks import Outcome
from cbsigned_connectors.webhook.job_model import Jobs, JobsError

__all__ = ["CONTENT_TYPE", "CountedCache", "CountedSource", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_K = TypeVar("_K")
_V = TypeVar("_V")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS"})


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[tuple[Any, ...], Any] = {}
        self.requests = self._counter("requests", "HTTP requests", "method", "route", "status")
        self.seconds = self._histogram("request_seconds", "Time from arrival to answer", "route")
        self.alerts = self._counter("alerts", "Alerts answered", "status")
        self.gaps = self._counter("gaps", "What answers could not tell, by cause", "cause")
        self.cache = self._counter("cache_lookups", "Look-ups in the caches", "kind", "result")
        self.questions = self._counter("source_questions", "Batched questions to the source", "question", "outcome")
        self.items = self._counter("source_items", "Observables in those questions", "question")
        self.source_seconds = self._histogram("source_seconds", "Time of a question to the source", "question")
        self.callbacks = self._counter("callbacks", "Callbacks tried", "outcome")

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._child(self.requests, method if method in _METHODS else "other", route, str(status)).inc()
        self._child(self.seconds, route).observe(seconds)

    def answered(self, statuses: Iterable[str], causes: Iterable[str]) -> None:
        """Count the alerts of one answer by signing status, and its gaps by cause."""
        for status in statuses:
            self._child(self.alerts, status).inc()
        for cause in causes:
            self._child(self.gaps, cause).inc()

    def repeated(self) -> None:
        """Count a request whose answer was given just now."""
        self._child(self.cache, "answer", "hit").inc()

    def called(self, outcome: Outcome) -> None:
        """Count one try of a callback."""
        kept = "later" if outcome.again_s is not None else "given up"
        self.callbacks.labels("delivered" if outcome.delivered else kept).inc()

    def watch(self, waiting: Callable[[], int], jobs: Optional[Jobs]) -> None:
        """Show how many alerts wait for a worker, and how many jobs there are."""
        gauge = Gauge("cbsigned_alerts_waiting", "Alerts that wait for a worker", registry=self.registry)
        gauge.set_function(waiting)
        if jobs is not None:
            self.registry.register(_JobCollector(jobs))

    def watch_cache(self, server: RedisServer) -> None:
        """Show whether the cache that hosts share answers."""
        self.registry.register(_CacheCollector(server))

    def text(self) -> bytes:
        """Return all of them in Prometheus's text format."""
        return generate_latest(self.registry)

    def _child(self, metric: Any, *labels: str) -> Any:
        """Return the counter of some labels; remembered, because finding one costs more than counting."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"cbsigned_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"cbsigned_{name}", text, labels, registry=self.registry, buckets=_SECONDS)


class _JobCollector(Collector):
    """Asks the store of jobs for its numbers when somebody reads the metrics."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        try:
            counts = self._jobs.counts()
        except JobsError:
            return  # /readyz says so
        states = GaugeMetricFamily("cbsigned_jobs", "Jobs by state", labels=["state"])
        for state in ("waiting", "running", "done", "failed", "calling"):
            states.add_metric([state], getattr(counts, state))
        yield states
        yield GaugeMetricFamily("cbsigned_jobs_oldest_seconds", "Age of the job that waits longest", counts.oldest_s)
        yield GaugeMetricFamily("cbsigned_jobs_bytes", "Size of the store of jobs", counts.bytes)

    def describe(self) -> Iterable[Metric]:
        return ()


class _CacheCollector(Collector):
    """Tells what is known of the cache that hosts share; asks nobody."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        up = 0.0 if self._server.trouble else 1.0
        yield GaugeMetricFamily("cbsigned_shared_cache_up", "Whether the shared cache answered last", up)
        failures = self._server.failures
        yield CounterMetricFamily("cbsigned_shared_cache_failures", "Questions that it did not answer", failures)

    def describe(self) -> Iterable[Metric]:
        return ()


class CountedCache(TieredCache[_V]):
    """A cache that counts what is found in it.

    Args:
        inner: The cache itself.
        kind: `signature` or `process`.
    """

    def __init__(self, inner: TieredCache[_V], metrics: Metrics, kind: str) -> None:
        self._inner = inner
        self._hits = metrics.cache.labels(kind, "hit")
        self._misses = metrics.cache.labels(kind, "miss")

    def get_many(self, keys: Sequence[str]) -> dict[str, _V]:
        """Return what is known and not expired."""
        found = self._inner.get_many(keys)
        if found:
            self._hits.inc(len(found))
        if len(found) < len(keys):
            self._misses.inc(len(keys) - len(found))
        return found

    def put_many(self, items: Mapping[str, tuple[_V, float]]) -> None:
        """Keep each value for its life in seconds."""
        self._inner.put_many(items)


class CountedSource:
    """A source whose questions are counted, and whose outcomes are told to `note`.

    Args:
        source: Is asked.
        note: Told what went wrong with each question, None for nothing.
    """

    def __init__(self, source: WholeSource, metrics: Metrics, note: Callable[[Optional[SourceError]], None]) -> None:
        self.source = source
        self._metrics, self._note = metrics, note

    @property
    def name(self) -> str:
        """Who it is: the source behind."""
        return self.source.name

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        """Return the binary records of every hash; see `BinarySource`."""
        return self._counted("binaries", hashes, lambda: self.source.binaries(hashes, deadline))

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        """Return the process of every guid; see `ProcessSource`."""
        return self._counted("processes", guids, lambda: self.source.processes(guids, deadline))

    def candidates(self, sightings: Sequence[Sighting], deadline: Deadline) -> Mapping[Sighting, Any]:
        """Return the processes that every sighting can mean; see `ProcessSource`."""
        return self._counted("candidates", sightings, lambda: self.source.candidates(sightings, deadline))

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return the children of every guid; see `ProcessSource`."""
        return self._counted("children", guids, lambda: self.source.children(guids, limit, deadline))

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every pair whether the joint query finds anything; see `JointSource`."""
        return self._counted("joint", pairs, lambda: self.source.joint_hits(pairs, deadline))

    def _counted(self, question: str, items: Sequence[_K], ask: Callable[[], Mapping[_K, _V]]) -> Mapping[_K, _V]:
        began = time.perf_counter()
        try:
            answers = ask()
        except SourceError as exc:
            self._told(question, len(items), exc, began)
            raise
        failures = (a for a in answers.values() if isinstance(a, SourceError) and a.cause.failed)
        self._told(question, len(items), next(failures, None), began)
        return answers

    def _told(self, question: str, items: int, failure: Optional[SourceError], began: float) -> None:
        outcome = failure.cause.value if failure is not None else "answered"
        self._metrics.questions.labels(question, outcome).inc()
        self._metrics.items.labels(question).inc(items)
        self._metrics.source_seconds.labels(question).observe(time.perf_counter() - began)
        self._note(failure)
