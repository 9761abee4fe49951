"""A made-up world of processes and binaries: as plain documents, and as the telemetry that tells of them."""

from __future__ import annotations

import random
from typing import Any

from query_evaluator import World
from shared.store.telemetry import AT, Event, event, guid_of

COUNT = 240
NAMES = ["cmd.exe", "powershell.exe", "svchost.exe", "git", "Ünïcode.EXE", "a b.exe", "x[1].exe", "\u212aelvin.exe"]
FOLDERS = [
    "c:\\windows\\system32",
    "C:\\Program Files\\Acme",
    "c:\\users\\jo\\temp",
    "\\device\\vol1",
    "/usr/bin",
    "c:",
]
ARGUMENTS = [
    "/c", "-enc", "a.dll,Run", "http://evil.test/x", '"c:\\x y\\z.exe"', "c:", "=1", "%TEMP%", "*.txt", "Straße", "/d",
    "/usr/bin/env", "foo.exe", "\u0130stanbul", "a_b", "'q'", "x;y", "100%",
]  # fmt: skip
USERS = ["SYSTEM", "LAB\\jo", "LAB\\Zoë"]
HOSTS = ["LAB-WS-07", "host-2", "srv.example.test"]
KEYS = [
    "\\registry\\machine\\system\\ControlSet001\\services\\evil",
    "\\registry\\user\\s-1-5\\software\\run",
    "hklm\\x",
]
DOMAINS = ["example.com", "www.example.com", "com.example.org", "evil.test", "COM"]
ADDRESSES = ["10.1.2.3", "10.200.0.1", "192.0.2.9", "2001:db8::7"]
PUBLISHERS = ["Microsoft Corporation", "Acme, Inc.", "Évil Corp"]
RESULTS = ["Signed", "Unsigned", "Bad Signature", "(Unknown)"]
MD5S = [f"{n:032x}" for n in range(0xABC001, 0xABC00E)]


def make_world(seed: int = 11) -> tuple[World, list[Event]]:
    """Return the world as documents, and as events and binary documents that tell the same."""
    chance = random.Random(seed)
    binaries = {md5: _binary(chance, md5) for md5 in MD5S[:9]}
    processes: list[dict[str, Any]] = []
    events: list[Event] = []
    for number in range(COUNT):
        process, told = _process(chance, number, processes)
        processes.append(process)
        events += told
    for process in processes:
        if process["parent"] is not None:
            process["parent"]["children"].append(process)
    documents = [_document(binary) for binary in binaries.values()]
    hosts: dict[str, set[str]] = {}
    for process in processes:
        for md5 in [process.get("process_md5"), *(m for _p, m in process["modloads"])]:
            if md5:
                hosts.setdefault(md5, set()).add(process["hostname"])
    for md5, binary in binaries.items():
        binary["hostname"] = sorted(hosts.get(md5, set()))
        binary["host_count"] = len(binary["hostname"])
        loaded = {path for p in processes for path, loaded_md5 in p["modloads"] if loaded_md5 == md5}
        binary["observed_filename"] = sorted({*binary["observed_filename"], *loaded})
    return World(processes, binaries), [*events, *documents]


def _process(chance: random.Random, number: int, before: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Event]]:
    at, pid = AT + number * 7 % 1000, 1000 + number
    started = (AT + number) * 10_000_000 + 116_444_736_000_000_000
    guid = guid_of(pid, started)
    name = chance.choice(NAMES)
    folder = chance.choice(FOLDERS)
    first = chance.choice([name, f'"{folder}"', folder])
    path = f"{folder}{'/' if folder.startswith('/') else chr(92)}{name}"
    host = chance.choice(HOSTS)
    parent = chance.choice(before) if before and chance.random() < 0.8 else None
    process: dict[str, Any] = {
        "number": number, "process_id": guid, "process_name": name.lower(), "path": path, "hostname": host,
        "cmdline": " ".join([first, *chance.choices(ARGUMENTS, k=chance.randint(0, 4))]),
        "username": chance.choice(USERS), "process_md5": chance.choice([*MD5S, None]), "sensor_id": 7, "parent": parent,
        "children": [], "modloads": [], "filemods": [], "regmods": [], "netconns": [], "start": (AT + number) * 1000,
    }  # fmt: skip
    if chance.random() < 0.1:
        del process["cmdline"]
    common = {"computer_name": host, "md5": (process["process_md5"] or "").upper(), "process_guid": guid}
    told = [
        event(
            "procstart", pid, at, path=path, username=process["username"], command_line=process.get("cmdline", ""),
            event_type="proc", **common, **({"parent_process_guid": parent["process_id"]} if parent else {}),
        )
    ]  # fmt: skip
    last = at
    for _ in range(chance.randint(0, 3)):
        last += 1
        told.append(_event(chance, process, pid, last, common))
    process["last_update"] = process["last_server_update"] = max(last * 1000, process["start"])
    for kind in ("modload", "filemod", "regmod", "netconn"):
        process[f"{kind}_count"] = len(process[f"{kind}s"])
    process["childproc_count"] = process["crossproc_count"] = 0
    return process, told


def _event(chance: random.Random, process: dict[str, Any], pid: int, at: int, common: dict[str, Any]) -> Event:
    file = f"{chance.choice(FOLDERS)}\\{chance.choice(['a.dll', 'B.SYS', 'x.exe', 'Ü.dll'])}"
    kind = chance.choice(["moduleload", "filemod", "regmod", "netconn"])
    if kind == "moduleload":
        md5 = chance.choice([*MD5S, None])
        process["modloads"].append((file, md5))
        return event(kind, pid, at, **{**common, "md5": (md5 or "").upper()}, path=file)
    if kind == "filemod":
        md5 = chance.choice([*MD5S, None])
        process["filemods"].append((file, md5))
        return event(kind, pid, at, path=file, actiontype=8, file_md5=(md5 or "").upper(), **common)
    if kind == "regmod":
        key = chance.choice(KEYS)
        process["regmods"].append(key)
        return event(kind, pid, at, path=key, action="writeval", **common)
    address, port, domain = chance.choice(ADDRESSES), chance.choice([80, 443, 8080]), chance.choice([*DOMAINS, None])
    process["netconns"].append((address, port, domain))
    return event(
        kind,
        pid,
        at,
        remote_ip=address,
        remote_port=port,
        domain=domain or "",
        direction="outbound",
        protocol=6,
        **common,
    )


def _binary(chance: random.Random, md5: str) -> dict[str, Any]:
    binary: dict[str, Any] = {
        "md5": md5, "digsig_result": chance.choice(RESULTS), "is_64bit": chance.random() < 0.5,
        "is_executable_image": chance.random() < 0.5, "orig_mod_len": chance.randint(1, 5), "copied_mod_len": 0,
        "company_name": chance.choice(PUBLISHERS), "product_name": chance.choice(["Acme Updater", "Windows® System"]),
        "observed_filename": [f"c:\\seen\\{chance.choice(['a.dll', 'Ü.dll'])}"], "os_type": "Windows",
        "server_added_timestamp": (AT + chance.randint(0, 100)) * 1000, "group": ["Default Group"],
    }  # fmt: skip
    if chance.random() < 0.6:
        binary["digsig_publisher"] = chance.choice(PUBLISHERS)
        binary["digsig_sign_time"] = (AT - chance.randint(0, 1000) * 60) * 1000
    return binary


def _document(binary: dict[str, Any]) -> Event:
    times = {
        name: f"{binary[name] // 1000}" for name in ("server_added_timestamp", "digsig_sign_time") if name in binary
    }
    return {**binary, **times, "md5": binary["md5"].upper()}
