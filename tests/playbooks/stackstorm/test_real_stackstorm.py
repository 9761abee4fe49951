"""The pack in StackStorm's own code, every night where its source is at hand, and its workflow in real YAQL.

`CBSIGNED_ST2_SOURCE` names a checkout of StackStorm, `CBSIGNED_ST2_PYTHON` a Python (3.9 to 3.11) that has what
StackStorm requires.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr, comparable, expected

from cbsigned_playbooks.catalogue import ACTIONS
from playbooks.stackstorm.packs import DELIMITER, Pack
from support import PROJECT

pytestmark = pytest.mark.nightly

_RUNNER = "contrib/runners/python_runner/python_runner"
_SCHEMAS = """
import json, sys, yaml
from st2common.util import output_schema, schema
from st2common.models.api.action import ActionAPI
from st2common.models.api.pack import ConfigSchemaAPI, PackAPI
kinds = {"action": ActionAPI, "pack": PackAPI, "config": ConfigSchemaAPI}
given = json.load(sys.stdin)
for kind, value in given["documents"]:
    schema.validate(value, kinds[kind].schema, cls=schema.CustomValidator, allow_default_none=True)
(runner,) = [one for one in yaml.safe_load(open(given["runner"])) if one["name"] == "python-script"]
for own, value in given["results"]:
    whole = {"result": value, "stdout": "", "stderr": "", "exit_code": 0}
    kept, status = output_schema.validate_output(runner["output_schema"], own, whole, "succeeded", "result")
    assert status == "succeeded", kept
    assert output_schema._output_schema_is_valid(own)
whole["result"] = {"rows": 7}
assert output_schema.validate_output(runner["output_schema"], own, whole, "succeeded", "result")[1] == "failed"
print("all valid")
"""


@dataclass(frozen=True)
class RealPack(Pack):
    """The pack, run by `python_action_wrapper.py`, as StackStorm's runner starts it."""

    source: Path = Path()

    @property
    def path(self) -> str:  # type: ignore[override]
        """Where `st2common` lies."""
        return os.pathsep.join(str(self.source / part) for part in ("st2common", "contrib/runners/python_runner"))

    @property
    def python(self) -> str:
        """The interpreter that has StackStorm's requirements."""
        return os.environ.get("CBSIGNED_ST2_PYTHON", sys.executable)

    def started(self, file: Path, config: str, parameters: Optional[str]) -> list[str]:
        """Return the command of `python_runner.py`."""
        return [
            self.python, "-u", str(self.source / _RUNNER / "python_action_wrapper.py"), "--pack=cbsigned",
            f"--file-path={file}", "--user=stanley", "--parent-args=[]", f"--config={config}",
            "--stdin-parameters" if parameters is None else f"--parameters={parameters}",
        ]  # fmt: skip


@pytest.fixture(scope="module")
def real(pack: Pack) -> RealPack:
    source = os.environ.get("CBSIGNED_ST2_SOURCE")
    if not source:
        pytest.skip("The pack was NOT run in StackStorm: CBSIGNED_ST2_SOURCE names no checkout of it.")
    return RealPack(pack.folder, Path(source))


def test_every_golden_alert_is_answered_as_by_the_command_line(real: RealPack, edr: Edr) -> None:
    ran = real.run("enrich_alert", {"alert": {"alerts": list(CASES.values())}}, edr.configuration)

    assert ran.status is True
    assert [expected(edr, name) for name in CASES] == [comparable(row) for row in ran.result["rows"]]


@pytest.mark.parametrize(
    ("action", "given", "status"),
    [
        ("test_connection", {}, True),
        ("signing_status", {"hashes": f"{WRITTEN_MD5},no-hash", "deadline_s": None}, True),
        ("signing_status", {"hashes": ""}, False),
        ("process_lineage", {"guid": DEEP_GUID}, True),
        ("process_lineage", {"guid": "00000063-0000-2000-01d2-e50000000099"}, False),
        ("find_processes", {"query": "", "rows": 3}, True),
        ("find_binaries", {"query": "", "rows": 3}, True),
        ("where_seen", {"hashes": WRITTEN_MD5}, True),
    ],
)
def test_each_action_answers(real: RealPack, edr: Edr, action: str, given: dict[str, Any], status: bool) -> None:
    ran = real.run(action, given, edr.configuration)

    assert ran.status is status
    assert ran.result["message"]
    assert edr.token not in ran.written


