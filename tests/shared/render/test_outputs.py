"""Table, card, tree, Markdown and CSV: they say what the document says, and nothing hostile survives."""

from __future__ import annotations

import copy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.render.clean import clean, clip, clip_left, clip_middle, isolate, width, wrap
from cbsigned.render.csv import csv_rows
from cbsigned.render.document import enrichment_document
from cbsigned.render.facts import age, headline, lineage_short, why
from cbsigned.render.markdown import escape_markdown, markdown_card
from cbsigned.render.marks import CLAIMED, NOT_READ, mark, severity, word
from cbsigned.render.style import Style, can_draw
from cbsigned.render.table import table
from cbsigned.render.text import card
from cbsigned.status import SigningStatus
from shared.render.factory import HOSTILE, enrichment, hidden, hostile, kinds, subject

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}


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


@pytest.mark.parametrize(
    "code",
    [0x034F, 0x115F, 0x180B, 0x180C, 0x180D, 0x180F, 0x200B, 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFEFF,
     0xE0001, 0xE0020, 0xE0100, 0xE01EF],
    ids=hex,
)  # fmt: skip
def test_what_shows_nothing_is_written_out(code: int) -> None:
    """Two names that differ in a variation selector alone looked the same."""
    assert clean(f"a{chr(code)}b") == f"a<U+{code:04X}>b"


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

    incomplete = [at for at, document in enumerate(DOCUMENTS.values(), 1) if not document["complete"]]
    foot = " ".join(lines[len(DOCUMENTS) + 2 :])
    assert foot.startswith("Incomplete: some look-ups failed. ")
    assert foot.endswith(f"Rows: {', '.join(map(str, incomplete))}.")
    assert [hidden(line) for line in lines if hidden(line)] == []
    assert max(width(line) for line in lines) <= cells


def test_table_shows_which_alert_status_process_and_where_it_came_from() -> None:
    document = enrichment_document(enrichment(subject(SigningStatus.UNSIGNED, "git", names=("code helper", "code"))))

    row = list(table([document], Style(240)))[2]

    assert re.search(
        r"^1 +2016-04-01 09:28 +Driver dropped +◆ Unsigned +git .* ← code helper ← code +The file carries no signature",
        row,
    )


@pytest.mark.parametrize(
    ("cells", "shown", "left_out"),
    [
        (80, "# status process hash why", "time alert publisher"),
        (120, "# time alert status process hash why", "publisher user"),
        (200, "# time alert status process hash publisher host user lineage why", ""),
    ],
)
def test_table_leaves_columns_out_where_room_is_short(cells: int, shown: str, left_out: str) -> None:
    header = next(table([DOCUMENTS["invalid-signature"]], Style(cells))).split()

    assert [name for name in shown.split() if name not in header] == []
    assert [name for name in left_out.split() if name in header] == []


@pytest.mark.parametrize(("cells", "digits"), [(80, 12), (120, 12), (160, 32), (240, 32)])
def test_table_shows_as_much_of_the_hash_as_there_is_room_for(cells: int, digits: int) -> None:
    row = list(table([DOCUMENTS["unsigned"]], Style(cells)))[2]

    assert re.search(rf" {'b0a3ecc9eaa2521ddea2fc067785b84e'[:digits]} ", row)


def test_rows_are_numbered_as_the_alerts_come_also_where_their_number_is_not_known_yet() -> None:
    lines = list(table([DOCUMENTS["signed"]] * 1234, Style(80)))[2:]

    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, 1235)]


def test_a_status_that_comes_late_is_not_cut() -> None:
    lines = list(table([DOCUMENTS["signed"]] * 300 + [DOCUMENTS["claim-unsigned"]] + [DOCUMENTS["explicit-distrust"]]))

    assert "◇ Unsigned? " in lines[-2]
    assert "▲ Explicit Distrust " in lines[-1]


def test_why_begins_with_what_matters() -> None:
    document = copy.deepcopy(DOCUMENTS["unknown"])
    md5 = document["subjects"][0]["md5"]
    document["reason"] = f"No binary record of {md5} in store:lab.db: Unknown, not Unsigned."

    assert why(document) == "No binary record: Unknown, not Unsigned."


