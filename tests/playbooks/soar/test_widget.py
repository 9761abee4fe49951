"""The widget shows what the rows say, as text and nothing else, and no wider than it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr
from sdk_app import SdkApp

from cbsigned_playbooks.actions import open_actions
from cbsigned_playbooks.catalogue import ACTIONS
from connectors.splunk.chromium import Page, browser, new_page

ASKED: dict[str, dict[str, Any]] = {
    "test_connection": {},
    "enrich_alert": {"alert": [CASES["deep and hostile"], CASES["unknown hash"]], "relatives": 3},
    "signing_status": {"hashes": ["a0" * 16, "fe" * 16, "<b>no hash</b>"]},
    "process_lineage": {"guid": DEEP_GUID, "relatives": 3},
    "find_processes": {"query": "hostname:LAB*", "rows": 14},
    "find_binaries": {"query": "", "rows": 20},
    "where_seen": {"hashes": [WRITTEN_MD5, "a3" * 16]},
}
HOSTILE = ("<img src=x", "<b>Example", "LAB<script", "<i>analyst", "<b>lab", "<b>no hash", "<b>Deep", "\u202e")


@pytest.fixture(scope="module")
def rows(edr: Edr) -> dict[str, list[dict[str, Any]]]:
    """Rows of every action, of hostile telemetry where it has any."""
    with open_actions(edr.configuration) as actions:
        return {name: actions.run(name, given).rows for name, given in ASKED.items()}


@pytest.mark.parametrize("name", [action.name for action in ACTIONS])
def test_the_widget_of_every_action_shows_values_as_text(
    app: SdkApp, rows: dict[str, list[dict[str, Any]]], name: str
) -> None:
    html = app.widget(name, rows[name])

    assert "Error" not in html
    assert name.replace("_", " ") in html
    for value in HOSTILE:
        assert value not in html
    assert not re.search(r"""(src|href)=["'](?!https?://127|/app_resource)""", html)


def test_the_lineage_is_drawn_with_every_process(app: SdkApp, rows: dict[str, list[dict[str, Any]]]) -> None:
    html = app.widget("process_lineage", rows["process_lineage"])

    assert html.count('<rect class="box"') == 13
    assert "&lt;img src=x onerror=alert(1)&gt;.exe" in html
    assert "Explicit Distrust" in html


def test_texts_that_came_through_the_platform_are_no_markup(app: SdkApp, rows: dict[str, list[dict[str, Any]]]) -> None:
    evil = "<script>evil()</script>"
    changed = {
        "process_lineage": [{**rows["process_lineage"][0], "svg": evil, "tree": evil}],
        "enrich_alert": [{**rows["enrich_alert"][0], "card": evil}],
    }

    assert all("evil()" not in app.widget(name, given) for name, given in changed.items())


def test_no_rows_are_no_error(app: SdkApp) -> None:
    assert all("Error" not in app.widget(action.name, []) for action in ACTIONS)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as pipe:
        yield new_page(pipe)


@pytest.mark.parametrize("width", [420, 760])
def test_no_widget_is_wider_than_its_place(
    app: SdkApp, page: Page, rows: dict[str, list[dict[str, Any]]], width: int
) -> None:
    page("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    wide = {name: _width(page, app.widget(name, given)) for name, given in rows.items()}

    assert {name: found for name, found in wide.items() if found > width} == {}
    assert _width(page, '<div style="width:900px">wide</div>') == 900


def _width(page: Page, html: str) -> Any:
    """Return how wide HTML is drawn; without the scripts of the SDK's frame, which need the platform's."""
    shown = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    page.run(f"document.body.style.margin = 0; document.body.innerHTML = {json.dumps(shown)}; 0")
    return page.run("Math.max(...[...document.querySelectorAll('pre, body, html')].map((one) => one.scrollWidth))")
