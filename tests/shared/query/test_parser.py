"""What each operator and field type reads as; where errors point."""

from __future__ import annotations

import contextlib
import random
import time
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Network, IPv6Network
from typing import Optional

import pytest

from cbsigned.query import Policy, QueryError, parse, text_of
from cbsigned.query.fields import FIELDS, FieldRef, Join, Search, Type, default_fields, field_named
from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.parser import MAX_BARE, MAX_CLAUSES, MAX_DEPTH, MAX_LENGTH
from cbsigned.query.tree import (
    And,
    Bare,
    Between,
    Clause,
    During,
    Equals,
    Everything,
    Exists,
    Is,
    Labels,
    Matcher,
    Node,
    Not,
    Or,
    Place,
    SubPath,
    Within,
    Words,
)
from shared.query.strategies import HOSTILE

NOW = datetime(2021, 4, 20, 12, 0, tzinfo=timezone.utc)
MD5 = "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d"
GUID = "00000007-0000-0d24-01d7-35e9bb340680"


def glob(text: str) -> Glob:
    return Glob(text.replace("*", MANY).replace("?", ONE))


def tree(text: str, search: str = "process", version: tuple[int, ...] = (7, 0)) -> Node:
    return parse(text, search, version=version, now=NOW).tree


def name(text: str, field: str = "process_name") -> Clause:
    ref = field_named(field, Search.PROCESS)
    assert ref is not None
    return Clause(ref, Equals(glob(text)))


A, B, C, D = map(name, "abcd")
a, b, c, d = (f"process_name:{letter}" for letter in "abcd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Everything()),
        ("  \t\n", Everything()),
        ("*:*", Everything()),
        (a, A),
        (f"{a} {b}", And((A, B))),
        (f"{a} and {b} AND {c}", And((A, B, C))),
        (f"{a} or {b}", Or((A, B))),
        (f"{a} OR {b} oR {c}", Or((A, B, C))),
        (f"{a} {b} or {c} {d}", Or((And((A, B)), And((C, D))))),
        (f"{a} ({b} or {c})", And((A, Or((B, C))))),
        (f"({a})", A),
        (f"(({a} {b}))", And((A, B))),
        (f"-{a}", Not(A)),
        (f"not {a}", Not(A)),
        (f"NOT -{a}", Not(Not(A))),
        (f"not({a} or {b})", Not(Or((A, B)))),
        (f"-({a} or {b}) {c}", And((Not(Or((A, B))), C))),
        (f"{a} -{b}", And((A, Not(B)))),
        (f"{a} and not {b}", And((A, Not(B)))),
        (f"{a} or -{b}", Or((A, Not(B)))),
        ("process_name:(a or b)", Or((A, B))),
        ("process_name:(a b -c)", And((A, B, Not(C)))),
        ("-process_name:(a (b or c))", Not(And((A, Or((B, C)))))),
        ("process_name:(or.exe or b)", Or((name("or.exe"), B))),
        ("process_name:or", name("or")),
        ('process_name:(a or "b")', Or((A, B))),
        ("PROCESS_NAME:A", A),
        (f"{a}\n{b}", And((A, B))),
        (f"({a})({b})", And((A, B))),
    ],
)
def test_operators_bind_as_documented(text: str, expected: Node) -> None:
    assert expected == tree(text)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a.exe", "a.exe"),
        ('"a.exe"', "a.exe"),
        ('"a b"', "a b"),
        ("a\\ b", "a b"),
        ('"a\\"b"', 'a"b'),
        ('"a\\\\b"', "a\\b"),
        ('"a\\nb"', "a\\nb"),
        ('a\\"b', 'a"b'),
        ("\\(a\\)", "(a)"),
        ("a\\b", "a\\b"),
        ("a\\\\b", "a\\b"),
        ("a\\", "a\\"),
        ("a:b:c", "a:b:c"),
        ("a\\:b", "a:b"),
        ("-a", "-a"),
        ("\\-a", "-a"),
        ("\\[a", "[a"),
        ("a-b", "a-b"),
        ("+a", "+a"),
        ("a*", "a*"),
        ("a?c", "a?c"),
        ("*a", "*a"),
        ("&", "&"),
    ],
)
def test_quotes_and_escapes_give_the_value_meant(written: str, read: str) -> None:
    assert name(read, "hostname") == tree(f"hostname:{written}")


