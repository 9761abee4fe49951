"""The manifests of every platform are current: made of the catalogue, and committed as made."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from cbsigned_playbooks.catalogue import ACTIONS
from cbsigned_playbooks.cortex import remembered
from cbsigned_playbooks.definition import Action
from cbsigned_playbooks.xsoar import COMMANDS

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


def _soar(action: Action) -> dict[str, str]:
    text = (_PACKAGING / "soar" / "src" / "params.py").read_text("utf-8")
    body = text.split(f"class {_MANIFESTS.pascal(action.name)}Params(", 1)[1].split("\nclass ", 1)[0]
    return dict(re.findall(r"^    (\w+): \w+ = (Param\(.+\))$", body, re.MULTILINE))


def _xsoar(action: Action) -> dict[str, str]:
    path = _PACKAGING / "xsoar" / "Packs" / "CBSigned" / "Integrations" / "CBSigned" / "CBSigned.yml"
    names = [command.name for command in COMMANDS if command.action == action.name]
    commands = yaml.safe_load(path.read_text("utf-8"))["script"]["commands"]
    return {one["name"]: str(one) for command in commands if command["name"] in names for one in command["arguments"]}


def _cortex(action: Action) -> dict[str, str]:
    name = f"CBSigned_{_MANIFESTS.pascal(action.name)}.json"
    flavor = json.loads((_PACKAGING / "cortex" / "analyzers" / "CBSigned" / name).read_text("utf-8"))
    return {one["name"]: str(one) for one in flavor["configurationItems"]}


def _stackstorm(action: Action) -> dict[str, str]:
    path = _PACKAGING / "stackstorm" / "pack" / "actions" / f"{action.name}.yaml"
    parameters = yaml.safe_load(path.read_text("utf-8"))["parameters"].items()
    return {name: f"{one} {one['minimum']:,} to {one['maximum']:,}" for name, one in parameters
            if "minimum" in one}  # fmt: skip


@pytest.mark.parametrize("told", [_soar, _xsoar, _cortex, _stackstorm])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_every_number_is_told_with_its_range_unit_and_default(
    action: Action, told: Callable[[Action], dict[str, str]]
) -> None:
    """Cortex showed neither the range of a depth nor of a deadline."""
    there = told(action)
    if told is _xsoar and action.name == "test_connection":
        assert there == {}  # the platform's own button, which takes nothing
        return
    asked = remembered(action) if told is _cortex else action.parameters
    for one in asked:
        if one.low is not None and one.high is not None:
            assert f"{one.low:,} to {one.high:,}" in there[one.name]
            assert one.unit is None or one.unit in there[one.name]
            assert one.default is None or str(one.default) in there[one.name]
