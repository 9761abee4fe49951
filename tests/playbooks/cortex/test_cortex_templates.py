"""The reports in a browser: all is there, nothing of it is read as HTML or as an expression, nothing sticks out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, Edr

from cbsigned import __version__
from cbsigned_playbooks.catalogue import ACTIONS
from connectors.splunk.chromium import Page, browser, new_page
from playbooks.cortex.jobs import PACKAGING, done_here, given
from playbooks.cortex.thehive_page import report_page, shown

WIDTH = 900
QUESTIONS = {
    "test_connection": "",
    "enrich_alert": json.dumps([CASES["deep and hostile"], CASES["unknown hash"], CASES["sample 1"]]),
    "signing_status": " ".join(f"{number:02x}" * 16 for number in range(0xA0, 0xAE)),
    "process_lineage": DEEP_GUID,
    "find_processes": "hostname:LAB*",
    "find_binaries": "host_count:1",
    "where_seen": "a0" * 16,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page as wide as a report in TheHive."""
    with browser(tmp_path_factory.mktemp("chromium")) as pipe:
        made = new_page(pipe)
        made("Emulation.setDeviceMetricsOverride", width=WIDTH, height=1000, deviceScaleFactor=1, mobile=False)
        yield made


@pytest.fixture(scope="module")
def reports(edr: Edr, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each analyzer reports."""
    folder = tmp_path_factory.mktemp("jobs")
    jobs = {name: given(name, "other", data, {**edr.configuration, "rows": 50}) for name, data in QUESTIONS.items()}
    return {name: done_here(folder / name, job).report for name, job in jobs.items()}


def template(action: str, name: str) -> str:
    """Return a committed template."""
    flavor = "CBSigned_" + "".join(part.title() for part in action.split("_"))
    return (PACKAGING / "thehive-templates" / f"{flavor}_{__version__.replace('.', '_')}" / name).read_text("utf-8")


def _opened(page: Page, path: Path, action: str, content: Any, **more: Any) -> str:
    shown(page, report_page(path, template(action, "long.html"), content, **more))
    text: str = page.run("document.body.innerText")
    assert page.run("window.problems") == []
    assert page.run("document.documentElement.scrollWidth") <= WIDTH
    return text


@pytest.mark.parametrize("action", [one.name for one in ACTIONS])
def test_every_report_is_shown_and_fits(page: Page, reports: dict[str, Any], tmp_path: Path, action: str) -> None:
    text = _opened(page, tmp_path / "page.html", action, reports[action]["full"])

    assert reports[action]["full"]["message"] in " ".join(text.split())
    assert (
        page.run("document.querySelectorAll('#report img:not([src^=\"data:image/svg\"]), #report script').length") == 0
    )
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.run("document.documentElement.scrollWidth") <= WIDTH
    assert page.run("window.problems") == []


def test_names_that_look_like_html_or_an_expression_are_shown_as_they_are(
    page: Page, reports: dict[str, Any], tmp_path: Path
) -> None:
    text = _opened(page, tmp_path / "page.html", "process_lineage", reports["process_lineage"]["full"])

    assert "<img src=x onerror=alert(1)>.exe" in text
    assert "{{constructor.constructor('x')()}}.exe" in text
    assert "by <b>Example</b> & Söhne" in text
    assert "דוח שכר.exe" in text
    assert "<U+202E>fdp.exe" in text
    assert "\u202e" not in text


def test_a_lineage_of_thirteen_is_whole_with_each_status(page: Page, reports: dict[str, Any], tmp_path: Path) -> None:
    full = reports["process_lineage"]["full"]

    text = _opened(page, tmp_path / "page.html", "process_lineage", full)

    nodes = full["rows"][0]["lineage"]["nodes"]
    assert len(nodes) == 13
    for node in nodes:
        assert f"pid {node['pid']}" in text
    assert "4,0" not in text
    assert re.search(r"\b4\d{3} characters", text)
    assert page.run("document.querySelector('#report img').naturalWidth") > 0


def test_a_failed_job_shows_its_message(page: Page, tmp_path: Path) -> None:
    failed = {"errorMessage": "The EDR refused the token (401). <b>Renew it</b> {{7*7}}"}

    text = _opened(page, tmp_path / "page.html", "signing_status", failed, success=False)

    assert "signing status: no answer" in text
    assert failed["errorMessage"] in text


def test_an_incomplete_answer_says_so_first(page: Page, reports: dict[str, Any], tmp_path: Path) -> None:
    full = {**reports["signing_status"]["full"], "complete": False, "failures": ["No answer within 30 s."] * 2}

    text = _opened(page, tmp_path / "page.html", "signing_status", full)

    assert text.index("Not everything could be looked up.") < text.index("Publisher")


@pytest.mark.parametrize("action", [one.name for one in ACTIONS])
def test_the_short_report_has_a_label_for_each_taxonomy(
    page: Page, reports: dict[str, Any], tmp_path: Path, action: str
) -> None:
    summary = reports[action]["summary"]

    shown(page, report_page(tmp_path / "page.html", template(action, "short.html"), summary))

    labels = [f"{one['namespace']}:{one['predicate']}='{one['value']}'" for one in summary["taxonomies"]]
    assert labels
    assert page.run("[...document.querySelectorAll('#report .label')].map((one) => one.textContent)") == labels
    assert page.run("window.problems") == []


def test_no_template_binds_html() -> None:
    for path in PACKAGING.glob("thehive-templates/*/*.html"):
        assert "ng-bind-html" not in path.read_text("utf-8")
