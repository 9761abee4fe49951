"""Build the n8n package: `python packaging/n8n/build.py --output dist`.

Writes `n8n-nodes-cbsigned-<version>.tgz`, as `npm pack` would; it needs nothing besides n8n. Two builds of one checkout
are equal to the byte.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import bundle  # noqa: E402 (lies in the folder above)


def main() -> int:
    """Build the package and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=bundle.PROJECT / "dist", help="folder for it (default: dist)")
    options = parser.parse_args()
    files = {**bundle.files_below(HERE / "package"), "LICENSE": (bundle.PROJECT / "LICENSE").read_bytes()}
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"n8n-nodes-cbsigned-{bundle.version()}.tgz"
    target.write_bytes(bundle.tar_gz("package", files))
    print(f"{target}: {len(files)} files, {target.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
