"""The schema of our own playbooks, which lies beside the code that reads them."""

from __future__ import annotations

from cbsigned_playbooks.runner.schema import schema_text

_PLACE = "../../playbooks/cbsigned_playbooks/runner/playbook.schema.json"


def files() -> dict[str, str]:
    """Return the one generated file by its path below this folder."""
    return {_PLACE: schema_text()}
