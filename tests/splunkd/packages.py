"""The app as it is installed: built, unpacked, and compiled as its first run would."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from splunkd.instance import PYTHON
from support import PROJECT

__all__ = ["build", "unpack"]


def build(folder: Path) -> Path:
    """Build the app with `packaging/splunk/build.py` and return the `.spl`."""
    script = PROJECT / "packaging" / "splunk" / "build.py"
    subprocess.run([sys.executable, str(script), "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("cbsigned-*.spl"))


def unpack(spl: Path, folder: Path, python: str = PYTHON) -> Path:
    """Unpack a `.spl` and return the folder of the app."""
    with tarfile.open(spl) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)  # noqa: S202 (our own)
    app = folder / "cbsigned"
    subprocess.run([python, "-m", "compileall", "-q", str(app / "bin")], check=True)
    return app
