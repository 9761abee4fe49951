"""The invented network of the samples: hosts, processes, binaries, and the messages a real server would send of them.

Nothing here was recorded anywhere. Shapes and layouts follow the reference: guids hold sensor, pid and FILETIME, MD5s
are upper case in events and binary documents and lower case in process documents, times lose trailing zeros.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Optional, Union

DAY = datetime(2017, 6, 14, tzinfo=timezone.utc)
SERVER = "cbserver"
VERSION = "6.1.2.170518.1420"
ZERO_PARENT = "0" * 30
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=timezone.utc)


def moment(text: str) -> datetime:
    """Return `09:14:05.250` on the day of the samples."""
    hour, minute, second = text.split(":")
    return DAY + timedelta(hours=int(hour), minutes=int(minute), milliseconds=round(float(second) * 1000))


def iso(at: datetime) -> str:
    """Return a time as documents write it: trailing zeros of the fraction cut."""
    millis = at.microsecond // 1000
    fraction = f".{millis:03d}".rstrip("0") if millis else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def epoch(at: datetime) -> int:
    """Return the whole seconds that sensor events carry."""
    return int(at.timestamp())


def md5_of(label: str) -> str:
    """Return the invented MD5 of a file; the same label is the same file everywhere."""
    return hashlib.md5(f"cbsigned sample: {label}".encode()).hexdigest()  # noqa: S324 - a name, not a proof


def guid_of(sensor: int, pid: int, at: datetime) -> str:
    """Return sensor, pid and start as a process guid."""
    ticks = ((at - _FILETIME_EPOCH) // timedelta(microseconds=1)) * 10 + pid % 10_000
    text = f"{sensor:08x}{pid:08x}{ticks:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(frozen=True)
class Host:
    """One endpoint with its sensor."""

    name: str
    sensor: int
    os: str
    kind: str
    user: str
    address: str

    @property
    def unknown_parent(self) -> str:
        return f"{self.sensor:08x}-ffff-ffff-0000-000000000000"


@dataclass(frozen=True)
class Program:
    """One process of the story."""

    host: Host
    pid: int
    path: str
    start: datetime
    user: str
    cmdline: str
    md5: str
    guid: str
    parent_guid: Optional[str]
    parent_name: Optional[str]
    parent_pid: Optional[int]
    end: Optional[datetime] = None

    @property
    def name(self) -> str:
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]

    @property
    def segment(self) -> int:
        return epoch(self.start) * 1000 + self.start.microsecond // 1000 + 2000

    @property
    def unique_id(self) -> str:
        return f"{self.guid}-{self.segment:012x}"

    @property
    def link(self) -> str:
        return f"https://{SERVER}/#analyze/{self.guid}/{self.segment}"


@dataclass
class World:
    """Everything that happened, and the messages of it."""

    events: list[dict[str, Any]] = field(default_factory=list)
    programs: dict[str, Program] = field(default_factory=dict)
    files: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # md5 → paths and hosts

    def run(
        self, key: str, host: Host, pid: int, path: str, parent: Union[str, Program, None], at: str,
        cmdline: str = "", *, user: Optional[str] = None, label: Optional[str] = None, md5: Optional[str] = None,
        end: Optional[str] = None, recorded: bool = True,
    ) -> Program:  # fmt: skip
        """Start a process; unless `recorded` is False, its start, child and load events are written.

        Args:
            parent: A process, its key, a guid that no event describes, or None.
            label: Names the file where the path's last part does not.
        """
        above = self.programs.get(parent, parent) if isinstance(parent, str) else parent
        start, name = moment(at), path.replace("\\", "/").rsplit("/", 1)[-1]
        known = isinstance(above, Program)
        program = Program(
            host, pid, path, start, user or host.user, cmdline or path, md5 or md5_of(label or name),
            guid_of(host.sensor, pid, start), above.guid if isinstance(above, Program) else above,
            above.name if isinstance(above, Program) else None, above.pid if isinstance(above, Program) else None,
            moment(end) if end else None,
        )  # fmt: skip
        self.programs[key] = program
        self.saw(program.md5, path, host)
        if recorded:
            self._start(program)
            if known:
                self._child(above, program, created=True)  # type: ignore[arg-type]
            self.load(program, path, program.md5, at)
            if program.end is not None:
                self._end(program, above if isinstance(above, Program) else None)
        return program

    def event(self, program: Program, kind: str, at: datetime, **more: Any) -> None:
        """Write one sensor event of a process."""
        self.events.append({
            "type": f"ingress.event.{kind}", "timestamp": epoch(at), "cb_server": SERVER,
            "computer_name": program.host.name, "sensor_id": program.host.sensor, "process_guid": program.guid,
            "pid": program.pid, "md5": program.md5.upper(), "link_process": program.link, **more,
        })  # fmt: skip

    def load(self, program: Program, path: str, md5: str, at: str) -> None:
        """Write the load of an image or module."""
        self.event(program, "moduleload", moment(at), event_type="modload", path=path, md5=md5.upper())
        self.saw(md5, path, program.host)

    def file(self, program: Program, action: str, path: str, at: str, **more: Any) -> None:
        """Write the change of a file: create, write, delete or lastwrite."""
        number = {"create": 1, "write": 2, "delete": 4, "lastwrite": 8}[action]
        self.event(
            program, "filemod", moment(at), event_type="filemod", path=path, action=action, actiontype=number, **more
        )

    def registry(self, program: Program, action: str, path: str, at: str) -> None:
        """Write the change of a registry key or value."""
        number = {"createkey": 1, "writeval": 2, "delkey": 4, "delval": 8}[action]
        self.event(program, "regmod", moment(at), event_type="regmod", path=path, action=action, actiontype=number)

    def connect(self, program: Program, domain: str, address: str, port: int, at: str) -> None:
        """Write an outbound TCP connection."""
        self.event(
            program, "netconn", moment(at), event_type="netconn", direction="outbound", domain=domain, protocol=6,
            remote_ip=address, remote_port=port, local_ip=program.host.address, local_port=49152 + program.pid % 9999,
            ipv4=address, port=port,
        )  # fmt: skip

    def module(self, host: Host, md5: str, size: int, at: str, digsig: dict[str, str]) -> None:
        """Write what a sensor found out of a binary when it first met it."""
        self.events.append({
            "type": "ingress.event.module", "timestamp": epoch(moment(at)), "cb_server": SERVER,
            "computer_name": host.name, "sensor_id": host.sensor, "md5": md5.upper(), "size": size,
            "event_type": "binary_info", "digsig": digsig,
        })  # fmt: skip

    def saw(self, md5: str, path: str, host: Host) -> None:
        """Note where a file was seen, for its binary document."""
        seen = self.files.setdefault(md5, {"paths": [], "hosts": []})
        for kind, value in (("paths", path.lower()), ("hosts", f"{host.name.upper()}|{host.sensor}")):
            if value not in seen[kind]:
                seen[kind].append(value)

    def _start(self, program: Program) -> None:
        parent = program.parent_guid or ""
        self.event(
            program, "procstart", program.start, event_type="proc", path=program.path, command_line=program.cmdline,
            username=program.user, parent_process_guid=parent,
            link_parent=f"https://{SERVER}/#analyze/{parent}/0" if parent else "",
        )  # fmt: skip

    def _end(self, program: Program, parent: Optional[Program]) -> None:
        assert program.end is not None
        self.event(
            program, "procend", program.end, event_type="proc", path=program.path, command_line="",
            parent_process_guid=program.parent_guid or "",
            link_parent=f"https://{SERVER}/#analyze/{program.parent_guid}/0" if program.parent_guid else "",
        )  # fmt: skip
        if parent is not None:
            self._child(parent, program, created=False)

    def _child(self, parent: Program, child: Program, *, created: bool) -> None:
        at = child.start if created or child.end is None else child.end
        self.event(
            parent, "childproc", at, event_type="childproc", child_process_guid=child.guid, created=created,
            md5=child.md5.upper() if created else "", path=child.path if created else "", link_child=child.link,
        )  # fmt: skip


def process_document(program: Program, **more: Any) -> dict[str, Any]:
    """Return the REST document of a process, as server 6.1 writes it."""
    address = int.from_bytes(bytes(map(int, program.host.address.split("."))), "big", signed=True)
    return {
        "id": program.guid, "unique_id": program.unique_id, "segment_id": program.segment,
        "process_name": program.name.lower(), "path": program.path.lower(), "process_md5": program.md5,
        "process_pid": program.pid, "cmdline": program.cmdline, "start": iso(program.start),
        "last_update": iso(program.start + timedelta(seconds=2)),
        "last_server_update": iso(program.start + timedelta(minutes=2, milliseconds=101)),
        "terminated": program.end is not None, "username": program.user, "hostname": program.host.name.lower(),
        "group": "default group", "sensor_id": program.host.sensor, "host_type": program.host.kind,
        "os_type": program.host.os, "comms_ip": address, "interface_ip": address, **_parent_fields(program),
        "modload_count": 3, "regmod_count": 0, "filemod_count": 0, "netconn_count": 0, "childproc_count": 0,
        "crossproc_count": 0, "emet_count": 0, "processblock_count": 0, "emet_config": "",
        "filtering_known_dlls": False, **more,
    }  # fmt: skip


def _parent_fields(program: Program) -> dict[str, Any]:
    """Return what a document says of the parent; nothing for the first process of a system."""
    if program.pid == 1:
        return {}
    parent = program.parent_guid or program.host.unknown_parent
    return {
        "parent_id": parent, "parent_unique_id": f"{parent}-000000000001",
        "parent_name": program.parent_name or "(unknown)",
        "parent_pid": -1 if program.parent_pid is None else program.parent_pid, "parent_md5": ZERO_PARENT,
    }  # fmt: skip


def hit_document(program: Program, **more: Any) -> dict[str, Any]:
    """Return a process document as the event forwarder puts it into `docs[]` of a hit."""
    rest = process_document(program)
    for name in ("parent_id", "emet_count", "processblock_count", "emet_config", "filtering_known_dlls", "terminated"):
        del rest[name]
    parent = program.parent_guid or program.host.unknown_parent
    return {
        **rest, "process_guid": program.guid, "parent_guid": parent, "process_md5": program.md5.upper(),
        "hostname": program.host.name, "computer_name": program.host.name, "group": "Default Group",
        "comms_ip": program.host.address, "interface_ip": program.host.address, "link_process": program.link,
        "link_parent": f"https://{SERVER}/#analyze/{parent}/1",
        "link_process_md5": f"https://{SERVER}/#/binary/{program.md5.upper()}",
        "link_sensor": f"https://{SERVER}/#/host/{program.host.sensor}", **more,
    }  # fmt: skip


def binary_document(world: World, md5: str, word: Optional[str], code: Optional[int], **more: Any) -> dict[str, Any]:
    """Return the REST document of a binary that the world saw; `code` is the result code as a number."""
    seen = world.files.get(md5, {"paths": [], "hosts": []})
    name = seen["paths"][0].replace("\\", "/").rsplit("/", 1)[-1] if seen["paths"] else "(unknown)"
    signing = {} if word is None else {"digsig_result": word, "signed": word}
    result = {} if code is None else {"digsig_result_code": str(code)}
    return {
        "md5": md5.upper(), **signing, **result, "is_executable_image": not name.endswith(".dll"), "is_64bit": True,
        "orig_mod_len": 90_112 + int(md5[:4], 16) * 16, "copied_mod_len": 90_112 + int(md5[:4], 16) * 16,
        "observed_filename": seen["paths"], "original_filename": name, "internal_name": "(unknown)",
        "file_desc": "(unknown)", "file_version": "(unknown)", "product_name": "(unknown)",
        "product_version": "(unknown)", "company_name": "(unknown)", "legal_copyright": "(unknown)",
        "host_count": len(seen["hosts"]), "endpoint": seen["hosts"], "group": ["Default Group"],
        "os_type": "Windows", "server_added_timestamp": iso(moment("09:30:00.4")),
        "timestamp": iso(moment("09:30:00.4")), "last_seen": iso(moment("11:58:12.07")), "cb_version": 610,
        "watchlists": [], **more,
    }  # fmt: skip
