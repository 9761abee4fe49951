"""Build the Splunk SOAR app: `python packaging/soar/build.py --output dist` writes `cbsigned-soar-<version>.tgz`.

The SDK makes its package (manifest, wheels of its libraries); the core and the actions are added to it as one more
wheel, and everything is packed anew, so that two builds of one checkout are equal to the byte. Needs Python 3.13 and,
the first time, PyPI; downloads are kept in `build/` and `.venvs/`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bundle  # noqa: E402
import sdk  # noqa: E402

SDK = "7.0.3"
DOWNLOADS = bundle.PROJECT / "build" / "soar-downloads"
APP = ("src", "templates", "release_notes")
FILES = ("pyproject.toml", "uv.lock", "logo.svg", "logo_dark.svg", "README.md")
TIME = "2020-01-01T00:00:00.000000Z"


def made() -> dict[str, bytes]:
    """Return the package by its file name."""
    try:
        name, files = contents()
    except sdk.NoEnvironment as exc:
        raise bundle.BuildError(str(exc)) from exc
    return {f"cbsigned-soar-{bundle.version()}.tgz": bundle.tar_gz(name, files)}


def contents() -> tuple[str, dict[str, bytes]]:
    """Return the folder at the top of the package, and every file below it."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "sdk.tgz"
        stage(Path(folder) / "cbsigned_soar")
        command = [str(sdk.python(SDK)), "-B", "-P", str(HERE / "sdk_package.py")]  # -P: `build` is not ours
        command += [str(Path(folder) / "cbsigned_soar"), str(package), str(DOWNLOADS)]
        env = {**os.environ, "PYTHONPATH": str(Path(folder) / "code")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)  # noqa: S603
        if done.returncode:
            raise bundle.BuildError(f"The SDK said: {(done.stderr or done.stdout)[-1500:]}")
        top, files = unpacked(package)
    lock = (HERE / "uv.lock").read_text(encoding="utf-8")
    for path in (path for path in files if path.endswith(".whl")):
        if hashlib.sha256(files[path]).hexdigest() not in lock:  # built here from source, with the time of now
            files[path] = repacked(files[path])
    name, data = wheel()
    path = f"wheels/shared/{name}"
    files[path] = data
    manifest = json.loads(files["manifest.json"])
    entry = {"module": "cbsigned", "input_file": path, "input_file_aarch64": path}
    manifest["pip313_dependencies"]["wheel"].append(entry)
    manifest["utctime_updated"] = TIME
    files["manifest.json"] = (json.dumps(manifest, indent=4, ensure_ascii=False) + "\n").encode()
    return top, files


def stage(folder: Path) -> None:
    """Lay out the app as the SDK wants it, and beside it `code/`, what our wheel holds.

    The folder must not be called cbsigned: the SDK imports the app by its folder's name.
    """
    for name in APP:
        for inside, data in bundle.files_below(HERE / name).items():
            (folder / name / inside).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / inside).write_bytes(data)
    (folder / "src" / "__init__.py").touch()
    for name in FILES:
        shutil.copyfile(HERE / name, folder / name)
    shutil.copyfile(bundle.PROJECT / "LICENSE", folder / "LICENSE")
    for inside, data in bundle.code("soar").items():
        (folder.parent / "code" / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / "code" / inside).write_bytes(data)


def wheel() -> tuple[str, bytes]:
    """Return the name and the bytes of a wheel with our code; it requires nothing, the SDK's lock has it all."""
    release = f"cbsigned-{bundle.version()}"
    files = bundle.code("soar")
    about = f"{release}.dist-info"
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: cbsigned\nVersion: {bundle.version()}\n".encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: cbsigned\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/LICENSE"] = (bundle.PROJECT / "LICENSE").read_bytes()
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{about}/RECORD"] = ("\n".join([*record, f"{about}/RECORD,,"]) + "\n").encode()
    return f"{release}-py3-none-any.whl", bundle.zipped(files)


def repacked(archive: bytes) -> bytes:
    """Return a wheel with the same files, each of one time."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return bundle.zipped({name: opened.read(name) for name in opened.namelist() if not name.endswith("/")})


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def unpacked(package: Path) -> tuple[str, dict[str, bytes]]:
    """Return the folder at the top of the SDK's package, and the files below it."""
    files = {}
    with tarfile.open(package) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files[member.name] = content.read()
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1:
        raise bundle.BuildError(f"Its package has {len(tops)} folders at the top, not one.")
    return tops.pop(), {re.sub("^[^/]+/", "", name): data for name, data in files.items()}


if __name__ == "__main__":
    sys.exit(bundle.main(__doc__, made))
