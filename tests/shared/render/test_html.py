"""The HTML report, card and drawing: well-formed, self-contained, safe with every name, readable without colour."""

from __future__ import annotations

import copy
import re
import sys
from html.parser import HTMLParser
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.errors import ConfigError
from cbsigned.render.choice import choose
from cbsigned.render.clean import clean
from cbsigned.render.document import Document, enrichment_document
from cbsigned.render.html import _environment, html_card, html_report, report
from cbsigned.render.marks import severity
from cbsigned.render.svg import svg_lineage
from shared.render.factory import HOSTILE, enrichment, hostile, kinds, subject

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
def page_text() -> str:
    return html_report(DOCUMENTS.values(), "Every <kind> of answer")


def test_report_closes_every_element(page_text: str) -> None:
    page = Page(page_text)

    assert (page.open, page.badly_closed) == ([], [])


def test_report_needs_nothing_from_outside(page_text: str) -> None:
    page = Page(page_text)

    names = {tag for tag, _attrs in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "image", "use", "a:href"}
    assert not re.search(r"url\(|@import", page_text)
    assert [
        value for _tag, attrs in page.tags for key, value in attrs.items() if key.startswith("on") or key == "src"
    ] == []
    assert [
        attrs["href"] for tag, attrs in page.tags if tag == "a" and not re.match("#|https://", attrs["href"] or "")
    ] == []


def test_report_forbids_scripts_and_outside_assets(page_text: str) -> None:
    policy = next(attrs["content"] for tag, attrs in Page(page_text).tags if attrs.get("http-equiv"))

    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_report_is_readable_in_light_and_dark(page_text: str) -> None:
    assert page_text.count("prefers-color-scheme:dark") >= 2


def test_report_has_headings_for_tables_and_names_for_drawings(page_text: str) -> None:
    page = Page(page_text)

    heads = [attrs for tag, attrs in page.tags if tag == "th"]
    assert heads
    assert all(attrs.get("scope") in ("col", "row") for attrs in heads)
    drawings = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    every = list(DOCUMENTS.values())
    assert len(drawings) == sum(len(every[group[0]]["subjects"]) for group in choose(every, 500).groups)
    assert all(attrs["aria-label"] for attrs in drawings)
    assert dict(page.tags)["html"]["lang"] == "en"
    assert {tag for tag, _attrs in page.tags} >= {"details", "summary", "main", "h1", "h2", "h3"}


def test_report_counts_statuses_and_incomplete_alerts() -> None:
    documents = [DOCUMENTS[name] for name in ("signed", "signed", "unsigned", "two")]

    text = " ".join(" ".join(Page(html_report(documents, "t")).text).split())

    assert "4 alerts, 1 incomplete" in text
    assert "2 Unsigned 2 Signed" in text


def chips(page: Page) -> list[str]:
    """Return the words of the chips, in order, with where they lead to."""
    text = " ".join(page.text)
    words = ("Bad Signature", "Unsigned?", "Unsigned", "Signed?", "Not read", "Unknown", "Signed")
    found = re.findall(rf"(\d+)[\s?]+({'|'.join(map(re.escape, words))})\s", text.split("All alerts")[0])
    return [f"{number} {word}" for number, word in found]


def test_claims_and_unread_alerts_are_counted_apart_and_the_most_serious_first() -> None:
    names = ("signed", "claim", "nothing", "unknown", "claim-unsigned", "unsigned", "claim", "bad-signature")

    page = Page(html_report([DOCUMENTS[name] for name in names], "t"))

    assert chips(page) == [
        "1 Bad Signature", "1 Unsigned", "1 Unsigned?", "2 Signed?", "1 Not read", "1 Unknown", "1 Signed",
    ]  # fmt: skip
    leads = [attrs["href"] for tag, attrs in page.tags if tag == "a" and (attrs["href"] or "").startswith("#row-")]
    assert leads[:4] == ["#row-8", "#row-6", "#row-5", "#row-2"]


def numbered(name: str, number: int) -> Document:
    """Return the document of this kind with a process guid of its own."""
    document = copy.deepcopy(DOCUMENTS[name])
    document["subjects"][0]["process_guid"] = f"00000007-0000-{number:04x}-01d1-6cc57f918a60"
    return document


