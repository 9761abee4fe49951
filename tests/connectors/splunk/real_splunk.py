"""What only a real Splunk can prove, asked of one: `python tests/connectors/splunk/real_splunk.py`.

The app must be installed there. Named by environment variables, as `docs/splunk.md` shows with a container:

    CBSIGNED_SPLUNK_URL        https://127.0.0.1:8089
    CBSIGNED_SPLUNK_PASSWORD   of the user in CBSIGNED_SPLUNK_USER, `admin` by default
    CBSIGNED_SPLUNK_CA         PEM file of the CA of splunkd's certificate: etc/auth/cacert.pem of the container
    CBSIGNED_SPLUNK_EDR        address of a `cbsigned edr-server` over the samples as Splunk reaches it, https
    CBSIGNED_SPLUNK_EDR_CA     its certificate, a path on the Splunk machine
    CBSIGNED_SPLUNK_EDR_TOKEN  its token

Prints a line for each claim: `ok`, `NOT OK` (exit code 1), or `learned` for facts that are either way no fault.
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple, Optional, Protocol
from urllib.parse import urlsplit

__all__ = ["CHECKS", "Finding", "Found", "Instance", "RealSplunk", "examine", "from_environment"]

PROCMON = "b0a3ecc9eaa2521ddea2fc067785b84e"
"""Signed, in the sample telemetry."""
GIT = "00000003-0000-1400-01d2-e4f25a1e8a10"
"""A process of the samples whose image is unsigned."""
ANALYST, PLAIN = "cbsigned_ci_analyst", "cbsigned_ci_plain"


class Finding(NamedTuple):
    """One claim and what came of it; `ok` is None for what is merely learned."""

    claim: str
    ok: Optional[bool]
    text: str


@dataclass(frozen=True)
class Found:
    """What a search gave: its rows, and what stood under the search bar; `error` where it failed."""

    rows: Sequence[Mapping[str, Any]] = ()
    messages: Sequence[str] = ()
    error: str = ""
    seconds: float = 0.0

    def column(self, name: str) -> list[Any]:
        """Return one field of every row, `""` where it is not there."""
        return [row.get(name, "") for row in self.rows]


class Instance(Protocol):
    """A Splunk, as far as the checks need it."""

    def search(self, spl: str, user: str = "") -> Found:
        """Run a search to its end as the administrator or one of the two users."""

    def ask(self, path: str, document: Mapping[str, Any], user: str = "") -> tuple[int, str]:
        """POST JSON to a route; return status and body."""

    def read(self, path: str, user: str = "") -> tuple[int, str]:
        """GET a route; return status and body."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


Check = Callable[[Instance], Iterator[Finding]]


def merging(splunk: Instance) -> Iterator[Finding]:
    """New fields that `required_fields` does not name, with and without `declare`."""
    claim = "new fields reach the events"
    for option in ("", " declare=true"):
        found = splunk.search(f'| makeresults count=3 | eval process_md5="{PROCMON}", kept="a\\"b" | cbsigned{option}')
        named = found.column("cbsigned_status")
        ok = named == ["Signed"] * 3 and found.column("kept") == ['a"b'] * 3
        yield Finding(f"{claim}{option or ', not declared'}", ok if option else (ok or None), _shown(found, named))
    events = splunk.search(
        f'index=_internal | head 200 | eval process_md5="{PROCMON}" | cbsigned | stats count by cbsigned_status'
    )
    yield Finding(
        f"{claim} of indexed events", events.column("count") == ["200"] or None, _shown(events, list(events.rows))
    )


def in_the_middle(splunk: Instance) -> Iterator[Finding]:
    """After a transforming command, and over the largest chunks."""
    stats = splunk.search(
        f'| makeresults count=9 | eval process_md5="{PROCMON}" | stats count by process_md5 | cbsigned declare=true'
    )
    yield Finding("works after stats", stats.column("cbsigned_status") == ["Signed"], _shown(stats, list(stats.rows)))
    many = splunk.search(
        f'| makeresults count=60000 | streamstats count AS n | eval process_md5="{PROCMON}" | cbsigned declare=true '
        "| stats count dc(n) AS rows count(cbsigned_status) AS answered"
    )
    whole = [dict(row) for row in many.rows] == [{"count": "60000", "rows": "60000", "answered": "60000"}]
    yield Finding("60,000 rows come out once each", whole, f"{_shown(many, list(many.rows))} in {many.seconds:.1f} s")


