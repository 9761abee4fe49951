"""Templates reach the members of JSON objects and nothing else, and cost what they may cost and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.edr.query import clause
from cbsigned_playbooks.runner.templates import Expression, Known, TemplateProblem, condition, query, text, value
from cbsigned_playbooks.runner.vocabulary import FILTERS, TESTS

_KNOWN = Known(("enriched",), ("tools",))
_NAMES: dict[str, Any] = {
    "alert": {"title": "git outside of builds", "subject": {"name": "Git.EXE", "path": None, "pid": 0}},
    "record": {
        "items": [1, 2], "score": "75", "nested": [{"a": {"b": 1}}, {"a": None}, {"a": {"b": [3, 4]}}],
        "bad": "x\n\u202ey",
    },
    "lists": {"tools": ["git*", "python?.exe"]},
    "steps": {"enriched": {"ok": True, "rows": [{"md5": "aa"}, {"md5": "bb"}, {"md5": "aa"}], "row": None}},
}  # fmt: skip


def holds(source: str) -> Any:
    return condition(source, _KNOWN).evaluate(_NAMES)


def written(source: str) -> Any:
    return text(source, _KNOWN).evaluate(_NAMES)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("alert.title is like('git*') and steps.enriched.ok", True),
        ("alert.subject.name is like(lists.tools)", True),
        ("alert.subject.path is like('*')", False),
        ("record.score|number >= 50", True),
        ("alert.subject.pid == 0 and alert.subject.path is none", True),
        ("record.absent is defined", False),
        ("(record.absent|default('no')) == 'no'", True),
        ("'git' in alert.title", True),
        ("2 not in record.items", False),
        ("steps.enriched.rows|selectattr('md5', 'eq', 'bb')|length == 1", True),
        ("not steps.enriched.rows|rejectattr('md5', 'in', ['aa', 'bb'])", True),
        ("steps.enriched.row is none and not steps.enriched.row", True),
        ("(steps.enriched.rows|values('md5')|unique|join('+')) == 'aa+bb'", True),
        ("record.nested[2:][0].a.b[-1] == 4", True),
    ],
)
def test_conditions_say_yes_or_no(source: str, expected: bool) -> None:
    assert holds(source) is expected


def test_a_template_that_is_one_expression_keeps_the_type_of_its_value() -> None:
    assert value("{{ record.nested|values('a.b[]') }}", _KNOWN).evaluate(_NAMES) == [1, 3, 4]
    assert value(" {{ alert.subject }}\n", _KNOWN).evaluate(_NAMES) == _NAMES["alert"]["subject"]
    assert value("n={{ record.score }}", _KNOWN).evaluate(_NAMES) == "n=75"


def test_a_member_named_like_a_method_is_the_member() -> None:
    assert written("{{ record.items }}") == "[1, 2]"


def test_a_note_shows_what_cannot_be_seen_and_a_name_makes_no_line() -> None:
    assert written("{{ record.bad }}\nend") == "x<U+000A><U+202E>y\nend"


def test_a_value_that_looks_like_a_template_is_not_rendered() -> None:
    names = {**_NAMES, "alert": {"title": "{{ 7 }}{% if x %}"}}

    assert text("{{ alert.title }}", _KNOWN).evaluate(names) == "{{ 7 }}{% if x %}"


def test_loops_number_their_rounds() -> None:
    source = "{% for row in steps.enriched.rows %}{{ loop.index }}/{{ loop.length }} {{ row.md5 }}; {% endfor %}"

    assert written(source) == "1/3 aa; 2/3 bb; 3/3 aa; "


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(10**9)|list }}",
        '{{ "a"*10**9 }}',
        '{{ "%1000000000d" % 1 }}',
        "{{ 2 ** 100000 }}",
        "{{ alert ~ alert }}",
        "{{ [1] + [2] }}",
        "{% set x = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{% call f() %}{% endcall %}",
        "{% filter upper %}x{% endfilter %}",
        "{% for a in record.items recursive %}{% endfor %}",
        "{% for a, b in record.items %}{% endfor %}",
        "{{ alert.title.upper() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ lipsum }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{{ super }}",
        "{{ alert|attr('items') }}",
        "{{ alert|map('upper') }}",
        "{{ alert|pprint }}",
        "{{ alert|format(1) }}",
        "{{ alert is callable }}",
        "{{ alert is sameas alert }}",
        "{{ {'a': 1} }}",
        "{{ (1, 2) }}",
        "{{ unknown }}",
        "{{ [*record.items] }}",
        "{{ record.items|join(*record.items) }}",
        "{{ steps }}",
        "{{ steps['enriched'] }}",
        "{{ steps.later.ok }}",
        "{{ steps.enriched.okay }}",
        "{{ lists }}",
        "{{ lists.other }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "not " * 5000 + "1 }}",
        "{{ " + "9" * 9000 + "x }}",
        "{% for a in record.items %}" * 500 + "{% endfor %}" * 500,
        "{{ x",
        "{% if %}",
    ],
)
def test_what_is_not_part_of_the_language_is_refused_when_it_is_read(source: str) -> None:
    with pytest.raises(TemplateProblem):
        text(source, _KNOWN)


@pytest.mark.parametrize(
    "source",
    [
        "{{ record.__class__ }}",
        "{{ alert['__class__'] }}",
        "{{ alert.title.__class__ }}",
        "{{ alert.title.format }}",
        "{{ record.keys }}",
        "{{ record.items.append }}",
        "{{ record.items.__len__ }}",
        "{% for a in record.items %}{{ loop.__class__ }}{% endfor %}",
        "{% for a in record.items %}{{ loop.changed }}{% endfor %}",
        "{{ alert|values('__class__') }}",
    ],
)
def test_no_attribute_of_an_object_is_a_member(source: str) -> None:
    with pytest.raises(TemplateProblem, match=r"there is no|has no member|no member"):
        written(source)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ record.absent }}", 'there is no "absent" here; there are items, score, nested, bad.'),
        ("{{ alert.subject.path.x }}", 'null has no member "x".'),
        ("{{ alert.subject.path }}", r"null cannot be written into a text"),
        ("{{ record.absent.x }}", 'there is no "absent"'),
        ("{% if record.absent %}{% endif %}", 'there is no "absent"'),
        ("{% for a in record.absent %}{% endfor %}", 'there is no "absent"'),
        ("{% for a in alert %}{% endfor %}", "for goes through a list, and this is an object"),
        ("{{ record.items[9] }}", 'there is no item "9" in a list of 2'),
        ("{{ alert.title < 1 }}", "not supported"),
        ("{{ record.nested|values('a.c') }}", 'there is no "c" on the path'),
        ("{{ alert.title|join }}", "a list is expected"),
    ],
)
def test_what_is_not_there_is_told_and_never_empty(source: str, told: str) -> None:
    with pytest.raises(TemplateProblem, match=told):
        written(source)


_MANY = {**_NAMES, "record": {"rows": [{"n": i, "t": "x" * 100} for i in range(20_000)], "long": "y" * 70_000}}


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in record.rows %}{% for b in record.rows %}{% endfor %}{% endfor %}",
        "{% for a in record.rows %}{{ a in record.rows }}{% endfor %}",
        "{% for a in record.rows %}{{ record.rows|selectattr('n', 'in', record.rows|values('n'))|length }}{% endfor %}",
        "{% for a in record.rows %}{{ record.rows|values('n')|unique|join|length }}{% endfor %}",
        "{{ record.rows }}",
        "{{ record.rows|tojson }}",
        "{{ record.rows|values('t')|join }}",
        "{{ record.long }}",
        "{% for a in record.rows %}{{ a.t }}{% endfor %}",
        "{{ [" + "record.rows, " * 700 + "] }}",
    ],
)
def test_a_template_ends_before_it_eats_the_machine(source: str) -> None:
    ticks = iter(range(10**9))  # a clock of its own: not the time but the work ends it

    with pytest.raises(TemplateProblem, match=r"too much work|characters"):
        text(source, _KNOWN).evaluate(_MANY, lambda: next(ticks) * 1e-9)


def test_time_ends_a_template_too() -> None:
    ticks = iter(range(10**9))

    with pytest.raises(TemplateProblem, match="too much work"):
        text("{% for a in record.items %}{{ a }}{% endfor %}", _KNOWN).evaluate(_NAMES, lambda: next(ticks) * 4.0)


@given(st.text(min_size=1, max_size=60))
def test_a_value_in_a_query_is_one_phrase_whatever_it_holds(hostile: str) -> None:
    made = query("process_name:{{ alert.subject.name }} hostname:x", _KNOWN)
    names = {**_NAMES, "alert": {"subject": {"name": hostile}}}
    try:
        wanted = clause("process_name", hostile).text
    except ValueError:
        with pytest.raises(TemplateProblem):
            made.evaluate(names)
        return

    assert made.evaluate(names) == f"{wanted} hostname:x"


def test_a_whole_query_from_outside_is_a_phrase_too() -> None:
    names = {**_NAMES, "alert": {"title": 'x" OR *:*'}}

    assert query("{{ alert.title }}", _KNOWN).evaluate(names) == '"x\\" OR *:*"'


def outcome_of(make: Callable[[str, Known], Expression], source: str) -> list[Any]:
    """Return what a template gives, or why it does not."""
    try:
        return [make(source, _KNOWN).evaluate(_NAMES)]
    except TemplateProblem as exc:
        return [str(exc)]


@given(st.text(max_size=200))
def test_any_text_is_a_template_or_refused_with_a_reason(source: str) -> None:
    found = outcome_of(text, source)

    assert found
    assert all(isinstance(one, str) for one in found)


@given(
    st.sampled_from(sorted(FILTERS)),
    st.sampled_from(["alert", "record.items", "alert.title", "none", "5", "lists.tools"]),
)
def test_a_filter_over_any_type_gives_a_value_or_a_reason(name: str, what: str) -> None:
    given_to = {"values": "('x')", "selectattr": "('x')", "rejectattr": "('x', 'eq', 1)"}.get(name, "")
    (found,) = outcome_of(value, f"{{{{ {what}|{name}{given_to} }}}}")

    assert found is None or isinstance(found, (str, int, float, bool, list, dict))


def test_the_tests_are_those_of_the_documentation() -> None:
    assert {"like", "in", "none", "defined", "eq"} <= set(TESTS)
    assert "callable" not in TESTS
