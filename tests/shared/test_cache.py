from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.cache import FileCache, MemoryCache, TieredCache
from cbsigned.codec import decode_process, decode_signature, encode
from cbsigned.process import parse_process
from cbsigned.signing import signing_statuses
from cbsigned.timing import Deadline
from recording import Recording, document, guid_of, md5_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_lives_as_long_as_it_was_given(tmp_path: Path) -> None:
    clock = Clock()
    cache = FileCache(tmp_path / "c", clock=clock)
    cache.put_many({"signed": ("1", 100.0), "unknown": ("2", 10.0)})

    clock.now += 50

    assert cache.get_many(["signed", "unknown"]) == {"signed": ("1", 50.0)}
    cache.close()


def test_processes_share_one_file(tmp_path: Path) -> None:
    first, second = FileCache(tmp_path / "c"), FileCache(tmp_path / "c")
    first.put_many({"a": ("1", 60.0)})

    assert second.get_many(["a"])["a"][0] == "1"
    first.close()
    second.close()


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "deep" / "c")
    cache.put_many({"a": ("1", 60.0)})

    assert (tmp_path / "deep" / "c").stat().st_mode & 0o077 == 0
    cache.close()


def test_a_corrupt_file_is_set_aside_and_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"this is no database at all" * 1000)
    cache = FileCache(path)

    cache.put_many({"a": ("1", 60.0)})

    assert cache.get_many(["a"])["a"][0] == "1"
    assert [p.name for p in tmp_path.glob("c.corrupt-*")]
    assert "made anew" in caplog.text
    cache.close()


def test_a_file_that_turns_corrupt_while_open_is_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "c"
    cache = FileCache(path)
    cache.put_many({f"k{i}": ("x" * 500, 60.0) for i in range(500)})
    cache.close()
    data = bytearray(path.read_bytes())
    data[4096:] = random.Random(1).randbytes(len(data) - 4096)
    path.write_bytes(bytes(data))

    cache.put_many({"a": ("1", 60.0)})
    cache.put_many({"a": ("1", 60.0)})

    assert cache.get_many(["a"])["a"][0] == "1"
    cache.close()


def test_the_oldest_go_beyond_the_size_bound(tmp_path: Path) -> None:
    clock = Clock()
    cache = FileCache(tmp_path / "c", max_bytes=400_000, clock=clock)

    for number in range(100):
        clock.now += 1
        cache.put_many({f"k{number}-{i}": ("x" * 900, 1e6) for i in range(20)})

    assert (tmp_path / "c").stat().st_size < 1_200_000
    assert cache.get_many(["k99-0", "k0-0"]).keys() == {"k99-0"}
    cache.close()


def test_a_read_only_folder_costs_only_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    cache = FileCache(tmp_path / "file" / "below")

    cache.put_many({"a": ("1", 60.0)})

    assert cache.get_many(["a"]) == {}
    assert caplog.text.count("WARNING") == 1


def test_a_full_disk_costs_only_a_warning(tmp_path: Path) -> None:
    code = (
        "import resource,signal,sys;signal.signal(signal.SIGXFSZ,signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE,(60000,60000))\n"
        "from cbsigned.cache import FileCache\n"
        f"c=FileCache({str(tmp_path / 'c')!r})\n"
        "for n in range(200): c.put_many({f'{n}-{i}':('x'*800,60.0) for i in range(10)})\n"
        "print('alive', len(c.get_many(['0-0'])))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=_environment())

    assert done.stdout.startswith("alive"), done.stderr
    assert "not used for now" in done.stderr


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.nightly)])
def test_kill_9_while_writing_leaves_a_file_that_opens_with_whole_batches(tmp_path: Path, rounds: int) -> None:
    path, chance = tmp_path / "c", random.Random(rounds)
    code = (
        "import sys\nfrom cbsigned.cache import FileCache\n"
        "c=FileCache(sys.argv[1])\nbase=sys.argv[2]\n"
        "for n in range(10**6):\n"
        "    c.put_many({f'{base}-{n}-{i}':('x'*300,600.0) for i in range(50)}); print(n, flush=True)\n"
    )

    for attempt in range(rounds):
        args = [sys.executable, "-c", code, str(path), str(attempt)]
        with subprocess.Popen(args, stdout=subprocess.PIPE, text=True, env=_environment()) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.random() * 0.15)
            writer.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in writer.stdout.read().split()]
        cache = FileCache(path)
        last = max(acknowledged, default=0)
        assert len(cache.get_many([f"{attempt}-{last}-{i}" for i in range(50)])) == 50
        cache.close()

    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cbsigned.cache import FileCache\nc=FileCache(sys.argv[1])\n"
        "for n in range(40): c.put_many({f'{sys.argv[2]}-{n}-{i}':('x'*100,600.0) for i in range(20)})\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "c"), str(k)], env=_environment())
        for k in range(4)
    ]

    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    cache = FileCache(tmp_path / "c")
    keys = [f"{k}-{n}-{i}" for k in range(4) for n in range(40) for i in range(20)]
    assert len(cache.get_many(keys)) == len(keys)
    cache.close()


