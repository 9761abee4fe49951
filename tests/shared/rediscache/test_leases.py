"""One host asks, the others take its answer; who dies or is slow holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.errors import BinaryNotFound, NotFound, ProcessNotFound, SourceUnavailable
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import Relatives
from cbsigned.process import Process
from cbsigned.rediscache.answers import WRITINGS
from cbsigned.rediscache.leases import LeasedSource
from cbsigned.rediscache.server import RedisServer
from cbsigned.settings import RedisSettings
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline
from recording import Recording, guid_of, md5_of

AT = datetime(2026, 11, 22, 16, 0, 0, 61_000, tzinfo=timezone.utc)
SIGNED = BinaryRecord(RecordKind.BINARY_DOCUMENT, md5_of(1), word="Signed", code=0, signed_at=AT, paths=("c:\\a.exe",))
PROCESS = Process(guid_of(1), "a.exe", pid=7, started_at=AT, parent_guid=guid_of(2))
GAP = Gap("children", Cause.CUT, "1 of 9 shown.")


class Slow(Recording):
    """Answers when it is told to; counts what it is asked for."""

    def __init__(self, **world: Any) -> None:
        super().__init__(**world)
        self.asked, self.gate = threading.Event(), threading.Event()

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        self.asked.set()
        assert self.gate.wait(30)
        return super().binaries(hashes, deadline)


def patient(_seconds: float) -> None:
    """Wait for nothing but the other thread."""
    threading.Event().wait(0.005)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("binaries", (SIGNED, BinaryRecord(RecordKind.ALERT))),
        ("binaries", ()),
        ("processes", PROCESS),
        ("candidates", (PROCESS, PROCESS)),
        ("children", Relatives((PROCESS,), 9, GAP)),
        ("children", Relatives((), 0, None)),
        ("joint", True),
        ("joint", False),
    ],
)
def test_an_answer_is_the_same_on_the_other_host(kind: str, answer: Any) -> None:
    text = WRITINGS[kind].text_of(answer)

    assert text is not None
    assert WRITINGS[kind].answer_of(text.encode()) == answer


@pytest.mark.parametrize(("kind", "error"), [("binaries", BinaryNotFound), ("processes", ProcessNotFound)])
def test_that_nothing_is_there_is_an_answer_too_and_a_failure_is_none(kind: str, error: type[NotFound]) -> None:
    text = WRITINGS[kind].text_of(error("no such thing"))

    assert text is not None
    found = WRITINGS[kind].answer_of(text.encode())
    assert (type(found), str(found)) == (error, "no such thing")
    assert WRITINGS[kind].text_of(SourceUnavailable("down")) is None


def test_hosts_that_ask_at_the_same_time_ask_the_source_once(server: RedisServer) -> None:
    md5s = [md5_of(number) for number in range(700)]
    sources = [Slow(binaries={md5: [SIGNED] for md5 in md5s}) for _host in range(3)]
    hosts = [LeasedSource(source, server, patient) for source in sources]

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(hosts[0].binaries, md5s, Deadline(60))
        assert sources[0].asked.wait(30)
        for source in sources[1:]:
            source.gate.set()
        others = [pool.submit(host.binaries, md5s[::-1], Deadline(60)) for host in hosts[1:]]
        sources[0].gate.set()
        found = [first.result(), *(other.result() for other in others)]

    assert [len(source.hash_calls) for source in sources] == [1, 0, 0]
    assert found == [dict.fromkeys(md5s, (SIGNED,))] * 3
    assert [list(answers) for answers in found[1:]] == [md5s[::-1]] * 2


def test_every_kind_of_question_is_shared(server: RedisServer) -> None:
    sources = [Recording({md5_of(1): [SIGNED]}, [PROCESS], [(md5_of(1), "a")]) for _host in range(2)]
    sighting = Sighting("host", 7, AT)
    found = []
    for source in sources:
        host = LeasedSource(source, server)
        found.append([
            host.binaries([md5_of(1), md5_of(2)], Deadline(30)), host.processes([guid_of(1)], Deadline(30)),
            host.candidates([sighting], Deadline(30)), host.children([guid_of(2)], 5, Deadline(30)),
            host.joint_hits([(md5_of(1), "a")], Deadline(30)),
        ])  # fmt: skip
        source.failure = SourceUnavailable("asked again")
        sources[1].failure = source.failure

    assert found[0] == found[1]
    assert (sources[1].hash_calls, sources[1].guid_calls) == ([], [])


def test_a_failure_is_nobody_elses(server: RedisServer) -> None:
    failing, well = Recording(), Recording({md5_of(1): [SIGNED]})
    failing.failure = SourceUnavailable("down")

    first = LeasedSource(failing, server).binaries([md5_of(1)], Deadline(30))
    second = LeasedSource(well, server).binaries([md5_of(1)], Deadline(30))

    assert first == {md5_of(1): failing.failure}
    assert second == {md5_of(1): (SIGNED,)}


def leases(server: RedisServer) -> list[bytes]:
    keys: list[bytes] = server.use(lambda client: list(client.scan_iter("*|lease")))
    return keys


def test_a_lease_outlives_the_deadline_and_is_given_back(server: RedisServer) -> None:
    source = Slow(binaries={md5_of(1): [SIGNED]})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(LeasedSource(source, server).binaries, [md5_of(1)], Deadline(40))
        assert source.asked.wait(30)
        (held,) = leases(server)
        left_ms = server.use(lambda client: client.pttl(held))
        source.gate.set()
        asking.result()

    assert 40_000 < left_ms <= 45_000
    assert leases(server) == []


def test_a_lease_that_was_lost_is_not_taken_from_who_has_it_now(server: RedisServer) -> None:
    source = Slow(binaries={md5_of(1): [SIGNED]})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(LeasedSource(source, server).binaries, [md5_of(1)], Deadline(40))
        assert source.asked.wait(30)
        (held,) = leases(server)
        server.use(lambda client: client.set(held, "another's token", px=60_000))
        source.gate.set()
        asking.result()

    assert leases(server) == [held]


def test_the_leases_of_a_host_that_died_are_free_at_once(server: RedisServer) -> None:
    dying, next_one = Slow(), Recording({md5_of(1): [SIGNED]})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(LeasedSource(dying, server).binaries, [md5_of(1)], Deadline(60))
        assert dying.asked.wait(30)
        (owner,) = server.use(lambda client: list(client.scan_iter("cbsigned:1:owner:*")))
        server.use(lambda client: client.delete(owner))  # as it expires when nobody renews it

        found = LeasedSource(next_one, server).binaries([md5_of(1)], Deadline(60))
        dying.gate.set()
        asking.result()

    assert found == {md5_of(1): (SIGNED,)}


def test_who_has_waited_for_half_of_its_time_asks_itself(server: RedisServer) -> None:
    slow, own = Slow(), Recording({md5_of(1): [SIGNED]})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(LeasedSource(slow, server).binaries, [md5_of(1)], Deadline(60))
        assert slow.asked.wait(30)
        found = LeasedSource(own, server).binaries([md5_of(1)], Deadline(0.2))
        slow.gate.set()
        asking.result()

    assert found == {md5_of(1): (SIGNED,)}
    assert own.hash_calls == [[md5_of(1)]]


@pytest.mark.parametrize("content", [b"no JSON", b'{"answer": 5}', b"{}", b'{"answer": [{"kind": "?"}]}'])
def test_an_answer_that_cannot_be_read_is_asked_again(server: RedisServer, content: bytes) -> None:
    source = Recording({md5_of(1): [SIGNED]})
    LeasedSource(source, server).binaries([md5_of(1)], Deadline(30))
    (kept,) = server.use(lambda client: list(client.scan_iter("cbsigned:1:ask:*")))
    server.use(lambda client: client.set(kept, content, px=60_000))

    found = LeasedSource(source, server).binaries([md5_of(1)], Deadline(30))

    assert found == {md5_of(1): (SIGNED,)}


def test_without_the_server_everybody_asks_for_themselves() -> None:
    server = RedisServer(RedisSettings("redis://127.0.0.1:1/0", timeout_s=1.0))
    source = Recording({md5_of(1): [SIGNED]})

    found = LeasedSource(source, server).binaries([md5_of(1), md5_of(2)], Deadline(30))

    assert found == {md5_of(1): (SIGNED,), md5_of(2): ()}
    assert source.hash_calls == [[md5_of(1), md5_of(2)]]
