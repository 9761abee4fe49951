"""What the four generating commands return: pages of the handler's answers, made into events. Needs no Splunk.

Each event has the EDR's own fields under their own names, `_time`, `_raw` (the same as one JSON line), `host`,
`source` and `sourcetype`, and the names of the Common Information Model below.

References:
    - CIM, Endpoint.Processes: process_guid, process_hash, parent_process_guid and so on; `action` is left out,
      because the EDR does not tell whether a process was allowed
    - cb-edr-api §2.3 (process document), §2.5 (unknown parents), §3.3 (events), §5.2 (binary document)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Union

from cbsigned.observables import guid_parts, is_unknown_parent, parse_guid, split_path
from cbsigned.render.links import console_links
from cbsigned.timing import parse_time
from cbsigned_connectors.splunk.logs import one_line
from cbsigned_connectors.splunk.splunkd import HandlerError

__all__ = ["ACTIVITY_FIELDS", "BINARY_FIELDS", "PROCESS_FIELDS", "Ask", "Event", "Page", "pages", "uniform"]

Event = dict[str, Union[str, list[str]]]
"""One result row: a list is a multi-value field."""
Ask = Callable[[str, dict[str, Any], float], Mapping[str, Any]]
"""Asks the handler: route, document, seconds."""

PROCESS_FIELDS = {
    "process_guid": "id",
    "process_id": "process_pid",
    "process": "cmdline",
    "process_path": "path",
    "process_exec": "process_name",
    "parent_process_guid": "parent_id",
    "parent_process_id": "parent_pid",
    "parent_process_name": "parent_name",
    "user": "username",
    "dest": "hostname",
    "host": "hostname",
    "os": "os_type",
}
"""CIM name → the EDR's; `process_hash` (`MD5=…,SHA256=…`), `vendor_product` and `console_link` come besides."""
BINARY_FIELDS = {"file_path": "observed_filename", "file_size": "orig_mod_len", "os": "os_type"}
"""CIM name → the EDR's; `file_hash`, `file_name`, `dest` (the hosts), `vendor_product` and `console_link` besides."""
ACTIVITY_FIELDS: dict[str, dict[str, str]] = {
    "filemod": {"file_path": "path"},
    "modload": {"file_path": "path"},
    "regmod": {"registry_path": "path"},
    "netconn": {"transport": "protocol", "dvc_ip": "local_ip"},
    "childproc": {"process_path": "path", "process": "cmdline"},
}
"""Kind → CIM name → the EDR's; `process_guid` (whose activity it is) and, for connections, `dest_ip, dest_port,
src_ip, src_port` by their direction come besides."""

_PAGE = 500
_ACTIVITY_PAGE = 10_000
"""The handler reads all events of a process for each page."""
_TIMEOUT_S = 60.0
_WAIT_S = 5.0
_SLACK_S = 20.0
"""For a splunkd that passes requests on one after the other."""
_HEALTH_S = 15.0
_NOTHING = ("", "-1", "(unknown)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,127}", re.ASCII)
_PRODUCT = "Carbon Black EDR"


