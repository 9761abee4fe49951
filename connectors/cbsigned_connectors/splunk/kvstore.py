"""What outlives the handler's process: its cache and the table of verdicts, both in Splunk's KV store.

The KV store is never a reason to fail: where it is down, slow or full, answers cost more time, and that is said
once. Writing happens beside the answers, in a thread of its own.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Optional, TypeVar

from cbsigned.binary import Signature
from cbsigned.status import SigningStatus
from cbsigned.timing import format_time
from cbsigned_connectors.splunk.configuration import reason_of
from cbsigned_connectors.splunk.jobs import Job, Jobs, TooBusy

__all__ = ["KvStore", "KvStoreCache", "VerdictTable"]

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_KEYS_PER_QUERY = 250
_QUERIES_PER_REQUEST = 8
_DOCUMENTS_PER_REQUEST = 1_000
_MAX_VALUE = 64 * 1024
_PAUSE_S = 60.0
_READ_PATIENCE_S = 4.0
_WRITE_PATIENCE_S = 60.0
_CLEAN_EVERY_S = 3_600.0
_VERDICT_LIFE_S = 90 * 86_400
_JSON = [("Content-Type", "application/json")]


class KvStore:
    """One splunkd's KV store, seen from the app's namespace.

    After a failure it is left alone for `pause_s`, and nobody waits for it until it has worked again: whether it
    does is found out in the thread that writes, one thing after the other. Where too much waits there, the newest is
    not done.

    Args:
        connect: Returns splunklib's client, with a time limit for each request; called for each use.
        pause_s: Seconds without a try after a failure.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(
        self, connect: Callable[[], Any], pause_s: float = _PAUSE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect, self._pause_s, self._clock = connect, pause_s, clock
        self._again_at: Optional[float] = None
        self._cleaned_at: dict[str, float] = {}
        self._writer = Jobs(running=1, waiting=32, kept_s=0.0)
        self._last: Optional[Job] = None

    @property
    def state(self) -> str:
        """`ok`, or why it is not used now."""
        return "ok" if self._again_at is None else "failed; answers are right, only slower"

    def find(self, collection: str, keys: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return the documents with these keys, as many as can be read within some seconds; never raises.

        After a failure there are none until the store has answered beside the searches: a store that hangs would
        otherwise cost one of them its time limit after each pause.
        """
        found: list[Mapping[str, Any]] = []

        def read(service: Any, keys: Sequence[str]) -> None:
            queries = [{"query": {"$or": [{"_key": key} for key in part]}} for part in _parts(keys, _KEYS_PER_QUERY)]
            answer = self._post(service, collection, "batch_find", queries)
            found.extend(d for documents in answer for d in documents if isinstance(d, Mapping))

        if self._again_at is not None:
            self._later(lambda: self._in_parts(read, keys[:1], 1, _READ_PATIENCE_S))
            return []
        self._in_parts(read, keys, _KEYS_PER_QUERY * _QUERIES_PER_REQUEST, _READ_PATIENCE_S)
        return found

    def save(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Write documents soon, those with the same `_key` over the old ones; never raises."""

        def write(service: Any, part: Sequence[Mapping[str, Any]]) -> None:
            self._post(service, collection, "batch_save", part)

        self._later(lambda: self._in_parts(write, documents, _DOCUMENTS_PER_REQUEST, _WRITE_PATIENCE_S))

    def clean(self, collection: str, query: Mapping[str, Any]) -> None:
        """Delete soon what a query finds, unless that was done within the hour; never raises."""
        now = self._clock()
        if now - self._cleaned_at.get(collection, float("-inf")) < _CLEAN_EVERY_S:
            return
        self._cleaned_at[collection] = now

        def delete(service: Any, _part: Sequence[None]) -> None:
            service.delete(f"storage/collections/data/{collection}", query=json.dumps(query))

        self._later(lambda: self._in_parts(delete, [None], 1, _WRITE_PATIENCE_S))

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything given so far is written; return whether it was in time."""
        return self._last is None or self._last.done.wait(timeout_s)

    def _later(self, work: Callable[[], None]) -> None:
        if self._paused():
            return
        try:
            self._last = self._writer.start("", work)
        except TooBusy:
            log.debug("The KV store is slower than the answers come; some are not kept there.")

    def _in_parts(
        self, use: Callable[[Any, Sequence[_T]], None], items: Sequence[_T], size: int, patience_s: float
    ) -> None:
        """Use the store for one part of the items after the other, until one fails or it takes too long."""
        if not items or self._paused():
            return
        ends_at = self._clock() + patience_s
        try:
            service = self._connect()
            for part in _parts(items, size):
                use(service, part)
                if self._clock() >= ends_at:
                    break
        except Exception as exc:  # noqa: BLE001 (whatever splunklib raises, it costs speed and no more)
            level = logging.WARNING if self._again_at is None else logging.DEBUG
            log.log(
                level, "The KV store is not used for %.0f s: %s. Answers are right, only slower.", self._pause_s,
                reason_of(exc),
            )  # fmt: skip
            self._again_at = self._clock() + self._pause_s
            return
        self._again_at = None

    def _paused(self) -> bool:
        return self._again_at is not None and self._clock() < self._again_at

    @staticmethod
    def _post(service: Any, collection: str, verb: str, body: object) -> Any:
        path = f"storage/collections/data/{collection}/{verb}"
        return json.loads(service.post(path, headers=_JSON, body=json.dumps(body)).body.read())


class KvStoreCache:
    """A `cbsigned.cache.Cache` in the collection `cbsigned_cache`, which the members of a cluster share.

    Args:
        store: The KV store.
        clock: Seconds since 1970; tests pass their own.
    """

    collection = "cbsigned_cache"

    def __init__(self, store: KvStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def get_many(self, keys: Sequence[str]) -> Mapping[str, tuple[str, float]]:
        """Return what is there and not expired, each with the seconds it has left; never raises."""
        now, found = self._clock(), {}
        for document in self._store.find(self.collection, keys):
            key, value, expires_at = (document.get(name) for name in ("_key", "value", "expires_at"))
            if isinstance(key, str) and isinstance(value, str) and isinstance(expires_at, (int, float)):
                found[key] = (value, expires_at - now)
        return {key: kept for key, kept in found.items() if kept[1] > 0}

    def put_many(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Keep each value for its life in seconds; never raises."""
        now = self._clock()
        documents = [
            {"_key": key, "value": value, "stored_at": now, "expires_at": now + life_s}
            for key, (value, life_s) in items.items()
            if life_s > 0 and len(value) <= _MAX_VALUE
        ]
        self._store.save(self.collection, documents)
        self._store.clean(self.collection, {"expires_at": {"$lt": now}})


class VerdictTable:
    """The collection `cbsigned_verdicts`: one flat row for each file whose signing status is known.

    It is replicated to the indexers, where `| lookup cbsigned_verdicts hash AS md5` answers from it. Rows that were
    not checked again for 90 days are deleted.

    Args:
        store: The KV store.
        clock: Seconds since 1970; tests pass their own.
    """

    collection = "cbsigned_verdicts"

    def __init__(self, store: KvStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def write(self, signatures: Iterable[Signature]) -> None:
        """Keep what records say of these files; *Unknown* is not kept. Never raises."""
        rows = [_verdict(s) for s in signatures if s.status is not SigningStatus.UNKNOWN and s.hash]
        if rows:
            self._store.save(self.collection, rows)
            self._store.clean(self.collection, {"checked_at": {"$lt": int(self._clock() - _VERDICT_LIFE_S)}})


def _verdict(signature: Signature) -> dict[str, Any]:
    evidence = signature.evidence
    return {
        "_key": signature.hash,
        "hash": signature.hash,
        "status": signature.status.value,
        "signed": "true" if signature.status.signed else "false",
        "publisher": signature.publisher or "",
        "issuer": signature.issuer or "",
        "sign_time": format_time(signature.signed_at) or "",
        "why": signature.reason,
        "source": evidence.source if evidence else "",
        "checked_at": int(evidence.read_at.timestamp()) if evidence else 0,
    }


def _parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
