"""The EDR's words for a signature, Windows' result codes, and which of two is the less trusting."""

from __future__ import annotations

from enum import Enum
from typing import Optional

__all__ = ["SigningStatus", "less_trusting", "parse_result_code", "status_of_code", "status_of_word"]


class SigningStatus(str, Enum):
    """What the EDR says of a file's signature: its eight words, and Unknown.

    References:
        - cb-edr-api §5.3, exact spelling
    """

    SIGNED = "Signed"
    UNSIGNED = "Unsigned"
    EXPIRED = "Expired"
    BAD_SIGNATURE = "Bad Signature"
    INVALID_SIGNATURE = "Invalid Signature"
    INVALID_CHAIN = "Invalid Chain"
    UNTRUSTED_ROOT = "Untrusted Root"
    EXPLICIT_DISTRUST = "Explicit Distrust"
    UNKNOWN = "Unknown"

    __hash__ = str.__hash__
    # Enum's own is written in Python, and every alert asks for some

    @property
    def signed(self) -> Optional[bool]:
        """True for *Signed* alone, None for *Unknown*, False for the rest; for fields that can only hold a boolean."""
        return None if self is SigningStatus.UNKNOWN else self is SigningStatus.SIGNED

    @property
    def meaning(self) -> str:
        """What the word means, in half a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    SigningStatus.SIGNED: "the signature was accepted",
    SigningStatus.UNSIGNED: "the file carries no signature",
    SigningStatus.EXPIRED: "signed, but the certificate had expired and no time stamp saves it",
    SigningStatus.BAD_SIGNATURE: "signed, but the file was changed afterwards",
    SigningStatus.INVALID_SIGNATURE: "signed, but the signature block cannot be used",
    SigningStatus.INVALID_CHAIN: "signed, but the certificate chain is incomplete",
    SigningStatus.UNTRUSTED_ROOT: "signed, but the root certificate is not trusted",
    SigningStatus.EXPLICIT_DISTRUST: "signed, but the publisher is distrusted on the host",
    SigningStatus.UNKNOWN: "nothing known",
}

# HRESULTs of WinVerifyTrust. Only the first two occur in recorded data; the others are documented WinTrust
# codes mapped by meaning (cb-edr-api §5.4, behaviour.md §2.2), so they may lower trust but never raise it.
_CODES = {
    0x00000000: SigningStatus.SIGNED,
    0x800B0100: SigningStatus.UNSIGNED,
    0x800B0101: SigningStatus.EXPIRED,
    0x80096010: SigningStatus.BAD_SIGNATURE,
    0x800B0003: SigningStatus.INVALID_SIGNATURE,
    0x800B0004: SigningStatus.INVALID_SIGNATURE,
    0x800B010A: SigningStatus.INVALID_CHAIN,
    0x800B0109: SigningStatus.UNTRUSTED_ROOT,
    0x800B0111: SigningStatus.EXPLICIT_DISTRUST,
}
_TRUST = (  # most trusting first; where word and code disagree the later one wins
    SigningStatus.SIGNED,
    SigningStatus.EXPIRED,
    SigningStatus.INVALID_CHAIN,
    SigningStatus.UNTRUSTED_ROOT,
    SigningStatus.UNSIGNED,
    SigningStatus.INVALID_SIGNATURE,
    SigningStatus.BAD_SIGNATURE,
    SigningStatus.EXPLICIT_DISTRUST,
)
_WORDS = {status.value.lower(): status for status in _TRUST}


def status_of_word(word: Optional[str]) -> Optional[SigningStatus]:
    """Return the status a vendor's word names in any case, or None for `(Unknown)`, no word, or a strange one."""
    return _WORDS.get(" ".join(word.split()).lower()) if word else None


def status_of_code(code: Optional[int]) -> Optional[SigningStatus]:
    """Return the status a result code stands for, or None for no code or one we do not know."""
    return None if code is None else _CODES.get(code)


def parse_result_code(value: object) -> Optional[int]:
    """Return a result code as an unsigned 32-bit number from `2148204800`, `-2146762496` or `0x800B0100`."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = int(str(value).strip()[:24], 0)
    except ValueError:
        return None
    return number & 0xFFFFFFFF if -(2**31) <= number < 2**32 else None


def less_trusting(one: SigningStatus, other: SigningStatus) -> SigningStatus:
    """Return the one of two statuses, neither of them *Unknown*, that trusts the file less."""
    return max(one, other, key=_TRUST.index)
