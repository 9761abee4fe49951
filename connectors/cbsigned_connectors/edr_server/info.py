"""`/api/info`: the server's version, and its settings as a client sees them."""

from __future__ import annotations

from cbsigned_connectors.edr_server.answer import Answer, json_answer
from cbsigned_connectors.edr_server.desk import Ask, Desk, Endpoint

__all__ = ["ENDPOINTS", "MAX_ROWS"]

MAX_ROWS = 1000
"""Rows that the console shows at most."""


def info(desk: Desk, _ask: Ask) -> Answer:
    """Answer with version and settings; what a server without console, agents and bans can say is said.

    References:
        - cb-edr-api §1.3; recording cbapi-python GET_info.json
    """
    dialect = desk.dialect
    release = ".".join(dialect.version.split(".")[:3])
    return json_answer({
        "version": dialect.version, "version_release": f"{release}-1", "maxSearchResultRows": MAX_ROWS,
        "searchExportCount": MAX_ROWS, "maxRowsSolrReportQuery": 10 * MAX_ROWS, "binaryPageSize": 10,
        "processPageSize": 10, "binaryOrder": "", "processOrder": "", "timestampDeltaThreshold": 5,
        "linuxInstallerExists": False, "osxInstallerExists": False, "banningEnabled": False, "cblrEnabled": False,
        "liveResponseAutoAttach": False, "vdiGloballyEnabled": False, "cloud_install": False,
        "features": {
            "immutable_documents": dialect.modern, "event_exclusions": False, "thirdparty_sharing": False,
            "ipv6_support": True,
        },
        "user_preferences": {"processSearchSortOrder": "", "searchTablePreferences": {}},
    })  # fmt: skip


ENDPOINTS = [Endpoint("/api/info", info)]
