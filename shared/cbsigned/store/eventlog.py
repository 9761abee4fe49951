"""Windows event log files (`.evtx`) → records, through the package `evtx`: the extra `cbsigned[evtx]`.

References:
    - pyevtx-rs 0.8, `PyEvtxParser(file).records_json()`; a file is a header of 4,096 bytes and chunks
      of 65,536
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any, Union

__all__ = ["EVTX_MAGIC", "EventLogError", "records_of"]

EVTX_MAGIC = b"ElfFile\x00"
_HEADER, _CHUNK = 4096, 65536
_MOST_ERRORS = 1000


class EventLogError(ValueError):
    """The file, or one record of it, cannot be read; the text says why."""


def records_of(file: IO[bytes], size: int) -> Iterator[Union[dict[str, Any], EventLogError]]:
    """Yield each record as the JSON object that `evtx` makes of it, or why it cannot be read.

    Args:
        file: Open for reading from its beginning; must be seekable.
        size: Its bytes.
    """
    try:
        import evtx
    except ImportError:
        yield EventLogError("Windows event logs need one more package: pip install 'cbsigned[evtx]'")
        return
    errors = 0
    try:
        records = evtx.PyEvtxParser(file, number_of_threads=1).records_json()
        while errors < _MOST_ERRORS:
            record = _next(records)
            if record is None:
                break
            errors += isinstance(record, EventLogError)
            yield record
    except (RuntimeError, ValueError, OSError) as exc:
        yield EventLogError(f"no event log: {exc}"[:200])
        return
    if (size - _HEADER) % _CHUNK:
        yield EventLogError("cut off: its last chunk is not whole, so records are missing")


def _next(records: Iterator[Any]) -> Union[dict[str, Any], EventLogError, None]:
    """Return the next record, or None at the end; a record that breaks the parser is that record's error."""
    try:
        return _object(next(records)["data"])
    except StopIteration:
        return None
    except RuntimeError as exc:
        return EventLogError(f"unreadable record: {exc}"[:200])
    except BaseException as exc:  # its Rust code panics on some damage, which is no Exception
        if type(exc).__name__ != "PanicException":
            raise
        return EventLogError(f"unreadable record: {exc}"[:200])


def _object(text: str) -> Union[dict[str, Any], EventLogError]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return EventLogError(f"its JSON cannot be read: {exc}"[:200])
    return value if isinstance(value, dict) else EventLogError("not a JSON object")
