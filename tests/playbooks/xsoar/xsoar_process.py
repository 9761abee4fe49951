"""Run commands of an integration as the platform's containers do, in a process of its own.

`python xsoar_process.py COMMON SCRIPT` takes commands as JSON lines on the standard input, answers each with a line,
and ends with the input. COMMON is the folder of `CommonServerPython.py`, SCRIPT the integration's Python out of the
unified YAML. As in a container that is kept, each command runs in a fresh namespace of the same process: first the
platform's own code, then the integration's. jinja2 and yaml cannot be imported, since the image has neither.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import traceback
import warnings
from pathlib import Path

STANDIN = Path(__file__).resolve().parent / "standin"


class Missing:
    """Finds no module that the image does not have."""

    def find_spec(self, name, _path=None, _target=None):
        if name.partition(".")[0] in ("jinja2", "yaml"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> int:
    common, script = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[:0] = [str(STANDIN)]
    sys.meta_path.insert(0, Missing())
    os.umask(0)  # permissions of files are what the integration asks for
    warnings.simplefilter("ignore", SyntaxWarning)  # of the platform's own code, on a Python newer than it
    own = [common / "CommonServerPython.py", STANDIN / "CommonServerUserPython.py", script]
    parts = [compile(path.read_text("utf-8"), str(path), "exec", dont_inherit=True) for path in own]
    import demistomock

    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        demistomock.begin(asked["command"], asked["args"], asked["params"])
        os.environ.update(asked.get("environment", {}))
        crash = None
        space = {"__name__": "__main__", "demisto": demistomock}
        try:
            for part in parts:
                exec(part, space)  # noqa: S102 (what the platform does)
        except SystemExit:
            crash = None
        except BaseException:  # noqa: BLE001 (shown by the test)
            crash = traceback.format_exc()
        answer = {"entries": demistomock.given, "log": demistomock.logged, "crash": crash, "core": carried()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


def carried() -> dict:
    """Return where the core's modules came from, and who may read that."""
    files = [path for path in sys.path if "cbsigned-" in path and path.endswith(".zip")]
    homes = {
        str(getattr(module, "__file__", "")).partition(".zip")[0] + ".zip"
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("cbsigned", "cbsigned_playbooks")
    }
    return {"files": {path: oct(stat.S_IMODE(os.stat(path).st_mode)) for path in files}, "homes": sorted(homes)}


if __name__ == "__main__":
    sys.exit(main())
