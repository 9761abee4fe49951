"""The actions, implemented once over the core: inputs in, one `Outcome` out, whatever the platform.

A platform's binding asks `answer()` and shows the outcome; who asks more than once keeps the actions open.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable, Optional, Union

from cbsigned.alert import Alert
from cbsigned.binary import Signature
from cbsigned.enrichment import Enrichment, enrich, statuses_of
from cbsigned.errors import AlertError, CbSignedError, ConfigError, SourceError
from cbsigned.formats import FORMATS, parse_alert, records_of
from cbsigned.gaps import Cause, Gap
from cbsigned.observables import parse_md5, parse_sha256, printable, process_id_of
from cbsigned.process import parse_process
from cbsigned.render.document import Document, enrichment_document, signature_document
from cbsigned.render.found import binary_row, process_row, seen_document
from cbsigned.render.markdown import markdown_card
from cbsigned.render.style import Style
from cbsigned.render.svg import svg_lineage
from cbsigned.render.tree import lineage_text
from cbsigned.seen import not_seen
from cbsigned.settings import Settings
from cbsigned.signing import not_a_hash
from cbsigned.timing import Deadline, format_time, utc_now
from cbsigned_playbooks.catalogue import MOST_ALERTS, MOST_HASHES, MOST_SEEN, action_named
from cbsigned_playbooks.definition import Action
from cbsigned_playbooks.desk import Desk, EdrDesk, Page
from cbsigned_playbooks.inputs import InputError, read_inputs
from cbsigned_playbooks.outcome import Fact, Outcome
from cbsigned_playbooks.settings import settings_of

__all__ = ["Actions", "Outcome", "answer", "open_actions"]

log = logging.getLogger(__name__)

_TREE_WIDTH = 100
_MOST_REASONS = 5
_Work = Callable[["Actions", Action, dict[str, Any], Deadline], Outcome]


def answer(name: str, given: Mapping[str, Any], configuration: Mapping[str, Any]) -> Outcome:
    """Return what comes of one action; a configuration that cannot be used is an outcome too.

    Args:
        name: Of the catalogue.
        given: As of `Actions.run`.
        configuration: As of `open_actions`.

    Raises:
        KeyError: There is no such action.
    """
    action = action_named(name)
    try:
        with open_actions(configuration) as actions:
            return actions.run(name, given)
    except ConfigError as exc:
        log.info("%s: %s", name, exc)
        return Outcome(action, False, str(exc), complete=False, failures=(str(exc),))


@contextmanager
def open_actions(configuration: Mapping[str, Any]) -> Iterator[Actions]:
    """Give the actions over the EDR server of a platform's configuration, closed afterwards.

    Args:
        configuration: Flat, names as in `catalogue.CONFIGURATION`; values may all be texts.

    Raises:
        ConfigError: A setting is missing or cannot be used.
    """
    settings = settings_of(configuration)
    desk = EdrDesk(settings)
    try:
        yield Actions(desk, settings)
    finally:
        desk.close()


class Actions:
    """The actions over one desk.

    Args:
        desk: What is asked; it outlives this.
        settings: Strategy and life of cached answers; deadline, depth and relatives are each action's own.
    """

    def __init__(self, desk: Desk, settings: Settings) -> None:
        self.desk, self.settings = desk, settings

    def run(self, name: str, given: Mapping[str, Any]) -> Outcome:
        """Return what comes of one action; inputs that cannot be used and a failing source are outcomes too.

        Args:
            name: Of the catalogue.
            given: Input → value; None and empty texts are not given.

        Raises:
            KeyError: There is no such action.
        """
        action = action_named(name)
        try:
            inputs = read_inputs(action, given)
            return _WORK[name](self, action, inputs, Deadline(inputs["deadline_s"]))
        except CbSignedError as exc:
            log.info("%s: %s", action.name, exc)
            return Outcome(action, False, str(exc), complete=not _retryable(exc), failures=(str(exc),))

    def _settings(self, inputs: Mapping[str, Any], deadline: Deadline) -> Settings:
        chosen = {name: inputs[name] for name in ("lineage", "max_depth", "relatives") if name in inputs}
        return replace(self.settings, deadline_s=max(deadline.remaining(), 0.01), window=MOST_ALERTS, **chosen)

    def _enriched(self, alerts: Sequence[Any], inputs: Mapping[str, Any], deadline: Deadline) -> list[Enrichment]:
        return list(enrich(alerts, self.desk.sources, self._settings(inputs, deadline)))

    def _signatures(self, hashes: Iterable[Optional[str]], deadline: Deadline) -> dict[str, Signature]:
        names: dict[str, set[str]] = {file_hash: set() for file_hash in hashes if file_hash}
        return statuses_of(names, self.desk.sources, self._settings({}, deadline), deadline) if names else {}


def _test_connection(actions: Actions, action: Action, _inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    findings = actions.desk.check(deadline)
    rows: list[Document] = [{"topic": one.topic, "ok": one.ok, "text": one.text} for one in findings]
    failed = [one.text for one in findings if one.ok is False]
    works = findings[0].ok is True and all(one.ok is not False for one in findings if one.topic in _NEEDED)
    message = findings[0].text if works else next(one.text for one in findings if one.ok is False)
    notes = [text for text in failed if text != message]
    summary: dict[str, Fact] = {one.topic.replace(" ", "_"): one.text for one in findings}
    return Outcome(action, works, " ".join([message, *notes]), rows, summary, works, tuple(failed))


_NEEDED = ("server", "store", "binary search", "process search")
_UNASKABLE = (Cause.BAD_OBSERVABLE, Cause.UNSEARCHABLE)


def _enrich_alert(actions: Actions, action: Action, inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    given = inputs["alert"]
    bodies = list(given) if isinstance(given, (list, tuple)) else [given]
    records: list[Union[Mapping[str, Any], AlertError]] = []
    for number, body in enumerate(bodies, 1):
        if not isinstance(body, Mapping):
            records.append(AlertError(f"Alert {number} is no object. Give a JSON object, or a list of them."))
            continue
        records += records_of(body)
    if not records:
        raise InputError("The list of alerts is empty, so there is nothing to look up.")
    if len(records) > MOST_ALERTS:
        raise InputError(
            f"{len(records):,} alerts were given, and {MOST_ALERTS:,} at most go into one call. Split them."
        )
    read = [_read(record, inputs["format"]) for record in records]
    found = actions._enriched(read, inputs, deadline)
    documents = []
    for record, one in zip(records, found):
        kept = one if isinstance(record, AlertError) else replace(one, record=record)
        documents.append(enrichment_document(kept))
    rows = [{**document, "card": markdown_card(document)} for document in documents]
    unread = [one.gaps[0].reason for one in found if one.alert is None]
    failures = _reasons(gap.reason for one in found for gap in one.gaps if gap.cause.failed)
    wrong = _reasons(gap.reason for one in found if one.alert for gap in one.gaps if gap.cause in _UNASKABLE)
    statuses = [document["status"] for document in documents]
    answered = sum(any(not s.signature.cause.failed for s in one.subjects) for one in found)
    ok = answered > 0 or (not failures and len(unread) < len(found))
    message = _message("alert", statuses, failures) if ok else (failures or _reasons(unread))[0]
    if len(documents) == 1 and ok:
        message = _told(documents[0]["status"], documents[0]["reason"])
    complete = all(document["complete"] for document in documents)
    summary = _summary(len(rows), answered, complete, statuses)
    return Outcome(
        action, ok, message, rows, summary, complete, _reasons([*failures, *unread, *wrong]), tuple(documents)
    )


def _read(
    record: Union[Mapping[str, Any], AlertError], form: Optional[str]
) -> Union[Mapping[str, Any], Alert, AlertError]:
    """Return what `enrich` takes; a format that does not exist ends the action, an alert that is none does not."""
    if form is None or isinstance(record, AlertError):
        return record
    if form not in FORMATS:
        raise InputError(f"format is {printable(form, 40)}: expected one of {', '.join(FORMATS)}, or nothing.")
    try:
        return parse_alert(record, form)
    except AlertError as exc:
        return AlertError(str(exc), exc.cause)


def _signing_status(actions: Actions, action: Action, inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    asked = _hashes(inputs["hashes"], MOST_HASHES)
    found = actions._signatures(asked.values(), deadline)
    now = utc_now()
    answers = [found[known] if known else not_a_hash(text) for text, known in asked.items()]
    rows = [{"asked": text, **signature_document(answer, now)} for text, answer in zip(asked, answers)]
    failures = _reasons(answer.reason for answer in answers if answer.cause.failed)
    wrong = _reasons(answer.reason for text, answer in zip(asked, answers) if asked[text] is None)
    answered = sum(not answer.cause.failed and asked[text] is not None for text, answer in zip(asked, answers))
    statuses = [answer.status.value for answer in answers]
    message = _message("hash", statuses, failures) if answered else (failures or wrong)[0]
    if len(rows) == 1 and answered:
        message = _told(statuses[0], answers[0].reason)
    summary = _summary(len(rows), answered, not failures, statuses)
    return Outcome(action, answered > 0, message, rows, summary, not failures, (*failures, *wrong))


def _process_lineage(actions: Actions, action: Action, inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    asked, record = _process_asked(inputs)
    found = actions._enriched([record], {**inputs, "lineage": True}, deadline)[0]
    document = enrichment_document(found)
    if not document["subjects"]:
        return Outcome(action, False, document["reason"], failures=(document["reason"],))
    subject = document["subjects"][0]
    lineage = subject["lineage"]
    drawn = lineage is not None
    row = {
        "asked": asked,
        "complete": document["complete"],
        **subject,
        "tree": lineage_text(lineage, Style(_TREE_WIDTH)) if drawn else "",
        "svg": svg_lineage(lineage) if drawn else "",
    }
    failures = _reasons(gap.reason for gap in found.gaps if gap.cause.failed)
    nowhere = lineage["nodes"][0]["gap"] if lineage is not None else None
    known = lineage is not None and not (nowhere is not None and nowhere["cause"] in _NOWHERE)
    reason = (
        nowhere["reason"] if nowhere is not None else next((g["reason"] for g in subject["gaps"]), subject["reason"])
    )
    nodes = lineage["nodes"] if lineage is not None else []
    message = f"{len(nodes)} {_several('process', len(nodes))}: {lineage['reason']}" if known and lineage else reason
    summary: dict[str, Fact] = {
        "asked": 1, "answered": int(known), "complete": document["complete"], "processes": len(nodes),
        "ended_by": lineage["ended_by"] if lineage is not None else "", "status": subject["status"],
    }  # fmt: skip
    return Outcome(
        action,
        known,
        message,
        [row],
        summary,
        document["complete"],
        failures or (() if known else (reason,)),
        (document,),
    )


_NOWHERE = tuple(cause.value for cause in Cause if cause.failed or cause is Cause.NOT_FOUND)


def _process_asked(inputs: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return what was asked for, and the same as a record.

    Raises:
        InputError: Neither a guid, nor host, pid and time together.
    """
    guid, host, pid, at = (inputs[name] for name in ("guid", "host", "pid", "at"))
    if guid is not None:
        try:
            return str(guid), {"process_guid": process_id_of(str(guid))}
        except ConfigError as exc:
            raise InputError(str(exc)) from exc
    lacking = [name for name, value in (("host", host), ("pid", pid), ("at", at)) if value is None]
    if lacking:
        raise InputError(
            f"process lineage needs a guid, or host, pid and a time at which it ran; {' and '.join(lacking)} "
            f"{'is' if len(lacking) == 1 else 'are'} missing."
        )
    moment = format_time(at)
    return f"{host} pid {pid} at {moment}", {"host": host, "pid": pid, "time": moment}


