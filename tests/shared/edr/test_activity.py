"""What a process did, read over the event routes of `cbsigned edr-server`, and compared with the store's own list."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.edr import ActivityPage, EdrSource, connect
from cbsigned.edr.events import KINDS, LISTS, Entry, read_event
from cbsigned.edr.query import Unsearchable
from cbsigned.errors import ProcessNotFound, SourceError, SourceResponseError, SourceUnavailable
from cbsigned.samples import sample_path
from cbsigned.settings import EdrSettings
from cbsigned.store.activity_list import KINDS as STORE_KINDS
from cbsigned.store.activity_list import activity_page as store_page
from cbsigned.store.ids import unpack
from cbsigned.store.ingest import ingest
from cbsigned.store.reading import reading
from cbsigned.timing import Deadline, format_time, parse_time
from cbsigned_connectors.edr_server.faults import Fault, Faults
from connectors.edr_server.serving import TOKEN, Client, serving
from edr_server import EdrServer
from edr_server import Fault as Misbehaviour
from support import real_data

URL = "https://cb.example.test"
GUID = "00000007-0000-0d24-01d7-35e9bb340680"
CHILD = "00000007-0000-0d30-01d7-35e9bc340680"
MD5, SHA256 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d", "ab" * 32
AT = "2021-04-20 13:33:2"
VERSIONS = ["5.0.0.141103.1", "5.1.1.1", "5.2.0.161004.1206", "6.2.0.171114.1158", "7.3.0.200609.1"]


def deadline() -> Deadline:
    return Deadline(60)


def connected(client: Client, **more: Any) -> EdrSource:
    return connect(EdrSettings(client.url, TOKEN, retries=0, **more))


def stored(folder: Path, *sources: Path) -> Path:
    ingest(folder / "store.db", list(sources))
    return folder / "store.db"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("activity"), sample_path("telemetry"))


@pytest.fixture(scope="module")
def busy(samples: Path) -> str:
    """Return the guid of the process that did most."""
    return max(processes(samples), key=lambda guid: len(told_by_store(samples, guid)))


@pytest.fixture(scope="module")
def edr(samples: Path) -> Iterator[EdrSource]:
    with serving(samples) as client, connected(client) as source:
        yield source


def processes(store: Path) -> Iterator[str]:
    db = sqlite3.connect(store)
    try:
        guids = [unpack(row[0]) for row in db.execute("SELECT guid FROM process ORDER BY id")]
    finally:
        db.close()
    return (guid for guid in guids if guid[0] not in "{l")


def told_by_store(store: Path, guid: str) -> list[tuple[Any, ...]]:
    with reading(store) as db:
        number = db.execute("SELECT id FROM process WHERE guid = ?", (bytes.fromhex(guid.replace("-", "")),)).fetchone()
        entries = store_page(db, number[0], rows=1_000_000).entries
    return [
        (e.at, e.kind, e.action, e.what, e.md5, e.sha256, e.guid, e.extra.get("filetype"), e.extra.get("access"))
        for e in entries
    ]


def told_by_edr(page: ActivityPage) -> list[tuple[Any, ...]]:
    named = ("md5", "sha256", "guid", "filetype", "access")
    return [
        (round(e.at.timestamp() * 1000) if e.at else 0, e.kind, e.action, e.what, *(e.values.get(n) for n in named))
        for e in page.entries
    ]


class TestWords:
    def test_the_kinds_are_the_stores(self) -> None:
        assert KINDS == STORE_KINDS

    def test_the_samples_are_told_in_the_stores_words(self, edr: EdrSource, samples: Path) -> None:
        for guid in processes(samples):
            expected = told_by_store(samples, guid)

            assert Counter(expected) == Counter(told_by_edr(edr.activity(guid, rows=10_000, deadline=deadline())))

    def test_the_real_events_are_told_in_the_stores_words(self, tmp_path: Path) -> None:
        """The 200 busiest of 1,579 processes of a real server."""
        store = stored(tmp_path, real_data("cb-response-splunk-app"))
        expected = {guid: told_by_store(store, guid) for guid in processes(store)}
        busiest = sorted(expected, key=lambda guid: -len(expected[guid]))[:200]

        with serving(store) as client, connected(client) as edr:
            pages = {guid: edr.activity(guid, rows=10_000, deadline=deadline()) for guid in busiest}

        assert sum(page.total for page in pages.values()) > 20_000
        for guid in busiest:
            assert Counter(expected[guid]) == Counter(told_by_edr(pages[guid]))

    def test_oldest_first(self, edr: EdrSource, busy: str) -> None:
        page = edr.activity(busy, rows=10_000, deadline=deadline())

        order = [(entry.at, KINDS.index(entry.kind)) for entry in page.entries if entry.at]
        assert sorted(order) == order
        assert len(order) == page.total > 5

    @pytest.mark.parametrize("version", VERSIONS)
    def test_each_version_tells_the_same(self, samples: Path, busy: str, version: str) -> None:
        """But for what the older encodings have no room for."""
        expected = told_by_store(samples, busy)

        with serving(samples, version) as client, connected(client) as edr:
            found = told_by_edr(edr.activity(busy, rows=10_000, deadline=deadline()))

        assert Counter(row[:3] for row in expected) == Counter(row[:3] for row in found)
        assert Counter(row[:5] for row in expected if row[1] != "netconn") == Counter(
            row[:5] for row in found if row[1] != "netconn"
        )


EVENTS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("filemod", f"1|{AT}2.5|c:\\a.exe||1|false", "created c:\\a.exe", {"path": "c:\\a.exe", "filetype": "PE"}),
    ("filemod", f"8|{AT}2|c:\\a.exe|{MD5.upper()}", "finished writing c:\\a.exe", {"path": "c:\\a.exe", "md5": MD5}),
    (
        "filemod", f"2|{AT}2|/home/a|b||48|true", "wrote /home/a|b",
        {"path": "/home/a|b", "filetype": "PDF", "tampered": "true"},
    ),
    ("filemod", f"4|{AT}2|c:\\a", "deleted c:\\a", {"path": "c:\\a"}),
    ("filemod", f"64|{AT}2|c:\\a", "action 64 c:\\a", {"path": "c:\\a"}),
    ("regmod", f"1|{AT}2|\\registry\\a|b|false", "created key \\registry\\a|b", {"path": "\\registry\\a|b"}),
    ("regmod", f"8|{AT}2|\\registry\\a", "deleted value \\registry\\a", {"path": "\\registry\\a"}),
    ("modload", f"{AT}2|{MD5}|c:\\m.dll", "loaded c:\\m.dll", {"path": "c:\\m.dll", "md5": MD5}),
    (
        "modload", f"{AT}2|{MD5}|c:\\m.dll|{SHA256}", "loaded c:\\m.dll",
        {"path": "c:\\m.dll", "md5": MD5, "sha256": SHA256},
    ),
    ("modload", f"{AT}2||c:\\m.dll|", "loaded c:\\m.dll", {"path": "c:\\m.dll"}),
    (
        "netconn", f"{AT}5|-1073741305|443|6|a.test|true", "tcp to 192.0.2.7:443 (a.test)",
        {"direction": "outbound", "protocol": "tcp", "domain": "a.test", "remote_ip": "192.0.2.7", "remote_port": 443},
    ),
    (
        "netconn",
        {"timestamp": AT + "5", "direction": "false", "domain": "", "proto": 17, "remote_ip": -1073741305,
         "remote_port": 53, "local_ip": 169090600, "local_port": 5353, "proxy_ip": 0, "proxy_port": 0},
        "udp from 192.0.2.7:53, to port 5353 here",
        {"direction": "inbound", "protocol": "udp", "remote_ip": "192.0.2.7", "remote_port": 53,
         "local_ip": "10.20.30.40", "local_port": 5353},
    ),
    (
        "netconn",
        {"timestamp": AT + "5", "direction": "true", "proto": "6", "remote_ip": "2001:db8::1", "remote_port": "80",
         "proxy_ip": "0.0.0.0", "ja3": "aa"},  # noqa: S104
        "tcp to [2001:db8::1]:80",
        {"direction": "outbound", "protocol": "tcp", "remote_ip": "2001:db8::1", "remote_port": 80, "ja3": "aa"},
    ),
    (
        "netconn", {"timestamp": AT + "5", "direction": "true", "domain": "a.test", "proto": 0, "remote_ip": ""},
        "looked up a.test", {"direction": "outbound", "domain": "a.test"},
    ),
    (
        "childproc", f"{AT}6|{CHILD}-00000001|{MD5}|c:\\a.exe|3376|true|false", "started c:\\a.exe (pid 3376)",
        {"guid": CHILD, "pid": 3376, "path": "c:\\a.exe", "md5": MD5},
    ),
    (
        "childproc", f"{AT}6|{CHILD}-00000001|0c03fb|/a|b|0|false", "ended /a|b (pid 3376)",
        {"guid": CHILD, "pid": 3376, "path": "/a|b"},
    ),
    (
        "childproc",
        {"processId": f"{CHILD}-000000000001", "md5": MD5, "sha256": SHA256, "path": "c:\\a.exe", "pid": 3376,
         "type": "start", "start": AT + "6", "end": AT + "7", "is_suppressed": True, "is_tampered": True,
         "commandLine": "a.exe -x", "userName": "SYSTEM"},
        "started c:\\a.exe (pid 3376)",
        {"guid": CHILD, "pid": 3376, "path": "c:\\a.exe", "md5": MD5, "sha256": SHA256, "cmdline": "a.exe -x",
         "user": "SYSTEM", "suppressed": "true", "tampered": "true", "ended_at": "2021-04-20T13:33:27Z"},
    ),
    (
        "childproc", {"processId": CHILD, "type": "end", "start": AT + "2", "end": AT + "6"},
        "ended a process (pid 3376)", {"guid": CHILD, "pid": 3376},
    ),
    (
        "crossproc", f"ProcessOpen|{AT}6|{CHILD}-000000000001|{MD5}|c:\\a.exe|1|2097151|false|false|",
        "opened c:\\a.exe (pid 3376)",
        {"guid": CHILD, "pid": 3376, "path": "c:\\a.exe", "md5": MD5, "access": "0x001fffff"},
    ),
    (
        "crossproc", f"ProcessOpen|{AT}6|{CHILD}|{MD5}|c:\\a.exe|2|64|true|true|{SHA256}",
        "had a thread opened by c:\\a.exe (pid 3376)",
        {"guid": CHILD, "pid": 3376, "path": "c:\\a.exe", "md5": MD5, "access": "0x00000040", "sha256": SHA256,
         "tampered": "true"},
    ),
    (
        "crossproc", f"RemoteThread|{AT}6|{CHILD}|{MD5}|c:\\a.exe|0|0|false", "made a thread in c:\\a.exe (pid 3376)",
        {"guid": CHILD, "pid": 3376, "path": "c:\\a.exe", "md5": MD5},
    ),
    (
        "block",
        json.dumps({"timestamp": AT + "6", "block_type": 1, "block_event": "ProcessCreate", "blocked_md5": MD5.upper(),
                    "blocked_path": "c:\\a.exe", "blocked_cmdline": "a -x", "blocked_username": "jo",
                    "blocked_uid": "S-1"}),
        "blocked c:\\a.exe",
        {"path": "c:\\a.exe", "md5": MD5, "cmdline": "a -x", "user": "jo", "uid": "S-1", "block_type": 1,
         "block_event": "ProcessCreate"},
    ),
]  # fmt: skip


WORDS = ["1", "true", AT + "1", CHILD, MD5, "ProcessOpen", "9" * 30, "-"]
MEMBERS = ["timestamp", "type", "start", "pid", "proto", "remote_ip", "remote_port", "processId", "md5"]


class TestEncodings:
    @pytest.mark.parametrize(
        ("kind", "event", "text", "values"), EVENTS, ids=[f"{n}-{e[0]}" for n, e in enumerate(EVENTS)]
    )
    def test_an_event_is_read(self, kind: str, event: Any, text: str, values: dict[str, Any]) -> None:
        entry = read_event(kind, event)

        assert entry is not None
        assert (entry.kind, entry.text, entry.values) == (kind, text, values)
        assert entry.at is not None
        assert (format_time(entry.at) or "")[:18] == "2021-04-20T13:33:2"

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("event", ["", "|", "x|y|z|" * 4, None, 7, [], {}, "{", '"x"', "[1]", "1|2"])
    def test_an_event_in_no_form_we_know_is_none_or_still_told(self, kind: str, event: Any) -> None:
        entry = read_event(kind, event)

        assert entry is None or (entry.kind == kind and entry.action)

    @given(
        st.sampled_from(KINDS),
        st.lists(st.text(max_size=6) | st.sampled_from(WORDS))
        .map("|".join)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.lists(st.integers(), max_size=1),
        ),
    )  # fmt: skip
    def test_whatever_comes_nothing_breaks(self, kind: str, event: Any) -> None:
        entry = read_event(kind, event, {"": {"digsig_result": 7}})

        assert entry is None or all(type(value) in (str, int) for value in entry.values.values())

    def test_the_signing_state_beside_the_lists_is_told(self) -> None:
        state = {MD5.upper(): {"digsig_result": "Signed", "digsig_publisher": "Acme Corp"}}

        entry = read_event("modload", f"{AT}1|{MD5}|c:\\m.dll", state)

        assert entry is not None
        assert entry.values == {
            "path": "c:\\m.dll", "md5": MD5, "digsig_result": "Signed", "digsig_publisher": "Acme Corp",
        }  # fmt: skip


class TestPages:
    def test_pages_are_the_whole(self, edr: EdrSource, busy: str) -> None:
        whole = edr.activity(busy, rows=10_000, deadline=deadline())
        paged: list[Entry] = []
        following: int | None = 0
        while following is not None:
            page = edr.activity(busy, start=following, rows=3, deadline=deadline())
            paged += page.entries
            following = page.next

        assert paged == whole.entries
        assert len(paged) == whole.total > 3

    def test_only_the_kinds_asked_for(self, edr: EdrSource, busy: str) -> None:
        whole = edr.activity(busy, rows=0, deadline=deadline())
        some = edr.activity(busy, kinds=["netconn", "modload"], deadline=deadline())

        assert whole.entries == []
        assert set(whole.counts) == set(KINDS)
        assert some.counts == {kind: whole.counts[kind] for kind in ("modload", "netconn")}
        assert {entry.kind for entry in some.entries} <= {"modload", "netconn"}

    def test_one_request_from_6_0_on(self, samples: Path, busy: str) -> None:
        counted = Faults([Fault("*/event", "latency"), Fault("*", "latency")])
        with serving(samples, faults=counted) as client, connected(client) as edr:
            edr.activity(busy, deadline=deadline())

        assert counted.struck == [1, 2]  # events, and with the version

    @pytest.mark.parametrize("number", [1, 3])
    def test_segments_before_6_0_are_merged(self, number: int) -> None:
        with segmented(number) as asked, connect(EdrSettings(URL, TOKEN)) as edr:
            page = edr.activity(f"{GUID}-00000002", deadline=deadline())

        assert asked == {f"/api/v3/process/{GUID}/{n}/event" for n in range(1, number + 1)}
        assert [entry.what for entry in page.entries] == [f"c:\\{n}.dll" for n in range(1, number + 1)]
        assert (page.counts["modload"], page.notes) == (number, ())

    def test_more_segments_than_are_read_are_told(self) -> None:
        with segmented(201) as asked, connect(EdrSettings(URL, TOKEN)) as edr:
            page = edr.activity(GUID, deadline=deadline())

        assert len(asked) == page.total == 200
        assert "Events of further segments are missing" in page.notes[0]


@contextmanager
def segmented(number: int) -> Iterator[set[str]]:
    """Answer as a 5.2 that has one event in each segment of one process; the paths that were asked are noted."""
    documents = [{"id": GUID, "unique_id": f"{GUID}-{n:08d}", "segment_id": n} for n in range(1, number + 1)]
    asked: set[str] = set()

    def events(request: Any) -> tuple[int, dict[str, str], str]:
        path = urlsplit(request.url).path
        asked.add(path)
        segment = int(path.split("/")[5])
        at = f"2021-04-20 13:{segment // 60:02d}:{segment % 60:02d}.000000"
        return 200, {}, json.dumps({"process": {"modload_complete": [f"{at}|{MD5}|c:\\{segment}.dll"]}})

    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/api/info", json={"version": "5.2.0.161004.1206"})
        mock.get(f"{URL}/api/v1/process", json={"results": documents[:200], "total_results": number})
        mock.add_callback(
            "GET", re.compile(f"{URL}/api/v3/process/{GUID}/[0-9]+/event"), events, content_type="application/json"
        )
        yield asked


class TestFailures:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_an_unknown_process_is_not_found(self, samples: Path, version: str) -> None:
        told = pytest.raises(ProcessNotFound, match=GUID)
        with serving(samples, version) as client, connected(client) as edr, told:
            edr.activity(GUID, deadline=deadline())

    @pytest.mark.parametrize("guid", ["", "x", "../../info", f"{GUID}/0/event?", "{" + GUID + "}", GUID + "\n/"])
    def test_what_is_no_guid_is_not_asked(self, guid: str) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as edr:
            with pytest.raises(Unsearchable, match="is no process guid"):
                edr.activity(guid, deadline=deadline())

            assert not server.counts["other"]

    def test_an_unknown_kind_is_told_with_those_there_are(self, edr: EdrSource) -> None:
        told = pytest.raises(Unsearchable, match=r'"modloads" is no kind of event.* filemod, regmod, modload')
        with told:
            edr.activity(GUID, kinds=["modloads"], deadline=deadline())

    @pytest.mark.parametrize(("start", "rows"), [(-1, 1), (0, -1), (0, 10_001)])
    def test_pages_have_bounds(self, edr: EdrSource, start: int, rows: int) -> None:
        with pytest.raises(Unsearchable, match="expected 0 to"):
            edr.activity(GUID, start=start, rows=rows, deadline=deadline())

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault("*/event", "status", status=502), SourceUnavailable),
            (Fault("*/event", "truncate"), SourceError),
            (Fault("/api/info", "status", status=500), SourceUnavailable),
        ],
        ids=["502", "cut", "version"],
    )
    def test_a_failure_is_an_error(self, samples: Path, busy: str, fault: Fault, error: type[Exception]) -> None:
        told = pytest.raises(error)
        with serving(samples, faults=Faults([fault])) as client, connected(client) as edr, told as caught:
            edr.activity(busy, deadline=deadline())

        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("body", [b"{}", b'{"process": []}'])
    def test_another_shape_is_told(self, body: bytes) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as edr:
            server.fail("other", Misbehaviour(body=body, kind="application/json"))
            with pytest.raises(SourceResponseError, match="events in another shape"):
                edr.activity(GUID, deadline=deadline())

    def test_events_are_in_order_whichever_way_their_times_are_written(self) -> None:
        """A 7.x answer wrote connections and children as `…T…Z`, and they all stood after the day's other events."""
        process: dict[str, Any] = {name: [] for name in LISTS}
        process.update(
            netconn_complete=[{"timestamp": "2021-04-04T18:10:24.835Z", "proto": 6, "remote_ip": "192.0.2.7"}],
            childproc_complete=[{"type": "end", "end": "2021-04-04T18:10:08Z", "path": "c:\\b.exe"}],
            regmod_complete=["2|2021-04-04 18:11:40.309|\\registry\\machine|false"],
            filemod_complete=["1|2021-04-04 18:10:08.590000|c:\\c|"],
        )
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as edr:
            server.fail("other", Misbehaviour(body=json.dumps({"process": process}).encode(), kind="application/json"))
            page = edr.activity(GUID, deadline=deadline())

        assert [entry.kind for entry in page.entries] == ["childproc", "filemod", "netconn", "regmod"]
        assert page.entries[2].at == parse_time("2021-04-04T18:10:24.835Z")

    def test_an_event_that_cannot_be_read_is_counted_and_told(self) -> None:
        process = {name: [] for name in LISTS}
        process.update(filemod_complete=["?", f"1|{AT}1.0|c:\\a|"], modload_complete=None, binaries=7)  # type: ignore[arg-type]
        body = json.dumps({"process": process}).encode()
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as edr:
            server.fail("other", Misbehaviour(body=body, kind="application/json"))
            page = edr.activity(GUID, deadline=deadline())

        assert page.total == 2
        assert [entry.text for entry in page.entries] == ["an event in a form that we do not know", "created c:\\a"]
        assert page.entries[1].at == parse_time(AT + "1")
        assert page.notes[0].startswith("1 of these events are in a form")

    def test_a_thousand_processes_are_one_route_of_the_breaker(self) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as edr:
            for number in range(20):
                with pytest.raises(ProcessNotFound):
                    edr.activity(f"00000007-0000-0d24-01d7-{number:012x}", deadline=deadline())

            assert set(edr._client._breakers) == {"/api/info", "/api/v4/process/*/event"}