def lineage(splunk: Instance) -> Iterator[Finding]:
    """The other streaming command."""
    found = splunk.search(f'| makeresults | eval process_guid="{GIT}" | cblineage guid=process_guid declare=true')
    text = found.column("lineage_text")
    yield Finding(
        "lineage comes with statuses", bool(text) and text[0].startswith("git.exe (Unsigned) <- "), _shown(found, text)
    )


def wrong_option(splunk: Instance) -> Iterator[Finding]:
    """What the user sees of `error` in the answer to getinfo."""
    found = splunk.search("| makeresults | cbsigned timeout=soon")
    said = " ".join([found.error, *found.messages])
    yield Finding(
        "a wrong option is named to the user", "timeout" in said and not found.rows, said or "nothing was said"
    )


def rights(splunk: Instance) -> Iterator[Finding]:
    """The analyst may look up and may not read the token; a plain user is told what is missing."""
    spl = f'| makeresults | eval process_md5="{PROCMON}" | cbsigned declare=true'
    analyst, plain = splunk.search(spl, ANALYST), splunk.search(spl, PLAIN)
    yield Finding(
        "an analyst may look up", analyst.column("cbsigned_status") == ["Signed"], _shown(analyst, list(analyst.rows))
    )
    told = " ".join([plain.error, *plain.messages, *map(str, plain.column("cbsigned_why"))])
    yield Finding("who lacks cbsigned_use is told so", "cbsigned_use" in told, told or "nothing was said")
    status, body = splunk.read("/servicesNS/nobody/cbsigned/storage/passwords?output_mode=json", ANALYST)
    yield Finding(
        "an analyst cannot read the token", status == 403 or '"entry":[]' in body.replace(" ", ""), f"status {status}"
    )
    status, _body = splunk.ask("/services/cbsigned_admin/test", {"settings": {}}, ANALYST)
    yield Finding("an analyst cannot test settings", status == 403, f"status {status}")


