"""The routes of splunkd's management port that the app may use: handlers, KV store, passwords, conf, receiver, apps."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable
from urllib.parse import unquote

from splunkd.conf import Conf, is_true
from splunkd.entries import Answer, Entry, listing, message
from splunkd.handlers import HandlerDied, Persistent
from splunkd.kvstore import Collection, KvError

__all__ = ["Management", "Request", "User", "system_user"]

VERSION = "9.4.0"


@dataclass(frozen=True)
class User:
    """Someone with a session."""

    name: str
    session_key: str
    roles: tuple[str, ...]
    capabilities: frozenset[str]


@dataclass(frozen=True)
class Request:
    """One request as it came; `path` without `/services` or `/servicesNS/OWNER/APP`."""

    method: str
    path: str
    owner: str
    app: str
    parameters: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    user: User

    def get(self, name: str, default: str = "") -> str:
        """Return one parameter of the query or the form."""
        return next((value for key, value in self.parameters if key == name), default)

    @property
    def as_json(self) -> bool:
        """Whether JSON is asked for; XML is the default, as in splunkd."""
        return self.get("output_mode") == "json"


class Refused(Exception):
    """An answer that is a message."""

    def __init__(self, status: int, text: str, level: str = "ERROR") -> None:
        super().__init__(text)
        self.status, self.level = status, level


@dataclass
class Management:
    """What splunkd keeps, and the routes to it.

    Attributes:
        app: Folder of the one app; conf files are read from it anew for every request.
        handlers: Persistent handlers by the path they match.
        received: What `receivers/simple` took in: index, sourcetype, source, text.
        reloads: Apps that were reloaded.
    """

    app: Path
    system: User
    handlers: Mapping[str, tuple[Mapping[str, str], Persistent]]
    rest_uri: str = ""
    passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    received: list[dict[str, str]] = field(default_factory=list)
    reloads: list[str] = field(default_factory=list)
    _collections: dict[str, Collection] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Answer:
        """Return the answer to one request."""
        try:
            for pattern, route in _ROUTES:
                match = pattern.fullmatch(request.path)
                if match:
                    return route(self, request, *(unquote(part) for part in match.groups()))
            return self._handled(request)
        except Refused as exc:
            return message(exc.status, str(exc), as_json=request.as_json, level=exc.level)
        except KvError as exc:
            return message(exc.status, str(exc), as_json=True)

    def collection(self, name: str) -> Collection:
        """Return a collection that the app's collections.conf declares."""
        declared = Conf(self.app).read("collections").get(name)
        if declared is None:
            raise Refused(404, f"Could not find object id={name}")
        types = {key[6:]: kind for key, kind in declared.items() if key.startswith("field.")}
        with self._lock:
            enforce = is_true(declared.get("enforceTypes", "false"))
            return self._collections.setdefault(name, Collection(types, enforce))

    def _handled(self, request: Request) -> Answer:
        """Give the request to the handler whose `match` its path begins with."""
        for match in sorted(self.handlers, key=len, reverse=True):
            if request.path == match or request.path.startswith(match + "/"):
                stanza, handler = self.handlers[match]
                needed = stanza.get(f"capability.{request.method.lower()}", stanza.get("capability", ""))
                if needed and needed not in request.user.capabilities:
                    raise Refused(403, "insufficient permission to access this resource", "WARN")
                try:
                    answer = handler.call(self._input(request, match, stanza))
                except HandlerDied:
                    raise Refused(500, "Handler process exited unexpectedly") from None
                kind = {"Content-Type": "application/json; charset=UTF-8", **answer.get("headers", {})}
                payload = answer["payload"].encode()
                return Answer(answer["status"], payload, kind.pop("Content-Type"), kind)
        raise Refused(404, "Not Found")

    def _input(self, request: Request, match: str, stanza: Mapping[str, str]) -> dict[str, Any]:
        data: dict[str, Any] = {
            "output_mode": request.get("output_mode", "xml"), "output_mode_explicit": request.as_json,
            "server": {"rest_uri": self.rest_uri, "hostname": "sh1", "servername": "sh1", "guid": "0" * 36},
            "path_info": request.path[len(match) + 1 :], "query": [list(pair) for pair in request.parameters],
            "connection": {"src_ip": "127.0.0.1", "ssl": True, "listening_port": 8089},
            "session": {"user": request.user.name, "authtoken": request.user.session_key}, "lang": "en-US",
            "rest_path": request.path, "method": request.method, "ns": {"app": request.app, "user": request.owner},
            "form": [],
        }  # fmt: skip
        if is_true(stanza.get("passConf", "true")):
            data["restmap"] = {"name": f"script:{match[1:]}", "conf": dict(stanza)}
        if is_true(stanza.get("passPayload", "false")):
            data["payload"] = request.body.decode("utf-8", "replace")
        if is_true(stanza.get("passSystemAuth", "false")):
            data["system_authtoken"] = self.system.session_key
        return data

    def _passwords(self, request: Request) -> Answer:
        _need(request, "list_storage_passwords")
        if request.method == "POST":
            _need(request, "edit_storage_passwords")
            key = (request.get("realm"), request.get("name"))
            if not key[1] or not request.get("password"):
                raise Refused(400, "The following required arguments are missing: name, password")
            if key in self.passwords:
                raise Refused(409, f"Cannot create: {_password_name(key)} exists")
            self.passwords[key] = request.get("password")
            return listing("passwords", [self._password(key)], as_json=request.as_json, status=201)
        return listing("passwords", [self._password(key) for key in self.passwords], as_json=request.as_json)

    def _one_password(self, request: Request, name: str) -> Answer:
        _need(request, "list_storage_passwords")
        key = next((key for key in self.passwords if _password_name(key) in (name, name + ":", f":{name}:")), None)
        if key is None:
            raise Refused(404, f"Could not find object id={name}")
        if request.method == "DELETE":
            _need(request, "edit_storage_passwords")
            del self.passwords[key]
            return listing("passwords", [], as_json=request.as_json)
        if request.method == "POST":
            _need(request, "edit_storage_passwords")
            self.passwords[key] = request.get("password")
        return listing("passwords", [self._password(key)], as_json=request.as_json)

    def _password(self, key: tuple[str, str]) -> Entry:
        content = {
            "realm": key[0], "username": key[1], "clear_password": self.passwords[key], "password": "********",
            "encr_password": "$7$…",
        }  # fmt: skip
        return Entry(_password_name(key), f"servicesNS/nobody/{self.app.name}/storage/passwords", content)

    def _conf(self, request: Request, name: str) -> Answer:
        conf = Conf(self.app)
        if request.method == "POST":
            self._write(request, name, request.get("name"))
            return listing(f"conf-{name}", [self._stanza(name, request.get("name"))], as_json=request.as_json)
        stanzas = conf.read(name)
        if not stanzas:
            raise Refused(404, f"Could not find object id=conf-{name}")
        return listing(f"conf-{name}", [self._stanza(name, stanza) for stanza in stanzas], as_json=request.as_json)

    def _one_stanza(self, request: Request, name: str, stanza: str) -> Answer:
        if request.method == "POST":
            self._write(request, name, stanza)
        if stanza not in Conf(self.app).read(name):
            raise Refused(404, f"Could not find object id={stanza}")
        return listing(f"conf-{name}", [self._stanza(name, stanza)], as_json=request.as_json)

    def _write(self, request: Request, name: str, stanza: str) -> None:
        _need(request, "admin_all_objects")
        with self._lock:
            entries = {k: v for k, v in request.parameters if k not in ("name", "output_mode")}
            Conf(self.app).write(name, stanza, entries)

    def _stanza(self, name: str, stanza: str) -> Entry:
        content = {**Conf(self.app).read(name).get(stanza, {}), "disabled": False, "eai:appName": self.app.name}
        return Entry(stanza, f"servicesNS/nobody/{self.app.name}/configs/conf-{name}", content)

    def _collection_config(self, request: Request, name: str = "") -> Answer:
        names = [name] if name else list(Conf(self.app).read("collections"))
        place = f"servicesNS/nobody/{self.app.name}/storage/collections/config"
        for wanted in names:
            self.collection(wanted)
        entries = [Entry(wanted, place, Conf(self.app).read("collections")[wanted]) for wanted in names]
        return listing("collections", entries, as_json=request.as_json)

    def _documents(self, request: Request, name: str) -> Answer:
        documents = self.collection(name)
        if request.method == "POST":
            keys = documents.save([_json(request.body)])
            return _plain({"_key": keys[0]}, 201)
        query = _json(request.get("query").encode()) if request.get("query") else None
        if request.method == "DELETE":
            documents.remove(query)
            return _plain({})
        found = documents.find(
            query, skip=int(request.get("skip", "0")), limit=int(request.get("limit", "0")),
            fields=request.get("fields"), sort=request.get("sort"),
        )  # fmt: skip
        return _plain(found)

    def _one_document(self, request: Request, name: str, key: str) -> Answer:
        documents = self.collection(name)
        if request.method == "POST" and key == "batch_save":
            return _plain(documents.save(_json(request.body)))
        if request.method == "POST" and key == "batch_find":
            return _plain([documents.find(part.get("query")) for part in _json(request.body)])
        if not documents.find({"_key": key}):
            raise Refused(404, "Could not find object.")
        if request.method == "DELETE":
            documents.remove({"_key": key})
            return _plain({})
        if request.method == "POST":
            documents.save([{**_json(request.body), "_key": key}])
            return _plain({"_key": key})
        return _plain(documents.find({"_key": key})[0])

    def _receive(self, request: Request) -> Answer:
        _need(request, "edit_tcp")
        given = {key: request.get(key) for key in ("index", "sourcetype", "source", "host")}
        self.received.append({**given, "text": request.body.decode("utf-8")})
        return listing("receivers", [], as_json=request.as_json)

    def _app(self, request: Request, name: str) -> Answer:
        if name != self.app.name:
            raise Refused(404, f"Could not find object id={name}")
        if request.method == "POST":
            _need(request, "admin_all_objects")
            with self._lock:
                Conf(self.app).write("app", "install", {"is_configured": request.get("configured", "0")})
        content = {"configured": is_true(Conf(self.app).read("app").get("install", {}).get("is_configured", "0"))}
        return listing("apps", [Entry(name, "servicesNS/nobody/system/apps/local", content)], as_json=request.as_json)

    def _reload(self, request: Request, name: str) -> Answer:
        _need(request, "admin_all_objects")
        self.reloads.append(name)
        return listing("apps", [], as_json=request.as_json)

    def _context(self, request: Request) -> Answer:
        user = request.user
        content = {"username": user.name, "roles": list(user.roles), "capabilities": sorted(user.capabilities)}
        return listing("context", [Entry("context", "services/authentication", content)], as_json=request.as_json)

    def _info(self, request: Request) -> Answer:
        content = {
            "version": VERSION,
            "serverName": "sh1",
            "product_type": "enterprise",
            "server_roles": ["search_head"],
        }
        return listing("server-info", [Entry("server-info", "services/server/info", content)], as_json=request.as_json)


