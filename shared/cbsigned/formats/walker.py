"""The generic walker: finds hashes and process guids in any JSON, says where, and never mixes two files' hashes.

What a key is called ranks above what a value looks like; look-alikes (IMPHASH, thumbprints, trace ids, …) are
no file's hashes whatever they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Optional

from cbsigned.alert import Alert, Role
from cbsigned.formats.grouping import GUID, KINDS, Found, sets_of
from cbsigned.formats.jsontext import load
from cbsigned.formats.keys import fact_of, hash_rank, is_guid_key, is_look_alike, joined, role_of, words_of
from cbsigned.formats.values import first, first_time, text_of
from cbsigned.observables import Hashes, is_foreign, parse_pid, parse_process_id, read_hashes

__all__ = ["MAX_LEVELS", "MAX_NODES", "read"]

MAX_LEVELS = 12
"""How deep is looked."""
MAX_NODES = 20_000
"""How many values are looked at."""
_MAX_SETS = 100
_MAX_TEXT = 262_144
_MAX_PAIRS = 4096
_MAX_KEY = 100

_PLAIN = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", re.ASCII)
_NAMED = re.compile(r"\b(?:MD5|SHA-?1|SHA-?256)\s*[=:]\s*[0-9a-f]{32,64}\b", re.ASCII | re.IGNORECASE)
_TOLD_GUID = re.compile(
    r"\b(\w*(?:PGUID|ProcessGuid))\s*[=:]\s*(\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?)",
    re.ASCII | re.IGNORECASE,
)
_CLOUD_GUID = re.compile(r"[0-9A-Z]{6,12}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{6,16}", re.ASCII)
_INDEX = re.compile(r"\[\d+\]\Z", re.ASCII)
_FOLDED = ("hash", "hashes", "file", "image", "ext", "executable", "details")
_TELLING = (
    ("algorithm",), ("algo",), ("type",), ("kind",), ("name",), ("label",), ("hash", "type"), ("hash", "name"),
    ("hash", "algorithm"), ("data", "type"), ("ioc", "type"), ("value", "type"),
)  # fmt: skip


class _Leaf(NamedTuple):
    """One value: its keys, its path as written, the path of the object that has it, and the rest of that object."""

    keys: tuple[str, ...]
    path: str
    holder: str
    value: Any
    beside: Mapping[str, Any]


def read(record: Mapping[str, Any]) -> Optional[Alert]:
    """Return what can be looked up in any record, with the path of each observable in `origins`.

    References:
        - alert-formats §5
    """
    walk = _Walk()
    sets = sets_of([o for leaf in walk.leaves(record) for o in _observables(leaf)])
    problems = [walk.cut] if walk.cut else []
    if len(sets) > _MAX_SETS:
        problems.append(f"{len(sets) - _MAX_SETS} of {len(sets)} files and processes in this record were not read.")
    return Alert(
        format="generic",
        id=first(record, "id", "alert_id", "uuid", "event_id"),
        title=first(record, "title", "name", "rule_name", "message", "search_name"),
        at=first_time(record, "@timestamp", "timestamp", "time", "_time"),
        link=first(record, "url", "link", "alert_url"),
        sets=tuple(sets[:_MAX_SETS]),
        problems=tuple(problems),
    )


class _Walk:
    """One walk, in the order in which the record is written, within its limits."""

    def __init__(self) -> None:
        self.nodes = 0
        self.cut = ""

    def leaves(self, record: Mapping[str, Any]) -> Iterator[_Leaf]:
        """Yield all values that are no objects, those of JSON in texts too."""
        waiting: list[tuple[_Leaf, int]] = [(_Leaf((), "", "", record, {}), 0)]
        while waiting:
            leaf, level = waiting.pop()
            self.nodes += 1
            if self.nodes > MAX_NODES:
                self.cut = f"Only the first {MAX_NODES} values of this record were looked at."
                return
            value = _unpacked(leaf.value) if isinstance(leaf.value, str) else leaf.value
            if not isinstance(value, (Mapping, list)):
                yield leaf
            elif level >= MAX_LEVELS:
                self.cut = f"What lies deeper than {MAX_LEVELS} levels in this record was not looked at."
            else:
                room = max(0, MAX_NODES - self.nodes)
                waiting += [(inner, level + 1) for inner in reversed(_parts(leaf, value, room))]


def _parts(leaf: _Leaf, value: Any, most: int) -> list[_Leaf]:
    """Return what is inside an object or a list."""
    if isinstance(value, list):
        return [leaf._replace(path=f"{leaf.path}[{n}]", value=item) for n, item in enumerate(value[:most])]
    start = f"{leaf.path}." if leaf.path else ""
    return [
        _Leaf((*leaf.keys, str(name)), start + _short(str(name), number), leaf.path, item, value)
        for number, (name, item) in enumerate(islice(value.items(), most))
    ]


def _short(name: str, number: int) -> str:
    """Return a key for a path, which is written once for every value below it; a long one by its number too."""
    return name if len(name) <= _MAX_KEY else f"{name[:_MAX_KEY]}…{number}"


def _unpacked(text: str) -> Any:
    """Return the object or list of a text that is JSON, else the text."""
    if text[:1] in ("{", "[") and len(text) <= _MAX_TEXT:
        try:
            return load(text, values=MAX_NODES)
        except ValueError:
            return text
    return text


def _observables(leaf: _Leaf) -> Iterator[Found]:
    """Yield what one value gives: hashes, a guid, or one plain fact."""
    if leaf.value is None or isinstance(leaf.value, bool) or not leaf.keys:
        return
    last = words_of(leaf.keys[-1])
    words = joined([word for key in leaf.keys for word in words_of(key)])
    home, role = _home(leaf, last), role_of(words)
    text = leaf.value.strip() if isinstance(leaf.value, str) else ""
    for name, told in _TOLD_GUID.findall(text) if len(text) <= _MAX_PAIRS else ():
        whose = role_of(words_of(name)) or Role.PROCESS
        yield Found(home, whose, "", 0, GUID, parse_process_id(told) or told, leaf.path)
    hashes = _hashes(text, leaf, words, last)
    if hashes is not None:
        family = _family(leaf, last)
        for kind in KINDS:
            if getattr(hashes, kind):
                yield Found(home, role, family, hash_rank(words, last), kind, getattr(hashes, kind), leaf.path)
        return
    guid = _guid(text, words, last)
    if guid is not None:
        yield Found(home, role, "", 0 if is_guid_key(words) else 2, GUID, guid, leaf.path)
        return
    fact = fact_of(last) or ((("host", 50)) if last == ("name",) and "host" in words[-3:] else None)
    if fact is not None and (role is not None or "_".join(last) not in ("name", "path")):
        value = parse_pid(leaf.value) if fact[0] == "pid" else text_of(leaf.value)
        if value is not None:
            yield Found(home, role, "", fact[1], fact[0], value, leaf.path)


def _hashes(text: str, leaf: _Leaf, words: tuple[str, ...], last: tuple[str, ...]) -> Optional[Hashes]:
    """Return the hashes in a text, or None where it has none, or they are no file's."""
    if len(text) < 32 or len(text) > _MAX_PAIRS:
        return None
    plain = _PLAIN.fullmatch(text)
    if not plain and not _NAMED.search(text):
        return None
    if is_look_alike(words, last) or (not any(kind in last for kind in KINDS) and _told_otherwise(leaf)):
        return None
    found = read_hashes(text if plain else [match.group(0).replace("-", "") for match in _NAMED.finditer(text)])
    return found if found.md5 or found.sha1 or found.sha256 else None


