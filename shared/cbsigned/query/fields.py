"""Which fields can be searched, of what type they are, and how binary fields join a process search.

References:
    - cb-edr-api §4.4 (table), §4.7 (joins)
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Optional

__all__ = ["FIELDS", "Field", "FieldRef", "Join", "Search", "Type", "default_fields", "field_named", "near_miss"]


class Search(str, Enum):
    """What is searched."""

    PROCESS = "process"
    BINARY = "binary"


class Type(str, Enum):
    """How a field's values are matched (cb-edr-api §4.2)."""

    KEYWORD = "keyword"
    MD5 = "md5"
    SHA256 = "sha256"
    TEXT = "text"
    PATH = "path"
    REGISTRY = "registry path"
    CMDLINE = "command line"
    DOMAIN = "domain"
    IPV4 = "IPv4 address"
    IPV6 = "IPv6 address"
    INTEGER = "integer"
    COUNT = "count"
    DATETIME = "time"
    BOOL = "true or false"
    SIGN = "signing result"
    GUID = "process id"


class Join(str, Enum):
    """Which file's binary document a binary field in a process search is read from; the value is the suffix."""

    NONE = ""
    """No join: a field of the searched document itself."""
    IMAGE = "_process"
    """The process's image; also without any suffix."""
    PARENT = "_parent"
    CHILD = "_child"
    MODLOAD = "_modload"
    FILEWRITE = "_filewrite"


@dataclass(frozen=True)
class Field:
    """One row of the table.

    Attributes:
        process, binary: Whether it can be searched there.
        process_default, binary_default: Whether a term without a field looks there.
        joinable: A field of the binary document that a process search joins.
        since: First server version that has it.
    """

    name: str
    type: Type
    process: bool = True
    binary: bool = False
    process_default: bool = False
    binary_default: bool = False
    joinable: bool = False
    since: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class FieldRef:
    """A field as a query names it.

    Attributes:
        name: As it is written in full, suffix included.
    """

    field: Field
    join: Join = Join.NONE

    @property
    def name(self) -> str:
        """The field's name with its suffix; the image needs none."""
        return self.field.name + ("" if self.join is Join.IMAGE else self.join.value)


def _process(type_: Type, names: str, *, default: bool = False, since: tuple[int, int] = (0, 0)) -> list[Field]:
    return [Field(name, type_, process_default=default, since=since) for name in names.split()]


def _both(type_: Type, names: str, *, default: bool = False, since: tuple[int, int] = (0, 0)) -> list[Field]:
    return [
        Field(name, type_, binary=True, process_default=default, binary_default=default, since=since)
        for name in names.split()
    ]


def _joined(type_: Type, names: str, *, default: bool = False) -> list[Field]:
    return [Field(name, type_, binary=True, binary_default=default, joinable=True) for name in names.split()]


