"""Hayabusa: a rule's hit with the fields of its event under short names, as an object or as one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from cbsigned.alert import Alert
from cbsigned.formats.fields import Record
from cbsigned.formats.sysmon import event_number, sets_of
from cbsigned.formats.values import first, first_time

__all__ = ["matches", "read"]

_MAX_FIELDS = 200
_PARTS = ("AllFieldInfo", "ExtraFieldInfo", "Details")
_NAMES = {
    "proc": "Image", "srcproc": "SourceImage", "pid": "ProcessId", "srcpid": "SourceProcessId", "pguid": "ProcessGuid",
    "srcpguid": "SourceProcessGuid", "cmdline": "CommandLine", "user": "User", "srcuser": "SourceUser",
    "hashes": "Hashes", "hash": "Hash", "parentproc": "ParentImage", "parentcmdline": "ParentCommandLine",
    "parentpid": "ParentProcessId", "parentpguid": "ParentProcessGuid", "parentuser": "ParentUser",
    "path": "TargetFilename", "tgtfile": "TargetFilename", "sigstatus": "SignatureStatus",
}  # fmt: skip


def matches(record: Record) -> bool:
    """Whether the record has a rule's title, a computer and details."""
    return "RuleTitle" in record and "Computer" in record and "Details" in record


def read(record: Record) -> Optional[Alert]:
    """Return the alert.

    References:
        - alert-formats §3.11: short names differ between versions and profiles, so that full names count too
    """
    data: dict[str, Any] = {}
    for part in _PARTS:
        data.update(_named(record.get(part)))
    number = event_number(record.get("EventID"))
    if "ImageLoaded" not in data and number in (6, 7):
        data["ImageLoaded"] = data.get("TargetFilename")
    return Alert(
        format="hayabusa",
        kind=f"event {number}" if number is not None else None,
        id=first(record, "RuleID", "RecordID"),
        title=first(record, "RuleTitle"),
        at=first_time(record, "Timestamp"),
        sets=tuple(sets_of(number, data, first(record, "Computer"))),
    )


def _named(part: object) -> dict[str, Any]:
    """Return one part's fields under Windows' names; a text of `Name: value` pairs is taken apart."""
    if isinstance(part, str):
        pairs = [field.partition(": ") for field in part.split(" ¦ ")[:_MAX_FIELDS]]
        part = {name.strip(): value.strip() for name, colon, value in pairs if colon}
    fields = part if isinstance(part, Mapping) else {}
    named = {_NAMES.get(str(name).lower(), str(name)): value for name, value in fields.items()}
    if "Image" in fields and any(str(name).lower() == "proc" for name in fields):
        named["ImageLoaded"] = fields["Image"]  # beside `Proc` it is the image that was loaded
        named["Image"] = next(value for name, value in fields.items() if str(name).lower() == "proc")
    return named
