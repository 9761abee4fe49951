"""The two lines of the Splunk SOAR SDK, each in a virtual environment of its own: `.venvs/soar-<version>`.

`python packaging/soar/sdk.py 2.3.7 7.0.3` makes them. They cannot share one: 2.3 needs pydantic 1, 7.0 pydantic 2.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VENVS = Path(__file__).resolve().parent.parent.parent / ".venvs"
PYTHON_OF = {"2.3.7": "3.11", "7.0.3": "3.13"}


class NoEnvironment(RuntimeError):
    """An SDK cannot be installed here; the text says why."""


def python(version: str) -> Path:
    """Return the interpreter of an SDK's environment, made where it is not there yet.

    Args:
        version: A key of `PYTHON_OF`.

    Raises:
        NoEnvironment: Its Python is not on this machine, or pip failed.
    """
    place = VENVS / f"soar-{version}"
    inside, stamp = place / "bin" / "python", place / "installed"
    VENVS.mkdir(exist_ok=True)
    with open(VENVS / f"soar-{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs at a time
        wanted = ["requests>=2.28,<3", "jinja2>=3.1,<4", f"splunk-soar-sdk=={version}"]
        if not stamp.exists() or stamp.read_text() != " ".join(wanted):
            _run([_interpreter(PYTHON_OF[version]), "-m", "venv", "--clear", str(place)])
            _run([str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
            stamp.write_text(" ".join(wanted))
    return inside


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
    if done.returncode:
        raise NoEnvironment(f"{' '.join(command[:4])} … failed: {done.stderr[-1000:]}")


def _interpreter(version: str) -> str:
    """Return an interpreter of this version that answers: a pyenv shim may be there and fail."""
    for name in _candidates(version):
        try:
            done = subprocess.run([name, "--version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout.startswith(f"Python {version}."):
            return name
    raise NoEnvironment(f"The SOAR SDK needs Python {version}, and there is none here. Install it, with pyenv say.")


def _candidates(version: str) -> Iterator[str]:
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        yield sys.executable
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(path / "bin" / "python") for path in sorted(pyenv.glob(f"{version}.*"), reverse=True))


if __name__ == "__main__":
    for wanted_version in sys.argv[1:]:
        print(python(wanted_version))
