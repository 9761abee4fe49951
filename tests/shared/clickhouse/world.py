"""The searches' made-up world, spread over several sensors: each tree of processes is on one."""

from __future__ import annotations

import json
from typing import Any

from query_evaluator import World
from shared.store.search_world import make_world
from shared.store.telemetry import SENSOR, Event

__all__ = ["EVENTS", "WORLD"]

_SENSORS = (7, 8, 21, 1024)


def _spread() -> tuple[World, list[Event]]:
    world, events = make_world()
    sensors: dict[str, int] = {}
    for process in world.processes:
        parent = process["parent"]
        above = None if parent is None else sensors[parent["process_id"]]
        sensors[process["process_id"]] = _SENSORS[process["number"] % len(_SENSORS)] if above is None else above
    told = [_moved(event, sensors) for event in events]
    for process in world.processes:
        _move(process, sensors)  # type: ignore[arg-type]
    return world, told


def _moved(event: Event, sensors: dict[str, int]) -> Event:
    if "process_guid" not in event:
        return event
    text = json.dumps({**event, "sensor_id": sensors[event["process_guid"]]})
    for guid in (event["process_guid"], event.get("parent_process_guid")):
        if guid is not None:
            text = text.replace(guid, _named(guid, sensors[guid]))
    moved: Event = json.loads(text)
    return moved


def _move(process: dict[str, Any], sensors: dict[str, int]) -> None:
    process["sensor_id"] = sensors[process["process_id"]]
    process["process_id"] = _named(process["process_id"], process["sensor_id"])


def _named(guid: str, sensor: int) -> str:
    assert guid.startswith(f"{SENSOR:08x}-")
    return f"{sensor:08x}{guid[8:]}"


WORLD, EVENTS = _spread()
