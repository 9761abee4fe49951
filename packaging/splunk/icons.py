"""Draw the app's icons: a seal with a tick over three links of a lineage, at every size that Splunk asks for.

`python packaging/splunk/icons.py` writes them anew into `app/static` and `app/appserver/static`.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

APP = Path(__file__).resolve().parent / "app"
SIZES = {
    "static/appIcon.png": (36, False),
    "static/appIcon_2x.png": (72, False),
    "static/appIconAlt.png": (36, True),
    "static/appIconAlt_2x.png": (72, True),
    "appserver/static/cbsigned_enrich.png": (48, False),
}
SEAL = (31, 58, 95)
LIGHT = (255, 255, 255)
_TICK = ((0.31, 0.41), (0.44, 0.55), (0.69, 0.26))
_LINKS = ((0.26, 0.91), (0.50, 0.91), (0.74, 0.91))
_FINE = 4  # samples in each direction of a pixel

Colour = tuple[int, int, int]


def main() -> int:
    """Write every icon."""
    for name, (size, alternative) in SIZES.items():
        (APP / name).write_bytes(png(pixels(size, alternative)))
    return 0


def pixels(size: int, alternative: bool) -> list[list[tuple[int, int, int, int]]]:
    """Return the rows of an icon, each pixel as red, green, blue and opacity.

    Args:
        size: Width and height.
        alternative: White on nothing, for the dark bar of the app.
    """
    seal, mark = (LIGHT, SEAL) if alternative else (SEAL, LIGHT)
    return [[_pixel(column, row, size, seal, mark) for column in range(size)] for row in range(size)]


def png(rows: Sequence[Sequence[tuple[int, int, int, int]]]) -> bytes:
    """Return a PNG file of these rows."""
    raw = b"".join(b"\0" + b"".join(bytes(pixel) for pixel in row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixel(column: int, row: int, size: int, seal: Colour, mark: Colour) -> tuple[int, int, int, int]:
    """Return the mean colour of the samples within a pixel."""
    seen = [
        _colour((column + (i + 0.5) / _FINE) / size, (row + (j + 0.5) / _FINE) / size, seal, mark)
        for i in range(_FINE)
        for j in range(_FINE)
    ]
    painted = [colour for colour in seen if colour is not None]
    if not painted:
        return (0, 0, 0, 0)
    red, green, blue = (round(sum(colour[n] for colour in painted) / len(painted)) for n in range(3))
    return (red, green, blue, round(255 * len(painted) / len(seen)))


def _colour(x: float, y: float, seal: Colour, mark: Colour) -> Colour | None:
    """Return what is painted at a point of the unit square."""
    if any(_from_line(x, y, start, end) < 0.055 for start, end in zip(_TICK, _TICK[1:])):
        return mark
    angle = math.atan2(y - 0.40, x - 0.5)
    if math.hypot(x - 0.5, y - 0.40) < 0.36 + 0.03 * math.cos(12 * angle):
        return seal
    if any(math.hypot(x - a, y - b) < 0.07 for a, b in _LINKS) or _from_line(x, y, _LINKS[0], _LINKS[2]) < 0.02:
        return seal
    return None


def _from_line(x: float, y: float, start: tuple[float, float], end: tuple[float, float]) -> float:
    across, down = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * across + (y - start[1]) * down) / (across**2 + down**2)
    at = min(1.0, max(0.0, along))
    return math.hypot(x - start[0] - at * across, y - start[1] - at * down)


if __name__ == "__main__":
    sys.exit(main())
