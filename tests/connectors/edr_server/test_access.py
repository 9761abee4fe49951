"""Who is let in, and to what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbsigned.errors import ConfigError
from cbsigned_connectors.edr_server.access import Right, grants_of_file, grants_of_token
from connectors.edr_server.serving import TOKEN, Client


def tokens(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps({"tokens": list(entries)}), encoding="utf-8")
    return path


@pytest.mark.parametrize("token", [None, "", TOKEN[:-1], TOKEN.upper(), TOKEN + " x"], ids=repr)
def test_no_token_and_a_wrong_one_get_the_html_page_of_401(client: Client, token: str) -> None:
    stranger = Client(client.url, client.session, token)

    answer = stranger.get("/api/info")

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "text/html"
    assert "<title>401 Unauthorized</title>" in answer.text


def test_a_token_of_the_file_without_rights_named_has_all(tmp_path: Path) -> None:
    grants = grants_of_file(tokens(tmp_path / "t.json", {"token": TOKEN}))

    assert grants.of(TOKEN) == frozenset(Right)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "name none"),
        ('{"tokens": []}', "name none"),
        ('{"tokens": [{"name": "x"}]}', "entry 1 has no token"),
        ('{"tokens": [{"token": "sixteen-letters!", "rights": ["root"]}]}', "names a right that there is not"),
        ('{"tokens": [{"token": "sixteen-letters!", "rights": "search"}]}', "names a right that there is not"),
        ('{"tokens": [{"token": "short"}]}', "8 to 200"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_quoting_a_token(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=said) as caught:
        grants_of_file(path)

    assert "sixteen" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json"):
        grants_of_file(tmp_path / "no.json")


def test_the_grants_do_not_hold_the_token() -> None:
    assert TOKEN not in repr(grants_of_token(TOKEN))
