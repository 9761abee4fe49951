"""The package: flavors that Cortex accepts, manifests that are current, nothing needed but requests."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from cbsigned import __version__
from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION
from cbsigned_playbooks.cortex import remembered, settings
from cbsigned_playbooks.definition import Kind, Output, Parameter
from playbooks.cortex.jobs import BUILD, PACKAGING
from support import PROJECT

_TEXT = {"type": "string", "minLength": 1}
_BASE = ("name", "version", "author", "url", "license", "description", "dataTypeList", "baseConfig", "config")
_ITEM = {
    "type": "object",
    "properties": {
        "name": {**_TEXT, "pattern": "^[a-z_0-9]+$"},
        "description": _TEXT,
        "type": {"enum": ["text", "string", "number", "boolean"]},
        "multi": {"type": "boolean"},
        "required": {"type": "boolean"},
        "defaultValue": {"type": ["string", "number", "boolean", "array"]},
    },
    "required": ["name", "description", "type", "multi", "required"],
    "additionalProperties": False,
}
FLAVOR = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        **dict.fromkeys(("version", "author", "license", "description", "command", "baseConfig", "dockerImage"), _TEXT),
        "name": {**_TEXT, "pattern": r"^\S+$"},
        "url": {**_TEXT, "format": "uri"},
        "dataTypeList": {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
        "config": {"type": "object", "properties": {"service": _TEXT}, "required": ["service"]},
        "configurationItems": {"type": "array", "items": _ITEM},
    },
    "required": [*_BASE, "configurationItems"],
    "oneOf": [{"required": ["command"]}, {"required": ["dockerImage"]}],
    "additionalProperties": False,
}
"""What soar-platforms §2.1 says of a flavor, and what the reader of Cortex's own source asks for."""

FLAVORS = sorted(PACKAGING.glob("*/CBSigned/*.json"))
_JSON_TYPES = {"string": str, "number": (int, float), "boolean": bool}


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("path", FLAVORS, ids=lambda path: path.stem)
def test_a_flavor_is_one_that_cortex_accepts(path: Path) -> None:
    flavor = _read(path)

    assert [error.message for error in Draft7Validator(FLAVOR).iter_errors(flavor)] == []
    assert path.stem == flavor["name"]
    assert (PACKAGING / path.parent.parent.name / flavor["command"]).is_file()
    names = [item["name"] for item in flavor["configurationItems"]]
    assert len(set(names)) == len(names)
    for item in flavor["configurationItems"]:
        if "defaultValue" in item:
            assert isinstance(item["defaultValue"], _JSON_TYPES[item["type"]]), item


def test_there_is_an_analyzer_for_each_action_and_one_responder() -> None:
    services = {_read(path)["config"]["service"] for path in FLAVORS if path.parts[-3] == "analyzers"}

    assert services == {action.name for action in ACTIONS}
    assert [path.stem for path in FLAVORS if path.parts[-3] == "responders"] == ["CBSigned_Tag"]


def test_no_setting_has_a_name_that_cortex_uses_itself() -> None:
    """Cortex merges {"proxy": {"http": …}} over the settings, and hides keys by their names."""
    taken = {"proxy", "proxy_http", "proxy_https", "cacerts", "jobTimeout", "jobCache", "auto_extract_artifacts"}
    taken |= {"check_tlp", "max_tlp", "check_pap", "max_pap", "service"}
    for path in FLAVORS:
        assert taken.isdisjoint(item["name"] for item in _read(path)["configurationItems"])
    assert all("key" in one.name for one in CONFIGURATION if one.kind is Kind.SECRET)


def test_the_settings_are_those_of_the_catalogue() -> None:
    for action in ACTIONS:
        (flavor,) = [one for one in map(_read, FLAVORS) if one["config"]["service"] == action.name]
        names = [item["name"] for item in flavor["configurationItems"]]
        expected = [one.name for one in (*settings(), *remembered(action))]
        assert names == [*expected, "trusted_publishers", "add_tags"]


def test_catalogues_for_containers_name_an_image_and_no_command() -> None:
    for name, number in (("analyzers.json", len(ACTIONS)), ("responders.json", 1)):
        flavors = _read(PACKAGING / name)
        assert len(flavors) == number
        for flavor in flavors:
            assert [error.message for error in Draft7Validator(FLAVOR).iter_errors(flavor)] == []
            assert flavor["dockerImage"].endswith(f":{__version__}")
            assert "command" not in flavor


