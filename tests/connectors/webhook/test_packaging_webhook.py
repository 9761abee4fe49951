"""What stands around the responder: unit, Containerfile, configuration, recipe and flows are what they say."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned.samples import sample_path
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from cbsigned_connectors.webhook.configuration import load
from cbsigned_connectors.webhook.senders import Senders
from connectors.webhook.serving import Client, serving
from support import PROJECT

FOLDER = PROJECT / "packaging" / "webhook"
UNIT = FOLDER / "cbsigned-webhook.service"
RECIPE = (FOLDER / "splunk-alert-action.md").read_text("utf-8")
PATH_TOKEN, PAGE_TOKEN = "path-token-of-a-splunk", "page-token-of-a-splunk"
ENVIRON = {
    "CBSIGNED_SOAR": "whsec_" + "QUFB" * 10, "CBSIGNED_CALLBACKS": "whsec_" + "QkJC" * 10,
    "CBSIGNED_NODE_RED": "token-of-a-node-red", "CBSIGNED_SPLUNK": PATH_TOKEN, "CBSIGNED_SPLUNK_PAGE": PAGE_TOKEN,
}  # fmt: skip


def blocks(language: str) -> list[str]:
    """Return the recipe's examples in a language."""
    return re.findall(rf"```{language}\n(.*?)```", RECIPE, re.DOTALL)


def systemd(*arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        message = "no systemd-analyze on this machine: apt-get install systemd"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    return done.stdout


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with a program that is there."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text("utf-8").replace("/opt/cbsigned/bin/cbsigned", sys.executable), "utf-8")
    return path


def test_systemd_understands_every_line_of_the_unit(unit: Path) -> None:
    assert systemd("verify", "--man=no", str(unit)) == ""


def test_the_unit_is_as_confined_as_the_readme_says(unit: Path) -> None:
    told = systemd("security", "--offline=yes", "--threshold=15", "--no-pager", str(unit))

    level = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)[0]
    assert f"says {level}, *OK*" in (FOLDER / "README.md").read_text("utf-8")


def test_the_unit_runs_as_nobody_in_particular_on_a_read_only_system_and_holds_no_secret() -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text("utf-8"))
    service = dict(parser["Service"])

    expected = {"DynamicUser": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "NoNewPrivileges": "yes"}
    assert {key: service[key] for key in expected} == expected
    assert service["CapabilityBoundingSet"] == ""
    assert service["EnvironmentFile"] == "-/etc/cbsigned/webhook.env"
    assert "TOKEN=" not in UNIT.read_text("utf-8")
    command = service["ExecStart"].split()
    assert (command[0], command[-1]) == ("/opt/cbsigned/bin/cbsigned", "$OPTIONS")
    assert serve_takes(*command[2:-1], "--config", "/etc/cbsigned/webhook.yaml")


