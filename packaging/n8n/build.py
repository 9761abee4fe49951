"""Build the n8n package: `python packaging/n8n/build.py --output dist`.

Writes `n8n-nodes-cbsigned-<version>.tgz`, as `npm pack` would; it needs nothing besides n8n. Two builds of one checkout
are equal to the byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import bundle  # noqa: E402 (lies in the folder above)


def made() -> dict[str, bytes]:
    """Return the package by its file name."""
    files = {**bundle.files_below(HERE / "package"), "LICENSE": (bundle.PROJECT / "LICENSE").read_bytes()}
    return {f"n8n-nodes-cbsigned-{bundle.version()}.tgz": bundle.tar_gz("package", files)}


if __name__ == "__main__":
    sys.exit(bundle.main(__doc__, made))
