"""A request as it came → an order: who sent it, its alerts read, how the answer is wanted, and its key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

from cbsigned.errors import AlertError
from cbsigned.formats import (
    FORMATS,
    AlertIgnored,
    Body,
    BodyError,
    Fault,
    FieldMapping,
    Limits,
    UnknownFormat,
    key_of,
    parse_alert,
    read_body,
)
from cbsigned_connectors.webhook.answers import Wish
from cbsigned_connectors.webhook.models import ProblemError
from cbsigned_connectors.webhook.responder import Reading
from cbsigned_connectors.webhook.senders import Sender

__all__ = ["Asked", "Order", "body_of", "order_of", "readings_of"]

_STATUS = {Fault.MALFORMED: 400, Fault.TOO_LARGE: 413, Fault.UNSUPPORTED: 415, Fault.UNUSABLE: 422}
_MAX_KEY = 255


@dataclass(frozen=True)
class Asked:
    """One request for alerts, its sender known, its body not yet read.

    Attributes:
        headers: By lower-case name.
        source: As in the path.
    """

    raw: bytes
    headers: Mapping[str, str]
    sender: Sender
    source: Optional[str]
    wish: Wish

    @property
    def chosen(self) -> Optional[str]:
        """Name of the format or mapping by which the alerts are read; None to detect it."""
        return self.sender.settings.mapping or self.source or self.sender.settings.source

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of everything that the answer depends on."""
        kind = (self.headers.get("content-type", ""), self.headers.get("content-encoding", ""))
        events = [f"{name}:{value}" for name, value in self.headers.items() if name.startswith("ce-")]
        parts = (self.chosen or "", self.wish.kind, ",".join(self.wish.cards), *kind, *events)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape") + b"\0\0" + self.raw).digest()

    @property
    def keyed(self) -> bool:
        """Whether the caller gives a key beside the body."""
        return self.sender.message_id is not None or "idempotency-key" in self.headers


@dataclass(frozen=True)
class Order:
    """What one request asks for.

    Attributes:
        records: As they came; an `AlertError` where one could not be read.
        many: Whether the body was a list, so that the answer is one.
        source: Name of a format or mapping; None to detect it.
        key: The caller's own idempotency key, None where it gave none.
        digest: Of everything that the answer depends on.
    """

    sender: str
    records: Sequence[Any]
    many: bool
    source: Optional[str]
    wish: Wish
    key: Optional[str]
    digest: bytes

    def document(self) -> dict[str, Any]:
        """Return the order as JSON types, to be kept until it is worked on."""
        records = [{"error": str(r)} if isinstance(r, AlertError) else {"record": r} for r in self.records]
        return {
            "records": records, "many": self.many, "source": self.source, "format": self.wish.kind,
            "cards": list(self.wish.cards),
        }  # fmt: skip

    @staticmethod
    def of_document(sender: str, document: Mapping[str, Any]) -> Order:
        """Return the order that was kept."""
        records = [AlertError(r["error"]) if "error" in r else r["record"] for r in document["records"]]
        wish = Wish(document["format"], tuple(document["cards"]))
        return Order(sender, records, document["many"], document["source"], wish, None, b"")


def order_of(asked: Asked, limits: Limits) -> Order:
    """Return the order in a request.

    Raises:
        ProblemError: 400, 413, 415 or 422: the body cannot be read, or the key cannot be used.
    """
    body = body_of(asked.raw, asked.headers, limits)
    key = _key(asked.headers, asked.sender, body.records)
    return Order(asked.sender.name, body.records, body.many, asked.chosen, asked.wish, key, asked.digest)


def body_of(raw: bytes, headers: Mapping[str, str], limits: Limits) -> Body:
    """Return what a body holds.

    Raises:
        ProblemError: 400, 413, 415 or 422: it cannot be read.
    """
    try:
        return read_body(raw, headers, limits)
    except BodyError as exc:
        raise ProblemError(_STATUS[exc.fault], str(exc)) from None


def readings_of(order: Order, mappings: Optional[Mapping[str, FieldMapping]]) -> list[Reading]:
    """Return the alerts of an order, read.

    Raises:
        ProblemError: 404 where the format that is named is not there.
    """
    if order.source is not None and order.source not in FORMATS and order.source not in (mappings or {}):
        raise ProblemError(404, str(UnknownFormat(order.source, {**FORMATS, **(mappings or {})})))
    return [_reading(record, order.source, mappings) for record in order.records]


def _reading(record: Any, source: Optional[str], mappings: Optional[Mapping[str, FieldMapping]]) -> Reading:
    if isinstance(record, AlertError):
        return Reading({}, record)
    kept = record if isinstance(record, Mapping) else {"value": record}
    try:
        return Reading(kept, parse_alert(record, source, mappings=mappings))
    except AlertIgnored as exc:
        return Reading(kept, exc, ignored=True)
    except AlertError as exc:
        return Reading(kept, exc)


def _key(headers: Mapping[str, str], sender: Sender, records: Sequence[Any]) -> Optional[str]:
    """Return the caller's own key: the id that it signed, else the header, else the only CloudEvent's.

    An alert's own id is no key: platforms send an alert again when it has changed, and refusing it would lose it.
    """
    if sender.message_id is not None:
        return f"message {sender.message_id}"
    given = headers.get("idempotency-key")
    if given is not None:
        if not 0 < len(given) <= _MAX_KEY:
            raise ProblemError(
                422, "The key cannot be used.", [("Idempotency-Key", f"Use 1 to {_MAX_KEY} characters.")]
            )
        return f"key {given}"
    event = key_of(records[0]) if len(records) == 1 else None
    return f"event {event}" if event is not None else None
