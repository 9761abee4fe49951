"""`cbsigned playbook` as a person or a pipe runs it: outputs, records and exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cbsigned.cli import main
from cbsigned.samples import sample_path
from cbsigned_playbooks.catalogue import ACTIONS
from cbsigned_playbooks.runner.command import RECORD
from cbsigned_playbooks.runner.model import examples
from edr_server import TOKEN, EdrServer, Fault

_SAMPLES = str(sample_path("alerts.jsonl"))
_OWN = """\
name: own
description: d
steps: []
outcomes:
  - {when: record.close, disposition: close, note: Closed.}
otherwise: {disposition: review, note: "{{ record.name|default('nothing') }}"}
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Done]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `cbsigned playbook` in this process."""
    for name in [name for name in os.environ if name.startswith("CBSIGNED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CBSIGNED_CONFIG", os.devnull)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(["playbook", *arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A playbook that asks nothing."""
    path = tmp_path / "own.yaml"
    path.write_text(_OWN, "utf-8")
    return str(path)


def test_a_pipe_gets_one_line_for_each_alert_in_order(cli: Cli, playbook_store: Path) -> None:
    done = cli("run", "close-unsigned-noise", "--alert", _SAMPLES, "--store", str(playbook_store))

    assert done.code == 0, done.err
    assert len(done.rows) == 41
    assert [row["alert"] for row in done.rows] == [
        json.loads(line) for line in Path(_SAMPLES).read_text("utf-8").splitlines()
    ]
    assert done.rows[8]["run"]["outcome"]["disposition"] == "close"


def test_standard_input_and_several_files_are_read(cli: Cli, own: str, tmp_path: Path) -> None:
    other = tmp_path / "a.json"
    other.write_text('{"close": true}', "utf-8")
    done = cli(
        "run", own, "--alert", "-", "--alert", str(other), "--store", own, "--dry-run", stdin='{"close": false}\n'
    )

    assert (done.code, len(done.rows)) == (0, 2)


def test_a_person_reads_word_note_and_steps(cli: Cli, playbook_store: Path) -> None:
    given = ("run", "signed-but-invalid", "--alert", _SAMPLES, "--store", str(playbook_store), "--output", "table")
    done = cli(*given)
    cards = cli(*given, "--cards")

    assert "ESCALATE  Tools of the build agent\n" in done.out
    assert "  tampered.exe. Bad Signature: signed, but the file was changed afterwards.\n" in done.out
    assert "  - seen: done. Bad Signature; on 1 host" in done.out
    assert max(len(line) for line in done.out.splitlines()) <= 100
    assert len(cards.out) > 3 * len(done.out)
    assert not any(ord(c) < 32 for c in cards.out.replace("\n", ""))
    assert "\n  Lineage, oldest first\n" in cards.out
    assert not any(mark in cards.out for mark in ("&quot;", "|---|", "### "))


def test_alerts_that_the_playbook_is_not_for_take_one_line_each(cli: Cli, playbook_store: Path) -> None:
    given = ("--alert", _SAMPLES, "--store", str(playbook_store), "--output", "table")
    lines = cli("run", "tools-on-hr-machines", *given).out.splitlines()

    left = [number for number, line in enumerate(lines) if line.startswith("not for this playbook")]
    assert len(left) == 36
    assert [lines[number + 1] for number in left[:4]] == [lines[number] for number in left[1:5]]


def test_markdown_escapes_what_comes_from_outside(cli: Cli, playbook_store: Path, own: str) -> None:
    hostile = '{"close": false, "name": "<img src=x>\\n# **bold** [l](http://x)", "title": "a | `b`"}'
    done = cli("run", own, "--alert", "-", "--store", str(playbook_store), "--output", "markdown", stdin=hostile)

    assert "<img" not in done.out
    assert "\n# " not in done.out
    assert "\\*\\*bold\\*\\*" in done.out
    assert done.out.startswith("### REVIEW: ")


def test_a_dry_run_needs_no_source_and_asks_nothing(cli: Cli) -> None:
    done = cli("run", "signed-but-invalid", "--alert", _SAMPLES, "--dry-run")
    told = cli("run", "signed-but-invalid", "--alert", _SAMPLES, "--dry-run", "--output", "table")

    assert (done.code, len(done.rows)) == (0, 41)
    assert all(row["dry_run"] for row in done.rows)
    assert "  - enriched: enrich_alert, asked; alert = JSON of 1,731 characters" in told.out
    assert "  - leave otherwise\n" in told.out


