"""The integration as it is uploaded, in a process like the platform's, against the EDR stand-in.

The platform runs Python 3.10 to 3.12, so what needs its process is tested once, on 3.11 where the machine has it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import matrix

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from golden import Edr  # noqa: E402
from xsoar_platform import Platform, build  # noqa: E402

_THERE = matrix.interpreters()
CHOSEN = next((v for v in ("3.11", "3.12", "3.10") if v in _THERE), max(_THERE, key=lambda v: int(v.split(".")[1])))
if f"{sys.version_info[0]}.{sys.version_info[1]}" != CHOSEN:
    collect_ignore = ["test_commands.py", "test_failures.py"]


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of the integration as it stands in the unified YAML."""
    path = tmp_path_factory.mktemp("xsoar") / "CBSigned.py"
    path.write_text(build().script(), "utf-8")
    return path


@pytest.fixture(scope="session")
def platform(script: Path, edr: Edr) -> Iterator[Platform]:
    """Give a process that runs the integration's commands against the EDR."""
    with Platform(script, edr.url, edr.token) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say whether the platform's own Python was run, or our stand-in of it."""
    real = os.environ.get("CBSIGNED_XSOAR_COMMON")
    stood_in = "our stand-in of CommonServerPython; NOT under a real one (CBSIGNED_XSOAR_COMMON names its folder)"
    terminalreporter.write_line(f"xsoar: run under {f'the CommonServerPython.py of {real}' if real else stood_in}")
