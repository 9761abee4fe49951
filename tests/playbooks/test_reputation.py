"""The reputation that a signing status gives: signed is not good."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from cbsigned.status import SigningStatus
from cbsigned_playbooks.reputation import Score, publishers_of, reputation

TRUSTED = publishers_of("Example Ltd\n\n  Söhne,   Inc. \r\n")


def row(
    status: str, publisher: Optional[str] = "Example Ltd", certainty: str = "confirmed", code: Optional[str] = None
) -> dict[str, Any]:
    return {"status": status, "publisher": publisher, "evidence": {"certainty": certainty, "code": code}}


@pytest.mark.parametrize("status", [status.value for status in SigningStatus])
def test_no_status_is_good_without_a_list_of_trusted_publishers(status: str) -> None:
    assert reputation(row(status)).score is not Score.GOOD


@pytest.mark.parametrize(
    ("status", "score"),
    [
        ("Signed", 0), ("Unsigned", 0), ("Unknown", 0), ("Expired", 0), ("Invalid Chain", 0), ("Untrusted Root", 0),
        ("Bad Signature", 2), ("Invalid Signature", 2), ("Explicit Distrust", 2),
    ],
)  # fmt: skip
def test_only_a_signature_that_speaks_against_the_file_is_suspicious(status: str, score: int) -> None:
    assert reputation(row(status)).score == score


@pytest.mark.parametrize("code", ["0x800b010c", "0x80092010", "2148204812"])
@pytest.mark.parametrize("status", ["Signed", "Unknown"])
def test_a_revoked_certificate_is_suspicious_whatever_the_word(status: str, code: str) -> None:
    assert reputation(row(status, code=code), TRUSTED).score is Score.SUSPICIOUS


@pytest.mark.parametrize("publisher", ["Example Ltd", "EXAMPLE  ltd ", "Söhne, Inc."])
def test_signed_by_a_trusted_publisher_is_good(publisher: str) -> None:
    assert reputation(row("Signed", publisher), TRUSTED).score is Score.GOOD


@pytest.mark.parametrize("publisher", ["Example", "Example Ltd.", "Not Example Ltd", "", None])
def test_a_publisher_is_trusted_by_its_whole_name_alone(publisher: Optional[str]) -> None:
    assert reputation(row("Signed", publisher), TRUSTED).score is Score.UNKNOWN


def test_an_empty_line_trusts_nobody() -> None:
    assert reputation(row("Signed", ""), publishers_of("\n \n")).score is Score.UNKNOWN


@pytest.mark.parametrize("status", [s.value for s in SigningStatus if s is not SigningStatus.SIGNED])
def test_a_trusted_name_on_a_signature_that_is_not_valid_is_not_good(status: str) -> None:
    assert reputation(row(status), TRUSTED).score is not Score.GOOD


@pytest.mark.parametrize("certainty", ["disputed", "claimed", "inferred"])
def test_what_no_record_states_is_not_good(certainty: str) -> None:
    assert reputation(row("Signed", certainty=certainty), TRUSTED).score is Score.UNKNOWN


def test_a_row_without_evidence_is_not_good() -> None:
    assert reputation({"status": "Signed", "publisher": "Example Ltd", "evidence": None}, TRUSTED).score == 0


def test_every_reputation_says_why() -> None:
    reasons = {reputation(row(status.value), TRUSTED).reason for status in SigningStatus}

    assert all(reason.endswith(".") for reason in reasons)
    assert len(reasons) == 9
