"""CSV of alerts and of lineages: every row can be found again, and no cell is run by a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest

from cbsigned.lineage import EndedBy
from cbsigned.render.csv import COLUMNS, LINEAGE_COLUMNS, csv_lines, csv_rows, lineage_rows, spreadsheet_safe
from cbsigned.render.document import enrichment_document
from shared.render.factory import HOSTILE, hidden, hostile, kinds

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}


def test_csv_has_a_row_for_every_subject_and_one_for_an_unread_alert() -> None:
    text = "".join(csv_lines(DOCUMENTS.values()))

    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == sum(max(1, len(document["subjects"])) for document in DOCUMENTS.values())
    assert all(row["status"] and row["reason"] for row in rows)


def test_csv_without_any_alert_is_the_header_alone() -> None:
    assert "".join(csv_lines([])) == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_csv_cell_is_a_formula_or_breaks_its_line(text: str) -> None:
    rows = csv_rows(enrichment_document(hostile(text)))

    assert [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert [cell for row in rows for cell in row.values() if hidden(cell) or "\n" in cell] == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_a_cell_that_begins_a_formula_is_quoted(text: str) -> None:
    assert spreadsheet_safe(text) == f"'{text}"


def test_a_plain_cell_stays_as_it_is() -> None:
    assert spreadsheet_safe("a=b") == "a=b"


def test_csv_names_every_alert_by_number_and_by_row_of_its_export() -> None:
    rows = list(csv.DictReader("".join(csv_lines([DOCUMENTS["two"], DOCUMENTS["exported"]])).splitlines()))

    assert [row["number"] for row in rows] == ["1", "1", "2"]
    assert [row["_serial"] for row in rows] == ["", "", "300715"]
    assert rows[2]["_time"] == "2016-03-16 00:10:05.000 EDT"
    assert rows[2]["alert_at"] == "2016-04-01T09:28:00Z"


def test_lineage_rows_hold_all_relatives_and_why_the_walk_ended_once() -> None:
    chain = DOCUMENTS["relatives"]["subjects"][0]["lineage"]

    rows = lineage_rows(chain)

    assert [row["relation"] for row in rows] == ["self", "ancestor", "child", "child", "sibling"]
    assert all(list(row) == list(LINEAGE_COLUMNS) for row in rows)
    assert {row["process"] for row in rows} == {chain["nodes"][0]["guid"]}
    assert [row["ended_by"] for row in rows] == ["root", "", "", "", ""]
    assert rows[0]["ended_reason"] == "The reason of root. | siblings: 1 of 9 shown; ask for more to see the others."
    assert (rows[2]["path"], rows[2]["cmdline"], rows[2]["depth"]) == ("c:\\bin\\p100.exe", "p100.exe /run", "")


def test_lineage_rows_tell_gaps_and_what_comes_from_the_guid() -> None:
    last = lineage_rows(DOCUMENTS["orphan"]["subjects"][0]["lineage"])[-1]

    assert (last["from_guid"], last["gap"]) == ("true", "Start not recorded: it began before.")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_lineage_cell_is_a_formula_or_breaks_its_line(text: str) -> None:
    rows = lineage_rows(enrichment_document(hostile(text))["subjects"][0]["lineage"])

    assert [c for row in rows for c in row.values() if c.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert [c for row in rows for c in row.values() if hidden(c) or "\n" in c] == []


def test_csv_tells_why_the_walk_ended() -> None:
    row = csv_rows(DOCUMENTS["orphan"])[0]

    assert (row["lineage_ended_by"], row["lineage"]) == (
        EndedBy.START_NOT_RECORDED.value, "procmon64.exe <- cmd.exe <- winword.exe <- …",
    )  # fmt: skip