def _told_otherwise(leaf: _Leaf) -> bool:
    """Whether the field beside a value says that it is a look-alike: `{"type": "imphash", "value": …}`."""
    told = [words_of(v[:40]) for n, v in leaf.beside.items() if isinstance(v, str) and words_of(str(n)) in _TELLING]
    return any(is_look_alike(words, words) for words in told)


def _guid(text: str, words: tuple[str, ...], last: tuple[str, ...]) -> Optional[str]:
    """Return a process id: Carbon Black's wherever it stands, another product's where the key says what it is."""
    if not 8 <= len(text) <= 256:
        return None
    found = parse_process_id(text)
    if found is not None and not is_foreign(found):
        return None if any(word in ("uuid", "trace", "session", "event") for word in last) else found
    if is_guid_key(words) and text.strip("{}0-"):
        return found or text
    return text if _CLOUD_GUID.fullmatch(text) else None


def _home(leaf: _Leaf, last: tuple[str, ...]) -> str:
    """Return the path of the object that a value describes: an image file's hash describes its process."""
    path = leaf.holder
    while path:
        tail = path.rpartition(".")[2]
        words, index = words_of(tail.partition("[")[0]), "[" in tail
        if not words or not any(word in _FOLDED for word in words):
            break
        if index and not (words[-1] in ("hash", "hashes") and not any(kind in last for kind in KINDS)):
            break  # items of a list are files of their own, but for `hashes[].value`
        if not all(word in _FOLDED or word in ("process", "parent") for word in words):
            break
        path = path.rpartition(".")[0]
    return path


def _family(leaf: _Leaf, last: tuple[str, ...]) -> str:
    """Return the words before a hash's name, and its place in a list: others are another file's."""
    index = _INDEX.search(leaf.path)
    words = "_".join(w for w in last if w not in (*KINDS, "hash", "hashes", "value"))
    return words + (index.group() if index else "")
