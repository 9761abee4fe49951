"""Rows of ClickHouse → the core's processes and records, by the same functions that read the store's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from cbsigned.binary import BinaryRecord
from cbsigned.process import Process
from cbsigned.store.records import process_of, record_of

__all__ = ["PROCESS_COLUMNS", "RECORD_COLUMNS", "binary_record", "file_row", "process", "process_row"]

PROCESS_COLUMNS = (
    "guid, name, path, md5, sha256, pid, cmdline, user, host, sensor_id, os, started, ended, parent_guid, parent_name,"
    " parent_pid, described, flags"
)
"""What `process_row` reads."""
RECORD_COLUMNS = (
    "r.md5, r.sha256, r.kind, r.word, r.code_text, r.code, r.publisher, r.issuer, r.subject, r.program_name, r.signed,"
    " r.recorded, r.host_count, r.paths, r.binary_id"
)
"""What `file_row` reads."""


def process_row(row: Sequence[Any]) -> list[Any]:
    """Return a row of `PROCESS_COLUMNS` as the store's file would give it."""
    made = list(row)
    for column in (0, 3, 4, 13):
        made[column] = blob(made[column])
    return made


def process(row: Sequence[Any]) -> Process:
    """Return the process of a row of `PROCESS_COLUMNS`."""
    return process_of(process_row(row))


def file_row(row: Sequence[Any]) -> list[Any]:
    """Return a row of `RECORD_COLUMNS` as the store's file would give it."""
    return [blob(row[0]), blob(row[1]), *row[2:]]


def binary_record(row: Sequence[Any], hosts: int, paths: tuple[str, ...]) -> BinaryRecord:
    """Return the record of a row.

    Args:
        hosts, paths: Where telemetry saw the file; they count where the record does not say.
    """
    return record_of([*file_row(row), hosts if row[12] is None else None], paths)


def blob(text: Optional[str]) -> Optional[bytes]:
    """Return the bytes of a hexadecimal text, None for none."""
    return bytes.fromhex(text) if text else None
