"""Real watchlist hits, enriched and rendered: whatever the vendor sends, the outputs hold."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path

import jsonschema
import pytest

import cbsigned
from cbsigned.enrichment import Sources, enrich
from cbsigned.render.clean import width
from cbsigned.render.csv import csv_lines
from cbsigned.render.document import Document, enrichment_document
from cbsigned.render.html import report
from cbsigned.render.markdown import markdown_card
from cbsigned.render.style import Style
from cbsigned.render.table import table
from cbsigned.render.text import card
from cbsigned.settings import Settings
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from support import real_data


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Every tenth real hit, enriched from a store of the same file."""
    recording = real_data("cb-response-splunk-app") / "alerts.csv.gz"
    store = tmp_path_factory.mktemp("real") / "real.db"
    ingest(store, [recording])
    with gzip.open(recording, "rt", encoding="utf-8") as lines:
        alerts = list(csv.DictReader(lines))[::10]
    source = StoreSource(store)
    return [enrichment_document(e) for e in enrich(alerts, Sources(source, source, source), Settings())]


def test_every_document_is_what_the_schema_says(documents: list[Document]) -> None:
    schema = json.loads((Path(cbsigned.__file__).parent / "enrichment.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)

    assert len(documents) == 205
    assert [error.message for document in documents for error in validator.iter_errors(document)] == []


def test_every_output_can_be_made_of_every_document(documents: list[Document]) -> None:
    assert max(width(line) for line in table(documents, Style(120))) <= 120
    assert max(width(line) for d in documents for line in card(d, Style(120)).split("\n")) <= 120
    assert max(len(markdown_card(document)) for document in documents) <= 30_000
    assert len(list(csv.DictReader("".join(csv_lines(documents)).splitlines()))) >= len(documents)
    made = report(documents, "t")
    assert (made.page.count('<th scope="row"'), made.summary) == (len(documents), None)
    assert made.page.count("<article") < len(documents)


def test_the_unsigned_ones_get_the_first_cards(documents: list[Document]) -> None:
    unsigned = {d["md5"] for d in documents if d["status"] == "Unsigned"}

    page = report(documents, "t", max_cards=len(unsigned)).page

    assert unsigned
    assert set(re.findall(r"<dt>MD5</dt><dd><bdi dir=\"ltr\">(\w+)", page)) <= unsigned
    assert "Unsigned —" in " ".join(re.sub(r"<[^>]*>", "", page).split())


def test_every_csv_row_names_the_row_of_the_export(documents: list[Document]) -> None:
    rows = list(csv.DictReader("".join(csv_lines(documents)).splitlines()))

    assert [row["number"] for row in rows] == [str(at) for at in range(1, len(documents) + 1)]
    assert all(row["_serial"] and row["_time"] and row["alert_at"] for row in rows)