def test_the_least_recently_used_leaves_memory_first() -> None:
    memory: MemoryCache[str] = MemoryCache(max_entries=2)
    memory.put_many({"a": ("1", 60.0), "b": ("2", 60.0)})
    memory.get_many(["a"])

    memory.put_many({"c": ("3", 60.0)})

    assert memory.get_many(["a", "b", "c"]) == {"a": "1", "c": "3"}


@pytest.mark.parametrize("text", ['{"status": "Strange"}', "null", "[]", '{"status":"Signed","evidence":"z"}', "{"])
def test_a_text_of_another_version_is_a_miss(tmp_path: Path, text: str) -> None:
    durable = FileCache(tmp_path / "c")
    durable.put_many({"k": (text, 60.0)})

    assert TieredCache(encode, decode_signature, durable).get_many(["k"]) == {}
    durable.close()


def test_an_answer_lifted_into_memory_lives_no_longer_than_in_the_file(tmp_path: Path) -> None:
    """An Unknown of ten minutes was still given after fifteen."""
    clock = Clock()
    durable = FileCache(tmp_path / "c", clock=clock)
    durable.put_many({"k": ('"v"', 600.0)})
    memory: MemoryCache[str] = MemoryCache(clock=clock)
    tiers: TieredCache[str] = TieredCache(str, str, durable, memory)

    clock.now += 599
    assert tiers.get_many(["k"]) == {"k": '"v"'}
    clock.now += 2

    assert tiers.get_many(["k"]) == {}
    durable.close()


def test_a_value_that_cannot_be_kept_costs_no_file(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "c")
    cache.put_many({"a": ("1", 60.0)})

    cache.put_many({"b": (None, 60.0)})  # type: ignore[dict-item]
    cache.put_many({"half \ud800 character": ("1", 60.0)})

    assert cache.get_many(["a"])["a"][0] == "1"
    assert not list(tmp_path.glob("*.corrupt-*"))
    cache.close()


def test_signatures_and_processes_survive_the_cache() -> None:
    record = document("Expired", code=0x800B0101, publisher="Ácme", paths=("c:\\a.exe",), host_count=3)
    source = Recording({md5_of(1): [record]})
    process = parse_process({"id": guid_of(1), "start": "2024-01-01T00:00:01.5Z", "cmdline": "a\nb"})
    assert process is not None

    signature = signing_statuses(source, [md5_of(1)], Deadline(5))[md5_of(1)]

    assert decode_signature(encode(signature)) == signature
    assert decode_process(encode(process)) == process


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(1, 50), st.floats(0, 20)), max_size=40))
def test_memory_holds_exactly_what_has_not_expired(steps: list[tuple[str, float, float]]) -> None:
    clock = Clock()
    memory: MemoryCache[int] = MemoryCache(clock=clock)
    model: dict[str, tuple[int, float]] = {}

    for number, (key, life_s, pause_s) in enumerate(steps):
        memory.put_many({key: (number, life_s)})
        model[key] = (number, clock.now + life_s)
        clock.now += pause_s
        expected = {k: value for k, (value, until) in model.items() if until > clock.now}
        assert memory.get_many(list("abcdef")) == expected


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
