"""Platforms' records → alerts: an explicit table of formats; what none of them reads, the generic walker searches.

`read_body` makes records of bytes, `parse_alert` an alert of a record. `FORMATS` names what can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Callable, NamedTuple, Optional

from cbsigned.alert import Alert, Role
from cbsigned.errors import AlertError
from cbsigned.formats import (
    bundles,
    carbon_black,
    carbon_black_cloud,
    chainsaw,
    cloudevents,
    defender,
    elastic,
    hayabusa,
    ocsf,
    row,
    sentinel,
    soar,
    splunk,
    sysmon,
    thehive,
    walker,
    xsoar,
)
from cbsigned.formats.bodies import Body, Limits, read_body
from cbsigned.formats.bundles import records_of
from cbsigned.formats.cloudevents import key_of
from cbsigned.formats.faults import AlertIgnored, BodyError, Fault, UnknownFormat
from cbsigned.formats.fields import Record, kept
from cbsigned.formats.jsontext import load
from cbsigned.formats.mapping import FieldMapping, parse_mappings
from cbsigned.gaps import Cause
from cbsigned.observables import printable

__all__ = [
    "FORMATS",
    "AlertIgnored",
    "Body",
    "BodyError",
    "Fault",
    "FieldMapping",
    "Limits",
    "UnknownFormat",
    "key_of",
    "parse_alert",
    "parse_mappings",
    "read_body",
    "records_of",
]

_GENERIC = "generic"
_MAX_LEVELS = 5
"""Of alerts in envelopes in envelopes."""
_MAX_CARRIED = 1000


class _Format(NamedTuple):
    """One format: how it is told from others, and how it is read.

    Attributes:
        signs: Keys; a record of the format has at least one of them. None: any record may be one.
        read: None where the record is none of its own; without sets where there is nothing to look up.
        carried: For envelopes: the records inside, which are read on and give the sets.
    """

    about: str
    signs: Optional[frozenset[str]]
    matches: Callable[[Record], bool]
    read: Callable[[Record], Optional[Alert]]
    carried: Optional[Callable[[Record], Sequence[Record]]] = None


def _always(_record: Record) -> bool:
    return True


def _any(*keys: str) -> frozenset[str]:
    return frozenset(keys)


_TABLE: Mapping[str, _Format] = {  # in the order of alert-formats §2; the first that finds something wins
    "splunk": _Format("Splunk's webhook alert action", _any("sid"), splunk.matches, splunk.read, splunk.carried),
    "soar": _Format(
        "Splunk SOAR container or artifact", _any("cef", "artifacts", "container"),
        soar.matches, soar.read, soar.carried,
    ),
    "sentinel": _Format(
        "Microsoft Sentinel incident or alert trigger", _any("object", "Entities"), sentinel.matches, sentinel.read
    ),
    "defender": _Format(
        "Microsoft Defender XDR, Graph alerts_v2", _any("@odata.type", "evidence"), defender.matches, defender.read
    ),
    "elastic": _Format(
        "Elastic Security detection alert or Elastic Defend alert",
        _any("_source", "kibana.alert.uuid", "kibana", "event.kind", "event"), elastic.matches, elastic.read,
    ),
    "ocsf": _Format(
        "OCSF Process Activity, Detection Finding and others", _any("class_uid"), ocsf.matches, ocsf.read
    ),
    "carbon-black": _Format(
        "Carbon Black EDR: event forwarder, message bus, process and binary documents", carbon_black.SIGNS,
        _always, carbon_black.read,
    ),
    "carbon-black-cloud": _Format(
        "Carbon Black Cloud Alerts v7", _any("org_key"), carbon_black_cloud.matches, carbon_black_cloud.read
    ),
    "thehive": _Format("TheHive 5 webhook", _any("_type"), thehive.matches, thehive.read),
    "hayabusa": _Format("Hayabusa result", _any("RuleTitle"), hayabusa.matches, hayabusa.read),
    "chainsaw": _Format("Chainsaw hit", _any("group"), chainsaw.matches, chainsaw.read),
    "xsoar": _Format("Cortex XSOAR incident", _any("raw_json", "rawJSON"), xsoar.matches, xsoar.read, xsoar.carried),
    "cloudevents": _Format(
        "CloudEvents 1.0 around any other format", _any("specversion"),
        cloudevents.matches, cloudevents.read, cloudevents.carried,
    ),
    "windows-event": _Format(
        "One Sysmon event of a file or module, flat", _any("EventID"), sysmon.matches, sysmon.read
    ),
    "row": _Format("Flat row: a search result, a CSV line, CIM or common names", None, _always, row.read),
    _GENERIC: _Format("Anything else: hashes and process guids are searched for", None, _always, walker.read),
}  # fmt: skip

_ALL = tuple(_TABLE)
_NAMED = {name: form.signs for name, form in _TABLE.items() if name != _GENERIC}
_SIGNS = frozenset[str]().union(*filter(None, _NAMED.values()))
FORMATS: Mapping[str, str] = {name: form.about for name, form in _TABLE.items()}
"""Every format by the name that `source` takes, with what it is."""


def parse_alert(
    record: object, source: Optional[str] = None, *, mappings: Optional[Mapping[str, FieldMapping]] = None
) -> Alert:
    """Return an alert's observable sets, whatever of the known shapes it has.

    Args:
        record: A JSON object. A Splunk row whose `_raw` holds an alert is read through it, a line of Splunk's JSON
            export through its `result`, and a line of our own output through its `alert`.
        source: Name of a format or of a mapping; None lets the record say by its fields what it is.
        mappings: The users' own, by source; what such a mapping finds goes before any format.

    Raises:
        UnknownFormat: There is no such format and no such mapping.
        AlertIgnored: On purpose not looked at, an event that we caused ourselves for example.
        AlertError: Not an object, or nothing in it can be looked up; the text says which fields would help.

    References:
        - cb-edr-api §9 and §10.3; alert-formats §1, §2, §5
    """
    if source is not None and source not in _TABLE and source not in (mappings or {}):
        raise UnknownFormat(source, [*_TABLE, *sorted(mappings or {})])
    if not isinstance(record, Mapping):
        raise AlertError(f"The alert is {_kind_of(record)}, expected a JSON object with named fields.")
    own = mappings.get(source) if mappings and source is not None else None
    alert = own.read(record) if own is not None else None
    if alert is None or not alert.sets:
        names = (source,) if source is not None and source in _TABLE else _ALL
        alert = _read(record, names, _MAX_LEVELS)
    if alert is not None and alert.sets:
        return alert
    if bundles.is_bundle(record):
        return parse_alert(_single(record), source, mappings=mappings)
    told = f"Alert {printable(alert.id, 80)}" if alert is not None and alert.id else "The alert"
    form = f", read as {source}," if source is not None else ""
    raise AlertError(
        f"{told}{form} has no md5, sha256 or process guid, so there is nothing to look up. Fields that help: "
        "md5, process_hash, process_guid, or host with pid and time.",
        Cause.NO_OBSERVABLE,
    )


def _read(record: Record, names: tuple[str, ...], levels: int) -> Optional[Alert]:
    """Return the alert of the first format that finds something, else the first that there is.

    Anything that one of the known shapes reads goes before what the generic walker finds.
    """
    best: Optional[Alert] = None
    candidates = (*_inside(record), record)
    for name, candidate in _attempts(names, candidates):
        form = _TABLE[name]
        if len(names) > 1 and not form.matches(candidate):
            continue
        alert = form.read(candidate)
        if alert is not None and form.carried is not None and levels:
            alert = _filled(alert, form.carried(candidate), levels - 1)
        if alert is None:
            continue
        if alert.sets and not (len(names) > 1 and _vague(alert, candidate)):
            return alert
        if best is None or (alert.sets and not best.sets):
            best = alert
    return best


def _attempts(names: tuple[str, ...], candidates: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    if names is not _ALL:
        yield from ((name, candidate) for candidate in candidates for name in names)
        return
    yield from ((name, candidate) for candidate in candidates for name in _possible(candidate))
    if not any(map(bundles.is_bundle, candidates)):  # its alerts are not to be mixed
        yield from ((_GENERIC, candidate) for candidate in candidates)


def _possible(record: Record) -> Sequence[str]:
    """Return the formats that a record may have by its keys, the generic one aside."""
    return _with_signs(_SIGNS.intersection(record))


@lru_cache(maxsize=1024)
def _with_signs(found: frozenset[str]) -> Sequence[str]:
    """Return the formats that a record with these signs, and no others, may have."""
    return tuple(name for name, signs in _NAMED.items() if signs is None or not found.isdisjoint(signs))


def _vague(alert: Alert, record: Record) -> bool:
    """Whether a row names a process by host and pid alone while its nested fields may hold more."""
    if alert.format != "row" or any(map(kept, alert.sets)):
        return False
    return any(isinstance(value, (Mapping, list)) for value in record.values())


def _filled(envelope: Alert, carried: Sequence[Record], levels: int) -> Alert:
    """Return an envelope's alert with what its records say; its own words go first."""
    inner = [alert for alert in (_read(item, _ALL, levels) for item in carried[:_MAX_CARRIED]) if alert]
    if not inner:
        return envelope
    first, order = inner[0], list(Role)
    sets = dict.fromkeys(s for alert in inner for s in alert.sets)
    return replace(
        envelope,
        kind=envelope.kind or first.kind,
        id=envelope.id or first.id,
        title=envelope.title or first.title,
        at=envelope.at or first.at,
        link=envelope.link or first.link,
        sets=tuple(sorted(sets, key=lambda s: order.index(s.role))),
        problems=tuple(dict.fromkeys(problem for alert in inner for problem in alert.problems)),
    )


def _single(record: Record) -> Record:
    """Return the one alert of a bundle."""
    found = records_of(record)
    if not found:
        raise AlertIgnored("The bundle is empty, as the event forwarder sends them by default.")
    if len(found) > 1:
        raise AlertError(f"This is a bundle of {len(found)} alerts. Take it apart with records_of, and read each.")
    if isinstance(found[0], AlertError):
        raise found[0]
    return found[0]


def _inside(record: Record, levels: int = _MAX_LEVELS) -> list[Record]:
    """Return the records that this one merely carries."""
    found: list[Record] = []
    result = record.get("result")
    exported = "preview" in record or "search_name" in record
    if exported and levels and isinstance(result, Mapping) and not splunk.matches(record):
        found += [*_inside(result, levels - 1), result]
    if isinstance(record.get("alert"), Mapping) and isinstance(record.get("enrichment"), Mapping):
        found.append(record["alert"])
    raw = record.get("_raw")
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        try:
            inner = load(raw)
        except ValueError:
            return found
        found += [inner] if isinstance(inner, Mapping) else []
    return found


def _kind_of(record: object) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a switch", type(None): "empty"}
    return names.get(type(record), "no object")
