"""What a key says of its value: the words of names and paths, whose file or process they mean, and look-alikes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Optional

from cbsigned.alert import Role

__all__ = ["FACTS", "fact_of", "hash_rank", "is_guid_key", "is_look_alike", "joined", "role_of", "words_of"]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+")
_HASH_WORDS = {"md5", "sha1", "sha256", "hash", "hashes"}
_NEVER = (  # anywhere in a path: a value that looks like a file's hash, and is of something else
    "imphash", "pehash", "authentihash", "richhash", "vhash", "permhash", "telfhash", "ssdeep", "tlsh", "dhash",
    "thumbprint", "fingerprint", "serial", "cert", "certificate", "signature", "signing", "digsig", "signer", "issuer",
    "publisher", "ja3", "ja3s", "ja4", "hassh", "ntlm", "nthash", "lmhash", "password", "passwd", "secret",
    "favicon", "etag", "nonce",
)  # fmt: skip
_NEVER_WORDS = ("session", "trace", "span", "uuid", "event_id")
_RARELY = ("session", "trace", "span", "transaction", "uuid", "event", "request", "correlation", "token", "cookie",
           "etag", "key", "icon", "rule")  # fmt: skip
_NOT_LAST = ("id", "ids", "uid", "uuid", "guid", "key", "token", "ref", "version", "etag", "nonce", "secret")
_JOINED = {
    ("sha", "1"): "sha1", ("sha", "256"): "sha256", ("imp", "hash"): "imphash", ("pe", "hash"): "pehash",
    ("nt", "hash"): "nthash", ("lm", "hash"): "lmhash", ("rich", "hash"): "richhash", ("ss", "deep"): "ssdeep",
    ("thumb", "print"): "thumbprint", ("finger", "print"): "fingerprint", ("e", "tag"): "etag",
    ("event", "id"): "event_id",
}  # fmt: skip
_ROLES = (
    (Role.PARENT, {"parent", "grandparent", "ancestor", "ancestry", "creator"}),
    (Role.CHILD, {"child", "children", "childproc"}),
    (Role.MODULE, {"module", "modules", "dll", "driver", "loaded", "imageloaded", "modload"}),
)
_IMAGES = {"process", "proc", "image", "exe", "executable", "actor"}
_FILES = {"file", "files", "target", "attachment", "dropped"}

FACTS = {
    "pid": ("pid", "process_pid", "process_id", "processid", "new_process_id"),
    "host": (
        "dest", "hostname", "host_name", "computer_name", "computer", "device_name", "dvc", "endpoint", "host",
        "device_hostname", "device_dns_name", "destination_host_name",
    ),
    "user": ("user", "username", "user_name", "process_username", "account_name", "process_user"),
    "path": ("process_path", "file_path", "path", "image", "executable", "image_loaded", "process_executable",
             "target_filename"),
    "name": ("process_name", "file_name", "filename", "name", "proc"),
    "cmdline": ("cmdline", "command_line", "commandline", "cmd_line", "process_command_line", "process_cmdline"),
    "started_at": ("start", "start_time", "process_start_time", "created_time", "process_creation_date_time",
                   "creation_time_utc"),
}  # fmt: skip
"""Fields beside hashes and guids → the names that they go by, in snake case, whoever they are of."""
_BY_NAME = {name: (field, rank) for field, names in FACTS.items() for rank, name in enumerate(names)}


def words_of(key: str) -> tuple[str, ...]:
    """Return a key's words, lower case: `fileHashMd5` → file, hash, md5; `PGUID` → pguid."""
    return _words(key[:200])


@lru_cache(maxsize=8192)
def _words(key: str) -> tuple[str, ...]:
    return joined([word.lower() for word in _WORD.findall(key)])


def joined(words: Sequence[str]) -> tuple[str, ...]:
    """Return words with those put together that mean one thing, also across keys: pe, hash → pehash."""
    found: list[str] = []
    for word in words:
        whole = _JOINED.get((found[-1], word)) if found else None
        if whole is not None:
            found[-1] = whole
        else:
            found.append(word)
    return tuple(found)


def is_look_alike(words: Sequence[str], last: Sequence[str]) -> bool:
    """Whether a value of a hash's length under this path is no file's hash.

    Args:
        words: Of the whole path.
        last: Of its last key.
    """
    if any(word.startswith(_NEVER) for word in words) or any(word.startswith(_RARELY) for word in last):
        return True
    if any(word.rstrip("s") in _NEVER_WORDS for word in words):
        return True
    named = any(word in _HASH_WORDS for word in last)
    return not named and (any(word.startswith(_RARELY) for word in words) or last[-1:] in [(w,) for w in _NOT_LAST])


def hash_rank(words: Sequence[str], last: Sequence[str]) -> int:
    """Return how well a path names a hash: 0 for a key that does, 1 for one inside `hashes`, 2 for none."""
    if any(word in _HASH_WORDS for word in last):
        return 0
    return 1 if any(word in _HASH_WORDS for word in words) else 2


def is_guid_key(words: Sequence[str]) -> bool:
    """Whether a path names a process's id of any product."""
    whole = "_".join(words[-3:])
    return whole.endswith(("process_guid", "processguid", "pguid", "entity_id", "process_unique_id", "process_uid"))


def role_of(words: Sequence[str]) -> Optional[Role]:
    """Return whose a path is; None where it does not say."""
    for role, names in _ROLES:
        if any(word in names for word in words):
            return role
    if any(word in _IMAGES for word in words):
        return Role.PROCESS
    return Role.TARGET_FILE if any(word in _FILES for word in words) else None


def fact_of(last: Sequence[str]) -> Optional[tuple[str, int]]:
    """Return (field, rank) of a key that names a plain field, its parent or child prefix aside."""
    kept = [word for word in last if word not in ("parent", "child", "childproc")]
    return _BY_NAME.get("_".join(kept))
