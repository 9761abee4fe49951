"""One YAML file, and secrets from elsewhere: what is read, what is refused, and whether messages name the place."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.errors import ConfigError
from cbsigned.settings import RedisSettings
from cbsigned.yamlfile import read_yaml
from cbsigned_connectors.webhook.addresses import HostRule
from cbsigned_connectors.webhook.broker import BrokerSettings
from cbsigned_connectors.webhook.callbacks import CallbackSettings
from cbsigned_connectors.webhook.configuration import WebhookSettings, load, settings_of
from cbsigned_connectors.webhook.configuration_keys import KEYS
from cbsigned_connectors.webhook.credentials import Scheme, SenderSettings
from cbsigned_connectors.webhook.jobs import JobSettings
from cbsigned_connectors.webhook.limits import BodyLimits

TOKEN = "a-token-that-nobody-may-see-0123"
KEY = "whsec_" + "QUJD" * 11 + "QQ=="
ENVIRON = {"CBSIGNED_SOAR": TOKEN, "CBSIGNED_OTHER": TOKEN + "2", "CBSIGNED_KEY": KEY, "CBSIGNED_EMPTY": "  "}
SOAR = "senders: [{name: soar, scheme: bearer, secrets: [{env: CBSIGNED_SOAR}]}]\n"


def parsed(text: str, folder: Path = Path("/etc/cbsigned")) -> WebhookSettings:
    return settings_of(read_yaml(text, str(folder / "webhook.yaml")), folder / "webhook.yaml", ENVIRON)


def refused(text: str, folder: Path = Path("/etc/cbsigned")) -> str:
    with pytest.raises(ConfigError) as caught:
        parsed(text, folder)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def told(text: str) -> str:
    """Return the refusal of a text, or the name of the file that was taken."""
    try:
        return str(parsed(text).file)
    except ConfigError as exc:
        return str(exc)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.secret").write_text("an-old-secret-of-the-soar\n")
    (tmp_path / "old.secret").chmod(0o600)
    (tmp_path / "webhook.yaml").write_text(
        """
listen: {host: "::1", port: 0, trusted_proxies: [10.0.0.5]}
deadline_s: 5
bodies: {max_bytes: 2048, timeout_s: 0.5}
senders:
  - name: soar
    scheme: basic
    user: xsoar
    secrets: [{env: CBSIGNED_SOAR}, {file: old.secret}]
    source: splunk
    mapping: my-siem
    addresses: [10.1.0.0/16, "2001:db8::/32"]
    per_minute: 60
    burst: 5
    max_body_bytes: 1024
  - {name: tool, scheme: header, header: Authorization, secrets: {env: CBSIGNED_OTHER}}
mappings:
  my-siem: {md5: [event.FileMD5]}
callbacks:
  hosts: [soar.example.test, "*.Hooks.example.test:8443"]
  secrets: [{env: CBSIGNED_KEY}]
  allow_http: no
  allow_networks: [127.0.0.0/8]
  tries: 3
