"""The wheel, the layout and the public face are what the style guide says."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cbsigned
from support import PROJECT

HOUSES = {"cbsigned": "shared", "cbsigned_connectors": "connectors", "cbsigned_playbooks": "playbooks"}


def declared() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(PROJECT / "setup.cfg")
    return set(parser["options"]["packages"].split())


def present() -> set[str]:
    found = set()
    for package, folder in HOUSES.items():
        for init in (PROJECT / folder / package).rglob("__init__.py"):
            found.add(".".join(init.parent.relative_to(PROJECT / folder).parts))
    return found


def test_every_package_is_declared() -> None:
    assert declared() == present()


def test_no_folder_of_modules_lacks_an_init() -> None:
    lacking = {
        path.parent
        for package, folder in HOUSES.items()
        for path in (PROJECT / folder / package).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    }

    assert lacking == set()


def test_tests_and_packaging_are_no_packages() -> None:
    assert [
        str(p) for name in ("tests", "packaging", "benchmarks") for p in (PROJECT / name).rglob("__init__.py")
    ] == []


def test_the_public_face_is_what_it_says() -> None:
    assert all(hasattr(cbsigned, name) for name in cbsigned.__all__)
    public = {name for name, value in vars(cbsigned).items() if name[0].isupper() or callable(value)}
    assert public == set(cbsigned.__all__)


def test_the_wheel_holds_every_package_and_nothing_generic_at_its_top(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in (*HOUSES.values(), "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copyfile
        source.mkdir(exist_ok=True)
        copy(PROJECT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0] for name in names} == {*HOUSES, f"cbsigned-{cbsigned.__version__}.dist-info"}
    files = {name for name in names if name.split("/")[0] in HOUSES}
    expected = {
        str(path.relative_to(PROJECT / folder))
        for package, folder in HOUSES.items()
        for path in (PROJECT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == expected


def test_the_core_imports_nothing_but_requests_beyond_the_standard_library() -> None:
    code = (
        "import sys; import cbsigned, cbsigned.edr\n"
        "found = {n: getattr(m, '__file__', '') or '' for n, m in sys.modules.items()}\n"
        "names = {n.split('.')[0] for n, file in found.items() if 'site-packages' in file}\n"
        "print(*sorted(names))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    allowed = {"_distutils_hack", "requests", "urllib3", "idna", "certifi", "charset_normalizer", "cbsigned"}
    editable = {name for name in done.stdout.split() if name.startswith("__editable__")}
    assert set(done.stdout.split()) - editable <= allowed


def test_every_public_function_has_a_docstring() -> None:
    lacking = []
    for package, folder in HOUSES.items():
        for path in sorted((PROJECT / folder / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            if path.read_text().strip() and ast.get_docstring(tree) is None:
                lacking.append(f"{path.name}: module")
            for node in tree.body:
                lacking += [f"{path.name}: {n.name}" for n in _public(node) if ast.get_docstring(n) is None]

    assert lacking == []


def _public(node: ast.stmt) -> list[ast.FunctionDef]:
    if isinstance(node, ast.FunctionDef):
        return [] if node.name.startswith("_") else [node]
    if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("IOBase") for base in node.bases):
        return []  # its methods are the standard library's, and so is what they do
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        return [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    return []
