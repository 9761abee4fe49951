"""Events that are hard to bring back as they went: quotes, line ends, invalid UTF-8, multi-values, long cells."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from splunkd.frames import Cell, Table

__all__ = ["STATUSES", "binaries", "md5_of", "tables"]

STATUSES = ("Signed", "Unsigned", "Expired", "Bad Signature")
_CELLS: tuple[Cell, ...] = (
    b"", b"plain", b'say "it"', b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a,b\nc", b"$;$", b"\xff\xfe\x80", b"\0",
    b"\xe2\x80\xa8\xc2\x85\x1c", "\u20ac \U0001f600 zo\u00eb".encode(), b"  blanks  ", b"\\\"", b"x" * 3000,
    (b"a", b"b"), (b"$", b"$$", b"a$;$b"), (b"", b"x"), (b'"', b",\n"),
)  # fmt: skip
_HASHES: tuple[Cell, ...] = (b"", b"zz", b"MD5=", b'"', b"0" * 500, (b"x", b"y"), b"\xff" * 32)


def md5_of(number: int) -> str:
    """Return the hash of file `number`."""
    return f"{number:032x}"


def binaries(count: int) -> list[dict[str, str]]:
    """Return what the EDR knows of the files 0 to `count` - 1; one in five is unknown to it."""
    return [
        {"md5": md5_of(n).upper(), "digsig_result": STATUSES[n % len(STATUSES)], "digsig_publisher": f"Maker {n % 97}"}
        for n in range(count)
        if n % 5
    ]


def tables(rows: int, files: int, sizes: Sequence[int], seed: int = 1) -> Iterator[Table]:
    """Yield `rows` events in chunks of the sizes in turn; the columns and their order change between chunks.

    Every event has `md5`: the hash of one of `files` files, now and then something that is none. Cells of `_raw` and
    others are hostile in one event out of ten.
    """
    chance = random.Random(seed)
    made = turn = 0
    while made < rows:
        size = min(sizes[turn % len(sizes)], rows - made)
        others = [b"_raw", b"host", b"tag::eventtype", b"f\xc3\xa9 ld"]
        names = [b"md5", b"number", *chance.sample(others, chance.randint(1, len(others)))]
        chance.shuffle(names)
        yield Table(tuple(names), [_row(names, n, files, chance) for n in range(made, made + size)])
        made, turn = made + size, turn + 1


def _row(names: Sequence[bytes], number: int, files: int, chance: random.Random) -> tuple[Cell, ...]:
    odd = chance.random() < 0.1
    found: dict[bytes, Cell] = {
        b"md5": chance.choice(_HASHES) if odd and number % 7 == 0 else b"%032x" % (number * 7919 % files),
        b"number": b"%d" % number,
    }
    rest = _CELLS if odd else (b"event %d of host-%d" % (number, number % 50),)
    return tuple(found[name] if name in found else chance.choice(rest) for name in names)
