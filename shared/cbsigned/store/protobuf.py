"""The sensor bus's own protobuf messages → events as the forwarder writes them in JSON.

A file holds one message, or many with their lengths before them (4 bytes, little-endian), as the raw sensor
exchange sends them. What the message is comes from its content, not from the folder.

References:
    - carbonblack/cb-event-forwarder, sensor_events.proto (field numbers); test/raw_data, 8,143 messages of 5.1 and 5.2
    - cb-edr-api §2.4 (guid from sensor, pid and creation time), §10.1 (names of the JSON members)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Callable, Optional

from cbsigned.store.wire import Message, WireError

__all__ = ["events_in", "is_protobuf"]

Event = dict[str, Any]

_FILETIME_1970 = 116_444_736_000_000_000
_FILE_ACTIONS = {1: "create", 2: "write", 4: "delete", 8: "lastwrite", 16: "open"}
_REG_ACTIONS = {1: "createkey", 2: "writeval", 4: "delkey", 8: "delval"}
_TAMPER = {
    1: "CoreDriverUnloaded", 2: "NetworkDriverUnloaded", 3: "CbServiceStopped", 4: "CbProcessTerminated",
    5: "CbCodeInjection",
}  # fmt: skip
_MITIGATIONS = (
    "Dep", "Sehop", "Asr", "Aslr", "NullPage", "HeapSpray", "MandatoryAslr", "Eaf", "EafPlus", "BottomUpAslr",
    "LoadLibrary", "MemoryProtection", "SimulateExecFlow", "StackPivot", "CallerChecks", "BannedFunctions", "DeepHooks",
    "AntiDetours",
)  # fmt: skip
_BLOCKED = {1: "ProcessCreate", 2: "RunningProcess"}
_RESULTS = (
    "ProcessTerminated", "NotTerminatedCBProcess", "NotTerminatedSystemProcess", "NotTerminatedCriticalSystemProcess",
    "NotTerminatedWhitelistPath", "NotTerminatedOpenProcessError", "NotTerminatedTerminateError",
)  # fmt: skip
_DIGSIG = {
    "result": 21, "result_code": 22, "publisher": 17, "program_name": 18, "issuer_name": 19, "subject_name": 20,
    "sign_time": 23,
}  # fmt: skip
_VERSION_INFO = {
    "utf8_file_description": 4, "utf8_company_name": 5, "utf8_product_name": 6, "utf8_file_version": 7,
    "utf8_comments": 8, "utf8_legal_copyright": 9, "utf8_legal_trademark": 10, "utf8_internal_name": 11,
    "utf8_original_file_name": 12, "utf8_product_description": 13, "utf8_product_version": 14,
    "utf8_private_build": 15, "utf8_special_build": 16, "utf8_on_disk_filename": 26,
}  # fmt: skip


def is_protobuf(head: bytes) -> bool:
    """Whether a file's beginning is that of a sensor message or a bundle of them; telemetry as text never is."""
    return _begins(head) or (len(head) > 8 and 0 < int.from_bytes(head[:4], "little") < 1 << 24 and _begins(head[4:]))


def events_in(data: bytes) -> Iterator[Event]:
    """Yield the events of one message or of a bundle, in order.

    Args:
        data: The whole file.

    Raises:
        WireError: It is neither, or the bundle is cut off; events before that were yielded.
    """
    if _begins(data):
        yield _event(Message(data))
        return
    position = 0
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "little")
        if end > len(data) or end < position + 6:
            raise WireError(f"neither a message nor a bundle of them at byte {position}")
        yield _event(Message(data[position + 4 : end]))
        position = end


def _begins(data: bytes) -> bool:
    """Whether these bytes begin with the header of a sensor message, whose version is required and comes first."""
    return data[:1] == b"\x0a" and data[1:2] != b"" and _header_version(data) is not None


def _header_version(data: bytes) -> Optional[int]:
    length, start = data[1], 2
    if length >= 0x80:
        length, start = (length & 0x7F) | (data[2] << 7 if len(data) > 2 else 0), 3
    try:
        return Message(data[start : start + length]).number(1)
    except WireError:
        return None


def _event(message: Message) -> Event:
    """Return a message as the forwarder's event.

    Raises:
        WireError: It has no header, no sensor, or nothing that we know inside.
    """
    header = message.part(1) or Message(b"")
    endpoint = (message.part(13) or Message(b"")).part(1) or Message(b"")
    reader = next((reader for field, reader in _READERS.items() if field in message), None)
    if reader is None:
        raise WireError("of a kind we do not know")
    sensor = endpoint.unsigned32(1)
    about = _About(message, header, sensor)
    event: Event = {
        "timestamp": _seconds(header.number(4)), "sensor_id": sensor, "computer_name": endpoint.text(2),
        "process_guid": about.guid(header.unsigned32(10), header.number(9)), "pid": header.unsigned32(10),
        "process_path": header.text(12), "md5": _hex(header.data(11)), "sha256": _hex(header.data(14)),
    }  # fmt: skip
    event.update(reader(about))
    return {name: value for name, value in event.items() if value is not None}


