"""Microsoft Defender XDR: Graph `alerts_v2`, its evidence of processes and files."""

from __future__ import annotations

from typing import Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.formats.claims import defender_claim
from cbsigned.formats.fields import Record, described, full_path, get, items_of, kept, object_of, text_at
from cbsigned.formats.values import first, first_time, hashes_of

__all__ = ["matches", "read"]


def matches(record: Record) -> bool:
    """Whether the record is typed as a security alert, or its evidence is typed."""
    kind = record.get("@odata.type")
    if isinstance(kind, str) and kind.endswith("security.alert"):
        return True
    evidence = record.get("evidence")
    return isinstance(evidence, list) and any("@odata.type" in item for item in items_of(evidence))


def read(record: Record) -> Optional[Alert]:
    """Return the alert.

    References:
        - alert-formats §3.4: `filePath` is the folder alone; publisher text is no evidence of a signature
    """
    evidence = items_of(record.get("evidence"))
    devices = [item for item in evidence if _kind(item) == "deviceEvidence"]
    found: list[ObservableSet] = []
    for item in evidence:
        host = _host(item, devices)
        if _kind(item) == "processEvidence":
            found += _process(item, host)
        elif _kind(item) == "fileEvidence":
            file = _file(Role.TARGET_FILE, object_of(item.get("fileDetails")), host)
            found += [file] if kept(file) else []
    return Alert(
        format="defender",
        kind=first(record, "category", "serviceSource"),
        id=first(record, "id"),
        title=first(record, "title"),
        at=first_time(record, "createdDateTime", "firstActivityDateTime"),
        link=first(record, "alertWebUrl"),
        sets=tuple(dict.fromkeys(found)),
    )


def _kind(item: Record) -> str:
    return str(item.get("@odata.type")).rpartition(".")[2]


def _host(item: Record, devices: list[Record]) -> Optional[str]:
    """Return the device of a piece of evidence; of several devices only the one that it names."""
    named = item.get("mdeDeviceId")
    own = [d for d in devices if named is not None and d.get("mdeDeviceId") == named]
    chosen = own or (devices if len(devices) == 1 else [])
    return text_at(chosen[0], "deviceDnsName", "hostName") if chosen else None


def _process(item: Record, host: Optional[str]) -> list[ObservableSet]:
    acting = _file(
        Role.PROCESS, object_of(item.get("imageFile")), host, pid=item.get("processId"),
        user=text_at(item, "userAccount.accountName"), cmdline=text_at(item, "processCommandLine"),
        started_at=first_time(item, "processCreationDateTime"),
    )  # fmt: skip
    parent = _file(
        Role.PARENT, object_of(item.get("parentProcessImageFile")), host, pid=item.get("parentProcessId"),
        started_at=first_time(item, "parentProcessCreationDateTime"),
    )  # fmt: skip
    return [*([acting] if acting.usable else []), *([parent] if kept(parent) else [])]


def _file(role: Role, file: Record, host: Optional[str], **fields: object) -> ObservableSet:
    hashes = hashes_of(get(file, "md5"), get(file, "sha1"), get(file, "sha256"))
    name = first(file, "fileName")
    path = full_path(first(file, "filePath"), name)
    return described(role, hashes, name=name, path=path, host=host, claimed=defender_claim(file), **fields)  # type: ignore[arg-type]
