"""Where callbacks may go: listed hosts alone, and no address inside, whatever the DNS says."""

from __future__ import annotations

import base64
import http.server
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook import addresses
from cbsigned_connectors.webhook.addresses import CallbackRefused, checked_addresses, host_rule, target_of
from cbsigned_connectors.webhook.callbacks import Callbacks, CallbackSettings
from cbsigned_connectors.webhook.senders import Secret
from connectors.webhook.receiving import (
    HOST,
    PAYLOAD,
    Dns,
    attempt,
    callbacks,
    receiving,
)

# Server-side request forgery.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with receiving() as inner:

        def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", f"http://127.0.0.1:{inner.port}/latest/meta-data")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with receiving(elsewhere) as receiver:
            made = callbacks(receiver.port, HOST, allow_http=True)
            outcome = attempt(made, f"http://{HOST}:{receiver.port}/")

    assert outcome.reason == f"{HOST} answered {status}; redirects are not followed. Try 1 of 8."
    assert inner.requests == []


INSIDE = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",  # noqa: S104
    "100.64.0.1", "192.0.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_called(address: str) -> None:
    with receiving() as receiver:
        made = callbacks(receiver.port, allow_http=True, allow_networks=(), dns=Dns([address]))
        outcome = attempt(made, f"http://{HOST}:{receiver.port}/")

    assert (outcome.delivered, outcome.again_s) == (False, None)
    assert "which is not a public one" in outcome.reason
    assert receiver.requests == []


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    made = callbacks(443, allow_networks=(), dns=Dns(["93.184.215.14", "127.0.0.1"]))

    assert "127.0.0.1, which is not a public one" in attempt(made, f"https://{HOST}/").reason


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_called(address: str) -> None:
    assert checked_addresses([address], ()) == [ipaddress.ip_address(address)]


@pytest.mark.parametrize("address", ["::ffff:10.1.2.3", "10.1.2.3", "64:ff9b::a01:203"])
def test_an_allowed_network_is_allowed_in_every_guise(address: str) -> None:
    assert checked_addresses([address], [ipaddress.ip_network("10.1.0.0/16")])
    with pytest.raises(CallbackRefused):
        checked_addresses([address], [ipaddress.ip_network("10.2.0.0/16")])


