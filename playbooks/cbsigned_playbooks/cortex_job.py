"""TheHive Cortex's own protocol: a job folder in, a report out; nothing of cortexutils, which is AGPL.

Cortex starts the program with the job's folder: `input/input.json` is read, `output/output.json` written. Without that
file the job comes on standard input and the report goes to standard output, as in Cortex 2.

References:
    - soar-platforms §2.1 (protocol), §2.2 (which keys cortexutils hides)
    - docs.strangebee.com, Cortex, "Analyzers/Responders input and output"
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, TextIO

from cbsigned.errors import CbSignedError
from cbsigned.observables import printable

__all__ = ["Job", "JobRefused", "Report", "main", "run", "text_of"]

Report = dict[str, Any]
"""What Cortex is told: `success` and, of an analyzer, `summary`, `artifacts`, `operations`, `full`."""

_DEFAULT_FOLDER = "/job"  # where Cortex mounts it in a container
_DEFAULT_LEVEL = 2  # amber, as cortexutils has it
_LEVELS = ("WHITE", "GREEN", "AMBER", "RED")
_SECRET = re.compile(r"key|password|secret|token|credential", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]*@")
_HIDDEN = "REMOVED"
_SHORTEST_SECRET = 6  # anything shorter would be found by chance in every other word


class JobRefused(CbSignedError):
    """The job cannot be done; its text becomes Cortex's `errorMessage`."""


@dataclass(frozen=True)
class Job:
    """One job of an analyzer or a responder.

    Attributes:
        given: The whole input, as Cortex wrote it.
        folder: The job's folder; None where the input came on standard input.
    """

    given: Mapping[str, Any] = field(repr=False)
    folder: Optional[Path] = None

    @property
    def data_type(self) -> str:
        """`hash`, `other`, … of an analyzer; `thehive:case`, `thehive:alert`, … of a responder."""
        return text_of(self.given.get("dataType"))

    @property
    def data(self) -> Any:
        """The observable as a text, or the object that a responder is run on."""
        return self.given.get("data")

    @property
    def config(self) -> Mapping[str, Any]:
        """What the administrator has set, without what was left empty."""
        return _set_values(self.given.get("config"))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What was given for this job alone, without what was left empty."""
        return _set_values(self.given.get("parameters"))

    @property
    def tlp(self) -> int:
        """Traffic Light Protocol of the observable, 0 white to 3 red."""
        return _level(self.given.get("tlp"), "tlp")

    def check_limits(self) -> None:
        """Refuse what is marked above the administrator's limits.

        Raises:
            JobRefused: TLP or PAP is above its limit, or is no number.
        """
        for name in ("tlp", "pap"):
            own = _level(self.given.get(name), name)
            limit = _level(self.config.get(f"max_{name}"), f"max_{name}")
            if self.config.get(f"check_{name}") is True and own > limit:
                raise JobRefused(
                    f"{name.upper()} is higher than allowed: the observable is {_shade(own)}, the limit is "
                    f"{_shade(limit)}. Where the EDR may be asked all the same, raise max_{name} in Cortex."
                )

    def attachment(self) -> Path:
        """Return the observable's file.

        Raises:
            JobRefused: There is none, or its name leads out of the job's folder.
        """
        name = text_of(self.given.get("file"))
        if self.folder is None or not name or Path(name).name != name:
            raise JobRefused("The job says that its observable is a file, but names none in its folder.")
        path = self.folder / "input" / name
        if path.is_symlink() or not path.is_file():
            raise JobRefused(f"The job's file {printable(name, 80)} is not in its folder.")
        return path

    def authorities(self) -> Optional[Path]:
        """Return the PEM file of certificate authorities that Cortex was given, if it was."""
        path = self.folder / "input" / "cacerts" if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    def proxy_for(self, url: str) -> Optional[str]:
        """Return the proxy that Cortex is set to for the scheme of an address."""
        scheme = "http" if url.lower().startswith("http:") else "https"
        told = self.config.get("proxy")
        nested = told.get(scheme) if isinstance(told, dict) else None
        return text_of(nested) or text_of(self.config.get(f"proxy_{scheme}")) or None


def run(work: Callable[[Job], Report], arguments: Sequence[str], stdin: TextIO, stdout: TextIO) -> int:
    """Do one job and report it; return the exit code, 1 where it failed.

    A bug is not caught: Cortex shows what the program printed where it finds no report.

    Args:
        work: Makes the report of a job.
        arguments: The job's folder, or nothing for `/job`.
        stdin, stdout: Used where that folder holds no job.
    """
    folder: Optional[Path] = Path(arguments[0] if arguments else _DEFAULT_FOLDER)
    given: Mapping[str, Any] = {}
    if folder is not None and not (folder / "input" / "input.json").is_file():
        folder = None
    try:
        given = _read(folder, stdin)
        job = Job(given, folder)
        job.check_limits()
        report = work(job)
    except CbSignedError as exc:
        report = _failure(given, str(exc))
    text = json.dumps(report)  # ASCII: half a surrogate pair is no UTF-8
    if folder is None:
        stdout.write(text)
    else:
        _write(folder / "output", text)
    return 0 if report["success"] else 1


def main(work: Callable[[Job], Report]) -> int:
    """Do the job that this process was started for; return the exit code."""
    return run(work, sys.argv[1:], sys.stdin, sys.stdout)


def text_of(value: object) -> str:
    """Return a text without the white space around it; empty for anything else."""
    return value.strip() if isinstance(value, str) else ""


def _read(folder: Optional[Path], stdin: TextIO) -> Mapping[str, Any]:
    if folder is None and stdin.isatty():
        raise JobRefused(
            "There is no job: start this program with the folder of one as its argument (it holds "
            "input/input.json), or write the job as JSON to its standard input."
        )
    try:
        text = (folder / "input" / "input.json").read_text("utf-8") if folder is not None else stdin.read()
        given = json.loads(text)
    except (OSError, ValueError, RecursionError) as exc:
        raise JobRefused(f"The job cannot be read: {type(exc).__name__}. Expected a JSON object in UTF-8.") from exc
    if not isinstance(given, dict):
        raise JobRefused("The job is no JSON object.")
    return given


def _write(folder: Path, text: str) -> None:
    """Write the report so that Cortex finds a whole one or none."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "output.json.part"
    part.write_text(text, "utf-8")
    os.replace(part, folder / "output.json")


