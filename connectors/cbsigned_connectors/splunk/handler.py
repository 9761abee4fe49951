"""The persistent REST handler: everything that search commands, alert action and dashboards ask goes through here.

It runs in one long-lived process of splunkd's, alone holds the API token, and imports without Splunk. A question
that takes longer than `wait_s` becomes a job, whose id the caller asks again by; so no search blocks another for long.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from cbsigned.errors import CbSignedError, ConfigError, NotFound, SourceError, SourceQueryError
from cbsigned.timing import Deadline
from cbsigned_connectors.splunk import configuration, logs
from cbsigned_connectors.splunk.configuration import Configuration, Splunkd
from cbsigned_connectors.splunk.health import Health
from cbsigned_connectors.splunk.jobs import Job, Jobs, TooBusy, UnknownJob
from cbsigned_connectors.splunk.kvstore import KvStore, KvStoreCache, VerdictTable
from cbsigned_connectors.splunk.questions import QUESTIONS, BadRequest, Document, asked_job
from cbsigned_connectors.splunk.service import Keeping, Service

__all__ = ["Handler", "start"]

log = logging.getLogger(__name__)

_MAX_INPUT = 128 * 1024 * 1024
_GRACE_S = 2.0
_TEST_S = 25.0
_OF_ONE_USER = 40
"""Of the 80 places for questions."""
_SHARED_WAIT_S = 1.0
"""The longest wait while others have jobs too: splunkd may send requests one after the other."""
_PATH = re.compile(r"/(cbsigned(?:_admin)?)/([a-z_]{1,40})/?", re.ASCII)


class _NoRoute(Exception):
    """There is nothing at this address."""


@dataclass(frozen=True)
class _Request:
    """One request as splunkd hands it over, read."""

    stanza: str
    route: str
    document: Document
    user: str
    splunkd: Splunkd
    secrets: tuple[str, ...] = field(repr=False)


class Handler:
    """Answers splunkd's requests; thread-safe.

    Args:
        settings: Where the settings are read.
        connect: Makes a client of splunkd for the KV store; None keeps answers in memory alone.
        jobs: Where questions are worked on.
    """

    def __init__(
        self,
        settings: Optional[Configuration] = None,
        connect: Optional[Callable[[Splunkd], Any]] = configuration.connect,
        jobs: Optional[Jobs] = None,
    ) -> None:
        self.health = Health()
        self._settings = settings or Configuration()
        self._jobs = jobs or Jobs(of_one=_OF_ONE_USER)
        self._splunkd: Optional[Splunkd] = None
        self._store = KvStore(lambda: connect(self._authority())) if connect is not None else None
        self._current: Optional[Service] = None
        self._lock = threading.Lock()

    def handle(self, in_string: Union[str, bytes]) -> Document:
        """Return the reply to one request: `status`, `payload` (JSON text) and `headers`; never raises.

        Args:
            in_string: splunkd's JSON: `method`, `rest_path`, `payload`, `session`, `system_authtoken`, `server`.

        References:
            - splunk §8: what a persistent handler is given, and what it answers
        """
        secrets: list[str] = []

        def answer() -> tuple[int, Document]:
            request = _read(in_string)
            secrets.extend(request.secrets)
            return self._answer(request)

        status, document = self._safely(answer, secrets)
        if status != 200:
            self.health.count("errors", str(status))
        return {"status": status, "payload": _text(document), "headers": {"Content-Type": "application/json"}}

    def store(self) -> Optional[KvStore]:
        """Return the KV store that answers are kept in, or None."""
        return self._store

    def _answer(self, request: _Request) -> tuple[int, Document]:
        if (request.stanza, request.route) == ("cbsigned_admin", "test"):
            self.health.count("requests", "test")
            return self._answer_of(self._test(request.document, request.splunkd), _TEST_S, None, request)
        read = QUESTIONS.get(request.route) if request.stanza == "cbsigned" else None
        if read is None and (request.stanza, request.route) != ("cbsigned", "health"):
            raise _NoRoute
        self.health.count("requests", request.route)
        if read is None:
            return 200, self._health(request.splunkd)
        job = asked_job(request.document)
        if job is not None:
            return self._slice(self._jobs.find(request.user, job[0]), job[1])
        question = read(request.document)
        service = self._service(request.splunkd)
        work = question.work
        return self._answer_of(lambda d: work(service, d), question.timeout_s, question.wait_s, request)

    def _answer_of(
        self, work: Callable[[Deadline], Document], timeout_s: float, wait_s: Optional[float], request: _Request
    ) -> tuple[int, Document]:
        """Take a question on as a job, and wait for its answer as long as its caller waits."""
        deadline = Deadline(timeout_s)
        job = self._jobs.start(request.user, lambda: self._safely(lambda: (200, work(deadline)), request.secrets))
        if wait_s is not None:
            return self._slice(job, wait_s, fresh=True)
        job.done.wait(timeout_s + _GRACE_S)
        self._jobs.drop(job)
        if not job.done.is_set():
            return 504, {"error": f"No answer within {timeout_s:.0f} s. Raise the time limit, or ask for less."}
        return _answered(job)

    def _slice(self, job: Job, wait_s: float, *, fresh: bool = False) -> tuple[int, Document]:
        """Return a job's answer, or its id where it is not done in time."""
        alone = self._jobs.running + self._jobs.waiting <= 1
        if not job.done.wait(wait_s if alone else min(wait_s, _SHARED_WAIT_S)):
            return 200, {"job": job.id}
        if fresh:
            self._jobs.drop(job)
        return _answered(job)

    def _service(self, splunkd: Splunkd) -> Service:
        """Return what answers under the present settings; another server begins with empty caches."""
        with self._lock:
            self._splunkd = splunkd
            settings, old = self._settings.settings(splunkd), self._current
            if old is not None and old.settings == settings:
                return old
            new = Service(settings, self._keeping(), self.health, old)
            log.info("cbsigned asks %s.", new.edr.name)
            if old is not None:
                old.close()
            self._current = new
            return new

    def _keeping(self) -> Keeping:
        return Keeping() if self._store is None else Keeping(KvStoreCache(self._store), VerdictTable(self._store))

    def _authority(self) -> Splunkd:
        if self._splunkd is None:
            raise ConfigError("No request has come yet.")
        return self._splunkd

    def _health(self, splunkd: Splunkd) -> Document:
        """Return the counters, and whether the settings can be used now."""
        problem, host = "", ""
        try:
            host = self._service(splunkd).edr.name.partition(":")[2]
        except CbSignedError as exc:
            problem = str(exc)
        return {
            **self.health.document(),
            "configured": not problem,
            "problem": problem,
            "edr_host": host,
            "kv_store": self._store.state if self._store is not None else "not used",
            "jobs_running": self._jobs.running,
            "jobs_waiting": self._jobs.waiting,
        }

    def _test(self, document: Document, splunkd: Splunkd) -> Callable[[Deadline], Document]:
        """Return what the setup page's button does: does the core get from the server what it needs."""
        given, token = document.get("settings"), document.get("token")
        if not isinstance(given, Mapping) or not isinstance(token, (str, type(None))):
            raise BadRequest('expected {"settings": {"edr": {…}, "cache": {…}}, "token": "…" or nothing}.')

        def work(deadline: Deadline) -> Document:
            found = self._settings.findings(splunkd, given, token, deadline)
            return {"findings": [{"ok": f.ok, "topic": f.topic, "text": f.text} for f in found]}

        return work

    def _safely(
        self, answer: Callable[[], tuple[int, Document]], secrets: Union[list[str], tuple[str, ...]]
    ) -> tuple[int, Document]:
        """Return an answer, or the error that a failure reads as; of a bug only the log has the traceback."""
        try:
            return answer()
        except BadRequest as exc:
            return 400, {"error": f"The handler of cbsigned cannot read the request: {exc}"}
        except _NoRoute:
            return 404, {
                "error": f"The handler of cbsigned has no such route. Routes: {', '.join([*QUESTIONS, 'health'])}."
            }
        except UnknownJob:
            return 404, {"error": "This look-up is no longer kept, or was begun in another process. Ask again."}
        except TooBusy as exc:
            return 429, {"error": f"The handler of cbsigned is busy: {exc}. Try again in a minute."}
        except ConfigError as exc:
            return 409, {"error": str(exc)}
        except SourceQueryError as exc:
            place = {name: getattr(exc, name) for name in ("position", "excerpt") if hasattr(exc, name)}
            return 400, {"error": str(exc), **place}
        except NotFound as exc:
            return 404, {"error": str(exc)}
        except SourceError as exc:
            self.health.failed(str(exc))
            return 502, {"error": str(exc)}
        except CbSignedError as exc:
            log.error("%s", exc)
            return 500, {"error": str(exc)}
        except Exception:  # noqa: BLE001 (the edge: splunkd would end the process, and with it all searches' answers)
            log.error("This is a bug in cbsigned's handler: %s", self._trace(secrets))
            return 500, {"error": "The handler of cbsigned failed: this is a bug. Its traceback is in cbsigned.log."}

    def _trace(self, secrets: Union[list[str], tuple[str, ...]]) -> str:
        """Return the traceback's last lines without anything secret."""
        text = traceback.format_exc()
        edr = self._current.settings.edr if self._current is not None else None
        for secret in filter(None, [*secrets, edr.token if edr else ""]):
            text = text.replace(secret, "…")
        return text[-1_800:]


