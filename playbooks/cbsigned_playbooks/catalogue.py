"""The actions: what each is called, what it takes, what it gives, and how that is shown.

Adding a field is one change here (or in `outputs.py`) and `make playbooks`: every platform's manifest is made of it.
"""

from __future__ import annotations

from dataclasses import replace

from cbsigned_playbooks.definition import Action, Kind, Parameter, View
from cbsigned_playbooks.outputs import (
    BINARY,
    CHECK,
    ENRICHMENT,
    LINEAGE_ANSWER,
    PROCESS,
    SEEN,
    SIGNATURE_ANSWER,
)

__all__ = ["ACTIONS", "CONFIGURATION", "MOST_ALERTS", "MOST_HASHES", "MOST_ROWS", "MOST_SEEN", "action_named"]

MOST_ALERTS = 1_000
MOST_HASHES = 10_000
MOST_SEEN = 20
MOST_ROWS = 1_000

_DEPTH = Parameter(
    "max_depth",
    "Depth",
    "Most ancestors to follow; the process itself is not counted.",
    Kind.INTEGER,
    "processes",
    default=16,
    low=0,
    high=500,
)
_RELATIVES = Parameter(
    "relatives",
    "Relatives",
    "Most children and siblings to show.",
    Kind.INTEGER,
    "processes",
    default=0,
    low=0,
    high=1000,
)
_DEADLINE = Parameter(
    "deadline_s",
    "Deadline",
    "For the whole action; what is not known by then is a gap with its reason.",
    Kind.NUMBER,
    "s",
    default=60,
    low=1,
    high=600,
)
_QUERY = Parameter(
    "query",
    "Query",
    "In the EDR's own query language; empty finds everything.",
    required=True,
    contains=("carbon black query",),
    primary=True,
    example="process_name:powershell.exe netconn_count:[1 TO *]",
)
_START = Parameter(
    "start", "Start", "Number of the first row, from 0.", Kind.INTEGER, "rows", default=0, low=0, high=10_000_000
)
_ROWS = Parameter("rows", "Rows", "Most rows of the answer.", Kind.INTEGER, "rows", default=100, low=1, high=MOST_ROWS)
_SORT = Parameter("sort", "Sort", "Field and direction; empty for newest first.", example="start desc")
_HASH = "0f343b0931126a20f133d67c2b018a3b"

