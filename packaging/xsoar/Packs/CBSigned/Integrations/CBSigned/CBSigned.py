import atexit
import base64
import hashlib
import os
import sys
import tempfile

import demistomock as demisto
from CommonServerPython import *  # noqa: F403
from CommonServerUserPython import *  # noqa: F403

CORE = ""
"""The packages `cbsigned` and `cbsigned_playbooks` as a zip in base64, put here by build.py."""


def load_core():
    """Make CORE importable, from a file that only this user can read and that goes when the process ends."""
    mark = hashlib.sha256(CORE.encode()).hexdigest()[:16]
    if not CORE or any(mark in path for path in sys.path):  # one process may run many commands
        return
    for name in [name for name in sys.modules if name.startswith("cbsigned")]:  # of an older version
        del sys.modules[name]
    with tempfile.NamedTemporaryFile(prefix=f"cbsigned-{mark}-", suffix=".zip", delete=False) as file:
        file.write(base64.b64decode(CORE))
    atexit.register(os.unlink, file.name)
    sys.path.insert(0, file.name)


def main():
    load_core()
    from cbsigned_playbooks.xsoar import Kit, run

    run(demisto, Kit(CommandResults, Common, DBotScoreType, return_results, return_error))  # noqa: F405


if __name__ in ("__main__", "__builtin__", "builtins"):
    main()
