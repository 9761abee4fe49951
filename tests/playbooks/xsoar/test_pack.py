"""The pack: made of the catalogue, whole, equal when built again, and with nothing in it that the platform lacks."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import re
import struct
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from xsoar_platform import PACK, PACKAGING, build, script_of

from cbsigned.render.document import Document
from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION
from cbsigned_playbooks.definition import Kind, Output, Parameter
from cbsigned_playbooks.xsoar import COMMANDS, configuration

PLAYBOOK = PACK / "Playbooks" / "playbook-CBSigned_Enrich_Incident.yml"
INTEGRATION = PACK / "Integrations" / "CBSigned" / "CBSigned.yml"


def manifests() -> Any:
    spec = importlib.util.spec_from_file_location("manifests", PACKAGING / "manifests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["manifests"] = module  # what the manifest of a platform imports
    spec.loader.exec_module(module)
    return module


def made() -> Any:
    """Return the pack's `manifest.py` as a module."""
    return manifests().manifest("xsoar")


@pytest.fixture(scope="module")
def integration() -> Document:
    loaded: Document = yaml.safe_load(INTEGRATION.read_text("utf-8"))
    return loaded


def test_the_manifests_are_current() -> None:
    assert manifests().stale("xsoar") == {}


def test_a_new_output_and_a_new_input_reach_the_manifest_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    module = made()
    action = next(one for one in ACTIONS if one.name == "signing_status")
    output = Output("novel[].size", Kind.INTEGER, "A new value.", 1)
    grown = replace(
        action,
        outputs=(*action.outputs, output),
        parameters=(*action.parameters, Parameter("extra", "Extra", "A new input.", Kind.SWITCH, default=False)),
    )
    others = {one.name: one for one in ACTIONS}
    monkeypatch.setattr(module, "action_named", lambda name: grown if name == grown.name else others[name])

    tree = yaml.safe_load(module.files()["Packs/CBSigned/Integrations/CBSigned/CBSigned.yml"])

    for name in ("file", "cbsigned-signing-status"):
        command = next(one for one in tree["script"]["commands"] if one["name"] == name)
        assert "CBSigned.SigningStatus.novel.size" in {one["contextPath"] for one in command["outputs"]}
        (argument,) = (one for one in command["arguments"] if one["name"] == "extra")
        assert (argument["predefined"], argument["defaultValue"]) == (["true", "false"], "false")


def test_every_action_is_a_command(integration: Document) -> None:
    assert {one.action for one in COMMANDS} == {one.name for one in ACTIONS} - {"test_connection"}
    assert {one["name"] for one in integration["script"]["commands"]} == {one.name for one in COMMANDS} | {"file"}


def test_file_is_clicked_with_a_hash_alone(integration: Document) -> None:
    command = next(one for one in integration["script"]["commands"] if one["name"] == "file")
    first = command["arguments"][0]

    assert (first["name"], first["default"], first["required"], first["isArray"]) == ("file", True, True, True)
    assert [one["name"] for one in command["arguments"][1:] if one.get("required")] == []


def test_the_token_is_a_credential_and_every_setting_of_ours_is_asked_for(integration: Document) -> None:
    asked = {one["name"]: one for one in integration["configuration"]}

    assert {one.name for one in CONFIGURATION} - {"api_key", "verify_tls"} < set(asked)
    assert (asked["credentials"]["type"], asked["credentials"]["hiddenusername"]) == (9, True)
    assert {"insecure", "proxy", "integrationReliability"} < set(asked)
    assert not any("token" in str(one.get("defaultvalue", "")) for one in asked.values())


def test_the_configuration_takes_the_platforms_own_names() -> None:
    params = {"url": "https://cb.example.test", "credentials": {"password": "x"}, "insecure": True, "proxy": False}

    found = configuration(params, {"SSL_CERT_FILE": "/etc/platform.pem"})

    assert (found["api_key"], found["verify_tls"], found["ca_file"], found["proxy"]) == ("x", False, None, None)
    assert configuration({**params, "insecure": False}, {"SSL_CERT_FILE": "/p.pem"})["ca_file"] == "/p.pem"
    assert configuration({**params, "insecure": False, "ca_file": "/own"}, {"SSL_CERT_FILE": "/p"})["ca_file"] == "/own"


def test_two_builds_are_equal_to_the_byte() -> None:
    one = build().made()

    assert one == build().made()
    assert sorted(name.partition("-")[0] for name in one) == ["cbsigned", "integration"]


