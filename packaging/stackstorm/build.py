"""Build the StackStorm pack: `python packaging/stackstorm/build.py --output dist`.

Writes `cbsigned-stackstorm-<version>.tar.gz`: the folder `cbsigned` with the pack, and the core and the actions in its
`actions/lib`, which StackStorm puts on the path of Python actions. Two builds of one checkout are equal to the byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import bundle  # noqa: E402 (lies in the folder above)


def contents() -> dict[str, bytes]:
    """Return every file of the pack by its path inside it."""
    files = bundle.files_below(HERE / "pack")
    files.update((f"actions/lib/{name}", data) for name, data in bundle.code("stackstorm").items())
    files["LICENSE"] = (bundle.PROJECT / "LICENSE").read_bytes()
    return files


def made() -> dict[str, bytes]:
    """Return the package by its file name."""
    return {f"cbsigned-stackstorm-{bundle.version()}.tar.gz": bundle.tar_gz("cbsigned", contents())}


if __name__ == "__main__":
    sys.exit(bundle.main(__doc__, made))