def _manifests() -> Any:
    path = PROJECT / "packaging" / "manifests.py"
    spec = importlib.util.spec_from_file_location("manifests_for_cortex", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_those_of_the_definition() -> None:
    assert _manifests().stale("cortex") == {}


def test_nothing_is_left_of_a_file_that_is_no_longer_made() -> None:
    made = set(_manifests().manifest("cortex").files())
    there = [*PACKAGING.glob("*/CBSigned/*.json"), *PACKAGING.glob("thehive-templates/*/*"), *PACKAGING.glob("*.json")]

    assert {path.relative_to(PACKAGING).as_posix() for path in there} == made


def test_a_new_output_and_a_new_parameter_change_flavor_and_report_alone() -> None:
    manifest = _manifests().manifest("cortex")
    before = manifest.files()
    action = next(one for one in ACTIONS if one.name == "signing_status")
    wider = replace(
        action,
        parameters=(*action.parameters, Parameter("colour", "Colour", "Of the car.")),
        outputs=(*action.outputs, Output("wheels", Kind.INTEGER, "How many.", 4, column="Wheels")),
    )
    manifest.ACTIONS = tuple(wider if one is action else one for one in ACTIONS)

    after = manifest.files()

    changed = {name for name in after if after[name] != before[name]}
    report = f"thehive-templates/CBSigned_SigningStatus_{__version__.replace('.', '_')}/long.html"
    assert changed == {"analyzers/CBSigned/CBSigned_SigningStatus.json", "analyzers.json", report}
    assert "<th>Wheels</th>" in after[report]
    assert '"colour"' in after["analyzers.json"]


def test_two_builds_are_equal_to_the_byte(tmp_path: Path) -> None:
    for name in ("a", "b"):
        subprocess.run([sys.executable, str(BUILD), "--output", str(tmp_path / name)], check=True, capture_output=True)

    (one,), (other,) = (list((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert one.name == other.name == f"cbsigned-cortex-{__version__}.tar.gz"
    assert one.read_bytes() == other.read_bytes()


def test_the_programs_can_be_started_and_are_short(cortex_package: Path) -> None:
    for kind in ("analyzer", "responder"):
        program = cortex_package / f"{kind}s" / "CBSigned" / f"cbsigned_{kind}.py"
        assert os.access(program, os.X_OK)
        assert len(program.read_text("utf-8").splitlines()) <= 20


def test_cortex_finds_nothing_but_flavors_among_the_json_files(cortex_package: Path) -> None:
    """It reads every *.json of an analyzer's folder as a flavor, and none below it."""
    for room in ("analyzers", "responders"):
        for path in (cortex_package / room).glob("*/*.json"):
            assert path.stem == _read(path)["name"]


def test_thehive_finds_a_short_and_a_long_report_for_each_analyzer(cortex_package: Path) -> None:
    wanted = set()
    for path in FLAVORS:
        flavor = _read(path)
        if path.parts[-3] == "analyzers":
            folder = f"{flavor['name']}_{flavor['version']}".replace(".", "_")
            wanted |= {f"{folder}/short.html", f"{folder}/long.html"}

    with zipfile.ZipFile(cortex_package / "thehive-templates.zip") as packed:
        assert set(packed.namelist()) == wanted


def test_the_package_needs_requests_alone(cortex_package: Path) -> None:
    lib = cortex_package / "analyzers" / "CBSigned" / "lib"
    code = (
        f"import sys; sys.path.insert(0, {str(lib)!r})\n"
        "import cbsigned_playbooks.cortex, cbsigned_playbooks.cortex_job, cbsigned.edr\n"
        "names = {name.partition('.')[0] for name, one in sys.modules.items() if 'site-packages' in str(getattr(one, "
        "'__file__', ''))}\n"
        "print(*names); print(sys.modules['cbsigned'].__file__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cortex_package)

    names, place = done.stdout.splitlines()
    own = {name for name in names.split() if not name.startswith("_") and not name.endswith("__mypyc")}
    assert own <= {"requests", "urllib3", "certifi", "idna", "charset_normalizer"}
    assert place.startswith(str(lib))


def test_the_code_has_nothing_of_cortexutils() -> None:
    for path in (PROJECT / "playbooks" / "cbsigned_playbooks").glob("cortex*.py"):
        assert "import cortexutils" not in path.read_text("utf-8")
        assert "from cortexutils" not in path.read_text("utf-8")
