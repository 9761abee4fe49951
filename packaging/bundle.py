"""What the builders of the playbook packages share: the project's code chosen, and archives equal to the byte.

A platform's `build.py` puts its folder on the path, takes `code()` into its package, `tar_gz()` or `zipped()` to pack
it, and `main()` to write it.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

PROJECT = Path(__file__).resolve().parent.parent
PLATFORMS = ("soar", "xsoar", "cortex", "stackstorm", "n8n")
TIME = 1_577_836_800  # 2020-01-01: of every file, so that equal sources make equal archives

# all of the core but the store and the samples
_CORE = (*(f"cbsigned/{room}*.py" for room in ("", "edr/", "formats/", "query/", "render/")), "cbsigned/render/*.j2")
_ACTIONS = ("cbsigned_playbooks/*.py", "cbsigned_playbooks/*/*.py")


class BuildError(RuntimeError):
    """A package was not built; the text says why."""


def main(about: str, make: Callable[[], Mapping[str, bytes]]) -> int:
    """Write what a platform's builder makes into the folder of `--output`; return the exit code.

    Args:
        about: For `--help`, the builder's own docstring.
        make: Gives the packages by their file names; may raise `BuildError`.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", help="folder for it (default: dist)")
    options = parser.parse_args()
    try:
        made = make()
    except BuildError as exc:
        print(f"Nothing was built. {exc}", file=sys.stderr)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
        (options.output / name).write_bytes(data)
        print(f"{options.output / name}: {len(data) / 1e3:,.0f} kB")
    return 0


def version() -> str:
    """Return the version of the project, as its code says."""
    text = (PROJECT / "shared" / "cbsigned" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[0]


def code(platform: str) -> dict[str, bytes]:
    """Return the core, the actions and one platform's binding, by their path on `sys.path`."""
    found = {}
    for house, patterns in ((PROJECT / "shared", _CORE), (PROJECT / "playbooks", _ACTIONS)):
        for path in (path for pattern in patterns for path in house.glob(pattern)):
            name = path.relative_to(house).as_posix()
            if _of(platform, name):
                found[name] = path.read_bytes()
    return dict(sorted(found.items()))


def _of(platform: str, name: str) -> bool:
    """Return whether a file is no binding (`soar_view.py`, `cortex/job.py`), or one of this platform."""
    room, _, inside = name.partition("/")
    binding = re.match("[a-z]+", inside)
    others = {*PLATFORMS, "runner"} - {platform}
    return room != "cbsigned_playbooks" or not binding or binding[0] not in others


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their path below it, without caches and hidden ones but `.*-ignore`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
        if path.is_file() and (not hidden or name.endswith("-ignore")):
            found[name] = path.read_bytes()
    return found


def tar_gz(top: str, files: Mapping[str, bytes], executable: Iterable[str] = ()) -> bytes:
    """Return a sorted tar of owner 0, folders 755, files 644, all of one time, in gzip without a name.

    Args:
        top: Folder that holds everything.
        files: Contents by path below it.
        executable: Paths that are 755 too.
    """
    executables = {f"{top}/{name}" for name in executable}
    entries = {f"{top}/{name}": data for name, data in files.items()}
    folders = {str(parent) for name in entries for parent in PurePosixPath(name).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted([*folders, *entries]):
            entry = tarfile.TarInfo(name)
            entry.mtime = TIME
            is_folder = name not in entries
            entry.type = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
            entry.mode = 0o755 if is_folder or name in executables else 0o644
            entry.size = len(entries.get(name, b""))
            archive.addfile(entry, io.BytesIO(entries.get(name, b"")))
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=TIME, compresslevel=9) as packer:
        packer.write(buffer.getvalue())
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a sorted zip archive in which every file is of one time and mode 644."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return out.getvalue()
