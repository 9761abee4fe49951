"""What a record says of one file's signature: the vendor's words, and how they are read.

`parse_binary` reads a vendor's document into a `BinaryRecord`; `read_signature` turns the records of one
hash into one `Signature` with its reason and evidence. Nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Optional

from cbsigned.gaps import Cause
from cbsigned.observables import parse_md5, parse_sha256
from cbsigned.status import SigningStatus, less_trusting, parse_result_code, status_of_code, status_of_word
from cbsigned.timing import format_time, parse_time

__all__ = [
    "BinaryRecord",
    "Certainty",
    "Evidence",
    "RecordKind",
    "Signature",
    "parse_binary",
    "read_signature",
    "unknown_signature",
]


class RecordKind(str, Enum):
    """Which kind of record speaks, the fullest first."""

    BINARY_DOCUMENT = "binary document"
    BINARY_INFO_EVENT = "binary info event"
    ALERT = "alert"
    IMAGE_LOAD = "image load"


class Certainty(str, Enum):
    """How sure a signing status is."""

    CONFIRMED = "confirmed"
    """Status word and result code agree."""
    STATED = "stated"
    """The status word alone; no result code was given."""
    DISPUTED = "disputed"
    """Word and code, or two records, disagree."""
    CLAIMED = "claimed"
    """Only the alert itself says so."""
    INFERRED = "inferred"
    """Concluded from a joint query, not read from a record."""


@dataclass(frozen=True)
class BinaryRecord:
    """One record of one file, as the vendor wrote it; None is *not given*.

    Attributes:
        word: `digsig_result` as written, also when we do not know the word.
        code: `digsig_result_code` as an unsigned 32-bit number.
        code_text: The code as written, where it is no number.
        recorded_at: When the source made the record, else when the event was sent.
        paths: Where the file was seen, lower case.
    """

    kind: RecordKind
    md5: Optional[str] = None
    sha256: Optional[str] = None
    word: Optional[str] = None
    code: Optional[int] = None
    code_text: Optional[str] = None
    publisher: Optional[str] = None
    issuer: Optional[str] = None
    subject: Optional[str] = None
    program_name: Optional[str] = None
    signed_at: Optional[datetime] = None
    recorded_at: Optional[datetime] = None
    host_count: Optional[int] = None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a signing status rests on.

    Attributes:
        record: Kind of record, `binary document` for example.
        source: Who holds it: `edr:cb.example.test`, `store:lab.db`, `alert`.
        recorded_at: When the record was made; the EDR does not evaluate a file again later.
        read_at: When we read it; older than now where the answer came from the cache.
        certainty: How sure.
        word: Status word as written.
        code: Result code as `0x800b0100`, or as written where it is no number.
    """

    record: str
    source: str
    recorded_at: Optional[datetime]
    read_at: datetime
    certainty: Certainty
    word: Optional[str] = None
    code: Optional[str] = None


@dataclass(frozen=True)
class Signature:
    """The signing status of one file, with its reason; `evidence` is None where no record speaks.

    Attributes:
        hash: What was asked for, MD5 or SHA-256, lower case; empty where the file has no hash.
        cause: Machine-readable half of `reason`.
        reason: One sentence; always there.
    """

    hash: str
    status: SigningStatus
    cause: Cause
    reason: str
    publisher: Optional[str] = None
    issuer: Optional[str] = None
    subject: Optional[str] = None
    program_name: Optional[str] = None
    signed_at: Optional[datetime] = None
    host_count: Optional[int] = None
    paths: tuple[str, ...] = ()
    evidence: Optional[Evidence] = None


_NOT_EVALUATED = {"(unknown)", "unknown"}
_KIND_ORDER = list(RecordKind)


def parse_binary(doc: Mapping[str, Any], kind: RecordKind = RecordKind.BINARY_DOCUMENT) -> BinaryRecord:
    """Return what a vendor's document says of a file; fields we do not rely on are ignored.

    Args:
        doc: A binary document (REST, `docs[]` of a hit), a binary alert, or an `ingress.event.module`
            message whose signature sits in a nested `digsig` object.
        kind: Which of these it is.

    References:
        - cb-edr-api §5.2, §10.3, §10.4
    """
    nested = doc.get("digsig")
    if isinstance(nested, Mapping):
        signing = {ours: nested.get(theirs) for ours, theirs in _NESTED.items()}
    else:
        signing = {ours: doc.get(ours) for ours in _NESTED}
        signing["digsig_result"] = signing["digsig_result"] or doc.get("signed")
    code_text = _text(signing["digsig_result_code"])
    code = parse_result_code(code_text)
    return BinaryRecord(
        kind=kind,
        md5=parse_md5(doc.get("md5")),
        sha256=parse_sha256(doc.get("sha256")),
        word=_text(signing["digsig_result"], keep_unknown=True),
        code=code,
        code_text=None if code is not None else code_text,
        publisher=_text(signing["digsig_publisher"]),
        issuer=_text(signing["digsig_issuer"]),
        subject=_text(signing["digsig_subject"]),
        program_name=_text(signing["digsig_prog_name"]),
        signed_at=parse_time(signing["digsig_sign_time"]),
        recorded_at=next((t for t in map(parse_time, map(doc.get, _RECORDED)) if t), None),
        host_count=_count(doc.get("host_count")),
        paths=_paths(doc.get("observed_filename")),
    )