class _About:
    """A message with what its parts need of the whole."""

    def __init__(self, message: Message, header: Message, sensor: Optional[int]) -> None:
        self.message, self.header, self.sensor = message, header, sensor

    def part(self, field: int) -> Message:
        return self.message.part(field) or Message(b"")

    def guid(self, pid: Optional[int], created: Optional[int]) -> Optional[str]:
        """Return the process guid as the server shows it, or None where a part of it is missing."""
        if self.sensor is None or pid is None or created is None:
            return None
        time = f"{created:016x}"
        return f"{self.sensor:08x}-{pid >> 16:04x}-{pid & 0xFFFF:04x}-{time[:4]}-{time[4:]}"

    def path(self) -> Optional[str]:
        """Return the path that the event is about: the header names it by number."""
        number = self.header.number(6)
        texts = self.message.parts(2)
        return next((text.text(2) for text in texts if number is not None and text.number(1) == number), None)


def _process(about: _About) -> Event:
    part = about.part(3)
    created = part.flag(2)
    event: Event = {
        "type": f"ingress.event.proc{'start' if created else 'end'}", "event_type": "proc", "path": about.path(),
        "process_path": None, "parent_process_guid": about.guid(part.unsigned32(3), part.number(4)),
    }  # fmt: skip
    if not created:
        return event
    return {
        **event, "md5": _hex(part.data(6)), "sha256": _hex(part.data(19)), "command_line": part.text(9) or "",
        "parent_pid": part.unsigned32(3), "parent_md5": _hex(part.data(10)), "parent_sha256": _hex(part.data(20)),
        "parent_path": part.text(11) or None, "username": part.text(15), "uid": part.text(14),
        "expect_followon_w_md5": part.flag(13) or None,
    }  # fmt: skip


def _modload(about: _About) -> Event:
    part = about.part(4)
    return {
        "type": "ingress.event.moduleload", "event_type": "modload", "path": about.path(), "md5": _hex(part.data(3)),
        "sha256": _hex(part.data(8)),
    }  # fmt: skip


def _filemod(about: _About) -> Event:
    part = about.part(5)
    action = part.number(2) or 0
    return {
        "type": "ingress.event.filemod", "event_type": "filemod", "path": about.path(), "actiontype": action,
        "action": _FILE_ACTIONS.get(action), "filetype": part.number(5) or None, "file_md5": _hex(part.data(4)),
        "file_sha256": _hex(part.data(8)), "tamper": part.flag(6) or None, "sha256": None,
    }  # fmt: skip


def _regmod(about: _About) -> Event:
    part = about.part(7)
    action = part.number(2) or 0
    return {
        "type": "ingress.event.regmod", "event_type": "regmod", "path": part.text(4), "actiontype": action,
        "action": _REG_ACTIONS.get(action), "tamper": part.flag(5) or None, "sha256": None,
    }  # fmt: skip


def _netconn(about: _About) -> Event:
    """Read the message of 5.2 and before: IPv4 alone, addresses and ports in network order."""
    part = about.part(6)
    remote = 13 if 13 in part else 2
    return _connection(part, {
        "protocol": 6, "domain": 7, "outbound": 8, "remote_port": 14 if remote == 13 else 5, "local_port": 16,
        "proxy": 9,
    }, _ipv4(part.number(remote)), _ipv4(part.number(15)))  # fmt: skip


def _netconn2(about: _About) -> Event:
    """Read the message since 5.2, whose addresses may be IPv6."""
    part = about.part(20)
    return _connection(part, {
        "protocol": 1, "domain": 2, "outbound": 3, "remote_port": 9, "local_port": 11, "proxy": 4,
    }, _address(part.part(8)), _address(part.part(10)))  # fmt: skip


def _connection(part: Message, fields: dict[str, int], remote: Optional[str], local: Optional[str]) -> Event:
    outbound = part.flag(fields["outbound"]) if fields["outbound"] in part else True  # the schema's default
    return {
        "type": "ingress.event.netconn", "event_type": "netconn", "domain": part.text(fields["domain"]) or "",
        "protocol": part.number(fields["protocol"]), "direction": "outbound" if outbound else "inbound",
        "remote_ip": remote, "remote_port": _port(part.number(fields["remote_port"])), "local_ip": local,
        "local_port": _port(part.number(fields["local_port"])), "proxy": part.flag(fields["proxy"]) or None,
        "sha256": None,
    }  # fmt: skip


def _childproc(about: _About) -> Event:
    part = about.part(12)
    suppressed = (part.part(9) or Message(b"")).flag(1)
    return {
        "type": "ingress.event.childproc", "event_type": "childproc", "created": part.flag(1),
        "child_process_guid": about.guid(part.unsigned32(6), part.number(7)), "path": part.text(5) or None,
        "md5": _hex(part.data(3)), "sha256": _hex(part.data(14)), "tamper": part.flag(8) or None,
        "child_suppressed": suppressed or None, "child_command_line": part.text(10) if suppressed else None,
        "child_username": part.text(11) if suppressed else None,
    }  # fmt: skip


