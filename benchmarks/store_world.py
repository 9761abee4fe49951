"""The telemetry that `bench_store.py` measures with: the same in every run, and a smaller world is the beginning of a
larger one.

2,000 hosts start processes in trees up to 12 deep, one every half second; 10,000 programs and 20,000 libraries are
met as often as Zipf's law says. Command lines hold words that are frequent in few distinct lines (`-servicehost`, a
third of all processes), frequent in many (`-session`, an eighth), and rare (`seldom`, one process in 20,000).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from hashlib import blake2b

from cbsigned.store.documents import translate
from cbsigned.store.ingest import BATCH
from cbsigned.store.rows import Batch, Described, Origin, ProcessFact, Rank

__all__ = ["BINARIES", "HOSTS", "MAX_DEPTH", "SELDOM", "World", "md5_of", "path_of"]

HOSTS = 2_000
PROGRAMS, LIBRARIES = 10_000, 20_000
BINARIES = PROGRAMS + LIBRARIES
MAX_DEPTH = 12
LOADS = 2
"""Module loads of one process, on average."""
SELDOM = 20_000
_BEGAN_MS = 1_609_459_200_000  # 2021-01-01
_STEP_MS = 518  # five million processes fill thirty days
_FILETIME_1970 = 116_444_736_000_000_000
_RECENT, _BASE = 24, 8
_TABLE = 1 << 18
_WORDS = ("Signed", "Signed", "Signed", "Unsigned", "Signed", "Bad Signature", "Signed", "Expired")


def md5_of(number: int) -> str:
    """Return the MD5 of one of the `BINARIES`."""
    return blake2b(b"binary %d" % number, digest_size=16).hexdigest()


def path_of(number: int) -> str:
    """Return where one of the `BINARIES` lies; programs come before libraries."""
    if number < PROGRAMS:
        return f"c:\\program files\\vendor{number % 211}\\tool{number % 2500:04d}\\p{number:05d}.exe"
    return f"c:\\windows\\system32\\part{number % 97}\\l{number:05d}.dll"


class World:
    """Telemetry in the order in which it happened.

    Args:
        processes: How many start; the binaries' documents come before them.
        batch: Records in one batch: starts, loads and file events together.
        scale: 20 for a world of a twentieth of the hosts and binaries, so that few processes have deep trees too.
    """

    def __init__(self, processes: int, batch: int = BATCH, scale: int = 1) -> None:
        self.processes, self._batch = processes, batch
        self._programs, self._libraries = _zipf(PROGRAMS // scale), _zipf(LIBRARIES // scale)
        self._binaries = [*range(PROGRAMS // scale), *range(PROGRAMS, PROGRAMS + LIBRARIES // scale)]
        self._paths, self._md5s = [path_of(n) for n in range(BINARIES)], [md5_of(n) for n in range(BINARIES)]
        self._dice = random.Random(20210420)
        self._origins = [Origin(f"HOST-{n:04d}", n + 1, "cbserver") for n in range(HOSTS // scale)]
        self._alive: list[list[tuple[str, int]]] = [[] for _ in self._origins]

    def documents(self) -> Iterator[Batch]:
        """Yield the binaries' documents: one in ten binaries has none."""
        batch = Batch()
        for number in self._binaries:
            if number % 10 == 9:
                continue
            document = {
                "md5": self._md5s[number].upper(), "digsig_result": _WORDS[number % len(_WORDS)],
                "digsig_publisher": f"Vendor {number % 211}", "observed_filename": [self._paths[number]],
                "server_added_timestamp": "2020-12-31T00:00:00Z", "orig_mod_len": 4096 + number,
                "is_executable_image": number < PROGRAMS, "os_type": "Windows", "host_count": 1 + number % 2000,
            }  # fmt: skip
            translate(document, "binarystore", batch)
            if len(batch.messages) >= self._batch // 4:
                yield batch
                batch = Batch()
        yield batch

    def batches(self) -> Iterator[Batch]:
        """Yield processes with what they loaded and wrote."""
        batch = Batch()
        for number in range(self.processes):
            self._process(number, batch)
            if len(batch.starts) + len(batch.loads) + len(batch.filemods) >= self._batch:
                yield batch
                batch = Batch()
        if batch.starts:
            yield batch

    def _process(self, number: int, batch: Batch) -> None:
        dice = self._dice.random
        host = int(dice() * len(self._alive))
        origin, at = self._origins[host], _BEGAN_MS + number * _STEP_MS + int(dice() * _STEP_MS)
        alive = self._alive[host]
        if alive:
            pid = 4 * (2 + int(dice() * 15_000))
            ticks = at * 10_000 + _FILETIME_1970 + number % 10_000
            parent, depth = self._parent(alive, dice())
        else:  # the kernel comes first
            pid, ticks, parent, depth = 4, _BEGAN_MS * 10_000 + _FILETIME_1970, None, -1
        guid = f"{host + 1:08x}-0000-{pid:04x}-{ticks >> 48:04x}-{ticks & 0xFFFFFFFFFFFF:012x}"
        alive.append((guid, depth + 1))
        if len(alive) > _RECENT + _BASE:
            del alive[_BASE]
        image = self._programs[int(dice() * _TABLE)]
        batch.starts.append(ProcessFact(
            guid, Rank.START, int(Described.START), parent, None, self._paths[image], self._md5s[image], None,
            self._cmdline(number, image, dice()), f"CORP\\user{int(dice() * 3000)}", origin, "windows", at,
        ))  # fmt: skip
        load, paths, md5s = batch.loads.append, self._paths, self._md5s
        for place in range(LOADS - 1 + int(dice() * 3)):
            library = PROGRAMS + self._libraries[int(dice() * _TABLE)]
            load((guid, origin, at + 5 * place, md5s[library], paths[library], None))
        if dice() < 0.2:
            written = md5s[self._binaries[int(dice() * len(self._binaries))]] if dice() < 0.1 else None
            path = f"c:\\users\\user{int(dice() * 300)}\\appdata\\local\\temp\\{int(dice() * 1000):03d}.tmp"
            batch.filemods.append((guid, md5s[image], origin, at + 40, path, 2, written, 0, None))

    def _parent(self, alive: list[tuple[str, int]], draw: float) -> tuple[str, int]:
        """Return one of the host's first processes, or a late one that is not too deep; the kernel, 0, never is."""
        if draw < 0.2:
            return alive[int(draw * 5 * min(_BASE, len(alive)))]
        place = len(alive) - 1 - int(((draw - 0.2) / 0.8) ** 3 * len(alive))
        while alive[place][1] >= MAX_DEPTH:
            place -= 1
        return alive[place]

    def _cmdline(self, number: int, image: int, draw: float) -> str:
        path = self._paths[image]
        if number % SELDOM == SELDOM - 1:
            return f'"{path}" -note seldom{" needle" if number % (50 * SELDOM) == SELDOM - 1 else ""} -run r{number}'
        if draw < 0.12:
            return f'"{path}" -session s{number:x} -user u{number % 3000}'
        variant = int((draw - 0.12) / 0.88 * 5)
        word = "-servicehost" if variant < 2 else f"-group g{image % 400}"
        return f'"{path}" {word} -variant v{variant}'


def _zipf(count: int) -> array[int]:
    """Return numbers below `count`, each as often as Zipf's law says, to be drawn from by place."""
    weights = [1 / (rank + 1) for rank in range(count)]
    scale, total, found = _TABLE / sum(weights), 0.0, array("H")
    for rank, weight in enumerate(weights):
        total += weight * scale
        found.extend([rank] * (int(total) - len(found)))
    found.extend([count - 1] * (_TABLE - len(found)))
    return found
