"""Sysmon's events → rows, under Sysmon's own names: `sysmon.imageload`, `sysmon.processcreate`.

A process keeps Sysmon's GUID as its id, so parents join by GUID and never by pid. Signatures come from image
loads, since Sysmon checks none when a process starts. Call traces and thread numbers are not kept.

References:
    - Sysmon v15, "Events"; Security-Datasets, EVTX-ATTACK-SAMPLES and attack_data: what occurs
    - alert-formats §8: how signature words read
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Callable, Optional

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.observables import Hashes, read_hashes, short_host
from cbsigned.status import SigningStatus
from cbsigned.store.events import milliseconds, packed_ip, small
from cbsigned.store.ids import made_id
from cbsigned.store.records import moment
from cbsigned.store.rows import Batch, BinaryFact, Described, Flag, MalformedRecord, ProcessFact, Rank
from cbsigned.store.windows import WindowsEvent

__all__ = ["NAMES", "take_sysmon"]

NAMES = {
    1: "processcreate", 2: "filecreatetime", 3: "networkconnect", 4: "servicestatechange", 5: "processterminate",
    6: "driverload", 7: "imageload", 8: "createremotethread", 9: "rawaccessread", 10: "processaccess",
    11: "filecreate", 12: "registryobject", 13: "registryvalueset", 14: "registryrename", 15: "filecreatestreamhash",
    16: "configchange", 17: "pipecreated", 18: "pipeconnected", 19: "wmifilter", 20: "wmiconsumer", 21: "wmibinding",
    22: "dnsquery", 23: "filedelete", 24: "clipboardchange", 25: "processtampering", 26: "filedeletedetected",
    27: "fileblockexecutable", 28: "fileblockshredding", 29: "fileexecutabledetected", 255: "error",
}  # fmt: skip
"""Sysmon's events by number, under the store's names."""

_STATUSES = {
    "valid": SigningStatus.SIGNED.value,
    "expired": SigningStatus.EXPIRED.value,
    "errorchaining": SigningStatus.INVALID_CHAIN.value,
}
"""Words beside `Signed` true that mean one of the EDR's statuses; any other stays as it is, and is Unknown."""

_REGISTRY = {"CreateKey": 1, "SetValue": 2, "DeleteKey": 4, "DeleteValue": 8, "RenameKey": 0, "RenameValue": 0}
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
_ABOUT = {
    "OriginalFileName": "original_file_name", "Company": "company", "Description": "description", "Product": "product",
    "FileVersion": "file_version", "IntegrityLevel": "integrity_level", "CurrentDirectory": "current_directory",
}  # fmt: skip


def take_sysmon(event: WindowsEvent, batch: Batch) -> bool:
    """Add the rows of one event to a batch; False where the store has no row for this kind of event.

    Args:
        event: What Sysmon logged.
        batch: Takes the rows.

    Raises:
        MalformedRecord: It lacks what its kind needs.
    """
    reader = _READERS.get(event.number)
    if reader is None:
        return False
    reader(event, batch, batch.under(f"sysmon.{NAMES[event.number]}"))
    return True


