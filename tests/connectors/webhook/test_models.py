"""What callers send besides alerts, and the problem documents that they get."""

from __future__ import annotations

import pytest

from cbsigned_connectors.webhook.models import HashesRequest, LineageRequest, ProblemError, read_model


def problem(model: type, raw: bytes) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        read_model(model, raw)
    return caught.value


def test_a_body_that_is_no_json_is_400() -> None:
    assert problem(HashesRequest, b"{hashes").status == 400


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"{}", "hashes"),
        (b'{"hashes": []}', "hashes"),
        (b'{"hashes": ["a", 5]}', "hashes[1]"),
        (b'{"hashes": ["a"], "more": 1}', "more"),
        (b"[]", ""),
    ],
    ids=["missing", "none", "number", "unknown member", "list"],
)
def test_a_wrong_member_is_named(raw: bytes, place: str) -> None:
    error = problem(HashesRequest, raw)

    assert (error.status, [path for path, _reason in error.errors]) == (422, [place])


def test_what_the_caller_sent_is_not_repeated() -> None:
    error = problem(HashesRequest, b'{"hashes": {"secret-value": 1}}')

    assert "secret-value" not in str(error.document("1"))


@pytest.mark.parametrize("raw", [b"{}", b'{"host": "WS01"}', b'{"pid": 4}'], ids=["nothing", "no pid", "no host"])
def test_a_process_needs_a_guid_or_a_host_and_pid(raw: bytes) -> None:
    assert "Give guid" in problem(LineageRequest, raw).errors[0][1]


def test_a_process_becomes_a_row_that_the_core_reads() -> None:
    asked = read_model(LineageRequest, b'{"host": "WS01", "pid": 4711, "time": "2026-10-01T09:59:58Z"}')

    assert asked.record() == {"host": "WS01", "pid": 4711, "_time": "2026-10-01T09:59:58Z"}


def test_a_problem_document_has_what_rfc_9457_wants() -> None:
    document = ProblemError(409, "Used before.", [("Idempotency-Key", "Use another.")]).document("abcd")

    assert document == {
        "type": "urn:cbsigned:problem:key-reused",
        "title": "The key belongs to another request",
        "status": 409,
        "detail": "Used before.",
        "instance": "urn:cbsigned:request:abcd",
        "errors": [{"path": "Idempotency-Key", "reason": "Use another."}],
    }


def test_a_problem_with_very_many_places_stays_short() -> None:
    document = ProblemError(422, "Bad.", [("x", "y")] * 10_000).document("abcd")

    assert len(document["errors"]) == 50
