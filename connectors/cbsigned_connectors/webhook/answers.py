"""What an answer looks like: JSON, a card, OCSF or ECS; and which status it has when something is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from cbsigned.binary import unknown_signature
from cbsigned.enrichment import Enrichment
from cbsigned.gaps import Cause
from cbsigned.render.document import Document, enrichment_document, signature_document
from cbsigned.render.ecs import ecs_fields
from cbsigned.render.html import html_card
from cbsigned.render.markdown import markdown_card
from cbsigned.render.ocsf import ocsf_event
from cbsigned.render.ready import encoded, enrichment_json
from cbsigned.status import SigningStatus
from cbsigned_connectors.webhook.models import ProblemError

__all__ = [
    "FORMATS",
    "JSON",
    "Answer",
    "Told",
    "Wish",
    "answer_of",
    "documents_of",
    "json_bytes",
    "signatures_of",
    "wish_of",
]

JSON = "application/json"
_MARKDOWN, _HTML = "text/markdown; charset=utf-8", "text/html; charset=utf-8"
FORMATS = ("json", "markdown", "html", "ocsf", "ecs")
_CARDS = {"none": (), "markdown": ("markdown",), "html": ("html",), "both": ("markdown", "html")}
_ACCEPTED = {
    "application/json": "json", "application/*": "json", "*/*": "json", "text/markdown": "markdown",
    "text/html": "html", "text/*": "markdown",
}  # fmt: skip
_MAX_ACCEPT = 1000
_RETRY_AFTER_S = 30
_DOWN = frozenset({Cause.UNAVAILABLE, Cause.REFUSED, Cause.UNREADABLE, Cause.BLOCKED})
_CARD_CHARS = 30_000
_MOST_KEPT = 100


@dataclass(frozen=True)
class Wish:
    """How a caller wants the answer.

    Attributes:
        kind: One of `FORMATS`.
        cards: Which cards to put into JSON: `markdown`, `html`.
    """

    kind: str = "json"
    cards: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One answer before it is sent.

    Attributes:
        told: What is in it, where it is one with enrichments.
    """

    body: bytes
    media_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    told: Optional[Told] = None


@dataclass(frozen=True)
class Told:
    """What an answer tells, for the counters and for the analyst's page.

    Attributes:
        bodies: The enrichments as JSON, the first hundred.
        statuses: Signing status of every alert.
        causes: Of every gap.
        complete: Whether nothing is missing that may be known later.
    """

    bodies: tuple[bytes, ...]
    statuses: tuple[str, ...]
    causes: tuple[str, ...]
    complete: bool


def wish_of(query: Mapping[str, str], accept: Optional[str]) -> Wish:
    """Return what the parameters `format` and `card` ask for, else the header `Accept`, else JSON.

    Raises:
        ProblemError: 422 for a word that is not known, 406 where nothing accepted can be written.
    """
    kind, card = query.get("format"), query.get("card", "none")
    if card not in _CARDS:
        raise ProblemError(422, "There is no such card.", [("card", f"Use one of: {', '.join(_CARDS)}.")])
    if kind is None:
        kind = _negotiated(accept)
    elif kind not in FORMATS:
        raise ProblemError(422, "There is no such format.", [("format", f"Use one of: {', '.join(FORMATS)}.")])
    return Wish(kind, _CARDS[card])


def answer_of(wish: Wish, enrichments: Sequence[Enrichment], many: bool, ignored: bool = False) -> Answer:
    """Return the answer to one request.

    Args:
        many: Whether the body was a list of alerts, so that the answer is one too.
        ignored: Whether an alert was passed over on purpose, so that an answer without any is none to complain of.

    Raises:
        ProblemError: 422 where no alert names anything to look up; 502 and 503 with `Retry-After` where the source
            could not be asked and nothing was known.

    References:
        - alert-formats §7
    """
    if not ignored and not (many and not enrichments):
        _check_recognisable(enrichments)
    _check_answered(enrichments)
    as_json = wish.kind == "json" and not wish.cards
    plain = [_plain(found) for found in enrichments[: None if as_json else _MOST_KEPT]]
    told = Told(
        tuple(plain[:_MOST_KEPT]),
        tuple([(found.verdict.status if found.verdict else SigningStatus.UNKNOWN).value for found in enrichments]),
        tuple([gap.cause.value for found in enrichments for gap in found.gaps]),
        all(found.complete for found in enrichments),
    )
    if as_json:
        return Answer(b'{"enrichments":[' + b",".join(plain) + b"]}" if many else plain[0], told=told)
    documents = documents_of(enrichments)
    if wish.kind == "markdown":
        text = "\n\n---\n\n".join(markdown_card(document, _CARD_CHARS) for document in documents)
        return Answer(text.encode("utf-8", "replace"), _MARKDOWN, told=told)
    if wish.kind == "html":
        text = "\n".join(html_card(document, style=number == 0) for number, document in enumerate(documents))
        return Answer(text.encode("utf-8", "replace"), _HTML, told=told)
    written = [json_bytes(_written(wish, *pair)) for pair in zip(documents, enrichments)]
    return Answer(b'{"enrichments":[' + b",".join(written) + b"]}" if many else written[0], told=told)


