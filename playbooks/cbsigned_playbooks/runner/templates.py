"""Jinja2 made so small that a template can neither reach anything nor cost anything.

Not a blacklist: of Jinja2's language the parts in `_NODES` are compiled, and anything else is refused when the
playbook is read. There are no calls, no arithmetic, no assignments, so nothing can grow; filters and tests are those
in `vocabulary.py`, which count their work. A value is reached by its name among the members of JSON objects and
nowhere else, so no attribute of a Python object is ever looked at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Template, TemplateError, Undefined, meta, nodes, pass_context
from jinja2.runtime import Context as Names
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment

from cbsigned.edr.query import clause
from cbsigned.errors import CbSignedError
from cbsigned.observables import printable
from cbsigned.render.clean import clean
from cbsigned_playbooks.runner.vocabulary import BUDGET, FILTERS, TESTS, Budget, spend, text_of

__all__ = [
    "ALERT_MEMBERS",
    "STEP_MEMBERS",
    "SUBJECT_MEMBERS",
    "Expression",
    "Known",
    "TemplateProblem",
    "condition",
    "query",
    "text",
    "value",
]

STEP_MEMBERS = ("ok", "complete", "skipped", "message", "summary", "rows", "row")
"""What `steps.ID` has: whether it was answered, whether nothing failed, whether `when` left it out, and the answer."""
VARIABLES = frozenset(("alert", "lists", "record", "steps"))
SUBJECT_MEMBERS = (
    "role", "name", "path", "host", "user", "pid", "cmdline", "started_at", "md5", "sha1", "sha256", "process_guid",
    "foreign_id", "problems",
)  # fmt: skip
"""What `alert.subject` has; null where the alert does not say."""
ALERT_MEMBERS = ("format", "kind", "id", "title", "at", "link", "problem", "subjects", "subject")
"""What `alert` has."""

_MOST_TEXT = 64 * 1024
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Neg, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Filter,
    nodes.Test, nodes.Keyword, nodes.For, nodes.If,
)  # fmt: skip
_WORDS = {
    nodes.Call: "calls", nodes.Concat: "~", nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Pow: "**",
    nodes.Mod: "%", nodes.Div: "/", nodes.FloorDiv: "//", nodes.Assign: "set", nodes.AssignBlock: "set",
    nodes.Macro: "macros", nodes.FilterBlock: "filter blocks", nodes.Dict: "{…}", nodes.Tuple: "(a, b)",
    nodes.Include: "include", nodes.Import: "import", nodes.FromImport: "import", nodes.Extends: "extends",
}  # fmt: skip
_MAGIC = frozenset(("self", "super", "caller", "varargs", "kwargs"))
_LOOP = frozenset(("index", "index0", "first", "last", "length"))
_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Known:
    """What the templates at one place of a playbook may name: the steps before it, and its lists."""

    steps: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


class TemplateProblem(CbSignedError):
    """A template that cannot be read, or gives no value; the text says why."""


class Expression:
    """One template, compiled; see `condition`, `value`, `text` and `query`.

    Attributes:
        source: As it is written.
        steps: Ids of the steps whose answers it reads.
    """

    def __init__(self, source: str, steps: frozenset[str], compiled: Template, *, native: bool) -> None:
        self.source, self.steps = source, steps
        self._compiled, self._native = compiled, native

    def evaluate(self, names: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> Any:
        """Return the value: of a text its text, else what the expression names.

        Args:
            names: `alert`, `record` and `steps`; JSON types.
            clock: In seconds, for the bound of time.

        Raises:
            TemplateProblem: A name is not there, a type does not fit, or it is too much work.
        """
        budget = Budget(clock)
        try:
            context = self._compiled.new_context({**names, BUDGET: budget})
            if self._native:
                for _piece in self._compiled.root_render_func(context):
                    budget.spend(1)
                found = context.vars["result"]
                if isinstance(found, Undefined):
                    str(found)  # a strict one raises
                return found
            return _joined(self._compiled.root_render_func(context), budget)
        except _FAILURES as exc:
            raise TemplateProblem(f"{str(exc).rstrip('.')}.") from exc


def condition(source: str, known: Known) -> Expression:
    """Return an expression without braces that says yes or no.

    Args:
        source: `alert.title is like("git*") and steps.enriched.ok`, for example.
        known: What there is to name.

    Raises:
        TemplateProblem: It cannot be read, or uses what is not there.
    """
    if "{{" in source or "{%" in source:
        _refuse("expected an expression without {{ and }} around it")
    return _native(_parsed(f"{{{{ {source}\n}}}}", _INPUT), source, known)


def value(source: str, known: Known) -> Expression:
    """Return a template that gives a text or, where it is one `{{ … }}` and nothing else, a value of any JSON type.

    Raises:
        TemplateProblem: As `condition`.
    """
    tree = _parsed(source.strip(), _INPUT)
    return _native(tree, source, known) if _single(tree) else _textual(tree, source, known, _INPUT)


def text(source: str, known: Known) -> Expression:
    """Return a template that gives a text; control characters in values are made visible.

    Raises:
        TemplateProblem: As `condition`.
    """
    return _textual(_parsed(source, _NOTE), source, known, _NOTE)


def query(source: str, known: Known) -> Expression:
    """Return a template that gives an EDR query: every value stands in it as one quoted phrase and nothing more.

    Raises:
        TemplateProblem: As `condition`.
    """
    return _textual(_parsed(source, _QUERY), source, known, _QUERY)


class _Environment(SandboxedEnvironment):
    """Jinja2 with members of JSON objects alone, and nothing worked out before it is asked for."""

    def __init__(self, finalize: Callable[..., str]) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, optimized=False, finalize=finalize, cache_size=0,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = {}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a member; methods and attributes of Python are none."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return a member of an object by its name, or of a list by its number."""
        if isinstance(obj, LoopContext) and argument in _LOOP:
            return getattr(obj, argument)
        if isinstance(obj, Mapping) and isinstance(argument, str) and argument in obj:
            return obj[argument]
        if isinstance(obj, (list, tuple)) and type(argument) is int and -len(obj) <= argument < len(obj):
            return obj[argument]
        if isinstance(obj, Undefined):
            str(obj)  # raises, and names what was missing first
        return self.undefined(hint=_missing(obj, argument))


