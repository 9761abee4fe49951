"""Carbon Black Cloud: Alerts v7. Its guids are not the EDR's, so they are kept as foreign ids."""

from __future__ import annotations

from typing import Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.formats.claims import cloud_claim
from cbsigned.formats.fields import Record, described, kept
from cbsigned.formats.values import first, first_time, hashes_of

__all__ = ["matches", "read"]

_TYPES = (
    "CB_ANALYTICS", "WATCHLIST", "DEVICE_CONTROL", "CONTAINER_RUNTIME", "INTRUSION_DETECTION_SYSTEM",
    "HOST_BASED_FIREWALL",
)  # fmt: skip


def matches(record: Record) -> bool:
    """Whether the record has an organisation's key and a type of the cloud's."""
    return "org_key" in record and record.get("type") in _TYPES


def read(record: Record) -> Optional[Alert]:
    """Return the alert; a null is often the text `null`.

    References:
        - alert-formats §3.8: a publisher without its state proves no signature
    """
    device = first(record, "device_name")
    host = device.rpartition("\\")[2] if device else None
    acting = _process(record, "process", Role.PROCESS, host)
    others = [_process(record, "childproc", Role.CHILD, host), _process(record, "parent", Role.PARENT, host)]
    return Alert(
        format="carbon-black-cloud",
        kind=first(record, "type"),
        id=first(record, "id"),
        title=first(record, "reason"),
        at=first_time(record, "backend_timestamp", "detection_timestamp"),
        link=first(record, "alert_url"),
        sets=(*([acting] if acting.usable else []), *filter(kept, others)),
    )


def _process(record: Record, at: str, role: Role, host: Optional[str]) -> ObservableSet:
    path = first(record, f"{at}_name")
    claimed = cloud_claim(
        record.get(f"{at}_publisher_state"), record.get(f"{at}_publisher"), record.get(f"{at}_issuer")
    )
    return described(
        role, hashes_of(record.get(f"{at}_md5"), record.get(f"{at}_sha256")), id=record.get(f"{at}_guid"), path=path,
        pid=record.get(f"{at}_pid"), host=host, user=first(record, f"{at}_username"),
        cmdline=first(record, f"{at}_cmdline"), claimed=claimed,
    )  # fmt: skip
