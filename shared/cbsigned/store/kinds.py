"""Says what kind a record is: by its `type`, by the folder it was in, or by its structure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

__all__ = ["BINARY_DOCUMENT", "BUNDLE", "DETAIL", "EVENTS", "PROCESS_DOCUMENT", "SEARCH", "kind_of", "normal_kind"]

PROCESS_DOCUMENT = "process document"
BINARY_DOCUMENT = "binary document"
SEARCH = "search answer"
DETAIL = "process detail"
EVENTS = "process events"
BUNDLE = "bundle"

_FEED_ID = re.compile(r"feed\.\d+\.")
_KIND = re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9_]+)+", re.ASCII)
_EVENT_TYPES = {
    "modload": "ingress.event.moduleload",
    "filemod": "ingress.event.filemod",
    "regmod": "ingress.event.regmod",
    "netconn": "ingress.event.netconn",
    "childproc": "ingress.event.childproc",
    "binary_info": "ingress.event.module",
    "emet_mitigation": "ingress.event.emetmitigation",
    "blocked_process": "ingress.event.processblock",
    "tamper": "ingress.event.tamper",
    "filelessscriptload": "ingress.event.filelessscriptload",
}
_BINARY_SIGNS = {
    "digsig_result", "signed", "orig_mod_len", "copied_mod_len", "is_executable_image", "observed_filename",
    "server_added_timestamp", "original_filename",
}  # fmt: skip
_PROCESS_SIGNS = {
    "process_name", "process_md5", "process_pid", "cmdline", "parent_unique_id", "parent_id", "unique_id",
}  # fmt: skip


def normal_kind(text: object) -> Optional[str]:
    """Return a kind as we name it (`feed.24.ingress.hit.process` → `feed.ingress.hit.process`), or None for no kind."""
    if not isinstance(text, str) or len(text) > 80:
        return None
    kind = text.strip().lower()
    if not _KIND.fullmatch(kind):
        return None
    kind = _FEED_ID.sub("feed.", kind, count=1)
    return "ingress.event.procstart" if kind == "ingress.event.process" else kind


def kind_of(record: Mapping[str, Any], hint: Optional[str] = None) -> Optional[str]:
    """Return what kind a record is, or None where nothing tells.

    Args:
        record: One JSON object.
        hint: Kind that its folder names, for bus messages without a `type`; its own `type` goes first.

    References:
        - cb-edr-api §10.3; cb-event-forwarder, test/raw_data: the folder is the routing key
    """
    named = record.get("type")
    if isinstance(named, str) and "." in named:
        return normal_kind(named) or named[:80]
    return _document_kind(record) or hint or _event_kind(record) or _message_kind(record)


def _document_kind(record: Mapping[str, Any]) -> Optional[str]:
    """Recognise what the REST API answers, whatever the folder is called."""
    if isinstance(record.get("results"), list):
        return SEARCH
    process = record.get("process")
    if isinstance(process, Mapping):
        listed = any(name.endswith("_complete") for name in process)
        return EVENTS if listed and "children" not in record else DETAIL
    if isinstance(record.get("alerts"), list) or isinstance(record.get("event"), Mapping):
        return BUNDLE
    bus = "watchlist_name" in record or "alert_type" in record or "ioc_type" in record or "docs" in record
    if bus or "type" in record or "event_type" in record:
        return None
    if ("id" in record or "unique_id" in record) and len(_PROCESS_SIGNS & record.keys()) >= 2:
        return EVENTS if any(name.endswith("_complete") for name in record) else PROCESS_DOCUMENT
    return BINARY_DOCUMENT if "md5" in record and len(_BINARY_SIGNS & record.keys()) >= 2 else None


def _event_kind(record: Mapping[str, Any]) -> Optional[str]:
    """Recognise a normalised sensor event that lost its `type`."""
    word = record.get("event_type")
    if not isinstance(word, str):
        return None
    if word == "proc":
        return "ingress.event.procstart" if "username" in record else "ingress.event.procend"
    if word == "cross_process":
        remote = record.get("cross_process_type") == "remote_thread"
        return "ingress.event.remotethread" if remote else "ingress.event.crossprocopen"
    return _EVENT_TYPES.get(word)


def _message_kind(record: Mapping[str, Any]) -> Optional[str]:
    """Recognise a server message without `type` by its members."""
    alert = record.get("alert_type")
    if isinstance(alert, str):
        return normal_kind(alert if alert.startswith("alert.") else f"alert.{alert}")
    process = "process_id" in record or "process_guid" in record
    if "ioc_type" in record and "feed_id" in record:
        where = "process" if process else "binary" if "md5" in record else "host"
        how = "ingress" if "docs" not in record else "query" if record["ioc_type"] == "query" else "storage"
        return f"feed.{how}.hit.{where}"
    if "watchlist_id" in record and "docs" in record:
        stored = process or "md5" in record
        return f"watchlist.{'storage.' if stored else ''}hit.{'process' if _has_process(record) else 'binary'}"
    if "md5" in record and "scores" in record:
        where = "host." if "hostname" in record else "group." if "group" in record else ""
        return f"binaryinfo.{where}observed"
    if "md5" in record and "compressed_size" in record:
        return "binarystore.file.added"
    if "feed_id" in record and "full_sync" in record:
        return "cmd.feed.synchronize"
    return "feed.synchronized" if "feed_id" in record and "feed_update_time" in record else None


def _has_process(record: Mapping[str, Any]) -> bool:
    docs = record["docs"]
    first = docs[0] if isinstance(docs, list) and docs else docs
    return isinstance(first, Mapping) and bool(_PROCESS_SIGNS & first.keys())