def _find_processes(actions: Actions, action: Action, inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    page = actions.desk.processes(inputs["query"] or "", inputs["start"], inputs["rows"], inputs["sort"], deadline)
    processes = [process for process in map(parse_process, page.documents) if process is not None]
    signatures = actions._signatures((process.file_hash for process in processes), deadline)
    rows = [process_row(process, signatures, actions.desk.name) for process in processes]
    return _page(action, page, rows, signatures.values())


def _find_binaries(actions: Actions, action: Action, inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    page = actions.desk.binaries(inputs["query"] or "", inputs["start"], inputs["rows"], inputs["sort"], deadline)
    now = utc_now()
    return _page(action, page, [binary_row(document, actions.desk.name, now) for document in page.documents], ())


def _page(action: Action, page: Page, rows: list[Document], signatures: Iterable[Signature]) -> Outcome:
    statuses = [row["status"] for row in rows]
    failures = _reasons(signature.reason for signature in signatures if signature.cause.failed)
    nameless = len(page.documents) - len(rows)
    notes = [*page.notes, *([f"{nameless} rows without a process guid are left out."] if nameless else [])]
    whole = page.whole and not failures
    summary = _summary(len(rows), len(rows), whole, statuses)
    summary.update(total=page.total, **({"next": page.next} if page.next is not None else {}))
    told = f"{len(rows):,} of {page.total:,} {_several(action.rows.removeprefix('One ').rstrip('.'), page.total)}"
    message = " ".join([f"{told}{_counts(statuses)}.", *notes, *failures])
    failures = (*(notes if not page.whole else ()), *failures)
    return Outcome(action, True, message, rows, summary, whole, failures, notes=tuple(notes))


def _where_seen(actions: Actions, action: Action, inputs: dict[str, Any], deadline: Deadline) -> Outcome:
    asked = _hashes(inputs["hashes"], MOST_SEEN)
    known = [file_hash for file_hash in asked.values() if file_hash]
    signatures = actions._signatures(known, deadline)  # first: it is one question, and searches may take all the time
    found = {file_hash: actions.desk.seen(file_hash, inputs["rows"], deadline) for file_hash in dict.fromkeys(known)}
    images = [p.file_hash for seen in found.values() for _name, part in seen.relations() for p in part.processes]
    signatures.update(actions._signatures([one for one in images if one not in signatures], deadline))
    rows, failures, wrong = [], [], []
    for text, file_hash in asked.items():
        if file_hash is None:
            bad = not_a_hash(text)
            wrong.append(bad.reason)
            unseen = not_seen("", Gap(f"hash {text[:80]}", bad.cause, bad.reason))
            rows.append(seen_document(text, unseen, {"": bad}, actions.desk.name))
        else:
            row = seen_document(text, found[file_hash], signatures, actions.desk.name)
            failures += [gap.reason for gap in found[file_hash].every_gap() if gap.cause.failed]
            rows.append(row)
    answered = sum(not (found[h].unanswered and signatures[h].cause.failed) for h in asked.values() if h)
    told = _reasons([*failures, *(s.reason for s in signatures.values() if s.cause.failed)])
    statuses = [row["status"] for row in rows]
    message = _seen_message(rows) if answered else (*told, *wrong)[0]
    summary = _summary(len(rows), answered, not told, statuses)
    return Outcome(action, answered > 0, message, rows, summary, not told, (*told, *_reasons(wrong)))


def _seen_message(rows: Sequence[Document]) -> str:
    if len(rows) > 1:
        return f"{len(rows)} hashes{_counts([row['status'] for row in rows])}."
    row = rows[0]
    hosts = row["host_count"]
    places = "no host is known" if not hosts else f"on {hosts:,} {_several('host', hosts)}"
    counts = {word: row[name]["total"] for name, word in (("ran", "run"), ("loaded", "loaded"), ("wrote", "written"))}
    parts = [
        f"{word} by {'an unknown number' if number is None else format(number, ',')}" for word, number in counts.items()
    ]
    return f"{row['status']}; {places}; {', '.join(parts)}."


def _hashes(texts: Sequence[str], most: int) -> dict[str, Optional[str]]:
    """Return each text as it was given → the hash in it, or None where it is none."""
    if len(texts) > most:
        raise InputError(f"{len(texts):,} hashes were given, and {most:,} at most go into one call. Split them.")
    return {text: parse_md5(text) or parse_sha256(text) for text in texts}


def _summary(asked: int, answered: int, complete: bool, statuses: Iterable[str]) -> dict[str, Fact]:
    counts = Counter(statuses)
    return {
        "asked": asked,
        "answered": answered,
        "complete": complete,
        **{_word(name): counts[name] for name in sorted(counts)},
    }


def _word(status: str) -> str:
    return status.lower().replace(" ", "_")


def _message(what: str, statuses: Sequence[str], failures: Sequence[str]) -> str:
    return " ".join([f"{len(statuses):,} {_several(what, len(statuses))}{_counts(statuses)}.", *failures[:1]])


def _told(status: str, reason: str) -> str:
    return reason if reason.startswith(status) else f"{status}: {reason}"


def _counts(statuses: Sequence[str]) -> str:
    found = Counter(statuses).most_common()
    return ": " + ", ".join(f"{number:,} {status}" for status, number in found) if found else ""


def _several(word: str, number: int) -> str:
    return word if number == 1 else f"{word}es" if word.endswith(("s", "h")) else f"{word}s"


def _reasons(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))[:_MOST_REASONS]


def _retryable(exc: CbSignedError) -> bool:
    return isinstance(exc, SourceError) and exc.cause.failed


_WORK: Mapping[str, _Work] = {
    "test_connection": _test_connection,
    "enrich_alert": _enrich_alert,
    "signing_status": _signing_status,
    "process_lineage": _process_lineage,
    "find_processes": _find_processes,
    "find_binaries": _find_binaries,
    "where_seen": _where_seen,
}
"""Action of the catalogue → what does it; a test compares the two."""
