"""A stand-in for one splunkd: a home folder with the app in it, users, the management port, handlers and searches.

In a test::

    with Splunkd(tmp_path, app) as splunkd:
        analyst = splunkd.user("analyst", "cbsigned_use")
        outcome = splunkd.search("cbsigned", ["field=md5"], user=analyst, chunks=chunked(events, [100]))

Commands and handlers are the packaged scripts in processes of their own, with the environment that splunkd gives and
nothing of the test's, run by the interpreter below any virtual environment: what is not in the package is not there.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import secrets
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote, urlsplit

from splunkd.certificates import install
from splunkd.command import Command
from splunkd.conf import Conf
from splunkd.frames import Table, body_of, text_of
from splunkd.handlers import Faults, Persistent
from splunkd.rest import VERSION, Management, User, system_user
from splunkd.search import Conduct, Outcome, Sink, run
from splunkd.server import Port, Seen

__all__ = ["PYTHON", "Splunkd"]

PYTHON = os.path.realpath(sys.executable)
"""The interpreter itself, as Splunk ships one: without the packages of the environment that runs the tests."""
_STRICT = getattr(ssl, "VERIFY_X509_STRICT", 0)  # default since 3.13; Splunk's own certificates are not so strict
_USER = frozenset({"run_custom_command", "search", "rest_properties_get", "run_sendalert", "schedule_search"})
_ADMIN = _USER | {"admin_all_objects", "list_storage_passwords", "edit_storage_passwords", "edit_tcp"}


class Splunkd:
    """One instance, from its start to the end of the `with` block.

    Args:
        folder: Where its home is made.
        app: The unpacked app; copied into `etc/apps`.
        python: The interpreter of commands and handlers.

    Attributes:
        home: SPLUNK_HOME.
        management: What it keeps: passwords, collections, received events.
        faults: Switches for the handler's answers.
        seen: Requests and answers of the management port.
    """

    def __init__(self, folder: Path, app: Path, python: str = PYTHON) -> None:
        self.home, self.python = folder / "splunk", python
        self.app = self.home / "etc" / "apps" / app.name
        for place in ("etc/apps", "var/log/splunk", "var/run/splunk/dispatch", "var/lib/splunk"):
            (self.home / place).mkdir(parents=True)
        subprocess.run(["cp", "-a", str(app), str(self.app)], check=True)
        self._numbers = iter(range(1, 1 << 30))
        self._lock = threading.Lock()
        self.sessions: dict[str, User] = {}
        system = self._session(system_user(_key(), _ADMIN | self._own_capabilities()))
        handlers = {
            stanza["match"]: (stanza, self._handler(stanza))
            for name, stanza in self.conf.read("restmap").items()
            if name.startswith("script:")
        }
        self.management = Management(self.app, system, handlers)
        self.port = Port(self.management, self.sessions, install(self.home / "etc" / "auth"))
        self.management.rest_uri = self.port.uri
        self.processes: list[int] = []

    def __enter__(self) -> Splunkd:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.port.close()
        for _stanza, handler in self.management.handlers.values():
            handler.close()

    @property
    def conf(self) -> Conf:
        """The app's conf files."""
        return Conf(self.app)

    @property
    def faults(self) -> Faults:
        """Switches for the handler's answers."""
        return self.port.faults

    @property
    def seen(self) -> Seen:
        """Requests and answers of the management port."""
        return self.port.seen

    @property
    def handler(self) -> Persistent:
        """The process behind `/services/cbsigned`."""
        return self.management.handlers["/cbsigned"][1]

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that splunkd starts."""
        return {
            "SPLUNK_HOME": str(self.home), "SPLUNK_ETC": str(self.home / "etc"),
            "SPLUNK_DB": str(self.home / "var" / "lib" / "splunk"), "SPLUNK_SERVER_NAME": "Splunkd",
            "PATH": f"{self.home}/bin:/usr/bin:/bin", "PYTHONNOUSERSITE": "1",
            "HOME": "/nonexistent",
        }  # fmt: skip

    def user(self, name: str, *capabilities: str, roles: Sequence[str] = ("user",)) -> User:
        """Return a logged-in user: a plain one's rights, those of the app's roles given, and the capabilities named."""
        owned, wanted = set(_ADMIN if "admin" in roles else _USER) | set(capabilities), list(roles)
        for role in wanted:
            stanza = self.conf.read("authorize").get(f"role_{role}", {})
            owned |= {name for name, value in stanza.items() if value == "enabled"}
            wanted += [name for name in stanza.get("importRoles", "").split(";") if name and name not in wanted]
        return self._session(User(name, _key(), tuple(roles), frozenset(owned)))

    def configure(self, token: Optional[str] = None, **stanzas: dict[str, str]) -> None:
        """Do what the setup page does: conf entries by stanza, and the token among the passwords."""
        for stanza, entries in stanzas.items():
            self.conf.write("cbsigned", stanza, entries)
        if token is not None:
            self.management.passwords["cbsigned", "edr_token"] = token

    def command(self, name: str, *, maxwait_s: float = 60.0, script: Optional[Path] = None) -> Command:
        """Return a started command, by its stanza in commands.conf, or another script in its place."""
        path = script or self.app / "bin" / self.conf.read("commands")[name]["filename"]
        command = Command([self.python, str(path)], self.env, self.home, maxwait_s)
        with self._lock:
            self.processes.append(command.pid)
        return command

    def search(
        self, name: str, args: Sequence[str] = (), *, user: User, chunks: Iterable[Table] = (),
        sid: Optional[str] = None, preview: bool = False, conduct: Optional[Conduct] = None,
        sink: Optional[Sink] = None, maxwait_s: float = 60.0, script: Optional[Path] = None,
        info: Optional[dict[str, Any]] = None,
    ) -> Outcome:  # fmt: skip
        """Run `| NAME ARGS` over the events and return what the user gets.

        Args:
            args: As typed, quotes included.
            chunks: Events as they come down the pipeline.
            sid: Its search id; one that begins with `remote_` says that this is a peer.
            info: Entries of searchinfo to be added or replaced.
            script: Run this instead of the stanza's script.

        Raises:
            CommandFailed: The command broke the protocol, or lost an event.
        """
        with self.command(name, maxwait_s=maxwait_s, script=script) as command:
            searchinfo = {**self.searchinfo(name, args, user, sid), **(info or {})}
            return run(command, searchinfo, chunks, preview=preview, conduct=conduct, sink=sink)

    def searchinfo(self, name: str, args: Sequence[str], user: User, sid: Optional[str] = None) -> dict[str, Any]:
        """Return what getinfo tells a command about its search, in 8.2.1's order."""
        sid = sid or f"1763800000.{next(self._numbers)}"
        dispatch = self.home / "var" / "run" / "splunk" / "dispatch" / sid
        dispatch.mkdir(exist_ok=True)
        return {
            "args": [_unquoted(arg) for arg in args], "raw_args": list(args), "dispatch_dir": str(dispatch), "sid": sid,
            "app": "search", "owner": user.name, "username": user.name, "session_key": user.session_key,
            "splunkd_uri": self.port.uri, "splunk_version": VERSION,
            "search": quote(" ".join(["search index=edr |", name, *args]), safe=""), "command": name,
            "maxresultrows": 50000, "earliest_time": "0", "latest_time": "0",
        }  # fmt: skip

    def post(self, path: str, document: Any, user: Optional[User] = None) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of a POST to the management port, as a client of ours sends it."""
        parts = urlsplit(self.port.uri)
        trust = ssl.create_default_context(cafile=str(self.home / "etc" / "auth" / "cacert.pem"))
        trust.check_hostname, trust.verify_flags = False, trust.verify_flags & ~_STRICT
        connection = http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=60, context=trust)
        headers = {"Authorization": f"Splunk {user.session_key}"} if user else {}
        with contextlib.closing(connection):
            connection.request("POST", f"{path}?output_mode=json", json.dumps(document), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def alert(
        self, stanza: str, parameters: dict[str, str], table: Table, *, user: User, sid: str = "scheduler__u__a_at_1",
        argv: Sequence[str] = ("--execute",), **payload: Any,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run an alert action on results, as splunkd does; standard error is what splunkd.log gets."""
        dispatch = self.home / "var" / "run" / "splunk" / "dispatch" / sid
        dispatch.mkdir(exist_ok=True)
        results = dispatch / "results.csv.gz"
        results.write_bytes(gzip.compress(body_of(table)))
        first = dict(zip(table.names, table.rows[0])) if table.rows else {}
        document = {
            "app": "search", "owner": user.name, "server_host": "sh1", "server_uri": self.port.uri,
            "session_key": user.session_key, "sid": sid, "search_name": "Unsigned and rare", "search_uri": "",
            "results_link": f"https://sh1:8000/app/search/@go?sid={sid}", "results_file": str(results),
            "configuration": parameters,
            "result": {name.decode(): text_of(cell) for name, cell in first.items()},
            **payload,
        }  # fmt: skip
        return subprocess.run(
            [self.python, str(self.app / "bin" / f"{stanza}.py"), *argv], input=json.dumps(document), env=self.env,
            cwd=self.home, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def _session(self, user: User) -> User:
        self.sessions[user.session_key] = user
        return user

    def _own_capabilities(self) -> set[str]:
        return {name[12:] for name in self.conf.read("authorize") if name.startswith("capability::")}

    def _handler(self, stanza: dict[str, str]) -> Persistent:
        script = self.app / "bin" / stanza["script"]
        return Persistent(self.python, script, stanza["handler"], self.env, self.home / "var/log/splunk/splunkd.log")


def _key() -> str:
    return secrets.token_urlsafe(72)


def _unquoted(text: str) -> str:
    r"""Return an argument as splunkd gives it in `args`: quotes removed, `\"` and `\\` undone inside them."""
    out, inside, at = [], False, 0
    while at < len(text):
        if text[at] == '"':
            inside = not inside
        elif inside and text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
            out.append(text[at])
        else:
            out.append(text[at])
        at += 1
    return "".join(out)
