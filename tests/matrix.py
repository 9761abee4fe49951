"""Run the test suite on each of Python 3.9, 3.11 and 3.13 that is really here; at least on the running one.

    python tests/matrix.py                 everything
    python tests/matrix.py --nightly       the long checks, on the running Python alone
    python tests/matrix.py -- -k lineage   the rest goes to pytest

An interpreter counts when its `--version` answers: pyenv's own versions do, a pyenv shim that fails does not. Each
gets a virtual environment in `.venvs/`, kept until setup.cfg changes. On two cores three are tested at a time: they
wait for servers most of it. Exit code 1 when any run fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

PROJECT = Path(__file__).resolve().parent.parent
WANTED = ("3.9", "3.11", "3.13")


def version_of(python: str) -> Optional[str]:
    """Return `3.11` for an interpreter that answers, None for one that does not."""
    try:
        done = subprocess.run([python, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = (done.stdout or done.stderr).split()
    return ".".join(words[1].split(".")[:2]) if done.returncode == 0 and len(words) == 2 else None


def interpreters() -> dict[str, str]:
    """Return version → interpreter; the running one first, then what answers under its own name or in pyenv."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for wanted in WANTED:
        names = [f"python{wanted}", *(str(p / "bin" / "python") for p in sorted(pyenv.glob(f"{wanted}.*")))]
        for name in names:
            if wanted not in found and version_of(name) == wanted:
                found[wanted] = name
    return found


def environment(version: str, python: str) -> Path:
    """Return the interpreter of an up-to-date virtual environment with the project and its test tools."""
    place = PROJECT / ".venvs" / version
    stamp = place / "made-from"
    wanted = hashlib.sha256((PROJECT / "setup.cfg").read_bytes() + python.encode()).hexdigest()
    inside = place / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Python {version}: making {place.relative_to(PROJECT)} from {python}", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
        upgrade = [
            str(inside),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--upgrade",
            "pip>=22",
        ]
        subprocess.run(upgrade, check=True)
        install = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", ".[dev]"]
        subprocess.run(install, cwd=PROJECT, check=True)
        stamp.write_text(wanted)
    return inside


def tested(version: str, inside: Path, marks: str, more: Sequence[str], log: Optional[Path]) -> bool:
    """Run pytest in one environment, its output into `log` where there is one, and return whether all passed."""
    command = [str(inside), "-m", "pytest", "-q", "-m", marks, *more]
    if log is None:
        print(f"Python {version}: pytest -m '{marks}'", flush=True)
        return subprocess.run(command, cwd=PROJECT, check=False).returncode == 0
    print(f"Python {version}: pytest -m '{marks}', shown when it has ended; until then: {log}", flush=True)
    with open(log, "w") as out:
        done = subprocess.run(command, cwd=PROJECT, check=False, stdout=out, stderr=subprocess.STDOUT)
    print(f"Python {version}:\n{log.read_text(errors='replace')}", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nightly", action="store_true", help="the long checks instead, on the running Python")
    parser.add_argument(
        "--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="Pythons at a time (default: cores + 1)"
    )
    parser.add_argument("pytest", nargs="*", help="handed to pytest")
    options = parser.parse_args()
    found = interpreters()
    missing = [version for version in WANTED if version not in found]
    if missing and os.environ.get("CI"):
        print(f"note: Python {', '.join(missing)} is not on this machine; tested on {', '.join(found)}", flush=True)
    if options.nightly:
        found = dict(list(found.items())[:1])
    marks = "nightly" if options.nightly else "not nightly and not live"
    made = {version: environment(version, python) for version, python in found.items()}
    jobs = max(1, min(options.jobs, len(made)))

    def run(version: str) -> bool:
        log = PROJECT / ".venvs" / f"{version}.log" if jobs > 1 else None
        return tested(version, made[version], marks, options.pytest, log)

    with ThreadPoolExecutor(jobs) as pool:
        failed = [version for version, passed in zip(made, pool.map(run, made)) if not passed]
    print(f"Python {', '.join(failed)} failed" if failed else f"all passed on Python {', '.join(found)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
