"""Routes of sensors, sensor groups, watchlists, feeds and partitions.

A sensor of the real server reports much that no event tells (disk sizes, health, EMET settings): those members are
there with the value that says nothing, since clients read them without asking whether they exist.

References:
    - cb-edr-api §8; recordings cbapi-python GET_v1_sensor_1.json, GET_v1_watchlist.json, GET_v1_feed.json,
      GET_v1_storage_events_partition.json
"""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any, Optional
from urllib.parse import quote

from cbsigned.store.inventory import Sensor, Subscription, extent_of, feeds, sensors, watchlists
from cbsigned.store.process_documents import iso
from cbsigned.store.records import moment
from cbsigned_connectors.edr_server.access import Right
from cbsigned_connectors.edr_server.answer import Answer, Refused, json_answer, page
from cbsigned_connectors.edr_server.binaries import partition_number
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint

__all__ = ["ENDPOINTS"]

_GROUP = {"id": 1, "name": "Default Group"}
_CHECK_IN = timedelta(seconds=30)
_SYSTEMS = {"windows": (1, "Windows"), "osx": (2, "macOS"), "linux": (3, "Linux")}
_UNTOLD: dict[str, Any] = {
    "systemvolume_total_size": "0", "emet_telemetry_path": "", "emet_version": "", "emet_dump_flags": "",
    "clock_delta": "0", "supports_cblr": False, "sensor_uptime": "0", "physical_memory_size": "0", "build_id": 0,
    "uptime": "0", "is_isolating": False, "event_log_flush_time": None, "emet_report_setting": "",
    "emet_process_count": 0, "emet_is_gpo": False, "power_state": 0, "network_isolation_enabled": False,
    "uninstalled": None, "systemvolume_free_size": "0", "num_eventlog_bytes": "0", "sensor_health_message": "",
    "build_version_string": "", "computer_sid": "", "node_id": 0, "cookie": 0, "emet_exploit_action": "",
    "license_expiration": "1990-01-01 00:00:00+00:00", "supports_isolation": False, "parity_host_id": "0",
    "supports_2nd_gen_modloads": False, "sensor_health_status": 0, "restart_queued": False, "notes": None,
    "num_storefiles_bytes": "0", "os_environment_id": 0, "shard_id": 0, "boot_id": "0", "display": True,
    "uninstall": False,
}  # fmt: skip
_UNTOLD_FEED: dict[str, Any] = {
    "provider_url": "", "ssl_client_crt": None, "local_rating": None, "requires_who": None, "icon_small": "",
    "category": None, "use_proxy": None, "feed_url": "", "username": None, "validate_server_cert": None,
    "ssl_client_key": None, "manually_added": False, "password": None, "icon": "", "provider_rating": 0.0,
    "tech_data": "", "requires": None, "enabled": True, "summary": "", "requires_what": None, "order": None,
}  # fmt: skip


def sensor(desk: Desk, ask: Ask) -> Answer:
    """Answer with one sensor."""
    text = ask.path["number"]
    with desk.reading() as db:
        found = sensors(db, int(text)) if text.isascii() and text.isdigit() and len(text) < 11 else []
    if not found:
        raise Refused(page(404))
    return json_answer(_sensor(found[0]))


def sensor_list(desk: Desk, ask: Ask) -> Answer:
    """Answer with the sensors that match; without a match newer servers answer 204 and older ones fail."""
    with desk.reading() as db:
        found = _matching(db, ask)
    if not found:
        return Answer(204, b"", "application/json; charset=utf-8") if desk.dialect.modern else page(500)
    return json_answer([_sensor(one) for one in found])


def sensor_pages(desk: Desk, ask: Ask) -> Answer:
    """Answer with a page of sensors, by `sort.col` and `sort.dir`."""
    start, rows = ask.parameters.number("start", 0), ask.parameters.number("rows", 100)
    column = ask.parameters.text("sort.col", "id")
    with desk.reading() as db:
        made = [_sensor(one) for one in _matching(db, ask)]
    if made and column in made[0]:
        made.sort(key=lambda one: (str(type(one[column])), one[column] or 0, one["id"]))
    if ask.parameters.text("sort.dir").lower() == "desc":
        made.reverse()
    return json_answer({"total_results": len(made), "results": made[start : start + rows], "facets": {}})


def groups(_desk: Desk, ask: Ask) -> Answer:
    """Answer with the one group that all sensors of a store are in, as a list."""
    if ask.path.get("number", "1") != "1":
        raise Refused(page(404))
    return json_answer([{**_GROUP, "site_id": 1, "site_name": "Default Site", "team_access": []}])


