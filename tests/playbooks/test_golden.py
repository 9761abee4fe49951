"""The actions give what `cbsigned enrich` gives, member by member, and what the catalogue promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from golden import CASES, DEEP_GUID, UNKNOWN_GUID, WRITTEN_MD5, Edr, comparable, expected, guid_at

from cbsigned_playbooks.actions import Actions, open_actions
from cbsigned_playbooks.catalogue import ACTIONS, action_named
from cbsigned_playbooks.definition import Kind

_TYPES = {
    Kind.TEXT: str, Kind.TIME: str, Kind.INTEGER: int, Kind.NUMBER: (int, float), Kind.SWITCH: bool,
}  # fmt: skip


@pytest.fixture(scope="module")
def actions(edr: Edr) -> Iterator[Actions]:
    """Give the actions over the server."""
    with open_actions(edr.configuration) as opened:
        yield opened


@pytest.mark.parametrize("name", list(CASES))
def test_enrich_alert_agrees_with_the_command_line(actions: Actions, edr: Edr, name: str) -> None:
    outcome = actions.run("enrich_alert", {"alert": json.dumps(CASES[name])})

    assert [expected(edr, name)] == [comparable(row) for row in outcome.rows]


def test_the_golden_cases_hold_every_status_and_a_lineage_of_thirteen(actions: Actions) -> None:
    rows = actions.run("enrich_alert", {"alert": list(CASES.values())}).rows

    statuses = {subject["status"] for row in rows for subject in row["subjects"]}
    depths = [len(subject["lineage"]["nodes"]) for row in rows for subject in row["subjects"] if subject["lineage"]]
    assert len(statuses) == 9
    assert max(depths) == 13


def _asked(actions: Actions) -> Iterator[tuple[str, Any]]:
    """Yield each action's name and rows in as many forms as there are."""
    alerts = list(CASES.values())
    md5s = [row["md5"] for row in actions.run("find_binaries", {"query": "", "rows": 15}).rows]
    questions: list[tuple[str, dict[str, Any]]] = [
        ("test_connection", {}),
        ("enrich_alert", {"alert": alerts, "relatives": 3}),
        ("signing_status", {"hashes": [*md5s, "fe" * 16, "no hash", "cd" * 20]}),
        ("process_lineage", {"guid": DEEP_GUID, "relatives": 3}),
        ("process_lineage", {"guid": guid_at(7), "relatives": 3}),
        ("process_lineage", {"guid": UNKNOWN_GUID}),
        ("find_processes", {"query": "", "rows": 200}),
        ("find_binaries", {"query": "", "rows": 200}),
        ("where_seen", {"hashes": [*md5s, WRITTEN_MD5, "no hash"]}),
    ]
    for name, given in questions:
        yield name, actions.run(name, given).rows


def test_every_row_holds_what_the_catalogue_promises_and_nothing_else(actions: Actions) -> None:
    problems, seen = [], set()
    for name, rows in _asked(actions):
        assert rows
        outputs = {output.path: output for output in action_named(name).outputs}
        for path, value in (leaf for row in rows for leaf in _leaves(row)):
            known = outputs.get(path)
            inside = any(other.startswith((f"{path}.", f"{path}[]")) for other in outputs)
            if known is None and not (inside and value is None):
                problems.append(f"{name}: {path} is not in the catalogue")
            elif known is not None and value is None and not known.optional:
                problems.append(f"{name}: {path} is null and not optional")
            elif known is not None and value is not None and not isinstance(value, _TYPES[known.kind]):
                problems.append(f"{name}: {path} is {value!r}, not {known.kind.value}")
            elif known is not None and value is not None:
                seen.add(path.rpartition(".")[2])

    assert sorted(set(problems)) == []
    promised = {output.path.rpartition(".")[2] for one in ACTIONS for output in one.outputs}
    assert sorted(promised - seen) == sorted(_NOT_RECORDED)


_NOT_RECORDED = {"ended_at", "foreign_id", "serial"}
"""Ends of processes, ids of other products and rows of Splunk exports, which an EDR server does not give."""


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, f"{path}[]")
    else:
        yield path, value
