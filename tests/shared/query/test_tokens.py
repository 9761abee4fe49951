"""How texts, command lines, paths and domains are cut."""

from __future__ import annotations

import doctest

import pytest

from cbsigned.query import tokens
from cbsigned.query.globs import MANY, ONE, Glob


def test_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(tokens)

    assert (results.failed, results.attempted) == (0, 8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"C:\\Windows\\r.exe" /d srrstr.dll,Run', ["c:", "windows", "r.exe", "/d", "srrstr.dll", "run"]),
        ("/usr/bin/python -c x", ["usr", "bin", "python", "-c", "x"]),
        ('"/usr/bin/python" -c', ["usr", "bin", "python", "-c"]),
        ("cp /etc/passwd /mnt", ["cp", "/etc", "passwd", "/mnt"]),
        ("a=/b", ["a", "/b"]),
        ("x /out:a.txt", ["x", "/out", "a.txt"]),
        ("x http://a.test:80/b", ["x", "http", "a.test", "80", "b"]),
        ("dir c:", ["dir", "c:"]),
        ("dir c:/temp", ["dir", "c", "temp"]),
        ("a:b: /:", ["a", "b:"]),
        ("%TEMP% $x -y a_b ^c d@e #f g! h?", ["%temp%", "$x", "-y", "a_b", "^c", "d@e", "#f", "g!", "h?"]),
        ("a'b(c)d[e]f{g}h,i=j<k>l&m|n;o", list("abcdefghijklmno")),
        ("a\x00b\x01c\td", ["a", "b", "c", "d"]),
        ("ÜBER Straße", ["über", "straße"]),
        ("", []),
        ("/ // ://", []),
    ],
)  # fmt: skip
def test_command_line_is_cut_by_the_new_scheme(line: str, words: list[str]) -> None:
    assert words == tokens.cmdline_words(line)


@pytest.mark.parametrize(
    ("word", "extension"),
    [("a.exe", [".exe"]), ("a.b.c", [".c"]), (".exe", []), ("a.", []), ("a.toolongtobe", []), ("a.b-c", []), ("a", [])],
)
def test_extension_is_what_follows_the_last_dot(word: str, extension: list[str]) -> None:
    assert extension == tokens.extensions([word])


def test_words_of_a_command_line_are_words_again_when_they_are_joined() -> None:
    words = tokens.cmdline_words('"c:\\x.exe" /d http://a:80/b -e=1 c:')

    assert words == tokens.cmdline_words(" ".join(words), switch=True)


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("abc", ["abc"], ["ab", "abcd", ""]),
        ("a*", ["a", "ab", "a\nb"], ["", "ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("a?", ["ab"], ["a", "abc"]),
        ("a?c", ["abc", "a\nc"], ["ac", "abbc"]),
        ("a*b?d*e", ["abcde", "axbxbcdxe"], ["abde", "abcd"]),
        ("*?*", ["a", "ab"], [""]),
        ("**", ["", "a"], []),
        ("a.c", ["a.c"], ["abc"]),
        ("*aab", ["aaaab"], ["aaaa"]),
    ],
)
def test_wildcards_stand_for_any_and_for_one_character(pattern: str, hits: list[str], misses: list[str]) -> None:
    glob = Glob(pattern.replace("*", MANY).replace("?", ONE))

    assert {text: glob.matches(text) for text in hits + misses} == {
        **dict.fromkeys(hits, True),
        **dict.fromkeys(misses, False),
    }


def test_many_wildcards_cost_no_more_than_the_text_is_long() -> None:
    glob = Glob(f"{MANY}a" * 200 + "b")

    assert not glob.matches("a" * 30_000)
