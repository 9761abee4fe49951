from __future__ import annotations

from datetime import datetime, timezone

import pytest

from cbsigned.binary import BinaryRecord, Certainty, RecordKind, Signature, parse_binary, read_signature
from cbsigned.gaps import Cause
from cbsigned.status import SigningStatus, parse_result_code
from recording import document

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"


def read(*records: BinaryRecord) -> Signature:
    return read_signature(MD5, records, "edr:test", NOW)


@pytest.mark.parametrize("status", [s for s in SigningStatus if s is not SigningStatus.UNKNOWN], ids=lambda s: s.value)
def test_each_vendor_word_is_its_status(status: SigningStatus) -> None:
    signature = read(document(status.value))

    assert (signature.status, signature.cause) == (status, Cause.RECORD)
    assert signature.reason.startswith(status.value)


def test_only_signed_is_signed() -> None:
    assert [s.value for s in SigningStatus if s.signed] == ["Signed"]
    assert SigningStatus.UNKNOWN.signed is None
    assert SigningStatus.EXPIRED.signed is False


def test_an_unknown_word_is_unknown_and_kept() -> None:
    signature = read(document("Partially Trusted"))

    assert (signature.status, signature.cause) == (SigningStatus.UNKNOWN, Cause.UNKNOWN_WORD)
    assert "Partially Trusted" in signature.reason
    assert signature.evidence is not None
    assert signature.evidence.word == "Partially Trusted"


def test_a_missing_word_is_never_unsigned() -> None:
    signature = read(document(None))

    assert (signature.status, signature.cause) == (SigningStatus.UNKNOWN, Cause.NOT_EVALUATED)


def test_the_word_for_not_evaluated_is_not_unsigned() -> None:
    assert read(document("(Unknown)")).cause is Cause.NOT_EVALUATED


def test_words_count_in_any_case() -> None:
    assert read(document("bad signature")).status is SigningStatus.BAD_SIGNATURE


def test_word_and_code_that_agree_are_confirmed() -> None:
    signature = read(document("Unsigned", code=0x800B0100))

    assert signature.evidence is not None
    assert (signature.evidence.certainty, signature.evidence.code) == (Certainty.CONFIRMED, "0x800b0100")


@pytest.mark.parametrize(
    ("word", "code", "status"),
    [
        ("Signed", 0x800B0100, SigningStatus.UNSIGNED),
        ("Unsigned", 0, SigningStatus.UNSIGNED),
        ("Signed", 0x800B0111, SigningStatus.EXPLICIT_DISTRUST),
        ("Expired", 0, SigningStatus.EXPIRED),
        ("Expired", 0x80096010, SigningStatus.BAD_SIGNATURE),
    ],
)
def test_where_word_and_code_disagree_the_less_trusting_wins_and_both_show(
    word: str, code: int, status: SigningStatus
) -> None:
    signature = read(document(word, code=code))

    assert signature.status is status
    assert word in signature.reason
    assert f"0x{code:08x}" in signature.reason


def test_signed_with_a_strange_code_is_unknown() -> None:
    signature = read(document("Signed", code=0x80092010))

    assert (signature.status, signature.cause) == (SigningStatus.UNKNOWN, Cause.UNKNOWN_WORD)


def test_records_that_contradict_each_other_give_unknown_and_show_both() -> None:
    signature = read(document("Signed"), BinaryRecord(RecordKind.BINARY_INFO_EVENT, word="Unsigned"))

    assert (signature.status, signature.cause) == (SigningStatus.UNKNOWN, Cause.CONTRADICTION)
    assert "Signed (binary document" in signature.reason
    assert "Unsigned (binary info event" in signature.reason


def test_a_record_that_decides_nothing_contradicts_nothing() -> None:
    signature = read(document("(Unknown)"), BinaryRecord(RecordKind.ALERT, word="Signed"))

    assert signature.status is SigningStatus.SIGNED


def test_the_fullest_record_speaks() -> None:
    signature = read(BinaryRecord(RecordKind.ALERT, word="Signed"), document("Signed", publisher="Acme Corp"))

    assert signature.publisher == "Acme Corp"
    assert signature.reason == "Signed by Acme Corp: the signature was accepted."


def test_no_record_is_not_a_signature() -> None:
    with pytest.raises(ValueError, match="not found"):
        read()


@pytest.mark.parametrize(
    ("value", "code"),
    [("0", 0), ("2148204800", 0x800B0100), ("0x800B0100", 0x800B0100), (-2146762496, 0x800B0100), ("abc", None),
     ("", None), (None, None), ("9" * 30, None)],
)  # fmt: skip
def test_result_codes_come_as_decimal_hex_and_signed(value: object, code: object) -> None:
    assert parse_result_code(value) == code


def test_a_binary_info_event_nests_its_signature() -> None:
    record = parse_binary(
        {
            "md5": MD5.upper(),
            "timestamp": 1458101294,
            "digsig": {
                "result": "Unsigned",
                "result_code": "0x800b0100",
                "publisher": "",
                "sign_time": "2:46 PM 9/29/2015",
            },
        },
        RecordKind.BINARY_INFO_EVENT,
    )

    assert (record.md5, record.word, record.code, record.publisher) == (MD5, "Unsigned", 0x800B0100, None)
    assert record.signed_at == datetime(2015, 9, 29, 14, 46, tzinfo=timezone.utc)


def test_signed_stands_in_for_a_missing_digsig_result() -> None:
    assert parse_binary({"md5": MD5, "signed": "Expired"}).word == "Expired"


def test_fields_of_the_wrong_type_are_not_given() -> None:
    record = parse_binary(
        {"md5": 7, "digsig_result": {"a": 1}, "observed_filename": [3, "C:\\A.EXE"], "host_count": "x"}
    )

    assert (record.md5, record.word, record.paths, record.host_count) == (None, None, ("c:\\a.exe",), None)
