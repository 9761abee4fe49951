"""An alert looks like its worst subject, and says what is not known of the alert as a whole."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from cbsigned.render.choice import choose
from cbsigned.render.clean import width
from cbsigned.render.csv import csv_rows
from cbsigned.render.document import Document, enrichment_document
from cbsigned.render.html import html_card, html_report
from cbsigned.render.markdown import markdown_card
from cbsigned.render.style import Style
from cbsigned.render.table import table
from cbsigned.render.text import card
from shared.render.factory import kinds

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}
CUT = "99 of 1099 documents of this hit were not read."
NOTE = "The alert's hash is not that of the image which the source has for this process."


def bare(page: str) -> str:
    """Return what is read of a page."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


@pytest.mark.parametrize(
    ("cells", "status"), [(240, "✓ Signed +1 ▲ Explicit Distrust"), (80, "✓ +1 ▲ Explicit Distrust")]
)
def test_a_row_shows_the_worst_subject_beside_the_first(cells: int, status: str) -> None:
    """`✓ Signed  procmon64.exe +1` in green, and the other was Explicit Distrust."""
    row = list(table([DOCUMENTS["mixed"]], Style(cells)))[2]

    assert f" {status} " in row
    assert "driver.sys: " in row or cells == 80


def test_a_row_has_the_colour_of_its_worst_subject() -> None:
    row = list(table([DOCUMENTS["mixed"]], Style(240, colour=True)))[2]

    assert "\x1b[31m✓ Signed +1 ▲ Explicit Distrust" in row
    assert "\x1b[32m" not in row


@pytest.mark.parametrize("cells", [60, 80, 120])
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
def test_a_worse_status_that_comes_late_is_not_cut(cells: int, ascii_only: bool) -> None:
    lines = list(table([DOCUMENTS["signed"]] * 300 + [DOCUMENTS["mixed"]], Style(cells, ascii_only=ascii_only)))

    assert f"+1 {'!' if ascii_only else '▲'} Explicit Distrust " in lines[-1]
    assert max(map(width, lines[2:])) <= max(cells, 66)


def test_equal_subjects_are_only_counted() -> None:
    row = list(table([DOCUMENTS["cut"]], Style(240)))[2]

    assert re.search(r"✓ Signed  .*procmon64\.exe \+1 ", row)


def test_a_page_shows_the_worst_subject_in_row_chip_and_border() -> None:
    page = html_report([DOCUMENTS["mixed"]], "t")

    assert '<article class="cbs cbs-card invalid">' in page
    assert '<b>1</b><span class="cbs-word invalid">' in page
    assert "1 Signed +1 Explicit Distrust procmon64.exe" in bare(page)
    assert "1 Explicit Distrust All alerts" in bare(page)


def test_every_card_says_at_its_head_that_another_subject_is_worse() -> None:
    told = "Worse below: ▲ Explicit Distrust — driver.sys"

    heads = [card(DOCUMENTS["mixed"]), markdown_card(DOCUMENTS["mixed"]), bare(html_card(DOCUMENTS["mixed"]))]
    assert [head.count(told) for head in heads] == [1, 1, 1]
    assert all(head.index(told) < head.index("Publisher") for head in heads)
    assert "Worse below" not in card(DOCUMENTS["cut"])


def test_an_alerts_own_gap_is_in_every_card_once_and_last() -> None:
    """An alert of which documents were left out looked whole: only the JSON said so."""
    cards = [card(DOCUMENTS["cut"]), markdown_card(DOCUMENTS["cut"]), bare(html_card(DOCUMENTS["cut"]))]

    assert [text.count(CUT) for text in cards] == [1, 1, 1]
    assert all(text.index(CUT) > text.rindex("Not known") > text.index("b.exe") for text in cards)


def test_an_alerts_own_gap_is_in_each_of_its_csv_rows() -> None:
    assert [row["not_known"] for row in csv_rows(DOCUMENTS["cut"], 1)] == [f"alert: {CUT}"] * 2


def test_a_gap_that_a_subject_holds_is_not_told_twice() -> None:
    assert csv_rows(DOCUMENTS["orphan"])[0]["not_known"].count("Start not recorded") == 1
    assert card(DOCUMENTS["orphan"], Style(200)).split("Not known")[1].count("Start not recorded") == 1


def test_text_markdown_and_table_say_that_look_ups_failed() -> None:
    told = "Incomplete: some look-ups failed."
    failed, whole = ([card(d), markdown_card(d), html_card(d), "\n".join(table([d]))]
                     for d in (DOCUMENTS["failed"], DOCUMENTS["signed"]))  # fmt: skip

    assert [text.count(told) for text in failed] == [1, 1, 1, 1]
    assert [text.count("Incomplete") for text in whole] == [0, 0, 0, 0]


def test_a_cut_markdown_card_still_says_that_look_ups_failed() -> None:
    assert "Incomplete: some look-ups failed." in markdown_card(DOCUMENTS["two"], max_chars=600)


def test_a_table_names_the_incomplete_rows_and_marks_each() -> None:
    lines = list(table([DOCUMENTS[name] for name in ("signed", "failed", "signed", "two")], Style(240)))

    assert lines[-1] == "Incomplete: some look-ups failed. Ask again before closing the alert. Rows: 2, 4."
    assert ["Incomplete: " in line for line in lines[2:-1]] == [False, True, False, True]


def test_a_table_of_many_incomplete_rows_counts_them() -> None:
    last = list(table([DOCUMENTS["failed"]] * 1020, Style(240)))[-1]

    assert last.endswith("19, 20 and 1,000 more.")


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ((), {"md5": "0" * 31 + "1"}),
        ((), {"sha256": "1" * 64}),
        ((), {"reason": "Another reason."}),
        (("verdict",), {"notes": [NOTE]}),
        ((), {"gaps": [{"about": "lineage", "cause": "timeout", "reason": "No answer."}]}),
    ],
    ids=["md5", "sha256", "reason", "notes", "gaps"],
)
def test_alerts_on_one_process_with_different_answers_get_a_card_each(where: tuple[str, ...], change: Any) -> None:
    """Two alerts named one guid with different MD5s; the second's card, and its note, were nowhere."""
    other = copy.deepcopy(DOCUMENTS["signed"])
    part: Document = other["subjects"][0]
    for key in where:
        part = part[key]
    part.update(change)

    choice = choose([DOCUMENTS["signed"], other, DOCUMENTS["signed"]], 10)

    assert sorted(choice.groups) == [(0, 2), (1,)]


def test_alerts_with_gaps_of_their_own_get_a_card_each() -> None:
    other = {**DOCUMENTS["cut"], "gaps": []}

    assert len(choose([DOCUMENTS["cut"], other], 10).groups) == 2


def test_the_note_of_another_hash_is_on_the_page() -> None:
    other = copy.deepcopy(DOCUMENTS["signed"])
    other["subjects"][0]["verdict"]["notes"] = [NOTE]

    assert NOTE in bare(html_report([DOCUMENTS["signed"], other], "t")).replace("&#39;", "'")