def test_the_most_serious_alerts_get_the_cards_and_the_page_says_what_is_left_out() -> None:
    names = ["signed"] * 4 + ["unknown", "failed", "claim", "expired", "unsigned"]
    documents = [numbered(name, at) for at, name in enumerate(names)]

    made = report(documents, "t", max_cards=5)

    page = Page(made.page)
    assert [attrs["id"] for tag, attrs in page.tags if (attrs.get("id") or "").startswith("alert-")] == [
        "alert-9", "alert-8", "alert-7", "alert-6", "alert-5",
    ]  # fmt: skip
    assert made.summary is not None
    assert "5 of 9 cards" in made.summary
    assert "4 Signed (4 alerts)" in made.summary
    assert made.summary in "".join(page.text)
    assert [attrs["id"] for tag, attrs in page.tags if tag == "tr" and "id" in attrs] == [
        f"row-{at}" for at in range(1, 10)
    ]


def test_alerts_about_the_same_process_share_a_card_that_names_their_rows() -> None:
    documents = [numbered("signed", 1), numbered("unsigned", 2), numbered("signed", 1), numbered("signed", 1)]

    made = report(documents, "t")

    page = Page(made.page)
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert (made.page.count("<article"), made.summary) == (2, None)
    assert links.count("#alert-1") == 3
    assert "3 alerts are about this, rows 1 , 3 , 4" in " ".join(" ".join(page.text).split())


@pytest.mark.parametrize(
    "change",
    [{"process_guid": None, "md5": "0" * 31 + "1"}, {"process_guid": None, "path": "c:\\elsewhere.exe"},
     {"process_guid": None, "md5": None, "sha256": None}, {"status": "Expired"}, {"role": "parent"}],
    ids=["file", "path", "nothing", "status", "role"],
)  # fmt: skip
def test_alerts_that_differ_in_what_matters_get_a_card_each(change: dict[str, Any]) -> None:
    documents = [copy.deepcopy(DOCUMENTS["signed"]) for _ in range(2)]
    for document in documents:
        document["subjects"][0].update({key: None for key in change if key in ("process_guid", "md5", "sha256")})
    documents[1]["subjects"][0].update(change)

    assert len(choose(documents, 10).groups) == 2


@given(st.lists(st.sampled_from(sorted(DOCUMENTS)), max_size=30), st.integers(0, 12))
def test_every_alert_is_in_one_group_and_none_left_out_is_more_serious(names: list[str], most: int) -> None:
    documents = [DOCUMENTS[name] for name in names]

    choice = choose(documents, most)

    places = sorted(place for group in choice.groups + choice.left_out for place in group)
    assert places == list(range(len(documents)))
    kept, rest = ([severity(documents[group[0]]) for group in part] for part in (choice.groups, choice.left_out))
    assert len(kept) <= most
    assert not kept or not rest or max(kept) <= min(rest)
    assert (choice.summary is None) is (not rest)


def test_every_row_is_found_again_by_number_time_and_title() -> None:
    text = " ".join(" ".join(Page(html_report([DOCUMENTS["signed"], DOCUMENTS["unsigned"]], "t")).text).split())

    rest = "procmon64.exe Microsoft Corporation Driver dropped 2016-04-01 09:28:00 SDL-DEV"
    assert f"1 Signed {rest}" in text
    assert f"2 Unsigned {rest}" in text


def test_a_command_line_is_shown_whole_and_wraps() -> None:
    page = html_report([DOCUMENTS["long"]], "t")

    assert "x" * 4000 in page
    assert "max-height" not in page


def test_a_value_over_four_thousand_characters_says_how_much_is_cut() -> None:
    document = enrichment_document(enrichment(subject(cmdline="x" * 4100)))

    page = html_card(document)

    assert "x" * 4000 + "… (100 more characters)" in page
    assert "x" * 4001 not in page


def test_printing_shows_what_a_screen_scrolls() -> None:
    printed = "".join(re.findall(r"@media print\{(.*?\})\}", html_card(DOCUMENTS["signed"]), re.DOTALL))

    assert ".cbs-tree{white-space:pre-wrap;overflow:visible}" in printed


@pytest.mark.parametrize("name", ["claim", "claim-unsigned"])
def test_a_claim_never_looks_like_a_record(name: str) -> None:
    chain = DOCUMENTS[name]["subjects"][0]["lineage"]
    made = {"html": html_card(DOCUMENTS[name], style=False), "svg": svg_lineage(chain, style=False)}

    for output, text in made.items():
        classes = {word for found in re.findall(r'class="([^"]*)"', text) for word in found.split()}
        assert "claimed" in classes, output
        assert not classes & {"signed", "unsigned", "invalid"}, output


def test_every_row_that_has_a_card_links_to_it(page_text: str) -> None:
    page = Page(page_text)

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
    _environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(ConfigError, match=r"pip install 'cbsigned\[html\]'"):
        html_card(DOCUMENTS["signed"])
