"""Binaries, sensors, groups, watchlists, feeds and partitions."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbsigned_connectors.edr_server.access import grants_of_file
from connectors.edr_server.serving import TOKEN, Client, serving

DRIVER = "21BDF404D829667477160F3942F7159A"


@pytest.fixture(scope="module")
def real(real_store: Path) -> Iterator[Client]:
    with serving(real_store) as client:
        yield client


@pytest.mark.parametrize("md5", [DRIVER, DRIVER.lower()], ids=["upper", "lower"])
def test_a_summary_is_found_in_either_case_and_written_in_upper(client: Client, md5: str) -> None:
    told = client.get(f"/api/v1/binary/{md5}/summary").json()

    assert (told["md5"], told["digsig_result"], told["digsig_result_code"]) == (DRIVER, "Signed", "0")
    assert told["endpoint"] == ["SDL-DEV|1"]
    assert told["observed_filename"] == ["c:\\windows\\system32\\drivers\\procmon23.sys"]


@pytest.mark.parametrize("md5", ["0" * 32, "f" * 32, "x", DRIVER[:-1], "..%2f..%2fetc%2fpasswd"])
@pytest.mark.parametrize("end", ["/summary", "/icon", ""])
def test_an_unknown_binary_is_404(client: Client, md5: str, end: str) -> None:
    assert client.get(f"/api/v1/binary/{md5}{end}").status_code == 404


def test_a_file_that_events_merely_name_has_no_document(real: Client) -> None:
    """Signing status comes from documents: 842 of the 1,120 files of this store have none."""
    assert real.get("/api/v1/binary/0C03FB91E17987EED93F60007B08DAA0/summary").status_code == 404


def test_a_download_is_a_zip_of_the_bytes_and_a_few_words(sample_store: Path, tmp_path: Path) -> None:
    data = b"MZ not a real one"
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    (tmp_path / md5.upper()).write_bytes(data)

    with serving(sample_store, files=tmp_path) as client:
        answer = client.get(f"/api/v1/binary/{md5}")

    assert answer.headers["Content-Type"] == "application/zip"
    assert "Content-Encoding" not in answer.headers
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["filedata", "metadata"]
        assert archive.read("filedata") == data
        assert archive.read("metadata").endswith(b"\r\n")


def test_a_file_whose_bytes_are_others_is_not_served(sample_store: Path, tmp_path: Path) -> None:
    (tmp_path / DRIVER).write_bytes(b"something else")

    with serving(sample_store, files=tmp_path) as client:
        assert client.get(f"/api/v1/binary/{DRIVER}").status_code == 404


def test_a_download_needs_its_own_right(sample_store: Path, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(f'{{"tokens": [{{"token": "{TOKEN}", "rights": ["search"]}}]}}', encoding="utf-8")

    with serving(sample_store, grants=grants_of_file(tmp_path / "t.json"), files=tmp_path) as client:
        told = [
            client.get(path).status_code for path in (f"/api/v1/binary/{DRIVER}", f"/api/v1/binary/{DRIVER}/summary")
        ]
        partition = client.get("/api/v1/storage/events/partition").status_code

    assert told == [403, 200]
    assert partition == 403


def test_sensors_are_told_with_their_own_addresses(real: Client) -> None:
    told = {one["id"]: one for one in real.get("/api/v1/sensor").json()}

    assert {number: one["computer_name"] for number, one in told.items()} == {
        1: "JASON-WIN81-VM", 9: "WIN-IA9NQ1GN8OI",
    }  # fmt: skip
    assert "172.22.5.141" in told[9]["network_adapters"]
    assert told[9] == real.get("/api/v1/sensor/9").json()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"hostname": "WIN81"}, [1]), ({"hostname": "win81"}, []), ({"hostname": "%"}, []),
        ({"hostname": "' or 1"}, []), ({"ip": "172.22."}, [1, 9]), ({"ip": "172.22.5.141"}, [9]),
        ({"groupid": "1"}, [1, 9]), ({"groupid": "2"}, []),
    ],
)  # fmt: skip
def test_sensors_are_searched_by_parts_of_name_and_address(
    real: Client, asked: dict[str, str], found: list[int]
) -> None:
    paged = real.get("/api/v2/sensor", **asked).json()
    plain = real.get("/api/v1/sensor", **asked)

    assert [one["id"] for one in paged["results"]] == found
    assert paged["total_results"] == len(found)
    assert (plain.status_code, plain.content) == (204, b"") if not found else plain.status_code == 200


def test_an_older_server_fails_where_no_sensor_matches(real_store: Path) -> None:
    with serving(real_store, "5.2") as client:
        assert client.get("/api/v1/sensor", hostname="none").status_code == 500


def test_sensors_come_in_pages_sorted_as_asked(real: Client) -> None:
    parameters = {"sort.col": "computer_name", "sort.dir": "desc"}

    pages = [real.get("/api/v2/sensor", start=start, rows=1, **parameters).json() for start in (0, 1, 2)]

    assert [[one["id"] for one in page["results"]] for page in pages] == [[9], [1], []]


@pytest.mark.parametrize("number", ["77", "x", "-1", "4294967295", "9" * 11])
def test_an_unknown_sensor_is_404(real: Client, number: str) -> None:
    assert real.get(f"/api/v1/sensor/{number}").status_code == 404


def test_watchlists_are_those_whose_hits_the_store_holds(real: Client) -> None:
    told = {one["name"]: one for one in real.get("/api/v1/watchlist").json()}

    assert told["vt_watchlist"]["index_type"] == "events"
    assert told["Newly Loaded Modules"]["index_type"] == "modules"
    assert sum(int(one["total_hits"]) for one in told.values()) == 780 + 244
    assert real.get(f"/api/v1/watchlist/{told['vt_watchlist']['id']}").json() == told["vt_watchlist"]
    assert real.get("/api/v1/watchlist/999").status_code == 404


def test_a_store_without_hits_has_no_watchlists_and_no_feeds(client: Client) -> None:
    assert [client.get(f"/api/v1/{name}").json() for name in ("watchlist", "feed")] == [[], []]


def test_a_store_is_one_hot_partition(real: Client) -> None:
    told = real.get("/api/v1/storage/events/partition").json()

    assert told["writer"]["status"] == "hot"
    assert told["writer"]["info"]["numDocs"] == 1579


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("process", "proc", ["process_id:", "process_md5:", "process_name:", "process_sha256:"]),
        ("binary", "process_name:x digsig_res", ["digsig_result:"]),
        ("process", "digsig_result:s", ["digsig_result:Signed"]),
        ("process", '-(hostname:"jason', ["hostname:JASON-WIN81-VM"]),
        ("process", "process_name:%", []),
        ("process", "nothing:x", []),
    ],
)
def test_a_query_is_completed_from_fields_and_values(real: Client, kind: str, text: str, found: list[str]) -> None:
    told = real.get(f"/api/v1/{kind}/autocomplete", q=text).json()

    assert told["suggestions"] == found


def test_a_value_that_needs_quotes_is_completed_with_them(real: Client) -> None:
    told = real.get("/api/v1/process/autocomplete", q="path:c:\\windows\\system32\\cmd").json()

    assert 'path:"c:\\\\windows\\\\system32\\\\cmd.exe"' in told["suggestions"]
