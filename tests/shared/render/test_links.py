"""Links of a card: the alert's own once checked, the EDR console's for what an EDR server holds, and no others."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Optional

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cbsigned
from cbsigned.render.document import Document, enrichment_document
from cbsigned.render.html import html_card
from cbsigned.render.links import console_links, safe_link
from cbsigned.render.markdown import markdown_card
from cbsigned.render.style import Style
from cbsigned.render.text import card
from shared.render.factory import enrichment, guid, recorded_by, subject

MD5 = "b0a3ecc9eaa2521ddea2fc067785b84e"
PROCESS = f"https://cb.example.test/#analyze/{guid(10)}/0"
BINARY = f"https://cb.example.test/#/binary/{MD5.upper()}"


def document(source: str, **alert: Optional[str]) -> Document:
    """Return an alert on a process whose evidence is held by this source."""
    return enrichment_document(enrichment(recorded_by(source, subject()), **alert))


def hrefs(page: str) -> list[Optional[str]]:
    found: list[Optional[str]] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
            found.extend(value for name, value in attrs if name == "href")

    Page().feed(page)
    return found


def test_what_an_edr_server_holds_is_linked_to_its_console() -> None:
    made = document("edr:cb.example.test", link=None)

    assert made["subjects"][0]["links"] == {"process": PROCESS, "binary": BINARY}
    assert hrefs(html_card(made, style=False)) == [PROCESS, BINARY]
    assert re.findall(r"\]\(<(.*?)>\)", markdown_card(made)) == [PROCESS, BINARY]
    assert [line.split() for line in card(made, Style(160)).split("\n") if "https:" in line] == [
        ["EDR", "process", PROCESS], ["EDR", "binary", BINARY],
    ]  # fmt: skip


@pytest.mark.parametrize("source", ["store:lab.db", "alert", "edr:", "edr:a b", "edr:evil.test/x", "edr:u@evil.test"])
def test_what_no_edr_server_holds_is_not_linked(source: str) -> None:
    made = document(source, link=None)

    assert made["subjects"][0]["links"] is None
    assert "http" not in markdown_card(made)
    assert "http" not in card(made)
    assert hrefs(html_card(made)) == []


@pytest.mark.parametrize("host", ["cb", "cb.example.test:8443", "10.1.2.3", "[fe80::1]:443"])
def test_a_console_is_where_its_server_is(host: str) -> None:
    links = console_links(f"edr:{host}", guid(10), MD5)

    assert links == {
        "process": f"https://{host}/#analyze/{guid(10)}/0",
        "binary": f"https://{host}/#/binary/{MD5.upper()}",
    }


@pytest.mark.parametrize(
    "process_guid", [None, f"{{{guid(10)}}}", f"log:{guid(10)}", "x/../y", "00000007-ffff-ffff-0000-000000000000"]
)
def test_a_process_without_a_guid_of_carbon_blacks_has_no_page(process_guid: Optional[str]) -> None:
    assert console_links("edr:cb", process_guid, "no md5") == {"process": None, "binary": None}


def test_documents_with_links_are_what_the_schema_says() -> None:
    schema = json.loads((Path(cbsigned.__file__).parent / "enrichment.schema.json").read_text(encoding="utf-8"))

    for source in ("edr:cb.example.test:8443", "store:lab.db"):
        jsonschema.Draft202012Validator(schema).validate(document(source))


def test_the_alert_itself_is_linked_in_every_card_with_the_host_it_leads_to() -> None:
    """Text and Markdown cards had no way back to the alert."""
    link = "https://cb.example.test/#analyze/1"
    made = document("store:lab.db", link=link)

    assert f"  Alert at cb.example.test: {link}\n" in card(made)
    assert f"[Alert at cb.example.test](<{link}>)" in markdown_card(made)
    assert hrefs(html_card(made)) == [link]


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)", "data:text/html,x", "//evil.test", "https://user:pw@evil.test", "https://@evil.test",
        "http://[", "https://evil.test:99999", "\x01https://a", "https://good.test\\@evil.test", "https://a.test/x>)",
        "https://a.test/x y", "https://a.test/`x`", "https://a.test/|", "https://xn.test/\u0430", "https:///x",
        "https://a.test/" + "x" * 2000, "https://a.test/\n",
    ],
)  # fmt: skip
def test_a_link_that_may_lead_elsewhere_is_in_no_card(link: str) -> None:
    made = document("store:lab.db", link=link)

    assert hrefs(html_card(made)) == []
    assert "](<" not in markdown_card(made)
    assert "Alert at" not in card(made)


@given(st.text(alphabet=st.sampled_from("ab/:.?#[]()<>&*_`|\\\"' \n@"), max_size=30))
def test_no_link_ends_its_markdown_early(rest: str) -> None:
    link = f"https://a.test/{rest}"
    shown = markdown_card(document("store:lab.db", link=link))

    found = re.findall(r"^\[Alert at a\.test\]\(<(\S+)>\)$", shown, re.MULTILINE)

    assert [address.replace("&amp;", "&") for address in found] == ([link] if safe_link(link) else [])
    assert not set('<>`|\\" \n') & set("".join(found))