def test_wildcards_in_quotes_are_plain_characters() -> None:
    assert tree('hostname:"a*?"') == Clause(FieldRef(FIELDS["hostname"]), Equals(Glob("a*?")))


def span(earliest: Optional[str], latest: Optional[str]) -> During:
    begin, end = (None if t is None else datetime.fromisoformat(f"{t}+00:00") for t in (earliest, latest))
    return During(begin, end)


@pytest.mark.parametrize(
    ("field", "value", "matcher"),
    [
        ("process_name", "win*.exe", Equals(glob("win*.exe"))),
        ("process_name", "*", Exists()),
        ("username", "LAB\\jo", Equals(glob("lab\\jo"))),
        ("md5", MD5.upper(), Equals(Glob(MD5))),
        ("process_md5", f'"{MD5}"', Equals(Glob(MD5))),
        ("process_md5", "*", Exists()),
        ("sha256", "A" * 64, Equals(Glob("a" * 64))),
        ("process_id", GUID.upper(), Equals(Glob(GUID))),
        ("parent_id", f"{GUID}-0178ef7c49a8", Equals(Glob(GUID))),
        ("digsig_prog_name", "notepad.exe", Words((glob("notepad"), glob("exe")))),
        ("digsig_prog_name", '"Notepad, Exe"', Words((glob("notepad"), glob("exe")), together=True)),
        ("digsig_prog_name", '"Notepad"', Words((glob("notepad"),))),
        ("digsig_publisher", "micro*", Words((glob("micro*"),))),
        ("cmdline", "/d", Words((glob("/d"),))),
        ("cmdline", "-enc", Words((glob("-enc"),))),
        ("cmdline", ".exe", Words((glob(".exe"),))),
        ("cmdline", "c:\\win*", Words((glob("c:"), glob("win*")))),
        ("cmdline", '"csc.exe /d"', Words((glob("csc.exe"), glob("/d")), together=True)),
        ("cmdline", "a?c", Words((glob("a?c"),))),
        ("path", "c:\\windows\\*", SubPath(glob("c:\\windows\\*"))),
        ("path", "c:\\\\windows\\\\*", SubPath(glob("c:\\windows\\*"))),
        ("path", '"C:\\\\Program Files\\\\"', SubPath(glob("c:\\program files"))),
        ("path", "\\temp\\x.exe", SubPath(glob("temp\\x.exe"))),
        ("path", "/usr/bin/ls", SubPath(glob("usr\\bin\\ls"))),
        ("path", "system*", SubPath(glob("system*"))),
        ("regmod", "\\system\\ControlSet001\\x", SubPath(glob("system\\currentcontrolset\\x"))),
        ("domain", "com", Labels((glob("com"),))),
        ("domain", ".com", Labels((glob("com"),), Place.LAST)),
        ("domain", "com.", Labels((glob("com"),), Place.FIRST)),
        ("domain", ".com.", Labels((glob("com"),), Place.MIDDLE)),
        ("domain", "Example.COM", Labels((glob("example"), glob("com")))),
        ("domain", "ex*.com", Labels((glob("ex*"), glob("com")))),
        ("ipaddr", "10.0.0.0/8", Within(IPv4Network("10.0.0.0/8"))),
        ("ipaddr", "10.1.2.3/8", Within(IPv4Network("10.0.0.0/8"))),
        ("ipaddr", "10.1.2.3", Within(IPv4Network("10.1.2.3/32"))),
        ("ipv6addr", "2001:DB8::/32", Within(IPv6Network("2001:db8::/32"))),
        ("ipport", "443", Between(443, 443)),
        ("ipport", "[1 TO 1024]", Between(1, 1024)),
        ("modload_count", "[10 to *]", Between(10, None)),
        ("modload_count", "[* TO 10]", Between(None, 10)),
        ("modload_count", "[  1   TO 2 ]", Between(1, 2)),
        ("modload_count", "*", Between(1, None)),
        ("alliance_score_nvd", "[-100 TO 0]", Between(-100, 0)),
        ("alliance_score_nvd", "*", Exists()),
        ("watchlist_3", "*", Exists()),
        ("start", "2021-04-20", span("2021-04-20T00:00:00", "2021-04-20T23:59:59.999000")),
        ("start", "2021-04-20T09:00:00", span("2021-04-20T09:00:00", "2021-04-21T08:59:59.999000")),
        ("start", '"2021-04-20T09:00:00Z"', span("2021-04-20T09:00:00", "2021-04-21T08:59:59.999000")),
        ("start", "-24h", span("2021-04-19T12:00:00", None)),
        ("last_update", "-30m", span("2021-04-20T11:30:00", None)),
        ("last_server_update", "-90s", span("2021-04-20T11:58:30", None)),
        ("start", "[2021-04-20 TO 2021-04-21]", span("2021-04-20T00:00:00", "2021-04-21T23:59:59.999000")),
        ("start", "[2021-04-20T09:00:00 TO *]", span("2021-04-20T09:00:00", None)),
        ("start", "[* TO 2021-04-20T09:00:00.123456]", span(None, "2021-04-20T09:00:00.123000")),
        ("start", "[-2h TO -1h]", span("2021-04-20T10:00:00", "2021-04-20T11:00:00")),
        ("is_64bit", "TRUE", Is(True)),
        ("tampered", "false", Is(False)),
        ("digsig_result", "signed", Equals(Glob("signed"))),
        ("digsig_result", '"Untrusted Root"', Equals(Glob("untrusted root"))),
        ("digsig_result", '"(Unknown)"', Equals(Glob("(unknown)"))),
        ("digsig_result", "Unknown", Equals(Glob("(unknown)"))),
        ("digsig_result", "un*", Equals(glob("un*"))),
        ("orig_mod_len", "[1 TO *]", Between(1, None)),
    ],
)
def test_values_are_read_by_the_type_of_their_field(field: str, value: str, matcher: Matcher) -> None:
    ref = field_named(field, Search.PROCESS)
    assert ref is not None

    assert tree(f"{field}:{value}") == Clause(ref, matcher)


