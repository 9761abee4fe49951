"""The files of the pack: what StackStorm's own schemas ask of them, as far as that is known without StackStorm."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr
from jinja2 import Environment, StrictUndefined
from jsonschema import Draft4Validator

from cbsigned_playbooks.actions import open_actions
from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION
from playbooks.stackstorm.packs import BUILD, Pack

NAMES = [action.name for action in ACTIONS]
RUNNER_PARAMETERS = {"env", "timeout", "log_level", "debug", "content_version"}
TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
PARAMETER_KEYS = {
    "type", "description", "default", "required", "secret", "enum", "minimum", "maximum", "position", "immutable",
}  # fmt: skip


def read(pack: Pack, name: str) -> Any:
    return yaml.safe_load((pack.folder / name).read_text("utf-8"))


def test_the_pack_says_who_it_is(pack: Pack) -> None:
    said = read(pack, "pack.yaml")

    assert said["ref"] == "cbsigned"
    assert re.fullmatch(r"\d+\.\d+\.\d+(-\w+)?", str(said["version"]))
    assert said["python_versions"] == ["3"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", said["stackstorm_version"])
    assert {"name", "description", "author", "email"} <= set(said)


def test_two_builds_are_equal_to_the_byte(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        subprocess.run([sys.executable, str(BUILD), "--output", str(tmp_path / name)], check=True, capture_output=True)
        (archive,) = (tmp_path / name).iterdir()
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())

    assert len(digests) == 1


def test_the_pack_carries_the_core_and_no_other_binding(pack: Pack) -> None:
    carried = {path.relative_to(pack.lib).as_posix() for path in pack.lib.rglob("*.py")}

    assert {"cbsigned/enrichment.py", "cbsigned_playbooks/actions.py", "cbsigned_playbooks/stackstorm.py"} <= carried
    assert not [name for name in carried if re.search(r"/(store|samples|runner)/|playbooks/(x?soar|cortex)", name)]
    assert (pack.folder / "requirements.txt").read_text("utf-8") == "requests>=2.28,<3\n"


def test_the_configuration_is_the_catalogues_and_the_token_a_secret(pack: Pack) -> None:
    schema = read(pack, "config.schema.yaml")

    assert list(schema) == [one.name for one in CONFIGURATION]
    assert [name for name, one in schema.items() if one.get("secret")] == ["api_key"]
    assert [name for name, one in schema.items() if one.get("required")] == ["url", "api_key"]
    assert set(read(pack, "cbsigned.yaml.example")) == {"url", "api_key"}


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_such_as_stackstorm_takes(pack: Pack, name: str) -> None:
    parameters = pack.metadata(name)["parameters"]

    assert parameters.pop("timeout") == {"default": 660}
    assert not RUNNER_PARAMETERS & set(parameters)
    for one in parameters.values():
        assert one["type"] in TYPES
        assert set(one) <= PARAMETER_KEYS
        assert isinstance(one.get("required", False), bool)
    assert [one["position"] for one in parameters.values()] == list(range(len(parameters)))


@pytest.mark.parametrize("name", NAMES)
def test_a_shim_is_one_class_of_few_lines(pack: Pack, name: str) -> None:
    text = (pack.folder / "actions" / f"{name}.py").read_text("utf-8")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]

    assert len(text.splitlines()) <= 20
    assert [ast.unparse(one.bases[0]) for one in classes] == ["Action"]
    assert pack.metadata(name)["entry_point"] == f"{name}.py"


def strict(schema: Any) -> Any:
    """Return an output schema as a validator of draft 4 has it: `required` as a list, and no member besides."""
    schema = copy.deepcopy(schema)
    if isinstance(schema.get("type", ""), list):
        raise AssertionError("StackStorm's schema of schemas refuses a list of types")
    schema.pop("required", None)
    members = schema.get("properties", {})
    if members:
        schema["required"] = sorted(name for name, one in members.items() if one.get("required"))
        schema["additionalProperties"] = False
        schema["properties"] = {name: strict(one) for name, one in members.items()}
    if "items" in schema:
        schema["items"] = strict(schema["items"])
    if "anyOf" in schema:
        schema["anyOf"] = [strict(one) for one in schema["anyOf"]]
    return schema


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("test_connection", {}),
        ("enrich_alert", {"alert": list(CASES.values()), "relatives": 3}),
        ("enrich_alert", {"alert": {"colour": "blue"}}),
        ("signing_status", {"hashes": f"{WRITTEN_MD5}, {'ab' * 16}, no hash"}),
        ("process_lineage", {"guid": DEEP_GUID, "relatives": 3}),
        ("process_lineage", {"guid": "00000063-0000-2000-01d2-e50000000099"}),
        ("find_processes", {"query": "", "rows": 50}),
        ("find_binaries", {"query": "", "rows": 50}),
        ("where_seen", {"hashes": WRITTEN_MD5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_result_is_what_the_output_schema_says(pack: Pack, edr: Edr, name: str, given: dict[str, Any]) -> None:
    from cbsigned_playbooks.stackstorm import answer

    _status, result = answer(name, edr.configuration, given)

    Draft4Validator(strict(pack.metadata(name)["output_schema"])).validate(json.loads(json.dumps(result)))
    with open_actions(edr.configuration) as actions:
        assert len(result["rows"]) == len(actions.run(name, given).rows)


def test_aliases_rule_and_workflow_name_actions_and_parameters_that_are_there(pack: Pack) -> None:
    uses = [(one["action_ref"], re.findall(r"\{\{ (\w+) \}\}", " ".join(one["formats"]))) for one in aliases(pack)]
    rule = read(pack, "rules/alert_by_webhook.yaml")
    uses.append((rule["action"]["ref"], list(rule["action"]["parameters"])))
    task = read(pack, "actions/workflows/triage.yaml")["tasks"]["enrich"]
    uses.append((task["action"].split()[0], re.findall(r" (\w+)=<%", task["action"])))

    assert rule["enabled"] is False
    for reference, parameters in uses:
        known, _, name = reference.partition(".")
        assert known == "cbsigned"
        assert parameters
        assert set(parameters) <= set(pack.metadata(name)["parameters"])


def aliases(pack: Pack) -> list[Any]:
    return [yaml.safe_load(path.read_text("utf-8")) for path in sorted((pack.folder / "aliases").iterdir())]


def test_the_workflow_takes_and_gives_what_its_metadata_and_tasks_say(pack: Pack) -> None:
    metadata, workflow = pack.metadata("triage"), read(pack, "actions/workflows/triage.yaml")

    assert metadata["runner_type"] == "orquesta"
    assert (pack.folder / "actions" / metadata["entry_point"]).is_file()
    assert workflow["input"] == list(metadata["parameters"])
    kept = {name for one in workflow["vars"] for name in one}
    published = {name for way in workflow["tasks"]["enrich"]["next"] for one in way["publish"] for name in one}
    assert {name for one in workflow["output"] for name in one} == kept
    assert kept <= published


HOSTILE = [
    "{{ config_context.api_key }}", "{{{{x}}}}", "{{{% raw %}", "{%- for x in y %}", "<% st2kv('system.token') %>",
    "<<%%", "\\{{\\", 'a "{{" b', "\u202e{{", "}}%}%>",
]  # fmt: skip


def test_the_rule_hands_over_an_alert_unchanged_and_with_nothing_to_render(pack: Pack) -> None:
    """StackStorm renders a parameter when it has `{{` or `{%` in it, Orquesta what is between `<%` and `%>`."""
    body = {"md5": WRITTEN_MD5, "a": {"b": HOSTILE}, **{text: {} for text in HOSTILE}}
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 (as StackStorm's)
    environment.filters["to_json_string"] = lambda value: json.dumps(value, separators=(",", ": "))
    template = read(pack, "rules/alert_by_webhook.yaml")["action"]["parameters"]["alert"]

    handed = environment.from_string(template).render(trigger={"body": body})

    assert json.loads(handed) == body
    assert not re.search(r"\{\{|\{%|<%", handed)
    assert pack.metadata("triage")["parameters"]["alert"]["type"] == "string"


def test_every_expression_of_the_workflow_is_of_one_line(pack: Pack) -> None:
    """Orquesta's parser is `<%.*?%>`, whose dot matches no line end."""
    task = read(pack, "actions/workflows/triage.yaml")["tasks"]["enrich"]
    texts = [text for way in task["next"] for one in way["publish"] for text in one.values()]

    assert [re.findall("<%.*?%>", text) for text in texts] == [[text] for text in texts]
