"""The setup page in a real browser: what it sends, what it says, and that it can be used without a mouse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest

from cbsigned.errors import ConfigError
from cbsigned.settings import parse_settings, specs
from connectors.splunk.chromium import Page, Pipe, browser, new_page
from connectors.splunk.splunk_web import APP, PAGE, SplunkWeb, serving

SCRIPT = (APP / "appserver/static/setup.js").read_text(encoding="utf-8")
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567"
CONF = "/servicesNS/nobody/cbsigned/configs/conf-cbsigned"
PASSWORDS = "/servicesNS/nobody/cbsigned/storage/passwords"
TEST = "/services/cbsigned_admin/test"


def table() -> list[dict[str, Any]]:
    text = re.findall(r"const FIELDS = (\[.*?\]);\n  /\* end of JSON \*/", SCRIPT, re.DOTALL)[0]
    fields: list[dict[str, Any]] = json.loads(text)
    return fields


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipe]:
    with browser(tmp_path_factory.mktemp("chromium")) as pipe:
        yield pipe


@pytest.fixture
def web() -> Iterator[SplunkWeb]:
    with serving(SplunkWeb()) as served:
        yield served


@pytest.fixture
def page(chromium: Pipe, web: SplunkWeb) -> Page:
    return new_page(chromium)


def opened(page: Page, web: SplunkWeb) -> None:
    page.open(web.address + PAGE)
    page.until("document.querySelector('#cbsigned-setup form:not([aria-busy])')")


def fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.run(f"document.getElementById('cbsigned-{name}').value = {json.dumps(value)}")


def press(page: Page, button: str) -> None:
    selector = "#cbsigned-test" if button == "test" else "button[type=submit]"
    page.run(f"document.querySelector('{selector}').click()")
    page.until("!document.querySelector('[aria-busy]')")


def said(page: Page) -> str:
    return str(page.run("document.getElementById('cbsigned-results').innerText"))


def errors(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.run(
        "Object.fromEntries([...document.querySelectorAll('input[aria-invalid=true]')].map("
        "(i) => [i.name, document.getElementById(i.id + '-error').textContent]))"
    )
    return found


def test_the_fields_are_the_cores_settings() -> None:
    core = {(s.section, s.name): (s.kind, s.default, s.low, s.high) for s in specs()}

    for field in table():
        told = (field["kind"], field["default"], field["low"], field["high"])
        assert told == core[field["section"], field["name"]]
    missing = {(s, n) for s, n in core if s in ("edr", "cache")} - {(f["section"], f["name"]) for f in table()}
    assert missing == {
        ("edr", "verify_tls"),  # turned off in the file alone, so that nobody does it in passing
        ("edr", "max_response_bytes"),
        *(
            ("cache", name) for name in ("file", "max_bytes", "url", "password", "timeout_s", "ca_file")
        ),  # the KV store is it
    }


def test_the_script_runs_no_text_and_makes_no_markup() -> None:
    for word in ("eval(", "innerHTML", "outerHTML", "document.write", "insertAdjacentHTML", "new Function", "import("):
        assert word not in SCRIPT
    assert re.findall(r"https?://[\w.-]+", re.sub(r"[\w.-]*\bexample\.test", "", SCRIPT)) == []


def test_first_setup_stores_the_token_then_the_settings_then_says_so(page: Page, web: SplunkWeb) -> None:
    opened(page, web)

    fill(page, url="https://cb.example.test", token=TOKEN, ca_file="/opt/ca.pem", timeout_s="12.5")
    press(page, "save")

    assert said(page) == "Saved. Searches use it within half a minute."
    posts = [(path, dict(parse_qsl(body, keep_blank_values=True))) for m, path, _q, body in web.asked if m == "POST"]
    assert [path for path, _ in posts] == [
        f"{PASSWORDS}/cbsigned%3Aedr_token%3A",
        PASSWORDS,
        f"{CONF}/edr",
        f"{CONF}/cache",
        "/servicesNS/nobody/cbsigned/configs/conf-app/install",
        "/services/apps/local/cbsigned/_reload",
    ]
    assert posts[1][1] == {"name": "edr_token", "realm": "cbsigned", "password": TOKEN}
    assert posts[2][1] == {
        "url": "https://cb.example.test", "ca_file": "/opt/ca.pem", "tls_hostname": "", "proxy": "",
        "timeout_s": "12.5", "retries": "3", "parallel": "4",
    }  # fmt: skip
    assert posts[3][1] == {"signed_s": "604800", "unknown_s": "600", "process_s": "3600"}
    assert posts[4][1] == {"is_configured": "true"}


def test_a_stored_token_is_kept_and_never_comes_to_the_browser(page: Page, web: SplunkWeb) -> None:
    web.token = TOKEN
    web.conf = {"edr": {"url": "https://cb.example.test", "timeout_s": "30"}, "cache": {}}
    opened(page, web)

    press(page, "save")

    assert said(page).startswith("Saved.")
    assert web.token == TOKEN
    assert web.bodies(f"{PASSWORDS}/cbsigned%3Aedr_token%3A") == []
    assert all(query.get("f") for _m, path, query, _b in web.asked if path == PASSWORDS)
    assert TOKEN not in page.run("document.documentElement.outerHTML")


def test_a_typed_token_is_gone_from_the_page_once_stored(page: Page, web: SplunkWeb) -> None:
    web.token = "old"
    opened(page, web)

    fill(page, url="https://cb.example.test", token=TOKEN)
    press(page, "save")

    assert web.token == TOKEN
    assert page.run("document.getElementById('cbsigned-token').value") == ""
    assert page.run("document.getElementById('cbsigned-token').type") == "password"


def test_settings_are_shown_as_they_are_stored(page: Page, web: SplunkWeb) -> None:
    web.conf = {"edr": {"url": "https://cb.example.test", "parallel": "9"}, "cache": {"unknown_s": "60"}}

    opened(page, web)

    shown = page.run("Object.fromEntries([...document.querySelectorAll('input')].map((i) => [i.name, i.value]))")
    assert shown == {
        "url": "https://cb.example.test", "token": "", "ca_file": "", "tls_hostname": "", "proxy": "",
        "timeout_s": "30", "retries": "3", "parallel": "9",
        "signed_s": "604800", "unknown_s": "60", "process_s": "3600",
    }  # fmt: skip


def test_the_connection_is_tested_with_what_is_typed_and_nothing_is_saved(page: Page, web: SplunkWeb) -> None:
    web.findings = [
        {"ok": True, "topic": "server", "text": "cb.example.test is Carbon Black EDR 7.5.0."},
        {"ok": False, "topic": "process search", "text": "Allowed, but it finds nothing at all."},
        {"ok": None, "topic": "clock", "text": "The server did not tell its time."},
    ]
    opened(page, web)

    fill(page, url="https://cb.example.test", token=TOKEN)
    press(page, "test")

    question = json.loads(web.bodies(TEST)[0])
    assert question["token"] == TOKEN
    assert question["settings"]["edr"]["url"] == "https://cb.example.test"
    assert set(question["settings"]) == {"edr", "cache"}
    assert [line for line in said(page).splitlines() if line] == [
        "1 of 3 do not work:",
        "server works: cb.example.test is Carbon Black EDR 7.5.0.",
        "process search does not work: Allowed, but it finds nothing at all.",
        "clock cannot be told: The server did not tell its time.",
    ]
    assert web.token == ""
    assert web.bodies(f"{CONF}/edr") == []


def test_a_test_without_a_typed_token_leaves_the_stored_one_to_the_handler(page: Page, web: SplunkWeb) -> None:
    web.token, web.conf["edr"] = TOKEN, {"url": "https://cb.example.test", "verify_tls": "no"}
    opened(page, web)
    assert "Certificate checks are off" in said(page)

    press(page, "test")

    question = json.loads(web.bodies(TEST)[0])
    assert "token" not in question
    assert question["settings"]["edr"]["verify_tls"] == "no"


@pytest.mark.parametrize("listing", [(403, {}), (200, {"entry": []})], ids=["refused", "empty"])
def test_who_may_not_list_passwords_can_test_the_stored_settings(
    page: Page, web: SplunkWeb, listing: tuple[int, dict[str, Any]]
) -> None:
    """The role cbsigned_admin may not: the page demanded a token and sent nothing."""
    web.token, web.conf["edr"] = TOKEN, {"url": "https://cb.example.test"}
    web.findings = [{"ok": True, "topic": "server", "text": "cb.example.test is Carbon Black EDR 7.5.0."}]
    web.answers[PASSWORDS] = listing
    opened(page, web)

    press(page, "test")

    assert "token" not in json.loads(web.bodies(TEST)[0])
    assert said(page).startswith("The connection works:")


def test_what_a_server_says_is_text_not_markup(page: Page, web: SplunkWeb) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    web.findings = [{"ok": False, "topic": hostile, "text": hostile}]
    web.token, web.conf["edr"] = TOKEN, {"url": f'https://cb.example.test"><b>{"x"}</b>'}
    opened(page, web)
    fill(page, url="https://cb.example.test")

    press(page, "test")

    assert hostile in said(page)
    assert page.run("document.querySelectorAll('#cbsigned-setup img, #cbsigned-setup script, b').length") == 0
    assert page.run("document.title") == "Setup"


@pytest.mark.parametrize(
    ("path", "answer", "button", "expected"),
    [
        (TEST, (403, {}), "test", "you need the capability cbsigned_manage"),
        (TEST, (409, {"error": "cbsigned is not set up: no API token is stored."}), "test", "no API token is stored"),
        (TEST, (404, {"messages": [{"type": "ERROR", "text": "Not Found"}]}), "test", "not tested. Not Found"),
        (TEST, (401, {}), "test", "session has ended"),
        (TEST, (500, {}), "test", "answered 500. Look into splunkd.log"),
        (TEST, (200, {"findings": []}), "test", "told nothing"),
        (f"{PASSWORDS}/cbsigned%3Aedr_token%3A", (403, {}), "save", "nothing else was changed.*admin or sc_admin"),
        (f"{CONF}/edr", (403, {}), "save", "settings were not saved.*admin or sc_admin"),
        ("/services/apps/local/cbsigned/_reload", (500, {}), "save", "^Saved. The app could not be reloaded"),
    ],
)
def test_a_refusal_says_what_is_needed(
    page: Page, web: SplunkWeb, path: str, answer: tuple[int, dict[str, Any]], button: str, expected: str
) -> None:
    opened(page, web)
    web.answers[path] = answer

    fill(page, url="https://cb.example.test", token=TOKEN)
    press(page, button)

    assert re.search(expected, said(page)), said(page)
    assert TOKEN not in said(page)
    if path.startswith(PASSWORDS):
        assert web.conf["edr"] == {}


def test_no_answer_at_all_is_said_too(page: Page, web: SplunkWeb) -> None:
    opened(page, web)
    web.answers[TEST] = (0, {})

    fill(page, url="https://cb.example.test", token=TOKEN)
    press(page, "test")

    assert said(page) == "The connection was not tested. Splunk gave no answer. Check the network, then try again."


def test_settings_that_cannot_be_read_are_said_and_the_page_can_be_used(page: Page, web: SplunkWeb) -> None:
    web.answers[f"{CONF}/edr"] = (403, {})

    opened(page, web)

    assert said(page) == (
        "The settings could not be read. Splunk refused it: you need the role admin or cbsigned_admin."
    )
    assert page.run("document.querySelectorAll('fieldset:disabled').length") == 0


def test_nothing_is_sent_while_a_field_is_wrong(page: Page, web: SplunkWeb) -> None:
    opened(page, web)
    before = len(web.asked)

    fill(page, url="http://cb.example.test", retries="11", signed_s="a week", proxy="http://me:secret@proxy:3128")
    press(page, "save")

    assert errors(page) == {
        "url": "Expected https://: the token must not travel in the clear.",
        "token": "Give the API token.",
        "proxy": "A password would be readable here. Let the proxy admit this search head by its address.",
        "retries": "Expected a whole number, 0 to 10. Empty is 3.",
        "signed_s": "Expected a number of seconds, 0 to 31536000. Empty is 604800.",
    }
    assert page.run("document.activeElement.name") == "url"
    assert len(web.asked) == before


CASES = [
    *[("timeout_s", text) for text in ("1", "120", "0.9", "120.5", "1e2", "-1", "٣", "12.", "3.1234567", "")],
    *[("retries", text) for text in ("0", "10", "11", "1.0", "+1", "")],
    *[("unknown_s", text) for text in ("0", "86400", "86401")],
    *[("url", text) for text in ("https://cb", "https://cb:8443/", "ftp://cb", "cb.example.test", "https://u@cb/")],
    *[("url", text) for text in ("https://cb/?q=1", "https://cb/#x", "https://", "https://c b", "https:cb")],
    *[("tls_hostname", text) for text in ("cb.local", "-cb", "cb_1", "cb local", "cb/")],
    *[("token", text) for text in (TOKEN, "with space", "ä", "x" * 513, "x" * 512)],
    *[("proxy", text) for text in ("http://proxy:3128", "https://proxy", "socks5://proxy", "proxy:3128")],
]


def test_the_page_takes_what_the_core_takes(page: Page, web: SplunkWeb) -> None:
    opened(page, web)
    sections = {field["name"]: field["section"] for field in table()}
    differing = []

    for name, text in CASES:
        page.run("document.querySelectorAll('input').forEach((i) => { i.value = ''; })")
        fill(page, **{"url": "https://cb", "token": TOKEN, "parallel": "nothing is sent", name: text})
        press(page, "test")
        given: dict[str, dict[str, str]] = {"edr": {"url": "https://cb", "token": "t"}, "cache": {}}
        given[sections[name]][name] = text
        try:
            parse_settings(given)
            takes = True
        except ConfigError:
            takes = False
        if takes is (name in errors(page)):
            differing.append((name, text, takes))

    assert differing == []
    assert web.bodies(TEST) == []


def test_everything_can_be_done_from_the_keyboard(page: Page, web: SplunkWeb) -> None:
    opened(page, web)
    order = []
    page.run("document.querySelector('#cbsigned-url').focus()")

    page.write("https://cb.example.test")
    page.press("Tab")
    page.write(TOKEN)
    for _ in range(13):
        order.append(page.run("document.activeElement.name || document.activeElement.textContent"))
        page.press("Tab")
    page.run("document.querySelector('#cbsigned-process_s').focus()")
    page.press("Enter")
    page.until("document.getElementById('cbsigned-results').innerText.startsWith('Saved.')")

    assert order[:12] == [*[field["name"] for field in table()][1:], "Save", "Test connection"]
    assert web.token == TOKEN
    assert web.conf["edr"]["url"] == "https://cb.example.test"


def test_every_field_has_a_label_and_its_texts_are_tied_to_it(page: Page, web: SplunkWeb) -> None:
    opened(page, web)

    tree = page("Accessibility.getFullAXTree")["nodes"]
    found = {n["name"]["value"]: n for n in tree if n.get("role", {}).get("value") == "textbox" and not n["ignored"]}

    assert list(found) == [field["label"] for field in table()]
    for field in table():
        assert field["help"] in found[field["label"]]["description"]["value"]
    live = page.run("document.getElementById('cbsigned-results').getAttribute('aria-live')")
    assert live == "polite"
