"""`cbsigned playbook`: run, check and list playbooks of our own, and say what their steps can ask."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from cbsigned import __version__
from cbsigned.cli import Context, ExitCode, common_options
from cbsigned.errors import ConfigError
from cbsigned.output import write_output
from cbsigned.render.document import Document
from cbsigned.timing import format_time, utc_now

if TYPE_CHECKING:
    from cbsigned_playbooks.desk import Desk
    from cbsigned_playbooks.outcome import Outcome
    from cbsigned_playbooks.runner.model import Playbook
    from cbsigned_playbooks.runner.running import Run

__all__ = ["RECORD", "playbook"]

Subparsers = Any  # argparse names its type privately

RECORD = "cbsigned.playbook-record/1"
_OUTPUTS = ("table", "json", "markdown")
_MOST_FAILURES = 5

_PLAYBOOK = """
examples:
  cbsigned playbook list
  cbsigned playbook run signed-but-invalid --alert alert.json
  cbsigned playbook validate my-playbook.yaml
  cbsigned playbook actions signing_status

A playbook is a YAML file: a trigger, a few actions with templated inputs, and an outcome to suggest to the analyst.
docs/playbooks.md has the whole language. Needs the extra cbsigned[playbook]."""

_RUN = """
examples:
  cbsigned playbook run my-playbook.yaml --alert alert.json --store lab.db
  cbsigned playbook run escalate-unsigned-office-child --alert alerts.jsonl --record run.json
  tail -n 1 alerts.jsonl | cbsigned playbook run signed-but-invalid --alert - --dry-run
  cbsigned playbook run my-playbook.yaml --alert alerts.jsonl --output json | jq -r '.run.outcome.disposition // empty'