_TABLE = (
    *_process(Type.GUID, "process_id parent_id"),
    *_process(Type.KEYWORD, "process_name parent_name childproc_name", default=True),
    *_process(Type.PATH, "path", default=True),
    *_process(Type.CMDLINE, "cmdline", default=True),
    *_process(Type.MD5, "process_md5 parent_md5 childproc_md5 filewrite_md5 blocked_md5", default=True),
    *_process(
        Type.SHA256, "process_sha256 parent_sha256 childproc_sha256 filewrite_sha256", default=True, since=(6, 3)
    ),
    *_process(Type.KEYWORD, "crossproc_name"),
    *_process(Type.MD5, "crossproc_md5"),
    *_process(Type.SHA256, "crossproc_sha256", since=(6, 3)),
    *_process(Type.KEYWORD, "crossproc_type", default=True),
    *_both(Type.MD5, "md5", default=True),
    *_both(Type.SHA256, "sha256", default=True, since=(6, 3)),
    *_process(Type.PATH, "filemod modload", default=True),
    *_process(Type.REGISTRY, "regmod", default=True),
    *_process(Type.DOMAIN, "domain", default=True),
    *_process(Type.IPV4, "ipaddr"),
    *_process(Type.IPV6, "ipv6addr"),
    *_process(Type.INTEGER, "ipport"),
    *_process(Type.KEYWORD, "ja3 ja3s", since=(7, 0)),
    *_process(Type.KEYWORD, "username host_type", default=True),
    *_both(Type.KEYWORD, "hostname group", default=True),
    *_process(Type.INTEGER, "sensor_id"),
    *_process(Type.COUNT, "childproc_count crossproc_count filemod_count modload_count netconn_count regmod_count"),
    *_process(Type.DATETIME, "start last_update last_server_update"),
    *_process(Type.KEYWORD, "blocked_status"),
    *_process(Type.BOOL, "has_emet_config has_emet_event tampered"),
    *_both(Type.KEYWORD, "os_type"),
    Field("host_count", Type.INTEGER, process=False, binary=True),
    *_joined(Type.SIGN, "digsig_result", default=True),
    *_joined(Type.TEXT, "digsig_publisher digsig_issuer digsig_subject digsig_prog_name", default=True),
    *_joined(Type.DATETIME, "digsig_sign_time"),
    *_joined(
        Type.TEXT,
        "company_name product_name product_desc product_version file_desc file_version internal_name"
        " original_filename legal_copyright legal_trademark private_build special_build",
        default=True,
    ),
    Field("comments", Type.TEXT, process=False, binary=True, binary_default=True),
    *_joined(Type.PATH, "observed_filename", default=True),
    *_joined(Type.BOOL, "is_64bit is_executable_image"),
    *_joined(Type.COUNT, "orig_mod_len copied_mod_len"),
    Field("server_added_timestamp", Type.DATETIME, process=False, binary=True),
)

FIELDS = {field.name: field for field in _TABLE}
"""Every field with a fixed name."""

_FAMILIES = (
    (re.compile(r"watchlist_\d{1,10}", re.ASCII), Type.DATETIME),
    (re.compile(r"alliance_score_[a-z0-9_]{1,64}", re.ASCII), Type.INTEGER),
)
_SUFFIXES = {join.value: join for join in Join if join is not Join.NONE}


def field_named(name: str, search: Search) -> Optional[FieldRef]:
    """Return the field a query names, or None where no search has it.

    The caller checks `process`, `binary` and `since`: a field that exists and cannot be used here is another error.

    Args:
        name: Lower case.
        search: Where it is to be searched; suffixes exist in process search only.
    """
    field = FIELDS.get(name) or _of_family(name)
    if field is not None:
        return FieldRef(field, Join.IMAGE if field.joinable and search is Search.PROCESS else Join.NONE)
    base, _, suffix = name.rpartition("_")
    joined, join = FIELDS.get(base), _SUFFIXES.get(f"_{suffix}")
    if joined is None or join is None or not joined.joinable or search is Search.BINARY:
        return None
    return FieldRef(joined, join)


def default_fields(search: Search) -> tuple[FieldRef, ...]:
    """Return where a term without a field looks, in the table's order."""
    chosen = (f for f in _TABLE if (f.process_default if search is Search.PROCESS else f.binary_default))
    return tuple(FieldRef(field) for field in chosen)


def near_miss(name: str, search: Search) -> Optional[str]:
    """Return the field that a misspelt name is nearest to, or None."""
    names = [f.name for f in _TABLE if (f.process if search is Search.PROCESS else f.binary)]
    if search is Search.PROCESS:
        names += [f.name + suffix for f in _TABLE if f.joinable for suffix in _SUFFIXES]
    close = difflib.get_close_matches(name[:64], names, n=1, cutoff=0.7)
    return close[0] if close else None


def _of_family(name: str) -> Optional[Field]:
    for pattern, type_ in _FAMILIES:
        if pattern.fullmatch(name):
            return Field(name, type_, binary=True)
    return None
