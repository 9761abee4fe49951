"""The app staged once, and running under each SDK.

What runs here depends on the SDK's Python, not on that of the tests, so it runs on the newest Python here alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import matrix

sys.path.insert(0, str(Path(__file__).parent))

from sdk_app import SdkApp, script

SDKS = ("2.3.7", "7.0.3")
_NEWEST = max(matrix.interpreters(), key=lambda version: [int(part) for part in version.split(".")])

if f"{sys.version_info[0]}.{sys.version_info[1]}" != _NEWEST:
    collect_ignore = ["test_app.py", "test_package.py", "test_playbook.py", "test_widget.py"]


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app as it is packed, and beside it what its wheel of ours holds."""
    folder = tmp_path_factory.mktemp("soar") / "cbsigned_soar"
    script("build").stage(folder)
    return folder


@pytest.fixture(scope="session", params=SDKS)
def app(request: pytest.FixtureRequest, staged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkApp]:
    """The app under each SDK."""
    running = SdkApp(request.param, staged, tmp_path_factory.mktemp("logs") / "stderr.txt")
    yield running
    running.close()
