"""A tree that is written reads back as itself."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cbsigned.query import QueryError, parse, text_of
from cbsigned.query.tree import Node
from shared.query.strategies import NOW, any_leaf, bare_leaf, leaf, trees


def readable(text: str) -> Node:
    try:
        return leaf(text, "process")
    except QueryError:
        assume(False)
        raise


@given(trees(st.one_of(any_leaf, bare_leaf).map(readable)))
def test_tree_that_is_written_reads_back_as_itself(tree: Node) -> None:
    assert tree == parse(text_of(tree), "process", now=NOW).tree


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("process_name:a or (hostname:b hostname:c)", 'process_name:"a" or (hostname:"b" hostname:"c")'),
        ("-(hostname:b or hostname:c*)", '-(hostname:"b" or hostname:c*)'),
        ("--hostname:b", '--hostname:"b"'),
        ("cmdline:a\\ b*", "cmdline:a\\ b*"),
        ("digsig_result_process:Signed", 'digsig_result:"signed"'),
        ("domain:.com.", 'domain:".com."'),
        ("ipport:80", "ipport:80"),
        ("start:2021-04-20", "start:[2021-04-20T00:00:00.000 TO 2021-04-20T23:59:59.999]"),
        ("-foo", "-foo"),
        ("", "*:*"),
    ],
)
def test_trees_are_written_plainly(text: str, written: str) -> None:
    assert written == text_of(parse(text, "process").tree)
