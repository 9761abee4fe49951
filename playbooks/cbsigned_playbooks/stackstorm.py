"""The actions for StackStorm: what `Action.run()` of each shim returns.

A pack's action is one line, `return answer("signing_status", self.config, parameters)`. Tried with the real
`python_action_wrapper.py`; see docs/playbooks-stackstorm.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cbsigned_playbooks import actions
from cbsigned_playbooks.catalogue import CONFIGURATION
from cbsigned_playbooks.definition import Kind

__all__ = ["DELIMITER", "answer"]

DELIMITER = "%%%%%~=~=~=************=~=~=~%%%%"
"""What the runner looks for around the result; a result that has it inside is no result to it."""
_INSTEAD = "[delimiter of StackStorm]"
_SECRET = "[secret]"  # noqa: S105 (what stands in its place)
_SHORTEST = 8  # below that it is no token, and would be found in many a word


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
        - StackStorm, `param.py` and issue 4590: parameters are rendered with `config_context`
    """
    outcome = actions.answer(action, parameters, configuration)
    result = {
        "message": outcome.message,
        "complete": outcome.complete,
        "rows": outcome.rows,
        "summary": dict(outcome.summary),
        "failures": list(outcome.failures),
        "card": outcome.card,
    }
    return outcome.ok, _fit(result, configuration)


def _fit(result: dict[str, Any], configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result that the runner can read and that has no secret in it, whatever an alert has in it.

    StackStorm renders parameters as templates that know the pack's configuration, so that a text such as
    `{{ config_context.api_key }}` in an alert arrives as the token itself.
    """
    text = json.dumps(result)
    hidden = {_escaped(configuration.get(one.name)): _SECRET for one in CONFIGURATION if one.kind is Kind.SECRET}
    fit = text.replace(DELIMITER, _INSTEAD)
    for secret, instead in hidden.items():
        fit = fit.replace(secret, instead) if len(secret) >= _SHORTEST else fit
    return result if fit == text else json.loads(fit)


def _escaped(secret: object) -> str:
    """Return a secret as it stands in JSON, without the quotes."""
    return json.dumps(str(secret).strip())[1:-1] if secret else ""
