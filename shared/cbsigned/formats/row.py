"""Flat key/value rows: search results, CSV lines, artifacts; under the EDR's names, Splunk's CIM and common ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import RecordKind, parse_binary
from cbsigned.formats.fields import NO_HASHES
from cbsigned.formats.values import first, first_time, hashes_of, text_of
from cbsigned.observables import Hashes, is_foreign, parse_guid, parse_pid, parse_process_id, split_path

__all__ = ["read"]

# One family is one file: hashes of two families are never put together.
_PROCESS_HASHES = ("process_md5", "process_sha256", "process_hash")
_PLAIN_HASHES = ("md5", "sha256", "hashes", "hash")
_FILE_HASHES = ("file_md5", "file_sha256", "file_hash", "filehash")
_PARENT_HASHES = ("parent_process_md5", "parent_process_hash", "parent_md5")
_GUIDS = ("process_guid", "processguid", "process_unique_id", "process_id")
_ALERT_GUIDS = ("unique_id", "guid")  # often the alert's own id, so only where no process field names one
_PIDS = ("new_process_id", "newprocessid", "process_pid", "pid", "process_id", "processid")
_NAMES = ("process_name", "process_exec", "newprocessname", "new_process_name", "image")
_PATHS = ("process_path", "newprocessname", "new_process_name", "image", "path")
_HOSTS = ("dest", "hostname", "host_name", "computer_name", "computer", "dvc", "endpoint", "host")
_CMDLINES = ("cmdline", "command_line", "commandline", "process_command_line", "process")
_STARTS = ("start", "start_time", "process_start_time", "started_at", "process_start")
_TIMES = ("_time", "time", "timestamp", "event_time", "created_time", "alert_time")
_AS_READ = frozenset().union(
    _PROCESS_HASHES, _PLAIN_HASHES, _FILE_HASHES, _PARENT_HASHES, _GUIDS, _ALERT_GUIDS, _PIDS, _NAMES, _PATHS, _HOSTS,
    _CMDLINES, _STARTS, _TIMES,
)  # fmt: skip


def read(record: Mapping[str, Any]) -> Optional[Alert]:
    """Return the alert; its sets are empty where no known field names anything to look up.

    References:
        - alert-formats §3.1 (CIM names; all values may be texts), §3.2, §3.11 (4688 has a field for the new process)
    """
    row = {key if key in _AS_READ else _flat(key): value for key, value in record.items() if isinstance(key, str)}
    acting, file = _acting(row), _file(row)
    sets: list[ObservableSet] = [acting, *file, *_parent(row, acting)]
    return Alert(
        format="row",
        id=first(row, "alert_id", "event_id", "unique_id"),
        title=first(row, "search_name", "title", "rule_name", "watchlist_name"),
        at=first_time(row, *_TIMES),
        link=first(row, "results_link", "alert_url", "link"),
        sets=tuple([s for s in sets if s.usable]),
    )


def _acting(row: Mapping[str, Any]) -> ObservableSet:
    hashes = _family(row, _PROCESS_HASHES) or _family(row, _PLAIN_HASHES) or NO_HASHES
    given = [row[name] for name in _GUIDS if name in row]
    named = bool(given) and any(row.get(name) for name in _GUIDS[:3])
    texts = given if named else [*given, *(row[name] for name in _ALERT_GUIDS if name in row)]
    guid, foreign = _ids(texts, given) if texts else (None, None)
    path, name = first(row, *_PATHS), first(row, *_NAMES)
    return ObservableSet(
        Role.PROCESS, md5=hashes.md5, sha1=hashes.sha1, sha256=hashes.sha256, process_guid=guid,
        foreign_id=foreign, name=split_path(name or path or "") or None, path=path,
        pid=next((pid for pid in (parse_pid(row[name]) for name in _PIDS if name in row) if pid is not None), None),
        host=first(row, *_HOSTS), user=first(row, "user", "username", "user_name"), cmdline=first(row, *_CMDLINES),
        started_at=first_time(row, *_STARTS), problems=hashes.problems,
        claimed=parse_binary(row, RecordKind.ALERT) if row.get("digsig_result") else None,
    )  # fmt: skip


def _ids(texts: Sequence[object], given: Sequence[object]) -> tuple[Optional[str], Optional[str]]:
    """Return Carbon Black's guid among these texts, else the id of another product.

    Args:
        given: Those that stand in fields for a process's id.
    """
    found = [text for text in map(parse_process_id, texts) if text]
    guid = next((text for text in found if not is_foreign(text)), None)
    if guid is not None:
        return guid, None
    strange = (*filter(is_foreign, found), *(v for v in given if isinstance(v, str) and "-" in v))
    return None, text_of(next(iter(strange), None))


def _file(row: Mapping[str, Any]) -> list[ObservableSet]:
    """Return the file that a row speaks of beside the process; its hash is never taken for the process's."""
    hashes = _family(row, _FILE_HASHES)
    if hashes is None:
        return []
    path = first(row, "file_path")
    name = first(row, "file_name") or (split_path(path) if path else None)
    return [
        ObservableSet(
            Role.TARGET_FILE, md5=hashes.md5, sha1=hashes.sha1, sha256=hashes.sha256, name=name, path=path,
            host=first(row, *_HOSTS), problems=hashes.problems,
        )
    ]  # fmt: skip


def _parent(row: Mapping[str, Any], acting: ObservableSet) -> list[ObservableSet]:
    hashes = _family(row, _PARENT_HASHES) or NO_HASHES
    guid = parse_guid(first(row, "parent_process_guid", "parent_guid", "parent_id"))
    if hashes.md5 is None and hashes.sha256 is None and (guid is None or acting.process_guid is not None):
        return []
    name = first(row, "parent_process_name", "parent_name", "parent_process")
    return [
        ObservableSet(
            Role.PARENT, md5=hashes.md5, sha256=hashes.sha256, process_guid=guid, host=acting.host,
            name=split_path(name) if name else None, problems=hashes.problems,
        )
    ]  # fmt: skip


def _family(row: Mapping[str, Any], names: Sequence[str]) -> Optional[Hashes]:
    """Return the hashes of one file, or None where no field of the family has anything."""
    given = [row[name] for name in names if name in row]
    found = hashes_of(*given) if given else NO_HASHES
    return found if found is not NO_HASHES and found != NO_HASHES else None


def _flat(key: str) -> str:
    return key.strip().lower().replace(".", "_").replace(" ", "_").replace("-", "_")
