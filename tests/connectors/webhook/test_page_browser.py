"""The page in a real browser: it can be used without a mouse, without JavaScript, on a telephone, and in the dark."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.splunk.chromium import Page, Pipe, browser, new_page
from connectors.webhook.page_service import TOKEN, Running, Service, running

MD5 = "b0a3ecc9eaa2521ddea2fc067785b84e"
SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipe]:
    with browser(tmp_path_factory.mktemp("chromium")) as pipe:
        yield pipe


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as ready:
        yield ready


@pytest.fixture
def service() -> Service:
    return Service()


class Tab:
    """One tab on the page; it remembers what the browser complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        page("Runtime.enable")
        page(
            "Page.addScriptToEvaluateOnNewDocument",
            source="window.violations = []; document.addEventListener('securitypolicyviolation', "
            "(e) => window.violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));",
        )

    def run(self, script: str) -> Any:
        return self.page.run(script)

    def go(self, path: str) -> None:
        self.open(self.url + path)

    def open(self, url: str) -> None:
        self.run("window.left = true")
        self.page("Page.navigate", url=url)
        self.arrive()

    def act(self, script: str) -> None:
        """Do something that leads to another page, and wait for that."""
        self.run("window.left = true")
        self.run(f"void setTimeout(() => {{ {script} }}, 0)")
        self.arrive()

    def press(self, key: str) -> None:
        """Press a key that leads to another page, and wait for that."""
        self.run("window.left = true")
        self.page.press(key)
        self.arrive()

    def arrive(self) -> None:
        """Wait for the next page; by asking, because a page without JavaScript tells nothing by itself."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # the protocol's errors while a page goes
                if self.run("!window.left && document.readyState === 'complete'"):
                    return
            time.sleep(0.01)
        raise AssertionError(f"no other page came: {self.run('location.href')}")

    def sign_in(self) -> None:
        self.go("/")
        self.act(f"document.getElementById('token').value = '{TOKEN}'; document.forms['sign-in'].requestSubmit();")

    def look_up(self, text: str = MD5) -> None:
        self.act(
            f"document.getElementById('paste').value = {json.dumps(text)}; document.forms['look-up'].requestSubmit();"
        )

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        self.page(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


@pytest.fixture
def tab(chromium: Pipe, server: Running, service: Service) -> Tab:
    return Tab(new_page(chromium), server.serve(service))


def test_everything_can_be_done_from_the_keyboard(tab: Tab, service: Service) -> None:
    tab.go("/")
    assert tab.run("document.activeElement.id") == "token"
    tab.page.write(TOKEN)
    tab.press("Enter")
    assert tab.run("document.activeElement.id") == "paste"
    tab.page.write(MD5)
    tab.page.press("Tab")
    assert tab.run("document.activeElement.textContent") == "Look up"
    tab.press("Enter")

    assert service.asked == [("analyst", {"hash": MD5})]
    assert tab.run("location.pathname + location.hash") == "/page/seen/1#result"
    assert tab.run("document.activeElement.id") == "result"
    assert tab.run("document.title") == "Signed: procmon64.exe (pid 10) on SDL-DEV · cbsigned"


def test_control_enter_looks_up(tab: Tab, service: Service) -> None:
    tab.sign_in()
    assert tab.run("document.getElementById('keys').offsetWidth") > 0
    tab.page.write(MD5)

    tab.act(
        "document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Enter', ctrlKey: true, bubbles: true, cancelable: true}))"
    )

    assert service.asked == [("analyst", {"hash": MD5})]


def focused(tab: Tab) -> None:
    """Wait until the page has its focus in a field: what is typed before is lost."""
    end = time.monotonic() + 10
    while tab.run("document.activeElement === document.body") and time.monotonic() < end:
        time.sleep(0.01)


def test_it_works_without_javascript(tab: Tab, service: Service) -> None:
    tab.page("Emulation.setScriptExecutionDisabled", value=True)
    tab.go("/")
    focused(tab)
    tab.page.write(TOKEN)
    tab.press("Enter")
    focused(tab)
    tab.page.write(MD5)
    tab.page.press("Tab")
    tab.press("Enter")

    assert service.asked == [("analyst", {"hash": MD5})]
    assert "procmon64.exe" in tab.run("document.getElementById('result').innerText")
    assert tab.run("document.getElementById('keys').hidden") is True


def test_a_look_up_under_way_is_said_and_is_not_sent_twice(tab: Tab, service: Service) -> None:
    tab.sign_in()

    said = tab.run(
        "(() => { const form = document.forms['look-up']; let sent = 0;"
        "form.addEventListener('submit', (e) => { if (!e.defaultPrevented) sent += 1; });"
        "document.addEventListener('submit', (e) => { sent += e.defaultPrevented ? 0 : 10; e.preventDefault(); });"
        f"document.getElementById('paste').value = '{MD5}'; form.requestSubmit(); form.requestSubmit();"
        "return [form.getAttribute('aria-busy'), form.querySelector('[aria-live]').textContent, sent]; })()"
    )
    tab.run("window.dispatchEvent(new Event('pageshow'))")

    assert said == ["true", "Looking up…", 12]
    assert tab.run("document.querySelectorAll('[aria-busy]').length") == 0
    assert tab.run("document.querySelector('#look-up [aria-live]').textContent") == ""


def test_a_mistake_is_told_beside_the_field_that_has_it(tab: Tab) -> None:
    tab.sign_in()
    tab.look_up("C:\\temp\\a.exe")

    assert tab.run("document.activeElement.id") == "paste"
    assert tab.run("document.activeElement.value") == "C:\\temp\\a.exe"
    (field,) = accessible(tab, "textbox")
    assert field["name"]["value"] == "Hash, process guid or whole alert"
    assert "Neither a hash nor a process guid" in field["description"]["value"]
    assert {"name": "invalid", "value": {"type": "token", "value": "true"}} in field["properties"]
    assert len(accessible(tab, "alert")) == 1


def accessible(tab: Tab, *roles: str) -> list[dict[str, Any]]:
    """Return what a screen reader is told of elements with these roles."""
    nodes = tab.page("Accessibility.getFullAXTree")["nodes"]
    return [n for n in nodes if n.get("role", {}).get("value") in roles and not n["ignored"]]


def test_a_screen_reader_finds_its_way(tab: Tab, service: Service) -> None:
    tab.sign_in()
    tab.look_up()

    headings = tab.run("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => h.tagName + ' ' + h.innerText)")
    assert [text for text in headings if text[:2] in ("H1", "H2")] == [
        "H1 cbsigned", "H2 Hash, process guid or whole alert", "H2 Result", "H2 Recent", "H2 Sources",
    ]  # fmt: skip
    assert [text[:2] for text in headings] == ["H1", "H2", "H2", "H3", "H4", "H4", "H2", "H2"]
    assert [len(accessible(tab, role)) for role in ("main", "banner", "complementary", "contentinfo")] == [1, 1, 1, 1]
    assert all(node["name"]["value"] for node in accessible(tab, "button", "link", "textbox", "image", "img"))
    assert {node["name"]["value"] for node in accessible(tab, "region")} >= {"Result", "Recent", "Sources"}
    assert accessible(tab, "link")[0]["name"]["value"] == "Skip to the result"


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_every_text_can_be_read(
    tab: Tab, service: Service, width: int, height: int, scheme: str, tmp_path: Path
) -> None:
    service.answers = ("relatives", "long", "hostile-3", "expired", "claim", "nothing")
    tab.size(width, height, scheme)
    tab.sign_in()
    tab.look_up()

    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(CONTRAST) == []
    assert tab.run("window.violations") == []
    drawing = tab.run("document.querySelector('figure svg').getBoundingClientRect().width")
    assert drawing >= 600  # or its letters are too small
    tab.page.picture(tmp_path / "page.png")


CONTRAST = """
(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) { return colour; }
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".skip")) { continue; }
    const [one, other] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) { bad.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`); }
  }
  return [...new Set(bad)];
})()
"""


def test_nothing_is_loaded_from_elsewhere_and_the_policy_is_never_broken(tab: Tab, service: Service) -> None:
    service.answers = tuple(f"hostile-{number}" for number in range(12))
    tab.sign_in()
    tab.look_up()

    loaded = tab.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(name.startswith(tab.url + "/page/static/") for name in loaded)
    assert tab.run("window.violations") == []
    assert tab.run("document.querySelectorAll('#result script, #result img, #result iframe').length") == 0
    assert tab.run("getComputedStyle(document.querySelector('figure svg .box')).stroke") != "none"


def test_inline_script_and_style_are_refused_by_the_browser(tab: Tab) -> None:
    tab.sign_in()

    tab.run(
        "document.body.insertAdjacentElement('beforeend', Object.assign(document.createElement('style'), "
        "{textContent: 'body { display: none }'}))"
    )
    tab.run("document.body.setAttribute('style', 'display: none')")

    assert tab.run("getComputedStyle(document.body).display") == "block"
    told = tab.run("new Promise((resolve) => setTimeout(() => resolve(window.violations), 0))")
    assert {text.split()[0] for text in told} == {"style-src-elem", "style-src-attr"}


def test_scripts_cannot_read_the_sessions_cookie(tab: Tab) -> None:
    tab.sign_in()

    assert tab.run("document.cookie") == ""
    assert "Signed in as" in tab.run("document.body.innerText")


def test_what_another_site_sends_signs_nobody_in_and_asks_nothing(tab: Tab, service: Service) -> None:
    tab.sign_in()
    tab.open("data:text/html,<form method=post><input name=paste><input name=form_token></form>")

    tab.run(f"document.forms[0].action = '{tab.url}/page/look-up'; document.forms[0].paste.value = '{MD5}'")
    tab.act("document.forms[0].submit();")

    assert service.asked == []
    assert tab.run("location.pathname") == "/page/look-up"
    assert "Sign in" in tab.run("document.body.innerText")
