"""One event of a process as the event routes v1 to v4 write it → one entry, in the words of the store's own list.

References:
    - cb-edr-api §3.3 (encodings, actions, file types)
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Optional, Union

from cbsigned.observables import guid_parts, parse_guid, parse_md5, parse_pid, parse_sha256
from cbsigned.timing import format_time, parse_time

__all__ = ["KINDS", "LISTS", "Entry", "read_event", "time_of"]

LISTS = {
    "filemod_complete": "filemod",
    "regmod_complete": "regmod",
    "modload_complete": "modload",
    "netconn_complete": "netconn",
    "childproc_complete": "childproc",
    "crossproc_complete": "crossproc",
    "processblock_complete": "block",
}
"""The lists of an answer → our word for their kind."""
KINDS = tuple(LISTS.values())
"""Kinds of events, in the order in which those of one moment are listed."""

_FILE_ACTIONS = {1: "created", 2: "wrote", 4: "deleted", 8: "finished writing"}
_REG_ACTIONS = {1: "created key", 2: "wrote value", 4: "deleted key", 8: "deleted value"}
_CROSS_ACTIONS = {
    ("ProcessOpen", "1"): ("opened", "was opened by"),
    ("ProcessOpen", "2"): ("opened a thread of", "had a thread opened by"),
    ("RemoteThread", ""): ("made a thread in", "was given a thread by"),
}
_FILE_TYPES = {
    1: "PE", 2: "ELF", 3: "Mach-O", 8: "EICAR", 16: "DOC", 17: "DOCX", 48: "PDF", 64: "ZIP", 65: "LZH", 66: "LZW",
    67: "RAR", 68: "TAR", 69: "7ZIP",
}  # fmt: skip
_PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}
_BLOCKED = {
    "blocked_path": "path", "blocked_md5": "md5", "blocked_cmdline": "cmdline", "blocked_username": "user",
    "blocked_uid": "uid",
}  # fmt: skip

Values = dict[str, Union[str, int]]


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        at: UTC; None where the event has no time.
        kind: One of `KINDS`.
        action: What was done, in a word or two.
        what: To what: a path, an address, another process.
        values: What the event names: `path, md5, sha256, filetype, tampered` (files, registry, modules);
            `direction` (outbound, inbound), `protocol, domain, remote_ip, remote_port, local_ip, local_port,
            proxy_ip, proxy_port, ja3, ja3s`; `guid, pid, cmdline, user, suppressed, ended_at` (children);
            `guid, pid, access` (other processes); `block_type, block_event, block_result, block_error`; and
            `digsig_result, digsig_publisher` of the file with that MD5, where the answer tells them. Texts and whole
            numbers; what is not told is left out.
    """

    at: Optional[datetime]
    kind: str
    action: str
    what: str
    values: Mapping[str, Union[str, int]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The event as a sentence without a subject: `loaded c:\\windows\\system32\\ntdll.dll`."""
        return f"{self.action} {self.what}".strip()


def time_of(kind: str, event: object) -> str:
    """Return an event's time in a form that sorts as text, `2021-04-20 13:33:21.512`; empty where it has none.

    One answer of 7.x writes connections and children with `T` and `Z`, and everything else with a blank.
    """
    if isinstance(event, str) and kind != "block":
        parts = event.split("|", 2)
        place = 1 if kind in ("filemod", "regmod", "crossproc") else 0
        value: object = parts[place] if len(parts) > place else ""
    else:
        told = _object(event)
        ended = kind == "childproc" and told.get("type") == "end"
        value = told.get("timestamp") or told.get("end" if ended else "start")
    return value.strip().rstrip("Z").replace("T", " ", 1) if isinstance(value, str) else ""


def read_event(kind: str, event: object, binaries: Optional[Mapping[str, Any]] = None) -> Optional[Entry]:
    """Return the entry of an event, or None where it is in no form that we know.

    Args:
        kind: One of `KINDS`.
        event: Text or object, of any version of the route.
        binaries: Signing states by upper-case MD5, as the answer has them beside the lists.
    """
    try:
        action, what, values = _READERS[kind](event)
    except (ValueError, TypeError, IndexError):
        return None
    state = (binaries or {}).get(str(values.get("md5", "")).upper())
    if isinstance(state, dict):
        signs = {name: state.get(name) for name in ("digsig_result", "digsig_publisher")}
        values = {**values, **{name: text for name, text in signs.items() if isinstance(text, str) and text}}
    told = {name: value for name, value in values.items() if value not in ("", None)}
    return Entry(parse_time(time_of(kind, event)), kind, action, what, told)


_Read = tuple[str, str, Values]


def _filemod(event: object) -> _Read:
    parts = _parts(event, 3)
    if len(parts) > 6:  # a path may hold the separator where the system allows it
        parts = [*parts[:2], "|".join(parts[2:-3]), *parts[-3:]]
    number, _at, path, md5, filetype, tampered = (*parts, "", "", "")[:6]
    values: Values = {"path": path, "md5": parse_md5(md5) or "", **_tampered(tampered)}
    if filetype.isdigit() and filetype.isascii() and filetype.strip("0"):
        values["filetype"] = _FILE_TYPES.get(int(filetype[:9]), filetype[:9])
    return _FILE_ACTIONS.get(_int(number), f"action {_int(number)}"), path, values


def _regmod(event: object) -> _Read:
    number, _at, *rest = _parts(event, 3)
    tampered = rest.pop() if len(rest) > 1 and rest[-1] in ("true", "false") else ""
    path = "|".join(rest)
    return _REG_ACTIONS.get(_int(number), f"action {_int(number)}"), path, {"path": path, **_tampered(tampered)}


def _modload(event: object) -> _Read:
    _at, md5, *rest = _parts(event, 3)
    sha256 = parse_sha256(rest[-1]) if len(rest) > 1 else None
    path = "|".join(rest[:-1] if sha256 or (len(rest) > 1 and not rest[-1]) else rest)
    return "loaded", path, {"path": path, "md5": parse_md5(md5) or "", "sha256": sha256 or ""}


def _netconn(event: object) -> _Read:
    if isinstance(event, str):
        _at, ip, port, proto, domain, direction = _parts(event, 6)[:6]
        told: Mapping[str, Any] = {
            "remote_ip": ip, "remote_port": port, "proto": proto, "domain": domain, "direction": direction,
        }  # fmt: skip
    else:
        told = _object(event)
    number = _int(told.get("proto", 0))
    outbound = {"true": True, "false": False}.get(str(told.get("direction")).lower())
    called = _text(told.get("domain"))
    values: Values = {
        "direction": "" if outbound is None else "outbound" if outbound else "inbound",
        "protocol": _PROTOCOLS.get(number, f"protocol {number}" if number else ""), "domain": called,
        **{name: _address(told.get(name)) for name in ("remote_ip", "local_ip", "proxy_ip")},
        **{name: _text(told.get(name)) for name in ("ja3", "ja3s")},
    }  # fmt: skip
    ports = {name: _int(told.get(name) or 0) for name in ("remote_port", "local_port", "proxy_port")}
    values.update({name: known for name, known in ports.items() if 0 < known < 65_536})
    host, there = str(values["remote_ip"]), ports["remote_port"]
    if not host and called:
        return "looked up", called, values
    verb = f"{values['protocol']} {'with' if outbound is None else 'to' if outbound else 'from'}".strip()
    place = f"[{host}]:{there}" if ":" in host else f"{host or 'an address that is not told'}:{there}"
    into = f", to port {ports['local_port']} here" if outbound is False and ports["local_port"] else ""
    return verb, f"{place} ({called}){into}" if called else f"{place}{into}", values


def _childproc(event: object) -> _Read:
    if isinstance(event, str):
        parts = _parts(event, 6)
        tail = parts[-3:] if len(parts) > 6 and parts[-2] in ("true", "false") else [*parts[-2:], ""]
        path = "|".join(parts[3 : len(parts) - (3 if tail[-1] else 2)])
        started = {"true": True, "false": False}.get(tail[1])
        values: Values = {"path": path, "md5": parse_md5(parts[2]) or "", **_other(parts[1], tail[0])}
        values.update(_tampered(tail[2]))
    else:
        told = _object(event)
        started = {"start": True, "end": False}.get(str(told.get("type", "start")))
        path = _text(told.get("path"))
        values = {
            "path": path, "md5": parse_md5(told.get("md5")) or "", "sha256": parse_sha256(told.get("sha256")) or "",
            **_other(told.get("processId"), told.get("pid")), "cmdline": _text(told.get("commandLine")),
            "user": _text(told.get("userName")), "suppressed": "true" if told.get("is_suppressed") is True else "",
            "ended_at": (format_time(parse_time(_text(told.get("end")))) or "") if started else "",
            **_tampered("true" if told.get("is_tampered") is True else ""),
        }  # fmt: skip
    verb = "child" if started is None else "started" if started else "ended"
    return verb, _named(path, values), values


def _crossproc(event: object) -> _Read:
    parts = _parts(event, 7)
    if len(parts) > 10:
        parts = [*parts[:4], "|".join(parts[4:-5]), *parts[-5:]]
    kind, _at, guid, md5, path, subtype, access, tampered, is_target, sha256 = (*parts, "", "", "")[:10]
    verbs = _CROSS_ACTIONS.get((kind, subtype if kind == "ProcessOpen" else ""), (re.sub(r"\s+", " ", kind)[:40],) * 2)
    number = _int(access) if access.lstrip("-").isdigit() else 0
    values: Values = {
        "path": path, "md5": parse_md5(md5) or "", "sha256": parse_sha256(sha256) or "", **_other(guid, None),
        "access": f"0x{number & 0xFFFFFFFF:08x}" if number else "", **_tampered(tampered),
    }  # fmt: skip
    return verbs[is_target == "true"], _named(path, values), values


def _block(event: object) -> _Read:
    told = _object(event)
    if not told:
        raise ValueError("no members")
    values: Values = {ours: _text(told.get(name)) for name, ours in _BLOCKED.items()}
    values["md5"] = parse_md5(told.get("blocked_md5")) or ""
    for name in ("block_type", "block_event", "block_result", "block_error"):
        value = told.get(name)
        values[name] = value if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    return "blocked", str(values["path"] or values["cmdline"] or "a process"), values


_READERS: dict[str, Callable[[object], _Read]] = {
    "filemod": _filemod,
    "regmod": _regmod,
    "modload": _modload,
    "netconn": _netconn,
    "childproc": _childproc,
    "crossproc": _crossproc,
    "block": _block,
}


def _parts(event: object, least: int) -> list[str]:
    parts = event.split("|") if isinstance(event, str) else []
    if len(parts) < least:
        raise ValueError(f"{len(parts)} parts, expected {least} or more")
    return parts


def _object(event: object) -> Mapping[str, Any]:
    """Return an object, also one that is written as JSON text, or an empty one."""
    if isinstance(event, str):
        try:
            event = json.loads(event)
        except (ValueError, RecursionError):
            return {}
    return event if isinstance(event, dict) else {}


def _other(guid: object, pid: object) -> Values:
    """Return guid and pid of another process; a pid that is not told is in the guid."""
    found = parse_guid(guid)
    number = parse_pid(pid) or (guid_parts(found).pid if found else None)
    return {"guid": found or "", "pid": number if number else ""}


def _named(path: str, values: Values) -> str:
    pid = values.get("pid")
    return f"{path or 'a process'}{f' (pid {pid})' if pid else ''}"


def _tampered(flag: str) -> Values:
    return {"tampered": "true"} if flag == "true" else {}


def _address(value: object) -> str:
    """Return an address as text; versions 1 to 3 write it as a signed number, and none as 0."""
    text = str(value).strip()
    if re.fullmatch(r"-?\d{1,10}", text, re.ASCII) and -(2**31) <= int(text) < 2**32:
        text = str(ipaddress.IPv4Address(int(text) & 0xFFFFFFFF))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return "" if address.is_unspecified else str(address)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _int(value: object) -> int:
    """Return a number that is one or is written as one.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("not a number")
    return int(value) if isinstance(value, int) or len(value) < 20 else 0