def documents_of(enrichments: Sequence[Enrichment]) -> list[Document]:
    """Return the enrichments as they stand in JSON answers, whatever is missing in them."""
    return [{**enrichment_document(found), "stale": _stale(found)} for found in enrichments]


def signatures_of(asked: Sequence[str], enrichments: Sequence[Enrichment]) -> Answer:
    """Return the answer to a question for files by hash.

    Args:
        asked: The hashes as they came, one for each enrichment.

    Raises:
        ProblemError: 502 and 503 where the source could not be asked and nothing was known.
    """
    _check_answered(enrichments)
    rows = []
    for text, found in zip(asked, enrichments):
        signature = found.subjects[0].signature if found.subjects else None
        if signature is None:
            cause, reason = (found.gaps[0].cause, found.gaps[0].reason) if found.gaps else (Cause.NO_OBSERVABLE, "")
            signature = unknown_signature("", cause, reason)
        rows.append({"asked": text, **signature_document(signature, found.enriched_at)})
    told = Told(
        (), tuple(row["status"] for row in rows),
        tuple(row["cause"] for row in rows if row["status"] == SigningStatus.UNKNOWN.value),
        all(found.complete for found in enrichments),
    )  # fmt: skip
    document = {"signatures": rows, "complete": told.complete, "stale": any(map(_stale, enrichments))}
    return Answer(json_bytes(document), told=told)


def json_bytes(document: Any) -> bytes:
    """Return a document as JSON in ASCII, so that half a character in an alert ends nothing."""
    return encoded(document).encode("ascii")


def _plain(found: Enrichment) -> bytes:
    """Return an enrichment as `documents_of` has it, in JSON."""
    return enrichment_json(found, stale=_stale(found)).encode("ascii")


def _written(wish: Wish, document: Document, found: Enrichment) -> Document:
    if wish.kind == "ocsf":
        return ocsf_event(document, found.record)
    if wish.kind == "ecs":
        return ecs_fields(document)
    return {**document, "card": {name: _CARD[name](document) for name in wish.cards}}


_CARD: Mapping[str, Callable[[Document], str]] = {
    "markdown": lambda document: markdown_card(document, _CARD_CHARS),
    "html": html_card,
}


def _check_recognisable(enrichments: Sequence[Enrichment]) -> None:
    if any(found.subjects for found in enrichments):
        return
    reasons = list(dict.fromkeys(_reasons(enrichments)))
    detail = reasons[0] if reasons else "The body holds no alert. Post one JSON object or a list of them."
    places = [(f"[{number}]", reason) for number, reason in enumerate(_reasons(enrichments))]
    raise ProblemError(422, detail, places if len(enrichments) > 1 else ())


def _reasons(enrichments: Iterable[Enrichment]) -> Iterable[str]:
    for found in enrichments:
        yield found.gaps[0].reason if found.gaps else "The alert names no process and no file."


def _check_answered(enrichments: Sequence[Enrichment]) -> None:
    """Refuse with 502 or 503 where nothing at all is known because the source failed; slowness alone is no refusal."""
    signatures = [subject.signature for found in enrichments for subject in found.subjects]
    if not signatures or not all(signature.cause.failed for signature in signatures):
        return
    causes = {signature.cause for signature in signatures}
    reasons = list(dict.fromkeys(signature.reason for signature in signatures if signature.cause in _DOWN))
    retry = {"Retry-After": str(_RETRY_AFTER_S)}
    if reasons:
        raise ProblemError(502, reasons[0], [("", reason) for reason in reasons[1:]], retry)
    if Cause.RATE_LIMITED in causes:
        detail = next(signature.reason for signature in signatures if signature.cause is Cause.RATE_LIMITED)
        raise ProblemError(503, detail, headers=retry)


def _stale(found: Enrichment) -> bool:
    """Whether the source could not be asked, and what is told was read earlier."""
    if not any(gap.cause in _DOWN or gap.cause is Cause.RATE_LIMITED for gap in found.gaps):
        return False
    return any(subject.signature.evidence is not None for subject in found.subjects)


def _negotiated(accept: Optional[str]) -> str:
    if not accept or not accept.strip():
        return "json"
    best, best_weight = None, 0.0
    for part in accept[:_MAX_ACCEPT].split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        kind = _ACCEPTED.get(name)
        weight = _weight(parameters)
        if kind is not None and weight > best_weight:
            best, best_weight = kind, weight
    if best is None:
        raise ProblemError(
            406, "Accept names nothing that can be written. Use application/json, text/markdown or text/html."
        )
    return best


def _weight(parameters: Sequence[str]) -> float:
    text = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
