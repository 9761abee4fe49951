"""A run: steps in order, the first outcome that holds, and never close where anything failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbsigned.errors import AlertError
from cbsigned.gaps import Cause
from cbsigned_playbooks.actions import Actions, open_actions
from cbsigned_playbooks.runner.model import Playbook, read_playbook
from cbsigned_playbooks.runner.running import Run, plan, run_playbook
from edr_server import EdrServer

_MD5 = "3d485deffe2f74d0c15f1cb23086f936"
_CLOSE = "  - {when: 'true', disposition: close, note: Closed.}\n"


def playbook(folder: Path, steps: str = "[]", outcomes: str = _CLOSE, head: str = "") -> Playbook:
    path = folder / "p.yaml"
    path.write_text(
        f"name: p\ndescription: d\n{head}steps: {steps}\noutcomes:\n{outcomes}"
        "otherwise: {disposition: leave, note: Otherwise.}\n", "utf-8",
    )  # fmt: skip
    return read_playbook(str(path))


def step(action: str, given: str = "{}", more: str = "", *, name: str = "a") -> str:
    return f"\n  - {{id: {name}, action: {action}, with: {given}{more}}}"


def outcome_of(run: Run) -> Any:
    return run.document["outcome"]["disposition"]


def test_a_playbook_without_a_trigger_is_for_every_alert(tmp_path: Path, actions: Actions) -> None:
    assert outcome_of(run_playbook(playbook(tmp_path), {"md5": _MD5}, actions)) == "close"


def test_where_the_trigger_does_not_hold_nothing_is_asked_and_nothing_suggested(
    tmp_path: Path, actions: Actions
) -> None:
    head = "trigger: alert.subject.host == 'OTHER'\n"
    run = run_playbook(playbook(tmp_path, step("signing_status", f"{{hashes: {_MD5}}}"), head=head), {}, actions)

    assert run.document["fired"] is False
    assert (run.document["outcome"], run.document["steps"], run.outcomes) == (None, [], {})


def test_a_step_reads_what_an_earlier_one_answered(tmp_path: Path, actions: Actions, alerts: dict[int, Any]) -> None:
    steps = step("enrich_alert", "{alert: '{{ record }}'}") + step(
        "signing_status", "{hashes: \"{{ steps.a.rows|values('subjects[].md5') }}\"}", name="b"
    )
    run = run_playbook(playbook(tmp_path, steps), alerts[6], actions)

    assert [one["state"] for one in run.document["steps"]] == ["done", "done"]
    assert run.document["steps"][1]["inputs"] == {"hashes": [_MD5]}
    assert run.outcomes["b"].rows[0]["status"] == "Unsigned"


def test_a_step_whose_condition_does_not_hold_is_left_out_and_says_so(tmp_path: Path, actions: Actions) -> None:
    outcomes = "  - {when: steps.a.skipped and not steps.a.ok, disposition: escalate, note: Skipped.}\n"
    steps = step("signing_status", f"{{hashes: {_MD5}}}", ", when: record.go")
    run = run_playbook(playbook(tmp_path, steps, outcomes), {"md5": _MD5, "go": False}, actions)

    assert run.document["steps"][0]["state"] == "skipped"
    assert outcome_of(run) == "escalate"
    assert not run.failed


def test_the_first_outcome_that_holds_is_taken(tmp_path: Path, actions: Actions) -> None:
    outcomes = (
        "  - {when: 'false', disposition: escalate, note: No.}\n"
        "  - {when: 'true', disposition: review, note: 'Second, {{ alert.subject.md5 }}.'}\n"
        "  - {when: 'true', disposition: escalate, note: Third.}\n"
    )
    run = run_playbook(playbook(tmp_path, outcomes=outcomes), {"md5": _MD5}, actions)

    assert run.document["outcome"] == {"disposition": "review", "rule": "outcomes[1]", "note": f"Second, {_MD5}."}


@pytest.mark.parametrize(
    ("steps", "outcomes", "told"),
    [
        (step("signing_status", "{hashes: '{{ record.absent }}'}"), _CLOSE, 'with.hashes has no value: there is no'),
        (step("signing_status", "{hashes: nonsense}"), _CLOSE, "neither an MD5"),
        (step("signing_status", "{hashes: '{{ alert.subject.sha256 }}'}"), _CLOSE, "needs hashes"),
        (step("signing_status", f"{{hashes: {_MD5}, deadline_s: '{{{{ record.md5 }}}}'}}"), _CLOSE, "deadline_s"),
        (step("signing_status", f"{{hashes: {_MD5}}}", ", when: record.absent"), _CLOSE, "when of step a cannot"),
        (step("process_lineage", "{guid: 00000063-0000-2000-01d2-e50000000099}"), _CLOSE, ""),
        ("[]", "  - {when: 'record.x', disposition: escalate, note: x}\n" + _CLOSE, "when of outcomes[0] cannot"),
        ("[]", "  - {when: 'true', disposition: close, note: '{{ record.x }}'}\n", "note of outcomes[0] cannot"),
        ("[]", "  - {when: 'record.x', disposition: close, note: x}\n", "when of outcomes[0] cannot"),
    ],
    ids=["input", "bad hash", "null", "type", "when", "unknown", "outcome before", "note", "leave"],
)  # fmt: skip
def test_whatever_fails_keeps_the_alert_open_and_says_why(
    tmp_path: Path, actions: Actions, steps: str, outcomes: str, told: str
) -> None:
    run = run_playbook(playbook(tmp_path, steps, outcomes), {"md5": _MD5}, actions)

    assert run.failed
    assert run.document["complete"] is False
    assert outcome_of(run) == "review"
    assert told in " ".join(run.document["failures"])
    assert run.document["failures"][0] in run.document["outcome"]["note"]


def test_a_query_that_may_not_mean_what_was_meant_closes_nothing(tmp_path: Path) -> None:
    steps = step("find_processes", "{query: 'nofield:x'}")
    with EdrServer() as server, open_actions({"url": server.url, "api_key": server.token}) as actions:
        run = run_playbook(playbook(tmp_path, steps, _CLOSE), {"md5": _MD5}, actions)

    assert outcome_of(run) == "review"
    assert "may not mean what was meant" in run.document["outcome"]["note"]


def test_a_failed_condition_does_not_hide_an_escalation(tmp_path: Path, actions: Actions) -> None:
    outcomes = (
        "  - {when: record.absent, disposition: close, note: x}\n"
        "  - {when: 'true', disposition: escalate, note: Escalated.}\n"
    )

    assert outcome_of(run_playbook(playbook(tmp_path, outcomes=outcomes), {"md5": _MD5}, actions)) == "escalate"


def test_a_note_that_fails_does_not_hide_an_escalation(tmp_path: Path, actions: Actions) -> None:
    outcomes = "  - {when: 'true', disposition: escalate, note: '{{ record.absent }}'}\n"
    run = run_playbook(playbook(tmp_path, outcomes=outcomes), {"md5": _MD5}, actions)

    assert outcome_of(run) == "escalate"
    assert "cannot be written" in run.document["outcome"]["note"]


@pytest.mark.parametrize("head", ["", "trigger: record.host is like('*')\n"])
def test_an_alert_that_cannot_be_read_is_for_a_person(tmp_path: Path, actions: Actions, head: str) -> None:
    error = AlertError("a.jsonl, line 3 holds no alert: no JSON.", Cause.UNREADABLE, {"_raw": "{"})
    run = run_playbook(playbook(tmp_path, head=head), error, actions)

    assert run.document["fired"] is None
    assert outcome_of(run) == "review"
    assert "line 3 holds no alert" in run.document["outcome"]["note"]


def test_a_trigger_that_cannot_be_told_is_for_a_person(tmp_path: Path, actions: Actions) -> None:
    run = run_playbook(playbook(tmp_path, head="trigger: record.host == 'x'\n"), {"md5": _MD5}, actions)

    assert run.document["fired"] is None
    assert outcome_of(run) == "review"


def test_an_alert_with_nothing_to_look_up_still_has_all_members(tmp_path: Path, actions: Actions) -> None:
    head = "trigger: alert.subject.host is none and alert.problem is not none and not alert.subjects\n"

    assert run_playbook(playbook(tmp_path, head=head), {"room": 7}, actions).document["fired"] is True


def test_after_the_deadline_no_step_is_asked(tmp_path: Path, actions: Actions) -> None:
    steps = step("signing_status", f"{{hashes: {_MD5}}}")
    ticks = iter([0.0, 0.0, *[59.5] * 1000])
    run = run_playbook(playbook(tmp_path, steps, head="deadline_s: 60\n"), {"md5": _MD5}, actions, lambda: next(ticks))

    assert run.document["steps"][0]["state"] == "failed"
    assert "the 60 s of the playbook were spent before it" in run.document["steps"][0]["message"]
    assert outcome_of(run) == "review"


def test_a_dry_run_tells_what_would_be_asked_and_what_depends_on_answers(
    tmp_path: Path, alerts: dict[int, Any]
) -> None:
    steps = step("enrich_alert", "{alert: '{{ record }}', max_depth: 3}") + step(
        "find_processes", "{query: 'hostname:{{ alert.subject.host }} md5:{{ steps.a.row.md5 }}', rows: 5}",
        ", when: alert.subject.host is like('HR-*')", name="b",
    ) + step("where_seen", "{hashes: '{{ alert.subject.md5 }}'}", ", when: steps.b.ok", name="c")  # fmt: skip
    document = plan(playbook(tmp_path, steps), alerts[6])

    assert [(one["id"], one["asked"], one["depends_on"]) for one in document["steps"]] == [
        ("a", True, []), ("b", True, ["a"]), ("c", None, ["b"]),
    ]  # fmt: skip
    assert document["steps"][0]["inputs"]["max_depth"] == 3
    assert document["steps"][1]["inputs"]["query"] == "hostname:{{ alert.subject.host }} md5:{{ steps.a.row.md5 }}"
    assert document["steps"][2]["inputs"] == {"hashes": _MD5}
    assert [one["disposition"] for one in document["outcomes"]] == ["close", "leave"]


def test_a_dry_run_shows_an_alert_that_the_playbook_makes(tmp_path: Path) -> None:
    document = plan(playbook(tmp_path, step("enrich_alert", "{alert: {md5: '{{ record.h }}'}}")), {"h": _MD5})

    assert document["steps"][0]["inputs"] == {"alert": {"md5": _MD5}}


def test_a_dry_run_tells_what_has_no_value(tmp_path: Path) -> None:
    steps = step("signing_status", "{hashes: '{{ record.absent }}'}")

    assert 'there is no "absent"' in plan(playbook(tmp_path, steps), {"md5": _MD5})["failures"][0]


def test_a_run_keeps_no_alert_and_no_endless_input(tmp_path: Path, actions: Actions) -> None:
    secret = "hunter2-" + "s" * 700
    steps = step("enrich_alert", "{alert: '{{ record }}'}") + step(
        "find_processes", "{query: 'cmdline:{{ record.password }}'}", name="b"
    ) + step("signing_status", "{hashes: '{{ record.many }}'}", name="c")  # fmt: skip
    record = {"md5": _MD5, "password": secret, "many": [f"{n:032x}" for n in range(1, 200)]}
    run = run_playbook(playbook(tmp_path, steps), record, actions)
    inputs = [one["inputs"] for one in run.document["steps"]]

    assert set(inputs[0]["alert"]) == {"sha256", "characters"}
    assert len(inputs[1]["query"]) < 520
    assert inputs[2]["hashes"][50:] == ["… 149 more"]
    json.dumps(run.document)


def test_nested_inputs_keep_their_types(tmp_path: Path, actions: Actions) -> None:
    steps = step("enrich_alert", "{alert: {md5: '{{ record.h }}', n: 5}, lineage: false, max_depth: '{{ record.d }}'}")
    run = run_playbook(playbook(tmp_path, steps), {"h": _MD5, "d": 2}, actions)

    assert run.document["steps"][0]["inputs"]["max_depth"] == 2
    assert run.outcomes["a"].rows[0]["status"] == "Unsigned"
    assert not run.failed
