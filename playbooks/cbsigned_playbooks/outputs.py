"""The values that come out of the actions, in blocks that several actions share.

Names, types and meanings are those of `cbsigned/enrichment.schema.json`; a test compares every row that an action
gives with what stands here, both ways.
"""

from __future__ import annotations

from dataclasses import replace

from cbsigned_playbooks.definition import Kind, Output, under

__all__ = ["BINARY", "CHECK", "ENRICHMENT", "LINEAGE_ANSWER", "PROCESS", "SEEN", "SIGNATURE_ANSWER"]

_MD5, _SHA256 = ("md5", "hash"), ("sha256", "hash")
_GUID, _PID = ("carbon black process id", "cbc process guid"), ("pid",)
_NAME, _PATH = ("process name", "file name"), ("file path",)
_HOST, _USER = ("host name",), ("user name",)
_TEXT, _INTEGER, _SWITCH, _TIME = Kind.TEXT, Kind.INTEGER, Kind.SWITCH, Kind.TIME
_ID = "0f343b0931126a20f133d67c2b018a3b"
_LONG_ID = "aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"
_PROCESS_ID = "00000009-0000-082c-01d1-7f392625197c"
_UNSIGNED = "Carbon Black has a record of this file and says Unsigned."

_ASKED = Output("asked", _TEXT, "What was asked for, as it was given.", _ID, column="Asked")
_COMPLETE = Output("complete", _SWITCH, "False where a look-up failed that may succeed later.", True, column="Complete")

_STATUS = (
    Output("status", _TEXT, "Signing status: the vendor's eight words, and Unknown, which is not Unsigned.", "Signed"),
    Output("reason", _TEXT, "Why this status, one sentence.", _UNSIGNED),
)
_HASHES = (
    Output("md5", _TEXT, "MD5 of the image.", _ID, True, _MD5),
    Output("sha256", _TEXT, "SHA-256 of the image.", _LONG_ID, True, _SHA256),
)
_GAP = (
    Output("about", _TEXT, "What is missing.", "signing status of git.exe"),
    Output("cause", _TEXT, "Why, one of the words of the enrichment schema.", "timeout"),
    Output("reason", _TEXT, "Why, as a sentence.", "No answer within 30 s."),
)
_GAPS = under("gaps[]", _GAP)

_SIGNING = (
    Output("publisher", _TEXT, "Who signed.", "Microsoft Corporation", True),
    Output("issuer", _TEXT, "Who issued the certificate.", "Microsoft Code Signing PCA", True),
    Output("signed_at", _TIME, "When it was signed, by the signature's own word.", "2009-07-14T04:15:00Z", True),
)
_EVIDENCE = (
    Output("record", _TEXT, "Kind of record.", "binary document"),
    Output("source", _TEXT, "Who holds it.", "edr:cb.example.test"),
    Output("recorded_at", _TIME, "When the record was made; it is not evaluated again.", "2016-03-16T04:06:00Z", True),
    Output("age_s", _INTEGER, "Age of the record.", 86400, True, unit="s"),
    Output(
        "read_at", _TIME, "When it was read; earlier than now where a cache answered.", "2016-03-17T04:06:00Z", True
    ),
    Output("certainty", _TEXT, "confirmed, stated, disputed, claimed or inferred.", "stated"),
    Output("word", _TEXT, "The status word as written.", "Signed", True),
    Output("code", _TEXT, "The result code.", "0x800b0100", True),
)
_SIGNATURE = (
    *_HASHES,
    *_STATUS,
    Output("cause", _TEXT, "Where the answer came from, or why there is none.", "record"),
    Output("signed", _SWITCH, "True for Signed alone, null for Unknown.", True, True),
    *_SIGNING,
    Output("subject", _TEXT, "Whom the certificate names.", "Microsoft Windows", True),
    Output("program_name", _TEXT, "Free text chosen by the signer.", "Microsoft Windows", True),
    Output("host_count", _INTEGER, "On how many hosts the file was seen.", 12, True, unit="hosts"),
    Output("paths[]", _TEXT, "Where the file was seen.", "c:\\windows\\system32\\svchost.exe", False, _PATH),
    *under("evidence", _EVIDENCE),
)

