"""The client of the handler over TLS: whom it trusts, on the loopback and elsewhere, and what else it says."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import Optional

import pytest
import trustme

from cbsigned_connectors.splunk.splunkd import splunkd_context
from connectors.splunk.listening import answering, assert_answered, failure, serving


class Places:
    """A SPLUNK_HOME, a CA that issued the server's certificate, and another one."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "splunk"
        self.authority, self.other = trustme.CA(), trustme.CA()
        (self.home / "etc" / "auth").mkdir(parents=True)
        (self.home / "etc" / "system" / "local").mkdir(parents=True)

    def tls(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def put(self, authority: trustme.CA, path: str = "etc/auth/cacert.pem") -> None:
        authority.cert_pem.write_to_path(str(self.home / path))

    def name_ca(self, path: str, folder: str = "system/local") -> None:
        text = f"[general]\nserverName = sh1\nsslRootCAPath = /elsewhere\n\n[sslConfig]\nsslRootCAPath = {path}\n"
        (self.home / "etc" / folder).mkdir(parents=True, exist_ok=True)
        (self.home / "etc" / folder / "server.conf").write_text(text)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places(tmp_path)
    monkeypatch.setenv("SPLUNK_HOME", str(found.home))
    return found


def test_splunkds_own_certificate_is_verified_without_its_name(places: Places) -> None:
    places.put(places.authority)
    with serving(answering(), places.tls("SplunkServerDefaultCert.example.test")) as server:
        assert_answered(server)


def test_a_certificate_of_another_ca_is_refused(places: Places) -> None:
    places.put(places.other)
    with serving(answering(), places.tls("127.0.0.1")) as server:
        error = failure(server.uri)

    assert "is not trusted" in str(error)
    assert "sslRootCAPath" in str(error)
    assert error.fatal
    assert server.requests == []


@pytest.mark.parametrize("path", ["$SPLUNK_HOME/etc/auth/own.pem", "${OWN_PLACE}/own.pem"])
def test_the_ca_that_server_conf_names_goes_first(places: Places, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("OWN_PLACE", str(places.home / "etc" / "auth"))
    places.put(places.other)
    places.put(places.authority, "etc/auth/own.pem")
    places.name_ca(path)
    with serving(answering(), places.tls("sh1.example.test")) as server:
        assert_answered(server)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("apps/org_ssl/local", None),
        ("apps/org_ssl/default", None),
        ("system/local", "apps/a/local"),
        ("apps/a/local", "apps/b/local"),
        ("apps/b/local", "apps/a/default"),
    ],
)
def test_the_ca_may_be_named_by_an_app(places: Places, good: str, bad: Optional[str]) -> None:
    """Where an app names the CA, as many houses have it, no search could ask anything: "Set sslRootCAPath …"."""
    places.put(places.authority, "etc/auth/own.pem")
    places.put(places.other, "etc/auth/other.pem")
    places.put(places.other)
    places.name_ca("$SPLUNK_HOME/etc/auth/own.pem", good)
    if bad is not None:
        places.name_ca("$SPLUNK_HOME/etc/auth/other.pem", bad)

    with serving(answering(), places.tls("127.0.0.1")) as server:
        assert_answered(server)


def test_the_loopback_without_any_ca_file_goes_unverified_and_says_so(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(answering(), places.tls("127.0.0.1")) as server:
        assert_answered(server)

    assert "goes unverified" in caplog.text


def test_another_host_is_verified_with_its_name(places: Places) -> None:
    places.put(places.authority, "etc/auth/own.pem")
    places.name_ca("$SPLUNK_HOME/etc/auth/own.pem")
    with serving(answering(), places.tls("127.0.0.2"), "127.0.0.2") as server:
        assert_answered(server)


def test_another_hosts_certificate_must_carry_its_name(places: Places) -> None:
    places.put(places.authority, "etc/auth/own.pem")
    places.name_ca("$SPLUNK_HOME/etc/auth/own.pem")
    with serving(answering(), places.tls("127.0.0.1", "sh1.example.test"), "127.0.0.2") as server:
        error = failure(server.uri)

    assert "must carry the host's name" in str(error)
    assert error.fatal


def test_splunks_default_ca_is_trusted_on_the_loopback_alone(places: Places) -> None:
    places.put(places.authority)
    with serving(answering(), places.tls("127.0.0.2"), "127.0.0.2") as server:
        assert failure(server.uri).fatal


def test_another_host_without_any_ca_file_is_still_verified(places: Places) -> None:
    with serving(answering(), places.tls("127.0.0.2"), "127.0.0.2") as server:
        assert "is not trusted" in str(failure(server.uri))


def test_a_ca_file_that_is_none(places: Places) -> None:
    (places.home / "etc" / "auth" / "cacert.pem").write_text("not a certificate")
    error = failure("https://127.0.0.1:8089")

    assert "CA file of splunkd cannot be read" in str(error)
    assert error.fatal


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_contexts_of_the_loopback_check_the_chain(places: Places, host: str) -> None:
    places.put(places.authority)

    context = splunkd_context(f"https://{host}:8089")

    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_there_is_no_context_for_http() -> None:
    assert splunkd_context("http://127.0.0.1:8089") is None


def test_outside_of_splunk_other_hosts_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPLUNK_HOME", raising=False)

    context = splunkd_context("https://splunk.example.test:8089")

    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert "SPLUNK_HOME" not in os.environ
