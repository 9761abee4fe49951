"""The pack as it is built, unpacked, and its actions run from there as StackStorm runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import yaml

from support import PROJECT

BUILD = PROJECT / "packaging" / "stackstorm" / "build.py"
RUN_ACTION = Path(__file__).with_name("run_action.py")
_LONGEST_ARGUMENT = 100_000  # Linux has a limit, and StackStorm's runner pipes longer parameters too
DELIMITER = "%%%%%~=~=~=************=~=~=~%%%%"


@dataclass(frozen=True)
class Ran:
    """What came of an action: the runner's reading of it, and all that was written."""

    status: Optional[bool]
    result: Any
    written: str


@dataclass(frozen=True)
class Pack:
    """The unpacked pack."""

    folder: Path
    path = ""
    """What the runner puts on the path after the pack's own `actions/lib`."""

    def metadata(self, action: str) -> Any:
        """Return what StackStorm reads of an action."""
        return yaml.safe_load((self.folder / "actions" / f"{action}.yaml").read_text("utf-8"))

    def run(self, action: str, parameters: Mapping[str, Any], config: Mapping[str, Any]) -> Ran:
        """Run an action in a process of its own that finds nothing of the project but what the pack has."""
        file = self.folder / "actions" / f"{action}.py"
        text = json.dumps(parameters)
        piped = len(text) > _LONGEST_ARGUMENT
        done = subprocess.run(
            self.started(file, json.dumps(config), None if piped else text), capture_output=True, text=True,
            input=f'{{"parameters": {text}}}\n' if piped else "", encoding="utf-8", check=False, cwd=self.folder,
            timeout=120,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{self.lib}{os.pathsep}{self.path}"},
        )  # fmt: skip
        parts = done.stdout.split(DELIMITER)
        assert len(parts) == 3, f"{done.stdout[-500:]}\n{done.stderr[-3000:]}"
        answer = json.loads(parts[1])
        return Ran(answer["status"], answer["result"], done.stdout + done.stderr)

    def started(self, file: Path, config: str, parameters: Optional[str]) -> list[str]:
        """Return the command that runs an action's file; it reads its standard input for parameters that are None."""
        return [sys.executable, "-s", str(RUN_ACTION), str(file), config, *([] if parameters is None else [parameters])]

    @property
    def lib(self) -> Path:
        """Where the pack carries the core."""
        return self.folder / "actions" / "lib"


def unpacked(folder: Path) -> Path:
    """Build the pack and return it unpacked."""
    subprocess.run([sys.executable, str(BUILD), "--output", str(folder)], check=True, capture_output=True)
    (archive,) = folder.glob("cbsigned-stackstorm-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extraction_filter = tarfile.data_filter
        packed.extractall(folder)  # noqa: S202 (our own)
    return folder / "cbsigned"