@pass_context
def _counted(context: Names, items: Any) -> Any:
    """Return what is looped over or searched in, its length paid for."""
    if isinstance(items, Undefined):
        str(items)
    if not isinstance(items, (list, tuple, Mapping, str)):
        raise TypeError(f"{_kind(items)} has no parts to go through")
    spend(context, len(items))
    return items


@pass_context
def _loop(context: Names, items: Any) -> Iterable[Any]:
    """Yield what is looped over, each round paid for."""
    if isinstance(items, Undefined):
        str(items)
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"for goes through a list, and this is {_kind(items)}")
    return _rounds(context, items)


def _rounds(context: Names, items: Sequence[Any]) -> Iterable[Any]:
    for item in items:
        spend(context, 10)
        yield item


@pass_context
def _as_text(context: Names, item: Any) -> str:
    return text_of(context, item, _MOST_TEXT)


@pass_context
def _as_note(context: Names, item: Any) -> str:
    """Return a value as text that is safe to look at: a name with a line end in it makes no second line."""
    return clean(text_of(context, item, _MOST_TEXT))


@pass_context
def _as_phrase(context: Names, item: Any) -> str:
    return clause("x", text_of(context, item, _MOST_TEXT)).text.partition(":")[2]


def _made(finalize: Callable[..., str]) -> _Environment:
    made = _Environment(finalize)
    made.filters.update({_IN: _counted, _FOR: _loop})
    return made


_IN, _FOR = "*in", "*for"  # no names that a template could write
_NOTE, _INPUT, _QUERY = _made(_as_note), _made(_as_text), _made(_as_phrase)


def _parsed(source: str, environment: _Environment) -> nodes.Template:
    try:
        tree = environment.parse(source)
    except (*_FAILURES, MemoryError) as exc:
        raise TemplateProblem(f"it is no template: {_told(exc)}.") from None
    return tree


def _told(exc: BaseException) -> str:
    return "it is nested too deep" if isinstance(exc, (RecursionError, MemoryError)) else str(exc).rstrip(".")


def _single(tree: nodes.Template) -> bool:
    return len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) and (
        len(tree.body[0].nodes) == 1 and not isinstance(tree.body[0].nodes[0], nodes.TemplateData)
    )  # fmt: skip


def _native(tree: nodes.Template, source: str, known: Known) -> Expression:
    if not _single(tree):
        raise TemplateProblem("expected one expression.")
    steps = _checked(tree, known)
    _metered(tree, _INPUT)
    output = tree.body[0]
    assert isinstance(output, nodes.Output)  # noqa: S101 (`_single` says so)
    kept = nodes.Assign(nodes.Name("result", "store", lineno=1), output.nodes[0], lineno=1)
    return Expression(source, steps, _compiled(nodes.Template([kept], lineno=1), _INPUT), native=True)


def _textual(tree: nodes.Template, source: str, known: Known, environment: _Environment) -> Expression:
    steps = _checked(tree, known)
    _metered(tree, environment)
    return Expression(source, steps, _compiled(tree, environment), native=False)


def _compiled(tree: nodes.Template, environment: _Environment) -> Template:
    tree.set_environment(environment)
    try:
        code = environment.compile(tree)
        return Template.from_code(environment, code, {})
    except (*_FAILURES, SyntaxError, MemoryError) as exc:
        raise TemplateProblem(f"it is no template: {_told(exc)}.") from None


