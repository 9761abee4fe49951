"""`process`, `search` and `binary` as they are typed: outputs, paging, what is said beside them, exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any, Callable

import pytest

from cbsigned.errors import CbSignedError, ConfigError
from cbsigned.query.errors import QueryError
from cbsigned.samples import sample_path
from cbsigned.store.binary_command import binary
from cbsigned.store.ingest import ingest
from cbsigned.store.process_command import process
from cbsigned.store.related_command import related
from cbsigned.store.search_command import search
from cbsigned.store.sweep_command import sweep_list
from shared.store.asking import ask, ask_json

PROCMON64 = "b0a3ecc9eaa2521ddea2fc067785b84e"
GUID = "00000001-0000-0f40-01d2-e4ee910d2930"
CONTRADICTED = "222b65ebe6a49fe9c3ccc49a4a4f072b"
COMMANDS: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "process": (process, ["process", GUID]),
    "search process": (search, ["search", "process", "process_name:procmon64.exe"]),
    "search binary": (search, ["search", "binary", f"md5:{PROCMON64}"]),
    "binary": (binary, ["binary", PROCMON64]),
    "related": (related, ["related", PROCMON64]),
    "sweep": (sweep_list, ["sweep", "-"]),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands") / "sample.db"
    ingest(path, [sample_path("telemetry")])
    return path


@pytest.mark.parametrize("output", ["table", "json", "csv", "markdown", "html"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_every_output(store: Path, name: str, output: str) -> None:
    command, argv = COMMANDS[name]

    code, out, _ = ask(command, store, *argv, "--output", output, stdin=PROCMON64.encode())

    assert code == 0
    assert "procmon64.exe" in out
    if output == "json":
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())
    if output == "csv":
        widths = {len(row) for row in csv.reader(io.StringIO(out))}
        assert len(widths) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    command, argv = COMMANDS[name]
    named = argv[: 2 if argv[0] == "search" else 1]

    with pytest.raises(SystemExit):
        ask(command, store, *named, "--help")

    assert "examples:\n  cbsigned" in capsys.readouterr().out.replace("  cut", "  cbsigned")


@pytest.mark.parametrize("name", COMMANDS)
def test_store_that_is_not_there_says_how_to_make_one(tmp_path: Path, name: str) -> None:
    command, argv = COMMANDS[name]

    with pytest.raises(CbSignedError, match="cbsigned store ingest"):
        ask(command, tmp_path / "none.db", *argv, stdin=PROCMON64.encode())

    assert list(tmp_path.iterdir()) == []


def test_process_has_lineage_relatives_document_and_activity_each_with_status(store: Path) -> None:
    (found,) = ask_json(process, store, "process", f"{GUID}-00000001")

    assert (found["name"], found["status"]) == ("procmon64.exe", "Signed")
    assert [node["name"] for node in found["lineage"]["nodes"][:3]] == ["procmon64.exe", "procmon.exe", "explorer.exe"]
    assert found["lineage"]["children"]["total"] == 0
    assert found["document"]["filemod_count"] == 4
    loads = [e for e in found["activity"]["events"] if e["kind"] == "modload"]
    assert loads
    assert all(e["status"] == "Signed" and e["reason"] for e in loads if e["what"].endswith("ntdll.dll"))


def test_process_says_how_many_events_there_are_and_how_to_see_more(store: Path) -> None:
    _, out, err = ask(process, store, "process", GUID, "--rows", 2)

    total = json.loads(out)["activity"]["total"]
    assert len(json.loads(out)["activity"]["events"]) == 2
    assert f"Events 1 to 2 of {total}; more exist: --start 2" in err


def test_process_of_a_console_link_is_found(store: Path) -> None:
    (found,) = ask_json(process, store, "process", f"https://cb.example.test/#analyze/{GUID}/1")

    assert found["guid"] == GUID


def test_process_that_nothing_names_is_an_answer_with_its_gap(store: Path) -> None:
    (found,) = ask_json(process, store, "process", "00000001-0000-0001-01d2-e4ee910d2930")

    assert found["gap"]["cause"] == "not found"
    assert found["activity"]["total"] == 0


@pytest.mark.parametrize("text", ["nonsense", "'; DROP TABLE process", "../../etc/passwd"])
def test_text_that_is_no_guid_is_refused(store: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is no process guid"):
        ask(process, store, "process", text)


@pytest.mark.parametrize(
    "argv", [["--kind", "modload,nonsense"], ["--since", "yesterday"], ["--rows", "-1"], ["--start", "x"]]
)
def test_option_that_cannot_be_used_is_refused(
    store: Path, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ask(process, store, "process", GUID, *argv)

    assert ended.value.code == 2
    assert argv[0] in capsys.readouterr().err


def test_search_rows_have_their_status_and_the_total_is_said(store: Path) -> None:
    _, out, err = ask(search, store, "search", "process", "hostname:SDL-DEV", "--rows", 3, "--sort", "start asc")

    rows = [json.loads(line) for line in out.splitlines()]
    total = int(re.findall(r"of (\d+)", err)[0])
    assert [row["status"] for row in rows] == ["Signed"] * 3
    assert all(row["reason"] and row["md5"] == row["process_md5"] for row in rows)
    assert (len(rows), total) == (3, 10)
    assert "more exist: --start 3" in err


def test_search_pages_put_together_are_the_whole(store: Path) -> None:
    def ids(*argv: object) -> list[str]:
        return [row["id"] for row in ask_json(search, store, "search", "process", "", "--sort", "start asc", *argv)]

    whole = ids("--rows", 1000)

    assert [one for first in range(0, len(whole), 17) for one in ids("--rows", 17, "--start", first)] == whole


def test_facets_come_alone_where_no_rows_are_asked_for(store: Path) -> None:
    rows = ask_json(search, store, "search", "binary", "", "--rows", 0, "--facet", "digsig_result")

    counts = {row["value"]: row["count"] for row in rows}
    assert {row["facet"] for row in rows} == {"digsig_result"}
    assert counts["Expired"] == 1


def test_csv_refuses_two_tables_in_one(store: Path) -> None:
    with pytest.raises(ConfigError, match="--rows 0"):
        ask(search, store, "search", "process", "", "--facet", "hostname", "--output", "csv")


def test_query_error_points_at_the_character(store: Path) -> None:
    with pytest.raises(QueryError) as raised:
        ask(search, store, "search", "process", "process_name:git.exe and (hostname:a")

    line, caret = str(raised.value).splitlines()[-2:]
    assert caret.strip() == "^"
    assert line.strip() == "process_name:git.exe and (hostname:a"


def test_search_that_is_stopped_at_its_deadline_says_so_and_exits_1(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbsigned.store.search_command.SHARE", 0.0)
    monkeypatch.setattr("cbsigned.store.search._STEPS", 1)

    code, _, err = ask(search, store, "search", "process", "cmdline:*proc*")

    assert code == 1
    assert "deadline" in err
    assert "at least" in err


def test_search_without_hits_says_so(store: Path) -> None:
    code, out, err = ask(search, store, "search", "process", "process_name:nothing-like-it.exe")

    assert (code, out, err) == (0, "", "No processes.\n")


def test_binary_has_version_evidence_and_frequency(store: Path) -> None:
    (found,) = ask_json(binary, store, "binary", PROCMON64.upper())

    assert (found["status"], found["publisher"]) == ("Signed", "Microsoft Corporation")
    assert found["evidence"]["record"] == "binary document"
    assert found["version"]["company"] == "Sysinternals - www.sysinternals.com"
    assert [row["host"] for row in found["frequency"]["on"]] == ["SDL-DEV"]
    assert found["frequency"]["under"] == ["c:\\users\\lab\\appdata\\local\\temp\\procmon64.exe"]
    assert found["frequency"]["processes"] == 1
    assert found["contradicting"] is False


def test_binary_tells_records_that_contradict_one_by_one(store: Path) -> None:
    (found,) = ask_json(binary, store, "binary", CONTRADICTED)
    _, table, _ = ask(binary, store, "binary", CONTRADICTED, "--output", "table")

    assert (found["status"], found["cause"], found["contradicting"]) == ("Unknown", "contradiction", True)
    assert {record["status"] for record in found["records"]} == {"Signed", "Unsigned"}
    assert len(re.findall("^contradiction", table, re.MULTILINE)) == 2


def test_binary_table_shows_reasons_whole(store: Path) -> None:
    (found,) = ask_json(binary, store, "binary", CONTRADICTED)
    _, table, _ = ask(binary, store, "binary", CONTRADICTED, "--output", "table")

    assert found["reason"] in " ".join(table.split())


def test_binary_that_nothing_names_is_unknown_not_unsigned(store: Path) -> None:
    (found,) = ask_json(binary, store, "binary", "ef" * 32)

    assert (found["status"], found["cause"], found["sha256"]) == ("Unknown", "not found", "ef" * 32)


@pytest.mark.parametrize(("command", "name"), [(binary, "binary"), (related, "related")])
@pytest.mark.parametrize(("text", "why"), [("cd" * 20, "SHA-1"), ("xyz", "no hash"), ("0" * 32, "no hash")])
def test_what_is_no_hash_is_refused(
    store: Path, command: Callable[[Any], None], name: str, text: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        ask(command, store, name, text)


def test_hostile_names_reach_no_terminal(store: Path) -> None:
    _, table, _ = ask(search, store, "search", "process", "hostname:INTL-WS-09", "--output", "table", "--rows", 50)
    _, html, _ = ask(search, store, "search", "process", "", "--output", "html", "--rows", 500)

    assert "\u202e" not in table
    assert "<U+202E>" in table
    assert "<b onmouseover" not in html
