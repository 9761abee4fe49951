"""What the README shows is what the commands print, and what it says of settings is what the code knows."""

from __future__ import annotations

import difflib
import re

import pytest

import readme
from cbsigned.settings import specs
from cbsigned.status import SigningStatus

TEXT = readme.README.read_text(encoding="utf-8")


def test_every_output_in_the_readme_is_real() -> None:
    real = readme.rendered(TEXT)

    diff = difflib.unified_diff(readme.unchanging(TEXT), readme.unchanging(real), "README.md", "real", lineterm="")
    assert "\n".join(diff) == "", "run: make docs"


def test_the_readme_shows_some_output() -> None:
    assert TEXT.count("<!-- output of: ") >= 4


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: f"{spec.section}.{spec.name}")
def test_every_setting_is_in_the_readme_with_its_default(spec: object) -> None:
    row = re.search(rf"^\| `\[{spec.section}\] {spec.name}` \|.*$", TEXT, re.MULTILINE)  # type: ignore[attr-defined]

    assert row is not None
    assert (spec.default or "–") in row.group(0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", list(SigningStatus), ids=lambda s: s.value)
def test_every_status_is_explained_in_the_readme(status: SigningStatus) -> None:
    assert f"| {status.value} |" in TEXT
