"""TheHive Cortex: every action as an analyzer, and a responder that tags cases, alerts and observables.

Try one, without Cortex: `python cbsigned_analyzer.py FOLDER`, where `FOLDER/input/input.json` is
`{"dataType": "hash", "data": "…", "config": {"service": "signing_status", "url": "https://…", "api_key": "…"}}`.
Tested as docs/playbooks-cortex.md says.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from cbsigned.edr.query import clause
from cbsigned.errors import ConfigError
from cbsigned.observables import parse_md5, parse_process_id, parse_sha256, printable
from cbsigned.render.clean import clean
from cbsigned_playbooks.actions import answer
from cbsigned_playbooks.catalogue import ACTIONS, CONFIGURATION, action_named
from cbsigned_playbooks.cortex_job import Job, JobRefused, Report, text_of
from cbsigned_playbooks.cortex_report import artifacts, tag, taxonomies
from cbsigned_playbooks.definition import Action, Kind, Parameter
from cbsigned_playbooks.outcome import Outcome
from cbsigned_playbooks.reputation import publishers_of

__all__ = ["DRAWN", "RESPONDER_TYPES", "analyzer", "clicked", "data_types", "remembered", "responder", "settings"]

RESPONDER_TYPES = {
    "thehive:case": "AddTagToCase",
    "thehive:alert": "AddTagToAlert",
    "thehive:case_artifact": "AddTagToArtifact",
}
"""What the responder can be run on → the operation that tags it; TheHive refuses any other operation there."""

DRAWN = ("card", "svg", "tree")
"""Members of rows that are drawings of the others."""

_IN_CASES = ("thehive:case", "thehive:case_artifact")
_SEARCHED = {
    "find_processes": {"hostname": "hostname", "ip": "ipaddr", "domain": "domain", "filename": "process_name"},
    "find_binaries": {"filename": "observed_filename"},
}  # action → TheHive's type of observable → field of the EDR's query language
_OWN = ("proxy",)  # Cortex has settings of its own for these, and puts an object of that name into every job
_BEFORE_TIMEOUT_S = 10
_SVG_GROUND = "<style>.cbs-svg{background:#fff}@media(prefers-color-scheme:dark){.cbs-svg{background:#0d1117}}</style>"


def analyzer(job: Job) -> Report:
    """Return what an analyzer answers; which action it is, `service` of the flavor says.

    Raises:
        JobRefused: Nothing could be answered; the text says what, why, and what to do.
        ConfigError: The flavor names no action.
    """
    action = _action_of(job)
    outcome = _asked(job, action, _inputs(action, job, job.data_type, job.data))
    labels = _labels(job, action, outcome)
    full = {
        "action": action.name,
        "title": action.title,
        "message": outcome.message,
        "complete": outcome.complete,
        "failures": list(outcome.failures),
        "summary": dict(outcome.summary),
        "rows": outcome.rows,
        "shown": _shown(outcome.rows),
        "drawings": [_drawing(row.get("svg")) for row in outcome.rows],
        "card": outcome.card,
    }
    tagged = job.config.get("add_tags") is not False and outcome.complete  # a tag would stay when the EDR is back
    tags = [tag(label) for label in labels] if tagged else []
    extracted = job.config.get("auto_extract_artifacts") is not False
    return {
        "success": True,
        "summary": {"taxonomies": labels},
        "artifacts": artifacts(action, outcome.rows, job.data, job.tlp) if extracted else [],
        "operations": [{"type": "AddTagToArtifact", "tag": text} for text in tags],
        "full": full,
    }


def responder(job: Job) -> Report:
    """Return what the responder answers, with the operations that write it to what it was run on.

    Where a look-up failed that may succeed later, nothing is written: a tag would stay when the EDR is back.

    Raises:
        JobRefused: It was run on something else, nothing there can be looked up, or nothing could be answered.
    """
    operation = RESPONDER_TYPES.get(job.data_type)
    if operation is None or not isinstance(job.data, dict):
        raise JobRefused(
            f"This responder was run on {printable(job.data_type, 60)}: expected one of {', '.join(RESPONDER_TYPES)}."
        )
    action, inputs = _question(job.data) if job.data_type == "thehive:case_artifact" else _whole(job.data)
    outcome = _asked(job, action, inputs)
    if not outcome.complete or all(row.get("subjects") == [] for row in outcome.rows):
        reasons = " ".join(outcome.failures) or _why_not(outcome)
        raise JobRefused(f"Nothing was written to {job.data_type}: {reasons}")
    labels = _labels(job, action, outcome)
    tags = [tag(label) for label in labels]
    operations: list[dict[str, Any]] = [{"type": operation, "tag": text} for text in tags]
    field = text_of(job.config.get("custom_field"))
    if field and job.data_type in _IN_CASES:
        operations.append({"type": "AddCustomFields", "name": field, "tpe": "string", "value": labels[0]["value"]})
    full = {
        "message": outcome.message,
        "action": action.name,
        "tags": tags,
        "summary": dict(outcome.summary),
    }
    return {"success": True, "full": full, "operations": operations}


def data_types(action: Action) -> tuple[str, ...]:
    """Return TheHive's types of observables that an action takes: by what is clicked, else `other`."""
    one = clicked(action)
    hashes = ("hash", "file") if one is not None and "hash" in one.contains else ()
    return (*hashes, *_SEARCHED.get(action.name, ()), "other")


