"""The HTML report, card and drawing: well-formed, self-contained, safe with every name, readable without colour."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbsigned.errors import ConfigError
from cbsigned.render.clean import clean
from cbsigned.render.document import enrichment_document, lineage_document
from cbsigned.render.html import html_card, html_report
from cbsigned.render.svg import svg_lineage
from cbsigned.status import SigningStatus
from shared.render.factory import HOSTILE, enrichment, hostile, kinds, lineage, subject

DOCUMENTS = {name: enrichment_document(made) for name, made in kinds().items()}
VOID = {"meta", "br", "img", "link", "input", "hr"}
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Reads a page: every start tag with its attributes, and whether all are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, Optional[str]]]] = []
        self.open: list[str] = []
        self.badly_closed: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.badly_closed.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def report() -> str:
    return html_report(DOCUMENTS.values(), "Every <kind> of answer")


def test_report_closes_every_element(report: str) -> None:
    page = Page(report)

    assert (page.open, page.badly_closed) == ([], [])


def test_report_needs_nothing_from_outside(report: str) -> None:
    page = Page(report)

    names = {tag for tag, _attrs in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "image", "use", "a:href"}
    assert not re.search(r"url\(|@import", report)
    assert [
        value for _tag, attrs in page.tags for key, value in attrs.items() if key.startswith("on") or key == "src"
    ] == []
    assert [
        attrs["href"] for tag, attrs in page.tags if tag == "a" and not re.match("#|https://", attrs["href"] or "")
    ] == []


def test_report_forbids_scripts_and_outside_assets(report: str) -> None:
    policy = next(attrs["content"] for tag, attrs in Page(report).tags if attrs.get("http-equiv"))

    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_report_is_readable_in_light_and_dark(report: str) -> None:
    assert report.count("prefers-color-scheme:dark") >= 2


def test_report_has_headings_for_tables_and_names_for_drawings(report: str) -> None:
    page = Page(report)

    heads = [attrs for tag, attrs in page.tags if tag == "th"]
    assert heads
    assert all(attrs.get("scope") in ("col", "row") for attrs in heads)
    drawings = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(drawings) == sum(len(document["subjects"]) for document in DOCUMENTS.values())
    assert all(attrs["aria-label"] for attrs in drawings)
    assert dict(page.tags)["html"]["lang"] == "en"
    assert {tag for tag, _attrs in page.tags} >= {"details", "summary", "main", "h1", "h2", "h3"}


def test_report_counts_statuses_and_incomplete_alerts() -> None:
    documents = [DOCUMENTS[name] for name in ("signed", "signed", "unsigned", "two")]

    text = " ".join(" ".join(Page(html_report(documents, "t")).text).split())

    assert "4 alerts, 1 incomplete" in text
    assert "3 Signed 1 Unsigned" in text


def test_report_says_how_many_cards_it_leaves_out() -> None:
    text = html_report([DOCUMENTS["signed"]] * 5, "t", max_cards=2)

    assert "3 cards are left out" in text
    assert text.count("<article") == 2
    assert text.count('<th scope="row"') == 5


def test_every_row_that_has_a_card_links_to_it(report: str) -> None:
    page = Page(report)

    wanted = {attrs["href"][1:] for tag, attrs in page.tags if tag == "a" and (attrs["href"] or "").startswith("#")}
    assert wanted <= {attrs.get("id") for _tag, attrs in page.tags}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_name_becomes_markup(text: str) -> None:
    document = enrichment_document(hostile(text))
    harmless = enrichment_document(hostile("harmless.exe"))

    page, plain = Page(html_report([document], text)), Page(html_report([harmless], "harmless.exe"))

    assert [tag for tag, _attrs in page.tags] == [tag for tag, _attrs in plain.tags]
    assert {key for _tag, attrs in page.tags for key in attrs} <= {key for _t, attrs in plain.tags for key in attrs} | {
        "tabindex"
    }
    assert clean(text) in "".join(page.text)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.test",
        "https://user:pw@evil.test",
        "http://[",
        "\x01https://a",
    ],
)
def test_a_link_that_is_no_web_address_is_left_out(link: str) -> None:
    document = enrichment_document(enrichment(subject(), link=link))

    assert "href" not in html_card(document)


def test_a_web_address_is_linked_without_telling_where_from() -> None:
    page = Page(html_card(DOCUMENTS["signed"]))

    link = next(attrs for tag, attrs in page.tags if tag == "a")
    assert link["href"] == "https://cb.example.test/#analyze/1"
    assert "noreferrer" in (link["rel"] or "")


def test_card_brings_its_style_unless_told_otherwise() -> None:
    assert html_card(DOCUMENTS["signed"]).lstrip().startswith("<style>")
    assert "<style>" not in html_card(DOCUMENTS["signed"], style=False)


def test_card_tells_in_order_verdict_evidence_lineage_and_what_is_not_known() -> None:
    text = " ".join("".join(Page(html_card(DOCUMENTS["orphan"], style=False)).text).split())

    order = ["Signed", "signature was accepted", "Publisher", "Issuer", "Signed at", "Evidence", "Lineage",
             "As text", "ended: start not recorded", "Ended here", "Counts", "Not known"]  # fmt: skip
    places = [text.index(word) for word in order]
    assert places == sorted(places)


def test_an_incomplete_alert_says_that_asking_again_may_help() -> None:
    assert "Ask again" in html_card(DOCUMENTS["two"])
    assert "Ask again" not in html_card(DOCUMENTS["signed"])


def test_missing_jinja_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(ConfigError, match=r"pip install 'cbsigned\[html\]'"):
        html_card(DOCUMENTS["signed"])


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
    assert "sibling: 1 of 9 shown" in drawing


def test_a_drawing_shares_the_page_style_on_request() -> None:
    chain = DOCUMENTS["signed"]["subjects"][0]["lineage"]

    assert "<style>" in svg_lineage(chain)
    assert "<style>" not in svg_lineage(chain, style=False)
