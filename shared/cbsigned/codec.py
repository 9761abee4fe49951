"""Signatures and processes as JSON text and back, for caches; what people read is made in `render`."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, Optional

from cbsigned.binary import Certainty, Evidence, Signature
from cbsigned.gaps import Cause
from cbsigned.process import Process
from cbsigned.status import SigningStatus

__all__ = ["decode_process", "decode_signature", "encode"]

_PROCESS_FIELDS = {field.name for field in fields(Process)}
_SIGNATURE_FIELDS = {field.name for field in fields(Signature)}


def encode(record: object) -> str:
    """Return a `Signature` or `Process` as one line of JSON, without the fields that are None."""
    return json.dumps(_plain(record), separators=(",", ":"))


def decode_signature(text: str) -> Signature:
    """Return the signature of `encode`.

    Raises:
        ValueError, KeyError, TypeError: The text is not one, an older version's for example.
    """
    data: dict[str, Any] = {k: v for k, v in json.loads(text).items() if k in _SIGNATURE_FIELDS}
    evidence = data.get("evidence")
    data["status"] = SigningStatus(data["status"])
    data["cause"] = Cause(data["cause"])
    data["signed_at"] = _moment(data.get("signed_at"))
    data["paths"] = tuple(data.get("paths", ()))
    if evidence is not None:
        evidence["recorded_at"] = _moment(evidence.get("recorded_at"))
        evidence["read_at"] = datetime.fromisoformat(evidence["read_at"])
        evidence["certainty"] = Certainty(evidence["certainty"])
        data["evidence"] = Evidence(**evidence)
    return Signature(**data)


def decode_process(text: str) -> Process:
    """Return the process of `encode`.

    Raises:
        ValueError, KeyError, TypeError: The text is not one.
    """
    data: dict[str, Any] = {k: v for k, v in json.loads(text).items() if k in _PROCESS_FIELDS}
    for name in ("started_at", "ended_at"):
        data[name] = _moment(data.get(name))
    return Process(**data)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {k: _plain(v) for k, v in vars(value).items() if v is not None}
    return value


def _moment(text: Optional[str]) -> Optional[datetime]:
    return None if text is None else datetime.fromisoformat(text)