def clicked(action: Action) -> Optional[Parameter]:
    """Return the input that the observable is, or None where an action needs none."""
    named = [one for one in action.parameters if one.primary] or [one for one in action.parameters if one.required]
    return named[0] if named else None


def remembered(action: Action) -> tuple[Parameter, ...]:
    """Return the inputs that an administrator sets once: what is no observable and no moment."""
    return tuple(
        one for one in action.parameters if not (one.required or one.primary or one.contains or one.kind is Kind.TIME)
    )


def settings() -> tuple[Parameter, ...]:
    """Return the settings of the EDR server that Cortex does not have already."""
    return tuple(one for one in CONFIGURATION if one.name not in _OWN)


def _action_of(job: Job) -> Action:
    service = text_of(job.config.get("service"))
    known = [one.name for one in ACTIONS]
    if service not in known:
        raise ConfigError(
            f"The flavor's service is {printable(service, 60)}: expected one of {', '.join(known)}. "
            "Install the analyzer's JSON files as they are."
        )
    return action_named(service)


def _asked(job: Job, action: Action, inputs: Mapping[str, Any]) -> Outcome:
    """Return an answer; raises where there is none."""
    defaults = {one.name: one.default for one in action.parameters}
    known = {one.name for one in remembered(action)}
    given = {name: value for name, value in job.config.items() if name in known}
    given.update((name, value) for name, value in job.parameters.items() if name in defaults)  # TheHive has own ones
    given.update(inputs)
    given["deadline_s"] = _before_timeout(given.get("deadline_s", defaults["deadline_s"]), job.config.get("jobTimeout"))
    outcome = answer(action.name, given, _configuration(job))
    if not outcome.ok:
        raise JobRefused(outcome.message)
    return outcome


def _before_timeout(wanted: object, limit: object) -> object:
    """Return a deadline in seconds that passes before Cortex ends the job, after `limit` minutes."""
    if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not limit > 0:
        return wanted
    try:
        seconds = float(str(wanted))
    except ValueError:
        return wanted  # the action says what is wrong with it
    longest = max(1.0, limit * 60 - _BEFORE_TIMEOUT_S)
    return longest if seconds > longest else wanted


def _configuration(job: Job) -> dict[str, Any]:
    told = {one.name: job.config.get(one.name) for one in settings()}
    authorities = job.authorities()
    if told.get("ca_file") is None and authorities is not None:
        told["ca_file"] = str(authorities)
    told["proxy"] = job.proxy_for(text_of(told.get("url")))
    return told


