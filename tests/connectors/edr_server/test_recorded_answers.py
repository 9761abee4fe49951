"""Our answers against the recorded ones of a real server: same members, same types, same envelope.

Every difference that is allowed is listed with its reason; a difference that is not there any more fails too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cbsigned.store.ingest import ingest
from connectors.edr_server.serving import Client, serving
from connectors.edr_server.shapes import differences
from support import real_data

VERSION = "6.2.0.171114.1158"
FEED_HIT = {
    "type": "feed.ingress.hit.process", "timestamp": 1517942000.5, "cb_server": "cbserver", "feed_id": 3,
    "feed_name": "cbemet", "process_guid": "00000001-0000-0d24-01d3-9f75a31c2f1c", "hostname": "WIN7-HYPERV-2",
    "sensor_id": 1, "report_id": "r", "report_score": 50, "ioc_type": "md5", "ioc_value": "0a" * 16, "ioc_attr": {},
}  # fmt: skip
WATCHLIST_HIT = {
    "type": "watchlist.hit.binary", "timestamp": 1517942000.5, "cb_server": "cbserver", "watchlist_id": 5,
    "watchlist_name": "Newly Executed Applications", "docs": [{"md5": "0A" * 16, "digsig_result": "Unsigned"}],
}  # fmt: skip
CONNECTION = {
    "type": "ingress.event.netconn", "timestamp": 1517942000, "cb_server": "cbserver", "sensor_id": 1,
    "computer_name": "WIN7-HYPERV-2", "process_guid": "00000001-0000-0d24-01d3-9f75a31c2f1c", "direction": "outbound",
    "protocol": 6, "remote_ip": "192.0.2.7", "remote_port": 443, "local_ip": "192.168.1.163", "local_port": 50000,
}  # fmt: skip

CONSOLE = "the recorded user's own console settings; there is no console here"
ALLOWED = {
    "GET_info.json": {
        **{
            f".user_preferences.{name}: missing": CONSOLE
            for name in (
                "watchlists", "savedSearches", "minimalLeftNavigation", "watchlistExpiration", "default", "userMgmt",
                "hudGridItems", "facetsEnabled",
            )
        },
        **{
            f".user_preferences.searchTablePreferences.{name}: missing": CONSOLE
            for name in (
                "username", "endpoint", "start-time", "i-mod", "last-update-time", "i-file", "pid", "i-net", "i-watch",
                "i-child", "i-reg", "i-tags",
            )
        },
    },
    "GET_v1_storage_events_partition.json": {
        ".*: missing": "a store is one partition; the recorded server had nine, named after when they began",
    },
}  # fmt: skip


def recorded(name: str) -> Any:
    return json.loads((real_data("cbapi-python") / "rest-2018" / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Serve a store that holds what the recorded server told."""
    folder = tmp_path_factory.mktemp("recorded")
    lines = [recorded("GET_v1_binary_rows1.json"), FEED_HIT, WATCHLIST_HIT, CONNECTION]
    (folder / "told.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    ingest(folder / "lab.db", [folder / "told.jsonl"])
    with serving(folder / "lab.db", VERSION) as client:
        yield client


PLAIN = "?cb.urlver=1&facet=false&rows={}&start=0"
ROUTES = {
    "GET_v1_binary_rows0.json": "/api/v1/binary" + PLAIN.format(0),
    "GET_v1_binary_rows1.json": "/api/v1/binary" + PLAIN.format(1),
    "GET_v1_process_rows0.json": "/api/v1/process" + PLAIN.format(0),
    "GET_info.json": "/api/info",
    "GET_v1_sensor_1.json": "/api/v1/sensor/1",
    "GET_v1_feed.json": "/api/v1/feed",
    "GET_v1_watchlist.json": "/api/v1/watchlist",
    "GET_v1_storage_events_partition.json": "/api/v1/storage/events/partition",
}


@pytest.mark.parametrize("name", ROUTES)
def test_an_answer_has_the_recorded_structure(lab: Client, name: str) -> None:
    ours = lab.get(ROUTES[name])

    found = differences(recorded(name), ours.json())
    if name == "GET_v1_storage_events_partition.json":
        found = {".*: missing" if place.startswith(".cbevents_") else place for place in found}
    assert found == set(ALLOWED.get(name, {}))
    assert ours.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_recorded_binary_comes_out_with_its_values(lab: Client) -> None:
    told = recorded("GET_v1_binary_rows1.json")["results"][0]

    found = lab.get("/api/v1/binary", q=f"md5:{told['md5']}").json()["results"][0]
    summary = lab.get(f"/api/v1/binary/{told['md5']}/summary").json()

    assert found == told
    assert summary == {**told, "icon": ""}


def test_every_recorded_answer_is_compared_or_of_another_service() -> None:
    """Live Response has routes of its own, which no store can answer."""
    names = {path.name for path in (real_data("cbapi-python") / "rest-2018").glob("*.json")} - {"index.json"}

    assert {name for name in names if "_cblr_" not in name} == set(ROUTES)


def test_differences_sees_missing_extra_and_other_types() -> None:
    told = {"a": 1, "b": [{"c": "x"}, {"d": 1}], "e": {"f": True}, "n": None}

    assert differences(told, {"a": 2, "b": [{"c": "y", "d": 2}], "e": {"f": False}, "n": "x"}) == set()
    assert differences(told, {"a": "1", "b": [{"c": "y"}], "e": {"f": 0}, "x": 1}) == {
        ".a: number, ours is str", ".b[].d: missing", ".e.f: bool, ours is number", ".n: missing", ".x: ours alone",
    }  # fmt: skip
