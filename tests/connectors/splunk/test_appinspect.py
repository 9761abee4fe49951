"""AppInspect finds nothing but the warnings that `packaging/splunk/README.md` explains.

It takes half a minute and does not depend on the Python of the tests, so it runs on the newest Python here alone.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import matrix
from connectors.splunk.conf_files import PACKAGING
from connectors.splunk.test_package import script


def newest() -> str:
    """Return the newest Python of the matrix that is on this machine."""
    return max(matrix.interpreters(), key=lambda version: [int(part) for part in version.split(".")])


def explained() -> set[str]:
    text = (PACKAGING / "README.md").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^\| `(check_\w+)` \|", text))


def test_appinspect_finds_no_more_than_the_readme_explains(spl: Path) -> None:
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if running != newest():
        pytest.skip(f"runs once, on Python {newest()}; this is {running}")
    inspector = script("appinspect")
    if not inspector.PROGRAM.exists():
        missing = "AppInspect is not installed: make appinspect"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    report = inspector.examined(spl)

    found = list(inspector.findings(report))
    assert [finding for finding in found if finding.result != "warning"] == []
    assert {finding.check for finding in found} == explained()
    assert (report["summary"]["failure"], report["summary"]["error"], report["summary"]["future_failure"]) == (0, 0, 0)
    assert report["summary"]["success"] > 100


def test_a_report_with_failures_is_not_taken_for_a_clean_one() -> None:
    checks = [{"result": result, "name": result, "messages": [{"message": "why"}]} for result in RESULTS]

    found = script("appinspect").findings({"reports": [{"groups": [{"checks": checks}]}]})

    assert [finding.result for finding in found] == ["failure", "error", "future_failure", "warning", "manual_check"]


RESULTS = ("success", "failure", "not_applicable", "error", "future_failure", "skipped", "warning", "manual_check")