def _created(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    guid, parent, at = _own(event), event.guid("ParentProcessGuid"), event.at()
    hashes = _hashes(event)
    orphan = parent is None and "ParentProcessGuid" in event.data  # not where syslog cut the event off before it
    rows.starts.append(ProcessFact(
        guid, Rank.START, Described.START, parent, path=event.text("Image"), md5=hashes.md5, sha256=hashes.sha256,
        cmdline=event.text("CommandLine"), user=event.text("User"), origin=event.origin, os_type=event.os_type,
        reported=at if event.logged is None else event.logged, flags=Flag.PARENT_UNKNOWN if orphan else 0,
        extra=_extra({ours: event.text(theirs) for theirs, ours in _ABOUT.items()}), pid=event.pid(), started=at,
    ))  # fmt: skip
    if parent is not None:
        batch.facts.append(ProcessFact(
            parent, Rank.MENTION, path=event.text("ParentImage"), cmdline=event.text("ParentCommandLine"),
            user=event.text("ParentUser"), origin=event.origin, os_type=event.os_type,
            pid=event.number_of("ParentProcessId"),
        ))  # fmt: skip


def _ended(event: WindowsEvent, _batch: Batch, rows: Batch) -> None:
    rows.ends.append(ProcessFact(
        _own(event), Rank.END, Described.END, path=event.text("Image"), user=event.text("User"),
        origin=event.origin, os_type=event.os_type, ended=event.at(), flags=Flag.TERMINATED, pid=event.pid(),
    ))  # fmt: skip


def _loaded(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    _load(_subject(event, batch), event, batch, rows)


def _driver(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    """Take in a driver's load; no process is named, because the kernel loads it: pid 4, under an id made here."""
    guid = made_id(event.host, 4, 0)
    said = ("system", guid, event.host)
    if said not in batch.told:
        batch.told.add(said)
        batch.facts.append(ProcessFact(guid, Rank.MENTION, name="system", origin=event.origin, os_type=event.os_type))
    _load(guid, event, batch, rows)


def _load(guid: str, event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    path, at, hashes = _needed(event, "ImageLoaded"), event.at(), _hashes(event)
    if hashes.md5 and hashes.sha256:
        rows.hashes.append((hashes.md5, hashes.sha256))
    rows.loads.append((guid, event.origin, at, hashes.md5 or hashes.sha256, path, None))
    word = _word(event)
    if word is not None and (hashes.md5 or hashes.sha256):
        _sign(hashes, word, event.text("Signature"), at, batch)


def _word(event: WindowsEvent) -> Optional[str]:
    """Return the signature as one of the EDR's words, or Sysmon's own word where none of them fits."""
    signed = event.switch("Signed")
    if signed is None:
        return None
    status = event.text("SignatureStatus") or ""
    return _STATUSES.get(status.lower(), status or "no status") if signed else SigningStatus.UNSIGNED.value


def _sign(hashes: Hashes, word: str, publisher: Optional[str], at: int, batch: Batch) -> None:
    """Note what a load says of a signature; of the same word for the same file the latest is kept."""
    record = BinaryRecord(
        RecordKind.IMAGE_LOAD, hashes.md5, hashes.sha256, word, publisher=publisher, recorded_at=moment(at)
    )
    fact = BinaryFact(record, blake2b(repr((at, publisher)).encode("utf-8", "replace"), digest_size=16).digest())
    key = (hashes.md5 or hashes.sha256 or "", word)
    had = batch.signatures.get(key)
    if had is None or (milliseconds(had.record.recorded_at) or 0, had.digest) < (at, fact.digest):
        batch.signatures[key] = fact


def _connected(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    """Take in a connection. `Source` opened it, so it is the far end of one that this host did not open.

    Except where Sysmon names this very host as the source, which it does for answers to UDP.
    """
    initiated = event.switch("Initiated")
    near, far = ("Source", "Destination") if initiated is not False or _is_own(event) else ("Destination", "Source")
    rows.netconns.append((
        _subject(event, batch), None, event.origin, event.at(), 2 if initiated is None else int(initiated),
        _PROTOCOLS.get(str(event.text("Protocol")).lower(), 0), packed_ip(event.text(f"{far}Ip")),
        small(event.text(f"{far}Port")), packed_ip(event.text(f"{near}Ip")), small(event.text(f"{near}Port")),
        event.text(f"{far}Hostname"), None,
    ))  # fmt: skip


def _is_own(event: WindowsEvent) -> bool:
    names = [event.text("SourceHostname"), event.text("DestinationHostname"), event.host]
    source, destination, own = (short_host(name) if name else "" for name in names)
    return bool(source) and source == own != destination


def _asked(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    """Take in a DNS query, as a connection with a domain and no address: it may never have led to one."""
    extra = _extra({"dns_query": True, "status": event.text("QueryStatus"), "results": event.text("QueryResults")})
    rows.netconns.append((
        _subject(event, batch), None, event.origin, event.at(), 2, 0, b"", 0, b"", 0, _needed(event, "QueryName"), extra
    ))  # fmt: skip


def _threaded(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    words = {"start_module": event.text("StartModule"), "start_function": event.text("StartFunction")}
    _cross(event, batch, rows.threads, "remote_thread", _extra(words))


def _opened(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    _cross(event, batch, rows.opens, "open_process", None)


def _cross(event: WindowsEvent, batch: Batch, rows: list[Any], word: str, extra: Optional[str]) -> None:
    """Take in what one process did to another; the GUID's name is spelled in two ways."""
    own, other = (event.guid(f"{who}ProcessGuid") or event.guid(f"{who}ProcessGUID") for who in ("Source", "Target"))
    if own is None:
        raise MalformedRecord("SourceProcessGuid is not a GUID")
    path = event.text("TargetImage")
    for who, guid in (("Source", own), ("Target", other)):
        if guid is not None:
            _mention(guid, event, f"{who}Image", event.number_of(f"{who}ProcessId"), f"{who}User", batch)
    access = small(event.data.get("GrantedAccess"))
    rows.append((own, None, event.origin, event.at(), word, other, access, 0, None, path, extra))


def _file(action: int, note: Optional[str] = None) -> Callable[[WindowsEvent, Batch, Batch], None]:
    """Return a reader of a file's creation (1), deletion (4), or what has no number of Carbon Black's (0, `note`)."""

    def reader(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
        hashes = _hashes(event)
        if hashes.md5 and hashes.sha256:
            rows.hashes.append((hashes.md5, hashes.sha256))
        extra = _extra({"event": note})
        rows.filemods.append((
            _subject(event, batch), None, event.origin, event.at(), _needed(event, "TargetFilename"), action,
            hashes.md5 or hashes.sha256, 0, extra,
        ))  # fmt: skip

    return reader


def _registry(event: WindowsEvent, batch: Batch, rows: Batch) -> None:
    """Take in a change of the registry; the flat shape may hold the collector's own `EventType` instead."""
    kind = event.text("EventType")
    if kind not in _REGISTRY and event.message:
        kind = event.told("EventType", r"\w+")
    known = {13: "SetValue", 14: "RenameKey"}.get(event.number)
    word = kind if kind in _REGISTRY else known
    extra = _extra({
        "details": event.text("Details"), "new_name": event.text("NewName"),
        "event": word if event.number == 14 else None,
    })  # fmt: skip
    rows.regmods.append((
        _subject(event, batch), None, event.origin, event.at(), _needed(event, "TargetObject"),
        _REGISTRY.get(word or "", 0), extra,
    ))  # fmt: skip


_READERS: dict[int, Callable[[WindowsEvent, Batch, Batch], None]] = {
    1: _created, 3: _connected, 5: _ended, 6: _driver, 7: _loaded, 8: _threaded, 10: _opened, 11: _file(1),
    12: _registry, 13: _registry, 14: _registry, 15: _file(1), 22: _asked, 23: _file(4), 26: _file(4),
    27: _file(0, "creation blocked"), 28: _file(0, "shredding blocked"), 29: _file(1),
}  # fmt: skip


def _subject(event: WindowsEvent, batch: Batch) -> str:
    """Return the acting process, having said what the event tells of it."""
    guid = _own(event)
    _mention(guid, event, "Image", event.pid(), "User", batch)
    return guid


def _own(event: WindowsEvent) -> str:
    """Return the id of the event's process; one that Sysmon did not know, all zeros, gets an id of its own here."""
    guid = event.guid("ProcessGuid")
    if guid is not None:
        return guid
    pid, zeros = event.pid(), not str(event.data.get("ProcessGuid") or "x").strip("{}0-")
    if pid is None or not zeros:
        raise MalformedRecord("ProcessGuid is not a GUID")
    return made_id(event.host, pid, event.at())


def _mention(guid: str, event: WindowsEvent, image: str, pid: Optional[int], user: str, batch: Batch) -> None:
    said = (guid, event.data.get(image), pid, event.data.get(user), event.host)
    try:
        if said in batch.told:
            return
        batch.told.add(said)
    except TypeError:  # a field that should be a text is a list or an object
        pass
    batch.facts.append(ProcessFact(
        guid, Rank.MENTION, path=event.text(image), user=event.text(user), origin=event.origin, os_type=event.os_type,
        pid=pid,
    ))  # fmt: skip


def _needed(event: WindowsEvent, name: str) -> str:
    text = event.text(name)
    if text is None:
        raise MalformedRecord(f"no {name}")
    return text


def _hashes(event: WindowsEvent) -> Hashes:
    return read_hashes(event.text("Hashes") or event.text("Hash"))


def _extra(members: dict[str, Any]) -> Optional[str]:
    told = {name: value for name, value in members.items() if value is not None}
    return json.dumps(told, sort_keys=True, separators=(",", ":")) if told else None
