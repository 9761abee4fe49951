"""Sysmon and Security events made for tests, in the shapes that collectors give them."""

from __future__ import annotations

import json
from typing import Any

Record = dict[str, Any]

SYSMON = "Microsoft-Windows-Sysmon/Operational"
GUID = "{AD4B5C3E-0001-60C4-7809-000000000300}"
PARENT = "{AD4B5C3E-0002-60C4-0100-000000000300}"
ZEROS = "{00000000-0000-0000-0000-000000000000}"
MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"
SHA256 = "e9ef80a7849f1cf02cb5fb8396ff9e270cb9006f30294a52c6490a72b373be00"
HASHES = f"SHA1={'1' * 40},MD5={MD5.upper()},SHA256={SHA256.upper()},IMPHASH={'2' * 32}"


def fields(number: int, **members: Any) -> Record:
    """Return the fields of one Sysmon event, as texts."""
    common = {
        "RuleName": "-", "UtcTime": "2021-06-12 01:07:15.634", "ProcessGuid": GUID, "ProcessId": "2164",
        "Image": "C:\\Windows\\System32\\PING.EXE",
    }  # fmt: skip
    own: dict[int, Record] = {
        1: {
            "Hashes": HASHES, "CommandLine": "ping -n 1 ::1", "User": "LAB\\jo", "ParentProcessGuid": PARENT,
            "ParentProcessId": "88", "ParentImage": "C:\\Windows\\explorer.exe", "ParentCommandLine": "explorer",
        },
        3: {
            "Protocol": "tcp", "Initiated": "true", "SourceIp": "10.0.0.5", "SourcePort": "50000",
            "DestinationIp": "192.0.2.9", "DestinationPort": "443", "DestinationHostname": "files.example.test",
        },
        7: {
            "ImageLoaded": "C:\\Windows\\System32\\ntdll.dll", "Hashes": HASHES, "Signed": "true",
            "Signature": "Microsoft Windows", "SignatureStatus": "Valid",
        },
        8: {"SourceProcessGuid": GUID, "SourceProcessId": "2164", "TargetProcessGuid": PARENT, "TargetProcessId": "88"},
        11: {"TargetFilename": "C:\\temp\\drop.exe"},
        12: {"EventType": "CreateKey", "TargetObject": "HKLM\\Software\\Acme"},
        13: {"EventType": "SetValue", "TargetObject": "HKLM\\Software\\Acme\\Run", "Details": "drop.exe"},
        22: {"QueryName": "files.example.test", "QueryStatus": "0", "QueryResults": "::ffff:192.0.2.9;"},
    }  # fmt: skip
    return {**common, **own.get(number, {}), **members}


def flat(number: int, channel: str = SYSMON, **members: Any) -> Record:
    """Return an event as NXLog gives it."""
    return {
        "SourceName": "Microsoft-Windows-Sysmon", "Channel": channel, "EventID": number, "Hostname": "LAB-WS-01",
        "TimeCreated": "2021-06-12T01:07:15.700Z", **fields(number, **members),
    }  # fmt: skip


def beat(number: int, **members: Any) -> Record:
    """Return an event as Winlogbeat 6 gives it."""
    return {
        "@timestamp": "2021-06-12T01:07:15.700Z", "type": "wineventlog", "log_name": SYSMON, "event_id": number,
        "computer_name": "LAB-WS-01", "host": {"name": "WECserver"}, "event_data": fields(number, **members),
    }  # fmt: skip


def beat7(number: int, **members: Any) -> Record:
    """Return an event as Winlogbeat 7 gives it."""
    inner = {"channel": SYSMON, "event_id": str(number), "computer_name": "LAB-WS-01"}
    return {
        "@timestamp": "2021-06-12T01:07:15.700Z", "event": {"code": str(number)},
        "winlog": {**inner, "event_data": fields(number, **members)},
    }  # fmt: skip


def analytics(number: int, **members: Any) -> Record:
    """Return an event as Log Analytics gives it."""
    return {
        "TimeGenerated": "2021-06-12T01:07:15.7Z", "Channel": SYSMON, "Computer": "LAB-WS-01", "EventID": number,
        "EventData": json.dumps(fields(number, **members)),
    }  # fmt: skip


def evtx(number: int, **members: Any) -> Record:
    """Return an event as the package `evtx` gives it: GUIDs without braces, numbers as numbers."""
    data = {k: v.strip("{}") if k.endswith("Guid") else v for k, v in fields(number, **members).items()}
    created = {"#attributes": {"SystemTime": "2021-06-12T01:07:15.700Z"}}
    system = {"EventID": {"#text": number}, "Channel": SYSMON, "Computer": "LAB-WS-01", "TimeCreated": created}
    return {"Event": {"System": system, "EventData": {**data, "ProcessId": int(data["ProcessId"])}}}


def linux(number: int, **members: Any) -> Record:
    """Return an event of Sysmon for Linux in a syslog record."""
    data = "".join(f'<Data Name="{name}">{value}</Data>' for name, value in fields(number, **members).items())
    system = (
        f'<EventID>{number}</EventID><TimeCreated SystemTime="2021-06-12T01:07:15.700000000Z"/>'
        "<Channel>Linux-Sysmon/Operational</Channel><Computer>LAB-WS-01</Computer>"
    )
    text = f"<Event><System>{system}</System><EventData>{data}</EventData></Event>"
    return {"TenantId": "x", "Computer": "collector", "SyslogMessage": text}


SHAPES = {"flat": flat, "beat": beat, "beat7": beat7, "analytics": analytics, "evtx": evtx, "linux": linux}


def created(pid: int, name: str, at: str, **members: Any) -> Record:
    """Return a Security event 4688, flat."""
    return {
        "SourceName": "Microsoft-Windows-Security-Auditing", "Channel": "Security", "EventID": 4688,
        "Hostname": "LAB-WS-01", "TimeCreated": at, "NewProcessId": hex(pid), "NewProcessName": f"C:\\Windows\\{name}",
        "ProcessId": "0x58", "ParentProcessName": "C:\\Windows\\explorer.exe", "CommandLine": f"{name} /x",
        "SubjectUserName": "jo", "SubjectDomainName": "LAB", "TargetUserName": "-", "TargetDomainName": "-", **members,
    }  # fmt: skip
