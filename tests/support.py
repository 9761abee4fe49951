"""What tests share: where the real recordings are, and files made for one test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


def real_data(folder: str) -> Path:
    """Return a folder of the recordings beside the project; skip without them, but fail in CI.

    Args:
        folder: `cb-response-splunk-app`, for example.
    """
    path = PROJECT.parent / "shared" / "data" / folder
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: CI must have the real recordings")
        pytest.skip(f"real recordings are not here: {path}")
    return path
