"""Tables of named cells: nothing empty, nothing hostile, and cut where it hurts least."""

from __future__ import annotations

import pytest

from cbsigned.render.clean import width
from cbsigned.render.rows import rows_table

LONG = "c:\\users\\jo\\appdata\\local\\temp\\" + "deep\\" * 12 + "git.exe"


@pytest.mark.parametrize("column", ["path", "file", "value"])
def test_a_path_is_cut_at_its_beginning(column: str) -> None:
    text = rows_table([column, "why"], [[LONG, "x" * 30]], "table", 60)

    assert "…" in text
    assert "\\git.exe  xxx" in text
    assert max(map(width, text.split("\n"))) <= 60


def test_a_value_that_is_no_path_is_cut_at_its_end() -> None:
    assert "begin" in rows_table(["value"], [["begin" + "x" * 90]], "table", 40)


def test_a_host_is_cut_in_its_middle() -> None:
    line = rows_table(["host"], [["build-agent-0017.internal.example.test"]], "table", 16).split("\n")[1]

    assert line == "build-ag…le.test"


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_a_column_that_is_empty_everywhere_is_not_shown(form: str) -> None:
    text = rows_table(["name", "nothing", "md5"], [["a", "", "1"], ["b", "", ""]], form, 80).lower()

    assert "nothing" not in text
    assert "name" in text
    assert "md5" in text


def test_a_table_without_rows_names_its_columns() -> None:
    assert rows_table(["name", "md5"], [], "table", 80) == "NAME  MD5\n"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert "\x1b" not in rows_table(["name"], [["\x1b[2J"]], "table", 80)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](http://evil.test/b.png)", r"!\[x\](http\://evil.test/b.png)"),
        ("a`b`", r"a\`b\`"),
        ("a\\|b", r"a\\\|b"),
        ("**bold** _x_", r"\*\*bold\*\* \_x\_"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
    ],
)
def test_no_cell_of_a_markdown_table_is_read_as_markdown(text: str, shown: str) -> None:
    """A publisher named `![x](http://…)` loaded a picture in a ticket; `a\\|b` began another cell."""
    assert rows_table(["publisher", "md5"], [[text, "1"]], "markdown", 80).split("\n")[2] == f"| {shown} | 1 |"


def test_a_long_cell_of_a_markdown_table_is_whole() -> None:
    assert "x" * 3000 in rows_table(["path"], [["x" * 3000]], "markdown", 80)