def test_a_title_with_the_runners_delimiter_in_it_leaves_the_result_readable(real: RealPack, edr: Edr) -> None:
    ran = real.run("signing_status", {"hashes": f"{DELIMITER},{WRITTEN_MD5}"}, edr.configuration)

    assert [row["status"] for row in ran.result["rows"]] == ["Unknown", "Signed"]


def test_stackstorms_schemas_take_the_metadata_and_the_results(real: RealPack, edr: Edr) -> None:
    documents = [("action", real.metadata(action.name)) for action in ACTIONS]
    documents.append(("action", real.metadata("triage")))
    documents.append(("pack", yaml.safe_load((real.folder / "pack.yaml").read_text("utf-8"))))
    settings = yaml.safe_load((real.folder / "config.schema.yaml").read_text("utf-8"))
    documents.append(("config", {"pack": "cbsigned", "attributes": settings}))
    results = [
        (real.metadata(name)["output_schema"], real.run(name, given, edr.configuration).result)
        for name, given in (
            ("enrich_alert", {"alert": CASES["deep and hostile"], "relatives": 2}),
            ("enrich_alert", {"alert": {"colour": "blue"}}),
            ("signing_status", {"hashes": f"{WRITTEN_MD5},no-hash"}),
            ("where_seen", {"hashes": WRITTEN_MD5}),
            ("find_binaries", {"query": "", "rows": 5}),
        )
    ]
    given = {"documents": documents, "results": results, "runner": str(real.source / _RUNNER / "runner.yaml")}
    done = subprocess.run(
        [real.python, "-c", _SCHEMAS], input=json.dumps(given), capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": real.path},
    )  # fmt: skip

    assert done.stdout == "all valid\n", done.stderr[-3000:]


_YAQL = """
import collections.abc, json, sys, yaml, yaql  # yaql itself forgets collections.abc
from yaql.language import specs, yaqltypes
engine = yaql.factory.YaqlFactory().create()
publish = yaml.safe_load(open(sys.argv[1]))["tasks"]["enrich"]["next"][0]["publish"]
for result in json.load(sys.stdin):
    context, kept = yaql.create_context(), {}
    @specs.parameter("name", yaqltypes.String())
    def ctx(name):
        return kept[name]
    context.register_function(ctx, name="ctx")
    context.register_function(lambda: {"result": result}, name="result")
    for one in publish:
        ((name, text),) = one.items()
        kept[name] = engine(text.strip()[2:-2].strip()).evaluate(context=context)
    print(json.dumps({name: kept[name] for name in ("advice", "message", "card")}))
"""


@pytest.fixture(scope="module")
def yaql_python() -> Path:
    """Give a Python that has YAQL, the language of the workflow's expressions."""
    place = PROJECT / ".venvs" / "yaql"
    inside = place / "bin" / "python"
    if not (place / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        wanted = ["yaql==3.2.0", "PyYAML>=6,<7"]
        command = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        subprocess.run(command, check=True)
        (place / "installed").touch()
    return inside


@pytest.mark.parametrize(
    ("statuses", "complete", "advice"),
    [
        (["Signed"], True, "signed"),
        (["Signed", "Signed"], True, "signed"),
        ([], True, "wait"),
        (["Unknown"], True, "wait"),
        (["Signed", "Unknown"], True, "wait"),
        (["Signed"], False, "wait"),
        (["Signed", "Expired"], True, "look"),
        (["Unsigned", "Unknown"], False, "look"),
    ],
)
def test_the_workflow_never_takes_unknown_for_signed(
    yaql_python: Path, pack: Pack, statuses: list[str], complete: bool, advice: str
) -> None:
    rows = [{"subjects": [{"status": status} for status in statuses]}]
    published = evaluated(yaql_python, pack, {"message": "", "card": "", "rows": rows, "complete": complete})

    assert advice == published["advice"]


def test_texts_that_the_workflow_hands_on_have_nothing_to_evaluate(yaql_python: Path, pack: Pack) -> None:
    hostile = "{{ config_context.api_key }} {{{{x {{% <% st2kv('system.token') %> <<%%"
    published = evaluated(yaql_python, pack, {"message": hostile, "card": hostile, "rows": [], "complete": True})

    for name in ("message", "card"):
        assert "config_context.api_key" in published[name]
        assert not re.search(r"\{\{|\{%|<%", published[name])


def evaluated(python: Path, pack: Pack, result: dict[str, Any]) -> Any:
    """Return what the workflow publishes after a task with such a result."""
    workflow = pack.folder / "actions" / "workflows" / "triage.yaml"
    command = [str(python), "-c", _YAQL, str(workflow)]
    done = subprocess.run(command, input=json.dumps([result]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
