"""Table, card, tree, Markdown and CSV: they say what the document says, and nothing hostile survives."""

from __future__ import annotations

import copy
import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.lineage import EndedBy
from cbsigned.render.clean import clean, clip, clip_left, clip_middle, isolate, width, wrap
from cbsigned.render.csv import COLUMNS, LINEAGE_COLUMNS, csv_lines, csv_rows, lineage_rows, spreadsheet_safe
from cbsigned.render.document import enrichment_document
from cbsigned.render.facts import age, headline, lineage_short, why
from cbsigned.render.markdown import escape_markdown, markdown_card, markdown_lineage
from cbsigned.render.marks import CLAIMED, NOT_READ, mark, severity, word
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


def test_lineage_says_that_no_relative_is_recorded() -> None:
    chain = DOCUMENTS["alone"]["subjects"][0]["lineage"]

    for text in (lineage_text(chain), markdown_lineage(chain)):
        assert "siblings: none recorded" in text
        assert "children: none recorded" in text


@pytest.mark.parametrize("cells", [80, 120])
def test_every_process_of_a_lineage_shows_what_one_searches_on_whole(cells: int) -> None:
    for name in ("deep", "relatives", "orphan"):
        chain = DOCUMENTS[name]["subjects"][0]["lineage"]
        nodes = chain["nodes"] + [
            n for part in ("children", "siblings") for n in (chain[part] or {"nodes": []})["nodes"]
        ]

        for text in (lineage_text(chain, Style(cells)), markdown_lineage(chain).replace("\\", "")):
            for node in nodes:
                assert f"guid {node['guid']}" in text
                assert f"host {node['host']}" in text
                assert node["started_at"] in text
                assert node["md5"] is None or f"md5 {node['md5']}" in text


@pytest.mark.parametrize("cells", [40, 60, 80, 120])
@pytest.mark.parametrize("name", [name for name, d in DOCUMENTS.items() if d["subjects"]])
def test_lineage_lines_fit(name: str, cells: int) -> None:
    lines = lineage_text(DOCUMENTS[name]["subjects"][0]["lineage"], Style(cells)).split("\n")

    assert [line for line in lines if width(line) > cells] == []


def test_lines_of_the_tree_run_on_beside_what_stands_below_a_process() -> None:
    lines = lineage_text(DOCUMENTS["relatives"]["subjects"][0]["lineage"], Style(80)).split("\n")

    at = next(number for number, line in enumerate(lines) if "sibling.exe" in line)
    column = lines[at].index("├")
    end = next(number for number, line in enumerate(lines) if line[column : column + 1] == "└")
    assert end > at + 2
    assert {line[column] for line in lines[at + 1 : end]} <= {"│", "├"}


def test_a_lineage_without_lines_of_its_own_for_the_process_has_them_for_the_others() -> None:
    chain = DOCUMENTS["signed"]["subjects"][0]["lineage"]

    text = lineage_text(chain, Style(120), own=False)

    assert chain["nodes"][1]["guid"] in text
    assert chain["nodes"][0]["guid"] not in text


@pytest.mark.parametrize("name", ["unknown", "unsigned"])
def test_lineage_tells_why_also_of_the_process_itself(name: str) -> None:
    chain = DOCUMENTS[name]["subjects"][0]["lineage"]

    assert chain["nodes"][0]["reason"] in " ".join(lineage_text(chain, Style(160)).replace("│", "").split())


def test_a_long_command_line_wraps_to_four_lines_and_says_how_much_is_cut() -> None:
    chain = copy.deepcopy(DOCUMENTS["signed"]["subjects"][0]["lineage"])
    command = " ".join(f"word{number:04}" for number in range(400))
    chain["nodes"][0]["cmdline"] = command

    lines = [line.strip(" │") for line in lineage_text(chain, Style(80)).split("\n") if "word0" in line]

    assert len(lines) == 4
    cut = re.search(r"^(.*)… \((\d[\d,]*) more characters\)$", lines[-1])
    assert cut is not None
    shown = " ".join([*lines[:-1], cut[1]])
    assert command.startswith(shown)
    assert len(command) - len(shown) == int(cut[2].replace(",", ""))


@given(st.text(max_size=700), st.integers(40, 90), st.booleans())
def test_cut_values_fit_and_hold_no_hidden_character(text: str, cells: int, ascii_only: bool) -> None:
    lines = Style(cells, ascii_only=ascii_only).lines(text, cells)

    assert 1 <= len(lines) <= 4
    assert [line for line in lines if width(line) > cells or hidden(line)] == []


def test_what_only_the_guid_tells_is_marked_as_such() -> None:
    chain = DOCUMENTS["orphan"]["subjects"][0]["lineage"]

    for text in (lineage_text(chain, Style(160)), markdown_lineage(chain)):
        line = next(line for line in text.split("\n") if "winword.exe" in line)
        assert "pid and start from the guid" in line
        assert text.count("from the guid") == 1


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