@pytest.mark.parametrize("name", ["claim", "claim-unsigned"])
def test_what_only_the_alert_says_looks_like_no_answer(name: str) -> None:
    document = DOCUMENTS[name]
    word = document["status"]

    row = list(table([document], Style(240, colour=True)))[2]
    made = {"card": card(document, Style(100, colour=True)), "markdown": markdown_card(document), "table": row}

    for output, text in made.items():
        assert f"◇ {word}?" in text, output
        assert not re.search(r"[✓◆] (Signed|Unsigned)[^?]*procmon64", text.split("\n")[0]), output
        assert "\x1b[32m" not in text.split("\n")[0], output
    assert why(document).startswith(f"The alert itself says {word}; no record confirms it. No binary record: ")
    assert "Microsoft Corporation" not in row
    assert "Microsoft Corporation (so says the alert)" in made["card"]
    assert "Evidence       the alert itself; " in card(document, Style(200))
    assert "(so says the alert)" in made["card"].split("\n")[0]
    assert "(so says the alert)" in made["markdown"].split("\n")[0].replace("\\", "")
    assert csv_rows(document)[0]["verdict"] == f"claimed: {word.lower()}"


def test_an_alert_that_cannot_be_read_is_not_called_unknown() -> None:
    document = DOCUMENTS["nothing"]

    assert "⊘ Not read" in list(table([document], Style(100)))[2]
    assert markdown_card(document).startswith("### ⊘ Not read — ")
    assert (csv_rows(document)[0]["status"], csv_rows(document)[0]["verdict"]) == ("Unknown", "not read")


def test_an_alert_that_was_read_and_names_nothing_is_unknown() -> None:
    document = {**DOCUMENTS["nothing"], "alert": {**DOCUMENTS["signed"]["alert"], "title": None, "kind": None}}

    assert (word(document), headline(document)) == ("Unknown", "Alert that names nothing to look up")


def test_answers_are_ordered_by_how_serious_they_are() -> None:
    names = ["unsigned", "expired", "claim-unsigned", "claim", "nothing", "failed", "unknown", "signed"]

    assert sorted(names, key=lambda name: severity(DOCUMENTS[name])) == [
        "unsigned", "expired", "claim-unsigned", "claim", "nothing", "failed", "unknown", "signed",
    ]  # fmt: skip


def test_a_second_subject_makes_an_alert_as_serious_as_itself() -> None:
    assert severity(DOCUMENTS["two"]) < severity(DOCUMENTS["unknown"])


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
    looks = ["Signed", "Unsigned", "Expired", "Unknown", CLAIMED, NOT_READ]

    assert len({mark(s).symbol for s in looks}) == len({mark(s).ascii for s in looks}) == 6
    assert all(width(mark(s).symbol) == 1 for s in looks)


def test_card_tells_in_order_verdict_signer_evidence_lineage_counts_and_what_is_not_known() -> None:
    text = card(DOCUMENTS["orphan"], Style(120))

    order = ["✓ Signed", "signature was accepted", "Publisher", "Issuer", "Signed at", "Evidence", "3 days old",
             "Lineage", "ended: start not recorded", "winword.exe", "cmd.exe", "this process", "Counts",
             "Not known"]  # fmt: skip
    places = [text.index(word) for word in order]
    assert places == sorted(places)


def test_card_of_an_alert_that_names_nothing_says_so_once() -> None:
    text = card(DOCUMENTS["nothing"])

    assert text.startswith("⊘ Not read")
    assert text.count("nothing to look up.") == 1


@given(st.text(max_size=700), st.integers(40, 90), st.booleans())
def test_cut_values_fit_and_hold_no_hidden_character(text: str, cells: int, ascii_only: bool) -> None:
    lines = Style(cells, ascii_only=ascii_only).lines(text, cells)

    assert 1 <= len(lines) <= 4
    assert [line for line in lines if width(line) > cells or hidden(line)] == []


@given(st.text(), st.integers(1, 40))
def test_text_clipped_elsewhere_fits_too(text: str, cells: int) -> None:
    shown = isolate(clean(text))

    assert width(clip_left(shown, cells)) <= cells
    assert width(clip_middle(shown, cells)) <= cells
    assert clip_left(shown, cells).count("\u2066") == clip_left(shown, cells).count("\u2069")


def test_a_path_keeps_its_end_and_a_host_both_ends() -> None:
    assert clip_left("c:\\users\\jo\\temp\\git.exe", 13) == "…temp\\git.exe"
    assert clip_middle("build-agent-0017.example.test", 15) == "build-a…le.test"


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
