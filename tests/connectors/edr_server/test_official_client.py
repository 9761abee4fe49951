"""The official client, `cbapi` from PyPI, unmodified, over TLS."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cbapi.errors import ObjectNotFoundError, QuerySyntaxError, UnauthorizedError
from cbapi.response import Binary, CbResponseAPI, Feed, Process, Sensor, SensorGroup, Watchlist

from cbsigned.store.ids import unpack
from cbsigned.store.ingest import ingest
from connectors.edr_server.serving import TOKEN, serving
from support import real_data

VERSIONS = ["5.0.0", "5.1.0.150914.1400", "5.2.0.161004.1206", "6.2.0.171114.1158", "7.3.0.200609.1533"]
EVENTS = ["modloads", "filemods", "regmods", "netconns", "crossprocs", "childprocs", "processblocks"]
TOLD = ["cmdline", "path", "start", "end", "last_update", "last_server_update", "username", "comms_ip"]
CHROME = "c8a299bb91912d446f19ea4bd4d135c7"
SAMPLE = 80
"""Every so manieth process in the normal run; the nightly run takes all."""


def connected(url: str, tls: dict[str, Path], token: str = TOKEN) -> Any:
    return CbResponseAPI(url=url, token=token, ssl_verify=True, ssl_cert_file=str(tls["ca"]), max_retries=0)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module", params=["5.1.0.150914.1400", "6.2.0.171114.1158"])
def cb(request: pytest.FixtureRequest, real_store: Path, tls: dict[str, Path]) -> Iterator[Any]:
    with serving(real_store, request.param, cert=tls["cert"], key=tls["key"]) as client:
        yield connected(client.url, tls)


@pytest.fixture(scope="module")
def guids(real_store: Path) -> list[str]:
    db = sqlite3.connect(real_store)
    try:
        return [unpack(row[0]) for row in db.execute("SELECT guid FROM process ORDER BY id")]
    finally:
        db.close()


def test_the_client_connects_and_reads_the_version(cb: Any) -> None:
    assert str(cb.cb_server_version) in VERSIONS


def test_a_wrong_token_is_refused_in_the_clients_own_error(real_store: Path, tls: dict[str, Path]) -> None:
    with serving(real_store, cert=tls["cert"], key=tls["key"]) as client, pytest.raises(UnauthorizedError):
        connected(client.url, tls, "f" * 40)


def test_processes_are_selected_counted_and_paged(cb: Any) -> None:
    query = cb.select(Process).where(f"process_md5:{CHROME}").sort("start asc")

    found = list(query)

    assert len(found) == len(query) == 29
    assert [one.id for one in query[5:10]] == [one.id for one in found[5:10]]
    assert {one.process_name for one in found} == {"chrome.exe"}


def test_all_processes_are_paged_through(cb: Any) -> None:
    assert len({one.id for one in cb.select(Process)}) == 1579


def test_a_query_that_cannot_be_read_is_the_clients_own_error(cb: Any) -> None:
    with pytest.raises(QuerySyntaxError):
        list(cb.select(Process).where("(chrome"))


def test_facets_are_read(cb: Any) -> None:
    facets = cb.select(Process).where(f"process_md5:{CHROME}").facets("process_name", "hostname")

    assert [(one["name"], one["value"]) for one in facets["process_name"]] == [("chrome.exe", 29)]


def test_parents_lead_to_the_first_process_known(cb: Any) -> None:
    process = cb.select(Process).where("process_name:googleupdate.exe hostname:WIN-IA9NQ1GN8OI").sort("start asc")[0]

    names = [one.process_name for one in process.parents]

    assert names == ["taskeng.exe", "svchost.exe"]
    assert names[0] == process.parent_name


def test_children_are_as_many_as_asked_for_and_know_their_parent(cb: Any) -> None:
    parent = cb.select(Process, "00000001-0000-0ca8-01d1-7f4c91279417", max_children=40)

    children = [child.process for child in parent.children]

    assert len(children) == len({child.id for child in children}) == 40
    assert children[0].parent.id == parent.id
    assert children[0].sensor.id == 1


def test_binaries_are_selected_with_their_signatures(cb: Any) -> None:
    found = cb.select(Binary).where("digsig_result:Signed or digsig_result:Unsigned").sort("digsig_result desc")

    assert len(found) == 239 + 39
    assert Counter(one.signing_data.result for one in found[29:49]) == {"Unsigned": 10, "Signed": 10}
    assert [one.signed for one in found[38:40]] == [False, True]


def test_a_binary_has_version_endpoints_and_prevalence(cb: Any) -> None:
    binary = cb.select(Binary, CHROME)

    assert binary.signing_data.publisher == "Google Inc"
    assert binary.version_info.product_name == "Google Chrome"
    assert [sensor.id for sensor in binary.endpoints] == [9]
    assert binary.frequency.process_count == 29
    assert binary.observed_filenames == ["c:\\program files (x86)\\google\\chrome\\application\\chrome.exe"]


def test_modules_carry_the_status_that_the_event_answer_gives(cb: Any) -> None:
    """A module with a status is read without another request; a file that nobody described is 404 only then."""
    process = cb.select(Process).where("modload:itss.dll").first()

    loads = {load.path: load for load in process.modloads}

    itss = next(load for path, load in loads.items() if path.endswith("\\itss.dll"))
    assert itss.is_signed is True
    assert itss.binary_data["digsig_publisher"] == "Microsoft Corporation"


def test_sensors_groups_watchlists_and_feeds_are_listed(cb: Any) -> None:
    sensors = {one.id: one for one in cb.select(Sensor)}

    assert {number: one.hostname for number, one in sensors.items()} == {1: "JASON-WIN81-VM", 9: "WIN-IA9NQ1GN8OI"}
    assert [one.id for one in cb.select(Sensor).where("hostname:WIN81")] == [1]
    assert sensors[9].group.name == cb.select(SensorGroup, 1).name == "Default Group"
    assert "vt_watchlist" in [one.name for one in cb.select(Watchlist)]
    assert list(cb.select(Feed)) == []


def test_a_watchlists_own_query_finds_its_hits(cb: Any) -> None:
    watchlist = next(one for one in cb.select(Watchlist) if one.name == "vt_watchlist")

    assert watchlist.query == "watchlist_11:*"


@pytest.mark.parametrize("version", ["5.1.0.150914.1400", "7.3.0.200609.1533"])
def test_every_so_manieth_process_is_read_in_full(
    real_store: Path, tls: dict[str, Path], guids: list[str], version: str
) -> None:
    read = read_in_full(real_store, tls, guids[::SAMPLE], version)

    assert read["processes"] == len(guids[::SAMPLE])
    assert read["modloads"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize("version", VERSIONS)
def test_every_process_is_read_in_full(real_store: Path, tls: dict[str, Path], guids: list[str], version: str) -> None:
    read = read_in_full(real_store, tls, guids, version)

    later = 6 if version < "6" else 0  # in later segments of one process, which the client reads only when told to
    assert {name: read[name] for name in ("processes", *EVENTS)} == {
        "processes": 1579, "modloads": 25_711, "filemods": 9_759 - later, "regmods": 9_212, "netconns": 264,
        "crossprocs": 1_128, "childprocs": 1_869, "processblocks": 0,
    }  # fmt: skip


def read_in_full(store: Path, tls: dict[str, Path], guids: list[str], version: str) -> Counter[str]:
    """Read all that the client knows of each process; a file without a document is 404, as in the real server."""
    read: Counter[str] = Counter()
    with serving(store, version, cert=tls["cert"], key=tls["key"]) as client:
        cb = connected(client.url, tls)
        for guid in guids:
            process = cb.select(Process, guid)
            read["processes"] += 1
            for name in EVENTS:
                read[name] += len(list(getattr(process, name)))
            read["parents"] += len(list(process.parents))
            read["children"] += len([child.process.id for child in process.children])
            for name in (
                "cmdline",
                "path",
                "start",
                "end",
                "last_update",
                "last_server_update",
                "username",
                "comms_ip",
            ):
                getattr(process, name)
            assert process.sensor.id == int(guid[:8], 16)
            binary = process.binary
            try:
                read[binary.signing_data.result if binary else "no image"] += 1
            except ObjectNotFoundError:
                read["no document"] += 1
    return read


def test_another_products_processes_are_read_alike(tmp_path: Path, tls: dict[str, Path]) -> None:
    """Sysmon has no sensors and GUIDs of its own kind; the client takes them as it takes Carbon Black's."""
    ingest(tmp_path / "s.db", [real_data("security-datasets") / "psh_mavinject_dll_notepad.zip"])
    with serving(tmp_path / "s.db", cert=tls["cert"], key=tls["key"]) as client:
        cb = connected(client.url, tls)
        processes = list(cb.select(Process).where("cmdline:*"))
        chains = [[parent.id for parent in process.parents] for process in processes]

        assert len(processes) > 0
        assert {len(process.id) for process in processes} == {36}
        assert max(map(len, chains)) > 0
        assert {process.sensor.hostname for process in processes} == {one.hostname for one in cb.select(Sensor)}
