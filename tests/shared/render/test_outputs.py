"""Table, card, tree, Markdown and CSV: they say what the document says, and nothing hostile survives."""

from __future__ import annotations

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.lineage import EndedBy
from cbsigned.render.clean import clean, clip, isolate, width, wrap
from cbsigned.render.csv import COLUMNS, csv_lines, csv_rows, spreadsheet_safe
from cbsigned.render.document import enrichment_document
from cbsigned.render.facts import age, lineage_short
from cbsigned.render.markdown import escape_markdown, markdown_card, markdown_lineage
from cbsigned.render.marks import mark
from cbsigned.render.style import Style, can_draw
from cbsigned.render.table import table
from cbsigned.render.text import card, lineage_text
from cbsigned.status import SigningStatus
from shared.render.factory import HOSTILE, enrichment, hostile, kinds, subject

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}
ISOLATES = "\u2066\u2069"


def hidden(text: str) -> list[str]:
    """Return the characters of a text that nobody sees, our own isolates and line ends left out."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in ISOLATES + "\n"]


@given(st.text())
def test_clean_text_is_one_visible_line(text: str) -> None:
    shown = clean(text)

    assert shown.isprintable()
    assert clean(shown) == shown


@given(st.text(), st.integers(1, 40))
def test_clipped_text_fits(text: str, cells: int) -> None:
    assert width(clip(isolate(clean(text)), cells)) <= cells


@given(st.text(min_size=1), st.integers(0, 60))
def test_every_isolate_is_closed_however_it_is_cut(text: str, cells: int) -> None:
    cut = clip(isolate(clean(text)), cells)

    assert cut.count("\u2066") == cut.count("\u2069")


@given(st.text(), st.integers(20, 100), st.integers(1, 5))
def test_wrapped_text_fits(text: str, cells: int, most: int) -> None:
    lines = wrap(clean(text), cells, most)

    assert 1 <= len(lines) <= most
    assert all(width(line) <= cells for line in lines)


def test_wide_characters_count_twice_and_combining_ones_not() -> None:
    assert (width("报告"), width("e\u0301"), width("abc")) == (4, 1, 3)


def test_a_right_to_left_override_is_shown_and_not_obeyed() -> None:
    assert clean("invoice\u202efdp.exe") == "invoice<U+202E>fdp.exe"


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("cells", [60, 100, 160])
def test_cards_hold_no_control_character_and_fit_the_width(name: str, ascii_only: bool, cells: int) -> None:
    text = card(DOCUMENTS[name], Style(cells, ascii_only=ascii_only))

    assert hidden(text) == []
    assert max(width(line) for line in text.split("\n")) <= cells
    assert text.isascii() or not ascii_only


@pytest.mark.parametrize("cells", [80, 100, 160, 240])
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
def test_table_lines_fit_and_hold_no_control_character(cells: int, ascii_only: bool) -> None:
    lines = list(table(DOCUMENTS.values(), Style(cells, ascii_only=ascii_only)))

    assert len(lines) == len(DOCUMENTS) + 2
    assert [hidden(line) for line in lines if hidden(line)] == []
    assert max(width(line) for line in lines) <= cells


def test_table_shows_status_process_and_where_it_came_from() -> None:
    document = enrichment_document(enrichment(subject(SigningStatus.UNSIGNED, "git", names=("code helper", "code"))))

    row = list(table([document], Style(160)))[2]

    assert re.search(r"◆ Unsigned +git .* ← code helper ← code +The file carries no signature\.$", row)


def test_table_leaves_columns_out_where_room_is_short() -> None:
    wide, narrow = (next(table(DOCUMENTS.values(), Style(cells))) for cells in (160, 80))

    assert {"user", "publisher"} <= set(wide.split())
    assert not {"user", "publisher"} & set(narrow.split())
    assert {"status", "process", "why"} <= set(narrow.split())


def test_table_prints_rows_before_all_are_there() -> None:
    asked = []

    def documents() -> object:
        for at in range(1000):
            asked.append(at)
            yield DOCUMENTS["signed"]

    lines = table(documents())  # type: ignore[arg-type]
    next(lines)

    assert len(asked) < 1000
    assert len(list(lines)) == 1001


def test_colour_is_never_alone() -> None:
    plain, coloured = (card(DOCUMENTS["relatives"], Style(120, colour=on)) for on in (False, True))

    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert "\x1b[32m✓ Signed" in coloured


@pytest.mark.parametrize("status", SigningStatus)
def test_unknown_alone_looks_grey(status: SigningStatus) -> None:
    assert (mark(status.value).tone == "unknown") is (status is SigningStatus.UNKNOWN)


def test_marks_tell_the_tones_apart_without_colour() -> None:
    statuses = ["Signed", "Unsigned", "Expired", "Unknown"]

    assert len({mark(s).symbol for s in statuses}) == len({mark(s).ascii for s in statuses}) == 4
    assert all(width(mark(s).symbol) == 1 for s in statuses)


def test_card_tells_in_order_verdict_signer_evidence_lineage_counts_and_what_is_not_known() -> None:
    text = card(DOCUMENTS["orphan"], Style(120))

    order = ["✓ Signed", "signature was accepted", "Publisher", "Issuer", "Signed at", "Evidence", "3 days old",
             "Lineage", "ended: start not recorded", "winword.exe", "cmd.exe", "this process", "Counts",
             "Not known"]  # fmt: skip
    places = [text.index(word) for word in order]
    assert places == sorted(places)


def test_card_of_an_alert_that_names_nothing_says_so_once() -> None:
    text = card(DOCUMENTS["nothing"])

    assert text.startswith("○ Unknown")
    assert text.count("nothing to look up.") == 1


def test_lineage_has_the_oldest_on_top_and_marks_the_process() -> None:
    chain = DOCUMENTS["deep"]["subjects"][0]["lineage"]

    lines = lineage_text(chain, Style(160)).split("\n")

    assert lines[0] == "↑ ended: depth limit — The reason of depth limit."
    assert "ancestor11.exe" in lines[1]
    assert "oldest" in lines[1]
    named = [line for line in lines if "this process" in line]
    assert len(named) == 1
    assert "procmon64.exe" in named[0]
    assert sum(".exe  " in line for line in lines) == 13


def test_lineage_says_how_many_relatives_are_missing() -> None:
    chain = DOCUMENTS["relatives"]["subjects"][0]["lineage"]

    assert "1 of 9 shown" in lineage_text(chain)
    assert "1 of 9 shown" in markdown_lineage(chain)


def test_short_lineage_shows_that_it_is_not_whole() -> None:
    whole = DOCUMENTS["signed"]["subjects"][0]["lineage"]
    cut = DOCUMENTS["orphan"]["subjects"][0]["lineage"]

    assert lineage_short(whole) == "procmon64.exe ← explorer.exe"
    assert lineage_short(cut) == "procmon64.exe ← cmd.exe ← winword.exe ← …"


@pytest.mark.parametrize(
    ("encoding", "able"), [("utf-8", True), ("UTF8", True), ("cp437", False), ("latin-1", False), (None, False)]
)
def test_box_characters_are_drawn_where_the_stream_holds_them(encoding: str, able: bool) -> None:
    assert can_draw(encoding) is able


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 seconds"), (1, "1 second"), (3_700, "1 hour"), (259_200, "3 days"), (7e7, "2 years")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(int(seconds)) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_cards_hold_no_tag_link_or_open_code(text: str) -> None:
    shown = markdown_card(enrichment_document(hostile(text)))

    assert hidden(shown) == []
    assert not re.search(r"<[a-zA-Z/!]", shown)
    assert not re.search(r"(?<!\\)[`\[]", shown)
    assert not re.search(r"(?<!\\)(https?|javascript)(?<!\\):", shown)
    assert not re.search(r"(?<!\\)@", shown)


@given(st.text(alphabet=st.sampled_from("ab <>&|`*_[]()!#+-=.:/@\\\n\"'$~^1"), min_size=1))
def test_a_markdown_value_stays_in_its_table_cell(text: str) -> None:
    shown = escape_markdown(text)

    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[]", shown)
    assert not re.match(r"[-+=#>]", shown)


def test_markdown_is_bounded_and_says_that_it_is_cut() -> None:
    shown = markdown_card(DOCUMENTS["deep"], max_chars=1200)

    assert len(shown) <= 1200
    assert shown.endswith("*Cut here; the JSON output holds all of it.*\n")


def test_a_four_thousand_character_command_line_does_not_fill_the_card() -> None:
    document = DOCUMENTS["long"]

    assert len(markdown_card(document)) < 3000
    assert len(card(document)) < 4000
    assert csv_rows(document)[0]["cmdline"] == "x" * 4000


def test_markdown_lineage_is_nested_oldest_first() -> None:
    lines = markdown_card(DOCUMENTS["orphan"]).split("\n")

    items = [line for line in lines if line.lstrip().startswith("- ") and ".exe**" in line]
    assert [len(line) - len(line.lstrip()) for line in items] == [0, 2, 4]
    assert "winword" in items[0]


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


def test_csv_tells_why_the_walk_ended() -> None:
    row = csv_rows(DOCUMENTS["orphan"])[0]

    assert (row["lineage_ended_by"], row["lineage"]) == (
        EndedBy.START_NOT_RECORDED.value, "procmon64.exe <- cmd.exe <- winword.exe <- …",
    )  # fmt: skip
