"""What the tests of all adapters share: one EDR server over the golden telemetry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from golden import Edr, running_edr


@pytest.fixture(scope="session")
def edr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edr]:
    """Give the EDR stand-in as a process of its own."""
    with running_edr(tmp_path_factory.mktemp("golden")) as server:
        yield server
