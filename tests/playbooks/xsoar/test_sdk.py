"""The vendor's own tool finds nothing wrong with the pack, and packs it as we do."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from xsoar_platform import PACK, build

import matrix
from support import PROJECT

VERSION = "1.39.13"
PLACE = PROJECT / ".venvs" / "demisto"
pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def sdk() -> Path:
    """Return `demisto-sdk`, installed on first use."""
    program = PLACE / "bin" / "demisto-sdk"
    if not program.exists():
        found = matrix.interpreters()
        python = next(found[version] for version in ("3.11", "3.13") if version in found)
        subprocess.run([python, "-m", "venv", "--clear", str(PLACE)], check=True)
        command = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", f"demisto-sdk=={VERSION}"]
        subprocess.run(command, check=True)
    return program


class Content:
    """A copy of the pack in a content repository, which demisto-sdk looks for, with the core in its integration."""

    def __init__(self, sdk: Path, folder: Path) -> None:
        self.sdk, self.folder, self.pack = sdk, folder, folder / "Packs" / "CBSigned"
        shutil.copytree(PACK, self.pack, ignore=shutil.ignore_patterns("__pycache__"))
        self.build, source = build(), build().source()
        self.build.source = lambda: source  # both pack the same, whatever is edited meanwhile
        (self.pack / "Integrations" / "CBSigned" / "CBSigned.py").write_text(source, "utf-8")
        for words in (["init", "-q"], ["remote", "add", "origin", "https://content.invalid/content.git"]):
            subprocess.run(["git", *words], cwd=folder, check=True)
        subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
        author = ["-c", "user.name=test", "-c", "user.email=test@content.invalid"]
        subprocess.run(["git", *author, "commit", "-q", "-m", "pack"], cwd=folder, check=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run demisto-sdk; without DEMISTO_SDK_CONTENT_PATH not even its version answers."""
        own = {"DEMISTO_SDK_CONTENT_PATH": str(self.folder), "DEMISTO_SDK_SKIP_VERSION_CHECK": "1"}
        path = f"{self.sdk.parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [str(self.sdk), *words], cwd=self.folder, env={**os.environ, **own, "PATH": path},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip


@pytest.fixture
def content(sdk: Path, tmp_path: Path) -> Content:
    return Content(sdk, tmp_path)


def test_validate_passes(content: Content) -> None:
    done = content.run("validate", "-i", "Packs/CBSigned")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All validations passed" in done.stdout + done.stderr


def test_validate_is_no_rubber_stamp(content: Content) -> None:
    manifest = content.pack / "Integrations" / "CBSigned" / "CBSigned.yml"
    manifest.write_text(manifest.read_text("utf-8").replace("\nname: CBSigned\n", "\nname: Other\n"), "utf-8")

    done = content.run("validate", "-i", "Packs/CBSigned")

    assert done.returncode != 0
    assert "BA101" in done.stdout + done.stderr


def test_format_has_nothing_to_change_in_the_integration(content: Content) -> None:
    manifest = content.pack / "Integrations" / "CBSigned" / "CBSigned.yml"

    done = content.run("format", "-i", str(manifest), "-nv")

    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load((PACK / "Integrations" / "CBSigned" / "CBSigned.yml").read_text("utf-8")) == _loaded(manifest)


def _loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_prepare_content_makes_the_integration_that_we_make(content: Content) -> None:
    out = content.folder / "out"
    out.mkdir()

    done = content.run("prepare-content", "-i", "Packs/CBSigned/Integrations/CBSigned", "-o", str(out), "-f")

    assert done.returncode == 0, done.stdout + done.stderr
    theirs, ours = _loaded(out / "integration-CBSigned.yml"), yaml.safe_load(content.build.unified())
    scripts = [[line for line in one["script"].pop("script").splitlines() if line] for one in (theirs, ours)]
    assert scripts[0] == scripts[1]
    # what they add for packs of the community: a remark to the name, and whom to ask
    assert theirs.pop("display").startswith(ours.pop("display"))
    assert ours.pop("detaileddescription").strip() in theirs.pop("detaileddescription")
    assert theirs == ours


def test_zip_packs_lays_the_archive_out_as_we_do(content: Content) -> None:
    out = content.folder / "out"
    out.mkdir()

    done = content.run("zip-packs", "-i", "Packs/CBSigned", "-o", str(out))

    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(out / "uploadable_packs" / "CBSigned.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == set(content.build.pack())
