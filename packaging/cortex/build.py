"""Build the Cortex package: `python packaging/cortex/build.py --output dist` writes `cbsigned-cortex-<version>.tar.gz`.

`analyzers/CBSigned` and `responders/CBSigned` with the code in `lib/`, the report templates of TheHive as folders and
as the archive that it imports, and catalogues for Cortex installations that run containers. Two builds of one checkout
are equal to the byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bundle import PROJECT, code, files_below, main, tar_gz, version, zipped  # noqa: E402 (its folder is no package)

NAME = "CBSigned"
TEMPLATES = "thehive-templates"
ROOMS = ("analyzers", "responders")
PROGRAMS = tuple(f"{room}/{NAME}/cbsigned_{room[:-1]}.py" for room in ROOMS)


def made() -> dict[str, bytes]:
    """Return the package by its file name."""
    top = f"cbsigned-cortex-{version()}"
    return {f"{top}.tar.gz": tar_gz(top, contents(), PROGRAMS)}


def contents() -> dict[str, bytes]:
    """Return every file of the package by its path inside it."""
    carried = code("cortex")
    files = {f"{room}/{NAME}/lib/{name}": data for room in ROOMS for name, data in carried.items()}
    for room in (*ROOMS, TEMPLATES):
        files.update({f"{room}/{name}": data for name, data in files_below(HERE / room).items()})
    files[f"{TEMPLATES}.zip"] = zipped(files_below(HERE / TEMPLATES))
    for name in (*(f"{room}.json" for room in ROOMS), "README.md"):
        files[name] = (HERE / name).read_bytes()
    files["LICENSE"] = (PROJECT / "LICENSE").read_bytes()
    return files


if __name__ == "__main__":
    sys.exit(main(__doc__, made))
