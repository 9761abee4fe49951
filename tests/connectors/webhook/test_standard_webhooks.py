"""Standard Webhooks: signatures, replay, and what is remembered of messages."""

from __future__ import annotations

import base64
import tracemalloc
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned_connectors.webhook.senders import (
    TOLERANCE_S,
    Refused,
    Scheme,
    Sender,
    Senders,
)
from connectors.webhook.signing_in import NOW, recognised, settings, standard


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
