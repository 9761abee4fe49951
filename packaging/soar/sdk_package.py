"""Run by the Python of the SDK's environment: let the SDK build its package of the app in a folder.

    .venvs/soar-7.0.3/bin/python sdk_package.py FOLDER PACKAGE.tgz DOWNLOADS

The SDK opens a connection for each of some 60 wheels at once with ten seconds for each, which fails on small machines.
Here six are fetched at a time, and each once only: its checksum names it in DOWNLOADS. The SDK compares the checksum.
What has no wheel (one library) it builds from source.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from soar_sdk.cli.package.cli import build
from soar_sdk.meta.dependencies.sources import UvSourceDistribution, UvWheel

AT_A_TIME = 6


def main(folder: Path, package: Path, downloads: Path) -> None:
    """Build."""
    downloads.mkdir(parents=True, exist_ok=True)
    fetch, build_one, places = UvWheel.fetch, UvSourceDistribution.fetch_and_build, asyncio.Semaphore(AT_A_TIME)

    async def fetch_once(wheel: UvWheel) -> bytes:
        kept = downloads / f"{_digest(wheel.hash)}.whl"
        if not kept.exists():
            async with places:
                _keep(kept, await fetch(wheel))
        data = kept.read_bytes()
        wheel.validate_hash(data)
        return data

    async def build_once(source: UvSourceDistribution) -> tuple[str, bytes]:
        kept = next(downloads.glob(f"{_digest(source.hash)}=*.whl"), None)
        if kept is None:
            async with places:
                name, data = await build_one(source)
            kept = downloads / f"{_digest(source.hash)}={name}"
            _keep(kept, data)
        return kept.name.partition("=")[2], kept.read_bytes()

    UvWheel.fetch, UvSourceDistribution.fetch_and_build = fetch_once, build_once
    build(folder, output_file=package, with_sdk_wheel_from=None)


def _digest(hash_: str) -> str:
    return hash_.partition(":")[2]


def _keep(path: Path, data: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