def test_path_on_a_command_line_is_found_at_its_start_and_behind_it() -> None:
    ref = FieldRef(FIELDS["cmdline"])
    inside, first = (Clause(ref, Words((glob(f"{head}usr"), glob("ls")))) for head in ("/", ""))

    assert tree("cmdline:/usr/ls") == Or((inside, first))


def test_command_lines_of_old_servers_are_cut_at_spaces_and_backslashes_alone() -> None:
    words = tree('cmdline:"\\"C:\\\\x.exe\\" /d,e"', version=(6, 2))

    assert words == Clause(
        FieldRef(FIELDS["cmdline"]), Words((glob('"c:'), glob('x.exe"'), glob("/d,e")), together=True, legacy=True)
    )


def test_question_mark_is_a_plain_character_before_6_3() -> None:
    assert tree("hostname:a?", version=(6, 2)) == Clause(FieldRef(FIELDS["hostname"]), Equals(Glob("a?")))


@pytest.mark.parametrize(
    ("field", "join"),
    [
        ("digsig_result", Join.IMAGE),
        ("digsig_result_process", Join.IMAGE),
        ("digsig_result_parent", Join.PARENT),
        ("digsig_result_child", Join.CHILD),
        ("digsig_result_modload", Join.MODLOAD),
        ("digsig_result_filewrite", Join.FILEWRITE),
    ],
)
def test_suffix_moves_the_join(field: str, join: Join) -> None:
    assert tree(f"{field}:Unsigned") == Clause(FieldRef(FIELDS["digsig_result"], join), Equals(Glob("unsigned")))


def test_binary_search_joins_nothing() -> None:
    assert tree("digsig_result:Signed", "binary") == Clause(FieldRef(FIELDS["digsig_result"]), Equals(Glob("signed")))


def test_word_without_a_field_looks_into_every_default_field_that_can_hold_it() -> None:
    found = tree("notepad.exe")

    assert isinstance(found, Bare)
    fields = {clause.field.name for clause in found.clauses if isinstance(clause, Clause)}
    hashes = {ref.name for ref in default_fields(Search.PROCESS) if ref.field.type in (Type.MD5, Type.SHA256)}
    assert fields == {ref.name for ref in default_fields(Search.PROCESS)} - hashes


def test_hash_without_a_field_looks_into_the_hashes_too() -> None:
    found = tree(MD5)

    assert isinstance(found, Bare)
    assert Clause(FieldRef(FIELDS["filewrite_md5"]), Equals(Glob(MD5))) in found.clauses


def test_terms_are_the_clauses_as_written() -> None:
    query = parse(f'{a} -(path:c:\\x* or hostname:(y "z z")) foo', "process")

    assert query.terms == (a, "path:c:\\x*", "y", '"z z"', "foo")


