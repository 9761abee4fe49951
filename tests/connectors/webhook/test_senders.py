"""Who is let in: each scheme, rotation, and what is forged, stale, replayed, truncated or malformed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import tracemalloc
from collections.abc import Mapping
from typing import Any, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from cbsigned.errors import ConfigError
from cbsigned_connectors.webhook.credentials import signing_key
from cbsigned_connectors.webhook.senders import (
    TOLERANCE_S,
    Refused,
    Scheme,
    Secret,
    Sender,
    Senders,
    SenderSettings,
    client_address,
)

NOW = 1_800_000_000.0
BODY = '{"md5":"0123456789abcdef0123456789abcdef","user":"Zoë"}'.encode()
OLD, NEW = b"old-secret-of-the-sender-0001", b"new-secret-of-the-sender-0002"
OLD_KEY, NEW_KEY = (b"whsec_" + base64.b64encode(letter * 32) for letter in (b"o", b"n"))


def settings(scheme: Scheme, *secrets: bytes, **more: Any) -> SenderSettings:
    default = (NEW_KEY, OLD_KEY) if scheme is Scheme.STANDARD_WEBHOOKS else (NEW, OLD)
    given = tuple(Secret(f"environment variable S{n}", value) for n, value in enumerate(secrets or default))
    return SenderSettings(**{"name": "soar", "scheme": scheme, "secrets": given, **more})


def recognised(
    entry: Union[SenderSettings, Senders], headers: Mapping[str, str], *, path_token: Optional[str] = None,
    body: bytes = BODY, now: float = NOW, address: Optional[str] = None,
) -> Union[Sender, Refused]:  # fmt: skip
    senders = entry if isinstance(entry, Senders) else Senders([entry])
    return senders.recognise(headers, path_token, body, now, address)


def basic(user: str, password: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user.encode() + b":" + password).decode()}


def standard(
    key: bytes = NEW_KEY, *, body: bytes = BODY, message_id: str = "msg_1", at: float = NOW, prefix: str = "webhook"
) -> dict[str, str]:
    made = hmac.new(base64.b64decode(key[6:]), f"{message_id}.{at:.0f}.".encode() + body, hashlib.sha256).digest()
    return {
        f"{prefix}-id": message_id,
        f"{prefix}-timestamp": f"{at:.0f}",
        f"{prefix}-signature": "v1," + base64.b64encode(made).decode(),
    }


def github(key: bytes = NEW, body: bytes = BODY) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()}


def observability(key: bytes = NEW, body: bytes = BODY) -> dict[str, str]:
    return {"X-SFX-Signature": base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()}


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


# Standard Webhooks.


def test_the_vector_of_the_standards_own_libraries_is_let_in() -> None:
    """Key, id, time, body and signature as Standard Webhooks' libraries test themselves."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    entry = settings(Scheme.STANDARD_WEBHOOKS, b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    found = recognised(entry, headers, body=b'{"test": 2432232314}', now=1_614_265_330.0)

    assert isinstance(found, Sender)
    assert found.message_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_senders_of_svixs_kind_are_let_in() -> None:
    found = recognised(settings(Scheme.STANDARD_WEBHOOKS), standard(prefix="svix"))

    assert isinstance(found, Sender)
    assert found.message_id == "msg_1"


def test_one_right_signature_among_others_is_enough() -> None:
    headers = standard()
    wrong = standard(b"whsec_" + base64.b64encode(b"x" * 32))["webhook-signature"]
    right = headers["webhook-signature"]
    headers["webhook-signature"] = f"v1a,xxxx v2,yyyy nonsense , v1, {wrong} {right}"

    assert isinstance(recognised(settings(Scheme.STANDARD_WEBHOOKS), headers), Sender)


RIGHT = standard()["webhook-signature"]


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", "v1", "v1,", RIGHT[3:], RIGHT.replace("v1", "v2"), RIGHT.replace("v1", "v1a"), RIGHT[:-1],
     RIGHT[:-4], RIGHT + "A", RIGHT.replace("v1,", "v1;"), "v1," + "A" * 43 + "=", "v1,é", "\x00", "\udc80",
     "v1,x " * 10_000, ("v1,x " * 100) + RIGHT],
    ids=lambda text: ascii(text)[:24],
)  # fmt: skip
def test_a_forged_cut_or_malformed_signature_is_refused(text: str) -> None:
    refused = recognised(settings(Scheme.STANDARD_WEBHOOKS), {**standard(), "webhook-signature": text})

    assert isinstance(refused, Refused)
    assert refused.status == 401


@pytest.mark.parametrize(
    ("name", "text"),
    [("webhook-id", "msg_2"), ("webhook-id", ""), ("webhook-id", "a b"), ("webhook-id", "x" * 257), ("webhook-id", "é"),
     ("webhook-timestamp", f"{NOW + 1:.0f}"), ("webhook-timestamp", ""), ("webhook-timestamp", f"{NOW}"),
     ("webhook-timestamp", "-1"), ("webhook-timestamp", "1e9"), ("webhook-timestamp", "٣" * 10),
     ("webhook-timestamp", "9" * 5000), ("webhook-timestamp", "nan")],
    ids=ascii,
)  # fmt: skip
def test_id_and_time_are_signed_along(name: str, text: str) -> None:
    refused = recognised(settings(Scheme.STANDARD_WEBHOOKS), {**standard(), name: text})

    assert isinstance(refused, Refused)
    assert refused.status == 401


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(missing: str) -> None:
    headers = standard()
    del headers[missing]

    assert isinstance(recognised(settings(Scheme.STANDARD_WEBHOOKS), headers), Refused)


