"""What comes out of the actions, as data paths of SOAR. Made from the catalogue: python packaging/manifests.py soar"""
# fmt: off
# ruff: noqa: E501

from typing import Optional

from soar_sdk.action_results import ActionOutput, OutputField


class Summary(ActionOutput):
    """Counts and what is left, of any action; the statuses are counted beside these."""

    complete: Optional[bool] = OutputField(example_values=[True])
    asked: Optional[int] = OutputField(example_values=[3])
    answered: Optional[int] = OutputField(example_values=[3])
    total: Optional[int] = OutputField(example_values=[40])
    next: Optional[int] = OutputField(example_values=[20])


class TestConnection(ActionOutput):
    topic: str = OutputField(example_values=["server"], column_name="What")
    ok: Optional[bool] = OutputField(example_values=[True], column_name="Works")
    text: str = OutputField(example_values=["Allowed; 17 documents."], column_name="Found")


class Evidence(ActionOutput):
    record: str = OutputField(example_values=["binary document"])
    source: str = OutputField(example_values=["edr:cb.example.test"])
    recorded_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"])
    age_s: Optional[int] = OutputField(example_values=[86400])
    read_at: Optional[str] = OutputField(example_values=["2016-03-17T04:06:00Z"])
    certainty: str = OutputField(example_values=["stated"])
    word: Optional[str] = OutputField(example_values=["Signed"])
    code: Optional[str] = OutputField(example_values=["0x800b0100"])