@dataclass(frozen=True)
class Page:
    """One part of what a command returns.

    Attributes:
        events: In the EDR's order.
        warnings: For the user; each text once in all pages of a search.
        notes: For the job inspector.
        error: Why there is nothing more, or "".
        last: Whether no page follows.
    """

    events: tuple[Event, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    last: bool = False


def pages(command: str, values: Mapping[str, Any], ask: Ask, now: Callable[[], float] = time.time) -> Iterator[Page]:
    """Yield what a command returns, a page at a time, each asked for when it is taken.

    A failure is the last page, never an exception.

    Args:
        command: `cbprocess`, `cbbinary`, `cbactivity` or `cbhealth`.
        values: Its options.
        ask: Asks the handler; raises `HandlerError`.
        now: Epoch seconds, for events that have no time.
    """
    source = _Source(ask)
    try:
        if command == "cbhealth":
            document = ask("health", {}, _HEALTH_S)
            yield Page((_health_event(document, now()),), last=True)
        elif command == "cbactivity":
            yield from _activity(values, source, now)
        else:
            yield from _searched(command, values, source, now)
    except HandlerError as exc:
        yield Page(error=one_line(exc), last=True)


def uniform(events: Iterable[Event]) -> list[Event]:
    """Return events that all have the same names in the same order: the header of a chunk is that of its first row."""
    given = list(events)
    names = dict.fromkeys(name for event in given for name in event)
    return [{name: event.get(name, "") for name in names} for event in given]


class _Source:
    """The handler, asked so that no long question blocks others; and the name of the EDR behind it."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._name = ""

    def answer(self, route: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to a question, waiting for it in slices; one that the handler has forgotten is put again.

        Raises:
            HandlerError: It was refused, or did not come in time.
        """
        asked = {**document, "timeout_s": _TIMEOUT_S, "wait_s": _WAIT_S}
        first = self._ask(route, asked, _WAIT_S + _SLACK_S)
        try:
            return self._waited(route, first)
        except HandlerError as exc:
            if exc.status != 404 or exc.fatal:
                raise
        # the handler was restarted, and its jobs are gone
        return self._waited(route, self._ask(route, asked, _WAIT_S + _SLACK_S))

    def _waited(self, route: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        ends_at = time.monotonic() + _TIMEOUT_S + _SLACK_S
        while isinstance(answer.get("job"), str):
            if time.monotonic() > ends_at:
                raise HandlerError(f"No answer within {_TIMEOUT_S:.0f} s. Narrow the search, or try again later.")
            answer = self._ask(route, {"job": answer["job"], "wait_s": _WAIT_S}, _WAIT_S + _SLACK_S)
        return answer

    def name(self) -> str:
        """Return `edr:<host>`, asked once, or `edr` where it cannot be told."""
        if not self._name:
            self._name = "edr"
            try:
                host = self._ask("health", {}, _HEALTH_S).get("edr_host")
            except HandlerError:
                host = None
            if isinstance(host, str) and host:
                self._name = f"edr:{one_line(host, 300)}"
        return self._name


def _searched(command: str, values: Mapping[str, Any], source: _Source, now: Callable[[], float]) -> Iterator[Page]:
    kind, made = ("process", _process_event) if command == "cbprocess" else ("binary", _binary_event)
    question = {"kind": kind, "query": values["query"], "sort": values.get("sort") or None}
    keys = ("unique_id", "id") if kind == "process" else ("md5",)
    yield from _paged(
        source, "search", question, _PAGE, int(values["maxrows"]), lambda row: made(row, source.name(), now()), keys
    )


def _activity(values: Mapping[str, Any], source: _Source, now: Callable[[], float]) -> Iterator[Page]:
    kinds = [kind for kind in re.split(r"[,\s]+", values.get("kinds") or "") if kind]
    guid = str(values["guid"])
    yield from _paged(
        source, "activity", {"guid": guid, "kinds": kinds or None}, _ACTIVITY_PAGE, int(values["maxrows"]),
        lambda row: _activity_event(row, guid, source.name(), now()),
    )  # fmt: skip


def _paged(
    source: _Source, route: str, question: Mapping[str, Any], rows: int, most: int, made: Callable[[Event], Event],
    keys: Sequence[str] = (),
) -> Iterator[Page]:  # fmt: skip
    """Yield pages of up to `rows` rows until there are `most`; rows that were on an earlier page are left out.

    Args:
        keys: What tells rows apart, the first that a row has; the server's pages shift while it takes in more.
    """
    seen: set[str] = set()
    told: set[str] = set()
    start, given = 0, 0
    while True:
        answer = source.answer(route, {**question, "start": start, "rows": min(rows, most - given)})
        fresh = []
        for row in _rows(answer):
            key = next((_one(row, name) for name in keys if row.get(name)), "")
            if not key or key not in seen:
                fresh.append(row)
                seen.add(key)
        given += len(fresh)
        following = answer.get("next")
        more = isinstance(following, int) and following > start
        notes = (_cut(given, answer.get("total")),) if more and given >= most else ()
        last = not more or given >= most
        yield Page(tuple(made(row) for row in fresh), _unsaid(answer, told), notes, last=last)
        if last or not isinstance(following, int):
            return
        start = following


def _rows(answer: Mapping[str, Any]) -> list[Event]:
    """Return the rows of an answer: texts and lists of texts under plain names."""
    rows = answer.get("rows")
    return [_flat(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _flat(row: Mapping[str, Any]) -> Event:
    made: Event = {}
    for name, value in row.items():
        if _NAME.fullmatch(name) and not isinstance(value, dict) and value is not None:
            made[name] = [_text(item) for item in value] if isinstance(value, list) else _text(value)
    return made


def _text(value: object) -> str:
    """Return a value as text that CSV can carry: no half characters, no NUL."""
    return str(value).encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def _unsaid(answer: Mapping[str, Any], told: set[str]) -> tuple[str, ...]:
    warnings = answer.get("warnings")
    texts = [one_line(text) for text in warnings if isinstance(text, str)] if isinstance(warnings, list) else []
    fresh = tuple(dict.fromkeys(text for text in texts if text and text not in told))
    told.update(fresh)
    return fresh


def _cut(given: int, total: object) -> str:
    known = f" of about {total:,}" if isinstance(total, int) and total > given else ""
    return f"{given:,}{known} rows are shown: raise maxrows for more."


def _process_event(row: Event, source: str, now: float) -> Event:
    guid = parse_guid(_one(row, "id"))
    event = {**row, **_aliases(row, PROCESS_FIELDS)}
    parent = parse_guid(_one(row, "parent_id"))
    if parent is not None and is_unknown_parent(parent):
        event.pop("parent_process_guid", None)
    links = console_links(source, guid, None) or {}
    started = guid_parts(guid).started_at if guid else None
    at = _epoch((_one(row, "start"), started, _one(row, "last_update")), now)
    own: Event = {"process_hash": _hashes(row, "process_"), "console_link": links.get("process") or ""}
    return _finished(row, event, own, "process", source, at)


def _binary_event(row: Event, source: str, now: float) -> Event:
    event = {**row, **_aliases(row, BINARY_FIELDS)}
    hosts = list(dict.fromkeys(text.partition("|")[0] for text in _many(row, "endpoint")))
    paths = _many(row, "observed_filename")
    links = console_links(source, None, _one(row, "md5")) or {}
    at = _epoch((_one(row, "server_added_timestamp"), _one(row, "timestamp"), _one(row, "last_seen")), now)
    own: Event = {
        "file_hash": _hashes(row, ""), "file_name": split_path(paths[0]) if paths else "",
        "dest": hosts[0] if len(hosts) == 1 else hosts, "console_link": links.get("binary") or "",
    }  # fmt: skip
    return _finished(row, event, own, "binary", source, at)


def _activity_event(row: Event, guid: str, source: str, now: float) -> Event:
    kind = _one(row, "kind")
    event = {**row, **_aliases(row, ACTIVITY_FIELDS.get(kind, {}))}
    own: Event = {"process_guid": parse_guid(guid) or ""}
    hashes = "process_hash" if kind == "childproc" else "file_hash" if kind in ("filemod", "modload") else ""
    if hashes:
        own[hashes] = _hashes(row, "")
    if kind == "netconn":
        here, there = ("dest", "src") if _one(row, "direction") == "inbound" else ("src", "dest")
        for side, place in ((here, "local"), (there, "remote")):
            own.update({f"{side}_ip": _one(row, f"{place}_ip"), f"{side}_port": _one(row, f"{place}_port")})
    return _finished(row, event, own, "activity", source, _epoch((_one(row, "time"),), now))


def _health_event(document: Mapping[str, Any], now: float) -> Event:
    row: Event = {}
    for name, value in document.items():
        if isinstance(value, dict):
            row.update({f"{name}.{part}": _text(number) for part, number in value.items()})
        elif value is not None:
            row[name] = str(value).lower() if isinstance(value, bool) else _text(value)
    host = _one(row, "edr_host")
    return _finished(row, dict(row), {}, "health", f"edr:{host}" if host else "edr", now)


def _finished(row: Event, event: Event, own: Event, kind: str, source: str, at: float) -> Event:
    """Return an event with what every event has; its own fields first."""
    event.update({name: value for name, value in own.items() if value not in ("", [])})
    if kind != "health":
        event["vendor_product"] = _PRODUCT
    raw = json.dumps({name: value for name, value in row.items() if value not in ("", [])}, ensure_ascii=False)
    event.update(_time=f"{at:.3f}", _raw=raw, source=source, sourcetype=f"cbsigned:{kind}")
    return event


def _aliases(row: Event, fields: Mapping[str, str]) -> Event:
    return {alias: row[name] for alias, name in fields.items() if row.get(name, "") not in (*_NOTHING, [])}


def _hashes(row: Event, prefix: str) -> str:
    """Return the hashes as the CIM writes them, `MD5=…,SHA256=…`."""
    found = [(name.upper(), _one(row, prefix + name)) for name in ("md5", "sha256")]
    return ",".join(f"{name}={text}" for name, text in found if text not in _NOTHING)


def _one(row: Event, name: str) -> str:
    value = row.get(name, "")
    return value if isinstance(value, str) else (value[0] if value else "")


def _many(row: Event, name: str) -> list[str]:
    value = row.get(name, "")
    return value if isinstance(value, list) else [value] if value else []


def _epoch(values: Iterable[object], now: float) -> float:
    """Return the first of several times that can be read, in epoch seconds."""
    moments = (parse_time(value) for value in values if value)
    return next((moment.timestamp() for moment in moments if moment is not None), now)
