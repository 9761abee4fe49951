"""The node in n8n itself, as a community package, asking `cbsigned serve` over the EDR stand-in; every night."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr, comparable, expected

from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from connectors.webhook.process import serve_process
from connectors.webhook.serving import TOKEN
from playbooks.n8n.real_n8n import N8n
from support import PROJECT

pytestmark = pytest.mark.nightly

BUILD = PROJECT / "packaging" / "n8n" / "build.py"
QUESTIONS: Mapping[str, Mapping[str, Any]] = {
    **{f"alert {name}": {"operation": "enrich_alert", "alert": json.dumps(alert)} for name, alert in CASES.items()},
    "a list": {"operation": "enrich_alert", "alert": json.dumps([{"md5": WRITTEN_MD5}, {"colour": "blue"}])},
    "a card": {"operation": "enrich_alert", "alert": json.dumps({"md5": WRITTEN_MD5}), "card": "markdown"},
    "a format": {"operation": "enrich_alert", "alert": json.dumps({"md5": WRITTEN_MD5}), "format": "generic"},
    "nothing to look up": {"operation": "enrich_alert", "alert": json.dumps({"colour": "blue"})},
    "no JSON": {"operation": "enrich_alert", "alert": "={{ 'colour' }}"},
    "hashes": {"operation": "signing_status", "hashes": f"{WRITTEN_MD5.upper()},\n no-hash"},
    "lineage": {"operation": "process_lineage", "guid": DEEP_GUID},
    "lineage by pid": {
        "operation": "process_lineage",
        "host": "LAB<script>",
        "pid": 4096,
        "at": "2017-06-14T11:10:00Z",
    },
    "lineage of nothing": {"operation": "process_lineage"},
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    subprocess.run([sys.executable, str(BUILD), "--output", str(folder)], check=True, capture_output=True)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def n8n(package: Path, tmp_path_factory: pytest.TempPathFactory) -> N8n:
    return N8n(tmp_path_factory.mktemp("n8n"), package)


@pytest.fixture(scope="module")
def answers(n8n: N8n, edr: Edr, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Sequence[Any]]]:
    environ = {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": edr.token}
    with serve_process(tmp_path_factory.mktemp("serve"), environ) as service:
        n8n.connect(f"{service.url}/", TOKEN)
        yield n8n.execute(QUESTIONS)


def without_stale(enrichment: Mapping[str, Any]) -> Any:
    return comparable({name: value for name, value in enrichment.items() if name != "stale"})


def names_nothing(alert: Any) -> bool:
    """Return whether there is nothing to look up in an alert, which the responder answers with an error."""
    try:
        return not parse_alert(alert).sets
    except AlertError:
        return True


EMPTY = [name for name, alert in CASES.items() if names_nothing(alert)]


@pytest.mark.parametrize("name", [name for name in CASES if name not in EMPTY])
def test_every_golden_alert_is_answered_as_by_the_command_line(
    answers: Mapping[str, Sequence[Any]], edr: Edr, name: str
) -> None:
    found = [without_stale(one) for one in answers[f"alert {name}"]]

    assert [expected(edr, name)] == found


@pytest.mark.parametrize("name", EMPTY)
def test_a_golden_alert_that_names_nothing_is_an_error(answers: Mapping[str, Sequence[Any]], name: str) -> None:
    assert "nothing to look up" in answers[f"alert {name}"][0]["error"]


def test_a_list_of_alerts_gives_an_item_each(answers: Mapping[str, Sequence[Any]]) -> None:
    assert [one["status"] for one in answers["a list"]] == ["Signed", "Unknown"]


def test_a_card_comes_in_the_item(answers: Mapping[str, Sequence[Any]]) -> None:
    assert answers["a card"][0]["card"]["markdown"].startswith(f"### ✓ Signed — {WRITTEN_MD5}")


def test_a_format_that_is_named_is_used(answers: Mapping[str, Sequence[Any]]) -> None:
    assert answers["a format"][0]["alert"]["format"] == "generic"


def test_one_bad_hash_does_not_fail_the_others(answers: Mapping[str, Sequence[Any]]) -> None:
    assert [(WRITTEN_MD5.upper(), "Signed"), ("no-hash", "Unknown")] == [
        (one["asked"], one["status"]) for one in answers["hashes"]
    ]


@pytest.mark.parametrize("name", ["lineage", "lineage by pid"])
def test_a_lineage_has_every_ancestor(answers: Mapping[str, Sequence[Any]], name: str) -> None:
    (found,) = answers[name]

    assert len(found["subjects"][0]["lineage"]["nodes"]) == 13


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nothing to look up", "nothing to look up"),
        ("no JSON", "no JSON object"),
        ("lineage of nothing", "not what is expected"),
    ],
)
def test_what_cannot_be_answered_is_an_error_in_the_responders_words(
    answers: Mapping[str, Sequence[Any]], name: str, told: str
) -> None:
    assert told in answers[name][0]["error"]


@pytest.mark.parametrize(
    ("url", "token", "told"),
    [(None, "not-the-token-of-anybody", "not known"), ("http://127.0.0.1:9", TOKEN, "refused")],
    ids=["wrong token", "responder is down"],
)
def test_a_failing_responder_is_an_error_without_the_token(
    package: Path, edr: Edr, tmp_path: Path, url: str, token: str, told: str
) -> None:
    own = N8n(tmp_path / "home", package)
    with serve_process(tmp_path, {"CBSIGNED_EDR_URL": edr.url, "CBSIGNED_EDR_TOKEN": edr.token}) as service:
        own.connect(url or service.url, token)
        found = own.execute({"hashes": QUESTIONS["hashes"]})["hashes"]

    assert told in found[0]["error"]
    assert token not in json.dumps(found)


def test_the_token_is_in_no_output(n8n: N8n, answers: Mapping[str, Sequence[Any]], edr: Edr) -> None:
    assert answers
    assert TOKEN not in n8n.said
    assert edr.token not in n8n.said
