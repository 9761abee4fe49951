"""The built package: reproducible, complete, nothing in it that does not belong there, and it runs on a bare Python."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

import cbsigned
from connectors.splunk.conf_files import APP, PACKAGING, conf

IMPORT_ALL = """
import importlib, os, sys, types
place = sys.argv[1]
sys.path[:0] = [place]
for name in ("splunk", "splunk.persistconn", "splunk.persistconn.application"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[name].PersistentServerConnectionApplication = object
for folder, _, names in os.walk(place):
    for name in sorted(n for n in names if n.endswith(".py")):
        path = os.path.relpath(os.path.join(folder, name), place)
        importlib.import_module(path[:-3].replace(os.sep, ".").replace(".__init__", ""))
strange = [n for n, m in sys.modules.items() if "-packages" in (getattr(m, "__file__", None) or "")]
print(len(sys.modules), strange)
"""


def script(name: str) -> ModuleType:
    """Return a script of `packaging/splunk` as a module."""
    spec = importlib.util.spec_from_file_location(f"packaging_splunk_{name}", PACKAGING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def members(spl: Path) -> dict[str, bytes]:
    with tarfile.open(spl) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def bare(spl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's bin folder, unpacked, without byte code."""
    folder = tmp_path_factory.mktemp("bare")
    for name, data in members(spl).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder / "cbsigned" / "bin"


def test_two_builds_are_equal_to_the_byte(spl: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(PACKAGING / "build.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env={**os.environ, "TZ": "Asia/Tokyo"})

    assert (tmp_path / spl.name).read_bytes() == spl.read_bytes()


def test_the_name_and_both_manifests_carry_the_version_of_the_code(spl: Path) -> None:
    manifest = json.loads((APP / "app.manifest").read_text(encoding="utf-8"))
    app = conf("app.conf")

    assert spl.name == f"cbsigned-{cbsigned.__version__}.spl"
    assert {manifest["info"]["id"]["version"], app["id"]["version"], app["launcher"]["version"]} == {
        cbsigned.__version__
    }
    assert {manifest["info"]["id"]["name"], app["id"]["name"], app["package"]["id"]} == {"cbsigned"}


def test_the_archive_tells_nothing_of_the_machine_that_built_it(spl: Path) -> None:
    with tarfile.open(spl) as archive:
        entries = archive.getmembers()

    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries} == {(0, 0, "", "", 1_577_836_800)}
    assert {(e.type, e.mode) for e in entries} == {(tarfile.DIRTYPE, 0o755), (tarfile.REGTYPE, 0o644)}
    assert {entry.name.split("/")[0] for entry in entries} == {"cbsigned"}


def test_nothing_is_in_it_that_splunk_refuses_or_nobody_needs(spl: Path) -> None:
    files = members(spl)

    assert [name for name in files if any(part.startswith((".", "__pycache__")) for part in name.split("/"))] == []
    kinds = {PurePosixPath(name).suffix for name in files}
    assert kinds == {"", ".conf", ".css", ".html", ".js", ".manifest", ".meta", ".pem", ".png", ".py", ".spec",
                     ".txt", ".xml"}  # fmt: skip
    binary = {name for name, data in files.items() if b"\0" in data}
    assert {PurePosixPath(name).suffix for name in binary} == {".png"}
    parts = {name.split("/")[1] for name in files}
    assert {"local", "lookups", "lib"} & parts == set()
    assert not any(name.endswith(("local.meta", "passwords.conf", "limits.conf")) for name in files)


def test_every_file_of_the_app_tree_is_in_it_unchanged(spl: Path) -> None:
    files = members(spl)
    tree = {f"cbsigned/{p.relative_to(APP).as_posix()}": p for p in APP.rglob("*") if "__pycache__" not in p.parts}

    assert {name for name, path in tree.items() if path.is_file() and files.get(name) != path.read_bytes()} == set()


def test_every_module_imports_on_a_bare_python(bare: Path) -> None:
    command = [sys.executable, "-I", "-S", "-B", "-c", IMPORT_ALL, str(bare)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" []\n")


def imports(path: Path) -> Iterator[str]:
    """Yield what a module imports, inside functions too; `from a import b` may mean the module `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_core_is_there_as_far_as_it_is_used_and_no_further(bare: Path) -> None:
    present = {
        ".".join(path.relative_to(bare).with_suffix("").parts).replace(".__init__", ""): path
        for package in ("cbsigned", "cbsigned_connectors")
        for path in (bare / package).rglob("*.py")
    }
    reached: set[str] = set()
    pending = [name for shim in bare.glob("*.py") for name in imports(shim)]
    asked: set[str] = set()
    while pending:
        name = pending.pop()
        parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        for module in {name, *parents} & set(present) - reached:
            reached.add(module)
            found = [n for n in imports(present[module]) if n.split(".")[0] in ("cbsigned", "cbsigned_connectors")]
            asked.update(found)
            pending += found

    left_out = {name for name in asked if name not in present and name.rpartition(".")[0] not in present}
    assert left_out == set(), "imported, but not in the package: see OWN and LEFT_OUT of packaging/splunk/build.py"
    assert set(present) - reached == set(), "not imported by any shim: name it in LEFT_OUT of packaging/splunk/build.py"


def test_no_library_is_there_without_its_licence(spl: Path) -> None:
    files = members(spl)
    pinned = re.findall(r"^(\S+)==(\S+) ", (PACKAGING / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    notice = files["cbsigned/licenses/NOTICE.txt"].decode()

    for name, version in pinned:
        stem = f"{name.replace('-', '_')}-{version}"
        assert stem in notice.replace("splunk-sdk", "splunk_sdk")
        has_text = any(f.startswith(f"cbsigned/licenses/{stem}") for f in files)
        assert has_text or name == "splunk-sdk"  # published without one; NOTICE says what holds
    assert b"Apache License" in files["cbsigned/LICENSE"]


def test_a_library_that_cannot_be_downloaded_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = script("build")
    monkeypatch.setattr(build, "DOWNLOADS", tmp_path / "none")
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=r"could not be downloaded.*Make PyPI or a mirror reachable"):
        build.downloads()


def test_shims_hold_no_logic() -> None:
    for path in (APP / "bin").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 20, path.name
        assert not any(isinstance(n, (ast.For, ast.While, ast.Try)) for n in ast.walk(ast.parse(text))), path.name


def test_the_icons_are_what_the_script_draws() -> None:
    icons = script("icons")

    for name, (size, alternative) in icons.SIZES.items():
        data = (APP / name).read_bytes()
        start = data.index(b"IDAT") + 4
        raw = zlib.decompress(data[start : start + int.from_bytes(data[start - 8 : start - 4], "big")])
        drawn = b"".join(b"\0" + b"".join(map(bytes, row)) for row in icons.pixels(size, alternative))
        assert raw == drawn
        assert data[16:24] == size.to_bytes(4, "big") * 2
