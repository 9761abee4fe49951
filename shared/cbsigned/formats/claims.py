"""What alerts say of a signature, in each product's vocabulary, as a claim in the EDR's words.

Only words that mean the same become one of the eight; any other stays as it is written and is Unknown. What an
alert does not say is no claim: a missing group, a null and a publisher without a state prove nothing.

References:
    - alert-formats §8
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.formats.fields import get, items_of, object_of, text_at
from cbsigned.formats.values import text_of
from cbsigned.status import SigningStatus

__all__ = ["cloud_claim", "defender_claim", "ecs_claim", "ocsf_claim", "switch", "sysmon_claim"]

_SIGNED, _UNSIGNED = SigningStatus.SIGNED.value, SigningStatus.UNSIGNED.value
_WORDS = {
    "errorexpired": SigningStatus.EXPIRED.value,
    "expired": SigningStatus.EXPIRED.value,
    "erroruntrustedroot": SigningStatus.UNTRUSTED_ROOT.value,
    "errorchaining": SigningStatus.INVALID_CHAIN.value,
    "errorbaddigest": SigningStatus.BAD_SIGNATURE.value,
}
_GOOD = ("trusted", "valid")
_STATES: Mapping[int, str] = {
    1: _SIGNED,
    2: SigningStatus.EXPIRED.value,
    3: "Revoked",
    4: "Suspended",
    6: "Untrusted",
    7: SigningStatus.EXPLICIT_DISTRUST.value,
    8: "Wrong Usage",
    9: SigningStatus.BAD_SIGNATURE.value,
    10: "Broken",
}


def switch(value: object) -> Optional[bool]:
    """Return a boolean, also from a text, and None for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(text_of(value)).lower())


def ecs_claim(group: object) -> Optional[BinaryRecord]:
    """Read ECS `code_signature`: an object, dotted keys or a list of objects; absent is nothing."""
    for item in items_of(group):
        exists, trusted, status = switch(item.get("exists")), switch(item.get("trusted")), text_of(item.get("status"))
        if exists is False:
            return _claim(_UNSIGNED)
        if exists is None or (trusted is None and status is None):
            continue
        bad = status is not None and status.lower() not in _GOOD
        if bad and status is not None:
            word = _WORDS.get(status.lower(), status)
        elif trusted:
            word = _SIGNED
        elif trusted is False:
            word = "not trusted"
        else:
            continue  # a good status word alone: nobody says that the chain is trusted
        return _claim(word, text_of(item.get("subject_name")))
    return None


def ocsf_claim(group: object) -> Optional[BinaryRecord]:
    """Read an OCSF `signature` object; OCSF has no word for *not signed*, so its absence is nothing."""
    state = get(object_of(group), "state_id")
    word = _STATES.get(state) if isinstance(state, int) and not isinstance(state, bool) else None
    if word is None:
        return None
    publisher = text_at(group, "certificate.subject", "developer_uid")
    return _claim(word, publisher, issuer=text_at(group, "certificate.issuer"))


def sysmon_claim(signed: object, signature: object, status: object) -> Optional[BinaryRecord]:
    """Read Sysmon's `Signed`, `Signature` and `SignatureStatus`; without `Signed` there is no claim."""
    is_signed = switch(signed)
    if is_signed is None:
        return None
    word = text_of(status) or "no status"
    publisher = text_of(signature)
    spelt = _SIGNED if word.lower() == "valid" else _WORDS.get(word.lower(), word)
    return _claim(spelt if is_signed else _UNSIGNED, None if publisher == "-" else publisher)


def cloud_claim(states: object, publisher: object, issuer: object = None) -> Optional[BinaryRecord]:
    """Read Carbon Black Cloud's publisher states; a publisher without a state is no evidence."""
    words = {str(text_of(item)).upper() for item in (states if isinstance(states, list) else [states])}
    found = {word.replace("FILE_SIGNATURE_STATE_", "") for word in words}
    if "NOT_SIGNED" in found:
        return None if "SIGNED" in found else _claim(_UNSIGNED)
    if "SIGNED" not in found:
        return None
    others = sorted(found - {"SIGNED"})
    word = _SIGNED if "VERIFIED" in found else " ".join(["SIGNED", *others, "not VERIFIED"])
    return _claim(word, text_of(publisher), issuer=text_of(issuer))


def defender_claim(file: object) -> Optional[BinaryRecord]:
    """Read Defender's `signer` and `issuer`, both set; `filePublisher` is version text that anyone can write."""
    signer, issuer = text_at(file, "signer"), text_at(file, "issuer")
    return _claim(_SIGNED, signer, issuer=issuer) if signer and issuer else None


def _claim(word: str, publisher: Optional[str] = None, *, issuer: Optional[str] = None) -> BinaryRecord:
    return BinaryRecord(RecordKind.ALERT, word=word[:100], publisher=publisher, issuer=issuer)
