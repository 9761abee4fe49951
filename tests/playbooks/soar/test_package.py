"""The package that the SDK's newest line builds: what is in it, what its manifest promises, and that it runs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomllib
from golden import CASES, Edr, comparable, expected
from sdk_app import PACKAGING, SdkApp, script

from cbsigned import __version__
from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION
from cbsigned_playbooks.definition import Kind

TOP = "Carbon Black EDR Signing/"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


def build(folder: Path) -> Path:
    command = [sys.executable, str(PACKAGING / "build.py"), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / f"cbsigned-soar-{__version__}.tgz"


@pytest.fixture(scope="module")
def files(package: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(package) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                found[member.name] = content.read()
    return found


@pytest.fixture(scope="module")
def manifest(files: dict[str, bytes]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(files[TOP + "manifest.json"])
    return made


def test_two_builds_are_equal_to_the_byte(package: Path, tmp_path: Path) -> None:
    assert package.read_bytes() == build(tmp_path).read_bytes()


def test_every_file_is_in_one_folder_and_nothing_is_hidden(files: dict[str, bytes]) -> None:
    parts = [name.split("/") for name in files]

    assert {part[0] + "/" for part in parts} == {TOP}
    assert [name for name in files if "/." in name or "__pycache__" in name or ".." in name] == []
    assert {
        TOP + name for name in ("LICENSE", "README.md", "logo.svg", "logo_dark.svg", "src/__init__.py", "src/app.py")
    } < set(files)


def test_the_manifest_names_every_wheel_that_is_there(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    named = {
        one[key] for one in manifest["pip313_dependencies"]["wheel"] for key in ("input_file", "input_file_aarch64")
    }

    assert {TOP + name for name in named} == {name for name in files if name.endswith(".whl")}
    assert manifest["pip315_dependencies"]["wheel"] == []
    assert (manifest["python_version"], manifest["app_version"]) == ("3.13", __version__)


def test_the_manifest_has_the_actions_of_the_catalogue(manifest: dict[str, Any]) -> None:
    found = {one["identifier"]: one for one in manifest["actions"]}

    assert {*found} == {"test_connectivity", *(action.name for action in ACTIONS)}
    for action in ACTIONS:
        described = found[action.name]
        assert (described["action"], described["type"]) == (action.title, "investigate")
        assert described["render"] == {"type": "custom", "view": f"src.app.show_{action.name}"}
        assert list(described["parameters"]) == [one.name for one in action.parameters]
        for one in action.parameters:
            given = described["parameters"][one.name]
            assert (given["required"], given["primary"], given["allow_list"]) == (one.required, one.primary, one.many)
            assert tuple(given.get("contains", ())) == one.contains


def test_the_manifest_has_the_data_paths_of_the_catalogue(manifest: dict[str, Any]) -> None:
    types = {Kind.INTEGER: "numeric", Kind.NUMBER: "numeric", Kind.SWITCH: "boolean"}
    found = {one["identifier"]: {path["data_path"]: path for path in one["output"]} for one in manifest["actions"]}

    for action in ACTIONS:
        paths = {path: one for path, one in found[action.name].items() if path.startswith("action_result.data")}
        wanted = {f"action_result.data.*.{one.path.replace('[]', '.*')}": one for one in action.outputs}
        assert set(wanted) == set(paths)
        for path, output in wanted.items():
            assert paths[path]["data_type"] == types.get(output.kind, "string")
            assert tuple(paths[path].get("contains", ())) == output.contains
            assert paths[path].get("column_name") == output.column


def test_the_manifest_has_the_settings_and_hides_the_token(manifest: dict[str, Any]) -> None:
    settings = manifest["configuration"]

    assert list(settings) == [one.name for one in CONFIGURATION]
    assert [name for name, one in settings.items() if one["data_type"] == "password"] == ["api_key"]
    assert [name for name, one in settings.items() if one["required"]] == ["url", "api_key"]


def test_the_manifest_has_the_webhook_behind_the_platforms_login(manifest: dict[str, Any]) -> None:
    webhook = manifest["webhook"]

    assert (webhook["handler"], webhook["requires_auth"]) == ("src.app.app.handle_webhook", True)
    assert [(one["url_pattern"], one["allowed_methods"]) for one in webhook["routes"]] == [("enrich", ["POST"])]


def test_the_wheel_of_ours_is_a_wheel(files: dict[str, bytes]) -> None:
    name = f"wheels/shared/cbsigned-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(io.BytesIO(files[TOP + name])) as wheel:
        record = wheel.read(f"cbsigned-{__version__}.dist-info/RECORD").decode().splitlines()
        names = wheel.namelist()
        problems = [line for line in record if not line.endswith(",,") and line.split(",")[1] != _digest(wheel, line)]

    assert problems == []
    assert {line.split(",")[0] for line in record} == set(names)
    assert not any(part in name for name in names for part in ("/store/", "/samples/", "playbooks/xsoar", "/runner/"))
    assert {"cbsigned/render/card.html.j2", "cbsigned_playbooks/soar.py"} < set(names)


def _digest(wheel: zipfile.ZipFile, line: str) -> str:
    digest = hashlib.sha256(wheel.read(line.split(",")[0])).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_the_unpacked_package_runs(package: Path, edr: Edr, tmp_path: Path) -> None:
    with tarfile.open(package) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / TOP.rstrip("/")
    with zipfile.ZipFile(next(folder.glob("wheels/shared/cbsigned-*.whl"))) as wheel:
        wheel.extractall(tmp_path / "code")  # noqa: S202 (our own)
    app = SdkApp("7.0.3", folder, tmp_path / "stderr.txt")

    result = app.action("enrich_alert", {"alert": json.dumps(CASES["deep and hostile"])}, edr.configuration)
    html = app.widget("enrich_alert", result["data"])
    app.close()

    assert [expected(edr, "deep and hostile")] == [comparable(row) for row in result["data"]]
    assert html.count('<rect class="box"') == 13


def test_version_and_sdk_are_told_once() -> None:
    project = tomllib.loads((PACKAGING / "pyproject.toml").read_text("utf-8"))
    lock = tomllib.loads((PACKAGING / "uv.lock").read_text("utf-8"))
    sdk = re.findall(r'^SDK = "([^"]+)"$', (PACKAGING / "build.py").read_text("utf-8"), re.MULTILINE)

    assert project["project"]["version"] == __version__
    assert [f"splunk-soar-sdk=={version}" for version in sdk] == project["project"]["dependencies"][-1:]
    assert [one["version"] for one in lock["package"] if one["name"] == "splunk-soar-sdk"] == sdk


def test_a_build_without_the_python_of_the_sdk_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = script("build")
    monkeypatch.setattr(builder.sdk, "VENVS", tmp_path / "venvs")
    monkeypatch.setitem(builder.sdk.PYTHON_OF, "7.0.3", "3.99")
    monkeypatch.setattr(sys, "argv", ["build.py", "--output", str(tmp_path)])

    code = builder.bundle.main("", builder.made)

    assert code == 1
    assert "needs Python 3.99, and there is none here" in capsys.readouterr().err
