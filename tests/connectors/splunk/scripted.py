"""A handler that answers by a script, and what a generating command makes of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from cbsigned_connectors.splunk.generated import Page, pages
from cbsigned_connectors.splunk.splunkd import HandlerError

GUID, PARENT = "00000007-0000-0d24-01d7-35e9bb340680", "00000007-0000-0728-01d7-35c3d946a720"
MD5, SHA256 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d", "ab" * 32
KEY = "session-key-of-an-analyst-7f3a"
PROCESS = {
    "id": GUID, "unique_id": f"{GUID}-0178ef7c49a8", "process_name": "updater.exe", "process_pid": "3364",
    "path": "c:\\program files\\acme\\updater.exe", "process_md5": MD5, "process_sha256": SHA256,
    "cmdline": '"C:\\Program Files\\Acme\\updater.exe" /check', "username": "SYSTEM", "hostname": "lab-ws-07",
    "start": "2021-04-20T13:33:21.512Z", "os_type": "windows", "parent_id": PARENT, "parent_name": "services.exe",
    "parent_pid": "1832", "watchlists": ['{"wid":"3"}', '{"wid":"4"}'],
}  # fmt: skip
BINARY = {
    "md5": MD5.upper(), "sha256": "(unknown)", "digsig_result": "Signed",
    "observed_filename": ["c:\\a\\b.exe", "d:\\b.exe"],
    "endpoint": ["LAB-WS-07|7", "LAB-WS-08|8", "LAB-WS-07|9"], "orig_mod_len": "193536", "os_type": "Windows",
    "server_added_timestamp": "2021-04-01T10:00:00.12Z", "host_count": "2",
}  # fmt: skip
Answer = Union[Mapping[str, Any], HandlerError]


class Handler:
    """Answers in the order of a script, `health` apart; notes what it was asked."""

    def __init__(self, *script: Answer, health: Optional[Mapping[str, Any]] = None) -> None:
        self.script = list(script)
        self.health: Answer = health or {"edr_host": "cb.example.test:8443"}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.connected: list[tuple[str, str]] = []

    def connect(self, uri: str, key: str) -> Any:
        self.connected.append((uri, key))
        return self

    def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if route == "health":
            answer = self.health
        else:
            self.asked.append((route, document))
            answer = self.script.pop(0)
        if isinstance(answer, HandlerError):
            raise answer
        return answer


def page_of(*rows: Mapping[str, Any], next: Optional[int] = None, total: Optional[int] = None, **more: Any) -> Answer:
    return {"total": len(rows) if total is None else total, "rows": list(rows), "next": next, "warnings": [], **more}


def found(handler: Handler, command: str, **values: Any) -> list[Page]:
    given = {"query": "x", "guid": GUID, "kinds": "", "maxrows": 1000, **values}
    return list(pages(command, given, handler.ask, now=lambda: 1700000000.25))