def _checked(tree: nodes.Template, known: Known) -> frozenset[str]:
    """Return the steps that a template reads, after refusing whatever is not part of the language."""
    try:
        for node in tree.find_all(nodes.Node):
            if type(node) not in _NODES:
                _refuse(f"{_WORDS.get(type(node), type(node).__name__)} is not part of the language of templates here")
            if isinstance(node, nodes.Name) and node.name in _MAGIC:
                _refuse(f"there is no {node.name} here")
            if isinstance(node, nodes.For) and (node.recursive or not isinstance(node.target, nodes.Name)):
                _refuse("for takes one name: {% for node in … %}")
            if isinstance(node, nodes.Filter) and (node.name not in FILTERS or node.dyn_args or node.dyn_kwargs):
                _refuse(f"there is no filter {printable(node.name, 40)}; there are {', '.join(sorted(FILTERS))}")
            if isinstance(node, nodes.Test) and (node.name not in TESTS or node.dyn_args or node.dyn_kwargs):
                _refuse(f"there is no test {printable(node.name, 40)}; there are {', '.join(sorted(TESTS))}")
        unknown = sorted(meta.find_undeclared_variables(tree) - VARIABLES)
    except RecursionError:
        raise TemplateProblem("it is no template: it is nested too deep.") from None
    if unknown:
        _refuse(f"there is no {printable(unknown[0], 40)}; there are {', '.join(sorted(VARIABLES))}")
    return _steps_of(tree, known)


def _named(
    tree: nodes.Template, what: str, known: Sequence[str], places: Mapping[int, nodes.Getattr]
) -> Iterator[nodes.Getattr]:
    """Yield what follows `steps.` or `lists.`, each checked to be there."""
    for name in tree.find_all(nodes.Name):
        if name.name != what or name.ctx != "load":
            continue
        one = places.get(id(name))
        if one is None:
            _refuse(f"{what} is followed by a dot and a name: {what}.{known[0] if known else 'name'}")
        if one.attr not in known:
            told = f"here there are {', '.join(known)}" if known else "here there are none"
            _refuse(f"{what}.{one.attr[:40]} is not known; {told}")
        yield one


def _steps_of(tree: nodes.Template, known: Known) -> frozenset[str]:
    places = {id(node.node): node for node in tree.find_all(nodes.Getattr)}
    _check_alert(tree, places)
    for _one in _named(tree, "lists", known.lists, places):
        pass
    found = set()
    for step in _named(tree, "steps", known.steps, places):
        member = places.get(id(step))
        if member is None or member.attr not in STEP_MEMBERS:
            _refuse(f"steps.{step.attr} is followed by one of {', '.join(STEP_MEMBERS)}")
        found.add(step.attr)
    return frozenset(found)


def _check_alert(tree: nodes.Template, places: Mapping[int, nodes.Getattr]) -> None:
    """Refuse `alert.hostname` before the first alert comes; every alert has the same members."""
    names = [name for name in tree.find_all(nodes.Name) if name.name == "alert"]
    if any(name.ctx != "load" for name in names):  # a loop calls something else so
        return
    for one in (places[id(name)] for name in names if id(name) in places):
        if one.attr not in ALERT_MEMBERS:
            _refuse(f"alert.{one.attr[:40]} is not known; there are {', '.join(ALERT_MEMBERS)}")
        member = places.get(id(one)) if one.attr == "subject" else None
        if member is not None and member.attr not in SUBJECT_MEMBERS:
            _refuse(f"alert.subject.{member.attr[:40]} is not known; there are {', '.join(SUBJECT_MEMBERS)}")


def _metered(tree: nodes.Template, environment: _Environment) -> None:
    """Let every loop and every search in a list pay for its work."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _FOR, [], [], None, None, lineno=loop.lineno)
    for operand in tree.find_all(nodes.Operand):
        if operand.op in ("in", "notin"):
            operand.expr = nodes.Filter(operand.expr, _IN, [], [], None, None, lineno=operand.lineno)
    tree.set_environment(environment)


def _joined(pieces: Iterable[str], budget: Budget) -> str:
    size, kept = 0, []
    for piece in pieces:
        budget.spend(1)
        size += len(piece)
        if size > _MOST_TEXT:
            raise ValueError(f"it makes more than {_MOST_TEXT:,} characters")
        kept.append(piece)
    return "".join(kept)


def _refuse(what: str) -> NoReturn:
    raise TemplateProblem(f"{what}.")


def _missing(obj: Any, argument: Any) -> str:
    name = printable(str(argument), 60)
    if isinstance(obj, Mapping):
        there = ", ".join(printable(str(key), 40)[1:-1] for key in list(obj)[:12])
        return f"there is no {name} here; there are {there}{' and more' if len(obj) > 12 else ''}"
    if isinstance(obj, (list, tuple)):
        return f"there is no item {name} in a list of {len(obj)}"
    return f"{_kind(obj)} has no member {name}"


def _kind(obj: Any) -> str:
    if obj is None or isinstance(obj, bool):
        return json.dumps(obj)
    kinds = {str: "a text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return next((word for kind, word in kinds.items() if isinstance(obj, kind)), "this")