def _inputs(action: Action, job: Job, kind: str, data: Any) -> dict[str, Any]:
    """Return the inputs that an observable is: its value, a search for it, or the inputs by name as JSON."""
    types = data_types(action)
    if kind not in types:
        raise JobRefused(
            f"{action.title} takes no observable of type {printable(kind, 40)}: expected {', '.join(types)}."
        )
    one = clicked(action)
    if one is None:
        return {}
    if kind == "file":
        return {one.name: _md5_of(job.attachment())}
    if not text_of(data):
        raise JobRefused(f"The observable is empty: {action.title} needs {one.description}")
    field = _SEARCHED.get(action.name, {}).get(kind)
    if field is not None:
        return {one.name: clause(field, text_of(data)).text}
    if kind == "other" and one.kind is not Kind.JSON and text_of(data).startswith("{"):
        return _object(action, text_of(data))
    return {one.name: data}


def _object(action: Action, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        names = ", ".join(one.name for one in action.parameters)
        raise JobRefused(f"The observable begins like JSON and is none: expected an object with some of {names}.")
    return found


def _md5_of(path: Path) -> str:
    found = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as content:
        for part in iter(lambda: content.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def _question(observable: Mapping[str, Any]) -> tuple[Action, dict[str, Any]]:
    """Return what to ask about one observable of TheHive."""
    value = text_of(observable.get("data"))
    hashes = list(_hashes((observable,)))
    if hashes:
        return action_named("signing_status"), {"hashes": hashes[:1]}
    if parse_process_id(value) is not None:
        return action_named("process_lineage"), {"guid": value}
    if value.startswith(("{", "[")):
        return action_named("enrich_alert"), {"alert": value}
    raise JobRefused(
        f"Nothing is known to ask about this observable ({printable(text_of(observable.get('dataType')), 40)}): "
        "expected an MD5, a SHA-256, a file, a process guid, or an alert as JSON."
    )


def _whole(thing: Mapping[str, Any]) -> tuple[Action, dict[str, Any]]:
    """Return what to ask about a case or an alert: what an analyst can see of it, without TheHive's own ids."""
    told = [one for name in ("artifacts", "observables") for one in _objects(thing.get(name))]
    seen = {name: thing[name] for name in ("title", "description", "tags", "customFields") if name in thing}
    listed = [{"dataType": "hash", "data": found} for found in _hashes(told)]
    guids = [
        {"process_guid": text_of(one.get("data"))} for one in told if parse_process_id(one.get("data")) is not None
    ]
    return action_named("enrich_alert"), {"alert": {**seen, "observables": listed + guids}, "format": "generic"}


def _hashes(observables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield one hash of each observable that has any; of a file, the MD5 of its attachment."""
    for one in observables:
        attachment = one.get("attachment")
        listed = attachment.get("hashes") if isinstance(attachment, dict) else None
        told = [one.get("data"), *(listed if isinstance(listed, list) else ())]
        found = next((md5 for md5 in map(parse_md5, told) if md5), None)
        found = found or next((sha256 for sha256 in map(parse_sha256, told) if sha256), None)
        if found:
            yield found


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def _labels(job: Job, action: Action, outcome: Outcome) -> list[dict[str, str]]:
    named = job.config.get("trusted_publishers")
    trusted = publishers_of("\n".join(map(text_of, named if isinstance(named, list) else [named])))
    return taxonomies(action, outcome.rows, outcome.summary, outcome.complete, trusted)


def _why_not(outcome: Outcome) -> str:
    reasons = [text_of(row.get("reason")) for row in outcome.rows]
    return next((reason for reason in reasons if reason), outcome.message)


def _shown(rows: Sequence[Mapping[str, Any]]) -> Optional[list[Any]]:
    """Return rows for the report's template, letters that turn or hide others written out; None where none has any."""
    plain = [{name: value for name, value in row.items() if name not in DRAWN} for row in rows]
    cleaned = [_cleaned(row) for row in plain]
    return cleaned if cleaned != plain else None


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    return clean(value) if isinstance(value, str) else value


def _drawing(svg: object) -> Optional[str]:
    """Return a drawing as an address for `<img>`, where no script of it could run; None where there is none."""
    if not isinstance(svg, str) or ">" not in svg:
        return None
    head, _, rest = svg.partition(">")
    text = f"{head}>{_SVG_GROUND}{rest}"
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