def watchlist(desk: Desk, ask: Ask) -> Answer:
    """Answer with the watchlists whose hits the store holds, or with one of them."""
    with desk.reading() as db:
        return _listed([_watchlist(one) for one in watchlists(db)], ask)


def feed(desk: Desk, ask: Ask) -> Answer:
    """Answer with the feeds whose hits the store holds, or with one of them."""
    with desk.reading() as db:
        return _listed([_feed(one) for one in feeds(db)], ask)


def partitions(desk: Desk, _ask: Ask) -> Answer:
    """Answer with the one partition that a store is."""
    with desk.reading() as db:
        extent, number = extent_of(db), partition_number(db)
    info = {
        "sizeInBytes": extent.bytes, "startDate": iso(extent.first_at), "partitionId": number, "endDate": None,
        "deletedDocs": 0, "maxDoc": extent.processes, "userMounted": False, "isLegacy": False, "segmentCount": 1,
        "numDocs": extent.processes, "dir": desk.options.store.name, "schema": "cbevents_v2",
    }  # fmt: skip
    return json_answer({"writer": {"status": "hot", "info": info, "name": "writer"}})


def _matching(db: sqlite3.Connection, ask: Ask) -> list[Sensor]:
    """Return the sensors whose host name and address hold what is asked; upper and lower case differ."""
    ip, host, group = (ask.parameters.text(name) for name in ("ip", "hostname", "groupid"))
    if group not in ("", "1"):
        return []
    return [one for one in sensors(db) if host in one.host and (not ip or any(ip in text for text in one.addresses))]


def _sensor(one: Sensor) -> dict[str, Any]:
    number, system = _SYSTEMS.get(one.system, (1, ""))
    last = moment(one.last_at)
    return {
        **_UNTOLD, "id": one.number, "computer_name": one.host, "computer_dns_name": one.host, "group_id": 1,
        "os_environment_display_string": system, "os_type": number, "status": "Offline",
        "network_adapters": "".join(f"{text},|" for text in one.addresses), "last_update": _local(one.last_at),
        "registration_time": _local(one.first_at), "last_checkin_time": _local(one.last_at),
        "next_checkin_time": str(last + _CHECK_IN) if last else None,
    }  # fmt: skip


def _watchlist(one: Subscription) -> dict[str, Any]:
    query = quote(f"watchlist_{one.number}:*", safe="")
    return {
        "last_hit_count": one.hits, "description": None, "search_query": f"cb.urlver=1&q={query}", "enabled": True,
        "search_timestamp": iso(one.last_at), "index_type": "modules" if one.modules else "events", "readonly": False,
        "total_hits": str(one.hits), "date_added": _local(one.first_at), "group_id": -1, "total_tags": str(one.tags),
        "id": one.number, "last_hit": _local(one.last_at), "name": one.name,
    }  # fmt: skip


def _feed(one: Subscription) -> dict[str, Any]:
    number = int(one.number) if one.number.isascii() and one.number.isdigit() else 0
    return {**_UNTOLD_FEED, "id": number, "name": one.name, "display_name": one.name}


def _listed(found: list[dict[str, Any]], ask: Ask) -> Answer:
    number = ask.path.get("number")
    if number is None:
        return json_answer(found)
    one = next((entry for entry in found if str(entry["id"]) == number), None)
    if one is None:
        raise Refused(page(404))
    return json_answer(one)


def _local(milliseconds: Optional[int]) -> Optional[str]:
    """Return a time as these routes write it, with an offset."""
    at = moment(milliseconds)
    return None if at is None else str(at)


ENDPOINTS = [
    Endpoint("/api/v1/sensor", sensor_list, Right.SENSORS),
    Endpoint("/api/v1/sensor/{number}", sensor, Right.SENSORS),
    Endpoint("/api/v2/sensor", sensor_pages, Right.SENSORS),
    Endpoint("/api/v3/group", groups, Right.SENSORS),
    Endpoint("/api/v3/group/{number}", groups, Right.SENSORS),
    Endpoint("/api/group", groups, Right.SENSORS, until=(6,)),
    Endpoint("/api/group/{number}", groups, Right.SENSORS, until=(6,)),
    Endpoint("/api/v1/watchlist", watchlist, Right.SENSORS),
    Endpoint("/api/v1/watchlist/{number}", watchlist, Right.SENSORS),
    Endpoint("/api/v1/feed", feed, Right.SENSORS),
    Endpoint("/api/v1/feed/{number}", feed, Right.SENSORS),
    Endpoint("/api/v1/storage/events/partition", partitions, Right.ADMIN, since=(6,)),
]
