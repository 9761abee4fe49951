"""What is told of a Redis that does not work, how long that takes, and that it is used again by itself."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest
import trustme

from cbsigned.errors import ConfigError
from cbsigned.rediscache.server import RedisDown, RedisServer
from cbsigned.settings import RedisSettings
from redis_server import RedisProcess, redis_process

SECRET = "a-password-that-nobody-sees"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def used(url: str, clock: Optional[Clock] = None, **settings: Any) -> Iterator[RedisServer]:
    found = RedisServer(RedisSettings(url, **{"timeout_s": 5.0, **settings}), clock or Clock())
    yield found
    found.close()


def ping(server: RedisServer) -> Any:
    return server.use(lambda client: client.ping())


def test_a_server_that_died_is_left_alone_for_a_moment_and_then_used_again(tmp_path: Path) -> None:
    clock, asked = Clock(), []
    with redis_process(tmp_path) as process, used(process.url, clock) as server:
        before = ping(server)
        process.kill()
        with pytest.raises(RedisDown, match="cannot be reached"):
            ping(server)
        process.start()
        with pytest.raises(RedisDown):
            server.use(asked.append)
        clock.now += 0.6
        after = ping(server)

    assert (before, after, asked) == (True, True, [])
    assert (server.trouble, server.failures) == (None, 1)


def test_a_server_that_stays_dead_is_tried_more_and_more_seldom(tmp_path: Path) -> None:
    clock, tries = Clock(), []

    def fail(_client: Any) -> None:
        tries.append(clock.now)
        raise ConnectionError

    with redis_process(tmp_path) as process, used(process.url, clock) as server:
        for _step in range(400):
            with pytest.raises(RedisDown):
                server.use(fail)
            clock.now += 0.1

    pauses = [later - sooner for sooner, later in zip(tries, tries[1:])]
    assert pauses[:4] == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.11)
    assert max(pauses) == pytest.approx(5.0, abs=0.11)


def test_a_server_that_hangs_costs_one_caller_one_wait(tmp_path: Path) -> None:
    clock = Clock()
    with redis_process(tmp_path) as process, used(process.url, clock, timeout_s=0.2) as server:
        ping(server)
        process.signal(signal.SIGSTOP)
        with pytest.raises(RedisDown, match=r"did not answer within 0\.2 s"):
            ping(server)
        clock.now += 1
        gate, entered = threading.Event(), threading.Event()

        def wait(_client: Any) -> None:
            entered.set()
            assert gate.wait(20)

        trying = threading.Thread(target=lambda: server.use(wait))
        trying.start()
        assert entered.wait(20)
        with pytest.raises(RedisDown, match="did not answer"):  # another one tries just now
            server.use(wait)
        gate.set()
        trying.join()
        process.signal(signal.SIGCONT)

        assert server.check() is None


@pytest.mark.parametrize("password", ["", "wrong-" + SECRET], ids=["none", "wrong"])
def test_a_refused_password_is_told_and_never_shown(
    tmp_path: Path, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_process(tmp_path, ["--requirepass", SECRET]) as process:
        with used(process.url, password=SECRET) as server:
            assert server.check() is None
        with used(process.url, password=password) as server:
            trouble = server.check()

    assert trouble is not None
    assert "CBSIGNED_CACHE_PASSWORD" in trouble
    assert SECRET not in trouble + caplog.text + repr(server.settings)


def test_tls_is_verified_against_the_ca_that_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    pem = str(tmp_path / "server.pem")
    options = ["--tls-cert-file", pem, "--tls-key-file", pem, "--tls-auth-clients", "no"]
    with redis_process(tmp_path, options, tls=True) as process:
        with used(process.url, ca_file=str(tmp_path / "ca.pem")) as server:
            accepted = server.check()
        with used(process.url) as server:
            refused = server.check()

    assert accepted is None
    assert "certificate" in str(refused)


def test_a_server_that_takes_no_writes_says_what_it_says(tmp_path: Path) -> None:
    with redis_process(tmp_path, ["--maxmemory", "1"]) as process, used(process.url) as server:
        trouble = server.check()

    assert "maxmemory" in str(trouble)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, running: RedisProcess) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigError, match=r"pip install 'cbsigned\[redis\]'"):
        RedisServer(RedisSettings(running.url))


def test_user_and_password_are_not_in_what_is_shown() -> None:
    with used("redis://someone@localhost:1/3") as server:
        assert server.shown == "redis://localhost:1/3"