def test_a_name_that_changes_after_the_check_changes_nothing() -> None:
    """DNS rebinding: the second answer would lead inside; there is no second question."""
    with receiving() as receiver:
        dns = Dns(["127.0.0.1"], ["169.254.169.254"])
        outcome = attempt(callbacks(receiver.port, allow_http=True, dns=dns), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered
    assert dns.asked == [HOST]


def test_each_try_is_checked_anew() -> None:
    with receiving(500) as receiver:
        allowed = (ipaddress.ip_network("127.0.0.1/32"),)
        dns = Dns(["127.0.0.1"], ["127.0.0.2"])
        made = callbacks(receiver.port, allow_http=True, allow_networks=allowed, dns=dns)
        outcome = made.deliver(f"http://{HOST}:{receiver.port}/", "m", PAYLOAD)

    assert "127.0.0.2, which is not a public one" in outcome.reason
    assert len(receiver.requests) == 1


def test_the_next_address_is_tried_when_one_is_dead() -> None:
    with receiving() as receiver:
        dns = Dns(["127.0.0.2", "127.0.0.1"])  # the receiver listens on the second alone
        outcome = attempt(callbacks(receiver.port, allow_http=True, dns=dns), f"http://{HOST}:{receiver.port}/")

    assert outcome.delivered


RULES = [
    host_rule(text) for text in ("hook.example.test", "*.soar.example.test", "port.example.test:8443", "[2001:db8::1]")
]


@pytest.mark.parametrize(
    "url",
    ["https://hook.example.test", "https://hook.example.test/", "HTTPS://HOOK.EXAMPLE.TEST/a?b=c&d=%20",
     "https://hook.example.test:443/x", "https://a.soar.example.test/", "https://a.b.soar.example.test/",
     "https://port.example.test:8443/", "https://[2001:DB8:0::1]/"],
)  # fmt: skip
def test_listed_hosts_are_allowed(url: str) -> None:
    assert target_of(url, RULES).scheme == "https"


@pytest.mark.parametrize(
    "url",
    ["https://other.test/", "https://example.test/", "https://soar.example.test/", "https://xsoar.example.test/",
     "https://hook.example.test.evil.test/", "https://evil-hook.example.test/", "https://hook.example.test:8443/",
     "https://port.example.test/", "http://hook.example.test/", "ftp://hook.example.test/", "file:///etc/passwd",
     "gopher://hook.example.test/", "//hook.example.test/", "hook.example.test", "", "https://", "https:///x",
     "https://user@hook.example.test/", "https://user:password@hook.example.test/", "https://hook.example.test@evil.test/",
     "https://evil.test#@hook.example.test/", "https://hook.example.test#x", "https://hook.example.test\\@evil.test/",
     "https://evil.test\\.soar.example.test/", "https://hook.example.test /", " https://hook.example.test/",
     "https://hook.example.test/\r\nHost: evil.test", "https://hook.example.test/\n", "https://hook.example.test/\t",
     "https://hook.example.test/\x00", "https://hook.example.test/é", "https://hооk.example.test/", "https://hook。example.test/",
     "https://hook.example.test./", "https://.soar.example.test/", "https://a..soar.example.test/",
     "https://-a.soar.example.test/", "https://%68ook.example.test/", "https://hook.example.test:99999/",
     "https://hook.example.test:/", "https://hook.example.test:0443x/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
     "https://127.0.0.1/", "https://2130706433/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f000001/",
     "https://127.1/", "https://1.soar.example.test.0x7f/", "https://[fe80::1%25eth0]/",
     "https://hook.example.test/" + "x" * 2100, "https://hook.example.test/<script>", "https://hook.example.test/\"", "https://hook.example.test/|",
     "https://" + "a." * 2000 + "soar.example.test/"],
    ids=lambda url: ascii(url)[:50],
)  # fmt: skip
def test_other_hosts_and_doubtful_urls_are_refused(url: str) -> None:
    with pytest.raises(CallbackRefused) as caught:
        target_of(url, RULES)

    assert "evil" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("number", ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1", "0x7f000001"])
def test_a_number_in_disguise_is_refused_even_when_all_hosts_were_listed(number: str) -> None:
    class Any_(addresses.HostRule):
        def allows(self, target: Any) -> bool:
            return True

    with pytest.raises(CallbackRefused, match="neither a name nor a plain address"):
        target_of(f"https://{number}/", [Any_("x")])


@given(st.text(max_size=80))
def test_any_text_is_refused_or_stays_on_a_listed_host(text: str) -> None:
    for url in (text, f"https://{text}", f"https://hook.example.test{text}", f"https://{text}.soar.example.test/"):
        try:
            target = target_of(url, RULES)
        except CallbackRefused:
            continue
        assert target.host == "hook.example.test" or target.host.endswith(".soar.example.test")
        assert "@" not in target.url.split("/")[2]


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.", "*.test", "a*.example.test", "*.*.test", "a/b", "https://a.test", "a.test:x", "a test",
     "a.test:8:9", "a.test:0", "a.test:65536", "2130706433", "0x7f.1", "*.127.0.0.1", "é.test", "a..test", ":443"],
    ids=ascii,
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a host such as"):
        host_rule(text)


def test_no_hosts_means_no_callbacks() -> None:
    made = Callbacks(CallbackSettings())

    with pytest.raises(CallbackRefused, match=r"Add them to callbacks\.hosts"):
        made.check("https://soar.example.test/")


def test_hosts_without_a_secret_and_a_bad_secret_are_refused() -> None:
    with pytest.raises(ConfigError, match="secrets: callbacks are signed"):
        CallbackSettings((host_rule("a.test"),))
    with pytest.raises(ConfigError, match="secrets: a variable: expected whsec_"):
        CallbackSettings((), (Secret("a variable", b"not a key"),))


def test_no_secret_is_in_a_repr() -> None:
    made = callbacks(443)

    assert base64.b64encode(b"k" * 32).decode() not in repr([made, made.settings])


def test_the_systems_resolver_gives_addresses() -> None:
    assert addresses.resolve("127.0.0.1", 443) == ["127.0.0.1"]
    assert addresses.resolve("::1", 443) == ["::1"]
