"""Who takes a file in: a mark that other processes can tell a running ingest from a dead one by."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Optional

__all__ = ["is_running", "mark"]

_SILENT_MS = 60_000
"""A process that cannot be looked at counts as dead after so long without a batch."""


def mark() -> str:
    """Return this process's mark: its number, when it began, and the system that the number belongs to."""
    return f"{os.getpid()} {_born(os.getpid())} {_system()}"


def is_running(owner: str, last_ms: int, now_ms: int) -> bool:
    """Whether the process that left a mark still runs.

    Args:
        owner: As `mark` gives it; empty for nobody.
        last_ms: When it wrote last, milliseconds since 1970.
        now_ms: The time now.
    """
    pid, _, rest = owner.partition(" ")
    born, _, system = rest.partition(" ")
    if not pid.isdigit():
        return False
    if os.name != "posix" or system != _system():  # another container or boot: its processes are not ours to see
        return now_ms - last_ms < _SILENT_MS
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return (_born(int(pid)) or born) == born


def _born(pid: int) -> str:
    """Return when a process began, in ticks since boot, so that a number used again is not taken for it."""
    text = _read(f"/proc/{pid}/stat") or ""
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _system() -> str:
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{_read('/proc/sys/kernel/random/boot_id') or platform.node()} {namespace}"


def _read(path: str) -> Optional[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
