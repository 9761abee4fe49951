"""The token and the session keys are seen nowhere, nothing typed becomes a query, and rights are what they say."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.splunk.hostile import binaries, md5_of
from edr_server import EdrServer
from splunkd.certificates import impostor
from splunkd.frames import Table
from splunkd.handlers import Fault
from splunkd.instance import Splunkd
from splunkd.rest import User
from splunkd.server import Port

TOKEN = secrets.token_hex(20)
"""The canary, another in every run, so that all processes of the machine can be looked at."""
INJECTIONS = [
    '" or md5:*', "0) or (process_name:*", "* or *:*", "x\" OR \"1\"=\"1", "md5:00 OR digsig_result:Signed", "[* TO *]",
    "] | delete index=* [", "$field$", "`macro`", "\\", "MD5=" + "0" * 31 + "*", "../../etc/passwd",
    "\r\nX-Auth-Token: x",
]  # fmt: skip
ALL = [
    ("cbsigned", ["cache=false", "lineage=true", "timeout=1"]), ("cblineage", []), ("cbsigned", ["timeout=never"]),
    ("cbprocess", ["query=((("]), ("cbhealth", []),
]  # fmt: skip
HASH_QUERY = re.compile(r"\(?(md5|sha256):[0-9a-f]{32,64}( or (md5|sha256):[0-9a-f]{32,64})*\)?", re.IGNORECASE)


class Watch:
    """Collects the command lines and environments of all processes while it runs."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    text = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
                except OSError:
                    continue
                self.seen[process.name] = self.seen.get(process.name, "") + text.decode("utf-8", "replace")


@pytest.fixture
def edr_of_files() -> Iterator[EdrServer]:
    with EdrServer(binaries=binaries(20), token=TOKEN) as server:
        yield server


