"""Draw the integration's image, 120 x 50: the Splunk app's seal in the middle of nothing.

`python packaging/xsoar/image.py` writes it anew into the pack.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE / "Packs" / "CBSigned" / "Integrations" / "CBSigned" / "CBSigned_image.png"
WIDTH, HEIGHT = 120, 50


def main() -> int:
    """Write the image."""
    spec = importlib.util.spec_from_file_location("icons", HERE.parent / "splunk" / "icons.py")
    if spec is None or spec.loader is None:
        sys.exit("packaging/splunk/icons.py is missing: it draws the seal.")
    icons = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(icons)
    side = [(0, 0, 0, 0)] * ((WIDTH - HEIGHT) // 2)
    TARGET.write_bytes(icons.png([[*side, *row, *side] for row in icons.pixels(HEIGHT, False)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
