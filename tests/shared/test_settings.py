from __future__ import annotations

from pathlib import Path

import pytest

from cbsigned.config import load_configuration
from cbsigned.errors import ConfigError
from cbsigned.settings import Settings, parse_settings, specs

TOKEN = "0123456789abcdef0123456789abcdef01234567"
EDR = {"url": "https://cb.example.test", "token": TOKEN}


def test_defaults_in_the_table_are_the_defaults_in_the_code() -> None:
    texts: dict[str, dict[str, str]] = {}
    for spec in specs():
        if spec.default and spec.section != "edr":
            texts.setdefault(spec.section, {})[spec.name] = spec.default

    assert parse_settings(texts) == Settings()


@pytest.mark.parametrize(
    ("section", "name", "text", "expected"),
    [
        (
            "cbsigned",
            "deadline_s",
            "fast",
            'deadline_s is "fast" in [cbsigned]: expected a number of seconds, 0.1 to 3600.',
        ),
        ("cbsigned", "strategy", "guess", "expected binary or joint"),
        ("cbsigned", "max_depth", "-1", "expected a whole number, 0 to 500"),
        ("cache", "signed_s", "٣", "expected a number of seconds"),
        ("edr", "verify_tls", "maybe", "expected yes or no"),
        ("edr", "url", "ftp://x", "expected an address such as https://cb.example.test"),
        ("edr", "url", "https://u:p@host/", "the token has a setting of its own"),
        ("edr", "colour", "red", "[edr] colour is not a setting"),
    ],
)
def test_a_wrong_value_says_what_is_expected(section: str, name: str, text: str, expected: str) -> None:
    given = {"edr": dict(EDR)}
    given.setdefault(section, {})[name] = text

    with pytest.raises(ConfigError) as caught:
        parse_settings(given)

    assert expected in str(caught.value)


def test_the_token_is_in_no_repr_and_no_message() -> None:
    settings = parse_settings({"edr": {**EDR, "proxy": "http://me:secret@proxy:3128"}})

    assert TOKEN not in repr(settings)
    assert "secret" not in repr(settings)
    with pytest.raises(ConfigError) as caught:
        parse_settings({"edr": {**EDR, "token": f"{TOKEN} with a space"}})
    assert TOKEN not in str(caught.value)


def test_a_server_without_a_token_says_where_to_put_it() -> None:
    with pytest.raises(ConfigError, match="CBSIGNED_EDR_TOKEN"):
        parse_settings({"edr": {"url": "https://cb.example.test"}})


def test_the_environment_wins_over_the_file_and_every_origin_is_told(tmp_path: Path) -> None:
    file = tmp_path / "c.ini"
    file.write_text("[edr]\nurl = https://file.example.test\ntimeout_s = 9\n[cbsigned]\nmax_depth = 5\nstore = a.db\n")
    environ = {"CBSIGNED_EDR_URL": "https://env.example.test", "CBSIGNED_EDR_TOKEN": TOKEN, "CBSIGNED_WINDOW": "7"}

    found = load_configuration(str(file), environ)

    assert found.settings.edr is not None
    assert (found.settings.edr.url, found.settings.edr.timeout_s) == ("https://env.example.test", 9.0)
    assert (found.settings.max_depth, found.settings.window, found.settings.store) == (5, 7, "a.db")
    shown = {f"{o.section}.{o.name}": (o.shown, o.origin) for o in found.origins}
    assert shown["edr.token"] == ("set, 40 characters", "environment, CBSIGNED_EDR_TOKEN")
    assert shown["edr.timeout_s"] == ("9", str(file))
    assert shown["edr.retries"] == ("3", "default")


def test_a_token_that_others_may_read_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c.ini"
    file.write_text(f"[edr]\nurl = https://cb.example.test\ntoken = {TOKEN}\n")
    file.chmod(0o644)

    load_configuration(str(file), {})

    assert "chmod 600" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("text", ["no section\n", "[a\n", "[edr]\nurl\n=\n"])
def test_a_file_that_is_no_ini_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.ini"
    file.write_text(text)

    with pytest.raises(ConfigError, match=r"line [123]"):
        load_configuration(str(file), {})


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load_configuration("/nowhere/c.ini", {})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CBSIGNED_EDR_PROXY", "http://me:hun/ter2@proxy:3128"),
        ("CBSIGNED_EDR_PROXY", "ftp://me:hunter2@ter2@proxy"),
        ("HTTPS_PROXY", "ftp://me:hunter2@proxy"),
    ],
)
def test_a_proxys_password_is_in_no_message(variable: str, text: str) -> None:
    environ = {"CBSIGNED_EDR_URL": "https://cb.example.test", "CBSIGNED_EDR_TOKEN": TOKEN, variable: text}

    with pytest.raises(ConfigError) as caught:
        load_configuration(None, {**environ, "HOME": "/nowhere"})

    assert "hun" not in str(caught.value)
    assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "proxy"), [("", "http://proxy.example.test:3128"), (".example.test", None)], ids=["proxy", "excepted"]
)
def test_https_proxy_is_taken_without_a_scheme_and_no_proxy_is_honoured(no_proxy: str, proxy: object) -> None:
    environ = {
        "CBSIGNED_EDR_URL": "https://cb.example.test", "CBSIGNED_EDR_TOKEN": TOKEN, "HOME": "/nowhere",
        "HTTPS_PROXY": "proxy.example.test:3128", "NO_PROXY": no_proxy,
    }  # fmt: skip

    found = load_configuration(None, environ)

    assert found.settings.edr is not None
    assert found.settings.edr.proxy == proxy


def test_a_wrong_variable_is_named_and_not_a_file() -> None:
    with pytest.raises(ConfigError, match=r"in CBSIGNED_DEADLINE_S: expected .* Leave it out for the default, 60"):
        load_configuration(None, {"CBSIGNED_DEADLINE_S": "fast", "HOME": "/nowhere"})


def test_a_misspelt_variable_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    load_configuration(None, {"CBSIGNED_EDR_TIMEOUT": "5", "HOME": "/nowhere"})

    assert "Did you mean CBSIGNED_EDR_TIMEOUT_S?" in caplog.text