Each alert is run by itself; files are those of cbsigned enrich. Nothing is done to the alert: the outcome is close,
leave, review or escalate, and a note. close and leave are suggested only where nothing failed: where a look-up, a
template or the reading of the alert fails, they become review, and the note says why."""

_ALERT = "alerts, JSON or JSON lines; - for standard input; may be given more than once"

_VALIDATE = """
examples:
  cbsigned playbook validate my-playbook.yaml
  cbsigned playbook validate playbooks/*.yaml --output json"""

_LIST = """
examples:
  cbsigned playbook list
  cp "$(cbsigned playbook list --output json | jq -r 'select(.name == "signed-but-invalid") | .file')" mine.yaml"""

_ACTIONS = """
examples:
  cbsigned playbook actions                            what there is
  cbsigned playbook actions enrich_alert               its inputs, and what its rows hold
  cbsigned playbook actions where_seen --output markdown"""


def playbook(subparsers: Subparsers) -> None:
    """Add `cbsigned playbook run|validate|list|actions`."""
    parser = _parser(subparsers, "playbook", "playbooks of our own: a trigger, a few look-ups, an outcome", _PLAYBOOK)
    parser.set_defaults(run=lambda _args, _context: _usage(parser), output=None, config=None, store=None, verbose=0)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND")
    running = _parser(inner, "run", "run a playbook over alerts", _RUN)
    running.add_argument("file", metavar="PLAYBOOK", help="its file, or the name of an example")
    running.add_argument("--alert", action="append", required=True, metavar="FILE", help=_ALERT)
    running.add_argument("--dry-run", action="store_true", help="say what would be asked, and ask nothing")
    running.add_argument("--record", metavar="FILE", help="keep what was run, asked and concluded, as JSON")
    running.add_argument("--cards", action="store_true", help="the steps' answers too; on a terminal and as Markdown")
    running.set_defaults(run=_run)
    checking = _parser(inner, "validate", "check playbooks; every problem with its line", _VALIDATE)
    checking.add_argument("files", nargs="+", metavar="PLAYBOOK", help="files, or names of examples")
    checking.set_defaults(run=_validate)
    listing = _parser(inner, "list", "the example playbooks", _LIST)
    listing.set_defaults(run=_list)
    telling = _parser(inner, "actions", "what a step can ask", _ACTIONS)
    telling.add_argument("action", nargs="?", metavar="ACTION", help="one action with its inputs and outputs")
    telling.set_defaults(run=_actions)
    for one in (running, checking, listing, telling):
        common_options(one, outputs=_OUTPUTS)


def _parser(subparsers: Subparsers, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, formatter_class=form
    )
    return parser


def _usage(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return ExitCode.USAGE


def _needs() -> None:
    """Say which extra is missing, where one is."""
    try:
        import jinja2  # noqa: F401 (only whether they are there)
        import jsonschema  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            f"cbsigned playbook needs {exc.name}, which is not installed: pip install 'cbsigned[playbook]'"
        ) from exc


def _run(args: argparse.Namespace, context: Context) -> int:
    _needs()
    from cbsigned.alert_files import check_exists, read_alerts
    from cbsigned_playbooks.actions import Actions
    from cbsigned_playbooks.runner.model import read_playbook
    from cbsigned_playbooks.runner.running import run_playbook

    wanted = read_playbook(args.file)
    for name in args.alert:
        check_exists(name)
    if args.record and args.dry_run:
        raise ConfigError("--record keeps what was asked, and --dry-run asks nothing: leave one of them out.")
    if args.record:
        context.check_output(args.record, [*args.alert, wanted.file])
    alerts = chain.from_iterable(read_alerts(name, context.stdin) for name in args.alert)
    if args.dry_run:
        return _dry_run(wanted, alerts, context)

    desk = _desk(args, context)
    tally = _Tally(wanted, desk.name)
    try:
        actions = Actions(desk, context.settings)
        for record in alerts:
            run = run_playbook(wanted, record, actions)
            tally.add(run, keep=bool(args.record))
            if context.output == "json":
                kept = record if isinstance(record, Mapping) else record.record
                context.stdout.write(context.json_line({"alert": kept, "run": run.document}))
            else:
                context.stdout.writelines(_told(run, args.cards, context))
            context.stdout.flush()
        tally.interrupted = False
    finally:
        desk.close()
        if args.record:
            write_output(args.record, context.json_line(tally.record()))
    for reason in islice(tally.failures, _MOST_FAILURES):
        context.say(f"cbsigned: {reason}")
    if len(tally.failures) > _MOST_FAILURES:
        context.say(f"cbsigned: … {len(tally.failures) - _MOST_FAILURES:,} more reasons; each answer has its own.")
    if context.stderr.isatty():
        context.say(tally.text())
    return tally.exit_code


def _desk(args: argparse.Namespace, context: Context) -> Desk:
    """Return whoever is asked: the named store, else the configured server."""
    from cbsigned_playbooks.desk import EdrDesk, StoreDesk

    if args.store or context.settings.store:
        return StoreDesk(context.store_path())
    if context.settings.edr is None:
        raise ConfigError(
            "Nothing to ask: no store is named and no server is configured. Use --store PATH, or set "
            "CBSIGNED_EDR_URL and CBSIGNED_EDR_TOKEN (cbsigned config --help)."
        )
    return EdrDesk(context.settings)


class _Tally:
    """Counts what came out, and keeps it for the record."""

    def __init__(self, wanted: Playbook, source: str) -> None:
        self._wanted, self._source, self._started = wanted, source, utc_now()
        self._runs: list[Document] = []
        self._words: Counter[str] = Counter()
        self._refused: set[bool] = set()
        self.interrupted = True
        self.failures: dict[str, None] = {}  # reasons, in order, each once

    def add(self, run: Run, *, keep: bool) -> None:
        """Count one run; `keep` for the record."""
        outcome = run.document["outcome"]
        self._words[outcome["disposition"] if outcome else "not for this playbook"] += 1
        self.failures.update(dict.fromkeys(run.document["failures"]))
        if run.refused is not None:
            self._refused.add(run.refused)
        if keep:
            self._runs.append(run.document)

    @property
    def exit_code(self) -> int:
        if self._refused == {True}:
            return ExitCode.SOURCE
        return ExitCode.INCOMPLETE if self.failures else ExitCode.OK

    def record(self) -> Document:
        """Return the record: which playbook, over what, when, and every run without the alerts themselves."""
        names = {"name": self._wanted.name, "file": self._wanted.file, "sha256": self._wanted.sha256}
        return {
            "schema": RECORD, "cbsigned": __version__, "playbook": names, "source": self._source,
            "started_at": format_time(self._started), "ended_at": format_time(utc_now()),
            "interrupted": self.interrupted, "runs": self._runs,
        }  # fmt: skip

    def text(self) -> str:
        """Return the counts as one line."""
        total = sum(self._words.values())
        parts = ", ".join(f"{number} {word}" for word, number in self._words.most_common())
        return f"{total} {'alert' if total == 1 else 'alerts'}: {parts}" if total else "No alerts."


def _dry_run(wanted: Playbook, alerts: Any, context: Context) -> int:
    from cbsigned_playbooks.runner.running import plan

    failures = 0
    for record in alerts:
        document = plan(wanted, record)
        failures += bool(document["failures"])
        if context.output == "json":
            context.stdout.write(context.json_line(document))
        else:
            context.stdout.writelines(_planned(document, context))
    return ExitCode.INCOMPLETE if failures else ExitCode.OK


def _told(run: Run, cards: bool, context: Context) -> Iterator[str]:
    """Yield the lines of one run: what is suggested, the note, the steps, and what failed."""
    document = run.document
    outcome, marked = document["outcome"], context.output == "markdown"
    word = outcome["disposition"].upper() if outcome else "not for this playbook"
    yield _heading(word, document, context)
    if outcome is not None:
        for line in outcome["note"].splitlines():
            yield _line(line, context)
        yield from ("\n",) * marked
    for step in document["steps"]:
        yield _item(f"{step['id']}: {step['state']}. {step['message']}", context)
    if document["failures"] and not document["steps"]:
        yield from (_item(reason, context) for reason in document["failures"])
    yield from ("\n",) * (outcome is not None or marked)
    if cards:
        for one in run.outcomes.values():
            yield f"{one.card}\n" if marked else _card(one, context)


def _card(outcome: Outcome, context: Context) -> str:
    """Return what one step answered, for a terminal."""
    from cbsigned.render.rows import rows_table
    from cbsigned.render.text import card

    if outcome.documents:
        return "".join(f"{card(document, context.style).rstrip()}\n\n" for document in outcome.documents)
    return f"{rows_table(*outcome.table(), 'table', context.style.width)}\n" if outcome.rows else ""


def _planned(document: Document, context: Context) -> Iterator[str]:
    word = {True: "would run", False: "not for this playbook", None: "cannot be told"}[document["fired"]]
    yield _heading(word, document, context)
    for step in document["steps"]:
        asked = {True: "asked", False: "left out", None: f"asked if {step.get('when')}"}[step["asked"]]
        inputs = ", ".join(f"{name} = {_input(item, context)}" for name, item in step["inputs"].items())
        yield _item(f"{step['id']}: {step['action']}, {asked}; {inputs or 'no inputs'}", context)
    for rule in document["outcomes"]:
        yield _item(f"{rule['disposition']} {'if ' + rule['when'] if rule['when'] else 'otherwise'}", context)
    yield from (_item(reason, context) for reason in document["failures"])
    yield from ("\n",) * (document["fired"] is not False or context.output == "markdown")


def _input(item: Any, context: Context) -> str:
    """Return an input for people; of a whole alert, which a plan keeps as a digest, how long it is."""
    if isinstance(item, dict) and item.keys() == {"sha256", "characters"}:
        return f"JSON of {item['characters']:,} characters"
    return context.json_line(item).strip()


def _heading(word: str, document: Document, context: Context) -> str:
    about = document["alert"]
    named = " ".join(str(part) for part in (about["title"], about["id"]) if part) or "an alert without title and id"
    if context.output == "markdown":
        from cbsigned.render.markdown import escape_markdown

        return f"### {word}: {escape_markdown(named)}\n\n"
    style = context.style
    return f"{style.own(word)}  {style.clip(style.value(named), max(20, style.width - len(word) - 2))}\n"


def _item(text: str, context: Context) -> str:
    return _line(f"- {text}", context, "- ")


def _line(text: str, context: Context, mark: str = "") -> str:
    """Return one line of text from outside, wrapped or escaped."""
    if context.output == "markdown":
        from cbsigned.render.markdown import escape_markdown

        return f"{mark}{escape_markdown(text[len(mark) :], 4_000)}{'' if mark else '  '}\n"
    style = context.style
    lines = style.lines(text, style.width - 4 - len(mark), 12) if text.strip() else [""]
    return "".join(f"  {' ' * len(mark) if number else ''}{line}\n" for number, line in enumerate(lines))


def _validate(args: argparse.Namespace, context: Context) -> int:
    _needs()
    from cbsigned_playbooks.runner.model import read_playbook

    rows: list[Document] = []
    for name in args.files:
        try:
            found = read_playbook(name)
        except ConfigError as exc:
            rows += [{"file": name, "ok": False, "text": line} for line in str(exc).splitlines()]
        else:
            told = f"{found.name}: {len(found.steps)} steps, {len(found.outcomes) + 1} outcomes"
            rows.append({"file": name, "ok": True, "text": told})
    if context.output == "table":  # a message is no use when a column clips it
        context.stdout.writelines(
            f"{'ok ' if row['ok'] else 'NO '} {context.style.value(row['text'])}\n" for row in rows
        )
    else:
        context.emit(rows, ["file", "ok", "text"])
    return ExitCode.OK if all(row["ok"] for row in rows) else ExitCode.USAGE


def _member(row: Document, context: Context) -> str:
    """Return an input or output with its name whole, because people copy it, and its text after it."""
    about = [row["kind"], row["unit"] if row["unit"] != row["name"] else None]
    if row["in_or_out"] == "in":
        low, high, default = row["from"], row["to"], row["default"]
        about += [f"{low} to {high}" if low is not None and high is not None else None, "needed" * row["needed"]]
        about += [f"{default} if not given" if default is not None else None]
    else:
        about += ["may be null" * row["null"]]
    told = ", ".join(str(part) for part in about if part)
    return _item(f"{row['name']} ({told}): {row['text']}", context)


def _list(_args: argparse.Namespace, context: Context) -> int:
    _needs()
    from cbsigned_playbooks.runner.model import examples, read_playbook

    rows: list[Document] = []
    for name, path in examples().items():
        one = read_playbook(str(path))
        rows.append(
            {"name": name, "description": " ".join(one.description.split()), "file": str(path),
             "trigger": one.trigger.source if one.trigger else None, "steps": [step.action.name for step in one.steps]}
        )  # fmt: skip
    if context.output == "table":
        context.stdout.writelines(f"{row['name']}\n{_line(row['description'], context)}" for row in rows)
    else:
        context.emit(rows, ["name", "description"])
    return ExitCode.OK


def _actions(args: argparse.Namespace, context: Context) -> int:
    from cbsigned_playbooks.catalogue import ACTIONS

    if args.action is None:
        rows: list[Document] = [
            {"action": one.name, "summary": one.summary, "inputs": ", ".join(p.name for p in one.parameters),
             "description": one.description, "rows": one.rows}
            for one in ACTIONS
        ]  # fmt: skip
        context.emit(rows, ["action", "summary", "inputs"])
        return ExitCode.OK
    chosen = next((one for one in ACTIONS if one.name == args.action), None)
    if chosen is None:
        names = ", ".join(one.name for one in ACTIONS)
        raise ConfigError(f"There is no action {args.action}. There are {names}.")
    inputs = [
        {"in_or_out": "in", "name": one.name, "kind": one.kind.value, "unit": one.unit, "needed": one.required,
         "default": one.default, "from": one.low, "to": one.high, "example": one.example, "text": one.description}
        for one in chosen.parameters
    ]  # fmt: skip
    outputs = [
        {"in_or_out": "out", "name": one.path, "kind": one.kind.value, "unit": one.unit, "null": one.optional,
         "example": one.example, "text": one.description}
        for one in chosen.outputs
    ]  # fmt: skip
    if context.output == "table":
        for heading, rows in (("inputs", inputs), ("rows", outputs)):
            context.stdout.writelines([f"{heading}\n", *(_member(row, context) for row in rows)])
    else:
        context.emit([*inputs, *outputs], ["in_or_out", "name", "kind", "unit", "default", "text"])
    return ExitCode.OK
