"""The process of one persistent handler: `appserver.py SCRIPT MODULE.CLASS`.

Reads requests from standard input and answers them one after the other, each as a line with a length and so many bytes
of JSON. The folder of the script is not put on sys.path: whether splunkd does it is not known, so the script must.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from typing import Any


def main() -> None:
    script, handler = sys.argv[1:3]
    module_name, _, class_name = handler.rpartition(".")
    spec = importlib.util.spec_from_file_location(module_name, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a handler prints must not end up among the answers
    spec.loader.exec_module(module)
    application = getattr(module, class_name)("", None)
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        data = json.dumps(_answer(application, sys.stdin.buffer.read(int(line)).decode())).encode()
        answers.write(b"%d\n%s" % (len(data), data))


def _answer(application: Any, in_string: str) -> dict[str, Any]:
    try:
        answer = application.handle(in_string)
        if isinstance(answer, str):
            answer = json.loads(answer)
        payload = answer.get("payload", "")
        text = payload if isinstance(payload, str) else json.dumps(payload)
        return {"status": int(answer.get("status", 200)), "payload": text, "headers": answer.get("headers") or {}}
    except Exception:  # noqa: BLE001 (a handler's bug must not end the process, as it does not in splunkd)
        traceback.print_exc()
        return {"status": 500, "payload": json.dumps({"messages": [{"type": "ERROR", "text": "Unexpected error"}]})}


if __name__ == "__main__":
    main()
