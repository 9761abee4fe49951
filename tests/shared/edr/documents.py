"""Documents of small worlds: binaries and processes by number, as the REST API sends them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Callable

from cbsigned.edr import EdrSource
from cbsigned.timing import Deadline, format_time
from edr_server import EdrServer

Start = Callable[..., EdrServer]
Connect = Callable[..., EdrSource]
JSON = "application/json"
NOON = datetime(2021, 4, 20, 12, tzinfo=timezone.utc)
VERSIONS = ["5.0.0.141103.1", "5.1.0.150625.500", "5.1.1.1", "5.2.0.161004.1206", "6.2.0.171114.1158", "7.3.0.200609.1"]


def md5_of(number: int) -> str:
    return f"{number + 1:032x}"


def guid_of(number: int, sensor: int = 7) -> str:
    return f"{sensor:08x}-0000-{number % 65536:04x}-01d7-{number:012x}"


def binary(number: int, **more: Any) -> dict[str, Any]:
    return {"md5": md5_of(number).upper(), "digsig_result": "Signed", "digsig_result_code": "0", **more}


def process(number: int, parent: int | None = None, **more: Any) -> dict[str, Any]:
    guid = guid_of(number)
    return {
        "id": guid, "unique_id": f"{guid}-0178ef7c49a8", "segment_id": 1, "process_name": f"p{number}.exe",
        "process_md5": md5_of(number), "process_pid": number, "hostname": "lab-ws-07",
        "start": format_time(NOON + timedelta(seconds=number)),
        "parent_id": guid_of(parent) if parent is not None else "00000007-ffff-ffff-0000-000000000000", **more,
    }  # fmt: skip


def deadline() -> Deadline:
    return Deadline(20)