def processes(splunk: Instance) -> Iterator[Finding]:
    """Whether one handler process serves concurrent requests, or splunkd starts several."""
    answers: list[tuple[int, str]] = []
    began = time.monotonic()
    askers = [
        threading.Thread(target=lambda: answers.append(splunk.ask("/services/cbsigned/health", {}))) for _ in range(8)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    took = time.monotonic() - began
    good = [json.loads(body) for status, body in answers if status == 200]
    yield Finding("eight questions at once are answered", len(good) == 8, f"{len(good)} of 8 in {took:.1f} s")
    splunk.wait(15)
    pids = splunk.search(
        'index=_internal source=*cbsigned.log earliest=-1h | rex "pid=(?<pid>\\d+)" | stats dc(pid) AS handlers'
    )
    yield Finding("handler processes in the last hour", None, _shown(pids, list(pids.rows)))


def logs(splunk: Instance) -> Iterator[Finding]:
    """Whether the jail, where there is one, lets the log files be written."""
    found = splunk.search("| tstats count WHERE index=_internal source=*cbsigned*.log earliest=-1h BY source")
    yield Finding("the app's log is written and indexed", bool(found.rows), _shown(found, list(found.rows)))
    jails = splunk.search(
        'index=_internal sourcetype=splunkd earliest=-1h (nsjail OR "Permission denied") cbsigned | head 3 | table _raw'
    )
    yield Finding("lines about jails or refused files", None, _shown(jails, jails.column("_raw")))


def alert_action(splunk: Instance) -> Iterator[Finding]:
    """`sendalert` writes its event and its record."""
    mark = secrets.token_hex(8)
    sent = splunk.search(
        f'| makeresults | eval process_guid="{GIT}", orig_sid="{mark}", orig_rid="0" '
        '| sendalert cbsigned_enrich param.index="main"'
    )
    found = Found()
    for _ in range(12):
        found = splunk.search(
            f'index=main sourcetype="cbsigned:enrichment" orig_sid="{mark}" | table cbsigned_status orig_rid'
        )
        if found.rows:
            break
        splunk.wait(5)
    ok = [dict(row) for row in found.rows] == [{"cbsigned_status": "Unsigned", "orig_rid": "0"}]
    yield Finding("sendalert writes its event", ok, f"{sent.error or _shown(found, list(found.rows))}")
    log = splunk.search(f'search index=* OR index=_* sendmodaction "{mark}" | stats count by index source')
    yield Finding("where the record of the run is indexed", None, _shown(log, list(log.rows)))


def peers(splunk: Instance) -> Iterator[Finding]:
    """What a search's id looks like on an indexer; only where there are some."""
    found = splunk.search("| rest /services/search/distributed/peers | table title")
    if not found.rows:
        yield Finding("sid on a peer begins with remote_", None, "no search peers here: run it in front of an indexer")
        return
    slow = threading.Thread(
        target=lambda: splunk.search('search index=_* earliest=0 | rex "(?<x>.*a.*b.*c.*)" | stats count')
    )
    slow.start()
    splunk.wait(2)
    jobs = splunk.search("| rest /services/search/jobs splunk_server=* | table sid splunk_server")
    slow.join()
    remote = [sid for sid in jobs.column("sid") if str(sid).startswith("remote_")]
    yield Finding("sid on a peer begins with remote_", bool(remote), _shown(jobs, remote))
    told = splunk.search(
        f'index=_internal | head 5 | eval process_md5="{PROCMON}" | cbsigned declare=true '
        "| stats count by cbsigned_status"
    )
    ok = told.column("cbsigned_status") == ["Signed"]
    yield Finding("no peer is asked to look up", ok, _shown(told, list(told.rows)))


CHECKS: tuple[Check, ...] = (
    merging, in_the_middle, lineage, wrong_option, rights, processes, alert_action, logs, peers,
)  # fmt: skip


def examine(splunk: Instance, checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """Yield every claim and what came of it; a check that breaks is a claim that does not hold."""
    for check in checks:
        try:
            yield from check(splunk)
        except (OSError, ValueError, KeyError) as exc:
            yield Finding(
                (check.__doc__ or check.__name__).rstrip("."), False, f"it broke: {type(exc).__name__}: {exc}"
            )


def _shown(found: Found, what: Sequence[Any]) -> str:
    """Return what was got, short, and what Splunk said besides."""
    said = [found.error, *found.messages]
    return " | ".join([json.dumps(list(what)[:3], default=str)[:300], *(text for text in said if text)])


@dataclass
class RealSplunk:
    """A Splunk over its management port; makes two users for the checks and removes them."""

    url: str
    user: str
    password: str = field(repr=False)
    context: ssl.SSLContext
    _services: dict[str, Any] = field(default_factory=dict)
    _secret: str = field(default_factory=lambda: secrets.token_urlsafe(24) + "aA1!", repr=False)

    def __enter__(self) -> RealSplunk:
        admin = self._service("")
        for name, roles in ((ANALYST, ["user", "cbsigned_user"]), (PLAIN, ["user"])):
            self._drop(name)
            admin.users.create(username=name, password=self._secret, roles=roles)
        return self

    def __exit__(self, *_exc: object) -> None:
        for name in (ANALYST, PLAIN):
            self._drop(name)

    def _drop(self, name: str) -> None:
        if name in self._service("").users:
            self._service("").users.delete(name)

    def _service(self, user: str) -> Any:
        if user not in self._services:
            from splunklib import binding, client

            address = urlsplit(self.url)
            self._services[user] = client.connect(
                scheme=address.scheme, host=address.hostname, port=address.port, username=user or self.user,
                password=self._secret if user else self.password, app="cbsigned", owner=user or self.user,
                handler=binding.handler(timeout=300, verify=True, context=self.context),
            )  # fmt: skip
        return self._services[user]

    def search(self, spl: str, user: str = "") -> Found:
        """Run a search to its end."""
        from splunklib.binding import HTTPError

        query = spl if spl.startswith(("|", "search ")) else f"search {spl}"
        began = time.monotonic()
        try:
            stream = self._service(user).jobs.oneshot(
                query, output_mode="json", count=0, earliest_time="-24h", latest_time="now"
            )
            document = json.loads(stream.read())
        except HTTPError as exc:
            return Found(error=str(exc), seconds=time.monotonic() - began)
        told = [f"{m.get('type')}: {m.get('text')}" for m in document.get("messages", [])]
        fatal = [text for text in told if text.startswith(("FATAL", "ERROR"))]
        return Found(document.get("results", []), told, " ".join(fatal), time.monotonic() - began)

    def ask(self, path: str, document: Mapping[str, Any], user: str = "") -> tuple[int, str]:
        """POST JSON to a route."""
        headers = [("Content-Type", "application/json")]
        return self._sent(user, "post", path, headers=headers, body=json.dumps(document).encode())

    def read(self, path: str, user: str = "") -> tuple[int, str]:
        """GET a route."""
        route, _, query = path.partition("?")
        return self._sent(user, "get", route, **dict(pair.split("=", 1) for pair in query.split("&") if pair))

    def _sent(self, user: str, method: str, path: str, **more: Any) -> tuple[int, str]:
        from splunklib.binding import HTTPError

        try:
            answer = getattr(self._service(user), method)(path, **more)
        except HTTPError as exc:
            return int(exc.status), str(exc)
        return int(answer.status), answer.body.read().decode("utf-8", "replace")

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def configure(self, edr: str, ca_file: str, token: str) -> None:
        """Do what the setup page does."""
        admin = self._service("")
        base = "/servicesNS/nobody/cbsigned"
        admin.post(f"{base}/configs/conf-cbsigned/edr", body={"url": edr, "ca_file": ca_file})
        status, text = self._sent("", "post", f"{base}/storage/passwords/cbsigned:edr_token:", body={"password": token})
        if status == 404:
            entry = {"realm": "cbsigned", "name": "edr_token", "password": token}
            status, text = self._sent("", "post", f"{base}/storage/passwords", body=entry)
        if status >= 300:
            raise OSError(f"The token could not be stored ({status}): {text.replace(token, '…')[:200]}")


def from_environment(environ: Mapping[str, str]) -> Optional[RealSplunk]:
    """Return the Splunk that the environment names, or None."""
    url, password = environ.get("CBSIGNED_SPLUNK_URL"), environ.get("CBSIGNED_SPLUNK_PASSWORD")
    if not url or not password:
        return None
    context = ssl.create_default_context(cafile=environ.get("CBSIGNED_SPLUNK_CA"))
    context.check_hostname = False  # splunkd's own certificate carries no host name
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # and its CA lacks what 3.13 asks for
    return RealSplunk(url, environ.get("CBSIGNED_SPLUNK_USER", "admin"), password, context)


def main() -> int:
    """Examine the Splunk that the environment names; 0 where every claim holds, 2 where none is named."""
    splunk = from_environment(os.environ)
    if splunk is None:
        print("No Splunk is named: set CBSIGNED_SPLUNK_URL and CBSIGNED_SPLUNK_PASSWORD (docs/splunk.md).")
        return 2
    words = {True: "ok", False: "NOT OK", None: "learned"}
    findings = []
    with splunk:
        if os.environ.get("CBSIGNED_SPLUNK_EDR"):
            names = ("CBSIGNED_SPLUNK_EDR", "CBSIGNED_SPLUNK_EDR_CA", "CBSIGNED_SPLUNK_EDR_TOKEN")
            splunk.configure(*(os.environ.get(name, "") for name in names))
        for finding in examine(splunk):
            findings.append(finding)
            print(f"{words[finding.ok]:8} {finding.claim}: {finding.text}", flush=True)
    return 1 if any(finding.ok is False for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
