"""The lineage as text: whole, readable at 80 columns, with what one searches on for every process."""

from __future__ import annotations

import copy
import re

import pytest

from cbsigned.render.clean import width
from cbsigned.render.document import enrichment_document
from cbsigned.render.markdown import markdown_lineage
from cbsigned.render.style import Style
from cbsigned.render.text import lineage_text
from shared.render.factory import kinds

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}


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


def test_what_only_the_guid_tells_is_marked_as_such() -> None:
    chain = DOCUMENTS["orphan"]["subjects"][0]["lineage"]

    for text in (lineage_text(chain, Style(160)), markdown_lineage(chain)):
        line = next(line for line in text.split("\n") if "winword.exe" in line)
        assert "pid and start from the guid" in line
        assert text.count("from the guid") == 1
