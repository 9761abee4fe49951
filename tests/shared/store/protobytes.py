"""Sensor messages as bytes, made for tests: a small writer of protobuf's wire format."""

from __future__ import annotations

from typing import Any

FILETIME = 130921702263654893
PID, PARENT_PID = 70_000, 468
PATH = "c:\\temp\\drop é.exe"


def guid_of(pid: int, created: int = FILETIME) -> str:
    """Return a guid of sensor 7."""
    digits = f"{7:08x}{pid & 0xFFFFFFFF:08x}{created:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def varint(number: int) -> bytes:
    """Return a number as the wire has it."""
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(fields: dict[int, Any]) -> bytes:
    """Return a message of ints, texts, bytes, messages (dicts) and repeated fields (lists)."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
            else:
                data = message(one) if isinstance(one, dict) else one.encode() if isinstance(one, str) else one
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def sensor_message(fields: dict[int, Any], **header: Any) -> bytes:
    """Return a sensor message of sensor 7 on host LAB with one path, `PATH`."""
    head = {1: 4, 4: FILETIME + 12_345_678, 6: -5, 9: FILETIME, 10: PID, 11: b"\xaa" * 16, 12: "c:\\temp\\a.exe"}
    head.update({int(name[1:]): value for name, value in header.items()})
    texts = [{1: 9, 2: "c:\\other"}, {1: -5, 2: PATH}]
    return message({1: head, 2: texts, 13: {1: {1: 7, 2: "LAB"}}, **fields})


def bundle(*messages: bytes) -> bytes:
    """Return messages with their lengths before them."""
    return b"".join(len(one).to_bytes(4, "little") + one for one in messages)


START = sensor_message(
    {3: {2: 1, 3: PARENT_PID, 4: FILETIME - 10_000_000, 6: b"\xbb" * 16, 9: "drop /x", 15: "lab\\al"}}
)
LOAD = sensor_message({4: {3: b"\xcc" * 16, 8: b"\xdd" * 32}})
MODULE = sensor_message({9: {1: "AB" * 16, 21: "Unsigned", 22: "0x800b0100", 26: PATH, 27: b"\xdd" * 32}})
CHILD = sensor_message({12: {1: 0, 5: PATH, 6: -1, 7: FILETIME}})
NET = sensor_message(
    {20: {1: 6, 2: "example.test", 3: 0, 8: {1: 1, 3: 1 << 56, 4: 0xB80D0120}, 9: 0x5000, 10: {2: 0x0100007F}}}
)
BUNDLES = [START, LOAD, MODULE, CHILD, NET, bundle(START, LOAD, MODULE, CHILD, NET)]
