"""One playbook over one alert: the trigger, the steps in order, the first outcome that holds.

Nothing raises here: what fails is told in the answer, and keeps the alert open. `close` and `leave` are suggested only
where nothing at all failed; where something did, the suggestion is `review`, whatever the playbook says.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from cbsigned.alert import Alert
from cbsigned.errors import AlertError
from cbsigned.formats import parse_alert
from cbsigned.render.document import Document
from cbsigned.timing import Deadline, format_time, utc_now
from cbsigned_playbooks.actions import Actions, Outcome
from cbsigned_playbooks.definition import Kind
from cbsigned_playbooks.runner.model import Input, Playbook, Rule, Step
from cbsigned_playbooks.runner.templates import Expression, TemplateProblem

__all__ = ["SCHEMA", "Run", "plan", "run_playbook"]

SCHEMA = "cbsigned.playbook-run/1"

_MOST_SHOWN = 500
_MOST_LISTED = 50
_SET = (
    "role", "md5", "sha1", "sha256", "process_guid", "foreign_id", "name", "path", "pid", "host", "user", "cmdline",
)  # fmt: skip
_Record = Union[Mapping[str, Any], AlertError]


@dataclass(frozen=True)
class Run:
    """What came of one alert.

    Attributes:
        document: JSON types; see docs/playbooks.md.
        outcomes: What the actions answered, by the id of their step.
    """

    document: Document
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return bool(self.document["failures"])

    @property
    def refused(self) -> Optional[bool]:
        """Whether the source answered nothing of what it was asked; None where it was asked nothing."""
        if not self.outcomes:
            return None
        return all(not one.ok and not one.complete for one in self.outcomes.values())


def run_playbook(
    playbook: Playbook, record: _Record, actions: Actions, clock: Callable[[], float] = time.monotonic
) -> Run:
    """Return what comes of one alert.

    Args:
        record: The alert, or the error in place of one that cannot be read.
        actions: What the steps ask.
        clock: In seconds, for the deadline and the durations.
    """
    return _Running(playbook, record, clock).run(actions)


def plan(playbook: Playbook, record: _Record) -> Document:
    """Return what would be asked for one alert, and ask nothing.

    What depends on the answer of a step stands there as the template that it is, with the steps named.
    """
    return _Running(playbook, record, time.monotonic).planned()


class _Running:
    """The state of one run."""

    def __init__(self, playbook: Playbook, record: _Record, clock: Callable[[], float]) -> None:
        self._playbook, self._clock = playbook, clock
        self._unreadable = str(record) if isinstance(record, AlertError) else None
        kept: Mapping[str, Any] = record.record if isinstance(record, AlertError) else record
        self._alert = alert_names(kept)
        self._names: dict[str, Any] = {"alert": self._alert, "record": kept, "lists": playbook.lists, "steps": {}}
        self._failures: list[str] = []

    def run(self, actions: Actions) -> Run:
        started, began = utc_now(), self._clock()
        fired = self._fired()
        steps: list[Document] = []
        outcomes: dict[str, Outcome] = {}
        deadline = Deadline(self._playbook.deadline_s, self._clock)
        for step in self._playbook.steps if fired else ():
            told, outcome = self._step(step, actions, deadline)
            steps.append(told)
            if outcome is not None:
                outcomes[step.id] = outcome
        document = {
            **self._head(), "fired": fired, "started_at": format_time(started),
            "duration_s": round(self._clock() - began, 3), "steps": steps,
            "outcome": None if fired is False else self._outcome() if fired else self._undecided(),
            "failures": list(dict.fromkeys(self._failures)),
        }  # fmt: skip
        document["complete"] = not document["failures"]
        return Run(document, outcomes)

    def planned(self) -> Document:
        fired = self._fired()
        steps = [self._planned(step) for step in self._playbook.steps] if fired else []
        rules = [_rule(rule) for rule in (*self._playbook.outcomes, self._playbook.otherwise)] if fired else []
        return {
            **self._head(), "dry_run": True, "fired": fired, "steps": steps, "outcomes": rules,
            "failures": list(self._failures),
        }  # fmt: skip

    def _head(self) -> Document:
        about = {name: self._alert[name] for name in ("id", "title", "format", "at")}
        playbook = {"name": self._playbook.name, "sha256": self._playbook.sha256}
        return {"schema": SCHEMA, "playbook": playbook, "alert": about}

    def _fired(self) -> Optional[bool]:
        """Return whether the playbook is for this alert; None where that cannot be told."""
        if self._unreadable is not None:
            self._failures.append(self._unreadable)
            return None
        return True if self._playbook.trigger is None else self._holds(self._playbook.trigger, "trigger")

    def _holds(self, condition: Expression, place: str) -> Optional[bool]:
        try:
            return bool(condition.evaluate(self._names, self._clock))
        except TemplateProblem as exc:
            self._failures.append(f"{place} cannot be told: {exc}")
            return None

    def _step(self, step: Step, actions: Actions, deadline: Deadline) -> tuple[Document, Optional[Outcome]]:
        told: Document = {"id": step.id, "action": step.action.name}
        wanted = True if step.when is None else self._holds(step.when, f"when of step {step.id}")
        if not wanted:
            state = "failed" if wanted is None else "skipped"
            message = self._failures[-1] if wanted is None else "Left out: its condition does not hold."
            self._names["steps"][step.id] = _names_of(None, skipped=state == "skipped", message=message)
            return {**told, "state": state, "message": message}, None
        outcome, asked, begun = None, None, (format_time(utc_now()), self._clock())
        try:
            asked = {name: self._given(item, f"with.{name}") for name, item in step.inputs.items()}
            outcome = self._asked(step, asked, actions, deadline)
            message = outcome.message
        except TemplateProblem as exc:
            message = f"Step {step.id} was not asked: {exc}"
        self._names["steps"][step.id] = _names_of(outcome, skipped=False, message=message)
        doubts = (*outcome.failures, *outcome.notes) if outcome is not None else ()
        whole = outcome is not None and outcome.ok and outcome.complete and not doubts
        if not whole:
            self._failures += doubts or [message]
        told.update(
            state="done" if outcome is not None and outcome.ok else "failed",
            inputs={} if asked is None else {name: _shown(item, step, name) for name, item in asked.items()},
            started_at=begun[0], duration_s=round(self._clock() - begun[1], 3), message=message,
        )  # fmt: skip
        if outcome is not None:
            told.update(complete=outcome.complete, rows=len(outcome.rows), summary=dict(outcome.summary))
        return told, outcome

    def _asked(self, step: Step, asked: dict[str, Any], actions: Actions, deadline: Deadline) -> Outcome:
        parameter = next(one for one in step.action.parameters if one.name == "deadline_s")
        left = deadline.remaining()
        if left < (parameter.low or 0):
            told = f"the {self._playbook.deadline_s:g} s of the playbook were spent before it; raise deadline_s"
            raise TemplateProblem(f"{told}.")
        given = asked.get("deadline_s") or parameter.default
        within = min(float(given), left) if isinstance(given, (int, float)) else given
        return actions.run(step.action.name, {**asked, "deadline_s": within})

    def _given(self, item: Input, place: str) -> Any:
        if isinstance(item, Expression):
            try:
                return item.evaluate(self._names, self._clock)
            except TemplateProblem as exc:
                raise TemplateProblem(f"{place} has no value: {exc}") from exc
        if isinstance(item, list):
            return [self._given(one, place) for one in item]
        return {name: self._given(one, place) for name, one in item.items()} if isinstance(item, dict) else item

    def _outcome(self) -> Document:
        """Return the first outcome that holds; one that cannot be told does not hold, and is a failure."""
        rules = (rule for rule in self._playbook.outcomes if self._rule_holds(rule))
        chosen = next(rules, self._playbook.otherwise)
        try:
            note = chosen.note.evaluate(self._names, self._clock).strip()
        except TemplateProblem as exc:
            self._failures.append(f"note of {chosen.place} cannot be written: {exc}")
            note = self._failures[-1]
        if chosen.disposition in ("close", "leave") and self._failures:
            return {
                "disposition": "review", "rule": chosen.place,
                "note": f"{chosen.place} says {chosen.disposition}, but not everything could be looked up or told. "
                + " ".join(dict.fromkeys(self._failures)),
            }  # fmt: skip
        return {"disposition": chosen.disposition, "rule": chosen.place, "note": note}

    def _rule_holds(self, rule: Rule) -> bool:
        return rule.when is None or self._holds(rule.when, f"when of {rule.place}") is True

    def _undecided(self) -> Document:
        reasons = " ".join(self._failures)
        return {"disposition": "review", "rule": None, "note": f"It cannot be told whether this is for us: {reasons}"}

    def _planned(self, step: Step) -> Document:
        depends = {one for item in step.inputs.values() for one in _steps_in(item)}
        if step.when is None:
            asked: Optional[bool] = True
        elif step.when.steps:
            asked = None
        else:
            asked = self._holds(step.when, f"when of step {step.id}")
        told: Document = {"id": step.id, "action": step.action.name, "asked": asked}
        if step.when is not None:
            told["when"] = step.when.source
            depends |= step.when.steps
        told["depends_on"] = sorted(depends)
        try:
            inputs = {name: self._shown_plan(item, step, name) for name, item in step.inputs.items()}
        except TemplateProblem as exc:
            self._failures.append(f"Step {step.id} would not be asked: {exc}")
            inputs = {}
        return {**told, "inputs": inputs}

    def _shown_plan(self, item: Input, step: Step, name: str) -> Any:
        if any(_steps_in(item)):
            return _sources(item)
        given = self._given(item, f"with.{name}")
        return given if isinstance(item, dict) else _shown(given, step, name)


def alert_names(record: Mapping[str, Any]) -> Document:
    """Return what templates know as `alert`: the same members for every format, null where it does not say.

    `subjects` are its processes and files, the acting one first; `subject` is that one, with nulls where there is
    none; `problem` says why nothing in the alert can be looked up.
    """
    problem = None
    try:
        alert = parse_alert(record)
    except AlertError as exc:
        alert, problem = Alert("unknown"), str(exc)
    subjects: list[Document] = [
        {**{name: getattr(one, name) for name in _SET}, "role": one.role.value,
         "started_at": format_time(one.started_at), "problems": list(one.problems)}
        for one in alert.sets
    ]  # fmt: skip
    return {
        "format": alert.format, "kind": alert.kind, "id": alert.id, "title": alert.title, "at": format_time(alert.at),
        "link": alert.link, "problem": problem, "subjects": subjects,
        "subject": subjects[0] if subjects else {**dict.fromkeys((*_SET, "started_at")), "problems": []},
    }  # fmt: skip


def _names_of(outcome: Optional[Outcome], *, skipped: bool, message: str) -> Document:
    if outcome is None:
        return {
            "ok": False, "complete": False, "skipped": skipped, "message": message, "summary": {}, "rows": [],
            "row": None,
        }  # fmt: skip
    return {
        "ok": outcome.ok, "complete": outcome.complete, "skipped": False, "message": message,
        "summary": dict(outcome.summary), "rows": outcome.rows, "row": outcome.rows[0] if outcome.rows else None,
    }  # fmt: skip


def _shown(item: Any, step: Step, name: str) -> Any:
    """Return an input as a record keeps it: no whole alerts, no endless lists."""
    parameter = next((one for one in step.action.parameters if one.name == name), None)
    if parameter is not None and parameter.kind is Kind.JSON:
        text = item if isinstance(item, str) else json.dumps(item, sort_keys=True, default=str)
        return {"sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), "characters": len(text)}
    if isinstance(item, list):
        more = len(item) - _MOST_LISTED
        return [_shown(one, step, "") for one in item[:_MOST_LISTED]] + ([f"… {more} more"] if more > 0 else [])
    return f"{item[:_MOST_SHOWN]}…" if isinstance(item, str) and len(item) > _MOST_SHOWN else item


def _steps_in(item: Input) -> Sequence[str]:
    if isinstance(item, Expression):
        return sorted(item.steps)
    inner: Sequence[Any] = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [one for part in inner for one in _steps_in(part)]


def _sources(item: Input) -> Any:
    if isinstance(item, Expression):
        return item.source
    if isinstance(item, dict):
        return {name: _sources(one) for name, one in item.items()}
    return [_sources(one) for one in item] if isinstance(item, list) else item


def _rule(rule: Rule) -> Document:
    return {"rule": rule.place, "disposition": rule.disposition, "when": rule.when.source if rule.when else None}
