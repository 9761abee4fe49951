"""The n8n package: what n8n reads of it, in Node.js; the node in n8n itself is examined every night."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, WRITTEN_MD5

from cbsigned_playbooks.catalogue import action_named
from support import PROJECT

PACKAGE = PROJECT / "packaging" / "n8n" / "package"
BUILD = PROJECT / "packaging" / "n8n" / "build.py"
NODE = PACKAGE / "nodes" / "CbSigned" / "CbSigned.node.js"
CREDENTIALS = PACKAGE / "credentials" / "CbSignedApi.credentials.js"


def node(script: str, *arguments: str) -> Any:
    """Return what a script of JavaScript prints as JSON; `loaded` is the node's description."""
    if shutil.which("node") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Node.js on this machine: apt-get install nodejs")
    start = f"const {{CbSigned}} = require({json.dumps(str(NODE))}); const loaded = new CbSigned().description; "
    done = subprocess.run(["node", "-e", start + script, "--", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def description() -> Any:
    return node("console.log(JSON.stringify(loaded))")


def test_two_builds_are_equal_and_hold_what_package_json_names(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        subprocess.run([sys.executable, str(BUILD), "--output", str(tmp_path / name)], check=True, capture_output=True)
        (archive,) = (tmp_path / name).iterdir()
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
        said = json.loads(packed.extractfile("package/package.json").read())  # type: ignore[union-attr]

    assert len(digests) == 1
    assert said["name"].startswith("n8n-nodes-")
    assert archive.name == f"{said['name']}-{said['version']}.tgz"
    assert "n8n-community-node-package" in said["keywords"]
    assert {f"package/{path}" for path in (*said["n8n"]["nodes"], *said["n8n"]["credentials"])} <= names
    assert "dependencies" not in said


def test_the_icon_is_there(description: Any) -> None:
    kind, _, name = description["icon"].partition(":")

    assert kind == "file"
    assert (NODE.parent / name).read_text("utf-8").startswith("<svg")


def test_the_operations_are_actions_of_the_catalogue(description: Any) -> None:
    (operation,) = [one for one in description["properties"] if one["name"] == "operation"]

    for one in operation["options"]:
        assert one["description"] == action_named(one["value"]).summary
        assert one["routing"]["request"]["method"] == "POST"
        assert one["routing"]["request"]["url"].lstrip("=").startswith("/v1/")
    assert operation["default"] in [one["value"] for one in operation["options"]]


def test_every_field_belongs_to_an_operation_and_the_required_ones_are_the_catalogues(description: Any) -> None:
    fields = [one for one in description["properties"] if one["name"] != "operation"]
    for field in fields:
        for name in field["displayOptions"]["show"]["operation"]:
            known = {one.name: one for one in action_named(name).parameters}
            if field["name"] != "card":
                assert field.get("required", False) == known[field["name"]].required

    assert {"alert", "format", "hashes", "guid", "host", "pid", "at", "card"} == {field["name"] for field in fields}


def test_the_token_is_a_password_and_goes_into_a_header_alone() -> None:
    script = "const {CbSignedApi} = require(process.argv[1]); console.log(JSON.stringify(new CbSignedApi()))"
    loaded = node(script, str(CREDENTIALS))

    token = next(one for one in loaded["properties"] if one["name"] == "token")
    assert token["typeOptions"] == {"password": True}
    assert loaded["authenticate"]["properties"] == {"headers": {"Authorization": "=Bearer {{ $credentials.token }}"}}
    assert "token" not in NODE.read_text("utf-8").lower()


ROWS = """
const rows = loaded.properties[0].options[0].routing.output.postReceive[0];
rows([], JSON.parse(process.argv[1])).then(
    (items) => console.log(JSON.stringify(items)),
    (error) => console.log(JSON.stringify({ message: error.message, description: error.description })));
"""


@pytest.mark.parametrize(
    ("body", "items"),
    [
        ({"schema": "x"}, [{"schema": "x"}]),
        ({"enrichments": [{"a": 1}, {"a": 2}], "stale": False}, [{"a": 1}, {"a": 2}]),
        ({"signatures": [{"md5": "a"}], "complete": True}, [{"md5": "a"}]),
        ({"enrichments": []}, []),
    ],
)
def test_every_row_of_an_answer_is_an_item(body: Any, items: list[Any]) -> None:
    assert [{"json": one} for one in items] == node(ROWS, json.dumps({"statusCode": 200, "body": body}))


def test_a_problem_is_an_error_in_the_responders_words() -> None:
    problem = {
        "title": "Nothing to look up",
        "detail": "Nothing here.",
        "errors": [{"path": "", "reason": "Give one."}],
    }

    error = node(ROWS, json.dumps({"statusCode": 422, "body": problem}))

    assert error == {"message": "Nothing here.", "description": "cbsigned answered 422. Nothing to look up. Give one."}


@pytest.mark.parametrize(
    "answer", [{"statusCode": 200, "body": "<html>Sign in</html>"}, {"statusCode": 502, "body": ""}]
)
def test_a_page_of_a_proxy_is_an_error_that_says_so(answer: Any) -> None:
    assert "a proxy or a login page is likely" in node(ROWS, json.dumps(answer))["message"]


ALONE = """
const alone = loaded.properties.find((one) => one.name === "alert").routing.send.preSend[0];
const self = { getNodeParameter: () => JSON.parse(process.argv[1]) };
alone.call(self, { body: {} }).then((options) => console.log(JSON.stringify(options.body)));
"""


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"md5": WRITTEN_MD5}, {"md5": WRITTEN_MD5}),
        ([{"md5": WRITTEN_MD5}], [{"md5": WRITTEN_MD5}]),
        (json.dumps(CASES["deep and hostile"]), CASES["deep and hostile"]),
        ("no JSON", '"no JSON"'),
    ],
)
def test_an_alert_is_sent_as_the_whole_body(given: Any, sent: Any) -> None:
    assert sent == node(ALONE, json.dumps(given))


def test_the_examples_are_such_as_the_actions_take(description: Any) -> None:
    examples = {one["name"]: one.get("placeholder", "") for one in description["properties"]}

    assert examples["guid"].startswith("e.g. ")
    assert len(examples["guid"]) == len(f"e.g. {DEEP_GUID}")
