"""What we conclude of one subject: a few words, the reason, and what must be said beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from cbsigned.alert import ObservableSet
from cbsigned.binary import Signature
from cbsigned.gaps import Cause
from cbsigned.lineage import EndedBy, Lineage
from cbsigned.process import Process
from cbsigned.status import SigningStatus, status_of_word

__all__ = ["Verdict", "conclude"]


@dataclass(frozen=True)
class Verdict:
    """Our conclusion on one subject, always with its reason.

    Attributes:
        status: The signing status it rests on.
        text: The conclusion in a few words: `signed`, `signed, not valid`, `unsigned`, `unknown`; where only
            the alert itself says so, `claimed: ` stands before it.
        reason: One sentence.
        notes: What else an analyst must know: an unsigned ancestor, an alert that claims otherwise.
    """

    status: SigningStatus
    text: str
    reason: str
    notes: tuple[str, ...] = ()


def _another_image(observables: ObservableSet, own: Process) -> bool:
    pairs = ((observables.md5, own.md5), (observables.sha256, own.sha256))
    return any(told is not None and known is not None and told != known for told, known in pairs)


_TEXTS = {
    SigningStatus.SIGNED: "signed",
    SigningStatus.UNSIGNED: "unsigned",
    SigningStatus.UNKNOWN: "unknown",
}


def conclude(
    signature: Signature, observables: ObservableSet, chain: Optional[Lineage], signatures: Mapping[str, Signature]
) -> Verdict:
    """Conclude on one subject; the status is the record's, the notes are what an analyst must not miss beside it.

    Args:
        signature: Of the subject's image.
        observables: What the alert says of it.
        chain: Its lineage, where there is one.
        signatures: Of the files in the lineage, by hash.
    """
    notes = []
    claimed = status_of_word(observables.claimed.word) if observables.claimed is not None else None
    if claimed is not None and signature.cause is not Cause.CLAIM and claimed is not signature.status:
        record = "no record says so" if signature.status is SigningStatus.UNKNOWN else "the record says"
        other = "" if signature.status is SigningStatus.UNKNOWN else f" {signature.status.value}"
        notes.append(f"The alert says {claimed.value}, {record}{other}.")
    if chain is not None and _another_image(observables, chain.nodes[0].process):
        notes.append("The alert's hash is not that of the image which the source has for this process.")
    for node in chain.nodes[1:] if chain is not None else ():
        above = signatures.get(node.process.file_hash) if node.process.file_hash else None
        if above is not None and above.status.signed is False:
            notes.append(f"Ancestor {node.process.name or node.process.guid} is {above.status.value}.")
    if chain is not None and chain.ended_by in (EndedBy.LOOP, EndedBy.REUSED_PID, EndedBy.SOURCE_FAILED):
        notes.append(chain.reason)
    text = _TEXTS.get(signature.status, "signed, not valid")
    if signature.cause is Cause.CLAIM:
        text = f"claimed: {text}"
    return Verdict(signature.status, text, signature.reason, tuple(dict.fromkeys(notes)))