ACTIONS: tuple[Action, ...] = (
    Action(
        "test_connection",
        "test connection",
        "Is the EDR reachable, and what may the token do?",
        "Tries version, both searches, search by SHA-256 and the clocks, and says of each what to do where it fails.",
        "One thing that was tried.",
        (_DEADLINE,),
        CHECK,
        View.CHECKS,
    ),
    Action(
        "enrich_alert",
        "enrich alert",
        "Signing status and lineage of everything that an alert names.",
        "Takes an alert of any known format (or any JSON with a hash or a process guid in it), one or a list. Every "
        "alert comes back; what could not be found out is a gap with its reason.",
        "One alert.",
        (
            Parameter(
                "alert",
                "Alert",
                "The alert as JSON, one object or a list of up to 1,000.",
                Kind.JSON,
                required=True,
                example='{"md5": "0f343b0931126a20f133d67c2b018a3b", "host": "LAB-WS-07"}',
            ),
            Parameter(
                "format",
                "Format",
                "Format of the alert, where it is not to be told from its shape.",
                example="sentinel",
            ),
            Parameter("lineage", "Lineage", "Look up ancestors.", Kind.SWITCH, default=True),
            _DEPTH,
            _RELATIVES,
            _DEADLINE,
        ),
        ENRICHMENT,
        View.CARD,
    ),
    Action(
        "signing_status",
        "signing status",
        "Who signed these files, and does the EDR trust it?",
        "Asks for all hashes together, 200 in a request. Unknown is not Unsigned: the reason says which it is.",
        "One hash, in the order given.",
        (
            Parameter(
                "hashes",
                "Hashes",
                "MD5 or SHA-256, up to 10,000.",
                required=True,
                many=True,
                contains=("md5", "sha256", "hash"),
                primary=True,
                example=_HASH,
            ),
            _DEADLINE,
        ),
        SIGNATURE_ANSWER,
        View.TABLE,
    ),
    Action(
        "process_lineage",
        "process lineage",
        "Where a process came from: its ancestors, each with its signing status.",
        "By its guid, or by host, pid and a time at which it ran. Says why the walk ended, so that a short lineage is "
        "never taken for a whole one.",
        "One process.",
        (
            Parameter(
                "guid",
                "Process GUID",
                "36 characters, or with a segment, or a link of the console.",
                contains=("carbon black process id", "cbc process guid"),
                primary=True,
                example="00000009-0000-082c-01d1-7f392625197c",
            ),
            Parameter(
                "host", "Host", "Host name, where no guid is known.", contains=("host name",), example="LAB-WS-07"
            ),
            Parameter(
                "pid",
                "PID",
                "Process id, where no guid is known.",
                Kind.INTEGER,
                contains=("pid",),
                low=0,
                high=2**32 - 1,
                example=2092,
            ),
            Parameter(
                "at",
                "Time",
                "A moment at which it ran, UTC, where no guid is known.",
                Kind.TIME,
                example="2016-03-16T04:06:00Z",
            ),
            _DEPTH,
            _RELATIVES,
            _DEADLINE,
        ),
        LINEAGE_ANSWER,
        View.LINEAGE,
    ),
    Action(
        "find_processes",
        "find processes",
        "Processes that a query finds, each with the signing status of its image.",
        "One page of the EDR's process search; `total` in the summary says how many there are, `next` where to go on.",
        "One process.",
        (_QUERY, _START, _ROWS, _SORT, _DEADLINE),
        PROCESS,
        View.TABLE,
    ),
    Action(
        "find_binaries",
        "find binaries",
        "Files that a query finds, each with its signing status.",
        "One page of the EDR's binary search; `total` in the summary says how many there are, `next` where to go on.",
        "One file.",
        (
            replace(_QUERY, example="digsig_result:Unsigned host_count:1"),
            _START,
            _ROWS,
            replace(_SORT, example="server_added_timestamp desc"),
            _DEADLINE,
        ),
        BINARY,
        View.TABLE,
    ),
    Action(
        "where_seen",
        "where seen",
        "On which hosts a file is, and which processes ran, loaded or wrote it.",
        "Four requests for each hash, so up to 20 of them. Of each relation the newest processes are told, and "
        "how many there are.",
        "One hash, in the order given.",
        (
            Parameter(
                "hashes",
                "Hashes",
                "MD5 or SHA-256, up to 20.",
                required=True,
                many=True,
                contains=("md5", "sha256", "hash"),
                primary=True,
                example=_HASH,
            ),
            replace(_ROWS, description="Most processes of each relation, and most hosts.", default=20),
            _DEADLINE,
        ),
        SEEN,
        View.TABLE,
    ),
)

CONFIGURATION: tuple[Parameter, ...] = (
    Parameter("url", "Server", "Address of the EDR server.", required=True, example="https://cb.example.test"),
    Parameter("api_key", "API token", "Token of a console user.", Kind.SECRET, required=True, example="0123…"),
    Parameter(
        "verify_tls", "Verify TLS", "No turns certificate checks off, with a warning.", Kind.SWITCH, default=True
    ),
    Parameter("ca_file", "CA file", "PEM file of the CA, or of a self-signed server.", example="/etc/cb/ca.pem"),
    Parameter(
        "tls_hostname", "TLS host name", "Name in the certificate, where it is not the address's.", example="cb.local"
    ),
    Parameter("proxy", "Proxy", "HTTP proxy.", example="http://proxy.example.test:3128"),
    Parameter(
        "timeout_s", "Timeout", "For one request without an answer.", Kind.NUMBER, "s", default=30, low=1, high=120
    ),
)
"""What a platform is told once; `settings.py` makes the core's settings of it. `api_key`, because Cortex hides keys of
that name in its error reports, and not those called token."""


def action_named(name: str) -> Action:
    """Return one action by its name.

    Raises:
        KeyError: There is none of that name.
    """
    return _BY_NAME[name]


_BY_NAME = {one.name: one for one in ACTIONS}
