"""Rows of the store → the core's processes and binary records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.process import Process
from cbsigned.store.ids import unpack
from cbsigned.store.rows import Described, Flag

__all__ = ["PROCESS_SQL", "RECORD_SQL", "moment", "process_of", "record_of"]

PROCESS_SQL = """
SELECT p.guid, n.value, pa.value, b.md5, b.sha256, p.pid, c.value, a.value, h.value, p.sensor_id, o.value,
       p.started, p.ended, pp.guid, pn.value, pp.pid, p.described, p.flags
FROM process p
LEFT JOIN name n ON n.id = p.name_id
LEFT JOIN path pa ON pa.id = p.path_id
LEFT JOIN binary b ON b.id = p.binary_id
LEFT JOIN cmdline c ON c.id = p.cmdline_id
LEFT JOIN account a ON a.id = p.account_id
LEFT JOIN host h ON h.id = p.host_id
LEFT JOIN word o ON o.id = p.os_id
LEFT JOIN process pp ON pp.id = p.parent_id
LEFT JOIN name pn ON pn.id = pp.name_id
"""
"""One row of it is what `process_of` reads; a WHERE may follow."""

RECORD_SQL = """
SELECT b.md5, b.sha256, r.kind, r.word, r.code_text, r.code, r.publisher, r.issuer, r.subject, r.program_name,
       r.signed, r.recorded, r.host_count, r.paths, b.id,
       CASE WHEN r.host_count IS NULL THEN (SELECT count(*) FROM bin_host s WHERE s.binary_id = b.id) END
FROM binary b JOIN binary_record r ON r.binary_id = b.id
"""
"""One row of it is what `record_of` reads; a WHERE may follow."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_RECORDED = int(Described.START | Described.DOCUMENT)  # plain numbers: flags are slow to combine, and this runs often
_SUPPRESSED, _TERMINATED, _NO_PARENT = int(Flag.SUPPRESSED), int(Flag.TERMINATED), int(Flag.PARENT_UNKNOWN)


def process_of(row: Sequence[Any]) -> Process:
    """Return the process of a row."""
    guid, name, path, md5, sha256, pid, cmdline, user, host, sensor_id, os_type, started, ended, *rest = row
    parent, parent_name, parent_pid, described, flags = rest
    return Process(
        guid=unpack(guid),
        name=name,
        path=path.lower() if path else None,
        md5=md5.hex() if md5 else None,
        sha256=sha256.hex() if sha256 else None,
        pid=pid,
        cmdline=cmdline,
        user=user,
        host=host,
        sensor_id=sensor_id,
        os_type=os_type,
        started_at=moment(started),
        ended_at=moment(ended),
        terminated=True if ended is not None or flags & _TERMINATED else None,
        parent_guid=unpack(parent) if parent else None,
        parent_name=parent_name,
        parent_pid=parent_pid,
        parent_unknown=bool(flags & _NO_PARENT) and parent is None,
        start_recorded=bool(described & _RECORDED),
        suppressed=bool(flags & _SUPPRESSED) and not described & _RECORDED,
    )


def record_of(row: Sequence[Any], seen_paths: tuple[str, ...] = ()) -> BinaryRecord:
    """Return the binary record of a row; hosts and paths come from telemetry where the record does not name them."""
    md5, sha256, kind, word, code_text, code, publisher, issuer, subject, program_name, *rest = row
    signed, recorded, host_count, paths, _id, hosts = rest
    return BinaryRecord(
        kind=RecordKind(kind),
        md5=md5.hex() if md5 else None,
        sha256=sha256.hex() if sha256 else None,
        word=word or None,
        code=code,
        code_text=code_text if code_text and code is None else None,
        publisher=publisher,
        issuer=issuer,
        subject=subject,
        program_name=program_name,
        signed_at=moment(signed),
        recorded_at=moment(recorded or None),
        host_count=(hosts or None) if host_count is None else host_count,
        paths=seen_paths if paths == "[]" else tuple(json.loads(paths)),
    )


def moment(milliseconds: Optional[int]) -> Optional[datetime]:
    """Return the store's time as UTC."""
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)