def on_disk(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def exercise(splunkd: Splunkd, user: User) -> list[str]:
    """Use everything once, well and badly, and return what users were given to read."""
    hashes = Table(
        (b"md5", b"process_guid"), [(md5_of(n).encode(), b"00000001-0000-0f40-01d2-e4ee910d2930") for n in range(9)]
    )
    told = []
    for fault in (None, Fault("status", 500), Fault("cut"), Fault("html"), Fault("restart", seconds=0.01, times=1)):
        splunkd.faults.clear()
        if fault is not None:
            splunkd.faults.set(fault)
        for name, args in ALL if fault is None else ALL[:1]:
            outcome = splunkd.search(name, args, user=user, chunks=[hashes])
            told += [outcome.received.decode("utf-8", "replace"), outcome.log]
    splunkd.faults.clear()
    done = splunkd.alert("cbsigned_enrich", {}, hashes, user=user)
    told += [done.stdout, done.stderr, *(event["text"] for event in splunkd.management.received)]
    boss = splunkd.user("boss", roles=("admin",))
    for settings in ({"edr": splunkd.conf.read("cbsigned")["edr"]}, {"edr": {"url": "https://127.0.0.1:9"}}, "junk"):
        told.append(str(splunkd.post("/services/cbsigned_admin/test", {"settings": settings}, boss)))
        told.append(str(splunkd.post("/services/cbsigned_admin/test", {"settings": settings, "token": TOKEN}, boss)))
    return told


def test_token_and_session_keys_are_nowhere_to_be_seen(
    splunkd_for: Callable[[str], Splunkd], edr_of_files: EdrServer
) -> None:
    splunkd = splunkd_for(edr_of_files.url)
    splunkd.configure(TOKEN)
    user = splunkd.user("analyst", "edit_tcp", roles=("cbsigned_user",))
    canaries = {TOKEN, user.session_key, splunkd.management.system.session_key}

    with Watch() as watch:
        told = exercise(splunkd, user)
        edr_of_files.token = "another"  # it begins to refuse ours
        told += exercise(splunkd, user)

    from_handler = [
        a for (_, path, _, _), a in zip(splunkd.seen.requests, splunkd.seen.answers) if path.startswith("/cbsigned")
    ]
    places = {
        "told": "\n".join(told),
        "answers of the handler": b"\n".join(from_handler).decode("utf-8", "replace"),
        **{f"process {pid}": text for pid, text in watch.seen.items()},
        **{str(path): data.decode("utf-8", "replace") for path, data in on_disk(splunkd.home)},
    }
    assert any("run_cbsigned.py" in text for text in watch.seen.values())
    assert any(request.headers["x-auth-token"] == TOKEN for request in edr_of_files.requests)
    assert [place for place, text in places.items() if any(canary in text for canary in canaries)] == []


def test_no_cell_becomes_a_query(splunkd_for: Callable[[str], Splunkd], edr_of_files: EdrServer) -> None:
    splunkd = splunkd_for(edr_of_files.url)
    splunkd.configure(TOKEN)
    cells = [text.encode() for text in (*INJECTIONS, f'{md5_of(1)}" or md5:*', f"MD5={md5_of(2)} or *:*", md5_of(3))]

    outcome = splunkd.search(
        "cbsigned", user=splunkd.user("analyst", roles=("cbsigned_user",)),
        chunks=[Table((b"md5",), [(cell,) for cell in cells])],
    )  # fmt: skip

    queries = [request.parameters["q"] for request in edr_of_files.requests if request.route == "binary"]
    assert outcome.column("cbsigned_status")[-1] == "Bad Signature"
    assert queries
    assert [query for query in queries if not HASH_QUERY.fullmatch(query)] == []


def test_no_option_becomes_a_query_or_breaks_the_search(
    splunkd_for: Callable[[str], Splunkd], edr_of_files: EdrServer
) -> None:
    """Every text in every option of the kind; where a search is run at all, the EDR is asked for hashes."""
    splunkd = splunkd_for(edr_of_files.url)
    splunkd.configure(TOKEN)
    user = splunkd.user("analyst", roles=("cbsigned_user",))
    options = [("cbsigned", "field"), ("cbsigned", "prefix"), ("cblineage", "guid"), ("cbactivity", "guid")]

    for text in INJECTIONS:
        quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        events = [Table((b"md5", b"process_guid"), [(md5_of(1).encode(), text.encode())])]
        for name, option in options:
            outcome = splunkd.search(name, [f"{option}={quoted}"], user=user, chunks=events)
            assert (outcome.exit_code, outcome.log) == (0, ""), (name, text)

    queries = [r.parameters.get("q", "") for r in edr_of_files.requests if r.route != "info"]
    assert [query for query in queries if not HASH_QUERY.fullmatch(query)] == []
    assert {request.route for request in edr_of_files.requests} <= {"info", "binary"}


def test_the_handlers_routes_need_the_capability(splunkd: Splunkd) -> None:
    guest = splunkd.user("guest")
    analyst = splunkd.user("analyst", roles=("cbsigned_user",))

    statuses = {
        route: (splunkd.post(f"/services/{route}", {}, guest)[0], splunkd.post(f"/services/{route}", {})[0])
        for route in ("cbsigned/rows", "cbsigned/search", "cbsigned/health", "cbsigned_admin/test")
    }

    assert set(statuses.values()) == {(403, 401)}
    assert splunkd.post("/services/cbsigned_admin/test", {}, analyst)[0] == 403
    assert splunkd.post("/services/cbsigned/test", {}, analyst)[0] == 404


def test_jobs_are_one_users_alone(splunkd_for: Callable[[str], Splunkd]) -> None:
    with EdrServer(binaries=binaries(3), token=TOKEN, latency_s=0.5) as edr:
        splunkd = splunkd_for(edr.url)
        splunkd.configure(TOKEN)
        mine, other = (splunkd.user(name, roles=("cbsigned_user",)) for name in ("a", "b"))
        _, begun = splunkd.post(
            "/services/cbsigned/rows", {"fields": ["md5"], "rows": [[md5_of(1)]], "wait_s": 0}, mine
        )

        status, refused = splunkd.post("/services/cbsigned/rows", {"job": begun["job"], "wait_s": 5}, other)
        _, found = splunkd.post("/services/cbsigned/rows", {"job": begun["job"], "wait_s": 5}, mine)

    assert status == 404
    assert set(refused) == {"error"}
    assert found["answers"][0]["signing"]["status"] == "Unsigned"


def test_an_impostor_of_splunkd_gets_no_session_key(splunkd: Splunkd, tmp_path: Path) -> None:
    """A server with the same names but another CA: the command must not talk to it."""
    user = splunkd.user("analyst", roles=("cbsigned_user",))
    port = Port(splunkd.management, dict(splunkd.sessions), impostor(tmp_path / "impostor.pem"))
    try:
        outcome = splunkd.search(
            "cbsigned", user=user, chunks=[Table((b"md5",), [(md5_of(1).encode(),)])], info={"splunkd_uri": port.uri}
        )
    finally:
        port.close()

    assert port.seen.requests == []
    assert outcome.column("cbsigned_status") == ["Unknown"]
    assert "certificate" in outcome.banners[0]
