"""What the platform puts beside an integration: one command with its arguments, and what it answers.

`xsoar_process.py` fills it in before each command.
"""

from __future__ import annotations

from typing import Any

_now: dict[str, Any] = {"command": "", "args": {}, "params": {}}
given: list[Any] = []
"""Everything that the integration answered."""
logged: list[str] = []
"""Everything that it wrote to the platform's log."""

is_debug = False
callingContext = {
    "integration": True,
    "IntegrationBrand": "CBSigned",
    "IntegrationInstance": "CBSigned_instance_1",
    "context": {"ExecutedCommands": [{"moduleBrand": "CBSigned"}]},
}


def begin(command: str, args: dict[str, Any], params: dict[str, Any]) -> None:
    """Make ready for one command."""
    _now.update(command=command, args=args, params=params)
    given.clear()
    logged.clear()


def command() -> str:
    return str(_now["command"])


def args() -> dict[str, Any]:
    return dict(_now["args"])


def params() -> dict[str, Any]:
    return dict(_now["params"])


def results(answer: Any) -> None:
    given.append(answer)


def _log(message: Any, *_args: Any) -> None:
    logged.append(str(message))


debug = info = error = log = _log


def getLastRun() -> dict[str, Any]:
    return {}


def getIntegrationContext() -> dict[str, Any]:
    return {}


def getLicenseID() -> str:
    return "test"


def demistoVersion() -> dict[str, str]:
    return {"version": "8.9.0", "buildNumber": "1"}


def get(document: Any, field: str) -> Any:
    for part in field.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document