_RUN = (
    Output("name", _TEXT, "File name.", "svchost.exe", True, _NAME),
    Output("path", _TEXT, "Full path.", "c:\\windows\\system32\\svchost.exe", True, _PATH),
    Output("pid", _INTEGER, "Process id.", 2092, True, _PID),
    Output("host", _TEXT, "Host name.", "LAB-WS-07", True, _HOST),
    Output("user", _TEXT, "User name.", "NT AUTHORITY\\SYSTEM", True, _USER),
    Output("cmdline", _TEXT, "Command line, whole.", "svchost.exe -k netsvcs", True),
    Output("started_at", _TIME, "Start.", "2016-03-16T04:06:00Z", True),
)
_NODE = (
    Output("depth", _INTEGER, "0 the process itself, 1 its parent, -1 a child.", 1),
    Output("guid", _TEXT, "Process guid, no segment.", _PROCESS_ID, False, _GUID),
    Output("parent_guid", _TEXT, "Guid of its parent.", _PROCESS_ID, True, _GUID),
    *_RUN,
    Output("ended_at", _TIME, "End, where recorded.", "2016-03-16T04:07:00Z", True),
    *_HASHES,
    *_STATUS,
    Output("cause", _TEXT, "Where the status came from, or why there is none.", "record"),
    Output("publisher", _TEXT, "Who signed.", "Microsoft Corporation", True),
    Output("start_recorded", _SWITCH, "False where only other events mention it.", True),
    Output("from_guid", _SWITCH, "Nobody recorded it; pid and start are what its guid encodes.", False),
    Output("suppressed", _SWITCH, "The sensor folded it into its parent.", False),
    *under("gap", _GAP),
)
_RELATIVES = (
    Output("total", _INTEGER, "How many there are as far as the source tells.", 3, unit="processes"),
    *under("nodes[]", _NODE),
    *under("gap", _GAP),
)
_LINEAGE = (
    Output("ended_by", _TEXT, "Why the walk ended: root, depth limit, source failed and others.", "root"),
    Output("reason", _TEXT, "The same as a sentence.", "The lineage reaches a process without a parent."),
    Output("whole", _SWITCH, "The walk reached a root, and every process in it is recorded.", True),
    *under("nodes[]", _NODE),
    *under("children", _RELATIVES),
    *under("siblings", _RELATIVES),
)
_VERDICT = (
    Output("status", _TEXT, "The signing status that it rests on.", "Unsigned"),
    Output(
        "text", _TEXT, "signed; signed, not valid; unsigned; unknown; after `claimed: ` by the alert alone.", "unsigned"
    ),
    Output("reason", _TEXT, "One sentence.", _UNSIGNED),
    Output("notes[]", _TEXT, "What else an analyst must know.", "Ancestor cmd.exe is Unsigned."),
)
_LINKS = (
    Output(
        "process", _TEXT, "Page of the process in the console.", "https://cb.example.test/#analyze/…", True, ("url",)
    ),
    Output("binary", _TEXT, "Page of the binary in the console.", "https://cb.example.test/#/binary/…", True, ("url",)),
)
_SUBJECT = (
    Output("role", _TEXT, "What it is in the alert: process, target file, module, child, parent.", "process"),
    *_HASHES,
    *_STATUS,
    *under("verdict", _VERDICT),
    Output("sha1", _TEXT, "SHA-1; Carbon Black cannot be asked by it.", _ID + "00000000", True, ("sha1", "hash")),
    Output("process_guid", _TEXT, "Process guid, no segment.", _PROCESS_ID, True, _GUID),
    Output("foreign_id", _TEXT, "A process id of another product.", "{6b1d0f1e-0000-0000-0000-000000000000}", True),
    *_RUN,
    *under("signature", _SIGNATURE),
    Output("claimed.record", _TEXT, "Where the alert itself speaks of the signature.", "alert"),
    Output("claimed.word", _TEXT, "What it says.", "Signed", True),
    Output("claimed.code", _TEXT, "Its result code.", "0x00000000", True),
    Output("claimed.publisher", _TEXT, "Its publisher.", "Example Ltd", True),
    *under("links", _LINKS),
    *under("lineage", _LINEAGE),
    Output("problems[]", _TEXT, "Values of the alert that cannot be used.", "md5 is no MD5."),
    *_GAPS,
)