def test_the_archive_holds_the_unified_integration_and_the_playbook() -> None:
    files = build().pack()

    folders = {"Integrations", "Playbooks", "ReleaseNotes"}
    assert {name.split("/")[0] for name in files} == {*folders, "README.md", "metadata.json", "pack_metadata.json"}
    tree = yaml.safe_load(files["Integrations/integration-CBSigned.yml"])
    assert tree["image"].startswith("data:image/png;base64,")
    assert "Trusted publishers" in str(tree["configuration"])
    assert tree["detaileddescription"].startswith("## ")
    ast.parse(tree["script"]["script"], feature_version=(3, 10))


def test_the_carried_core_has_no_store_no_other_platform_and_nothing_but_python() -> None:
    text = build().script()
    found = re.search(r'CORE = """\n(.+?)"""', text, re.DOTALL)
    assert found is not None
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(found[1]))) as archive:
        names = archive.namelist()

    assert {"cbsigned/enrichment.py", "cbsigned_playbooks/actions.py", "cbsigned_playbooks/xsoar.py"} < set(names)
    assert [name for name in names if not name.endswith(".py")] == []
    assert [
        n for n in names if re.search(r"^cbsigned(/(store|samples)|_playbooks/(soar|cortex|stackstorm|runner))", n)
    ] == []
    assert len(text) < 500_000


def test_the_uploaded_python_imports_nothing_that_the_platform_puts_before_it() -> None:
    text = build().script()

    assert re.findall(r"(?m)^(?:import demistomock|from CommonServer)", text) == []
    assert text.startswith("register_module_line('CBSigned', 'start', __line__())\n")


def test_the_image_is_as_large_as_the_platform_wants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = script_of("image")
    committed = image.TARGET.read_bytes()
    monkeypatch.setattr(image, "TARGET", tmp_path / "drawn.png")
    image.main()

    assert struct.unpack(">II", committed[16:24]) == (120, 50)
    assert len(committed) < 10_000
    assert (tmp_path / "drawn.png").read_bytes()[:33] == committed[:33]


def steps() -> dict[str, Any]:
    tasks: dict[str, Any] = yaml.safe_load(PLAYBOOK.read_text("utf-8"))["tasks"]
    return tasks


def following(task: Any) -> Iterator[tuple[str, str]]:
    yield from ((label, number) for label, numbers in task.get("nexttasks", {}).items() for number in numbers)


def test_every_step_of_the_playbook_is_reached_and_ends() -> None:
    tasks = steps()
    reached, open_ones = {"0"}, ["0"]
    while open_ones:
        for _label, number in following(tasks[open_ones.pop()]):
            if number not in reached:
                reached.add(number)
                open_ones.append(number)

    assert reached == set(tasks)
    assert [number for number, task in tasks.items() if not task.get("nexttasks")] == ["5"]


def test_every_condition_of_the_playbook_leads_somewhere() -> None:
    conditions = {number: task for number, task in steps().items() if task["type"] == "condition"}

    for task in conditions.values():
        labels = {label for label, _number in following(task)}
        assert {one["label"] for one in task["conditions"]} | {"#default#"} == labels
    assert len(conditions) == 2


def test_the_playbook_runs_commands_with_arguments_that_they_have(integration: Document) -> None:
    arguments = {c["name"]: {a["name"] for a in c["arguments"]} for c in integration["script"]["commands"]}
    regular = [task for task in steps().values() if task["type"] == "regular"]
    run = {task["task"]["script"]: set(task["scriptarguments"]) for task in regular}

    for script, given in run.items():
        brand, _bars, name = script.partition("|||")
        assert brand == integration["name"]
        assert given <= arguments[name]
    assert len(run) == 2


def test_what_the_playbook_branches_on_is_in_the_context(integration: Document) -> None:
    command = next(one for one in integration["script"]["commands"] if one["name"] == "cbsigned-enrich-alert")
    known = {one["contextPath"] for one in command["outputs"]}
    asked = re.findall(r"simple: (CBSigned\.Alert\.[\w.]+)", PLAYBOOK.read_text("utf-8"))

    assert set(asked) == {"CBSigned.Alert.subjects.verdict.text", "CBSigned.Alert.subjects.status"}
    assert set(asked) <= known


def test_the_readme_tells_of_every_command() -> None:
    text = (INTEGRATION.parent / "README.md").read_text("utf-8")

    assert re.findall(r"(?m)^### (\S+)$", text) == ["file", *(one.name for one in COMMANDS)]