def start() -> Handler:
    """Return the handler as splunkd's process uses it: its log lines go to the app's own log."""
    logs.attach(os.environ, "handler", rotate=True)
    return Handler()


def _answered(job: Job) -> tuple[int, Document]:
    status, document = job.answer()
    return int(status), document


def _text(document: Document) -> str:
    """Return JSON that any reader takes: ASCII alone, no lone surrogates from somebody's cell."""
    text = json.dumps(document)
    if "\\ud" in text:
        clean = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
        text = json.dumps(json.loads(clean))
    return text


def _read(in_string: Union[str, bytes]) -> _Request:
    """Return a request of splunkd's, read.

    Raises:
        BadRequest, _NoRoute, ConfigError: What is missing in it.
    """
    if len(in_string) > _MAX_INPUT:
        raise BadRequest(f"it has more than {_MAX_INPUT >> 20} MiB. Ask for fewer rows at once.")
    given = _object(in_string, "splunkd's request")
    path = _PATH.fullmatch(str(given.get("rest_path")))
    if path is None:
        raise _NoRoute
    stanza = path[1]
    restmap = given.get("restmap")
    conf = restmap.get("conf") if isinstance(restmap, dict) else None
    match = conf.get("match") if isinstance(conf, dict) else None
    if match is not None and str(match).strip("/") != stanza:  # each stanza of restmap.conf has a capability of its own
        raise _NoRoute
    if given.get("method") != "POST":
        raise BadRequest("expected the method POST.")
    session, server = given.get("session"), given.get("server")
    user = session.get("user") if isinstance(session, dict) else None
    if not isinstance(user, str) or not user:
        raise BadRequest("splunkd named no user.")
    uri = server.get("rest_uri") if isinstance(server, dict) else None
    token = given.get("system_authtoken")
    key = session.get("authtoken") if isinstance(session, dict) else None
    splunkd = Splunkd(uri if isinstance(uri, str) else "", token if isinstance(token, str) else "")
    secrets = tuple(secret for secret in (token, key) if isinstance(secret, str) and secret)
    payload = given.get("payload")
    document = _object(payload, "its body") if isinstance(payload, str) and payload.strip() else {}
    told = document.get("token")
    return _Request(stanza, path[2], document, user, splunkd, (*secrets, told) if isinstance(told, str) else secrets)


def _object(text: Union[str, bytes], what: str) -> Document:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest(f"{what} is not a JSON object.")
    return document
