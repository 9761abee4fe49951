"""Build the Splunk app: `python packaging/splunk/build.py --output dist` writes `cbsigned-<version>.spl`.

The tree in `app/`, the core without its store and command line, the Splunk adapter, and the pure-Python libraries of
`requirements.txt`, all under `bin/`. Two builds of one checkout are equal to the byte. Downloads are kept in `build/`.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"
DOWNLOADS = PROJECT / "build" / "splunk-downloads"
APP = "cbsigned"
TIME = 1_577_836_800  # 2020-01-01: of every file, so that equal sources make equal archives

OWN = (
    *((PROJECT / "shared", f"cbsigned/{room}*.py") for room in ("", "edr/", "formats/", "query/")),
    # of the outputs, what the handler answers with
    *((PROJECT / "shared", f"cbsigned/render/{n}.py") for n in ("__init__", "clean", "csv", "document", "facts")),
    *((PROJECT / "shared", f"cbsigned/render/{name}.py") for name in ("links", "marks")),
    (PROJECT / "connectors", "cbsigned_connectors/__init__.py"),
    (PROJECT / "connectors", "cbsigned_connectors/splunk/**/*.py"),
)
LEFT_OUT = (
    # the command line, and what it alone uses
    *(
        f"cbsigned/{name}.py"
        for name in ("cli", "commands", "config", "output", "alert_files", "yamlfile", "query/matching")
    ),
    # command lines of libraries, and parts of them that need further libraries
    *("*/__main__.py", "*/cli.py", "*/cli/*", "splunklib/modularinput/*", "splunklib/results.py"),
    *("urllib3/contrib/emscripten/*", "urllib3/contrib/pyopenssl.py", "urllib3/contrib/socks.py"),
    "urllib3/http2/connection.py",
)
TAKEN = ("*.py", "certifi/cacert.pem")
LICENCE = re.compile(r"[^/]+\.dist-info/(?:licenses/|license_files/)?(LICEN[CS]E|NOTICE|COPYING)[^/]*", re.IGNORECASE)
NOTICE = """\
The libraries under bin/ that are not cbsigned's own, as published on PyPI; licences stand beside this file.
splunk-sdk is published without a licence file: it is under the Apache License 2.0, the text of ../LICENSE.

"""


def main() -> int:
    """Build the app and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", help="folder for the package (default: dist)")
    options = parser.parse_args()
    files = contents()
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"{APP}-{version()}.spl"
    target.write_bytes(packed(files))
    print(f"{target}: {len(files)} files, {target.stat().st_size / 1e6:.1f} MB")
    return 0


def version() -> str:
    """Return the version of the project, as its code says."""
    text = (PROJECT / "shared" / "cbsigned" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[0]


def contents() -> dict[str, bytes]:
    """Return every file of the app by its path inside it."""
    files = {f"bin/{name}": data for name, data in own_code()}
    libraries = downloads()
    for library in libraries:
        files.update(from_library(library))
    files["licenses/NOTICE.txt"] = (NOTICE + "".join(f"{path.name}\n" for path in libraries)).encode()
    files["LICENSE"] = (PROJECT / "LICENSE").read_bytes()
    for path in sorted((HERE / "app").rglob("*")):
        name = path.relative_to(HERE / "app").as_posix()
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.split("/")):
            files[name] = path.read_bytes()
    return files


def own_code() -> Iterator[tuple[str, bytes]]:
    """Yield the modules of the core and of the Splunk adapter, by their path on `sys.path`."""
    for house, pattern in OWN:
        for path in sorted(house.glob(pattern)):
            name = path.relative_to(house).as_posix()
            if taken(name):
                yield name, path.read_bytes()


def from_library(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the modules and licences of a downloaded wheel or source archive, by their path in the app."""
    for name, data in members(archive):
        licence = LICENCE.fullmatch(name)
        if licence:
            yield f"licenses/{name.split('.dist-info')[0]}-{licence[1]}.txt", data
        elif "/" in name and ".dist-info/" not in name and taken(name):
            yield f"bin/{name}", data


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a wheel, or of the import packages of a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if not name.endswith("/"))
        return
    with tarfile.open(archive) as source:
        for member in source:
            inside = member.name.partition("/")[2]
            content = source.extractfile(member) if member.isfile() and inside.startswith("splunklib/") else None
            if content is not None:
                yield inside, content.read()


def taken(name: str) -> bool:
    """Return whether a file, by its path on `sys.path`, belongs into the app."""
    return _matches(name, TAKEN) and not _matches(name, LEFT_OUT)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def downloads() -> list[Path]:
    """Return the archives of `requirements.txt`, downloading what `build/` does not hold yet."""
    wanted = re.findall(r"^\S+ --hash=sha256:([0-9a-f]{64})$", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    if len(_held(wanted)) < len(wanted):
        print(f"downloading {len(wanted)} libraries from PyPI into {DOWNLOADS.relative_to(PROJECT)}", flush=True)
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--dest", str(DOWNLOADS), "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(command, check=False)  # noqa: S603 (our own words)
        if done.returncode or len(_held(wanted)) < len(wanted):
            sys.exit(
                f"The libraries of {REQUIREMENTS.name} could not be downloaded: pip says why above. "
                f"Make PyPI or a mirror reachable for pip, or put the files into {DOWNLOADS} by hand."
            )
    return sorted(_held(wanted).values())


def _held(wanted: list[str]) -> dict[str, Path]:
    """Return by SHA-256 what is there of the archives wanted."""
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in DOWNLOADS.glob("*.*")}
    return {digest: found[digest] for digest in wanted if digest in found}


def packed(files: dict[str, bytes]) -> bytes:
    """Return the package: a sorted tar of owner 0, folders 755, files 644, all of one time, and gzip without a name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        entries = {**{f"{APP}/{name}": data for name, data in files.items()}}
        for name in sorted([APP, *(f"{APP}/{folder}" for folder in folders), *entries]):
            data = entries.get(name)
            entry = tarfile.TarInfo(name)
            entry.mtime = TIME
            entry.type, entry.mode = (tarfile.DIRTYPE, 0o755) if data is None else (tarfile.REGTYPE, 0o644)
            entry.size = len(data or b"")
            archive.addfile(entry, io.BytesIO(data or b""))
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=TIME, compresslevel=9) as packer:
        packer.write(buffer.getvalue())
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
