"""The dashboards: well-formed, no way in for a value from outside, and every link leads to a page that takes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from cbsigned.edr.events import KINDS
from cbsigned.query.fields import FIELDS
from cbsigned.status import SigningStatus
from cbsigned_connectors.splunk.options import COMMANDS
from connectors.splunk.conf_files import APP
from splunkd.instance import Splunkd
from splunkd.rest import User

VIEWS = {path.stem: path for path in sorted((APP / "default/data/ui/views").glob("*.xml"))}
PAGES = sorted(set(VIEWS) - {"setup"})
TOKEN = re.compile(r"\$([\w.@]+)(?:\|(\w))?\$")


def root(name: str) -> ElementTree.Element:
    return ElementTree.parse(VIEWS[name]).getroot()  # noqa: S314 (our own)


def queries(name: str) -> list[str]:
    return [query.text or "" for query in root(name).iter("query")]


def chains(name: str, kinds: tuple[str, ...] = ("table",)) -> Iterator[tuple[ElementTree.Element, str]]:
    """Yield every table with its whole search, that of its base included."""
    page = root(name)
    bases = {s.attrib["id"]: s.findtext("query") or "" for s in page.iter("search") if "id" in s.attrib}
    for table in (element for kind in kinds for element in page.iter(kind)):
        search = table.find("search")
        assert search is not None
        own = search.findtext("query") or ""
        yield table, f"{bases[search.attrib['base']]} | {own}" if "base" in search.attrib else own


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_simple_xml_without_a_way_in(name: str) -> None:
    page, text = root(name), VIEWS[name].read_text(encoding="utf-8")

    assert page.attrib["version"] == "1.1"
    assert page.findtext("label")
    assert page.findtext("description")
    assert next(page.iter("script"), None) is None
    assert [a for e in page.iter() for a in e.attrib if a.lower().startswith("on")] == []
    assert "javascript:" not in text
    assert re.findall(r"(?:src|href)\s*=|url\(|@import|https?://", text) == []
    assert ("script" in page.attrib) is (name == "setup")
    for file in (page.attrib.get("script"), page.attrib.get("stylesheet")):
        assert file is None or (APP / "appserver/static" / file).is_file()


def test_the_menu_names_every_page_and_nothing_else_of_ours() -> None:
    menu = ElementTree.parse(APP / "default/data/ui/nav/default.xml")  # noqa: S314 (our own)
    names = [view.attrib["name"] for view in menu.iter("view")]

    assert set(names) - {"search"} == set(VIEWS)
    assert [view.attrib["name"] for view in menu.iter("view") if view.get("default")] == ["overview"]


@pytest.mark.parametrize("name", PAGES)
def test_every_token_in_a_search_is_quoted_by_splunk(name: str) -> None:
    for query in queries(name):
        assert {mark for token, mark in TOKEN.findall(query)} <= {"s"}, query
        for token, _mark in TOKEN.findall(query):
            assert not re.search(rf'"[^"\n]*\${token}\|s\$', query), query  # its own quotes come with it


def tokens_set(page: ElementTree.Element) -> set[str]:
    found = {e.attrib["token"] for kind in ("set", "input") for e in page.iter(kind)}
    return found | {f"{token}.{end}" for token in found for end in ("earliest", "latest")}


@pytest.mark.parametrize("name", PAGES)
def test_every_token_that_is_used_is_set_somewhere(name: str) -> None:
    page, text = root(name), VIEWS[name].read_text(encoding="utf-8")
    given = tokens_set(page)

    used = {token for token, _mark in TOKEN.findall(text)}
    own = {token for token in used if not token.startswith(("row.", "result.", "job.", "click."))}
    assert own - given == set()
    assert {e.attrib["token"] for e in page.iter("unset")} <= given
    results = " ".join(queries(name))
    for token in used:
        if token.startswith("result."):
            assert re.search(rf"\b{token[7:]}\b", results) or token[7:] in ("cbsigned_clean", "lineage_why")


@pytest.mark.parametrize("name", PAGES)
def test_values_reach_queries_of_the_edr_only_as_hexadecimal_digits(name: str) -> None:
    """A hash field that holds `x or process_name:*` must not widen a search."""
    page = root(name)
    typed = {e.attrib["token"] for e in page.iter("input") if e.attrib["type"] == "text"}
    for query in queries(name):
        if set(dict(TOKEN.findall(query))) & typed:
            assert re.fullmatch(
                r"\| makeresults \| eval value=\$\w+\|s\$ \| `cbsigned_observable\(value\)`.*", query, re.S
            )
    clean = r"\$result\.(?:cbsigned_clean|h|\w+_query|lineage_why)\$|yes|\$click\.value\$"
    for setting in page.iter("set"):
        assert re.fullmatch(clean, setting.text or ""), setting.text


def produced(query: str) -> set[str]:
    """Return the fields that a search ends with, as far as its text tells them."""
    last = re.split(r"\|\s*(?:table|fields) (?!- )", query)
    names, _, after = last[-1].partition("|") if len(last) > 1 else ("", "", "")
    fields = set(names.split())
    if after.strip().startswith("rename"):
        renamed = dict(re.findall(r'(\w+) AS "?([^",]+?)"?(?:,|$|\n)', after))
        fields = {renamed.get(name, name) for name in fields}
    return fields


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page_of_ours_that_takes_the_value(name: str) -> None:
    page = root(name)
    links = [(link.text or "").strip() for link in page.iter("link")]

    assert links
    for link in links:
        if link == "$row.console_link|n$":  # made by our handler from the configured server alone
            continue
        match = re.fullmatch(r"/app/cbsigned/(\w+)\?form\.(\w+)=\$row\.\w+\|u\$", link)
        assert match is not None, link
        assert match[2] in {e.attrib["token"] for e in root(match[1]).iter("input")}


@pytest.mark.parametrize("name", PAGES)
def test_rows_have_the_fields_that_their_links_use(name: str) -> None:
    for table, query in chains(name):
        fields = produced(query)
        used = set(re.findall(r"\$row\.(\w+)", "".join(link.text or "" for link in table.iter("link"))))
        named = {c.attrib["field"] for c in table.iter("condition") if "field" in c.attrib}
        assert used | named <= fields, query
        coloured = {f.attrib["field"] for f in table.iter("format")}
        assert coloured <= fields | {"status"}, query


def test_each_page_leads_to_the_others() -> None:
    targets = {
        name: set(re.findall(r"/app/cbsigned/(\w+)\?", VIEWS[name].read_text(encoding="utf-8"))) for name in PAGES
    }

    assert targets == {
        "overview": {"binary", "process"},
        "look_up": {"binary", "process"},
        "process": {"binary", "process"},
        "binary": {"process"},
    }


@pytest.mark.parametrize("name", PAGES)
def test_every_panel_says_what_it_shows_and_what_an_empty_one_means(name: str) -> None:
    for panel in root(name).iter("panel"):
        texts = ["".join(part.itertext()).strip() for part in panel.iter("html")]
        assert texts
        assert all(texts)
        if next((e for kind in ("table", "chart", "single") for e in panel.iter(kind)), None) is not None:
            assert panel.findtext("title")
    for table, query in chains(name):
        if re.search(r"\| cb(process|activity|health|binary)\b", query):
            message = table.get("rejects", "").strip("$")
            assert message
            assert [e for e in root(name).iter("html") if e.get("depends") == f"${message}$"], query


@pytest.mark.parametrize("name", VIEWS)
def test_only_what_splunk_can_hide_is_hidden(name: str) -> None:
    """Inside `<html>` the attribute does nothing: a message for empty panels would always stand there."""
    hidden = {e.tag for e in root(name).iter() if {"depends", "rejects"} & set(e.attrib)}

    assert hidden <= {"row", "panel", "html", "table", "chart", "single", "input"}


@pytest.mark.parametrize("name", PAGES)
def test_searches_that_others_go_on_from_name_the_fields_that_they_hand_over(name: str) -> None:
    """splunkd hands over only named fields of a base search that does not aggregate."""
    page = root(name)
    for base in (search for search in page.iter("search") if "id" in search.attrib):
        handed = produced(base.findtext("query") or "")
        assert handed
        for search in (s for s in page.iter("search") if s.get("base") == base.attrib["id"]):
            first = re.match(r"(?:table|fields) ([\w ]+)", search.findtext("query") or "")
            assert first is None or set(first[1].split()) <= handed


@pytest.mark.parametrize("name", PAGES)
def test_options_in_searches_exist_and_take_what_they_are_given(name: str) -> None:
    for query in queries(name):
        for command, rest in re.findall(
            r"\| (cb(?:signed|lineage|process|binary|activity|health))\b([^|\n]*(?:\|s\$[^|\n]*)*)", query
        ):
            given = dict(re.findall(r"(\w+)=(\$[^$]+\$|\S+)", rest))
            options = {option.name: option for option in COMMANDS[command]}
            assert set(given) <= set(options), query
            assert {n for n, o in options.items() if o.default is None} <= set(given), query
            for option, value in given.items():
                if not value.startswith("$"):
                    options[option].parse(value)


def test_every_kind_of_activity_can_be_chosen() -> None:
    choices = next(e for e in root("process").iter("input") if e.attrib["token"] == "kinds")

    assert {choice.attrib["value"] for choice in choices.iter("choice")} == set(KINDS)
    assert set((choices.findtext("default") or "").split(",")) < set(KINDS)


@pytest.mark.parametrize("name", PAGES)
def test_every_status_has_a_colour_and_the_same_everywhere(name: str) -> None:
    words = {status.value for status in SigningStatus}
    colours: dict[str, str] = {}
    for palette in root(name).iter("colorPalette"):
        shown = json.loads(re.sub(r"#[0-9A-F]{6}", r'"\g<0>"', palette.text or ""))
        assert set(shown) <= words
        for word, colour in shown.items():
            assert colours.setdefault(word, colour) == colour
    assert set(colours) == words or name == "overview"


def test_a_lineage_shows_every_ancestor_that_can_be_followed() -> None:
    (query,) = (query for _table, query in chains("process") if "lineage_json" in query)
    blanks = re.findall(r'substr\("(\xa0+)", 1, 2 \* \(level - 1\)\)', query)
    depth = next(option for option in COMMANDS["cblineage"] if option.name == "max_depth")

    assert len(blanks[0]) == 2 * int(depth.default or "")


PROCMON64, KERNEL32 = "b0a3ecc9eaa2521ddea2fc067785b84e", "543286eb1f00425c986e8eed3958bf5c"
GUID = "00000001-0000-0f40-01d2-e4ee910d2930"
_TERM = r'(?:"[^"]*"|\w+)'


def evaluated(name: str, clean: str) -> dict[str, str]:
    """Return what the first search of a page sets, for a value that was found clean; knows joined texts alone."""
    known = {"cbsigned_clean": clean, "alg": "sha256" if len(clean) == 64 else "md5"}  # what `if` gives
    known["place"] = "ipv6addr" if ":" in clean else "ipaddr"
    for field, expression in re.findall(rf"(\w+)=({_TERM}(?: \. {_TERM})*)(?=,|\n|$)", queries(name)[0]):
        parts = [part if part.startswith('"') else known.get(part, "") for part in expression.split(" . ")]
        known[field] = "".join(part.strip('"') for part in parts)
    return known


@pytest.mark.parametrize(
    ("query", "file", "names"),
    [
        ("ran_query", PROCMON64, {"procmon64.exe"}),
        ("wrote_query", PROCMON64, {"procmon.exe"}),
        ("started_query", PROCMON64, {"procmon.exe"}),
        ("loaded_query", PROCMON64, set()),
        ("ran_query", KERNEL32, set()),
        ("loaded_query", KERNEL32, {"smss.exe", "explorer.exe", "procmon.exe", "procmon64.exe"}),
    ],
)
def test_the_binary_page_tells_who_ran_wrote_started_and_loaded_a_file(
    instance: Splunkd, query: str, file: str, names: set[str]
) -> None:
    text = evaluated("binary", file)[query]

    outcome = instance.search("cbprocess", [f'query="{text}"'], user=analyst(instance))

    found = set(outcome.column("process_name"))
    assert (outcome.error, outcome.banners) == (None, [])
    assert names <= found
    assert bool(found) is bool(names)


def test_the_process_page_finds_the_process_and_its_children(instance: Splunkd) -> None:
    parent = instance.search("cbprocess", [f'query="process_md5:{PROCMON64}"'], user=analyst(instance))
    asked = evaluated("process", parent.column("parent_process_guid")[0])

    own = instance.search("cbprocess", [f'query="{asked["own_query"]}"', "maxrows=1"], user=analyst(instance))
    children = instance.search("cbprocess", [f'query="{asked["child_query"]}"'], user=analyst(instance))

    assert own.column("process_name") == ["procmon.exe"]
    assert GUID in children.column("process_guid")


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
def test_the_look_up_page_asks_for_an_address(instance: Splunkd, address: str) -> None:
    asked = evaluated("look_up", address)["ip_query"]

    outcome = instance.search("cbprocess", [f'query="{asked}"'], user=analyst(instance))

    assert (outcome.error, outcome.banners) == (None, [])


def analyst(splunkd: Splunkd) -> User:
    return splunkd.user("ana", roles=("user", "cbsigned_user"))


def shown(command: str) -> set[str]:
    """Return the fields of a generating command that the dashboards name."""
    fields: set[str] = set()
    for _element, query in (chain for name in PAGES for chain in chains(name, ("table", "single"))):
        if f"| {command} " in query:
            fields |= set((re.findall(r"(?:table|fields) ([\w ]+)", query) or [""])[0].split())
    return fields


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("cbprocess", 'query="os_type:windows"'),
        ("cbbinary", 'query="host_count:[1 TO *]"'),
        ("cbactivity", 'guid="00000001-0000-0ee8-01d2-e4ee906d8d78"'),
    ],
)
def test_the_dashboards_name_fields_that_the_commands_return(instance: Splunkd, command: str, given: str) -> None:
    outcome = instance.search(command, [given], user=analyst(instance))

    returned = {name.decode() for event in outcome.events for name in event}
    searchable = set(FIELDS)  # a document has a field only where it is known
    assert len(outcome.events) > 5
    assert shown(command) - returned - searchable == set()
