"""The durable cache and the table of verdicts in a KV store that may be there, slow, or broken."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cbsigned.binary import BinaryRecord, RecordKind, read_signature, unknown_signature
from cbsigned.gaps import Cause
from cbsigned.timing import parse_time
from cbsigned_connectors.splunk.configuration import Splunkd, connect
from cbsigned_connectors.splunk.handler import Handler
from cbsigned_connectors.splunk.kvstore import KvStore, KvStoreCache, VerdictTable
from connectors.splunk.handling import SYSTEM_TOKEN, SmallSplunkd, ask
from edr_server import TOKEN, EdrServer

DAY_S = 86_400.0


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def splunkd() -> Iterator[SmallSplunkd]:
    with SmallSplunkd() as found:
        yield found


@pytest.fixture
def store(splunkd: SmallSplunkd, clock: Clock) -> KvStore:
    return KvStore(lambda: connect(Splunkd(splunkd.uri, SYSTEM_TOKEN)), clock=clock)


@pytest.fixture
def cache(store: KvStore, clock: Clock) -> KvStoreCache:
    return KvStoreCache(store, clock)


def test_what_is_put_is_found_with_the_life_it_has_left(store: KvStore, cache: KvStoreCache, clock: Clock) -> None:
    cache.put_many({"signature|edr:cb|aa": ("text", 100.0), "process|edr:cb|bb": ("other", 50.0)})
    store.flush()
    clock.now += 30

    found = cache.get_many(["signature|edr:cb|aa", "process|edr:cb|bb", "unknown"])

    assert found == {"signature|edr:cb|aa": ("text", 70.0), "process|edr:cb|bb": ("other", 20.0)}


def test_what_has_expired_is_not_found(store: KvStore, cache: KvStoreCache, clock: Clock) -> None:
    cache.put_many({"a": ("text", 100.0)})
    store.flush()
    clock.now += 100

    assert cache.get_many(["a"]) == {}


def test_many_keys_are_read_and_written_in_few_requests(
    splunkd: SmallSplunkd, store: KvStore, cache: KvStoreCache
) -> None:
    items = {f"signature|edr:cb|{number:032x}": (f"text {number}", 100.0) for number in range(4_500)}
    cache.put_many(items)
    store.flush()

    assert cache.get_many(list(items)) == items
    assert (splunkd.asked("batch_save"), splunkd.asked("batch_find")) == (5, 3)


def test_strange_documents_are_passed_over(splunkd: SmallSplunkd, cache: KvStoreCache) -> None:
    splunkd.collections["cbsigned_cache"] = {
        "a": {"_key": "a", "value": 7, "expires_at": 9e12},
        "b": {"_key": "b", "value": "text", "expires_at": "soon"},
        "c": {"_key": "c"},
        "d": {"_key": "d", "value": "text", "expires_at": 9e12},
    }

    assert list(cache.get_many(["a", "b", "c", "d"])) == ["d"]


def test_expired_documents_are_deleted_at_most_hourly(
    splunkd: SmallSplunkd, store: KvStore, cache: KvStoreCache, clock: Clock
) -> None:
    for _ in range(5):
        cache.put_many({f"at {clock.now}": ("text", 60.0)})
        store.flush()
        clock.now += 1_000

    deletions = [path for method, path in splunkd.requests if method == "DELETE"]
    assert deletions == ["storage/collections/data/cbsigned_cache"] * 2
    assert len(splunkd.collections["cbsigned_cache"]) == 1


def test_a_value_too_long_for_a_document_is_not_kept(
    splunkd: SmallSplunkd, store: KvStore, cache: KvStoreCache
) -> None:
    cache.put_many({"long": ("x" * 100_000, 60.0), "short": ("x", 60.0), "dead": ("x", 0.0)})
    store.flush()

    assert list(splunkd.collections["cbsigned_cache"]) == ["short"]


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_broken_store_costs_speed_and_one_warning(
    splunkd: SmallSplunkd, store: KvStore, cache: KvStoreCache, clock: Clock, status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    splunkd.status["storage/collections"] = status
    for _ in range(5):
        assert cache.get_many(["a"]) == {}
        cache.put_many({"a": ("text", 60.0)})
        store.flush()
    asked = len(splunkd.requests)
    state = store.state
    clock.now += 61
    assert cache.get_many(["a"]) == {}
    store.flush()

    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (asked, len(splunkd.requests)) == (1, 2)
    assert "failed" in state
    assert len(warnings) == 1
    assert str(status) in warnings[0].getMessage()
    assert SYSTEM_TOKEN not in caplog.text


def test_a_store_that_heals_is_used_again(
    splunkd: SmallSplunkd, store: KvStore, cache: KvStoreCache, clock: Clock
) -> None:
    splunkd.status["storage/collections"] = 503
    cache.get_many(["a"])
    splunkd.status.clear()
    clock.now += 61
    cache.put_many({"a": ("text", 60.0)})
    store.flush()

    assert cache.get_many(["a"]) == {"a": ("text", 60.0)}
    assert store.state == "ok"


def test_a_store_that_does_not_answer_is_left_in_time(splunkd: SmallSplunkd, clock: Clock) -> None:
    splunkd.delay.clear()
    store = KvStore(lambda: connect(Splunkd(splunkd.uri, SYSTEM_TOKEN), timeout_s=0.1), clock=clock)

    assert KvStoreCache(store, clock).get_many(["a"]) == {}
    assert "failed" in store.state


def test_only_the_first_search_waits_for_a_store_that_hangs(splunkd: SmallSplunkd, clock: Clock) -> None:
    """A store that did not answer cost one search a minute the time limit of 5 s."""
    splunkd.collections["cbsigned_cache"] = {"a": {"_key": "a", "value": "text", "expires_at": 9e12}}
    askers: list[threading.Thread] = []

    def connecting() -> Any:
        askers.append(threading.current_thread())
        return connect(Splunkd(splunkd.uri, SYSTEM_TOKEN), timeout_s=20 if splunkd.delay.is_set() else 0.1)

    store = KvStore(connecting, clock=clock)
    cache = KvStoreCache(store, clock)
    splunkd.delay.clear()
    cache.get_many(["a"])
    for _ in range(5):
        clock.now += 61
        for _ in range(3):
            assert cache.get_many(["a"]) == {}
        assert store.flush()
    splunkd.delay.set()
    clock.now += 61
    assert cache.get_many(["a"]) == {}
    assert store.flush()

    assert cache.get_many(["a"])["a"][0] == "text"
    assert [asker is threading.current_thread() for asker in askers] == [True, *[False] * 6, True]


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[1, 2]", b"{}", b"null", b"[[1], null]"])
def test_an_answer_of_any_shape_is_a_miss(answer: bytes, clock: Clock) -> None:
    class Body:
        def read(self) -> bytes:
            return answer

    class Service:
        def post(self, *_args: Any, **_more: Any) -> Any:
            return type("Answer", (), {"body": Body()})

    assert KvStoreCache(KvStore(Service, clock=clock), clock).get_many(["a"]) == {}


def test_a_slow_store_does_not_keep_all_that_waits() -> None:
    class Service:
        def post(self, *_args: Any, **_more: Any) -> Any:
            return type("Answer", (), {"body": type("Body", (), {"read": lambda self: b"[]"})()})

    slow = KvStore(Service)
    with HeldBack(slow):
        for number in range(100):
            slow.save("cbsigned_cache", [{"_key": str(number)}])

        assert slow._writer.waiting <= 32


class HeldBack:
    """Holds the writer back while the block runs."""

    def __init__(self, store: KvStore) -> None:
        self.store = store

    def __enter__(self) -> None:
        self.go = threading.Event()
        self.store._writer.start("", lambda: self.go.wait(10))

    def __exit__(self, *_exc: object) -> None:
        self.go.set()


# the table of verdicts


def signature(md5: str, word: str) -> Any:
    record = BinaryRecord(
        RecordKind.BINARY_DOCUMENT, md5=md5, word=word, publisher="Example Ltd", issuer="Example CA",
        signed_at=parse_time("2016-03-16T04:06:00Z"),
    )  # fmt: skip
    return read_signature(md5, [record], "edr:cb.example.test", parse_time("2026-11-22T01:02:03Z") or None)  # type: ignore[arg-type]


def test_a_verdict_is_one_flat_row_with_the_types_of_the_collection(splunkd: SmallSplunkd, store: KvStore) -> None:
    VerdictTable(store).write([signature("a" * 32, "Signed"), signature("b" * 32, "Bad Signature")])
    store.flush()

    rows = splunkd.collections["cbsigned_verdicts"]
    assert rows["a" * 32] == {
        "_key": "a" * 32, "hash": "a" * 32, "status": "Signed", "signed": "true", "publisher": "Example Ltd",
        "issuer": "Example CA", "sign_time": "2016-03-16T04:06:00Z",
        "why": "Signed by Example Ltd: the signature was accepted.", "source": "edr:cb.example.test",
        "checked_at": 1_795_309_323,
    }  # fmt: skip
    assert (rows["b" * 32]["status"], rows["b" * 32]["signed"]) == ("Bad Signature", "false")


def test_what_is_not_known_is_no_verdict(splunkd: SmallSplunkd, store: KvStore) -> None:
    VerdictTable(store).write([unknown_signature("c" * 32, Cause.NOT_FOUND, "No record.")])
    store.flush()

    assert splunkd.requests == []


def test_verdicts_not_checked_for_long_are_deleted(splunkd: SmallSplunkd, store: KvStore, clock: Clock) -> None:
    table = VerdictTable(store, clock)
    splunkd.collections["cbsigned_verdicts"] = {
        "old": {"_key": "old", "checked_at": int(clock.now - 91 * DAY_S)},
        "new": {"_key": "new", "checked_at": int(clock.now - 89 * DAY_S)},
    }
    table.write([signature("a" * 32, "Signed")])
    store.flush()

    assert set(splunkd.collections["cbsigned_verdicts"]) == {"new", "a" * 32}


# under the handler


def rows(*hashes: str) -> dict[str, Any]:
    return {"fields": ["md5"], "rows": [[text] for text in hashes], "wait_s": 10}


def test_another_process_answers_from_what_the_first_one_kept() -> None:
    binaries = [{"md5": "A" * 32, "digsig_result": "Signed"}]
    with EdrServer(binaries) as edr, SmallSplunkd({"edr": {"url": edr.url}}, TOKEN) as splunkd:
        first, second = Handler(), Handler()
        answer = ask(first, splunkd.uri, "rows", rows("a" * 32, "b" * 32))
        store = first.store()
        assert store is not None
        store.flush()
        again = ask(second, splunkd.uri, "rows", rows("a" * 32, "b" * 32))

        assert again == answer
        assert edr.counts["binary"] == 1
        assert list(splunkd.collections["cbsigned_verdicts"]) == ["a" * 32]
        assert TOKEN not in repr(splunkd.collections)


def test_a_dead_kv_store_changes_no_answer() -> None:
    binaries = [{"md5": "A" * 32, "digsig_result": "Signed"}]
    with EdrServer(binaries) as edr, SmallSplunkd({"edr": {"url": edr.url}}, TOKEN) as splunkd:
        splunkd.status["storage/collections"] = 503
        handler = Handler()
        status, answer = ask(handler, splunkd.uri, "rows", rows("a" * 32))
        health = ask(handler, splunkd.uri, "health", {})[1]

    assert (status, answer["answers"][0]["signing"]["status"], answer["warnings"]) == (200, "Signed", [])
    assert "failed" in health["kv_store"]
