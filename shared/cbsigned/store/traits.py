"""What kept messages say of processes and binaries beside the columns: the facts that only searches ask for.

The same message gives the same facts at any time, so that an older store can be brought up to date from what it kept.

References:
    - cb-edr-api §2.3, §5.2, §10.3 (documents and hits), §4.4 (what can be searched)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional, Union

from cbsigned.observables import parse_guid, parse_md5, parse_sha256
from cbsigned.store.events import milliseconds, text_of
from cbsigned.store.kinds import BINARY_DOCUMENT, PROCESS_DOCUMENT
from cbsigned.timing import parse_time

__all__ = ["Trait", "traits_of"]

_PROCESS_TEXTS = ("group", "host_type")
_BINARY_TEXTS = (
    "company_name", "product_name", "product_desc", "product_version", "file_desc", "file_version", "internal_name",
    "original_filename", "legal_copyright", "legal_trademark", "private_build", "special_build", "comments", "os_type",
)  # fmt: skip
_EVENT_TEXTS = {
    "utf8_file_description": "file_desc", "utf8_original_file_name": "original_filename",
    "utf8_product_description": "product_desc",
}  # fmt: skip
_BOOLS = ("is_64bit", "is_executable_image")
_LENGTHS = {"orig_mod_len": "orig_mod_len", "copied_mod_len": "copied_mod_len"}
_EVENT_LENGTHS = {"size": "orig_mod_len", "copied_module_length": "copied_mod_len"}
_COUNTS = tuple(f"{kind}_count" for kind in ("childproc", "crossproc", "filemod", "modload", "netconn", "regmod"))
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_WATCHLIST = re.compile(r"watchlist_\d{1,10}", re.ASCII)
_SCORE = re.compile(r"alliance_score_[a-z0-9_]{1,64}", re.ASCII)
_WATCHLIST_ID = re.compile(r"\d{1,10}", re.ASCII)


class Trait(NamedTuple):
    """One fact: a text or a number under the name it is searched by.

    Attributes:
        owner: Process guid of 36 characters, or MD5 or SHA-256 in hex.
        process: Whether it is of a process.
    """

    owner: str
    process: bool
    name: str
    value: Union[str, int]


def traits_of(kind: str, record: Mapping[str, Any], at: Optional[int]) -> Iterator[Trait]:
    """Yield the searchable facts of one kept message.

    Args:
        kind: The message's.
        record: It, whole.
        at: When it was made, in milliseconds.
    """
    if kind == "ingress.event.module":
        yield from _of_binary(record, _binary_event(record))
    elif kind == BINARY_DOCUMENT:
        yield from _of_binary(record, _binary_document(record))
    elif kind == PROCESS_DOCUMENT:
        yield from _of_process(record, _process_document(record))
    elif kind.endswith((".hit.process", ".hit.query.process")):
        for document in _documents(record):
            yield from _of_process({**_ids(record), **document}, _process_document(document))
            yield from _of_process({**_ids(record), **document}, _hit(record, at))
    elif kind.endswith((".hit.binary", ".hit.query.binary")):
        for document in _documents(record):
            own = {"md5": record.get("md5"), **document}
            yield from _of_binary(own, _binary_document(document))
            yield from _of_binary(own, _hit(record, at))
    elif kind.startswith("binaryinfo."):
        yield from _of_binary(record, _binary_message(record))


def _of_process(record: Mapping[str, Any], facts: Iterator[tuple[str, Union[str, int]]]) -> Iterator[Trait]:
    names = ("id", "process_guid", "process_id", "unique_id", "process_unique_id")
    guid = next((found for found in map(parse_guid, map(record.get, names)) if found), None)
    if guid is not None:
        yield from (Trait(guid, True, name, value) for name, value in facts)


def _of_binary(record: Mapping[str, Any], facts: Iterator[tuple[str, Union[str, int]]]) -> Iterator[Trait]:
    owner = parse_md5(record.get("md5")) or parse_sha256(record.get("sha256"))
    if owner is not None:
        yield from (Trait(owner, False, name, value) for name, value in facts)


def _process_document(document: Mapping[str, Any]) -> Iterator[tuple[str, Union[str, int]]]:
    yield from _texts(document, _PROCESS_TEXTS)
    for name in _COUNTS:
        if name in document:
            yield from _number(name, document[name])
    yield from _time("last_update", document.get("last_update"))
    yield from _marks(document)


def _binary_document(document: Mapping[str, Any]) -> Iterator[tuple[str, Union[str, int]]]:
    yield from _texts(document, (*_BINARY_TEXTS, "group"))
    for name in _BOOLS:
        value = {"true": 1, "false": 0}.get(str(document.get(name)).lower())
        if value is not None:
            yield name, value
    for name, ours in _LENGTHS.items():
        yield from _number(ours, document.get(name))
    yield from _time("server_added_timestamp", document.get("server_added_timestamp"))
    yield from _marks(document)


def _binary_event(record: Mapping[str, Any]) -> Iterator[tuple[str, Union[str, int]]]:
    """Yield what the sensor's own message says; its version resource has names of its own."""
    for name, value in record.items():
        if name.startswith("utf8_"):
            ours = _EVENT_TEXTS.get(name, name[5:])
            if ours in _BINARY_TEXTS:
                yield from _texts({ours: value}, (ours,))
    for name, ours in _EVENT_LENGTHS.items():
        yield from _number(ours, record.get(name))


def _binary_message(record: Mapping[str, Any]) -> Iterator[tuple[str, Union[str, int]]]:
    yield from _texts(record, ("group",))
    for member in ("watchlists", "scores"):
        listed = record.get(member)
        if isinstance(listed, Mapping):
            yield from _marks(listed)


def _marks(document: Mapping[str, Any]) -> Iterator[tuple[str, Union[str, int]]]:
    """Yield when watchlists hit it, and its scores in feeds."""
    for name, value in document.items():
        if name.startswith("watchlist_"):
            if _WATCHLIST.fullmatch(name):
                yield from _time(name, value)
        elif name.startswith("alliance_score_") and _SCORE.fullmatch(name):
            yield from _number(name, value)
    listed = document.get("watchlists")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, Mapping) and _WATCHLIST_ID.fullmatch(str(entry.get("wid"))):
            yield from _time(f"watchlist_{entry['wid']}", entry.get("value"))


def _hit(record: Mapping[str, Any], at: Optional[int]) -> Iterator[tuple[str, Union[str, int]]]:
    number = str(record.get("watchlist_id"))
    if at is not None and _WATCHLIST_ID.fullmatch(number):
        yield f"watchlist_{number}", at


def _documents(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = record.get("docs", record)
    return [item for item in (listed if isinstance(listed, list) else [listed]) if isinstance(item, Mapping)]


def _ids(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("process_guid", "process_id") if name in record}


def _texts(document: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        value = document.get(name)
        for item in value if isinstance(value, list) else (value,):
            text = text_of(item)
            if text is not None:
                yield name, text


def _number(name: str, value: object) -> Iterator[tuple[str, int]]:
    if type(value) is int:
        if abs(value) < 10**18:
            yield name, value
    elif type(value) is str and _NUMBER.fullmatch(value):
        yield name, int(value)


def _time(name: str, value: object) -> Iterator[tuple[str, int]]:
    at = milliseconds(parse_time(value))
    if at is not None:
        yield name, at
