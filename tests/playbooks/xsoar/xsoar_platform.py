"""Starts the process that runs the integration, and asks it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
PACKAGING = HERE.parents[2] / "packaging"
PACK = PACKAGING / "xsoar" / "Packs" / "CBSigned"
STANDIN = HERE / "standin"
COMMON = Path(os.environ.get("CBSIGNED_XSOAR_COMMON") or STANDIN)
NOTE, ERROR = 1, 4
FILE = (
    "File(val.MD5 && val.MD5 == obj.MD5 || val.SHA1 && val.SHA1 == obj.SHA1 || val.SHA256 && val.SHA256 == obj.SHA256 "
    "|| val.SHA512 && val.SHA512 == obj.SHA512 || val.CRC32 && val.CRC32 == obj.CRC32 || val.CTPH && "
    "val.CTPH == obj.CTPH || val.SSDeep && val.SSDeep == obj.SSDeep)"
)
SCORE = "DBotScore(val.Indicator && val.Indicator == obj.Indicator && val.Vendor == obj.Vendor && val.Type == obj.Type)"


def script_of(name: str) -> Any:
    """Return a script of `packaging/xsoar` as a module."""
    spec = importlib.util.spec_from_file_location(f"xsoar_{name}", PACKAGING / "xsoar" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(PACKAGING))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PACKAGING))
    return module


def build() -> Any:
    """Return `build.py` as a module."""
    return script_of("build")


@dataclass(frozen=True)
class Answer:
    """What one command answered.

    Attributes:
        core: Where the core's modules came from.
        text: All of it as it came, for what must not be in it.
    """

    entries: list[Any]
    log: list[str]
    crash: Optional[str]
    core: Mapping[str, Any]
    text: str

    @property
    def entry(self) -> Any:
        """The only entry."""
        assert self.crash is None, self.crash
        assert len(self.entries) == 1, self.entries
        return self.entries[0]

    @property
    def error(self) -> str:
        """The text of the only entry, an error."""
        assert self.entry["Type"] == ERROR, self.entry
        return str(self.entry["Contents"])

    def context(self, prefix: str) -> Any:
        """Return what the only entry puts into the context below a prefix."""
        found = [value for key, value in self.entry["EntryContext"].items() if key.partition("(")[0] == prefix]
        assert len(found) == 1, list(self.entry["EntryContext"])
        return found[0]


class Platform:
    """A process that runs the integration; use it as a context manager.

    Args:
        script: The integration's Python.
        url, token: Of the EDR, unless a command is given other parameters.
    """

    def __init__(self, script: Path, url: str, token: str) -> None:
        self.params = {
            "url": url,
            "credentials": {"identifier": "", "password": token},
            "insecure": False,
            "proxy": False,
            "timeout_s": "30",
            "integrationReliability": "B - Usually reliable",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CBSIGNED"))}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "xsoar_process.py"), str(COMMON), str(script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=kept,
        )  # fmt: skip
        self._lock = threading.Lock()

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def ask(
        self, command: str, args: Mapping[str, Any], environment: Optional[Mapping[str, str]] = None, **params: Any
    ) -> Answer:
        """Run one command, with parameters that differ from those of the instance."""
        asked = {
            "command": command,
            "args": args,
            "params": {**self.params, **params},
            "environment": environment or {},
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "the process ended"
        return Answer(**json.loads(line), text=line)
