"""Every command of the uploaded integration against the EDR: what it puts into the context and the war room."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden import CASES, DEEP_GUID, WRITTEN_MD5, Edr, comparable, expected
from xsoar_platform import FILE, NOTE, PACK, SCORE, STANDIN, Platform

from cbsigned_playbooks.actions import open_actions
from cbsigned_playbooks.xsoar import COMMANDS, LEFT_OUT

DEEP_MD5 = "a0" * 16
STRANGERS = ("ab" * 16, "no-hash", "cd" * 20)


@pytest.mark.parametrize("name", list(CASES))
def test_an_enriched_alert_agrees_with_the_command_line(platform: Platform, edr: Edr, name: str) -> None:
    answer = platform.ask("cbsigned-enrich-alert", {"alert": json.dumps(CASES[name])})

    assert [expected(edr, name)] == comparable(answer.context("CBSigned.Alert"))


def test_an_incident_of_the_platform_itself_is_enriched(platform: Platform, edr: Edr) -> None:
    incident = {"id": "17", "name": "Deep", "type": "EDR", "rawJSON": json.dumps({"process_guid": DEEP_GUID})}

    row = platform.ask("cbsigned-enrich-alert", {"alert": incident}).context("CBSigned.Alert")[0]

    wanted = expected(edr, "deep and hostile")
    assert (row["alert"]["format"], row["alert"]["id"]) == ("xsoar", "17")
    assert comparable(row["subjects"][0]["lineage"]) == wanted["subjects"][0]["lineage"]


QUESTIONS: dict[str, dict[str, Any]] = {
    "cbsigned-enrich-alert": {"alert": list(CASES.values()), "relatives": "3"},
    "cbsigned-signing-status": {"hashes": [DEEP_MD5, WRITTEN_MD5, *STRANGERS]},
    "cbsigned-lineage": {"guid": DEEP_GUID, "relatives": "3", "max_depth": "5"},
    "cbsigned-find-processes": {"query": "", "rows": "50"},
    "cbsigned-find-binaries": {"query": "", "rows": "50", "sort": ""},
    "cbsigned-where-seen": {"hashes": f"{DEEP_MD5},{WRITTEN_MD5}\nno-hash"},
}


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_the_context_holds_the_rows_of_the_action(platform: Platform, edr: Edr, command: Any) -> None:
    with open_actions(edr.configuration) as actions:
        wanted = actions.run(command.action, QUESTIONS[command.name])

    answer = platform.ask(command.name, QUESTIONS[command.name])

    rows = [{name: value for name, value in row.items() if name not in LEFT_OUT} for row in wanted.rows]
    assert rows
    assert comparable(rows) == comparable(answer.context(command.prefix))
    assert {**wanted.summary, "message": wanted.message} == answer.context("CBSigned")["Summary"]
    assert answer.entry["Contents"] == answer.context(command.prefix)


def test_every_command_and_value_is_in_the_manifest_that_the_platform_reads(platform: Platform) -> None:
    tree = yaml.safe_load((PACK / "Integrations" / "CBSigned" / "CBSigned.yml").read_text("utf-8"))
    documented = {one["name"]: {out["contextPath"] for out in one["outputs"]} for one in tree["script"]["commands"]}

    for name, given in [*QUESTIONS.items(), ("file", {"file": DEEP_MD5})]:
        context = platform.ask(name, given).entry["EntryContext"]
        found = {path for key, value in context.items() for path in paths(key.partition("(")[0], value)}
        strange = found - documented.pop(name)
        assert strange == set()
    assert documented == {}


def paths(prefix: str, value: Any) -> Iterator[str]:
    """Yield the context path of every value that is not null."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from paths(f"{prefix}.{name}", part)
    elif isinstance(value, list):
        for part in value:
            yield from paths(prefix, part)
    elif value is not None:
        yield prefix


def test_the_arguments_of_a_command_are_those_of_its_action(platform: Platform) -> None:
    tree = yaml.safe_load((PACK / "Integrations" / "CBSigned" / "CBSigned.yml").read_text("utf-8"))

    for one in tree["script"]["commands"]:
        given = {arg["name"]: arg.get("defaultValue", "") for arg in one["arguments"]}
        answer = platform.ask(one["name"], {**given, **QUESTIONS.get(one["name"], {"file": DEEP_MD5})})
        assert answer.entry["Type"] == NOTE


def test_a_row_replaces_the_older_one_of_the_same_thing(platform: Platform) -> None:
    context = platform.ask("cbsigned-find-processes", {"query": "", "rows": 1}).entry["EntryContext"]

    assert list(context) == ["CBSigned.Process(val.guid && val.guid == obj.guid)", "CBSigned(true)"]


