"""Build the StackStorm pack: `python packaging/stackstorm/build.py --output dist`.

Writes `cbsigned-stackstorm-<version>.tar.gz`: the folder `cbsigned` with the pack, and the core and the actions in its
`actions/lib`, which StackStorm puts on the path of Python actions. Two builds of one checkout are equal to the byte.
"""

from __future__ import annotations

import argparse
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


def main() -> int:
    """Build the pack and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=bundle.PROJECT / "dist", help="folder for it (default: dist)")
    options = parser.parse_args()
    files = contents()
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"cbsigned-stackstorm-{bundle.version()}.tar.gz"
    target.write_bytes(bundle.tar_gz("cbsigned", files))
    print(f"{target}: {len(files)} files, {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
