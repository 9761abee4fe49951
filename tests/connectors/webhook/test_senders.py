"""Who is let in: each scheme, rotation, and what is forged, stale, replayed, truncated or malformed."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any, Optional

import pytest
from starlette.datastructures import Headers

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.credentials import signing_key
from cbsigned_connectors.webhook.senders import (
    Refused,
    Scheme,
    Secret,
    Sender,
    Senders,
    SenderSettings,
    client_address,
)
from connectors.webhook.signing_in import (
    BODY,
    NEW,
    NEW_KEY,
    OLD,
    OLD_KEY,
    basic,
    github,
    observability,
    recognised,
    settings,
    standard,
)

PROOFS = {
    Scheme.BEARER: lambda key: {"Authorization": f"Bearer {key.decode()}"},
    Scheme.BASIC: lambda key: basic("anyone", key),
    Scheme.HEADER: lambda key: {"X-Api-Key": key.decode()},
    Scheme.STANDARD_WEBHOOKS: standard,
    Scheme.GITHUB: github,
    Scheme.SPLUNK_OBSERVABILITY: observability,
}
KEYS = {scheme: (OLD_KEY, NEW_KEY) if scheme is Scheme.STANDARD_WEBHOOKS else (OLD, NEW) for scheme in PROOFS}


@pytest.mark.parametrize("scheme", PROOFS, ids=lambda scheme: scheme.value)
def test_each_scheme_lets_its_sender_in_with_the_old_and_the_new_secret(scheme: Scheme) -> None:
    for key in KEYS[scheme]:
        found = recognised(settings(scheme), PROOFS[scheme](key))

        assert isinstance(found, Sender)
        assert found.name == "soar"


@pytest.mark.parametrize("scheme", PROOFS, ids=lambda scheme: scheme.value)
def test_a_secret_that_was_taken_out_is_refused(scheme: Scheme) -> None:
    old, new = KEYS[scheme]

    refused = recognised(settings(scheme, new), PROOFS[scheme](old))

    assert isinstance(refused, Refused)
    assert (refused.status, "WWW-Authenticate" in refused.headers) == (401, True)


@pytest.mark.parametrize("scheme", PROOFS, ids=lambda scheme: scheme.value)
def test_names_of_headers_have_no_case(scheme: Scheme) -> None:
    proof = PROOFS[scheme](NEW_KEY if scheme is Scheme.STANDARD_WEBHOOKS else NEW)

    assert isinstance(recognised(settings(scheme), {k.upper(): v for k, v in proof.items()}), Sender)
    assert isinstance(recognised(settings(scheme), Headers(proof)), Sender)


@pytest.mark.parametrize("scheme", PROOFS, ids=lambda scheme: scheme.value)
def test_nothing_sent_is_refused_with_advice(scheme: Scheme) -> None:
    refused = recognised(settings(scheme), {"accept": "*/*"})

    assert isinstance(refused, Refused)
    assert (refused.status, refused.reason) == (
        401,
        "The request proves no sender: send the header that the sender's scheme asks for, "
        "Authorization: Bearer and the token for example.",
    )


def test_without_senders_nobody_is_let_in() -> None:
    assert isinstance(recognised(Senders([]), {"Authorization": f"Bearer {NEW.decode()}"}), Refused)
    assert isinstance(recognised(Senders([]), {}, path_token=NEW.decode()), Refused)


# Shared secrets.


@pytest.mark.parametrize(
    "text",
    ["", "Bearer", "Bearer ", "Bearer x", f"Bearer {NEW.decode()[:-1]}", f"Bearer {NEW.decode()}x",
     f"Basic {NEW.decode()}", f"Bearer {NEW.decode()},{OLD.decode()}", "Bearer \x00", "Bearer é", "Bearer \udc80",
     "Bearer " + "A" * 100_000],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_a_wrong_or_cut_bearer_is_refused(text: str) -> None:
    refused = recognised(settings(Scheme.BEARER), {"Authorization": text})

    assert isinstance(refused, Refused)
    assert refused.status == 401


def test_the_word_bearer_has_no_case() -> None:
    assert isinstance(recognised(settings(Scheme.BEARER), {"authorization": f"bEARER  {NEW.decode()} "}), Sender)


@pytest.mark.parametrize(
    "text", ["Basic", "Basic ?", "Basic YQ", "Basic YQ==", "Basic " + "=" * 50, "Basic \xff"], ids=ascii
)
def test_malformed_basic_is_refused(text: str) -> None:
    assert isinstance(recognised(settings(Scheme.BASIC), {"Authorization": text}), Refused)


def test_the_user_of_basic_counts_where_it_is_set() -> None:
    entry = settings(Scheme.BASIC, user="xsoar")

    assert isinstance(recognised(entry, basic("xsoar", NEW)), Sender)
    assert isinstance(recognised(entry, basic("other", NEW)), Refused)
    assert isinstance(recognised(entry, basic("xsoar", NEW[:-1])), Refused)


def test_a_static_header_can_be_any_header_even_authorization() -> None:
    entry = settings(Scheme.HEADER, header="Authorization")

    assert isinstance(recognised(entry, {"authorization": NEW.decode()}), Sender)
    assert isinstance(recognised(entry, {"x-api-key": NEW.decode()}), Refused)


def test_a_header_that_came_twice_is_refused() -> None:
    twice = Headers(raw=[(b"x-api-key", NEW), (b"x-api-key", b"another")])

    refused = recognised(settings(Scheme.HEADER), twice)

    assert isinstance(refused, Refused)
    assert "came twice" in refused.reason


def test_a_path_token_lets_its_sender_in() -> None:
    found = recognised(settings(Scheme.PATH_TOKEN), {}, path_token=OLD.decode())

    assert isinstance(found, Sender)


@pytest.mark.parametrize(
    "token", ["", "x", NEW.decode()[:-1], "é", "\udc80", "a" * 100_000], ids=lambda t: ascii(t)[:20]
)
def test_a_wrong_path_token_is_refused_whatever_the_headers_say(token: str) -> None:
    senders = Senders([settings(Scheme.BEARER), settings(Scheme.PATH_TOKEN)])

    refused = recognised(senders, {"Authorization": f"Bearer {NEW.decode()}"}, path_token=token)

    assert isinstance(refused, Refused)
    assert "token in the path is not known" in refused.reason


def test_a_path_token_is_no_bearer() -> None:
    assert isinstance(recognised(settings(Scheme.PATH_TOKEN), {"Authorization": f"Bearer {NEW.decode()}"}), Refused)


def test_one_token_is_a_sender_of_its_own() -> None:
    senders = Senders.of_token(NEW.decode())

    for headers in ({"Authorization": f"Bearer {NEW.decode()}"}, basic("", NEW)):
        found = recognised(senders, headers)
        assert isinstance(found, Sender)
        assert found.name == "token"
    assert isinstance(recognised(senders, {}, path_token=NEW.decode()), Refused)


def test_a_sender_is_bound_to_its_addresses() -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
    entry = settings(Scheme.BEARER, addresses=networks)
    headers = {"Authorization": f"Bearer {NEW.decode()}"}

    for address in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"):
        assert isinstance(recognised(entry, headers, address=address), Sender)
    for other in ("11.0.0.1", "::1", "", "unix:", None):
        refused = recognised(entry, headers, address=other)
        assert isinstance(refused, Refused)
        assert refused.status == 401
        assert "may not send from this address" in refused.reason


def test_from_a_wrong_address_a_right_secret_is_told_like_a_wrong_one() -> None:
    entry = settings(Scheme.BEARER, addresses=(ipaddress.ip_network("10.0.0.0/8"),))

    right, wrong = (
        recognised(entry, {"Authorization": f"Bearer {secret}"}, address="192.0.2.1") for secret in (NEW.decode(), "x")
    )

    assert right == wrong


PROXIES = (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [("192.0.2.1", None, "192.0.2.1"), ("192.0.2.1", "10.1.1.1", "192.0.2.1"), ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
     ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"), ("10.0.0.1", "192.0.2.7, 10.0.0.2", "192.0.2.7"),
     ("::1", "192.0.2.7", "192.0.2.7"), ("10.0.0.1", None, "10.0.0.1"), ("10.0.0.1", "", "10.0.0.1"),
     ("10.0.0.1", "1.1.1.1,", "10.0.0.1"), ("10.0.0.1", "1.1.1.1, junk", "junk"), (None, "1.1.1.1", None)],
)  # fmt: skip
def test_forwarded_addresses_are_believed_from_our_proxies_alone(
    peer: Optional[str], forwarded: Optional[str], expected: Optional[str]
) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


# Signatures over the body.


@pytest.mark.parametrize("proof", [github, observability], ids=["github", "observability"])
def test_a_signature_holds_for_its_bytes_alone(proof: Any) -> None:
    scheme = Scheme.GITHUB if proof is github else Scheme.SPLUNK_OBSERVABILITY

    assert isinstance(recognised(settings(scheme), proof(body=b""), body=b""), Sender)
    for other in (BODY + b" ", BODY.replace(b"Zo\xc3\xab", b"Zoe\xcc\x88"), b"", BODY[:-1]):
        assert isinstance(recognised(settings(scheme), proof(), body=other), Refused)


@pytest.mark.parametrize(
    "text", ["", "sha256=", "sha256", "sha1=" + "0" * 40, "sha256=" + "0" * 64, github()["X-Hub-Signature-256"][:-1],
             github()["X-Hub-Signature-256"] + "0", "sha256=é", "v1,AAAA", "\x00"],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_a_forged_or_cut_github_signature_is_refused(text: str) -> None:
    refused = recognised(settings(Scheme.GITHUB), {"X-Hub-Signature-256": text})

    assert isinstance(refused, Refused)
    assert refused.status == 401


@pytest.mark.parametrize("text", ["", "=", observability()["X-SFX-Signature"][:-1], "A" * 44, "é"], ids=ascii)
def test_a_forged_or_cut_observability_signature_is_refused(text: str) -> None:
    assert isinstance(recognised(settings(Scheme.SPLUNK_OBSERVABILITY), {"X-SFX-Signature": text}), Refused)


# Secrets.


def test_no_secret_is_in_a_repr_or_a_reason() -> None:
    entries = [settings(scheme) for scheme in Scheme]
    senders = Senders(entries)
    found = recognised(senders, {"Authorization": f"Bearer {NEW.decode()}"})
    refused = recognised(
        senders, {"Authorization": f"Bearer {NEW.decode()}x", **github(b"x" * 20), **standard(body=b"")}
    )

    texts = " ".join(map(repr, [senders, entries, found, refused]))

    for secret in (OLD, NEW, OLD_KEY, NEW_KEY, OLD_KEY[6:], NEW_KEY[6:]):
        assert secret.decode() not in texts
    assert "environment variable S0" in texts


@pytest.mark.parametrize(
    ("scheme", "secret", "message"),
    [
        (Scheme.BEARER, b"hunter2", "is shorter than 16 characters, so it can be guessed"),
        (Scheme.BEARER, b"with a space in the middle", "expected up to 512 ASCII characters without spaces"),
        (Scheme.HEADER, "umläute-sind-nicht-ascii".encode(), "expected up to 512 ASCII characters"),
        (Scheme.PATH_TOKEN, b"slashes/are/parts/of/paths", "a path takes letters, digits"),
        (Scheme.STANDARD_WEBHOOKS, b"not-whsec-at-all-and-long-enough", "expected whsec_ and then 24 to 64 bytes"),
        (Scheme.STANDARD_WEBHOOKS, b"whsec_" + base64.b64encode(b"x" * 23), "expected whsec_ and then 24 to 64 bytes"),
        (Scheme.STANDARD_WEBHOOKS, b"whsec_%%%%" * 5, "expected whsec_ and then 24 to 64 bytes"),
    ],
)
def test_a_weak_or_unfit_secret_is_refused_without_quoting_it(scheme: Scheme, secret: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(scheme, secret)

    assert message in str(caught.value)
    assert "environment variable S0" in str(caught.value)
    assert "Make one: python3 -c" in str(caught.value)
    assert secret.decode() not in str(caught.value)


@pytest.mark.parametrize("count", [0, 5])
def test_one_to_four_secrets_are_valid_at_once(count: int) -> None:
    with pytest.raises(ConfigError, match="secrets: expected 1 to 4"):
        SenderSettings("soar", Scheme.BEARER, (Secret("a variable", NEW),) * count)


def test_the_advice_makes_a_key_that_is_taken() -> None:
    with pytest.raises(ConfigError) as caught:
        signing_key(b"")
    code = str(caught.value).split("python3 -c '")[1].rstrip("'")
    printed: list[str] = []
    exec(code, {"print": printed.append})  # noqa: S102 (our own advice)

    assert len(signing_key(printed[0].encode())) == 32


@pytest.mark.parametrize(
    ("more", "message"),
    [({"name": ""}, "name: expected"), ({"name": "a b"}, "name: expected"), ({"name": "x" * 65}, "name: expected"),
     ({"header": "Content-Length"}, "header: expected"), ({"header": "a:b"}, "header: expected"),
     ({"header": "a\r\nb"}, "header: expected")],
    ids=repr,
)  # fmt: skip
def test_names_and_headers_are_checked(more: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(Scheme.HEADER, **more)
