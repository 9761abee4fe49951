"""Node-RED as a foreign client: the shipped flow, unchanged, asks the real service on every run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connectors.webhook.node_red import NodeRed, node_red
from connectors.webhook.serving import TOKEN, Client
from support import PROJECT

FLOW = PROJECT / "packaging" / "webhook" / "node-red-flow.json"
NODES = {node["name"]: node for node in json.loads(FLOW.read_text("utf-8")) if node.get("name")}
MD5 = "b0a3ecc9eaa2521ddea2fc067785b84e"
FILE = "found.jsonl"


@pytest.fixture(scope="module")
def red(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeRed]:
    environ = {"CBSIGNED_URL": client.url, "CBSIGNED_TOKEN": TOKEN, "CBSIGNED_FILE": FILE}
    with node_red(FLOW, tmp_path_factory.mktemp("node-red"), environ) as running:
        yield running


def asked(red: NodeRed, alert: Any, path: str = "enrich") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{red.url}/cbsigned/{path}", json=alert, timeout=30)


def timeless(enrichment: Any) -> Any:
    """Return an enrichment without what another moment changes."""
    return json.loads(json.dumps(enrichment), object_hook=_timeless)


def _timeless(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in ("enriched_at", "read_at", "age_s")}


def test_the_enrichment_arrives_beside_the_alert(red: NodeRed, client: Client, procmon: dict[str, Any]) -> None:
    answer = asked(red, procmon)

    assert answer.status_code == 200
    found = answer.json()
    assert found["alert"] == procmon
    assert found["enrichment"]["status"] == "Signed"
    assert found["enrichment"]["subjects"][0]["md5"] == MD5
    assert len(found["enrichment"]["subjects"][0]["lineage"]["nodes"]) > 3
    assert timeless(found["enrichment"]) == timeless(client.post("/v1/alerts", procmon).json())


def test_a_list_of_alerts_gives_a_list_of_enrichments(
    red: NodeRed, client: Client, sample_alerts: list[dict[str, Any]]
) -> None:
    found = asked(red, sample_alerts).json()

    assert timeless(found["enrichment"]) == timeless(client.post("/v1/alerts", sample_alerts).json())
    assert len(found["enrichment"]["enrichments"]) == len(sample_alerts)


def test_many_hashes_are_answered_together_a_bad_one_among_them(red: NodeRed, client: Client) -> None:
    hashes = [MD5, "no hash", *(f"{number:032x}" for number in range(998))]

    found = asked(red, hashes, "signed").json()

    assert found["asked"] == hashes
    assert [one["asked"] for one in found["signatures"]] == hashes
    assert [one["status"] for one in found["signatures"][:3]] == ["Signed", "Unknown", "Unknown"]
    assert timeless(found["signatures"]) == timeless(client.post("/v1/signed", {"hashes": hashes}).json()["signatures"])
    assert timeless(asked(red, {"hashes": hashes}, "signed").json()["signatures"]) == timeless(found["signatures"])


def test_a_process_is_answered_with_its_lineage(red: NodeRed, client: Client) -> None:
    question = {"guid": "00000001-0000-0f40-01d2-e4ee910d2930"}

    found = asked(red, question, "lineage").json()

    assert found["asked"] == question
    assert timeless(found["enrichment"]) == timeless(client.post("/v1/lineage", question).json())
    assert len(found["enrichment"]["subjects"][0]["lineage"]["nodes"]) > 3


@pytest.mark.parametrize("path", ["signed", "lineage"])
def test_a_question_that_cannot_be_read_comes_back_with_the_reason(red: NodeRed, path: str) -> None:
    answer = asked(red, {"colour": "blue"}, path)

    assert answer.status_code == 422
    assert answer.json()["asked"] == {"colour": "blue"}
    assert answer.json()["error"]
    assert answer.json()["reasons"]


def test_the_button_of_the_sample_writes_an_enrichment_to_the_file(red: NodeRed) -> None:
    """The button in the editor does what this request does."""
    with requests.Session() as session:
        session.trust_env = False
        pressed = session.post(f"{red.url}/inject/{NODES['a sample alert']['id']}", timeout=30)

    (line,) = red.lines(FILE, 1)
    assert pressed.status_code == 200
    assert line["enrichment"]["status"] == "Signed"
    assert line["enrichment"]["subjects"][0]["name"] == "procmon64.exe"
    assert line["alert"] == json.loads(NODES["a sample alert"]["payload"])


def test_what_cannot_be_looked_up_comes_back_with_the_reason(red: NodeRed) -> None:
    answer = asked(red, {"colour": "blue"})

    assert answer.status_code == 422
    assert answer.json()["alert"] == {"colour": "blue"}
    assert "nothing to look up" in answer.json()["error"]


def test_the_token_comes_out_nowhere(red: NodeRed, procmon: dict[str, Any]) -> None:
    answers = [asked(red, procmon), asked(red, {"colour": "blue"})]

    for answer in answers:
        assert TOKEN not in answer.text
        assert TOKEN not in str(answer.headers)
    assert TOKEN not in red.log()


@pytest.mark.parametrize(
    ("environ", "status", "told"),
    [
        ({"CBSIGNED_URL": "http://127.0.0.1:9", "CBSIGNED_TOKEN": TOKEN}, 502, "did not answer"),
        ({"CBSIGNED_TOKEN": "not-the-token-of-anybody"}, 401, ""),
    ],
    ids=["service is down", "wrong token"],
)
def test_a_failure_is_an_answer_with_the_alert_in_it(
    client: Client, tmp_path: Path, environ: dict[str, str], status: int, told: str
) -> None:
    with node_red(FLOW, tmp_path, {"CBSIGNED_URL": client.url, **environ}) as red:
        answer = asked(red, {"md5": MD5})

    assert answer.status_code == status
    assert answer.json()["alert"] == {"md5": MD5}
    assert told in answer.json()["error"]
    assert answer.json()["error"]
    assert environ["CBSIGNED_TOKEN"] not in answer.text + str(answer.headers)