def _crossproc(about: _About) -> Event:
    part = about.part(14)
    opened = part.part(1)
    other = opened or part.part(2) or Message(b"")
    first, pid, created = (5, 2, 3) if opened else (3, 1, 2)
    event: Event = {
        "type": f"ingress.event.{'crossprocopen' if opened else 'remotethread'}", "event_type": "cross_process",
        "cross_process_type": "remote_thread", "is_target": part.flag(4), "tamper": part.flag(3) or None,
        "sha256": None, "target_pid": other.unsigned32(pid), "target_create_time": other.number(created),
        "target_process_guid": about.guid(other.unsigned32(pid), other.number(created)),
        "target_path": other.text(first), "target_md5": _hex(other.data(first + 1)),
        "target_sha256": _hex(other.data(first + 2)),
    }  # fmt: skip
    if opened:
        event["cross_process_type"] = "open_thread" if other.number(1) == 2 else "open_process"
        event["requested_access"] = other.unsigned32(4)
    return event


def _module(about: _About) -> Event:
    part = about.part(9)
    told = {name: part.text(field) for name, field in _VERSION_INFO.items()}
    return {
        **told, "type": "ingress.event.module", "event_type": "binary_info", "size": part.number(3),
        "md5": _digits(part.data(1), 32), "sha256": _digits(part.data(27), 64),
        "digsig": {name: part.text(field) or "" for name, field in _DIGSIG.items()},
    }  # fmt: skip


def _emet(about: _About) -> Event:
    part = about.part(17)
    action = (part.part(3) or Message(b"")).number(1) or 0
    return {
        "type": "ingress.event.emetmitigation", "event_type": "emet_mitigation", "log_message": part.text(4),
        "mitigation": _word(_MITIGATIONS, action - 1, action), "blocked": part.flag(5), "log_id": part.number(1),
        "emet_timestamp": part.number(2),
    }  # fmt: skip


def _tamper(about: _About) -> Event:
    kind = about.part(15).number(1) or 0
    return {
        "type": "ingress.event.tamper", "event_type": "tamper", "tamper_type": _TAMPER.get(kind, f"unknown ({kind})")
    }  # fmt: skip


def _blocked(about: _About) -> Event:
    """Read a blocked process; `md5` and `path` are the blocked file's, the guid the acting process's."""
    part = about.part(16)
    event, result = part.number(2) or 0, part.number(5) or 0
    return {
        "type": "ingress.event.processblock", "event_type": "blocked_process", "blocked_reason": "Md5Hash",
        "blocked_event": _BLOCKED.get(event, f"unknown ({event})"), "md5": _hex(part.data(3)), "path": part.text(4),
        "blocked_result": _word(_RESULTS, result, result), "blocked_error": part.number(6),
        "command_line": part.text(9), "uid": part.text(10), "username": part.text(11), "sha256": None,
    }  # fmt: skip


_READERS: dict[int, Callable[[_About], Event]] = {
    3: _process, 4: _modload, 5: _filemod, 20: _netconn2, 6: _netconn, 7: _regmod, 12: _childproc, 14: _crossproc,
    9: _module, 17: _emet, 15: _tamper, 16: _blocked,
}  # fmt: skip


def _seconds(ticks: Optional[int]) -> Optional[float]:
    """Return a FILETIME as epoch seconds, cut to milliseconds as the store keeps them."""
    return None if not ticks else (ticks - _FILETIME_1970) // 10_000 / 1000


def _hex(value: Optional[bytes]) -> Optional[str]:
    return value.hex() if value else None


def _digits(value: Optional[bytes], length: int) -> Optional[str]:
    """Return a hash that comes as hex digits, as modules have it, or as bytes."""
    return value.decode("ascii", "backslashreplace") if value and len(value) == length else _hex(value)


def _ipv4(number: Optional[int]) -> Optional[str]:
    return None if number is None else socket.inet_ntoa((number & 0xFFFFFFFF).to_bytes(4, "little"))


def _address(part: Optional[Message]) -> Optional[str]:
    if part is None:
        return None
    if not part.flag(1):
        return _ipv4(part.number(2))
    halves = (part.number(4) or 0).to_bytes(8, "little") + (part.number(3) or 0).to_bytes(8, "little")
    return socket.inet_ntop(socket.AF_INET6, halves)


def _port(number: Optional[int]) -> Optional[int]:
    return None if number is None else int.from_bytes((number & 0xFFFF).to_bytes(2, "little"), "big")


def _word(words: tuple[str, ...], index: int, number: int) -> str:
    return words[index] if 0 <= index < len(words) else f"unknown ({number})"
