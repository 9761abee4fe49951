"""A playbook is read whole, or every problem is told with file, line, place and what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cbsigned.errors import ConfigError
from cbsigned_playbooks.catalogue import ACTIONS
from cbsigned_playbooks.runner.model import examples, read_playbook
from cbsigned_playbooks.runner.schema import playbook_schema
from support import PROJECT

_GOOD = """\
name: good
description: Something.
lists:
  hosts: ["HR-*", 7]
trigger: alert.subject.host is like(lists.hosts)
deadline_s: 30
steps:
  - id: enriched
    action: enrich_alert
    with:
      alert: {md5: "{{ record.hash }}", host: fixed}
      max_depth: "{{ alert.subject.pid }}"
      lineage: true
outcomes:
  - when: steps.enriched.ok
    disposition: close
    note: Fine.
otherwise:
  disposition: review
  note: "{{ alert.title }}"
"""


def read(folder: Path, text: str) -> Any:
    path = folder / "p.yaml"
    path.write_text(text, "utf-8")
    return read_playbook(str(path))


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def test_a_playbook_is_read_whole(tmp_path: Path) -> None:
    found = read(tmp_path, _GOOD)

    assert (found.name, found.deadline_s, found.lists) == ("good", 30.0, {"hosts": ["HR-*", 7]})
    assert [step.id for step in found.steps] == ["enriched"]
    assert [(rule.place, rule.disposition) for rule in found.outcomes] == [("outcomes[0]", "close")]
    assert found.otherwise.place == "otherwise"
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: good", "name: Not Good", 'p.yaml line 1, name is "Not Good": expected a short name of small letters'),
        ("name: good", "nam: good", "p.yaml line 1, nam is not known: the keys here are name, description"),
        ("name: good\n", "", "p.yaml line 1, the file lacks name: expected a short name"),
        ("deadline_s: 30", "deadline_s: soon", 'line 6, deadline_s is "soon": expected seconds for all steps'),
        ("deadline_s: 30", "deadline_s: 4000", "line 6, deadline_s is 4000: expected seconds for all steps"),
        ("  hosts:", "  Hosts:", 'line 4, lists.Hosts is no name: expected small letters'),
        ('["HR-*", 7]', '["HR-*", {a: 1}]', "line 4, lists.hosts is a list: expected a text, a number, or a list"),
        ("trigger: alert", "trigger: true #", "line 5, trigger is true: expected a condition on the alert"),
        ("trigger: alert.subject", "trigger: alrt.subject", 'line 5, trigger cannot be used: there is no "alrt"'),
        ("trigger: alert", 'trigger: "{{ alert }}" #', "line 5, trigger cannot be used: expected an exp"),
        ("alert.subject.host", "alert.subject.hostname", "line 5, trigger cannot be used: alert.subject.hostname is"),
        ("alert.subject.host", "alert.hostname", "line 5, trigger cannot be used: alert.hostname is not known; there"),
        ("(lists.hosts)", "(lists.machines)", "line 5, trigger cannot be used: lists.machines is not known; here"),
        ("action: enrich_alert", "action: enrich", 'line 9, steps[0].action is "enrich": expected one of test_connect'),
        ("id: enriched", "id: 1st", 'line 8, steps[0].id is "1st": expected a short name of small letters'),
        ("max_depth:", "depth:", "line 12, steps[0].with.depth is not known: the keys here are alert, format"),
        ('"{{ alert.subject.pid }}"', "many", 'line 12, steps[0].with.max_depth is "many": expected a whole number, 0'),
        ('"{{ alert.subject.pid }}"', "501", "line 12, steps[0].with.max_depth is 501: expected a whole number, 0 to"),
        ("lineage: true", "lineage: 7", "line 13, steps[0].with.lineage is 7: expected true or false"),
        ("lineage: true", 'lineage: "{{ nope }}"', 'line 13, steps[0].with.lineage cannot be used: there is no "nope"'),
        ("{{ record.hash }}", "{{ x.hash }}", 'line 11, steps[0].with.alert.md5 cannot be used: there is no "x"'),
        ("steps.enriched.ok", "steps.other.ok", "line 15, outcomes[0].when cannot be used: steps.other is not known"),
        ("disposition: close", "disposition: shut", 'line 16, outcomes[0].disposition is "shut": expected one of'),
        ("disposition: review", "disposition: close", 'line 19, otherwise.disposition is "close": expected one of'),
        ("note: Fine.", "note: '{{ range(9) }}'", "line 17, outcomes[0].note cannot be used: calls is not part of the"),
        ("note: Fine.", "note: ''", 'line 17, outcomes[0].note is "": expected the note for the analyst'),
        ("note: Fine.", "note:", "line 17, outcomes[0].note is empty: expected the note for the analyst"),
        ("steps:", "steps: 5\nold:", "line 7, steps is 5: expected a list of steps, up to 20"),
        ("description: Something.", "description: &a Something.", "line 2: anchors and aliases"),
        ("description: Something.", "description: !!python/object:os.system x", "line 2: tags (!) are not read"),
        ("description: Something.", "name: again", 'line 2: "name" stands here a second time'),
        ("description: Something.", "description: [", "is no YAML"),
    ],
)  # fmt: skip
def test_a_problem_names_line_place_and_what_was_expected(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in _GOOD

    assert told in " | ".join(problems(tmp_path, _GOOD.replace(old, new, 1)))


def test_all_problems_are_told_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = _GOOD.replace("name: good", "name: A").replace("review", "shut").replace("max_depth", "depth")

    assert [line.split(",")[0] for line in problems(tmp_path, text)] == [
        "p.yaml line 1",
        "p.yaml line 12",
        "p.yaml line 19",
    ]


def test_an_id_that_is_taken_is_told(tmp_path: Path) -> None:
    step = "  - id: enriched\n    action: test_connection\n"

    (told,) = problems(tmp_path, _GOOD.replace("outcomes:", f"{step}outcomes:"))
    assert 'line 14, steps[1].id is "enriched", as of a step before it' in told


def test_a_step_reads_only_steps_before_it(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, _GOOD.replace("{{ record.hash }}", "{{ steps.enriched.row }}"))

    assert "steps.enriched is not known; here there are none" in told


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "5"])
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, text: str) -> None:
    assert "expected a mapping with name, description" in problems(tmp_path, text)[0]


def test_a_file_that_is_not_there_names_the_examples(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*an example: close-unsigned-noise"):
        read_playbook(str(tmp_path / "absent.yaml"))


def test_a_file_that_is_not_utf8_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_playbook(str(path))

    path.write_bytes(b"#" * (1024 * 1024 + 2))
    with pytest.raises(ConfigError, match="is larger than"):
        read_playbook(str(path))


def test_an_example_is_read_by_its_name() -> None:
    assert len(examples()) >= 4
    for name in examples():
        assert read_playbook(name).name == name


def test_the_published_schema_is_one_and_knows_every_input_of_every_action() -> None:
    schema = json.loads((PROJECT / "playbooks/cbsigned_playbooks/runner/playbook.schema.json").read_text("utf-8"))

    Draft202012Validator.check_schema(schema)
    assert schema == playbook_schema()
    inputs = {
        one["if"]["properties"]["action"]["const"]: set(one["then"]["properties"]["with"]["properties"])
        for one in schema["properties"]["steps"]["items"]["allOf"]
    }
    assert inputs == {action.name: {one.name for one in action.parameters} for action in ACTIONS}
