"""One self-made alert of every format, and the sets that it must give; shapes are the vendors', values ours."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

__all__ = ["CASES", "GUID", "LOOK_ALIKE", "MD5", "MD5_B", "SHA1", "SHA256", "SHA256_B", "SYSMON", "Case"]

MD5, MD5_B = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d", "1111222233334444aaaabbbbccccdddd"
SHA1 = "aa11bb22cc33dd44ee55ff6600112233445566aa"
SHA256, SHA256_B = "ab" * 32, "cd" * 32
LOOK_ALIKE = "0badc0de0badc0de0badc0de0badc0de"
"""Stands wherever a value has an MD5's length and is none."""
GUID = "00000007-0000-0d24-01d7-35e9bb340680"
PARENT = "00000007-0000-0728-01d7-35c3d946a720"
SYSMON = "{ad4b5c3e-1111-2222-3333-444455556666}"
SYSMON_PARENT = "{ad4b5c3e-7777-2222-3333-444455556666}"
CLOUD = "7DESJ9GN-00442a47-000010f4-00000000-1d5a3c7b9e0f112"
ENTITY, ENTITY_PARENT = "2fix5xRi6Ty5vy+JmI07Jw", "3fbuhhb4Gq/vR27djvKXUQ"


class Case(NamedTuple):
    """A record, the name of its format, and of each set the role with the fields that are not empty."""

    name: str
    source: str
    record: dict[str, Any]
    sets: list[dict[str, Any]]