def serve_takes(*arguments: str) -> bool:
    """Return whether the help of `cbsigned serve` names every option among these arguments."""
    command = [sys.executable, "-c", "from cbsigned.cli import main; main()", "serve", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return all(f" {word} " in told for word in arguments if word.startswith("-"))


def container() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile."""
    text = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Containerfile").read_text("utf-8")).replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def test_the_container_runs_without_root_and_holds_no_secret() -> None:
    lines = container()
    last = max(place for place, (word, _rest) in enumerate(lines) if word == "FROM")
    final = lines[last:]

    assert {word for word, _rest in lines} <= {
        "FROM", "COPY", "RUN", "ENV", "WORKDIR", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT",
        "CMD",
    }  # fmt: skip
    assert dict(final)["USER"] == "10001:10001"
    assert dict(final)["VOLUME"] == "/var/lib/cbsigned"
    assert [word for word, _rest in final].index("USER") > [w for w, _r in final].index("RUN")
    assert not re.search(r"(?i)token|secret|password", str(lines))
    assert all(rest.startswith("docker.io/library/python:3") for word, rest in lines if word == "FROM")
    program, *arguments = json.loads(dict(final)["ENTRYPOINT"]) + json.loads(dict(final)["CMD"])
    assert (program, arguments[0]) == ("/opt/cbsigned/bin/cbsigned", "serve")
    assert serve_takes(*arguments[1:])


def test_the_containers_health_check_tells_a_service_that_answers_from_one_that_does_not(client: Client) -> None:
    _python, flag, code = json.loads(dict(container())["HEALTHCHECK"].partition("CMD ")[2])
    assert "http://127.0.0.1:8787/healthz" in code
    environ = {**os.environ, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}

    found = [
        subprocess.run(
            [sys.executable, flag, code.replace("http://127.0.0.1:8787", url)],
            capture_output=True, env=environ, timeout=30,
        ).returncode
        for url in (client.url, "http://127.0.0.1:9")
    ]  # fmt: skip

    assert found == [0, 1]


def test_the_example_configuration_is_one() -> None:
    settings = load(FOLDER / "webhook.yaml", ENVIRON)

    assert [sender.name for sender in settings.senders] == ["soar", "node-red", "splunk", "splunk"]
    assert str(settings.jobs.path) == "/var/lib/cbsigned/webhook-jobs.db"


@pytest.fixture(scope="module")
def splunk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Return a responder whose senders are the recipe's, sent to from here."""
    folder = tmp_path_factory.mktemp("splunk")
    (text,) = blocks("yaml")
    file = folder / "webhook.yaml"
    file.write_text(re.sub(r"addresses: .*", "addresses: [127.0.0.1/32]", text), "utf-8")
    ingest(folder / "samples.db", [sample_path("telemetry")])
    senders = Senders(load(file, ENVIRON).senders)
    with contextlib.closing(StoreSource(folder / "samples.db")) as store, serving(store, senders=senders) as client:
        yield client


def test_the_recipes_senders_are_those_of_the_example() -> None:
    (text,) = blocks("yaml")
    example = re.sub(r"\s*#.*", "", (FOLDER / "webhook.yaml").read_text("utf-8"))

    assert "\n".join(text.splitlines()[1:]) in example


def test_what_splunk_posts_is_answered_and_seen_on_the_page(splunk: Client) -> None:
    (command,) = blocks("sh")
    words = shlex.split(command.replace("\\\n", ""))
    path = words[words.index("-sS") + 1].replace("https://cbsigned.example.test", "").replace("TOKEN", PATH_TOKEN)
    body = words[words.index("--data") + 1]
    splunk.token = None

    answer = splunk.post(path, body, {"Content-Type": "application/json"})
    signed_in = splunk.session.post(f"{splunk.url}/page/sign-in", data={"token": PAGE_TOKEN}, timeout=20)
    wrong = splunk.post(path.replace(PATH_TOKEN, PAGE_TOKEN), body, {"Content-Type": "application/json"})

    assert answer.status_code == 200
    assert answer.json()["alert"]["format"] == "splunk"
    assert answer.json()["status"] == "Signed"
    assert len(answer.json()["subjects"][0]["lineage"]["nodes"]) > 3
    assert "Signed in as <b>splunk</b>" in signed_in.text
    assert "procmon64.exe" in signed_in.text[signed_in.text.index('class="recent"') :]
    assert wrong.status_code == 401


def test_the_recipes_allow_list_admits_its_url_and_no_other() -> None:
    allowed, search = blocks("ini")
    pattern = re.compile(re.findall(r"allowlist\.\w+ = (.*)", allowed)[0])
    (url,) = re.findall(r"action\.webhook\.param\.url = (.*)", search)

    assert pattern.match(url)
    assert not pattern.match(url.replace("cbsigned.example", "cbsigned-example"))
    assert not pattern.match(url.replace("https://", "https://evil.test/?"))
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(search)
    assert parser["Suspicious child process"]["alert.digest_mode"] == "0"


def test_the_n8n_workflow_is_whole(client: Client) -> None:
    text = (FOLDER / "n8n-workflow.json").read_text("utf-8")
    workflow: dict[str, Any] = json.loads(text)
    nodes = {node["name"]: node for node in workflow["nodes"]}

    assert len(nodes) == len(workflow["nodes"]) == len({node["id"] for node in workflow["nodes"]})
    for node in nodes.values():
        assert {"id", "name", "type", "typeVersion", "position", "parameters"} <= set(node)
        assert node["type"].startswith("n8n-nodes-base.")
        assert "credentials" not in node  # they belong to an installation
    linked = [(start, link) for start, ends in workflow["connections"].items() for out in ends["main"] for link in out]
    assert [(start, link["node"]) for start, link in linked] == [
        ("Alert in", "Ask cbsigned"), ("Ask cbsigned", "Answer"),
    ]  # fmt: skip
    assert {name for name in nodes if name not in workflow["connections"]} == {"Read me", "Answer"}
    assert set(re.findall(r"\$\('([^']+)'\)", text)) <= set(nodes)
    asked = nodes["Ask cbsigned"]["parameters"]
    path = asked["url"].replace("http://127.0.0.1:8787", "")
    assert asked["method"].lower() in client.get("/openapi.json").json()["paths"][path]
    assert workflow["active"] is False


def test_the_node_red_flow_is_whole_and_holds_no_secret() -> None:
    text = (FOLDER / "node-red-flow.json").read_text("utf-8")
    flow = json.loads(text)
    ids = [node["id"] for node in flow]

    assert len(set(ids)) == len(ids)
    assert {end for node in flow for output in node.get("wires", []) for end in output} <= set(ids)
    assert {node["z"] for node in flow if "z" in node} == {flow[0]["id"]}
    assert "credentials" not in text
    assert set(re.findall(r'env\.get\(\\"(\w+)\\"\)', text)) == {"CBSIGNED_URL", "CBSIGNED_TOKEN", "CBSIGNED_FILE"}


def test_the_readme_names_every_file() -> None:
    named = set(re.findall(r"\]\(([\w.-]+)\)", (FOLDER / "README.md").read_text("utf-8")))

    assert named == {path.name for path in FOLDER.iterdir()} - {"README.md"}
