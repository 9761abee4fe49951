"""`docs/splunk.md` and the Splunk part of the README say what the code knows, and show what searches really give."""

from __future__ import annotations

import ast
import configparser
import difflib
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.splunk import demo_splunk, docs_tables
from support import PROJECT

DOCS = docs_tables.DOCS.read_text(encoding="utf-8")
README = demo_splunk.README.read_text(encoding="utf-8")
APP = PROJECT / "packaging" / "splunk" / "app"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo_splunk.Desk]:
    with demo_splunk.desk(tmp_path_factory.mktemp("desk")) as found:
        yield found


@functools.lru_cache(maxsize=1)
def texts() -> str:
    """Return every text in the code of the adapter and the core, parts of one message joined."""
    found = []
    for folder in ("connectors/cbsigned_connectors/splunk", "shared/cbsigned"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            said = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
            for node in (one for one in nodes if id(one) not in said):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return " ".join("\n".join(found).split())


def test_the_tables_are_what_the_code_says() -> None:
    real = docs_tables.rendered(DOCS)

    diff = difflib.unified_diff(DOCS.splitlines(), real.splitlines(), "docs/splunk.md", "the code", lineterm="")
    assert "\n".join(diff) == "", "run: PYTHONPATH=tests python tests/connectors/splunk/docs_tables.py"


def test_every_table_is_in_the_document() -> None:
    assert set(re.findall(r"<!-- table of: (.+?) -->", DOCS)) == set(docs_tables.TABLES)


@pytest.mark.parametrize(("module", "prefix"), [("command", "cbsigned_"), ("lineage_command", "lineage_")])
def test_every_output_field_is_documented(module: str, prefix: str) -> None:
    found = importlib.import_module(f"cbsigned_connectors.splunk.{module}")
    fields = [*found.FIELDS, *getattr(found, "LINEAGE_FIELDS", ())]

    assert len(fields) >= 8
    assert [name for name in fields if f"`{prefix}{name}`" not in DOCS] == []


def test_every_command_has_a_section_and_a_row() -> None:
    stanzas = configparser.ConfigParser(strict=False)
    stanzas.read(APP / "default" / "commands.conf")

    assert len(stanzas.sections()) == 6
    for name in stanzas.sections():
        assert f"\n### {name}\n" in DOCS
        assert f"`\\| {name}`" in DOCS


def messages() -> list[str]:
    """Return what the tables of troubleshooting and of `why` quote."""
    parts = [DOCS.split(f"\n## {title}\n")[1].split("\n## ")[0] for title in ("Troubleshooting", "How to read `why`")]
    cells = [line.split(" | ")[0] for part in parts for line in part.splitlines() if line.startswith("| `")]
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell) if text != "why"]


@pytest.mark.parametrize("message", messages())
def test_every_message_explained_is_one_that_the_code_gives(message: str) -> None:
    assert message.rstrip("…").strip() in texts()


def test_messages_are_found_at_all() -> None:
    assert len(messages()) >= 16


@pytest.mark.parametrize("name", ["cbsigned_user", "cbsigned_admin", "cbsigned_use", "cbsigned_manage"])
def test_roles_and_capabilities_are_those_of_the_app(name: str) -> None:
    assert name in (APP / "default" / "authorize.conf").read_text(encoding="utf-8")
    assert f"`{name}`" in DOCS


def test_macros_lookups_and_searches_named_are_in_the_app() -> None:
    known = "".join(path.read_text(encoding="utf-8") for path in (APP / "default").glob("*.conf"))

    for name in (
        "cbsigned_index",
        "cbsigned_rare_hosts",
        "cbsigned_verdicts",
        "cbsigned_enrich",
        "cbsigned:enrichment",
    ):
        assert f"[{name}]" in known
        assert f"`{name}`" in DOCS
    (search,) = re.findall(r"\*(CbSigned - [^*]+)\*", DOCS)
    assert f"[{search}]" in known


def test_the_container_commands_name_what_the_script_reads() -> None:
    script = (Path(__file__).parent / "real_splunk.py").read_text(encoding="utf-8")

    for name in re.findall(r"CBSIGNED_SPLUNK_[A-Z_]+", DOCS):
        assert name in script


def test_links_within_the_document_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", DOCS, flags=re.DOTALL), re.MULTILINE)
    known = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", DOCS)) <= known


def test_every_search_shown_in_the_readme_gives_what_it_shows(desk: demo_splunk.Desk) -> None:
    real = demo_splunk.rendered(README, desk)

    diff = difflib.unified_diff(README.splitlines(), real.splitlines(), "README.md", "real", lineterm="")
    assert "\n".join(diff) == "", "run: PYTHONPATH=tests python tests/connectors/splunk/demo_splunk.py"


def test_the_readme_shows_a_search() -> None:
    assert README.count("<!-- splunk output of: ") >= 1


def searches() -> list[str]:
    """Return the searches that the README's table of useful ones offers."""
    part = README.split("Five useful searches", 1)[1].split("\n\n", 2)[1]
    return [spl.replace("\\|", "|") for spl in re.findall(r"^\| `(.+?)` \|", part, re.MULTILINE)]


def test_there_are_five_useful_searches() -> None:
    assert len(searches()) == 5


@pytest.mark.parametrize("spl", searches())
def test_every_useful_search_finds_something(desk: demo_splunk.Desk, spl: str) -> None:
    assert desk.search(spl) != []
