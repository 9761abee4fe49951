"""Process ids as the store keeps them: Carbon Black's guids, other products' GUIDs, and ids made from host, pid, time.

Carbon Black's are 16 bytes. The others have two bytes before theirs, 0xff and which kind, so that neither can be
taken for the other: no sensor has a number that high.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Optional

from cbsigned.observables import MADE, short_host

__all__ = ["FOREIGN_MARK", "MADE_MARK", "made_id", "pack", "unpack"]

FOREIGN_MARK = b"\xff\x01"
"""Before a GUID that another product gave: Sysmon."""
MADE_MARK = b"\xff\x02"
"""Before host, pid and start of a process that no record gives an id: Windows 4688, auditd."""

_FILETIME_1970 = 116_444_736_000_000_000


def pack(guid: str) -> bytes:
    """Return an id as bytes: 16, or 18 where it is not Carbon Black's.

    Args:
        guid: As `parse_process_id` returns it.
    """
    if guid[0] == "{":
        return FOREIGN_MARK + _bytes(guid[1:-1])
    return MADE_MARK + _bytes(guid[len(MADE) :]) if guid.startswith(MADE) else _bytes(guid)


def unpack(blob: bytes) -> str:
    """Return the id that `pack` made bytes of."""
    text = blob[-16:].hex()
    guid = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    if len(blob) == 16:
        return guid
    return f"{{{guid}}}" if blob[:2] == FOREIGN_MARK else MADE + guid


def made_id(host: Optional[str], pid: int, started: int) -> str:
    """Return an id for a process that its record gives none: built like Carbon Black's, the host's hash as sensor.

    Args:
        started: Milliseconds since 1970, which tell processes of one pid apart: its start, else when it was seen;
            0 for a process that is there before all others, as the kernel is.
    """
    sensor = blake2b(short_host(host or "").encode(), digest_size=4).hexdigest()
    ticks = started * 10_000 + _FILETIME_1970 if started else 0
    digits = f"{sensor}{pid & 0xFFFFFFFF:08x}{ticks & 0xFFFFFFFFFFFFFFFF:016x}"
    return f"{MADE}{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _bytes(guid: str) -> bytes:
    return bytes.fromhex(guid.replace("-", ""))