@pytest.mark.parametrize(("late_s", "let_in"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_a_signed_time_may_be_five_minutes_off(late_s: int, let_in: bool) -> None:
    found = recognised(settings(Scheme.STANDARD_WEBHOOKS), standard(), now=NOW + late_s)

    assert let_in is isinstance(found, Sender)
    if isinstance(found, Refused):
        assert f"webhook-timestamp is 301 s {'old' if late_s > 0 else 'ahead'}" in found.reason


def test_a_message_that_comes_again_is_told_apart() -> None:
    senders = Senders([settings(Scheme.STANDARD_WEBHOOKS)])

    first = recognised(senders, standard())
    replay = recognised(senders, standard(), now=NOW + 200)
    retry = recognised(senders, standard(at=NOW + 400), now=NOW + 400)

    assert [getattr(found, "repeated", None) for found in (first, replay, retry)] == [False, True, True]


def test_an_id_that_comes_with_another_body_conflicts() -> None:
    senders = Senders([settings(Scheme.STANDARD_WEBHOOKS)])
    recognised(senders, standard())

    other = recognised(senders, standard(body=b"other"), body=b"other")

    assert isinstance(other, Refused)
    assert other.status == 409


def test_a_forged_message_is_not_remembered() -> None:
    senders = Senders([settings(Scheme.STANDARD_WEBHOOKS)])
    recognised(senders, standard(b"whsec_" + base64.b64encode(b"x" * 32), body=b"forged"), body=b"forged")

    found = recognised(senders, standard())

    assert isinstance(found, Sender)
    assert not found.repeated


def test_ids_of_different_senders_never_meet() -> None:
    other_key = b"whsec_" + base64.b64encode(b"x" * 32)
    one, other = settings(Scheme.STANDARD_WEBHOOKS), settings(Scheme.STANDARD_WEBHOOKS, other_key, name="other")
    senders = Senders([one, other])
    recognised(senders, standard())

    found = recognised(senders, standard(other_key, body=b"x"), body=b"x")

    assert isinstance(found, Sender)
    assert (found.name, found.repeated) == ("other", False)


def test_what_is_remembered_is_bounded_and_nothing_replayable_is_forgotten() -> None:
    senders = Senders([settings(Scheme.STANDARD_WEBHOOKS)], most_remembered=50)
    for number in range(50):
        assert isinstance(recognised(senders, standard(message_id=f"m{number}")), Sender)

    refused = recognised(senders, standard(message_id="m50"))
    again = recognised(senders, standard(message_id="m0"), now=NOW + TOLERANCE_S)
    later = recognised(senders, standard(message_id="m51", at=NOW + 601), now=NOW + 601)

    assert isinstance(refused, Refused)
    assert (refused.status, refused.headers) == (429, {"Retry-After": "300"})
    assert isinstance(again, Sender)
    assert again.repeated
    assert isinstance(later, Sender)


def test_a_message_is_remembered_for_as_long_as_its_time_is_good() -> None:
    """A time that is ahead of ours can be replayed for longer."""
    senders = Senders([settings(Scheme.STANDARD_WEBHOOKS)])
    recognised(senders, standard(at=NOW + 300))

    replay = recognised(senders, standard(at=NOW + 300), now=NOW + 600)

    assert isinstance(replay, Sender)
    assert replay.repeated


def test_memory_of_many_messages_stays_small() -> None:
    senders = Senders([settings(Scheme.STANDARD_WEBHOOKS)], most_remembered=2_000)
    tracemalloc.start()
    for number in range(2_000):
        recognised(senders, standard(message_id=f"{number:0256d}"))
    used, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used < 2_000 * 500


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "Authorization",
                "X-Api-Key",
                "X-Hub-Signature-256",
                "X-SFX-Signature",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "svix-signature",
                "svix-id",
            ]
        ),
        st.one_of(
            st.text(max_size=60),
            st.sampled_from(["Bearer ", "Basic ", "v1,", "sha256=", "1800000000", "msg_1", RIGHT]),
            st.builds("{}{}".format, st.sampled_from(["Bearer ", "Basic ", "v1,", "sha256="]), st.text(max_size=20)),
        ),
    ),
    st.one_of(st.none(), st.text(max_size=30)),
    st.binary(max_size=30),
)
def test_whatever_is_sent_is_refused_and_nothing_raises(
    headers: dict[str, str], path_token: Optional[str], body: bytes
) -> None:
    senders = Senders([settings(scheme) for scheme in Scheme])

    refused = senders.recognise(headers, path_token, body, NOW)

    assert isinstance(refused, Refused)
    assert 400 <= refused.status < 500


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
