"""The manifests of every platform are current: made of the catalogue, and committed as made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_PACKAGING = Path(__file__).resolve().parents[2] / "packaging"


def _manifests() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manifests", _PACKAGING / "manifests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["manifests"] = module
    spec.loader.exec_module(module)
    return module


_MANIFESTS = _manifests()


@pytest.mark.parametrize("platform", _MANIFESTS.PLATFORMS)
def test_the_manifests_of_a_platform_are_current(platform: str) -> None:
    assert list(_MANIFESTS.stale(platform)) == []


def test_check_says_what_is_not_current_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "soar"
    folder.mkdir()
    (folder / "manifest.py").write_text("def files():\n    return {'app.txt': 'new\\n'}\n", "utf-8")
    (folder / "app.txt").write_text("old\n", "utf-8")
    here, _MANIFESTS.HERE = _MANIFESTS.HERE, tmp_path
    try:
        code = _MANIFESTS.main(["--check", "soar"])
    finally:
        _MANIFESTS.HERE = here

    assert code == 1
    assert "-old\n+new" in capsys.readouterr().out
    assert (folder / "app.txt").read_text("utf-8") == "old\n"