def _with_columns(outputs: tuple[Output, ...], columns: dict[str, str]) -> tuple[Output, ...]:
    """Return outputs with the headings of a table, those of the table first and in its order."""
    order = list(columns)
    ranked = sorted(outputs, key=lambda one: order.index(one.path) if one.path in columns else len(order))
    return tuple(replace(one, column=columns.get(one.path)) for one in ranked)


ENRICHMENT = _with_columns(
    (
        Output("schema", _TEXT, "Version of this shape.", "cbsigned.enrichment/1"),
        _HASHES[0],
        *_STATUS,
        _COMPLETE,
        Output("enriched_at", _TIME, "When this was found out.", "2016-03-17T04:06:00Z"),
        Output("alert.format", _TEXT, "Shape that the alert was read as.", "sentinel"),
        Output("alert.kind", _TEXT, "The platform's own word for it.", "watchlist.hit.process", True),
        Output("alert.id", _TEXT, "The platform's id.", "4711", True),
        Output("alert.title", _TEXT, "Watchlist, feed report or rule.", "Unsigned child of Office", True),
        Output("alert.at", _TIME, "When it was raised.", "2016-03-16T04:06:00Z", True),
        Output("alert.link", _TEXT, "Back to the platform; not checked.", "https://siem.example.test/4711", True),
        Output("origin.serial", _TEXT, "Row of a Splunk export.", "17", True),
        Output("origin.time", _TEXT, "Time of that row, as written.", "1458101160", True),
        *under("subjects[]", _SUBJECT),
        *_GAPS,
        Output("card", _TEXT, "The card, Markdown.", "**UNSIGNED** git.exe …"),
    ),
    {
        "status": "Status",
        "md5": "MD5",
        "reason": "Reason",
        "complete": "Complete",
        "subjects[].name": "Process",
        "subjects[].host": "Host",
        "subjects[].signature.publisher": "Publisher",
    },
)

SIGNATURE_ANSWER = _with_columns(
    (_ASKED, *_SIGNATURE),
    {
        "asked": "Asked",
        "status": "Status",
        "publisher": "Publisher",
        "issuer": "Issuer",
        "signed_at": "Signed at",
        "reason": "Reason",
    },
)

LINEAGE_ANSWER = _with_columns(
    (
        _ASKED,
        _COMPLETE,
        *_SUBJECT,
        Output("tree", _TEXT, "The lineage as an indented text.", "git.exe …"),
        Output("svg", _TEXT, "The lineage as a drawing, SVG; empty where there is none.", "<svg …"),
    ),
    {
        "lineage.nodes[].name": "Process",
        "lineage.nodes[].status": "Status",
        "lineage.nodes[].pid": "PID",
        "lineage.nodes[].started_at": "Started",
        "lineage.nodes[].user": "User",
        "lineage.nodes[].cmdline": "Command line",
    },
)

_FOUND = (
    *_HASHES,
    *_STATUS,
    _SIGNING[0],
)
PROCESS = _with_columns(
    (
        Output("guid", _TEXT, "Process guid, no segment.", _PROCESS_ID, False, _GUID),
        *_RUN,
        Output("parent_name", _TEXT, "File name of its parent.", "services.exe", True, _NAME),
        Output("parent_guid", _TEXT, "Guid of its parent.", _PROCESS_ID, True, _GUID),
        *_FOUND,
        Output("link", _TEXT, "Its page in the console.", "https://cb.example.test/#analyze/…", True, ("url",)),
    ),
    {
        "name": "Process",
        "status": "Status",
        "publisher": "Publisher",
        "host": "Host",
        "user": "User",
        "pid": "PID",
        "started_at": "Started",
        "guid": "GUID",
    },
)