_ROUTES: tuple[tuple[re.Pattern[str], Callable[..., Answer]], ...] = tuple(
    (re.compile(pattern), route)
    for pattern, route in (
        (r"/storage/passwords/?", Management._passwords),
        (r"/storage/passwords/([^/]+)", Management._one_password),
        (r"/configs/conf-([^/]+)/?", Management._conf),
        (r"/configs/conf-([^/]+)/([^/]+)", Management._one_stanza),
        (r"/storage/collections/config/?", Management._collection_config),
        (r"/storage/collections/config/([^/]+)", Management._collection_config),
        (r"/storage/collections/data/([^/]+)/?", Management._documents),
        (r"/storage/collections/data/([^/]+)/([^/]+)", Management._one_document),
        (r"/receivers/simple", Management._receive),
        (r"/apps/local/([^/]+)", Management._app),
        (r"/apps/local/([^/]+)/_reload", Management._reload),
        (r"/authentication/current-context(?:/context)?", Management._context),
        (r"/server/info(?:/server-info)?", Management._info),
    )
)


def _need(request: Request, capability: str) -> None:
    if capability not in request.user.capabilities:
        raise Refused(403, "insufficient permission to access this resource", "WARN")


def _password_name(key: tuple[str, str]) -> str:
    return "".join(part.replace("\\", "\\\\").replace(":", "\\:") + ":" for part in key)


def _plain(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise KvError(400, f"JSON in the request is invalid: {exc}") from exc


def system_user(session_key: str, capabilities: frozenset[str], name: str = "splunk-system-user") -> User:
    """Return who `passSystemAuth` speaks for."""
    return User(name, session_key, ("admin", "splunk_system_role"), capabilities)