def test_empty_query_has_no_terms() -> None:
    assert parse("", "binary").terms == ()


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("(process_name:a", 0, "never closed"),
        ("process_name:a)", 14, "closes nothing"),
        ("()", 1, "Expected a term"),
        ('process_name:"a', 13, "quote is never closed"),
        ('process_name:a"b', 14, "quote inside a word"),
        ('process_name:"a"b', 16, "after the closing quote"),
        ("process_name:a(b", 14, r"\( inside a word"),
        ("process_name:", 13, "Expected a value"),
        ("process_name: a", 13, "Expected a value"),
        ("process_name:a and", 15, "Expected a term after and"),
        ("process_name:a or", 15, "Expected a term after or"),
        ("or process_name:a", 0, "Expected a term"),
        ("process_name:a or or process_name:b", 18, "Expected a term"),
        ("process_name:a and and process_name:b", 19, "Expected a term"),
        ("not", 0, "Expected a term after not"),
        ("process_name:a -", 16, "right after the -"),
        ("- a", 1, "right after the -"),
        ("process_nam:a", 0, r"no field process_nam in process search\. Did you mean process_name:"),
        ("foo qqq:a", 4, "no field qqq in process search. To search for the text itself, quote it"),
        ("c:\\windows", 0, "no field c in"),
        ("digsig_reslt_modload:Signed", 0, "Did you mean digsig_result_modload:"),
        ("host_count:1", 0, "binary search only"),
        ("comments:a", 0, "binary search only"),
        ("process_name:(a or path:b)", 19, "inside the group of process_name:"),
        ("process_name:a && process_name:b", 15, "&& is no operator"),
        ("a || b", 2, r"\|\| is no operator"),
        ("! a", 0, "! is no operator"),
        ("[a TO b]", 0, "needs a field"),
        ("process_name:[a TO b]", 13, "has no ranges"),
        ("ipport:[1 2]", 7, "Expected a range"),
        ("ipport:[1 TO 2", 7, "Expected a range"),
        ("ipport:[1 TO 2]x", 7, "Expected a range"),
        ("ipport:[2 TO 1]", 7, "ends before it begins"),
        ("ipport:[1 TO x]", 7, "whole number"),
        ("ipport:x", 7, "whole number"),
        ("ipport:99999999999999999999", 7, "whole number"),
        ("ipport:9999999999999999999", 7, "whole number"),
        ("process_md5:abc", 12, "32 hex digits"),
        (f"process_md5:{MD5[:-1]}*", 12, "32 hex digits"),
        ("sha256:abc", 7, "64 hex digits"),
        ("process_id:-12345", 11, "36 characters"),
        ("start:-7d", 6, "7 days are -168h"),
        ("start:-7weeks", 6, "not in weeks"),
        ("start:yesterday", 6, "takes a day"),
        ("start:2021-13-01", 6, "takes a day"),
        ("start:1618925601", 6, "takes a day"),
        ("start:-999999999h", 6, "no calendar"),
        ("start:9999-12-31T12:00:00", 6, "years 1601 to 9998"),
        ("start:-9999999h", 6, "no calendar"),
        ("ipaddr:10.*", 7, "IPv4"),
        ("ipaddr:2001:db8::1", 7, "IPv4"),
        ("ipaddr:10.0.0.0/33", 7, "IPv4"),
        ("ipv6addr:10.0.0.1", 9, "IPv6"),
        ("ipv6addr:fe80::1%eth0", 9, "IPv6"),
        ("is_64bit:yes", 9, "true or false"),
        ("digsig_result:Bad Signature", 14, "two words need quotes"),
        ('hostname:""', 9, "Empty value"),
        ('a ""', 2, "empty phrase"),
        ("domain:...", 7, "labels"),
        ("digsig_publisher:!!", 17, "No word"),
        ("path:\\\\\\", 5, "No part of a path"),
        ("a\x00b", 1, "control character"),
        ("a\ud800", 1, "control character"),
        ("-" * (MAX_DEPTH + 1) + "a", MAX_DEPTH, "Nested deeper"),
        ("(" * (MAX_DEPTH + 1) + "a", MAX_DEPTH, "Nested deeper"),
        ("not " * (MAX_DEPTH + 1) + "a", MAX_DEPTH * 4 + 3, "Nested deeper"),
        (f"{a} " * (MAX_CLAUSES + 1), MAX_CLAUSES * 15, "More than 1024 clauses"),
        ("a " * (MAX_BARE + 1), MAX_BARE * 2, "values without a field"),
        ("a" * (MAX_LENGTH + 1), 0, "characters, more than"),
    ],
)  # fmt: skip
def test_error_points_at_the_character(text: str, position: int, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        tree(text)

    assert position == caught.value.position


def test_error_shows_the_place_with_a_caret() -> None:
    with pytest.raises(QueryError) as caught:
        tree("process_name:a ipport:x")

    assert str(caught.value).endswith("\n  process_name:a ipport:x\n                        ^")


def test_error_shows_a_long_query_only_around_the_place() -> None:
    with pytest.raises(QueryError) as caught:
        tree("process_name:a " * 300 + "ipport:x" + " process_name:a" * 300)

    _, line, caret = str(caught.value).rsplit("\n", 2)
    assert (len(line), line[2], line[-1]) == (64, "…", "…")
    assert line[caret.index("^") :].startswith("x process_name:a")


@pytest.mark.parametrize("field", ["process_sha256", "sha256"])
def test_field_that_the_server_is_too_old_for_is_refused_by_name(field: str) -> None:
    with pytest.raises(QueryError, match=rf"{field} exists from version 6\.3 on; this server is 6\.2"):
        tree(f"{field}:{'a' * 64}", version=(6, 2))


@pytest.mark.parametrize("field", ["process_name", "cmdline", "filemod", "digsig_result_modload"])
def test_field_of_process_search_is_refused_in_binary_search(field: str) -> None:
    with pytest.raises(QueryError, match=field):
        tree(f"{field}:a", "binary")


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        ("process_name:*a", True), ("process_name:?a", True), ("*a", True), ("cmdline:x\\ *a", True),
        ("process_name:a*", False), ("process_name:*", False), ("*", False), ('process_name:"*a"', False),
    ],
)  # fmt: skip
def test_blocked_leading_wildcards_name_their_setting(text: str, blocked: bool) -> None:
    policy = Policy.of_version((6, 2, 3))
    if not blocked:
        parse(text, "process", policy=policy)
        return

    with pytest.raises(QueryError, match="ForceBlockLeadingWildcardsInSearchTo"):
        parse(text, "process", policy=policy)