jobs: {path: jobs.db, kept_s: 60}
"""
    )

    found = load(tmp_path / "webhook.yaml", ENVIRON)

    assert (found.host, found.port, found.deadline_s, found.file) == ("::1", 0, 5.0, tmp_path / "webhook.yaml")
    assert found.trusted_proxies == (ipaddress.ip_network("10.0.0.5"),)
    assert found.bodies == BodyLimits(max_bytes=2048, timeout_s=0.5)
    soar, tool = found.senders
    assert (soar.name, soar.scheme, soar.user, soar.source, soar.mapping) == (
        "soar",
        Scheme.BASIC,
        "xsoar",
        "splunk",
        "my-siem",
    )
    assert [secret.value for secret in soar.secrets] == [TOKEN.encode(), b"an-old-secret-of-the-soar"]
    assert soar.addresses == (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("2001:db8::/32"))
    assert (soar.per_minute, soar.burst, soar.max_body_bytes) == (60, 5, 1024)
    assert (tool.scheme, tool.header, len(tool.secrets)) == (Scheme.HEADER, "Authorization", 1)
    assert list(found.mappings) == ["my-siem"]
    assert found.callbacks.hosts == (
        HostRule("soar.example.test"),
        HostRule("hooks.example.test", suffix=True, port=8443),
    )
    assert (found.callbacks.tries, found.callbacks.allow_http) == (3, False)
    assert found.jobs == JobSettings(tmp_path / "jobs.db", kept_s=60.0)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "senders:\n", "senders: []\njobs: {}\nlisten:\n"])
def test_everything_has_a_default(text: str) -> None:
    found = parsed(text)

    assert found == WebhookSettings(file=found.file)


def test_the_defaults_told_are_the_defaults_of_the_code() -> None:
    defaults = {name: yaml.safe_load(key.default) for name, key in KEYS.items() if key.default}
    senders = {f.name: f.default for f in fields(SenderSettings)}

    for prefix, made in (
        ("bodies.", BodyLimits()),
        ("cache.", RedisSettings("")),
        ("jobs.", JobSettings()),
        ("callbacks.", CallbackSettings()),
    ):
        for name in [name for name in defaults if name.startswith(prefix)]:
            own = name[len(prefix) :]
            actual = getattr(made if hasattr(made, own) else BrokerSettings(""), own)
            assert (list(actual) if isinstance(actual, tuple) else actual) in (
                defaults[name],
                Path(str(defaults[name])),
            )
    for name in [name for name in defaults if name.startswith("senders[].") and name != "senders[].header"]:
        actual = senders[name[len("senders[].") :]]
        assert (list(actual) if isinstance(actual, tuple) else actual) == defaults[name]
    assert defaults["senders[].header"].lower() == senders["header"]
    assert defaults["listen.host"] == WebhookSettings().host
    assert defaults["listen.port"] == WebhookSettings().port
    assert defaults["deadline_s"] == WebhookSettings().deadline_s


def test_every_setting_has_a_key_and_every_key_a_setting() -> None:
    prefixes: dict[str, Any] = {
        "bodies.": BodyLimits,
        "cache.": RedisSettings,
        "callbacks.": CallbackSettings,
        "senders[].": SenderSettings,
    }
    names = {
        prefix: {name[len(prefix) :] for name in KEYS if name.startswith(prefix)} for prefix in (*prefixes, "jobs.")
    }

    for prefix, kind in prefixes.items():
        assert names[prefix] == {f.name for f in fields(kind)}
    assert names["jobs."] == {f.name for kind in (JobSettings, BrokerSettings) for f in fields(kind)} - {"broker"}


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if key.example])
def test_the_example_of_every_key_is_taken(name: str, tmp_path: Path) -> None:
    (tmp_path / "soar-old.secret").write_text("an-old-secret-of-the-soar")
    (tmp_path / "soar-old.secret").chmod(0o600)
    section, _, key = name.rpartition(".")
    example: Any = yaml.safe_load(KEYS[name].example)
    document: dict[str, Any] = {key: example}
    if section == "senders[]":
        sender = {"name": "a", "scheme": "header", "secrets": [{"env": "CBSIGNED_SOAR"}], key: example}
        document = {"senders": [sender], "mappings": {"my_siem": {"md5": ["a"]}}}
    elif section in ("cache", "jobs") and key in ("password", "ca_file", "timeout_s", "visibility_s"):
        document = {"cache": "redis://localhost", section: {"url": "redis://localhost", key: example}}
        (tmp_path / "rabbit.secret").write_text("a-secret-of-the-broker")
        (tmp_path / "rabbit.secret").chmod(0o600)
    elif section:
        document = {"cache": "redis://localhost", section: {key: example}}
    elif name == "jobs":
        document["cache"] = "redis://localhost"
    if name == "callbacks.hosts":
        document["callbacks"]["secrets"] = [{"env": "CBSIGNED_KEY"}]
    environ = {**ENVIRON, "CBSIGNED_CALLBACKS": KEY, "CBSIGNED_CACHE_PASSWORD": "a-password"}
    path = tmp_path / "webhook.yaml"

    settings_of(read_yaml(yaml.safe_dump(document), str(path)), path, environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deadline_s: fast", 'line 1, deadline_s is "fast": expected a number of seconds, 0.1 to 300. Remove the line'),
        ("a: 1\n", "line 1, a: there is no such key; the keys here are listen, deadline_s"),
        ("jobs:\n  kept: 5", "line 2, jobs.kept: there is no such key; the keys here are path, most_waiting"),
        ("jobs:\n  kept_s: yes", "line 2, jobs.kept_s is True: expected a number of seconds"),
        ("jobs: {most_waiting: 1.5}", "jobs.most_waiting is 1.5: expected a whole number, 1 to 1000000"),
        ("cache: http://x", "cache.url: expected an address such as redis://cache.local:6379/0"),
        ("cache: redis://me:hunter2@x", "cache.url: expected the server alone; the password has a setting of its own"),
        ("cache: {timeout_s: 1}", "cache: url is missing. Redis or Valkey"),
        ("cache: {url: 'redis://x', password: hunter2}", "cache.password: a secret does not belong in this file"),
        ("cache: redis://x\njobs: amqp://me:hunter2@x", "jobs.url: expected the broker alone; the password has a key"),
        ("cache: redis://x\njobs: {url: 'kafka://x'}", "jobs.url: expected an address such as amqp://"),
        ("jobs: {max_bytes: 1}", "jobs.max_bytes is 1: expected a number of bytes, 1048576 to"),
        ("deadline_s: .nan", "deadline_s is nan: expected"),
        ("deadline_s: .inf", "deadline_s is inf: expected"),
        (f"deadline_s: {'9' * 4000}", "deadline_s is"),
        (f"deadline_s: 0x{'f' * 4000}", "deadline_s is a number of many digits: expected"),
        ("jobs: [1]", "line 1, jobs is a list: expected keys and values"),
        ("[1]", "line 1, the file is a list: expected keys and values"),
        ("text", 'line 1, the file is "text": expected keys and values'),
        ("senders: {name: a}", "line 1, senders is a mapping: expected a list, one entry after each dash"),
        ("senders:\n- 5", "line 2, senders[0] is 5: expected keys and values"),
        ("senders:\n- scheme: bearer", "line 2, senders[0]: name is missing. Who it is"),
        ("senders:\n- {name: a, scheme: magic}", 'senders[0].scheme is "magic": expected one of bearer, basic, header'),
        (SOAR.replace("soar,", '"a b",'), "senders[0].name: expected 1 to 64 letters"),
        (SOAR.replace("soar,", "5,"), "senders[0].name is 5: expected a text such as soar; put it in quotes"),
        (SOAR.replace("soar,", '"a\\nb",'), 'senders[0].name is "a?b": expected a text'),
        (SOAR.replace("scheme", "addresses: [10.0.0.1/8], scheme"), 'addresses[0] is "10.0.0.1/8": expected a network'),
        (SOAR.replace("scheme", "mapping: x, scheme"), 'senders[0].mapping: "x" there are no mappings'),
        (SOAR.replace("scheme", "max_body_bytes: 2000000, scheme"), "max_body_bytes: bodies.max_bytes is 1048576"),
        (SOAR.replace("scheme", "source: x, scheme"), 'senders[0].source: "x" is none of splunk, soar'),
        ("callbacks: {hosts: ['*']}", "callbacks.hosts[0]"),
        ("callbacks: {hosts: [a.test]}", "callbacks.secrets: callbacks are signed, so hosts need"),
        ("callbacks: {allow_http: 'no'}", 'callbacks.allow_http is "no": expected yes or no, without quotes'),
        ("callbacks: {secrets: [{env: CBSIGNED_SOAR}]}", "variable CBSIGNED_SOAR: expected whsec_"),
        ("mappings: {a: {nothing: [x]}}", "line 1 and below, mappings"),
        ("mappings: [a]", "mappings: expected sources with their fields"),
        ("a: 1\na: 2", 'line 2: "a" stands here a second time'),
        ("on: 1", "line 1: a key is not a text. Put it in quotes"),
        ("? [a]\n: 1", "line 1: a key is not a text"),
        ("a: [", "line 1 is no YAML"),
        ("a: b: c", "line 1 is no YAML"),
        ("\ta: 1", "line 1 is no YAML"),
        ("a: \x00", "is no YAML"),
        ("--- 1\n--- 2", "is no YAML"),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases (& and *) are not read"),
        ("a: !!python/object/apply:os.system [id]", "line 1: tags (!) are not read"),
        ("a: !!binary aGk=", "line 1: tags (!) are not read"),
        ("listen: {port: 2026-01-01}", 'listen.port is "2026-01-01": expected a whole number'),
    ],
    ids=lambda text: ascii(text)[:40],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, expected: str) -> None:
    message = refused(text)

    assert message.startswith("/etc/cbsigned/webhook.yaml")
    assert expected in message
    assert len(message) < 700


# Secrets.


@pytest.mark.parametrize(
    ("secrets", "place"),
    [
        (f"[{TOKEN}]", "senders[0].secrets[0]: a secret does not belong in this file"),
        (TOKEN, "senders[0].secrets: a secret does not belong in this file"),
        ("[12345678901234567890]", "senders[0].secrets[0]: a secret does not belong in this file"),
        (f"[{{env: '{TOKEN}'}}]", "senders[0].secrets[0].env: this is no name of an environment variable"),
        (f"[{{value: '{TOKEN}'}}]", "senders[0].secrets[0]: expected {env: NAME} or {file: PATH}"),
        ("[{env: CBSIGNED_SOAR, file: x}]", "senders[0].secrets[0]: expected {env: NAME} or {file: PATH}"),
        ("[{}]", "senders[0].secrets[0]: expected {env: NAME} or {file: PATH}"),
        ("[{env: [A]}]", "senders[0].secrets[0].env: expected the name of a variable"),
        ("[[]]", "senders[0].secrets[0]: a secret does not belong"),
        ("[{env: NOT_THERE}]", "senders[0].secrets[0].env: the environment variable NOT_THERE is not set"),
        ("[{env: CBSIGNED_EMPTY}]", "senders[0].secrets[0].env: the environment variable CBSIGNED_EMPTY is not set"),
        ("[{file: not-there}]", "cannot be read: No such file or directory"),
        ("[{file: .}]", "cannot be read: Is a directory"),
        ('[{file: "a\\0b"}]', "senders[0].secrets[0].file: expected the name of a variable, or of a file"),
        ("[{file: empty}]", "holds no secret: expected one line"),
        ("[{file: large}]", "holds no secret: expected one line"),
        ("[]", "senders[0].secrets: expected 1 to 4"),
        (f"[{', '.join(['{env: CBSIGNED_SOAR}'] * 5)}]", "senders[0].secrets: expected 1 to 4"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_a_secret_that_cannot_be_used_is_told_and_not_quoted(tmp_path: Path, secrets: str, place: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * 5000)

    message = refused(f"senders:\n  - name: soar\n    scheme: bearer\n    secrets: {secrets}\n", tmp_path)

    assert place in message
    assert re.search(r"webhook\.yaml line [24], ", message)


@pytest.mark.parametrize("name", ["secret", "token", "password"])
def test_a_secret_under_a_guessed_key_is_refused_with_advice(name: str) -> None:
    message = refused(SOAR.replace("scheme", f"{name}: {TOKEN}, scheme"))

    assert f"senders[0].{name}: there is no such key; a secret does not belong in this file" in message


def test_one_secret_of_two_senders_is_refused() -> None:
    message = refused(
        "senders:\n"
        "- {name: one, scheme: bearer, secrets: [{env: CBSIGNED_SOAR}]}\n"
        "- {name: two, scheme: header, secrets: [{env: CBSIGNED_SOAR}]}\n"
    )

    assert 'line 3, senders[1].secrets: environment variable CBSIGNED_SOAR is also a secret of "one"' in message


def test_one_sender_may_have_two_schemes() -> None:
    found = parsed(
        "senders:\n"
        "- {name: one, scheme: bearer, secrets: [{env: CBSIGNED_SOAR}]}\n"
        "- {name: one, scheme: basic, secrets: [{env: CBSIGNED_SOAR}]}\n"
    )

    assert [sender.name for sender in found.senders] == ["one", "one"]


def test_no_secret_is_in_the_settings_repr() -> None:
    found = parsed(SOAR + "callbacks: {hosts: [a.test], secrets: [{env: CBSIGNED_KEY}]}\n")

    assert TOKEN not in repr(found)
    assert KEY[6:] not in repr(found)
    assert "environment variable CBSIGNED_SOAR" in repr(found)


def test_a_secret_file_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "soar.secret").write_text(TOKEN)
    (tmp_path / "soar.secret").chmod(0o644)

    with caplog.at_level(logging.WARNING):
        parsed(SOAR.replace("env: CBSIGNED_SOAR", "file: soar.secret"), tmp_path)

    assert "Any user can read the secret" in caplog.text
    assert TOKEN not in caplog.text


# Bombs and noise.


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a:\n" + "".join(" " * n + "a:\n" for n in range(1, 1000)),
        "x: [" + "1," * 200_000 + "]",
        "? " * 50_000,
        "a: " + "x" * 2_000_000,
        "senders: [" + "{}," * 150 + "]",
    ],
    ids=["aliases", "lists", "mappings", "dashes", "indented", "long", "keys", "large", "senders"],
)
def test_a_bomb_is_refused_quickly(text: str) -> None:
    began = time.perf_counter()

    refused(text)

    assert time.perf_counter() - began < 10


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "webhook.yaml"
    path.write_bytes(b"a: \xff\xfe")

    with pytest.raises(ConfigError, match=r"is not UTF-8: byte 3"):
        load(path, {})
    with pytest.raises(ConfigError, match="Cannot read "):
        load(tmp_path / "none.yaml", {})


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([name.split(".")[-1] for name in KEYS]), _VALUES, max_size=3), st.integers(0, 4))
def test_any_value_anywhere_is_taken_or_told(values: dict[str, Any], where: int) -> None:
    document: Any = [values, {"senders": [values]}, {"callbacks": values}, {"jobs": values}, {"listen": values}][where]
    text = yaml.safe_dump(document, allow_unicode=True)

    assert "webhook.yaml" in told(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_told(text: str) -> None:
    assert "webhook.yaml" in told(text)
