"""What came over the wire → records: unpacked, decoded and taken apart within bounds, whatever wrapped it."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Optional, Union
from urllib.parse import parse_qsl

from cbsigned.errors import AlertError
from cbsigned.formats import cloudevents
from cbsigned.formats.bundles import carries_list, records_of
from cbsigned.formats.faults import BodyError, Fault
from cbsigned.formats.jsontext import TooDeep, TooMany, bounded, load_all

__all__ = ["Body", "Limits", "read_body"]

_Item = Union[Mapping[str, Any], AlertError]

_FIELDS = ("payload", "alert", "data", "body", "json")
_PLAIN = ("", "text/plain", "text/json", "application/octet-stream", "application/gzip", "application/x-gzip")
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines",
          "application/jsonlines", "application/x-jsonlines", "application/json-seq")  # fmt: skip
_CHARSETS = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8", "iso-8859-1": "latin-1",
    "latin-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252", "cp1252": "cp1252", "utf-16": "utf-16",
    "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
}  # fmt: skip
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MAX_MEMBERS = 64
_CHUNK = 65_536


@dataclass(frozen=True)
class Limits:
    """How much of a body is taken; a body past one of them is refused, none is cut.

    Attributes:
        body_bytes: As it came.
        unpacked_bytes: After unpacking.
        levels: Of nesting.
        values: In all of its JSON.
        records: Alerts.
    """

    body_bytes: int = 10 * 1024 * 1024
    unpacked_bytes: int = 20 * 1024 * 1024
    levels: int = 64
    values: int = 1_000_000
    records: int = 10_000


@dataclass(frozen=True)
class Body:
    """What a body holds.

    Attributes:
        records: In order, with the error in place of each that cannot be read.
        many: Whether it is a list by its shape, however many records there are: an array, a bundle, a batch, lines.
    """

    records: list[_Item]
    many: bool


def read_body(body: bytes, headers: Optional[Mapping[str, str]] = None, limits: Optional[Limits] = None) -> Body:
    """Return the records of a body, and whether it is a list of them.

    Read are one object, an array, lines, objects one after the other, a form's `payload`, bundles of alerts and
    CloudEvents in all three modes, plain or packed with gzip or deflate, in UTF-8 (with or without a mark), UTF-16,
    and in latin-1 where it is nothing better. An empty bundle or array gives no records.

    Args:
        body: As it came.
        headers: Of these `Content-Type`, `Content-Encoding` and `ce-…` are looked at, in any case.
        limits: How much is taken.

    Raises:
        BodyError: Nothing can be read; `fault` says in which way.

    References:
        - alert-formats §2 (bodies), §3.7 (bundles), §3.12 (CloudEvents)
    """
    limits = limits or Limits()
    known = {name.strip().lower(): str(value) for name, value in (headers or {}).items()}
    kind, charset = _content_type(known.get("content-type", ""))
    if len(body) > limits.body_bytes:
        raise BodyError(f"The body has {len(body)} bytes, at most {limits.body_bytes} are taken.", Fault.TOO_LARGE)
    text = _decoded(_unpacked(body, known.get("content-encoding", ""), limits), charset)
    if kind == "application/x-www-form-urlencoded" and text.lstrip()[:1] not in ("{", "["):  # curl's default type
        text = _form(text)
    if not text.strip("\ufeff \t\r\n\x1e"):
        raise BodyError("The body is empty. Post the alert as a JSON object.", Fault.MALFORMED)
    items, many = _items(text.lstrip("\ufeff"), limits)
    many = many or kind in _LINES or kind.endswith("-batch+json")
    if "ce-id" in known and not kind.startswith("application/cloudevents"):
        given = [item for item in items if isinstance(item, Mapping)]
        event = cloudevents.from_headers(known, given[0] if len(items) == 1 and given else given)
        items = [event, *(item for item in items if isinstance(item, AlertError))] if event is not None else items
    return _opened(items, many, limits)


@lru_cache(maxsize=64)
def _content_type(value: str) -> tuple[str, Optional[str]]:
    """Return (type, encoding to decode with or None); a type that holds no JSON is refused."""
    kind = value.partition(";")[0].strip().lower()
    found = _CHARSET.search(value[:500])
    charset = found.group(1).lower() if found else ""
    if not (kind in (*_PLAIN, *_LINES, "application/x-www-form-urlencoded") or _is_json(kind)):
        raise BodyError(
            "The Content-Type is not one that alerts are read from. Send application/json.", Fault.UNSUPPORTED
        )
    if charset and charset not in _CHARSETS:
        raise BodyError("The character set is not one that is read. Send UTF-8.", Fault.UNSUPPORTED)
    return kind, _CHARSETS.get(charset)


def _is_json(kind: str) -> bool:
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith(("+json", "-batch+json")))


def _unpacked(body: bytes, packing: str, limits: Limits) -> bytes:
    """Return a body unpacked, never building more than is allowed."""
    names = [name.strip().lower() for name in packing.split(",") if name.strip().lower() not in ("", "identity")]
    if len(names) > 1 or any(name not in ("gzip", "x-gzip", "deflate") for name in names):
        raise BodyError("The Content-Encoding is not one that is read. Send gzip, or unpacked.", Fault.UNSUPPORTED)
    if not names and body[:2] != b"\x1f\x8b":
        if len(body) > limits.unpacked_bytes:
            raise _too_large(limits)
        return body
    window = 47 if not names or "gzip" in names[0] else zlib.MAX_WBITS
    try:
        return _inflated(body, window, limits)
    except zlib.error:
        raise BodyError("The body says that it is packed, and cannot be unpacked.", Fault.MALFORMED) from None


def _inflated(body: bytes, window: int, limits: Limits) -> bytes:
    found, members = bytearray(), 1
    unpacker = zlib.decompressobj(window)
    for start in range(0, len(body), _CHUNK):
        chunk = body[start : start + _CHUNK]
        while chunk:
            found += unpacker.decompress(chunk, limits.unpacked_bytes + 1 - len(found))
            if len(found) > limits.unpacked_bytes:
                raise _too_large(limits)
            chunk = unpacker.unconsumed_tail
            if unpacker.eof:
                chunk = unpacker.unused_data
                if chunk.strip(b"\0"):
                    members += 1
                    if members > _MAX_MEMBERS:
                        raise BodyError(f"The body is packed in more than {_MAX_MEMBERS} parts.", Fault.TOO_LARGE)
                    unpacker = zlib.decompressobj(window)
                else:
                    chunk = b""
    if not unpacker.eof:
        raise BodyError("The packed body is cut off.", Fault.MALFORMED)
    return bytes(found)


def _too_large(limits: Limits) -> BodyError:
    return BodyError(f"Unpacked, the body has more than {limits.unpacked_bytes} bytes.", Fault.TOO_LARGE)


def _decoded(body: bytes, charset: Optional[str]) -> str:
    """Return a body as text: by its mark, its character set, as UTF-8, and as latin-1 where nothing else fits."""
    marked = next((name for mark, name in _MARKS if body.startswith(mark)), None)
    if marked is None and charset in (None, "utf-8"):
        try:
            return body.decode()  # as nearly all of them come; looking for a mark once more takes much longer
        except UnicodeDecodeError:
            return body.decode("latin-1")
    for name in (marked, charset, "utf-8"):
        if name is not None:
            try:
                return body.decode("utf-8-sig" if name == "utf-8" else name)
            except UnicodeDecodeError:
                continue
    return body.decode("latin-1")


def _form(text: str) -> str:
    """Return the field of a form that holds the alert."""
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise BodyError("The form has more than 100 fields.", Fault.TOO_LARGE) from None
    found = next((fields[name] for name in _FIELDS if fields.get(name, "").strip()), None)
    if found is None:
        raise BodyError("The form has no field payload with the alert as JSON.", Fault.UNUSABLE)
    return found


def _items(text: str, limits: Limits) -> tuple[list[_Item], bool]:
    """Return what a text holds, arrays taken apart, and whether there was an array or more than one value."""
    try:
        bounded(text, limits.levels, limits.values)
    except TooDeep:
        raise BodyError(f"The JSON is nested deeper than {limits.levels} levels.", Fault.UNUSABLE) from None
    except TooMany:
        raise BodyError(f"The JSON holds more than {limits.values} values.", Fault.TOO_LARGE) from None
    found: list[_Item] = []
    good, values, array = 0, 0, False
    for line, value, problem in load_all(text):
        values, array = values + 1, array or isinstance(value, list)
        if isinstance(value, list) and len(found) + len(value) > limits.records:  # before anything is made of them
            raise _too_many(limits)
        parts = list(_parts(value, line)) if problem is None else [AlertError(f"Line {line} is no JSON: {problem}.")]
        good += problem is None
        found += parts
        if len(found) > limits.records:
            raise _too_many(limits)
    if not good:
        raise BodyError(f"The body is no JSON. {found[0] if found else ''}".strip(), Fault.MALFORMED)
    if found and not any(isinstance(item, Mapping) for item in found):
        raise BodyError(f"The body holds no JSON object. {found[0]}", Fault.UNUSABLE)
    return found, array or values > 1


def _parts(value: object, line: int) -> Iterator[_Item]:
    items = value if isinstance(value, list) else [value]
    for number, item in enumerate(items, 1):
        if isinstance(item, Mapping):
            yield item
        else:
            where = f"Item {number} of the array" if isinstance(value, list) else f"Line {line}"
            yield AlertError(f"{where} is no JSON object.")


def _opened(items: list[_Item], many: bool, limits: Limits) -> Body:
    """Return the alerts of all bundles among the items."""
    found: list[_Item] = []
    for item in items:
        if isinstance(item, AlertError):
            found.append(item)
        else:
            inside = records_of(item)
            many = many or len(inside) != 1 or (inside[0] is not item and carries_list(item))
            found += inside
        if len(found) > limits.records:
            raise _too_many(limits)
    return Body(found, many)


def _too_many(limits: Limits) -> BodyError:
    return BodyError(f"The body holds more than {limits.records} alerts. Send them in parts.", Fault.TOO_LARGE)