def test_the_record_holds_the_playbook_the_steps_and_no_alert(cli: Cli, playbook_store: Path, tmp_path: Path) -> None:
    kept = tmp_path / "record.json"
    store = ("--store", str(playbook_store))
    done = cli("run", "tools-on-hr-machines", "--alert", _SAMPLES, *store, "--record", str(kept))
    record = json.loads(kept.read_text("utf-8"))

    assert done.code == 0
    assert (record["schema"], record["source"], record["interrupted"]) == (RECORD, "store:samples.db", False)
    assert record["playbook"]["name"] == "tools-on-hr-machines"
    assert [run["alert"]["id"] for run in record["runs"]] == [row["run"]["alert"]["id"] for row in done.rows]
    steps = record["runs"][5]["steps"]
    assert [(step["id"], step["state"], step["inputs"].get("rows")) for step in steps] == [
        ("enriched", "done", None), ("elsewhere", "done", 20),
    ]  # fmt: skip
    assert all(step["duration_s"] >= 0 and step["started_at"] for step in steps)
    assert "ioc_confidence" not in kept.read_text("utf-8")  # a member of the alert
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_record_is_kept_of_what_was_run_before_an_interruption(
    cli: Cli, playbook_store: Path, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cbsigned_playbooks.runner import running

    whole, calls = running.run_playbook, []

    def interrupted(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(running, "run_playbook", interrupted)
    kept = tmp_path / "record.json"
    done = cli("run", own, "--alert", _SAMPLES, "--store", str(playbook_store), "--record", str(kept))
    record = json.loads(kept.read_text("utf-8"))

    assert done.code == 130
    assert (record["interrupted"], len(record["runs"])) == (True, 2)


def test_a_record_that_cannot_be_written_is_told_before_anything_is_asked(
    cli: Cli, playbook_store: Path, own: str, tmp_path: Path
) -> None:
    store = ("--store", str(playbook_store))
    nowhere = cli("run", own, "--alert", _SAMPLES, *store, "--record", str(tmp_path / "no" / "r.json"))
    over = cli("run", own, "--alert", _SAMPLES, *store, "--record", own)

    assert (nowhere.code, nowhere.out) == (2, "")
    assert (over.code, over.out) == (2, "")
    assert "would be written over" in over.err


def test_failures_end_with_one_and_a_source_that_never_answers_with_three(
    cli: Cli, playbook_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = ("--store", str(playbook_store))
    unreadable = cli("run", "close-unsigned-noise", "--alert", "-", *store, stdin="{broken\n")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        _OWN.replace("steps: []", "steps: [{id: a, action: signing_status, with: {hashes: nonsense}}]"), "utf-8"
    )
    unusable = cli("run", str(wrong), "--alert", "-", *store, stdin='{"close": true}')
    with EdrServer() as server:
        server.fail("*", Fault(401))
        monkeypatch.setenv("CBSIGNED_EDR_URL", server.url)
        monkeypatch.setenv("CBSIGNED_EDR_TOKEN", TOKEN)
        record = str(tmp_path / "r.json")
        refused = cli("run", "close-unsigned-noise", "--alert", _SAMPLES, "--record", record)

    assert (unreadable.code, unusable.code) == (1, 1)
    assert unusable.rows[0]["run"]["outcome"]["disposition"] == "review"
    assert unreadable.rows[0]["run"]["outcome"]["disposition"] == "review"
    assert refused.code == 3
    assert "refused" in refused.err
    assert "close" not in {row["run"]["outcome"]["disposition"] for row in refused.rows if row["run"]["outcome"]}
    assert TOKEN not in refused.out + refused.err + Path(record).read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "signed-but-invalid", "--alert", _SAMPLES), "Nothing to ask"),
        (("run", "nothing", "--alert", _SAMPLES), "Name a file, or an example: close-unsigned-noise"),
        (("run", "signed-but-invalid", "--alert", "absent.json"), "absent.json is not there"),
        (("run", "signed-but-invalid", "--alert", _SAMPLES, "--dry-run", "--record", "r.json"), "leave one of them"),
        (("run", "signed-but-invalid", "--alert", _SAMPLES, "--store", "absent.db"), "absent.db"),
        (("actions", "nothing"), "There are test_connection, enrich_alert"),
    ],
)
def test_wrong_usage_says_what_to_do_and_ends_with_two(cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    done = cli(*arguments)

    assert done.code in (2, 3)
    assert told in done.err
    assert done.out == ""


def test_validate_tells_every_problem_of_every_file(cli: Cli, own: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(_OWN.replace("record.close", "rekord.close").replace("name: own", "name: O"), "utf-8")
    done = cli("validate", own, str(bad), "signed-but-invalid")
    told = cli("validate", own, str(bad), "--output", "table")

    assert done.code == 2
    assert [row["ok"] for row in done.rows] == [True, False, True]
    assert told.out.startswith("ok  own: 0 steps, 2 outcomes\nNO  ")
    assert f"{bad} line 1, name is" in told.out
    assert cli("validate", own).code == 0


def test_list_shows_the_examples_and_actions_the_catalogue(cli: Cli) -> None:
    listed, told, one = cli("list"), cli("actions"), cli("actions", "where_seen")

    assert [row["name"] for row in listed.rows] == list(examples())
    assert all(Path(row["file"]).is_file() for row in listed.rows)
    assert [row["action"] for row in told.rows] == [action.name for action in ACTIONS]
    (action,) = (action for action in ACTIONS if action.name == "where_seen")
    assert [row["name"] for row in one.rows] == [
        *(parameter.name for parameter in action.parameters), *(output.path for output in action.outputs),
    ]  # fmt: skip
    assert "| enrich_alert |" in cli("actions", "--output", "markdown").out.replace("\\_", "_")
    assert "enrich_alert" in cli("actions", "--output", "table").out


@pytest.mark.parametrize("columns", ["60", "100"])
def test_what_people_copy_and_read_is_not_cut(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    told, listed = cli("actions", "where_seen", "--output", "table").out, cli("list", "--output", "table").out

    (action,) = (action for action in ACTIONS if action.name == "where_seen")
    assert all(f"  - {one.name} (" in told for one in action.parameters)
    assert all(f"  - {one.path} (" in told for one in action.outputs)
    assert "  - rows (integer, 1 to 1000, 20 if not given): " in " ".join(told.split("\n    "))
    assert "…" not in told + listed


@pytest.mark.parametrize("inner", [(), ("run",), ("validate",), ("list",), ("actions",)])
def test_help_has_examples(inner: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["playbook", *inner, "--help"])

    assert "examples:\n  cbsigned playbook" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["jinja2", "jsonschema", "yaml"])
def test_without_the_extra_it_is_named(missing: str, own: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from cbsigned.cli import main\n"
        f"sys.exit(main(['playbook', 'validate', {own!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert f"needs {missing}" in done.stderr
    assert "pip install 'cbsigned[playbook]'" in done.stderr
