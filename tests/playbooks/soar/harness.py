"""Run by the Python of an SDK: calls the app as the platform does, a job for each line of standard input.

    python harness.py FOLDER      FOLDER as `packaging/soar/build.py` lays it out

A job is `["action", identifier, parameters, asset]`, `["webhook", method, path, body, asset]` or
`["view", identifier, rows]`; the answer is one line of JSON on standard output. What the app prints goes to standard
error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from soar_sdk.action_results import ActionResult
from soar_sdk.shims.phantom_common.encryption.encryption_manager_factory import platform_encryption_backend

ASSET_ID = "7"
CONTEXT = {"QS": {}, "container": 1, "app": 1, "no_connection": False, "google_maps_key": False}


def run_action(app: Any, identifier: str, parameters: Any, asset: dict[str, Any]) -> dict[str, Any]:
    """Return what the platform keeps of one action run; the asset's secrets reach the app encrypted, as there."""
    config = {"app_version": "1", "directory": ".", "main_module": "src.app:app", **asset}
    if "api_key" in config:
        config["api_key"] = platform_encryption_backend.encrypt(config["api_key"], ASSET_ID)
    asked = {"identifier": identifier, "asset_id": ASSET_ID, "config": config, "parameters": [parameters]}
    before = len(app.actions_manager.get_action_results())
    app.__dict__.pop("_asset", None)  # a process of its own for each run on the platform
    app.handle(json.dumps(asked))
    results = app.actions_manager.get_action_results()[before:]
    return {"results": [_told(one) for one in results]}


def _told(one: ActionResult) -> dict[str, Any]:
    return {
        "ok": one.get_status(),
        "message": one.get_message(),
        "summary": one.get_summary(),
        "data": one.get_data(),
        "param": one.get_param(),
    }


def run_webhook(app: Any, method: str, path: str, body: Any, asset: dict[str, Any]) -> dict[str, Any]:
    """Return the response to one request."""
    app.__dict__.pop("_asset", None)
    # no session of the platform: the SDK would log in to it
    session = SimpleNamespace(headers={"Cookie": "sessionid="})
    client = SimpleNamespace(session=session, asset_id=7, base_url="https://127.0.0.1:9")
    parts = [part for part in path.split("/") if part]
    given: dict[str, Any] = {"path_parts": parts, "query": {}, "body": body, "asset": asset, "soar_rest_client": client}
    answer: dict[str, Any] = app.handle_webhook(method=method, headers={}, **given)
    return answer


def show(module: Any, identifier: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the HTML of an action's widget."""
    result = ActionResult(True, "", {})
    for row in rows:
        result.add_data(row)
    counts = {"total_objects": 1, "total_objects_successful": 1}
    context = {**CONTEXT, "accepts_prerender": True}
    return {"html": getattr(module, f"show_{identifier}")(identifier, [(counts, [result])], context)}


def main() -> None:
    """Answer until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    folder = Path(sys.argv[1]).resolve()
    os.chdir(folder)
    sys.path.insert(0, str(folder.parent))
    module = importlib.import_module(f"{folder.name}.src.app")
    for line in sys.stdin:
        job, *arguments = json.loads(line)
        if job == "view":
            answer = show(module, *arguments)
        else:
            answer = {"action": run_action, "webhook": run_webhook}[job](module.app, *arguments)
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