_NESTED = {
    "digsig_result": "result",
    "digsig_result_code": "result_code",
    "digsig_publisher": "publisher",
    "digsig_issuer": "issuer_name",
    "digsig_subject": "subject_name",
    "digsig_prog_name": "program_name",
    "digsig_sign_time": "sign_time",
}
_RECORDED = ("server_added_timestamp", "timestamp", "created_time", "event_timestamp")


def read_signature(file_hash: str, records: Sequence[BinaryRecord], source: str, read_at: datetime) -> Signature:
    """Return the signing status that the records of one hash give together.

    The fullest record speaks. Records that name different statuses contradict each other: the status is
    then *Unknown*, and the reason shows both. Within one record the less trusting of word and code wins.

    Args:
        file_hash: What was asked for.
        records: One or more, all of this file.
        source: Who holds them, for the evidence.
        read_at: When they were read.

    Raises:
        ValueError: `records` is empty; that is a `BinaryNotFound`, not a signature.
    """
    if not records:
        raise ValueError("no record: not found is not a signing status")
    ordered = sorted(
        records, key=lambda r: (_KIND_ORDER.index(r.kind), -(r.recorded_at.timestamp() if r.recorded_at else 0))
    )
    statuses = {status: record for record in reversed(ordered) for status in [_read_one(record)[0]] if status}
    if len(statuses) > 1:
        told = "; ".join(
            f"{s.value} ({r.kind.value}{_since(r)})" for s, r in sorted(statuses.items(), key=lambda i: i[0].value)
        )
        return _signature(
            file_hash, ordered[0], SigningStatus.UNKNOWN, Cause.CONTRADICTION,
            f"Records of this file contradict each other: {told}. Compare the hosts before trusting either.",
            Certainty.DISPUTED, source, read_at,
        )  # fmt: skip
    speaker = next((record for record in ordered if _read_one(record)[0]), ordered[0])
    status, cause, reason, certainty = _read_one(speaker)
    if status is SigningStatus.SIGNED and speaker.publisher:
        reason = f"Signed by {speaker.publisher}: {status.meaning}."
    return _signature(file_hash, speaker, status or SigningStatus.UNKNOWN, cause, reason, certainty, source, read_at)


def unknown_signature(file_hash: str, cause: Cause, reason: str) -> Signature:
    """Return *Unknown* with its reason and no evidence."""
    return Signature(file_hash, SigningStatus.UNKNOWN, cause, reason)


def _read_one(record: BinaryRecord) -> tuple[Optional[SigningStatus], Cause, str, Certainty]:
    """Read one record's word and code; a None status means that this record decides nothing."""
    by_word, by_code = status_of_word(record.word), status_of_code(record.code)
    code = _code_text(record)
    if by_word is None:
        given = f"result code {code}" if code else "no result code"
        if record.word is None:
            return (
                None,
                Cause.NOT_EVALUATED,
                f"The {record.kind.value} names no signing status ({given}).",
                Certainty.STATED,
            )
        if record.word.strip().lower() in _NOT_EVALUATED:
            return (
                None,
                Cause.NOT_EVALUATED,
                f"The sensor did not evaluate the signature: {record.word} ({given}).",
                Certainty.STATED,
            )
        return (
            None,
            Cause.UNKNOWN_WORD,
            f'The EDR\'s word "{record.word[:60]}" is not one of its eight ({given}).',
            Certainty.STATED,
        )
    if code is None:
        return by_word, Cause.RECORD, _sentence(by_word), Certainty.STATED
    if by_code is by_word:
        return by_word, Cause.RECORD, _sentence(by_word), Certainty.CONFIRMED
    if by_code is None:
        if by_word is SigningStatus.SIGNED:
            reason = f"The record says Signed, but result code {code} is not success and not one we know."
            return None, Cause.UNKNOWN_WORD, reason, Certainty.DISPUTED
        return (
            by_word,
            Cause.RECORD,
            f"{_sentence(by_word)[:-1]} (result code {code}, unknown to us).",
            Certainty.STATED,
        )
    less = less_trusting(by_word, by_code)
    reason = (
        f"{less.value}: the record says {by_word.value}, but its result code {code} means {by_code.value}; "
        "the less trusting one counts."
    )
    return less, Cause.RECORD, reason, Certainty.DISPUTED


def _signature(
    file_hash: str, record: BinaryRecord, status: SigningStatus, cause: Cause, reason: str,
    certainty: Certainty, source: str, read_at: datetime,
) -> Signature:  # fmt: skip
    return Signature(
        hash=file_hash, status=status, cause=cause, reason=reason,
        publisher=record.publisher, issuer=record.issuer, subject=record.subject, program_name=record.program_name,
        signed_at=record.signed_at, host_count=record.host_count, paths=record.paths,
        evidence=Evidence(
            record.kind.value, source, record.recorded_at, read_at, certainty, record.word, _code_text(record)
        ),
    )  # fmt: skip


def _sentence(status: SigningStatus) -> str:
    return f"{status.value}: {status.meaning}."


def _since(record: BinaryRecord) -> str:
    return f", {format_time(record.recorded_at)}" if record.recorded_at else ""


def _code_text(record: BinaryRecord) -> Optional[str]:
    return f"0x{record.code:08x}" if record.code is not None else record.code_text


def _text(value: object, keep_unknown: bool = False) -> Optional[str]:
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    text = str(value).strip()
    return text if text and (keep_unknown or text.lower() not in _NOT_EVALUATED) else None


def _count(value: object) -> Optional[int]:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if len(text) <= 12 and text.isascii() and text.isdigit() else None


def _paths(value: object) -> tuple[str, ...]:
    items: list[object] = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(item.lower() for item in items if isinstance(item, str) and item))