BINARY = _with_columns(
    (
        *_FOUND,
        *_SIGNING[1:],
        Output("name", _TEXT, "File name as it was seen last.", "svchost.exe", True, _NAME),
        Output("paths[]", _TEXT, "Where it was seen.", "c:\\windows\\system32\\svchost.exe", False, _PATH),
        Output(
            "original_name", _TEXT, "Its own name, by its version info, which anyone can write.", "svchost.exe", True
        ),
        Output("product", _TEXT, "Product, by its version info.", "Windows", True),
        Output("company", _TEXT, "Company, by its version info.", "Microsoft Corporation", True),
        Output("file_version", _TEXT, "Version, by its version info.", "6.1.7600.16385", True),
        Output("host_count", _INTEGER, "On how many hosts.", 12, True, unit="hosts"),
        Output("first_seen_at", _TIME, "When the server got it.", "2016-03-16T04:06:00Z", True),
        Output("last_seen_at", _TIME, "When it was seen last.", "2016-03-17T04:06:00Z", True),
        Output("link", _TEXT, "Its page in the console.", "https://cb.example.test/#/binary/…", True, ("url",)),
    ),
    {
        "md5": "MD5",
        "name": "Name",
        "status": "Status",
        "publisher": "Publisher",
        "product": "Product",
        "host_count": "Hosts",
        "first_seen_at": "First seen",
        "last_seen_at": "Last seen",
    },
)

_CONTACT = (
    Output("guid", _TEXT, "Process guid, no segment.", _PROCESS_ID, False, _GUID),
    *_RUN,
    *_FOUND,
)
_RELATION = (
    Output(
        "total",
        _INTEGER,
        "How many processes, as far as the source tells; null where it could not say.",
        3,
        True,
        unit="processes",
    ),
    *under("rows[]", _CONTACT),
    Output("gap", _TEXT, "Why some or all are missing.", "No answer within 30 s.", True),
)
SEEN = _with_columns(
    (
        _ASKED,
        *_FOUND,
        _COMPLETE,
        Output("name", _TEXT, "File name.", "svchost.exe", True, _NAME),
        Output("paths[]", _TEXT, "Where it was seen.", "c:\\windows\\system32\\svchost.exe", False, _PATH),
        Output("host_count", _INTEGER, "On how many hosts.", 12, True, unit="hosts"),
        Output("hosts[].host", _TEXT, "Host name.", "LAB-WS-07", False, _HOST),
        Output("hosts[].sensor_id", _INTEGER, "Sensor.", 7, True, ("carbon black sensor id",)),
        Output("first_seen_at", _TIME, "When the source heard of it first.", "2016-03-16T04:06:00Z", True),
        Output("last_seen_at", _TIME, "When it was seen last.", "2016-03-17T04:06:00Z", True),
        *under("ran", _RELATION),
        *under("loaded", _RELATION),
        *under("wrote", _RELATION),
        *_GAPS,
        Output("link", _TEXT, "Its page in the console.", "https://cb.example.test/#/binary/…", True, ("url",)),
    ),
    {
        "asked": "Asked",
        "status": "Status",
        "name": "Name",
        "host_count": "Hosts",
        "first_seen_at": "First seen",
        "last_seen_at": "Last seen",
        "hosts[].host": "On hosts",
        "ran.total": "Run by",
        "loaded.total": "Loaded by",
        "wrote.total": "Written by",
    },
)

CHECK = (
    Output(
        "topic", _TEXT, "What was tried: server, binary search, process search, sha256, clock.", "server", column="What"
    ),
    Output("ok", _SWITCH, "Whether it works; null where it cannot be told.", True, True, column="Works"),
    Output(
        "text",
        _TEXT,
        "What was found, and what to do where it does not work.",
        "Allowed; 17 documents.",
        column="Found",
    ),
)
