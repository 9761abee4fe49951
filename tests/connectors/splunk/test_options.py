from __future__ import annotations

from collections.abc import Sequence

import pytest

from cbsigned.edr.events import KINDS
from cbsigned.edr.pages import _SORT
from cbsigned.observables import parse_guid
from cbsigned_connectors.splunk.options import COMMANDS, Option, OptionError, parse_options

GUID = "00000001-0000-0a1c-01d5-0c2d1f3e5a7b"
ONE = f"guid={GUID}"
ALL = [(command, option) for command, table in COMMANDS.items() for option in table]
IDS = [f"{command} {option.name}" for command, option in ALL]


def test_defaults_are_what_the_table_says() -> None:
    assert parse_options("cbsigned", []) == {
        "field": "", "prefix": "cbsigned_", "timeout": 60.0, "cache": True, "lineage": False, "declare": False,
    }  # fmt: skip
    assert parse_options("cblineage", []) == {
        "guid": "", "prefix": "lineage_", "timeout": 60.0, "max_depth": 16, "cache": True, "declare": False,
    }  # fmt: skip
    assert parse_options("cbprocess", ["query=x"]) == {"query": "x", "maxrows": 1000, "sort": ""}
    assert parse_options("cbhealth", []) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["field=file hash", "timeout=2.5"],
        ["field", "=", "file hash", "timeout=2.5"],
        ["field=", "file hash", "timeout", "=2.5"],
        ["FIELD", "=file hash", "Timeout=", "2.5s"],
    ],
    ids=str,
)
def test_blanks_around_the_equals_sign_are_put_together(arguments: list[str]) -> None:
    values = parse_options("cbsigned", arguments)

    assert (values["field"], values["timeout"]) == ("file hash", 2.5)


def test_nothing_behind_the_equals_sign_is_the_default_of_a_field() -> None:
    assert parse_options("cbsigned", ["field", "="])["field"] == ""


def test_an_empty_prefix_does_not_swallow_the_next_option() -> None:
    values = parse_options("cbsigned", ["prefix=", "timeout=5"])

    assert (values["prefix"], values["timeout"]) == ("", 5.0)


