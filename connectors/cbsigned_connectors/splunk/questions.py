"""The questions that may be put to the handler: each validated in full before anything is asked or looked up.

Whoever asks is authenticated, and no more than that: names, cells, numbers and lists are checked for kind and size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from cbsigned.edr.events import KINDS
from cbsigned.errors import SourceQueryError
from cbsigned.observables import parse_guid, printable
from cbsigned.timing import Deadline
from cbsigned_connectors.splunk.service import LINEAGE, Service

__all__ = ["QUESTIONS", "BadRequest", "Document", "Question", "Work", "asked_job"]

Document = dict[str, Any]
Work = Callable[[Service, Deadline], Document]

_MAX_ROWS = 10_000
_MAX_FIELDS = 64
_MAX_CELL = 8_192
_MAX_VALUES = 1_000
_MAX_ALERTS = 1_000
_MAX_QUERY = 65_536
_LONGEST_WAIT_S = 10.0
_JOB = re.compile(r"[0-9a-f]{32}", re.ASCII)


class BadRequest(Exception):
    """The request is none of ours; the text says what was expected."""


@dataclass(frozen=True)
class Question:
    """A question, validated: what is to be done for it, and how long it and its caller may take.

    Attributes:
        work: Ends by itself soon after the deadline.
        timeout_s: For the work.
        wait_s: After it the caller gets a job id; None for a caller that waits to the end.
    """

    work: Work
    timeout_s: float
    wait_s: Optional[float]


def asked_job(document: Document) -> Optional[tuple[str, float]]:
    """Return which job is asked for and how long its caller waits, or None for a new question.

    Raises:
        BadRequest: Not an id of ours.
    """
    job_id = document.get("job")
    if job_id is None:
        return None
    if not isinstance(job_id, str) or not _JOB.fullmatch(job_id):
        raise BadRequest("job is not an id that this handler gave out.")
    return job_id, _number(document, "wait_s", 0, _LONGEST_WAIT_S, 5)


def _rows(document: Document) -> Question:
    fields = document.get("fields")
    if not isinstance(fields, list) or not 1 <= len(fields) <= _MAX_FIELDS or len(set(map(str, fields))) != len(fields):
        raise BadRequest(f"fields is not a list of 1 to {_MAX_FIELDS} different names.")
    if not all(isinstance(name, str) and 0 < len(name) <= 256 for name in fields):
        raise BadRequest("fields has a name that is no text of 1 to 256 characters.")
    records = [_record(fields, row, number) for number, row in enumerate(_list(document, "rows", _MAX_ROWS), 1)]
    lineage, cache = _switch(document, "lineage", False), _switch(document, "cache", True)
    max_depth = int(_number(document, "max_depth", 0, 500, 16))
    wanted = _lineage_fields(document) if lineage else ()

    def work(service: Service, deadline: Deadline) -> Document:
        return service.rows(records, lineage=wanted, max_depth=max_depth, cache=cache, deadline=deadline)

    return Question(work, *_times(document, 60.0, 5.0))


def _record(fields: list[str], row: object, number: int) -> dict[str, Any]:
    """Return the cells of one row that have something, by name."""
    if not isinstance(row, list) or len(row) != len(fields):
        raise BadRequest(f"row {number} is not a list of {len(fields)} cells.")
    record: dict[str, Any] = {}
    for name, cell in zip(fields, row):
        values = cell if isinstance(cell, list) else (cell,)
        if len(values) > _MAX_VALUES or not all(isinstance(v, str) and len(v) <= _MAX_CELL for v in values):
            raise BadRequest(
                f"row {number} has a cell that is no text of up to {_MAX_CELL:,} characters, and no list of up to "
                f"{_MAX_VALUES:,} such texts."
            )
        if isinstance(cell, str):
            record.update({name: cell} if cell else {})
        else:
            kept = [value for value in values if value]
            record.update({name: kept} if kept else {})
    return record


def _lineage_fields(document: Document) -> tuple[str, ...]:
    """Return which fields of a lineage are wanted; all of them where it is not said."""
    given = document.get("lineage_fields", list(LINEAGE))
    if not isinstance(given, list) or not given or not all(name in LINEAGE for name in map(str, given)):
        raise BadRequest(f"lineage_fields is not a list of some of {', '.join(LINEAGE)}.")
    return tuple(map(str, given))


def _enrich(document: Document) -> Question:
    alerts = _list(document, "alerts", _MAX_ALERTS)
    if not all(isinstance(alert, dict) for alert in alerts):
        raise BadRequest("alerts has something that is no object.")
    lineage = _switch(document, "lineage", True)
    return Question(
        lambda service, deadline: service.enrich(alerts, lineage=lineage, deadline=deadline),
        *_times(document, 60.0, 5.0),
    )


def _search(document: Document) -> Question:
    kind, query, sort = document.get("kind", "process"), document.get("query"), document.get("sort")
    if kind not in ("process", "binary"):
        raise BadRequest("kind is neither process nor binary.")
    if not isinstance(query, str) or len(query) > _MAX_QUERY:
        raise BadRequest(f"query is no text of up to {_MAX_QUERY:,} characters.")
    if not isinstance(sort, (str, type(None))):
        raise BadRequest("sort is no text.")
    start = int(_number(document, "start", 0, 10_000_000, 0))
    rows = int(_number(document, "rows", 0, 1_000, 500))

    def work(service: Service, deadline: Deadline) -> Document:
        return service.search(kind, query, start=start, rows=rows, sort=sort or None, deadline=deadline)

    return Question(work, *_times(document, 25.0, None))


def _process(document: Document) -> Question:
    guid = _guid(document)
    relatives = int(_number(document, "relatives", 0, 1_000, 20))
    return Question(
        lambda service, deadline: service.process(guid, relatives=relatives, deadline=deadline),
        *_times(document, 25.0, None),
    )


def _activity(document: Document) -> Question:
    guid, kinds = _guid(document), document.get("kinds")
    if kinds is not None and (not isinstance(kinds, list) or not kinds or not all(isinstance(k, str) for k in kinds)):
        raise BadRequest("kinds is not a list of texts. Leave it out for all.")
    unknown = next((kind for kind in kinds or () if kind not in KINDS), None)
    if unknown is not None:
        raise SourceQueryError(
            f"kinds has {printable(unknown, 40)}: expected some of {', '.join(KINDS)}, with commas. "
            "Leave it out for all."
        )
    start = int(_number(document, "start", 0, 10_000_000, 0))
    rows = int(_number(document, "rows", 1, 10_000, 500))

    def work(service: Service, deadline: Deadline) -> Document:
        return service.activity(guid, kinds=kinds, start=start, rows=rows, deadline=deadline)

    return Question(work, *_times(document, 25.0, None))


QUESTIONS: Mapping[str, Callable[[Document], Question]] = {
    "rows": _rows,
    "enrich": _enrich,
    "search": _search,
    "process": _process,
    "activity": _activity,
}
"""Route → what reads its question; raises `BadRequest`, or `SourceQueryError` for a value that a user typed."""


def _times(document: Document, timeout_s: float, wait_s: Optional[float]) -> tuple[float, Optional[float]]:
    limit_s = _number(document, "timeout_s", 0.1, 600, timeout_s)
    if wait_s is None and document.get("wait_s") is None:
        return limit_s, None
    return limit_s, _number(document, "wait_s", 0, _LONGEST_WAIT_S, wait_s or 0.0)


def _guid(document: Document) -> str:
    guid = parse_guid(document.get("guid"))
    if guid is None:
        shown = printable(str(document.get("guid")), 60)
        raise SourceQueryError(
            f"guid is {shown}: expected a process guid of Carbon Black's, 36 characters such as "
            "00000001-0000-0a1c-01d5-0c2d1f3e5a7b. Check the field it is from."
        )
    return guid


def _number(document: Document, name: str, low: float, high: float, default: float) -> float:
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise BadRequest(f"{name} is not a number, {low:g} to {high:g}.")
    return float(value)


def _switch(document: Document, name: str, default: bool) -> bool:
    value = document.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is neither true nor false.")
    return value


def _list(document: Document, name: str, most: int) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise BadRequest(f"{name} is not a list of up to {most:,} entries.")
    return value
