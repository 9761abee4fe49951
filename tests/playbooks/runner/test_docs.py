"""docs/playbooks.md shows a playbook that is one, and names the whole language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cbsigned_playbooks.actions import Actions
from cbsigned_playbooks.runner.model import examples, read_playbook
from cbsigned_playbooks.runner.running import alert_names, run_playbook
from cbsigned_playbooks.runner.schema import DISPOSITIONS, playbook_schema
from cbsigned_playbooks.runner.templates import ALERT_MEMBERS, STEP_MEMBERS, SUBJECT_MEMBERS
from cbsigned_playbooks.runner.vocabulary import FILTERS, TESTS
from support import PROJECT

_TEXT = (PROJECT / "docs" / "playbooks.md").read_text("utf-8")


def named_in(table: str) -> set[str]:
    """Return the words in code type in the first column of a table."""
    body = _TEXT.split(f"| {table} |", 1)[1].split("\n\n", 1)[0]
    cells = [line.split(" | ")[0] for line in body.splitlines()[2:]]
    return {word for cell in cells for word in re.findall(r"`([a-z_]+)", cell)}


def test_the_tables_name_every_filter_test_key_disposition_and_example() -> None:
    assert named_in("filter") == set(FILTERS)
    assert named_in("test") == set(TESTS)
    assert named_in("key") == set(playbook_schema()["properties"])
    assert named_in("disposition") == set(DISPOSITIONS)
    assert {name for name in examples() if f"| `{name}` |" in _TEXT} == set(examples())
    assert all(f"`{member}`" in _TEXT for member in (*STEP_MEMBERS, *ALERT_MEMBERS, *SUBJECT_MEMBERS))


def test_the_members_that_templates_may_name_are_those_of_every_alert(alerts: dict[int, Any]) -> None:
    for record in ({}, *alerts.values()):
        names = alert_names(record)
        assert set(names) == set(ALERT_MEMBERS)
        assert all(set(one) == set(SUBJECT_MEMBERS) for one in (names["subject"], *names["subjects"]))


def test_the_playbook_shown_runs(tmp_path: Path, actions: Actions, alerts: dict[int, Any]) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)[0], "utf-8")
    shown = read_playbook(str(path))
    moved = {**alerts[6], "hostname": "SRV-WEB-01", "computer_name": "SRV-WEB-01"}
    run = run_playbook(shown, moved, actions).document

    assert run["failures"] == []
    assert run["outcome"]["disposition"] == "escalate"
    assert "Seen on: HR-LT-017" in run["outcome"]["note"]
    assert run_playbook(shown, alerts[6], actions).document["fired"] is False
