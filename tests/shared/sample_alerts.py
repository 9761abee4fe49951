"""The sample alerts: each in one of the shapes that platforms send, each showing one kind of answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional

from shared.sample_story import GIT_HR, GIT_MAC, PROCMON23, STATUSES, binaries
from shared.sample_world import (
    SERVER,
    VERSION,
    Program,
    World,
    epoch,
    hit_document,
    md5_of,
    process_document,
)

__all__ = ["Sample", "samples"]


@dataclass(frozen=True)
class Sample:
    """One alert, and what the core must answer; the README's table is made of these.

    Attributes:
        shows: What a person learns from it.
        status: Signing status of the first subject, None where the alert cannot be read.
        ended: Why its lineage ends, None where it has none.
    """

    shape: str
    shows: str
    record: dict[str, Any]
    status: Optional[str]
    ended: Optional[str] = None


def samples(world: World) -> list[Sample]:
    """Return the alerts in the order in which the stories are told."""
    docs = {doc["md5"].lower(): doc for doc in binaries(world)}
    return [*_stories(world, docs), *_statuses(world), *_unknown(world), *_lineages(world), *_rows(world, docs)]


def _stories(world: World, docs: dict[str, Any]) -> Iterator[Sample]:
    first, second = world.programs["procmon"], world.programs["procmon64"]
    yield Sample(
        "watchlist.hit.process",
        "SDL-DEV: procmon64.exe, started by procmon.exe; all of the lineage is signed, so the verdict is calm. That it "
        "wrote procmon23.sys stands in the telemetry alone",
        _hit(second, 21, "Executable that writes drivers", childproc_count=0, filemod_count=4, regmod_count=3),
        "Signed", "root",
    )  # fmt: skip
    yield Sample(
        "watchlist.storage.hit.process", "the parent of the same, in the stored shape: scalars, `.000Z` times, a "
        "signed integer as `parent_id`", _stored_hit(first, 21, "Executable that writes drivers"), "Signed", "root",
    )  # fmt: skip
    yield Sample(
        "watchlist.hit.binary", "the driver procmon23.sys, loaded by System and then deleted: the file is gone, its "
        "record stays; a file has no lineage", _binary_hit(docs[PROCMON23], 22, "Newly loaded drivers"), "Signed",
    )  # fmt: skip
    yield Sample(
        "watchlist.storage.hit.binary", "the same driver in the stored shape",
        _stored_binary_hit(docs[PROCMON23], 22, "Newly loaded drivers"), "Signed",
    )  # fmt: skip
    yield Sample(
        "alert.watchlist.hit.query.process", "host001: `git` under Code Helper under Code, on a developer's Mac; "
        "numbers are texts, as in all alerts", _alert(world.programs["git"], 31, "git outside of builds"),
        "Signed", "root",
    )  # fmt: skip
    yield Sample(
        "alert.watchlist.hit.query.process", "HR-LT-017: the same name, unsigned, started by the mail program",
        _alert(world.programs["git hr"], 31, "git outside of builds"), "Unsigned", "root",
    )  # fmt: skip
    yield Sample(
        "bus message without `type`", "the same alert as it lies on the server's bus",
        {k: v for k, v in _alert(world.programs["git hr"], 31, "git outside of builds").items() if k != "type"},
        "Unsigned", "root",
    )  # fmt: skip


def _statuses(world: World) -> Iterator[Sample]:
    for tool, (word, _code) in STATUSES.items():
        yield Sample(
            "watchlist.hit.process", f"the status {word}; its seven siblings are the other tools of the build agent",
            _hit(world.programs[tool], 41, "Tools of the build agent"), word, "root",
        )  # fmt: skip


def _unknown(world: World) -> Iterator[Sample]:
    told = {
        "oddword": ("Unknown", "a status word that is none of the eight: kept, shown, and not guessed at"),
        "unchecked": ("Unknown", "`(Unknown)`: the sensor did not evaluate the signature"),
        "disagree": ("Unsigned", "word Signed, result code for no signature: the less trusting one counts"),
        "norecord": ("Unknown", "no record of the file at all: Unknown, not Unsigned"),
        "catalogued": ("Unknown", "two records of one file contradict each other, as when a host lacks the catalogue"),
    }
    for key, (status, shows) in told.items():
        yield Sample("watchlist.hit.process", shows, _hit(world.programs[key], 51, "Finance tools"), status, "root")
    claim = md5_of("seen by the alert alone")
    yield Sample(
        "alert.watchlist.hit.query.binary",
        "the server holds no record; the alert's own word is shown as `Unsigned?`, marked as its claim",
        {
            "type": "alert.watchlist.hit.query.binary", "alert_type": "watchlist.hit.query.binary",
            "unique_id": _uuid("claim"), "status": "Unresolved", "alert_severity": "45.0", "feed_id": "-1",
            "feed_name": "My Watchlists", "watchlist_id": "52", "watchlist_name": "Unsigned binaries",
            "ioc_type": "query", "md5": claim.upper(), "digsig_result": "Unsigned", "hostname": "FIN-WS-04",
            "observed_filename": ["c:\\finance\\gone.dll"], "observed_filename_total_count": "1", "host_count": "1",
            "other_hostnames": [], "sensor_id": "5", "group": "Default Group", "os_type": "windows",
            "created_time": "2017-06-14T10:31:09.204511Z", "event_timestamp": 1497436269.2, "cb_server": SERVER,
        },
        "Unsigned",
    )  # fmt: skip


def _lineages(world: World) -> Iterator[Sample]:
    p = world.programs
    names = "Unusual process names"
    chain = "Unusual parents"
    yield Sample("watchlist.hit.process", "twelve ancestors; signatures of Linux images are not evaluated",
                 _hit(p["linux 11"], 61, "Deep chains"), "Unknown", "root")  # fmt: skip
    yield Sample("feed.query.hit.process", "a feed's query; the file name is HTML, and stays text",
                 _feed_query(p["html"]), "Unknown", "root")  # fmt: skip
    yield Sample("watchlist.hit.process", "orphan: the parent's start was never recorded, so the lineage stops there",
                 _hit(p["orphan"], 62, chain), "Signed", "start not recorded")  # fmt: skip
    yield Sample("watchlist.hit.process", "the sensor itself never knew the parent (`ffff-ffff`)",
                 _hit(p["parentless"], 62, chain), "Signed", "parent unknown to the sensor")  # fmt: skip
    yield Sample("watchlist.hit.process", "reused pid: the parent that is named started half an hour after its child",
                 _hit(p["early"], 62, chain), "Signed", "reused pid")  # fmt: skip
    yield Sample("process document", "loop: two documents name each other as parent",
                 process_document(p["loop a"]), "Unknown", "loop")  # fmt: skip
    yield Sample("process document", "a process with two segments is one process",
                 process_document(p["dc svchost"]), "Signed", "root")  # fmt: skip
    yield Sample("watchlist.hit.process", "a command line of 4,000 characters",
                 _hit(p["long"], 63, names), "Signed", "root")  # fmt: skip
    yield Sample("watchlist.hit.process", "a right-to-left name", _hit(p["rtl"], 63, names), "Unsigned", "root")
    yield Sample("watchlist.hit.process", "a right-to-left override: `invoice…exe.pdf` is a lie, and is shown as one",
                 _hit(p["override"], 63, names), "Bad Signature", "root")  # fmt: skip
    yield Sample("feed.ingress.hit.process", "a feed hit without documents: only guid, host and indicator",
                 _feed_ingress(p["git hr"]), "Unsigned", "root")  # fmt: skip
    yield Sample("watchlist.hit.process", "the build agent itself: eight children, with `--relatives 20`",
                 _hit(p["agent"], 41, "Tools of the build agent", childproc_count=8), "Signed", "root")  # fmt: skip


def _rows(world: World, docs: dict[str, Any]) -> Iterator[Sample]:
    second, first = world.programs["second"], world.programs["first"]
    seen = (("first", first, "2017-06-14T11:11:00Z"), ("second", second, "2017-06-14T11:40:00Z"))
    for name, program, at in seen:
        yield Sample(
            "row", f"a flat row without a guid: host, pid and time name the {name} of two processes with pid 2288",
            {"alert_id": f"row-{name}", "rule_name": "Kiosk activity", "_time": at, "dest": "kiosk-03.example.test",
             "process_id": str(program.pid), "user": "guest"}, "Signed", "start not recorded",
        )  # fmt: skip
    yield Sample(
        "row", "Splunk's CIM spelling of hashes; an IMPHASH is not taken for an MD5",
        {"alert_id": "row-cim", "search_name": "git by hash", "dest": "host001", "process_name": "git",
         "process_hash": f"IMPHASH={md5_of('imphash').upper()},MD5={GIT_MAC.upper()}"}, "Signed",
    )  # fmt: skip
    yield Sample("binary document", "a file alone: no process, so no lineage", docs[GIT_HR], "Unsigned")
    yield Sample(
        "feed.storage.hit.binary", "numbers and booleans as texts; the document's record agrees with the store",
        {"type": "feed.storage.hit.binary", "timestamp": 1497433501.88, "cb_server": SERVER, "cb_version": VERSION,
         "server_name": "localhost", "feed_id": 12, "feed_name": "examplefeed", "report_id": "r-77",
         "md5": GIT_HR.upper(), "docs": [{k: _texted(v) for k, v in docs[GIT_HR].items()}]}, "Unsigned",
    )  # fmt: skip
    yield Sample(
        "row", "only a SHA-1: Carbon Black cannot be asked by it, and the answer says so",
        {"alert_id": "row-sha1", "title": "File by SHA-1", "hash": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
         "file_name": "empty.txt"}, "Unknown",
    )  # fmt: skip
    yield Sample("row", "malformed: nothing in it can be looked up",
                 {"alert_id": "row-empty", "title": "Door left open", "room": "2.14"}, None)  # fmt: skip
    yield Sample("row", "a hash that is none",
                 {"alert_id": "row-bad-hash", "title": "Broken export", "md5": "82a7bf2b1f51f1988be571b8176aa54Z",
                  "process_name": "git"}, "Unknown")  # fmt: skip


def _hit(program: Program, number: int, title: str, **counts: int) -> dict[str, Any]:
    """Return a live watchlist hit of one process."""
    return {
        "type": "watchlist.hit.process", "timestamp": epoch(program.start + timedelta(minutes=4)) + 0.24,
        "cb_version": VERSION, "cb_server": SERVER, "server_name": "cb01", "watchlist_id": number,
        "watchlist_name": title, "docs": [hit_document(program, **counts)],
    }  # fmt: skip


def _stored_hit(program: Program, number: int, title: str) -> dict[str, Any]:
    """Return the message of a document that was tagged: flattened, without host and sensor."""
    doc = hit_document(program)
    for name in ("id", "hostname", "computer_name", "sensor_id", "group", "segment_id", "link_sensor"):
        del doc[name]
    parent = int((program.parent_guid or "0")[:18].replace("-", ""), 16)
    doc.update({
        "parent_id": -parent, "start": f"{program.start:%Y-%m-%dT%H:%M:%S}.000Z",
        "last_update": f"{program.start:%Y-%m-%dT%H:%M:%S}.000Z",
        f"watchlist_{number}": f"{program.start:%Y-%m-%dT%H:%M:%S}.178364Z",
    })  # fmt: skip
    return {
        "type": "watchlist.storage.hit.process", "timestamp": epoch(program.start + timedelta(minutes=5)) + 0.71,
        "cb_version": VERSION, "cb_server": SERVER, "server_name": "localhost", "watchlist_id": number,
        "watchlist_name": title, "process_guid": program.guid, "process_id": program.guid,
        "link_process": program.link, "docs": [doc],
    }  # fmt: skip


def _binary_hit(doc: dict[str, Any], number: int, title: str) -> dict[str, Any]:
    return {
        "type": "watchlist.hit.binary", "timestamp": 1497432004.27, "cb_version": VERSION, "cb_server": SERVER,
        "server_name": "cb01", "watchlist_id": number, "watchlist_name": title,
        "docs": [{**doc, "link_md5": f"https://{SERVER}/#/binary/{doc['md5']}"}],
    }  # fmt: skip


def _stored_binary_hit(doc: dict[str, Any], number: int, title: str) -> dict[str, Any]:
    flat = {k: v[0] if isinstance(v, list) and v else v for k, v in doc.items() if v not in ("(unknown)", [])}
    for name in ("signed", "timestamp"):
        flat.pop(name, None)
    return {
        "type": "watchlist.storage.hit.binary", "timestamp": 1497432019.259, "cb_version": VERSION,
        "cb_server": SERVER, "server_name": "localhost", "watchlist_id": number, "watchlist_name": title,
        "md5": doc["md5"], "link_md5": f"https://{SERVER}/#/binary/{doc['md5']}",
        "docs": [{**flat, f"watchlist_{number}": "2017-06-14T09:20:04.064620Z"}],
    }  # fmt: skip


def _alert(program: Program, number: int, title: str) -> dict[str, Any]:
    """Return a console alert as the forwarder sends it: nearly all values are texts."""
    raised = program.start + timedelta(minutes=6, microseconds=830_563 - program.start.microsecond)
    return {
        "type": "alert.watchlist.hit.query.process", "alert_type": "watchlist.hit.query.process",
        "unique_id": _uuid(program.guid), "status": "Unresolved", "alert_severity": "40.5", "report_score": "75",
        "feed_id": "-1", "feed_name": "My Watchlists", "feed_rating": "3.0", "watchlist_id": str(number),
        "watchlist_name": title, "ioc_type": "query", "ioc_confidence": "0.5",
        "ioc_attr": json.dumps({"highlights": [f"PREPREPRE{program.name.lower()}POSTPOSTPOST"]}),
        "sensor_criticality": "1.0", "process_id": program.guid, "process_guid": program.guid,
        "segment_id": str(program.segment), "process_name": program.name.lower(),
        "process_path": program.path.lower(), "md5": program.md5, "hostname": program.host.name,
        "computer_name": program.host.name, "sensor_id": str(program.host.sensor), "group": "Default Group",
        "username": program.user, "os_type": program.host.os, "comms_ip": program.host.address,
        "interface_ip": program.host.address, "netconn_count": "0", "modload_count": "3", "cb_server": SERVER,
        "created_time": raised.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "event_timestamp": raised.timestamp(),
        "link_process": program.link,
    }  # fmt: skip


def _feed_ingress(program: Program) -> dict[str, Any]:
    return {
        "type": "feed.ingress.hit.process", "timestamp": epoch(program.start) + 3.5, "cb_server": SERVER,
        "cb_version": VERSION, "process_guid": program.guid, "hostname": program.host.name,
        "computer_name": program.host.name, "sensor_id": program.host.sensor, "group": "Default Group",
        "feed_id": 12, "feed_name": "examplefeed", "report_id": "r-77", "report_score": 90, "ioc_type": "md5",
        "ioc_value": program.md5, "ioc_attr": {}, "link_process": program.link,
    }  # fmt: skip


def _feed_query(program: Program) -> dict[str, Any]:
    query = f"cb.urlver=1&q=hostname%3A{program.host.name}"
    return {
        "type": "feed.query.hit.process", "timestamp": epoch(program.start) + 320.2, "cb_server": SERVER,
        "cb_version": VERSION, "process_id": program.guid, "process_guid": program.guid,
        "segment_id": program.segment, "hostname": program.host.name, "sensor_id": program.host.sensor,
        "feed_id": 14, "feed_name": "examplequeries", "report_id": "q-3", "report_score": 40, "ioc_type": "query",
        "ioc_value": json.dumps({"index_type": "events", "search_query": query}), "ioc_query_index": "events",
        "ioc_query_string": query, "docs": [hit_document(program)],
    }  # fmt: skip


def _uuid(text: str) -> str:
    digits = md5_of(text)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _texted(value: Any) -> Any:
    """Return a value as a stored feed hit has it: numbers and booleans as texts."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value