SPLUNK = {
    "sid": "scheduler__admin__search__RMD5abc_at_1795300000_12", "search_name": "Suspicious child", "app": "search",
    "owner": "admin", "results_link": "https://splunk.example.test:8000/app/search/@go?sid=scheduler",
    "result": {
        "dest": "WS01", "process_hash": f"MD5={MD5.upper()},SHA256={SHA256.upper()},IMPHASH={LOOK_ALIKE.upper()}",
        "process_name": "a.exe", "process_id": "4711", "process_guid": SYSMON, "parent_process_name": "b.exe",
        "parent_process_hash": f"MD5={MD5_B}", "parent_process_id": "4012", "user": "jo", "_time": "1795299990",
        "etag": LOOK_ALIKE,
    },
}  # fmt: skip
CLOUD_ALERT = {
    "org_key": "7DESJ9GN", "type": "WATCHLIST", "id": LOOK_ALIKE, "device_name": "CORP\\WS01", "device_id": 17,
    "process_guid": CLOUD, "process_pid": 4340, "process_name": "c:\\users\\public\\a.exe", "process_md5": MD5,
    "process_sha256": SHA256, "process_cmdline": "a.exe -k", "process_username": "CORP\\jo",
    "process_publisher": ["Acme Corp"], "process_issuer": ["Acme CA"], "parent_guid": "null", "parent_pid": 668,
    "parent_name": "c:\\windows\\system32\\services.exe", "parent_md5": MD5_B, "parent_sha256": "null",
    "childproc_md5": "null", "alert_url": "https://cbc.example.test/alerts?x", "severity": 5,
    "backend_timestamp": "2026-10-01T09:59:58.123Z", "reason": "A watchlist hit",
}  # fmt: skip
FORWARDER = {
    "type": "alert.watchlist.hit.query.process", "unique_id": "c02c7a6a-1b2c-4d5e-8f90-a1b2c3d4e5f6",
    "hostname": "WS09", "sensor_id": "7", "process_id": GUID, "segment_id": "1", "process_name": "chrome.exe",
    "process_path": "c:\\a\\chrome.exe", "md5": MD5, "watchlist_name": "Chrome", "alert_severity": "40.5",
    "created_time": "2016-07-19T16:26:49.830563Z",
}  # fmt: skip
FORWARDER_SETS = [
    {"role": "process", "md5": MD5, "process_guid": GUID, "name": "chrome.exe", "path": "c:\\a\\chrome.exe",
     "host": "WS09"}
]  # fmt: skip
ELASTIC = {
    "@timestamp": "2026-01-20T15:38:39.934Z", "event": {"kind": "signal", "id": LOOK_ALIKE},
    "kibana.alert.uuid": "f" * 64, "kibana.alert.rule.name": "Odd parent", "kibana.alert.severity": "high",
    "host": {"name": "ws01", "id": LOOK_ALIKE}, "user": {"name": "jo"}, "trace": {"id": LOOK_ALIKE},
    "process": {
        "pid": 8400, "entity_id": ENTITY, "name": "a.exe", "executable": "C:\\Users\\v\\Desktop\\a.exe",
        "command_line": '"a.exe" -k', "hash": {"md5": MD5, "sha256": SHA256}, "pe": {"imphash": LOOK_ALIKE},
        "code_signature": {"exists": True, "trusted": True, "status": "trusted", "subject_name": "Acme Corp",
                           "thumbprint_sha256": "ef" * 32},
        "parent": {"pid": 5120, "entity_id": ENTITY_PARENT, "executable": "C:\\Windows\\explorer.exe"},
        "Ext": {"ancestry": [ENTITY_PARENT, "x/1"]},
    },
    "file": {"path": "C:\\x\\b.dll", "hash": {"sha256": SHA256_B}, "Ext": {"code_signature": [{"exists": False}]}},
}  # fmt: skip
ELASTIC_SETS = [
    {"role": "process", "md5": MD5, "sha256": SHA256, "foreign_id": ENTITY, "name": "a.exe", "user": "jo",
     "path": "C:\\Users\\v\\Desktop\\a.exe", "pid": 8400, "host": "ws01", "cmdline": '"a.exe" -k', "claimed": "Signed"},
    {"role": "target file", "sha256": SHA256_B, "name": "b.dll", "path": "C:\\x\\b.dll", "host": "ws01",
     "claimed": "Unsigned"},
    {"role": "parent", "foreign_id": ENTITY_PARENT, "name": "explorer.exe", "path": "C:\\Windows\\explorer.exe",
     "pid": 5120, "host": "ws01"},
]  # fmt: skip
OCSF = {
    "class_uid": 1007, "category_uid": 1, "activity_id": 1, "time": 1795300000000,
    "metadata": {"version": "1.5.0", "uid": LOOK_ALIKE, "product": {"name": "Acme"}}, "device": {"hostname": "WS01"},
    "actor": {"process": {"pid": 4012, "name": "b.exe", "uid": SYSMON_PARENT}},
    "process": {
        "pid": 4711, "uid": SYSMON, "name": "a.exe", "cmd_line": "a.exe -k", "created_time": 1795299990000,
        "file": {
            "name": "a.exe", "path": "C:\\x\\a.exe",
            "hashes": [{"algorithm_id": 1, "value": MD5}, {"algorithm_id": 3, "value": SHA256.upper()},
                       {"algorithm_id": 99, "algorithm": "imphash", "value": LOOK_ALIKE}],
            "signature": {"state_id": 2, "certificate": {"subject": "CN=Acme", "issuer": "CN=CA",
                          "fingerprints": [{"algorithm_id": 1, "value": LOOK_ALIKE}]}},
        },
        "parent_process": {"pid": 4012, "uid": SYSMON_PARENT},
    },
}  # fmt: skip
FINDING = {
    "class_uid": 2004, "metadata": {"version": "1.5.0"}, "finding_info": {"uid": "f-1", "title": "Odd"},
    "time": 1795300000000,
    "evidences": [
        {"process": {"pid": 7, "file": {"name": "a.exe", "hashes": [{"algorithm": "SHA-256", "value": SHA256}]}},
         "device": {"hostname": "WS01"}},
        {"file": {"name": "b.dll", "hashes": [{"algorithm_id": 1, "value": MD5_B}]}, "device": {"hostname": "WS02"}},
    ],
}  # fmt: skip
SENTINEL = {
    "object": {
        "id": "/subscriptions/1/incidents/2", "properties": {
            "incidentNumber": 203, "title": "Odd child", "severity": "High", "relatedEntities": [
                {"id": "/e/h1", "kind": "Host", "properties": {"hostName": "WS01", "dnsDomain": "corp.example"}},
                {"id": "/e/x1", "kind": "FileHash", "properties": {"algorithm": "SHA256", "hashValue": SHA256.upper()}},
                {"id": "/e/x2", "kind": "FileHash", "properties": {"algorithm": "MD5", "hashValue": MD5_B.upper()}},
                {"id": "/e/f1", "kind": "File", "properties": {
                    "directory": "C:\\Users\\Public\\", "fileName": "svc.exe", "fileHashEntityIds": ["/e/x1"]}},
                {"id": "/e/p1", "kind": "Process", "properties": {
                    "processId": "3300", "commandLine": "svc.exe -k", "creationTimeUtc": "2026-10-01T09:59:58Z",
                    "imageFileEntityId": "/e/f1", "hostEntityId": "/e/h1", "parentProcessEntityId": "/e/p2"}},
                {"id": "/e/p2", "kind": "Process", "properties": {"processId": "668"}},
            ],
        },
    },
}  # fmt: skip
SENTINEL_ALERT = {
    "AlertType": "Odd", "WorkspaceId": "w", "SystemAlertId": "s-1", "AlertDisplayName": "Odd child",
    "Entities": [
        {"$id": "1", "Type": "host", "HostName": "WS01"},
        {"$id": "2", "Type": "process", "ProcessId": "0xce4", "CommandLine": "svc.exe -k", "Host": {"$ref": "1"},
         "ImageFile": {"$ref": "3"}, "ParentProcess": {"$ref": "6"}},
        {"$id": "3", "Type": "file", "Directory": "C:\\Users\\Public", "Name": "svc.exe",
         "FileHashes": [{"$ref": "4"}, {"$id": "5", "Type": "filehash", "Algorithm": "SHA1", "Value": SHA1.upper()}]},
        {"$id": "4", "Type": "filehash", "Algorithm": "MD5", "Value": MD5.upper()},
        {"$id": "6", "Type": "process", "ProcessId": "668",
         "ImageFile": {"$id": "7", "Type": "file", "Name": "b.exe",
                       "FileHashes": [{"$id": "8", "Type": "filehash", "Algorithm": "MD5", "Value": MD5_B}]}},
    ],
}  # fmt: skip
DEFENDER = {
    "@odata.type": "#microsoft.graph.security.alert", "id": "da637551227677560813_-961444813", "severity": "low",
    "alertWebUrl": "https://security.example.test/alerts/da637", "title": "Odd", "category": "Execution",
    "createdDateTime": "2021-08-12T12:43:19.0772577Z",
    "evidence": [
        {"@odata.type": "#microsoft.graph.security.deviceEvidence", "deviceDnsName": "ws01.corp.example",
         "mdeDeviceId": "73e7"},
        {"@odata.type": "#microsoft.graph.security.processEvidence", "processId": 4780, "parentProcessId": 668,
         "processCommandLine": "a.exe -k", "processCreationDateTime": "2021-08-12T12:43:19.0772577Z",
         "imageFile": {"sha1": SHA1, "sha256": SHA256, "fileName": "a.exe", "filePath": "C:\\Program Files\\temp",
                       "filePublisher": "Microsoft Corporation", "signer": None, "issuer": None},
         "parentProcessImageFile": {"sha1": None, "sha256": SHA256_B, "fileName": "services.exe",
                                    "filePath": "C:\\Windows\\System32", "signer": "Acme", "issuer": "Acme CA"},
         "userAccount": {"accountName": "SYSTEM", "domainName": "NT AUTHORITY"}},
    ],
}  # fmt: skip
SOAR = {
    "container": {"id": 42, "name": "Suspicious child", "label": "events", "source_data_identifier": "e@@notable@@1"},
    "artifacts": [
        {"id": 101, "name": "Artifact", "cef": {
            "destinationAddress": "WS01", "fileHash": MD5_B, "process_hash": f"MD5={MD5}", "process_id": "4711",
            "destinationUserName": "jo"}, "cef_types": {"fileHash": ["hash", "md5"]}},
        {"id": 102, "cef": {"deviceProcessName": "x.exe", "deviceHostname": "WS02", "process_guid": GUID}},
    ],
}  # fmt: skip
THEHIVE = {
    "_type": "Audit", "action": "create", "objectType": "Observable", "objectId": "~8561545240", "requestId": "r-1",
    "_createdBy": "alice@soc.example", "_createdAt": 1769070800405, "details": {"data": MD5.upper()},
    "object": {"_id": "~8561545240", "_type": "Observable", "dataType": "hash", "data": MD5.upper(), "tags": []},
    "organisation": {"organisationId": "~68", "organisation": "soc"},
}  # fmt: skip
EVENT_DATA = {
    "Hashes": f"MD5={MD5.upper()},SHA256={SHA256.upper()},IMPHASH={LOOK_ALIKE.upper()}", "Image": "C:\\x\\a.exe",
    "ProcessGuid": SYSMON.upper(), "ProcessId": 4711, "ParentImage": "C:\\y\\b.exe", "ParentProcessId": 4012,
    "ParentProcessGuid": SYSMON_PARENT.strip("{}").upper(), "CommandLine": "a.exe -k", "User": "CORP\\jo",
}  # fmt: skip
CHAINSAW = {
    "group": "Sigma", "kind": "individual", "name": "Odd child", "timestamp": "2026-01-20T15:38:39Z", "level": "high",
    "source": "sigma", "id": "c02c7a6a-1b2c-4d5e-8f90-a1b2c3d4e5f6",
    "document": {"kind": "evtx", "path": "a.evtx", "data": {"Event": {
        "System": {"Computer": "WS01", "EventID": 1}, "EventData": EVENT_DATA}}},
}  # fmt: skip
SYSMON_SETS = [
    {"role": "process", "md5": MD5, "sha256": SHA256, "foreign_id": SYSMON, "name": "a.exe", "path": "C:\\x\\a.exe",
     "pid": 4711, "host": "WS01", "user": "CORP\\jo", "cmdline": "a.exe -k"},
    {"role": "parent", "foreign_id": SYSMON_PARENT, "name": "b.exe", "path": "C:\\y\\b.exe", "pid": 4012,
     "host": "WS01"},
]  # fmt: skip
LOAD = {
    "EventID": 7, "Computer": "WS01", "Image": "C:\\x\\a.exe", "ProcessGuid": SYSMON, "ProcessId": "4711",
    "ImageLoaded": "C:\\x\\c.dll", "Hashes": f"MD5={MD5},IMPHASH={LOOK_ALIKE}", "Signed": "true", "Signature": "Acme",
    "SignatureStatus": "Expired",
}  # fmt: skip
LOAD_SETS = [
    {"role": "process", "foreign_id": SYSMON, "name": "a.exe", "path": "C:\\x\\a.exe", "pid": 4711, "host": "WS01"},
    {"role": "module", "md5": MD5, "name": "c.dll", "path": "C:\\x\\c.dll", "host": "WS01", "claimed": "Expired"},
]  # fmt: skip
HAYABUSA = {
    "Timestamp": "2026-01-20 15:38:39.934 +00:00", "RuleTitle": "Odd child", "Level": "high", "Computer": "WS01",
    "Channel": "Sysmon", "EventID": 1, "RecordID": 7,
    "Details": {"Cmdline": "a.exe -k", "Proc": "C:\\x\\a.exe", "PID": 4711, "PGUID": SYSMON.strip("{}").upper(),
                "User": "CORP\\jo", "ParentPID": 4012, "ParentPGUID": SYSMON_PARENT.strip("{}").upper(),
                "Hashes": EVENT_DATA["Hashes"]},
    "ExtraFieldInfo": {"ParentImage": "C:\\y\\b.exe"},
}  # fmt: skip
HAYABUSA_TEXT = {
    **HAYABUSA, "ExtraFieldInfo": "ParentImage: C:\\y\\b.exe",
    "Details": " ¦ ".join(f"{name}: {value}" for name, value in HAYABUSA["Details"].items()),  # type: ignore[attr-defined]
}  # fmt: skip
SPLUNK_SETS = [
    {"role": "process", "md5": MD5, "sha256": SHA256, "foreign_id": SYSMON, "name": "a.exe", "pid": 4711,
     "host": "WS01", "user": "jo"},
    {"role": "parent", "md5": MD5_B, "name": "b.exe", "host": "WS01"},
]  # fmt: skip
CLOUD_SETS = [
    {"role": "process", "md5": MD5, "sha256": SHA256, "foreign_id": CLOUD, "name": "a.exe", "host": "WS01",
     "path": "c:\\users\\public\\a.exe", "pid": 4340, "user": "CORP\\jo", "cmdline": "a.exe -k"},
    {"role": "parent", "md5": MD5_B, "name": "services.exe", "path": "c:\\windows\\system32\\services.exe", "pid": 668,
     "host": "WS01"},
]  # fmt: skip
DEFENDER_SETS = [
    {"role": "process", "sha1": SHA1, "sha256": SHA256, "name": "a.exe", "path": "C:\\Program Files\\temp\\a.exe",
     "pid": 4780, "host": "ws01.corp.example", "user": "SYSTEM", "cmdline": "a.exe -k"},
    {"role": "parent", "sha256": SHA256_B, "name": "services.exe", "path": "C:\\Windows\\System32\\services.exe",
     "pid": 668, "host": "ws01.corp.example", "claimed": "Signed"},
]  # fmt: skip
OCSF_SETS = [
    {"role": "process", "md5": MD5, "sha256": SHA256, "foreign_id": SYSMON, "name": "a.exe", "path": "C:\\x\\a.exe",
     "pid": 4711, "host": "WS01", "cmdline": "a.exe -k", "claimed": "Expired"},
    {"role": "parent", "foreign_id": SYSMON_PARENT, "name": "b.exe", "pid": 4012, "host": "WS01"},
]  # fmt: skip
FINDING_SETS = [
    {"role": "process", "sha256": SHA256, "name": "a.exe", "pid": 7, "host": "WS01"},
    {"role": "target file", "md5": MD5_B, "name": "b.dll", "host": "WS02"},
]  # fmt: skip
SENTINEL_SETS = [
    {"role": "process", "sha256": SHA256, "name": "svc.exe", "path": "C:\\Users\\Public\\svc.exe", "pid": 3300,
     "host": "WS01", "cmdline": "svc.exe -k"},
    {"role": "target file", "md5": MD5_B, "host": "WS01"},
]  # fmt: skip
SENTINEL_ALERT_SETS = [
    {"role": "process", "md5": MD5, "sha1": SHA1, "name": "svc.exe", "path": "C:\\Users\\Public\\svc.exe", "pid": 3300,
     "host": "WS01", "cmdline": "svc.exe -k"},
    {"role": "parent", "md5": MD5_B, "name": "b.exe", "pid": 668, "host": "WS01"},
]  # fmt: skip
SOAR_SETS = [
    {"role": "process", "md5": MD5, "pid": 4711, "host": "WS01", "user": "jo"},
    {"role": "process", "process_guid": GUID, "name": "x.exe", "host": "WS02"},
    {"role": "target file", "md5": MD5_B, "host": "WS01"},
]  # fmt: skip
EVENT = {"specversion": "1.0", "type": "com.acme.alert", "source": "/siem", "id": "1", "time": "2026-01-20T15:38:39Z"}

