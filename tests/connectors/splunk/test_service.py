"""What a look-up reads as in a search row, beyond what the handler's own tests show."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cbsigned import Deadline, Settings, enrich
from cbsigned.settings import parse_settings
from cbsigned_connectors.splunk import service
from cbsigned_connectors.splunk.health import Health
from cbsigned_connectors.splunk.service import LINEAGE, Keeping, Service, answer_of
from edr_server import TOKEN, EdrServer, Fault

MD5 = "a" * 32
GUID, PARENT = "00000001-0000-0a1c-01d1-000000000002", "00000001-0000-0a1b-01d1-000000000001"
PROCESSES = [
    {"id": GUID, "process_name": "two\nlines <- of.exe", "parent_id": PARENT, "process_md5": MD5.upper()},
    {"id": PARENT, "process_name": "explorer.exe"},
]


@pytest.fixture
def edr() -> Iterator[EdrServer]:
    with EdrServer([{"md5": MD5.upper(), "digsig_result": "Signed", "digsig_result_code": "0"}], PROCESSES) as found:
        yield found


@pytest.fixture
def asked(edr: EdrServer) -> Iterator[Service]:
    settings = parse_settings({"edr": {"url": edr.url, "token": TOKEN}})
    found = Service(settings, Keeping(), Health())
    yield found
    found.close()


def rows(asked: Service, *records: dict[str, Any], lineage: bool = False) -> dict[str, Any]:
    return asked.rows(records, lineage=LINEAGE if lineage else (), max_depth=16, cache=True, deadline=Deadline(10))


def test_age_counts_from_the_reading_of_the_record(asked: Service) -> None:
    (found,) = enrich([{"md5": MD5}], asked._sources[True], Settings())
    later = replace(found, enriched_at=found.enriched_at + timedelta(seconds=90.9))
    earlier = replace(found, enriched_at=found.enriched_at - timedelta(seconds=5))

    assert [answer_of(one, ())["signing"]["age_s"] for one in (found, later, earlier)] == ["0", "90", "0"]


def test_what_only_the_row_itself_says_is_marked(asked: Service) -> None:
    record = {"md5": "b" * 32, "digsig_result": "Signed", "digsig_publisher": "Example Ltd"}
    (answer,) = rows(asked, record)["answers"]

    signing = answer["signing"]
    assert (signing["status"], signing["certainty"], signing["source"]) == ("Signed", "claimed", "alert")
    assert "no record confirms it" in signing["why"]


def test_a_name_of_two_lines_is_one_name(asked: Service) -> None:
    (answer,) = rows(asked, {"process_guid": GUID}, lineage=True)["answers"]

    lineage = answer["lineage"]
    assert lineage["names"] == ["two lines <- of.exe", "explorer.exe"]
    assert lineage["text"] == "two lines <- of.exe (Signed) <- explorer.exe (Unknown)"
    assert "\n" not in lineage["json"]


def test_only_the_wanted_fields_of_a_lineage_are_made(asked: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """`| cbsigned lineage=true` got the JSON of every lineage, and the cutting of it, and showed none."""
    whole = rows(asked, {"process_guid": GUID}, lineage=True)
    monkeypatch.setattr(service, "_MOST_JSON", 1)

    few = asked.rows([{"process_guid": GUID}], lineage=("text", "why"), max_depth=16, cache=True, deadline=Deadline(10))

    assert tuple(whole["answers"][0]["lineage"]) == LINEAGE
    assert few["answers"][0]["lineage"] == {name: whole["answers"][0]["lineage"][name] for name in ("text", "why")}
    assert few["warnings"] == []


def test_json_that_would_be_too_long_is_left_out_and_said(asked: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"process_guid": GUID}] * 3
    whole = rows(asked, *records, lineage=True)
    size = len(json.dumps(whole["answers"][0]["lineage"]["json"])) - 2
    monkeypatch.setattr(service, "_MOST_JSON", 2 * size)
    cut = rows(asked, *records, lineage=True)

    assert whole["warnings"] == []
    assert [bool(one["lineage"]["json"]) for one in cut["answers"]] == [True, True, False]
    assert cut["answers"][2]["lineage"]["text"] == whole["answers"][2]["lineage"]["text"]
    assert cut["warnings"] == [
        "1 of 3 lineages come without their JSON, which would be too long. Look up fewer at once."
    ]
    assert json.loads(whole["answers"][2]["lineage"]["json"])["nodes"][0]["guid"] == GUID


def test_json_counts_as_it_goes_out(asked: Service, edr: EdrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 MB of JSON with command lines of quotes and backslashes were 80 MB within the reply, which no client reads."""
    monkeypatch.setattr(service, "_lineage", lambda *_given: {"json": '\\"' * 500})
    monkeypatch.setattr(service, "_MOST_JSON", 4_000)

    answers = rows(asked, *[{"process_guid": GUID}] * 3, lineage=True)["answers"]

    assert len(json.dumps([one["lineage"]["json"] for one in answers])) < 4_100


def test_json_that_is_left_out_takes_no_room(asked: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON of all lineages was made first and then cut: 3,000 of them took 130 MB to leave 40."""
    size = 100_000
    peaks: list[int] = []
    monkeypatch.setattr(service, "_MOST_JSON", 3 * size)
    monkeypatch.setattr(service, "_lineage", lambda *_given: {"json": "x" * size})
    for count in (10, 100):
        tracemalloc.start()
        rows(asked, *[{"process_guid": GUID}] * count, lineage=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] - peaks[0] < 90 * size / 2


def test_hits_misses_and_requests_are_counted(asked: Service, edr: EdrServer) -> None:
    rows(asked, {"md5": MD5}, {"md5": "b" * 32})
    rows(asked, {"md5": MD5})
    found = asked.health.document()

    assert (found["cache_misses"], found["cache_hits"], found["rows"]) == (2, 1, 3)
    assert found["edr_requests"] == len(edr.requests) == 2
    assert found["answers"] == {"Signed": 2, "Unknown": 1}
    assert found["gaps"] == {"not found": 1}


def test_one_failure_is_one_warning(asked: Service, edr: EdrServer) -> None:
    """With a wrong token `| cblineage` said the same sentence twice, as the hash's reason and the process's."""
    edr.fail("process", Fault(status=401))

    found = rows(asked, {"process_guid": GUID}, lineage=True)

    (warning,) = found["warnings"]
    assert warning.count("refused the API token") == 1


def test_nothing_to_look_up_is_an_answer(asked: Service) -> None:
    assert rows(asked) == {"answers": [], "warnings": []}