def _set_values(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {name: one for name, one in value.items() if one is not None and one != "" and one != []}


def _level(value: object, name: str) -> int:
    if value is None:
        return _DEFAULT_LEVEL
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise JobRefused(f"{name} is {printable(str(value), 40)}: expected a number, 0 to 3.")
    return int(value)


def _shade(level: int) -> str:
    return f"{_LEVELS[level]} ({level})" if 0 <= level < len(_LEVELS) else str(level)


def _failure(given: Mapping[str, Any], message: str) -> Report:
    """Return the report of a job that failed: why, and the job without the secrets of its configuration."""
    config = given.get("config")
    config = config if isinstance(config, dict) else {}
    secrets = [text_of(value) for name, value in config.items() if _SECRET.search(name)]
    secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    shown = {name: _HIDDEN if _SECRET.search(name) else _no_passwords(value) for name, value in config.items()}
    told = {name: _hidden(value, secrets) for name, value in given.items()}
    return {"success": False, "input": {**told, "config": shown}, "errorMessage": _hidden(message, secrets)}


def _hidden(value: Any, secrets: Sequence[str]) -> Any:
    """Return a value without the secrets in its texts, which are looked for as they stand in JSON."""
    text = told = json.dumps(value)
    for secret in secrets:
        text = text.replace(json.dumps(secret)[1:-1], _HIDDEN)
    return value if text == told else json.loads(text)


def _no_passwords(value: Any) -> Any:
    """Return a setting without `user:password@` in its addresses; Cortex nests those of its proxies."""
    if isinstance(value, dict):
        return {name: _HIDDEN if _SECRET.search(name) else _no_passwords(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_no_passwords(one) for one in value]
    return _USER_INFO.sub(f"{_HIDDEN}@", value) if isinstance(value, str) else value
