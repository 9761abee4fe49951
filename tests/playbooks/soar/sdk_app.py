"""The app under an SDK of the vendor, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from support import PROJECT

PACKAGING = PROJECT / "packaging" / "soar"
HERE = Path(__file__).resolve().parent


def script(name: str) -> ModuleType:
    """Return a module of `packaging/soar`: `build` or `sdk`."""
    spec = importlib.util.spec_from_file_location(f"soar_{name}", PACKAGING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.path[:]
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


class SdkApp:
    """Answers one job after another; what it printed is in `printed` after `close`.

    Args:
        version: Of the SDK.
        folder: The app, as `build.stage` lays it out.
        log: Where its standard error goes.
    """

    def __init__(self, version: str, folder: Path, log: Path) -> None:
        self.version, self._log = version, log
        self._python = str(script("sdk").python(version))
        with open(log, "w") as errors:
            self._process = subprocess.Popen(
                [self._python, "-B", str(HERE / "harness.py"), str(folder)],
                env=_environment(folder),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8",
            )  # fmt: skip

    def action(self, identifier: str, parameters: dict[str, Any], asset: dict[str, Any]) -> dict[str, Any]:
        """Return the one result of an action run."""
        results = self._ask("action", identifier, parameters, asset)["results"]
        assert len(results) == 1
        return dict(results[0])

    def webhook(self, body: Any, asset: dict[str, Any], method: str = "POST", path: str = "enrich") -> dict[str, Any]:
        """Return the response to a request."""
        return self._ask("webhook", method, path, body, asset)

    def widget(self, identifier: str, rows: list[dict[str, Any]]) -> str:
        """Return the HTML of an action's widget."""
        return str(self._ask("view", identifier, rows)["html"])

    def command_line(self, folder: Path, arguments: list[str]) -> str:
        """Return what the SDK's own command line prints, in a process of its own."""
        command = [self._python, "-B", "-m", "src.app", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=_environment(folder), capture_output=True, text=True, encoding="utf-8", check=False
        )
        return done.stdout + done.stderr

    def _ask(self, *job: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.printed()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def printed(self) -> str:
        """Return what the app and the SDK printed so far."""
        return self._log.read_text("utf-8")

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=20)


def _environment(folder: Path) -> dict[str, str]:
    """Return the variables of a process that has our wheel's code, and no setting of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CBSIGNED_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(folder.parent / "code")}