@pytest.mark.parametrize("arguments", [["query=a=b"], ["query", "=", "a=b"], ["query=", "a=b"]], ids=str)
def test_a_value_may_have_an_equals_sign(arguments: list[str]) -> None:
    assert parse_options("cbprocess", arguments)["query"] == "a=b"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fiel=md5"], '"fiel" is not an option of cbsigned. Options of cbsigned: field, prefix'),
        (["md5"], '"md5" is not name=value'),
        (["=md5"], '"=md5" is not name=value'),
        (["field=a", "field=b"], "field is given twice"),
        (["timeout=fast"], 'timeout is "fast": expected seconds, 0.1 to 600. Default: 60. Example: timeout=120'),
        (["timeout=0"], "0.1 to 600"),
        (["timeout=601"], "0.1 to 600"),
        (["timeout=1e2"], "0.1 to 600"),
        (["timeout=nan"], "0.1 to 600"),
        (["timeout=-1"], "0.1 to 600"),
        (["timeout=\u0661"], "0.1 to 600"),
        (["cache=maybe"], "true or false"),
        (["prefix=a b"], "up to 40 of the characters"),
        (["prefix=" + "a" * 41], "up to 40 of the characters"),
        (["prefix=__mv_"], "up to 40 of the characters"),
        (["field=__mv_md5"], "the name of a field"),
        (["field=_chunked_idx"], "the name of a field"),
        (['field=a"b'], "the name of a field"),
        (["field=a\nb"], 'field is "a?b"'),
        (["field=*"], "the name of a field"),
        (["field=" + "a" * 257], "…"),
        (["maxrows=5"], '"maxrows" is not an option of cbsigned'),
        (["\x1b[31m=1"], '"?[31m" is not'),
    ],
    ids=repr,
)
def test_a_wrong_option_is_told_what_is_expected(arguments: list[str], told: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_options("cbsigned", arguments)

    text = str(caught.value)
    assert told in text
    assert "Example: " in text
    assert text.isprintable()
    assert len(text) < 500


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("cblineage", ["max_depth=501"], "a whole number, 0 to 500. Default: 16"),
        ("cblineage", ["max_depth=1.5"], "a whole number"),
        ("cbprocess", [], "query is missing: expected a text in quotes. It must be given"),
        ("cbprocess", ["query= "], "a text in quotes"),
        ("cbbinary", ["query=a", "maxrows=0"], "1 to 100000. Default: 1000"),
        ("cbbinary", ["query=a", "maxrows=100001"], "1 to 100000"),
        ("cbbinary", ["query=a", "sort=x"], '"sort" is not an option of cbbinary'),
        ("cbprocess", ["query=a", "sort=" + "x" * 70_000], 'Example: sort="start desc"'),
        ("cbactivity", [], "guid is missing"),
        (
            "cbactivity",
            ["guid=a"],
            r'guid is "a": expected a process guid of Carbon Black\'s, 36 characters\. It must be',
        ),
        ("cbactivity", [ONE, "kinds= "], 'Default: all. Example: kinds="netconn,filemod"'),
        ("cbactivity", [ONE, "kinds=netconn,all"], 'kinds is "netconn,all": expected some of filemod, regmod,'),
        ("cbhealth", ["x=1"], "cbhealth has no options"),
    ],
    ids=str,
)
def test_ranges_of_the_other_commands(command: str, arguments: Sequence[str], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        parse_options(command, arguments)


@pytest.mark.parametrize(
    "text",
    [
        GUID, GUID.upper(), f" {GUID} ", f"{GUID}-0178ef7c49a8", f"{GUID}-00000001", f"{GUID}-1", f"{GUID}-",
        f"{GUID}-0178ef7c49a81", f"{GUID}-1-1", f"{GUID}{' ' * 40}", f"{{{GUID}}}", GUID[:-1], GUID.replace("a", "g"),
        GUID.replace("0", "\u0660"), GUID.replace("-", ""), f"{GUID} OR *", "-----", "-" * 36, "*",
    ],
)  # fmt: skip
def test_a_guid_is_what_the_core_takes_for_one(text: str) -> None:
    assert taken("cbactivity", "guid", text) == (parse_guid(text) is not None)


@pytest.mark.parametrize(
    "text",
    [
        "start asc", "start desc", "last_update desc", "x9_ asc", "a" * 64 + " asc", "a" * 65 + " asc", "start",
        "start  asc", "start ascending", "start ASC", "Start asc", "9x asc", "_x asc", " start asc", "start asc ",
        "start\tasc", "start asc,name desc", "\u00e9 asc", " asc",
    ],
)  # fmt: skip
def test_a_sort_is_what_the_core_takes_for_one(text: str) -> None:
    assert taken("cbprocess", "sort", text) == (_SORT.fullmatch(text) is not None)


@pytest.mark.parametrize(
    ("text", "good"),
    [*((kind, True) for kind in KINDS), (",".join(KINDS), True), ("netconn, filemod", True), ("netconn filemod,", True),
     ("Netconn", False), ("netconns", False), (",", False), ("netconn;filemod", False)],
)  # fmt: skip
def test_kinds_are_those_of_the_core(text: str, good: bool) -> None:
    assert taken("cbactivity", "kinds", text) == good


def taken(command: str, name: str, text: str) -> bool:
    (option,) = (option for option in COMMANDS[command] if option.name == name)
    try:
        return bool(option.parse(text) == text)
    except OptionError:
        return False


@pytest.mark.parametrize(("command", "option"), ALL, ids=IDS)
def test_every_default_and_example_is_a_value_that_the_option_takes(command: str, option: Option) -> None:
    needed = [f"{o.name}={o.example}" for o in COMMANDS[command] if o.default is None and o is not option]

    values = parse_options(command, [*needed, f"{option.name}={option.example}"])

    assert values[option.name] not in ("", None)
    if option.default:
        assert option.parse(option.default) is not None


@pytest.mark.parametrize(("command", "option"), ALL, ids=IDS)
def test_every_option_says_what_it_is_for(command: str, option: Option) -> None:
    assert len(option.help) > 10
    assert not option.help.endswith(".")
    assert option.expected
    assert option.name == option.name.lower()
