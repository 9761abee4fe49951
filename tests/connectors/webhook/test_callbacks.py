"""Callbacks: signed, tried again, and sent to nobody but who may get them. Real servers, real TLS, a DNS of our own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from pathlib import Path

import pytest
import trustme

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.callbacks import Outcome, signature
from cbsigned_connectors.webhook.senders import Scheme, Secret, Sender, Senders, SenderSettings
from connectors.webhook.receiving import (
    HOST,
    KEY,
    NOW,
    OTHER_KEY,
    PAYLOAD,
    Dns,
    attempt,
    callbacks,
    receiving,
    server_context,
)

# What is sent.


def test_a_callback_is_delivered_signed_over_tls(authority: trustme.CA, ca_file: str) -> None:
    dns = Dns()
    with receiving(context=server_context(authority, HOST)) as receiver:
        made = callbacks(receiver.port, dns=dns, ca_file=ca_file)

        outcome = attempt(made, f"https://{HOST}:{receiver.port}/hook/a%20b?token=t&x=~")

    assert outcome == Outcome(True, f"{HOST} took it (204).")
    ((path, headers, body),) = receiver.requests
    assert (path, body) == ("/hook/a%20b?token=t&x=~", PAYLOAD)
    assert headers["host"] == f"{HOST}:{receiver.port}"
    assert headers["content-type"] == "application/json"
    entry = SenderSettings("us", Scheme.STANDARD_WEBHOOKS, (KEY,))
    assert isinstance(Senders([entry]).recognise(headers, None, body, NOW), Sender)
    assert dns.asked == [HOST]
    assert "cookie" not in headers


def test_the_signature_is_that_of_the_standards_own_libraries() -> None:
    secret = Secret("a variable", b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    made = signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_every_secret_signs_so_that_one_can_be_changed_for_another() -> None:
    made = signature([KEY, OTHER_KEY], "msg_1", 5, b"{}")

    expected = [hmac.new(letter * 32, b"msg_1.5.{}", hashlib.sha256).digest() for letter in (b"k", b"o")]
    assert made == " ".join("v1," + base64.b64encode(one).decode() for one in expected)


def test_http_is_used_where_it_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver, caplog.at_level(logging.WARNING):
        outcome = attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}")

    assert outcome.delivered
    assert receiver.requests[0][0] == "/"
    assert "unencrypted" in caplog.text


def test_neither_proxy_nor_netrc_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine {HOST} login a password b\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with receiving() as receiver:
        outcome = attempt(callbacks(receiver.port, allow_http=True), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered
    assert "authorization" not in receiver.requests[0][1]


# Certificates.


def test_a_certificate_of_another_name_is_refused(authority: trustme.CA, ca_file: str) -> None:
    with receiving(context=server_context(authority, "other.example.test")) as receiver:
        outcome = attempt(callbacks(receiver.port, ca_file=ca_file), f"https://{HOST}:{receiver.port}/")

    assert "its certificate is not trusted" in outcome.reason
    assert receiver.requests == []


def test_a_certificate_of_the_address_is_not_one_of_the_name(authority: trustme.CA, ca_file: str) -> None:
    """The connection goes to an address, but the name is what the certificate must have."""
    with receiving(context=server_context(authority, "127.0.0.1")) as receiver:
        outcome = attempt(callbacks(receiver.port, ca_file=ca_file), f"https://{HOST}:{receiver.port}/")

    assert "its certificate is not trusted" in outcome.reason
    assert receiver.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    with receiving(context=server_context(trustme.CA(), HOST)) as receiver:
        outcome = attempt(callbacks(receiver.port), f"https://{HOST}:{receiver.port}/")

    assert "its certificate is not trusted" in outcome.reason
    assert outcome.again_s is not None
    assert receiver.requests == []


def test_an_address_can_be_on_the_list_with_its_own_certificate(authority: trustme.CA, ca_file: str) -> None:
    with receiving(context=server_context(authority, "127.0.0.1")) as receiver:
        made = callbacks(receiver.port, "127.0.0.1", ca_file=ca_file)

        assert attempt(made, f"https://127.0.0.1:{receiver.port}/").delivered


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca_file: .*cannot be read as certificates"):
        callbacks(1, ca_file=str(tmp_path / "none.pem"))
