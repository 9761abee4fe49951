"""Do what StackStorm's `python_action_wrapper.py` does with an action, with nothing of StackStorm.

    python run_action.py FILE CONFIG [PARAMETERS]

Loads the file, makes its class with the pack's configuration, calls `run()`, and prints status and result as JSON
between two delimiters. Parameters that are not given are read from standard input, `{"parameters": …}`. Its `Action`
is the part of StackStorm's base class that the shims use.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from typing import Any, Optional

DELIMITER = "%%%%%~=~=~=************=~=~=~%%%%"


class Action:
    """The base class of Python actions, as far as the shims go."""

    def __init__(self, config: dict[str, Any], action_service: Any = None) -> None:
        self.config = config
        self.action_service = action_service


def main(path: str, config: str, parameters: Optional[str] = None) -> None:
    """Run the action of a file."""
    given = json.loads(sys.stdin.readline())["parameters"] if parameters is None else json.loads(parameters)
    for name in ("st2common", "st2common.runners", "st2common.runners.base_action"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["st2common.runners.base_action"].Action = Action  # type: ignore[attr-defined]
    for name in ("jinja2", "markupsafe", "yaml"):  # the pack's own environment has requests and nothing else
        sys.modules[name] = None  # type: ignore[assignment]
    spec = importlib.util.spec_from_file_location("action", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == "action"]
    assert len(own) == 1
    assert issubclass(own[0], Action)
    status, result = own[0](json.loads(config)).run(**given)
    print(DELIMITER + json.dumps({"result": result, "status": status}) + "\n" + DELIMITER)


if __name__ == "__main__":
    main(*sys.argv[1:])
