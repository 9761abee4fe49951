"""The actions for StackStorm: what `Action.run()` of each shim returns.

A pack's action is one line, `return answer("signing_status", self.config, parameters)`. Tried with the real
`python_action_wrapper.py`; see docs/playbooks-stackstorm.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cbsigned.errors import ConfigError
from cbsigned_playbooks.actions import Outcome, open_actions

__all__ = ["DELIMITER", "answer"]

DELIMITER = "%%%%%~=~=~=************=~=~=~%%%%"
"""What the runner looks for around the result; a result that has it inside is no result to it."""
_INSTEAD = "[delimiter of StackStorm]"


def answer(action: str, configuration: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Do an action and return whether it succeeded, and its result.

    Args:
        action: Name in the catalogue.
        configuration: The pack's configuration.
        parameters: Of the action; None is not given.

    Returns:
        True and the answer; or False where nothing at all could be found out, and `message` says why and what to do.
        The result has the same members either way: `message`, `complete`, `rows`, `summary`, `failures`, `card`.

    References:
        - StackStorm, `python_action_wrapper.py`: a tuple of a switch and a value is status and result
        - StackStorm, `python_runner.py`: the output is split at the delimiter and must have three parts
    """
    try:
        with open_actions(configuration) as actions:
            outcome = actions.run(action, parameters)
    except ConfigError as exc:
        return False, _result(message=str(exc), failures=[str(exc)])
    return outcome.ok, _without_delimiter(_told(outcome))


def _told(outcome: Outcome) -> dict[str, Any]:
    return _result(
        message=outcome.message,
        complete=outcome.complete,
        rows=list(outcome.rows),
        summary=dict(outcome.summary),
        failures=list(outcome.failures),
        card=outcome.card,
    )


def _result(**given: Any) -> dict[str, Any]:
    return {"message": "", "complete": False, "rows": [], "summary": {}, "failures": [], "card": "", **given}


def _without_delimiter(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that the runner can read, whatever a command line or a file name has in it."""
    text = json.dumps(result)
    return json.loads(text.replace(DELIMITER, _INSTEAD)) if DELIMITER in text else result
