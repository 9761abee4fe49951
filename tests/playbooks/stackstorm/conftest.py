"""The pack for all tests of it."""

from __future__ import annotations

import pytest

from playbooks.stackstorm.packs import Pack, unpacked


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Give the pack, built and unpacked."""
    return Pack(unpacked(tmp_path_factory.mktemp("stackstorm")))
