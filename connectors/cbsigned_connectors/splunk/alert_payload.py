"""What splunkd hands to the alert action: the payload on standard input, its parameters and its results.

References:
    - splunk §6 (keys of the payload, `results_file`), §2 (`__mv_` columns: `$v1$;$v2$`, `$` doubled)
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import socket
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, Union

from cbsigned.observables import printable

__all__ = ["PARAMETERS", "BadInput", "Parameter", "Parameters", "Payload", "Row", "results"]

Row = Mapping[str, Union[str, list[str]]]
"""One result: name of the field → its text, or its texts where it is multi-value; empty fields are not in it."""

_MAX_PAYLOAD = 16 * 1024 * 1024
_MAX_CELL = 16 * 1024 * 1024
_MAX_COUNTED = 1_000_000
_VALUES = re.compile(r"\$((?:[^$]|\$\$)*)\$(?:;|$)")


class BadInput(Exception):
    """The payload, a parameter or the results cannot be used; the text says what, why, and what to do."""


class Parameter(NamedTuple):
    """One parameter of the action, `param.<name>` in alert_actions.conf."""

    default: str
    text: str
    range: str
    example: str


PARAMETERS = {
    "index": Parameter(
        "main", "Index that the result events go to; it must exist.",
        "a name of an index: a-z, 0-9, _ and -, not beginning with _ or -, at most 80 characters", "cbsigned",
    ),
    "max_rows": Parameter(
        "100", "Most results looked up in one run; the log says how many were left.", "1 to 1000", "500",
    ),
    "lineage": Parameter("true", "Whether ancestors are looked up and written too.", "true or false", "false"),
}  # fmt: skip
"""Name → what it is; `packaging/splunk` and `docs/splunk.md` show this very table."""

_INDEX = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.ASCII)
_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Parameters:
    """The parameters of one run, each within its range."""

    index: str
    max_rows: int
    lineage: bool

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Parameters:
        """Return the parameters that a payload gives; an empty one is its default.

        Raises:
            BadInput: One is out of its range; the text names it, the range and the default.
        """
        texts = {name: str(given.get(name) or "").strip() or spec.default for name, spec in PARAMETERS.items()}
        index, rows, lineage = texts["index"], texts["max_rows"], texts["lineage"].lower()
        if not _INDEX.fullmatch(index):
            raise _wrong("index", index)
        if not re.fullmatch(r"\d{1,4}", rows, re.ASCII) or not 1 <= int(rows) <= 1000:
            raise _wrong("max_rows", rows)
        if lineage not in _SWITCHES:
            raise _wrong("lineage", lineage)
        return cls(index, int(rows), _SWITCHES[lineage])


@dataclass(frozen=True)
class Payload:
    """What splunkd tells of one run.

    Attributes:
        server_uri: splunkd's management address.
        session_key: With the rights of the search's owner; never shown.
        worker: Name of the search head.
        result_id: Given where the action runs once for each result, else empty.
        result: The first row, or that one result.
        configuration: The parameters as they were given.
    """

    server_uri: str
    session_key: str = field(repr=False)
    sid: str = ""
    search_name: str = ""
    app: str = ""
    user: str = ""
    worker: str = ""
    results_file: str = ""
    result_id: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, stream: BinaryIO) -> Payload:
        """Return the payload that a stream holds.

        Raises:
            BadInput: It is not JSON, or lacks splunkd's address or the session key.
        """
        data = stream.read(_MAX_PAYLOAD + 1)
        try:
            given = json.loads(data.decode("utf-8", "replace")) if len(data) <= _MAX_PAYLOAD else None
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise BadInput(
                "The alert action got no JSON object on its standard input. Let Splunk start it "
                "(payload_format = json in alert_actions.conf), or pipe such an object into it."
            )
        texts = {name: value for name, value in given.items() if isinstance(value, str)}
        if not texts.get("server_uri") or not texts.get("session_key"):
            raise BadInput(
                "The payload of the alert action has no server_uri or no session_key, so splunkd cannot be asked. "
                "Let Splunk start the action."
            )
        return cls(
            server_uri=texts["server_uri"],
            session_key=texts["session_key"],
            sid=texts.get("sid", ""),
            search_name=texts.get("search_name", ""),
            app=texts.get("app", ""),
            user=texts.get("owner") or texts.get("user", ""),
            worker=texts.get("server_host") or socket.gethostname(),
            results_file=texts.get("results_file", ""),
            result_id="" if given.get("result_id") is None else str(given["result_id"]),
            result=_mapping(given.get("result")),
            configuration=_mapping(given.get("configuration")),
        )


def results(payload: Payload, most: int) -> tuple[list[Row], int]:
    """Return the first rows of a run's results, and how many there are in all.

    A run for one result has that one. Else they are read from `results_file`, and where that is not there, the
    payload's own first row is all that is known.

    Args:
        payload: Of the run.
        most: Rows returned.

    Raises:
        BadInput: `results_file` is there and cannot be read to the last row wanted.
    """
    single = _row(payload.result)
    if payload.result_id and single:
        return [single], 1
    try:
        with gzip.open(payload.results_file or "", "rb") as stream:
            return _table(io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline=""), most)
    except FileNotFoundError:
        return ([single], 1) if single else ([], 0)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as exc:
        raise BadInput(
            f"Results of search {printable(payload.sid, 80)} cannot be read: results_file is no whole gzip CSV "
            f"({type(exc).__name__}). Look at the disk of the search head, and run the search again."
        ) from exc


def _table(lines: io.TextIOWrapper, most: int) -> tuple[list[Row], int]:
    """Return the first rows of a CSV and the number of all its rows, empty ones not counted."""
    before = csv.field_size_limit(_MAX_CELL)
    try:
        reader = csv.reader(line.replace("\0", "") for line in lines)
        header = next(reader, [])
        rows: list[Row] = []
        total = 0
        for cells in reader:
            if len(rows) < most:
                row = _decoded(header, cells)
                rows += [row] if row else []
            total += any(cells)
            if total >= _MAX_COUNTED:
                break
    finally:
        csv.field_size_limit(before)
    return rows, total


def _decoded(header: list[str], cells: list[str]) -> Row:
    """Return a row with its multi-value cells as lists; the `__mv_` columns themselves go."""
    given = dict(zip(header, cells))
    row: dict[str, Union[str, list[str]]] = {}
    for name, text in given.items():
        if name.startswith("__mv_") or not (text or given.get(f"__mv_{name}")):
            continue
        values = list(_values(given.get(f"__mv_{name}", "")))
        row[name] = values or text
    return row


def _values(encoded: str) -> Iterator[str]:
    for match in _VALUES.finditer(encoded):
        yield match.group(1).replace("$$", "$")


def _row(result: Mapping[str, Any]) -> Row:
    """Return the payload's own row in the same shape."""
    row: dict[str, Union[str, list[str]]] = {}
    for name, value in result.items():
        if isinstance(value, list):
            texts = [str(item) for item in value if isinstance(item, (str, int, float))]
            row.update({name: texts} if texts else {})
        elif isinstance(value, (str, int, float)) and str(value) and not name.startswith("__mv_"):
            row[name] = str(value)
    return row


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _wrong(name: str, value: str) -> BadInput:
    spec = PARAMETERS[name]
    return BadInput(
        f"param.{name} is {printable(value, 60)}: expected {spec.range}; {spec.example} for example. "
        f"Leave it empty for the default, {spec.default}."
    )