class Signature(ActionOutput):
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"], column_name="Publisher")
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    status: str = OutputField(example_values=["Signed"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    cause: str = OutputField(example_values=["record"])
    signed: Optional[bool] = OutputField(example_values=[True])
    issuer: Optional[str] = OutputField(example_values=["Microsoft Code Signing PCA"])
    signed_at: Optional[str] = OutputField(example_values=["2009-07-14T04:15:00Z"])
    subject: Optional[str] = OutputField(example_values=["Microsoft Windows"])
    program_name: Optional[str] = OutputField(example_values=["Microsoft Windows"])
    host_count: Optional[int] = OutputField(example_values=[12])
    paths: list[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    evidence: Optional[Evidence]


class Verdict(ActionOutput):
    status: str = OutputField(example_values=["Unsigned"])
    text: str = OutputField(example_values=["unsigned"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    notes: list[str] = OutputField(example_values=["Ancestor cmd.exe is Unsigned."])


class Claimed(ActionOutput):
    record: str = OutputField(example_values=["alert"])
    word: Optional[str] = OutputField(example_values=["Signed"])
    code: Optional[str] = OutputField(example_values=["0x00000000"])
    publisher: Optional[str] = OutputField(example_values=["Example Ltd"])


class Links(ActionOutput):
    process: Optional[str] = OutputField(cef_types=["url"], example_values=["https://cb.example.test/#analyze/…"])
    binary: Optional[str] = OutputField(cef_types=["url"], example_values=["https://cb.example.test/#/binary/…"])


class Gap(ActionOutput):
    about: str = OutputField(example_values=["signing status of git.exe"])
    cause: str = OutputField(example_values=["timeout"])
    reason: str = OutputField(example_values=["No answer within 30 s."])


class Nodes(ActionOutput):
    depth: int = OutputField(example_values=[1])
    guid: str = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    parent_guid: Optional[str] = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"])
    path: Optional[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    pid: Optional[int] = OutputField(cef_types=["pid"], example_values=[2092])
    host: Optional[str] = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"])
    user: Optional[str] = OutputField(cef_types=["user name"], example_values=["NT AUTHORITY\\SYSTEM"])
    cmdline: Optional[str] = OutputField(example_values=["svchost.exe -k netsvcs"])
    started_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"])
    ended_at: Optional[str] = OutputField(example_values=["2016-03-16T04:07:00Z"])
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    status: str = OutputField(example_values=["Signed"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    cause: str = OutputField(example_values=["record"])
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"])
    start_recorded: bool = OutputField(example_values=[True])
    from_guid: bool = OutputField(example_values=[False])
    suppressed: bool = OutputField(example_values=[False])
    gap: Optional[Gap]


class Children(ActionOutput):
    total: int = OutputField(example_values=[3])
    nodes: list[Nodes]
    gap: Optional[Gap]


class Lineage(ActionOutput):
    ended_by: str = OutputField(example_values=["root"])
    reason: str = OutputField(example_values=["The lineage reaches a process without a parent."])
    whole: bool = OutputField(example_values=[True])
    nodes: list[Nodes]
    children: Optional[Children]
    siblings: Optional[Children]


class Subjects(ActionOutput):
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"], column_name="Process")
    host: Optional[str] = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"], column_name="Host")
    signature: Optional[Signature]
    role: str = OutputField(example_values=["process"])
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    status: str = OutputField(example_values=["Signed"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    verdict: Optional[Verdict]
    sha1: Optional[str] = OutputField(cef_types=["sha1", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b00000000"])
    process_guid: Optional[str] = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    foreign_id: Optional[str] = OutputField(example_values=["{6b1d0f1e-0000-0000-0000-000000000000}"])
    path: Optional[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    pid: Optional[int] = OutputField(cef_types=["pid"], example_values=[2092])
    user: Optional[str] = OutputField(cef_types=["user name"], example_values=["NT AUTHORITY\\SYSTEM"])
    cmdline: Optional[str] = OutputField(example_values=["svchost.exe -k netsvcs"])
    started_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"])
    claimed: Optional[Claimed]
    links: Optional[Links]
    lineage: Optional[Lineage]
    problems: list[str] = OutputField(example_values=["md5 is no MD5."])
    gaps: list[Gap]


class Alert(ActionOutput):
    format: str = OutputField(example_values=["sentinel"])
    kind: Optional[str] = OutputField(example_values=["watchlist.hit.process"])
    id: Optional[str] = OutputField(example_values=["4711"])
    title: Optional[str] = OutputField(example_values=["Unsigned child of Office"])
    at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"])
    link: Optional[str] = OutputField(example_values=["https://siem.example.test/4711"])


class Origin(ActionOutput):
    serial: Optional[str] = OutputField(example_values=["17"])
    time: Optional[str] = OutputField(example_values=["1458101160"])


class EnrichAlert(ActionOutput):
    status: str = OutputField(example_values=["Signed"], column_name="Status")
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"], column_name="MD5")
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."], column_name="Reason")
    complete: bool = OutputField(example_values=[True], column_name="Complete")
    subjects: list[Subjects]
    schema_: str = OutputField(example_values=["cbsigned.enrichment/1"], alias="schema")
    enriched_at: str = OutputField(example_values=["2016-03-17T04:06:00Z"])
    alert: Optional[Alert]
    origin: Optional[Origin]
    gaps: list[Gap]
    card: str = OutputField(example_values=["**UNSIGNED** git.exe …"])


class SigningStatus(ActionOutput):
    asked: str = OutputField(example_values=["0f343b0931126a20f133d67c2b018a3b"], column_name="Asked")
    status: str = OutputField(example_values=["Signed"], column_name="Status")
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"], column_name="Publisher")
    issuer: Optional[str] = OutputField(example_values=["Microsoft Code Signing PCA"], column_name="Issuer")
    signed_at: Optional[str] = OutputField(example_values=["2009-07-14T04:15:00Z"], column_name="Signed at")
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."], column_name="Reason")
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    cause: str = OutputField(example_values=["record"])
    signed: Optional[bool] = OutputField(example_values=[True])
    subject: Optional[str] = OutputField(example_values=["Microsoft Windows"])
    program_name: Optional[str] = OutputField(example_values=["Microsoft Windows"])
    host_count: Optional[int] = OutputField(example_values=[12])
    paths: list[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    evidence: Optional[Evidence]


class LineageNodes(ActionOutput):
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"], column_name="Process")
    status: str = OutputField(example_values=["Signed"], column_name="Status")
    pid: Optional[int] = OutputField(cef_types=["pid"], example_values=[2092], column_name="PID")
    started_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"], column_name="Started")
    user: Optional[str] = OutputField(cef_types=["user name"], example_values=["NT AUTHORITY\\SYSTEM"], column_name="User")
    cmdline: Optional[str] = OutputField(example_values=["svchost.exe -k netsvcs"], column_name="Command line")
    depth: int = OutputField(example_values=[1])
    guid: str = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    parent_guid: Optional[str] = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    path: Optional[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    host: Optional[str] = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"])
    ended_at: Optional[str] = OutputField(example_values=["2016-03-16T04:07:00Z"])
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    cause: str = OutputField(example_values=["record"])
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"])
    start_recorded: bool = OutputField(example_values=[True])
    from_guid: bool = OutputField(example_values=[False])
    suppressed: bool = OutputField(example_values=[False])
    gap: Optional[Gap]


class ProcessLineageLineage(ActionOutput):
    nodes: list[LineageNodes]
    ended_by: str = OutputField(example_values=["root"])
    reason: str = OutputField(example_values=["The lineage reaches a process without a parent."])
    whole: bool = OutputField(example_values=[True])
    children: Optional[Children]
    siblings: Optional[Children]


class ProcessLineageSignature(ActionOutput):
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    status: str = OutputField(example_values=["Signed"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    cause: str = OutputField(example_values=["record"])
    signed: Optional[bool] = OutputField(example_values=[True])
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"])
    issuer: Optional[str] = OutputField(example_values=["Microsoft Code Signing PCA"])
    signed_at: Optional[str] = OutputField(example_values=["2009-07-14T04:15:00Z"])
    subject: Optional[str] = OutputField(example_values=["Microsoft Windows"])
    program_name: Optional[str] = OutputField(example_values=["Microsoft Windows"])
    host_count: Optional[int] = OutputField(example_values=[12])
    paths: list[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    evidence: Optional[Evidence]


class ProcessLineage(ActionOutput):
    lineage: Optional[ProcessLineageLineage]
    asked: str = OutputField(example_values=["0f343b0931126a20f133d67c2b018a3b"])
    complete: bool = OutputField(example_values=[True])
    role: str = OutputField(example_values=["process"])
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    status: str = OutputField(example_values=["Signed"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    verdict: Optional[Verdict]
    sha1: Optional[str] = OutputField(cef_types=["sha1", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b00000000"])
    process_guid: Optional[str] = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    foreign_id: Optional[str] = OutputField(example_values=["{6b1d0f1e-0000-0000-0000-000000000000}"])
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"])
    path: Optional[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    pid: Optional[int] = OutputField(cef_types=["pid"], example_values=[2092])
    host: Optional[str] = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"])
    user: Optional[str] = OutputField(cef_types=["user name"], example_values=["NT AUTHORITY\\SYSTEM"])
    cmdline: Optional[str] = OutputField(example_values=["svchost.exe -k netsvcs"])
    started_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"])
    signature: Optional[ProcessLineageSignature]
    claimed: Optional[Claimed]
    links: Optional[Links]
    problems: list[str] = OutputField(example_values=["md5 is no MD5."])
    gaps: list[Gap]
    tree: str = OutputField(example_values=["git.exe …"])
    svg: str = OutputField(example_values=["<svg …"])


class FindProcesses(ActionOutput):
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"], column_name="Process")
    status: str = OutputField(example_values=["Signed"], column_name="Status")
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"], column_name="Publisher")
    host: Optional[str] = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"], column_name="Host")
    user: Optional[str] = OutputField(cef_types=["user name"], example_values=["NT AUTHORITY\\SYSTEM"], column_name="User")
    pid: Optional[int] = OutputField(cef_types=["pid"], example_values=[2092], column_name="PID")
    started_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"], column_name="Started")
    guid: str = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"], column_name="GUID")
    path: Optional[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    cmdline: Optional[str] = OutputField(example_values=["svchost.exe -k netsvcs"])
    parent_name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["services.exe"])
    parent_guid: Optional[str] = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    link: Optional[str] = OutputField(cef_types=["url"], example_values=["https://cb.example.test/#analyze/…"])


class FindBinaries(ActionOutput):
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"], column_name="MD5")
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"], column_name="Name")
    status: str = OutputField(example_values=["Signed"], column_name="Status")
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"], column_name="Publisher")
    product: Optional[str] = OutputField(example_values=["Windows"], column_name="Product")
    host_count: Optional[int] = OutputField(example_values=[12], column_name="Hosts")
    first_seen_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"], column_name="First seen")
    last_seen_at: Optional[str] = OutputField(example_values=["2016-03-17T04:06:00Z"], column_name="Last seen")
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    issuer: Optional[str] = OutputField(example_values=["Microsoft Code Signing PCA"])
    signed_at: Optional[str] = OutputField(example_values=["2009-07-14T04:15:00Z"])
    paths: list[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    original_name: Optional[str] = OutputField(example_values=["svchost.exe"])
    company: Optional[str] = OutputField(example_values=["Microsoft Corporation"])
    file_version: Optional[str] = OutputField(example_values=["6.1.7600.16385"])
    link: Optional[str] = OutputField(cef_types=["url"], example_values=["https://cb.example.test/#/binary/…"])


class Hosts(ActionOutput):
    host: str = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"], column_name="On hosts")
    sensor_id: Optional[int] = OutputField(cef_types=["carbon black sensor id"], example_values=[7])


class Rows(ActionOutput):
    guid: str = OutputField(cef_types=["carbon black process id", "cbc process guid"], example_values=["00000009-0000-082c-01d1-7f392625197c"])
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"])
    path: Optional[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    pid: Optional[int] = OutputField(cef_types=["pid"], example_values=[2092])
    host: Optional[str] = OutputField(cef_types=["host name"], example_values=["LAB-WS-07"])
    user: Optional[str] = OutputField(cef_types=["user name"], example_values=["NT AUTHORITY\\SYSTEM"])
    cmdline: Optional[str] = OutputField(example_values=["svchost.exe -k netsvcs"])
    started_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"])
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    status: str = OutputField(example_values=["Signed"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"])


class Ran(ActionOutput):
    total: Optional[int] = OutputField(example_values=[3], column_name="Run by")
    rows: list[Rows]
    gap: Optional[str] = OutputField(example_values=["No answer within 30 s."])


class Loaded(ActionOutput):
    total: Optional[int] = OutputField(example_values=[3], column_name="Loaded by")
    rows: list[Rows]
    gap: Optional[str] = OutputField(example_values=["No answer within 30 s."])


class Wrote(ActionOutput):
    total: Optional[int] = OutputField(example_values=[3], column_name="Written by")
    rows: list[Rows]
    gap: Optional[str] = OutputField(example_values=["No answer within 30 s."])


class WhereSeen(ActionOutput):
    asked: str = OutputField(example_values=["0f343b0931126a20f133d67c2b018a3b"], column_name="Asked")
    status: str = OutputField(example_values=["Signed"], column_name="Status")
    name: Optional[str] = OutputField(cef_types=["process name", "file name"], example_values=["svchost.exe"], column_name="Name")
    host_count: Optional[int] = OutputField(example_values=[12], column_name="Hosts")
    first_seen_at: Optional[str] = OutputField(example_values=["2016-03-16T04:06:00Z"], column_name="First seen")
    last_seen_at: Optional[str] = OutputField(example_values=["2016-03-17T04:06:00Z"], column_name="Last seen")
    hosts: list[Hosts]
    ran: Optional[Ran]
    loaded: Optional[Loaded]
    wrote: Optional[Wrote]
    md5: Optional[str] = OutputField(cef_types=["md5", "hash"], example_values=["0f343b0931126a20f133d67c2b018a3b"])
    sha256: Optional[str] = OutputField(cef_types=["sha256", "hash"], example_values=["aa02c1a5b3a5a0e2ef2a1f7b7a1b5b4b0c6f0f4f4f4e7b7a9c2d5e6f7a8b9c0d"])
    reason: str = OutputField(example_values=["Carbon Black has a record of this file and says Unsigned."])
    publisher: Optional[str] = OutputField(example_values=["Microsoft Corporation"])
    complete: bool = OutputField(example_values=[True])
    paths: list[str] = OutputField(cef_types=["file path"], example_values=["c:\\windows\\system32\\svchost.exe"])
    gaps: list[Gap]
    link: Optional[str] = OutputField(cef_types=["url"], example_values=["https://cb.example.test/#/binary/…"])