def test_a_search_says_where_its_next_page_begins(platform: Platform) -> None:
    first = platform.ask("cbsigned-find-processes", {"query": "", "rows": "2"})
    second = platform.ask("cbsigned-find-processes", {"query": "", "rows": "2", "start": "2"})

    assert first.context("CBSigned")["Summary"]["next"] == 2
    guids = [row["guid"] for page in (first, second) for row in page.context("CBSigned.Process")]
    assert len(set(guids)) == 4


WORDS = {"Signed": 0, "Unsigned": 0, "Expired": 0, "Bad Signature": 2, "Untrusted Root": 0, "Explicit Distrust": 2}


@pytest.mark.parametrize("depth", range(6), ids=list(WORDS))
def test_file_gives_a_score_by_the_policy(platform: Platform, depth: int) -> None:
    md5 = f"{0xA0 + depth:02x}" * 16
    word = list(WORDS)[depth]

    entry = platform.ask("file", {"file": md5.upper()}).entry

    score = entry["EntryContext"][SCORE][0]
    assert (score["Indicator"], score["Type"], score["Vendor"]) == (md5.upper(), "file", "CBSigned")
    assert (score["Score"], score["Reliability"]) == (WORDS[word], "B - Usually reliable")
    assert entry["EntryContext"][FILE][0]["MD5"] == md5
    told = next(value for key, value in entry["EntryContext"].items() if key.startswith("CBSigned.SigningStatus("))
    assert told["status"] == word
    assert score["Message"].rstrip(".") in entry["HumanReadable"]


@pytest.mark.parametrize(
    ("trusted", "score"), [("<B>example</b>  & SÖHNE", 1), ("Another\n<b>Example</b> & Söhne\n", 1), ("Example", 0)]
)
def test_a_trusted_publisher_makes_a_signed_file_good(platform: Platform, trusted: str, score: int) -> None:
    entry = platform.ask("file", {"file": DEEP_MD5}, trusted_publishers=trusted).entry

    assert entry["EntryContext"][SCORE][0]["Score"] == score


def test_file_answers_each_hash_with_an_entry_of_its_own(platform: Platform) -> None:
    answer = platform.ask("file", {"file": [DEEP_MD5, *STRANGERS]})

    scored = [entry["EntryContext"].get(SCORE, [{}])[0].get("Indicator") for entry in answer.entries]
    assert scored == [DEEP_MD5, "ab" * 16, None, "cd" * 20]
    assert [entry["Type"] for entry in answer.entries] == [NOTE] * 4


@pytest.mark.parametrize("value", ["cd" * 20, "ef" * 64, "no-hash"])
def test_a_hash_that_the_edr_cannot_be_asked_by_is_unknown_and_no_failure(platform: Platform, value: str) -> None:
    """The platform calls `file` by itself for every hash that it sees, SHA-1 and SHA-512 too."""
    entry = platform.ask("file", {"file": value}).entry

    assert entry["Type"] == NOTE
    assert [one["Score"] for one in entry["EntryContext"].get(SCORE, [])] in ([], [0])


def test_the_card_cannot_become_html(platform: Platform) -> None:
    for name, given in QUESTIONS.items():
        card = platform.ask(name, given).entry["HumanReadable"]
        assert re.findall(r"<(?!https?://)", card) == []
        assert len(card) <= 30_000
    assert "&lt;img src=x" in platform.ask("cbsigned-lineage", {"guid": DEEP_GUID}).entry["HumanReadable"]


def test_the_core_is_read_from_one_file_that_only_its_user_can_read(platform: Platform) -> None:
    core = [platform.ask("test-module", {}).core for _again in range(2)]

    assert core[0] == core[1]
    assert list(core[0]["files"].values()) == ["0o600"]
    assert list(core[0]["files"]) == core[0]["homes"]


def test_the_file_of_the_core_goes_when_the_process_ends(script: Path, edr: Edr) -> None:
    with Platform(script, edr.url, edr.token) as running:
        (home,) = running.ask("test-module", {}).core["homes"]
        there = Path(home).exists()

    assert (there, Path(home).exists()) == (True, False)


def test_the_connection_is_tested(platform: Platform) -> None:
    assert platform.ask("test-module", {}).entry == "ok"


def test_the_packs_own_unit_tests_pass(tmp_path: Path) -> None:
    folder = PACK / "Integrations" / "CBSigned"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{STANDIN}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_warnings_go_once_into_the_integrations_log(platform: Platform) -> None:
    answers = [platform.ask("test-module", {}) for _again in range(2)]

    for answer in answers:
        assert len([line for line in answer.log if "unencrypted" in line]) == 1
        assert platform.params["credentials"]["password"] not in answer.text
