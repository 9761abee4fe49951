"""Settings out of Splunk's conf and password store: read when due, refused in words, the token sent to nobody else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cbsigned.errors import ConfigError
from cbsigned_connectors.splunk.configuration import (
    Configuration,
    NotConfigured,
    SettingsUnreadable,
    Splunkd,
    connect,
    stored_token,
)
from cbsigned_connectors.splunk.handler import Handler
from connectors.splunk.handling import SYSTEM_TOKEN, SmallSplunkd, ask
from edr_server import TOKEN, EdrServer

URL = "https://cb.example.test"


@pytest.fixture
def splunkd() -> Iterator[SmallSplunkd]:
    with SmallSplunkd({"edr": {"url": URL}}, TOKEN) as found:
        yield found


def of(splunkd: SmallSplunkd) -> Splunkd:
    return Splunkd(splunkd.uri, SYSTEM_TOKEN)


def test_settings_are_the_conf_files_and_the_stored_token(splunkd: SmallSplunkd) -> None:
    splunkd.conf = {
        "edr": {"url": URL, "retries": "5", "timeout_s": 7, "verify_tls": True, "eai:acl": None, "disabled": False},
        "cache": {"signed_s": "60", "unknown_s": 5.0, "file": "/elsewhere/cache"},
        "other": {"url": "https://other.example.test"},
    }

    found = Configuration().settings(of(splunkd))

    assert found.edr is not None
    assert (found.edr.url, found.edr.token, found.edr.retries, found.edr.timeout_s) == (URL, TOKEN, 5, 7.0)
    assert (found.life.signed_s, found.life.unknown_s, found.life.process_s) == (60.0, 5.0, 3600.0)
    assert found.cache_file is None
    assert TOKEN not in repr(found)


def test_a_ca_file_may_name_splunk_home(splunkd: SmallSplunkd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLUNK_HOME", "/opt/splunk")
    splunkd.conf["edr"]["ca_file"] = "$SPLUNK_HOME/etc/auth/cb.pem"

    found = Configuration().settings(of(splunkd))

    assert found.edr is not None
    assert found.edr.ca_file == "/opt/splunk/etc/auth/cb.pem"


def test_they_are_read_again_only_when_due(splunkd: SmallSplunkd) -> None:
    now = [1_000.0]
    configuration = Configuration(clock=lambda: now[0])
    first = configuration.settings(of(splunkd))
    splunkd.conf["edr"]["url"] = "https://new.example.test"
    now[0] += 29
    second = configuration.settings(of(splunkd))
    asked = len(splunkd.requests)
    now[0] += 2
    third = configuration.settings(of(splunkd))

    assert (first is second, asked) == (True, 2)
    assert third.edr is not None
    assert third.edr.url == "https://new.example.test"


def test_only_our_own_secret_is_asked_for(splunkd: SmallSplunkd) -> None:
    Configuration().settings(of(splunkd))

    assert splunkd.requests == [("GET", "configs/conf-cbsigned"), ("GET", "storage/passwords/cbsigned:edr_token:")]


@pytest.mark.parametrize(
    ("conf", "token", "says"),
    [
        pytest.param({}, TOKEN, "no server URL", id="never set up"),
        pytest.param({"edr": {"url": "  "}}, TOKEN, "no server URL", id="url empty"),
        pytest.param({"edr": {"url": URL}}, None, "no API token", id="no token"),
    ],
)
def test_an_app_that_is_not_set_up_names_the_setup_page(
    splunkd: SmallSplunkd, conf: Any, token: Any, says: str
) -> None:
    splunkd.conf, splunkd.token = conf, token
    with pytest.raises(NotConfigured, match=says) as caught:
        Configuration().settings(of(splunkd))

    assert "setup page" in str(caught.value)


def test_a_value_that_cannot_be_used_is_named(splunkd: SmallSplunkd) -> None:
    splunkd.conf["edr"]["timeout_s"] = "fast"
    with pytest.raises(ConfigError, match="timeout_s is") as caught:
        Configuration().settings(of(splunkd))

    assert "expected a number of seconds" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_masked_token_says_where_it_is_masked(splunkd: SmallSplunkd) -> None:
    splunkd.token = "********"
    with pytest.raises(SettingsUnreadable, match="storage_passwords_masking"):
        Configuration().settings(of(splunkd))


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_splunkd_that_does_not_tell_them(splunkd: SmallSplunkd, status: int) -> None:
    splunkd.status["configs"] = status
    with pytest.raises(SettingsUnreadable, match=str(status)) as caught:
        Configuration().settings(of(splunkd))

    assert SYSTEM_TOKEN not in str(caught.value)


def test_a_splunkd_that_is_away() -> None:
    with pytest.raises(SettingsUnreadable, match="refused"):
        Configuration().settings(Splunkd("https://127.0.0.1:1", SYSTEM_TOKEN))


def test_settings_once_read_outlive_a_splunkd_that_does_not_tell_them_now(
    splunkd: SmallSplunkd, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    configuration = Configuration(clock=lambda: now[0])
    first = configuration.settings(of(splunkd))
    splunkd.status["configs"] = 503
    now[0] += 31
    second = configuration.settings(of(splunkd))

    assert second is first
    assert "Those read before are used" in caplog.text


def test_a_server_that_was_taken_out_is_not_asked_any_more(splunkd: SmallSplunkd) -> None:
    now = [0.0]
    configuration = Configuration(clock=lambda: now[0])
    configuration.settings(of(splunkd))
    splunkd.conf = {}
    now[0] += 31
    for _ in range(2):
        with pytest.raises(NotConfigured):
            configuration.settings(of(splunkd))


@pytest.mark.parametrize(
    ("uri", "token"), [("", "token-1"), ("https://127.0.0.1", ""), ("https://127.0.0.1", "a\r\nb: c")]
)
def test_an_authority_that_is_none(uri: str, token: str) -> None:
    with pytest.raises(ConfigError, match="passSystemAuth") as caught:
        Splunkd(uri, token)

    assert not token or token not in str(caught.value)


def test_the_authority_is_not_in_its_repr() -> None:
    assert SYSTEM_TOKEN not in repr(Splunkd("https://127.0.0.1:8089", SYSTEM_TOKEN))


def test_no_other_entry_is_taken_for_the_token(splunkd: SmallSplunkd) -> None:
    splunkd.token = None

    assert stored_token(connect(of(splunkd))) is None


# the setup page's button


def pressed(splunkd: SmallSplunkd, settings: Any, token: Any = None) -> list[dict[str, Any]]:
    document = {"settings": settings} if token is None else {"settings": settings, "token": token}
    status, answer = ask(Handler(connect=None), splunkd.uri, "cbsigned_admin/test", document)
    assert status == 200
    found: list[dict[str, Any]] = answer["findings"]
    return found


def test_the_button_tries_what_is_typed(splunkd: SmallSplunkd) -> None:
    with EdrServer([{"md5": "A" * 32}], [{"id": "00000001-0000-0a1c-01d1-000000000001"}]) as edr:
        found = pressed(splunkd, {"edr": {"url": edr.url, "retries": 0}}, TOKEN)

    assert [one["topic"] for one in found] == ["server", "binary search", "process search", "sha256", "clock"]
    assert all(one["ok"] for one in found)


def test_the_button_says_what_to_fix(splunkd: SmallSplunkd) -> None:
    with EdrServer() as edr:
        refused = pressed(splunkd, {"edr": {"url": edr.url}}, "another-token")
        wrong = pressed(splunkd, {"edr": {"url": edr.url, "retries": "many"}}, TOKEN)
        empty = pressed(splunkd, {"edr": {"url": ""}}, TOKEN)

    assert refused[0]["ok"] is False
    assert "token" in refused[0]["text"]
    assert "another-token" not in repr(refused)
    assert (wrong[0]["topic"], "retries" in wrong[0]["text"]) == ("settings", True)
    assert "no server URL" in empty[0]["text"]


def test_a_ca_file_that_is_not_there_is_said(splunkd: SmallSplunkd, tmp_path: Path) -> None:
    (found,) = pressed(splunkd, {"edr": {"url": URL, "ca_file": str(tmp_path / "none.pem")}}, TOKEN)

    assert (found["ok"], "ca_file" in found["text"]) == (False, True)


def test_the_stored_token_is_tried_on_the_stored_server(splunkd: SmallSplunkd) -> None:
    with EdrServer() as edr:
        splunkd.conf["edr"]["url"] = edr.url
        found = pressed(splunkd, {"edr": {"url": edr.url, "timeout_s": "9"}})

        assert edr.requests[0].headers["x-auth-token"] == TOKEN
    assert found[0]["ok"]


@pytest.mark.parametrize(("stored", "typed"), [(True, "true"), ("yes", "yes"), ("1", "true")])
def test_the_stored_server_is_itself_however_yes_is_written(splunkd: SmallSplunkd, stored: Any, typed: str) -> None:
    """A splunkd that tells `verify_tls = yes` as true: the test wanted the token anew although nothing was changed."""
    with EdrServer() as edr:
        splunkd.conf["edr"].update(url=edr.url, verify_tls=stored)
        found = pressed(splunkd, {"edr": {"url": edr.url, "verify_tls": typed}})

    assert found[0]["ok"]


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://127.0.0.1:9"},
        {"proxy": "http://127.0.0.1:9"},
        {"verify_tls": "no"},
        {"tls_hostname": "evil.example.test"},
        {"ca_file": "/elsewhere/evil.pem"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_stored_token_goes_nowhere_else(splunkd: SmallSplunkd, changed: dict[str, str]) -> None:
    """Whoever may press the button need not be allowed to read the token, so it goes to no server of theirs."""
    with EdrServer() as edr:
        splunkd.conf["edr"]["url"] = edr.url
        (found,) = pressed(splunkd, {"edr": {"url": edr.url, **changed}})

        assert edr.requests == []
    assert (found["ok"], "Enter the token again" in found["text"]) == (False, True)
    assert splunkd.asked("passwords") == 0


@pytest.mark.parametrize("document", [{}, {"settings": []}, {"settings": {}, "token": 1}])
def test_a_button_pressed_with_nonsense(splunkd: SmallSplunkd, document: Any) -> None:
    status, answer = ask(Handler(connect=None), splunkd.uri, "cbsigned_admin/test", document)

    assert (status, "settings" in answer["error"]) == (400, True)


@pytest.mark.parametrize("settings", [{"edr": []}, {"edr": {"url": []}}, {"edr": {"url": {"a": 1}}}, {"edr": None}, {}])
def test_typed_settings_of_any_shape_are_a_finding(splunkd: SmallSplunkd, settings: Any) -> None:
    (found,) = pressed(splunkd, settings, TOKEN)

    assert "no server URL" in found["text"]


# a change of settings while the handler runs


def rows(md5: str) -> dict[str, Any]:
    return {"fields": ["md5"], "rows": [[md5]], "wait_s": 10}


def test_another_server_begins_with_empty_caches(splunkd: SmallSplunkd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cbsigned_connectors")
    now = [0.0]
    handler = Handler(Configuration(clock=lambda: now[0]), connect=None)
    document = {"md5": "A" * 32, "digsig_result": "Signed"}
    with EdrServer([document]) as first, EdrServer([{**document, "digsig_result": "Unsigned"}]) as second:
        splunkd.conf["edr"]["url"] = first.url
        before = ask(handler, splunkd.uri, "rows", rows("a" * 32))[1]
        splunkd.conf["edr"]["url"] = second.url
        now[0] += 31
        after = ask(handler, splunkd.uri, "rows", rows("a" * 32))[1]

    statuses = [answer["answers"][0]["signing"]["status"] for answer in (before, after)]
    assert statuses == ["Signed", "Unsigned"]
    assert caplog.text.count("cbsigned asks edr:127.0.0.1") == 2


def test_the_same_server_under_other_settings_keeps_its_answers(splunkd: SmallSplunkd) -> None:
    now = [0.0]
    handler = Handler(Configuration(clock=lambda: now[0]), connect=None)
    with EdrServer([{"md5": "A" * 32, "digsig_result": "Signed"}]) as edr:
        splunkd.conf["edr"]["url"] = edr.url
        ask(handler, splunkd.uri, "rows", rows("a" * 32))
        splunkd.conf["edr"]["parallel"] = "2"
        now[0] += 31
        ask(handler, splunkd.uri, "rows", rows("a" * 32))

        assert edr.counts["binary"] == 1


def test_a_handler_that_is_not_set_up_says_so_and_is_well(splunkd: SmallSplunkd) -> None:
    splunkd.conf = {}
    handler = Handler(connect=None)
    status, answer = ask(handler, splunkd.uri, "rows", rows("a" * 32))
    health = ask(handler, splunkd.uri, "health", {})

    assert (status, "setup page" in answer["error"]) == (409, True)
    assert (health[0], health[1]["configured"], health[1]["problem"]) == (200, False, answer["error"])
