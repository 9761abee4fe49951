"""What the tests of the Cortex package share; what does not depend on the Python of the tests runs on one alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import matrix
from playbooks.cortex.jobs import BUILD

_RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
_NEWEST = max(matrix.interpreters(), key=lambda version: [int(part) for part in version.split(".")])
collect_ignore = [] if _RUNNING == _NEWEST else ["test_cortex_oracle.py", "test_cortex_templates.py"]


@pytest.fixture(scope="session")
def cortex_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is installed: built, and unpacked."""
    folder = tmp_path_factory.mktemp("cortex")
    done = subprocess.run(
        [sys.executable, str(BUILD), "--output", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    return folder / archive.name.replace(".tar.gz", "")
