"""The fault mode: what its rules do to answers, and how they are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from cbsigned.errors import ConfigError
from cbsigned_connectors.edr_server.faults import Fault, Faults, faults_of_file, parse_faults
from connectors.edr_server.serving import TOKEN, Client, serving

CONTROL = "control-token-of-the-tests"


def rules(*made: Fault, seed: int = 1) -> Faults:
    return Faults(made, seed)


@pytest.mark.parametrize("status", [204, 429, 500, 502, 503, 504])
def test_a_status_is_answered_instead(sample_store: Path, status: int) -> None:
    with serving(sample_store, faults=rules(Fault("*", "status", status=status, retry_after_s=7))) as client:
        answer = client.get("/api/info")

    assert answer.status_code == status
    assert answer.headers["Retry-After"] == "7"
    assert (answer.content == b"") == (status == 204)


def test_an_unhandled_exception_has_the_recorded_text(sample_store: Path) -> None:
    with serving(sample_store, faults=rules(Fault("*", "status", status=500))) as client:
        assert client.get("/api/info").text == "Unhandled exception. Check logs for details."


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_a_cut_answer_ends_within_the_body(sample_store: Path, keep: float) -> None:
    with (
        serving(sample_store, faults=rules(Fault("*", "truncate", keep=keep))) as client,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        client.get("/api/info")


def test_latency_is_waited_before_the_answer(sample_store: Path) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    slow = rules(Fault("/api/*", "latency", latency_s=90), Fault("*", "latency", latency_s=1.5))
    with serving(sample_store, faults=slow, wait=wait) as client:
        answer = client.get("/api/info")

    assert (answer.status_code, waited) == (200, [91.5])


def test_a_rule_strikes_its_route_and_method_alone_and_no_more_often_than_told(sample_store: Path) -> None:
    fault = Fault("/api/v1/sensor*", "status", method="GET", times=2)
    with serving(sample_store, faults=rules(fault)) as client:
        others = client.get("/api/info").status_code
        answers = [client.get("/api/v1/sensor").status_code for _ in range(4)]

    assert others == 200
    assert answers == [503, 503, 200, 200]


def test_the_same_seed_draws_the_same_faults() -> None:
    fault = Fault("*", "status", probability=0.3)
    one, other = rules(fault, seed=7), rules(fault, seed=7)

    drawn = [bool(one.drawn("GET", "/api/info")) for _ in range(1000)]

    assert drawn == [bool(other.drawn("GET", "/api/info")) for _ in range(1000)]
    assert 200 < sum(drawn) < 400


def test_the_control_route_replaces_tells_and_ends_the_rules(sample_store: Path) -> None:
    with serving(sample_store, control_token=CONTROL) as client:
        url, headers = client.url + "/_faults", {"X-Auth-Token": CONTROL}
        put = client.session.put(url, headers=headers, json={"rules": [{"route": "*", "fault": "status"}]})
        broken = client.get("/api/info").status_code
        told = client.session.get(url, headers=headers).json()
        client.session.delete(url, headers=headers)
        healed = client.get("/api/info").status_code

    assert put.status_code == 200
    assert (broken, healed) == (503, 200)
    assert told["rules"][0]["struck"] == 1


@pytest.mark.parametrize("token", [None, "", TOKEN, CONTROL + "x"], ids=repr)
def test_the_control_route_takes_its_own_token_alone(sample_store: Path, token: str) -> None:
    with serving(sample_store, control_token=CONTROL) as client:
        assert Client(client.url, client.session, token).get("/_faults").status_code == 401


def test_without_a_control_token_there_is_no_control_route(client: Client) -> None:
    assert client.get("/_faults").status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"rules": [{"route": "*"}]}', b"[" * 100_000])
def test_rules_that_cannot_be_used_are_400_and_change_nothing(sample_store: Path, body: bytes) -> None:
    faults = rules(Fault("/none", "latency"))
    with serving(sample_store, faults=faults, control_token=CONTROL) as client:
        answer = client.session.put(client.url + "/_faults", headers={"X-Auth-Token": CONTROL}, data=body)

    assert answer.status_code == 400
    assert [rule.route for rule in faults.rules] == ["/none"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("x", "is no object"),
        ({"route": "*"}, "needs a route and a fault"),
        ({"route": "*", "fault": "explode"}, "needs a route and a fault"),
        ({"route": "*", "fault": "latency", "lattency_s": 3}, "lattency_s, which no rule has"),
        ({"route": "*", "fault": "latency", "latency_s": "3"}, "latency_s is 3"),
        ({"route": "*", "fault": "latency", "latency_s": 1e9}, "expected a number, 0 to 600"),
        ({"route": "*", "fault": "latency", "latency_s": float("nan")}, "expected a number, 0 to 600"),
        ({"route": "*", "fault": "status", "status": 200}, "expected"),
        ({"route": "*", "fault": "status", "status": 302}, "expected 204, or 400 to 599"),
        ({"route": "*", "fault": "status", "probability": True}, "probability is True"),
        ({"route": "*", "fault": "status", "method": "PATCH"}, "GET or POST"),
        ({"route": "*", "fault": "truncate", "times": 1.5}, "a whole number"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(rule: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_faults({"rules": [{"route": "*", "fault": "latency"}, rule]}, "f.json")

    assert "f.json, rule 2" in str(caught.value)


def test_json_and_yaml_files_give_the_same_rules(tmp_path: Path) -> None:
    document = {"seed": 3, "rules": [{"route": "/api/*", "fault": "status", "status": 429, "retry_after_s": 2}]}
    (tmp_path / "f.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "f.yaml").write_text(
        "seed: 3\nrules:\n- {route: /api/*, fault: status, status: 429, retry_after_s: 2}\n", encoding="utf-8"
    )

    assert faults_of_file(tmp_path / "f.json").described() == faults_of_file(tmp_path / "f.yaml").described()


@pytest.mark.parametrize(("name", "text"), [("f.json", "seed: 3"), ("f.yaml", "a: [}"), ("f.yaml", "!!python/none x")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=name):
        faults_of_file(tmp_path / name)