@pytest.mark.parametrize("field", ["digsig_result", "digsig_result_modload", "company_name", "is_64bit_filewrite"])
def test_blocked_joins_name_their_setting(field: str) -> None:
    with pytest.raises(QueryError, match="ForceBlockCoreJoinsInSearchTo"):
        parse(f"{field}:*", "process", policy=Policy(joins=False))


def test_blocked_joins_leave_binary_search_alone() -> None:
    assert parse("digsig_result:Signed", "binary", policy=Policy(joins=False)).terms == ("digsig_result:Signed",)


@pytest.mark.parametrize(
    ("version", "allowed"), [((5, 1), True), ((6, 2, 2), True), ((6, 2, 3), False), ((7, 5), False)]
)
def test_servers_block_by_default_from_6_2_3_on(version: tuple[int, ...], allowed: bool) -> None:
    assert Policy(allowed, allowed) == Policy.of_version(version)


def test_ten_thousand_hostile_strings_neither_crash_nor_change_when_they_are_written_again() -> None:
    chance = random.Random(7)
    read = []
    began = time.process_time()
    for _ in range(10_000):
        text = "".join(chance.choices(HOSTILE, k=chance.randint(1, 12)))
        with contextlib.suppress(QueryError):
            read.append(tree(text))

    assert len(read) > 500
    assert all(found == tree(text_of(found)) for found in read)
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    "piece",
    ["(", ")", "-", "a", "a ", "a*", '"', "\\", "\\ ", ":", "a:", "[", "cmdline:a ", "not ", "cmdline:/a/b ", "'"],
)
def test_longest_query_takes_no_longer_than_its_length_allows(piece: str) -> None:
    began = time.process_time()
    text = piece * (MAX_LENGTH // len(piece))

    with contextlib.suppress(QueryError):
        text_of(tree(text))

    assert time.process_time() - began < 5


def test_time_back_from_now_counts_from_the_given_now() -> None:
    found = parse("start:-1s", "process", now=NOW + timedelta(hours=1)).tree

    assert isinstance(found, Clause)
    assert found.matcher == During(NOW + timedelta(minutes=59, seconds=59), None)