CASES = [
    Case("splunk", "splunk", SPLUNK, SPLUNK_SETS),
    Case("soar", "soar", SOAR, SOAR_SETS),
    Case("soar artifact", "soar", {"name": "a", "cef": {"fileHashSha256": SHA256, "deviceHostname": "WS01"}},
         [{"role": "target file", "sha256": SHA256, "host": "WS01"}]),
    Case("soar artifact of the cloud", "soar", {"cef": {"_raw": json.dumps(CLOUD_ALERT), "dproc": "a.exe"}},
         CLOUD_SETS),
    Case("sentinel incident", "sentinel", SENTINEL, SENTINEL_SETS),
    Case("sentinel alert", "sentinel", SENTINEL_ALERT, SENTINEL_ALERT_SETS),
    Case("sentinel alert of the table", "sentinel",
         {**SENTINEL_ALERT, "Entities": json.dumps(SENTINEL_ALERT["Entities"])}, SENTINEL_ALERT_SETS),
    Case("defender", "defender", DEFENDER, DEFENDER_SETS),
    Case("elastic", "elastic", ELASTIC, ELASTIC_SETS),
    Case("elastic search hit", "elastic", {"_index": "i", "_id": "1", "_source": ELASTIC}, ELASTIC_SETS),
    Case("ocsf activity", "ocsf", OCSF, OCSF_SETS),
    Case("ocsf finding", "ocsf", FINDING, FINDING_SETS),
    Case("forwarder", "carbon-black", FORWARDER, FORWARDER_SETS),
    Case("forwarder bundle of one", "carbon-black", {"filename": "f", "service": "carbonblack", "alerts": [FORWARDER]},
         FORWARDER_SETS),
    Case("cloud", "carbon-black-cloud", CLOUD_ALERT, CLOUD_SETS),
    Case("thehive", "thehive", THEHIVE, [{"role": "target file", "md5": MD5}]),
    Case("chainsaw", "chainsaw", CHAINSAW, SYSMON_SETS),
    Case("chainsaw aggregate", "chainsaw",
         {"group": "Sigma", "kind": "aggregate", "name": "n", "documents": [CHAINSAW["document"]]}, SYSMON_SETS),
    Case("hayabusa", "hayabusa", HAYABUSA, SYSMON_SETS),
    Case("hayabusa text", "hayabusa", HAYABUSA_TEXT, SYSMON_SETS),
    Case("xsoar", "xsoar", {"name": "n", "type": "Odd", "occurred": "2026-01-20T15:38:39Z", "raw_json": ELASTIC},
         ELASTIC_SETS),
    Case("xsoar text", "xsoar", {"name": "n", "type": "Odd", "raw_json": json.dumps(FORWARDER)}, FORWARDER_SETS),
    Case("cloudevents", "cloudevents", {**EVENT, "data": DEFENDER}, DEFENDER_SETS),
    Case("cloudevents base64", "cloudevents",
         {**EVENT, "data_base64": base64.b64encode(json.dumps(CLOUD_ALERT).encode()).decode()}, CLOUD_SETS),
    Case("windows event", "windows-event", LOAD, LOAD_SETS),
    Case("row", "row", {"process_guid": GUID, "process_md5": MD5, "dest": "WS01"},
         [{"role": "process", "md5": MD5, "process_guid": GUID, "host": "WS01"}]),
]  # fmt: skip
