"""The drawing of a lineage: well-formed, script-free, inside its frame, readable without colour."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.render.document import enrichment_document, lineage_document
from cbsigned.render.svg import svg_lineage
from cbsigned.status import SigningStatus
from shared.render.factory import enrichment, kinds, lineage, subject

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", [name for name, document in DOCUMENTS.items() if document["subjects"]])
def test_drawings_are_well_formed_and_script_free(name: str) -> None:
    root = ET.fromstring(svg_lineage(DOCUMENTS[name]["subjects"][0]["lineage"]))  # noqa: S314 - our own drawing

    tags = {element.tag.replace(SVG, "") for element in root.iter()}
    assert tags <= {"svg", "g", "title", "rect", "path", "circle", "text", "style"}
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on") or "href" in key]


@settings(max_examples=60)
@given(st.text(max_size=80), st.text(max_size=80))
def test_a_drawing_of_any_names_is_well_formed(name: str, user: str) -> None:
    chain = enrichment_document(enrichment(subject(name=name, names=(user,))))["subjects"][0]["lineage"]
    chain["nodes"][0]["user"] = user

    ET.fromstring(svg_lineage(chain))  # noqa: S314 - our own drawing


def boxes(drawing: str) -> list[ET.Element]:
    """Return the drawn processes from top to bottom."""
    return list(ET.fromstring(drawing).iter(f"{SVG}g"))  # noqa: S314 - our own drawing


def texts(box: ET.Element) -> list[str]:
    return [element.text or "" for element in box.iter(f"{SVG}text")]


def test_a_drawing_names_every_process_status_and_pid_in_words() -> None:
    drawn = boxes(svg_lineage(DOCUMENTS["deep"]["subjects"][0]["lineage"]))

    assert len(drawn) == 13
    for level, box in enumerate(drawn):
        words = texts(box)
        assert any(word in ("Signed", "Unsigned", "Unknown") for word in words), words
        assert any(f"pid {22 - level}" in word for word in words), words


def test_a_drawing_shows_why_the_walk_ended_and_marks_the_process() -> None:
    drawing = svg_lineage(DOCUMENTS["orphan"]["subjects"][0]["lineage"])

    assert "Ended here (start not recorded): The reason of start not recorded." in drawing
    assert drawing.count("this process") == 1
    assert "gap: start not recorded" in drawing


@pytest.mark.parametrize(
    ("status", "shape"),
    [
        (SigningStatus.SIGNED, "circle"),
        (SigningStatus.UNSIGNED, "path"),
        (SigningStatus.EXPIRED, "path"),
        (SigningStatus.UNKNOWN, "circle"),
    ],
)
def test_every_tone_has_a_shape_of_its_own(status: SigningStatus, shape: str) -> None:
    chain = lineage_document(lineage(("a.exe",)), {})
    chain["nodes"][0]["status"] = status.value

    box = boxes(svg_lineage(chain))[-1]

    assert box[2].tag == SVG + shape
    assert ("unknown" in "".join(e.get("class", "") for e in box.iter())) is (status is SigningStatus.UNKNOWN)


def test_nothing_is_drawn_outside_the_picture() -> None:
    root = ET.fromstring(svg_lineage(DOCUMENTS["deep"]["subjects"][0]["lineage"]))  # noqa: S314

    _x, _y, wide, high = map(float, root.attrib["viewBox"].split())
    for inner in root.findall(f"{SVG}svg"):
        assert float(inner.attrib["x"]) + float(inner.attrib["width"]) <= wide
        assert float(inner.attrib["y"]) + float(inner.attrib["height"]) <= high


def test_a_long_command_line_is_clipped_in_the_tool_tip() -> None:
    chain = lineage_document(lineage(("a.exe",)), {})
    chain["nodes"][0]["cmdline"] = "x" * 4000

    drawing = svg_lineage(chain)

    assert len(drawing) < 6000
    assert "command line: xxx" in drawing


def test_relatives_are_drawn_and_missing_ones_counted() -> None:
    drawing = svg_lineage(DOCUMENTS["relatives"]["subjects"][0]["lineage"])

    assert len(boxes(drawing)) == 5
    assert "siblings: 1 of 9 shown" in drawing


def test_a_drawing_says_that_no_relative_is_recorded() -> None:
    drawing = svg_lineage(DOCUMENTS["alone"]["subjects"][0]["lineage"])

    assert "siblings: none recorded" in drawing
    assert "children: none recorded" in drawing


def test_a_gap_and_a_relative_are_framed_differently_and_the_legend_says_how() -> None:
    orphan, related = (svg_lineage(DOCUMENTS[n]["subjects"][0]["lineage"]) for n in ("orphan", "relatives"))

    assert "dashed frame: its start or its document is missing" in orphan
    assert "no fill: sibling or child" in related
    assert "dashed frame" not in related
    assert "legend" not in svg_lineage(DOCUMENTS["signed"]["subjects"][0]["lineage"], style=False)


def test_a_drawing_shows_command_lines_and_what_only_the_guid_tells() -> None:
    drawn = boxes(svg_lineage(DOCUMENTS["orphan"]["subjects"][0]["lineage"]))

    assert "p11.exe /run" in texts(drawn[1])
    assert any("from the guid: 2016-04-01" in text for text in texts(drawn[0]))
    assert not any("from the guid" in text for text in texts(drawn[1]))


def test_a_drawing_shares_the_page_style_on_request() -> None:
    chain = DOCUMENTS["signed"]["subjects"][0]["lineage"]

    assert "<style>" in svg_lineage(chain)
    assert "<style>" not in svg_lineage(chain, style=False)


@pytest.mark.parametrize("deep", [74, 76, 200, 500])
@pytest.mark.parametrize("relatives", [False, True], ids=["alone", "relatives"])
def test_a_long_lineage_keeps_every_name_inside_the_picture(deep: int, relatives: bool) -> None:
    """From 190 ancestors on, boxes had negative widths, and the newest processes were not drawn."""
    names = tuple(f"p{at}.exe" for at in range(deep))
    chain = lineage_document(lineage(names, relatives=relatives), {})

    root = ET.fromstring(svg_lineage(chain))  # noqa: S314 - our own drawing

    drawn = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "name"]
    assert [name for name in drawn if name in names] == list(reversed(names))
    for inner in root.findall(f"{SVG}svg"):
        assert float(inner.attrib["width"]) >= 400
        assert float(inner.attrib["x"]) + float(inner.attrib["width"]) <= 760
